/* SPDX-License-Identifier: MIT */
/*
 * test_pins.c - whose memory lies between the free pages: what the engine tells after a
 * failure against what the test knows of each frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/vmalloc.h"
#include "tests/unit/mm_model.h"
#include "tests/unit/mm_pub.h"

#define ZONE_PAGES 4096UL /* 16 MiB */
#define NR_SITES   6U
#define LARGE	   8U /* an order that the reserve has no block of */
#define NOBODY	   0U
#define MAX_LIVE   8192

static struct {
	void *p;
	uint32_t site;
} live[MAX_LIVE];
static unsigned int nr_live;

/*
 * Bit s: site s has something in this frame.  Bit 0: memory without a site; OURS: tables,
 * slabs of the library's own caches, and what is kept for reuse.
 */
#define OURS (1U << 31)
static uint32_t owners[ZONE_PAGES];

static void start(unsigned int nr_zones)
{
	struct mm_config c;
	unsigned int i;

	mm_default_config(&c);
	c.tags = true;
	c.oom_fail = true;
	c.nr_zones = nr_zones;
	for (i = 0; i < nr_zones; i++) {
		c.zone[i].pages = ZONE_PAGES;
		c.zone[i].elastic = false;
		c.zone[i].name[0] = (char)('A' + i);
	}
	assert_int_equal(mm_init(&c, NULL), 0);
	pub_attach();
	nr_live = 0;
}

static int stop(void **state)
{
	(void)state;
	mm_destroy();
	return 0;
}

static uint64_t nr_pins(void)
{
	return pub.header.section[BS_SEC_PINS].count;
}

static const struct bs_abi_pins *pins_of(uint64_t number)
{
	const struct bs_abi_pins *pins = &pub.pins[number % PUB_PINS];

	assert_int_equal(pins->number, number);
	return pins;
}

static void free_nothing(void *p)
{
	(void)p;
}

/* On the way out, as the preloaded library does it. */
static void leave(void)
{
	mm_atomic_work(free_nothing);
}

/* As if the last reports were made long ago. */
static void forget_limits(void)
{
	memset(mm.ratelimit, 0, sizeof(mm.ratelimit));
}

/* site NOBODY: it stays without a tag.  False: no memory. */
static bool take(void *p, size_t size, uint32_t site)
{
	struct mm_block b;

	if (!p)
		return false;
	assert_int_equal(mm_lookup(p, &b), 0);
	if (site != NOBODY) {
		assert_non_null(tag_place(&b));
		mm_set_tag(&b, tag_make(site, (uint32_t)(b.usable - size), 1),
			   true);
	}
	assert_true(nr_live < MAX_LIVE);
	live[nr_live].p = p;
	live[nr_live++].site = site;
	return true;
}

static void drop(unsigned int i)
{
	release(live[i].p);
	live[i] = live[--nr_live];
}

/* ---- what the test knows ------------------------------------------------------------ */

/* Every frame of what lives there. */
static void own(const void *p, uint32_t bits)
{
	struct mm_block b;
	uint64_t pfn;

	assert_int_equal(mm_lookup((void *)(uintptr_t)p, &b), 0);
	for (pfn = 0; pfn < ZONE_PAGES; pfn++) {
		const struct page *page = pfn_to_page(pfn);

		if ((b.kind == MM_OBJECT && page_kind(page) == PK_SLAB &&
		     page->slab == b.slab) ||
		    (b.kind == MM_LARGE && page >= b.page &&
		     page < b.page + b.page->nr_pages) ||
		    (b.kind == MM_VMALLOC && page_kind(page) == PK_LENT &&
		     page->area->addr == (uintptr_t)p))
			owners[pfn] |= bits;
	}
}

static uint32_t without_site(const struct page *page)
{
	switch (page_kind(page)) {
	case PK_FREE:
	case PK_PCP:
		return 0;
	case PK_SLAB:
		return page->slab->inuse && page->cache->flags & SLAB_TAGS
			       ? 1
			       : OURS;
	case PK_LARGE:
		return 1;
	case PK_LENT:
		return page->area->flags & BS_AREA_LAZY ? OURS : 1;
	default:
		return OURS;
	}
}

static void know_owners(void)
{
	uint64_t pfn, i, span;

	memset(owners, 0, sizeof(owners));
	for (i = 0; i < nr_live; i++)
		if (live[i].site != NOBODY)
			own(live[i].p, 1U << live[i].site);
	for (pfn = 0; pfn < ZONE_PAGES; pfn += span) {
		const struct page *page = pfn_to_page(pfn);

		if (section_state(pfn >> SECTION_ORDER) & SECT_FRESH) {
			span = SECTION_PAGES;
			continue;
		}
		span = page_span(page);
		for (i = pfn; i < pfn + span; i++)
			if (!owners[i])
				owners[i] = without_site(page);
	}
}

/* What is in a block; used: how many of its frames. */
static uint32_t in_block(uint64_t at, uint64_t size, uint32_t *used)
{
	uint32_t all = 0;
	uint64_t i;

	*used = 0;
	for (i = at; i < at + size; i++) {
		all |= owners[i];
		*used += owners[i] != 0;
	}
	return all;
}

static bool is_partial(const struct bs_abi_pins *pins, uint32_t used)
{
	uint32_t size = 1U << pins->order;

	return used && (size - used) * pins->part >= size;
}

struct expected {
	uint32_t nr_free, nr_partial, nr_theirs;
	uint64_t free_pages, partial_free_pages;
	uint32_t blocks[NR_SITES + 1], alone[NR_SITES + 1], pages[NR_SITES + 1];
};

static struct expected expect(const struct bs_abi_pins *pins)
{
	uint64_t size = 1UL << pins->order, at, i;
	struct expected e = { 0 };
	uint32_t site, used;

	for (at = 0; at < ZONE_PAGES; at += size) {
		uint32_t all = in_block(at, size, &used);

		e.nr_free += !used;
		e.free_pages += used ? size - used : 0;
		if (!is_partial(pins, used))
			continue;
		e.partial_free_pages += size - used;
		e.nr_partial++;
		e.nr_theirs += (all & ~OURS) != 0;
		for (site = 1; site <= NR_SITES; site++) {
			e.blocks[site] += all >> site & 1;
			e.alone[site] += (all & ~OURS) == 1U << site;
			for (i = at; i < at + size; i++)
				e.pages[site] += owners[i] >> site & 1;
		}
	}
	return e;
}

/* Blocks in which only the first nr holders have something. */
static uint32_t expect_together(const struct bs_abi_pins *pins, uint32_t nr)
{
	uint64_t size = 1UL << pins->order, at;
	uint32_t named = 0, blocks = 0, used, i;

	for (i = 0; i < nr; i++)
		named |= 1U << pins->holder[i].site;
	for (at = 0; at < ZONE_PAGES; at += size) {
		uint32_t theirs = in_block(at, size, &used) & ~OURS;

		blocks +=
			is_partial(pins, used) && theirs && !(theirs & ~named);
	}
	return blocks;
}

/* Blocks of which a larger part is free had less than half of the free pages. */
static void compare_part(const struct bs_abi_pins *pins,
			 const struct expected *e)
{
	struct bs_abi_pins coarser = *pins;

	assert_true(pins->part == 2 || pins->part == 4 || pins->part == 8);
	assert_true(pins->part == 8 ||
		    e->partial_free_pages * 2 >= e->free_pages);
	if (pins->part == 2)
		return;
	coarser.part /= 2;
	assert_true(expect(&coarser).partial_free_pages * 2 < e->free_pages);
}

static void compare(const struct bs_abi_pins *pins, unsigned int order)
{
	/* six sites at most, and two of those that have none */
	bool nobody = false, all = pins->nr_holders <= BS_NR_PINS;
	struct expected e;
	uint32_t i, seen = 0, site;

	know_owners();
	e = expect(pins);
	compare_part(pins, &e);
	assert_int_equal(pins->free_pages, e.free_pages);
	assert_int_equal(pins->partial_free_pages, e.partial_free_pages);
	assert_int_equal(pins->order, order);
	assert_int_equal(pins->nr_blocks, ZONE_PAGES >> order);
	assert_int_equal(pins->nr_free, e.nr_free);
	assert_int_equal(pins->nr_partial, e.nr_partial);
	assert_true(pins->nr_holders <= NR_SITES + BS_NR_USES);
	for (i = 0; i < MIN(pins->nr_holders, BS_NR_PINS); i++) {
		const struct bs_abi_pin *h = &pins->holder[i];

		assert_true(!i || h->blocks <= h[-1].blocks ||
			    (h[-1].site != NOBODY && h->site == NOBODY));
		assert_true(!nobody || h->site == NOBODY); /* they come last */
		/* bit 0 stands for all uses without a site */
		if (h->site == NOBODY)
			nobody = true;
		if (!nobody)
			assert_int_equal(h->together,
					 expect_together(pins, i + 1));
		assert_true(!i || h->together >= h[-1].together);
		assert_true(h->together <= pins->nr_partial);
		if (h->site == NOBODY)
			continue;
		assert_in_range(h->site, 1, NR_SITES);
		seen |= 1U << h->site;
		assert_int_equal(h->blocks, e.blocks[h->site]);
		assert_int_equal(h->alone, e.alone[h->site]);
		assert_int_equal(h->pages, e.pages[h->site]);
	}
	for (site = 1; site <= NR_SITES && all; site++)
		assert_int_equal(seen >> site & 1, e.blocks[site] != 0);
	if (all && pins->nr_holders)
		assert_int_equal(pins->holder[pins->nr_holders - 1].together,
				 e.nr_theirs);
}

/* ---- tests ------------------------------------------------------------------------------ */

/* Single pages, of which some stay: who is in most blocks is named first. */
static void pins_name_who_is_in_most_blocks(void **state)
{
	const struct bs_abi_pins *pins;
	unsigned int i;

	(void)state;
	start(1);
	while (take(alloc_pages_exact(PAGE_SIZE, __GFP_NOWARN), PAGE_SIZE,
		    NOBODY))
		;
	/* of each 64 pages one of site 1 stays, of each 512 one of site 2, too */
	for (i = nr_live; i--;) {
		uint64_t pfn = virt_to_pfn(live[i].p);
		uint32_t site = pfn % 64 == 20	  ? 1
				: pfn % 512 == 40 ? 2
						  : NOBODY;
		void *p = live[i].p;

		if (site == NOBODY) {
			drop(i);
			continue;
		}
		live[i] = live[--nr_live];
		assert_true(take(p, PAGE_SIZE, site));
	}
	assert_null(alloc_pages_exact(PAGE_SIZE << LARGE, GFP_KERNEL));
	assert_int_equal(pub_event()->type, BS_EVENT_ALLOC_FAILED);
	assert_int_equal(nr_pins(), 0); /* not yet */
	leave();
	assert_int_equal(nr_pins(), 1);
	pins = pins_of(1);
	assert_int_equal(pins->event, pub_event()->number);
	assert_int_equal(pins->zone, 0);
	assert_int_equal(pins->holder[0].site, 1);
	assert_true(pins->holder[0].blocks >= (ZONE_PAGES >> LARGE) - 1);
	assert_true(pins->holder[0].alone >= (ZONE_PAGES >> LARGE) / 2 - 1);
	assert_in_range(pins->holder[0].pages, 4 * pins->holder[0].blocks - 4,
			4 * pins->holder[0].blocks);
	assert_int_equal(pins->holder[1].site, 2);
	assert_int_equal(pins->holder[1].alone, 0);
	assert_int_equal(pins->holder[0].together, pins->holder[0].alone);
	assert_true(pins->holder[1].together >= (ZONE_PAGES >> LARGE) - 1);
	compare(pins, LARGE);
	assert_mm_holds();
}

static void pins_are_made_for_what_is_scattered(void **state)
{
	dma_addr_t handle;
	unsigned int i;

	(void)state;
	start(1);
	while (take(alloc_pages_exact(PAGE_SIZE, __GFP_NOWARN), PAGE_SIZE, 1))
		;
	assert_null(alloc_pages_exact(PAGE_SIZE << 10, GFP_KERNEL));
	leave();
	assert_int_equal(pub_nr_events(), 1);
	assert_int_equal(nr_pins(), 0); /* lack of memory */
	for (i = nr_live; i--;)
		if (virt_to_pfn(live[i].p) % 8)
			drop(i);
	assert_null(alloc_pages_exact(PAGE_SIZE << LARGE, GFP_KERNEL));
	assert_null(alloc_pages_exact(PAGE_SIZE << (LARGE + 1), GFP_KERNEL));
	leave();
	assert_int_equal(pub_nr_events(), 3);
	assert_int_equal(nr_pins(), 1);
	assert_int_equal(pins_of(1)->event, 2);
	assert_int_equal(pins_of(1)->order, LARGE);
	assert_null(alloc_pages_exact(PAGE_SIZE << (LARGE + 1), GFP_KERNEL));
	leave();
	assert_int_equal(nr_pins(), 2);
	assert_int_equal(pins_of(2)->event, 4);
	/* no block can be that large */
	assert_null(dma_alloc_coherent(dma_device("video0"), LARGE_MAX + 1,
				       &handle, GFP_KERNEL));
	leave();
	assert_int_equal(nr_pins(), 2);
	assert_null(dma_alloc_coherent(dma_device("video0"), LARGE_MAX, &handle,
				       GFP_KERNEL));
	leave();
	assert_int_equal(nr_pins(), 3);
	assert_int_equal(pins_of(3)->order, 10);
	assert_int_equal(pins_of(3)->event, pub_nr_events());
	leave();
	assert_int_equal(nr_pins(), 3);
	assert_mm_holds();
}

static void pins_are_of_the_zone_that_was_asked(void **state)
{
	unsigned int i;

	(void)state;
	start(2);
	while (take(alloc_pages_exact(PAGE_SIZE, GFP_DMA | __GFP_NOWARN),
		    PAGE_SIZE, 3))
		;
	for (i = nr_live; i--;)
		if (virt_to_pfn(live[i].p) % 8)
			drop(i);
	assert_null(alloc_pages_exact(PAGE_SIZE << LARGE, GFP_DMA));
	leave();
	assert_int_equal(nr_pins(), 1);
	assert_int_equal(pins_of(1)->zone, 0);
	assert_int_equal(pins_of(1)->holder[0].site, 3);
	compare(pins_of(1), LARGE);
}

/* What nobody has is no call site's, whatever it was before. */
static void pins_tell_what_is_kept(void **state)
{
	const struct bs_abi_pins *pins;
	unsigned int i, kept = 0;

	(void)state;
	start(1);
	while (take(mm_kmalloc(30000, __GFP_NOWARN), 30000, 1))
		;
	while (nr_live)
		drop(nr_live - 1);
	mm_event(BS_EVENT_ALLOC_FAILED, 0, 9, GFP_KERNEL, 0, PAGE_SIZE << 9);
	leave();
	pins = pins_of(1);
	for (i = 0; i < pins->nr_holders; i++) {
		assert_int_equal(pins->holder[i].site, NOBODY);
		kept += pins->holder[i].use == BS_USE_PCP;
	}
	assert_int_equal(kept, 1);
	/* asked for: it goes back first */
	mm_pins_ask(1, 9);
	leave();
	for (pins = pins_of(2), i = 0; i < pins->nr_holders; i++)
		assert_int_not_equal(pins->holder[i].use, BS_USE_PCP);
	assert_mm_holds();
}

static unsigned int nr_polls;

static void ask(void)
{
	mm_pins_ask(++nr_polls, 8);
	mm_trim_later();
}

/* A slow path may be one of the library's own, within the vm lock. */
static void pins_can_be_asked_for_under_the_vm_lock(void **state)
{
	unsigned int i;

	(void)state;
	start(1);
	nr_polls = 0;
	mm.client.slow_path = ask;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	for (i = 0; i < 1000; i++)
		assert_non_null(vm_dup_path("/usr/lib/x86_64-linux-gnu/x.so"));
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	assert_true(nr_polls > 1);
	assert_int_equal(pub.header.pins_request_seen, 0);
	leave();
	assert_int_equal(pub.header.pins_request_seen, nr_polls);
	assert_int_equal(nr_pins(), 1);
	assert_int_equal(pins_of(1)->request, nr_polls);
	assert_mm_holds();
}

static void pins_of_a_large_zone_are_those_of_a_part(void **state)
{
	static const uint64_t extra[] = { 0, SECTION_PAGES };
	static const uint32_t blocks[] = { 64, 33 };
	struct mm_config c;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		mm_default_config(&c);
		c.zone[0].pages = BS_PINS_PAGES + extra[i];
		c.zone[0].elastic = false;
		assert_int_equal(mm_init(&c, NULL), 0);
		pub_attach();
		mm_pins_ask(1, 10);
		leave();
		assert_int_equal(pins_of(1)->nr_blocks, blocks[i]);
		stop(state);
	}
	start(1); /* for the end of the test */
}

/* A forked child begins anew. */
static void pins_are_not_the_childs(void **state)
{
	unsigned int i;

	(void)state;
	start(1);
	while (take(alloc_pages_exact(PAGE_SIZE, __GFP_NOWARN), PAGE_SIZE, 1))
		;
	for (i = nr_live; i--;)
		if (virt_to_pfn(live[i].p) % 8)
			drop(i);
	assert_null(alloc_pages_exact(PAGE_SIZE << LARGE, GFP_KERNEL));
	mm_fork_prepare();
	mm_fork_child();
	leave(); /* what the parent was to look at */
	assert_int_equal(mm.pins.nr, 0);
	forget_limits();
	assert_null(alloc_pages_exact(PAGE_SIZE << LARGE, GFP_KERNEL));
	leave();
	assert_int_equal(mm.pins.nr, 1);
}

/* Objects, blocks and areas of random sizes and sites. */
static void take_at_random(struct model *m)
{
	static const size_t sizes[] = { 16, 100, 1000, 3000, 20000, 100000 };
	uint32_t site = (uint32_t)(model_random(m) % (NR_SITES + 1));
	size_t size = sizes[model_random(m) % ARRAY_SIZE(sizes)];

	switch (model_random(m) % 4) {
	case 0:
		size = (1 + model_random(m) % 64) << PAGE_SHIFT;
		take(alloc_pages_exact(size, __GFP_NOWARN), size, site);
		break;
	case 1:
		size = 5000 + model_random(m) % 300000;
		take(vmalloc_alloc(size, 1, __GFP_NOWARN), size, site);
		break;
	default:
		take(mm_alloc(size, 1, GFP_KERNEL | __GFP_NOWARN), size, site);
	}
}

static void pins_are_what_a_look_at_each_frame_finds(void **state)
{
	uint64_t seed = test_seed(), looked = 0, partial = 0;
	unsigned int round, i;
	struct model m;

	(void)state;
	start(1);
	model_init(&m, seed, 0);
	for (round = 0; round < 60; round++) {
		unsigned int order = 1 + (unsigned int)(model_random(&m) % 10);
		unsigned int keep = 1 + (unsigned int)(model_random(&m) % 30);
		uint64_t before = nr_pins();

		for (i = 0; i < 2000 && nr_live < MAX_LIVE; i++)
			take_at_random(&m);
		for (i = nr_live; i--;)
			if (model_random(&m) % keep)
				drop(i);
		forget_limits();
		mm_event(BS_EVENT_ALLOC_FAILED, 0, order, GFP_KERNEL, 0,
			 PAGE_SIZE << order);
		leave();
		assert_true(nr_pins() <= before + 1);
		if (nr_pins() == before)
			continue; /* less is free than was asked for */
		compare(pins_of(nr_pins()), order);
		looked++;
		partial += pins_of(nr_pins())->nr_partial;
		assert_mm_holds();
	}
	assert_true(looked > 30 && partial > 100);
}

#define TEST(name) cmocka_unit_test_teardown(name, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pins_name_who_is_in_most_blocks),
		TEST(pins_are_made_for_what_is_scattered),
		TEST(pins_are_of_the_zone_that_was_asked),
		TEST(pins_tell_what_is_kept),
		TEST(pins_can_be_asked_for_under_the_vm_lock),
		TEST(pins_of_a_large_zone_are_those_of_a_part),
		TEST(pins_are_not_the_childs),
		TEST(pins_are_what_a_look_at_each_frame_finds),
	};

	return cmocka_run_group_tests_name("pins", tests, NULL, NULL);
}
