/* SPDX-License-Identifier: MIT */
/*
 * render-area.c - what is not in a cache: vmallocinfo, devices.
 *
 * Owns:   these as text and as JSON.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/vmalloc.c (s_show of 2.6.29, vmalloc_info_show of 6.x);
 *         fs/seq_file.c (mangle_path) for the way blanks in paths are written.
 */
#include <inttypes.h>
#include <string.h>

#include "shared/render-priv.h"

/* Where a mapping of a file begins in it is as near as we come. */
static uint64_t phys_of(const struct bs_abi_area *a)
{
	if (!(a->flags & BS_AREA_IOREMAP))
		return 0;
	return a->phys_addr ? a->phys_addr : a->offset;
}

/* One token, as in /proc/PID/maps: what is no printable ASCII is octal. */
static void put_path(struct bs_buf *out, const char *path)
{
	bs_buf_puts(out, " path=");
	for (; *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (c <= 0x20 || c >= 0x7f || c == '\\')
			bs_buf_printf(out, "\\%03o", c);
		else
			bs_buf_putc(out, (char)c);
	}
}

static void put_area(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_abi_area *a,
		     const struct bs_render_options *opt)
{
	bool modern = opt->format == BS_FORMAT_MODERN;
	uint64_t bytes = a->bytes + a->guard_bytes, phys = phys_of(a);
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
	if (phys)
		bs_buf_printf(out,
			      modern ? " phys=0x%016" PRIx64 : " phys=%" PRIx64,
			      phys);
	if (a->flags & BS_AREA_IOREMAP)
		bs_buf_puts(out, " ioremap");
	if (a->flags & BS_AREA_ALLOC)
		bs_buf_puts(out, " vmalloc");
	if (a->flags & (BS_AREA_MAP | BS_AREA_VMAP))
		bs_buf_puts(out, " vmap");
	if (a->flags & BS_AREA_USERMAP)
		bs_buf_puts(out, " user");
	if (a->flags & BS_AREA_VPAGES)
		bs_buf_puts(out, " vpages");
	if (a->charged_pages)
		bs_buf_printf(out, " N0=%u", (unsigned int)a->charged_pages);
	if (opt->paths && a->path[0])
		put_path(out, a->path);
	bs_buf_putc(out, '\n');
}

void bs_text_vmallocinfo(struct bs_buf *out, const struct bs_snapshot *s,
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

static void put_area_flags(struct bs_json *json, uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {
		{ BS_AREA_IOREMAP, "ioremap" },	  { BS_AREA_ALLOC, "vmalloc" },
		{ BS_AREA_MAP, "vmap" },	  { BS_AREA_USERMAP, "user" },
		{ BS_AREA_VPAGES, "vpages" },	  { BS_AREA_LAZY, "lazy" },
		{ BS_AREA_RESERVE, "reserve" },	  { BS_AREA_STACK, "stack" },
		{ BS_AREA_SHARED, "shared" },	  { BS_AREA_HUGE, "huge" },
		{ BS_AREA_VMAP, "pages" },	  { BS_AREA_DEVICE, "device" },
		{ BS_AREA_CARVEOUT, "carveout" },
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

	bs_render_begin(&json, out, s);
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
		if (phys_of(a))
			bs_json_addr(&json, "phys_addr", phys_of(a));
		else
			bs_json_null(&json, "phys_addr");
		bs_json_u64(&json, "prot", a->prot);
		bs_json_u64(&json, "site", a->site);
		if (bs_snapshot_area_torn(s, i))
			bs_json_bool(&json, "torn", true);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}

/* ---- devices ----------------------------------------------------------- */

static void put_devices(struct bs_buf *out, const struct bs_snapshot *s)
{
	bs_buf_printf(out, "%-16s %8s %10s %10s %7s %12s %10s %10s %8s %8s\n",
		      "device", "zone", "allocs", "frees", "failed",
		      "live_bytes", "live_pages", "peak_pages", "trimmed",
		      "kept");
	for (uint64_t i = 0; i < bs_snapshot_nr_devices(s); i++) {
		const struct bs_abi_device *d = bs_snapshot_device(s, i);

		bs_buf_printf(out,
			      "%-16s %8s %10" PRIu64 " %10" PRIu64 " %7" PRIu64
			      " %12" PRIu64 " %10" PRIu64 " %10" PRIu64
			      " %8" PRIu64 " %8" PRIu64 "\n",
			      d->name, bs_render_zone_name(s, d->zone),
			      d->allocs, d->frees, d->failed, d->live_bytes,
			      d->live_pages, d->peak_pages, d->trimmed_pages,
			      d->kept_pages);
	}
}

static void put_carveouts(struct bs_buf *out, const struct bs_snapshot *s)
{
	struct bs_buf name = BS_BUF_INIT;
	bool first = true;

	for (uint64_t i = 0; i < bs_snapshot_nr_areas(s); i++) {
		const struct bs_abi_area *a = bs_snapshot_area(s, i);

		if (!(a->flags & BS_AREA_CARVEOUT))
			continue;
		if (first)
			bs_buf_printf(out, "\n%-16s %18s %18s %12s %12s\n",
				      "carve-out", "phys", "mapped_at", "bytes",
				      "used_bytes");
		first = false;
		bs_buf_reset(&name);
		bs_buf_puts_clean(&name, a->path);
		bs_buf_printf(out,
			      "%-16s 0x%016" PRIx64 " 0x%016" PRIx64
			      " %12" PRIu64 " %12" PRIu64 "\n",
			      bs_buf_str(&name), a->phys_addr, a->addr,
			      a->bytes, a->requested_bytes);
	}
	out->failed |= name.failed;
	bs_buf_free(&name);
}

void bs_text_devices(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt)
{
	(void)opt;
	put_devices(out, s);
	put_carveouts(out, s);
}

void bs_json_devices(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_array(&json, "devices");
	for (uint64_t i = 0; i < bs_snapshot_nr_devices(s); i++) {
		const struct bs_abi_device *d = bs_snapshot_device(s, i);

		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", d->name);
		bs_json_str(&json, "zone", bs_render_zone_name(s, d->zone));
		bs_json_u64(&json, "allocs", d->allocs);
		bs_json_u64(&json, "frees", d->frees);
		bs_json_u64(&json, "failed", d->failed);
		bs_json_u64(&json, "live_bytes", d->live_bytes);
		bs_json_u64(&json, "live_pages", d->live_pages);
		bs_json_u64(&json, "peak_pages", d->peak_pages);
		bs_json_u64(&json, "trimmed_pages", d->trimmed_pages);
		bs_json_u64(&json, "kept_pages", d->kept_pages);
		if (d->seq & 1)
			bs_json_bool(&json, "torn", true);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_array(&json, "carveouts");
	for (uint64_t i = 0; i < bs_snapshot_nr_areas(s); i++) {
		const struct bs_abi_area *a = bs_snapshot_area(s, i);

		if (!(a->flags & BS_AREA_CARVEOUT))
			continue;
		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", a->path);
		bs_json_addr(&json, "addr", a->addr);
		bs_json_u64(&json, "bytes", a->bytes);
		bs_json_u64(&json, "used_bytes", a->requested_bytes);
		bs_json_addr(&json, "phys_addr", a->phys_addr);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}
