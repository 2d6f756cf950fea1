/* SPDX-License-Identifier: MIT */
/*
 * trace.h - who allocated this: backtraces, stack depot, call sites, tags.
 *
 * Owns:   the depot and the site table (canonical in private memory, which fork
 *         copies; published into the segment as they grow), and the counters in
 *         the segment's site records.
 * Layer:  preload/trace; above mm and segment.
 * Locks:  SYS_RANK_DEPOT to add stacks, SYS_RANK_SITE to count.  Neither is held
 *         while the unwinder runs.
 *
 * A live object has a living tag: site, slack and birth.  Site 0 stands
 * for "unknown": allocations of the library's own helpers (no_trace), of a
 * handler inside the allocator, and those whose stack did not fit.
 *
 * Context of every call, unless said otherwise: inside (bs_enter() held), no lock
 * held.  While libunwind runs bs_tls.depth is 0 and bs_tls.no_trace is raised, so
 * that what it allocates is served normally and not traced.
 */
#ifndef BS_TRACE_TRACE_H
#define BS_TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/mm/mm.h"
#include "preload/trace/memo.h"
#include "preload/trace/unwind.h"

/* Tests only: forgets everything. */
void trace_destroy(void);

/*
 * Makes the tables.  After segment_create(), before any other call here.  False: there is
 * no memory for them, which was said; then nothing else is to be called.
 */
bool trace_init(void);

/*
 * Loads libunwind (RTLD_NOW | RTLD_LOCAL), once, unless caller_pc (the return
 * address of the exported function) is in the dynamic loader.  Called by
 * bs_enter_slow() while bs_unwinder_wanted, outside (depth 0); raises
 * bs_tls.no_trace meanwhile and clears bs_unwinder_wanted when done or given up.
 * bs_unwinder_wanted starts as false: most programs never need libunwind, because
 * the ordinary frames are walked with rules read from .eh_frame (unwind.h); the
 * first odd frame raises it.
 */
void trace_load_unwinder(void *caller_pc);

/* Names a stack in the present epoch of modules; any context. */
uint64_t trace_hash_stack(const uintptr_t *pcs, size_t nr);

/*
 * rate: what sampling_choose() said, but SAMPLING_SKIP.
 * Attributes a new block, of requested bytes, to the stack that begins with regs, and
 * sets its tag.  False, and the object stays unrecorded: tags are not kept, no memory is
 * left for one, or trace=auto has no time for a new stack.  Leaves errno alone.
 */
bool trace_alloc(struct mm_block *b, size_t requested,
		 const struct unwind_regs *regs, uint32_t rate);

/*
 * The site of a stack that memo_find() does not know: walks it, as far as it differs from
 * the thread's last one, and finds or makes its site.  0: it has no frame.
 */
uint32_t trace_site_by_walk(uintptr_t pc, uintptr_t sp, uintptr_t fp);

/*
 * The same for a block made in a handler inside the allocator: site 0, no lock.
 * Any context.
 */
void trace_atomic_alloc(struct mm_block *b, size_t requested);

/*
 * Takes the tag off.  True: it was live.  False: it had none, so this is a double
 * free.  True when tags are not kept, or not for every object.
 */
bool trace_free(struct mm_block *b);
/* Would trace_free() say false?  Nothing is done. */
bool trace_is_dead(const struct mm_block *b);

/*
 * A tag for a new area of the mmap family, counted as one object of that many
 * bytes.  0 without tracing.  Undo with trace_area_gone(tag, bytes, 1).
 */
uint64_t trace_map_tag(size_t bytes, const struct unwind_regs *regs);

/*
 * mm_client.area_gone: nr_objects areas and so many bytes ended; negative: came into
 * being by a split.  vm lock held, or none.
 */
void trace_area_gone(uint64_t tag, int64_t bytes, int nr_objects);

/* mm_client.current_site: the running call's.  Locks up to the list lock held. */
uint32_t trace_current_site(void);

/*
 * First thing in a forked child, however it was made.  Nothing has to be done before
 * a fork: what another thread was adding is at worst a slot that stays unused.
 */
void trace_fork_child(bool raw);

/*
 * For segment.c in a forked child: write all known stacks and sites into the new
 * segment, counters from the live tags.
 */
void trace_republish(void);

/*
 * Quiescent process only: per site, allocs - frees and bytes must be what a walk
 * over all live tags finds.  0, or -EUCLEAN with the first difference in why.
 */
int trace_verify(char *why, size_t len);

#endif
