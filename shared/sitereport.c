/* SPDX-License-Identifier: MIT */
/*
 * sitereport.c - call sites and leaks as text and JSON.
 *
 * Owns:   the form of sites in reports; which form is meant.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitereport.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/render.h"
#include "shared/sitelife.h"
#include "shared/sitelist.h"
#include "shared/sitethread.h"

const char *bs_verdict_name(enum bs_verdict verdict)
{
	switch (verdict) {
	case BS_VERDICT_NONE:
		return "none";
	case BS_VERDICT_SUSPECT:
		return "suspect";
	case BS_VERDICT_STOPPED:
		return "stopped";
	case BS_VERDICT_LEAK:
		return "leak";
	}
	return "?";
}

bool bs_site_sort_parse(const char *name, enum bs_site_sort *sort)
{
	static const char *const names[] = { "live", "growth", "allocs",
					     "bytes" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!strcmp(name, names[i])) {
			*sort = (enum bs_site_sort)i;
			return true;
		}
	}
	return false;
}

/* ---- text ------------------------------------------------------------------ */

static void put_windows(struct bs_buf *out, const struct bs_site_history *h)
{
	if (h->windows_per_cohort > 1)
		bs_buf_printf(out,
			      "survivors from %u of %u cohorts of %u windows",
			      h->survivor_cohorts, h->alloc_cohorts,
			      h->windows_per_cohort);
	else
		bs_buf_printf(out, "survivors from %u of %u windows",
			      h->survivor_cohorts, h->alloc_cohorts);
}

void bs_site_history_text(struct bs_buf *out, const struct bs_site_history *h)
{
	if (h->has_thirds)
		bs_buf_printf(out,
			      "floors of the thirds %" PRIu64 " -> %" PRIu64
			      " -> %" PRIu64 " bytes, ",
			      h->floor_bytes[0], h->floor_bytes[1],
			      h->floor_bytes[2]);
	put_windows(out, h);
	bs_buf_printf(out, ", %.1f allocations per window",
		      h->allocs_per_window);
	if (!h->has_thirds)
		bs_buf_printf(out, " (%u windows: too few for a verdict)",
			      h->windows);
}

static void put_estimate(struct bs_buf *out, const struct bs_site_counts *c)
{
	bs_buf_puts(out, "  ");
	bs_site_counts_put_share(out, c);
	bs_site_counts_put_error(out, c);
	bs_buf_printf(out,
		      "\n  %" PRIu64
		      " samples in all, standard error of allocs %.1f, of "
		      "bytes allocated %.0f\n",
		      c->sampled_allocs, sqrt(c->var_allocs),
		      sqrt(c->var_bytes_allocated));
}

static void site_text(struct bs_buf *out, const struct bs_sitereport *r,
		      uint64_t site)
{
	const struct bs_site_history *h = bs_site_history_of(r, site);
	struct bs_site_counts c = bs_site_counts(r->snapshot, site);

	bs_buf_printf(out, "site %" PRIu64 ": %s%" PRIu64 " bytes", site,
		      bs_live_mark(&c), c.live_bytes);
	if (c.live_bytes >= 1024) {
		bs_buf_puts(out, " (");
		bs_buf_put_bytes(out, c.live_bytes);
		bs_buf_putc(out, ')');
	}
	bs_buf_printf(out, " live in %s%" PRIu64 " objects", bs_live_mark(&c),
		      c.live_objects);
	if (h)
		bs_buf_printf(out, ", growth %+.1f bytes/s",
			      h->growth_bytes_per_s);
	if (h && h->verdict != BS_VERDICT_NONE)
		bs_buf_printf(out, ", %s%s%s",
			      h->verdict == BS_VERDICT_LEAK
				      ? "LEAK"
				      : bs_verdict_name(h->verdict),
			      c.sampled_allocs ? " (estimate)" : "",
			      h->starved ? " until requests were refused" : "");
	bs_buf_printf(out,
		      "\n  allocs %s%" PRIu64 ", frees %s%" PRIu64
		      ", bytes allocated %s%" PRIu64 "\n",
		      bs_total_mark(&c), c.allocs, bs_total_mark(&c), c.frees,
		      bs_total_mark(&c), c.bytes_allocated);
	if (c.sampled_allocs)
		put_estimate(out, &c);
	if (h && (r->leaks || h->verdict == BS_VERDICT_LEAK)) {
		bs_buf_puts(out, "  ");
		bs_site_history_text(out, h);
		bs_buf_putc(out, '\n');
	}
	if (r->leaks)
		bs_site_oldest_text(out, r, site);
	if (r->lifetimes)
		bs_site_lifetimes_text(out, r->snapshot, site);
	bs_site_thread_text(out, r->snapshot, site);
	bs_site_stack_text(out, r->snapshot, r->symbolizer, site);
	bs_buf_putc(out, '\n');
}

/* Of the program's life. */
static uint64_t windows_over(const struct bs_sitereport *r)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);

	if (!h->leak_window_ns || !r->now_ns || r->now_ns < h->created_ns)
		return BS_VERDICT_WINDOWS; /* not known */
	return (r->now_ns - h->created_ns) / h->leak_window_ns;
}

static void head_text(struct bs_buf *out, const struct bs_sitereport *r,
		      size_t nr, size_t total, const struct bs_site_counts *all)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	size_t leaks = 0;

	for (uint64_t i = 0; i < r->nr_history; i++)
		leaks += bs_site_history_of(r, i) &&
			 bs_site_history_of(r, i)->verdict == BS_VERDICT_LEAK;

	bs_buf_puts_clean(out, h->comm);
	bs_buf_printf(out, " (pid %d), trace ", h->pid);
	bs_trace_put(out, h);
	bs_buf_puts(out, ": ");
	if (r->leaks && r->history && r->ended)
		bs_buf_printf(out, "%zu %s, %zu sites with objects never freed",
			      leaks, leaks == 1 ? "leak" : "leaks", total);
	else if (r->leaks && r->history && !r->all && total > leaks)
		bs_buf_printf(out,
			      "%zu %s, %zu %s (no verdict before %u windows of "
			      "%.3g s)",
			      leaks, leaks == 1 ? "leak" : "leaks",
			      total - leaks,
			      total - leaks == 1 ? "suspect" : "suspects",
			      BS_VERDICT_WINDOWS,
			      (double)h->leak_window_ns / 1e9);
	else if (r->leaks && r->history) {
		bs_buf_printf(out, "%zu %s%s, windows of %.3g s", total,
			      r->all && total == 1 ? "leak or suspect"
			      : r->all		   ? "leaks and suspects"
			      : total == 1	   ? "leak"
						   : "leaks",
			      nr < total ? " (cut)" : "",
			      (double)h->leak_window_ns / 1e9);
		if (windows_over(r) < BS_VERDICT_WINDOWS)
			bs_buf_printf(
				out,
				" (no verdict before %u of them, %" PRIu64
				" are over; 'buddyscope sites %d' shows what lives)",
				BS_VERDICT_WINDOWS, windows_over(r), h->pid);
	} else if (r->leaks)
		bs_buf_printf(out, "%zu sites with unfreed objects, no history",
			      total);
	else
		bs_buf_printf(out, "%zu sites", total);
	if (nr < total)
		bs_buf_printf(out, ", the first %zu", nr);
	bs_buf_putc(out, '\n');
	bs_trace_put_off(out, h);
	bs_site_share_line(out, h, all);
	bs_buf_putc(out, '\n');
}

void bs_sitereport_text(struct bs_buf *out, const struct bs_sitereport *r)
{
	struct bs_site_choice *list;
	struct bs_site_counts all;
	size_t nr, total;

	list = bs_sites_choose(r, &nr, &total);
	all = r->leaks && !total ? bs_site_counts_all(r->snapshot)
				 : bs_sites_sum(r->snapshot, list, total);
	head_text(out, r, nr, total, &all);
	for (size_t i = 0; i < nr; i++)
		site_text(out, r, list[i].site);
	free(list);
}

/* ---- JSON ------------------------------------------------------------------ */

static void history_json(struct bs_json *j, const struct bs_site_history *h)
{
	bs_json_str(j, "verdict", h ? bs_verdict_name(h->verdict) : NULL);
	bs_json_bool(j, "starved", h && h->starved);
	if (!h) {
		bs_json_null(j, "floors_bytes");
		bs_json_null(j, "survivor_windows");
		bs_json_null(j, "alloc_windows");
		bs_json_null(j, "allocs_per_window");
		bs_json_u64(j, "windows", 0);
		return;
	}
	if (h->has_thirds) {
		bs_json_array(j, "floors_bytes");
		for (unsigned int k = 0; k < 3; k++)
			bs_json_u64(j, NULL, h->floor_bytes[k]);
		bs_json_array_end(j);
	} else {
		bs_json_null(j, "floors_bytes");
	}
	bs_json_u64(j, "survivor_windows",
		    (uint64_t)h->survivor_cohorts * h->windows_per_cohort);
	bs_json_u64(j, "alloc_windows",
		    (uint64_t)h->alloc_cohorts * h->windows_per_cohort);
	bs_json_double(j, "allocs_per_window", h->allocs_per_window, 1);
	bs_json_u64(j, "windows", h->windows);
}

static void site_json(struct bs_json *j, const struct bs_sitereport *r,
		      uint64_t site)
{
	const struct bs_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = bs_site_history_of(r, site);
	struct bs_site_counts c = bs_site_counts(r->snapshot, site);

	bs_json_object(j, NULL);
	bs_json_u64(j, "site", site);
	bs_site_counts_json(j, &c);
	if (h)
		bs_json_double(j, "growth_bytes_per_s", h->growth_bytes_per_s,
			       3);
	else
		bs_json_null(j, "growth_bytes_per_s");
	bs_json_u64(j, "peak_live_bytes", s->peak_live_bytes);
	bs_json_u64(j, "first_ns", s->first_ns);
	bs_json_u64(j, "last_ns", s->last_ns);
	bs_site_life_json(j, r, site);
	history_json(j, h);
	bs_site_thread_json(j, r->snapshot, site);
	bs_site_stack_json(j, "stack", r->snapshot, r->symbolizer, site);
	bs_json_object_end(j);
}

void bs_sitereport_json(struct bs_buf *out, const struct bs_sitereport *r)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	struct bs_site_choice *list;
	struct bs_site_counts all;
	size_t nr, total;
	struct bs_json j;

	list = bs_sites_choose(r, &nr, &total);
	all = bs_sites_sum(r->snapshot, list, total);
	bs_json_init(&j, out);
	bs_json_object(&j, NULL);
	bs_json_i64(&j, "pid", h->pid);
	bs_json_str(&j, "comm", h->comm);
	bs_trace_json(&j, h);
	bs_json_u64(&j, "leak_window_ns", h->leak_window_ns);
	bs_json_bool(&j, "history", r->history != NULL);
	bs_json_u64(&j, "nr_sites", total);
	bs_json_object(&j, "total");
	bs_site_counts_json(&j, &all);
	bs_json_object_end(&j);
	bs_json_array(&j, "sites");
	for (size_t i = 0; i < nr; i++)
		site_json(&j, r, list[i].site);
	bs_json_array_end(&j);
	bs_json_object_end(&j);
	bs_buf_putc(out, '\n');
	free(list);
}
