/* SPDX-License-Identifier: MIT */
/*
 * stats.c - glibc's questions about the heap, answered from the zones.
 *
 * Owns:   malloc_trim mallopt mallinfo mallinfo2 malloc_info malloc_stats.
 * Layer:  preload.
 * Locks:  none; counters are read one by one, so that sums of a running program
 *         are near, not exact.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>

#include "preload/entry.h"

/* Attributes that libc's headers give the originals do not matter here. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

struct totals {
	uint64_t managed_bytes, free_bytes, used_bytes, vmalloc_bytes;
	uint64_t nr_free_blocks;
};

static uint64_t pages_to_bytes(uint64_t pages)
{
	return pages << PAGE_SHIFT;
}

static void sum_zone(const struct bs_abi_zone *z, struct totals *t)
{
	t->managed_bytes += pages_to_bytes(z->managed_pages);
	t->free_bytes += pages_to_bytes(z->free_pages);
	t->vmalloc_bytes += pages_to_bytes(z->used_pages[BS_USE_VMALLOC]);
	for (unsigned int type = 0; type < BS_MIGRATE_TYPES; type++)
		for (unsigned int order = 0; order < BS_NR_ORDERS; order++)
			t->nr_free_blocks += z->nr_free[type][order];
}

static struct totals sum_zones(void)
{
	struct totals t = { 0 };

	if (bs_enter()) {
		for (unsigned int i = 0; i < mm.nr_zones; i++)
			sum_zone(&mm.zone[i].stat, &t);
		bs_leave();
	}
	t.used_bytes = t.managed_bytes > t.free_bytes
			       ? t.managed_bytes - t.free_bytes
			       : 0;
	return t;
}

/* arena: all frames of all zones; hblkhd: what vmalloc borrows of them. */
BS_EXPORT struct mallinfo2 mallinfo2(void)
{
	struct totals t = sum_zones();

	return (struct mallinfo2){
		.arena = t.managed_bytes,
		.ordblks = t.nr_free_blocks,
		.hblkhd = t.vmalloc_bytes,
		.uordblks = t.used_bytes,
		.fordblks = t.free_bytes,
	};
}

/* The old form has ints: what does not fit is the largest int. */
static int clip(size_t n)
{
	return n > INT_MAX ? INT_MAX : (int)n;
}

BS_EXPORT struct mallinfo mallinfo(void)
{
	struct mallinfo2 m = mallinfo2();

	return (struct mallinfo){
		.arena = clip(m.arena),
		.ordblks = clip(m.ordblks),
		.hblkhd = clip(m.hblkhd),
		.uordblks = clip(m.uordblks),
		.fordblks = clip(m.fordblks),
	};
}

BS_EXPORT int malloc_trim(size_t pad)
{
	size_t given_back = 0;

	(void)pad;
	if (bs_enter()) {
		given_back = mm_trim();
		bs_leave();
	}
	return given_back > 0;
}

/* Every parameter is one of glibc's own engine: accepted, without effect. */
BS_EXPORT int mallopt(int param, int value)
{
	(void)param;
	(void)value;
	return 1;
}

int __libc_mallopt(int param, int value)
	__attribute__((alias("mallopt"), visibility("default")));
struct mallinfo __libc_mallinfo(void)
	__attribute__((alias("mallinfo"), visibility("default")));

BS_EXPORT void malloc_stats(void)
{
	for (unsigned int i = 0; i < mm.nr_zones; i++) {
		const struct bs_abi_zone *z = &mm.zone[i].stat;

		sys_say("zone %s: managed %lu, free %lu, slab %lu, large %lu, "
			"vmalloc %lu, mmap %lu pages",
			z->name, (unsigned long)z->managed_pages,
			(unsigned long)z->free_pages,
			(unsigned long)z->used_pages[BS_USE_SLAB],
			(unsigned long)z->used_pages[BS_USE_LARGE],
			(unsigned long)z->used_pages[BS_USE_VMALLOC],
			(unsigned long)z->used_pages[BS_USE_MMAP]);
	}
}

BS_EXPORT int malloc_info(int options, FILE *out)
{
	static const char *const use[BS_NR_USES] = {
#define X(name, nr, key) [nr] = (key),
		BS_USE_TABLE(X)
#undef X
	};

	if (options) {
		errno = EINVAL;
		return -1;
	}
	fprintf(out, "<malloc version=\"buddyscope-1\">\n");
	for (unsigned int i = 0; i < mm.nr_zones; i++) {
		const struct bs_abi_zone *z = &mm.zone[i].stat;

		fprintf(out,
			"<zone nr=\"%u\" name=\"%s\">\n"
			"<system type=\"current\" size=\"%llu\"/>\n"
			"<free size=\"%llu\"/>\n",
			i, z->name,
			(unsigned long long)pages_to_bytes(z->managed_pages),
			(unsigned long long)pages_to_bytes(z->free_pages));
		for (unsigned int u = 0; u < BS_NR_USES; u++)
			fprintf(out, "<used kind=\"%s\" size=\"%llu\"/>\n",
				use[u],
				(unsigned long long)pages_to_bytes(
					z->used_pages[u]));
		fprintf(out, "</zone>\n");
	}
	fprintf(out, "</malloc>\n");
	return 0;
}
