/* SPDX-License-Identifier: MIT */
/*
 * What route= says: a library's allocations of a size range are served from
 * another zone, and nothing else is.
 *
 * usage: route LIBRARY     with zones=DMA:16M,NORMAL:64M and
 *	route=dso=module-*,min=128K,max=1M:DMA route=max=2000,min=1900:DMA
 */
#include "check.h"

static const struct bs_abi_header *seg;

static uint64_t used(const char *zone, enum bs_use use)
{
	const struct bs_abi_zone *z = section(seg, BS_SEC_ZONES);

	while (strcmp(z->name, zone))
		z++;
	return z->used_pages[use];
}

/* Whatever the pointer came from, the zone that it lies in. */
static const char *zone_of(const void *p)
{
	const struct bs_abi_zone *z = section(seg, BS_SEC_ZONES);
	uint64_t pfn = ((uintptr_t)p - seg->arena_base) >> 12, i;

	for (i = 0; i < seg->section[BS_SEC_ZONES].count; i++)
		if (pfn >= z[i].start_pfn &&
		    pfn < z[i].start_pfn + z[i].spanned_pages)
			return z[i].name;
	return "none";
}

static bool is_in(const void *p, const char *zone)
{
	return !strcmp(zone_of(p), zone);
}

int main(int argc, char **argv)
{
	void *(*module_alloc)(size_t size);
	char *p, *q;
	void *lib;

	CHECK(argc == 2);
	seg = open_segment(getpid());
	CHECK(seg);
	lib = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	CHECK(lib);
	module_alloc = (void *(*)(size_t))dlsym(lib, "module_alloc");

	/* the library's, in range: 200,000 bytes are 49 pages, trimmed */
	p = module_alloc(200000);
	CHECK(is_in(p, "DMA"));
	CHECK(used("DMA", BS_USE_DMA) == 49);
	CHECK(vmstat(seg, BS_VMSTAT_ROUTED) == 1);
	memset(p, 'x', 200000);

	/* the library's, too small and too large; ours, in range */
	CHECK(is_in(q = module_alloc(127 << 10), "NORMAL"));
	free(q);
	CHECK(is_in(q = module_alloc((1 << 20) + 1), "NORMAL"));
	free(q);
	CHECK(is_in(q = malloc(200000), "NORMAL"));
	free(q);
	CHECK(used("DMA", BS_USE_DMA) == 49);

	/* the one who resizes is us: it moves, with its content */
	p = realloc(p, 300000);
	CHECK(p && is_in(p, "NORMAL") && p[0] == 'x' && p[199999] == 'x');
	CHECK(used("DMA", BS_USE_DMA) == 0);
	free(p);

	/* small ones without dso=: any caller's, out of caches of that zone */
	p = launder(malloc(1950));
	CHECK(is_in(p, "DMA"));
	CHECK(is_in(q = calloc(1, 1899), "NORMAL"));
	free(q);
	CHECK(is_in(q = calloc(1, 1999), "DMA") && !q[0] && !q[1998]);
	free(q);
	free(p);
	CHECK(vmstat(seg, BS_VMSTAT_ROUTED) == 3);
	return 0;
}
