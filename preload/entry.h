/* SPDX-License-Identifier: MIT */
/*
 * entry.h - allocate and free as every exported name does it.
 *
 * Owns:   the fast path, inlined into each exported function so that the
 *         program's own return address is one frame up.
 * Layer:  preload; used by malloc.c and operators.c alone.
 * Locks:  none.
 */
#ifndef BS_ENTRY_H
#define BS_ENTRY_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "preload/internal.h"
#include "preload/mm/slab.h"
#include "preload/route.h"
#include "preload/trace/sampling.h"
#include "preload/trace/trace.h"

#define BS_INLINE static inline __attribute__((always_inline))
#define BS_COLD	  __attribute__((noinline, cold))

/* malloc.c: the rare ways. */
void *bs_alloc_again(size_t size, size_t align, gfp_t gfp);
void *bs_alloc_atomic(size_t size, size_t align, gfp_t gfp);
void bs_free_atomic(void *p);
/* Gives a block its call site; the program, or a caller in the library, calls. */
void bs_alloc_traced(void *p, size_t size);
/* bs_alloc() of a traced process. */
void *bs_alloc_watched(size_t size, size_t align, gfp_t gfp);
/* The long ways, without a call site, and with one for all but what is sampled out. */
void *bs_alloc_slow(size_t size, size_t align, gfp_t gfp);
void *bs_alloc_and_trace(size_t size, size_t align, gfp_t gfp,
			 const struct unwind_regs *regs);
/* For bs_is_exact(); NULL: nothing was done. */
void *bs_alloc_exact(size_t size, size_t align, gfp_t gfp, uintptr_t pc,
		     uintptr_t sp, uintptr_t fp);
void bs_free_slow(void *p, const char *call);
/* Of an object in a frame with tags. */
void bs_free_tagged(void *p, struct page *page, int64_t index,
		    const char *call);
void bs_free_failed(void *p, int ret, const char *call, void *caller);

/*
 * A size that a route may apply to, or one beyond PTRDIFF_MAX: false means that
 * the ordinary way is right; true with NULL in *p that there is no memory.
 */
bool bs_alloc_rare(size_t size, size_t align, gfp_t gfp, void **p);

/* Inside.  NULL: no memory, whatever was given back. */
BS_INLINE void *bs_alloc_block(size_t size, size_t align, gfp_t gfp)
{
	void *p;

	if (unlikely(size >= route_from_bytes) &&
	    bs_alloc_rare(size, align, gfp, &p))
		return p;
	p = mm_alloc(size, align, gfp | __GFP_TRY);
	return likely(p) ? p : bs_alloc_again(size, align, gfp);
}

/* Nothing but a size, zeros perhaps, and an alignment that mm_alloc_fast() knows. */
BS_INLINE bool bs_is_plain(size_t align, gfp_t gfp)
{
	return align <= PAGE_SIZE && !(gfp & ~__GFP_ZERO);
}

/* NULL with errno = ENOMEM.  align: power of two; 1 gives the usual 16. */
BS_INLINE void *bs_alloc(size_t size, size_t align, gfp_t gfp)
{
	void *p = bs_is_plain(align, gfp)
			  ? mm_alloc_fast(size, align, mm_wipe->fast_bytes)
			  : NULL;

	if (likely(p))
		return gfp & __GFP_ZERO ? memset(p, 0, size) : p;
	if (bs_tracing)
		return bs_alloc_watched(size, align, gfp);
	return bs_alloc_slow(size, align, gfp);
}

/* May bs_alloc_exact() be asked? */
BS_INLINE bool bs_is_exact(size_t size, size_t align, gfp_t gfp)
{
	return likely(size - 1 < mm_wipe->exact_bytes) &&
	       bs_is_plain(align, gfp);
}

/* trace=auto and trace=sample: true when this one is not recorded. */
BS_INLINE bool bs_passes(size_t size, size_t align, gfp_t gfp, uintptr_t pc)
{
	static_assert(KMALLOC_FINE <= SAMPLING_SMALL, "sections are for less");
	return bs_is_plain(align, gfp) && size - 1 < mm_wipe->section_bytes &&
	       sampling_skips(pc, size);
}

/* ... then this allocates. */
BS_INLINE void *bs_alloc_passed(size_t size, size_t align, gfp_t gfp)
{
	void *p = mm_alloc_fast(size, align, mm_wipe->section_bytes);

	if (unlikely(!p))
		return bs_alloc_slow(size, align, gfp);
	return gfp & __GFP_ZERO ? memset(p, 0, size) : p;
}

/* The same for a function that does more than jump: its own caller is the program. */
BS_INLINE void *bs_alloc_here(size_t size, size_t align, gfp_t gfp)
{
	struct unwind_regs regs;
	void *p;

	if (!bs_tracing)
		return bs_alloc(size, align, gfp);
	UNWIND_CALLER(&regs);
	if (bs_is_exact(size, align, gfp)) {
		p = bs_alloc_exact(size, align, gfp, regs.pc, regs.sp, regs.fp);
		if (likely(p))
			return p;
	}
	if (bs_passes(size, align, gfp, regs.pc))
		return bs_alloc_passed(size, align, gfp);
	return bs_alloc_and_trace(size, align, gfp, &regs);
}

/* 0; nothing done: -EALREADY, it was free, or -EBUSY, vmap() shows it. */
BS_INLINE int bs_free_block(void *p, struct mm_block *b)
{
	if (bs_tracing) {
		if (unlikely(b->kind != MM_OBJECT) && mm_is_mapped(b))
			return -EBUSY;
		if (unlikely(!trace_free(b)))
			return -EALREADY;
		if (unlikely(b->kind != MM_OBJECT) && b->tag)
			bs_note_freed(p, *b->tag);
	}
	return mm_free(p, b);
}

/*
 * errno is left alone, whatever happens.  The first free after the thread was off its
 * processor takes the long way, for decay.c.
 */
BS_INLINE void bs_free(void *p, const char *call)
{
	struct kmem_cache *cachep;
	struct page *page;
	int64_t index;

	cachep = likely(sys_rseq_is_warm()) ? object_cache(p, &page, &index)
					    : NULL;
	if (likely(cachep)) {
		if (unlikely(page_has_tags(page))) {
			bs_free_tagged(p, page, index, call);
			return;
		}
		if (likely(cache_push(cachep, p)))
			return;
	}
	bs_free_slow(p, call);
}

#endif
