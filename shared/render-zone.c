/* SPDX-License-Identifier: MIT */
/*
 * render-zone.c - the free lists: buddyinfo, pagetypeinfo, extfrag.
 *
 * Owns:   these files as text, byte for byte, and as JSON.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmstat.c (frag_show, pagetypeinfo_show, extfrag_show_print) of
 *         Linux 2.6.29 and 6.x.
 *
 * Trailing blanks are the kernel's; parsers rely on them.
 */
#include <inttypes.h>

#include "shared/fragindex.h"
#include "shared/render-priv.h"

struct type_name {
	uint32_t type; /* BS_MIGRATE_* */
	const char *name;
};

static const struct type_name modern_types[BS_MIGRATE_TYPES] = {
	{ BS_MIGRATE_UNMOVABLE, "Unmovable" },
	{ BS_MIGRATE_MOVABLE, "Movable" },
	{ BS_MIGRATE_RECLAIMABLE, "Reclaimable" },
	{ BS_MIGRATE_HIGHATOMIC, "HighAtomic" },
	{ BS_MIGRATE_ISOLATE, "Isolate" },
};

/* 2.6.29 called the blocks kept for atomic requests Reserve. */
static const struct type_name old_types[BS_MIGRATE_TYPES] = {
	{ BS_MIGRATE_UNMOVABLE, "Unmovable" },
	{ BS_MIGRATE_RECLAIMABLE, "Reclaimable" },
	{ BS_MIGRATE_MOVABLE, "Movable" },
	{ BS_MIGRATE_HIGHATOMIC, "Reserve" },
	{ BS_MIGRATE_ISOLATE, "Isolate" },
};

static const char *const migrate_keys[BS_MIGRATE_TYPES] = {
	[BS_MIGRATE_UNMOVABLE] = "unmovable",
	[BS_MIGRATE_MOVABLE] = "movable",
	[BS_MIGRATE_RECLAIMABLE] = "reclaimable",
	[BS_MIGRATE_HIGHATOMIC] = "highatomic",
	[BS_MIGRATE_ISOLATE] = "isolate",
};

/* ---- buddyinfo --------------------------------------------------------- */

void bs_text_buddyinfo(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];

	(void)opt;
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!bs_render_populated(zone))
			continue;
		bs_render_zone_prefix(out, zone);
		bs_zone_free_blocks(zone, n);
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
			bs_buf_printf(out, "%6" PRIu64 " ", n[o]);
		bs_buf_putc(out, '\n');
	}
}

/* ---- pagetypeinfo ------------------------------------------------------ */

/*
 * Since 5.5 the kernel counts its lists no further than this; 2.6.29 to the end.
 * Ours need no counting, but the file is the kernel's.  JSON has the number.
 */
#define COUNTED_MAX 100000U

static void put_count(struct bs_buf *out, uint64_t n,
		      enum bs_kernel_format format)
{
	bool cut = format == BS_FORMAT_MODERN && n >= COUNTED_MAX;

	bs_buf_printf(out, "%s%6" PRIu64 " ", cut ? ">" : "",
		      cut ? COUNTED_MAX : n);
}

static void put_free_by_type(struct bs_buf *out, const struct bs_snapshot *s,
			     const struct type_name *types,
			     enum bs_kernel_format format)
{
	bs_buf_printf(out, "%-43s ",
		      "Free pages count per migrate type at order");
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_buf_printf(out, "%6d ", (int)o);
	bs_buf_putc(out, '\n');
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!bs_render_populated(zone))
			continue;
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++) {
			const uint64_t *n = zone->nr_free[types[t].type];

			bs_buf_printf(out, "Node %4d, zone %8s, type %12s ",
				      (int)zone->node, zone->name,
				      types[t].name);
			for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
				put_count(out, n[o], format);
			bs_buf_putc(out, '\n');
		}
	}
}

void bs_text_pagetypeinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	const struct type_name *types =
		opt->format == BS_FORMAT_2_6_29 ? old_types : modern_types;

	bs_buf_printf(out, "Page block order: %d\n", (int)BS_PAGEBLOCK_ORDER);
	bs_buf_printf(out, "Pages per block:  %lu\n\n",
		      1UL << BS_PAGEBLOCK_ORDER);
	put_free_by_type(out, s, types, opt->format);
	bs_buf_printf(out, "\n%-23s", "Number of blocks type ");
	for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
		bs_buf_printf(out, "%12s ", types[t].name);
	bs_buf_putc(out, '\n');
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!bs_render_populated(zone))
			continue;
		bs_render_zone_prefix(out, zone);
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			bs_buf_printf(out, "%12" PRIu64 " ",
				      zone->nr_blocks[types[t].type]);
		bs_buf_putc(out, '\n');
	}
}

void bs_json_buddyinfo(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		bs_render_begin_zone(&json, s, i);
		bs_zone_free_blocks(zone, n);
		bs_render_counts(&json, "free", n, BS_NR_ORDERS);
		bs_render_zone_pages(&json, zone);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}

void bs_json_pagetypeinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_u64(&json, "pageblock_order", BS_PAGEBLOCK_ORDER);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		bs_render_begin_zone(&json, s, i);
		bs_json_object(&json, "free");
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			bs_render_counts(&json, migrate_keys[t],
					 zone->nr_free[t], BS_NR_ORDERS);
		bs_json_object_end(&json);
		bs_json_object(&json, "blocks");
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			bs_json_u64(&json, migrate_keys[t], zone->nr_blocks[t]);
		bs_json_object_end(&json);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}

/* ---- extfrag ----------------------------------------------------------- */

typedef int index_fn(const uint64_t n[BS_NR_ORDERS], unsigned int order);

static void text_index(struct bs_buf *out, const struct bs_snapshot *s,
		       index_fn *index, int width)
{
	uint64_t n[BS_NR_ORDERS];

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!bs_render_populated(zone))
			continue;
		bs_render_zone_prefix(out, zone);
		bs_zone_free_blocks(zone, n);
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
			int value = index(n, o);

			bs_buf_printf(out, "%*d.%03d ", width, value / 1000,
				      value % 1000);
		}
		bs_buf_putc(out, '\n');
	}
}

void bs_text_extfrag(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt)
{
	(void)opt;
	text_index(out, s, bs_fragmentation_index, 2);
}

void bs_text_unusable(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	(void)opt;
	text_index(out, s, bs_unusable_free_index, 1);
}

static void put_index(struct bs_json *json, const char *key,
		      const uint64_t n[BS_NR_ORDERS], index_fn *index)
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
	bs_render_begin(&json, out, s);
	bs_json_array(&json, "zones");
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		bs_render_begin_zone(&json, s, i);
		bs_zone_free_blocks(bs_snapshot_zone(s, i), n);
		bs_render_counts(&json, "free", n, BS_NR_ORDERS);
		bs_json_i64(&json, "largest_free_order",
			    bs_frag_largest_order(n));
		put_index(&json, "extfrag_index", n, bs_fragmentation_index);
		put_index(&json, "unusable_index", n, bs_unusable_free_index);
		put_index(&json, "extfrag_percent", n, bs_extfrag_for_order);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}

void bs_render_zone_line(struct bs_buf *out, const struct bs_abi_zone *zone)
{
	uint64_t n[BS_NR_ORDERS];

	bs_zone_free_blocks(zone, n);
	bs_buf_printf(out,
		      "zone %s: %" PRIu64 " of %" PRIu64
		      " pages free, largest free order ",
		      zone->name, zone->free_pages, zone->managed_pages);
	if (bs_frag_largest_order(n) < 0)
		bs_buf_puts(out, "none");
	else
		bs_buf_printf(out, "%d", bs_frag_largest_order(n));
	bs_buf_puts(out, ", unusable index");
	for (unsigned int o = BS_FRAG_LOW_ORDER; o < BS_NR_ORDERS; o++) {
		int index = bs_unusable_free_index(n, o);

		bs_buf_printf(out, " %d.%03d", index / 1000, index % 1000);
	}
	bs_buf_printf(out, " (orders %u to %u)", BS_FRAG_LOW_ORDER,
		      BS_NR_ORDERS - 1);
}

void bs_render_peak(struct bs_buf *out, const struct bs_snapshot *s)
{
	uint64_t pages = bs_snapshot_peak_pages(s);

	if (!pages)
		return;
	bs_buf_puts(out, "peak ");
	bs_buf_put_bytes(out, pages * BS_ABI_PAGE_BYTES);
	bs_buf_puts(out, " of pages, ");
}

void bs_render_refused(struct bs_buf *out, const struct bs_snapshot *s)
{
	uint64_t nr = bs_snapshot_vmstat(s, BS_VMSTAT_REFUSED), grown = 0;
	const struct bs_abi_header *h = bs_snapshot_header(s);

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		grown += bs_snapshot_zone(s, i)->nr_failed;
	if (nr)
		bs_buf_printf(out, "%" PRIu64 " %s found no memory", nr,
			      nr == 1 ? "request" : "requests");
	else if (grown)
		bs_buf_printf(
			out,
			"%" PRIu64
			" %s would have found no memory with oom=fail, as on a board",
			grown, grown == 1 ? "request" : "requests");
	else
		return;
	/* a report is made of those that do not say __GFP_NOWARN */
	if (h->section[BS_SEC_EVENTS].count)
		bs_buf_printf(out, ": 'buddyscope failures %d' says why",
			      h->pid);
	bs_buf_putc(out, '\n');
}
