/* SPDX-License-Identifier: MIT */
/*
 * render-zoneinfo.c - zoneinfo and vmstat: the counters.
 *
 * Owns:   these files as text, byte for byte, and as JSON.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmstat.c (zoneinfo_show_print, vmstat_show) of Linux 2.6.29 and
 *         6.x.
 *
 * Odd indents are the kernel's; parsers rely on them.
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "shared/render-priv.h"

/* ---- zoneinfo ---------------------------------------------------------- */

static void put_counter(struct bs_buf *out, const char *indent,
			const char *name, uint64_t value)
{
	bs_buf_printf(out, "\n%s%-12s %" PRIu64, indent, name, value);
}

/* What the kernel counts in its own words. */
struct kernel_counters {
	uint64_t anon;
	uint64_t slab, reclaimable;
	uint64_t tables;
};

/*
 * Slabs of caches made with SLAB_RECLAIM_ACCOUNT are called reclaimable; large, vmalloc, mmap and DMA pages are the
 * program's anonymous memory; the engine's own tables stand where the page
 * tables do.
 */
static void add_zone(struct kernel_counters *c, const struct bs_abi_zone *zone)
{
	const uint64_t *use = zone->used_pages;
	uint64_t reclaimable = zone->slab_reclaimable_pages;

	if (reclaimable > use[BS_USE_SLAB])
		reclaimable = use[BS_USE_SLAB];
	c->reclaimable += reclaimable;
	c->slab += use[BS_USE_SLAB] - reclaimable;
	c->anon += use[BS_USE_LARGE] + use[BS_USE_VMALLOC] + use[BS_USE_MMAP] +
		   use[BS_USE_DMA];
	c->tables += use[BS_USE_TABLE];
}

static struct kernel_counters all_zones(const struct bs_snapshot *s)
{
	struct kernel_counters c = { 0 };

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		add_zone(&c, bs_snapshot_zone(s, i));
	return c;
}

static void put_node_counters(struct bs_buf *out, const struct bs_snapshot *s)
{
	struct kernel_counters c = all_zones(s);
	static const char indent[] = "      ";

	bs_buf_puts(out, "\n  per-node stats");
	put_counter(out, indent, "nr_slab_reclaimable", c.reclaimable);
	put_counter(out, indent, "nr_slab_unreclaimable", c.slab);
	put_counter(out, indent, "nr_anon_pages", c.anon);
	put_counter(out, indent, "nr_page_table_pages", c.tables);
}

/* 2.6.29 counted these by zone. */
static void put_old_counters(struct bs_buf *out, const struct bs_abi_zone *zone,
			     const char *indent)
{
	struct kernel_counters c = { 0 };

	add_zone(&c, zone);
	put_counter(out, indent, "nr_anon_pages", c.anon);
	put_counter(out, indent, "nr_slab_reclaimable", c.reclaimable);
	put_counter(out, indent, "nr_slab_unreclaimable", c.slab);
	put_counter(out, indent, "nr_page_table_pages", c.tables);
}

/* The rows of a zone that are our own: pages by use, then events. */
static const struct {
	const char *key;
	size_t offset; /* of a uint64_t in struct bs_abi_zone */
} zone_rows[] = {
#define X(id, nr, key)                                                         \
	{ "nr_" key, offsetof(struct bs_abi_zone, used_pages[nr]) },
	BS_USE_TABLE(X)
#undef X
#define ROW(key, field)                                                        \
	{                                                                      \
		key, offsetof(struct bs_abi_zone, field)                       \
	}
		ROW("pgalloc", nr_alloc),
	ROW("pgfree", nr_free_calls),
	ROW("pgsplit", nr_split),
	ROW("pgmerge", nr_merge),
	ROW("pgfallback", nr_fallback),
	ROW("pgtypefallback", nr_type_fallback),
	ROW("allocfail", nr_failed),
	ROW("pghotadd", hot_added_pages),
	ROW("pghotremove", hot_removed_pages),
	ROW("pgreported", reported_pages),
	ROW("pcprefill", pcp_refills),
	ROW("pcpdrain", pcp_drains),
	ROW("nr_overcommit", overcommit_pages),
#undef ROW
};
#define NR_ZONE_ROWS (sizeof(zone_rows) / sizeof(zone_rows[0]))

static uint64_t zone_row(const struct bs_abi_zone *zone, size_t row)
{
	uint64_t value;

	memcpy(&value, (const char *)zone + zone_rows[row].offset,
	       sizeof(value));
	return value;
}

static void put_own_counters(struct bs_buf *out, const struct bs_abi_zone *zone,
			     const char *indent)
{
	for (size_t row = 0; row < NR_ZONE_ROWS; row++)
		put_counter(out, indent, zone_rows[row].key,
			    zone_row(zone, row));
}

/* The per-CPU lists that exist; a made-up number must not run away. */
static unsigned int nr_slots(const struct bs_snapshot *s)
{
	uint32_t nr = bs_snapshot_header(s)->nr_cpus;

	return nr < 1 ? 1 : nr > BS_MAX_SLOTS ? BS_MAX_SLOTS : nr;
}

static void put_pagesets(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_abi_zone *zone,
			 enum bs_kernel_format format)
{
	unsigned int nr = nr_slots(s);

	bs_buf_puts(out, "\n  pagesets");
	for (unsigned int cpu = 0; cpu < nr; cpu++) {
		if (format == BS_FORMAT_2_6_29)
			bs_buf_printf(out,
				      "\n    cpu: %i"
				      "\n              count: %i"
				      "\n              high:  %i"
				      "\n              batch: %i",
				      (int)cpu, zone->pcp_count[cpu],
				      (int)zone->pcp_high,
				      (int)zone->pcp_batch);
		else
			bs_buf_printf(out,
				      "\n    cpu: %i"
				      "\n              count:    %i"
				      "\n              high:     %i"
				      "\n              batch:    %i"
				      "\n              high_min: %i"
				      "\n              high_max: %i",
				      (int)cpu, zone->pcp_count[cpu],
				      (int)zone->pcp_high, (int)zone->pcp_batch,
				      (int)zone->pcp_high, (int)zone->pcp_high);
		/* An SMP kernel's row.  No counter of ours is put off. */
		if (nr > 1)
			bs_buf_puts(out, "\n  vm stats threshold: 0");
	}
}

static void put_protection(struct bs_buf *out, const struct bs_abi_zone *zone,
			   uint64_t nr_zones)
{
	bs_buf_printf(out, "\n        protection: (%" PRId64,
		      (int64_t)zone->protection_pages[0]);
	for (uint64_t i = 1; i < nr_zones && i < BS_MAX_ZONES; i++)
		bs_buf_printf(out, ", %" PRId64,
			      (int64_t)zone->protection_pages[i]);
	bs_buf_putc(out, ')');
}

static void put_zone_modern(struct bs_buf *out, const struct bs_snapshot *s,
			    const struct bs_abi_zone *zone, bool first)
{
	bs_buf_printf(out, "Node %d, zone %8s", (int)zone->node, zone->name);
	if (first)
		put_node_counters(out, s);
	bs_buf_printf(
		out,
		"\n  pages free     %" PRIu64 "\n        boost    0"
		"\n        min      %" PRIu64 "\n        low      %" PRIu64
		"\n        high     %" PRIu64 "\n        promo    %" PRIu64
		"\n        spanned  %" PRIu64 "\n        present  %" PRIu64
		"\n        managed  %" PRIu64 "\n        cma      0",
		zone->free_pages, zone->wmark_min_pages, zone->wmark_low_pages,
		zone->wmark_high_pages, zone->wmark_high_pages,
		zone->spanned_pages, zone->present_pages, zone->managed_pages);
	put_protection(out, zone, bs_snapshot_nr_zones(s));
	if (!bs_render_populated(zone)) { /* the kernel stops here, too */
		bs_buf_putc(out, '\n');
		return;
	}
	put_counter(out, "      ", "nr_free_pages", zone->free_pages);
	put_own_counters(out, zone, "      ");
	put_pagesets(out, s, zone, BS_FORMAT_MODERN);
	bs_buf_printf(out,
		      "\n  node_unreclaimable:  0"
		      "\n  start_pfn:           %" PRIu64 "\n",
		      zone->start_pfn);
}

static void put_zone_old(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_abi_zone *zone)
{
	bs_buf_printf(
		out,
		"Node %d, zone %8s"
		"\n  pages free     %" PRIu64 "\n        min      %" PRIu64
		"\n        low      %" PRIu64 "\n        high     %" PRIu64
		"\n        scanned  0 (aa: 0 ia: 0 af: 0 if: 0)"
		"\n        spanned  %" PRIu64 "\n        present  %" PRIu64,
		(int)zone->node, zone->name, zone->free_pages,
		zone->wmark_min_pages, zone->wmark_low_pages,
		zone->wmark_high_pages, zone->spanned_pages,
		zone->present_pages);
	put_counter(out, "    ", "nr_free_pages", zone->free_pages);
	put_old_counters(out, zone, "    ");
	put_own_counters(out, zone, "    ");
	put_protection(out, zone, bs_snapshot_nr_zones(s));
	put_pagesets(out, s, zone, BS_FORMAT_2_6_29);
	bs_buf_printf(out,
		      "\n  all_unreclaimable: 0"
		      "\n  prev_priority:     12"
		      "\n  start_pfn:         %" PRIu64
		      "\n  inactive_ratio:    1\n",
		      zone->start_pfn);
}

void bs_text_zoneinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	bool first = true;

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (opt->format == BS_FORMAT_2_6_29) {
			if (bs_render_populated(zone))
				put_zone_old(out, s, zone);
			continue;
		}
		put_zone_modern(out, s, zone,
				first && bs_render_populated(zone));
		first = first && !bs_render_populated(zone);
	}
}

static void put_zone_details(struct bs_json *json, const struct bs_snapshot *s,
			     const struct bs_abi_zone *zone)
{
	uint64_t nr_zones = bs_snapshot_nr_zones(s);

	bs_render_zone_pages(json, zone);
	bs_json_bool(json, "elastic", zone->elastic);
	bs_json_u64(json, "spanned_pages", zone->spanned_pages);
	bs_json_u64(json, "start_pfn", zone->start_pfn);
	bs_json_u64(json, "min_pages", zone->wmark_min_pages);
	bs_json_u64(json, "low_pages", zone->wmark_low_pages);
	bs_json_u64(json, "high_pages", zone->wmark_high_pages);
	bs_render_counts(json, "protection_pages", zone->protection_pages,
			 nr_zones < BS_MAX_ZONES ? (unsigned int)nr_zones
						 : BS_MAX_ZONES);
	bs_json_u64(json, "slab_reclaimable_pages",
		    zone->slab_reclaimable_pages);
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
	bs_json_u64(json, "peak_used_pages", zone->peak_used_pages);
	bs_json_object(json, "pcp");
	bs_json_u64(json, "high", zone->pcp_high);
	bs_json_u64(json, "batch", zone->pcp_batch);
	bs_json_u64(json, "refills", zone->pcp_refills);
	bs_json_u64(json, "drains", zone->pcp_drains);
	bs_json_array(json, "count");
	for (unsigned int cpu = 0; cpu < nr_slots(s); cpu++)
		bs_json_u64(json, NULL, zone->pcp_count[cpu]);
	bs_json_array_end(json);
	bs_json_object_end(json);
}

static void put_vmstat_json(struct bs_json *json, const struct bs_snapshot *s)
{
	bs_json_object(json, "vmstat");
#define X(id, key, doc)                                                        \
	bs_json_u64(json, key, bs_snapshot_vmstat(s, BS_VMSTAT_##id));
	BS_VMSTAT_TABLE(X)
#undef X
	bs_json_object_end(json);
}

void bs_json_zoneinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		bs_render_begin_zone(&json, s, i);
		put_zone_details(&json, s, bs_snapshot_zone(s, i));
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	put_vmstat_json(&json, s);
	bs_render_end(&json);
}

/* ---- vmstat ------------------------------------------------------------ */

static uint64_t total(const struct bs_snapshot *s, size_t row)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		sum += zone_row(bs_snapshot_zone(s, i), row);
	return sum;
}

static uint64_t total_free(const struct bs_snapshot *s)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		sum += bs_snapshot_zone(s, i)->free_pages;
	return sum;
}

/* As /proc/vmstat: sums over the zones, then the counters of the whole. */
void bs_text_vmstat(struct bs_buf *out, const struct bs_snapshot *s,
		    const struct bs_render_options *opt)
{
	struct kernel_counters c = all_zones(s);

	(void)opt;
	bs_buf_printf(out,
		      "nr_free_pages %" PRIu64 "\n"
		      "nr_slab_reclaimable %" PRIu64 "\n"
		      "nr_slab_unreclaimable %" PRIu64 "\n",
		      total_free(s), c.reclaimable, c.slab);
	for (size_t row = 0; row < NR_ZONE_ROWS; row++)
		bs_buf_printf(out, "%s %" PRIu64 "\n", zone_rows[row].key,
			      total(s, row));
#define X(id, key, doc)                                                        \
	bs_buf_printf(out, "%s %" PRIu64 "\n", key,                            \
		      bs_snapshot_vmstat(s, BS_VMSTAT_##id));
	BS_VMSTAT_TABLE(X)
#undef X
}

void bs_json_vmstat(struct bs_buf *out, const struct bs_snapshot *s,
		    const struct bs_render_options *opt)
{
	struct kernel_counters c = all_zones(s);
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_object(&json, "zones");
	bs_json_u64(&json, "nr_free_pages", total_free(s));
	bs_json_u64(&json, "nr_slab_reclaimable", c.reclaimable);
	bs_json_u64(&json, "nr_slab_unreclaimable", c.slab);
	for (size_t row = 0; row < NR_ZONE_ROWS; row++)
		bs_json_u64(&json, zone_rows[row].key, total(s, row));
	bs_json_object_end(&json);
	put_vmstat_json(&json, s);
	bs_render_end(&json);
}
