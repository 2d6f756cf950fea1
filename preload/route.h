/* SPDX-License-Identifier: MIT */
/*
 * route.h - which allocations go to another zone or allocator.
 *
 * Owns:   the rules given with route=, and whether one of them applies.
 * Layer:  preload; used by entry.h's rare way.
 * Locks:  none.
 *
 * A rule is tried where size and alignment are in its ranges; with dso= also
 * the call's stack must have a frame in a library (or program) of that name.
 * The whole stack counts, because libraries allocate through others: libavcodec's
 * frames come out of libavutil.  The first rule that applies wins.
 */
#ifndef BS_PRELOAD_ROUTE_H
#define BS_PRELOAD_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/mm/mm.h"

#define ROUTE_MAX      16U
#define ROUTE_DSO_MAX  64U /* bytes of a pattern, with NUL */
#define ROUTE_NAME_MAX 16U

enum route_via {
	ROUTE_BY_SIZE, /* a page or more: dma, less: kmalloc */
	ROUTE_DMA,     /* dma_alloc_coherent: contiguous or nothing */
	ROUTE_KMALLOC, /* caches and contiguous blocks of the zone */
	ROUTE_VMALLOC, /* single frames of the zone */
};

struct route {
	char dso[ROUTE_DSO_MAX]; /* of a file's name: * and ?; empty: any */
	uint64_t min_bytes;
	uint64_t max_bytes;
	uint64_t min_align;
	char zone_name[ROUTE_NAME_MAX];
	uint32_t zone_nr;
	uint32_t via; /* enum route_via */
};

/*
 * Text without "route=", not terminated.  False: not a rule, or one too many.
 */
bool route_parse(const char *text, size_t len);
/* After all options: zones have their names.  Rules for others are dropped. */
void route_resolve(const struct mm_config *config);
/* After the segment: makes what dso= needs. */
void route_init(void);

/*
 * Sizes below this take the ordinary way; PTRDIFF_MAX + 1 without rules, so
 * that one comparison serves both as the check for too large a size.
 */
extern __attribute__((visibility("hidden"))) size_t route_from_bytes;

/*
 * The memory that a rule says.  False: no rule applies, *p is not touched.
 * True with *p NULL: there is none, and oom=fail says that is so.
 * Context: inside, no lock held.
 */
bool route_alloc(size_t size, size_t align, gfp_t gfp, void **p);

#endif
