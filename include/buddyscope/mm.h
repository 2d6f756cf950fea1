/* SPDX-License-Identifier: MIT */
/*
 * buddyscope/mm.h - the kernel's memory calls, for user space.
 *
 * A driver's way of allocating, ported by putting bs_ in front of each call, runs in
 * an ordinary process under buddyscope: its pages, slabs, areas and DMA blocks are in
 * buddyinfo, slabinfo, vmallocinfo, and its failures are reported as the kernel does.
 *
 * Two ways to use it:
 *
 *   weak     include this and nothing more.  Under `buddyscope run` the calls work;
 *            without it bs_active() is 0, what allocates returns NULL, what frees
 *            does nothing, what returns int returns -1.
 *   linked   cc $(pkg-config --cflags --libs buddyscope): the library is always
 *            there (--cflags defines BS_LINKED).
 *
 * Unless said otherwise a call may be made from any thread and from a signal handler.
 * In a handler that interrupted the allocator itself only bs_kmalloc() and its kin
 * give memory (from a small reserve); all other allocations return NULL; frees are put
 * off until the allocator is left.  No call changes errno, none throws.
 *
 * Bad arguments are told on stderr, up to ten times in a process, and refused.
 */
#ifndef BUDDYSCOPE_MM_H
#define BUDDYSCOPE_MM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how a call is declared --------------------------------------------------- */

/*
 * Weak: a call is a small function around a weak symbol, so that it is safe whether
 * or not the library is there.  Its own name is a macro for it (end of this file).
 * Always inlined, also without optimisation: the caller that a report names is yours.
 */
#ifdef BS_LINKED
#define BS_CALL(type, none, name, params, args) extern type name params;
#define BS_CALL_VOID(name, params, args)	extern void name params;
#else
#define BS_WEAK_INLINE static inline __attribute__((unused, always_inline))
#define BS_CALL(type, none, name, params, args)                                \
	extern type name params __attribute__((weak));                         \
	BS_WEAK_INLINE type bs_weak_##name params                              \
	{                                                                      \
		return name ? name args : (none);                              \
	}
#define BS_CALL_VOID(name, params, args)                                       \
	extern void name params __attribute__((weak));                         \
	BS_WEAK_INLINE void bs_weak_##name params                              \
	{                                                                      \
		if (name)                                                      \
			name args;                                             \
	}
#endif

/* ---- types ----------------------------------------------------------------------- */

/* How to allocate: one of the first three, others added with |. */
typedef uint32_t bs_gfp_t;
#define BS_GFP_KERNEL	   0x00U
#define BS_GFP_ATOMIC	   0x60U   /* may use the last reserve of a zone */
#define BS_GFP_DMA	   0x01U   /* from the lowest zone only */
#define BS_GFP_ZERO	   0x100U  /* cleared */
#define BS_GFP_NOWARN	   0x200U  /* no report when it fails */
#define BS_GFP_MOVABLE	   0x400U  /* long-lived, among its kind */
#define BS_GFP_NORETRY	   0x1000U /* do not add memory to a full zone */
#define BS_GFP_RECLAIMABLE 0x2000U /* short-lived, among its kind */

#define BS_PAGE_SHIFT  12
#define BS_PAGE_SIZE   (1UL << BS_PAGE_SHIFT)
#define BS_MAX_ORDER   11 /* orders 0 to 10: 4 KiB to 4 MiB */
#define BS_KMALLOC_MAX 131072UL

/* What bs_kmalloc(0) returns; bs_kfree() takes it.  Not to be read or written. */
#define BS_ZERO_SIZE_PTR ((void *)16)

/* A page frame. */
struct bs_page;
/* A cache of equal objects. */
struct bs_kmem_cache;
/* An address as a device sees it: number of the frame << BS_PAGE_SHIFT. */
typedef uint64_t bs_dma_addr_t;

/**
 * bs_active() - is the library there?
 *
 * Return: 1 when the calls below do something, else 0.
 */
BS_CALL(int, 0, bs_active, (void), ())

/* ---- pages ------------------------------------------------------------------------- */

/**
 * bs_alloc_pages() - a block of page frames.
 * @gfp: BS_GFP_*
 * @order: 0 to 10; the block has 2^order pages and is aligned to its size
 *
 * Return: its first frame, to be given back with bs_free_pages(); NULL when no zone
 * has such a block (reported as the kernel reports it, unless BS_GFP_NOWARN).
 */
BS_CALL(struct bs_page *, NULL, bs_alloc_pages,
	(bs_gfp_t gfp, unsigned int order), (gfp, order))

/**
 * bs_free_pages() - give a block back.
 * @page: what bs_alloc_pages() returned, or a page of a split block; NULL: nothing
 * @order: the same as then, 0 after bs_split_page()
 */
BS_CALL_VOID(bs_free_pages, (struct bs_page * page, unsigned int order),
	     (page, order))

/**
 * bs_get_free_pages() - bs_alloc_pages(), as an address.
 * @gfp: BS_GFP_*
 * @order: 0 to 10
 *
 * Return: address of the first byte, to be given back with bs_free_pages_at().
 */
BS_CALL(void *, NULL, bs_get_free_pages, (bs_gfp_t gfp, unsigned int order),
	(gfp, order))

/**
 * bs_get_zeroed_page() - one page, cleared.
 * @gfp: BS_GFP_*
 *
 * Return: its address, to be given back with bs_free_pages_at(address, 0).
 */
BS_CALL(void *, NULL, bs_get_zeroed_page, (bs_gfp_t gfp), (gfp))

/**
 * bs_free_pages_at() - bs_free_pages() by address.
 * @addr: what bs_get_free_pages() returned; NULL: nothing
 * @order: the same as then
 */
BS_CALL_VOID(bs_free_pages_at, (void *addr, unsigned int order), (addr, order))

/**
 * bs_alloc_pages_exact() - contiguous pages, no more than needed.
 * @size: bytes, 1 to 4 MiB; rounded up to whole pages
 * @gfp: BS_GFP_*
 *
 * Takes a block of 2^n pages and gives those behind the last one back.
 * Return: address, to be given back with bs_free_pages_exact(); NULL: none.
 */
BS_CALL(void *, NULL, bs_alloc_pages_exact, (size_t size, bs_gfp_t gfp),
	(size, gfp))

/**
 * bs_free_pages_exact() - give such pages back.
 * @addr: what bs_alloc_pages_exact() returned; NULL: nothing
 * @size: the same as then
 */
BS_CALL_VOID(bs_free_pages_exact, (void *addr, size_t size), (addr, size))

/**
 * bs_split_page() - make a block 2^order pages of their own.
 * @page: what bs_alloc_pages() returned
 * @order: the same as then
 *
 * Each page is then given back with bs_free_pages(page, 0).
 */
BS_CALL_VOID(bs_split_page, (struct bs_page * page, unsigned int order),
	     (page, order))

/**
 * bs_page_address() - where a frame's memory is.
 * @page: any frame of a block
 *
 * Return: its address; not to be used while bs_vmap() shows the page elsewhere.
 */
BS_CALL(void *, NULL, bs_page_address, (const struct bs_page *page), (page))

/**
 * bs_virt_to_page() - the frame that an address is in.
 * @addr: any address
 *
 * Return: NULL when it is in no zone: stack, vmalloc, another allocator's.
 */
BS_CALL(struct bs_page *, NULL, bs_virt_to_page, (const void *addr), (addr))

/**
 * bs_nth_page() - the frame n behind another of the same block.
 * @page: a frame
 * @n: 0 and more
 *
 * Return: the frame; NULL outside of all zones.
 */
BS_CALL(struct bs_page *, NULL, bs_nth_page,
	(struct bs_page * page, unsigned int n), (page, n))

/* ---- objects -------------------------------------------------------------------------- */

/* What bs_kmalloc() is made of. */
BS_CALL(void *, NULL, bs_kmalloc_any, (size_t size, bs_gfp_t gfp), (size, gfp))
BS_CALL(void *, NULL, bs_kmalloc_general,
	(unsigned int nr, size_t size, bs_gfp_t gfp), (nr, size, gfp))

/**
 * bs_kfree() - free an object.
 * @p: from bs_kmalloc(); NULL and BS_ZERO_SIZE_PTR: nothing
 */
BS_CALL_VOID(bs_kfree, (const void *p), (p))

/**
 * bs_ksize() - bytes of an object that may be used.
 * @p: a live object; NULL and BS_ZERO_SIZE_PTR have none
 *
 * Return: at least what was asked for.
 */
BS_CALL(size_t, 0, bs_ksize, (const void *p), (p))

/*
 * Objects start at a cache line; slabs come from the lowest zone; slabs are
 * short-lived and lie with their kind (migrate type Reclaimable).
 */
#define BS_SLAB_HWCACHE_ALIGN	0x2000UL
#define BS_SLAB_CACHE_DMA	0x4000UL
#define BS_SLAB_RECLAIM_ACCOUNT 0x20000UL
/* As slab_debug=FZPU for this cache alone: overflow, use after free, who did it. */
#define BS_SLAB_DEBUG_FREE 0x100UL
#define BS_SLAB_RED_ZONE   0x400UL
#define BS_SLAB_POISON	   0x800UL
#define BS_SLAB_STORE_USER 0x10000UL

/**
 * bs_kmem_cache_create() - a cache of equal objects.
 * @name: 1 to 31 bytes without blanks, not the name of another cache
 * @size: bytes of an object, 1 to 131072
 * @align: a power of two up to 4096, or 0 for 16
 * @flags: BS_SLAB_*, or 0
 * @ctor: called once for each object when its slab is made, or NULL; what is freed
 *	must be as constructed.  It may allocate, but not from this cache.
 *
 * Context: not from a signal handler.
 * Return: the cache, for bs_kmem_cache_destroy(); NULL: said on stderr.
 */
BS_CALL(struct bs_kmem_cache *, NULL, bs_kmem_cache_create,
	(const char *name, size_t size, size_t align, unsigned long flags,
	 void (*ctor)(void *obj)),
	(name, size, align, flags, ctor))

/**
 * bs_kmem_cache_alloc() - an object of a cache.
 * @cache: the cache
 * @gfp: BS_GFP_*; BS_GFP_ZERO not for a cache with a constructor
 *
 * Return: the object, for bs_kmem_cache_free(); NULL: no memory.
 */
BS_CALL(void *, NULL, bs_kmem_cache_alloc,
	(struct bs_kmem_cache * cache, bs_gfp_t gfp), (cache, gfp))

/**
 * bs_kmem_cache_free() - give an object back to its cache.
 * @cache: the cache that it came from
 * @obj: the object; NULL: nothing
 */
BS_CALL_VOID(bs_kmem_cache_free, (struct bs_kmem_cache * cache, void *obj),
	     (cache, obj))

/**
 * bs_kmem_cache_shrink() - give empty slabs back.
 * @cache: the cache
 *
 * Context: not from a signal handler.
 * Return: 0 when no slab is left, 1 when some are, negative when it was refused.
 */
BS_CALL(int, -1, bs_kmem_cache_shrink, (struct bs_kmem_cache * cache), (cache))

/**
 * bs_kmem_cache_destroy() - end a cache.
 * @cache: the cache; nobody may use it any more; NULL: nothing
 *
 * Context: not from a signal handler.
 * Return: 0, or negative (and words on stderr) while objects of it live.
 */
BS_CALL(int, -1, bs_kmem_cache_destroy, (struct bs_kmem_cache * cache), (cache))

/**
 * bs_kmem_cache_size() - bytes of an object.
 * @cache: the cache
 *
 * Return: the size that it was created with.
 */
BS_CALL(size_t, 0, bs_kmem_cache_size, (const struct bs_kmem_cache *cache),
	(cache))

/* ---- areas ------------------------------------------------------------------------------- */

/**
 * bs_vmalloc() - memory that need not be contiguous.
 * @size: bytes, 1 and more; rounded up to whole pages
 *
 * Frames are taken one by one, so that it works in the most fragmented zone; a guard
 * page follows.  Return: address, for bs_vfree(); NULL: frames or addresses ran out.
 */
BS_CALL(void *, NULL, bs_vmalloc, (size_t size), (size))

/**
 * bs_vzalloc() - bs_vmalloc(), cleared.
 * @size: bytes
 *
 * Return: as bs_vmalloc().
 */
BS_CALL(void *, NULL, bs_vzalloc, (size_t size), (size))

/**
 * bs_vfree() - free such an area.
 * @addr: what bs_vmalloc() returned; NULL: nothing
 */
BS_CALL_VOID(bs_vfree, (const void *addr), (addr))

/**
 * bs_vmalloc_to_page() - the frame behind a byte of an area.
 * @addr: inside of what bs_vmalloc() or bs_vmap() returned
 *
 * The frame of a bs_vmalloc() area is counted for it, but its memory is reached
 * through the area alone.  Return: NULL when no such area is there.
 */
BS_CALL(struct bs_page *, NULL, bs_vmalloc_to_page, (const void *addr), (addr))

/**
 * bs_vmap() - show pages as one range of addresses.
 * @pages: frames of bs_alloc_pages(), each at most once
 * @count: 1 and more
 *
 * User space cannot show private memory twice.  Until bs_vunmap() the pages' own
 * addresses (bs_page_address()) must not be used, and they cannot be freed.
 * Needs Linux 5.7.
 * Return: address, for bs_vunmap(); NULL: no memory, or a page not to be mapped.
 */
BS_CALL(void *, NULL, bs_vmap,
	(struct bs_page *const *pages, unsigned int count), (pages, count))

/**
 * bs_vunmap() - end of bs_vmap(): the pages have their own addresses back.
 * @addr: what bs_vmap() returned; NULL: nothing
 */
BS_CALL_VOID(bs_vunmap, (void *addr), (addr))

/* ---- devices -------------------------------------------------------------------------------- */

/**
 * bs_dma_alloc_coherent() - contiguous memory for a device.
 * @device: its name, of which 31 bytes count; counters are kept by it
 * @size: bytes, 1 to 4 MiB
 * @handle: gets the address for the device
 * @gfp: BS_GFP_*; from the lowest zone, whatever it says
 *
 * Takes 2^n pages.  dma=trim gives those behind the last one back, page by page;
 * dma=whole keeps them.  Cleared.  Never falls back to bs_vmalloc().
 * Return: address, for bs_dma_free_coherent(); NULL: the lowest zone has no such block
 * (reported with the device's name, unless BS_GFP_NOWARN).
 */
BS_CALL(void *, NULL, bs_dma_alloc_coherent,
	(const char *device, size_t size, bs_dma_addr_t *handle, bs_gfp_t gfp),
	(device, size, handle, gfp))

/**
 * bs_dma_free_coherent() - give it back.
 * @device: the same as then
 * @size: the same as then
 * @addr: the address; NULL: nothing
 * @handle: the same as then
 */
BS_CALL_VOID(bs_dma_free_coherent,
	     (const char *device, size_t size, void *addr,
	      bs_dma_addr_t handle),
	     (device, size, addr, handle))

/* ---- memory set aside ------------------------------------------------------------------------- */

/**
 * bs_carveout() - find memory that memmap=SIZE$NAME set aside.
 * @name: NAME
 * @phys: gets its address
 * @size: gets its size in bytes
 *
 * Return: 0, or -ENOENT.
 */
BS_CALL(int, -1, bs_carveout,
	(const char *name, uint64_t *phys, uint64_t *size), (name, phys, size))

/**
 * bs_carveout_alloc() - whole pages of a carve-out, first fit.
 * @name: NAME
 * @size: bytes, 1 and more
 * @phys: gets the address for the device
 *
 * Return: address, for bs_carveout_free(); NULL: no such carve-out, no such gap
 * (reported), or this process was forked from the one that it belongs to.
 */
BS_CALL(void *, NULL, bs_carveout_alloc,
	(const char *name, size_t size, uint64_t *phys), (name, size, phys))

/**
 * bs_carveout_free() - give such pages back.
 * @name: NAME
 * @addr: what bs_carveout_alloc() returned; NULL: nothing
 */
BS_CALL_VOID(bs_carveout_free, (const char *name, void *addr), (name, addr))

/**
 * bs_ioremap() - one more view of a carve-out.
 * @phys: address, need not be a page's first
 * @size: bytes, 1 and more; all of them in one carve-out
 *
 * Return: the address that shows @phys, for bs_iounmap(); NULL: no carve-out, or no
 * addresses.
 */
BS_CALL(void *, NULL, bs_ioremap, (uint64_t phys, size_t size), (phys, size))

/**
 * bs_iounmap() - end of bs_ioremap().
 * @addr: what it returned; NULL: nothing
 */
BS_CALL_VOID(bs_iounmap, (void *addr), (addr))

/**
 * bs_remap_pfn_range() - a carve-out in place of what was mapped.
 * @addr: first byte of whole pages that the program mapped
 * @pfn: address in the carve-out >> BS_PAGE_SHIFT
 * @size: bytes, 1 and more; rounded up to whole pages
 *
 * Ends with munmap().  Return: 0; -EINVAL when that is no carve-out, or not all of
 * the range is the program's own mapping; -ENOMEM.
 */
BS_CALL(int, -1, bs_remap_pfn_range, (void *addr, uint64_t pfn, size_t size),
	(addr, pfn, size))

#ifndef BS_LINKED
#define bs_active	      bs_weak_bs_active
#define bs_alloc_pages	      bs_weak_bs_alloc_pages
#define bs_free_pages	      bs_weak_bs_free_pages
#define bs_get_free_pages     bs_weak_bs_get_free_pages
#define bs_get_zeroed_page    bs_weak_bs_get_zeroed_page
#define bs_free_pages_at      bs_weak_bs_free_pages_at
#define bs_alloc_pages_exact  bs_weak_bs_alloc_pages_exact
#define bs_free_pages_exact   bs_weak_bs_free_pages_exact
#define bs_split_page	      bs_weak_bs_split_page
#define bs_page_address	      bs_weak_bs_page_address
#define bs_virt_to_page	      bs_weak_bs_virt_to_page
#define bs_nth_page	      bs_weak_bs_nth_page
#define bs_kmalloc_any	      bs_weak_bs_kmalloc_any
#define bs_kmalloc_general    bs_weak_bs_kmalloc_general
#define bs_kfree	      bs_weak_bs_kfree
#define bs_ksize	      bs_weak_bs_ksize
#define bs_kmem_cache_create  bs_weak_bs_kmem_cache_create
#define bs_kmem_cache_alloc   bs_weak_bs_kmem_cache_alloc
#define bs_kmem_cache_free    bs_weak_bs_kmem_cache_free
#define bs_kmem_cache_shrink  bs_weak_bs_kmem_cache_shrink
#define bs_kmem_cache_destroy bs_weak_bs_kmem_cache_destroy
#define bs_kmem_cache_size    bs_weak_bs_kmem_cache_size
#define bs_vmalloc	      bs_weak_bs_vmalloc
#define bs_vzalloc	      bs_weak_bs_vzalloc
#define bs_vfree	      bs_weak_bs_vfree
#define bs_vmalloc_to_page    bs_weak_bs_vmalloc_to_page
#define bs_vmap		      bs_weak_bs_vmap
#define bs_vunmap	      bs_weak_bs_vunmap
#define bs_dma_alloc_coherent bs_weak_bs_dma_alloc_coherent
#define bs_dma_free_coherent  bs_weak_bs_dma_free_coherent
#define bs_carveout	      bs_weak_bs_carveout
#define bs_carveout_alloc     bs_weak_bs_carveout_alloc
#define bs_carveout_free      bs_weak_bs_carveout_free
#define bs_ioremap	      bs_weak_bs_ioremap
#define bs_iounmap	      bs_weak_bs_iounmap
#define bs_remap_pfn_range    bs_weak_bs_remap_pfn_range
#endif

/* ---- kmalloc ------------------------------------------------------------------------ */

/* General caches: 16 32 64 96 128 192 256 512 ... 131072. */
#define BS_KMALLOC_NR(size)                                                    \
	((size) <= 16	    ? 0                                                \
	 : (size) <= 32	    ? 1                                                \
	 : (size) <= 64	    ? 2                                                \
	 : (size) <= 96	    ? 3                                                \
	 : (size) <= 128    ? 4                                                \
	 : (size) <= 192    ? 5                                                \
	 : (size) <= 256    ? 6                                                \
	 : (size) <= 512    ? 7                                                \
	 : (size) <= 1024   ? 8                                                \
	 : (size) <= 2048   ? 9                                                \
	 : (size) <= 4096   ? 10                                               \
	 : (size) <= 8192   ? 11                                               \
	 : (size) <= 16384  ? 12                                               \
	 : (size) <= 32768  ? 13                                               \
	 : (size) <= 65536  ? 14                                               \
	 : (size) <= 131072 ? 15                                               \
			    : 16)

/**
 * bs_kmalloc() - an object of any size from the general caches.
 * @size: bytes; 0 gives BS_ZERO_SIZE_PTR, beyond 131072 NULL
 * @gfp: BS_GFP_*
 *
 * For a size that is known when the program is compiled, so is the cache; otherwise it
 * is looked up.
 * Return: aligned to 16 bytes, for bs_kfree(); NULL: no memory.
 */
static inline __attribute__((unused, always_inline)) void *
bs_kmalloc(size_t size, bs_gfp_t gfp)
{
	if (__builtin_constant_p(size) && size && size <= BS_KMALLOC_MAX)
		return bs_kmalloc_general(BS_KMALLOC_NR(size), size, gfp);
	return bs_kmalloc_any(size, gfp);
}

/**
 * bs_kzalloc() - bs_kmalloc(), cleared.
 * @size: bytes
 * @gfp: BS_GFP_*
 *
 * Return: as bs_kmalloc().
 */
static inline __attribute__((unused, always_inline)) void *
bs_kzalloc(size_t size, bs_gfp_t gfp)
{
	return bs_kmalloc(size, gfp | BS_GFP_ZERO);
}

#undef BS_CALL
#undef BS_CALL_VOID
#undef BS_WEAK_INLINE

#ifdef __cplusplus
}
#endif

#endif
