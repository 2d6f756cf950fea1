/* SPDX-License-Identifier: MIT */
/*
 * render-json.h - the JSON half of render.h, for render.c's table of views.
 *
 * Owns:   nothing; private to shared/render*.c.
 * Layer:  shared.
 * Locks:  none.
 */
#ifndef BS_SHARED_RENDER_JSON_H
#define BS_SHARED_RENDER_JSON_H

#include "shared/render.h"

void bs_json_buddyinfo(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_render_options *opt);
void bs_json_pagetypeinfo(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_render_options *opt);
void bs_json_zoneinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt);
void bs_json_slabinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt);
void bs_json_vmallocinfo(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_render_options *opt);
void bs_json_extfrag(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt);

/* The area's caller by opt->caller, else bs_caller_plain(); one token. */
bool bs_render_caller(const struct bs_snapshot *s,
		      const struct bs_render_options *opt, uint32_t site,
		      char *text, size_t len);

#endif
