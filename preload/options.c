/* SPDX-License-Identifier: MIT */
/*
 * options.c - BUDDYSCOPE="key=value key=value ..."
 *
 * Owns:   bs_options and the one table that yields parser, complaints, the text
 *         of BUDDYSCOPE=help and (tests/behaviour/options-doc) docs/options.md.
 * Layer:  preload.
 * Locks:  none; runs once, before anything else.
 *
 * Unknown keys and bad values are reported on stderr, once, and ignored: the
 * program runs with the default.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "preload/internal.h"
#include "preload/route.h"
#include "preload/segment.h"
#include "preload/trace/depot.h"
#include "preload/trace/site.h"

struct bs_options bs_options;

/* What the arena's largest window has room for, in round numbers. */
#define ZONE_MAX_BYTES	(UINT64_C(128) << 30)
#define ZONES_MAX_BYTES (UINT64_C(512) << 30) /* of all zones */

enum option_type {
	OPT_CHOICE, /* index into allowed, "a|b" */
	OPT_TIME,   /* ns from 10ms, 2s, 1m */
	OPT_NUMBER,
	OPT_PERCENT, /* 1/1000 from 5 or 0.5 */
	OPT_TRACE,
	OPT_ZONES,  /* NAME:SIZE[+],... */
	OPT_DIR,    /* an absolute path */
	OPT_SIZE,   /* bytes from 4096, 64K, 128M; pages are whole */
	OPT_MEMMAP, /* SIZE$NAME; may be given several times */
	OPT_ROUTE,  /* conditions:target; may be given several times */
	OPT_DEBUG,  /* letters,cache,... */
};

/* Where a value goes; bytes is the size of the field. */
#define FIELD(f)                                                               \
	.offset = offsetof(struct bs_options, f),                              \
	.bytes = sizeof(((struct bs_options *)0)->f)

#define WHOLE_PAGES " in whole pages, such as 64M"

static const struct option {
	const char *key;
	enum option_type type;
	size_t offset, bytes;
	const char *dflt;
	const char *allowed;
	const char *help;
	const char *more; /* about what is allowed, where that is refused */
} table[] = {
	{ "zones", OPT_ZONES, FIELD(mm.zone), "NORMAL:64M+", "NAME:SIZE[+],...",
	  "up to 16 memory zones, lowest first, sizes in multiples of 4M; + grows",
	  ", sizes in multiples of 4M" },
	{ "large", OPT_CHOICE, FIELD(mm.large_whole), "trim", "trim|whole",
	  "large blocks: free the tail behind the last page, or keep all 2^n" },
	{ "dma", OPT_CHOICE, FIELD(mm.dma_whole), "trim", "trim|whole",
	  "dma_alloc_coherent: free the tail page by page, or keep all 2^n" },
	{ "route", OPT_ROUTE, .dflt = "",
	  .allowed =
		  "[dso=NAME*,][min=SIZE,][max=SIZE,][align=BYTES]:ZONE[/dma|/kmalloc|/vmalloc]",
	  "which allocations are served elsewhere; up to 16 of these, the first "
	  "that fits" },
	{ "oom", OPT_CHOICE, FIELD(mm.oom_fail), "grow", "grow|fail",
	  "when fixed zones are full: add memory, or return NULL" },
	{ "mmap", OPT_CHOICE, FIELD(mm.mmap_charge), "charge", "record|charge",
	  "the program's own mappings: list them, or also take frames for them" },
	{ "vmalloc", OPT_SIZE, FIELD(mm.vmalloc_bytes), "", "SIZE",
	  "window of vmalloc areas, their guard pages included; none: no limit",
	  WHOLE_PAGES },
	{ "memmap", OPT_MEMMAP, FIELD(mm.carveout), "", "SIZE$NAME",
	  "a carve-out, memory that no zone has; up to 8 of them",
	  ", SIZE in whole pages, each NAME once; up to 8" },
	{ "dedicated", OPT_CHOICE, FIELD(mm.dedicated), "on", "off|on",
	  "caches of exactly the sizes that the program asks for often" },
	{ "slab_debug", OPT_DEBUG, FIELD(mm.slab_debug), "",
	  "FZPU[,CACHE*,...]",
	  "F checks, Z red zones, P poison, U users; of all caches or of these" },
	{ "decay", OPT_TIME, FIELD(mm.decay_ns), "1s", "TIME",
	  "age at which free pages are given back to the system",
	  " with its unit, such as 500ms, 10s or 2m" },
	{ "huge", OPT_SIZE, FIELD(mm.huge_bytes), "128M", "SIZE",
	  "heap size beyond which new memory comes in transparent huge pages; "
	  "0: never",
	  WHOLE_PAGES },
	{ "trace", OPT_TRACE, FIELD(trace_mode), "auto",
	  "off|exact|auto|sample:BYTES",
	  "who allocated: backtraces of no allocation, of every one, of every "
	  "one while that is cheap, or of one in BYTES (8K to 32M)",
	  ", BYTES from 8K to 32M" },
	{ "trace_budget", OPT_PERCENT, FIELD(trace_budget), "5", "PERCENT",
	  "of the CPU, 0.1 to 100: beyond it trace=auto samples the costliest "
	  "callers",
	  " from 0.1 to 100" },
	{ "trace_memory", OPT_SIZE, FIELD(trace_memory_bytes), "96M", "SIZE",
	  "what the tables of tracing may take, 2M to 512M; stacks beyond are "
	  "cut to four frames and counted",
	  " from 2M to 512M, whole pages" },
	{ "trace_check", OPT_NUMBER, FIELD(trace_check), "0", "N",
	  "unwind the slow way, too, for one in N stacks that were recognised, "
	  "and count differences; 0: never",
	  ", a whole number" },
	{ "trace_threads", OPT_CHOICE, FIELD(trace_threads), "off", "off|on",
	  "tell which thread allocated: a call site for each thread, so more "
	  "of them" },
	{ "leak_window", OPT_TIME, FIELD(leak_window_ns), "10s", "TIME",
	  "width of the windows in which growth is judged, at least 1ms",
	  " of at least 1ms with its unit, such as 500ms, 10s or 2m" },
	{ "dir", OPT_DIR, FIELD(dir), "", "PATH",
	  "directory of the segment; else $BUDDYSCOPE_DIR, "
	  "else /dev/shm/buddyscope-UID",
	  " from the root, such as /run/buddyscope" },
	{ "publish", OPT_CHOICE, FIELD(publish), "on", "off|on",
	  "make a segment that others can read" },
	{ "on_error", OPT_CHOICE, FIELD(on_error), "abort", "abort|continue",
	  "after the report of a double or bad free, or of slab_debug" },
	{ "verify", OPT_CHOICE, FIELD(verify), "off", "off|exit",
	  "at exit, prove the engine's invariants and say so on stderr" },
};

static_assert(BS_TRACE_OFF == 0 && BS_TRACE_EXACT == 1 && BS_TRACE_AUTO == 2,
	      "order of trace=");
#define BS_DEBUG_ALL                                                           \
	(BS_DEBUG_CHECKS | BS_DEBUG_RED_ZONE | BS_DEBUG_POISON | BS_DEBUG_USER)
static_assert(BS_DEBUG_CHECKS == 1 && BS_DEBUG_RED_ZONE == 2 &&
		      BS_DEBUG_POISON == 4 && BS_DEBUG_USER == 8,
	      "order of slab_debug='s letters");
static_assert(BS_ON_ERROR_ABORT == 0 && BS_ON_ERROR_CONTINUE == 1,
	      "order of on_error=");
static_assert(BS_VERIFY_OFF == 0 && BS_VERIFY_EXIT == 1, "order of verify=");

/* A piece of the environment; not terminated. */
struct word {
	const char *p;
	size_t len;
};

static bool word_is(struct word w, const char *s)
{
	return strlen(s) == w.len && !memcmp(w.p, s, w.len);
}

/* ---- one parser per type; false: not such a value -------------------------------- */

static bool parse_number(struct word *w, uint64_t *n)
{
	size_t i = 0;

	for (*n = 0; i < w->len && w->p[i] >= '0' && w->p[i] <= '9'; i++)
		if (__builtin_mul_overflow(*n, 10, n) ||
		    __builtin_add_overflow(*n, (uint64_t)(w->p[i] - '0'), n))
			return false;
	w->p += i;
	w->len -= i;
	return i > 0;
}

static bool parse_choice(const struct option *o, struct word w, void *field)
{
	const char *s = o->allowed;

	for (uint32_t index = 0; *s; index++) {
		struct word one = { s, strcspn(s, "|") };

		if (one.len == w.len && !memcmp(one.p, w.p, w.len)) {
			if (o->bytes == sizeof(bool))
				*(bool *)field = index;
			else
				*(uint32_t *)field = index;
			return true;
		}
		s += one.len + (s[one.len] == '|');
	}
	return false;
}

static bool parse_time(struct word w, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },	      { "us", 1000 },
		{ "ms", 1000000 },    { "s", 1000000000 },
		{ "m", 60000000000 }, { "h", 3600000000000 },
	};
	uint64_t n;

	if (!parse_number(&w, &n))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (word_is(w, units[i].name))
			return !__builtin_mul_overflow(n, units[i].ns, ns);
	return false;
}

static bool parse_percent(struct word w, uint32_t *thousandths)
{
	uint64_t n;

	if (!parse_number(&w, &n) || n > 100)
		return false;
	n *= 10;
	if (w.len == 2 && w.p[0] == '.' && w.p[1] >= '0' && w.p[1] <= '9')
		n += (uint64_t)(w.p[1] - '0');
	else if (w.len)
		return false;
	*thousandths = (uint32_t)n;
	return n > 0 && n <= 1000;
}

static bool parse_size(struct word w, uint64_t *bytes)
{
	uint64_t unit = 1;

	if (!parse_number(&w, bytes))
		return false;
	if (word_is(w, "K"))
		unit = UINT64_C(1) << 10;
	else if (word_is(w, "M"))
		unit = UINT64_C(1) << 20;
	else if (word_is(w, "G"))
		unit = UINT64_C(1) << 30;
	else if (w.len)
		return false;
	return !__builtin_mul_overflow(*bytes, unit, bytes) &&
	       *bytes <= ZONE_MAX_BYTES;
}

/* A name of a zone or a carve-out: one printable word of 1 to 15 bytes. */
static bool parse_name(struct word w, char name[16])
{
	if (!w.len || w.len >= 16)
		return false;
	for (size_t i = 0; i < w.len; i++)
		if (w.p[i] <= ' ' || w.p[i] >= 127)
			return false;
	memcpy(name, w.p, w.len);
	name[w.len] = '\0';
	return true;
}

static bool parse_zone(struct word w, struct mm_zone_config *z)
{
	const char *colon = memchr(w.p, ':', w.len);
	uint64_t bytes;
	size_t name_len;

	if (!colon)
		return false;
	name_len = (size_t)(colon - w.p);
	if (!parse_name((struct word){ w.p, name_len }, z->name))
		return false;
	w.len -= name_len + 1;
	w.p = colon + 1;
	z->elastic = w.len && w.p[w.len - 1] == '+';
	w.len -= z->elastic;
	/* An elastic zone may start empty; a fixed one of nothing is a slip. */
	if (!parse_size(w, &bytes) || bytes % SECTION_BYTES ||
	    (!bytes && !z->elastic))
		return false;
	z->pages = bytes >> PAGE_SHIFT;
	return true;
}

static bool parse_zones(struct word w, struct mm_config *c, const char **why)
{
	struct mm_zone_config zone[MAX_NR_ZONES] = { 0 };
	unsigned int nr = 0;
	uint64_t pages = 0;

	static_assert(MAX_NR_ZONES == 16, "the texts say so");
	while (w.len) {
		const char *comma = memchr(w.p, ',', w.len);
		size_t len = comma ? (size_t)(comma - w.p) : w.len;

		if (nr == MAX_NR_ZONES)
			*why = "at most 16 zones";
		if (nr == MAX_NR_ZONES ||
		    !parse_zone((struct word){ w.p, len }, &zone[nr]))
			return false;
		for (unsigned int i = 0; i < nr; i++)
			if (!strcmp(zone[i].name, zone[nr].name)) {
				*why = "each name once";
				return false;
			}
		pages += zone[nr].pages;
		nr++;
		w.p += len + (comma != NULL);
		w.len -= len + (comma != NULL);
		if (comma && !w.len)
			return false;
	}
	if (!nr || pages > ZONES_MAX_BYTES >> PAGE_SHIFT)
		return false;
	memcpy(c->zone, zone, sizeof(zone));
	c->nr_zones = nr;
	return true;
}

static bool parse_memmap(struct word w, struct mm_config *c)
{
	const char *dollar = memchr(w.p, '$', w.len);
	struct mm_carveout_config *new = &c->carveout[c->nr_carveouts];
	size_t size_len;

	if (!dollar || c->nr_carveouts == MM_MAX_CARVEOUTS)
		return false;
	size_len = (size_t)(dollar - w.p);
	if (!parse_size((struct word){ w.p, size_len }, &new->bytes) ||
	    !new->bytes || new->bytes % PAGE_SIZE ||
	    !parse_name((struct word){ dollar + 1, w.len - size_len - 1 },
			new->name))
		return false;
	for (unsigned int i = 0; i < c->nr_carveouts; i++)
		if (!strcmp(c->carveout[i].name, new->name))
			return false;
	c->nr_carveouts++;
	return true;
}

/* No letters: all of them, as the kernel has it. */
static bool parse_debug(struct word w, struct mm_config *c)
{
	static const char letters[] = "FZPU"; /* bit 0, 1, ...: BS_DEBUG_* */
	uint32_t debug = 0;

	for (; w.len && *w.p != ','; w.p++, w.len--) {
		const char *at = memchr(letters, *w.p, sizeof(letters) - 1);

		if (!at)
			return false;
		debug |= 1U << (at - letters);
	}
	if (w.len < 2 ? w.len || !debug : w.len > sizeof(c->slab_debug_names))
		return false;
	c->slab_debug = debug ? debug : BS_DEBUG_ALL;
	c->slab_debug_names[0] = '\0';
	if (w.len) {
		memcpy(c->slab_debug_names, w.p + 1, w.len - 1);
		c->slab_debug_names[w.len - 1] = '\0';
	}
	return true;
}

static bool parse_dir(struct word w, char *dir)
{
	while (w.len > 1 && w.p[w.len - 1] == '/')
		w.len--;
	if (!w.len || w.p[0] != '/' || w.len >= BS_DIR_MAX)
		return false;
	memcpy(dir, w.p, w.len);
	dir[w.len] = '\0';
	return true;
}

/* off|exact|auto, or sample:BYTES. */
static bool parse_trace(const struct option *o, struct word w)
{
	static const char sample[] = "sample:";
	size_t len = sizeof(sample) - 1;
	uint64_t bytes;

	if (w.len <= len || memcmp(w.p, sample, len) != 0)
		return memchr(w.p, ':', w.len) == NULL &&
		       parse_choice(o, w, &bs_options.trace_mode);
	if (!parse_size((struct word){ w.p + len, w.len - len }, &bytes) ||
	    bytes < 8192 || bytes > 32UL << 20)
		return false;
	bs_options.trace_mode = BS_TRACE_SAMPLE;
	bs_options.trace_sample_bytes = bytes;
	return true;
}

static bool parse_value(const struct option *o, struct word w, const char **why)
{
	void *field = (char *)&bs_options + o->offset;
	uint64_t ns, bytes, n;

	switch (o->type) {
	case OPT_CHOICE:
		return parse_choice(o, w, field);
	case OPT_TIME:
		if (!parse_time(w, &ns) || ns > INT64_MAX ||
		    (field == &bs_options.leak_window_ns && ns < 1000000))
			return false;
		*(uint64_t *)field = ns;
		return true;
	case OPT_NUMBER:
		if (!parse_number(&w, &n) || w.len || n > UINT32_MAX)
			return false;
		*(uint32_t *)field = (uint32_t)n;
		return true;
	case OPT_PERCENT:
		return parse_percent(w, field);
	case OPT_TRACE:
		return parse_trace(o, w);
	case OPT_ZONES:
		return parse_zones(w, &bs_options.mm, why);
	case OPT_ROUTE:
		return route_parse(w.p, w.len);
	case OPT_DEBUG:
		return parse_debug(w, &bs_options.mm);
	case OPT_DIR:
		return parse_dir(w, field);
	case OPT_SIZE:
		if (!parse_size(w, &bytes) || bytes % PAGE_SIZE ||
		    (!bytes && field != &bs_options.mm.huge_bytes))
			return false;
		if (field == &bs_options.trace_memory_bytes &&
		    (bytes < 2UL << 20 || bytes > 512UL << 20))
			return false;
		*(uint64_t *)field = bytes;
		return true;
	case OPT_MEMMAP:
		return parse_memmap(w, &bs_options.mm);
	}
	return false;
}

/* ---- the whole string ---------------------------------------------------------------- */

static void print_help(void)
{
	sys_say("options, as in BUDDYSCOPE=\"trace=off decay=5s\":");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		sys_say("  %s=%s (%s): %s", table[i].key, table[i].allowed,
			*table[i].dflt ? table[i].dflt : "none", table[i].help);
}

static void refuse(const char *text, const struct option *o, const char *why)
{
	const char *more = o->more && !why ? o->more : "";

	sys_say("ignoring '%s': %s takes %s%s", text, o->key,
		why ? why : o->allowed, more);
}

static void parse_word(struct word w)
{
	const char *eq = memchr(w.p, '=', w.len);
	struct word key = { w.p, eq ? (size_t)(eq - w.p) : w.len };
	const char *why = NULL;
	char text[128];

	sys_format(text, MIN(sizeof(text), w.len + 1), "%s", w.p);
	if (word_is(w, "help")) {
		print_help();
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (!word_is(key, table[i].key))
			continue;
		if (!eq ||
		    !parse_value(&table[i],
				 (struct word){ eq + 1, w.len - key.len - 1 },
				 &why))
			refuse(text, &table[i], why);
		return;
	}
	sys_say("ignoring '%s': no such option (BUDDYSCOPE=help lists them)",
		text);
}

static void parse_all(const char *s)
{
	static const char blanks[] = " \t\n";

	while (*(s += strspn(s, blanks))) {
		struct word w = { s, strcspn(s, blanks) };

		parse_word(w);
		s += w.len;
	}
}

/* ---- the environment --------------------------------------------------------------------- */

extern char **environ;

/* Before libc is set up, environ is not: the kernel has a copy of its own. */
#define ENVIRON_BYTES (256UL << 10)

static char *read_proc_environ(void)
{
	char *buf = sys_reserve(ENVIRON_BYTES);
	long fd = sys_openat(AT_FDCWD, "/proc/self/environ",
			     O_RDONLY | O_CLOEXEC, 0);
	size_t len = 0;
	long n = 0;

	if (buf && !sys_is_err(fd)) {
		do {
			n = sys_read((int)fd, buf + len,
				     ENVIRON_BYTES - 2 - len);
			len += n > 0 ? (size_t)n : 0;
		} while (n > 0 && len < ENVIRON_BYTES - 2);
	}
	if (!sys_is_err(fd))
		sys_close((int)fd);
	return buf; /* ends with two NULs: the memory was zero */
}

static const char *match(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(entry, name, len) && entry[len] == '=' ? entry + len + 1
							       : NULL;
}

static const char *find(char **env, const char *block, const char *name)
{
	const char *value = NULL;

	for (; env && *env && !value; env++)
		value = match(*env, name);
	for (; block && *block && !value; block += strlen(block) + 1)
		value = match(block, name);
	return value;
}

static void default_dir(const char *from_env)
{
	struct word w = { from_env, from_env ? strlen(from_env) : 0 };

	if (bs_options.dir[0])
		return;
	if (w.len && parse_dir(w, bs_options.dir))
		return;
	if (w.len)
		sys_say("ignoring BUDDYSCOPE_DIR: not an absolute path of less "
			"than %d bytes",
			BS_DIR_MAX);
	sys_format(bs_options.dir, BS_DIR_MAX, "/dev/shm/buddyscope-%u",
		   (unsigned int)geteuid());
	bs_options.dir_is_default = true;
}

/* Half of the tables' memory for stacks, half for sites. */
static void trace_resolve(void)
{
	uint64_t half = bs_options.trace_memory_bytes / 2;

	bs_options.nr_nodes = (uint32_t)MIN(half / DEPOT_NODE_BYTES,
					    (uint64_t)SEGMENT_NR_NODES);
	bs_options.nr_sites =
		(uint32_t)MIN(half / SITE_BYTES, (uint64_t)SEGMENT_NR_SITES);
}

void bs_options_read(void)
{
	char **env = bs_environ ? bs_environ : environ;
	const char *text, *why;
	char *block = NULL;

	mm_default_config(&bs_options.mm);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (*table[i].dflt)
			parse_value(&table[i],
				    (struct word){ table[i].dflt,
						   strlen(table[i].dflt) },
				    &why);
	if (getauxval(AT_SECURE)) {
		/* Somebody else's environment: believe nothing, write nothing. */
		bs_options.publish = false;
	} else {
		if (!env)
			block = read_proc_environ();
		text = find(env, block, "BUDDYSCOPE");
		if (text) {
			sys_format(bs_options.text, BS_OPTIONS_MAX, "%s", text);
			parse_all(text);
		}
		default_dir(find(env, block, "BUDDYSCOPE_DIR"));
		if (block)
			sys_munmap(block, ENVIRON_BYTES);
	}
	trace_resolve();
	route_resolve(&bs_options.mm);
	bs_options.mm.tags = bs_options.trace_mode != BS_TRACE_OFF;
}
