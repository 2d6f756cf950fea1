/* SPDX-License-Identifier: MIT */
/*
 * event.c - see event.h.
 *
 * Owns:   the words for events, the verdict on a failure.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/event.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/fragindex.h"

/* ---- names ------------------------------------------------------------- */

static const struct {
	const char *id;
	const char *text;
} event_names[BS_NR_EVENTS] = {
#define X(name, nr, text) [nr] = { #name, text },
	BS_EVENT_TABLE(X)
#undef X
};

const char *bs_event_key(uint32_t type, char text[BS_EVENT_KEY_MAX])
{
	const char *id = type < BS_NR_EVENTS ? event_names[type].id : NULL;
	size_t at;

	if (!id) {
		snprintf(text, BS_EVENT_KEY_MAX, "event_%u", type);
		return text;
	}
	for (at = 0; id[at] && at + 1 < BS_EVENT_KEY_MAX; at++)
		text[at] = (char)tolower((unsigned char)id[at]);
	text[at] = '\0';
	return text;
}

const char *bs_event_text(uint32_t type)
{
	const char *text = type < BS_NR_EVENTS ? event_names[type].text : NULL;

	return text ? text : "unknown event";
}

bool bs_event_is_failure(uint32_t type)
{
	switch (type) {
	case BS_EVENT_ALLOC_FAILED:
	case BS_EVENT_VMALLOC_FAILED:
	case BS_EVENT_DMA_FAILED:
	case BS_EVENT_CARVEOUT_FULL:
	case BS_EVENT_DOUBLE_FREE:
	case BS_EVENT_BAD_FREE:
	case BS_EVENT_SLAB_CORRUPTED:
		return true;
	default:
		return false;
	}
}

static const struct {
	uint32_t bits;
	const char *name;
} gfp_names[] = { { BS_GFP_ATOMIC, "GFP_ATOMIC" }, /* in front of its parts */
#define X(id, bits, text) { bits, text },
		  BS_GFP_TABLE(X)
#undef X
};

void bs_gfp_text(struct bs_buf *out, uint32_t gfp)
{
	uint32_t left = gfp & ~BS_GFP_ZONE_MASK;
	const char *between = "";

	if (!(gfp & BS_GFP_DMA) && (gfp & BS_GFP_ATOMIC) != BS_GFP_ATOMIC) {
		bs_buf_puts(out, "GFP_KERNEL");
		between = "|";
	}
	for (size_t i = 0; i < sizeof(gfp_names) / sizeof(gfp_names[0]); i++) {
		if ((left & gfp_names[i].bits) != gfp_names[i].bits)
			continue;
		left &= ~gfp_names[i].bits;
		bs_buf_printf(out, "%s%s", between, gfp_names[i].name);
		between = "|";
	}
	if (gfp & BS_GFP_ZONE_MASK) {
		bs_buf_printf(out, "%s__GFP_ZONE(%u)", between,
			      ((gfp & BS_GFP_ZONE_MASK) >> BS_GFP_ZONE_SHIFT) -
				      1);
		between = "|";
	}
	if (left)
		bs_buf_printf(out, "%s0x%x", between, left);
}

/* ---- verdict ------------------------------------------------------------- */

const char *bs_cause_name(enum bs_cause cause)
{
	switch (cause) {
	case BS_CAUSE_UNKNOWN:
		break;
	case BS_CAUSE_LACK:
		return "lack";
	case BS_CAUSE_FRAGMENTATION:
		return "fragmentation";
	case BS_CAUSE_RESERVE:
		return "reserve";
	case BS_CAUSE_WINDOW:
		return "window";
	}
	return "unknown";
}

void bs_event_free_blocks(const struct bs_abi_event_zone *zone,
			  uint64_t n[BS_NR_ORDERS])
{
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		n[o] = zone->nr_free[o];
}

/* What vmalloc may take page by page: the marks keep the rest. */
static uint64_t usable_bytes(const struct bs_abi_event *e)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < e->nr_zones; i++) {
		const struct bs_abi_event_zone *z = &e->zones[i];
		uint64_t kept =
			(uint64_t)z->wmark_min_pages + z->protection_pages;

		if (z->free_pages > kept)
			pages += z->free_pages - kept;
	}
	return pages * BS_ABI_PAGE_BYTES;
}

/*
 * A block is free and was refused all the same: which part of zone_watermark_ok()
 * did it?  The whole zone is short; the other zones' reserve; or too little of
 * what is free lies in blocks of this order, which a zone in one piece would not
 * have refused.
 */
static enum bs_cause refused_by(const struct bs_abi_event *e,
				const struct bs_abi_event_zone *zone)
{
	int64_t left = (int64_t)zone->free_pages - (INT64_C(1) << e->order) + 1;
	int64_t min = zone->wmark_min_pages;

	if (e->gfp & BS_GFP_HIGH)
		min -= min / 2;
	if (e->gfp & BS_GFP_NOWAIT)
		min -= min / 4;
	if (left <= min)
		return BS_CAUSE_LACK;
	if (left <= min + (int64_t)zone->protection_pages)
		return BS_CAUSE_RESERVE;
	for (unsigned int o = 0; o < e->order; o++) {
		left -= (int64_t)zone->nr_free[o] << o;
		min >>= 1;
		if (left <= min)
			return BS_CAUSE_FRAGMENTATION;
	}
	return BS_CAUSE_RESERVE; /* free by the time it was looked at */
}

struct bs_failure_cause bs_failure_cause(const struct bs_abi_event *e)
{
	const struct bs_abi_event_zone *zone = bs_event_zone(e);
	struct bs_failure_cause c = { BS_CAUSE_UNKNOWN, 0 };
	uint64_t n[BS_NR_ORDERS];

	if (e->type == BS_EVENT_VMALLOC_FAILED && e->nr_zones) {
		/* A name: the window said no. */
		c.cause = !e->name[0] && usable_bytes(e) < e->bytes
				  ? BS_CAUSE_LACK
				  : BS_CAUSE_WINDOW;
		return c;
	}
	if (!zone || e->order >= BS_NR_ORDERS ||
	    (e->type != BS_EVENT_ALLOC_FAILED &&
	     e->type != BS_EVENT_DMA_FAILED &&
	     e->type != BS_EVENT_ZONE_FALLBACK))
		return c;
	bs_event_free_blocks(zone, n);
	c.index = bs_fragmentation_index(n, e->order);
	/* Other values below 0 mean that less than one such block is free. */
	if (c.index == -1000)
		c.cause = refused_by(e, zone);
	else if (c.index < BS_FRAG_THRESHOLD)
		c.cause = BS_CAUSE_LACK;
	else
		c.cause = BS_CAUSE_FRAGMENTATION;
	return c;
}

/* ---- JSON ---------------------------------------------------------------- */

static void zone_json(struct bs_json *json, const struct bs_snapshot *s,
		      const struct bs_abi_event *e, uint32_t i)
{
	const struct bs_abi_event_zone *zone = &e->zones[i];

	bs_json_object(json, NULL);
	bs_json_str(json, "name",
		    i < bs_snapshot_nr_zones(s) ? bs_snapshot_zone(s, i)->name
						: NULL);
	bs_json_u64(json, "managed_pages", zone->managed_pages);
	bs_json_u64(json, "free_pages", zone->free_pages);
	bs_json_u64(json, "min_pages", zone->wmark_min_pages);
	bs_json_u64(json, "low_pages", zone->wmark_low_pages);
	bs_json_u64(json, "high_pages", zone->wmark_high_pages);
	bs_json_u64(json, "protection_pages", zone->protection_pages);
	bs_json_object(json, "used");
#define X(id, nr, key) bs_json_u64(json, key, zone->used_pages[nr]);
	BS_USE_TABLE(X)
#undef X
	bs_json_object_end(json);
	bs_json_array(json, "free");
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_json_u64(json, NULL, zone->nr_free[o]);
	bs_json_array_end(json);
	bs_json_object_end(json);
}

void bs_event_zones_json(struct bs_json *json, const char *key,
			 const struct bs_snapshot *s,
			 const struct bs_abi_event *e)
{
	bs_json_array(json, key);
	for (uint32_t i = 0; i < e->nr_zones; i++)
		zone_json(json, s, e, i);
	bs_json_array_end(json);
}

void bs_event_json(struct bs_json *json, const struct bs_snapshot *s,
		   const struct bs_abi_event *e)
{
	struct bs_failure_cause cause = bs_failure_cause(e);
	const struct bs_abi_event_zone *zone = bs_event_zone(e);
	struct bs_buf gfp = BS_BUF_INIT;
	char key[BS_EVENT_KEY_MAX];

	bs_gfp_text(&gfp, e->gfp);
	bs_json_u64(json, "number", e->number);
	bs_json_u64(json, "time_ns", e->time_ns);
	bs_json_str(json, "type", bs_event_key(e->type, key));
	bs_json_str(json, "event", bs_event_text(e->type));
	bs_json_u64(json, "tid", e->tid);
	bs_json_u64(json, "site", e->site);
	bs_json_u64(json, "order", e->order);
	bs_json_u64(json, "gfp", e->gfp);
	bs_json_str(json, "gfp_flags", bs_buf_str(&gfp));
	bs_json_u64(json, "bytes", e->bytes);
	bs_json_addr(json, "addr", e->addr);
	if (e->zone == BS_EVENT_NO_ZONE)
		bs_json_null(json, "zone");
	else
		bs_json_u64(json, "zone", e->zone);
	bs_json_str(json, "zone_name",
		    e->zone < bs_snapshot_nr_zones(s)
			    ? bs_snapshot_zone(s, e->zone)->name
			    : NULL);
	bs_json_str(json, "name", e->name[0] ? e->name : NULL);
	if (zone)
		bs_json_u64(json, "free_pages", zone->free_pages);
	bs_json_u64(json, "suppressed", e->suppressed);
	if (cause.cause == BS_CAUSE_UNKNOWN) {
		bs_json_null(json, "cause");
	} else {
		bs_json_str(json, "cause", bs_cause_name(cause.cause));
		if (cause.cause != BS_CAUSE_WINDOW &&
		    e->type != BS_EVENT_VMALLOC_FAILED)
			bs_json_double(json, "fragmentation_index",
				       cause.index / 1000.0, 3);
	}
	bs_event_zones_json(json, "zones", s, e);
	json->buf->failed |= gfp.failed;
	bs_buf_free(&gfp);
}
