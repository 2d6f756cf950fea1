/* SPDX-License-Identifier: MIT */
/*
 * kmalloc.c - one door for every size: general caches, large blocks, vmalloc.
 *
 * Owns:   the general caches, the choice of allocator, what a pointer is.
 * Layer:  mm, above slab, page_alloc and vmalloc.
 * Locks:  none of its own.
 */
#include <errno.h>
#include <string.h>

#include "preload/mm/kmalloc.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"

static const uint32_t kmalloc_sizes[KMALLOC_NR] = {
	16,   32,   64,	  96,	128,   192,   256,   512,
	1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072
};

static struct kmem_cache *create_general(const char *prefix, unsigned int nr,
					 gfp_t gfp, struct kmem_cache **install)
{
	uint32_t bytes = kmalloc_sizes[nr];
	/* Powers of two are naturally aligned, 96 to 32, 192 to 64. */
	const struct kmem_cache_args args = {
		.size = bytes,
		.align = bytes & -bytes,
		.flags = SLAB_GENERAL | (mm.config.tags ? SLAB_TAGS : 0),
		.gfp = gfp,
		.install = install,
	};
	char name[32];

	sys_format(name, sizeof(name), "%skmalloc-%u", prefix, bytes);
	return kmem_cache_create_args(name, &args);
}

/*
 * Smallest first: the descriptors of off-slab caches (512 bytes and more) come
 * from the caches below them.
 */
int kmalloc_init(void)
{
	unsigned int nr, step = 0;

	for (nr = 0; nr < KMALLOC_NR; nr++) {
		struct kmem_cache *cachep =
			create_general("", nr, 0, &mm.kmalloc_caches[nr]);

		if (!cachep)
			return -ENOMEM;
		cachep->step_first = step;
		while (step < KMALLOC_NR_STEPS &&
		       kmalloc_step_bytes(step) <= kmalloc_sizes[nr])
			mm.kmalloc_table[step++] = cachep;
		cachep->step_last = step - 1;
	}
	return 0;
}

/*
 * As the kernel names them: dma-kmalloc-64, and so on for each zone's name in
 * small letters.
 */
static struct kmem_cache *create_in_zone(unsigned int zone_nr, unsigned int nr)
{
	const char *name = mm.zone[zone_nr].name;
	char prefix[sizeof(mm.zone[0].name) + 1];
	size_t i;

	for (i = 0; name[i]; i++)
		prefix[i] = name[i] >= 'A' && name[i] <= 'Z'
				    ? (char)(name[i] + 'a' - 'A')
				    : name[i];
	prefix[i++] = '-';
	prefix[i] = '\0';
	return create_general(prefix, nr, __GFP_ZONE(zone_nr),
			      &mm.zone_caches[zone_nr][nr]);
}

struct kmem_cache *kmalloc_cache_of_zone(unsigned int zone_nr, size_t size)
{
	unsigned int nr = kmalloc_nr(size);
	struct kmem_cache *cachep;

	if (zone_nr + 1 >= mm.nr_zones)
		return mm.kmalloc_caches[nr];
	cachep =
		__atomic_load_n(&mm.zone_caches[zone_nr][nr], __ATOMIC_ACQUIRE);
	return cachep ? cachep : create_in_zone(zone_nr, nr);
}

/* ---- large ------------------------------------------------------------------ */

static uint64_t size_to_pages(size_t size)
{
	return ALIGN_UP(size, PAGE_SIZE) >> PAGE_SHIFT;
}

static unsigned int pages_to_order(uint64_t nr_pages)
{
	return nr_pages > 1 ? 64 - (unsigned int)__builtin_clzll(nr_pages - 1)
			    : 0;
}

static void *large_alloc(size_t size, size_t align, gfp_t gfp)
{
	uint64_t nr_pages = size_to_pages(size), pfn;
	unsigned int order =
		pages_to_order(MAX(nr_pages, (uint64_t)align >> PAGE_SHIFT));
	struct page *page;
	bool zero;

	/* When no block is free vmalloc comes next: no growth. */
	page = alloc_pages(gfp | __GFP_MOVABLE | __GFP_NOWARN | __GFP_NORETRY |
				   __GFP_TRY,
			   order, BS_USE_LARGE);
	if (!page)
		return NULL;
	pfn = page_to_pfn(page);
	zero = page->flags & PG_ZERO;
	if (!mm.config.large_whole && nr_pages < 1UL << order)
		trim_pages(page, nr_pages, zero);
	page->requested_bytes = size;
	set_page_kind(page, PK_LARGE);
	if ((gfp & __GFP_ZERO) && !zero)
		memset(pfn_to_virt(pfn), 0, size);
	return pfn_to_virt(pfn);
}

/* Pages whose content vmap() moved come back to this block: none may be freed. */
static bool large_is_mapped(const struct page *page)
{
	return unlikely(__atomic_load_n(&mm.nr_vmaps, __ATOMIC_RELAXED)) &&
	       vmap_covers(page);
}

bool mm_is_mapped(const struct mm_block *b)
{
	return b->kind == MM_LARGE && large_is_mapped(b->page);
}

static int large_free(struct page *page)
{
	uint8_t kind = PK_LARGE;

	if (large_is_mapped(page))
		return -EBUSY;
	if (!__atomic_compare_exchange_n(&page->kind, &kind, PK_TRANSIT, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return -EALREADY;
	if (page->use == BS_USE_DMA)
		dma_freed(page);
	free_page_range(page_to_pfn(page), page->nr_pages,
			(enum bs_use)page->use, false);
	return 0;
}

void *alloc_pages_exact(size_t size, gfp_t gfp)
{
	uint64_t nr_pages = size_to_pages(MAX(size, (size_t)1));
	unsigned int order = pages_to_order(nr_pages);
	struct page *page;

	if (order >= MAX_ORDER)
		return NULL;
	page = alloc_pages(gfp, order, BS_USE_LARGE);
	if (!page)
		return NULL;
	if (gfp & __GFP_ZERO && !(page->flags & PG_ZERO))
		memset(pfn_to_virt(page_to_pfn(page)), 0,
		       nr_pages << PAGE_SHIFT);
	if (nr_pages < 1UL << order)
		trim_pages(page, nr_pages, page->flags & PG_ZERO);
	page->requested_bytes = size;
	set_page_kind(page, PK_LARGE);
	return pfn_to_virt(page_to_pfn(page));
}

/* Keep the block, give back whole pages behind the new end. */
static bool large_resize(struct page *page, size_t new_size)
{
	uint64_t nr_pages = size_to_pages(new_size);

	if (new_size <= KMALLOC_MAX / 2 || nr_pages > page->nr_pages ||
	    page->use != BS_USE_LARGE)
		return false;
	page->requested_bytes = new_size;
	if (!mm.config.large_whole && nr_pages < page->nr_pages &&
	    !large_is_mapped(page))
		trim_pages(page, nr_pages, false);
	return true;
}

/* ---- the door ------------------------------------------------------------------- */

static void *object_alloc(struct kmem_cache *cachep, size_t size, gfp_t gfp)
{
	void *p = likely(cachep) ? kmem_cache_alloc_sized(cachep, gfp, size)
				 : NULL;

	if (p && (gfp & __GFP_ZERO))
		memset(p, 0, size);
	return p;
}

static void *large_or_vmalloc(size_t size, size_t align, gfp_t gfp)
{
	void *p = NULL;

	if (size <= LARGE_MAX && align <= LARGE_MAX)
		p = large_alloc(size, align, gfp);
	return p ? p : vmalloc_alloc(size, align, gfp);
}

/* The cache for an alignment of its own (kmalloc_aligned_cache()), or a zone. */
static __attribute__((noinline)) struct kmem_cache *
unusual_cache(size_t size, size_t align, gfp_t gfp)
{
	size_t want = MAX(size, (size_t)1);

	if (align > KMALLOC_MINALIGN)
		want = round_up_pow2(MAX(want, align));
	return kmalloc_cache_of_zone(gfp_zone(gfp), want);
}

/* Bits of gfp that name a zone, moved above KMALLOC_MINALIGN. */
static inline size_t gfp_zone_bits(gfp_t gfp)
{
	return (size_t)(gfp & (__GFP_ZONE_MASK | GFP_DMA)) << 8;
}

void *mm_kmalloc(size_t size, gfp_t gfp)
{
	struct kmem_cache *cachep = gfp_zone_bits(gfp)
					    ? unusual_cache(size, 1, gfp)
					    : kmalloc_cache(size);

	return object_alloc(cachep, size, gfp);
}

/*
 * An object, or, where fixed zones have no block for a slab of several pages, an area made
 * page by page, unless a zone was asked for.
 */
void *mm_alloc(size_t size, size_t align, gfp_t gfp)
{
	size_t zone = gfp_zone_bits(gfp);
	struct kmem_cache *cachep;
	bool other_way;
	void *p;

	if (unlikely(size > KMALLOC_MAX) || unlikely(align > KMALLOC_MAX))
		return large_or_vmalloc(MAX(size, (size_t)1), align, gfp);
	cachep = unlikely(((align - 1) | zone) >= KMALLOC_MINALIGN)
			 ? unusual_cache(size, align, gfp)
			 : kmalloc_cache(size);
	other_way = cachep && cachep->gfporder && !zone;
	p = object_alloc(cachep, size, gfp | (other_way ? __GFP_TRY : 0));
	return likely(p) || !other_way
		       ? p
		       : vmalloc_alloc(MAX(size, (size_t)1), align, gfp);
}

static void fill_object(struct mm_block *b, int64_t index, size_t usable)
{
	uint64_t *tags = slab_tags(b->cache, b->slab);

	b->objnr = (uint32_t)index;
	b->usable = usable;
	b->tag = tags ? &tags[index] : NULL;
}

/* In a lost slab, or with slab_debug: those are as large as was asked for. */
static int lookup_object(const void *p, struct mm_block *b)
{
	int64_t index = obj_to_index(b->cache, b->slab, p);

	if (index < 0)
		return -EINVAL;
	fill_object(b, index, obj_usable(b->cache, b->slab, (uint32_t)index));
	if (cache_has_debug(b->cache) &&
	    __atomic_load_n(&slab_debug_of(b->cache, b->slab, b->objnr)->state,
			    __ATOMIC_ACQUIRE) == DEBUG_FREE)
		return -EALREADY;
	return 0;
}

static int lookup_arena(const void *p, struct mm_block *b)
{
	struct page *page = pfn_to_page(virt_to_pfn(p));
	int64_t index;

	b->page = page;
	switch (page_kind(page)) {
	case PK_SLAB:
		b->kind = MM_OBJECT;
		b->cache = page->cache;
		b->slab = page->slab;
		index = obj_to_index_by_page(b->cache, page, p);
		if (unlikely(index < 0))
			return lookup_object(p, b);
		fill_object(b, index, b->cache->buffer_size);
		return 0;
	case PK_LARGE:
		if ((uintptr_t)p & (PAGE_SIZE - 1))
			return -EINVAL;
		b->kind = MM_LARGE;
		b->usable = ALIGN_UP(page->requested_bytes, PAGE_SIZE);
		b->tag = mm.config.tags ? &page->tag : NULL;
		return 0;
	case PK_FREE:
		return -EALREADY;
	default:
		return -EINVAL;
	}
}

int mm_lookup(const void *p, struct mm_block *b)
{
	int err;

	if (likely(mm_in_arena(p)))
		return lookup_arena(p, b);
	err = vmalloc_lookup(p, b);
	return err == -ENOENT ? atomic_lookup(p, b) : err;
}

int mm_free(void *p, const struct mm_block *b)
{
	switch (b->kind) {
	case MM_OBJECT:
		if (unlikely(b->page->from_s_mem == PAGE_LOST)) {
			mm_count(BS_VMSTAT_LOST_FREES, 1);
			return 0;
		}
		return kmem_cache_free(b->cache, p);
	case MM_LARGE:
		return large_free(b->page);
	case MM_VMALLOC:
		return vmalloc_free(p);
	case MM_ATOMIC:
		return atomic_unmap(p);
	}
	return -EINVAL;
}

void *mm_resize(void *p, struct mm_block *b, size_t new_size)
{
	switch (b->kind) {
	case MM_OBJECT:
		if (cache_has_debug(b->cache))
			return NULL; /* a new place brings old pointers to light */
		return mm_object_keeps(b->usable, new_size) ? p : NULL;
	case MM_LARGE:
		if (!large_resize(b->page, new_size))
			return NULL;
		break;
	case MM_VMALLOC:
		/* A small one is kept by what it is large enough for. */
		if (new_size <= LARGE_MAX / 2 &&
		    (new_size > b->usable || new_size <= b->usable / 2))
			return NULL;
		p = vmalloc_resize(p, new_size);
		if (!p)
			return NULL;
		break;
	case MM_ATOMIC:
		return new_size <= b->usable ? p : NULL;
	}
	return mm_lookup(p, b) == 0 ? p : NULL;
}

size_t ksize(const void *p)
{
	struct mm_block b;

	return mm_lookup(p, &b) ? 0 : b.usable;
}

void mm_reclaim(void)
{
	vmalloc_purge(0);
	kmem_cache_shrink_all();
}

void mm_trim_later(void)
{
	mm_work_later(MM_WORK_TRIM);
}

size_t mm_trim(void)
{
	uint64_t pages = 0, now_ns = sys_now_coarse_ns();
	unsigned int i;

	mm_reclaim();
	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];

		sys_lock(&zone->lock, SYS_RANK_ZONE);
		pages += zone_report(zone, now_ns, 0);
		if (zone->elastic)
			zone_shrink(zone, true);
		zone_publish(zone);
		sys_unlock(&zone->lock, SYS_RANK_ZONE);
	}
	return pages << PAGE_SHIFT;
}
