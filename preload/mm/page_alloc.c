/* SPDX-License-Identifier: MIT */
/*
 * page_alloc.c - the page allocator: zonelists, watermarks, accounting.
 *
 * Owns:   zone counters, struct page of a block while it changes hands.
 * Layer:  mm, above buddy.c (free blocks), pcp.c (per-CPU lists) and memblock.c
 *         (sections).
 * Locks:  the zone lock.
 * Source: Linux 2.6.29 mm/page_alloc.c (behaviour).
 */
#include "preload/mm/page_alloc.h"

#include <errno.h>
#include <string.h>

#include "preload/mm/bitset.h"
#include "preload/mm/buddy.h"
#include "preload/mm/memblock.h"
#include "preload/mm/pcp.h"

/* ---- watermarks ------------------------------------------------------------ */

/*
 * The check of 2.6.29: enough pages above the mark now, and at each lower order
 * enough of them in blocks that are larger.
 */
bool zone_watermark_ok(const struct zone *zone, unsigned int order,
		       uint64_t mark, unsigned int class_nr, gfp_t gfp)
{
	const struct bs_abi_zone *stat = &zone->stat;
	int64_t min = (int64_t)mark;
	int64_t free = (int64_t)stat->free_pages - (1L << order) + 1;
	unsigned int o, t;

	if (gfp & GFP_HIGH)
		min -= min / 2;
	if (gfp & GFP_ATOMIC & ~GFP_HIGH)
		min -= min / 4;
	if (free <= min + (int64_t)stat->protection_pages[class_nr])
		return false;
	for (o = 0; o < order; o++) {
		for (t = 0; t < MM_NR_TYPES; t++)
			free -= (int64_t)stat->nr_free[t][o] << o;
		min >>= 1;
		if (free <= min)
			return false;
	}
	return true;
}

/* ---- publishing -------------------------------------------------------------- */

void zone_publish(struct zone *zone)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_zone *stat = &zone->stat;
	struct bs_abi_zone *out;

	stat->min_free_pages = MIN(stat->min_free_pages, stat->free_pages);
	stat->peak_used_pages = MAX(stat->peak_used_pages,
				    stat->managed_pages - stat->free_pages);
	if (!pub->zones)
		return;
	out = &pub->zones[zone->nr];
	sys_seq_begin(&out->seq);
	memcpy((char *)out + sizeof(out->seq), (char *)stat + sizeof(out->seq),
	       offsetof(struct bs_abi_zone, pcp_count) - sizeof(out->seq) +
		       mm.nr_slots * sizeof(out->pcp_count[0]));
	sys_seq_end(&out->seq);
}

void pagemap_publish(uint64_t pfn, uint64_t nr_pages, uint8_t value)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_section *sec;
	uint64_t end = pfn + nr_pages;

	if (!pub->pagemap)
		return;
	sec = &pub->header->section[BS_SEC_PAGEMAP];
	if (end > sec->capacity || !pub->claim(pub->pagemap + pfn, nr_pages))
		return;
	memset(pub->pagemap + pfn, value, nr_pages);
	sys_raise(sec->count, end); /* the zones' locks are different ones */
}

static void zone_unlock(struct zone *zone)
{
	zone_publish(zone);
	sys_unlock(&zone->lock, SYS_RANK_ZONE);
}

/* ---- allocation ---------------------------------------------------------------- */

static unsigned int gfp_type(gfp_t gfp)
{
	if (gfp & __GFP_RECLAIMABLE)
		return BS_MIGRATE_RECLAIMABLE;
	return gfp & __GFP_MOVABLE ? BS_MIGRATE_MOVABLE : BS_MIGRATE_UNMOVABLE;
}

unsigned int gfp_zone(gfp_t gfp)
{
	unsigned int nr = (gfp & __GFP_ZONE_MASK) / __GFP_ZONE(0);

	if (gfp & GFP_DMA)
		return 0;
	return nr && nr <= mm.nr_zones ? nr - 1 : mm.nr_zones - 1;
}

/* One zone, lock held; BITSET_NONE when the mark forbids or nothing fits. */
static uint64_t zone_take(struct zone *zone, unsigned int order, uint64_t mark,
			  unsigned int class_nr, gfp_t gfp)
{
	if (!zone_watermark_ok(zone, order, mark, class_nr, gfp))
		return BITSET_NONE;
	return order ? buddy_take(zone, order, gfp_type(gfp))
		     : pcp_take(zone, gfp_type(gfp));
}

static void account_alloc(struct zone *zone, uint64_t pfn, unsigned int order,
			  enum bs_use use)
{
	struct page *page = pfn_to_page(pfn);

	page->order = (uint8_t)order;
	page->nr_pages = 1U << order;
	page->use = (uint32_t)use;
	set_page_kind(page, use == BS_USE_TABLE ? PK_TABLE : PK_TRANSIT);
	page->tag = 0;
	page->requested_bytes = 0;
	zone->stat.used_pages[use] += 1UL << order;
	zone->stat.nr_alloc++;
}

/* Try the zones from class_nr down.  mark_low: leave more than the minimum. */
static uint64_t zonelist_take(unsigned int class_nr, unsigned int order,
			      gfp_t gfp, enum bs_use use, bool mark_low)
{
	int nr;

	for (nr = (int)class_nr; nr >= 0; nr--) {
		struct zone *zone = &mm.zone[nr];
		uint64_t pfn, mark = mark_low ? zone->stat.wmark_low_pages
					      : zone->stat.wmark_min_pages;

		sys_lock(&zone->lock, SYS_RANK_ZONE);
		pfn = zone_take(zone, order, mark, class_nr, gfp);
		if (pfn == BITSET_NONE && zone->elastic) {
			while (pfn == BITSET_NONE &&
			       zone_hot_add(zone, BS_MIGRATE_MOVABLE) == 0)
				pfn = zone_take(zone, order, mark, class_nr,
						gfp);
		}
		if (pfn != BITSET_NONE) {
			account_alloc(zone, pfn, order, use);
			if (nr != (int)class_nr)
				zone->stat.nr_fallback++;
			zone_unlock(zone);
			if (nr != (int)class_nr && !(gfp & __GFP_NOWARN))
				mm_event(BS_EVENT_ZONE_FALLBACK, (int)class_nr,
					 order, gfp, 0, PAGE_SIZE << order);
			return pfn;
		}
		zone_unlock(zone);
	}
	return BITSET_NONE;
}

static void drain_all_pages(void)
{
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];

		sys_lock(&zone->lock, SYS_RANK_ZONE);
		pcp_drain(zone);
		zone_unlock(zone);
	}
}

/* The zone that was asked for grows until it can serve. */
static uint64_t grow_and_take(struct zone *zone, unsigned int order, gfp_t gfp,
			      enum bs_use use)
{
	uint64_t pfn = BITSET_NONE;

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	while (pfn == BITSET_NONE && !zone_hot_add(zone, BS_MIGRATE_MOVABLE))
		pfn = zone_take(zone, order, zone->stat.wmark_min_pages,
				zone->nr, gfp);
	if (pfn != BITSET_NONE)
		account_alloc(zone, pfn, order, use);
	zone_unlock(zone);
	return pfn;
}

bool mm_is_elastic(void)
{
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++)
		if (mm.zone[i].elastic)
			return true;
	return false;
}

static bool zone_grows(gfp_t gfp)
{
	return !mm.config.oom_fail && !(gfp & __GFP_NORETRY);
}

bool gfp_may_reclaim(gfp_t gfp)
{
	if (gfp & __GFP_TRY && !zone_grows(gfp))
		return false;
	return !(gfp & (GFP_ATOMIC & ~GFP_HIGH)) &&
	       !(gfp & (__GFP_LOCKED | __GFP_NORETRY));
}

/* Who borrows frames holds the vm lock. */
static bool may_reclaim(gfp_t gfp)
{
	return gfp_may_reclaim(gfp) && !(gfp & __GFP_LENT);
}

/* Fixed zones are exhausted: last resorts, then the report. */
static uint64_t alloc_slow(unsigned int class_nr, unsigned int order, gfp_t gfp,
			   enum bs_use use)
{
	struct zone *zone = &mm.zone[class_nr];
	bool grows = zone_grows(gfp);
	uint64_t pfn = BITSET_NONE;

	if (!(gfp & __GFP_NORETRY)) {
		drain_all_pages();
		pfn = zonelist_take(class_nr, order, gfp, use, false);
	}
	if (pfn == BITSET_NONE && may_reclaim(gfp)) {
		mm_reclaim();
		drain_all_pages();
		pfn = zonelist_take(class_nr, order, gfp, use, false);
	}
	if (pfn != BITSET_NONE)
		return pfn;
	if (gfp & __GFP_NOGROW && !mm.config.oom_fail)
		return BITSET_NONE; /* asked again, to grow: counted then */
	if (gfp & __GFP_TRY && !grows)
		return BITSET_NONE;
	/* Of frames that are lent, who borrows them reports. */
	if (!(gfp & (__GFP_NOWARN | __GFP_NOGROW)) &&
	    (grows || !(gfp & __GFP_LENT)))
		mm_event(BS_EVENT_ALLOC_FAILED, (int)class_nr, order, gfp, 0,
			 PAGE_SIZE << order);
	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.nr_failed++;
	zone_unlock(zone);
	return grows ? grow_and_take(zone, order, gfp, use) : BITSET_NONE;
}

/* Somebody mapped something there: these frames can never be memory. */
static void lose_block(uint64_t pfn, unsigned int order, enum bs_use use)
{
	struct zone *zone = page_zone(pfn);

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.used_pages[use] -= 1UL << order;
	zone->stat.used_pages[BS_USE_TABLE] += 1UL << order;
	pfn_to_page(pfn)->kind = PK_LOST;
	zone_unlock(zone);
}

struct page *alloc_pages(gfp_t gfp, unsigned int order, enum bs_use use)
{
	unsigned int zone_nr = gfp_zone(gfp);
	bool reclaimed = false;
	uint64_t pfn;
	int err;

	VM_BUG_ON(order >= MAX_ORDER);
again:
	pfn = zonelist_take(zone_nr, order, gfp, use, true);
	if (pfn == BITSET_NONE)
		pfn = zonelist_take(zone_nr, order, gfp, use, false);
	if (pfn == BITSET_NONE)
		pfn = alloc_slow(zone_nr, order, gfp, use);
	if (pfn == BITSET_NONE)
		return NULL;
	pagemap_publish(pfn, 1UL << order, (uint8_t)(BS_PAGEMAP_USE + use));
	if (gfp & __GFP_LENT)
		return pfn_to_page(pfn);
	err = section_map(pfn >> SECTION_ORDER);
	if (err == -EEXIST) {
		lose_block(pfn, order, use);
		goto again;
	}
	if (!err)
		return pfn_to_page(pfn);
	free_page_range(pfn, 1UL << order, use, true);
	if (reclaimed || !may_reclaim(gfp))
		return NULL;
	mm_reclaim(); /* addresses may be short, too */
	reclaimed = true;
	goto again;
}

/*
 * Heads that large_free() takes: contiguous memory is counted as large, or as
 * DMA.
 */
void split_page(struct page *head, unsigned int order)
{
	uint64_t i;

	for (i = 0; i < 1UL << order; i++) {
		head[i].order = 0;
		head[i].nr_pages = 1;
		head[i].use = head->use;
		head[i].device = head->device;
		head[i].tag = 0;
		head[i].requested_bytes = PAGE_SIZE;
		set_page_kind(&head[i], PK_LARGE);
	}
}

/* ---- free -------------------------------------------------------------------------- */

/* Free [pfn, pfn+nr) in the largest aligned blocks.  Zone lock held. */
static void free_range_locked(struct zone *zone, uint64_t pfn, uint64_t nr,
			      bool zero, uint64_t now_ns)
{
	while (nr) {
		unsigned int order = MAX_ORDER - 1;

		if (pfn & ((1UL << order) - 1))
			order = (unsigned int)__builtin_ctzll(pfn);
		while (1UL << order > nr)
			order--;
		buddy_free(zone, pfn, order, zero, now_ns);
		pfn += 1UL << order;
		nr -= 1UL << order;
	}
}

void zone_slab_reclaimable(uint64_t pfn, uint64_t nr_pages)
{
	struct zone *zone = page_zone(pfn);

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.slab_reclaimable_pages += nr_pages;
	zone_unlock(zone);
}

/* Zone lock held. */
static void clear_kinds(struct zone *zone, uint64_t pfn, uint64_t nr_pages,
			enum bs_use use)
{
	const struct page *head = pfn_to_page(pfn);
	uint64_t i, n = use == BS_USE_SLAB ? nr_pages : 1;

	if (page_kind(head) == PK_SLAB &&
	    head->cache->flags & SLAB_RECLAIM_ACCOUNT)
		zone->stat.slab_reclaimable_pages -= nr_pages;
	for (i = 0; i < n; i++)
		set_page_kind(pfn_to_page(pfn + i), PK_TAIL);
}

/* Used pages of a zone become free.  Zone lock held. */
static void free_range_used(struct zone *zone, uint64_t pfn, uint64_t nr_pages,
			    enum bs_use use, bool zero, uint64_t now_ns)
{
	zone->stat.used_pages[use] -= nr_pages;
	if (unlikely(pfn < zone->lost_end)) {
		zone->stat.used_pages[BS_USE_TABLE] += nr_pages;
		return;
	}
	if (nr_pages != 1 || !pcp_put(zone, pfn, zero, now_ns)) {
		free_range_locked(zone, pfn, nr_pages, zero, now_ns);
		pagemap_publish(pfn, nr_pages, BS_PAGEMAP_FREE);
	}
	zone_report_if_due(zone, nr_pages, now_ns);
	mm_decay_wait(now_ns);
}

void free_page_range(uint64_t pfn, uint64_t nr_pages, enum bs_use use,
		     bool zero)
{
	struct zone *zone = page_zone(pfn);
	uint64_t now_ns = sys_now_coarse_ns();

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	clear_kinds(zone, pfn, nr_pages, use);
	free_range_used(zone, pfn, nr_pages, use, zero, now_ns);
	zone_unlock(zone);
}

void trim_pages(struct page *head, uint64_t keep_pages, bool zero)
{
	uint64_t pfn = page_to_pfn(head), tail = head->nr_pages - keep_pages;
	uint64_t now_ns = sys_now_coarse_ns();
	struct zone *zone = page_zone(pfn);

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	head->nr_pages = (uint32_t)keep_pages;
	free_range_used(zone, pfn + keep_pages, tail, head->use, zero, now_ns);
	zone_unlock(zone);
}

/* ---- the library's own memory -------------------------------------------------------------- */

void *mm_table_alloc(size_t bytes)
{
	uint64_t nr_pages = ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	unsigned int order = 0;
	struct page *page;
	bool zero;
	void *p;

	while (1UL << order < nr_pages)
		order++;
	if (order >= MAX_ORDER)
		return sys_reserve(bytes);
	page = alloc_pages(GFP_KERNEL | __GFP_LOCKED, order, BS_USE_TABLE);
	if (!page)
		return NULL;
	zero = page->flags & PG_ZERO;
	p = pfn_to_virt(page_to_pfn(page));
	if (!zero)
		memset(p, 0, PAGE_SIZE << order);
	return p;
}

struct meta_chunk {
	struct meta_chunk *next;
	size_t bytes;
};

/* A chunk that was given back, of exactly this size.  meta lock held. */
static void *take_chunk(size_t bytes)
{
	struct meta_chunk **at = &mm.meta_free, *chunk;

	while (*at && (*at)->bytes != bytes)
		at = &(*at)->next;
	chunk = *at;
	if (chunk) {
		*at = chunk->next;
		memset(chunk, 0, bytes);
	}
	return chunk;
}

void *meta_alloc(size_t bytes)
{
	void *p;

	bytes = ALIGN_UP(bytes, 64UL); /* no false sharing between CPUs */
	sys_lock(&mm.meta_lock, SYS_RANK_META);
	p = take_chunk(bytes);
	if (!p && (size_t)(mm.meta_end - mm.meta_next) < bytes) {
		size_t room = MAX(bytes, 8 * PAGE_SIZE);

		mm.meta_next = mm_table_alloc(room);
		mm.meta_end = mm.meta_next ? mm.meta_next + room : NULL;
	}
	if (!p && mm.meta_next) {
		p = mm.meta_next;
		mm.meta_next += bytes;
	}
	sys_unlock(&mm.meta_lock, SYS_RANK_META);
	return p;
}

void meta_free(void *p, size_t bytes)
{
	struct meta_chunk *chunk = p;

	sys_lock(&mm.meta_lock, SYS_RANK_META);
	chunk->bytes = ALIGN_UP(bytes, 64UL);
	chunk->next = mm.meta_free;
	mm.meta_free = chunk;
	sys_unlock(&mm.meta_lock, SYS_RANK_META);
}

/* ---- publishing everything, raw fork ---------------------------------------------------------- */

static uint8_t pagemap_value(const struct page *page)
{
	switch (page_kind(page)) {
	case PK_FREE:
		return BS_PAGEMAP_FREE;
	case PK_PCP:
		return BS_PAGEMAP_USE + BS_USE_PCP;
	case PK_SLAB:
		return (uint8_t)(BS_PAGEMAP_USE + BS_USE_SLAB);
	case PK_LARGE:
	case PK_TRANSIT:
	case PK_LENT:
		return (uint8_t)(BS_PAGEMAP_USE + page->use);
	default:
		return (uint8_t)(BS_PAGEMAP_USE + BS_USE_TABLE);
	}
}

uint64_t page_span(const struct page *page)
{
	switch (page_kind(page)) {
	case PK_FREE:
	case PK_LENT:
	case PK_LOST:
		return 1UL << page->order;
	case PK_LARGE:
	case PK_TRANSIT:
	case PK_TABLE:
		return page->nr_pages;
	case PK_SLAB:
		return page->cache->nr_pages;
	default:
		return 1;
	}
}

void zone_publish_pagemap(struct zone *zone)
{
	uint64_t end = zone->start_pfn + zone->stat.spanned_pages;
	uint64_t pfn = zone->start_pfn, nr;

	if (!mm_wipe->pub.pagemap)
		return;
	for (; pfn < end; pfn += nr) {
		const struct page *page = pfn_to_page(pfn);

		nr = SECTION_PAGES;
		if (!pfn_online(pfn))
			continue;
		if (section_state(pfn >> SECTION_ORDER) & SECT_FRESH) {
			pagemap_publish(pfn, nr, BS_PAGEMAP_FREE);
			continue;
		}
		nr = page_span(page);
		pagemap_publish(pfn, nr, pagemap_value(page));
	}
}

/*
 * A raw fork found the zone in the middle of a change: nothing in it can be
 * believed but what its users hold.  All that seemed free counts as used by
 * tables from now on; an elastic zone goes on with sections never used before.
 */
void zone_abandon(struct zone *zone)
{
	struct bs_abi_zone *stat = &zone->stat;
	unsigned int o, t;
	uint64_t used = 0, pfn;

	for (pfn = zone->start_pfn; pfn < zone->start_pfn + stat->spanned_pages;
	     pfn += SECTION_PAGES)
		section_settle(pfn >> SECTION_ORDER);
	for (o = 0; o < MAX_ORDER; o++) {
		for (t = 0; t < MM_NR_TYPES; t++) {
			bitset_clear_all(buddy_list(zone, o, t));
			stat->nr_free[t][o] = 0;
		}
	}
	memset(zone->pcp, 0, mm.nr_slots * sizeof(*zone->pcp));
	memset(stat->pcp_count, 0, sizeof(stat->pcp_count));
	stat->used_pages[BS_USE_PCP] = 0;
	for (t = 0; t < BS_NR_USES; t++)
		used += t == BS_USE_TABLE ? 0 : stat->used_pages[t];
	zone->next_section = stat->spanned_pages >> SECTION_ORDER;
	stat->free_pages = 0;
	stat->used_pages[BS_USE_TABLE] =
		stat->managed_pages > used ? stat->managed_pages - used : 0;
	zone->dirty_free_pages = 0;
	zone->lost_end = zone->start_pfn + stat->spanned_pages;
}
