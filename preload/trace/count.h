/* SPDX-License-Identifier: MIT */
/*
 * count.h - what an allocation and a free add to their site, inlined into trace.c.
 *
 * Layer:  trace; above site.c, which has the tables and the rare ways.
 * Locks:  SYS_RANK_SITE, the record's own, one at a time; none in a process with one
 *         thread, where nobody else counts.
 *
 * Counters that two threads fight for: a thread that finds a record locked waits, and
 * after a few such times the site gets shards, records of their own, one for a few
 * CPUs.  Readers add them up (abi.h, shard_of).
 */
#ifndef BS_TRACE_COUNT_H
#define BS_TRACE_COUNT_H

#include "preload/segment.h"
#include "preload/trace/ages.h"
#include "preload/trace/site.h"

#define COUNT_INLINE static inline __attribute__((always_inline))

#define COUNT_STORE(field, value)                                              \
	__atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

/* Is its record the one of that number?  If not, site.c has to look for it. */
COUNT_INLINE bool count_has_record(uint32_t site)
{
	return likely(site - 1 < __atomic_load_n(&segment_self()->nr_whole,
						 __ATOMIC_ACQUIRE));
}

/* That of the shards which this CPU uses; s where there is no memory for it. */
COUNT_INLINE struct bs_abi_site *count_shard(uint32_t shards,
					     struct bs_abi_site *s)
{
	uint32_t shard = shards + (sys_getcpu() & site_table.shard_mask) *
					  SITE_SHARD_STEP;

	return count_has_record(shard) ? &segment_self()->sites[shard]
				       : site_shard_slow(shard, s);
}

/* s or one of its shards, locked; an only thread needs no lock. */
COUNT_INLINE struct bs_abi_site *count_lock(uint32_t site,
					    struct bs_abi_site *s, bool alone)
{
	if (likely(alone))
		return s;
	if (unlikely(__atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE) &
		     BS_SITE_SHARDS))
		s = count_shard(site_table.sites[site].shards, s);
	if (unlikely(!sys_trylock((struct sys_lock *)(void *)&s->lock,
				  SYS_RANK_SITE)))
		return site_lock_contended(site, s);
	return s;
}

COUNT_INLINE void count_unlock(struct bs_abi_site *s, bool alone)
{
	if (!alone)
		sys_spin_unlock((struct sys_lock *)(void *)&s->lock,
				SYS_RANK_SITE);
}

COUNT_INLINE void count_cohort(struct bs_abi_site *s, uint32_t window, int nr)
{
	uint32_t c;

	while (unlikely(window >> s->cohort_shift >= BS_NR_COHORTS))
		ages_merge_cohorts(s);
	c = window >> s->cohort_shift;
	if (unlikely(nr > 0 && !(s->cohort_born >> c & 1)))
		ages_begin_cohort(s, c);
	if (likely(c == s->cohort))
		COUNT_STORE(s->cohort_live, s->cohort_live + (uint32_t)nr);
	else
		ages_count_cohort(s, c, nr);
}

/* The same for objects of the newest cohort: those of the site's last_ns are. */
COUNT_INLINE void count_newest(struct bs_abi_site *s, int nr)
{
	COUNT_STORE(s->cohort_live, s->cohort_live + (uint32_t)nr);
}

/* One object of that many bytes began at a site, whose record s is. */
COUNT_INLINE void count_alloc(uint32_t site, struct bs_abi_site *s,
			      uint64_t now, uint64_t bytes)
{
	uint64_t now_ns = site_tick_ns(now), allocated;
	bool alone = sys_alone();

	s = count_lock(site, s, alone);
	COUNT_STORE(s->allocs, s->allocs + 1);
	allocated = s->bytes_allocated + bytes;
	COUNT_STORE(s->bytes_allocated, allocated);
	if ((int64_t)(allocated - s->bytes_freed) > (int64_t)s->peak_live_bytes)
		COUNT_STORE(s->peak_live_bytes, allocated - s->bytes_freed);
	if (likely(s->last_ns == now_ns)) {
		count_newest(s, 1);
	} else {
		count_cohort(s, site_window(now), 1);
		COUNT_STORE(s->last_ns, MAX(s->last_ns, now_ns));
	}
	count_unlock(s, alone);
}

/* One ended that was born at a tick. */
COUNT_INLINE void count_free(uint32_t site, struct bs_abi_site *s, uint64_t now,
			     uint64_t born, uint64_t bytes)
{
	bool alone = sys_alone();

	s = count_lock(site, s, alone);
	COUNT_STORE(s->frees, s->frees + 1);
	COUNT_STORE(s->bytes_freed, s->bytes_freed + bytes);
	if (likely(s->last_ns == site_tick_ns(born)))
		count_newest(s, -1);
	else
		count_cohort(s, site_window(born), -1);
	if (now != born)
		ages_count_lifetime(s, now - born, 1);
	count_unlock(s, alone);
}

/* One object of that many bytes began.  kind: BS_SITE_*. */
COUNT_INLINE void site_count_alloc(uint32_t site, uint64_t now, uint64_t bytes,
				   uint32_t kind)
{
	struct bs_abi_site *s;

	if (count_has_record(site)) {
		s = &segment_self()->sites[site];
		if (likely(__atomic_load_n(&s->kinds, __ATOMIC_RELAXED) &
			   kind)) {
			count_alloc(site, s, now, bytes);
			return;
		}
	}
	site_count_alloc_slow(site, now, bytes, kind);
}

/*
 * nr objects and so many bytes ended; negative: came into being by a split.
 * birth: the tick when they began, or as many lower bits of it as a tag keeps.
 */
COUNT_INLINE void site_count_free(uint32_t site, uint64_t now, uint32_t birth,
				  int64_t bytes, int nr)
{
	if (count_has_record(site) && likely(nr == 1 && bytes >= 0))
		count_free(site, &segment_self()->sites[site], now,
			   site_birth_tick(now, birth), (uint64_t)bytes);
	else
		site_count_free_slow(site, now, birth, bytes, nr);
}

#endif
