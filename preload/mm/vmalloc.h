/* SPDX-License-Identifier: MIT */
/* vmalloc.h - areas: large allocations and the records of mappings. */
#ifndef BS_MM_VMALLOC_H
#define BS_MM_VMALLOC_H

#include "preload/mm/mm.h"

int vmalloc_init(void);

/* What is asked for, and how it went. */
struct vm_request {
	uint64_t align; /* power of two, at least PAGE_SIZE */
	gfp_t gfp;
	bool exact;	  /* an area of this size, none that is a bit larger */
	bool strict;	  /* NULL when the window is full, whatever oom= says */
	bool window_full; /* out */
};
/*
 * Addresses for bytes and a guard page behind them, inaccessible, within the window;
 * 0: none.  Given back with their length, guard included.  vm lock held.
 */
uint64_t vm_space_get(uint64_t bytes, uint64_t align, struct vm_request *req);
void vm_space_put(uint64_t addr, uint64_t len);
/* The report of a failure, or of a window that was exceeded. */
void vm_request_failed(const struct vm_request *req, size_t size, bool served);
/*
 * A charged area, kept or new; NULL: no memory.  vm lock held; it is dropped for a while
 * where memory has to be reclaimed.
 */
struct vm_struct *vmalloc_area(uint64_t bytes, struct vm_request *req);

void *vmalloc_alloc(size_t size, size_t align, gfp_t gfp);
/*
 * 0 with *b filled when p starts a live vmalloc area, -EINVAL when it lies inside
 * one, -EALREADY inside a freed one that is kept for reuse, else -ENOENT.
 */
int vmalloc_lookup(const void *p, struct mm_block *b);
int vmalloc_free(void *p);
void *vmalloc_resize(void *p, size_t new_size);
/*
 * Unmap freed areas older than age_ns; 0: all.  Live ones of that age that are much
 * larger than was asked for lose what is too much.  True: some are left.
 */
bool vmalloc_purge(uint64_t age_ns);
/* All that is kept goes.  vm lock held. */
void vm_purge_kept(void);

/* ---- area tree (vmap.c), vm lock held ------------------------------------ */

/* The area that holds addr, or the first above it; NULL: none. */
struct vm_struct *vm_find(uint64_t addr);
/* A new record in the tree; NULL: no memory. */
struct vm_struct *vm_insert(uint64_t addr, uint64_t size, uint32_t flags,
			    uint32_t prot, gfp_t gfp);
/* Take the record out and free it.  Frames must have been given back. */
void vm_remove(struct vm_struct *area);
/* Cut at addr (inside the area): the upper part becomes an area. NULL: memory. */
struct vm_struct *vm_split(struct vm_struct *area, uint64_t addr);
/* Join b, which follows a at once, to a. */
void vm_join(struct vm_struct *a, struct vm_struct *b);
void vm_publish(struct vm_struct *area);
/* A copy for area->path, which vm_remove() frees; NULL: no memory. */
char *vm_dup_path(const char *path);
/* A new record over what was there; path becomes its own. NULL: no memory. */
struct vm_struct *vm_record(uint64_t addr, uint64_t len, int prot,
			    uint32_t flags, char *path, uint64_t offset,
			    uint64_t tag);
/* Call fn for each area in address order; stops when fn returns not 0. */
int vm_walk(int (*fn)(struct vm_struct *area, void *arg), void *arg);

/* ---- areas that name their pages (vpages.c) ------------------------------- */

/* Take the array off the area, vm lock held; free it, without the lock. */
struct page **vm_take_pages(struct vm_struct *area);
void vm_free_pages(struct page **pages);
/* An array that is an area itself shows the caller of its owner.  vm lock held. */
void vm_name_array(const struct vm_struct *area);
/* Is a frame of this used block mapped by vmap()? */
bool vmap_covers(const struct page *head);

/* ---- carve-outs (ioremap.c) ------------------------------------------------ */

void carveouts_init(void);
void carveouts_destroy(void);

/*
 * Not the program's to cut or to end by munmap(); one that maps over them is beyond
 * help.
 */
static inline bool vm_is_ours(const struct vm_struct *area)
{
	return area->flags & (BS_AREA_LAZY | BS_AREA_VMAP) || area->pages ||
	       (area->flags & (BS_AREA_CARVEOUT | BS_AREA_USERMAP)) ==
		       BS_AREA_CARVEOUT;
}

/* Bytes that the area counts at its call site. */
static inline uint64_t vm_site_bytes(const struct vm_struct *area)
{
	return area->flags & (BS_AREA_RESERVE | BS_AREA_VMAP | BS_AREA_CARVEOUT)
		       ? 0
		       : area->requested_bytes;
}

static inline enum bs_use vm_use(const struct vm_struct *area)
{
	return area->flags & BS_AREA_ALLOC ? BS_USE_VMALLOC : BS_USE_MMAP;
}

#endif
