/* SPDX-License-Identifier: MIT */
/*
 * fragindex.c - fragmentation_index, unusable_free_index, extfrag_for_order.
 *
 * Owns:   the arithmetic.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmstat.c of Linux 6.x; the same test vectors hold.
 */
#include "shared/fragindex.h"

uint64_t bs_frag_free_pages(const uint64_t n[BS_NR_ORDERS])
{
	uint64_t pages = 0;

	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		pages += n[o] << o;
	return pages;
}

uint64_t bs_frag_free_blocks(const uint64_t n[BS_NR_ORDERS])
{
	uint64_t blocks = 0;

	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		blocks += n[o];
	return blocks;
}

int bs_frag_largest_order(const uint64_t n[BS_NR_ORDERS])
{
	int o;

	for (o = BS_NR_ORDERS - 1; o >= 0 && !n[o]; o--)
		;
	return o;
}

static uint64_t suitable_blocks(const uint64_t n[BS_NR_ORDERS],
				unsigned int order)
{
	uint64_t blocks = 0;

	for (unsigned int o = order; o < BS_NR_ORDERS; o++)
		blocks += n[o] << (o - order);
	return blocks;
}

int bs_fragmentation_index(const uint64_t n[BS_NR_ORDERS], unsigned int order)
{
	uint64_t blocks = bs_frag_free_blocks(n);
	uint64_t pages = bs_frag_free_pages(n);

	if (blocks == 0)
		return 0;
	if (suitable_blocks(n, order))
		return -1000;
	return (int)(1000 -
		     (1000 + pages * 1000 / (UINT64_C(1) << order)) / blocks);
}

int bs_unusable_free_index(const uint64_t n[BS_NR_ORDERS], unsigned int order)
{
	uint64_t pages = bs_frag_free_pages(n);
	uint64_t usable = suitable_blocks(n, order) << order;

	if (pages == 0)
		return 1000;
	return (int)((pages - usable) * 1000 / pages);
}

int bs_extfrag_for_order(const uint64_t n[BS_NR_ORDERS], unsigned int order)
{
	uint64_t pages = bs_frag_free_pages(n);
	uint64_t usable = suitable_blocks(n, order) << order;

	if (pages == 0)
		return 0;
	return (int)((pages - usable) * 100 / pages);
}

void bs_zone_free_blocks(const struct bs_abi_zone *zone,
			 uint64_t n[BS_NR_ORDERS])
{
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		n[o] = 0;
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			n[o] += zone->nr_free[t][o];
	}
}
