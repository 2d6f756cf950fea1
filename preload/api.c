/* SPDX-License-Identifier: MIT */
/*
 * api.c - the public calls: pages, objects, caches.
 *
 * Owns:   the rules of arguments that include/buddyscope/mm.h promises.
 * Layer:  preload.
 * Locks:  none.
 *
 * Arguments are checked here, so that the engine may believe them.  Misuse is told
 * on stderr and refused; a double free is what it is for free().
 */
#include <errno.h>
#include <string.h>

#include "preload/api.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"

#define SLAB_PUBLIC                                                            \
	(SLAB_HWCACHE_ALIGN | SLAB_CACHE_DMA | SLAB_RECLAIM_ACCOUNT |          \
	 SLAB_DEBUG_FLAGS)
static_assert(BS_SLAB_HWCACHE_ALIGN == SLAB_HWCACHE_ALIGN &&
		      BS_SLAB_CACHE_DMA == SLAB_CACHE_DMA &&
		      BS_SLAB_RECLAIM_ACCOUNT == SLAB_RECLAIM_ACCOUNT &&
		      BS_SLAB_DEBUG_FREE == SLAB_DEBUG_FREE &&
		      BS_SLAB_RED_ZONE == SLAB_RED_ZONE &&
		      BS_SLAB_POISON == SLAB_POISON &&
		      BS_SLAB_STORE_USER == SLAB_STORE_USER,
	      "one set of flags");

#define GFP_PUBLIC                                                             \
	(GFP_ATOMIC | GFP_DMA | __GFP_ZERO | __GFP_NOWARN | __GFP_MOVABLE |    \
	 __GFP_NORETRY | __GFP_RECLAIMABLE)
static_assert(BS_GFP_KERNEL == GFP_KERNEL && BS_GFP_ATOMIC == GFP_ATOMIC &&
		      BS_GFP_DMA == GFP_DMA && BS_GFP_ZERO == __GFP_ZERO &&
		      BS_GFP_NOWARN == __GFP_NOWARN &&
		      BS_GFP_MOVABLE == __GFP_MOVABLE &&
		      BS_GFP_NORETRY == __GFP_NORETRY &&
		      BS_GFP_RECLAIMABLE == __GFP_RECLAIMABLE,
	      "one set of flags");
static_assert(BS_PAGE_SHIFT == PAGE_SHIFT && BS_MAX_ORDER == MAX_ORDER &&
		      BS_KMALLOC_MAX == KMALLOC_MAX,
	      "one set of limits");
static_assert(BS_KMALLOC_NR(1) == 0 && BS_KMALLOC_NR(97) == 4 &&
		      BS_KMALLOC_NR(KMALLOC_MAX) == KMALLOC_NR - 1,
	      "the general caches");

/* ---- what all calls share ------------------------------------------------------ */

BS_HIDDEN void api_refuse(const char *call, const char *why, const void *p)
{
	static uint32_t nr_reports;

	if (__atomic_fetch_add(&nr_reports, 1, __ATOMIC_RELAXED) <
	    API_MAX_REPORTS)
		sys_say("%s(%p): %s", call, p, why);
}

BS_HIDDEN bool api_gfp_ok(const char *call, gfp_t gfp)
{
	if (likely(!(gfp & ~GFP_PUBLIC)))
		return true;
	api_refuse(call, "unknown gfp flags", (void *)(uintptr_t)gfp);
	return false;
}

BS_HIDDEN void api_free(void *p, const char *call,
			bool (*is_it)(const struct mm_block *b, uint64_t arg),
			uint64_t arg, void *caller)
{
	bool wrong = false, mapped = false;
	struct mm_block b;
	int ret;

	if (unlikely(!bs_enter())) {
		bs_free_atomic(p);
		return;
	}
	ret = mm_lookup(p, &b);
	if (likely(!ret)) {
		wrong = !is_it(&b, arg);
		mapped = !wrong && b.kind == MM_LARGE && mm.nr_vmaps &&
			 vmap_covers(b.page);
	}
	if (likely(!ret && !wrong && !mapped))
		ret = bs_free_block(p, &b);
	bs_leave();
	if (unlikely(wrong))
		api_refuse(call, "this is not what it frees", p);
	else if (unlikely(mapped))
		api_refuse(call, "a page of it is mapped by bs_vmap", p);
	else if (unlikely(ret))
		bs_free_failed(p, ret, call, caller);
}

BS_EXPORT int bs_active(void)
{
	bool active;

	if (!bs_enter())
		return mm.up;
	active = mm.up;
	bs_leave();
	return active;
}

/* ---- pages ------------------------------------------------------------------------ */

static struct page *to_page(const struct bs_page *page)
{
	return (struct page *)(uintptr_t)page;
}

static struct bs_page *from_page(struct page *page)
{
	return (struct bs_page *)page;
}

/* A frame of a zone, as far as can be told without touching it. */
static bool is_frame(const struct page *page)
{
	uint64_t pfn = page_to_pfn(page);

	return mm.up && page >= mm.mem_map && pfn < mm.nr_pfns &&
	       pfn_to_page(pfn) == page && mm_in_arena(pfn_to_virt(pfn));
}

static void *get_pages(size_t size, gfp_t gfp)
{
	void *p;

	if (unlikely(!bs_enter()))
		return NULL;
	p = api_traced(alloc_pages_exact(size, gfp), size);
	bs_leave();
	return p;
}

static bool order_ok(const char *call, unsigned int order)
{
	if (likely(order < MAX_ORDER))
		return true;
	api_refuse(call, "order beyond 10", (void *)(uintptr_t)order);
	return false;
}

/* A block of so many pages that is counted as large. */
static bool is_block(const struct mm_block *b, uint64_t nr_pages)
{
	return b->kind == MM_LARGE && b->page->use == BS_USE_LARGE &&
	       b->page->nr_pages == nr_pages;
}

BS_EXPORT void *bs_get_free_pages(bs_gfp_t gfp, unsigned int order)
{
	if (!order_ok("bs_get_free_pages", order) ||
	    !api_gfp_ok("bs_get_free_pages", gfp))
		return NULL;
	return get_pages(PAGE_SIZE << order, gfp);
}

BS_EXPORT struct bs_page *bs_alloc_pages(bs_gfp_t gfp, unsigned int order)
{
	void *p;

	if (!order_ok("bs_alloc_pages", order) ||
	    !api_gfp_ok("bs_alloc_pages", gfp))
		return NULL;
	p = get_pages(PAGE_SIZE << order, gfp);
	return p ? from_page(pfn_to_page(virt_to_pfn(p))) : NULL;
}

BS_EXPORT void *bs_get_zeroed_page(bs_gfp_t gfp)
{
	if (!api_gfp_ok("bs_get_zeroed_page", gfp))
		return NULL;
	return get_pages(PAGE_SIZE, gfp | __GFP_ZERO);
}

BS_EXPORT void *bs_alloc_pages_exact(size_t size, bs_gfp_t gfp)
{
	if (!api_gfp_ok("bs_alloc_pages_exact", gfp))
		return NULL;
	if (!size || size > LARGE_MAX) {
		api_refuse("bs_alloc_pages_exact", "size is not 1 to 4 MiB",
			   (void *)size);
		return NULL;
	}
	return get_pages(size, gfp);
}

BS_EXPORT void bs_free_pages_at(void *addr, unsigned int order)
{
	if (addr && order_ok("bs_free_pages_at", order))
		api_free(addr, "bs_free_pages_at", is_block, 1UL << order,
			 __builtin_return_address(0));
}

BS_EXPORT void bs_free_pages(struct bs_page *page, unsigned int order)
{
	if (!page || !order_ok("bs_free_pages", order))
		return;
	if (!is_frame(to_page(page)))
		api_refuse("bs_free_pages", "not a page", page);
	else
		api_free(pfn_to_virt(page_to_pfn(to_page(page))),
			 "bs_free_pages", is_block, 1UL << order,
			 __builtin_return_address(0));
}

BS_EXPORT void bs_free_pages_exact(void *addr, size_t size)
{
	if (addr)
		api_free(addr, "bs_free_pages_exact", is_block,
			 ALIGN_UP(size, PAGE_SIZE) >> PAGE_SHIFT,
			 __builtin_return_address(0));
}

/* The block's call site loses one object and gets 2^order of a page. */
static bool split(struct page *page, unsigned int order)
{
	char *p = pfn_to_virt(page_to_pfn(page));
	struct mm_block b;
	uint64_t i;

	if (mm_lookup(p, &b) || !is_block(&b, 1UL << order))
		return false;
	if (bs_tracing && !trace_free(&b))
		return false;
	split_page(page, order);
	for (i = 0; i < 1UL << order; i++)
		api_traced(p + (i << PAGE_SHIFT), PAGE_SIZE);
	return true;
}

BS_EXPORT void bs_split_page(struct bs_page *page, unsigned int order)
{
	bool done = false;

	if (!order_ok("bs_split_page", order))
		return;
	if (!page || !is_frame(to_page(page))) {
		api_refuse("bs_split_page", "not a page", page);
		return;
	}
	if (bs_enter()) {
		done = split(to_page(page), order);
		bs_leave();
	}
	if (!done)
		api_refuse("bs_split_page", "not a block of that order", page);
}

BS_EXPORT void *bs_page_address(const struct bs_page *page)
{
	if (!is_frame(to_page(page)))
		return NULL;
	return pfn_to_virt(page_to_pfn(to_page(page)));
}

BS_EXPORT struct bs_page *bs_virt_to_page(const void *addr)
{
	if (!mm.up || !mm_in_arena(addr))
		return NULL;
	return from_page(pfn_to_page(virt_to_pfn(addr)));
}

BS_EXPORT struct bs_page *bs_nth_page(struct bs_page *page, unsigned int n)
{
	return is_frame(to_page(page)) && is_frame(to_page(page) + n)
		       ? from_page(to_page(page) + n)
		       : NULL;
}

/* ---- objects ------------------------------------------------------------------------- */

/* No memory is no error of the caller's: errno stays. */
static void *kmalloc_atomic(size_t size, gfp_t gfp)
{
	int saved_errno = errno;
	void *p = bs_alloc_atomic(size, 1, gfp);

	errno = saved_errno;
	return p;
}

BS_EXPORT void *bs_kmalloc_any(size_t size, bs_gfp_t gfp)
{
	void *p;

	if (unlikely(!size))
		return BS_ZERO_SIZE_PTR;
	if (unlikely(size > KMALLOC_MAX) || !api_gfp_ok("bs_kmalloc", gfp))
		return NULL;
	if (unlikely(!bs_enter()))
		return kmalloc_atomic(size, gfp);
	p = api_traced(mm_kmalloc(size, gfp), size);
	bs_leave();
	return p;
}

BS_EXPORT void *bs_kmalloc_general(unsigned int nr, size_t size, bs_gfp_t gfp)
{
	void *p;

	if (unlikely(nr >= KMALLOC_NR || gfp & ~GFP_PUBLIC || gfp & GFP_DMA))
		return bs_kmalloc_any(size, gfp);
	if (unlikely(!bs_enter()))
		return kmalloc_atomic(size, gfp);
	p = kmem_cache_alloc_sized(mm.kmalloc_caches[nr], gfp, size);
	if (p && gfp & __GFP_ZERO)
		memset(p, 0, size);
	p = api_traced(p, size);
	bs_leave();
	return p;
}

static bool is_object(const struct mm_block *b, uint64_t arg)
{
	(void)arg;
	return b->kind == MM_OBJECT || b->kind == MM_ATOMIC;
}

BS_EXPORT void bs_kfree(const void *p)
{
	if (likely(p && p != BS_ZERO_SIZE_PTR))
		api_free((void *)(uintptr_t)p, "bs_kfree", is_object, 0,
			 __builtin_return_address(0));
}

BS_EXPORT size_t bs_ksize(const void *p)
{
	struct mm_block b;
	size_t size = 0;

	if (!p || p == BS_ZERO_SIZE_PTR || !bs_enter())
		return 0;
	if (!mm_lookup(p, &b))
		size = b.usable;
	bs_leave();
	if (!size)
		api_refuse("bs_ksize", "not an object", p);
	return size;
}

/* ---- caches ---------------------------------------------------------------------------- */

static struct kmem_cache *to_cache(const struct bs_kmem_cache *cache)
{
	return (struct kmem_cache *)(uintptr_t)cache;
}

BS_EXPORT struct bs_kmem_cache *bs_kmem_cache_create(const char *name,
						     size_t size, size_t align,
						     unsigned long flags,
						     void (*ctor)(void *obj))
{
	struct kmem_cache *cachep;

	if (!name || align & (align - 1) || align > PAGE_SIZE ||
	    flags & ~(unsigned long)SLAB_PUBLIC) {
		api_refuse("bs_kmem_cache_create",
			   "no name, an alignment that is no power of two up "
			   "to 4096, or unknown flags",
			   name);
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return NULL;
	cachep = kmem_cache_create(name, size, align,
				   (uint32_t)flags | SLAB_PROGRAM |
					   (bs_tracing ? SLAB_TAGS : 0),
				   ctor);
	bs_leave();
	return (struct bs_kmem_cache *)cachep;
}

BS_EXPORT void *bs_kmem_cache_alloc(struct bs_kmem_cache *cache, bs_gfp_t gfp)
{
	void *p;

	if (unlikely(!cache)) {
		api_refuse("bs_kmem_cache_alloc", "no cache", NULL);
		return NULL;
	}
	if (!api_gfp_ok("bs_kmem_cache_alloc", gfp) || unlikely(!bs_enter()))
		return NULL;
	p = api_traced(kmem_cache_alloc(to_cache(cache), gfp),
		       kmem_cache_size(to_cache(cache)));
	bs_leave();
	return p;
}

/* The tag first; an object of another cache is reported there, and freed to it. */
static int cache_free(struct kmem_cache *cachep, void *obj)
{
	struct mm_block b;
	int ret = mm_lookup(obj, &b);

	if (ret || b.kind != MM_OBJECT)
		return ret ? ret : -EINVAL;
	if (bs_tracing && !trace_free(&b))
		return -EALREADY;
	return kmem_cache_free_checked(cachep, obj);
}

BS_EXPORT void bs_kmem_cache_free(struct bs_kmem_cache *cache, void *obj)
{
	int ret;

	if (!obj)
		return;
	if (unlikely(!cache)) {
		api_refuse("bs_kmem_cache_free", "no cache", obj);
		return;
	}
	if (unlikely(!bs_enter())) {
		bs_free_atomic(obj);
		return;
	}
	ret = cache_free(to_cache(cache), obj);
	bs_leave();
	if (unlikely(ret))
		bs_free_failed(obj, ret, "bs_kmem_cache_free",
			       __builtin_return_address(0));
}

BS_EXPORT int bs_kmem_cache_shrink(struct bs_kmem_cache *cache)
{
	int ret;

	if (!cache || !bs_enter())
		return -EINVAL;
	ret = kmem_cache_shrink(to_cache(cache));
	bs_leave();
	return ret;
}

BS_EXPORT int bs_kmem_cache_destroy(struct bs_kmem_cache *cache)
{
	int ret;

	if (!cache)
		return 0;
	if (!bs_enter())
		return -EAGAIN;
	ret = kmem_cache_destroy(to_cache(cache));
	bs_leave();
	return ret;
}

BS_EXPORT size_t bs_kmem_cache_size(const struct bs_kmem_cache *cache)
{
	return cache ? kmem_cache_size(to_cache(cache)) : 0;
}
