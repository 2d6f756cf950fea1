/* SPDX-License-Identifier: MIT */
/*
 * test_mm_all.c - every entry point of the engine at once, on several threads,
 * against a model: what was handed out is where it was put, is like it was left,
 * and is counted; mm_verify() after each batch.
 *
 * BS_TEST_OPS: calls in all, default 100000.  BS_TEST_SEED repeats a run; the
 * calls of a thread depend on the seed alone, their interleaving does not.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_debug.h"
#include "tests/unit/mm_model.h"

#define THREADS	   4
#define BATCH	   2500 /* calls of a thread between two proofs */
#define SLOTS	   64
#define CACHES	   4
#define MAX_KINDS  16
#define CARVEOUT   "v4l2"
#define MAX_ORDERS 7 /* blocks of up to 256 KiB, so that zones last */

/* What a thread holds; each kind has slots of its own. */
struct held_pages {
	struct page *page;
	uint64_t nr; /* heads of one page each when split */
	bool split;
	uint64_t stamp;
};

struct held_dma {
	unsigned char *p;
	size_t size;
	dma_addr_t handle; /* 0: of dma_alloc(), which tells none */
	unsigned int device;
};

struct held_carved {
	unsigned char *p, *view; /* of carveout_alloc(), of ioremap() */
	size_t size;
	uint64_t phys;
};

struct held_area {
	unsigned char *p;
	size_t size;
	struct page *pages[4]; /* vmap: what it shows */
	unsigned int nr_pages;
};

struct held_map {
	unsigned char *p;
	size_t size;
	bool writable;
};

struct held_object {
	uint64_t *objp;
	unsigned int cache;
};

struct actor {
	struct model model;
	struct held_pages pages[SLOTS];
	struct held_dma dma[SLOTS];
	struct held_area area[SLOTS];
	struct held_map map[SLOTS];
	struct held_object object[SLOTS];
	struct held_carved carved[SLOTS];
	struct {
		unsigned char *p;
		size_t size;
	} reserve[SLOTS], zoned[SLOTS];
	struct kmem_cache *own; /* made and destroyed by this thread */
	unsigned int nr;
	uint64_t calls[MAX_KINDS], model_calls, trims;
	uint64_t failed;
};

static struct actor actors[THREADS];
static struct kmem_cache *caches[CACHES];
static const size_t cache_sizes[CACHES] = { 24, 200, 1500, 9000 };
static unsigned int devices[2];
static pthread_barrier_t barrier;
static unsigned int nr_batches;

static uint64_t rnd(struct actor *a)
{
	return model_random(&a->model);
}

/* First and last word of each page. */
static void stamp(unsigned char *p, size_t size, uint64_t value)
{
	size_t i;

	for (i = 0; i + sizeof(value) <= size; i += PAGE_SIZE)
		memcpy(p + i, &value, sizeof(value));
}

static void check_stamp(const unsigned char *p, size_t size, uint64_t value)
{
	uint64_t found;
	size_t i;

	for (i = 0; i + sizeof(value) <= size; i += PAGE_SIZE) {
		memcpy(&found, p + i, sizeof(found));
		assert_int_equal(found, value);
	}
}

static void check_zero(const unsigned char *p, size_t size)
{
	size_t i;

	for (i = 0; i < size; i += 509)
		assert_int_equal(p[i], 0);
	assert_int_equal(p[size - 1], 0);
}

/* ---- pages ----------------------------------------------------------------- */

static const gfp_t page_gfps[] = {
	GFP_KERNEL, __GFP_MOVABLE, __GFP_RECLAIMABLE,
	GFP_DMA,    GFP_ATOMIC,	   __GFP_MOVABLE | __GFP_ZONE(1),
};

static char *page_mem(struct page *page)
{
	return pfn_to_virt(page_to_pfn(page));
}

static void put_pages(struct held_pages *h)
{
	unsigned char *p = (unsigned char *)page_mem(h->page);
	uint64_t i;

	check_stamp(p, h->nr << PAGE_SHIFT, h->stamp);
	if (h->split)
		for (i = 0; i < h->nr; i++)
			release(p + (i << PAGE_SHIFT));
	else
		free_page_range(page_to_pfn(h->page), h->nr, BS_USE_LARGE,
				false);
	h->page = NULL;
}

static void step_pages(struct actor *a)
{
	struct held_pages *h = &a->pages[rnd(a) % SLOTS];
	unsigned int order = (unsigned int)(rnd(a) % MAX_ORDERS);
	gfp_t gfp = page_gfps[rnd(a) % ARRAY_SIZE(page_gfps)] | __GFP_NOWARN;

	if (h->page) {
		put_pages(h);
		return;
	}
	h->page = alloc_pages(gfp, order, BS_USE_LARGE);
	if (!h->page) {
		a->failed++;
		return;
	}
	assert_int_equal(page_to_pfn(h->page) & ((1UL << order) - 1), 0);
	if (gfp & GFP_DMA)
		assert_ptr_equal(page_zone(page_to_pfn(h->page)), &mm.zone[0]);
	h->nr = 1UL << order;
	h->split = rnd(a) % 3 == 0;
	if (h->split)
		split_page(h->page, order);
	h->stamp = rnd(a);
	stamp((unsigned char *)page_mem(h->page), h->nr << PAGE_SHIFT,
	      h->stamp);
}

static void step_exact(struct actor *a)
{
	size_t size = rnd(a) % (200UL << 10) + 1;
	gfp_t gfp = rnd(a) % 2 ? __GFP_ZERO : 0;
	unsigned char *p = alloc_pages_exact(size, gfp | __GFP_NOWARN);

	if (!p) {
		a->failed++;
		return;
	}
	if (gfp)
		check_zero(p, size);
	stamp(p, size, size);
	check_stamp(p, size, size);
	release(p);
}

/* ---- devices, carve-outs -------------------------------------------------------- */

static void put_dma(struct held_dma *h)
{
	check_stamp(h->p, h->size, h->handle);
	if (!h->handle) {
		release(h->p);
		h->p = NULL;
		return;
	}
	/* Another device, size or handle than it was given: refused. */
	assert_int_equal(dma_free_coherent(h->device, h->size + PAGE_SIZE, h->p,
					   h->handle),
			 -EINVAL);
	assert_int_equal(dma_free_coherent(h->device, h->size, h->p, h->handle),
			 0);
	h->p = NULL;
}

static void step_dma(struct actor *a)
{
	struct held_dma *h = &a->dma[rnd(a) % SLOTS];

	if (h->p) {
		put_dma(h);
		return;
	}
	h->device = devices[rnd(a) % 2];
	h->size = rnd(a) % (300UL << 10) + 1;
	h->handle = 0;
	if (rnd(a) % 4 == 0)
		h->p = dma_alloc(h->device, h->size, __GFP_NOWARN);
	else
		h->p = dma_alloc_coherent(h->device, h->size, &h->handle,
					  __GFP_NOWARN);
	if (!h->p) {
		a->failed++;
		return;
	}
	if (h->handle) {
		assert_int_equal(h->handle, virt_to_pfn(h->p) << PAGE_SHIFT);
		check_zero(h->p, h->size);
	}
	stamp(h->p, h->size, h->handle);
}

static void put_view(struct held_carved *h)
{
	if (!h->view)
		return;
	check_stamp(h->view, h->size, (uint64_t)h->p);
	assert_int_equal(iounmap(h->view), 0);
	h->view = NULL;
}

static void put_carved(struct held_carved *h)
{
	put_view(h);
	check_stamp(h->p, h->size, (uint64_t)h->p);
	assert_int_equal(carveout_free(CARVEOUT, h->p), 0);
	h->p = NULL;
}

static void step_carveout(struct actor *a)
{
	struct held_carved *h = &a->carved[rnd(a) % SLOTS];

	if (h->p) {
		put_carved(h);
		return;
	}
	h->size = rnd(a) % (100UL << 10) + 1;
	h->p = carveout_alloc(CARVEOUT, h->size, &h->phys, __GFP_NOWARN);
	if (!h->p) {
		a->failed++;
		return;
	}
	assert_int_equal(h->phys & (PAGE_SIZE - 1), 0);
	stamp(h->p, h->size, (uint64_t)h->p);
}

/*
 * In the middle of a mapping of the program's: the pages before and behind stay,
 * what is written through one view is seen in the other.
 */
static void remap(struct held_carved *h)
{
	size_t bytes = ALIGN_UP(h->size, PAGE_SIZE),
	       all = bytes + 2 * PAGE_SIZE;
	long ret = mm_mmap(NULL, all, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0);
	unsigned char *user = (unsigned char *)ret;

	assert_false(sys_is_err(ret));
	user[0] = user[all - 1] = 0x77;
	assert_int_equal(remap_pfn_range(user + PAGE_SIZE,
					 h->phys >> PAGE_SHIFT, h->size, 0),
			 0);
	check_stamp(user + PAGE_SIZE, h->size, (uint64_t)h->p);
	user[PAGE_SIZE + h->size - 1] ^= 0xff;
	h->p[h->size - 1] ^= 0xff;
	check_stamp(user + PAGE_SIZE, h->size, (uint64_t)h->p);
	assert_int_equal(user[0], 0x77);
	assert_int_equal(user[all - 1], 0x77);
	assert_int_equal(mm_munmap(user, all), 0);
}

static void step_view(struct actor *a)
{
	struct held_carved *h = &a->carved[rnd(a) % SLOTS];
	uint64_t phys, bytes;

	if (!h->p) {
		/* A view of more than there is. */
		assert_int_equal(carveout_find(CARVEOUT, &phys, &bytes), 0);
		assert_null(
			ioremap(phys + bytes - PAGE_SIZE, PAGE_SIZE + 1, 0));
	} else if (rnd(a) % 2) {
		remap(h);
	} else if (h->view) {
		put_view(h);
	} else {
		h->view = ioremap(h->phys, h->size, 0);
		assert_non_null(h->view);
	}
}

/* ---- areas --------------------------------------------------------------------------- */

static void put_area(struct held_area *h)
{
	unsigned int i;

	check_stamp(h->p, h->size, (uint64_t)h->p);
	if (!h->nr_pages) {
		release(h->p);
	} else {
		assert_int_equal(vunmap(h->p), 0);
		for (i = 0; i < h->nr_pages; i++) {
			/* what was written there is in the pages now */
			check_stamp((unsigned char *)page_mem(h->pages[i]),
				    PAGE_SIZE, (uint64_t)h->p);
			free_page_range(page_to_pfn(h->pages[i]), 1,
					BS_USE_LARGE, false);
		}
	}
	h->p = NULL;
}

static bool get_vmap(struct actor *a, struct held_area *h)
{
	unsigned int n = (unsigned int)(rnd(a) % 4) + 1, i;

	for (i = 0; i < n; i++) {
		h->pages[i] = alloc_pages(__GFP_MOVABLE | __GFP_NOWARN, 0,
					  BS_USE_LARGE);
		if (!h->pages[i])
			break;
		split_page(h->pages[i], 0);
		stamp((unsigned char *)page_mem(h->pages[i]), PAGE_SIZE, i);
	}
	h->p = i == n ? vmap(h->pages, n, __GFP_NOWARN, 0) : NULL;
	if (!h->p) {
		while (i--)
			free_page_range(page_to_pfn(h->pages[i]), 1,
					BS_USE_LARGE, false);
		return false;
	}
	for (i = 0; i < n; i++)
		check_stamp(h->p + i * PAGE_SIZE, PAGE_SIZE, i);
	h->nr_pages = n;
	h->size = n * PAGE_SIZE;
	return true;
}

static void step_area(struct actor *a)
{
	struct held_area *h = &a->area[rnd(a) % SLOTS];

	if (h->p) {
		put_area(h);
		return;
	}
	if (rnd(a) % 4 == 0) {
		if (!get_vmap(a, h)) {
			a->failed++;
			return;
		}
	} else {
		gfp_t gfp = rnd(a) % 2 ? __GFP_ZERO : 0;

		h->nr_pages = 0;
		h->size = rnd(a) % (500UL << 10) + 1;
		h->p = vmalloc(h->size, gfp | __GFP_NOWARN);
		if (!h->p) {
			a->failed++;
			return;
		}
		if (gfp)
			check_zero(h->p, h->size);
		assert_non_null(vmalloc_to_page(h->p));
	}
	stamp(h->p, h->size, (uint64_t)h->p);
}

/* ---- mappings ---------------------------------------------------------------------------- */

static void step_map(struct actor *a)
{
	struct held_map *h = &a->map[rnd(a) % SLOTS];
	size_t size = (rnd(a) % 40 + 1) * PAGE_SIZE;
	long ret;

	if (!h->p) {
		h->writable = rnd(a) % 4 != 0;
		ret = mm_mmap(NULL, size,
			      h->writable ? PROT_READ | PROT_WRITE : PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, 0);
		assert_false(sys_is_err(ret));
		h->p = (unsigned char *)ret;
		h->size = size;
	} else if (rnd(a) % 3 == 0) {
		ret = mm_mremap(h->p, h->size, size, MREMAP_MAYMOVE, NULL);
		assert_false(sys_is_err(ret));
		h->p = (unsigned char *)ret;
		h->size = size;
	} else if (rnd(a) % 3 == 0) {
		h->writable = !h->writable;
		assert_int_equal(mm_mprotect(h->p, h->size,
					     h->writable
						     ? PROT_READ | PROT_WRITE
						     : PROT_NONE),
				 0);
	} else if (rnd(a) % 3 == 0 && h->size > PAGE_SIZE) {
		assert_int_equal(mm_munmap(h->p, PAGE_SIZE), 0);
		h->p += PAGE_SIZE;
		h->size -= PAGE_SIZE;
	} else {
		assert_int_equal(mm_munmap(h->p, h->size), 0);
		h->p = NULL;
	}
	if (h->p && h->writable)
		h->p[h->size - 1] = 1;
}

/* Mappings that somebody else made: SysV shared memory, libc's own. */
static void step_record(struct actor *a)
{
	size_t size = (rnd(a) % 40 + 1) * PAGE_SIZE;
	long ret = sys_mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);

	assert_false(sys_is_err(ret));
	mm_record((void *)ret, size, PROT_READ, BS_AREA_MAP | BS_AREA_SHARED,
		  rnd(a) % 2 ? "/SYSV00000000" : NULL, 0);
	mm_forget((void *)ret);
	sys_munmap((void *)ret, size);
}

/* ---- caches ------------------------------------------------------------------------------- */

#define CONSTRUCTED 0x600dc0de600dc0deULL

static void construct(void *objp)
{
	uint64_t *w = objp;

	w[0] = w[1] = CONSTRUCTED;
}

static void put_object(struct held_object *h)
{
	assert_int_equal(h->objp[0], (uint64_t)h->objp);
	construct(h->objp); /* as it has to be given back */
	assert_int_equal(kmem_cache_free(caches[h->cache], h->objp), 0);
	h->objp = NULL;
}

static void step_object(struct actor *a)
{
	struct held_object *h = &a->object[rnd(a) % SLOTS];

	if (h->objp) {
		put_object(h);
		return;
	}
	h->cache = (unsigned int)(rnd(a) % CACHES);
	h->objp = kmem_cache_alloc(caches[h->cache], GFP_KERNEL);
	if (!h->objp) {
		a->failed++;
		return;
	}
	assert_int_equal(h->objp[0], CONSTRUCTED);
	assert_int_equal(h->objp[1], CONSTRUCTED);
	h->objp[0] = (uint64_t)h->objp;
	if (rnd(a) % 64 == 0)
		kmem_cache_shrink(caches[rnd(a) % CACHES]);
}

static void step_own_cache(struct actor *a)
{
	char name[32];
	void *p;

	if (!a->own) {
		sys_format(name, sizeof(name), "actor-%u-%lx", a->nr,
			   (unsigned long)rnd(a));
		a->own = kmem_cache_create(name, rnd(a) % 3000 + 1, 0, 0, NULL);
		if (!a->own)
			a->failed++;
		return;
	}
	p = kmem_cache_alloc(a->own, __GFP_ZERO);
	if (!p) {
		a->failed++;
		return;
	}
	check_zero(p, kmem_cache_size(a->own));
	assert_int_equal(ksize(p) >= kmem_cache_size(a->own), 1);
	assert_int_equal(kmem_cache_free(a->own, p), 0);
	if (rnd(a) % 4)
		return;
	assert_int_equal(kmem_cache_destroy(a->own), 0);
	a->own = NULL;
}

/* Caches of the lowest zone, as a route asks for them. */
static void step_zoned(struct actor *a)
{
	unsigned int i = (unsigned int)(rnd(a) % SLOTS);
	unsigned char *p = a->zoned[i].p;

	if (p) {
		check_stamp(p, a->zoned[i].size, (uint64_t)p);
		release(p);
		a->zoned[i].p = NULL;
		return;
	}
	a->zoned[i].size = rnd(a) % (rnd(a) % 8 ? 600 : KMALLOC_MAX) + 1;
	p = mm_alloc(a->zoned[i].size, 1, __GFP_ZONE(0) | __GFP_NOWARN);
	if (!p) {
		a->failed++;
		return;
	}
	assert_ptr_equal(page_zone(virt_to_pfn(p)), &mm.zone[0]);
	stamp(p, a->zoned[i].size, (uint64_t)p);
	a->zoned[i].p = p;
}

/* ---- the handlers' reserve, the rest ------------------------------------------------------- */

static void step_reserve(struct actor *a)
{
	unsigned int i = (unsigned int)(rnd(a) % SLOTS);
	unsigned char *p = a->reserve[i].p;

	if (p) {
		check_stamp(p, a->reserve[i].size, (uint64_t)p);
		assert_true(mm_atomic_free(p));
		a->reserve[i].p = NULL;
	} else {
		a->reserve[i].size = rnd(a) % 4000 + 16;
		p = mm_atomic_alloc(a->reserve[i].size, 16, rnd(a) % 2);
		if (!p)
			a->failed++; /* taken faster than it was filled */
		else
			stamp(p, a->reserve[i].size, (uint64_t)p);
		a->reserve[i].p = p;
	}
	if (mm_atomic_pending())
		mm_atomic_work(release);
}

static const struct {
	const char *name;
	void (*fn)(struct actor *a);
} steps[] = {
	{ "pages", step_pages },   { "exact", step_exact },
	{ "dma", step_dma },	   { "carve-out", step_carveout },
	{ "view", step_view },	   { "area", step_area },
	{ "map", step_map },	   { "record", step_record },
	{ "object", step_object }, { "cache", step_own_cache },
	{ "zoned", step_zoned },   { "reserve", step_reserve },
};
static_assert(ARRAY_SIZE(steps) <= MAX_KINDS,
	      "actor.calls has a place for each");

static void step(struct actor *a)
{
	uint64_t r = rnd(a) % 32;

	if (r < 16) {
		model_step(&a->model);
		a->model_calls++;
	} else if (rnd(a) % 2000 == 0) {
		mm_trim();
		a->trims++;
	} else {
		r = rnd(a) % ARRAY_SIZE(steps);
		steps[r].fn(a);
		a->calls[r]++;
	}
}

static void put_everything(struct actor *a)
{
	unsigned int i;

	for (i = 0; i < SLOTS; i++) {
		if (a->pages[i].page)
			put_pages(&a->pages[i]);
		if (a->dma[i].p)
			put_dma(&a->dma[i]);
		if (a->area[i].p)
			put_area(&a->area[i]);
		if (a->map[i].p)
			mm_munmap(a->map[i].p, a->map[i].size);
		if (a->object[i].objp)
			put_object(&a->object[i]);
		if (a->carved[i].p)
			put_carved(&a->carved[i]);
		if (a->zoned[i].p)
			release(a->zoned[i].p);
		if (a->reserve[i].p) {
			mm_atomic_free(a->reserve[i].p);
			mm_atomic_work(release);
		}
	}
	if (a->own)
		assert_int_equal(kmem_cache_destroy(a->own), 0);
	model_free_all(&a->model);
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	unsigned int i, j;

	for (i = 0; i < nr_batches; i++) {
		for (j = 0; j < BATCH; j++)
			step(a);
		pthread_barrier_wait(&barrier); /* all stopped: main proves */
		pthread_barrier_wait(&barrier);
	}
	put_everything(a);
	return NULL;
}

/* ---- what all threads together must have --------------------------------------------------- */

static uint64_t used_everywhere(enum bs_use use)
{
	uint64_t pages = 0;
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++)
		pages += mm.zone[i].stat.used_pages[use];
	return pages;
}

static uint64_t size_to_pages(size_t size)
{
	return ALIGN_UP(size, PAGE_SIZE) >> PAGE_SHIFT;
}

static void compare_with_models(void)
{
	uint64_t dma = 0, mapped = 0, overcommit = 0, carved = 0;
	unsigned int t, i;

	for (t = 0; t < THREADS; t++) {
		for (i = 0; i < SLOTS; i++) {
			const struct held_map *m = &actors[t].map[i];

			if (actors[t].dma[i].p)
				dma += size_to_pages(actors[t].dma[i].size);
			if (actors[t].carved[i].p)
				carved +=
					size_to_pages(actors[t].carved[i].size);
			if (m->p && m->writable)
				mapped += m->size >> PAGE_SHIFT;
		}
	}
	for (i = 0; i < mm.nr_zones; i++)
		overcommit += mm.zone[i].stat.overcommit_pages;
	assert_int_equal(used_everywhere(BS_USE_DMA), dma);
	assert_int_equal(mm.carveout[0].used_pages, carved);
	/* A protected mapping that was charged once may stay so. */
	assert_true(used_everywhere(BS_USE_MMAP) + overcommit >= mapped);
}

static void start(bool fixed)
{
	struct mm_config c;
	unsigned int i;

	mm_default_config(&c);
	c.tags = true;
	c.decay_ns = 10000000;
	c.nr_zones = 2;
	memcpy(c.zone[0].name, "DMA", 4);
	c.zone[0].pages = (64UL << 20) >> PAGE_SHIFT;
	c.zone[0].elastic = false;
	memcpy(c.zone[1].name, "NORMAL", 7);
	c.zone[1].pages = ((fixed ? 512UL : 64UL) << 20) >> PAGE_SHIFT;
	c.zone[1].elastic = !fixed;
	memcpy(c.carveout[0].name, CARVEOUT, sizeof(CARVEOUT));
	c.carveout[0].bytes = 8UL << 20;
	c.nr_carveouts = 1;
	if (fixed) {
		c.slab_debug = BS_DEBUG_CHECKS | BS_DEBUG_RED_ZONE |
			       BS_DEBUG_POISON | BS_DEBUG_USER;
		strcpy(c.slab_debug_names, "kmalloc-96,dma-kmalloc-512,"
					   "shared-1500,actor-*");
	}
	assert_int_equal(mm_init(&c, NULL), 0);
	for (i = 0; i < CACHES; i++) {
		char name[32];

		sys_format(name, sizeof(name), "shared-%u",
			   (unsigned int)cache_sizes[i]);
		caches[i] = kmem_cache_create(name, cache_sizes[i], 0, 0,
					      construct);
		assert_non_null(caches[i]);
	}
	devices[0] = dma_device("v4l2-out");
	devices[1] = dma_device("vpu");
}

static void finish(void)
{
	unsigned int i;

	assert_mm_holds();
	mm_trim();
	assert_mm_holds();
	for (i = 0; i < CACHES; i++) {
		/* every object is back where it was constructed */
		assert_int_equal(kmem_cache_shrink(caches[i]), 0);
		assert_int_equal(kmem_cache_destroy(caches[i]), 0);
	}
	assert_int_equal(used_everywhere(BS_USE_LARGE), 0);
	assert_int_equal(used_everywhere(BS_USE_DMA), 0);
	assert_int_equal(used_everywhere(BS_USE_VMALLOC), 0);
	assert_int_equal(used_everywhere(BS_USE_MMAP), 0);
	assert_int_equal(used_everywhere(BS_USE_PCP), 0);
	assert_int_equal(mm.carveout[0].used_pages, 0);
	assert_int_equal(slab_debug_check_all(), 0);
	assert_mm_holds();
	mm_destroy();
}

static void say_calls(void)
{
	uint64_t calls = 0, trims = 0, failed = 0;
	unsigned int t, i;

	for (t = 0; t < THREADS; t++) {
		calls += actors[t].model_calls;
		trims += actors[t].trims;
		failed += actors[t].failed;
	}
	printf("malloc %lu, trim %lu", calls, trims);
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		for (calls = t = 0; t < THREADS; t++)
			calls += actors[t].calls[i];
		printf(", %s %lu", steps[i].name, calls);
	}
	printf("; %lu found no memory\n", failed);
}

static void run_all(bool fixed)
{
	const char *given = getenv("BS_TEST_OPS");
	uint64_t ops = given ? strtoull(given, NULL, 0) : 100000;
	uint64_t seed = test_seed();
	pthread_t thread[THREADS];
	unsigned int i;

	start(fixed);
	memset(actors, 0, sizeof(actors));
	nr_batches = (unsigned int)(ops / 2 / THREADS / BATCH) + 1;
	assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS + 1), 0);
	for (i = 0; i < THREADS; i++) {
		model_init(&actors[i].model, seed + i, 60UL << 20);
		actors[i].nr = i;
		assert_int_equal(pthread_create(&thread[i], NULL, actor_main,
						&actors[i]),
				 0);
	}
	for (i = 0; i < nr_batches; i++) {
		pthread_barrier_wait(&barrier);
		assert_mm_holds();
		compare_with_models();
		pthread_barrier_wait(&barrier);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	say_calls();
	finish();
}

static void mm_all_elastic_holds(void **state)
{
	(void)state;
	run_all(false);
}

static void mm_all_fixed_zones_holds(void **state)
{
	(void)state;
	run_all(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mm_all_elastic_holds),
		cmocka_unit_test(mm_all_fixed_zones_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
