/* SPDX-License-Identifier: MIT */
/*
 * trace.c - from a new block to its call site.
 *
 * Owns:   the table of known stacks, tags, the check against the heap.
 * Layer:  trace; the only part that preload/ and segment.c call.
 * Locks:  none of its own; see depot.c and site.c.
 *
 * The way of an allocation: registers of the call -> memo (memo.c) -> site.  On a
 * miss: walk -> return addresses -> hash -> known stacks, whose answer is compared
 * with the depot's chain, address by address.  Where that misses too, the module
 * table is brought up to date and the stack looked up, or added, with the
 * generation of each address's module.
 */
#include "preload/trace/trace.h"

#include <errno.h>
#include <string.h>

#include "preload/internal.h"
#include "preload/segment.h"
#include "preload/sys/sys.h"
#include "preload/trace/depot.h"
#include "preload/trace/memo.h"
#include "preload/trace/site.h"
#include "preload/trace/unwind.h"

#define SLACK_MAX ((1U << TAG_SLACK_BITS) - 1)

/* ---- stacks by their return addresses ----------------------------------------------- */

#define KNOWN_SET_BITS 13
#define KNOWN_WAYS     4U

/* Upper half: of the hash; lower half: site, 0 = free. */
static uint64_t (*known)[KNOWN_WAYS];

/* The epoch makes entries from before a dlclose unreachable. */
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

static uint64_t *known_set(uint64_t hash)
{
	return known[hash >> 8 & ((1U << KNOWN_SET_BITS) - 1)];
}

/* 0: not there. */
static uint32_t known_find(uint64_t hash, const uintptr_t *pcs, size_t nr)
{
	uint64_t *set = known_set(hash);
	unsigned int i;

	for (i = 0; i < KNOWN_WAYS; i++) {
		uint64_t word = __atomic_load_n(&set[i], __ATOMIC_ACQUIRE);
		uint32_t site = (uint32_t)word;

		if ((word ^ hash) >> 32 == 0 && site &&
		    depot_matches(site_node(site), pcs, nr))
			return site;
	}
	return 0;
}

static void known_store(uint64_t hash, uint32_t site)
{
	uint64_t *set = known_set(hash);
	unsigned int i, way = hash & (KNOWN_WAYS - 1);

	for (i = 0; i < KNOWN_WAYS; i++)
		if (!(uint32_t)__atomic_load_n(&set[i], __ATOMIC_RELAXED))
			way = i;
	__atomic_store_n(&set[way], (hash & ~(uint64_t)UINT32_MAX) | site,
			 __ATOMIC_RELEASE);
}

/* ---- the running stack --------------------------------------------------------------- */

/*
 * sure: the module table is up to date.  Else an address of no module may be one
 * of a module just loaded: that must not be kept.
 */
static uint32_t add_site(const uintptr_t *pcs, size_t nr, uint64_t hash,
			 bool sure)
{
	uint32_t generation[TRACE_MAX_FRAMES], node, site;
	bool unknown = false;
	size_t i;

	for (i = 0; i < nr; i++) {
		generation[i] = segment_generation(pcs[i] - 1);
		unknown = unknown || !generation[i];
	}
	node = depot_add(pcs, generation, nr);
	site = node == DEPOT_NONE ? 0 : site_of_node(node);
	if (site && (sure || !unknown))
		known_store(hash, site);
	return site;
}

/* refresh: the module table may be brought up to date. */
static uint32_t site_of_stack(const uintptr_t *pcs, size_t nr, bool refresh)
{
	uint64_t hash = trace_hash_stack(pcs, nr);
	uint32_t site = known_find(hash, pcs, nr);

	if (likely(site))
		return site;
	if (refresh) {
		segment_modules_check(pcs, nr);
		hash = trace_hash_stack(pcs, nr);
	}
	site = add_site(pcs, nr, hash, refresh);
	if (site || nr <= DEPOT_SHORT)
		return site;
	/* the depot is full: at least who called */
	mm_count(BS_VMSTAT_SITES_DROPPED, 1);
	hash = trace_hash_stack(pcs, DEPOT_SHORT);
	site = known_find(hash, pcs, DEPOT_SHORT);
	return site ? site : add_site(pcs, DEPOT_SHORT, hash, refresh);
}

/* The slow way: walk, find or make the site, remember it. */
static __attribute__((noinline)) uint32_t
site_by_walk(const struct unwind_regs *regs)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	struct memo_walk walk;
	enum unwind_end end;
	uint32_t site;
	size_t nr;
	bool odd;

	nr = memo_walk(regs, &walk, pcs, &end);
	odd = end == UNWIND_ODD;
	mm_count(BS_VMSTAT_UNWINDS, 1);
	if (unlikely(odd))
		nr = unwind_odd(pcs, nr, TRACE_MAX_FRAMES, &end);
	if (unlikely(nr == 0)) {
		mm_count(BS_VMSTAT_UNWIND_FAILED, 1);
		return 0;
	}
	site = site_of_stack(pcs, nr, true);
	if (unlikely(end == UNWIND_ODD))
		site_mark(site, BS_SITE_LIBC);
	else if (site && !odd)
		memo_learn(&walk, site);
	return site;
}

static inline uint32_t running_site(const struct unwind_regs *regs)
{
	uint32_t site;

	if (unlikely(bs_tls.no_trace) || unlikely(!known))
		return 0;
	site = memo_find(regs);
	return likely(site) ? site : site_by_walk(regs);
}

uint32_t trace_current_site(void)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	enum unwind_end end;
	size_t nr;

	if (bs_tls.no_trace || !known)
		return 0;
	nr = unwind_stack_quick(pcs, TRACE_MAX_FRAMES, &end);
	return nr ? site_of_stack(pcs, nr, false) : 0;
}

/* ---- tags -------------------------------------------------------------------------------- */

/*
 * A memalign far beyond the size has more slack than a tag holds; it then counts
 * as that much larger, when it begins and when it ends.
 */
static uint32_t slack_of(size_t usable, size_t requested)
{
	size_t slack = usable > requested ? usable - requested : 0;

	return slack < SLACK_MAX ? (uint32_t)slack : SLACK_MAX;
}

static uint64_t begin(uint32_t site, uint32_t kind, size_t usable,
		      uint32_t slack)
{
	uint64_t now = site_now();

	site_count_alloc(site, now, usable - slack, kind);
	return tag_make(site, slack, (uint32_t)now);
}

static inline bool is_ready(void)
{
	return likely(
		__atomic_load_n(&segment_self()->ready, __ATOMIC_ACQUIRE));
}

static void attribute(struct mm_block *b, uint32_t site, uint32_t slack)
{
	uint64_t tag = begin(site, BS_SITE_OBJECT, b->usable, slack);

	__atomic_store_n(b->tag, tag, __ATOMIC_RELAXED);
}

/* In a forked child that has no segment yet. */
static __attribute__((noinline)) void
attribute_young(struct mm_block *b, uint32_t site, uint32_t slack)
{
	bool young = segment_child_lock();

	if (young)
		segment_child_grew();
	attribute(b, site, slack);
	if (young)
		segment_child_unlock();
}

void trace_alloc(struct mm_block *b, size_t requested,
		 const struct unwind_regs *regs)
{
	uint32_t site, slack = slack_of(b->usable, requested);

	if (!b->tag)
		return;
	site = running_site(regs);
	if (is_ready())
		attribute(b, site, slack);
	else
		attribute_young(b, site, slack);
}

void trace_atomic_alloc(struct mm_block *b, size_t requested)
{
	uint64_t tag;

	if (!b->tag || !known)
		return;
	tag = begin(0, BS_SITE_OBJECT, b->usable,
		    slack_of(b->usable, requested));
	__atomic_store_n(b->tag, tag, __ATOMIC_RELAXED);
}

/* The living bit goes; of two threads that free the same object one is told. */
static inline uint64_t end_tag(uint64_t *tag)
{
	uint64_t was;

	if (!sys_alone())
		return __atomic_fetch_and(tag, ~TAG_LIVE, __ATOMIC_ACQ_REL);
	was = *tag;
	*tag = was & ~TAG_LIVE;
	return was;
}

static inline bool take_tag(struct mm_block *b)
{
	uint64_t tag = end_tag(b->tag);

	if (unlikely(!tag_is_live(tag)))
		return false;
	site_count_free(tag_site(tag), site_now(), tag_birth(tag),
			(int64_t)(b->usable - tag_slack(tag)), 1);
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

bool trace_free(struct mm_block *b)
{
	if (!b->tag)
		return true;
	return is_ready() ? take_tag(b) : take_young_tag(b);
}

uint64_t trace_map_tag(size_t bytes, const struct unwind_regs *regs)
{
	uint32_t site = running_site(regs);
	uint64_t tag;
	bool young;

	if (is_ready())
		return begin(site, BS_SITE_MMAP, bytes, 0);
	young = segment_child_lock();
	if (young)
		segment_child_grew();
	tag = begin(site, BS_SITE_MMAP, bytes, 0);
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

void trace_init(void)
{
	if (unwind_init() || memo_init() || depot_init(SEGMENT_NR_NODES) ||
	    site_init(SEGMENT_NR_SITES)) {
		sys_say("no memory for call sites: trace=off");
		return;
	}
	known = sys_reserve(sizeof(*known) << KNOWN_SET_BITS);
	depot_publish_chain(0, true);
	site_publish_unknown();
}

void trace_destroy(void)
{
	if (known)
		sys_munmap(known, sizeof(*known) << KNOWN_SET_BITS);
	known = NULL;
	memo_destroy();
	depot_destroy();
	site_destroy();
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
	unwind_fork_child();
}

/* ---- against the heap ---------------------------------------------------------------------- */

static void count_live(void *arg, uint64_t tag, uint64_t requested_bytes)
{
	(void)arg;
	site_recount(tag_site(tag), tag_birth(tag), requested_bytes);
}

void trace_republish(void)
{
	if (!known)
		return;
	if (depot_new_segment() || site_new_segment())
		return; /* nothing is counted */
	depot_publish_chain(0, true);
	site_publish_unknown();
	mm_for_each_tag(count_live, NULL);
}

struct live {
	uint64_t objects, bytes;
};

static void add_live(void *arg, uint64_t tag, uint64_t requested_bytes)
{
	struct live *live = arg;

	live[tag_site(tag)].objects++;
	live[tag_site(tag)].bytes += requested_bytes;
}

static int compare(const struct live *live, char *why, size_t len)
{
	uint32_t i;

	for (i = 0; i < site_nr(); i++) {
		const struct bs_abi_site *s = site_record(i);
		uint64_t objects = s ? s->allocs - s->frees : 0;
		uint64_t bytes = s ? s->bytes_allocated - s->bytes_freed : 0;

		if (objects == live[i].objects && bytes == live[i].bytes)
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

	if (!known || !segment_self()->header)
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
