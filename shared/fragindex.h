/* SPDX-License-Identifier: MIT */
/*
 * fragindex.h - the kernel's three fragmentation numbers.
 *
 * Owns:   the formulas; integer arithmetic exactly as in the kernel.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmstat.c (fill_contig_page_info, __fragmentation_index,
 *         unusable_free_index, extfrag_for_order) of Linux 2.6.35 and later.
 *
 * n[o] is the number of free blocks of order o.  With
 *   fp = sum n[i] << i      free pages
 *   fb = sum n[i]           free blocks
 *   fs = sum n[i] << (i-o), i >= o    blocks of order o that could be had
 */
#ifndef BS_SHARED_FRAGINDEX_H
#define BS_SHARED_FRAGINDEX_H

#include <stdint.h>

#include "shared/abi.h"

#define BS_FRAG_LOW_ORDER 4U /* logs and summaries report from here up */

uint64_t bs_frag_free_pages(const uint64_t n[BS_NR_ORDERS]);
uint64_t bs_frag_free_blocks(const uint64_t n[BS_NR_ORDERS]);
/* Highest order with a free block, -1: none. */
int bs_frag_largest_order(const uint64_t n[BS_NR_ORDERS]);

/*
 * -1000: a block of this order is free.  0: no free block at all.  Near 0: a
 * failure would be lack of memory; near 1000: fragmentation.
 */
int bs_fragmentation_index(const uint64_t n[BS_NR_ORDERS], unsigned int order);
/* 0 to 1000: share of the free pages in blocks too small for this order. */
int bs_unusable_free_index(const uint64_t n[BS_NR_ORDERS], unsigned int order);
/* The same in percent; 0 when nothing is free. */
int bs_extfrag_for_order(const uint64_t n[BS_NR_ORDERS], unsigned int order);

/* Free blocks per order of a zone, all migrate types together. */
void bs_zone_free_blocks(const struct bs_abi_zone *zone,
			 uint64_t n[BS_NR_ORDERS]);

#endif
