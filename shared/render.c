/* SPDX-License-Identifier: MIT */
/*
 * render.c - the kernel's text files from a snapshot.
 *
 * Owns:   buddyinfo, pagetypeinfo, zoneinfo, slabinfo, vmallocinfo and extfrag
 *         as text, byte for byte; the table of views.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmstat.c (frag_show, pagetypeinfo_show, zoneinfo_show_print,
 *         extfrag_show_print), mm/slab.c and mm/slab_common.c (slabinfo_show),
 *         mm/vmalloc.c (vmalloc_info_show) of Linux 2.6.29 and 6.x.
 *
 * Trailing blanks and odd indents are the kernel's; parsers rely on them.
 */
#include "shared/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/fragindex.h"
#include "shared/render-json.h"

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

/* The kernel's populated_zone(). */
static bool populated(const struct bs_abi_zone *zone)
{
	return zone->present_pages != 0;
}

static void put_zone_prefix(struct bs_buf *out, const struct bs_abi_zone *zone)
{
	bs_buf_printf(out, "Node %d, zone %8s ", (int)zone->node, zone->name);
}

/* ---- buddyinfo --------------------------------------------------------- */

static void text_buddyinfo(struct bs_buf *out, const struct bs_snapshot *s,
			   const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];

	(void)opt;
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!populated(zone))
			continue;
		put_zone_prefix(out, zone);
		bs_zone_free_blocks(zone, n);
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
			bs_buf_printf(out, "%6" PRIu64 " ", n[o]);
		bs_buf_putc(out, '\n');
	}
}

/* ---- pagetypeinfo ------------------------------------------------------ */

static void put_free_by_type(struct bs_buf *out, const struct bs_snapshot *s,
			     const struct type_name *types)
{
	bs_buf_printf(out, "%-43s ",
		      "Free pages count per migrate type at order");
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_buf_printf(out, "%6d ", (int)o);
	bs_buf_putc(out, '\n');
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!populated(zone))
			continue;
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++) {
			const uint64_t *n = zone->nr_free[types[t].type];

			bs_buf_printf(out, "Node %4d, zone %8s, type %12s ",
				      (int)zone->node, zone->name,
				      types[t].name);
			for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
				bs_buf_printf(out, "%6" PRIu64 " ", n[o]);
			bs_buf_putc(out, '\n');
		}
	}
}

static void text_pagetypeinfo(struct bs_buf *out, const struct bs_snapshot *s,
			      const struct bs_render_options *opt)
{
	const struct type_name *types =
		opt->format == BS_FORMAT_2_6_29 ? old_types : modern_types;

	bs_buf_printf(out, "Page block order: %d\n", (int)BS_PAGEBLOCK_ORDER);
	bs_buf_printf(out, "Pages per block:  %lu\n\n",
		      1UL << BS_PAGEBLOCK_ORDER);
	put_free_by_type(out, s, types);
	bs_buf_printf(out, "\n%-23s", "Number of blocks type ");
	for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
		bs_buf_printf(out, "%12s ", types[t].name);
	bs_buf_putc(out, '\n');
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!populated(zone))
			continue;
		put_zone_prefix(out, zone);
		for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
			bs_buf_printf(out, "%12" PRIu64 " ",
				      zone->nr_blocks[types[t].type]);
		bs_buf_putc(out, '\n');
	}
}

/* ---- zoneinfo ---------------------------------------------------------- */

static void put_counter(struct bs_buf *out, const char *indent,
			const char *name, uint64_t value)
{
	bs_buf_printf(out, "\n%s%-12s %" PRIu64, indent, name, value);
}

/*
 * What the kernel's counters are for us: slabs cannot be reclaimed; large,
 * vmalloc and mmap pages are the program's anonymous memory; the engine's
 * own tables stand where the page tables do.
 */
static void put_node_counters(struct bs_buf *out, const struct bs_snapshot *s)
{
	uint64_t use[BS_NR_USES] = { 0 };
	static const char indent[] = "      ";

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		for (unsigned int u = 0; u < BS_NR_USES; u++)
			use[u] += bs_snapshot_zone(s, i)->used_pages[u];
	bs_buf_puts(out, "\n  per-node stats");
	put_counter(out, indent, "nr_slab_reclaimable", 0);
	put_counter(out, indent, "nr_slab_unreclaimable", use[BS_USE_SLAB]);
	put_counter(out, indent, "nr_anon_pages",
		    use[BS_USE_LARGE] + use[BS_USE_VMALLOC] + use[BS_USE_MMAP]);
	put_counter(out, indent, "nr_page_table_pages", use[BS_USE_TABLE]);
}

static void put_zone_counters(struct bs_buf *out,
			      const struct bs_abi_zone *zone,
			      const char *indent)
{
	put_counter(out, indent, "nr_free_pages", zone->free_pages);
#define X(id, nr, key)                                                         \
	put_counter(out, indent, "nr_" key, zone->used_pages[BS_USE_##id]);
	BS_USE_TABLE(X)
#undef X
	put_counter(out, indent, "pgalloc", zone->nr_alloc);
	put_counter(out, indent, "pgfree", zone->nr_free_calls);
	put_counter(out, indent, "pgsplit", zone->nr_split);
	put_counter(out, indent, "pgmerge", zone->nr_merge);
	put_counter(out, indent, "pgfallback", zone->nr_fallback);
	put_counter(out, indent, "pgtypefallback", zone->nr_type_fallback);
	put_counter(out, indent, "allocfail", zone->nr_failed);
	put_counter(out, indent, "pghotadd", zone->hot_added_pages);
	put_counter(out, indent, "pghotremove", zone->hot_removed_pages);
	put_counter(out, indent, "pgreported", zone->reported_pages);
	put_counter(out, indent, "nr_overcommit", zone->overcommit_pages);
}

static void put_protection(struct bs_buf *out, const struct bs_abi_zone *zone,
			   uint64_t nr_zones)
{
	bs_buf_printf(out, "\n        protection: (%" PRId64,
		      (int64_t)zone->protection_pages[0]);
	for (uint64_t i = 1; i < nr_zones && i < 4; i++)
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
	if (!populated(zone)) { /* the kernel stops here, too */
		bs_buf_putc(out, '\n');
		return;
	}
	put_zone_counters(out, zone, "      ");
	/* The per-CPU lists are published as one sum. */
	bs_buf_printf(out,
		      "\n  pagesets"
		      "\n    cpu: 0"
		      "\n              count:    %" PRIu64
		      "\n              high:     0"
		      "\n              batch:    0"
		      "\n              high_min: 0"
		      "\n              high_max: 0"
		      "\n  node_unreclaimable:  0"
		      "\n  start_pfn:           %" PRIu64 "\n",
		      zone->used_pages[BS_USE_PCP], zone->start_pfn);
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
	put_zone_counters(out, zone, "    ");
	put_protection(out, zone, bs_snapshot_nr_zones(s));
	bs_buf_printf(
		out,
		"\n  pagesets"
		"\n    cpu: 0"
		"\n              count: %" PRIu64 "\n              high:  0"
		"\n              batch: 0"
		"\n  all_unreclaimable: 0"
		"\n  prev_priority:     12"
		"\n  start_pfn:         %" PRIu64 "\n  inactive_ratio:    1\n",
		zone->used_pages[BS_USE_PCP], zone->start_pfn);
}

static void text_zoneinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	bool first = true;

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (opt->format == BS_FORMAT_2_6_29) {
			if (populated(zone))
				put_zone_old(out, s, zone);
			continue;
		}
		put_zone_modern(out, s, zone, first && populated(zone));
		first = first && !populated(zone);
	}
}

/* ---- slabinfo ---------------------------------------------------------- */

static void text_slabinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	(void)opt;
	bs_buf_puts(out,
		    "slabinfo - version: 2.1\n"
		    "# name            <active_objs> <num_objs> <objsize> "
		    "<objperslab> <pagesperslab>"
		    " : tunables <limit> <batchcount> <sharedfactor>"
		    " : slabdata <active_slabs> <num_slabs> <sharedavail>\n");
	for (uint64_t i = 0; i < bs_snapshot_nr_caches(s); i++) {
		const struct bs_abi_cache *c = bs_snapshot_cache(s, i);

		bs_buf_printf(out,
			      "%-17s %6" PRIu64 " %6" PRIu64 " %6u %4u %4d",
			      c->name, c->active_objs, c->num_objs,
			      c->object_bytes, c->objs_per_slab,
			      (int)c->pages_per_slab);
		bs_buf_printf(out, " : tunables %4u %4u %4u", c->limit,
			      c->batchcount, c->shared);
		bs_buf_printf(out,
			      " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64
			      "\n",
			      c->active_slabs, c->num_slabs, c->shared_avail);
	}
}

/* ---- vmallocinfo ------------------------------------------------------- */

bool bs_caller_plain(const struct bs_snapshot *s, uint32_t site, char *text,
		     size_t len)
{
	const struct bs_abi_module *m;
	const char *base;
	uint64_t pc;
	size_t nr;

	if (site == 0 || site >= bs_snapshot_nr_sites(s))
		return false;
	bs_snapshot_stack(s, bs_snapshot_site(s, site)->node, &pc, 1, &nr);
	if (nr == 0)
		return false;
	m = bs_snapshot_find_module(s, pc, bs_snapshot_site(s, site)->last_ns);
	if (!m) {
		snprintf(text, len, "0x%" PRIx64, pc);
		return true;
	}
	base = strrchr(m->path, '/');
	snprintf(text, len, "%s+0x%" PRIx64 "/0x%" PRIx64,
		 base ? base + 1 : m->path, pc - m->start, m->end - m->start);
	return true;
}

bool bs_render_caller(const struct bs_snapshot *s,
		      const struct bs_render_options *opt, uint32_t site,
		      char *text, size_t len)
{
	bool found = site && opt->caller &&
		     opt->caller(opt->caller_arg, s, site, text, len);

	if (!found)
		found = bs_caller_plain(s, site, text, len);
	/* One token: a path with a blank in it must not make two. */
	for (char *c = text; found && *c; c++)
		if ((unsigned char)*c <= 0x20 || *c == 0x7f)
			*c = '_';
	return found;
}

static void put_area(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_abi_area *a,
		     const struct bs_render_options *opt)
{
	bool modern = opt->format == BS_FORMAT_MODERN;
	uint64_t bytes = a->bytes + a->guard_bytes;
	char caller[512];

	bs_buf_printf(out, "0x%016" PRIx64 "-0x%016" PRIx64 " %7" PRId64,
		      a->addr, a->addr + bytes, (int64_t)bytes);
	if (a->flags & BS_AREA_LAZY) {
		bs_buf_puts(out, " unpurged vm_area\n");
		return;
	}
	if (bs_render_caller(s, opt, a->site, caller, sizeof(caller)))
		bs_buf_printf(out, " %s", caller);
	if (a->charged_pages)
		bs_buf_printf(out, " pages=%d", (int)a->charged_pages);
	if ((a->flags & BS_AREA_IOREMAP) && a->offset)
		bs_buf_printf(out,
			      modern ? " phys=0x%016" PRIx64 : " phys=%" PRIx64,
			      a->offset);
	if (a->flags & BS_AREA_IOREMAP)
		bs_buf_puts(out, " ioremap");
	if (a->flags & BS_AREA_ALLOC)
		bs_buf_puts(out, " vmalloc");
	if (a->flags & BS_AREA_MAP)
		bs_buf_puts(out, " vmap");
	if (a->flags & BS_AREA_USERMAP)
		bs_buf_puts(out, " user");
	if (a->flags & BS_AREA_VPAGES)
		bs_buf_puts(out, " vpages");
	if (a->charged_pages)
		bs_buf_printf(out, " N0=%u", (unsigned int)a->charged_pages);
	bs_buf_putc(out, '\n');
}

static void text_vmallocinfo(struct bs_buf *out, const struct bs_snapshot *s,
			     const struct bs_render_options *opt)
{
	for (uint64_t i = 0; i < bs_snapshot_nr_areas(s); i++) {
		const struct bs_abi_area *a = bs_snapshot_area(s, i);

		/* 2.6.29 lists no areas that wait for their purge. */
		if ((a->flags & BS_AREA_LAZY) &&
		    opt->format == BS_FORMAT_2_6_29)
			continue;
		put_area(out, s, a, opt);
	}
}

/* ---- extfrag ----------------------------------------------------------- */

static void text_extfrag(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];

	(void)opt;
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!populated(zone))
			continue;
		put_zone_prefix(out, zone);
		bs_zone_free_blocks(zone, n);
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
			int index = bs_fragmentation_index(n, o);

			bs_buf_printf(out, "%2d.%03d ", index / 1000,
				      index % 1000);
		}
		bs_buf_putc(out, '\n');
	}
}

static void text_unusable(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt)
{
	uint64_t n[BS_NR_ORDERS];

	(void)opt;
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!populated(zone))
			continue;
		put_zone_prefix(out, zone);
		bs_zone_free_blocks(zone, n);
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
			int index = bs_unusable_free_index(n, o);

			bs_buf_printf(out, "%d.%03d ", index / 1000,
				      index % 1000);
		}
		bs_buf_putc(out, '\n');
	}
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

/* ---- views ------------------------------------------------------------- */

#define AREA_SECTIONS                                                          \
	(BS_SNAP_AREAS | BS_SNAP_SITES | BS_SNAP_NODES | BS_SNAP_MODULES)

const struct bs_view bs_views[] = {
	{ "buddyinfo", "free blocks per order of each zone", BS_SNAP_ZONES,
	  text_buddyinfo, bs_json_buddyinfo },
	{ "pagetypeinfo", "free blocks per order and migrate type",
	  BS_SNAP_ZONES, text_pagetypeinfo, bs_json_pagetypeinfo },
	{ "zoneinfo", "pages, watermarks and counters of each zone",
	  BS_SNAP_ZONES, text_zoneinfo, bs_json_zoneinfo },
	{ "slabinfo", "objects and slabs of each cache", BS_SNAP_CACHES,
	  text_slabinfo, bs_json_slabinfo },
	{ "vmallocinfo", "large allocations and mappings with their callers",
	  AREA_SECTIONS, text_vmallocinfo, bs_json_vmallocinfo },
	{ "extfrag", "fragmentation index of each zone and order",
	  BS_SNAP_ZONES, text_extfrag, bs_json_extfrag },
	{ "unusable", "unusable free space index of each zone and order",
	  BS_SNAP_ZONES, text_unusable, bs_json_extfrag },
	{ NULL, NULL, 0, NULL, NULL },
};

const struct bs_view *bs_view_find(const char *name)
{
	for (const struct bs_view *v = bs_views; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

const char *bs_trace_name(uint32_t trace_mode)
{
	switch (trace_mode) {
	case BS_TRACE_OFF:
		return "off";
	case BS_TRACE_EXACT:
		return "exact";
	default:
		return "?";
	}
}
