/* SPDX-License-Identifier: MIT */
/* slab.h - the SLAB allocator, for the engine's other files. */
#ifndef BS_MM_SLAB_H
#define BS_MM_SLAB_H

#include "preload/mm/mm.h"

/*
 * Objects of size bytes, aligned to align (power of two, 0: 16).  tags: keep a
 * word per object for tracing.  NULL: no memory, or size beyond KMALLOC_MAX.
 */
struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, bool tags);
void *kmem_cache_alloc(struct kmem_cache *cachep);
/* 0, or -EALREADY when the object is free (nothing done). */
int kmem_cache_free(struct kmem_cache *cachep, void *objp);

/* Index of the object that starts at p; -1 when p is no start. */
int64_t obj_to_index(const struct kmem_cache *cachep, const struct slab *slabp,
		     const void *p);
static inline void *index_to_obj(const struct kmem_cache *cachep,
				 const struct slab *slabp, uint32_t index)
{
	return slabp->s_mem + (size_t)cachep->buffer_size * index;
}

/* Which general cache serves size bytes; 1 <= size <= KMALLOC_MAX. */
static inline unsigned int kmalloc_nr(size_t size)
{
	if (likely(size <= KMALLOC_SMALL))
		return mm.kmalloc_index[(size + 15) / 16];
	return 64 - (unsigned int)__builtin_clzll(size - 1) - 2;
}

/* Publish one cache.  List lock held (or all stopped). */
void cache_publish(struct kmem_cache *cachep);
/* Empty all per-CPU arrays and free slabs.  Returns slabs destroyed. */
uint64_t kmem_cache_shrink_all(void);
/* Every REAP_NS, from slow paths. */
void cache_reap(uint64_t now_ns);
/* Raw fork: give up what is locked.  Returns the number given up. */
unsigned int slab_raw_child(void);

#endif
