/* SPDX-License-Identifier: MIT */
/*
 * shim.c - a second preload, in front of libbuddyscope: where do pointers lie?
 *
 * Owns:   malloc and its kin again; each calls the next definition and looks
 *         at the pointer it returned: in a zone's span, in a recorded area, or
 *         outside.  SHIM_OUT.PID gets the counts at exit.
 * Layer:  test.  Reads the process's own segment, mapped from its file.
 * Locks:  none; counters are atomic.
 *
 * What is returned before the segment exists is kept and judged at exit, by
 * the span of the zones alone: no area lives that long unseen.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/abi.h"

#define EXPORT	   __attribute__((visibility("default")))
#define EARLY_MAX  100000
#define FIRST_SIZE 65536

static struct {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void *(*reallocarray)(void *, size_t, size_t);
	void *(*memalign)(size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*valloc)(size_t);
	void *(*new)(size_t);
	void *(*new_array)(size_t);
} next;

static atomic_ulong nr_calls, nr_arena, nr_area, nr_outside, nr_early;
static void *early[EARLY_MAX];
static void *outside[16];
static const char *_Atomic segment;
static atomic_uint looked;

/* dlsym() may allocate before the next malloc is known. */
static _Alignas(16) char first[FIRST_SIZE];
static atomic_size_t first_used;

static void *first_alloc(size_t size)
{
	size_t at = atomic_fetch_add(&first_used, (size + 31) & ~15UL);

	if (at + size > sizeof(first))
		_exit(120);
	return first + at;
}

static bool is_first(const void *p)
{
	return (const char *)p >= first &&
	       (const char *)p < first + sizeof(first);
}

static void *find(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		_exit(121);
	return p;
}

static void bind_all(void)
{
	static atomic_int state;
	int expected = 0;

	if (atomic_load(&state) == 2 ||
	    !atomic_compare_exchange_strong(&state, &expected, 1))
		return;
	next.calloc = find("calloc");
	next.realloc = find("realloc");
	next.reallocarray = find("reallocarray");
	next.memalign = find("memalign");
	next.aligned_alloc = find("aligned_alloc");
	next.posix_memalign = find("posix_memalign");
	next.valloc = find("valloc");
	next.new = find("_Znwm");
	next.new_array = find("_Znam");
	next.malloc = find("malloc");
	atomic_store(&state, 2);
}

/* The mapping of our own segment: pid and a complete header. */
static const char *map_segment(void)
{
	const char *dir = getenv("BUDDYSCOPE_DIR");
	char line[512], path[400], name[64];
	struct stat st;
	FILE *f;
	void *map;
	int fd;

	path[0] = '\0';
	snprintf(name, sizeof(name), "/%d-", getpid());
	f = fopen("/proc/self/maps", "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strchr(line, '/');

		if (at && dir && !strncmp(at, dir, strlen(dir)) &&
		    strstr(at, name) && strstr(at, ".seg")) {
			at[strcspn(at, "\n ")] = '\0';
			snprintf(path, sizeof(path), "%s", at);
			break;
		}
	}
	if (f)
		fclose(f);
	if (!path[0])
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return NULL;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED ||
	    ((const struct bs_abi_header *)map)->magic != BS_ABI_MAGIC)
		return NULL;
	return map;
}

static bool in_arena(const char *s, uint64_t p)
{
	const struct bs_abi_header *h = (const void *)s;
	const struct bs_abi_section *sec = &h->section[BS_SEC_ZONES];

	for (uint64_t i = 0; i < sec->count; i++) {
		const struct bs_abi_zone *z =
			(const void *)(s + sec->offset + i * sec->elem_bytes);
		uint64_t from = h->arena_base + z->start_pfn * 4096;

		if (p >= from && p < from + z->spanned_pages * 4096)
			return true;
	}
	return false;
}

static bool in_area(const char *s, uint64_t p)
{
	const struct bs_abi_header *h = (const void *)s;
	const struct bs_abi_section *sec = &h->section[BS_SEC_AREAS];

	for (uint64_t i = 0; i < sec->count; i++) {
		const struct bs_abi_area *a =
			(const void *)(s + sec->offset + i * sec->elem_bytes);

		if (a->live && !(a->flags & BS_AREA_LAZY) && p >= a->addr &&
		    p < a->addr + a->bytes)
			return true;
	}
	return false;
}

static void judge(const char *s, void *p, bool areas)
{
	unsigned long n;

	if (in_arena(s, (uintptr_t)p)) {
		atomic_fetch_add(&nr_arena, 1);
	} else if (areas && in_area(s, (uintptr_t)p)) {
		atomic_fetch_add(&nr_area, 1);
	} else {
		n = atomic_fetch_add(&nr_outside, 1);
		if (n < sizeof(outside) / sizeof(outside[0]))
			outside[n] = p;
	}
}

/* Re-entered by map_segment()'s own calls: those are kept for later, too. */
static void look(void *p)
{
	static _Thread_local bool inside
		__attribute__((tls_model("initial-exec")));
	unsigned long n;
	const char *s;

	if (!p)
		return;
	atomic_fetch_add(&nr_calls, 1);
	s = atomic_load(&segment);
	if (!s && !inside && atomic_fetch_add(&looked, 1) % 16 == 0) {
		int saved = errno;

		inside = true;
		s = map_segment();
		inside = false;
		errno = saved;
		if (s)
			atomic_store(&segment, s);
	}
	if (s) {
		judge(s, p, true);
		return;
	}
	n = atomic_fetch_add(&nr_early, 1);
	if (n < EARLY_MAX)
		early[n] = p;
}

EXPORT void *malloc(size_t size)
{
	void *p;

	bind_all();
	if (!next.malloc)
		return first_alloc(size);
	p = next.malloc(size);
	look(p);
	return p;
}

EXPORT void *calloc(size_t nr, size_t size)
{
	void *p;

	bind_all();
	if (!next.malloc)
		return first_alloc(nr * size); /* once: still zero */
	p = next.calloc(nr, size);
	look(p);
	return p;
}

EXPORT void *realloc(void *old, size_t size)
{
	void *p;

	bind_all();
	if (is_first(old)) {
		p = malloc(size);
		if (p)
			memcpy(p, old, size < 4096 ? size : 4096);
		return p;
	}
	p = next.realloc(old, size);
	look(p);
	return p;
}

EXPORT void free(void *p)
{
	static void (*next_free)(void *);

	if (!p || is_first(p))
		return;
	if (!next_free)
		next_free = find("free");
	next_free(p);
}

#define WRAP(name, params, args)                                               \
	EXPORT void *name params;                                              \
	EXPORT void *name params                                               \
	{                                                                      \
		void *p;                                                       \
                                                                               \
		bind_all();                                                    \
		p = next.name args;                                            \
		look(p);                                                       \
		return p;                                                      \
	}

WRAP(reallocarray, (void *old, size_t nr, size_t size), (old, nr, size))
WRAP(memalign, (size_t align, size_t size), (align, size))
WRAP(aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(valloc, (size_t size), (size))

EXPORT int posix_memalign(void **p, size_t align, size_t size)
{
	int ret;

	bind_all();
	ret = next.posix_memalign(p, align, size);
	if (!ret)
		look(*p);
	return ret;
}

/* operator new and new[]; their variants end in malloc's family, too. */
EXPORT void *_Znwm(size_t size);
EXPORT void *_Znwm(size_t size)
{
	void *p;

	bind_all();
	p = next.new(size);
	look(p);
	return p;
}

EXPORT void *_Znam(size_t size);
EXPORT void *_Znam(size_t size)
{
	void *p;

	bind_all();
	p = next.new_array(size);
	look(p);
	return p;
}

static __attribute__((destructor)) void tell(void)
{
	const char *s = atomic_load(&segment);
	unsigned long nr = atomic_load(&nr_early);
	char path[300], out[1024];
	int fd, len;

	if (!getenv("SHIM_OUT"))
		return;
	if (!s)
		s = map_segment();
	if (s)
		for (unsigned long i = 0; i < nr && i < EARLY_MAX; i++)
			judge(s, early[i], false);
	len = snprintf(out, sizeof(out),
		       "calls %lu arena %lu area %lu outside %lu early %lu "
		       "first %zu unknown %lu\n",
		       atomic_load(&nr_calls), atomic_load(&nr_arena),
		       atomic_load(&nr_area), atomic_load(&nr_outside), nr,
		       atomic_load(&first_used),
		       !s		? nr
		       : nr > EARLY_MAX ? nr - EARLY_MAX
					: 0);
	for (int i = 0; i < 16 && outside[i]; i++)
		len += snprintf(out + len, sizeof(out) - (size_t)len, "%p\n",
				outside[i]);
	snprintf(path, sizeof(path), "%s.%d", getenv("SHIM_OUT"), getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, out, (size_t)len) != len)
		_exit(122);
	close(fd);
}
