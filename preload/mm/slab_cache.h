/* SPDX-License-Identifier: MIT */
/* slab_cache.h - what slab_cache.c and slab.c share. */
#ifndef BS_MM_SLAB_CACHE_H
#define BS_MM_SLAB_CACHE_H

#include "preload/mm/mm.h"

static inline size_t array_cache_bytes(uint32_t limit)
{
	return sizeof(struct array_cache) + limit * sizeof(void *);
}

/* Objects in arrays count as active.  List lock held, or a picture. */
static inline uint64_t cache_active_objs(const struct kmem_cache *cachep)
{
	return cachep->list3.nr_slabs * cachep->num -
	       cachep->list3.free_objects;
}

/* Where the first object of a slab lies that starts (coloured) here. */
char *slab_first_object(const struct kmem_cache *cachep, char *start);

/*
 * slab.c, for caches without arrays.  take: an object off the lists, ACTIVE from
 * now on; NULL: none is free.  put: back to its slab.  grow: one more slab; false:
 * no memory.  No lock held.
 */
void *slab_take_object(struct kmem_cache *cachep);
void slab_put_object(struct kmem_cache *cachep, void *objp);
bool cache_grow(struct kmem_cache *cachep, gfp_t gfp);

/* Raw fork: the chain as seen along next is whole, prev may not be. */
void cache_chain_repair(void);

#endif
