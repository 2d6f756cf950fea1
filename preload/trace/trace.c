/* SPDX-License-Identifier: MIT */
/*
 * trace.c - from a new block to its call site.
 *
 * Owns:   tags, the check against the heap.
 * Layer:  trace; the only part that preload/ and segment.c call.
 * Locks:  none of its own; see depot.c and site.c.
 *
 * The way of an allocation: registers of the call -> memo (memo.c) -> site.  On a
 * miss the stack is walked until it is the thread's last one (lastwalk.c), and the frames
 * walked are looked up, or added, below that rest's node of the depot, each with the
 * generation of its module.  Before a stack is added the module table is brought up to
 * date.
 */
#include "preload/trace/trace.h"

#include <errno.h>
#include <string.h>

#include "preload/internal.h"
#include "preload/segment.h"
#include "preload/sys/clock.h"
#include "preload/sys/sys.h"
#include "preload/trace/depot.h"
#include "preload/trace/libunwind.h"
#include "preload/trace/memo.h"
#include "preload/trace/object.h"
#include "preload/trace/sampling.h"
#include "preload/trace/site.h"
#include "preload/trace/thread.h"
#include "preload/trace/unwind.h"

static bool trace_up; /* the tables are there */

/* ---- stacks by their return addresses ----------------------------------------------- */

/* The epoch tells stacks from before a dlclose apart. */
uint64_t trace_hash_stack(const uintptr_t *pcs, size_t nr)
{
	uint64_t h = segment_epoch() * 0xd6e8feb86659fd93ULL + nr;
	size_t i;

	for (i = 0; i < nr; i++) {
		h = (h ^ pcs[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	return h * 0xbf58476d1ce4e5b9ULL;
}

/*
 * Generation of the module behind a return address, by page of code.  A word: page,
 * lower bits of the epoch, generation + 1.
 */
#define GEN_SLOT_BITS  8
#define GEN_BITS       20
#define GEN_EPOCH_BITS 8

static uint64_t gen_slot[1 << GEN_SLOT_BITS];

static uint32_t generation_of(uintptr_t pc)
{
	uint64_t page = (pc - 1) >> PAGE_SHIFT, key, word;
	uint64_t *slot =
		&gen_slot[page * 0x9e3779b97f4a7c15ULL >> (64 - GEN_SLOT_BITS)];
	uint32_t generation;

	key = page << GEN_EPOCH_BITS |
	      (segment_epoch() & ((1U << GEN_EPOCH_BITS) - 1));
	word = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (likely(word >> GEN_BITS == key))
		return (uint32_t)(word & ((1U << GEN_BITS) - 1)) - 1;
	generation = segment_generation(pc - 1);
	if (generation && generation + 1 < 1U << GEN_BITS)
		__atomic_store_n(slot, key << GEN_BITS | (generation + 1),
				 __ATOMIC_RELAXED);
	return generation;
}

/* Of frames behind which a node stands for the rest; see lastwalk_walk(). */
struct stack {
	uint32_t node;
	size_t nr;
	bool cut; /* to what there was room for */
	uintptr_t pcs[TRACE_MAX_FRAMES];
	uint32_t generation[TRACE_MAX_FRAMES];
	uint32_t chain[TRACE_MAX_FRAMES]; /* depot_descend() */
};

static void fill_generations(struct stack *st)
{
	size_t i;

	for (i = 0; i < st->nr; i++)
		st->generation[i] = generation_of(st->pcs[i]);
}

/* The node of the frames that the depot has; *left: of those it has not. */
static uint32_t descend(struct stack *st, size_t *left)
{
	*left = st->nr;
	fill_generations(st);
	return depot_descend(st->node, st->pcs, st->generation, left,
			     st->chain);
}

/* The depot or the site table is full: at least who called. */
static __attribute__((noinline)) uint32_t short_site(struct stack *st)
{
	uint32_t node;
	size_t left;

	mm_count(BS_VMSTAT_SITES_DROPPED, 1);
	st->cut = true;
	if (st->nr < DEPOT_SHORT)
		st->nr += depot_frames(st->node, st->pcs + st->nr,
				       DEPOT_SHORT - st->nr);
	st->nr = MIN(st->nr, DEPOT_SHORT);
	st->node = thread_root();
	node = descend(st, &left);
	node = depot_grow(node, st->pcs, st->generation, left, st->chain);
	return node == DEPOT_NONE ? 0 : site_of_node(node);
}

/*
 * A stack not met so far may be one through a module just loaded, so the module table is
 * brought up to date.  One frame of those in a row that one module has is looked at.
 */
static __attribute__((noinline)) void check_modules(const struct stack *st)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	uint32_t last = 0;
	size_t i, nr = 0;

	for (i = 0; i < st->nr; i++) {
		if (!last || st->generation[i] != last)
			pcs[nr++] = st->pcs[i];
		last = st->generation[i];
	}
	segment_modules_check(pcs, nr);
}

/* Of a stack whose node in the depot, with `left` frames to be added, is known. */
static uint32_t make_site(struct stack *st, uint32_t node, size_t left,
			  bool refresh)
{
	uint64_t epoch = segment_epoch();
	uint32_t site;

	st->cut = false;
	if (left && refresh) {
		check_modules(st);
		if (unlikely(segment_epoch() != epoch))
			node = descend(st, &left);
	}
	if (left)
		node = depot_grow(node, st->pcs, st->generation, left,
				  st->chain);
	site = node == DEPOT_NONE ? 0 : site_of_node(node);
	return likely(site) ? site : short_site(st);
}

static uint32_t site_of_stack(struct stack *st, bool refresh)
{
	size_t left;
	uint32_t node = descend(st, &left);

	return make_site(st, node, left, refresh);
}

/* ---- the running stack --------------------------------------------------------------- */

/* A stack with an odd frame, after as many others as there are in st. */
static __attribute__((noinline)) uint32_t site_of_odd(struct stack *st)
{
	enum unwind_end end;
	uint32_t site;

	mm_count(BS_VMSTAT_UNWINDS, 1);
	sampling_poll();
	st->node = thread_walks();
	st->nr = unwind_odd(st->pcs, st->nr, TRACE_MAX_FRAMES, &end);
	if (unlikely(!st->nr)) {
		mm_count(BS_VMSTAT_UNWIND_FAILED, 1);
		return 0;
	}
	site = site_of_stack(st, true);
	if (end == UNWIND_ODD)
		site_mark(site, BS_SITE_LIBC);
	return site;
}

/* May a stack that is not known be recorded?  rate: as running_site() has it. */
static bool choose_new(uintptr_t pc, size_t bytes, uint32_t *rate)
{
	if (rate && !*rate)
		*rate = sampling_choose_new(pc, bytes);
	return !rate || *rate != SAMPLING_SKIP;
}

/*
 * Of a stack that ended well.  w, NULL: none was to be had, keeps the walk in any case: the
 * next one may end at its frames.  *known: it was recognised without a whole walk.
 */
static uint32_t site_of_walk(struct stack *st, struct lastwalk *w,
			     const struct unwind_regs *regs, size_t bytes,
			     uint32_t *rate, bool *known)
{
	size_t left;
	uint32_t node = descend(st, &left);
	uint32_t site = left ? 0 : depot_site(node);

	*known = site && w && w->merged;
	if (unlikely(!site) && !choose_new(regs->pc, bytes, rate)) {
		if (w)
			lastwalk_keep(w, st->chain, left);
		return 0;
	}
	if (!*known)
		mm_count(BS_VMSTAT_UNWINDS, 1);
	st->cut = false;
	if (unlikely(!site)) {
		sampling_poll();
		thread_walks();
		site = make_site(st, node, left, true);
	}
	if (likely(w) && lastwalk_keep(w, st->cut ? NULL : st->chain, 0))
		memo_note(w, regs, site);
	return site;
}

static uint32_t site_by_walk(const struct unwind_regs *regs, size_t bytes,
			     uint32_t *rate, bool *known)
{
	struct lastwalk *w = lastwalk_open();
	uint32_t root = thread_root(), site;
	enum unwind_end end;
	struct stack st;

	*known = false;
	if (likely(w)) {
		st.nr = lastwalk_walk(w, regs, root, st.pcs, &st.node, &end);
	} else {
		st.nr = unwind_from(regs, st.pcs, TRACE_MAX_FRAMES, &end);
		st.node = root;
	}
	if (unlikely(end == UNWIND_ODD)) {
		site = site_of_odd(&st);
	} else if (unlikely(!st.nr) && st.node == root) {
		mm_count(BS_VMSTAT_UNWIND_FAILED, 1);
		site = 0;
	} else {
		site = site_of_walk(&st, w, regs, bytes, rate, known);
	}
	if (likely(w))
		lastwalk_close(w);
	return site;
}

__attribute__((noinline)) uint32_t
trace_site_by_walk(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	struct unwind_regs regs = { .pc = pc, .sp = sp, .fp = fp };
	uint32_t site = memo_find_further(pc, sp, fp);
	bool known;

	return site ? site : site_by_walk(&regs, 0, NULL, &known);
}

/* ---- trace_check= --------------------------------------------------------------------- */

/* Both reached the outermost frame, and yet by other frames. */
static bool libunwind_differs(const uintptr_t *pcs, size_t nr)
{
	uintptr_t other[TRACE_MAX_FRAMES + 16], *from = other;
	int saved_errno = errno; /* it calls mincore() and friends */
	enum unwind_end end;
	size_t nr_other;

	nr_other = libunwind_stack(other, ARRAY_SIZE(other), &end);
	errno = saved_errno;
	while (nr_other && unwind_is_self(*from)) {
		from++;
		nr_other--;
	}
	return end == UNWIND_WHOLE &&
	       (nr != nr_other || memcmp(pcs, from, nr * sizeof(*pcs)) != 0);
}

/* The memo took the running stack for that of a site: is it? */
static __attribute__((noinline)) void check_site(const struct unwind_regs *regs,
						 uint32_t site)
{
	struct stack st = { .node = thread_root() };
	enum unwind_end end;

	st.nr = unwind_from(regs, st.pcs, TRACE_MAX_FRAMES, &end);
	mm_count(BS_VMSTAT_TRACE_CHECKS, 1);
	if (end == UNWIND_WHOLE && libunwind_loaded() &&
	    libunwind_differs(st.pcs, st.nr))
		mm_count(BS_VMSTAT_TRACE_DIFFERENCES, 1);
	else if (site_of_stack(&st, false) != site)
		mm_count(BS_VMSTAT_TRACE_DIFFERENCES, 1);
}

static inline bool check_is_due(void)
{
	static uint32_t turn;
	uint32_t n = bs_options.trace_check, now;

	if (likely(!n))
		return false;
	now = __atomic_add_fetch(&turn, 1, __ATOMIC_RELAXED);
	return now % n == 0;
}

/*
 * Of the running stack.  *rate becomes another where the memo does not know the stack and
 * tracing has no time for it now: SAMPLING_SKIP, not recorded.  NULL: whatever it takes.
 */
static inline uint32_t running_site(const struct unwind_regs *regs,
				    size_t bytes, uint32_t *rate)
{
	bool known = true;
	uint32_t site;

	if (unlikely(bs_tls.no_trace) || unlikely(!trace_up))
		return 0;
	site = memo_find(regs->pc, regs->sp, regs->fp);
	if (!site)
		site = memo_find_further(regs->pc, regs->sp, regs->fp);
	if (!site)
		site = site_by_walk(regs, bytes, rate, &known);
	if (known && site && unlikely(check_is_due()))
		check_site(regs, site);
	return site;
}

uint32_t trace_current_site(void)
{
	struct stack st;
	enum unwind_end end;

	if (bs_tls.no_trace || !trace_up)
		return 0;
	st.node = thread_root();
	st.nr = unwind_stack_quick(st.pcs, TRACE_MAX_FRAMES, &end);
	return st.nr ? site_of_stack(&st, false) : 0;
}

/* ---- tags -------------------------------------------------------------------------------- */

static void tag_missed(void)
{
	sampling_missed();
	mm_count(BS_VMSTAT_SITES_DROPPED, 1);
}

/*
 * The first object of its slab that is recorded.  Without memory this one is not, and
 * no longer is each without a tag dead.
 */
static __attribute__((noinline)) bool make_tag(struct mm_block *b)
{
	if (!mm_keeps_tag(b))
		return false;
	if (mm_make_tag(b))
		return true;
	tag_missed();
	return false;
}

/* A sample stands for others; its tag says at which rate. */
static __attribute__((noinline)) void attribute_sample(struct mm_block *b,
						       uint32_t site,
						       uint32_t slack,
						       uint32_t rate)
{
	uint64_t now = site_now();

	site_count_sample(site, rate, b->usable - slack, now, now, true,
			  BS_SITE_OBJECT);
	mm_set_tag(b, tag_with_rate(tag_make(site, slack, (uint32_t)now), rate),
		   true);
}

/* A sample, or an object of a forked child that has no segment yet. */
static __attribute__((noinline)) void
attribute_rare(struct mm_block *b, uint32_t site, uint32_t slack, uint32_t rate)
{
	bool young = !trace_is_ready() && segment_child_lock();

	if (young)
		segment_child_grew();
	if (rate)
		attribute_sample(b, site, slack, rate);
	else
		trace_attribute(b, site, slack);
	if (young)
		segment_child_unlock();
}

bool trace_alloc(struct mm_block *b, size_t requested,
		 const struct unwind_regs *regs, uint32_t rate)
{
	uint32_t site = running_site(regs, requested, &rate);
	uint32_t slack = trace_slack(b->usable, requested);

	if (unlikely(rate == SAMPLING_SKIP) ||
	    (unlikely(!b->tag) && !make_tag(b)))
		return false;
	if (likely(trace_is_ready()) && likely(!rate))
		trace_attribute(b, site, slack);
	else
		attribute_rare(b, site, slack, rate);
	return true;
}

void trace_atomic_alloc(struct mm_block *b, size_t requested)
{
	if (!mm_keeps_tag(b))
		return;
	if (!b->tag)
		tag_missed(); /* a handler can not make the place */
	else if (trace_up)
		trace_attribute(b, 0, trace_slack(b->usable, requested));
}

static __attribute__((noinline)) void end_sample(uint64_t tag, uint64_t bytes)
{
	uint64_t now = site_now();

	site_count_sample(tag_site(tag), tag_rate(tag), bytes, now,
			  site_birth_tick(now, tag_birth(tag)), false,
			  BS_SITE_OBJECT);
}

static inline bool take_tag(struct mm_block *b)
{
	uint64_t tag;

	/* of two threads that free the same object one is told */
	do {
		tag = __atomic_load_n(b->tag, __ATOMIC_RELAXED);
		if (!tag_is_live(tag))
			return sampling_is_sparse();
	} while (!trace_end_tag(b->tag, tag));
	mm_tag_gone(b);
	if (likely(!tag_rate(tag)))
		trace_count_end(tag, b->usable);
	else
		end_sample(tag, b->usable - tag_slack(tag));
	return true;
}

static __attribute__((noinline)) bool take_young_tag(struct mm_block *b)
{
	bool young = segment_child_lock();
	bool live = take_tag(b);

	if (young)
		segment_child_unlock();
	return live;
}

bool trace_is_dead(const struct mm_block *b)
{
	return !(b->tag &&
		 tag_is_live(__atomic_load_n(b->tag, __ATOMIC_RELAXED))) &&
	       mm_keeps_tag(b) && !sampling_is_sparse();
}

bool trace_free(struct mm_block *b)
{
	if (unlikely(!b->tag))
		return !trace_is_dead(b);
	return trace_is_ready() ? take_tag(b) : take_young_tag(b);
}

uint64_t trace_map_tag(size_t bytes, const struct unwind_regs *regs)
{
	uint32_t site = running_site(regs, bytes, NULL);
	uint64_t tag;
	bool young;

	if (trace_is_ready())
		return trace_begin(site, BS_SITE_MMAP, bytes, 0);
	young = segment_child_lock();
	if (young)
		segment_child_grew();
	tag = trace_begin(site, BS_SITE_MMAP, bytes, 0);
	if (young)
		segment_child_unlock();
	return tag;
}

void trace_area_gone(uint64_t tag, int64_t bytes, int nr_objects)
{
	unwind_memory_gone();
	if (tag)
		site_count_free(tag_site(tag), site_now(), tag_birth(tag),
				bytes, nr_objects);
}

/* ---- life ---------------------------------------------------------------------------------- */

bool trace_init(void)
{
	if (unwind_init() || memo_init() || depot_init(bs_options.nr_nodes) ||
	    site_init(bs_options.nr_sites) || thread_init()) {
		sys_say("no memory for call sites: trace=off");
		return false;
	}
	sys_clock_find();
	trace_up = true;
	sampling_init(bs_options.trace_mode, bs_options.trace_sample_bytes,
		      bs_options.trace_budget);
	bs_unwinder_wanted = bs_options.trace_check != 0;
	depot_publish_chain(0, true);
	site_publish_unknown();
	return true;
}

void trace_destroy(void)
{
	trace_up = false;
	memo_destroy();
	depot_destroy();
	site_destroy();
	thread_destroy();
}

void trace_load_unwinder(void *caller_pc)
{
	if (segment_is_loader((uintptr_t)caller_pc))
		return;
	unwind_load();
	bs_unwinder_wanted = false;
}

void trace_fork_child(bool raw)
{
	(void)raw;
	depot_fork_child();
	site_fork_child();
	thread_fork_child();
	lastwalk_fork_child();
	unwind_fork_child();
}

/* ---- against the heap ---------------------------------------------------------------------- */

static void count_live(void *arg, uint64_t tag, uint64_t requested_bytes)
{
	uint64_t now = site_now();

	(void)arg;
	if (tag_rate(tag))
		site_count_sample(tag_site(tag), tag_rate(tag), requested_bytes,
				  now, site_birth_tick(now, tag_birth(tag)),
				  true, BS_SITE_OBJECT);
	else
		site_recount(tag_site(tag), tag_birth(tag), requested_bytes);
}

void trace_republish(void)
{
	if (!trace_up)
		return;
	if (depot_new_segment() || site_new_segment())
		return; /* nothing is counted */
	depot_publish_chain(0, true);
	site_publish_unknown();
	thread_new_segment();
	sampling_new_segment();
	mm_for_each_tag(count_live, NULL);
}

struct live {
	uint64_t objects, bytes, samples;
};

static void add_live(void *arg, uint64_t tag, uint64_t requested_bytes)
{
	struct live *live = arg;

	if (tag_rate(tag)) {
		live[tag_site(tag)].samples++;
		return;
	}
	live[tag_site(tag)].objects++;
	live[tag_site(tag)].bytes += requested_bytes;
}

static int compare(const struct live *live, char *why, size_t len)
{
	uint32_t i;

	for (i = 0; i < site_nr(); i++) {
		uint64_t objects, bytes;

		if (!site_live(i, &objects, &bytes))
			continue; /* a shard */

		if (objects == live[i].objects && bytes == live[i].bytes &&
		    site_live_samples(i) == live[i].samples)
			continue;
		sys_format(why, len,
			   "site %u: %lu objects, %lu bytes counted; "
			   "%lu objects, %lu bytes found",
			   i, objects, bytes, live[i].objects, live[i].bytes);
		return -EUCLEAN;
	}
	return 0;
}

int trace_verify(char *why, size_t len)
{
	size_t bytes = sizeof(struct live) << TAG_SITE_BITS;
	struct live *live;
	int ret;

	if (!trace_up || !segment_self()->header)
		return 0;
	live = sys_reserve(bytes);
	if (!live)
		return -ENOMEM;
	ret = mm_verify(why, len, add_live, live);
	if (!ret)
		ret = compare(live, why, len);
	sys_munmap(live, bytes);
	return ret;
}
