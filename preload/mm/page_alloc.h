/* SPDX-License-Identifier: MIT */
/* page_alloc.h - what the engine's other files ask of the page allocator. */
#ifndef BS_MM_PAGE_ALLOC_H
#define BS_MM_PAGE_ALLOC_H

#include "preload/mm/mm.h"

/* Arena, windows, zones; 0 or -ENOMEM.  mm.config is set. */
int page_alloc_init(void);
void page_alloc_destroy(void);

struct zone *page_zone(uint64_t pfn);
/* The zone that is asked first. */
unsigned int gfp_zone(gfp_t gfp);
/* Is what is kept for reuse to go back before a request of this kind is refused? */
bool gfp_may_reclaim(gfp_t gfp);
unsigned int page_block_type(const struct zone *zone, uint64_t pfn);
bool zone_watermark_ok(const struct zone *zone, unsigned int order,
		       uint64_t mark, unsigned int class_nr, gfp_t gfp);
/* Copy the zone's counters to the segment.  Zone lock held. */
void zone_publish(struct zone *zone);
void pagemap_publish(uint64_t pfn, uint64_t nr_pages, uint8_t value);
/* A slab whose pages count as reclaimable, marked PK_SLAB just now. */
void zone_slab_reclaimable(uint64_t pfn, uint64_t nr_pages);
/* Write the whole page map of a zone.  Zone lock held. */
void zone_publish_pagemap(struct zone *zone);
/* Frames that the block whose head this is covers; 1 for a tail. */
uint64_t page_span(const struct page *page);
/* Raw fork found the zone locked: never believe its free lists again. */
void zone_abandon(struct zone *zone);
/* Give back up to all dirty free blocks older than decay.  Zone lock held. */
uint64_t zone_report(struct zone *zone, uint64_t now_ns, uint64_t decay_ns);
/* The same where it is due, cheap where it is not.  Zone lock held. */
void zone_report_if_due(struct zone *zone, uint64_t freed_pages,
			uint64_t now_ns);
/* Elastic zone: remove wholly free sections that are not needed.  Lock held. */
void zone_shrink(struct zone *zone, bool all);

/*
 * Lend nr_pages frames to an area (appended to *lent, a pfn + 1 chain).
 * must: failure gives all back and returns 0; else what was to be had.
 * Returns the number of pages lent.
 */
uint64_t lend_pages(struct vm_struct *area, uint64_t nr_pages, enum bs_use use,
		    bool must);
/* Take nr_pages back from the area's lent blocks. */
void unlend_pages(struct vm_struct *area, uint64_t nr_pages, enum bs_use use);
/* Move lent blocks worth nr_pages from one area to another. */
void move_lent_pages(struct vm_struct *from, struct vm_struct *to,
		     uint64_t nr_pages);

/* Zeroed memory for descriptors; NULL: none. */
void *meta_alloc(size_t bytes);
/* Kept for a later meta_alloc() of the same size. */
void meta_free(void *p, size_t bytes);

#endif
