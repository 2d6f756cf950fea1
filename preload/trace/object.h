/* SPDX-License-Identifier: MIT */
/*
 * object.h - an object gets its call site and loses it again, inlined.
 *
 * Layer:  trace; above count.h and memo.h, below trace.c, which has the rare ways, and
 *         malloc.c, which asks here first.
 * Locks:  those of count.h.
 *
 * Context of every call: inside (bs_enter() held), no lock held.
 */
#ifndef BS_TRACE_OBJECT_H
#define BS_TRACE_OBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/internal.h"
#include "preload/mm/slab.h"
#include "preload/segment.h"
#include "preload/trace/count.h"
#include "preload/trace/memo.h"
#include "preload/trace/sampling.h"
#include "preload/trace/trace.h"

#define TRACE_INLINE static inline __attribute__((always_inline))

/* False in a forked child that has no segment yet. */
TRACE_INLINE bool trace_is_ready(void)
{
	return likely(
		__atomic_load_n(&segment_self()->ready, __ATOMIC_ACQUIRE));
}

#define TRACE_SLACK_MAX ((1U << TAG_SLACK_BITS) - 1)

/*
 * A memalign far beyond the size has more slack than a tag holds; it then counts
 * as that much larger, when it begins and when it ends.
 */
TRACE_INLINE uint32_t trace_slack(size_t usable, size_t requested)
{
	size_t slack = usable > requested ? usable - requested : 0;

	return slack < TRACE_SLACK_MAX ? (uint32_t)slack : TRACE_SLACK_MAX;
}

/* Counts a new object of a site; its tag. */
TRACE_INLINE uint64_t trace_begin(uint32_t site, uint32_t kind, size_t usable,
				  uint32_t slack)
{
	uint64_t now = site_now();

	site_count_alloc(site, now, usable - slack, kind);
	return tag_make(site, slack, (uint32_t)now);
}

/* b->tag is not NULL. */
TRACE_INLINE void trace_attribute(const struct mm_block *b, uint32_t site,
				  uint32_t slack)
{
	mm_set_tag(b, trace_begin(site, BS_SITE_OBJECT, b->usable, slack),
		   sampling_is_sparse());
}

/* The living bit goes from a tag that was just seen.  False: it is another one now. */
TRACE_INLINE bool trace_end_tag(uint64_t *at, uint64_t seen)
{
	if (!sys_alone())
		return __atomic_compare_exchange_n(at, &seen, seen & ~TAG_LIVE,
						   false, __ATOMIC_ACQ_REL,
						   __ATOMIC_RELAXED);
	*at = seen & ~TAG_LIVE;
	return true;
}

/* Counts the end of an object whose tag was taken off, and was no sample's. */
TRACE_INLINE void trace_count_end(uint64_t tag, size_t usable)
{
	site_count_free(tag_site(tag), site_now(), tag_birth(tag),
			(int64_t)(usable - tag_slack(tag)), 1);
}

/* ---- what is done with most objects ------------------------------------------------- */

/*
 * trace_alloc() of an object that mm_alloc_fast() gave and that is to be recorded for
 * itself; false: ask that.
 */
TRACE_INLINE bool trace_alloc_fast(void *p, size_t requested,
				   const struct unwind_regs *regs)
{
	struct mm_block b;
	struct page *page = pfn_to_page(virt_to_pfn(p));
	int64_t index = object_index(page->cache, page, p);
	uint32_t site;

	if (unlikely(bs_options.trace_check) || unlikely(bs_tls.no_trace) ||
	    unlikely(!trace_is_ready()) ||
	    unlikely(!object_block(page, index, &b)))
		return false;
	site = memo_find(regs->pc, regs->sp, regs->fp);
	if (unlikely(!site)) {
		if (sampling_is_sparse())
			return false; /* it may not be the time for a new stack */
		site = trace_site_by_walk(regs->pc, regs->sp, regs->fp);
	}
	trace_attribute(&b, site, trace_slack(b.usable, requested));
	return true;
}

TRACE_INLINE uint32_t trace_site_exact(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uint32_t site = memo_find(pc, sp, fp);

	return likely(site) ? site : trace_site_by_walk(pc, sp, fp);
}

TRACE_INLINE void trace_set_tag(uint64_t *at, uint32_t site, size_t usable,
				size_t requested)
{
	__atomic_store_n(at,
			 trace_begin(site, BS_SITE_OBJECT, usable,
				     trace_slack(usable, requested)),
			 __ATOMIC_RELAXED);
}

/* The first object of a frame that is recorded; NULL: the first of its slab, too. */
TRACE_INLINE uint64_t *trace_first_of_frame(struct page *page, int64_t index)
{
	uint64_t *tags = slab_tags(page->cache, page->slab);

	if (tags && mm_counts_tags(page))
		mm_count_tag(page, tags, &tags[index], sampling_is_sparse());
	return tags;
}

/*
 * What an allocation with a call site does while mm_wipe->exact_bytes is not 0: cachep gave
 * p.  False: nothing was done, its slab has no tags yet.
 */
TRACE_INLINE bool trace_alloc_exact(void *p, const struct kmem_cache *cachep,
				    size_t requested, uintptr_t pc,
				    uintptr_t sp, uintptr_t fp)
{
	struct page *page = pfn_to_page(virt_to_pfn(p));
	int64_t index = object_index(cachep, page, p);
	uint64_t *tags = mm_frame_tags(page);
	uint32_t site;

	if (unlikely(!tags)) {
		tags = trace_first_of_frame(page, index);
		if (!tags)
			return false;
	}
	site = trace_site_exact(pc, sp, fp);
	trace_set_tag(&tags[index], site, cachep->buffer_size, requested);
	return true;
}

/*
 * The same for an object whose size changes in place, and whose tag at `at` was just seen:
 * one ends and another begins.  False: nothing was done.
 */
TRACE_INLINE bool trace_renew_exact(uint64_t *at, uint64_t tag, size_t usable,
				    size_t requested, uintptr_t pc,
				    uintptr_t sp, uintptr_t fp)
{
	uint32_t site = trace_site_exact(pc, sp, fp);

	if (unlikely(!trace_end_tag(at, tag)))
		return false; /* another thread frees it */
	trace_count_end(tag, usable);
	trace_set_tag(at, site, usable, requested);
	return true;
}

/* The tag's place of an object that was found by object_cache(); NULL: it has none. */
TRACE_INLINE uint64_t *trace_tag(const struct page *page, int64_t index)
{
	uint64_t *tags = mm_frame_tags(page);

	if (unlikely(!tags))
		tags = slab_tags(page->cache, page->slab);
	return likely(tags) ? &tags[index] : NULL;
}

/* trace_free() of such an object, whose tag was just seen; false: nothing was done. */
TRACE_INLINE bool trace_free_fast(struct page *page, uint64_t *at, uint64_t tag)
{
	if (unlikely(!trace_is_ready()) || unlikely(tag_rate(tag)))
		return false;
	if (unlikely(!trace_end_tag(at, tag)))
		return false; /* another thread frees it, too */
	if (unlikely(mm_counts_tags(page)))
		mm_add_tagged(page, -1U);
	trace_count_end(tag, page->cache->buffer_size);
	return true;
}

#endif
