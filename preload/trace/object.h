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

/* The living bit goes; of two threads that free the same object one is told. */
TRACE_INLINE uint64_t trace_end_tag(uint64_t *tag)
{
	uint64_t was = __atomic_load_n(tag, __ATOMIC_RELAXED);

	if (!tag_is_live(was))
		return was;
	if (!sys_alone())
		return __atomic_fetch_and(tag, ~TAG_LIVE, __ATOMIC_ACQ_REL);
	*tag = was & ~TAG_LIVE;
	return was;
}

/* Counts the end of an object whose tag was taken off, and was no sample's. */
TRACE_INLINE void trace_end(const struct mm_block *b, uint64_t tag)
{
	mm_tag_gone(b);
	site_count_free(tag_site(tag), site_now(), tag_birth(tag),
			(int64_t)(b->usable - tag_slack(tag)), 1);
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
	struct page *page;
	int64_t index = object_index(p, &page);
	uint32_t site;

	if (unlikely(bs_options.trace_check) || unlikely(bs_tls.no_trace) ||
	    unlikely(!trace_is_ready()) ||
	    unlikely(!object_block(page, index, &b)))
		return false;
	site = memo_find(regs);
	if (unlikely(!site)) {
		if (sampling_is_sparse())
			return false; /* it may not be the time for a new stack */
		site = trace_site_by_walk(regs);
	}
	trace_attribute(&b, site, trace_slack(b.usable, requested));
	return true;
}

/* Of an object with a place for a tag. */
TRACE_INLINE bool trace_is_live(const struct mm_block *b)
{
	return tag_is_live(__atomic_load_n(b->tag, __ATOMIC_RELAXED));
}

/* trace_free() of such an object; false: nothing was done. */
TRACE_INLINE bool trace_free_fast(const struct mm_block *b)
{
	uint64_t tag = __atomic_load_n(b->tag, __ATOMIC_RELAXED);

	if (unlikely(!trace_is_ready()) || unlikely(!tag_is_live(tag)) ||
	    unlikely(tag_rate(tag)))
		return false;
	tag = trace_end_tag(b->tag);
	if (unlikely(!tag_is_live(tag)))
		return false; /* another thread frees it, too */
	trace_end(b, tag);
	return true;
}

#endif
