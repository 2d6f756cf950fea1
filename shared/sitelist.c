/* SPDX-License-Identifier: MIT */
/*
 * sitelist.c - see sitelist.h.
 *
 * Owns:   counters, choice and order of sites.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitelist.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define KIB2 (1024.0 * 1024.0) /* bytes^2 of a KiB^2 */

/* ---- counters ------------------------------------------------------------------ */

/* Objects of a sum in 1/256: to the nearest. */
static uint64_t whole(uint64_t objects_256)
{
	return objects_256 / 256 + (objects_256 % 256 >= 128);
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

struct bs_site_counts bs_site_counts(const struct bs_snapshot *s, uint64_t site)
{
	const struct bs_site *x = bs_snapshot_site(s, site);
	const struct bs_abi_estimate *e = bs_snapshot_estimate(s, site);
	struct bs_site_counts c = {
		.estimated_allocs = whole(e->allocs_256),
		.estimated_frees = whole(e->frees_256),
		.estimated_live_bytes = e->bytes_allocated - e->bytes_freed,
		.estimated_bytes_allocated = e->bytes_allocated,
		.sampled_allocs = e->sampled_allocs,
		.sampled_frees = e->sampled_frees,
		.var_live_objects = (double)(e->var_objects_allocated -
					     e->var_objects_freed),
		.var_live_bytes =
			(double)(e->var_bytes_allocated - e->var_bytes_freed) *
			KIB2,
		.var_allocs = (double)e->var_objects_allocated,
		.var_bytes_allocated = (double)e->var_bytes_allocated * KIB2,
	};

	c.allocs = sum(x->allocs, c.estimated_allocs);
	c.frees = sum(x->frees, c.estimated_frees);
	c.live_objects = c.allocs - c.frees;
	c.live_bytes = sum(x->bytes_allocated - x->bytes_freed,
			   c.estimated_live_bytes);
	c.bytes_allocated =
		sum(x->bytes_allocated, c.estimated_bytes_allocated);
	return c;
}

void bs_site_counts_add(struct bs_site_counts *to,
			const struct bs_site_counts *c)
{
	to->allocs += c->allocs;
	to->frees += c->frees;
	to->live_objects += c->live_objects;
	to->live_bytes += c->live_bytes;
	to->bytes_allocated += c->bytes_allocated;
	to->estimated_allocs += c->estimated_allocs;
	to->estimated_frees += c->estimated_frees;
	to->estimated_live_bytes += c->estimated_live_bytes;
	to->estimated_bytes_allocated += c->estimated_bytes_allocated;
	to->sampled_allocs += c->sampled_allocs;
	to->sampled_frees += c->sampled_frees;
	/* Each sample is drawn by itself: variances add up. */
	to->var_live_objects += c->var_live_objects;
	to->var_live_bytes += c->var_live_bytes;
	to->var_allocs += c->var_allocs;
	to->var_bytes_allocated += c->var_bytes_allocated;
}

struct bs_site_counts bs_site_counts_all(const struct bs_snapshot *s)
{
	struct bs_site_counts all = { 0 };

	for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++) {
		struct bs_site_counts c = bs_site_counts(s, i);

		bs_site_counts_add(&all, &c);
	}
	return all;
}

struct bs_site_counts bs_sites_sum(const struct bs_snapshot *s,
				   const struct bs_site_choice *list, size_t nr)
{
	struct bs_site_counts all = { 0 };

	for (size_t i = 0; i < nr; i++) {
		struct bs_site_counts c = bs_site_counts(s, list[i].site);

		bs_site_counts_add(&all, &c);
	}
	return all;
}

void bs_site_counts_json(struct bs_json *j, const struct bs_site_counts *c)
{
	bs_json_u64(j, "live_bytes", c->live_bytes);
	bs_json_u64(j, "live_objects", c->live_objects);
	bs_json_u64(j, "allocs", c->allocs);
	bs_json_u64(j, "frees", c->frees);
	bs_json_u64(j, "bytes_allocated", c->bytes_allocated);
	bs_json_bool(j, "estimated", c->sampled_allocs != 0);
	if (!c->sampled_allocs)
		return;
	bs_json_u64(j, "exact_live_bytes",
		    c->live_bytes - c->estimated_live_bytes);
	bs_json_u64(j, "exact_live_objects",
		    c->live_objects -
			    (c->estimated_allocs - c->estimated_frees));
	bs_json_u64(j, "exact_allocs", c->allocs - c->estimated_allocs);
	bs_json_u64(j, "exact_frees", c->frees - c->estimated_frees);
	bs_json_u64(j, "exact_bytes_allocated",
		    c->bytes_allocated - c->estimated_bytes_allocated);
	bs_json_u64(j, "sampled_allocs", c->sampled_allocs);
	bs_json_u64(j, "sampled_frees", c->sampled_frees);
	bs_json_double(j, "live_bytes_stderr", sqrt(c->var_live_bytes), 1);
	bs_json_double(j, "live_objects_stderr", sqrt(c->var_live_objects), 1);
	bs_json_double(j, "allocs_stderr", sqrt(c->var_allocs), 1);
	bs_json_double(j, "bytes_allocated_stderr",
		       sqrt(c->var_bytes_allocated), 1);
}

/* ---- what is exact, in words ---------------------------------------------------- */

const char *bs_live_mark(const struct bs_site_counts *c)
{
	return c->sampled_allocs > c->sampled_frees ? "~" : "";
}

const char *bs_total_mark(const struct bs_site_counts *c)
{
	return c->sampled_allocs ? "~" : "";
}

void bs_site_counts_put_live(struct bs_buf *out, const struct bs_site_counts *c)
{
	bs_buf_puts(out, bs_live_mark(c));
	bs_buf_put_bytes(out, c->live_bytes);
	bs_buf_printf(out, " in %s%" PRIu64 " objects", bs_live_mark(c),
		      c->live_objects);
}

/* Rounded down: 100 % is all of it. */
static unsigned int exact_percent(const struct bs_site_counts *c)
{
	uint64_t exact = c->live_bytes - c->estimated_live_bytes;

	if (exact >= c->live_bytes)
		return 100;
	return (unsigned int)((double)exact * 100 / (double)c->live_bytes);
}

void bs_site_counts_put_share(struct bs_buf *out,
			      const struct bs_site_counts *c)
{
	uint64_t samples = c->sampled_allocs - c->sampled_frees;

	bs_buf_printf(out, "exact %u %% of live bytes", exact_percent(c));
	if (samples)
		bs_buf_printf(out,
			      "; the rest is estimated from %" PRIu64 " %s",
			      samples, samples == 1 ? "sample" : "samples");
}

void bs_site_counts_put_error(struct bs_buf *out,
			      const struct bs_site_counts *c)
{
	if (c->sampled_allocs > c->sampled_frees)
		bs_buf_printf(out, ", standard error %.0f bytes, %.1f objects",
			      sqrt(c->var_live_bytes),
			      sqrt(c->var_live_objects));
}

void bs_site_share_line(struct bs_buf *out, const struct bs_abi_header *h,
			const struct bs_site_counts *c)
{
	if (!c->sampled_allocs &&
	    (h->trace_mode == BS_TRACE_EXACT || h->trace_mode == BS_TRACE_OFF))
		return;
	bs_site_counts_put_share(out, c);
	bs_site_counts_put_error(out, c);
	bs_buf_putc(out, '\n');
}

/* ---- order ---------------------------------------------------------------------- */

double bs_site_counts_key(const struct bs_site_counts *c,
			  enum bs_site_sort sort)
{
	switch (sort) {
	case BS_SORT_ALLOCS:
		return (double)c->allocs;
	case BS_SORT_BYTES:
		return (double)c->bytes_allocated;
	case BS_SORT_GROWTH:
	case BS_SORT_LIVE:
		break;
	}
	return (double)c->live_bytes;
}

static int by_key(const void *a, const void *b)
{
	const struct bs_site_choice *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return x->site < y->site ? -1 : x->site > y->site;
}

const struct bs_site_history *bs_site_history_of(const struct bs_sitereport *r,
						 uint64_t site)
{
	if (!r->history || site >= r->nr_history || !r->history[site].windows)
		return NULL;
	return &r->history[site];
}

/*
 * Who asks before there can be a verdict is told what it will be about.  Programs read
 * JSON, and ask again.
 */
static bool is_young(const struct bs_sitereport *r,
		     const struct bs_site_history *h)
{
	return r->form == BS_FORM_TEXT && h->verdict == BS_VERDICT_SUSPECT &&
	       h->windows < BS_VERDICT_WINDOWS;
}

static bool wanted(const struct bs_sitereport *r, uint64_t site,
		   const struct bs_site_counts *c)
{
	const struct bs_site_history *h = bs_site_history_of(r, site);

	if (!c->allocs || c->live_bytes < r->min_bytes)
		return false;
	if (r->only_site)
		return site == r->only_site;
	if (!r->leaks)
		return true;
	if (!r->history) /* nobody watched: what was not freed */
		return c->live_objects > 0;
	if (r->ended && c->live_objects > 0)
		return true;
	if (!h)
		return false;
	return h->verdict == BS_VERDICT_LEAK ||
	       (r->all && h->verdict != BS_VERDICT_NONE) || is_young(r, h);
}

static double sort_key(const struct bs_sitereport *r, uint64_t site,
		       const struct bs_site_counts *c)
{
	const struct bs_site_history *h = bs_site_history_of(r, site);

	/*
	 * Leaks in front of what stopped, in front of suspects; after the end
	 * leaks alone are in front of what was never freed.
	 */
	if (r->leaks && r->ended)
		return (h && h->verdict == BS_VERDICT_LEAK) * 1e18 +
		       (double)c->live_bytes;
	if (r->leaks && h)
		return h->verdict * 1e18 + (double)c->live_bytes;
	if (r->sort == BS_SORT_GROWTH)
		return h ? h->growth_bytes_per_s : -1e18;
	return bs_site_counts_key(c, r->sort);
}

struct bs_site_choice *bs_sites_choose(const struct bs_sitereport *r,
				       size_t *nr, size_t *total)
{
	uint64_t nr_sites = bs_snapshot_nr_sites(r->snapshot);
	struct bs_site_choice *list;
	size_t n = 0;

	*nr = *total = 0;
	list = calloc(nr_sites ? nr_sites : 1, sizeof(*list));
	if (!list)
		return NULL;
	for (uint64_t i = 0; i < nr_sites; i++) {
		struct bs_site_counts c = bs_site_counts(r->snapshot, i);

		if (wanted(r, i, &c))
			list[n++] = (struct bs_site_choice){ i, sort_key(r, i,
									 &c) };
	}
	qsort(list, n, sizeof(*list), by_key);
	*total = n;
	*nr = r->limit && n > r->limit ? r->limit : n;
	return list;
}

size_t bs_sites_top(const struct bs_snapshot *s, uint64_t *sites, size_t max)
{
	struct bs_sitereport r = { .snapshot = s,
				   .min_bytes = 1,
				   .limit = max };
	struct bs_site_choice *list;
	size_t nr, total;

	list = bs_sites_choose(&r, &nr, &total);
	for (size_t i = 0; i < nr && i < max; i++)
		sites[i] = list[i].site;
	free(list);
	return nr < max ? nr : max;
}
