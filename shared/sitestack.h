/* SPDX-License-Identifier: MIT */
/*
 * sitestack.h - the backtrace of a call site.
 *
 * Owns:   the way from a site to its frames, and the form of a backtrace in
 *         reports and logs.
 * Layer:  shared; on snapshot, symbols, json.
 * Locks:  none.
 */
#ifndef BS_SHARED_SITESTACK_H
#define BS_SHARED_SITESTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"
#include "shared/snapshot.h"
#include "shared/symbols.h"

#define BS_STACK_MAX 128 /* frames of a stack that are shown */

/*
 * A return address of a stack: its module (NULL: none) and the nr frames that it
 * stands for, innermost first; at least one.  False: enough, no more of them.
 */
typedef bool bs_site_pc_fn(void *arg, const struct bs_abi_module *module,
			   const struct bs_frame *frames, size_t nr);
typedef void bs_site_frame_fn(void *arg, const struct bs_frame *frame);

/* Each address of a site, innermost first, our own library's left out.  Without
 * a symbolizer (NULL) frames have an address and module only. */
void bs_site_each_pc(const struct bs_snapshot *s, struct bs_symbolizer *sym,
		     uint64_t site, bs_site_pc_fn *fn, void *arg);
/* The same frame by frame. */
void bs_site_each_frame(const struct bs_snapshot *s, struct bs_symbolizer *sym,
			uint64_t site, bs_site_frame_fn *fn, void *arg);

/* The function; if it has no name "libx.so+0x1234" or "0x7f...". */
void bs_frame_put_name(struct bs_buf *out, const struct bs_frame *frame);
/* What stands for the frames of a site that has none. */
#define BS_NO_BACKTRACE "(no backtrace)"

/* The last part of a path, all of it if it ends in a slash. */
const char *bs_base_name(const char *path);

/* The stack of a site: indented lines "  #0 function file:line (module+0xoff)" */
void bs_site_stack_text(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site);
/* The value of a key "stack": an array of frames. */
void bs_site_stack_json(struct bs_json *json, const char *key,
			const struct bs_snapshot *s, struct bs_symbolizer *sym,
			uint64_t site);
/*
 * For logs, on one line: "leak_one plugin.c:42 < tick plugin.c:60 < ...", and
 * " in thread demux" where that is known.
 */
void bs_site_stack_line(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site,
			size_t max_frames);
/*
 * Reads the segment at `path` once and fills in stacks[i], such a line for
 * sites[i], malloc'ed; NULL where there is none.
 */
void bs_site_stack_lines(const char *path, struct bs_symbolizer *sym,
			 const uint64_t *sites, char **stacks, size_t nr,
			 size_t max_frames);

#endif
