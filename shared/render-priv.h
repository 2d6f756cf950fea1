/* SPDX-License-Identifier: MIT */
/*
 * render-priv.h - what the files behind render.h share.
 *
 * Owns:   nothing; private to shared/render*.c and shared/failure.c.
 * Layer:  shared.
 * Locks:  none.
 *
 * Every JSON answer about one target begins with its pid and comm.  Pages are
 * pages of 4096 bytes.  A key is never renamed.
 */
#ifndef BS_SHARED_RENDER_PRIV_H
#define BS_SHARED_RENDER_PRIV_H

#include "shared/render.h"

#define BS_RENDER_VIEW(name)                                                   \
	void bs_text_##name(struct bs_buf *out, const struct bs_snapshot *s,   \
			    const struct bs_render_options *opt);              \
	void bs_json_##name(struct bs_buf *out, const struct bs_snapshot *s,   \
			    const struct bs_render_options *opt)

BS_RENDER_VIEW(buddyinfo);
BS_RENDER_VIEW(pagetypeinfo);
BS_RENDER_VIEW(extfrag);
void bs_text_unusable(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt);
BS_RENDER_VIEW(zoneinfo);
BS_RENDER_VIEW(vmstat);
BS_RENDER_VIEW(slabinfo);
BS_RENDER_VIEW(slab_allocators);
BS_RENDER_VIEW(vmallocinfo);
BS_RENDER_VIEW(devices);
BS_RENDER_VIEW(failures);

/* Is it known which objects were allocated by whom? */
bool bs_slab_allocators_known(const struct bs_snapshot *s);

/* The kernel's populated_zone(). */
bool bs_render_populated(const struct bs_abi_zone *zone);
/* "Node 0, zone   NORMAL " */
void bs_render_zone_prefix(struct bs_buf *out, const struct bs_abi_zone *zone);
/* Name of zone number i; "?" where there is none. */
const char *bs_render_zone_name(const struct bs_snapshot *s, uint64_t i);

/* The outermost object with pid and comm; its end, with the newline. */
void bs_render_begin(struct bs_json *json, struct bs_buf *out,
		     const struct bs_snapshot *s);
void bs_render_end(struct bs_json *json);
/* An object with node, name and, if so, torn; the caller ends it. */
void bs_render_begin_zone(struct bs_json *json, const struct bs_snapshot *s,
			  uint64_t i);
void bs_render_zone_pages(struct bs_json *json, const struct bs_abi_zone *zone);
void bs_render_counts(struct bs_json *json, const char *key, const uint64_t *n,
		      unsigned int nr);

/* The shared object that a site's caller is in; NULL: none, or the program. */
const char *bs_caller_module(const struct bs_snapshot *s, uint32_t site);
/* The area's caller by opt->caller, else bs_caller_plain(); one token. */
bool bs_render_caller(const struct bs_snapshot *s,
		      const struct bs_render_options *opt, uint32_t site,
		      char *text, size_t len);

#endif
