/* SPDX-License-Identifier: MIT */
/*
 * sitegroup.c - call sites added up by function, library, line or thread.
 *
 * Owns:   which frame a site is filed under, groups and their form.
 * Layer:  shared.
 * Locks:  none.
 *
 * A site is filed under its innermost frame that is no wrapper of an allocator
 * (wrapper.h); if all are, under the innermost; or under its thread (sitethread.h).
 * Each site is in one group, so groups add up.  Peaks do not: sites have theirs at different times.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/render.h"
#include "shared/sitelist.h"
#include "shared/sitethread.h"
#include "shared/wrapper.h"

struct group {
	struct bs_frame frame;		    /* all zero: no backtrace */
	const struct bs_abi_thread *thread; /* NULL: unknown */
	uint64_t nr_sites;
	struct bs_site_counts counts;
	double key;
	size_t rank; /* among equal keys: by name */
};

struct groups {
	struct group *list;
	size_t nr;
	size_t shown; /* the rest is cut */
	struct group all;
};

/* ---- one site ---------------------------------------------------------------- */

struct naming {
	struct bs_frame frame;
	bool any;   /* the innermost is in frame */
	bool found; /* one that is no wrapper */
};

static bool take_pc(void *arg, const struct bs_abi_module *module,
		    const struct bs_frame *frames, size_t nr)
{
	struct naming *n = arg;

	(void)module;
	for (size_t i = 0; i < nr && !n->found; i++) {
		n->found = !bs_is_alloc_wrapper(&frames[i]);
		if (n->found || !n->any)
			n->frame = frames[i];
		n->any = true;
	}
	return !n->found;
}

static struct group group_of(const struct bs_sitereport *r, uint64_t site)
{
	struct naming n = { 0 };
	struct group g = { .nr_sites = 1 };

	if (r->by == BS_BY_THREAD)
		g.thread = bs_snapshot_site_thread(r->snapshot, site);
	else
		bs_site_each_pc(r->snapshot, r->symbolizer, site, take_pc, &n);
	g.frame = n.frame;
	g.counts = bs_site_counts(r->snapshot, site);
	return g;
}

/* ---- order --------------------------------------------------------------------- */

static int by_text(const char *a, const char *b)
{
	if (!a || !b)
		return !!a - !!b;
	return strcmp(a, b);
}

static int by_number(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_module(const struct bs_frame *a, const struct bs_frame *b)
{
	return by_text(a->module, b->module);
}

/* Functions without a name are one group for each library. */
static int by_function(const struct bs_frame *a, const struct bs_frame *b)
{
	int order = by_text(a->function, b->function);

	return order ? order : by_module(a, b);
}

/* Where no line is known it is the place in the file. */
static int by_line(const struct bs_frame *a, const struct bs_frame *b)
{
	int order = by_text(a->file, b->file);

	if (order)
		return order;
	if (a->file)
		return by_number((uint64_t)a->line, (uint64_t)b->line);
	order = by_module(a, b);
	return order ? order : by_number(a->offset, b->offset);
}

/* ---- what a group is called ---------------------------------------------------- */

static void put_library(struct bs_buf *out, const struct bs_frame *f)
{
	bs_buf_puts_clean(out, f->module ? f->module : "(in no library)");
}

static void put_function(struct bs_buf *out, const struct bs_frame *f)
{
	bs_buf_puts_clean(out, f->function ? f->function : "??");
	bs_buf_puts(out, " (");
	if (f->module)
		bs_buf_puts_clean(out, bs_base_name(f->module));
	else
		bs_buf_puts(out, "in no library");
	bs_buf_putc(out, ')');
}

static void put_line(struct bs_buf *out, const struct bs_frame *f)
{
	if (f->file) {
		bs_buf_puts_clean(out, f->file);
		bs_buf_printf(out, ":%d", f->line);
	} else if (f->module) {
		bs_buf_puts_clean(out, f->module);
		bs_buf_printf(out, "+0x%" PRIx64, f->offset);
	} else {
		bs_buf_printf(out, "0x%" PRIx64, f->addr);
	}
}

/* By enum bs_site_by; a thread has no frame to go by. */
static const struct kind {
	const char *one;
	const char *many;
	int (*order)(const struct bs_frame *a, const struct bs_frame *b);
	void (*put)(struct bs_buf *out, const struct bs_frame *f);
} kinds[] = {
	[BS_BY_FUNCTION] = { "function", "functions", by_function,
			     put_function },
	[BS_BY_LIBRARY] = { "library", "libraries", by_module, put_library },
	[BS_BY_LINE] = { "line", "lines", by_line, put_line },
	[BS_BY_THREAD] = { "thread", "threads", NULL, NULL },
};

static void put_name(struct bs_buf *out, const struct bs_sitereport *r,
		     const struct group *g)
{
	if (r->by == BS_BY_THREAD)
		bs_thread_put_name(out, g->thread);
	else if (g->frame.addr)
		kinds[r->by].put(out, &g->frame);
	else
		bs_buf_puts(out, BS_NO_BACKTRACE);
}

/* ---- groups ---------------------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct group *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return by_number(x->rank, y->rank);
}

/* kind is what the groups are made by. */
static int by_place(const void *a, const void *b, void *kind)
{
	const struct group *g = a, *h = b;
	const struct bs_frame *x = &g->frame, *y = &h->frame;
	const struct kind *k = kind;

	if (!k->order)
		return bs_thread_order(g->thread, h->thread);
	if (!x->addr || !y->addr)
		return !!x->addr - !!y->addr;
	return k->order(x, y);
}

/* Neighbours that are the same become one; those that are too small go. */
static void merge(struct groups *g, const struct bs_sitereport *r)
{
	void *kind = (void *)&kinds[r->by];
	struct group *list = g->list;
	size_t nr = 0;

	qsort_r(list, g->nr, sizeof(*list), by_place, kind);
	for (size_t i = 0; i < g->nr; i++) {
		if (!nr || by_place(&list[nr - 1], &list[i], kind)) {
			list[nr++] = list[i];
			continue;
		}
		list[nr - 1].nr_sites++;
		bs_site_counts_add(&list[nr - 1].counts, &list[i].counts);
	}
	g->nr = 0;
	for (size_t i = 0; i < nr; i++) {
		list[i].key = bs_site_counts_key(&list[i].counts, r->sort);
		list[i].rank = i;
		if (list[i].counts.live_bytes >= r->min_bytes)
			list[g->nr++] = list[i];
	}
	qsort(list, g->nr, sizeof(*list), by_key);
}

/* False: out of memory. */
static bool make_groups(struct groups *g, const struct bs_sitereport *r)
{
	struct bs_sitereport every = *r;
	struct bs_site_choice *sites;
	size_t total;

	/* Limits are those of groups, not of the sites in them. */
	every.limit = 0;
	every.min_bytes = 0;
	sites = bs_sites_choose(&every, &g->nr, &total);
	g->list = calloc(g->nr ? g->nr : 1, sizeof(*g->list));
	g->all.nr_sites = g->nr;
	for (size_t i = 0; g->list && i < g->nr; i++) {
		g->list[i] = group_of(r, sites[i].site);
		bs_site_counts_add(&g->all.counts, &g->list[i].counts);
	}
	free(sites);
	if (!sites || !g->list)
		return false;
	merge(g, r);
	g->shown = r->limit && g->nr > r->limit ? r->limit : g->nr;
	return true;
}

/* ---- text ------------------------------------------------------------------------ */

static void put_number(struct bs_buf *out, int width, const char *mark,
		       uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%" PRIu64, mark, number);
	bs_buf_printf(out, "%*s ", width, text);
}

/* With the standard error of the live bytes if there is one anywhere. */
static void row_text(struct bs_buf *out, const struct group *g, bool errors)
{
	const struct bs_site_counts *c = &g->counts;

	put_number(out, 14, bs_live_mark(c), c->live_bytes);
	if (errors)
		bs_buf_printf(out, "%12.0f ", sqrt(c->var_live_bytes));
	put_number(out, 12, bs_live_mark(c), c->live_objects);
	put_number(out, 12, bs_total_mark(c), c->allocs);
	put_number(out, 12, bs_total_mark(c), c->frees);
	put_number(out, 16, bs_total_mark(c), c->bytes_allocated);
	bs_buf_printf(out, "%7" PRIu64 "  ", g->nr_sites);
}

void bs_sitegroup_text(struct bs_buf *out, const struct bs_sitereport *r)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	struct groups g = { 0 };
	bool errors;

	out->failed |= !make_groups(&g, r);
	errors = g.all.counts.sampled_allocs;
	bs_buf_puts_clean(out, h->comm);
	bs_buf_printf(out, " (pid %d), trace ", h->pid);
	bs_trace_put(out, h);
	bs_buf_printf(out, ": %" PRIu64 " sites in %zu %s", g.all.nr_sites,
		      g.nr, g.nr == 1 ? kinds[r->by].one : kinds[r->by].many);
	if (g.shown < g.nr)
		bs_buf_printf(out, ", the first %zu", g.shown);
	bs_buf_putc(out, '\n');
	bs_trace_put_off(out, h);
	bs_site_share_line(out, h, &g.all.counts);
	bs_buf_printf(out, "\n%14s ", "live bytes");
	if (errors)
		bs_buf_printf(out, "%12s ", "std error");
	bs_buf_printf(out, "%12s %12s %12s %16s %7s  %s\n", "live objects",
		      "allocs", "frees", "bytes allocated", "sites",
		      kinds[r->by].one);
	row_text(out, &g.all, errors);
	bs_buf_puts(out, "total\n");
	for (size_t i = 0; i < g.shown; i++) {
		row_text(out, &g.list[i], errors);
		put_name(out, r, &g.list[i]);
		if (r->by == BS_BY_THREAD)
			bs_thread_put_number(out, r->snapshot,
					     g.list[i].thread);
		bs_buf_putc(out, '\n');
	}
	free(g.list);
}

/* ---- JSON ------------------------------------------------------------------------ */

/* What the groups are made by, and nothing that differs inside one. */
static void frame_json(struct bs_json *j, const struct bs_sitereport *r,
		       const struct bs_frame *f)
{
	bool line = r->by == BS_BY_LINE;

	if (r->by == BS_BY_FUNCTION)
		bs_json_str(j, "function", f->function);
	if (line)
		bs_json_str(j, "file", f->file);
	if (line && f->file)
		bs_json_i64(j, "line", f->line);
	else if (line)
		bs_json_null(j, "line");
	if (!line || !f->file)
		bs_json_str(j, "module", f->module);
	if (line && !f->file)
		bs_json_u64(j, "offset", f->offset);
}

static void group_json(struct bs_json *j, const struct bs_sitereport *r,
		       const struct group *g)
{
	struct bs_buf name = BS_BUF_INIT;

	put_name(&name, r, g);
	bs_json_object(j, NULL);
	bs_json_str(j, "name", bs_buf_str(&name));
	if (r->by == BS_BY_THREAD)
		bs_threads_json(j, r->snapshot, g->thread);
	else
		frame_json(j, r, &g->frame);
	bs_json_u64(j, "sites", g->nr_sites);
	bs_site_counts_json(j, &g->counts);
	bs_json_object_end(j);
	bs_buf_free(&name);
}

void bs_sitegroup_json(struct bs_buf *out, const struct bs_sitereport *r)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	struct groups g = { 0 };
	struct bs_json j;

	out->failed |= !make_groups(&g, r);
	bs_json_init(&j, out);
	bs_json_object(&j, NULL);
	bs_json_i64(&j, "pid", h->pid);
	bs_json_str(&j, "comm", h->comm);
	bs_trace_json(&j, h);
	bs_json_str(&j, "by", kinds[r->by].one);
	bs_json_u64(&j, "nr_sites", g.all.nr_sites);
	bs_json_u64(&j, "nr_groups", g.nr);
	bs_json_object(&j, "total");
	bs_site_counts_json(&j, &g.all.counts);
	bs_json_object_end(&j);
	bs_json_array(&j, "groups");
	for (size_t i = 0; i < g.shown; i++)
		group_json(&j, r, &g.list[i]);
	bs_json_array_end(&j);
	bs_json_object_end(&j);
	bs_buf_putc(out, '\n');
	free(g.list);
}
