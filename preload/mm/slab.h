/* SPDX-License-Identifier: MIT */
/* slab.h - the SLAB allocator, for the engine's other files. */
#ifndef BS_MM_SLAB_H
#define BS_MM_SLAB_H

#include <string.h>

#include "preload/mm/mm.h"

/* ---- caches (slab_cache.c) -------------------------------------------------- */

/* What a cache is to be; all but size may be 0. */
struct kmem_cache_args {
	size_t size;
	size_t align;	/* power of two; at least 16 is given */
	uint32_t flags; /* SLAB_* */
	gfp_t gfp;	/* of its slabs: __GFP_ZONE() */
	void (*ctor)(void *objp);
	/*
	 * The new cache is stored here before anybody can see it in the chain.
	 * If something is there already, that is the answer.
	 */
	struct kmem_cache **install;
	bool nowait; /* somebody else creates or destroys: give up */
};

/*
 * name: 1 to 31 bytes without blanks, that no living cache has.  NULL: not such
 * a name, size 0 or beyond KMALLOC_MAX, too many caches, no memory.  Says why on
 * stderr (but for nowait).  The constructor is run once for each object when its
 * slab is made, not at each allocation: what is freed must be as constructed.
 * Context: no lock held but with nowait.
 */
struct kmem_cache *kmem_cache_create_args(const char *name,
					  const struct kmem_cache_args *args);
struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, uint32_t flags,
				     void (*ctor)(void *objp));
/*
 * -EBUSY, and words on stderr, while objects live.  The program must have ended
 * all other use of the cache.  Context: no lock held.
 */
int kmem_cache_destroy(struct kmem_cache *cachep);
/* Empties the arrays, frees empty slabs.  1: slabs are left; 0: none. */
int kmem_cache_shrink(struct kmem_cache *cachep);
/* What was asked for at creation. */
size_t kmem_cache_size(const struct kmem_cache *cachep);
/* Bytes that the owner of an object may use; 0: no live block starts at p. */
size_t ksize(const void *p);

/* Publish one cache.  List lock held (or all stopped). */
void cache_publish(struct kmem_cache *cachep);

/* Without a rank: an outer lock tried for from within is no deadlock. */
bool cache_chain_trylock(void);
void cache_chain_unlock(void);

/* ---- objects (slab.c) --------------------------------------------------------- */

#define SLAB_WHOLE_OBJECT SIZE_MAX

/* An array without objects and without room for any. */
extern __attribute__((visibility("hidden"))) struct array_cache no_array;

/* The long ways, ac locked or NULL. */
void *cache_alloc_slow(struct kmem_cache *cachep, struct array_cache *ac,
		       gfp_t gfp, size_t size);
int cache_free_slow(struct kmem_cache *cachep, struct array_cache *ac,
		    void *objp);

/* Without a lock, in a section; NULL: the long way. */
static inline void *cache_pop(const struct kmem_cache *cachep)
{
	return rseq_pop((void *const *)cachep->open, &mm_wipe->slots);
}

/* False: the long way; objp may be free already. */
static inline bool cache_push(struct kmem_cache *cachep, void *objp)
{
	return rseq_push((void *const *)cachep->open, &mm_wipe->slots, objp);
}

/* This CPU's array, locked; NULL: there is none or it is taken. */
static inline struct array_cache *cpu_cache_trylock(struct kmem_cache *cachep)
{
	unsigned int slot = sys_getcpu();
	struct array_cache *ac;

	if (unlikely(slot >= MM_MAX_SLOTS))
		return NULL;
	ac = __atomic_load_n(&cachep->array[slot], __ATOMIC_ACQUIRE);
	if (unlikely(!ac) || unlikely(!sys_trylock(&ac->lock, SYS_RANK_CPU)))
		return NULL;
	return ac;
}

/* size: what the owner asked for, for slab_debug and dedicated.c. */
static inline void *kmem_cache_alloc_sized(struct kmem_cache *cachep, gfp_t gfp,
					   size_t size)
{
	struct array_cache *ac;
	void *objp;

	if (mm.rseq) {
		objp = mm_wipe->slots ? cache_pop(cachep) : NULL;
		return likely(objp) ? objp
				    : cache_alloc_slow(cachep, NULL, gfp, size);
	}
	ac = cpu_cache_trylock(cachep);
	if (unlikely(!ac) || unlikely(!ac->avail))
		return cache_alloc_slow(cachep, ac, gfp, size);
	objp = ac->entry[ac->avail - 1];
	ac->state += RSEQ_POP;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	return objp;
}

/* gfp: GFP_KERNEL, GFP_ATOMIC, __GFP_ZERO.  The zone is the cache's. */
static inline void *kmem_cache_alloc(struct kmem_cache *cachep, gfp_t gfp)
{
	void *objp = kmem_cache_alloc_sized(cachep, gfp, SLAB_WHOLE_OBJECT);

	if ((gfp & __GFP_ZERO) && objp)
		memset(objp, 0, cachep->object_size);
	return objp;
}

/* 0, or -EALREADY when the object is free (nothing done). */
static inline int kmem_cache_free(struct kmem_cache *cachep, void *objp)
{
	struct array_cache *ac;

	if (mm.rseq) {
		if (mm_wipe->slots && cache_push(cachep, objp))
			return 0;
		return cache_free_slow(cachep, NULL, objp);
	}
	ac = cpu_cache_trylock(cachep);
	if (unlikely(!ac) || unlikely(ac->avail >= ac->limit) ||
	    unlikely(ac->avail && ac->entry[ac->avail - 1] == objp))
		return cache_free_slow(cachep, ac, objp);
	ac->entry[ac->avail] = objp;
	ac->state += RSEQ_PUSH;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	return 0;
}

/*
 * Index of the object that starts at p; -1 when none does.
 */
static inline int64_t obj_to_index(const struct kmem_cache *cachep,
				   const struct slab *slabp, const void *p)
{
	uint64_t offset = (uint64_t)((const char *)p - slabp->s_mem);
	uint64_t index = offset * cachep->reciprocal_buffer_size >> 32;

	if (unlikely(offset >= cachep->num * cachep->buffer_size ||
		     index * cachep->buffer_size != offset))
		return -1;
	return (int64_t)index;
}

static inline void *index_to_obj(const struct kmem_cache *cachep,
				 const struct slab *slabp, uint32_t index)
{
	return slabp->s_mem + (size_t)cachep->buffer_size * index;
}

/* The same without a look at the slab; -1 also with slab_debug and in a lost slab. */
static inline __attribute__((always_inline)) int64_t
obj_to_index_by_page(const struct kmem_cache *cachep, const struct page *page,
		     const void *p)
{
	uint32_t offset =
		(uint32_t)((uintptr_t)p & (PAGE_SIZE - 1)) + page->from_s_mem;
	uint64_t index =
		(uint64_t)offset * cachep->reciprocal_buffer_size >> 32;

	if (unlikely(index * cachep->buffer_size != offset) ||
	    unlikely(offset >= cachep->plain_bytes))
		return -1;
	return (int64_t)index;
}

/*
 * The cache, and the frame and the index, of the object that starts at p; NULL: nothing
 * does, as far as this can tell (slab_debug, lost slabs).  Any p.
 */
static inline __attribute__((always_inline)) struct kmem_cache *
object_cache(const void *p, struct page **page, int64_t *index)
{
	uint64_t pfn = virt_to_pfn(p);

	if (unlikely(!pfn_online(pfn)))
		return NULL;
	*page = pfn_to_page(pfn);
	if (unlikely(page_kind(*page) != PK_SLAB))
		return NULL;
	*index = obj_to_index_by_page((*page)->cache, *page, p);
	return likely(*index >= 0) ? (*page)->cache : NULL;
}

/* Has, or had, an object of the frame a tag?  Then a free has to look at its own. */
static inline bool page_has_tags(const struct page *page)
{
	return __atomic_load_n(&page->tagged, __ATOMIC_RELAXED) != 0;
}

/*
 * A word for each object; NULL: none of them had a tag so far, or never has.  Asks the
 * cache first: with trace=off the slab is not looked at.
 */
static inline uint64_t *slab_tags(const struct kmem_cache *cachep,
				  const struct slab *slabp)
{
	return cachep->flags & SLAB_TAGS
		       ? __atomic_load_n(&slabp->tags, __ATOMIC_ACQUIRE)
		       : NULL;
}

/* Bytes of an object that its owner may use. */
size_t obj_usable(const struct kmem_cache *cachep, const struct slab *slabp,
		  uint32_t index);

/* Which general cache serves size bytes; size <= KMALLOC_MAX. */
static inline unsigned int kmalloc_nr(size_t size)
{
	if (size <= 64)
		return (size > 16 ? 1U : 0U) + (size > 32 ? 1U : 0U);
	if (size <= 192)
		return 3U + (size > 96 ? 1U : 0U) + (size > 128 ? 1U : 0U);
	return 64 - (unsigned int)__builtin_clzll(size - 1) - 2;
}

static inline size_t round_up_pow2(size_t v)
{
	return v > 1 ? 1UL << (64 - __builtin_clzll(v - 1)) : 1;
}

/* kmalloc_cache() of 1 to KMALLOC_FINE bytes. */
static inline __attribute__((always_inline)) struct kmem_cache *
kmalloc_fine_cache(size_t size)
{
	static_assert(KMALLOC_FINE_STEP == 16, "its step is that after >> 4");
	return __atomic_load_n(&mm.kmalloc_table[((size - 1) >> 4) + 1],
			       __ATOMIC_ACQUIRE);
}

/*
 * The same for an alignment of up to a page.  Powers of two are naturally aligned in the
 * general caches; dedicated ones may not be.
 */
static inline __attribute__((always_inline)) struct kmem_cache *
kmalloc_aligned_cache(size_t size, size_t align)
{
	return likely(align <= KMALLOC_MINALIGN)
		       ? kmalloc_fine_cache(size)
		       : mm.kmalloc_caches[kmalloc_nr(
				 round_up_pow2(MAX(size, align)))];
}

/*
 * kmalloc() of what most calls are, with no lock and nothing held: for requests of 1 to
 * `most` bytes, wipe.fast_bytes or wipe.section_bytes, and an alignment of up to a page.
 * NULL: nothing done; so is the first call after the thread was off its processor, for
 * decay.c.
 */
static inline __attribute__((always_inline)) void *
mm_alloc_fast(size_t size, size_t align, uint32_t most)
{
	if (unlikely(size - 1 >= most) || unlikely(!sys_rseq_is_warm()))
		return NULL;
	return cache_pop(kmalloc_aligned_cache(size, align));
}

/* Index of an object that the cache of the frame has just given out. */
static inline __attribute__((always_inline)) int64_t
object_index(const struct kmem_cache *cachep, const struct page *page,
	     const void *p)
{
	uint32_t offset =
		(uint32_t)((uintptr_t)p & (PAGE_SIZE - 1)) + page->from_s_mem;

	return (int64_t)((uint64_t)offset * cachep->reciprocal_buffer_size >>
			 32);
}

/* mm_lookup() without slab, of what object_cache() found; false: no tags. */
static inline __attribute__((always_inline)) bool
object_block(struct page *page, int64_t index, struct mm_block *b)
{
	uint64_t *tags = slab_tags(page->cache, page->slab);

	if (unlikely(!tags))
		return false;
	b->kind = MM_OBJECT;
	b->page = page;
	b->cache = page->cache;
	b->objnr = (uint32_t)index;
	b->usable = page->cache->buffer_size;
	b->tag = &tags[index];
	return true;
}

/* Of most objects, in any context; 0: ask mm_lookup(). */
static inline __attribute__((always_inline)) size_t
mm_usable_fast(const void *p)
{
	struct page *page;
	int64_t index;
	const struct kmem_cache *cachep = object_cache(p, &page, &index);

	return likely(cachep) ? cachep->buffer_size : 0;
}

/* The same of objects in frames where none has a tag. */
static inline __attribute__((always_inline)) size_t
mm_usable_untagged(const void *p)
{
	struct page *page;
	int64_t index;
	const struct kmem_cache *cachep = object_cache(p, &page, &index);

	return likely(cachep) && !page_has_tags(page) ? cachep->buffer_size : 0;
}

/* Empty all arrays and free slabs of all caches.  Returns slabs destroyed. */
uint64_t kmem_cache_shrink_all(void);
/* The same for one cache.  Context: up to the chain lock held. */
uint64_t cache_drain(struct kmem_cache *cachep);
/* Every REAP_NS, from slow paths. */
void cache_reap(uint64_t now_ns);
/* The same whole for caches that are idle.  True: objects or slabs were freed. */
bool cache_reap_idle(void);
/* Raw fork: give up what is locked.  Returns the number given up. */
unsigned int slab_raw_child(void);

/* ---- general caches (kmalloc.c, dedicated.c) ------------------------------------- */

/* The step of the table that size bytes are in. */
static inline unsigned int kmalloc_step(size_t size)
{
	if (likely(size <= KMALLOC_FINE))
		return (unsigned int)((size + KMALLOC_FINE_STEP - 1) /
				      KMALLOC_FINE_STEP);
	return (unsigned int)(KMALLOC_NR_FINE +
			      (size - 1 - KMALLOC_FINE) / KMALLOC_COARSE_STEP);
}

/* The largest size of a step. */
static inline uint32_t kmalloc_step_bytes(unsigned int step)
{
	if (step < KMALLOC_NR_FINE)
		return (uint32_t)(step * KMALLOC_FINE_STEP);
	return (uint32_t)(KMALLOC_FINE +
			  (step - KMALLOC_NR_FINE + 1) * KMALLOC_COARSE_STEP);
}

/* Who serves size bytes now; size <= KMALLOC_MAX. */
static inline struct kmem_cache *kmalloc_cache(size_t size)
{
	return __atomic_load_n(&mm.kmalloc_table[kmalloc_step(size)],
			       __ATOMIC_ACQUIRE);
}

/* The cache whose slabs come from a zone, made at first use; NULL: no memory. */
struct kmem_cache *kmalloc_cache_of_zone(unsigned int zone_nr, size_t size);

/*
 * dedicated.c: an array of a general or dedicated cache was refilled for a
 * request of size bytes.  No lock of the cache's held.
 */
void kmalloc_observe(struct kmem_cache *cachep, size_t size);

#endif
