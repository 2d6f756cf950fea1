/* SPDX-License-Identifier: MIT */
/*
 * pcp.c - per-CPU page lists: single pages that were freed last.
 *
 * Owns:   zone.pcp[], pages of kind PK_PCP, their counts.
 * Layer:  mm, above buddy; page_alloc.c and reporting.c are its users.
 * Locks:  every function needs the zone lock.
 * Source: Linux 2.6.29 mm/page_alloc.c: zone_batchsize(), rmqueue_bulk(),
 *         free_hot_cold_page().
 *
 * The kernel keeps these lists to stay away from the zone lock.  Here the
 * per-CPU arrays of the slab caches do that already, and a zone whose numbers
 * add up at each reading needs the lock anyway.  What remains of their use is
 * theirs to show: pages that no buddy can merge with while they lie here, which
 * is a part of how a zone fragments, and batches that spare splits and merges.
 */
#include "preload/mm/pcp.h"

#include <string.h>

#include "preload/mm/bitset.h"
#include "preload/mm/buddy.h"
#include "preload/mm/page_alloc.h"

#define PCP_BATCH_MAX_BYTES (512UL << 10)

static uint64_t rounddown_pow_of_two(uint64_t v)
{
	return 1UL << (63 - __builtin_clzll(v));
}

/* A thousandth of the zone, 512 KiB at most; 2^n - 1 is kind to cache sets. */
static uint64_t zone_batchsize(const struct zone *zone)
{
	uint64_t batch = zone->stat.present_pages / 1024;

	batch = MIN(batch, PCP_BATCH_MAX_BYTES / PAGE_SIZE) / 4;
	batch = MAX(batch, 1UL);
	return rounddown_pow_of_two(batch + batch / 2) - 1;
}

void pcp_set_marks(struct zone *zone)
{
	uint64_t batch = zone_batchsize(zone);

	static_assert((PCP_BATCH_MAX_BYTES / PAGE_SIZE / 4 - 1) * 6 <= PCP_MAX,
		      "a list holds what its high mark allows");
	zone->stat.pcp_high = (uint32_t)(6 * batch);
	zone->stat.pcp_batch = (uint32_t)MAX(1UL, batch);
}

static unsigned int this_slot(void)
{
	unsigned int slot = sys_getcpu();

	return likely(slot < mm.nr_slots) ? slot : slot % mm.nr_slots;
}

static void count_pages(struct zone *zone, unsigned int slot, int n)
{
	zone->stat.pcp_count[slot] = (uint16_t)(zone->stat.pcp_count[slot] + n);
	zone->stat.used_pages[BS_USE_PCP] += (uint64_t)n;
}

/* ---- back to the buddy ------------------------------------------------------ */

/* The nr oldest pages of a list. */
static void drain_list(struct zone *zone, unsigned int slot, unsigned int type,
		       unsigned int nr)
{
	struct per_cpu_pages *pcp = &zone->pcp[slot];
	uint32_t *list = pcp->pfn[type];
	unsigned int i;

	count_pages(zone, slot, -(int)nr);
	for (i = 0; i < nr; i++) {
		struct page *page = pfn_to_page(list[i]);
		bool zero = page->flags & PG_ZERO;
		uint64_t freed_ns = page->freed_ns;

		set_page_kind(page, PK_TAIL);
		pagemap_publish(list[i], 1, BS_PAGEMAP_FREE);
		buddy_free(zone, list[i], 0, zero, freed_ns);
	}
	pcp->count[type] = (uint16_t)(pcp->count[type] - nr);
	memmove(list, list + nr, pcp->count[type] * sizeof(*list));
}

/* nr pages of a slot, from its longest lists. */
static void drain_slot(struct zone *zone, unsigned int slot, unsigned int nr)
{
	struct per_cpu_pages *pcp = &zone->pcp[slot];

	zone->stat.pcp_drains++;
	while (nr) {
		unsigned int t, longest = 0, n;

		for (t = 1; t < MM_NR_TYPES; t++)
			if (pcp->count[t] > pcp->count[longest])
				longest = t;
		n = MIN(nr, (unsigned int)pcp->count[longest]);
		if (!n)
			break;
		drain_list(zone, slot, longest, n);
		nr -= n;
	}
}

void pcp_drain(struct zone *zone)
{
	unsigned int slot;

	for (slot = 0; slot < mm.nr_slots; slot++)
		if (zone->stat.pcp_count[slot])
			drain_slot(zone, slot, zone->stat.pcp_count[slot]);
}

/* ---- take and put ------------------------------------------------------------- */

static void push(struct zone *zone, unsigned int slot, unsigned int type,
		 uint64_t pfn)
{
	struct per_cpu_pages *pcp = &zone->pcp[slot];
	struct page *page = pfn_to_page(pfn);

	page->order = 0;
	page->migratetype = (uint8_t)type;
	set_page_kind(page, PK_PCP);
	pcp->pfn[type][pcp->count[type]++] = (uint32_t)pfn;
	count_pages(zone, slot, 1);
	pagemap_publish(pfn, 1, BS_PAGEMAP_USE + BS_USE_PCP);
}

/* A batch, so that the lowest page is taken first. */
static void refill(struct zone *zone, unsigned int slot, unsigned int type)
{
	uint64_t pfn[PCP_MAX];
	unsigned int nr = 0;

	while (nr < zone->stat.pcp_batch) {
		pfn[nr] = buddy_take(zone, 0, type);
		if (pfn[nr] == BITSET_NONE)
			break;
		nr++;
	}
	zone->stat.pcp_refills++;
	while (nr)
		push(zone, slot, type, pfn[--nr]);
}

uint64_t pcp_take(struct zone *zone, unsigned int type)
{
	unsigned int slot = this_slot();
	struct per_cpu_pages *pcp = &zone->pcp[slot];
	uint64_t pfn;

	if (!zone->stat.pcp_high)
		return buddy_take(zone, 0, type);
	if (!pcp->count[type])
		refill(zone, slot, type);
	if (!pcp->count[type])
		return BITSET_NONE;
	pfn = pcp->pfn[type][--pcp->count[type]];
	count_pages(zone, slot, -1);
	set_page_kind(pfn_to_page(pfn), PK_TAIL);
	return pfn;
}

bool pcp_put(struct zone *zone, uint64_t pfn, bool zero, uint64_t now_ns)
{
	unsigned int slot = this_slot();
	struct page *page = pfn_to_page(pfn);

	if (!zone->stat.pcp_high)
		return false;
	page->flags = zero ? PG_ZERO : 0;
	page->freed_ns = now_ns;
	if (zone->stat.pcp_count[slot] >= zone->stat.pcp_high)
		drain_slot(zone, slot, zone->stat.pcp_batch);
	push(zone, slot, page_block_type(zone, pfn), pfn);
	return true;
}
