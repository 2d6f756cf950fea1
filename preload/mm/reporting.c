/* SPDX-License-Identifier: MIT */
/*
 * reporting.c - free page reporting: free memory goes back to the system.
 *
 * Owns:   when, and which blocks; which sections of an elastic zone go.
 * Layer:  mm, above buddy and pcp.
 * Locks:  every function needs the zone lock.
 * Source: Linux mm/page_reporting.c (the name and the idea).
 */
#include <sys/mman.h>

#include "preload/mm/bitset.h"
#include "preload/mm/buddy.h"
#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/pcp.h"

/* Per-CPU lists go back now and then, as the kernel does with idle ones. */
#define DRAIN_NS 3000000000ULL
/* Smallest free block that is given back by decay: 64 KiB. */
#define REPORT_MIN_ORDER 4
/* Dirty free memory beyond this waits for an eighth of the decay time only. */
#define REPORT_NOW_PAGES ((8UL << 20) >> PAGE_SHIFT)
/* So much that comes free at once goes back at once: 12 MiB; faults for less cost more. */
#define DROP_PAGES ((12UL << 20) >> PAGE_SHIFT)

/*
 * Of a whole section's records only the head says anything; the others may be
 * zero.  The first page of them stays.
 */
static void report_records(uint64_t pfn)
{
	uint64_t skip = PAGE_SIZE / sizeof(struct page);

	static_assert(SECTION_PAGES % (PAGE_SIZE / sizeof(struct page)) == 0,
		      "a section's records are whole pages");
	sys_madvise((char *)pfn_to_page(pfn + skip),
		    (SECTION_PAGES - skip) * sizeof(struct page),
		    MADV_DONTNEED);
}

/*
 * Reported blocks are zero only after the kernel said so: on locked memory
 * MADV_DONTNEED fails and the content stays.
 */
static bool report_block(struct zone *zone, uint64_t pfn, unsigned int order)
{
	struct page *page = pfn_to_page(pfn);

	mm_count(BS_VMSTAT_REAL_MADVISE_CALLS, 1);
	section_never_huge(pfn >> SECTION_ORDER);
	if (section_mapped(pfn >> SECTION_ORDER) &&
	    sys_madvise(pfn_to_virt(pfn), PAGE_SIZE << order, MADV_DONTNEED))
		return false;
	if (order == SECTION_ORDER)
		report_records(pfn);
	page->flags |= PG_ZERO;
	zone->dirty_free_pages -= 1UL << order;
	zone->stat.reported_pages += 1UL << order;
	return true;
}

/* Blocks of that order and more that are free for age_ns. */
static uint64_t report_blocks(struct zone *zone, uint64_t now_ns,
			      uint64_t age_ns, int min_order)
{
	uint64_t done = 0, i;
	unsigned int t;
	int o;

	zone->last_report_ns = now_ns;
	for (o = MAX_ORDER - 1; o >= min_order; o--) {
		for (t = 0; t < MM_NR_TYPES; t++) {
			const struct bitset *list =
				buddy_list(zone, (unsigned int)o, t);

			if (!zone->dirty_free_pages)
				goto out;
			for (i = bitset_first(list); i != BITSET_NONE;
			     i = bitset_next(list, i + 1)) {
				uint64_t pfn = zone->start_pfn + (i << o);
				const struct page *page = pfn_to_page(pfn);

				if (section_state(pfn >> SECTION_ORDER) &
				    SECT_FRESH)
					continue;
				if ((page->flags & PG_ZERO) ||
				    page->freed_ns + age_ns > now_ns)
					continue;
				if (report_block(zone, pfn, (unsigned int)o))
					done += 1UL << o;
			}
		}
	}
out:
	if (zone->elastic)
		zone_shrink(zone, false);
	return done;
}

uint64_t zone_report(struct zone *zone, uint64_t now_ns, uint64_t decay_ns)
{
	if (!decay_ns || now_ns - zone->last_drain_ns > DRAIN_NS) {
		zone->last_drain_ns = now_ns;
		pcp_drain(zone);
	}
	return report_blocks(zone, now_ns, decay_ns,
			     decay_ns ? REPORT_MIN_ORDER : 0);
}

/*
 * Hot-remove from the top: sections beyond the initial size that are one free,
 * known-zero block, as long as an eighth of the zone stays free.
 */
void zone_shrink(struct zone *zone, bool all)
{
	struct bs_abi_zone *stat = &zone->stat;
	unsigned int t;

	for (t = 0; t < MM_NR_TYPES; t++) {
		struct bitset *list = buddy_list(zone, MAX_ORDER - 1, t);

		while (stat->managed_pages >=
		       zone->initial_pages + SECTION_PAGES) {
			uint64_t nr = bitset_last(list), pfn;
			uint64_t keep = all ? 0 : stat->managed_pages / 8;

			if (nr == BITSET_NONE ||
			    stat->free_pages < SECTION_PAGES + keep +
						       stat->wmark_high_pages)
				break;
			pfn = zone->start_pfn + nr * SECTION_PAGES;
			section_settle(pfn >> SECTION_ORDER);
			if (!(pfn_to_page(pfn)->flags & PG_ZERO))
				break;
			buddy_del(zone, pfn);
			zone_hot_remove(zone, pfn);
		}
	}
}

/*
 * Has so much of what was used come free as never before?  A drop from what was the most
 * ever, and on from there.  What falls from a level that is not an eighth above the last
 * such one may be a program that takes as much again and again.
 */
static bool drops(struct zone *zone, uint64_t freed_pages)
{
	uint64_t used = zone->stat.managed_pages - zone->stat.free_pages;
	uint64_t before = used + freed_pages;

	if (before > zone->drop_from && before >= zone->rearm_pages)
		zone->drop_from = before;
	if (zone->dirty_free_pages < DROP_PAGES ||
	    used + DROP_PAGES > zone->drop_from)
		return false;
	zone->rearm_pages =
		MAX(zone->rearm_pages, zone->drop_from + zone->drop_from / 8);
	zone->drop_from = used;
	return true;
}

/* A scan of the free lists pays only now and then, however much is freed. */
void zone_report_if_due(struct zone *zone, uint64_t freed_pages,
			uint64_t now_ns)
{
	uint64_t decay_ns = mm.config.decay_ns;
	uint64_t since_ns = now_ns - zone->last_report_ns;

	if (unlikely(drops(zone, freed_pages)))
		report_blocks(zone, now_ns, 0, REPORT_MIN_ORDER);
	else if (since_ns > decay_ns / 4)
		zone_report(zone, now_ns, decay_ns);
	else if (zone->dirty_free_pages > REPORT_NOW_PAGES &&
		 since_ns > decay_ns / 16)
		zone_report(zone, now_ns, decay_ns / 8);
}
