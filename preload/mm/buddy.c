/* SPDX-License-Identifier: MIT */
/*
 * buddy.c - free blocks: split, merge, migrate types.
 *
 * Owns:   free lists, struct page of free blocks, types of pageblocks.
 * Layer:  mm, above memblock.c (sections); page_alloc.c is its user.
 * Locks:  every function needs the zone lock.
 * Source: Linux 2.6.29 mm/page_alloc.c (behaviour); Knuth, TAOCP 1, 2.5.
 */
#include "preload/mm/buddy.h"

#include "preload/mm/bitset.h"
#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"

/* Fallback order of migrate types, the kernel's table. */
static const uint8_t type_fallbacks[MM_NR_TYPES][MM_NR_TYPES - 1] = {
	[BS_MIGRATE_UNMOVABLE] = { BS_MIGRATE_RECLAIMABLE, BS_MIGRATE_MOVABLE },
	[BS_MIGRATE_MOVABLE] = { BS_MIGRATE_RECLAIMABLE, BS_MIGRATE_UNMOVABLE },
	[BS_MIGRATE_RECLAIMABLE] = { BS_MIGRATE_UNMOVABLE, BS_MIGRATE_MOVABLE },
};

/* ---- block primitives ------------------------------------------------------ */

struct zone *page_zone(uint64_t pfn)
{
	unsigned int i;

	for (i = mm.nr_zones - 1; i > 0; i--)
		if (pfn >= mm.zone[i].start_pfn)
			break;
	return &mm.zone[i];
}

static uint8_t *block_type(const struct zone *zone, uint64_t pfn)
{
	return &zone->block_type[(pfn - zone->start_pfn) >> PAGEBLOCK_ORDER];
}

unsigned int page_block_type(const struct zone *zone, uint64_t pfn)
{
	return *block_type(zone, pfn) - 1U;
}

static void set_block_type(struct zone *zone, uint64_t pfn, unsigned int type)
{
	uint8_t *t = block_type(zone, pfn);

	zone->stat.nr_blocks[*t - 1]--;
	zone->stat.nr_blocks[type]++;
	*t = (uint8_t)(type + 1);
}

struct bitset *buddy_list(struct zone *zone, unsigned int order,
			  unsigned int type)
{
	return &zone->free_area[order].free_list[type];
}

static uint64_t block_nr(const struct zone *zone, uint64_t pfn,
			 unsigned int order)
{
	return (pfn - zone->start_pfn) >> order;
}

static void write_head(uint64_t pfn, unsigned int order, unsigned int type,
		       bool zero, uint64_t freed_ns)
{
	struct page *page = pfn_to_page(pfn);

	set_page_kind(page, PK_FREE);
	page->order = (uint8_t)order;
	page->migratetype = (uint8_t)type;
	page->flags = zero ? PG_ZERO : 0;
	page->freed_ns = freed_ns;
}

/* Put a block on a free list; counters follow. */
static void list_block(struct zone *zone, uint64_t pfn, unsigned int order,
		       unsigned int type, bool zero)
{
	VM_BUG_ON(pfn & ((1UL << order) - 1));
	bitset_set(buddy_list(zone, order, type), block_nr(zone, pfn, order));
	zone->stat.nr_free[type][order]++;
	zone->stat.free_pages += 1UL << order;
	if (!zero)
		zone->dirty_free_pages += 1UL << order;
}

static void add_block(struct zone *zone, uint64_t pfn, unsigned int order,
		      unsigned int type, bool zero, uint64_t freed_ns)
{
	write_head(pfn, order, type, zero, freed_ns);
	list_block(zone, pfn, order, type, zero);
}

void section_settle(uint64_t section)
{
	uint64_t pfn = section << SECTION_ORDER;

	if (likely(!(section_state(section) & SECT_FRESH)))
		return;
	write_head(pfn, SECTION_ORDER, page_block_type(page_zone(pfn), pfn),
		   true, 0);
	__atomic_and_fetch(&mm.section[section], (uint8_t)~SECT_FRESH,
			   __ATOMIC_RELEASE);
}

void buddy_del(struct zone *zone, uint64_t pfn)
{
	struct page *page = pfn_to_page(pfn);
	unsigned int order, type;

	section_settle(pfn >> SECTION_ORDER);
	order = page->order;
	type = page->migratetype;

	VM_BUG_ON(page->kind != PK_FREE);
	bitset_clear(buddy_list(zone, order, type), block_nr(zone, pfn, order));
	zone->stat.nr_free[type][order]--;
	zone->stat.free_pages -= 1UL << order;
	if (!(page->flags & PG_ZERO))
		zone->dirty_free_pages -= 1UL << order;
	set_page_kind(page, PK_TAIL);
}

/* Free one naturally aligned block: merge with its buddies as far as they go. */
void buddy_free(struct zone *zone, uint64_t pfn, unsigned int order, bool zero,
		uint64_t now_ns)
{
	unsigned int type = page_block_type(zone, pfn);

	zone->stat.nr_free_calls++;
	while (order < MAX_ORDER - 1) {
		uint64_t buddy = pfn ^ (1UL << order);
		struct page *page = pfn_to_page(buddy);

		if (page_kind(page) != PK_FREE || page->order != order)
			break;
		zero = zero && (page->flags & PG_ZERO);
		buddy_del(zone, buddy);
		pfn &= ~(1UL << order);
		order++;
		zone->stat.nr_merge++;
	}
	add_block(zone, pfn, order, type, zero, now_ns);
}

/* Cut a block of order high down to order low; the upper halves go free. */
static void expand(struct zone *zone, uint64_t pfn, unsigned int low,
		   unsigned int high, unsigned int type)
{
	const struct page *page = pfn_to_page(pfn);
	bool zero = page->flags & PG_ZERO;
	uint64_t freed_ns = page->freed_ns;

	while (high > low) {
		high--;
		add_block(zone, pfn + (1UL << high), high, type, zero,
			  freed_ns);
		zone->stat.nr_split++;
	}
}

static uint64_t take_block(struct zone *zone, unsigned int want,
			   unsigned int order, unsigned int type,
			   unsigned int expand_type)
{
	uint64_t pfn = zone->start_pfn +
		       (bitset_first(buddy_list(zone, order, type)) << order);

	buddy_del(zone, pfn);
	expand(zone, pfn, want, order, expand_type);
	return pfn;
}

static uint64_t rmqueue_smallest(struct zone *zone, unsigned int order,
				 unsigned int type)
{
	unsigned int o;

	for (o = order; o < MAX_ORDER; o++)
		if (zone->stat.nr_free[type][o])
			return take_block(zone, order, o, type, type);
	return BITSET_NONE;
}

/* Move the free blocks of pfn's pageblock to another type's lists. */
static uint64_t move_freepages_block(struct zone *zone, uint64_t pfn,
				     unsigned int type)
{
	uint64_t start = ALIGN_DOWN(pfn, 1UL << PAGEBLOCK_ORDER);
	uint64_t end = start + (1UL << PAGEBLOCK_ORDER);
	uint64_t moved = 0;

	for (pfn = start; pfn < end;) {
		const struct page *page = pfn_to_page(pfn);
		unsigned int order;

		if (page_kind(page) != PK_FREE) {
			pfn++;
			continue;
		}
		order = page->order;
		if (page->migratetype != type) {
			bool zero = page->flags & PG_ZERO;
			uint64_t freed_ns = page->freed_ns;

			buddy_del(zone, pfn);
			add_block(zone, pfn, order, type, zero, freed_ns);
		}
		moved += 1UL << order;
		pfn += 1UL << order;
	}
	return moved;
}

/* The largest block of another type; its pageblock is claimed where it pays. */
static uint64_t rmqueue_fallback(struct zone *zone, unsigned int order,
				 unsigned int type)
{
	int o;
	unsigned int i;

	for (o = MAX_ORDER - 1; o >= (int)order; o--) {
		for (i = 0; i < MM_NR_TYPES - 1; i++) {
			unsigned int from = type_fallbacks[type][i];
			unsigned int high = (unsigned int)o, t = from;
			uint64_t pfn, b;

			if (!zone->stat.nr_free[from][o])
				continue;
			pfn = zone->start_pfn +
			      (bitset_first(buddy_list(zone, high, from)) << o);
			/* While its type is the one whose list it is on. */
			section_settle(pfn >> SECTION_ORDER);
			zone->stat.nr_type_fallback++;
			if (high >= PAGEBLOCK_ORDER) {
				for (b = 0; b < 1UL << high;
				     b += 1UL << PAGEBLOCK_ORDER)
					set_block_type(zone, pfn + b, type);
				t = type;
			} else if (high >= PAGEBLOCK_ORDER / 2 ||
				   type == BS_MIGRATE_RECLAIMABLE) {
				if (move_freepages_block(zone, pfn, type) >=
				    1UL << (PAGEBLOCK_ORDER - 1))
					set_block_type(zone, pfn, type);
				t = type;
			}
			buddy_del(zone, pfn);
			expand(zone, pfn, order, high, t);
			return pfn;
		}
	}
	return BITSET_NONE;
}

uint64_t buddy_take(struct zone *zone, unsigned int order, unsigned int type)
{
	uint64_t pfn = rmqueue_smallest(zone, order, type);

	return pfn == BITSET_NONE ? rmqueue_fallback(zone, order, type) : pfn;
}

/* ---- sections ------------------------------------------------------------- */

/* Called by memblock.c when a section has come online. */
void zone_add_section(struct zone *zone, uint64_t pfn, unsigned int type)
{
	uint64_t b;

	for (b = 0; b < SECTION_PAGES; b += 1UL << PAGEBLOCK_ORDER) {
		*block_type(zone, pfn + b) = (uint8_t)(type + 1);
		zone->stat.nr_blocks[type]++;
	}
	__atomic_or_fetch(&mm.section[pfn >> SECTION_ORDER], SECT_FRESH,
			  __ATOMIC_RELEASE);
	list_block(zone, pfn, SECTION_ORDER, type, true);
}

void zone_del_section(struct zone *zone, uint64_t pfn)
{
	uint64_t b;

	for (b = 0; b < SECTION_PAGES; b += 1UL << PAGEBLOCK_ORDER) {
		zone->stat.nr_blocks[page_block_type(zone, pfn + b)]--;
		*block_type(zone, pfn + b) = 0;
	}
}
