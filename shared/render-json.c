/* SPDX-License-Identifier: MIT */
/*
 * render-json.c - the views as JSON, one line each.
 *
 * Owns:   the keys that other programs may rely on.  A key is never renamed.
 * Layer:  shared.
 * Locks:  none.
 *
 * Every answer about one target begins with its pid and comm.  Pages are pages
 * of 4096 bytes.
 */
#include "shared/render-json.h"

#include <string.h>

#include "shared/fragindex.h"

static const char *const migrate_keys[BS_MIGRATE_TYPES] = {
	[BS_MIGRATE_UNMOVABLE] = "unmovable",
	[BS_MIGRATE_MOVABLE] = "movable",
	[BS_MIGRATE_RECLAIMABLE] = "reclaimable",
	[BS_MIGRATE_HIGHATOMIC] = "highatomic",
	[BS_MIGRATE_ISOLATE] = "isolate",
};

static void begin(struct bs_json *json, struct bs_buf *out,
		  const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);

	bs_json_init(json, out);
	bs_json_object(json, NULL);
	bs_json_i64(json, "pid", h->pid);
	bs_json_str(json, "comm", h->comm);
}

static void end(struct bs_json *json)
{
	bs_json_object_end(json);
	bs_buf_putc(json->buf, '\n');
}

static void put_counts(struct bs_json *json, const char *key, const uint64_t *n,
		       unsigned int nr)
{
	bs_json_array(json, key);
	for (unsigned int i = 0; i < nr; i++)
		bs_json_u64(json, NULL, n[i]);
	bs_json_array_end(json);
}

static void begin_zone(struct bs_json *json, const struct bs_snapshot *s,
		       uint64_t i)
{
	const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

	bs_json_object(json, NULL);
	bs_json_u64(json, "node", zone->node);
	bs_json_str(json, "name", zone->name);
	if (bs_snapshot_zone_torn(s, i))
		bs_json_bool(json, "torn", true);
}

static void put_pages(struct bs_json *json, const struct bs_abi_zone *zone)
{
	bs_json_u64(json, "free_pages", zone->free_pages);
	bs_json_u64(json, "managed_pages", zone->managed_pages);
	bs_json_u64(json, "present_pages", zone->present_pages);
	bs_json_object(json, "used");
#define X(id, nr, key) bs_json_u64(json, key, zone->used_pages[BS_USE_##id]);
	BS_USE_TABLE(X)
#undef X
	bs_json_object_end(json);
}

void bs_json_buddyinfo(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];
	struct bs_json json;

	(void)opt;
	begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		begin_zone(&json, s, i);
		bs_zone_free_blocks(zone, n);
		put_counts(&json, "free", n, BS_NR_ORDERS);
		put_pages(&json, zone);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	end(&json);
}

void bs_json_pagetypeinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	begin(&json, out, s);
	bs_json_u64(&json, "pageblock_order", BS_PAGEBLOCK_ORDER);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		begin_zone(&json, s, i);
		bs_json_object(&json, "free");
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			put_counts(&json, migrate_keys[t], zone->nr_free[t],
				   BS_NR_ORDERS);
		bs_json_object_end(&json);
		bs_json_object(&json, "blocks");
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			bs_json_u64(&json, migrate_keys[t], zone->nr_blocks[t]);
		bs_json_object_end(&json);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	end(&json);
}

static void put_zone_details(struct bs_json *json, const struct bs_snapshot *s,
			     const struct bs_abi_zone *zone)
{
	uint64_t nr_zones = bs_snapshot_nr_zones(s);

	put_pages(json, zone);
	bs_json_bool(json, "elastic", zone->elastic);
	bs_json_u64(json, "spanned_pages", zone->spanned_pages);
	bs_json_u64(json, "start_pfn", zone->start_pfn);
	bs_json_u64(json, "min_pages", zone->wmark_min_pages);
	bs_json_u64(json, "low_pages", zone->wmark_low_pages);
	bs_json_u64(json, "high_pages", zone->wmark_high_pages);
	put_counts(json, "protection_pages", zone->protection_pages,
		   nr_zones < 4 ? (unsigned int)nr_zones : 4);
	bs_json_u64(json, "min_free_pages", zone->min_free_pages);
	bs_json_u64(json, "overcommit_pages", zone->overcommit_pages);
	bs_json_u64(json, "allocs", zone->nr_alloc);
	bs_json_u64(json, "frees", zone->nr_free_calls);
	bs_json_u64(json, "splits", zone->nr_split);
	bs_json_u64(json, "merges", zone->nr_merge);
	bs_json_u64(json, "zone_fallbacks", zone->nr_fallback);
	bs_json_u64(json, "type_fallbacks", zone->nr_type_fallback);
	bs_json_u64(json, "failed", zone->nr_failed);
	bs_json_u64(json, "hot_added_pages", zone->hot_added_pages);
	bs_json_u64(json, "hot_removed_pages", zone->hot_removed_pages);
	bs_json_u64(json, "reported_pages", zone->reported_pages);
}

void bs_json_zoneinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		begin_zone(&json, s, i);
		put_zone_details(&json, s, bs_snapshot_zone(s, i));
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_object(&json, "vmstat");
#define X(id, key, doc)                                                        \
	bs_json_u64(&json, key, bs_snapshot_vmstat(s, BS_VMSTAT_##id));
	BS_VMSTAT_TABLE(X)
#undef X
	bs_json_object_end(&json);
	end(&json);
}

void bs_json_slabinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	begin(&json, out, s);
	bs_json_array(&json, "caches");
	for (uint64_t i = 0; i < bs_snapshot_nr_caches(s); i++) {
		const struct bs_abi_cache *c = bs_snapshot_cache(s, i);

		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", c->name);
		if (bs_snapshot_cache_torn(s, i))
			bs_json_bool(&json, "torn", true);
		bs_json_u64(&json, "active_objs", c->active_objs);
		bs_json_u64(&json, "num_objs", c->num_objs);
		bs_json_u64(&json, "object_bytes", c->object_bytes);
		bs_json_u64(&json, "objs_per_slab", c->objs_per_slab);
		bs_json_u64(&json, "pages_per_slab", c->pages_per_slab);
		bs_json_u64(&json, "active_slabs", c->active_slabs);
		bs_json_u64(&json, "num_slabs", c->num_slabs);
		bs_json_u64(&json, "shared_avail", c->shared_avail);
		bs_json_u64(&json, "limit", c->limit);
		bs_json_u64(&json, "batchcount", c->batchcount);
		bs_json_u64(&json, "shared", c->shared);
		bs_json_u64(&json, "high_mark", c->high_mark);
		bs_json_u64(&json, "grown", c->grown);
		bs_json_u64(&json, "reaped", c->reaped);
		bs_json_u64(&json, "errors", c->errors);
		bs_json_u64(&json, "refills", c->refills);
		bs_json_u64(&json, "flushes", c->flushes);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	end(&json);
}

static void put_area_flags(struct bs_json *json, uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{ BS_AREA_IOREMAP, "ioremap" }, { BS_AREA_ALLOC, "vmalloc" },
		{ BS_AREA_MAP, "vmap" },	{ BS_AREA_USERMAP, "user" },
		{ BS_AREA_VPAGES, "vpages" },	{ BS_AREA_LAZY, "lazy" },
		{ BS_AREA_RESERVE, "reserve" }, { BS_AREA_STACK, "stack" },
		{ BS_AREA_SHARED, "shared" },	{ BS_AREA_HUGE, "huge" },
	};

	bs_json_array(json, "flags");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (flags & names[i].flag)
			bs_json_str(json, NULL, names[i].name);
	bs_json_array_end(json);
}

void bs_json_vmallocinfo(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_render_options *opt)
{
	struct bs_json json;
	char caller[512];

	begin(&json, out, s);
	bs_json_array(&json, "areas");
	for (uint64_t i = 0; i < bs_snapshot_nr_areas(s); i++) {
		const struct bs_abi_area *a = bs_snapshot_area(s, i);
		bool known = bs_render_caller(s, opt, a->site, caller,
					      sizeof(caller));

		bs_json_object(&json, NULL);
		bs_json_addr(&json, "addr", a->addr);
		bs_json_u64(&json, "bytes", a->bytes);
		bs_json_u64(&json, "pages", a->charged_pages);
		bs_json_str(&json, "caller", known ? caller : NULL);
		put_area_flags(&json, a->flags);
		bs_json_str(&json, "path", a->path[0] ? a->path : NULL);
		bs_json_u64(&json, "requested_bytes", a->requested_bytes);
		bs_json_u64(&json, "guard_bytes", a->guard_bytes);
		bs_json_u64(&json, "offset", a->offset);
		bs_json_u64(&json, "prot", a->prot);
		bs_json_u64(&json, "site", a->site);
		if (bs_snapshot_area_torn(s, i))
			bs_json_bool(&json, "torn", true);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	end(&json);
}

static void put_index(struct bs_json *json, const char *key,
		      const uint64_t n[BS_NR_ORDERS],
		      int (*index)(const uint64_t *, unsigned int))
{
	bs_json_array(json, key);
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_json_i64(json, NULL, index(n, o));
	bs_json_array_end(json);
}

void bs_json_extfrag(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];
	struct bs_json json;

	(void)opt;
	begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		begin_zone(&json, s, i);
		bs_zone_free_blocks(bs_snapshot_zone(s, i), n);
		put_counts(&json, "free", n, BS_NR_ORDERS);
		bs_json_i64(&json, "largest_free_order",
			    bs_frag_largest_order(n));
		put_index(&json, "extfrag_index", n, bs_fragmentation_index);
		put_index(&json, "unusable_index", n, bs_unusable_free_index);
		put_index(&json, "extfrag_percent", n, bs_extfrag_for_order);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	end(&json);
}
