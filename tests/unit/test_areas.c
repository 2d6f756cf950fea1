/* SPDX-License-Identifier: MIT */
/*
 * test_areas.c - vmalloc, vmap, carve-outs, ioremap: content, frames, failures.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/mm/page_alloc.h"
#include "preload/mm/vmalloc.h"
#include "tests/unit/mm_model.h"
#include "tests/unit/mm_pub.h"

#define MIB (1UL << 20)

static void start(void (*change)(struct mm_config *c))
{
	struct mm_config c;

	mm_default_config(&c);
	c.tags = true;
	if (change)
		change(&c);
	assert_int_equal(mm_init(&c, NULL), 0);
	mm.vm_keep_bytes = UINT64_MAX; /* the first is kept as well */
	pub_attach();
	assert_mm_holds();
}

static int stop(void **state)
{
	(void)state;
	mm_destroy();
	return 0;
}

static void fixed(struct mm_config *c)
{
	c->zone[0].pages = 8 * MIB >> PAGE_SHIFT;
	c->zone[0].elastic = false;
	c->oom_fail = true;
}

static void small_window(struct mm_config *c)
{
	c->vmalloc_bytes = 64 * PAGE_SIZE;
}

static void carveouts(struct mm_config *c)
{
	c->nr_carveouts = 2;
	strcpy(c->carveout[0].name, "video");
	c->carveout[0].bytes = MIB;
	strcpy(c->carveout[1].name, "audio");
	c->carveout[1].bytes = 16 * PAGE_SIZE;
}

static uint64_t used(enum bs_use use)
{
	return mm.zone[0].stat.used_pages[use];
}

static const struct bs_abi_area *published(const void *addr)
{
	unsigned int i;

	for (i = 1; i < PUB_AREAS; i++)
		if (pub.areas[i].live && pub.areas[i].addr == (uint64_t)addr)
			return &pub.areas[i];
	return NULL;
}

/* ---- vmalloc ------------------------------------------------------------------ */

static void vmalloc_names_each_frame_once(void **state)
{
	const uint64_t nr = 600;
	struct page *page[600];
	uint64_t i, j;
	char *p;

	(void)state;
	start(fixed);
	p = vmalloc(nr * PAGE_SIZE - 5, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(used(BS_USE_VMALLOC),
			 nr + 2); /* 4800 bytes of array */
	assert_true(published(p)->flags & BS_AREA_VPAGES);
	for (i = 0; i < nr; i++) {
		page[i] = vmalloc_to_page(p + i * PAGE_SIZE + i);
		assert_non_null(page[i]);
		for (j = 0; j < i; j++)
			assert_ptr_not_equal(page[i], page[j]);
	}
	memset(p, 3, nr * PAGE_SIZE - 5);
	assert_mm_holds();
	release(p);
	assert_null(vmalloc_to_page(p));
	assert_mm_holds();
	mm_trim();
	assert_int_equal(used(BS_USE_VMALLOC), 0);
	assert_int_equal(mm.vm_window_bytes, 0);
	assert_mm_holds();
}

static void vmalloc_small_array_is_kmalloced(void **state)
{
	char *p;

	(void)state;
	start(NULL);
	p = vmalloc(3 * PAGE_SIZE, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(used(BS_USE_VMALLOC), 3);
	assert_int_equal(published(p)->flags, BS_AREA_ALLOC);
	assert_int_equal(published(p)->charged_pages, 3);
	assert_ptr_not_equal(vmalloc_to_page(p),
			     vmalloc_to_page(p + PAGE_SIZE));
	release(p);
	assert_mm_holds();
}

static void vmalloc_tagged_publishes_the_site(void **state)
{
	struct mm_block b;
	char *p;

	(void)state;
	start(NULL);
	p = vmalloc(3 * PAGE_SIZE, GFP_KERNEL);
	assert_int_equal(published(p)->site, 0);
	assert_int_equal(mm_lookup(p, &b), 0);
	*b.tag = tag_make(77, 0, 1);
	mm_tagged(&b);
	assert_int_equal(published(p)->site, 77);
	*b.tag = 0;
	release(p);
}

static void vmalloc_tagged_array_shows_the_same_site(void **state)
{
	const struct page **array;
	struct mm_block b;
	char *p;

	(void)state;
	start(NULL);
	p = vmalloc(600 * PAGE_SIZE, GFP_KERNEL);
	assert_int_equal(mm_lookup(p, &b), 0);
	array = (const struct page **)vm_find((uint64_t)p)->pages;
	assert_int_equal(published(array)->site, 0);
	*b.tag = tag_make(77, 0, 1);
	mm_tagged(&b);
	assert_int_equal(published(array)->site, 77);
	/* It is no object of the site's. */
	assert_false(tag_is_live(vm_find((uint64_t)array)->tag));
	*b.tag = 0;
	release(p);
	assert_mm_holds();
}

static void vmalloc_bad_sizes_return_null(void **state)
{
	(void)state;
	start(NULL);
	assert_null(vmalloc(0, GFP_KERNEL));
	assert_null(vmalloc(SIZE_MAX, GFP_KERNEL));
	assert_null(vmalloc(SIZE_MAX - PAGE_SIZE, GFP_KERNEL));
	assert_null(vmalloc((mm.nr_pfns + 1) << PAGE_SHIFT, GFP_KERNEL));
	assert_int_equal(pub_event()->type, BS_EVENT_VMALLOC_FAILED);
	assert_mm_holds();
}

static void vmalloc_first_free_of_a_size_keeps_no_frames(void **state)
{
	char *p, *q;

	(void)state;
	start(NULL);
	mm.vm_keep_bytes = 0;
	p = mm_alloc(10 * MIB, 1, GFP_KERNEL);
	release(p);
	assert_int_equal(used(BS_USE_VMALLOC), 0);
	assert_int_equal(mm_lookup(p, &(struct mm_block){ 0 }), -EALREADY);
	assert_mm_holds();
	q = mm_alloc(10 * MIB, 1, GFP_KERNEL);
	assert_ptr_not_equal(p, q);
	release(q);
	assert_int_equal(used(BS_USE_VMALLOC), 10 * MIB >> PAGE_SHIFT);
	assert_ptr_equal(mm_alloc(10 * MIB, 1, GFP_KERNEL), q);
	assert_mm_holds();
}

/* ---- reclaim ------------------------------------------------------------------ */

static void fixed_that_grows(struct mm_config *c)
{
	fixed(c);
	c->oom_fail = false;
}

/* Most of a fixed zone of 8 MiB is in areas that were freed. */
static void keep_areas(void)
{
	char *p[6];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(p); i++)
		assert_non_null(p[i] = vmalloc_alloc(MIB, 1, GFP_KERNEL));
	for (i = 0; i < ARRAY_SIZE(p); i++)
		release(p[i]);
	assert_true(used(BS_USE_VMALLOC) >= 6 * MIB >> PAGE_SHIFT);
}

/* ... or in free slabs and in arrays. */
static void keep_objects(void)
{
	static void *p[8192];
	unsigned int nr = 0;

	while ((p[nr] = mm_kmalloc(nr % 2 ? 1500 : 30000,
				   __GFP_NORETRY | __GFP_NOWARN)))
		assert_true(++nr < ARRAY_SIZE(p));
	/* small ones take the rest */
	while ((p[nr] = mm_kmalloc(1500, __GFP_NORETRY | __GFP_NOWARN)))
		assert_true(++nr < ARRAY_SIZE(p));
	while (nr--)
		release(p[nr]);
	assert_true(used(BS_USE_SLAB) > 64);
}

/* A request that the zone can serve is served, and nobody hears of it. */
static void reclaim_comes_before_a_refusal(void **state)
{
	void (*const keep[])(void) = { keep_areas, keep_objects };
	void (*const config[])(struct mm_config * c) = { fixed,
							 fixed_that_grows };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		start(config[i % 2]);
		keep[i / 2]();
		memset(&mm.ratelimit, 0, sizeof(mm.ratelimit));
		pub.header.section[BS_SEC_EVENTS].count = 0;
		/* one of both sections of the zone has no table of ours */
		assert_non_null(alloc_pages_exact(LARGE_MAX, GFP_KERNEL));
		assert_int_equal(used(BS_USE_VMALLOC), 0);
		assert_int_equal(pub_nr_events(), 0);
		assert_int_equal(mm.zone[0].stat.managed_pages,
				 mm.zone[0].initial_pages);
		assert_mm_holds();
		stop(state);
	}
}

static void reclaim_comes_before_an_area_is_refused(void **state)
{
	(void)state;
	start(fixed_that_grows);
	keep_objects();
	pub.header.section[BS_SEC_EVENTS].count = 0;
	assert_non_null(vmalloc_alloc(7 * MIB, 1, GFP_KERNEL));
	assert_int_equal(pub_nr_events(), 0);
	assert_int_equal(mm.zone[0].stat.managed_pages,
			 mm.zone[0].initial_pages);
	assert_mm_holds();
}

/* Also where the area's own record needs a slab, and all that is kept is few objects. */
static void reclaim_comes_before_a_record_is_refused(void **state)
{
	static void *p[8192];
	unsigned int records, nr, i;

	for (records = 20; records < 30; records++) {
		start(records % 2 ? fixed_that_grows : fixed);
		for (i = 0; i < records; i++)
			assert_non_null(vmalloc_alloc(1, 1, GFP_KERNEL));
		for (nr = 0;
		     (p[nr] = mm_kmalloc(2048, __GFP_NORETRY | __GFP_NOWARN));)
			assert_true(++nr < ARRAY_SIZE(p));
		for (i = 0; i < 60; i++)
			release(p[--nr]);
		memset(&mm.ratelimit, 0, sizeof(mm.ratelimit));
		pub.header.section[BS_SEC_EVENTS].count = 0;
		assert_non_null(vmalloc_alloc(1, 1, GFP_KERNEL));
		assert_int_equal(pub_nr_events(), 0);
		assert_int_equal(mm.zone[0].stat.managed_pages,
				 mm.zone[0].initial_pages);
		stop(state);
	}
	start(NULL); /* for the end of the test */
}

/* ... or an area grows in its place, or the program maps memory. */
static void reclaim_comes_before_an_area_grows(void **state)
{
	char *p;

	(void)state;
	start(fixed_that_grows);
	p = vmalloc_alloc(MIB, 1, GFP_KERNEL);
	keep_areas();
	pub.header.section[BS_SEC_EVENTS].count = 0;
	p = vmalloc_resize(p, 4 * MIB);
	assert_non_null(p);
	release(p);
	assert_int_equal(used(BS_USE_VMALLOC), 4 * MIB >> PAGE_SHIFT);
	assert_false(
		sys_is_err(mm_mmap(NULL, 6 * MIB, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0)));
	assert_int_equal(used(BS_USE_MMAP), 6 * MIB >> PAGE_SHIFT);
	assert_int_equal(mm.zone[0].stat.overcommit_pages, 0);
	assert_int_equal(pub_nr_events(), 0);
	assert_int_equal(mm.zone[0].stat.managed_pages,
			 mm.zone[0].initial_pages);
	assert_mm_holds();
}

/* Who may not wait, or has another way, leaves what is kept alone. */
static void reclaim_is_not_for_atomic_requests(void **state)
{
	static const gfp_t gfp[] = { GFP_ATOMIC, __GFP_TRY, __GFP_NORETRY,
				     __GFP_LOCKED };
	unsigned int i;

	(void)state;
	start(fixed);
	keep_areas();
	for (i = 0; i < ARRAY_SIZE(gfp); i++)
		assert_null(
			alloc_pages_exact(LARGE_MAX, gfp[i] | __GFP_NOWARN));
	assert_int_equal(used(BS_USE_VMALLOC), 6 * MIB >> PAGE_SHIFT);
	assert_mm_holds();
}

static void vmalloc_kept_area_comes_zeroed_when_asked(void **state)
{
	char *p, *q;

	(void)state;
	start(NULL);
	p = vmalloc(8 * PAGE_SIZE, GFP_KERNEL);
	memset(p, 1, 8 * PAGE_SIZE);
	release(p);
	q = vmalloc(8 * PAGE_SIZE, __GFP_ZERO);
	assert_ptr_equal(p, q); /* lazily purged: still there */
	assert_int_equal(q[0] | q[5000] | q[8 * PAGE_SIZE - 1], 0);
	release(q);
	assert_mm_holds();
}

/* What a failure must not change. */
struct books {
	uint64_t free_pages, used[BS_NR_USES], nr_areas, window;
};

static struct books books(void)
{
	struct books b = { .free_pages = mm.zone[0].stat.free_pages,
			   .nr_areas = mm.nr_areas,
			   .window = mm.vm_window_bytes };

	memcpy(b.used, mm.zone[0].stat.used_pages, sizeof(b.used));
	return b;
}

/*
 * One request, each time with one frame more to be had: it fails at every frame that
 * it takes, those of its array among them, and must leave nothing behind.
 */
static void vmalloc_fails_at_each_page_and_gives_all_back(void **state)
{
	const uint64_t want = 600, array_pages = 2;
	struct page *hold[2048];
	unsigned int nr = 0, failures = 0;
	struct books before, after;
	void *p;

	(void)state;
	start(fixed);
	/* Descriptors and arrays of the caches that are used here exist. */
	release(vmalloc(want * PAGE_SIZE, GFP_KERNEL));
	mm_trim();
	while (nr < ARRAY_SIZE(hold) &&
	       (hold[nr] = alloc_pages(__GFP_LENT | __GFP_NOWARN, 0,
				       BS_USE_TABLE)))
		nr++;
	assert_true(nr > want && nr < ARRAY_SIZE(hold));
	for (;;) {
		mm_trim();
		before = books();
		p = vmalloc(want * PAGE_SIZE, __GFP_NOWARN);
		if (p)
			break;
		failures++;
		mm_trim();
		after = books();
		/* A cache may have kept a slab: then the frames are its. */
		assert_int_equal(after.free_pages + after.used[BS_USE_PCP] +
					 after.used[BS_USE_SLAB],
				 before.free_pages + before.used[BS_USE_PCP] +
					 before.used[BS_USE_SLAB]);
		assert_int_equal(after.used[BS_USE_VMALLOC], 0);
		assert_int_equal(after.nr_areas, before.nr_areas);
		assert_int_equal(after.window, before.window);
		if (failures % 16 == 0)
			assert_mm_holds();
		nr--;
		set_page_kind(hold[nr], PK_TRANSIT);
		free_page_range(page_to_pfn(hold[nr]), 1, BS_USE_TABLE, true);
	}
	assert_in_range(failures, want + array_pages - 8,
			want + array_pages + 8);
	release(p);
	assert_mm_holds();
}

static void vmalloc_window_full_is_refused_and_reported(void **state)
{
	char *p, *q;

	(void)state;
	start(small_window);
	p = vmalloc(40 * PAGE_SIZE, GFP_KERNEL); /* and a guard: 41 */
	assert_non_null(p);
	assert_null(vmalloc(23 * PAGE_SIZE, GFP_KERNEL));
	assert_int_equal(pub_event()->type, BS_EVENT_VMALLOC_FAILED);
	assert_string_equal(pub_event()->name, "vmalloc window");
	q = vmalloc(22 * PAGE_SIZE, GFP_KERNEL);
	assert_non_null(q);
	assert_int_equal(mm.vm_window_bytes, 64 * PAGE_SIZE);
	assert_null(vmalloc(1, GFP_KERNEL));
	assert_mm_holds();
	/* What was freed lately takes place, but is purged for this. */
	release(p);
	assert_int_equal(mm.vm_window_bytes, 64 * PAGE_SIZE);
	p = vmalloc(30 * PAGE_SIZE, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(mm.vm_window_bytes, 54 * PAGE_SIZE);
	release(p);
	release(q);
	assert_mm_holds();
}

static void window_then_grow(struct mm_config *c)
{
	c->vmalloc_bytes = 8 * MIB;
}

static void window_then_fail(struct mm_config *c)
{
	c->vmalloc_bytes = 8 * MIB;
	c->oom_fail = true;
}

/* The program's malloc does as oom= says. */
static void mm_alloc_window_full_follows_oom(void **state)
{
	void *p;

	(void)state;
	start(window_then_grow);
	p = mm_alloc(10 * MIB, 1, GFP_KERNEL);
	assert_non_null(p);
	assert_string_equal(pub_event()->name, "vmalloc window");
	release(p);
	assert_mm_holds();
	mm_destroy();
	start(window_then_fail);
	assert_null(mm_alloc(10 * MIB, 1, GFP_KERNEL));
	assert_string_equal(pub_event()->name, "vmalloc window");
	p = mm_alloc(5 * MIB, 1, GFP_KERNEL);
	assert_non_null(p);
	release(p);
	assert_mm_holds();
}

static void mm_resize_window_counts_moves(void **state)
{
	struct mm_block b;
	char *p;

	(void)state;
	start(NULL);
	p = mm_alloc(6 * MIB, 1, GFP_KERNEL);
	assert_int_equal(mm_lookup(p, &b), 0);
	p = mm_resize(p, &b, 20 * MIB);
	assert_int_equal(mm.vm_window_bytes, 20 * MIB + PAGE_SIZE);
	assert_mm_holds();
	p = mm_resize(p, &b, 5 * MIB);
	assert_int_equal(mm.vm_window_bytes, 5 * MIB + PAGE_SIZE);
	assert_mm_holds();
	release(p);
}

/* ---- vmap ------------------------------------------------------------------------ */

#define NR_MAP 40

static void fill(struct page **page, unsigned int n)
{
	unsigned int i;
	char *p;

	for (i = 0; i < n; i++) {
		p = alloc_pages_exact(PAGE_SIZE, GFP_KERNEL);
		assert_non_null(p);
		memset(p, (int)i + 1, PAGE_SIZE);
		page[i] = pfn_to_page(virt_to_pfn(p));
	}
}

static void free_all(struct page **page, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		release(pfn_to_virt(page_to_pfn(page[i])));
}

static void vmap_shows_the_pages_in_order(void **state)
{
	struct page *page[NR_MAP];
	unsigned int i;
	char *p;

	(void)state;
	start(NULL);
	fill(page, NR_MAP);
	for (i = 0; i < NR_MAP / 2; i++) { /* backwards: none are neighbours */
		struct page *swap = page[i];

		page[i] = page[NR_MAP - 1 - i];
		page[NR_MAP - 1 - i] = swap;
	}
	p = vmap(page, NR_MAP, GFP_KERNEL, 0);
	assert_non_null(p);
	assert_true(published(p)->flags & BS_AREA_VMAP);
	assert_int_equal(published(p)->charged_pages, 0);
	for (i = 0; i < NR_MAP; i++) {
		assert_int_equal(p[i * PAGE_SIZE], NR_MAP - i);
		assert_int_equal(p[i * PAGE_SIZE + 4095], NR_MAP - i);
		assert_ptr_equal(vmalloc_to_page(p + i * PAGE_SIZE + 9),
				 page[i]);
		p[i * PAGE_SIZE] = 99;
	}
	assert_mm_holds();
	assert_int_equal(vunmap(p + PAGE_SIZE), -EINVAL);
	assert_int_equal(vunmap(p), 0);
	assert_int_equal(vunmap(p), -EINVAL);
	for (i = 0; i < NR_MAP; i++) {
		char *home = pfn_to_virt(page_to_pfn(page[i]));

		assert_int_equal(home[0], 99);
		assert_int_equal(home[4095], NR_MAP - i);
	}
	free_all(page, NR_MAP);
	assert_int_equal(used(BS_USE_LARGE), 0);
	assert_int_equal(mm.vm_window_bytes, 0);
	assert_mm_holds();
}

static void vmap_page_cannot_be_freed_or_mapped_twice(void **state)
{
	struct page *page[2], *twice[2];
	struct mm_block b;
	char *p, *home;

	(void)state;
	start(NULL);
	fill(page, 2);
	twice[0] = twice[1] = page[0];
	assert_null(vmap(twice, 2, __GFP_NOWARN, 0));
	home = pfn_to_virt(page_to_pfn(page[0]));
	assert_int_equal(home[0], 1); /* it came back */
	p = vmap(page, 2, GFP_KERNEL, 0);
	assert_non_null(p);
	assert_null(vmap(page + 1, 1, __GFP_NOWARN, 0));
	assert_int_equal(mm_lookup(home, &b), 0);
	assert_int_equal(mm_free(home, &b), -EBUSY);
	assert_mm_holds();
	assert_int_equal(vunmap(p), 0);
	free_all(page, 2);
	assert_mm_holds();
}

static void vmap_block_is_not_trimmed_by_resize(void **state)
{
	struct page *page[1];
	struct mm_block b;
	char *block, *p;

	(void)state;
	start(NULL);
	block = alloc_pages_exact(128 * PAGE_SIZE, GFP_KERNEL);
	memset(block, 5, 128 * PAGE_SIZE);
	page[0] = pfn_to_page(virt_to_pfn(block)) + 100;
	p = vmap(page, 1, GFP_KERNEL, 0);
	assert_non_null(p);
	assert_int_equal(mm_lookup(block, &b), 0);
	assert_ptr_equal(mm_resize(block, &b, 70 * PAGE_SIZE), block);
	assert_int_equal(used(BS_USE_LARGE), 128);
	assert_mm_holds();
	assert_int_equal(vunmap(p), 0);
	assert_int_equal(block[100 * PAGE_SIZE], 5);
	assert_ptr_equal(mm_resize(block, &b, 70 * PAGE_SIZE), block);
	assert_int_equal(used(BS_USE_LARGE), 70);
	release(block);
	assert_int_equal(used(BS_USE_LARGE), 0);
	assert_mm_holds();
}

/* Every other page of a reservation made writable, until the system refuses. */
#define MANY_MAPPINGS 70000UL
static char *exhaust_mappings(void)
{
	char *p = mmap(NULL, 2 * MANY_MAPPINGS * PAGE_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	unsigned long i;

	assert_ptr_not_equal(p, MAP_FAILED);
	for (i = 0; i < MANY_MAPPINGS; i++)
		if (mprotect(p + 2 * i * PAGE_SIZE, PAGE_SIZE, PROT_READ))
			break;
	return p;
}

static void vunmap_without_mappings_left_copies(void **state)
{
	struct page *page[5];
	char *p, *full;
	unsigned int i;

	(void)state;
	start(NULL);
	fill(page, 5);
	p = vmap(page, 5, GFP_KERNEL, 0);
	assert_non_null(p);
	full = exhaust_mappings();
	assert_int_equal(vunmap(p), 0);
	munmap(full, 2 * MANY_MAPPINGS * PAGE_SIZE);
	for (i = 0; i < 5; i++)
		assert_int_equal(
			((char *)pfn_to_virt(page_to_pfn(page[i])))[4000],
			(int)i + 1);
	free_all(page, 5);
	assert_mm_holds();
}

static void vmap_page_that_is_not_in_use_is_refused(void **state)
{
	struct page *page[2];

	(void)state;
	start(NULL);
	fill(page, 2);
	page[1] =
		pfn_to_page(page_to_pfn(page[1]) + 100); /* inside a free one */
	assert_null(vmap(page, 2, __GFP_NOWARN, 0));
	assert_null(vmap(page, 0, __GFP_NOWARN, 0));
	assert_int_equal(pfn_to_virt(page_to_pfn(page[0]))[0], 1);
	assert_int_equal(mm.nr_vmaps, 0);
	assert_mm_holds();
}

static void vmap_inner_pages_of_a_large_block(void **state)
{
	char *p = NULL, *block;
	struct page *page[2];

	(void)state;
	start(NULL);
	block = alloc_pages_exact(5 * PAGE_SIZE, GFP_KERNEL);
	memset(block, 1, 5 * PAGE_SIZE);
	memset(block + 4 * PAGE_SIZE, 7, PAGE_SIZE);
	page[0] = pfn_to_page(virt_to_pfn(block)) + 4;
	page[1] = pfn_to_page(virt_to_pfn(block)) + 2;
	p = vmap(page, 2, GFP_KERNEL, 0);
	assert_non_null(p);
	assert_int_equal(p[0], 7);
	assert_int_equal(p[PAGE_SIZE], 1);
	assert_mm_holds();
	assert_int_equal(vunmap(p), 0);
	assert_int_equal(block[4 * PAGE_SIZE], 7);
	release(block);
	assert_mm_holds();
}

/* ---- carve-outs ---------------------------------------------------------------------- */

static void carveout_is_an_area_outside_of_all_zones(void **state)
{
	const struct bs_abi_area *area;
	uint64_t phys[2], bytes[2];
	char *p;

	(void)state;
	start(carveouts);
	assert_int_equal(carveout_find("video", &phys[0], &bytes[0]), 0);
	assert_int_equal(carveout_find("audio", &phys[1], &bytes[1]), 0);
	assert_int_equal(carveout_find("none", &phys[1], &bytes[1]), -ENOENT);
	assert_int_equal(bytes[0], MIB);
	assert_true(phys[0] >= mm.nr_pfns << PAGE_SHIFT);
	assert_true(phys[1] >= phys[0] + bytes[0]);
	p = carveout_alloc("video", 100, &phys[1], GFP_KERNEL);
	assert_non_null(p);
	assert_false(mm_in_arena(p));
	assert_int_equal(phys[1], phys[0]);
	area = published(p);
	assert_non_null(area);
	assert_int_equal(area->flags, BS_AREA_IOREMAP | BS_AREA_CARVEOUT);
	assert_int_equal(area->phys_addr, phys[0]);
	assert_int_equal(area->bytes, MIB);
	assert_int_equal(area->requested_bytes, PAGE_SIZE); /* given out */
	assert_string_equal(area->path, "video");
	assert_int_equal(carveout_free("video", p), 0);
	assert_int_equal(carveout_free("video", p), -EINVAL);
	assert_int_equal(published(p)->requested_bytes, 0);
	assert_mm_holds();
}

static void carveout_alloc_full_is_reported(void **state)
{
	uint64_t phys, last = 0;
	char *p[16];
	int i;

	(void)state;
	start(carveouts);
	assert_null(carveout_alloc("audio", 17 * PAGE_SIZE, &phys, GFP_KERNEL));
	for (i = 0; i < 16; i++) {
		p[i] = carveout_alloc("audio", PAGE_SIZE, &phys, GFP_KERNEL);
		assert_non_null(p[i]);
		assert_true(phys > last);
		last = phys;
	}
	assert_null(carveout_alloc("audio", 1, &phys, GFP_KERNEL));
	assert_int_equal(pub_event()->type, BS_EVENT_CARVEOUT_FULL);
	assert_string_equal(pub_event()->name, "audio");
	assert_int_equal(pub_nr_events(), 2);
	/* Two holes of one page do not make one of two. */
	assert_int_equal(carveout_free("audio", p[3]), 0);
	assert_int_equal(carveout_free("audio", p[5]), 0);
	assert_null(
		carveout_alloc("audio", 2 * PAGE_SIZE, &phys, __GFP_NOWARN));
	assert_int_equal(carveout_free("audio", p[4]), 0);
	assert_ptr_equal(carveout_alloc("audio", 3 * PAGE_SIZE, &phys,
					GFP_KERNEL),
			 p[3]);
	assert_mm_holds();
}

static void carveout_alloc_random_never_overlaps(void **state)
{
	unsigned char owner[256] = { 0 };
	struct {
		char *p;
		uint64_t first, nr;
	} got[32] = { 0 };
	uint64_t base, bytes, phys, i, n;
	struct model m;
	char *p;

	(void)state;
	start(carveouts);
	model_init(&m, test_seed(), 0);
	assert_int_equal(carveout_find("video", &base, &bytes), 0);
	for (n = 0; n < 20000; n++) {
		uint64_t k = model_random(&m) % 32;

		if (got[k].p) {
			assert_int_equal(carveout_free("video", got[k].p), 0);
			memset(owner + got[k].first, 0, got[k].nr);
			got[k].p = NULL;
			continue;
		}
		got[k].nr = 1 + model_random(&m) % 20;
		p = carveout_alloc("video", got[k].nr * PAGE_SIZE, &phys,
				   __GFP_NOWARN);
		if (!p) { /* then there is no such gap */
			uint64_t run = 0;

			for (i = 0; i < 256; i++) {
				run = owner[i] ? 0 : run + 1;
				assert_true(run < got[k].nr);
			}
			continue;
		}
		got[k].p = p;
		got[k].first = (phys - base) >> PAGE_SHIFT;
		for (i = 0; i < got[k].nr; i++) {
			assert_int_equal(owner[got[k].first + i], 0);
			owner[got[k].first + i] = 1;
		}
	}
	assert_mm_holds();
}

static void ioremap_is_one_more_view(void **state)
{
	uint64_t phys, bytes;
	char *p, *a, *b;

	(void)state;
	start(carveouts);
	carveout_find("video", &phys, &bytes);
	p = carveout_alloc("video", 64 * PAGE_SIZE, &phys, __GFP_ZERO);
	a = ioremap(phys + PAGE_SIZE + 12, 3 * PAGE_SIZE, 0);
	b = ioremap(phys, 64 * PAGE_SIZE, 0);
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal((uint64_t)a % PAGE_SIZE, 12);
	/* Aligned to 2^fls(bytes): 4 pages to 8, 64 to 128. */
	assert_int_equal(((uint64_t)a - 12) % (8 * PAGE_SIZE), 0);
	assert_int_equal((uint64_t)b % (128 * PAGE_SIZE), 0);
	a[0] = 5;
	assert_int_equal(p[PAGE_SIZE + 12], 5);
	assert_int_equal(b[PAGE_SIZE + 12], 5);
	assert_int_equal(published(a - 12)->phys_addr, phys + PAGE_SIZE);
	assert_int_equal(published(a - 12)->guard_bytes, PAGE_SIZE);
	assert_int_equal(mm.vm_window_bytes, (4 + 1 + 64 + 1) * PAGE_SIZE);
	assert_mm_holds();
	assert_int_equal(iounmap(p), -EINVAL); /* the carve-out itself */
	assert_int_equal(iounmap(a), 0);
	assert_int_equal(iounmap(a), -EINVAL);
	assert_int_equal(iounmap(b), 0);
	assert_int_equal(mm.vm_window_bytes, 0);
	assert_int_equal(p[PAGE_SIZE + 12], 5);
	assert_mm_holds();
}

static void ioremap_outside_of_carveouts_is_refused(void **state)
{
	uint64_t phys, bytes;

	(void)state;
	start(carveouts);
	carveout_find("video", &phys, &bytes);
	assert_null(ioremap(0, PAGE_SIZE, 0)); /* RAM */
	assert_null(ioremap(phys, 0, 0));
	assert_null(ioremap(phys, bytes + 1, 0));
	assert_null(ioremap(phys + bytes - PAGE_SIZE, PAGE_SIZE + 1, 0));
	assert_null(ioremap(phys, SIZE_MAX, 0));
	assert_null(ioremap(UINT64_MAX - 100, 1000, 0));
	assert_mm_holds();
}

static void remap_pfn_range_replaces_the_programs_mapping(void **state)
{
	uint64_t phys, bytes;
	const struct bs_abi_area *area;
	char *p, *user;

	(void)state;
	start(carveouts);
	p = carveout_alloc("audio", 4 * PAGE_SIZE, &phys, GFP_KERNEL);
	carveout_find("audio", &phys, &bytes);
	strcpy(p, "samples");
	user = (char *)mm_mmap(NULL, 8 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0);
	assert_int_equal(used(BS_USE_MMAP), 8);
	assert_int_equal(remap_pfn_range(user + 2 * PAGE_SIZE,
					 phys >> PAGE_SHIFT, 4 * PAGE_SIZE, 0),
			 0);
	assert_string_equal(user + 2 * PAGE_SIZE, "samples");
	assert_int_equal(used(BS_USE_MMAP), 4);
	area = published(user + 2 * PAGE_SIZE);
	assert_non_null(area);
	assert_true(area->flags & BS_AREA_USERMAP);
	assert_int_equal(area->phys_addr, phys);
	assert_mm_holds();
	assert_int_equal(remap_pfn_range(user + 1, phys >> PAGE_SHIFT,
					 PAGE_SIZE, 0),
			 -EINVAL);
	assert_int_equal(remap_pfn_range(user, 0, PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(mm_munmap(user, 8 * PAGE_SIZE), 0);
	assert_int_equal(used(BS_USE_MMAP), 0);
	assert_string_equal(p, "samples");
	assert_int_equal(mm.nr_areas, 2); /* the carve-outs */
	assert_mm_holds();
}

static void remap_pfn_range_elsewhere_is_refused(void **state)
{
	uint64_t phys, bytes, pfn;
	char *user, *area, *object, *view;

	(void)state;
	start(carveouts);
	carveout_find("audio", &phys, &bytes);
	pfn = phys >> PAGE_SHIFT;
	user = (char *)mm_mmap(NULL, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0);
	area = vmalloc(8 * PAGE_SIZE, GFP_KERNEL);
	object = mm_alloc(PAGE_SIZE, PAGE_SIZE, GFP_KERNEL);
	view = ioremap(phys, 2 * PAGE_SIZE, 0);
	strcpy(object, "mine");
	assert_int_equal(remap_pfn_range(area, pfn, PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(remap_pfn_range(object, pfn, PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(remap_pfn_range(view, pfn, PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(remap_pfn_range(NULL, pfn, PAGE_SIZE, 0), -EINVAL);
	assert_string_equal(object, "mine");
	/* behind a hole that the program made */
	assert_int_equal(mm_munmap(user + 2 * PAGE_SIZE, PAGE_SIZE), 0);
	assert_int_equal(remap_pfn_range(user, pfn, 3 * PAGE_SIZE, 0), -EINVAL);
	assert_int_equal(remap_pfn_range(user, pfn, 2 * PAGE_SIZE, 0), 0);
	assert_int_equal(remap_pfn_range(user, pfn, PAGE_SIZE, 0),
			 0); /* again */
	assert_mm_holds();
	assert_int_equal(mm_munmap(user, 4 * PAGE_SIZE), 0);
	assert_int_equal(iounmap(view), 0);
	release(area);
	release(object);
	assert_mm_holds();
}

static void carveout_forked_child_gives_none_out(void **state)
{
	uint64_t phys;
	int status;
	pid_t pid;
	char *p;

	(void)state;
	start(carveouts);
	p = carveout_alloc("audio", PAGE_SIZE, &phys, __GFP_ZERO);
	mm_fork_prepare();
	pid = fork();
	if (!pid) {
		mm_fork_child();
		if (carveout_alloc("audio", 1, &phys, GFP_KERNEL))
			_exit(1);
		if (carveout_free("audio", p) != -EINVAL)
			_exit(2);
		p[0] = 42; /* the same memory */
		_exit(0);
	}
	mm_fork_parent();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(p[0], 42);
	assert_int_equal(carveout_free("audio", p), 0);
	assert_mm_holds();
}

/* ---- what the program maps -------------------------------------------------------------- */

static void mm_mmap_device_node_is_marked(void **state)
{
	const struct bs_abi_area *area;
	int fd;
	char *p;

	(void)state;
	start(NULL);
	fd = open("/dev/zero", O_RDWR);
	assert_true(fd >= 0);
	p = (char *)mm_mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd,
			    2 * PAGE_SIZE, 0);
	close(fd);
	area = published(p);
	assert_non_null(area);
	assert_true(area->flags & BS_AREA_DEVICE);
	assert_true(area->flags & BS_AREA_IOREMAP);
	assert_int_equal(area->phys_addr, 2 * PAGE_SIZE);
	assert_string_equal(area->path, "/dev/zero");
	mm_munmap(p, PAGE_SIZE);
	fd = open("/proc/self/exe", O_RDONLY);
	assert_true(fd >= 0);
	p = (char *)mm_mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0, 0);
	close(fd);
	assert_false(published(p)->flags & BS_AREA_DEVICE);
	mm_munmap(p, PAGE_SIZE);
	assert_mm_holds();
}

#define TEST(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(vmalloc_names_each_frame_once),
		TEST(vmalloc_small_array_is_kmalloced),
		TEST(vmalloc_tagged_publishes_the_site),
		TEST(vmalloc_tagged_array_shows_the_same_site),
		TEST(vmalloc_bad_sizes_return_null),
		TEST(vmalloc_first_free_of_a_size_keeps_no_frames),
		TEST(reclaim_comes_before_a_refusal),
		TEST(reclaim_comes_before_an_area_is_refused),
		TEST(reclaim_comes_before_a_record_is_refused),
		TEST(reclaim_comes_before_an_area_grows),
		TEST(reclaim_is_not_for_atomic_requests),
		TEST(vmalloc_kept_area_comes_zeroed_when_asked),
		TEST(vmalloc_fails_at_each_page_and_gives_all_back),
		TEST(vmalloc_window_full_is_refused_and_reported),
		TEST(mm_alloc_window_full_follows_oom),
		TEST(mm_resize_window_counts_moves),
		TEST(vmap_shows_the_pages_in_order),
		TEST(vmap_page_cannot_be_freed_or_mapped_twice),
		TEST(vmap_block_is_not_trimmed_by_resize),
		TEST(vunmap_without_mappings_left_copies),
		TEST(vmap_page_that_is_not_in_use_is_refused),
		TEST(vmap_inner_pages_of_a_large_block),
		TEST(carveout_is_an_area_outside_of_all_zones),
		TEST(carveout_alloc_full_is_reported),
		TEST(carveout_alloc_random_never_overlaps),
		TEST(ioremap_is_one_more_view),
		TEST(ioremap_outside_of_carveouts_is_refused),
		TEST(remap_pfn_range_replaces_the_programs_mapping),
		TEST(remap_pfn_range_elsewhere_is_refused),
		TEST(carveout_forked_child_gives_none_out),
		TEST(mm_mmap_device_node_is_marked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
