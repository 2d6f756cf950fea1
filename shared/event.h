/* SPDX-License-Identifier: MIT */
/*
 * event.h - the words for events, and what a failed request died of.
 *
 * Owns:   names of events and gfp flags; the verdict on a failure: lack of
 *         memory, fragmentation, or a reserve; their JSON form.
 * Layer:  shared; on snapshot, json.
 * Locks:  none.
 * Source: mm/vmstat.c (fragmentation_index) and mm/page_alloc.c (the threshold
 *         of compaction) of Linux 6.x.
 */
#ifndef BS_SHARED_EVENT_H
#define BS_SHARED_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"
#include "shared/snapshot.h"

/* From here on the kernel compacts instead of reclaiming: fragmentation. */
#define BS_FRAG_THRESHOLD 500

#define BS_EVENT_KEY_MAX 32

/* "alloc_failed"; the text receives "event_77" for a type that is not ours. */
const char *bs_event_key(uint32_t type, char text[BS_EVENT_KEY_MAX]);
/* "page allocation failure" */
const char *bs_event_text(uint32_t type);
/* A request that was refused, or damage: not a mere note. */
bool bs_event_is_failure(uint32_t type);

/* "GFP_ATOMIC|__GFP_ZERO"; bits without a name in hexadecimal. */
void bs_gfp_text(struct bs_buf *out, uint32_t gfp);

enum bs_cause {
	BS_CAUSE_UNKNOWN,	/* no zones in the event */
	BS_CAUSE_LACK,		/* too few free pages, or no more than min */
	BS_CAUSE_FRAGMENTATION, /* pages enough, in blocks too small */
	BS_CAUSE_RESERVE,	/* a block was free; lowmem_reserve kept it */
	BS_CAUSE_WINDOW,	/* VMALLOC: no addresses */
};

struct bs_failure_cause {
	enum bs_cause cause;
	int index; /* fragmentation_index at the order, in 1/1000 */
};

/* "lack", "fragmentation", "reserve", "window", "unknown" */
const char *bs_cause_name(enum bs_cause cause);
/* What it died of, judged in the zone that was asked for. */
struct bs_failure_cause bs_failure_cause(const struct bs_abi_event *e);

/* Free blocks per order of an event's zone. */
void bs_event_free_blocks(const struct bs_abi_event_zone *zone,
			  uint64_t n[BS_NR_ORDERS]);

/* "zones": an array of the zones as they were at the event. */
void bs_event_zones_json(struct bs_json *json, const char *key,
			 const struct bs_snapshot *s,
			 const struct bs_abi_event *e);
/* The members of an object that is open; the stack is the caller's. */
void bs_event_json(struct bs_json *json, const struct bs_snapshot *s,
		   const struct bs_abi_event *e);

#endif
