/* SPDX-License-Identifier: MIT */
/* pcp.h - per-CPU page lists of a zone.  Every call needs the zone lock. */
#ifndef BS_MM_PCP_H
#define BS_MM_PCP_H

#include "preload/mm/mm.h"

/* The zone's size changed: batch and high mark follow. */
void pcp_set_marks(struct zone *zone);
/*
 * A page of the type from this CPU's list, which is refilled from the free lists
 * when empty; BITSET_NONE: none.  It has left every count but managed_pages.
 */
uint64_t pcp_take(struct zone *zone, unsigned int type);
/* A page that just left its use; false: it goes to the buddy. */
bool pcp_put(struct zone *zone, uint64_t pfn, bool zero, uint64_t now_ns);
/* Give all lists of the zone back to the buddy. */
void pcp_drain(struct zone *zone);

#endif
