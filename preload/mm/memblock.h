/* SPDX-License-Identifier: MIT */
/* memblock.h - sections: where frames come from.  Used by page_alloc.c. */
#ifndef BS_MM_MEMBLOCK_H
#define BS_MM_MEMBLOCK_H

#include "preload/mm/mm.h"

/* Bring the zone's lowest offline section online.  Zone lock held.
 * 0, -ENOSPC when the window is full, -ENOMEM. */
int zone_hot_add(struct zone *zone, unsigned int type);
/* Take an isolated (on no list) free section away.  Zone lock held. */
void zone_hot_remove(struct zone *zone, uint64_t pfn);

/* Back a section's addresses; 0, -EEXIST when taken, or -errno.  No lock. */
int section_map(uint64_t section);
/* Faults of its 512 small pages take about as long. */
#define HUGE_PAGE_NS 700000U

/* Part of it is not memory, or goes back to the system: no huge page fills it. */
void section_never_huge(uint64_t section);
/* SECT_*, of which others may set some meanwhile. */
static inline uint8_t section_state(uint64_t section)
{
	return __atomic_load_n(&mm.section[section], __ATOMIC_ACQUIRE);
}

static inline bool section_mapped(uint64_t section)
{
	return section_state(section) & SECT_MAPPED;
}

#endif
