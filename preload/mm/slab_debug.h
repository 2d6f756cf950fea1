/* SPDX-License-Identifier: MIT */
/* slab_debug.h - slab_debug=FZPU, for the SLAB allocator's files. */
#ifndef BS_MM_SLAB_DEBUG_H
#define BS_MM_SLAB_DEBUG_H

#include "preload/mm/slab.h"

struct slab_track {
	uint64_t when_ns; /* coarse; 0: never */
	uint32_t site;
	uint32_t tid;
};

/* slab_debug_obj.state */
enum slab_debug_state {
	DEBUG_FREE = 0,
	DEBUG_BUSY, /* on its way: nobody looks at it */
	DEBUG_LIVE,
};

/* One per object, in the slab's descriptor, where the object cannot reach it. */
struct slab_debug_obj {
	uint32_t requested_bytes;
	uint32_t state;
	struct slab_track alloc, free;
};

static inline bool cache_has_debug(const struct kmem_cache *cachep)
{
	return cachep->flags & SLAB_DEBUG_FLAGS;
}

struct slab_debug_obj *slab_debug_of(const struct kmem_cache *cachep,
				     const struct slab *slabp, uint32_t index);

/* SLAB_DEBUG_FLAGS that slab_debug= gives a new cache. */
uint32_t slab_debug_flags(const char *name, const struct kmem_cache_args *args);
/* Bytes of an object's left red zone. */
uint32_t slab_debug_lead(const struct kmem_cache *cachep);

/* A new slab: its objects are free and prepared.  No lock held. */
void slab_debug_new_slab(const struct kmem_cache *cachep,
			 const struct slab *slabp);

/* The long ways of a cache with debug; no lock held. */
void *slab_debug_alloc(struct kmem_cache *cachep, gfp_t gfp, size_t size);
int slab_debug_free(struct kmem_cache *cachep, void *objp);

/*
 * Free of an object by way of another cache: reported, then freed to its own.
 * 0, or as mm_lookup() and mm_free() say.  No lock held.
 */
int kmem_cache_free_checked(struct kmem_cache *cachep, void *objp);

/*
 * Checks all objects, reports and mends what is wrong.  Returns the number of
 * damaged objects.  No lock held.
 */
unsigned int slab_debug_check_cache(struct kmem_cache *cachep);
unsigned int slab_debug_check_all(void);

/*
 * For mm_verify(): NULL, or what is wrong with an object; *bad the first byte.
 * List lock held.
 */
const char *slab_debug_verify(const struct kmem_cache *cachep,
			      const struct slab *slabp, uint32_t index,
			      const void **bad);

/* Who allocated and freed the object at p last; false: not recorded. */
bool slab_debug_tracks(const void *p, struct slab_track *alloc,
		       struct slab_track *free);

/* Tests only: forgets the owners. */
void slab_debug_destroy(void);

/* Write all owners into a new segment.  All locks held. */
void slab_debug_publish(void);

#endif
