/* SPDX-License-Identifier: MIT */
/*
 * site.h - call sites and their counters.
 *
 * Layer:  trace; above depot.  Locks: SYS_RANK_SITE to count, one record at a time;
 * the depot's to make a site.
 *
 * What a site is (its stack) is private memory and survives fork; its counters are
 * the segment's record.  In a forked child they start from the live tags.
 */
#ifndef BS_TRACE_SITE_H
#define BS_TRACE_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/mm/mm.h"
#include "preload/segment.h"
#include "preload/sys/clock.h"
#include "shared/abi.h"

/*
 * A site in private memory.  published[i] says that this process's own file has the
 * record of site i; NULL in a forked child without a segment.
 */
struct site {
	uint32_t node;
	/* the first of its shards, 0: none; of a shard: what it counts for */
	uint32_t shards;
	uint32_t first_tick;
	uint16_t contended; /* times that the lock was taken */
	uint8_t is_shard;
	uint8_t kinds;
};
/* Shards are every other record: then no line of the cache has two of them. */
#define SITE_SHARD_STEP 2U
static_assert(SITE_SHARD_STEP * sizeof(struct bs_abi_site) % 64 == 0,
	      "three lines");

/* What a site takes at most, in private memory and in the segment. */
#define SITE_BYTES                                                             \
	(sizeof(struct site) + 1 + sizeof(struct bs_abi_site) +                \
	 sizeof(struct bs_abi_ages) + sizeof(struct bs_abi_estimate))
extern __attribute__((visibility("hidden"))) struct site_table {
	struct site *sites;
	uint8_t *published;
	uint64_t created_ns; /* the first ancestor's start */
	uint32_t shard_mask; /* their number - 1 */
	/* the tick when sys_clock_peek() said tick_at, or a later one */
	uint64_t tick_at, tick;
} site_table;

int site_init(uint32_t nr_sites);

/* The site of a depot node, made when missing; 0: no room. */
uint32_t site_of_node(uint32_t node);

uint32_t site_node(uint32_t site);
uint32_t site_nr(void);

/* The tick at some CLOCK_MONOTONIC. */
static inline uint64_t site_tick(uint64_t now_ns)
{
	uint64_t created_ns = site_table.created_ns;

	return now_ns > created_ns ? (now_ns - created_ns) >> BS_TICK_SHIFT : 0;
}

/*
 * Coarse time since the first ancestor's start, in ticks of 2^BS_TICK_SHIFT ns.
 * Tells mm_decay_clock() when it has moved.
 */
uint64_t site_now_slow(void);
static inline __attribute__((always_inline)) uint64_t site_now(void)
{
	if (likely(sys_clock_peek() ==
		   __atomic_load_n(&site_table.tick_at, __ATOMIC_ACQUIRE)))
		return __atomic_load_n(&site_table.tick, __ATOMIC_RELAXED);
	return site_now_slow();
}

/* When a tick began: CLOCK_MONOTONIC. */
static inline uint64_t site_tick_ns(uint64_t tick)
{
	return site_table.created_ns + (tick << BS_TICK_SHIFT);
}

#define SITE_MAX_WINDOW ((1U << 28) - 1)

/* The birth window of a tick. */
static inline uint32_t site_window(uint64_t tick)
{
	segment_u128 w =
		(segment_u128)tick * segment_self()->windows_per_tick >>
		SEGMENT_WINDOW_SHIFT;

	return w < SITE_MAX_WINDOW ? (uint32_t)w : SITE_MAX_WINDOW;
}

/* The whole tick of a birth that is not later than now; good for 13 days. */
static inline uint64_t site_birth_tick(uint64_t now, uint32_t birth)
{
	uint64_t age = (now - birth) & ((1U << TAG_BIRTH_BITS) - 1);

	return now > age ? now - age : 0;
}

/* BS_SITE_* of a site; others may set one meanwhile. */
static inline uint32_t site_kinds(uint32_t site)
{
	return __atomic_load_n(&site_table.sites[site].kinds, __ATOMIC_RELAXED);
}
/* Sets one. */
void site_mark(uint32_t site, uint32_t kind);

/* What count.h leaves to site.c. */
void site_count_alloc_slow(uint32_t site, uint64_t now, uint64_t bytes,
			   uint32_t kind);
void site_count_free_slow(uint32_t site, uint64_t now, uint32_t birth,
			  int64_t bytes, int nr);
struct bs_abi_site *site_shard_slow(uint32_t shard, struct bs_abi_site *s);
struct bs_abi_site *site_lock_contended(uint32_t site, struct bs_abi_site *s);

/*
 * One object of so many bytes, recorded as a sample of a rate (sampling.h), began or,
 * with begins false, ended.  born, now: ticks.
 */
void site_count_sample(uint32_t site, uint32_t rate, uint64_t bytes,
		       uint64_t now, uint64_t born, bool begins, uint32_t kind);
/* Samples that live. */
uint64_t site_live_samples(uint32_t i);

/* The segment is a new one: nothing is in it.  0 or -ENOMEM. */
int site_new_segment(void);
/* The record, NULL: not in this process's segment, so nothing was counted. */
const struct bs_abi_site *site_record(uint32_t site);
/* Live objects and bytes with all shards; false: i is a shard itself. */
bool site_live(uint32_t i, uint64_t *objects, uint64_t *bytes);
/* Brings record 0 over. */
void site_publish_unknown(void);
/* A live tag found by a walk that holds all locks; nobody counts meanwhile. */
void site_recount(uint32_t site, uint32_t birth, uint64_t bytes);

/* In a forked child: nobody is making a site any more. */
void site_fork_child(void);

/* Tests only: forget everything. */
void site_destroy(void);

#endif
