/* SPDX-License-Identifier: MIT */
/*
 * symbols.c - offline symbolisation with libdwfl.  See symbols.h.
 *
 * Owns:   open modules (one Dwfl each, least recently used closed), the cache
 *         of resolved addresses, interned strings.
 * Layer:  shared.
 * Locks:  none.
 * Source: elfutils libdwfl.h; the way through inlined scopes is the one that
 *         eu-addr2line takes (dwarf_getscopes, then dwarf_getscopes_die).
 */
#include "shared/symbols.h"

#include <assert.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <elfutils/libdwfl.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/demangle.h"
#include "shared/json.h"

#define MODULES_MAX    96U     /* open at once: each maps its ELF and DWARF */
#define CACHE_BUCKETS  16384U  /* power of two */
#define CACHE_MAX      200000U /* addresses before trim lets go */
#define STRINGS_MAX    (64U << 20) /* bytes of text before trim lets go */
#define STRING_BUCKETS 16384U
#define FILE_BYTES_MAX (UINT64_C(4) << 30) /* larger ELF files are refused */

struct string {
	struct string *next;
	uint32_t hash;
	char text[];
};

/* A range of addresses that a compilation unit covers. */
struct unit {
	Dwarf_Addr start;
	Dwarf_Addr end;
	Dwarf_Die die;
	Dwarf_Addr bias;
};

/* What makes two module records the same file. */
struct module {
	struct module *next;
	char path[sizeof(((struct bs_abi_module *)0)->path)];
	uint8_t build_id[32];
	uint32_t build_id_bytes;
	uint64_t id;	    /* never reused: key of the cache */
	uint64_t last_used; /* tick of the symbolizer */
	Dwfl *dwfl;	    /* NULL: not open (never, or closed again) */
	Dwfl_Module *mod;
	const char *note; /* why it cannot be opened; do not try again */
	/* Compilers leave out .debug_aranges: the units' own ranges, sorted. */
	struct unit *units;
	size_t nr_units;
	bool units_known;
};

struct entry {
	struct entry *next;
	uint64_t module_id;
	uint64_t vaddr; /* pc - bias */
	size_t nr;
	struct bs_frame frames[];
};

struct bs_symbolizer {
	char *sysroot; /* "" or a path without trailing slash */
	char *debug_dir;
	char *debug_path; /* libdwfl's search path */
	Dwfl_Callbacks callbacks;
	struct module *modules;
	unsigned int nr_open;
	uint64_t next_id;
	uint64_t tick;
	struct entry *cache[CACHE_BUCKETS];
	size_t nr_cached;
	struct string *strings[STRING_BUCKETS];
	size_t string_bytes;
	struct bs_frame scratch[BS_FRAMES_PER_PC_MAX];
};

/* ---- strings ------------------------------------------------------------- */

static uint32_t hash_text(const char *text)
{
	uint32_t h = 2166136261U;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 16777619U;
	return h;
}

/* NULL stays NULL; out of memory gives NULL: the frame lacks that text. */
static const char *intern(struct bs_symbolizer *sym, const char *text)
{
	struct string **bucket, *s;
	uint32_t hash;
	size_t len;

	if (!text || !*text)
		return NULL;
	hash = hash_text(text);
	bucket = &sym->strings[hash % STRING_BUCKETS];
	for (s = *bucket; s; s = s->next)
		if (s->hash == hash && !strcmp(s->text, text))
			return s->text;
	len = strlen(text);
	s = malloc(sizeof(*s) + len + 1);
	if (!s)
		return NULL;
	memcpy(s->text, text, len + 1);
	s->hash = hash;
	s->next = *bucket;
	*bucket = s;
	sym->string_bytes += sizeof(*s) + len + 1;
	return s->text;
}

static void set_function(struct bs_symbolizer *sym, struct bs_frame *f,
			 const char *symbol)
{
	char *written = symbol ? bs_demangle(symbol) : NULL;

	f->symbol = intern(sym, symbol);
	f->function = written ? intern(sym, written) : f->symbol;
	free(written);
}

/* ---- modules ------------------------------------------------------------- */

static void module_close(struct bs_symbolizer *sym, struct module *m)
{
	if (!m->dwfl)
		return;
	dwfl_end(m->dwfl);
	free(m->units);
	m->units = NULL;
	m->nr_units = 0;
	m->units_known = false;
	m->dwfl = NULL;
	m->mod = NULL;
	sym->nr_open--;
}

static void close_oldest(struct bs_symbolizer *sym)
{
	struct module *oldest = NULL;

	for (struct module *m = sym->modules; m; m = m->next)
		if (m->dwfl && (!oldest || m->last_used < oldest->last_used))
			oldest = m;
	if (oldest)
		module_close(sym, oldest);
}

static struct module *module_get(struct bs_symbolizer *sym,
				 const struct bs_abi_module *rec)
{
	uint32_t bytes = rec->build_id_bytes;
	struct module *m;

	if (bytes > sizeof(rec->build_id))
		bytes = 0;
	for (m = sym->modules; m; m = m->next)
		if (m->build_id_bytes == bytes &&
		    !memcmp(m->build_id, rec->build_id, bytes) &&
		    !strncmp(m->path, rec->path, sizeof(m->path)))
			return m;
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	memcpy(m->path, rec->path, sizeof(m->path));
	m->path[sizeof(m->path) - 1] = '\0';
	memcpy(m->build_id, rec->build_id, bytes);
	m->build_id_bytes = bytes;
	m->id = ++sym->next_id;
	m->next = sym->modules;
	sym->modules = m;
	return m;
}

/*
 * 1: the file has the record's build-id (or the record has none), 0: another,
 * -1: no usable ELF file.
 */
static int file_matches(const struct module *m, int fd)
{
	const void *id;
	ssize_t id_bytes;
	int ret = -1;
	Elf *elf;

	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!elf)
		return -1;
	if (elf_kind(elf) == ELF_K_ELF) {
		id_bytes = dwelf_elf_gnu_build_id(elf, &id);
		if (!m->build_id_bytes)
			ret = 1;
		else
			ret = id_bytes == (ssize_t)m->build_id_bytes &&
			      !memcmp(id, m->build_id, m->build_id_bytes);
	}
	elf_end(elf);
	return ret;
}

/* A regular file of sane size, or -1.  Never blocks on a fifo or device. */
static int open_file(const char *path)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return -1;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size <= FILE_BYTES_MAX)
		return fd;
	close(fd);
	return -1;
}

static int open_by_build_id(const struct bs_symbolizer *sym,
			    const struct module *m, char *path, size_t len)
{
	size_t at;
	int fd;

	if (m->build_id_bytes < 2)
		return -1;
	at = (size_t)snprintf(path, len, "%s/.build-id/%02x/", sym->debug_dir,
			      m->build_id[0]);
	for (uint32_t i = 1; i < m->build_id_bytes && at + 3 < len; i++)
		at += (size_t)snprintf(path + at, len - at, "%02x",
				       m->build_id[i]);
	if (at + sizeof(".debug") > len)
		return -1;
	strcpy(path + at, ".debug");
	fd = open_file(path);
	if (fd >= 0 && file_matches(m, fd) == 1)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* The file for a module: its own, else its separate debug file. */
static int module_file(const struct bs_symbolizer *sym, struct module *m,
		       char *path, size_t len)
{
	const char *note;
	int fd, match;

	if (m->path[0] != '/') {
		m->note = "not a file";
		return -1;
	}
	note = "file is gone";
	if ((size_t)snprintf(path, len, "%s%s", sym->sysroot, m->path) < len) {
		fd = open_file(path);
		match = fd >= 0 ? file_matches(m, fd) : -1;
		if (match == 1)
			return fd;
		if (fd >= 0) {
			note = match ? "not a readable ELF file"
				     : "file changed since it was loaded";
			close(fd);
		}
	}
	fd = open_by_build_id(sym, m, path, len);
	if (fd < 0)
		m->note = note;
	return fd;
}

static void module_open(struct bs_symbolizer *sym, struct module *m)
{
	char path[PATH_MAX];
	int fd;

	m->last_used = ++sym->tick;
	if (m->dwfl || m->note)
		return;
	fd = module_file(sym, m, path, sizeof(path));
	if (fd < 0)
		return;
	if (sym->nr_open >= MODULES_MAX)
		close_oldest(sym);
	m->dwfl = dwfl_begin(&sym->callbacks);
	if (!m->dwfl) {
		close(fd);
		return;
	}
	sym->nr_open++;
	dwfl_report_begin(m->dwfl);
	/* Base 0 plus p_vaddr: libdwfl's addresses are those of the file. */
	m->mod = dwfl_report_elf(m->dwfl, m->path, path, fd, 0, true);
	if (!m->mod)
		close(fd);
	if (dwfl_report_end(m->dwfl, NULL, NULL) || !m->mod) {
		m->note = "not a readable ELF file";
		module_close(sym, m);
	}
}

/* ---- one address --------------------------------------------------------- */

struct place {
	struct bs_symbolizer *sym;
	size_t nr;
};

static struct bs_frame *add_frame(struct place *p)
{
	struct bs_frame *f;

	if (p->nr >= BS_FRAMES_PER_PC_MAX)
		return NULL;
	f = &p->sym->scratch[p->nr++];
	memset(f, 0, sizeof(*f));
	return f;
}

/* The file that DW_AT_call_file of an inlined scope names. */
static const char *call_file(Dwarf_Die *cu, Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Files *files;
	Dwarf_Word number;
	size_t nr_files;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attr), &number) ||
	    dwarf_getsrcfiles(cu, &files, &nr_files) || number >= nr_files)
		return NULL;
	return dwarf_filesrc(files, number, NULL, NULL);
}

static int call_line(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Word line;

	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attr), &line) ||
	    line > INT_MAX)
		return 0;
	return (int)line;
}

static bool is_function(Dwarf_Die *die)
{
	int tag = dwarf_tag(die);

	return tag == DW_TAG_subprogram || tag == DW_TAG_entry_point;
}

static const char *linkage_name(Dwarf_Die *die)
{
	Dwarf_Attribute attr;

	return dwarf_formstring(
		dwarf_attr_integrate(die, DW_AT_linkage_name, &attr));
}

static bool is_mangled(const char *symbol)
{
	return !strncmp(symbol, "_Z", 2) || !strncmp(symbol, "_R", 2);
}

/* A function around a lambda: its own scopes are in its name already. */
static void put_function_scope(struct bs_buf *out, Dwarf_Die *die)
{
	const char *symbol = linkage_name(die);
	char *written = symbol ? bs_demangle(symbol) : NULL;
	const char *name = dwarf_diename(die);

	if (written) {
		bs_buf_reset(out);
		bs_buf_puts(out, written);
	} else {
		bs_buf_printf(out, "%s()", name ? name : "??");
	}
	free(written);
}

/* "inner::" of a namespace, class or function; nothing for another scope. */
static void put_scope(struct bs_buf *out, Dwarf_Die *die)
{
	const char *name = dwarf_diename(die);

	switch (dwarf_tag(die)) {
	case DW_TAG_namespace:
		bs_buf_puts(out, name ? name : "(anonymous namespace)");
		break;
	case DW_TAG_class_type:
	case DW_TAG_structure_type:
	case DW_TAG_union_type:
		bs_buf_puts(out, name ? name : "{unnamed}");
		break;
	case DW_TAG_subprogram:
		put_function_scope(out, die);
		break;
	default:
		return;
	}
	bs_buf_puts(out, "::");
}

/*
 * A function that the linker never saw (a lambda, static, in a namespace without
 * a name) has no linkage name: the scopes around it say what it is called.
 */
static void set_qualified(struct bs_symbolizer *sym, struct bs_frame *f,
			  Dwarf_Die *die)
{
	Dwarf_Die origin = *die, next, *scopes = NULL;
	struct bs_buf text = BS_BUF_INIT;
	Dwarf_Attribute attr;
	int nr;

	/* From the inlined copy to the function, on to its declaration. */
	while (dwarf_formref_die(dwarf_attr(&origin, DW_AT_abstract_origin,
					    &attr),
				 &next) ||
	       dwarf_formref_die(
		       dwarf_attr(&origin, DW_AT_specification, &attr), &next))
		origin = next;
	nr = dwarf_getscopes_die(&origin, &scopes);
	for (int i = nr - 1; i > 0; i--)
		put_scope(&text, &scopes[i]);
	free(scopes);
	if (text.len && f->function) {
		bs_buf_puts(&text, f->function);
		f->function = intern(sym, bs_buf_str(&text));
	}
	bs_buf_free(&text);
}

static void set_scope(struct bs_symbolizer *sym, struct bs_frame *f,
		      Dwarf_Die *die)
{
	const char *name = linkage_name(die);

	set_function(sym, f, name ? name : dwarf_diename(die));
	if (!name)
		set_qualified(sym, f, die);
}

/*
 * Walks from the innermost scope outward.  file and line are where the address
 * is; at the border of an inlined function they become the place of its call.
 */
static void walk_scopes(struct place *p, Dwarf_Die *cu, Dwarf_Die *scopes,
			int nr, const char *file, int line)
{
	for (int i = 0; i < nr; i++) {
		bool inlined =
			dwarf_tag(&scopes[i]) == DW_TAG_inlined_subroutine;
		struct bs_frame *f;

		if (!inlined && !is_function(&scopes[i]))
			continue;
		f = add_frame(p);
		if (!f)
			return;
		set_scope(p->sym, f, &scopes[i]);
		f->file = intern(p->sym, file);
		f->line = line;
		f->inlined = inlined;
		if (!inlined)
			return;
		file = call_file(cu, &scopes[i]);
		line = call_line(&scopes[i]);
	}
}

static int unit_order(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static bool add_unit(struct module *m, size_t *cap, const struct unit *unit)
{
	struct unit *units;

	if (m->nr_units == *cap) {
		*cap = *cap ? *cap * 2 : 64;
		units = reallocarray(m->units, *cap, sizeof(*units));
		if (!units)
			return false;
		m->units = units;
	}
	m->units[m->nr_units++] = *unit;
	return true;
}

static void find_units(struct module *m)
{
	struct unit unit;
	Dwarf_Die *die = NULL;
	size_t cap = 0;

	m->units_known = true;
	while ((die = dwfl_module_nextcu(m->mod, die, &unit.bias))) {
		Dwarf_Addr base;
		ptrdiff_t at = 0;

		unit.die = *die;
		while ((at = dwarf_ranges(die, at, &base, &unit.start,
					  &unit.end)) > 0)
			if (unit.start < unit.end && !add_unit(m, &cap, &unit))
				return;
	}
	if (m->nr_units)
		qsort(m->units, m->nr_units, sizeof(*m->units), unit_order);
}

/* The compilation unit of an address, as dwfl_module_addrdie finds it, and
 * where that needs .debug_aranges which are not there. */
static Dwarf_Die *find_unit(struct module *m, uint64_t vaddr, Dwarf_Addr *bias)
{
	Dwarf_Die *die = dwfl_module_addrdie(m->mod, vaddr, bias);
	size_t low = 0, high;

	if (die)
		return die;
	if (!m->units_known)
		find_units(m);
	/* The last range that begins at or before the address. */
	for (high = m->nr_units; low < high;) {
		size_t middle = low + (high - low) / 2;

		if (m->units[middle].start + m->units[middle].bias <= vaddr)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || vaddr >= m->units[low - 1].end + m->units[low - 1].bias)
		return NULL;
	*bias = m->units[low - 1].bias;
	return &m->units[low - 1].die;
}

static void resolve_dwarf(struct place *p, struct module *m, uint64_t vaddr)
{
	Dwarf_Die *cu, *scope_cu, *scopes = NULL, inner, split;
	const char *file = NULL;
	Dwarf_Addr bias;
	Dwarf_Line *line;
	int lineno = 0;
	int nr;

	cu = find_unit(m, vaddr, &bias);
	if (!cu)
		return;
	/* -gsplit-dwarf: lines are here, scopes in the .dwo file. */
	if (!dwarf_cu_info(cu->cu, NULL, NULL, NULL, &split, NULL, NULL,
			   NULL) &&
	    split.cu)
		scope_cu = &split;
	else
		scope_cu = cu;
	line = dwarf_getsrc_die(cu, vaddr - bias);
	if (line) {
		file = dwarf_linesrc(line, NULL, NULL);
		dwarf_lineno(line, &lineno);
	}
	nr = dwarf_getscopes(scope_cu, vaddr - bias, &scopes);
	if (nr <= 0)
		goto out_line;
	/*
	 * Behind an inlined scope dwarf_getscopes goes on with where the
	 * function was written; we want where it was inlined.
	 */
	inner = scopes[0];
	free(scopes);
	scopes = NULL;
	nr = dwarf_getscopes_die(&inner, &scopes);
	if (nr > 0)
		walk_scopes(p, scope_cu, scopes, nr, file, lineno);
	free(scopes);
out_line:
	if (!p->nr && file) {
		struct bs_frame *f = add_frame(p);

		f->file = intern(p->sym, file);
		f->line = lineno;
	}
}

/* Fills scratch; addr, module and offset are the caller's to add. */
static size_t resolve_vaddr(struct bs_symbolizer *sym, struct module *m,
			    uint64_t vaddr)
{
	struct place p = { sym, 0 };
	struct bs_frame *outer;
	const char *name = NULL;
	GElf_Sym elf_sym;
	GElf_Off offset = 0;

	module_open(sym, m);
	if (m->mod) {
		resolve_dwarf(&p, m, vaddr);
		name = dwfl_module_addrinfo(m->mod, vaddr, &offset, &elf_sym,
					    NULL, NULL, NULL);
	}
	outer = p.nr ? &sym->scratch[p.nr - 1] : add_frame(&p);
	/* With all of them inlined (list was full) the last is no function. */
	if (name && !outer->inlined) {
		/* What is static has a full name in the symbol table alone. */
		if (!outer->function ||
		    (is_mangled(name) && !is_mangled(outer->symbol)))
			set_function(sym, outer, name);
		outer->function_offset = offset + 1;
		outer->function_bytes = elf_sym.st_size;
	}
	if (m->note)
		outer->note = m->note;
	return p.nr;
}

static struct entry **cache_bucket(struct bs_symbolizer *sym, uint64_t id,
				   uint64_t vaddr)
{
	uint64_t h = (vaddr ^ id << 48) * UINT64_C(0x9e3779b97f4a7c15);

	return &sym->cache[h >> 40 & (CACHE_BUCKETS - 1)];
}

static size_t resolve_unknown(struct bs_symbolizer *sym, uint64_t pc,
			      const struct bs_frame **frames)
{
	memset(&sym->scratch[0], 0, sizeof(sym->scratch[0]));
	sym->scratch[0].addr = pc;
	*frames = sym->scratch;
	return 1;
}

size_t bs_symbolizer_resolve_in(struct bs_symbolizer *sym,
				const struct bs_abi_module *rec, uint64_t pc,
				const struct bs_frame **frames)
{
	struct entry **bucket, *e;
	uint64_t offset;
	struct module *m;
	const char *path;
	size_t nr;

	m = rec ? module_get(sym, rec) : NULL;
	if (!m)
		return resolve_unknown(sym, pc, frames);
	offset = pc - rec->bias;
	bucket = cache_bucket(sym, m->id, offset);
	for (e = *bucket; e; e = e->next) {
		if (e->module_id == m->id && e->vaddr == offset) {
			/* Same file at another address: only addr differs. */
			for (size_t i = 0; i < e->nr; i++)
				e->frames[i].addr = pc;
			*frames = e->frames;
			return e->nr;
		}
	}
	/* A return address: the call is in front of it. */
	nr = resolve_vaddr(sym, m, offset - 1);
	path = intern(sym, m->path);
	for (size_t i = 0; i < nr; i++) {
		sym->scratch[i].addr = pc;
		sym->scratch[i].module = path;
		sym->scratch[i].offset = offset;
	}
	*frames = sym->scratch;
	e = malloc(sizeof(*e) + nr * sizeof(e->frames[0]));
	if (!e)
		return nr;
	e->module_id = m->id;
	e->vaddr = offset;
	e->nr = nr;
	memcpy(e->frames, sym->scratch, nr * sizeof(e->frames[0]));
	e->next = *bucket;
	*bucket = e;
	sym->nr_cached++;
	*frames = e->frames;
	return nr;
}

/* ---- which module --------------------------------------------------------- */

/*
 * Among the modules that covered pc: the one loaded at time_ns; else the first
 * that came after it (the table is filled a moment after the loader ran); else
 * the last that had been there before.
 */
const struct bs_abi_module *bs_symbols_module(const struct bs_snapshot *s,
					      uint64_t pc, uint64_t time_ns)
{
	const struct bs_abi_module *at = NULL, *after = NULL, *before = NULL;
	uint64_t nr = bs_snapshot_nr_modules(s);

	for (uint64_t i = 0; i < nr; i++) {
		const struct bs_abi_module *m = bs_snapshot_module(s, i);

		if (pc - 1 < m->start || pc - 1 >= m->end)
			continue;
		if (m->loaded_ns > time_ns) {
			if (!after || m->generation < after->generation)
				after = m;
		} else if (m->unloaded_ns && m->unloaded_ns < time_ns) {
			if (!before || m->generation > before->generation)
				before = m;
		} else if (!at || m->generation > at->generation) {
			at = m;
		}
	}
	return at ? at : after ? after : before;
}

bool bs_symbols_is_own(const struct bs_abi_module *module)
{
	static const char own[] = "libbuddyscope.so";
	const char *slash;

	if (!module)
		return false;
	slash = strrchr(module->path, '/');
	return !strncmp(slash ? slash + 1 : module->path, own, sizeof(own) - 1);
}

size_t bs_symbolizer_resolve(struct bs_symbolizer *sym,
			     const struct bs_snapshot *s, uint64_t pc,
			     uint64_t time_ns, const struct bs_frame **frames)
{
	return bs_symbolizer_resolve_in(sym, bs_symbols_module(s, pc, time_ns),
					pc, frames);
}

bool bs_symbolizer_caller(void *arg, const struct bs_snapshot *s, uint32_t site,
			  char *text, size_t len)
{
	struct bs_symbolizer *sym = arg;
	const struct bs_site *rec;
	const struct bs_frame *frames;
	uint64_t pcs[BS_FRAMES_PER_PC_MAX];
	size_t nr, i;

	if (!site || site >= bs_snapshot_nr_sites(s))
		return false;
	rec = bs_snapshot_site(s, site);
	bs_snapshot_stack(s, rec->node, pcs, BS_FRAMES_PER_PC_MAX, &nr);
	for (i = 0; i < nr; i++)
		if (!bs_symbols_is_own(
			    bs_symbols_module(s, pcs[i], rec->first_ns)))
			break;
	if (i == nr)
		return false;
	nr = bs_symbolizer_resolve(sym, s, pcs[i], rec->first_ns, &frames);
	frames += nr - 1;
	/* One token, as the kernel prints Rust's names: not demangled. */
	if (!frames->symbol || !frames->function_bytes ||
	    strpbrk(frames->symbol, " \t\n"))
		return false;
	snprintf(text, len, "%s+0x%" PRIx64 "/0x%" PRIx64, frames->symbol,
		 frames->function_offset, frames->function_bytes);
	return true;
}

/* ---- life ------------------------------------------------------------------ */

static char *path_join(const char *fmt, const char *a, const char *b)
{
	char *text;

	return asprintf(&text, fmt, a, b) < 0 ? NULL : text;
}

struct bs_symbolizer *bs_symbolizer_new(const char *sysroot,
					const char *debug_dir)
{
	struct bs_symbolizer *sym = calloc(1, sizeof(*sym));
	size_t len;

	if (!sym)
		return NULL;
	elf_version(EV_CURRENT);
	/* elfutils would ask servers in the middle of a report. */
	unsetenv("DEBUGINFOD_URLS");
	sym->sysroot = strdup(sysroot ? sysroot : "");
	if (!sym->sysroot)
		goto out_free;
	len = strlen(sym->sysroot);
	while (len && sym->sysroot[len - 1] == '/')
		sym->sysroot[--len] = '\0';
	sym->debug_dir = debug_dir ? strdup(debug_dir)
				   : path_join("%s%s", sym->sysroot,
					       BS_DEBUG_DIR_DEFAULT);
	if (!sym->debug_dir)
		goto out_free;
	/* Next to the file, in .debug there, in the debug directory. */
	sym->debug_path = path_join("%s%s", ":.debug:", sym->debug_dir);
	if (!sym->debug_path)
		goto out_free;
	sym->callbacks.find_elf = dwfl_build_id_find_elf;
	sym->callbacks.find_debuginfo = dwfl_standard_find_debuginfo;
	sym->callbacks.section_address = dwfl_offline_section_address;
	sym->callbacks.debuginfo_path = &sym->debug_path;
	return sym;

out_free:
	bs_symbolizer_free(sym);
	return NULL;
}

static void drop_all(struct bs_symbolizer *sym)
{
	for (size_t i = 0; i < CACHE_BUCKETS; i++) {
		while (sym->cache[i]) {
			struct entry *e = sym->cache[i];

			sym->cache[i] = e->next;
			free(e);
		}
	}
	for (size_t i = 0; i < STRING_BUCKETS; i++) {
		while (sym->strings[i]) {
			struct string *s = sym->strings[i];

			sym->strings[i] = s->next;
			free(s);
		}
	}
	while (sym->modules) {
		struct module *m = sym->modules;

		sym->modules = m->next;
		module_close(sym, m);
		free(m);
	}
	sym->nr_cached = 0;
	sym->string_bytes = 0;
	sym->next_id = 0;
}

void bs_symbolizer_trim(struct bs_symbolizer *sym)
{
	if (sym->nr_cached > CACHE_MAX || sym->string_bytes > STRINGS_MAX ||
	    sym->next_id > MODULES_MAX * 16)
		drop_all(sym);
}

void bs_symbolizer_free(struct bs_symbolizer *sym)
{
	if (!sym)
		return;
	drop_all(sym);
	free(sym->debug_path);
	free(sym->debug_dir);
	free(sym->sysroot);
	free(sym);
}
