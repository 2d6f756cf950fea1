/* SPDX-License-Identifier: MIT */
/*
 * modules.c - which libraries are, and were, loaded where.
 *
 * Owns:   the module records (canonical in private memory), the segment's module
 *         section, the epoch.
 * Layer:  preload, beside segment.c.
 * Locks:  m.lock (SYS_RANK_MODULES).  dl_iterate_phdr() has a lock of its own, which
 *         a program may hold when it calls malloc: so none of ours is waited for
 *         around it.  One thread scans at a time; another one that comes meanwhile
 *         goes on with what is known.  fork() waits until nobody scans, because a
 *         child that inherits the loader's lock taken could never scan again.
 * Source: dl_iterate_phdr(3); ELF notes: System V ABI, chapter 5.
 *
 * A record is never given to another library.  Only when the very same one (path,
 * build-id, address) comes back and nothing else was there in between, its record
 * lives on: plugins that are loaded and unloaded all the time do not fill the table.
 */
#include "preload/modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>

#include "preload/segment.h"
#include "preload/sys/sys.h"
#include "preload/trace/unwind.h"

#ifdef DLFO_STRUCT_HAS_EH_DBASE
extern int _dl_find_object(void *pc, struct dl_find_object *result)
	__attribute__((weak)); /* glibc 2.35 */
#endif

/* One loaded module, for segment_generation(); sorted by start. */
struct live {
	uintptr_t start, end;
	uint32_t generation;
	uint32_t record;
	struct identity {
		const void *map; /* the loader's own record, NULL: none */
		const void *map_start;
	} id;
};

static struct {
	struct sys_lock lock; /* records, live[] */
	struct bs_abi_module *records;
	uint32_t nr_records;
	uint64_t dropped;
	uint32_t last_generation;
	struct live *live;
	uint32_t nr_live;
	uint32_t live_seq; /* odd: live[] is being changed */
	uint64_t epoch;

	bool scanning; /* one thread is; never waited for, but by fork() */
	bool no_scan;  /* a raw fork copied us while another thread was */
	struct bs_abi_module *found;
	uint32_t nr_found;
	unsigned long long adds, subs; /* of the last scan */
	bool scanned;
	char exe[sizeof(((struct bs_abi_module *)0)->path)];
	uintptr_t loader_bias;
	uintptr_t loader_start, loader_end;
} m;

/* ---- reading one module ------------------------------------------------------------ */

static void copy_text(char *to, size_t len, const char *from)
{
	size_t n = strlen(from);

	if (n >= len)
		n = len - 1;
	memcpy(to, from, n);
	memset(to + n, 0, len - n);
}

/* ld.so keeps a relative path as it was given; the directory may change later. */
static void copy_path(char *to, size_t len, const char *name)
{
	long n = 0;

	if (!name[0]) {
		copy_text(to, len, m.exe);
		return;
	}
	if (name[0] != '/' && strchr(name, '/')) {
		n = sys_call(SYS_getcwd, (long)to, (long)len - 1, 0, 0, 0, 0);
		if (sys_is_err(n) || to[0] != '/')
			n = 0;
		else
			to[n - 1] = '/'; /* over the NUL that it counted */
	}
	copy_text(to + n, len - (size_t)n, name);
}

static void read_notes(struct bs_abi_module *mod, uintptr_t at, size_t bytes,
		       size_t align)
{
	const uintptr_t end = at + bytes;

	if (align != 8)
		align = 4;
	while (end - at >= sizeof(ElfW(Nhdr))) {
		const ElfW(Nhdr) *note = (const void *)at;
		uintptr_t name = at + sizeof(*note);
		uintptr_t desc =
			name + ALIGN_UP((uintptr_t)note->n_namesz, align);

		if (desc > end || note->n_descsz > end - desc)
			return;
		if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
		    !memcmp((const void *)name, "GNU", 4)) {
			uint32_t n = MIN(note->n_descsz,
					 (uint32_t)sizeof(mod->build_id));

			memcpy(mod->build_id, (const void *)desc, n);
			mod->build_id_bytes = n;
			return;
		}
		at = desc + ALIGN_UP((uintptr_t)note->n_descsz, align);
		if (at > end)
			return;
	}
}

static bool is_readable_load(const struct dl_phdr_info *info, uintptr_t start,
			     size_t bytes)
{
	int i;

	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_R) &&
		    start >= at && start - at <= ph->p_filesz &&
		    bytes <= ph->p_filesz - (start - at))
			return true;
	}
	return false;
}

static void read_module(struct bs_abi_module *mod,
			const struct dl_phdr_info *info)
{
	int i;

	memset(mod, 0, sizeof(*mod));
	mod->bias = info->dlpi_addr;
	mod->start = UINT64_MAX;
	for (i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD) {
			mod->start = MIN(mod->start, at & PAGE_MASK);
			mod->end = MAX(mod->end,
				       ALIGN_UP(at + ph->p_memsz, PAGE_SIZE));
		} else if (ph->p_type == PT_NOTE && !mod->build_id_bytes &&
			   is_readable_load(info, at, ph->p_filesz)) {
			read_notes(mod, at, ph->p_filesz, ph->p_align);
		}
	}
	copy_path(mod->path, sizeof(mod->path),
		  info->dlpi_name ? info->dlpi_name : "");
}

/* ---- scanning ------------------------------------------------------------------------ */

static int collect(struct dl_phdr_info *info, size_t size, void *arg)
{
	bool *changed = arg;

	if (!*changed) {
		if (size < offsetof(struct dl_phdr_info, dlpi_subs) +
				   sizeof(info->dlpi_subs))
			return 1; /* a libc that does not count */
		if (m.scanned && info->dlpi_adds == m.adds &&
		    info->dlpi_subs == m.subs)
			return 1;
		*changed = true;
		m.adds = info->dlpi_adds;
		m.subs = info->dlpi_subs;
		m.nr_found = 0;
	}
	if (m.nr_found == SEGMENT_NR_MODULES)
		return 1;
	read_module(&m.found[m.nr_found], info);
	if (m.found[m.nr_found].start < m.found[m.nr_found].end)
		m.nr_found++;
	return 0;
}

static bool same_module(const struct bs_abi_module *a,
			const struct bs_abi_module *b)
{
	return a->start == b->start && a->end == b->end && a->bias == b->bias &&
	       a->build_id_bytes == b->build_id_bytes &&
	       !memcmp(a->build_id, b->build_id, a->build_id_bytes) &&
	       !strcmp(a->path, b->path);
}

static bool overlap(const struct bs_abi_module *a,
		    const struct bs_abi_module *b)
{
	return a->start < b->end && b->start < a->end;
}

/* ---- publishing ------------------------------------------------------------------------ */

static void publish(uint32_t i)
{
	struct segment *seg = segment_self();
	struct bs_abi_section *section;
	struct bs_abi_module *out;
	uint32_t seq;

	if (!seg->header || i >= seg->nr_modules)
		return;
	out = &seg->modules[i];
	if (!segment_claim_or_private(out, sizeof(*out)))
		return;
	section = &seg->header->section[BS_SEC_MODULES];
	seq = out->seq | 1;
	__atomic_store_n(&out->seq, seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(&out->build_id_bytes, &m.records[i].build_id_bytes,
	       sizeof(*out) - offsetof(struct bs_abi_module, build_id_bytes));
	__atomic_store_n(&out->seq, seq + 1, __ATOMIC_RELEASE);
	if (section->count <= i)
		__atomic_store_n(&section->count, i + 1, __ATOMIC_RELEASE);
	section->dropped = m.dropped;
}

void modules_republish(void)
{
	uint32_t i;

	for (i = 0; i < m.nr_records; i++)
		publish(i);
}

/* ---- bringing the records up to date ------------------------------------------------------ */

/* An unloaded record that may live on as mod, or DEAD_NONE. */
#define DEAD_NONE UINT32_MAX
static uint32_t find_dead(const struct bs_abi_module *mod)
{
	uint32_t i = m.nr_records;

	if (!mod->build_id_bytes)
		return DEAD_NONE;
	while (i--) {
		const struct bs_abi_module *old = &m.records[i];

		if (!overlap(old, mod))
			continue;
		return old->unloaded_ns && same_module(old, mod) ? i
								 : DEAD_NONE;
	}
	return DEAD_NONE;
}

/* Record number of a module that is loaded now, or DEAD_NONE: no room. */
static uint32_t add_record(const struct bs_abi_module *mod, uint64_t now_ns,
			   uint32_t *generation)
{
	uint32_t i = find_dead(mod);
	struct bs_abi_module *r;

	if (i != DEAD_NONE) {
		m.records[i].unloaded_ns = 0;
		*generation = (uint32_t)m.records[i].generation;
		publish(i);
		return i;
	}
	*generation = ++m.last_generation;
	if (m.nr_records == SEGMENT_NR_MODULES) {
		m.dropped++;
		return DEAD_NONE;
	}
	i = m.nr_records;
	r = &m.records[i];
	*r = *mod;
	r->seq = 0;
	r->loaded_ns = now_ns;
	r->unloaded_ns = 0;
	r->generation = *generation;
	m.nr_records++;
	publish(i);
	return i;
}

/* found[] has a live module? Takes it out of found[] (end = 0). */
static bool still_there(const struct live *l)
{
	uint32_t i;

	for (i = 0; i < m.nr_found; i++) {
		struct bs_abi_module *f = &m.found[i];

		if (f->start != l->start || f->end != l->end)
			continue;
		if (l->record != DEAD_NONE &&
		    !same_module(f, &m.records[l->record]))
			continue;
		f->end = 0;
		return true;
	}
	return false;
}

/* What the loader has at pc.  Lock-free, so that it can be asked often. */
static struct identity identify(uintptr_t pc)
{
	struct identity id = { 0 };
#ifdef DLFO_STRUCT_HAS_EH_DBASE
	struct dl_find_object o;

	if (_dl_find_object && !_dl_find_object((void *)pc, &o)) {
		id.map = o.dlfo_link_map;
		id.map_start = o.dlfo_map_start;
	}
#else
	(void)pc;
#endif
	return id;
}

static void insert_live(uintptr_t start, uintptr_t end, uint32_t generation,
			uint32_t record)
{
	uint32_t i = m.nr_live++;

	while (i && m.live[i - 1].start > start) {
		m.live[i] = m.live[i - 1];
		i--;
	}
	m.live[i] = (struct live){ .start = start,
				   .end = end,
				   .generation = generation,
				   .record = record,
				   .id = identify(start) };
}

static void drop_unloaded(uint64_t now_ns)
{
	uint32_t i, kept = 0;

	for (i = 0; i < m.nr_live; i++) {
		struct live l = m.live[i];

		if (still_there(&l)) {
			m.live[kept++] = l;
		} else if (l.record != DEAD_NONE) {
			m.records[l.record].unloaded_ns = now_ns;
			publish(l.record);
		}
	}
	m.nr_live = kept;
}

static void update(void)
{
	uint64_t now_ns = sys_now_ns();
	uint32_t i, generation, record;

	sys_lock(&m.lock, SYS_RANK_MODULES);
	__atomic_store_n(&m.live_seq, m.live_seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	drop_unloaded(now_ns);
	for (i = 0; i < m.nr_found && m.nr_live < SEGMENT_NR_MODULES; i++) {
		const struct bs_abi_module *f = &m.found[i];

		if (!f->end)
			continue;
		record = add_record(f, now_ns, &generation);
		insert_live(f->start, f->end, generation, record);
		if (m.loader_bias && f->bias == m.loader_bias) {
			m.loader_start = f->start;
			m.loader_end = f->end;
		}
	}
	__atomic_store_n(&m.live_seq, m.live_seq + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&m.epoch, m.epoch + 1, __ATOMIC_RELEASE);
	unwind_set_epoch(m.epoch);
	sys_unlock(&m.lock, SYS_RANK_MODULES);
}

void segment_modules(void)
{
	bool changed = false;

	if (!m.records || m.no_scan ||
	    __atomic_exchange_n(&m.scanning, true, __ATOMIC_ACQUIRE))
		return;
	dl_iterate_phdr(collect, &changed);
	if (changed) {
		update();
		m.scanned = true;
	}
	__atomic_store_n(&m.scanning, false, __ATOMIC_RELEASE);
}

/* ---- questions ---------------------------------------------------------------------------- */

uint64_t segment_epoch(void)
{
	return __atomic_load_n(&m.epoch, __ATOMIC_ACQUIRE);
}

static const struct live *find_live(uintptr_t pc)
{
	uint32_t lo = 0, hi = __atomic_load_n(&m.nr_live, __ATOMIC_RELAXED);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (m.live[mid].start <= pc)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && pc < m.live[lo - 1].end ? &m.live[lo - 1] : NULL;
}

/*
 * Copies the live module at pc.  False: none there; or all the time under a change
 * in another thread.
 */
static bool copy_live(uintptr_t pc, struct live *out)
{
	unsigned int tries;
	const struct live *l;
	uint32_t seq;

	for (tries = 0; m.live && tries < 1000; tries++) {
		seq = __atomic_load_n(&m.live_seq, __ATOMIC_ACQUIRE);
		if (seq & 1)
			continue;
		l = find_live(pc);
		if (l)
			*out = *l;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&m.live_seq, __ATOMIC_RELAXED) == seq)
			return l != NULL;
	}
	return false;
}

uint32_t segment_generation(uintptr_t pc)
{
	struct live l;

	return copy_live(pc, &l) ? l.generation : 0;
}

const char *segment_module_path(uintptr_t pc)
{
	struct live l;

	return copy_live(pc, &l) ? m.records[l.record].path : NULL;
}

/*
 * A library that took another one's address may even have the loader's record at the
 * same address; but then there was a dlclose(), after which preload/ calls
 * segment_modules().
 */
void segment_modules_check(const uintptr_t *pcs, size_t nr)
{
	struct identity id;
	struct live l;
	size_t i;

#ifdef DLFO_STRUCT_HAS_EH_DBASE
	if (_dl_find_object) {
		for (i = 0; i < nr; i++) {
			id = identify(pcs[i] - 1);
			if (!copy_live(pcs[i] - 1, &l))
				l.id = (struct identity){ 0 };
			if (id.map != l.id.map ||
			    id.map_start != l.id.map_start)
				break;
		}
		if (i == nr)
			return;
	}
#endif
	segment_modules();
}

bool segment_is_loader(uintptr_t pc)
{
	return pc - m.loader_start < m.loader_end - m.loader_start;
}

/* ---- life ------------------------------------------------------------------------------------ */

void modules_init(const char *exe)
{
	size_t table = SEGMENT_NR_MODULES * sizeof(struct bs_abi_module);

	copy_text(m.exe, sizeof(m.exe), exe);
	m.loader_bias = getauxval(AT_BASE);
	m.found = sys_reserve(table);
	m.live = sys_reserve(SEGMENT_NR_MODULES * sizeof(*m.live));
	if (m.found && m.live)
		m.records = sys_reserve(table);
}

void modules_destroy(void)
{
	size_t table = SEGMENT_NR_MODULES * sizeof(struct bs_abi_module);

	if (m.records)
		sys_munmap(m.records, table);
	if (m.found)
		sys_munmap(m.found, table);
	if (m.live)
		sys_munmap(m.live, SEGMENT_NR_MODULES * sizeof(*m.live));
	memset(&m, 0, sizeof(m));
}

/* Bounded: who scans may itself wait for a lock that the forking thread holds. */
#define FORK_WAIT_NS 1000000000ULL

bool modules_fork_prepare(void)
{
	uint64_t give_up_ns = sys_now_ns() + FORK_WAIT_NS;

	while (__atomic_exchange_n(&m.scanning, true, __ATOMIC_ACQUIRE)) {
		if (sys_now_ns() > give_up_ns)
			return false;
		sys_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
	}
	return true;
}

void modules_fork_parent(void)
{
	__atomic_store_n(&m.scanning, false, __ATOMIC_RELEASE);
}

void modules_fork_child(bool raw)
{
	uint32_t i;

	m.lock.word = 0;
	if (raw && m.scanning)
		m.no_scan = true;
	m.scanning = false;
	if (!(m.live_seq & 1))
		return;
	/* copied in the middle of a change: all records end, and may live on */
	for (i = 0; i < m.nr_records; i++)
		if (!m.records[i].unloaded_ns)
			m.records[i].unloaded_ns = sys_now_ns();
	m.nr_live = 0;
	m.scanned = false;
	m.live_seq++;
}
