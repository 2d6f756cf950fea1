/* SPDX-License-Identifier: MIT */
/*
 * render.h - a snapshot as the kernel's files and as JSON.
 *
 * Owns:   the text formats of /proc/buddyinfo, pagetypeinfo, zoneinfo,
 *         slabinfo, slab_allocators, vmallocinfo and debugfs extfrag, byte for
 *         byte, and their JSON forms; the views that the kernel has no file for
 *         (vmstat, devices, failures); the table of running programs (ps).
 * Layer:  shared; used alike by the command (live segments, saved ones) and the
 *         daemon.
 * Locks:  none.
 * Source: mm/vmstat.c, mm/slab.c, mm/slab_common.c, mm/vmalloc.c of Linux
 *         2.6.29 and 6.x.
 *
 * A torn zone is rendered like any other; in JSON it carries "torn": true.
 */
#ifndef BS_SHARED_RENDER_H
#define BS_SHARED_RENDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"
#include "shared/snapshot.h"
#include "shared/symbols.h"
#include "shared/target.h"
#include "shared/tracing.h"

enum bs_kernel_format {
	BS_FORMAT_MODERN,
	BS_FORMAT_2_6_29,
};

/*
 * Names a caller the kernel's way ("symbol+0x1d/0x40", no blanks).  site is the
 * area's call site (0: unknown).  Returns false when it has nothing better than
 * the built-in "module+0xoffset/0xsize".
 */
typedef bool bs_caller_fn(void *arg, const struct bs_snapshot *s, uint32_t site,
			  char *text, size_t len);

struct bs_render_options {
	enum bs_kernel_format format;
	bs_caller_fn *caller; /* may be NULL */
	void *caller_arg;
	struct bs_symbolizer *symbolizer; /* of backtraces; may be NULL */
	bool statistics; /* slabinfo as a kernel with statistics has it */
	bool paths;	 /* vmallocinfo: file, device or carve-out, too */
	bool all;	 /* failures: every event */
};

/* One view of a target. */
struct bs_view {
	const char *name;
	const char *help;
	unsigned int sections; /* BS_SNAP_* that it needs */
	void (*text)(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt);
	/* One line of JSON, with its newline. */
	void (*json)(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt);
	/* Does the segment have what the view shows?  NULL: always. */
	bool (*known)(const struct bs_snapshot *s);
	const char *unknown; /* what to say if not */
};

/* All views, ended by a NULL name. */
extern const struct bs_view bs_views[];
/* NULL: no such view. */
const struct bs_view *bs_view_find(const char *name);

/* An option of views, beside --json. */
struct bs_view_option {
	const char *name;
	const char *view; /* the view that it belongs to; NULL: any */
	bool has_value;
};

/* Ended by a NULL name. */
extern const struct bs_view_option bs_view_options[];

/*
 * Applies the option `name` (one of bs_view_options[]); value is NULL or "" for
 * one without.  False with one line in err when the view does not have it or the
 * value is none of its values.
 */
bool bs_view_set_option(const struct bs_view **view,
			struct bs_render_options *opt, const char *name,
			const char *value, struct bs_buf *err);

/* Symbols for the views that show callers; sym may be NULL. */
void bs_render_use_symbols(struct bs_render_options *opt,
			   struct bs_symbolizer *sym);

/*
 * ps: every target with state, live bytes, trace mode and its tables, and below it
 * what did not fit or differ.  Reads each segment; one that cannot be read has
 * question marks, and live bytes 0 in JSON.
 */
void bs_render_ps_text(struct bs_buf *out, const struct bs_target_list *list);
void bs_render_ps_json(struct bs_buf *out, const struct bs_target_list *list);

/*
 * The caller of a site as "module+0xoffset/0xsize" (offset in the module, its
 * size), or "0x7f..." outside all modules.  False: site unknown.  The first
 * frame is the caller: our own frames are never in the depot.
 */
bool bs_caller_plain(const struct bs_snapshot *s, uint32_t site, char *text,
		     size_t len);

/*
 * The kernel's report line for a zone, used by summaries and logs:
 * "zone NORMAL: 120 free pages, largest free order 7, unusable index 0.012
 * 0.030 ... (orders 4 to 10)".  No newline.
 */
void bs_render_zone_line(struct bs_buf *out, const struct bs_abi_zone *zone);

/* "peak 15.5 MiB of pages, ", where that is known. */
void bs_render_peak(struct bs_buf *out, const struct bs_snapshot *s);

/* A line about requests for which there was no memory, if there were any. */
void bs_render_refused(struct bs_buf *out, const struct bs_snapshot *s);

#endif
