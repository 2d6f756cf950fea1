/* SPDX-License-Identifier: MIT */
/*
 * sitereport.c - call sites, leaks and backtraces as text and JSON.
 *
 * Owns:   the choice, order and form of sites in reports.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitereport.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/render.h"

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

static uint64_t live_bytes(const struct bs_abi_site *s)
{
	return s->bytes_allocated - s->bytes_freed;
}

static uint64_t live_objects(const struct bs_abi_site *s)
{
	return s->allocs - s->frees;
}

/* ---- stacks ---------------------------------------------------------------- */

typedef void frame_fn(void *arg, const struct bs_frame *frame);

/* Each frame of a site, innermost first, our own library's left out. */
static void for_each_frame(const struct bs_snapshot *s,
			   struct bs_symbolizer *sym, uint64_t site,
			   frame_fn *fn, void *arg)
{
	const struct bs_abi_site *rec = bs_snapshot_site(s, site);
	uint64_t pcs[BS_STACK_MAX];
	size_t nr;

	bs_snapshot_stack(s, rec->node, pcs, BS_STACK_MAX, &nr);
	for (size_t i = 0; i < nr; i++) {
		const struct bs_abi_module *m =
			bs_symbols_module(s, pcs[i], rec->first_ns);
		const struct bs_frame *frames;
		struct bs_frame plain = { .addr = pcs[i] };
		size_t nr_frames = 1;

		if (bs_symbols_is_own(m))
			continue;
		if (sym) {
			nr_frames = bs_symbolizer_resolve_in(sym, m, pcs[i],
							     &frames);
		} else {
			plain.module = m ? m->path : NULL;
			plain.offset = m ? pcs[i] - m->bias : 0;
			frames = &plain;
		}
		for (size_t k = 0; k < nr_frames; k++)
			fn(arg, &frames[k]);
	}
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

struct text_stack {
	struct bs_buf *out;
	unsigned int nr;
	const char *note_module; /* said once per module */
};

static void frame_text(void *arg, const struct bs_frame *f)
{
	struct text_stack *t = arg;

	bs_buf_printf(t->out, "  #%-2u ", t->nr++);
	bs_buf_puts_clean(t->out, f->function ? f->function : "??");
	if (f->inlined)
		bs_buf_puts(t->out, " [inlined]");
	if (f->file) {
		bs_buf_putc(t->out, ' ');
		bs_buf_puts_clean(t->out, f->file);
		if (f->line)
			bs_buf_printf(t->out, ":%d", f->line);
	}
	if (f->module) {
		bs_buf_puts(t->out, " (");
		bs_buf_puts_clean(t->out, base_name(f->module));
		bs_buf_printf(t->out, "+0x%" PRIx64 ")", f->offset);
	} else {
		bs_buf_printf(t->out, " (0x%" PRIx64 ")", f->addr);
	}
	if (f->note && f->module != t->note_module) {
		bs_buf_printf(t->out, " [%s]", f->note);
		t->note_module = f->module;
	}
	bs_buf_putc(t->out, '\n');
}

void bs_site_stack_text(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site)
{
	struct text_stack t = { .out = out };

	for_each_frame(s, sym, site, frame_text, &t);
	if (!t.nr)
		bs_buf_puts(out, "  (no backtrace)\n");
}

static void frame_json(void *arg, const struct bs_frame *f)
{
	struct bs_json *j = arg;

	bs_json_object(j, NULL);
	bs_json_addr(j, "addr", f->addr);
	bs_json_str(j, "module", f->module);
	if (f->module)
		bs_json_u64(j, "offset", f->offset);
	else
		bs_json_null(j, "offset");
	bs_json_str(j, "function", f->function);
	bs_json_str(j, "file", f->file);
	if (f->line)
		bs_json_i64(j, "line", f->line);
	else
		bs_json_null(j, "line");
	bs_json_bool(j, "inlined", f->inlined);
	if (f->note)
		bs_json_str(j, "note", f->note);
	bs_json_object_end(j);
}

void bs_site_stack_json(struct bs_json *json, const char *key,
			const struct bs_snapshot *s, struct bs_symbolizer *sym,
			uint64_t site)
{
	bs_json_array(json, key);
	for_each_frame(s, sym, site, frame_json, json);
	bs_json_array_end(json);
}

struct line_stack {
	struct bs_buf *out;
	size_t nr;
	size_t max;
};

static void frame_line(void *arg, const struct bs_frame *f)
{
	struct line_stack *l = arg;

	if (l->nr++ >= l->max)
		return;
	if (l->nr > 1)
		bs_buf_puts(l->out, " < ");
	if (f->function) {
		bs_buf_puts_clean(l->out, f->function);
	} else if (f->module) {
		bs_buf_puts_clean(l->out, base_name(f->module));
		bs_buf_printf(l->out, "+0x%" PRIx64, f->offset);
	} else {
		bs_buf_printf(l->out, "0x%" PRIx64, f->addr);
	}
	if (f->file) {
		bs_buf_putc(l->out, ' ');
		bs_buf_puts_clean(l->out, base_name(f->file));
		if (f->line)
			bs_buf_printf(l->out, ":%d", f->line);
	} else if (f->function && f->module) {
		bs_buf_puts(l->out, " (");
		bs_buf_puts_clean(l->out, base_name(f->module));
		bs_buf_putc(l->out, ')');
	}
}

void bs_site_stack_line(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site,
			size_t max_frames)
{
	struct line_stack l = { .out = out, .max = max_frames };

	for_each_frame(s, sym, site, frame_line, &l);
	if (l.nr > max_frames)
		bs_buf_printf(out, " < ... %zu more", l.nr - max_frames);
}

void bs_site_stack_lines(const char *path, struct bs_symbolizer *sym,
			 const uint64_t *sites, char **stacks, size_t nr,
			 size_t max_frames)
{
	struct bs_snapshot *s;
	char err[256];

	s = bs_snapshot_read_sections(path, BS_SNAP_STACKS, err, sizeof(err));
	for (size_t i = 0; i < nr; i++) {
		struct bs_buf line = BS_BUF_INIT;

		stacks[i] = NULL;
		if (!s || !sites[i] || sites[i] >= bs_snapshot_nr_sites(s))
			continue;
		bs_site_stack_line(&line, s, sym, sites[i], max_frames);
		stacks[i] = line.data;
	}
	bs_snapshot_free(s);
}

/* ---- which sites, in which order ------------------------------------------- */

struct choice {
	uint64_t site;
	double key;
};

static int by_key(const void *a, const void *b)
{
	const struct choice *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return x->site < y->site ? -1 : x->site > y->site;
}

static const struct bs_site_history *history(const struct bs_sitereport *r,
					     uint64_t site)
{
	if (!r->history || site >= r->nr_history || !r->history[site].windows)
		return NULL;
	return &r->history[site];
}

static bool wanted(const struct bs_sitereport *r, uint64_t site)
{
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = history(r, site);

	if (!s->allocs || live_bytes(s) < r->min_bytes)
		return false;
	if (r->only_site)
		return site == r->only_site;
	if (!r->leaks)
		return true;
	if (!r->history) /* nobody watched: what was not freed */
		return live_objects(s) > 0;
	if (r->ended && live_objects(s) > 0)
		return true;
	if (!h)
		return false;
	return h->verdict == BS_VERDICT_LEAK ||
	       (r->all && h->verdict != BS_VERDICT_NONE);
}

static double sort_key(const struct bs_sitereport *r, uint64_t site)
{
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = history(r, site);

	/*
	 * Leaks in front of what stopped, in front of suspects; after the end
	 * leaks alone are in front of what was never freed.
	 */
	if (r->leaks && r->ended)
		return (h && h->verdict == BS_VERDICT_LEAK) * 1e18 +
		       (double)live_bytes(s);
	if (r->leaks && h)
		return h->verdict * 1e18 + (double)live_bytes(s);
	switch (r->sort) {
	case BS_SORT_GROWTH:
		return h ? h->growth_bytes_per_s : -1e18;
	case BS_SORT_ALLOCS:
		return (double)s->allocs;
	case BS_SORT_BYTES:
		return (double)s->bytes_allocated;
	case BS_SORT_LIVE:
		break;
	}
	return (double)live_bytes(s);
}

/* Sorted; NULL with *nr 0 when there is none (or no memory). *total counts
 * those that the limit cut, too. */
static struct choice *choose(const struct bs_sitereport *r, size_t *nr,
			     size_t *total)
{
	uint64_t nr_sites = bs_snapshot_nr_sites(r->snapshot);
	struct choice *list;
	size_t n = 0;

	*nr = *total = 0;
	list = calloc(nr_sites ? nr_sites : 1, sizeof(*list));
	if (!list)
		return NULL;
	for (uint64_t i = 0; i < nr_sites; i++)
		if (wanted(r, i))
			list[n++] = (struct choice){ i, sort_key(r, i) };
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
	struct choice *list;
	size_t nr, total;

	list = choose(&r, &nr, &total);
	for (size_t i = 0; i < nr && i < max; i++)
		sites[i] = list[i].site;
	free(list);
	return nr < max ? nr : max;
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

static void site_text(struct bs_buf *out, const struct bs_sitereport *r,
		      uint64_t site)
{
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = history(r, site);

	bs_buf_printf(out, "site %" PRIu64 ": %" PRIu64 " bytes", site,
		      live_bytes(s));
	if (live_bytes(s) >= 1024) {
		bs_buf_puts(out, " (");
		bs_buf_put_bytes(out, live_bytes(s));
		bs_buf_putc(out, ')');
	}
	bs_buf_printf(out, " live in %" PRIu64 " objects", live_objects(s));
	if (h)
		bs_buf_printf(out, ", growth %+.1f bytes/s",
			      h->growth_bytes_per_s);
	if (h && h->verdict != BS_VERDICT_NONE)
		bs_buf_printf(out, ", %s",
			      h->verdict == BS_VERDICT_LEAK
				      ? "LEAK"
				      : bs_verdict_name(h->verdict));
	bs_buf_printf(out,
		      "\n  allocs %" PRIu64 ", frees %" PRIu64
		      ", bytes allocated %" PRIu64 "\n",
		      s->allocs, s->frees, s->bytes_allocated);
	if (h && (r->leaks || h->verdict == BS_VERDICT_LEAK)) {
		bs_buf_puts(out, "  ");
		bs_site_history_text(out, h);
		bs_buf_putc(out, '\n');
	}
	bs_site_stack_text(out, r->snapshot, r->symbolizer, site);
	bs_buf_putc(out, '\n');
}

static void head_text(struct bs_buf *out, const struct bs_sitereport *r,
		      size_t nr, size_t total)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	size_t leaks = 0;

	for (uint64_t i = 0; i < r->nr_history; i++)
		leaks += history(r, i) &&
			 history(r, i)->verdict == BS_VERDICT_LEAK;

	bs_buf_puts_clean(out, h->comm);
	bs_buf_printf(out, " (pid %d), trace %s: ", h->pid,
		      bs_trace_name(h->trace_mode));
	if (r->leaks && r->history && r->ended)
		bs_buf_printf(out, "%zu %s, %zu sites with objects never freed",
			      leaks, leaks == 1 ? "leak" : "leaks", total);
	else if (r->leaks && r->history)
		bs_buf_printf(out, "%zu %s%s, windows of %.3g s", total,
			      r->all	   ? "leaks and suspects"
			      : total == 1 ? "leak"
					   : "leaks",
			      nr < total ? " (cut)" : "",
			      (double)h->leak_window_ns / 1e9);
	else if (r->leaks)
		bs_buf_printf(out, "%zu sites with unfreed objects, no history",
			      total);
	else
		bs_buf_printf(out, "%zu sites", total);
	if (nr < total)
		bs_buf_printf(out, ", the first %zu", nr);
	bs_buf_puts(out, "\n\n");
}

void bs_sitereport_text(struct bs_buf *out, const struct bs_sitereport *r)
{
	struct choice *list;
	size_t nr, total;

	list = choose(r, &nr, &total);
	head_text(out, r, nr, total);
	for (size_t i = 0; i < nr; i++)
		site_text(out, r, list[i].site);
	free(list);
}

/* ---- JSON ------------------------------------------------------------------ */

static void history_json(struct bs_json *j, const struct bs_site_history *h)
{
	bs_json_str(j, "verdict", h ? bs_verdict_name(h->verdict) : NULL);
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
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = history(r, site);

	bs_json_object(j, NULL);
	bs_json_u64(j, "site", site);
	bs_json_u64(j, "live_bytes", live_bytes(s));
	bs_json_u64(j, "live_objects", live_objects(s));
	bs_json_u64(j, "allocs", s->allocs);
	bs_json_u64(j, "frees", s->frees);
	bs_json_u64(j, "bytes_allocated", s->bytes_allocated);
	if (h)
		bs_json_double(j, "growth_bytes_per_s", h->growth_bytes_per_s,
			       3);
	else
		bs_json_null(j, "growth_bytes_per_s");
	bs_json_u64(j, "peak_live_bytes", s->peak_live_bytes);
	bs_json_u64(j, "first_ns", s->first_ns);
	bs_json_u64(j, "last_ns", s->last_ns);
	history_json(j, h);
	bs_site_stack_json(j, "stack", r->snapshot, r->symbolizer, site);
	bs_json_object_end(j);
}

void bs_sitereport_json(struct bs_buf *out, const struct bs_sitereport *r)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	struct choice *list;
	size_t nr, total;
	struct bs_json j;

	list = choose(r, &nr, &total);
	bs_json_init(&j, out);
	bs_json_object(&j, NULL);
	bs_json_i64(&j, "pid", h->pid);
	bs_json_str(&j, "comm", h->comm);
	bs_json_str(&j, "trace", bs_trace_name(h->trace_mode));
	bs_json_u64(&j, "leak_window_ns", h->leak_window_ns);
	bs_json_bool(&j, "history", r->history != NULL);
	bs_json_u64(&j, "nr_sites", total);
	bs_json_array(&j, "sites");
	for (size_t i = 0; i < nr; i++)
		site_json(&j, r, list[i].site);
	bs_json_array_end(&j);
	bs_json_object_end(&j);
	bs_buf_putc(out, '\n');
	free(list);
}
