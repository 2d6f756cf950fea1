/* SPDX-License-Identifier: MIT */
/*
 * decay.c - what nobody uses goes back to the system in time, without a thread,
 * a timer or a signal.
 *
 * Owns:   mm.decay_next_ns (the next round; NEVER: nothing waits), MM_WORK_DECAY (look
 *         at the clock on the way out).
 * Layer:  mm, above slab, page_alloc and vmalloc.
 * Locks:  none of its own; a round takes those of what it looks at.
 *
 * A round comes at half the decay time while free pages, free objects or kept areas
 * wait.  It empties caches that did not touch their slabs since the last round, and
 * reports the free pages of a zone: all of them, if it was not asked for any since
 * the last round, else those that are old enough.
 *
 * Who looks at the clock?  Every call that does not end in a section, on its way
 * out, while something waits.  Small calls end in sections, but the first one after
 * the thread had to leave its processor does not (sys_rseq_is_warm()): a program
 * that makes few calls sleeps between them.  One that does nothing but small calls,
 * never waits for anything, and is alone on its processor keeps what it has.
 *
 * With a tracer that reads the clock for each call anyway, nobody else does: it tells
 * mm_decay_clock(), which asks for a look when a round is due (mm_decay_by_caller()).
 */
#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"

/* Rounds are not closer than a tick. */
#define ROUND_MIN_NS 4000000ULL
/* So many dirty pages are not worth a round: 256 KiB. */
#define LEAVE_PAGES 64UL
/* ... and so many no round at the end: 1 MiB. */
#define EXIT_PAGES 256UL

static uint64_t round_ns(void)
{
	return MAX(mm.config.decay_ns / 2, ROUND_MIN_NS);
}

static void look_at_clock(bool yes)
{
	if (yes)
		mm_work_later(MM_WORK_DECAY);
	else
		__atomic_fetch_and(&mm.atomic.work, ~MM_WORK_DECAY,
				   __ATOMIC_RELAXED);
}

static bool something_waits(void)
{
	return __atomic_load_n(&mm.decay_next_ns, __ATOMIC_RELAXED) !=
	       MM_DECAY_NEVER;
}

void mm_decay_wait(uint64_t now_ns)
{
	if (something_waits())
		return;
	__atomic_store_n(&mm.decay_next_ns, now_ns + round_ns(),
			 __ATOMIC_RELAXED);
	if (!__atomic_load_n(&mm.decay_by_caller, __ATOMIC_RELAXED))
		look_at_clock(true);
}

void mm_decay_due(void)
{
	look_at_clock(true);
}

void mm_decay_by_caller(bool yes)
{
	__atomic_store_n(&mm.decay_by_caller, yes, __ATOMIC_RELAXED);
	if (something_waits())
		look_at_clock(!yes);
}

/* True: pages wait in the zone. */
static bool round_of_zone(struct zone *zone, uint64_t now_ns)
{
	bool idle, left;

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	idle = zone->stat.nr_alloc == zone->decay_nr_alloc;
	zone_report(zone, now_ns, idle ? 0 : mm.config.decay_ns);
	zone->decay_nr_alloc = zone->stat.nr_alloc;
	left = zone->dirty_free_pages > LEAVE_PAGES;
	zone_publish(zone);
	sys_unlock(&zone->lock, SYS_RANK_ZONE);
	return left;
}

static void do_round(uint64_t now_ns)
{
	bool left = vmalloc_purge(mm.config.decay_ns);
	unsigned int i;

	if (cache_reap_idle())
		left = true;
	for (i = 0; i < mm.nr_zones; i++)
		if (round_of_zone(&mm.zone[i], now_ns))
			left = true;
	if (!left)
		__atomic_store_n(&mm.decay_next_ns, MM_DECAY_NEVER,
				 __ATOMIC_RELAXED);
	if (!left || __atomic_load_n(&mm.decay_by_caller, __ATOMIC_RELAXED))
		look_at_clock(false);
}

void mm_decay_poll(uint64_t now_ns)
{
	uint64_t next = __atomic_load_n(&mm.decay_next_ns, __ATOMIC_RELAXED);

	/* One thread has the round. */
	if (now_ns >= next &&
	    __atomic_compare_exchange_n(&mm.decay_next_ns, &next,
					now_ns + round_ns(), false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		do_round(now_ns);
}

void mm_decay_exit(void)
{
	unsigned int i;

	if (!something_waits())
		return;
	vmalloc_purge(0);
	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];

		sys_lock(&zone->lock, SYS_RANK_ZONE);
		if (zone->dirty_free_pages >= EXIT_PAGES)
			zone_report(zone, sys_now_coarse_ns(), 0);
		zone_publish(zone);
		sys_unlock(&zone->lock, SYS_RANK_ZONE);
	}
}
