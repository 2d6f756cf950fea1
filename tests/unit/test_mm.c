/* SPDX-License-Identifier: MIT */
/*
 * test_mm.c - the engine rule by rule: buddy, zones, SLAB, large, vmalloc,
 * recorded mappings, fork, the handlers' reserve.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/mm/bitset.h"
#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/pcp.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_cache.h"
#include "preload/mm/vmalloc.h"
#include "tests/unit/mm_model.h"

#define MIB (1UL << 20)

static struct bs_abi_zone *stat_of(unsigned int nr)
{
	return &mm.zone[nr].stat;
}

static uint64_t free_blocks(unsigned int zone, unsigned int order)
{
	uint64_t n = 0;
	unsigned int t;

	for (t = 0; t < MM_NR_TYPES; t++)
		n += stat_of(zone)->nr_free[t][order];
	return n;
}

static void start(void (*change)(struct mm_config *c))
{
	struct mm_config c;

	mm_default_config(&c);
	c.tags = true;
	if (change)
		change(&c);
	assert_int_equal(mm_init(&c, NULL), 0);
	mm.vm_keep_bytes = UINT64_MAX; /* the first is kept as well */
	assert_mm_holds();
}

static int stop(void **state)
{
	(void)state;
	mm_destroy();
	return 0;
}

static size_t usable(const void *p)
{
	struct mm_block b;

	assert_int_equal(mm_lookup(p, &b), 0);
	return b.usable;
}

static void two_fixed_zones(struct mm_config *c)
{
	c->nr_zones = 2;
	strcpy(c->zone[0].name, "DMA");
	c->zone[0].pages = 16 * MIB >> PAGE_SHIFT;
	c->zone[0].elastic = false;
	c->zone[1] = c->zone[0];
	strcpy(c->zone[1].name, "NORMAL");
}

static void two_fixed_zones_fail(struct mm_config *c)
{
	two_fixed_zones(c);
	c->oom_fail = true;
}

/* ---- buddy ------------------------------------------------------------------- */

static void alloc_pages_order1_splits_down_and_merges_back(void **state)
{
	uint64_t before[MAX_ORDER], free_pages;
	struct page *page;
	unsigned int o;

	(void)state;
	start(NULL);
	for (o = 0; o < MAX_ORDER; o++)
		before[o] = free_blocks(0, o);
	free_pages = stat_of(0)->free_pages;
	/* Cuts the lowest block that is large enough, whatever its order. */
	page = alloc_pages(GFP_KERNEL | __GFP_MOVABLE, 1, BS_USE_LARGE);
	assert_non_null(page);
	assert_int_equal(stat_of(0)->free_pages, free_pages - 2);
	assert_mm_holds();
	free_page_range(page_to_pfn(page), 2, BS_USE_LARGE, true);
	for (o = 0; o < MAX_ORDER; o++)
		assert_int_equal(free_blocks(0, o), before[o]);
	assert_mm_holds();
}

static void stay_on_this_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)sched_getcpu(), &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* A 64 MiB zone: batch 3, high 18 (zone_batchsize() of 2.6.29). */
static void pcp_lists_serve_single_pages(void **state)
{
	struct page *page[40];
	uint64_t top_blocks;
	unsigned int i, slot;

	(void)state;
	start(NULL);
	top_blocks = free_blocks(0, SECTION_ORDER);
	assert_int_equal(stat_of(0)->pcp_batch, 3);
	assert_int_equal(stat_of(0)->pcp_high, 18);
	stay_on_this_cpu();
	slot = sys_getcpu() % mm.nr_slots;
	pcp_drain(&mm.zone[0]);
	page[0] = alloc_pages(GFP_KERNEL | __GFP_MOVABLE, 0, BS_USE_LARGE);
	assert_int_equal(stat_of(0)->pcp_count[slot], 2);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_PCP], 2);
	assert_mm_holds();
	for (i = 1; i < ARRAY_SIZE(page); i++) {
		page[i] = alloc_pages(GFP_KERNEL | __GFP_MOVABLE, 0,
				      BS_USE_LARGE);
		assert_ptr_equal(page[i], page[0] + i); /* lowest first */
	}
	for (i = 0; i < ARRAY_SIZE(page); i++) {
		free_page_range(page_to_pfn(page[i]), 1, BS_USE_LARGE, false);
		assert_true(stat_of(0)->pcp_count[slot] <= 18);
	}
	assert_mm_holds();
	/* the newest first */
	assert_ptr_equal(alloc_pages(GFP_KERNEL | __GFP_MOVABLE, 0,
				     BS_USE_LARGE),
			 page[ARRAY_SIZE(page) - 1]);
	free_page_range(page_to_pfn(page[ARRAY_SIZE(page) - 1]), 1,
			BS_USE_LARGE, false);
	mm_trim();
	assert_int_equal(stat_of(0)->used_pages[BS_USE_PCP], 0);
	assert_int_equal(free_blocks(0, SECTION_ORDER), top_blocks);
	assert_mm_holds();
}

static void zone_of_1g(struct mm_config *c)
{
	c->zone[0].pages = (1UL << 30) >> PAGE_SHIFT;
}

static void zone_of_4m(struct mm_config *c)
{
	c->zone[0].pages = (4UL << 20) >> PAGE_SHIFT;
}

static void pcp_marks_follow_the_zone(void **state)
{
	(void)state;
	start(zone_of_1g);
	assert_int_equal(stat_of(0)->pcp_batch, 31);
	assert_int_equal(stat_of(0)->pcp_high, 186);
	mm_destroy();
	start(zone_of_4m);
	assert_int_equal(stat_of(0)->pcp_batch, 1);
	assert_int_equal(stat_of(0)->pcp_high, 0);
}

/* Pages that lie in the lists are had before a request fails. */
static void pcp_lists_drain_before_failure(void **state)
{
	uint64_t n = 0, pfn = 0, i;
	struct page *page;

	(void)state;
	start(two_fixed_zones_fail);
	/* all of DMA, page by page; then every page is given back */
	while ((page = alloc_pages(GFP_DMA | GFP_ATOMIC, 0, BS_USE_LARGE))) {
		n++;
		pfn = page_to_pfn(page);
	}
	for (i = 0; i < 8; i++)
		free_page_range(pfn - i, 1, BS_USE_LARGE, false);
	assert_true(n > 3000);
	assert_non_null(alloc_pages(GFP_DMA | GFP_ATOMIC, 0, BS_USE_LARGE));
	assert_mm_holds();
}

static void split_page_frees_each_page_alone(void **state)
{
	struct page *page;
	uint64_t free_pages;
	unsigned int i;

	(void)state;
	start(NULL);
	free_pages = stat_of(0)->free_pages;
	page = alloc_pages(GFP_KERNEL, 4, BS_USE_LARGE);
	split_page(page, 4);
	assert_mm_holds();
	for (i = 0; i < 16; i += 2)
		release(pfn_to_virt(page_to_pfn(page + i)));
	assert_mm_holds();
	for (i = 1; i < 16; i += 2)
		release(pfn_to_virt(page_to_pfn(page + i)));
	mm_trim();
	assert_int_equal(stat_of(0)->free_pages, free_pages);
	assert_mm_holds();
}

static void alloc_pages_exact_keeps_what_it_needs(void **state)
{
	uint64_t free_pages;
	void *p;

	(void)state;
	start(NULL);
	free_pages = stat_of(0)->free_pages;
	p = alloc_pages_exact(5 * PAGE_SIZE + 1, __GFP_ZERO);
	assert_non_null(p);
	assert_int_equal((uintptr_t)p % (8 * PAGE_SIZE), 0);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 6);
	assert_mm_holds();
	release(p);
	mm_trim();
	assert_int_equal(stat_of(0)->free_pages, free_pages);
	assert_null(alloc_pages_exact(LARGE_MAX + 1, GFP_KERNEL));
}

static void alloc_pages_each_order_is_naturally_aligned(void **state)
{
	unsigned int order;

	(void)state;
	start(NULL);
	for (order = 0; order < MAX_ORDER; order++) {
		struct page *page =
			alloc_pages(GFP_KERNEL, order, BS_USE_LARGE);

		assert_non_null(page);
		assert_int_equal(page_to_pfn(page) & ((1UL << order) - 1), 0);
	}
	assert_mm_holds();
}

static void alloc_pages_takes_lowest_block_first(void **state)
{
	struct page *a, *b;

	(void)state;
	start(NULL);
	a = alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE);
	b = alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE);
	assert_true(a < b);
	free_page_range(page_to_pfn(a), SECTION_PAGES, BS_USE_LARGE, true);
	assert_ptr_equal(alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE),
			 a);
}

static void free_page_range_odd_range_frees_each_page_once(void **state)
{
	struct page *page;
	uint64_t pfn, free_pages;

	(void)state;
	start(NULL);
	free_pages = stat_of(0)->free_pages;
	page = alloc_pages(GFP_KERNEL, 6, BS_USE_LARGE);
	pfn = page_to_pfn(page);
	free_page_range(pfn + 37, 27, BS_USE_LARGE, false);
	page->nr_pages = 37;
	assert_mm_holds();
	assert_int_equal(stat_of(0)->free_pages, free_pages - 37);
	free_page_range(pfn, 37, BS_USE_LARGE, false);
	assert_mm_holds();
	assert_int_equal(stat_of(0)->free_pages, free_pages);
}

/* ---- zones --------------------------------------------------------------------- */

static void zone_watermark_ok_counts_only_larger_blocks(void **state)
{
	struct zone zone = { 0 };

	(void)state;
	start(NULL);
	/* 100 single pages and one block of order 3. */
	zone.stat.nr_free[0][0] = 100;
	zone.stat.nr_free[0][3] = 1;
	zone.stat.free_pages = 108;
	assert_true(zone_watermark_ok(&zone, 0, 107, 0, GFP_KERNEL));
	assert_false(zone_watermark_ok(&zone, 0, 108, 0, GFP_KERNEL));
	assert_true(zone_watermark_ok(&zone, 0, 108, 0, GFP_HIGH));
	/* order 3: 108 - 8 + 1 = 101, less the singles 1; 1 > mark / 2 */
	assert_true(zone_watermark_ok(&zone, 3, 1, 0, GFP_KERNEL));
	assert_false(zone_watermark_ok(&zone, 3, 2, 0, GFP_KERNEL));
	zone.stat.protection_pages[1] = 101;
	assert_false(zone_watermark_ok(&zone, 0, 7, 1, GFP_KERNEL));
	assert_true(zone_watermark_ok(&zone, 0, 7, 0, GFP_KERNEL));
}

static void alloc_pages_normal_full_falls_back_to_dma(void **state)
{
	uint64_t dma;

	(void)state;
	start(two_fixed_zones_fail);
	dma = stat_of(0)->free_pages;
	while (stat_of(1)->nr_failed == 0 && stat_of(0)->nr_fallback == 0)
		if (!alloc_pages(GFP_KERNEL, 4, BS_USE_LARGE))
			break;
	assert_true(stat_of(0)->nr_fallback > 0);
	assert_true(stat_of(0)->free_pages < dma);
	assert_mm_holds();
}

static void alloc_pages_dma_full_never_takes_normal(void **state)
{
	uint64_t normal;

	(void)state;
	start(two_fixed_zones_fail);
	normal = stat_of(1)->free_pages;
	while (alloc_pages(GFP_DMA, 3, BS_USE_LARGE))
		;
	assert_int_equal(stat_of(1)->free_pages, normal);
	assert_int_equal(stat_of(0)->nr_failed, 1);
	assert_true(stat_of(0)->free_pages <= stat_of(0)->wmark_min_pages + 16);
	assert_mm_holds();
}

static void alloc_pages_fixed_zone_full_grows_unless_told_to_fail(void **state)
{
	uint64_t present;
	unsigned int i;

	(void)state;
	start(two_fixed_zones);
	present = stat_of(1)->present_pages;
	for (i = 0; i < 40; i++)
		assert_non_null(alloc_pages(GFP_KERNEL, 8, BS_USE_LARGE));
	assert_true(stat_of(1)->present_pages > present);
	assert_true(stat_of(1)->hot_added_pages > 0);
	assert_true(mm.nr_events > 0);
	assert_mm_holds();
}

static void huge_from_two_sections(struct mm_config *c)
{
	c->huge_bytes = 2 * SECTION_BYTES;
}

/* A flag of the mapping that p is in, as smaps has it: "hg", "nh". */
static bool mapping_has(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long lo, hi;
	bool in = false, has = false;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			in = lo <= (uintptr_t)p && (uintptr_t)p < hi;
		else if (in && !strncmp(line, "VmFlags:", 8))
			has = strstr(line, flag) != NULL;
	}
	fclose(f);
	return has;
}

static void section_map_takes_huge_pages_where_the_heap_is_large(void **state)
{
	struct page *p[4];
	unsigned int i;
	bool known;

	(void)state;
	start(huge_from_two_sections); /* with some in the first */
	mm.huge_page_ns = UINT64_MAX;  /* however slow this machine is */
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE);
		assert_non_null(p[i]);
	}
	known = mapping_has(pfn_to_virt(page_to_pfn(p[0])), " nh");
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		const char *virt = pfn_to_virt(page_to_pfn(p[i]));
		uint64_t section = page_to_pfn(p[i]) >> SECTION_ORDER;

		assert_int_equal(!(mm.section[section] & SECT_SMALL), i >= 1);
		if (known) /* a kernel without them has no flag either */
			assert_true(mapping_has(virt, i < 1 ? " nh" : " hg"));
	}
	/* what goes back is not filled again by a huge page */
	trim_pages(p[2], SECTION_PAGES - 64, false);
	zone_report(page_zone(page_to_pfn(p[2])), UINT64_MAX, 0);
	assert_true(mm.section[page_to_pfn(p[2]) >> SECTION_ORDER] &
		    SECT_SMALL);
	if (known)
		assert_true(mapping_has(pfn_to_virt(page_to_pfn(p[2])), " nh"));
	assert_false(mm.section[page_to_pfn(p[3]) >> SECTION_ORDER] &
		     SECT_SMALL);
	assert_mm_holds();
}

/* Each is slow: 4, 8, 16 sections do without. */
static void slow_huge_pages_are_asked_for_less_and_less(void **state)
{
	unsigned int i, tried = 0;

	(void)state;
	start(huge_from_two_sections);
	mm.huge_page_ns = 0;
	for (i = 0; i < 32; i++) {
		uint32_t wait = mm.huge_wait;
		struct page *p =
			alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE);

		assert_non_null(p);
		assert_true(mm.section[page_to_pfn(p) >> SECTION_ORDER] &
			    SECT_SMALL);
		tried += mm.huge_wait > wait;
	}
	/* sections 1, 6, 15 and 32 of those that may have them */
	assert_in_range(tried, 3, 4);
	assert_mm_holds();
}

/* Four of eight sections, of 4 MiB, come free; all but one of the others stay. */
static uint64_t reported_after_a_drop(void)
{
	struct page *p[8];
	struct zone *zone;
	unsigned int i;
	uint64_t then;

	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE);
		assert_non_null(p[i]);
	}
	zone = page_zone(page_to_pfn(p[0]));
	then = zone->stat.reported_pages;
	for (i = 0; i < 4; i++)
		free_page_range(page_to_pfn(p[i]), SECTION_PAGES, BS_USE_LARGE,
				false);
	then = zone->stat.reported_pages - then;
	for (; i < ARRAY_SIZE(p); i++)
		free_page_range(page_to_pfn(p[i]), SECTION_PAGES, BS_USE_LARGE,
				true);
	assert_mm_holds();
	return then;
}

static void drop_from_the_highest_level_goes_back_at_once(void **state)
{
	unsigned int i;

	(void)state;
	start(NULL);
	/* 12 MiB; the fourth section is not as much again */
	assert_int_equal(reported_after_a_drop(), 3 * SECTION_PAGES);
	/* the same again waits: a program may do so all the time */
	assert_int_equal(reported_after_a_drop(), 0);
	for (i = 0; i < 2; i++)
		assert_non_null(
			alloc_pages(GFP_KERNEL, SECTION_ORDER, BS_USE_LARGE));
	assert_int_equal(reported_after_a_drop(), 3 * SECTION_PAGES);
}

static void sixteen_zones(struct mm_config *c)
{
	unsigned int i;

	c->nr_zones = MAX_NR_ZONES;
	for (i = 0; i < MAX_NR_ZONES; i++) {
		c->zone[i].pages = SECTION_PAGES;
		c->zone[i].elastic = false;
		snprintf(c->zone[i].name, sizeof(c->zone[i].name), "Z%u", i);
	}
	c->oom_fail = true;
}

static void alloc_pages_each_of_sixteen_zones_serves_its_own(void **state)
{
	unsigned int i;
	void *p;

	(void)state;
	start(sixteen_zones);
	for (i = 0; i < MAX_NR_ZONES; i++) {
		struct page *page = alloc_pages(__GFP_ZONE(i), 3, BS_USE_LARGE);

		assert_non_null(page);
		assert_ptr_equal(page_zone(page_to_pfn(page)), &mm.zone[i]);
		p = mm_alloc(100, 16, __GFP_ZONE(i));
		assert_non_null(p);
		assert_ptr_equal(page_zone(virt_to_pfn(p)), &mm.zone[i]);
	}
	/* The highest falls back through all below it. */
	while (alloc_pages(GFP_KERNEL, 0, BS_USE_LARGE))
		;
	for (i = 0; i + 1 < MAX_NR_ZONES; i++)
		assert_true(stat_of(i)->nr_fallback > 0);
	assert_true(stat_of(0)->protection_pages[MAX_NR_ZONES - 1] >
		    stat_of(0)->protection_pages[MAX_NR_ZONES - 2]);
	assert_mm_holds();
}

static void zone_elastic_grows_and_shrinks_back(void **state)
{
	void *p[64];
	unsigned int i;

	(void)state;
	start(NULL);
	for (i = 0; i < 64; i++)
		p[i] = mm_alloc(4 * MIB, 1, GFP_KERNEL);
	assert_true(stat_of(0)->present_pages > 256 * MIB >> PAGE_SHIFT);
	for (i = 0; i < 64; i++) {
		assert_non_null(p[i]);
		memset(p[i], 1, 4 * MIB);
		release(p[i]);
	}
	mm_trim();
	assert_int_equal(stat_of(0)->present_pages, 64 * MIB >> PAGE_SHIFT);
	assert_true(stat_of(0)->hot_removed_pages > 0);
	assert_true(stat_of(0)->peak_used_pages >= 256 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
}

static bool resident(const void *p)
{
	unsigned char vec = 0;

	assert_int_equal(mincore((void *)((uintptr_t)p & PAGE_MASK), PAGE_SIZE,
				 &vec),
			 0);
	return vec & 1;
}

static void mm_trim_gives_free_pages_back_and_calloc_stays_zero(void **state)
{
	unsigned char *p, *q;
	size_t i;

	(void)state;
	start(NULL);
	p = mm_alloc(MIB, 1, GFP_KERNEL);
	memset(p, 0xff, MIB);
	release(p);
	assert_true(resident(p));
	assert_true(mm_trim() >= MIB);
	assert_false(resident(p));
	q = mm_alloc(MIB, 1, __GFP_ZERO);
	assert_ptr_equal(p, q);
	assert_false(resident(q + MIB / 2)); /* known zero: not written */
	for (i = 0; i < MIB; i++)
		assert_int_equal(q[i], 0);
}

/* ---- SLAB ------------------------------------------------------------------------ */

static void kmalloc_each_size_fits_its_cache(void **state)
{
	size_t size;

	(void)state;
	start(NULL);
	for (size = 1; size <= KMALLOC_MAX; size += size < 2048 ? 1 : 509) {
		void *p = mm_alloc(size, 1, GFP_KERNEL);
		size_t got = usable(p);

		assert_true(got >= size);
		assert_true(size <= 16 || got < 2 * size);
		if ((got & (got - 1)) == 0 && got <= PAGE_SIZE)
			assert_int_equal((uintptr_t)p & (got - 1), 0);
		release(p);
	}
	assert_mm_holds();
}

static void kmem_cache_geometry_follows_the_kernels_rule(void **state)
{
	const struct kmem_cache *c;

	(void)state;
	start(NULL);
	c = mm.kmalloc_caches[kmalloc_nr(4096)];
	assert_int_equal(c->gfporder, 0);
	assert_int_equal(c->num, 1);
	assert_true(c->flags & CFLGS_OFF_SLAB);
	c = mm.kmalloc_caches[kmalloc_nr(131072)];
	assert_int_equal(c->gfporder, 5);
	assert_int_equal(c->limit, 2); /* 8 of these were a MiB a CPU */
	c = mm.kmalloc_caches[kmalloc_nr(192)];
	assert_false(c->flags & CFLGS_OFF_SLAB);
	assert_int_equal(c->limit, 120);
	assert_int_equal(c->batchcount, 60);
	c = mm.kmalloc_caches[kmalloc_nr(1024)];
	assert_int_equal(c->limit, 54);
	c = mm.kmalloc_caches[kmalloc_nr(2048)];
	assert_int_equal(c->limit, 24);
}

static void kmem_cache_free_twice_is_refused(void **state)
{
	struct mm_block b;
	void *p;

	(void)state;
	start(NULL);
	p = mm_alloc(100, 1, GFP_KERNEL);
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_int_equal(mm_free(p, &b), 0);
	assert_int_equal(mm_free(p, &b), -EALREADY);
	assert_mm_holds();
}

static void mm_lookup_other_pointers_are_refused(void **state)
{
	struct mm_block b;
	char *p, *large;
	int on_stack = 0;

	(void)state;
	start(NULL);
	p = mm_alloc(100, 1, GFP_KERNEL);
	large = mm_alloc(300000, 1, GFP_KERNEL);
	assert_int_equal(mm_lookup(p + 16, &b), -EINVAL);
	assert_int_equal(mm_lookup(large + PAGE_SIZE, &b), -EINVAL);
	assert_int_equal(mm_lookup(large + 8, &b), -EINVAL);
	assert_int_equal(mm_lookup(&on_stack, &b), -ENOENT);
	assert_int_equal(mm_lookup(NULL, &b), -ENOENT);
	assert_int_equal(mm_lookup((void *)-1L, &b), -ENOENT);
	assert_int_equal(mm_lookup(mm.base - 1, &b), -ENOENT);
	release(large);
	assert_int_not_equal(mm_lookup(large, &b), 0);
}

static void kmem_cache_shrink_all_gives_every_slab_back(void **state)
{
	static void *p[20000];
	unsigned int i;

	(void)state;
	start(NULL);
	for (i = 0; i < 20000; i++)
		p[i] = mm_alloc(1 + i % 3000, 1, GFP_KERNEL);
	for (i = 0; i < 20000; i++)
		release(p[i]);
	assert_mm_holds();
	kmem_cache_shrink_all();
	assert_int_equal(stat_of(0)->used_pages[BS_USE_SLAB], 0);
	assert_mm_holds();
}

/* ---- large ------------------------------------------------------------------------- */

static void large_whole(struct mm_config *c)
{
	c->large_whole = true;
}

static void large_trim_returns_the_tail(void **state)
{
	void *p;

	(void)state;
	start(NULL);
	p = mm_alloc(300000, 1, GFP_KERNEL);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 74);
	assert_int_equal(usable(p), 74 * PAGE_SIZE);
	release(p);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 0);
}

static void large_whole_keeps_the_block(void **state)
{
	void *p;

	(void)state;
	start(large_whole);
	p = mm_alloc(300000, 1, GFP_KERNEL);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 128);
	assert_int_equal(usable(p), 74 * PAGE_SIZE);
	release(p);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 0);
	assert_mm_holds();
}

static void mm_resize_large_shrinks_in_place(void **state)
{
	struct mm_block b;
	char *p;

	(void)state;
	start(NULL);
	p = mm_alloc(MIB, 1, GFP_KERNEL);
	memset(p, 5, MIB);
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_ptr_equal(mm_resize(p, &b, 200000), p);
	assert_int_equal(b.usable, ALIGN_UP(200000UL, PAGE_SIZE));
	assert_int_equal(p[199999], 5);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_LARGE], 49);
	assert_mm_holds();
	assert_null(mm_resize(p, &b, 2 * MIB)); /* the caller copies */
}

/* ---- vmalloc ------------------------------------------------------------------------- */

static void vmalloc_lends_frames_and_has_a_guard(void **state)
{
	char *p;
	pid_t pid;
	int status;

	(void)state;
	start(NULL);
	p = mm_alloc(8 * MIB, 1, GFP_KERNEL);
	assert_non_null(p);
	assert_false(mm_in_arena(p));
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC],
			 8 * MIB >> PAGE_SHIFT);
	memset(p, 1, 8 * MIB);
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		((volatile char *)p)[8 * MIB] = 1;
		_exit(0);
	}
	waitpid(pid, &status, 0);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	release(p);
	assert_mm_holds();
}

static void vmalloc_freed_area_is_reused_and_purged(void **state)
{
	char *p, *q;

	(void)state;
	start(NULL);
	p = mm_alloc(8 * MIB, 1, GFP_KERNEL);
	memset(p, 1, 8 * MIB);
	release(p);
	assert_int_equal(mm.vm_lazy_bytes, 8 * MIB);
	q = mm_alloc(8 * MIB - 100, 1, __GFP_ZERO);
	assert_ptr_equal(p, q);
	assert_int_equal(q[12345], 0);
	release(q);
	vmalloc_purge(0);
	assert_int_equal(mm.vm_lazy_bytes, 0);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC], 0);
	assert_mm_holds();
}

static void vmalloc_larger_kept_area_is_tightened_with_age(void **state)
{
	struct mm_block b;
	char *p, *q;

	(void)state;
	start(NULL);
	p = mm_alloc(10 * MIB, 1, GFP_KERNEL);
	release(p);
	q = mm_alloc(6 * MIB, 1, GFP_KERNEL);
	assert_ptr_equal(p, q);
	memset(q, 5, 6 * MIB);
	assert_int_equal(mm_lookup(q, &b), 0);
	assert_int_equal(b.usable, 6 * MIB);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC],
			 10 * MIB >> PAGE_SHIFT);
	assert_true(vmalloc_purge(60000000000ULL)); /* too young */
	assert_false(vmalloc_purge(0));
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC],
			 6 * MIB >> PAGE_SHIFT);
	assert_int_equal(q[6 * MIB - 1], 5);
	assert_mm_holds();
	release(q);
	assert_ptr_equal(mm_alloc(5 * MIB, 1, GFP_KERNEL), q);
	q = mm_resize(q, (mm_lookup(q, &b), &b), 20 * MIB);
	assert_non_null(q);
	assert_false(vmalloc_purge(0));
	assert_mm_holds();
}

static void vmalloc_keeps_no_more_than_was_alive_at_once(void **state)
{
	char *p, *q;

	(void)state;
	start(NULL);
	p = mm_alloc(10 * MIB, 1, GFP_KERNEL);
	q = mm_alloc(5 * MIB, 1, GFP_KERNEL);
	release(p);
	assert_int_equal(mm.vm_lazy_bytes, 10 * MIB);
	p = mm_alloc(12 * MIB, 1, GFP_KERNEL); /* 17 alive, 15 were */
	assert_int_equal(mm.vm_lazy_bytes, 0);
	release(p);
	release(q);
	assert_int_equal(mm.vm_lazy_bytes, 17 * MIB);
	assert_mm_holds();
}

static void vmalloc_resize_keeps_content(void **state)
{
	struct mm_block b;
	char *p;

	(void)state;
	start(NULL);
	p = mm_alloc(6 * MIB, 1, GFP_KERNEL);
	p[0] = 1;
	p[6 * MIB - 1] = 2;
	assert_int_equal(mm_lookup(p, &b), 0);
	p = mm_resize(p, &b, 40 * MIB);
	assert_non_null(p);
	assert_int_equal(p[0], 1);
	assert_int_equal(p[6 * MIB - 1], 2);
	p[40 * MIB - 1] = 3;
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC],
			 40 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
	p = mm_resize(p, &b, 5 * MIB);
	assert_non_null(p);
	assert_int_equal(p[0], 1);
	assert_int_equal(stat_of(0)->used_pages[BS_USE_VMALLOC],
			 5 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
}

static void vmalloc_fixed_zone_takes_pages_one_by_one(void **state)
{
	void *p;

	(void)state;
	start(two_fixed_zones_fail);
	p = mm_alloc(5 * MIB, 1, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(pfn_to_page(vm_find((uint64_t)p)->lent - 1UL)->order,
			 0);
	assert_null(mm_alloc(60 * MIB, 1, GFP_KERNEL));
	assert_int_equal(stat_of(1)->used_pages[BS_USE_VMALLOC] +
				 stat_of(0)->used_pages[BS_USE_VMALLOC],
			 5 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
}

/* No block of two pages is free, and many pages are. */
static void fragment(void)
{
	struct page *page, *keep = NULL, *free_later = NULL;
	bool turn = false;

	while ((page = alloc_pages(GFP_KERNEL | __GFP_NOWARN, 0,
				   BS_USE_LARGE))) {
		struct page **list = turn ? &keep : &free_later;

		page->tag = (uint64_t)(uintptr_t)*list;
		*list = page;
		turn = !turn;
	}
	while (free_later) {
		page = free_later;
		free_later = (struct page *)(uintptr_t)page->tag;
		free_page_range(page_to_pfn(page), 1, BS_USE_LARGE, false);
	}
	while (alloc_pages(GFP_KERNEL | __GFP_NOWARN, 1, BS_USE_LARGE))
		; /* the reserve */
}

static uint64_t nr_failed(void)
{
	return stat_of(0)->nr_failed + stat_of(1)->nr_failed;
}

static void mm_alloc_without_a_block_for_a_slab_is_an_area(void **state)
{
	struct mm_block b;
	uint64_t before;
	void *p, *q;

	(void)state;
	start(two_fixed_zones_fail);
	fragment();
	before = nr_failed();
	p = mm_alloc(60000, 1, __GFP_ZERO);
	assert_non_null(p);
	assert_non_null(vm_find((uint64_t)p));
	assert_int_equal(((char *)p)[59999], 0);
	assert_int_equal(usable(p), ALIGN_UP(60000UL, PAGE_SIZE));
	q = mm_alloc(MIB, 1, GFP_KERNEL);
	assert_non_null(q);
	assert_int_equal(nr_failed(), before);
	q = mm_alloc(60000, 64, GFP_KERNEL);
	assert_non_null(vm_find((uint64_t)q));

	/* it is kept by what it is large enough for */
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_ptr_equal(mm_resize(p, &b, 60001), p);
	assert_ptr_equal(mm_resize(p, &b, 50000), p);
	assert_null(mm_resize(p, &b, 70000));

	assert_null(mm_kmalloc(60000, GFP_KERNEL)); /* that is one block */
	assert_true(nr_failed() > before);
	before = nr_failed();
	assert_null(mm_alloc(30 * MIB, 1, GFP_KERNEL | __GFP_TRY));
	assert_int_equal(nr_failed(), before);
	assert_null(mm_alloc(30 * MIB, 1, GFP_KERNEL));
	assert_true(nr_failed() > before);
	assert_mm_holds();
}

/* What is allocated under the lock of areas is never an area. */
static void vm_dup_path_without_a_block_takes_no_lock(void **state)
{
	char path[3000];
	int i;

	(void)state;
	start(two_fixed_zones_fail);
	fragment();
	memset(path, 'a', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	for (i = 0; i < 100; i++)
		if (!vm_dup_path(path))
			break;
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	assert_in_range(i, 0, 99); /* there was no block in the end */
	assert_mm_holds();
}

static void mm_alloc_impossible_size_returns_null(void **state)
{
	(void)state;
	start(NULL);
	assert_null(mm_alloc(SIZE_MAX, 1, GFP_KERNEL));
	assert_null(mm_alloc(SIZE_MAX - PAGE_SIZE, 1, GFP_KERNEL));
	assert_null(mm_alloc(1UL << 60, 1, GFP_KERNEL));
	assert_mm_holds();
}

/* ---- recorded mappings --------------------------------------------------------------------- */

#define MAP_ANON_PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW		 (PROT_READ | PROT_WRITE)

static int64_t gone_bytes;
static int gone_objects;

static void note_gone(uint64_t tag, int64_t bytes, int nr_objects)
{
	assert_int_equal(tag_site(tag), 7);
	gone_bytes += bytes;
	gone_objects += nr_objects;
}

static void start_maps(void)
{
	struct mm_client client = { .area_gone = note_gone };
	struct mm_config c;

	mm_default_config(&c);
	gone_bytes = 0;
	gone_objects = 0;
	assert_int_equal(mm_init(&c, &client), 0);
}

static char *map(void *addr, size_t len, int prot, int flags)
{
	long ret = mm_mmap(addr, len, prot, flags, -1, 0, tag_make(7, 0, 1));

	assert_false(sys_is_err(ret));
	assert_mm_holds();
	return (char *)ret;
}

static uint64_t mmap_pages(void)
{
	return stat_of(0)->used_pages[BS_USE_MMAP];
}

static void mm_mmap_anonymous_is_charged_until_munmap(void **state)
{
	char *p;

	(void)state;
	start_maps();
	p = map(NULL, 10 * PAGE_SIZE - 5, RW, MAP_ANON_PRIVATE);
	assert_int_equal(mmap_pages(), 10);
	p[0] = 1;
	assert_int_equal(mm_munmap(p, 10 * PAGE_SIZE), 0);
	assert_int_equal(mmap_pages(), 0);
	assert_int_equal(gone_objects, 1);
	assert_int_equal(gone_bytes, 10 * PAGE_SIZE);
	assert_mm_holds();
}

static void mm_munmap_middle_leaves_two_areas(void **state)
{
	char *p;

	(void)state;
	start_maps();
	p = map(NULL, 100 * PAGE_SIZE, RW, MAP_ANON_PRIVATE);
	assert_int_equal(mm_munmap(p + 30 * PAGE_SIZE, 20 * PAGE_SIZE), 0);
	assert_mm_holds();
	assert_int_equal(mmap_pages(), 80);
	assert_int_equal(gone_bytes, 20 * PAGE_SIZE);
	assert_int_equal(gone_objects, -1);
	assert_int_equal(vm_find((uint64_t)p)->size, 30 * PAGE_SIZE);
	assert_int_equal(vm_find((uint64_t)p + 30 * PAGE_SIZE)->addr,
			 (uint64_t)p + 50 * PAGE_SIZE);
	assert_int_equal(mm_munmap(p, 100 * PAGE_SIZE), 0);
	assert_int_equal(gone_bytes, 100 * PAGE_SIZE);
	assert_int_equal(gone_objects, 1);
	assert_int_equal(mmap_pages(), 0);
	assert_int_equal(mm.nr_areas, 0);
	assert_mm_holds();
}

static void mm_mmap_fixed_over_area_replaces_that_part(void **state)
{
	char *p;

	(void)state;
	start_maps();
	p = map(NULL, 64 * PAGE_SIZE, RW, MAP_ANON_PRIVATE);
	map(p + 8 * PAGE_SIZE, 8 * PAGE_SIZE, PROT_NONE,
	    MAP_ANON_PRIVATE | MAP_FIXED);
	assert_int_equal(mmap_pages(), 56);
	assert_int_equal(mm.nr_areas, 3);
	mm_munmap(p, 64 * PAGE_SIZE);
	assert_int_equal(mmap_pages(), 0);
	assert_mm_holds();
}

static void mm_mprotect_reservation_is_charged_where_written(void **state)
{
	char *p;

	(void)state;
	start_maps();
	p = map(NULL, 1UL << 40, PROT_NONE, MAP_ANON_PRIVATE | MAP_NORESERVE);
	assert_int_equal(mmap_pages(), 0);
	assert_int_equal(mm_mprotect(p, 10 * PAGE_SIZE, RW), 0);
	assert_int_equal(mmap_pages(), 10);
	assert_int_equal(mm_mprotect(p + 10 * PAGE_SIZE, 10 * PAGE_SIZE, RW),
			 0);
	assert_int_equal(mmap_pages(), 20);
	assert_int_equal(mm.nr_areas, 2); /* neighbours joined */
	assert_int_equal(gone_bytes, -20 * (int64_t)PAGE_SIZE);
	assert_mm_holds();
	mm_munmap(p, 1UL << 40);
	assert_int_equal(mmap_pages(), 0);
	assert_int_equal(gone_bytes, 0);
	assert_int_equal(gone_objects, 1);
	assert_mm_holds();
}

static void mm_mremap_moves_grows_and_shrinks_the_record(void **state)
{
	char *p, *q;

	(void)state;
	start_maps();
	p = map(NULL, 17 * PAGE_SIZE, RW, MAP_ANON_PRIVATE); /* cannot grow */
	p[3] = 9;
	q = (char *)mm_mremap(p, 16 * PAGE_SIZE, 32 * PAGE_SIZE, MREMAP_MAYMOVE,
			      NULL);
	assert_false(sys_is_err((long)q));
	assert_int_equal(q[3], 9);
	assert_int_equal(mmap_pages(), 33);
	assert_mm_holds();
	assert_ptr_equal((char *)mm_mremap(q, 32 * PAGE_SIZE, 4 * PAGE_SIZE, 0,
					   NULL),
			 q);
	assert_int_equal(mmap_pages(), 5);
	mm_munmap(q, 4 * PAGE_SIZE);
	mm_munmap(p + 16 * PAGE_SIZE, PAGE_SIZE);
	assert_int_equal(mm.nr_areas, 0);
	assert_mm_holds();
}

static void mm_mmap_fixed_zone_full_is_counted_not_refused(void **state)
{
	char *p;

	(void)state;
	start(two_fixed_zones_fail);
	p = (char *)mm_mmap(NULL, 100 * MIB, RW, MAP_ANON_PRIVATE, -1, 0, 0);
	assert_false(sys_is_err((long)p));
	assert_true(stat_of(1)->overcommit_pages > 60 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
	mm_munmap(p, 100 * MIB);
	assert_int_equal(stat_of(1)->overcommit_pages, 0);
	assert_mm_holds();
}

static void mm_mmap_refused_by_kernel_returns_its_error(void **state)
{
	(void)state;
	start_maps();
	assert_int_equal(mm_mmap(NULL, 0, RW, MAP_ANON_PRIVATE, -1, 0, 0),
			 -EINVAL);
	assert_int_equal(mm_mmap(NULL, 4096, RW, MAP_PRIVATE, -1, 0, 0),
			 -EBADF);
	assert_int_equal(mm_munmap((void *)1, 4096), -EINVAL);
	assert_int_equal(mm.nr_areas, 0);
}

static void mm_mmap_random_ranges_hold(void **state)
{
	struct model m;
	char *base;
	unsigned int i;

	(void)state;
	start_maps();
	model_init(&m, test_seed(), 0);
	base = map(NULL, 256 * PAGE_SIZE, RW, MAP_ANON_PRIVATE);
	for (i = 0; i < 2000; i++) {
		uint64_t at = model_random(&m) % 250;
		uint64_t len = 1 + model_random(&m) % (256 - at);
		char *p = base + at * PAGE_SIZE;

		switch (model_random(&m) % 4) {
		case 0:
			mm_munmap(p, len * PAGE_SIZE);
			break;
		case 1:
			map(p, len * PAGE_SIZE, PROT_NONE,
			    MAP_ANON_PRIVATE | MAP_FIXED);
			break;
		case 2:
			map(p, len * PAGE_SIZE, RW,
			    MAP_ANON_PRIVATE | MAP_FIXED);
			break;
		default:
			mm_mprotect(p, len * PAGE_SIZE, RW);
		}
		if (i % 16 == 0)
			assert_mm_holds();
	}
	mm_munmap(base, 256 * PAGE_SIZE);
	assert_int_equal(mm.nr_areas, 0);
	assert_int_equal(mmap_pages(), 0);
	assert_mm_holds();
}

/* ---- fork, handlers -------------------------------------------------------------------------- */

static void expect_child_fine(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int use_in_child(char *old)
{
	char why[256];
	struct mm_block b;
	char *p = mm_alloc(1000, 1, GFP_KERNEL);

	if (!p || mm_lookup(old, &b) || mm_free(old, &b))
		return 1;
	memset(p, 1, 1000);
	return mm_verify(why, sizeof(why), NULL, NULL) ? 2 : 0;
}

static void mm_fork_child_allocates_and_holds(void **state)
{
	char *p;
	pid_t pid;

	(void)state;
	start(NULL);
	p = mm_alloc(1000, 1, GFP_KERNEL);
	mm_fork_prepare();
	pid = fork();
	if (!pid) {
		mm_fork_child();
		_exit(use_in_child(p));
	}
	mm_fork_parent();
	expect_child_fine(pid);
	release(p);
	assert_mm_holds();
}

static void mm_raw_child_gives_up_what_was_locked(void **state)
{
	struct kmem_cache *cachep;
	struct mm_block b;
	char *p, *big;
	pid_t pid;

	(void)state;
	start(NULL);
	p = mm_alloc(1000, 1, GFP_KERNEL);
	big = mm_alloc(300000, 1, GFP_KERNEL);
	cachep = mm.kmalloc_caches[kmalloc_nr(1000)];
	pid = fork();
	if (!pid) {
		/* As if another thread had been inside all of these. */
		cachep->list3.list_lock.word = 1;
		mm.zone[0].lock.word = 2;
		mm.meta_lock.word = 1;
		if (mm_wipe->alive) /* the page must have been wiped */
			_exit(10);
		if (mm_raw_child() != 3)
			_exit(11);
		if (mm_lookup(p, &b) || mm_free(p, &b)) /* ignored, counted */
			_exit(12);
		if (mm.vmstat[BS_VMSTAT_LOST_FREES] != 1)
			_exit(13);
		if (mm_lookup(big, &b) || mm_free(big, &b))
			_exit(14);
		p = mm_alloc(1000, 1, GFP_KERNEL);
		big = mm_alloc(300000, 1, GFP_KERNEL);
		if (!p || !big)
			_exit(15);
		memset(p, 1, 1000);
		memset(big, 1, 300000);
		_exit(0);
	}
	expect_child_fine(pid);
	assert_mm_holds();
}

static void free_deferred(void *p)
{
	release(p);
}

static void mm_atomic_reserve_serves_and_is_refilled(void **state)
{
	unsigned int i;
	void *p[40];
	char *big;

	(void)state;
	start(NULL);
	assert_false(mm_atomic_pending());
	big = mm_atomic_alloc(50, 16, true); /* a mapping: nothing is ready */
	assert_non_null(big);
	assert_false(mm_in_arena(big));
	assert_true(mm_atomic_pending());
	mm_atomic_work(free_deferred);
	assert_true(mm_atomic_free(big));
	mm_atomic_work(free_deferred);
	assert_false(mm_atomic_pending());
	for (i = 0; i < 40; i++) {
		p[i] = mm_atomic_alloc(50, 16, true);
		assert_non_null(p[i]);
		memset(p[i], 1, 50);
	}
	assert_true(mm_in_arena(p[0]));
	big = mm_atomic_alloc(MIB, 16, false);
	assert_non_null(big);
	big[MIB - 1] = 1;
	for (i = 0; i < 40; i++)
		assert_true(mm_atomic_free(p[i]));
	assert_true(mm_atomic_free(big));
	for (i = 0; i < 40; i++) {
		struct mm_block b;

		if (mm_lookup(p[i], &b) == 0 && b.tag) {
			*b.tag = 0;
			mm_tag_gone(&b);
		}
	}
	mm_atomic_work(free_deferred);
	assert_mm_holds();
	assert_int_equal(mm.vmstat[BS_VMSTAT_DEFERRED_FREES], 42);
	assert_int_equal(mm.vmstat[BS_VMSTAT_ATOMIC_FAILED], 0);
}

static void mm_atomic_reserve_after_a_few_slabs_is_asked_for(void **state)
{
	unsigned int i;

	(void)state;
	start(NULL);
	for (i = 1; i <= ATOMIC_FROM_SLABS; i++) {
		assert_false(mm.atomic.work & MM_WORK_ATOMIC);
		assert_true(cache_grow(mm.kmalloc_caches[0], GFP_KERNEL));
	}
	assert_true(mm.atomic.work & MM_WORK_ATOMIC);
	mm_atomic_work(free_deferred);
	assert_false(mm.atomic.work & MM_WORK_ATOMIC);
	assert_mm_holds();
}

/* Nobody refills meanwhile, as when all wait for one that is long inside. */
static void mm_atomic_reserve_outlasts_a_stall(void **state)
{
	static char *p[1000];
	unsigned int round, i;

	(void)state;
	start(NULL);
	mm_atomic_work(free_deferred);
	for (round = 0; round < 2; round++) {
		for (i = 0; i < 1000; i++) {
			p[i] = mm_atomic_alloc(i % 2 ? 100 : 5000, 16, true);
			assert_non_null(p[i]);
			p[i][99] = 1;
		}
		for (i = 0; i < 1000; i++) {
			struct mm_block b;

			assert_int_equal(mm_lookup(p[i], &b), 0);
			if (b.tag) {
				*b.tag = 0;
				mm_tag_gone(&b);
			}
			assert_true(mm_atomic_free(p[i]));
		}
		mm_atomic_work(free_deferred);
		assert_mm_holds();
	}
	assert_int_equal(mm.vmstat[BS_VMSTAT_ATOMIC_FAILED], 0);
	assert_int_equal(mm.vmstat[BS_VMSTAT_LOST_FREES], 0);
	assert_int_equal(mm.vmstat[BS_VMSTAT_DEFERRED_FREES], 2000);
}

/* ---- tables ---------------------------------------------------------------------- */

#define NR_BITS 300000U

/* Of a set whose first words lie elsewhere; heads of 0 blocks to more than all. */
static void check_bitset(struct model *m, uint64_t nr_head)
{
	static uint64_t mem[NR_BITS / 32], head[NR_BITS / 32];
	static bool member[NR_BITS];
	struct bitset b;
	unsigned int i, n;
	uint64_t at;

	memset(mem, 0, sizeof(mem));
	memset(head, 0, sizeof(head));
	memset(member, 0, sizeof(member));
	assert_true(bitset_words(NR_BITS) <= NR_BITS / 32);
	bitset_init(&b, NR_BITS, mem, nr_head, head);
	assert_int_equal(b.head_at[b.nr_levels],
			 bitset_head_words(NR_BITS, nr_head));
	for (n = 0; n < 3000; n++) {
		i = (unsigned int)(model_random(m) % NR_BITS);
		if (n % 2) /* around the border, too */
			i = (unsigned int)(nr_head + i % 512) % NR_BITS;
		if (member[i])
			bitset_clear(&b, i);
		else
			bitset_set(&b, i);
		member[i] = !member[i];
	}
	for (i = 0, at = bitset_first(&b); i < NR_BITS; i++) {
		assert_int_equal(bitset_test(&b, i), member[i]);
		if (!member[i])
			continue;
		assert_int_equal(at, i);
		n = i;
		at = bitset_next(&b, at + 1);
	}
	assert_int_equal(at, BITSET_NONE);
	assert_int_equal(bitset_last(&b), n);
	bitset_clear_all(&b);
	for (i = 0; i < NR_BITS; i++)
		assert_false(bitset_test(&b, i));
}

static void bitset_with_head_agrees_with_plain_bits(void **state)
{
	const uint64_t heads[] = { 0, 1, 64, 4096, 16384, NR_BITS, 1U << 20 };
	static struct model m;
	unsigned int i;

	(void)state;
	model_init(&m, test_seed(), 0);
	for (i = 0; i < ARRAY_SIZE(heads); i++)
		check_bitset(&m, heads[i]);
}

static bool is_fresh(uint64_t section)
{
	return mm.section[section] & SECT_FRESH;
}

static void sections_are_written_down_when_needed(void **state)
{
	struct mm_config c;
	uint64_t s, nr;
	void *p;

	(void)state;
	mm_default_config(&c);
	assert_int_equal(mm_init(&c, NULL), 0);
	nr = mm.zone[0].initial_pages / SECTION_PAGES;
	assert_true(nr > 3);
	for (s = 0; s < nr; s++)
		assert_int_equal(is_fresh(s), s > 0); /* 0: descriptors */
	assert_int_equal(free_blocks(0, SECTION_ORDER), nr - 1);
	p = alloc_pages_exact(4 * MIB, GFP_KERNEL);
	assert_non_null(p);
	s = virt_to_pfn(p) >> SECTION_ORDER;
	assert_false(is_fresh(s));
	assert_true(is_fresh(nr - 1));
	assert_int_equal(mm_lookup(pfn_to_virt((nr - 1) << SECTION_ORDER),
				   &(struct mm_block){ 0 }),
			 -EINVAL); /* nobody ever had it */
	release(p);
	assert_mm_holds(); /* the walk needs all records */
	for (s = 0; s < nr; s++)
		assert_false(is_fresh(s));
}

#define TEST(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(alloc_pages_order1_splits_down_and_merges_back),
		TEST(pcp_lists_serve_single_pages),
		TEST(pcp_marks_follow_the_zone),
		TEST(pcp_lists_drain_before_failure),
		TEST(split_page_frees_each_page_alone),
		TEST(alloc_pages_exact_keeps_what_it_needs),
		TEST(alloc_pages_each_order_is_naturally_aligned),
		TEST(alloc_pages_takes_lowest_block_first),
		TEST(free_page_range_odd_range_frees_each_page_once),
		TEST(zone_watermark_ok_counts_only_larger_blocks),
		TEST(alloc_pages_normal_full_falls_back_to_dma),
		TEST(alloc_pages_dma_full_never_takes_normal),
		TEST(alloc_pages_fixed_zone_full_grows_unless_told_to_fail),
		TEST(section_map_takes_huge_pages_where_the_heap_is_large),
		TEST(slow_huge_pages_are_asked_for_less_and_less),
		TEST(drop_from_the_highest_level_goes_back_at_once),
		TEST(alloc_pages_each_of_sixteen_zones_serves_its_own),
		TEST(zone_elastic_grows_and_shrinks_back),
		TEST(mm_trim_gives_free_pages_back_and_calloc_stays_zero),
		TEST(kmalloc_each_size_fits_its_cache),
		TEST(kmem_cache_geometry_follows_the_kernels_rule),
		TEST(kmem_cache_free_twice_is_refused),
		TEST(mm_lookup_other_pointers_are_refused),
		TEST(kmem_cache_shrink_all_gives_every_slab_back),
		TEST(large_trim_returns_the_tail),
		TEST(large_whole_keeps_the_block),
		TEST(mm_resize_large_shrinks_in_place),
		TEST(vmalloc_lends_frames_and_has_a_guard),
		TEST(vmalloc_freed_area_is_reused_and_purged),
		TEST(vmalloc_larger_kept_area_is_tightened_with_age),
		TEST(vmalloc_keeps_no_more_than_was_alive_at_once),
		TEST(vmalloc_resize_keeps_content),
		TEST(vmalloc_fixed_zone_takes_pages_one_by_one),
		TEST(mm_alloc_without_a_block_for_a_slab_is_an_area),
		TEST(vm_dup_path_without_a_block_takes_no_lock),
		TEST(mm_alloc_impossible_size_returns_null),
		TEST(mm_mmap_anonymous_is_charged_until_munmap),
		TEST(mm_munmap_middle_leaves_two_areas),
		TEST(mm_mmap_fixed_over_area_replaces_that_part),
		TEST(mm_mprotect_reservation_is_charged_where_written),
		TEST(mm_mremap_moves_grows_and_shrinks_the_record),
		TEST(mm_mmap_fixed_zone_full_is_counted_not_refused),
		TEST(mm_mmap_refused_by_kernel_returns_its_error),
		TEST(mm_mmap_random_ranges_hold),
		TEST(mm_fork_child_allocates_and_holds),
		TEST(mm_raw_child_gives_up_what_was_locked),
		TEST(mm_atomic_reserve_serves_and_is_refilled),
		TEST(mm_atomic_reserve_after_a_few_slabs_is_asked_for),
		TEST(mm_atomic_reserve_outlasts_a_stall),
		TEST(bitset_with_head_agrees_with_plain_bits),
		TEST(sections_are_written_down_when_needed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
