/* SPDX-License-Identifier: MIT */
/*
 * test_slab.c - caches as a driver uses them: geometry, constructors, the end,
 * arrays against a model, caches of zones, slab_debug, dedicated caches, what is
 * published.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_cache.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"
#include "tests/unit/mm_model.h"

#define FZPU                                                                   \
	(BS_DEBUG_CHECKS | BS_DEBUG_RED_ZONE | BS_DEBUG_POISON | BS_DEBUG_USER)

/* What slab_debug told, and the site that it was told in. */
static struct slab_error last_error;
static unsigned int nr_errors;
static uint32_t site_now;

static void note_error(const struct slab_error *e)
{
	last_error = *e;
	__atomic_fetch_add(&nr_errors, 1, __ATOMIC_RELAXED);
}

static uint32_t current_site(void)
{
	return __atomic_load_n(&site_now, __ATOMIC_RELAXED);
}

static const struct mm_client client = {
	.slab_error = note_error,
	.current_site = current_site,
};

static void start(void (*change)(struct mm_config *c))
{
	struct mm_config c;

	mm_default_config(&c);
	c.dedicated = false;
	if (change)
		change(&c);
	nr_errors = 0;
	assert_int_equal(mm_init(&c, &client), 0);
	assert_mm_holds();
}

static int stop(void **state)
{
	(void)state;
	mm_destroy();
	return 0;
}

static struct mm_block block_of(const void *p)
{
	struct mm_block b;

	assert_int_equal(mm_lookup(p, &b), 0);
	return b;
}

/* ---- creation and the end -------------------------------------------------- */

static void kmem_cache_create_bad_requests_are_refused(void **state)
{
	(void)state;
	start(NULL);
	assert_null(kmem_cache_create(NULL, 64, 0, 0, NULL));
	assert_null(kmem_cache_create("", 64, 0, 0, NULL));
	assert_null(kmem_cache_create("a blank", 64, 0, 0, NULL));
	assert_null(kmem_cache_create("12345678901234567890123456789012", 64, 0,
				      0, NULL));
	assert_null(kmem_cache_create("zero", 0, 0, 0, NULL));
	assert_null(kmem_cache_create("huge", KMALLOC_MAX + 1, 0, 0, NULL));
	assert_null(kmem_cache_create("odd", 64, 48, 0, NULL));
	assert_mm_holds();
}

static void kmem_cache_create_taken_name_is_refused(void **state)
{
	struct kmem_cache *c;

	(void)state;
	start(NULL);
	assert_null(kmem_cache_create("kmalloc-64", 64, 0, 0, NULL));
	c = kmem_cache_create("1234567890123456789012345678901", 64, 0, 0,
			      NULL);
	assert_non_null(c);
	assert_null(kmem_cache_create(c->name, 32, 0, 0, NULL));
	assert_int_equal(kmem_cache_destroy(c), 0);
	assert_non_null(kmem_cache_create("1234567890123456789012345678901", 32,
					  0, 0, NULL));
	assert_mm_holds();
}

static void kmem_cache_destroy_busy_is_refused(void **state)
{
	struct kmem_cache *c, *again;
	uint32_t slot;
	void *p;

	(void)state;
	start(NULL);
	c = kmem_cache_create("frame", 1000, 0, 0, NULL);
	slot = c->pub_slot;
	p = kmem_cache_alloc(c, GFP_KERNEL);
	assert_int_equal(kmem_cache_destroy(c), -EBUSY);
	assert_mm_holds();
	assert_ptr_equal(block_of(p).cache, c);
	assert_int_equal(kmem_cache_free(c, p), 0);
	assert_int_equal(kmem_cache_destroy(c), 0);
	assert_mm_holds();
	again = kmem_cache_create("frame2", 1000, 0, 0, NULL);
	assert_int_equal(again->pub_slot, slot);
	assert_ptr_equal(again, c); /* the descriptor is used again too */
	assert_int_equal(kmem_cache_destroy(mm.kmalloc_caches[3]), -EBUSY);
}

static void kmem_cache_create_slots_run_out_and_come_back(void **state)
{
	static struct kmem_cache *c[MM_MAX_CACHES];
	unsigned int nr = 0, i;
	char name[16];

	(void)state;
	start(NULL);
	for (i = 0; i < MM_MAX_CACHES; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		c[nr] = kmem_cache_create(name, 16 + i, 0, 0, NULL);
		if (!c[nr])
			break;
		nr++;
	}
	assert_int_equal(nr, MM_MAX_CACHES - KMALLOC_NR - 1 /* vm_struct */);
	assert_mm_holds();
	for (i = 0; i < nr; i++)
		assert_int_equal(kmem_cache_destroy(c[i]), 0);
	assert_non_null(kmem_cache_create("last", 100, 0, 0, NULL));
	assert_mm_holds();
}

static void kmem_cache_shrink_tells_whether_slabs_are_left(void **state)
{
	struct kmem_cache *c;
	void *p[100];
	unsigned int i;

	(void)state;
	start(NULL);
	c = kmem_cache_create("s", 300, 0, 0, NULL);
	for (i = 0; i < 100; i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	for (i = 1; i < 100; i++)
		kmem_cache_free(c, p[i]);
	assert_int_equal(kmem_cache_shrink(c), 1);
	assert_int_equal(c->list3.nr_slabs, 1);
	kmem_cache_free(c, p[0]);
	assert_int_equal(kmem_cache_shrink(c), 0);
	assert_int_equal(kmem_cache_size(c), 300);
	assert_int_equal(kmem_cache_destroy(c), 0);
}

static void kmem_cache_flags_choose_alignment_zone_and_type(void **state)
{
	struct kmem_cache *c;
	unsigned char *p;
	unsigned int i;

	(void)state;
	start(NULL);
	c = kmem_cache_create("line", 70, 0, SLAB_HWCACHE_ALIGN, NULL);
	assert_int_equal(c->align, 64);
	assert_int_equal(c->buffer_size, 128);
	c = kmem_cache_create("halfline", 30, 0, SLAB_HWCACHE_ALIGN, NULL);
	assert_int_equal(c->align, 32);
	c = kmem_cache_create("short", 100, 0, SLAB_RECLAIM_ACCOUNT, NULL);
	p = kmem_cache_alloc(c, __GFP_ZERO);
	for (i = 0; i < 100; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(page_block_type(&mm.zone[0], virt_to_pfn(p)),
			 BS_MIGRATE_RECLAIMABLE);
	assert_int_equal(ksize(p), c->buffer_size);
	assert_int_equal(mm.zone[0].stat.slab_reclaimable_pages,
			 1UL << c->gfporder);
	assert_mm_holds();
	kmem_cache_free(c, p);
	assert_int_equal(kmem_cache_destroy(c), 0);
	assert_int_equal(mm.zone[0].stat.slab_reclaimable_pages, 0);
	assert_mm_holds();
}

/* ---- geometry, by the rules written down --------------------------------------- */

struct geometry {
	unsigned int order, num, colour, limit, batch, shared;
	bool off_slab;
};

static size_t mgmt_of(unsigned int num)
{
	return sizeof(struct slab) + (num + 63) / 64 * sizeof(uint64_t);
}

static unsigned int fit(size_t bytes, size_t size, size_t align, bool off_slab,
			size_t *left)
{
	unsigned int num = 0;
	size_t head, best = 0;

	for (;; num++) {
		head = off_slab ? 0 : ALIGN_UP(mgmt_of(num + 1), align);
		if (head + (num + 1) * size > bytes)
			break;
		best = bytes - head - (num + 1) * size;
	}
	*left = best;
	return num;
}

/* elastic: small objects have slabs for a hundred, of four pages at most. */
static struct geometry expected_geometry(size_t size, size_t align,
					 unsigned int break_order, bool elastic)
{
	struct geometry g = { .off_slab = size >= 512 };
	bool small = elastic && size <= 256;
	size_t left = 0, mgmt;

	size = ALIGN_UP(size, align);
	for (g.order = 0; g.order <= 5; g.order++) {
		g.num = fit(PAGE_SIZE << g.order, size, align, g.off_slab,
			    &left);
		if (small ? g.num >= 100 || g.order == 2
			  : g.num && (g.order >= break_order ||
				      left * 8 <= PAGE_SIZE))
			break;
	}
	mgmt = ALIGN_UP(mgmt_of(g.num), align);
	if (g.off_slab && left >= mgmt) {
		g.off_slab = false;
		left -= mgmt;
	}
	g.colour = (unsigned int)(left / MAX(align, (size_t)64));
	g.limit = size > 131072 ? 1
		  : size > 4096 ? 8
		  : size > 1024 ? 24
		  : size > 256	? 54
				: 120;
	g.batch = (g.limit + 1) / 2;
	g.shared = size <= 4096 && mm.nr_slots > 1 ? 8 : 0;
	return g;
}

static void check_geometries(uint32_t flags, unsigned int break_order,
			     bool elastic)
{
	static const size_t aligns[] = { 16, 32, 64, 128 };
	size_t size, a;

	for (size = 1; size <= KMALLOC_MAX; size += 1 + size / 23) {
		for (a = 0; a < ARRAY_SIZE(aligns); a++) {
			struct kmem_cache *c = kmem_cache_create(
				"geometry", size, aligns[a], flags, NULL);
			struct geometry g = expected_geometry(
				size, aligns[a], break_order, elastic);
			struct kmem_list3 *l3 = &c->list3;

			assert_int_equal(c->num, g.num);
			assert_int_equal(c->gfporder, g.order);
			assert_int_equal(c->colour, g.colour);
			assert_int_equal(!!(c->flags & CFLGS_OFF_SLAB),
					 g.off_slab);
			assert_int_equal(c->limit, g.limit);
			assert_int_equal(c->batchcount, g.batch);
			assert_int_equal(c->shared, g.shared);
			assert_int_equal(l3->free_limit,
					 (1 + mm.nr_slots) * g.batch + g.num);
			assert_int_equal(kmem_cache_destroy(c), 0);
		}
	}
	assert_mm_holds();
}

static void zone_of_32m(struct mm_config *c)
{
	c->zone[0].elastic = false;
	c->zone[0].pages = (32UL << 20) >> PAGE_SHIFT;
}

static void zone_of_36m(struct mm_config *c)
{
	zone_of_32m(c);
	c->zone[0].pages += SECTION_PAGES;
}

static void kmem_cache_geometry_follows_the_rules(void **state)
{
	start(NULL);
	check_geometries(0, 1, true);
	check_geometries(SLAB_RECLAIM_ACCOUNT, 0, false);
	stop(state);
	start(zone_of_32m);
	check_geometries(0, 0, false);
	stop(state);
	start(zone_of_36m);
	check_geometries(0, 1, false);
}

static char *start_of(const struct kmem_cache *c, const struct slab *slabp)
{
	return pfn_to_virt(
		ALIGN_DOWN(virt_to_pfn(slabp->s_mem), 1UL << c->gfporder));
}

static void kmem_cache_slabs_rotate_their_colours(void **state)
{
	uint64_t seen = 0, colour;
	struct kmem_cache *c;
	unsigned int i;

	(void)state;
	start(NULL);
	c = kmem_cache_create("coloured", 700, 0, 0, NULL);
	assert_true(c->colour > 1 && c->colour < 64);
	for (i = 0; i <= c->colour; i++) {
		struct slab *slabp;

		while (c->list3.nr_slabs <= i)
			assert_non_null(kmem_cache_alloc(c, GFP_KERNEL));
		slabp = list_entry(list_empty(&c->list3.slabs_partial)
					   ? c->list3.slabs_full.next
					   : c->list3.slabs_partial.next,
				   struct slab, list);
		colour = (uint64_t)(slabp->s_mem -
				    slab_first_object(c, start_of(c, slabp)));
		assert_int_equal(colour % c->colour_off, 0);
		seen |= 1ULL << colour / c->colour_off;
	}
	assert_int_equal(seen, (2ULL << c->colour) - 1);
}

/* ---- constructors ------------------------------------------------------------------ */

static unsigned int nr_ctor;

static void construct(void *objp)
{
	nr_ctor++;
	memset(objp, 0xc7, 100);
}

static void assert_constructed(const unsigned char *p)
{
	unsigned int i;

	for (i = 0; i < 100; i++)
		assert_int_equal(p[i], 0xc7);
}

static void kmem_cache_ctor_runs_once_per_object(void **state)
{
	struct kmem_cache *c;
	unsigned char *p[300];
	unsigned int i, round;

	(void)state;
	start(NULL);
	nr_ctor = 0;
	c = kmem_cache_create("built", 100, 0, 0, construct);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 300; i++) {
			p[i] = kmem_cache_alloc(c, GFP_KERNEL);
			assert_constructed(p[i]);
			p[i][round] = 1;
			p[i][round] = 0xc7; /* given back as constructed */
		}
		for (i = 0; i < 300; i++)
			kmem_cache_free(c, p[i]);
		if (round % 7 == 6)
			kmem_cache_shrink(c);
	}
	assert_int_equal(nr_ctor, c->grown * c->num);
	assert_true(nr_ctor < 20 * 300);
	assert_mm_holds();
}

static void with_debug(struct mm_config *c)
{
	c->slab_debug = FZPU;
}

static void kmem_cache_ctor_with_debug_is_not_poisoned(void **state)
{
	struct kmem_cache *c;
	unsigned char *p;

	(void)state;
	start(with_debug);
	c = kmem_cache_create("built", 100, 0, 0, construct);
	assert_false(c->flags & SLAB_POISON);
	assert_true(c->flags & SLAB_RED_ZONE);
	p = kmem_cache_alloc(c, GFP_KERNEL);
	assert_constructed(p);
	kmem_cache_free(c, p);
	p = kmem_cache_alloc(c, GFP_KERNEL);
	assert_constructed(p);
	assert_int_equal(nr_errors, 0);
	assert_mm_holds();
}

/* ---- arrays against a model ----------------------------------------------------------- */

struct arrays {
	uint64_t cpu, shared, slabs; /* free objects in each */
	bool has_shared, touched;
	uint64_t hits, misses, free_hits, free_misses;
};

static void model_alloc(struct arrays *m, const struct kmem_cache *c)
{
	uint64_t batch = m->touched ? c->batchcount : MIN(c->batchcount, 16U);
	uint64_t got;

	if (m->cpu) {
		m->cpu--;
		m->hits++;
		m->touched = true;
		return;
	}
	m->misses++;
	got = MIN(batch, m->shared);
	m->shared -= got;
	if (!got) {
		if (!m->slabs)
			m->slabs += c->num;
		got = MIN(batch, m->slabs);
		m->slabs -= got;
	}
	m->cpu = got - 1;
	m->touched = true;
}

static void model_free(struct arrays *m, const struct kmem_cache *c)
{
	m->touched = true;
	if (m->cpu < c->limit) {
		m->cpu++;
		m->free_hits++;
		return;
	}
	m->free_misses++;
	if (c->shared && m->shared < c->shared * c->batchcount) {
		uint64_t nr = MIN((uint64_t)c->batchcount,
				  c->shared * c->batchcount - m->shared);

		m->shared += nr;
		m->cpu -= nr;
	} else {
		m->slabs += c->batchcount; /* fewer where a slab went */
		m->cpu -= c->batchcount;
	}
	m->cpu++;
}

static void on_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

static struct array_cache *the_array(const struct kmem_cache *c)
{
	struct array_cache *ac = NULL;
	unsigned int i;

	for (i = 0; i < mm.nr_slots; i++)
		if (c->array[i]) {
			assert_null(ac);
			ac = c->array[i];
		}
	assert_non_null(ac);
	return ac;
}

static void kmem_cache_arrays_do_as_the_model(void **state)
{
	static void *p[4000];
	struct arrays m = { 0 };
	struct kmem_cache *c;
	uint64_t nr = 0, i;
	struct model random;

	(void)state;
	start(NULL);
	on_one_cpu();
	mm.last_reap_ns = UINT64_MAX / 2; /* nobody reaps meanwhile */
	model_init(&random, test_seed(), 0);
	c = kmem_cache_create("modelled", 200, 0, 0, NULL);
	for (i = 0; i < 100000; i++) {
		/* Long rises and falls, so that every level is reached. */
		bool up =
			model_random(&random) % 16 < (i / 3000 % 2 ? 4U : 12U);

		if (nr == ARRAY_SIZE(p) || (!up && nr)) {
			assert_int_equal(kmem_cache_free(c, p[--nr]), 0);
			model_free(&m, c);
		} else {
			p[nr++] = kmem_cache_alloc(c, GFP_KERNEL);
			model_alloc(&m, c);
		}
		m.slabs = c->list3.free_objects; /* slabs come and go */
		assert_int_equal(the_array(c)->avail, m.cpu);
		assert_int_equal(c->list3.shared ? c->list3.shared->avail : 0,
				 m.shared);
	}
	assert_true(m.misses > 100 && m.free_misses > 100);
	assert_mm_holds();
	while (nr) {
		kmem_cache_free(c, p[--nr]);
		model_free(&m, c);
	}
	kmem_cache_shrink(c); /* brings the statistics up to date */
	assert_int_equal(c->alloc_hits, m.hits);
	assert_int_equal(c->alloc_misses, m.misses);
	assert_int_equal(c->free_hits, m.free_hits);
	assert_int_equal(c->free_misses, m.free_misses);
	assert_int_equal(c->list3.nr_slabs, 0);
	assert_int_equal(c->reaped, 0); /* kmem_cache_shrink() is none */
}

static void cache_reap_takes_a_fifth_of_an_idle_array(void **state)
{
	struct kmem_cache *c;
	void *p[120];
	unsigned int i;
	uint32_t before;

	(void)state;
	start(NULL);
	on_one_cpu();
	mm.last_reap_ns = 0;
	c = kmem_cache_create("idle", 100, 0, 0, NULL);
	for (i = 0; i < 120; i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	for (i = 0; i < 120; i++)
		kmem_cache_free(c, p[i]);
	before = the_array(c)->avail;
	cache_reap(mm.last_reap_ns + 3000000000ULL); /* was used: spared */
	assert_int_equal(the_array(c)->avail, before);
	cache_reap(mm.last_reap_ns + 3000000000ULL);
	assert_int_equal(the_array(c)->avail, before - (c->limit + 4) / 5);
	assert_mm_holds();
}

static void mm_decay_poll_gives_back_what_idle_caches_hold(void **state)
{
	uint64_t now_ns = sys_now_coarse_ns();
	static void *p[20000];
	struct kmem_cache *c;
	unsigned int i;

	(void)state;
	start(NULL);
	on_one_cpu();
	c = kmem_cache_create("idle", 200, 0, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		kmem_cache_free(c, p[i]);
	assert_true(mm.atomic.work & MM_WORK_DECAY);
	assert_true(mm.zone[0].dirty_free_pages > 500);
	mm_decay_poll(now_ns += mm.config.decay_ns); /* was used: spared */
	assert_true(the_array(c)->avail > 2);
	mm_decay_poll(now_ns += mm.config.decay_ns);
	assert_in_range(the_array(c)->avail, 0, 2);
	assert_true(!c->list3.shared || !c->list3.shared->avail);
	assert_in_range(c->list3.nr_slabs, 0, 2);
	assert_true(c->reaped > 0);
	assert_mm_holds();
	for (i = 0; i < 3; i++)
		mm_decay_poll(now_ns += mm.config.decay_ns);
	assert_in_range(mm.zone[0].dirty_free_pages, 0, 64);
	assert_false(mm.atomic.work & MM_WORK_DECAY);
	assert_mm_holds();
}

static void
mm_decay_poll_leaves_pages_of_a_busy_zone_until_they_are_old(void **state)
{
	uint64_t now_ns;
	struct page *page;

	(void)state;
	start(NULL);
	page = alloc_pages(GFP_KERNEL, 7, BS_USE_LARGE);
	assert_non_null(page);
	now_ns = sys_now_coarse_ns();
	free_page_range(page_to_pfn(page), 128, BS_USE_LARGE, false);
	mm_decay_poll(now_ns + mm.config.decay_ns / 2 + 5000000);
	assert_true(mm.zone[0].dirty_free_pages >= 128);
	mm_decay_poll(now_ns + 2 * mm.config.decay_ns);
	assert_int_equal(mm.zone[0].dirty_free_pages, 0);
	assert_mm_holds();
}

/* Who calls knows the time: nobody is asked to look until a round is due. */
static void mm_decay_by_caller_asks_when_a_round_is_due(void **state)
{
	uint64_t now_ns;
	struct page *page;

	(void)state;
	start(NULL);
	mm_decay_by_caller(true);
	page = alloc_pages(GFP_KERNEL, 7, BS_USE_LARGE);
	assert_non_null(page);
	mm_decay_clock(UINT64_MAX - 1); /* nothing waits */
	assert_false(mm.atomic.work & MM_WORK_DECAY);
	now_ns = sys_now_coarse_ns();
	free_page_range(page_to_pfn(page), 128, BS_USE_LARGE, false);
	mm_decay_clock(now_ns);
	assert_false(mm.atomic.work & MM_WORK_DECAY);
	now_ns += mm.config.decay_ns / 2 + 5000000;
	mm_decay_clock(now_ns);
	assert_true(mm.atomic.work & MM_WORK_DECAY);
	mm_decay_poll(now_ns);
	assert_false(mm.atomic.work & MM_WORK_DECAY);
	assert_true(mm.zone[0].dirty_free_pages >= 128);
	mm_decay_by_caller(false); /* they still wait */
	assert_true(mm.atomic.work & MM_WORK_DECAY);
	mm_decay_poll(now_ns + 2 * mm.config.decay_ns);
	assert_int_equal(mm.zone[0].dirty_free_pages, 0);
	assert_false(mm.atomic.work & MM_WORK_DECAY);
	assert_mm_holds();
}

static void mm_decay_exit_gives_back_what_waits(void **state)
{
	struct page *page;
	unsigned int i;

	(void)state;
	start(NULL);
	page = alloc_pages(GFP_KERNEL, 9, BS_USE_LARGE);
	assert_non_null(page);
	mm_decay_exit();
	free_page_range(page_to_pfn(page), 512, BS_USE_LARGE, false);
	for (i = 0; i < 2; i++) { /* the first of its size is not kept */
		void *area = mm_alloc(8UL << 20, 1, GFP_KERNEL);

		assert_non_null(area);
		assert_int_equal(vmalloc_free(area), 0);
	}
	assert_true(mm.vm_lazy_bytes > 0);
	mm_decay_exit();
	assert_int_equal(mm.vm_lazy_bytes, 0);
	assert_int_equal(mm.zone[0].dirty_free_pages, 0);
	assert_mm_holds();
}

static void cache_reap_takes_half_of_what_is_less_than_a_fifth(void **state)
{
	uint64_t now_ns = sys_now_coarse_ns(), free_slabs;
	static void *p[2000];
	struct kmem_cache *c;
	uint32_t avail, shared;
	unsigned int i;

	(void)state;
	start(NULL);
	on_one_cpu();
	mm.last_reap_ns = now_ns;
	c = kmem_cache_create("idle", 100, 0, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		kmem_cache_free(c, p[i]);
	cache_reap(now_ns += 8000000000ULL); /* used: spared */
	for (i = 0; i < 40; i++) {
		struct kmem_list3 *l3 = &c->list3;
		uint64_t reaped = c->reaped;

		avail = the_array(c)->avail;
		shared = l3->shared ? l3->shared->avail : 0;
		free_slabs = l3->nr_free_slabs;
		cache_reap(now_ns += 4000000000ULL);
		assert_int_equal(the_array(c)->avail,
				 avail - (avail < 24 ? (avail + 1) / 2 : 24));
		if (l3->shared)
			assert_int_equal(
				l3->shared->avail,
				shared - (shared < 96 ? (shared + 1) / 2 : 96));
		/* Whole free slabs: as many as a fifth of free_limit fills. */
		assert_true(c->reaped - reaped >=
			    MIN(free_slabs, (l3->free_limit + 5 * c->num - 1) /
						    (5 * c->num)));
		assert_mm_holds();
	}
	assert_int_equal(the_array(c)->avail, 0);
	assert_int_equal(c->list3.nr_slabs, 0);
}

/* ---- arrays that threads use without a lock ------------------------------------------- */

#define USERS	      6 /* more than there are CPUs */
#define USERS_OBJECTS 200

struct user {
	pthread_t thread;
	struct kmem_cache *cachep;
	uint32_t nr;
	bool stop, bad;
	uint64_t rounds;
};

/* Fills and empties arrays; an object that two hold has the other's number. */
static void *use_array(void *arg)
{
	struct user *u = arg;
	uint32_t *p[USERS_OBJECTS], i, n;

	for (n = 1; !__atomic_load_n(&u->stop, __ATOMIC_RELAXED); n++) {
		for (i = 0; i < n % USERS_OBJECTS; i++) {
			p[i] = kmem_cache_alloc(u->cachep, GFP_KERNEL);
			p[i][0] = p[i][20] = u->nr << 16 | i;
		}
		while (i) {
			i--;
			if (p[i][0] != (u->nr << 16 | i) || p[i][20] != p[i][0])
				u->bad = true;
			kmem_cache_free(u->cachep, p[i]);
		}
		u->rounds++;
	}
	return NULL;
}

static void arrays_in_use_are_drained_reaped_and_verified(void **state)
{
	struct user user[USERS] = { 0 };
	struct kmem_cache *c;
	char why[256];
	unsigned int i;

	(void)state;
	start(NULL);
	c = kmem_cache_create("used", 100, 0, 0, NULL);
	for (i = 0; i < USERS; i++) {
		user[i].cachep = c;
		user[i].nr = i + 1;
		assert_int_equal(pthread_create(&user[i].thread, NULL,
						use_array, &user[i]),
				 0);
	}
	for (i = 0; i < 300; i++) {
		kmem_cache_shrink(c);
		cache_reap(__atomic_load_n(&mm.last_reap_ns, __ATOMIC_RELAXED) +
			   3000000000ULL);
		why[0] = '\0';
		if (mm_verify(why, sizeof(why), NULL, NULL))
			fail_msg("%s", why);
		sched_yield();
	}
	for (i = 0; i < USERS; i++)
		__atomic_store_n(&user[i].stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < USERS; i++) {
		pthread_join(user[i].thread, NULL);
		assert_false(user[i].bad);
		assert_true(user[i].rounds > 0);
	}
	kmem_cache_shrink(c);
	assert_int_equal(cache_active_objs(c), 0);
	assert_int_equal(c->alloc_hits + c->alloc_misses,
			 c->free_hits + c->free_misses);
	assert_mm_holds();
}

/* From then on as where there is no rseq. */
static void mm_sections_end_leaves_the_locked_arrays(void **state)
{
	struct kmem_cache *c;
	void *p[50];
	unsigned int i;

	(void)state;
	start(NULL);
	c = kmem_cache_create("ended", 100, 0, 0, NULL);
	for (i = 0; i < 50; i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	mm_sections_end();
	mm_sections_end();
	assert_false(mm.rseq);
	assert_int_equal(mm_wipe->slots, 0);
	assert_mm_holds();
	assert_int_equal(mm_wipe->slots, 0);
	for (i = 0; i < 50; i++)
		assert_int_equal(kmem_cache_free(c, p[i]), 0);
	assert_int_equal(kmem_cache_free(c, p[49]), -EALREADY);
	assert_non_null(kmem_cache_alloc(c, GFP_KERNEL));
	assert_mm_holds();
}

/* While they are stopped nobody touches an array, and all goes on. */
static void mm_sections_stop_keeps_objects_out_of_arrays(void **state)
{
	uint32_t before;
	struct kmem_cache *c;
	void *p;

	(void)state;
	start(NULL);
	on_one_cpu();
	if (!mm.rseq)
		skip();
	c = kmem_cache_create("stopped", 100, 0, 0, NULL);
	kmem_cache_free(c, kmem_cache_alloc(c, GFP_KERNEL));
	before = the_array(c)->avail;
	mm_sections_stop();
	mm_sections_stop();
	p = kmem_cache_alloc(c, GFP_KERNEL);
	mm_sections_start();
	assert_int_equal(kmem_cache_free(c, p), 0);
	assert_int_equal(the_array(c)->avail, before);
	mm_sections_start();
	p = kmem_cache_alloc(c, GFP_KERNEL);
	assert_int_equal(the_array(c)->avail, before - 1);
	assert_int_equal(kmem_cache_free(c, p), 0);
	assert_mm_holds();
}

/* ---- caches that come and go while others look ---------------------------------------------- */

static bool stop_threads;

static void *churn_caches(void *arg)
{
	unsigned int id = (unsigned int)(uintptr_t)arg, i, n = 0;

	while (!__atomic_load_n(&stop_threads, __ATOMIC_RELAXED)) {
		struct kmem_cache *c;
		char name[32];
		void *p[50];

		snprintf(name, sizeof(name), "churn-%u-%u", id, n++);
		c = kmem_cache_create(name, 20 + n * 37 % 3000, 0, 0, NULL);
		for (i = 0; i < 50; i++)
			p[i] = kmem_cache_alloc(c, GFP_KERNEL);
		for (i = 0; i < 50; i++)
			kmem_cache_free(c, p[i]);
		if (kmem_cache_destroy(c))
			abort();
	}
	return NULL;
}

static void *churn_objects(void *arg)
{
	struct model *m = arg;

	while (!__atomic_load_n(&stop_threads, __ATOMIC_RELAXED))
		model_step(m);
	model_free_all(m);
	return NULL;
}

static void kmem_cache_destroy_while_others_walk_holds(void **state)
{
	static struct model m;
	pthread_t thread[3];
	uint64_t i, now_ns = sys_now_ns();

	(void)state;
	start(NULL);
	stop_threads = false;
	model_init(&m, test_seed(), 20UL << 20);
	pthread_create(&thread[0], NULL, churn_caches, (void *)0);
	pthread_create(&thread[1], NULL, churn_caches, (void *)1);
	pthread_create(&thread[2], NULL, churn_objects, &m);
	for (i = 0; i < 300; i++) {
		switch (i % 3) {
		case 0:
			cache_reap(now_ns += 5000000000ULL);
			break;
		case 1:
			assert_mm_holds();
			break;
		case 2:
			kmem_cache_shrink_all();
			break;
		}
	}
	__atomic_store_n(&stop_threads, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_mm_holds();
}

/* ---- zones ------------------------------------------------------------------------------------ */

static void two_zones(struct mm_config *c)
{
	c->nr_zones = 2;
	strcpy(c->zone[0].name, "DMA");
	strcpy(c->zone[1].name, "NORMAL");
	c->zone[0].pages = c->zone[1].pages = (16UL << 20) >> PAGE_SHIFT;
	c->zone[0].elastic = c->zone[1].elastic = false;
}

static void mm_alloc_zone_uses_caches_of_its_own(void **state)
{
	struct mm_block b;
	void *p, *q;

	(void)state;
	start(two_zones);
	p = mm_alloc(60, 1, GFP_DMA);
	b = block_of(p);
	assert_string_equal(b.cache->name, "dma-kmalloc-64");
	assert_int_equal(page_zone(virt_to_pfn(p))->nr, 0);
	q = mm_alloc(60, 1, __GFP_ZONE(0) | __GFP_ZERO);
	assert_ptr_equal(block_of(q).cache, b.cache);
	release(q);
	q = mm_alloc(60, 1, __GFP_ZONE(1));
	assert_string_equal(block_of(q).cache->name, "kmalloc-64");
	assert_int_equal(page_zone(virt_to_pfn(q))->nr, 1);
	release(q);
	q = mm_alloc(60, 256, GFP_DMA);
	assert_string_equal(block_of(q).cache->name, "dma-kmalloc-256");
	assert_int_equal((uintptr_t)q % 256, 0);
	release(q);
	release(p);
	assert_mm_holds();
}

/* ---- slab_debug --------------------------------------------------------------------------------- */

static void expect_error(const char *what, const char *cache, const void *objp,
			 const void *bad, uint8_t expected, uint8_t found)
{
	assert_int_equal(nr_errors, 1);
	assert_string_equal(last_error.what, what);
	assert_string_equal(last_error.cache, cache);
	assert_ptr_equal(last_error.objp, objp);
	assert_ptr_equal(last_error.bad, bad);
	assert_int_equal(last_error.expected, expected);
	assert_int_equal(last_error.found, found);
	assert_int_equal(last_error.event, BS_EVENT_SLAB_CORRUPTED);
	assert_int_equal(mm.vmstat[BS_VMSTAT_DEBUG_ERRORS], 1);
	nr_errors = 0;
	mm.vmstat[BS_VMSTAT_DEBUG_ERRORS] = 0;
	assert_mm_holds(); /* it was mended */
	assert_int_equal(slab_debug_check_all(), 0);
	assert_int_equal(nr_errors, 0);
}

/* An object as it must be when new: 0x5a, or 0 when so asked. */
static unsigned char *obtain(size_t size, gfp_t gfp, uint32_t site)
{
	unsigned char *p;
	size_t i;

	site_now = site;
	p = mm_alloc(size, 1, gfp);
	assert_non_null(p);
	assert_int_equal(block_of(p).usable, size);
	for (i = 0; i < size; i++)
		assert_int_equal(p[i], gfp & __GFP_ZERO ? 0 : 0x5a);
	return p;
}

static void slab_debug_overflow_is_reported_once(void **state)
{
	unsigned char *p;

	(void)state;
	start(with_debug);
	p = obtain(50, GFP_KERNEL, 11);
	p[50] = 0x41;
	site_now = 12;
	release(p);
	assert_int_equal(last_error.alloc_site, 11);
	assert_int_equal(last_error.nr_bad, 1);
	assert_true(last_error.live);
	expect_error("Right Redzone overwritten", "kmalloc-64", p, p + 50, 0xcc,
		     0x41);
}

static void slab_debug_underflow_is_reported_once(void **state)
{
	unsigned char *p;

	(void)state;
	start(with_debug);
	p = obtain(4096, __GFP_ZERO, 11);
	p[-1] = 0;
	release(p);
	expect_error("Left Redzone overwritten", "kmalloc-4096", p, p - 1, 0xcc,
		     0);
}

static void slab_debug_use_after_free_is_reported_once(void **state)
{
	unsigned char *p, *q;

	(void)state;
	start(with_debug);
	p = obtain(30, GFP_KERNEL, 11);
	site_now = 12;
	release(p);
	p[7] = 1;
	p[9] = 2;
	q = obtain(30, GFP_KERNEL, 13);
	assert_ptr_equal(p, q);
	assert_int_equal(last_error.alloc_site, 11);
	assert_int_equal(last_error.free_site, 12);
	assert_int_equal(last_error.nr_bad, 3);
	assert_false(last_error.live);
	expect_error("Poison overwritten", "kmalloc-32", p, p + 7, 0x6b, 1);
	release(q);
	p[31] = 0; /* the poison's last byte */
	assert_int_equal(slab_debug_check_all(), 1);
	expect_error("Poison overwritten", "kmalloc-32", p, p + 31, 0xa5, 0);
}

static void slab_debug_walks_find_what_nobody_frees(void **state)
{
	struct kmem_cache *c;
	unsigned char *p, *q;

	(void)state;
	start(with_debug);
	c = kmem_cache_create("walked", 100, 0, 0, NULL);
	p = kmem_cache_alloc(c, GFP_KERNEL);
	q = kmem_cache_alloc(c, GFP_KERNEL);
	p[100] = 1;
	kmem_cache_shrink(c);
	expect_error("Right Redzone overwritten", "walked", p, p + 100, 0xcc,
		     1);
	q[-2] = 1;
	assert_int_equal(slab_debug_check_all(), 1);
	expect_error("Left Redzone overwritten", "walked", q, q - 2, 0xcc, 1);
	assert_int_equal(c->errors, 2);
}

static void slab_debug_many_errors_are_all_told(void **state)
{
	unsigned char *p[100];
	unsigned int i;

	(void)state;
	start(with_debug);
	for (i = 0; i < 100; i++) {
		p[i] = obtain(40, GFP_KERNEL, 1);
		p[i][40] = 1;
	}
	assert_int_equal(slab_debug_check_all(), 100);
	assert_int_equal(nr_errors, 100);
	assert_int_equal(slab_debug_check_all(), 0);
}

static void slab_debug_double_free_is_refused_with_tracks(void **state)
{
	struct slab_track alloc, free;
	struct mm_block b;
	void *p;

	(void)state;
	start(with_debug);
	p = obtain(300, GFP_KERNEL, 11);
	b = block_of(p);
	site_now = 12;
	assert_int_equal(mm_free(p, &b), 0);
	site_now = 13;
	assert_int_equal(mm_free(p, &b), -EALREADY);
	assert_int_equal(mm_lookup(p, &b), -EALREADY);
	assert_true(slab_debug_tracks(p, &alloc, &free));
	assert_int_equal(alloc.site, 11);
	assert_int_equal(free.site, 12);
	assert_int_equal(free.tid, sys_gettid());
	assert_mm_holds();
}

static void slab_debug_wrong_cache_is_reported_once(void **state)
{
	struct kmem_cache *a, *b;
	void *p;

	(void)state;
	start(with_debug);
	a = kmem_cache_create("a", 100, 0, 0, NULL);
	b = kmem_cache_create("b", 100, 0, 0, NULL);
	site_now = 11;
	p = kmem_cache_alloc(a, GFP_KERNEL);
	assert_int_equal(kmem_cache_free_checked(b, p), 0);
	assert_int_equal(last_error.alloc_site, 11);
	assert_string_equal(last_error.wrong_cache, "b");
	expect_error("freed to the wrong cache", "a", p, NULL, 0, 0);
	assert_int_equal(kmem_cache_free_checked(a, p), -EALREADY);
	assert_int_equal(kmem_cache_free_checked(a, &site_now), -ENOENT);
	assert_int_equal(nr_errors, 0);
	assert_int_equal(kmem_cache_destroy(a), 0); /* it came home */
}

static void named_caches(struct mm_config *c)
{
	c->slab_debug = FZPU;
	strcpy(c->slab_debug_names, "kmalloc-96,my*");
}

static void slab_debug_names_choose_caches(void **state)
{
	(void)state;
	start(named_caches);
	assert_true(cache_has_debug(kmalloc_cache(96)));
	assert_false(cache_has_debug(kmalloc_cache(64)));
	assert_true(
		cache_has_debug(kmem_cache_create("myframes", 10, 0, 0, NULL)));
	assert_false(cache_has_debug(kmem_cache_create("m", 10, 0, 0, NULL)));
}

static void slab_debug_sizes_and_alignments_stay_right(void **state)
{
	size_t size, align;

	(void)state;
	start(with_debug);
	for (size = 1; size <= KMALLOC_MAX; size += 1 + size / 7) {
		for (align = 1; align <= PAGE_SIZE; align *= 4) {
			unsigned char *p = mm_alloc(size, align, GFP_KERNEL);

			assert_int_equal((uintptr_t)p % MAX(align, 16UL), 0);
			assert_int_equal(block_of(p).usable, size);
			memset(p, 1, size);
			release(p);
		}
	}
	assert_int_equal(nr_errors, 0);
	assert_mm_holds();
}

static void slab_debug_atomic_reserve_works(void **state)
{
	void *p[10];
	unsigned int i;

	(void)state;
	start(with_debug);
	mm_atomic_work(release);
	for (i = 0; i < 10; i++) {
		p[i] = mm_atomic_alloc(60, 1, true);
		memset(p[i], 1, 60);
	}
	for (i = 0; i < 10; i++)
		mm_atomic_free(p[i]);
	mm_atomic_work(release);
	assert_int_equal(nr_errors, 0);
	assert_int_equal(slab_debug_check_all(), 0);
	assert_mm_holds();
}

static void with_debug_and_tags(struct mm_config *c)
{
	c->slab_debug = FZPU;
	c->tags = true;
}

static void run_random(void (*change)(struct mm_config *c), unsigned int steps)
{
	struct model *m = calloc(1, sizeof(*m));
	unsigned int i;

	start(change);
	model_init(m, test_seed(), 60UL << 20);
	for (i = 0; i < steps; i++) {
		model_step(m);
		if (i % (steps / 8) == 0)
			assert_mm_holds();
	}
	model_free_all(m);
	assert_int_equal(nr_errors, 0);
	assert_int_equal(slab_debug_check_all(), 0);
	assert_mm_holds();
	free(m);
}

static void slab_debug_random_run_tells_nothing(void **state)
{
	const char *steps = getenv("BS_TEST_STEPS");

	(void)state;
	run_random(with_debug_and_tags,
		   steps ? (unsigned int)strtoul(steps, NULL, 0) : 200000);
}

static void slab_debug_threads_tell_nothing(void **state)
{
	static struct model m[3];
	pthread_t thread[3];
	uint64_t seed = test_seed();
	unsigned int i;

	(void)state;
	start(with_debug);
	stop_threads = false;
	for (i = 0; i < 3; i++) {
		model_init(&m[i], seed + i, 10UL << 20);
		pthread_create(&thread[i], NULL, churn_objects, &m[i]);
	}
	for (i = 0; i < 60; i++) {
		assert_mm_holds();
		assert_int_equal(slab_debug_check_all(), 0);
	}
	__atomic_store_n(&stop_threads, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(nr_errors, 0);
	assert_mm_holds();
}

static void expect_child_fine(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The child of a raw fork: another thread held these locks for ever. */
static void slab_raw_child_with_debug_goes_on(void **state)
{
	struct kmem_cache *c, *d;
	unsigned char *p;
	pid_t pid;

	(void)state;
	start(with_debug);
	c = kmem_cache_create("one", 100, 0, 0, construct);
	d = kmem_cache_create("two", 100, 0, 0, NULL);
	p = kmem_cache_alloc(c, GFP_KERNEL);
	pid = fork();
	if (!pid) {
		c->list3.list_lock.word = 1;
		mm.chain_lock.word = 1;
		d->next.prev = NULL; /* chain_add() had not come so far */
		mm_raw_child();
		release(p); /* its slab is lost */
		if (mm.vmstat[BS_VMSTAT_LOST_FREES] != 1)
			_exit(1);
		p = kmem_cache_alloc(c, GFP_KERNEL);
		if (!p || p[99] != 0xc7 || kmem_cache_free(c, p))
			_exit(2);
		if (kmem_cache_destroy(d) ||
		    !kmem_cache_create("two", 10, 0, 0, NULL))
			_exit(3);
		_exit(nr_errors ? 4 : 0);
	}
	expect_child_fine(pid);
	assert_mm_holds();
}

/* ---- dedicated caches ------------------------------------------------------------------------------ */

static void with_dedicated(struct mm_config *c)
{
	c->dedicated = true;
	c->tags = true;
}

/* ---- tags -------------------------------------------------------------------------------------------- */

static void small_zone_with_tags(struct mm_config *c)
{
	zone_of_32m(c);
	c->oom_fail = true;
	c->tags = true;
}

/* Without what lies in arrays. */
static uint64_t nr_used(struct kmem_cache *c)
{
	kmem_cache_shrink(c);
	return cache_active_objs(c);
}

static void assert_same_slabs(const struct kmem_cache *a,
			      const struct kmem_cache *b)
{
	assert_int_equal(a->num, b->num);
	assert_int_equal(a->slab_size, b->slab_size);
	assert_int_equal(a->nr_pages, b->nr_pages);
}

/* A vector for the first object that needs it, which serves the second, too. */
static void tag_two_objects(struct kmem_cache *c)
{
	struct kmem_cache *of_tags = c->tags_cache;
	void *p = kmem_cache_alloc(c, GFP_KERNEL);
	void *q = kmem_cache_alloc(c, GFP_KERNEL);
	struct mm_block b = block_of(p), late = block_of(q);
	uint64_t objs = nr_used(of_tags);

	assert_true(mm_keeps_tag(&b));
	assert_null(b.tag);
	assert_true(mm_make_tag(&b));
	assert_ptr_equal(b.tag, &b.slab->tags[b.objnr]);
	assert_int_equal(*b.tag, 0);
	assert_int_equal(nr_used(of_tags), objs + 1);
	assert_ptr_equal(late.slab, b.slab);
	assert_null(late.tag); /* looked up before: gives its own up */
	assert_true(mm_make_tag(&late));
	assert_ptr_equal(late.tag, block_of(q).tag);
	assert_int_equal(nr_used(of_tags), objs + 1);
	mm_set_tag(&b, tag_make(1, 0, 1), true);
	mm_set_tag(&late, tag_make(2, 0, 1), true);
	assert_mm_holds();
	release(p);
	release(q);
}

/* Who can have tags has the same slabs, and nothing but them until the first one. */
static void slab_has_no_tags_until_the_first(void **state)
{
	const size_t sizes[] = { 24, 100, 700, 1900 };
	struct kmem_cache *plain, *tagged, *of_tags;
	struct mm_block b;
	uint64_t objs;
	unsigned int i;

	(void)state;
	start(small_zone_with_tags);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		plain = kmem_cache_create("plain", sizes[i], 0, 0, NULL);
		tagged = kmem_cache_create("tagged", sizes[i], 0, SLAB_TAGS,
					   NULL);
		assert_same_slabs(plain, tagged);
		of_tags = tagged->tags_cache;
		assert_true(of_tags->object_size >= tagged->num * 8);
		assert_false(of_tags->flags & (SLAB_TAGS | CFLGS_OFF_SLAB));
		objs = nr_used(of_tags);
		b = block_of(kmem_cache_alloc(plain, GFP_KERNEL));
		assert_false(mm_keeps_tag(&b));
		release(index_to_obj(plain, b.slab, b.objnr));
		tag_two_objects(tagged);
		assert_int_equal(kmem_cache_destroy(tagged), 0);
		assert_int_equal(kmem_cache_destroy(plain), 0);
		assert_int_equal(nr_used(of_tags), objs);
		assert_mm_holds();
	}
}

/* The sizes of vectors: large enough, all different, none lost to rounding. */
static void tags_caches_fit_every_number_of_objects(void **state)
{
	uint32_t size, bytes;

	(void)state;
	start(small_zone_with_tags);
	for (size = 16; size <= 4096; size += 16) {
		struct kmem_cache *c =
			kmem_cache_create("tagged", size, 0, SLAB_TAGS, NULL);
		const struct kmem_cache *of_tags = c->tags_cache;

		bytes = (uint32_t)(c->num * sizeof(uint64_t));
		assert_in_range(of_tags->object_size, bytes, 2 * bytes + 31);
		if (bytes > 224 && bytes <= 2016)
			assert_int_equal(of_tags->num,
					 (PAGE_SIZE - mgmt_of(1)) /
						 ALIGN_UP(bytes, 16U));
		assert_int_equal(kmem_cache_destroy(c), 0);
	}
	assert_mm_holds();
}

/* They keep no slab alive that has no other object. */
static void slabs_of_tags_end_with_the_last(void **state)
{
	static void *p[20000];
	unsigned int i;
	uint64_t pages;

	(void)state;
	start(small_zone_with_tags);
	mm_trim();
	pages = mm.zone[0].stat.used_pages[BS_USE_SLAB];
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		struct mm_block b;

		p[i] = mm_alloc(i % 2 ? 60 : i % 512, 1, GFP_KERNEL);
		b = block_of(p[i]);
		assert_non_null(tag_place(&b));
		mm_set_tag(&b, tag_make(1, 0, 1), true);
	}
	assert_mm_holds();
	for (i = 0; i < ARRAY_SIZE(p); i++)
		release(p[i]);
	assert_mm_holds();
	mm_trim();
	assert_int_equal(mm.zone[0].stat.used_pages[BS_USE_SLAB], pages);
	assert_mm_holds();
}

static void tags_without_memory_are_not_made(void **state)
{
	struct mm_block b;
	void *p;

	(void)state;
	start(small_zone_with_tags);
	p = mm_alloc(100, 1, GFP_KERNEL);
	b = block_of(p);
	while (kmem_cache_alloc(b.cache->tags_cache, __GFP_NOWARN))
		;
	assert_true(mm_keeps_tag(&b));
	assert_false(mm_make_tag(&b));
	assert_null(b.tag);
	assert_null(b.slab->tags);
	assert_mm_holds();
	release(p);
}

/* The handlers' spare objects: their tag is set where nothing can be made. */
static void spare_objects_have_a_place_for_a_tag(void **state)
{
	struct mm_block b;
	void *p;

	(void)state;
	start(small_zone_with_tags);
	assert_non_null(mm_atomic_alloc(10, 1, false)); /* asks for them */
	mm_atomic_work(NULL);
	p = mm_atomic_alloc(50, 1, false);
	b = block_of(p);
	assert_non_null(b.tag);
	assert_true(tag_is_live(*b.tag));
	assert_int_equal(tag_slack(*b.tag), 14);
	assert_mm_holds();
	release(p);
}

/* As free() does it. */
static bool free_fast(void *p)
{
	struct kmem_cache *cachep;
	struct page *page;
	int64_t index;

	if (!sys_rseq_is_warm())
		return false;
	cachep = object_cache(p, &page, &index);
	return cachep && !page_has_tags(page) && cache_push(cachep, p);
}

/* A thread may lose its processor at any time; its next call is not fast, others are. */
static bool frees_fast(void *p)
{
	unsigned int i;

	for (i = 0; i < 100; i++) {
		void *other = mm_alloc(200, 1, GFP_KERNEL);
		struct mm_block b = block_of(other);

		assert_int_equal(mm_free(other, &b), 0);
		if (free_fast(p))
			return true;
	}
	return false;
}

/* What is counted on a frame stops the fast way as long as it lives. */
static void section_frees_only_where_no_tag_lives(void **state)
{
	void *p[3];
	struct mm_block b[3];
	unsigned int i;

	(void)state;
	start(with_dedicated);
	if (!mm.rseq)
		skip();
	mm_wipe->section_bytes = KMALLOC_FINE;
	for (i = 0; i < 3; i++) {
		p[i] = mm_alloc(100, 1, GFP_KERNEL);
		b[i] = block_of(p[i]);
	}
	assert_ptr_equal(b[0].page, b[1].page);
	assert_non_null(tag_place(&b[0]));
	mm_set_tag(&b[0], tag_make(1, 0, 1), true);
	mm_set_tag(&b[0], tag_make(2, 0, 1), true); /* counted once */
	assert_int_equal(b[0].page->tagged, 1);
	assert_false(frees_fast(p[1]));
	assert_mm_holds();
	*b[0].tag = 0;
	mm_tag_gone(&b[0]);
	assert_true(frees_fast(p[1]));
	assert_mm_holds();
	mm_set_tag(&b[0], tag_make(1, 0, 1), false);
	*b[0].tag = 0;
	mm_tag_gone(&b[0]);
	assert_false(frees_fast(p[2])); /* from now on */
	assert_mm_holds();
}

static void dedicated_cache_is_made_for_a_frequent_size(void **state)
{
	static void *p[20000];
	struct kmem_cache *general, *own;
	unsigned int i;

	(void)state;
	start(with_dedicated);
	general = kmalloc_cache(200);
	for (i = 0; i < 20000; i++) {
		p[i] = mm_alloc(200, 1, GFP_KERNEL);
		memset(p[i], (int)i, 200);
	}
	own = kmalloc_cache(200);
	assert_ptr_not_equal(own, general);
	assert_string_equal(own->name, "kmalloc-fit-208");
	assert_true(own->flags & SLAB_DEDICATED);
	assert_ptr_equal(kmalloc_cache(193), own); /* the next smaller ones */
	assert_ptr_equal(kmalloc_cache(209), general);
	assert_ptr_equal(kmalloc_cache(192), mm.kmalloc_caches[5]);
	assert_int_equal(block_of(p[0]).usable, 256); /* for its whole life */
	assert_int_equal(block_of(p[19999]).usable, 208);
	assert_true(own->list3.nr_slabs * own->num > 18000);
	assert_int_equal((uintptr_t)mm_alloc(200, 256, GFP_KERNEL) % 256, 0);
	assert_mm_holds();
	for (i = 0; i < 20000; i++) {
		assert_int_equal(*(unsigned char *)p[i], (unsigned char)i);
		release(p[i]);
	}
	assert_mm_holds();
	assert_int_equal(kmem_cache_destroy(own), -EBUSY);
}

static void dedicated_cache_packs_sizes_above_a_page(void **state)
{
	static void *p[2000];
	struct kmem_cache *own;
	uint64_t bytes;
	unsigned int i;

	(void)state;
	start(with_dedicated);
	for (i = 0; i < 2000; i++)
		p[i] = mm_alloc(4368, 1, GFP_KERNEL);
	own = kmalloc_cache(4368);
	assert_string_equal(own->name, "kmalloc-fit-4368");
	bytes = mm.zone[0].stat.used_pages[BS_USE_SLAB] << PAGE_SHIFT;
	assert_true(bytes < 2000 * 4368UL * 11 / 10);
	assert_mm_holds();
	for (i = 0; i < 2000; i++)
		release(p[i]);
}

/* Any number of pages: 5 of them hold 2 objects, 8 would hold no more than 3. */
static void dedicated_slabs_give_their_tails_back(void **state)
{
	static void *p[200];
	struct kmem_cache *own;
	uint64_t bytes;
	unsigned int i;

	(void)state;
	start(with_dedicated);
	for (i = 0; i < 200; i++)
		p[i] = mm_alloc(10240, 1, GFP_KERNEL);
	own = kmalloc_cache(10240);
	assert_string_equal(own->name, "kmalloc-fit-10240");
	assert_int_equal(own->nr_pages, 5);
	assert_int_equal(own->num, 2);
	bytes = mm.zone[0].stat.used_pages[BS_USE_SLAB] << PAGE_SHIFT;
	assert_true(bytes < 200 * 10240UL * 11 / 10);
	assert_mm_holds();
	for (i = 0; i < 200; i++)
		release(p[i]);
	/* Free objects on the lists: not more than 128 KiB of a size. */
	assert_true(own->list3.free_objects * 10240 <= 128 << 10);
	assert_mm_holds();
}

static void dedicated_caches_are_not_for_small_heaps(void **state)
{
	unsigned int i;

	(void)state;
	start(with_dedicated);
	for (i = 0; i < 500; i++)
		mm_alloc(16 + i % 500, 1, GFP_KERNEL);
	assert_int_equal(mm.nr_dedicated, 0);
}

static void dedicated_off_makes_none(void **state)
{
	unsigned int i;

	(void)state;
	start(NULL);
	for (i = 0; i < 20000; i++)
		mm_alloc(200, 1, GFP_KERNEL);
	assert_int_equal(mm.nr_dedicated, 0);
}

static void dedicated_caches_of_exact_sizes_are_not_made(void **state)
{
	unsigned int i;

	(void)state;
	start(with_dedicated);
	for (i = 0; i < 20000; i++)
		mm_alloc(256, 1, GFP_KERNEL);
	assert_int_equal(mm.nr_dedicated, 0);
}

static void *allocate_sizes(void *arg)
{
	unsigned int id = (unsigned int)(uintptr_t)arg, i;

	for (i = 0; i < 30000; i++)
		if (!mm_alloc(1 + (i * 7 + id) % 3000, 1, GFP_KERNEL))
			abort();
	return NULL;
}

static void dedicated_caches_by_threads_hold(void **state)
{
	pthread_t thread[3];
	unsigned int i;

	(void)state;
	start(with_dedicated);
	for (i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, allocate_sizes,
			       (void *)(uintptr_t)i);
	for (i = 0; i < 30; i++)
		assert_mm_holds();
	for (i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	/* while threads are in each other's way few sizes are noticed */
	allocate_sizes(NULL);
	assert_true(mm.nr_dedicated > 10);
	assert_mm_holds();
}

/* ---- what is published -------------------------------------------------------------------------------- */

static struct bs_abi_header header;
static struct bs_abi_cache pub_caches[MM_MAX_CACHES];
static struct bs_abi_owner pub_owners[1000];

static bool claim(const void *p, size_t len)
{
	(void)p;
	(void)len;
	return true;
}

static void publish_here(void)
{
	memset(&header, 0, sizeof(header));
	memset(pub_caches, 0, sizeof(pub_caches));
	memset(pub_owners, 0, sizeof(pub_owners));
	header.section[BS_SEC_CACHES].capacity = MM_MAX_CACHES;
	header.section[BS_SEC_OWNERS].capacity = ARRAY_SIZE(pub_owners);
	mm_wipe->pub.caches = pub_caches;
	mm_wipe->pub.owners = pub_owners;
	mm_wipe->pub.claim = claim;
	mm_wipe->pub.header = &header;
}

static void kmem_cache_record_tells_all(void **state)
{
	const struct bs_abi_cache *r;
	struct kmem_cache *c;
	void *p;

	(void)state;
	start(two_zones);
	publish_here();
	c = kmem_cache_create("told", 100, 64, SLAB_CACHE_DMA | SLAB_PROGRAM,
			      construct);
	r = &pub_caches[c->pub_slot];
	assert_true(header.section[BS_SEC_CACHES].count > c->pub_slot);
	p = kmem_cache_alloc(c, GFP_KERNEL);
	assert_int_equal(r->live, 1);
	assert_string_equal(r->name, "told");
	assert_int_equal(r->slot, c->pub_slot);
	assert_int_equal(r->object_bytes, 128);
	assert_int_equal(r->requested_bytes, 100);
	assert_int_equal(r->align_bytes, 64);
	assert_int_equal(r->zone, 0);
	assert_int_equal(r->flags, BS_CACHE_PROGRAM | BS_CACHE_CTOR);
	assert_int_equal(r->colours, c->colour + 1);
	assert_int_equal(r->colour_bytes, 64);
	assert_int_equal(r->debug, 0);
	assert_int_equal(r->alloc_misses, 1);
	assert_int_equal(r->grown, 1);
	assert_int_equal(r->max_freeable, 0); /* no flush yet */
	assert_int_equal(r->active_objs + c->list3.free_objects, c->num);
	kmem_cache_free(c, p);
	assert_int_equal(kmem_cache_destroy(c), 0);
	assert_int_equal(r->live, 0);
	assert_int_equal(r->seq % 2, 0);
}

static void kmem_cache_max_freeable_counts_slabs_at_flushes(void **state)
{
	struct kmem_cache *c;
	static void *p[1000];
	uint64_t most = 0;
	unsigned int i;

	(void)state;
	start(NULL);
	on_one_cpu();
	mm.last_reap_ns = sys_now_coarse_ns();
	c = kmem_cache_create("flushed", 2000, 0, 0, NULL);
	for (i = 0; i < ARRAY_SIZE(p); i++)
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	assert_int_equal(c->max_freeable, 0);
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		uint64_t flushes = c->flushes;

		kmem_cache_free(c, p[i]);
		if (c->flushes != flushes)
			most = MAX(most, c->list3.nr_free_slabs);
	}
	assert_true(most > 1);
	assert_int_equal(c->max_freeable, most);
	kmem_cache_shrink(c);
	assert_int_equal(c->max_freeable, most);
}

static uint64_t owned(const struct kmem_cache *c, uint32_t site)
{
	uint64_t n = 0, i;

	for (i = 0; i < header.section[BS_SEC_OWNERS].count; i++)
		if (pub_owners[i].cache == c->pub_slot &&
		    pub_owners[i].site == site)
			n += pub_owners[i].live_objs;
	return n;
}

static void slab_debug_owners_are_counted(void **state)
{
	struct kmem_cache *c;
	void *p[30];
	unsigned int i;

	(void)state;
	start(with_debug);
	publish_here();
	c = kmem_cache_create("owned", 100, 0, 0, NULL);
	assert_int_equal(pub_caches[c->pub_slot].debug, FZPU);
	assert_int_equal(pub_caches[c->pub_slot].obj_offset, c->lead_bytes);
	for (i = 0; i < 30; i++) {
		site_now = 100 + i % 3;
		p[i] = kmem_cache_alloc(c, GFP_KERNEL);
	}
	site_now = 7;
	for (i = 0; i < 5; i++)
		kmem_cache_free(c, p[3 * i]);
	assert_int_equal(owned(c, 100), 5);
	assert_int_equal(owned(c, 101), 10);
	assert_int_equal(owned(c, 7), 0);
	/* A child's segment starts with what it inherited. */
	memset(pub_owners, 0, sizeof(pub_owners));
	header.section[BS_SEC_OWNERS].count = 0;
	slab_debug_publish();
	assert_int_equal(owned(c, 100), 5);
	assert_int_equal(owned(c, 102), 10);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(kmem_cache_create_bad_requests_are_refused),
		TEST(kmem_cache_create_taken_name_is_refused),
		TEST(kmem_cache_destroy_busy_is_refused),
		TEST(kmem_cache_create_slots_run_out_and_come_back),
		TEST(kmem_cache_shrink_tells_whether_slabs_are_left),
		TEST(kmem_cache_flags_choose_alignment_zone_and_type),
		TEST(kmem_cache_geometry_follows_the_rules),
		TEST(kmem_cache_slabs_rotate_their_colours),
		TEST(kmem_cache_ctor_runs_once_per_object),
		TEST(kmem_cache_ctor_with_debug_is_not_poisoned),
		TEST(kmem_cache_destroy_while_others_walk_holds),
		TEST(mm_alloc_zone_uses_caches_of_its_own),
		TEST(slab_debug_overflow_is_reported_once),
		TEST(slab_debug_underflow_is_reported_once),
		TEST(slab_debug_use_after_free_is_reported_once),
		TEST(slab_debug_walks_find_what_nobody_frees),
		TEST(slab_debug_many_errors_are_all_told),
		TEST(slab_debug_double_free_is_refused_with_tracks),
		TEST(slab_debug_wrong_cache_is_reported_once),
		TEST(slab_debug_names_choose_caches),
		TEST(slab_debug_sizes_and_alignments_stay_right),
		TEST(slab_debug_atomic_reserve_works),
		TEST(slab_debug_random_run_tells_nothing),
		TEST(slab_debug_threads_tell_nothing),
		TEST(slab_raw_child_with_debug_goes_on),
		TEST(slab_has_no_tags_until_the_first),
		TEST(tags_caches_fit_every_number_of_objects),
		TEST(slabs_of_tags_end_with_the_last),
		TEST(tags_without_memory_are_not_made),
		TEST(spare_objects_have_a_place_for_a_tag),
		TEST(section_frees_only_where_no_tag_lives),
		TEST(dedicated_cache_is_made_for_a_frequent_size),
		TEST(dedicated_cache_packs_sizes_above_a_page),
		TEST(dedicated_slabs_give_their_tails_back),
		TEST(dedicated_caches_are_not_for_small_heaps),
		TEST(dedicated_off_makes_none),
		TEST(dedicated_caches_of_exact_sizes_are_not_made),
		TEST(dedicated_caches_by_threads_hold),
		TEST(kmem_cache_record_tells_all),
		TEST(kmem_cache_max_freeable_counts_slabs_at_flushes),
		TEST(slab_debug_owners_are_counted),
		TEST(arrays_in_use_are_drained_reaped_and_verified),
		TEST(mm_sections_end_leaves_the_locked_arrays),
		/* These bind the process to one CPU. */
		TEST(mm_sections_stop_keeps_objects_out_of_arrays),
		TEST(kmem_cache_arrays_do_as_the_model),
		TEST(cache_reap_takes_a_fifth_of_an_idle_array),
		TEST(mm_decay_poll_gives_back_what_idle_caches_hold),
		TEST(mm_decay_poll_leaves_pages_of_a_busy_zone_until_they_are_old),
		TEST(mm_decay_by_caller_asks_when_a_round_is_due),
		TEST(mm_decay_exit_gives_back_what_waits),
		TEST(cache_reap_takes_half_of_what_is_less_than_a_fifth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
