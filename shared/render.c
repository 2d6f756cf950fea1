/* SPDX-License-Identifier: MIT */
/*
 * render.c - the table of views, and what they share.
 *
 * Owns:   names, options and order of the views; how a caller is written.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "shared/render-priv.h"

bool bs_render_populated(const struct bs_abi_zone *zone)
{
	return zone->present_pages != 0;
}

void bs_render_zone_prefix(struct bs_buf *out, const struct bs_abi_zone *zone)
{
	bs_buf_printf(out, "Node %d, zone %8s ", (int)zone->node, zone->name);
}

const char *bs_render_zone_name(const struct bs_snapshot *s, uint64_t i)
{
	return i < bs_snapshot_nr_zones(s) ? bs_snapshot_zone(s, i)->name : "?";
}

/* ---- JSON -------------------------------------------------------------- */

void bs_render_begin(struct bs_json *json, struct bs_buf *out,
		     const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);

	bs_json_init(json, out);
	bs_json_object(json, NULL);
	bs_json_i64(json, "pid", h->pid);
	bs_json_str(json, "comm", h->comm);
}

void bs_render_end(struct bs_json *json)
{
	bs_json_object_end(json);
	bs_buf_putc(json->buf, '\n');
}

void bs_render_counts(struct bs_json *json, const char *key, const uint64_t *n,
		      unsigned int nr)
{
	bs_json_array(json, key);
	for (unsigned int i = 0; i < nr; i++)
		bs_json_u64(json, NULL, n[i]);
	bs_json_array_end(json);
}

void bs_render_begin_zone(struct bs_json *json, const struct bs_snapshot *s,
			  uint64_t i)
{
	const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

	bs_json_object(json, NULL);
	bs_json_u64(json, "node", zone->node);
	bs_json_str(json, "name", zone->name);
	if (bs_snapshot_zone_torn(s, i))
		bs_json_bool(json, "torn", true);
}

void bs_render_zone_pages(struct bs_json *json, const struct bs_abi_zone *zone)
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

/* ---- callers ----------------------------------------------------------- */

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

const char *bs_caller_module(const struct bs_snapshot *s, uint32_t site)
{
	const struct bs_abi_module *m;
	const char *base;
	uint64_t pc;
	size_t nr;

	if (site == 0 || site >= bs_snapshot_nr_sites(s))
		return NULL;
	bs_snapshot_stack(s, bs_snapshot_site(s, site)->node, &pc, 1, &nr);
	m = nr ? bs_symbols_module(s, pc, bs_snapshot_site(s, site)->first_ns)
	       : NULL;
	if (!m)
		return NULL;
	base = strrchr(m->path, '/');
	base = base ? base + 1 : m->path;
	/* The program itself stands where the kernel's own image does. */
	return strcmp(m->path, bs_snapshot_header(s)->exe) ? base : NULL;
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

/* ---- views ------------------------------------------------------------- */

const struct bs_view bs_views[] = {
	{ "buddyinfo", "free blocks per order of each zone", BS_SNAP_ZONES,
	  bs_text_buddyinfo, bs_json_buddyinfo, NULL, NULL },
	{ "pagetypeinfo", "free blocks per order and migrate type",
	  BS_SNAP_ZONES, bs_text_pagetypeinfo, bs_json_pagetypeinfo, NULL,
	  NULL },
	{ "zoneinfo", "pages, watermarks and counters of each zone",
	  BS_SNAP_ZONES, bs_text_zoneinfo, bs_json_zoneinfo, NULL, NULL },
	{ "vmstat", "all counters, one a line", BS_SNAP_ZONES, bs_text_vmstat,
	  bs_json_vmstat, NULL, NULL },
	{ "slabinfo", "objects and slabs of each cache", BS_SNAP_CACHES,
	  bs_text_slabinfo, bs_json_slabinfo, NULL, NULL },
	{ "slab_allocators", "who holds the objects of each cache",
	  BS_SNAP_CACHES | BS_SNAP_OWNERS | BS_SNAP_STACKS,
	  bs_text_slab_allocators, bs_json_slab_allocators,
	  bs_slab_allocators_known,
	  "no cache keeps who allocated its objects; "
	  "run the program with -o slab_debug=U" },
	{ "vmallocinfo", "large allocations and mappings with their callers",
	  BS_SNAP_AREAS | BS_SNAP_STACKS, bs_text_vmallocinfo,
	  bs_json_vmallocinfo, NULL, NULL },
	{ "devices", "DMA memory of each device, and carve-outs",
	  BS_SNAP_ZONES | BS_SNAP_DEVICES | BS_SNAP_AREAS, bs_text_devices,
	  bs_json_devices, NULL, NULL },
	{ "extfrag", "fragmentation index of each zone and order",
	  BS_SNAP_ZONES, bs_text_extfrag, bs_json_extfrag, NULL, NULL },
	{ "unusable", "unusable free space index of each zone and order",
	  BS_SNAP_ZONES, bs_text_unusable, bs_json_extfrag, NULL, NULL },
	{ "failures", "requests that failed, and why",
	  BS_SNAP_ZONES | BS_SNAP_EVENTS | BS_SNAP_AREAS | BS_SNAP_STACKS,
	  bs_text_failures, bs_json_failures, NULL, NULL },
	{ NULL, NULL, 0, NULL, NULL, NULL, NULL },
};

const struct bs_view *bs_view_find(const char *name)
{
	for (const struct bs_view *v = bs_views; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}

const struct bs_view_option bs_view_options[] = {
	{ "format", NULL, true },
	{ "unusable", "extfrag", false },
	{ "statistics", "slabinfo", false },
	{ "paths", "vmallocinfo", false },
	{ "all", "failures", false },
	{ NULL, NULL, false },
};

static bool set_format(struct bs_render_options *opt, const char *value,
		       struct bs_buf *err)
{
	if (!strcmp(value, "modern")) {
		opt->format = BS_FORMAT_MODERN;
	} else if (!strcmp(value, "2.6.29")) {
		opt->format = BS_FORMAT_2_6_29;
	} else {
		bs_buf_puts(err, "unknown format '");
		bs_buf_puts_clean(err, value);
		bs_buf_puts(err, "'; there are 'modern' and '2.6.29'");
		return false;
	}
	return true;
}

bool bs_view_set_option(const struct bs_view **view,
			struct bs_render_options *opt, const char *name,
			const char *value, struct bs_buf *err)
{
	const struct bs_view_option *o = bs_view_options;

	while (o->name && strcmp(o->name, name))
		o++;
	if (!o->name) {
		bs_buf_printf(err, "no option --%s", name);
		return false;
	}
	if (o->view && strcmp(o->view, (*view)->name)) {
		bs_buf_printf(err, "--%s belongs to %s", name, o->view);
		return false;
	}
	if (!strcmp(name, "format"))
		return set_format(opt, value, err);
	if (!strcmp(name, "unusable"))
		*view = bs_view_find("unusable");
	opt->statistics |= !strcmp(name, "statistics");
	opt->paths |= !strcmp(name, "paths");
	opt->all |= !strcmp(name, "all");
	return true;
}

void bs_render_use_symbols(struct bs_render_options *opt,
			   struct bs_symbolizer *sym)
{
	opt->symbolizer = sym;
	opt->caller = sym ? bs_symbolizer_caller : NULL;
	opt->caller_arg = sym;
}
