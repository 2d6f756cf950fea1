/* SPDX-License-Identifier: MIT */
/* buddy.h - free blocks of a zone.  Every call needs the zone lock. */
#ifndef BS_MM_BUDDY_H
#define BS_MM_BUDDY_H

#include "preload/mm/mm.h"

/* A free list; bit = block number in the zone. */
struct bitset *buddy_list(struct zone *zone, unsigned int order,
			  unsigned int type);
/*
 * A block of the type, of another type when it has none; its pfn, BITSET_NONE:
 * none.  Flags of its head tell whether it is known to be zero.
 */
uint64_t buddy_take(struct zone *zone, unsigned int order, unsigned int type);
/* Free a naturally aligned block: it merges as far as its buddies are free. */
void buddy_free(struct zone *zone, uint64_t pfn, unsigned int order, bool zero,
		uint64_t now_ns);
/* Take this block off its free list. */
void buddy_del(struct zone *zone, uint64_t pfn);

/*
 * The section's head gets its record, if nobody needed it before.  Sections come
 * online without: their pages of mem_map, one each, stay untouched until then.
 */
void section_settle(uint64_t section);

/* A section came online, as one free block, or goes (its block is off list). */
void zone_add_section(struct zone *zone, uint64_t pfn, unsigned int type);
void zone_del_section(struct zone *zone, uint64_t pfn);

#endif
