/* SPDX-License-Identifier: MIT */
/*
 * query.c - see query.h.
 *
 * Owns:   commands, their targets, their answers.
 * Layer:  daemon.
 * Locks:  none.
 *
 * The loop finds the target and copies what it knows of it (history, extremes);
 * the worker reads the segment, finds symbols and renders.
 */
#include "daemon/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fragindex.h"
#include "shared/gzip.h"
#include "shared/render.h"
#include "shared/sitelist.h"
#include "shared/symbols.h"
#include "shared/tracing.h"

#define SITES_TEXT_DEFAULT 20U
#define LOG_LINES_DEFAULT  50U
#define SUMMARY_SITES	   5U
#define SUMMARY_FRAMES	   6U

/* What the worker gets.  Everything in here is a copy. */
struct bs_query_work {
	const struct command *command;
	struct bs_target target;
	char archived
		[PATH_MAX];	/* where the segment may have moved meanwhile */
	char journal[PATH_MAX]; /* read by the worker if history is NULL */
	bool ended;
	bool load_history;
	bool no_verdicts;	    /* ended before there could be any */
	struct bs_target_list list; /* ps */
	struct bs_site_history *history;
	uint64_t nr_history;
	struct bs_target_stats stats;
	struct bs_sitereport report;
	const struct bs_view *view;
	struct bs_render_options render;
};

struct command {
	const char *name;
	const char *synopsis;
	const char *help;
	enum {
		NO_TARGET,
		MAY_HAVE_TARGET,
		NEEDS_TARGET
	} target;
	/* In the loop; a code with the message in err, or BS_EXIT_OK. */
	int (*prepare)(struct bs_query *q, struct bs_tracked *t,
		       struct bs_buf *err);
	/* In the worker; NULL: prepare wrote the reply's body into q->reply. */
	int (*run)(struct bs_query *q, struct bs_symbolizer *sym,
		   struct bs_buf *body, struct bs_buf *err);
};

static const struct command commands[];

/* ---- replies ------------------------------------------------------------------- */

/* Takes the body over. */
static void finish(struct bs_query *q, int code, struct bs_buf *body,
		   const char *message)
{
	if (q->req.json && code) {
		bs_wire_put_json_error(&q->reply, code, message);
		return;
	}
	if (q->req.json) {
		q->reply = *body;
		*body = (struct bs_buf)BS_BUF_INIT;
		return;
	}
	if (body->len)
		bs_wire_put_body(&q->reply, bs_buf_str(body));
	if (!q->follow)
		bs_wire_put_end(&q->reply, code, message);
}

/* ---- options -------------------------------------------------------------------- */

static bool number_option(const struct bs_wire_request *req, const char *key,
			  uint64_t *value, struct bs_buf *err)
{
	const char *text = bs_wire_option(req, key);
	char *end;

	if (!text)
		return true;
	*value = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end)
		return true;
	bs_buf_printf(err, "--%s: '", key);
	bs_buf_puts_clean(err, text);
	bs_buf_puts(err, "' is no number");
	return false;
}

/* ---- commands without a target ---------------------------------------------------- */

static int prepare_version(struct bs_query *q, struct bs_tracked *t,
			   struct bs_buf *err)
{
	struct bs_json json;

	(void)t;
	(void)err;
	if (!q->req.json) {
		bs_buf_printf(&q->reply, "buddyscoped %s\n", BS_VERSION);
		return BS_EXIT_OK;
	}
	bs_json_init(&json, &q->reply);
	bs_json_object(&json, NULL);
	bs_json_str(&json, "version", BS_VERSION);
	bs_json_str(&json, "dir", q->daemon->options.dir);
	bs_json_str(&json, "log", q->daemon->options.log);
	bs_json_object_end(&json);
	bs_buf_putc(&q->reply, '\n');
	return BS_EXIT_OK;
}

static int prepare_help(struct bs_query *q, struct bs_tracked *t,
			struct bs_buf *err);

static int prepare_log(struct bs_query *q, struct bs_tracked *t,
		       struct bs_buf *err)
{
	uint64_t lines = LOG_LINES_DEFAULT;
	int pid = t ? t->target.pid : -1;

	if (!number_option(&q->req, "lines", &lines, err))
		return BS_EXIT_USAGE;
	q->follow = bs_wire_option(&q->req, "follow") != NULL;
	q->follow_pid = pid;
	bs_log_recent(q->daemon->log, pid, lines, &q->reply,
		      q->req.json && !q->follow);
	return BS_EXIT_OK;
}

static bool list_targets(struct bs_query *q, struct bs_buf *err)
{
	struct bs_target_list *list = &q->work->list;
	size_t nr = 0;

	for (struct bs_tracked *t = q->daemon->targets; t; t = t->next)
		nr++;
	list->targets = calloc(nr ? nr : 1, sizeof(*list->targets));
	if (!list->targets) {
		bs_buf_puts(err, "out of memory");
		return false;
	}
	for (struct bs_tracked *t = q->daemon->targets; t; t = t->next)
		list->targets[list->nr++] = t->target;
	return true;
}

/* A name may mean many here. */
static int prepare_ps(struct bs_query *q, struct bs_tracked *t,
		      struct bs_buf *err)
{
	(void)t;
	if (!list_targets(q, err))
		return BS_EXIT_FAILED;
	if (!q->req.target ||
	    bs_target_list_filter(&q->work->list, q->req.target))
		return BS_EXIT_OK;
	bs_buf_puts(err, "no program '");
	bs_buf_puts_clean(err, q->req.target);
	bs_buf_puts(err, "' under buddyscope");
	return BS_EXIT_NO_TARGET;
}

static int run_ps(struct bs_query *q, struct bs_symbolizer *sym,
		  struct bs_buf *body, struct bs_buf *err)
{
	(void)sym;
	(void)err;
	if (q->req.json)
		bs_render_ps_json(body, &q->work->list);
	else
		bs_render_ps_text(body, &q->work->list);
	return BS_EXIT_OK;
}

/* ---- reading the target ------------------------------------------------------------- */

static struct bs_snapshot *
read_target(struct bs_query_work *w, unsigned int sections, struct bs_buf *err)
{
	char text[512], again[512];
	struct bs_snapshot *s;

	s = bs_snapshot_read_sections(w->target.path, sections, text,
				      sizeof(text));
	if (!s && w->ended)
		s = bs_snapshot_read_sections(w->archived, sections, again,
					      sizeof(again));
	if (!s)
		bs_buf_puts(err, text);
	return s;
}

/* An archived target's history lies on disk. */
static void load_history(struct bs_query_work *w, const struct bs_snapshot *s)
{
	struct bs_history h;

	bs_history_init(&h, bs_snapshot_header(s));
	if (!bs_history_load(&h, bs_snapshot_header(s), w->journal, false)) {
		w->history = bs_history_judge_all(&h, s, &w->nr_history);
		w->stats = h.stats;
	}
	bs_history_free(&h);
}

/* ---- the kernel's files --------------------------------------------------------------- */

static int prepare_view(struct bs_query *q, struct bs_tracked *t,
			struct bs_buf *err)
{
	struct bs_query_work *w = q->work;

	(void)t;
	w->view = bs_view_find(q->req.command);
	for (const struct bs_view_option *o = bs_view_options; o->name; o++) {
		const char *value = bs_wire_option(&q->req, o->name);

		if (value && !bs_view_set_option(&w->view, &w->render, o->name,
						 value, err))
			return BS_EXIT_USAGE;
	}
	return BS_EXIT_OK;
}

static int run_view(struct bs_query *q, struct bs_symbolizer *sym,
		    struct bs_buf *body, struct bs_buf *err)
{
	struct bs_query_work *w = q->work;
	struct bs_snapshot *s = read_target(w, w->view->sections, err);
	int code = BS_EXIT_OK;

	if (!s)
		return BS_EXIT_FAILED;
	bs_render_use_symbols(&w->render, sym);
	if (w->view->known && !w->view->known(s)) {
		bs_buf_puts(err, w->view->unknown);
		code = BS_EXIT_FAILED;
	} else if (q->req.json) {
		w->view->json(body, s, &w->render);
	} else {
		w->view->text(body, s, &w->render);
	}
	bs_snapshot_free(s);
	return code;
}

/* ---- sites and leaks --------------------------------------------------------------------- */

static void copy_history(struct bs_query *q, struct bs_tracked *t)
{
	struct bs_query_work *w = q->work;
	uint64_t seen;

	w->stats = t->history.stats;
	w->load_history = t->phase == BS_PHASE_ARCHIVED;
	if (!w->load_history)
		w->history =
			bs_history_judge_all(&t->history,
					     bs_sampler_snapshot(t->sampler),
					     &w->nr_history);
	seen = (w->stats.sampled_ns - t->history.created_ns) /
	       t->history.window_ns;
	w->no_verdicts = w->ended && seen < BS_LEAK_MIN_WINDOWS;
}

static bool form_options(struct bs_query *q, struct bs_sitereport *r,
			 struct bs_buf *err)
{
	if (q->req.json && !bs_sitereport_set_option(r, "json", NULL, err))
		return false;
	for (size_t i = 0; bs_sitereport_options[i]; i++) {
		const char *name = bs_sitereport_options[i];
		const char *value = bs_wire_option(&q->req, name);

		if (value && !bs_sitereport_set_option(r, name, value, err))
			return false;
	}
	return bs_sitereport_check(r, err);
}

static int prepare_sites(struct bs_query *q, struct bs_tracked *t,
			 struct bs_buf *err)
{
	struct bs_sitereport *r = &q->work->report;
	const char *sort = bs_wire_option(&q->req, "sort");
	uint64_t site = 0;

	r->leaks = !strcmp(q->req.command, "leaks");
	r->all = bs_wire_option(&q->req, "all") != NULL;
	if (sort && !bs_site_sort_parse(sort, &r->sort)) {
		bs_buf_puts(err, "--sort: live, growth, allocs or bytes");
		return BS_EXIT_USAGE;
	}
	if (!form_options(q, r, err))
		return BS_EXIT_USAGE;
	r->limit = r->form == BS_FORM_TEXT ? SITES_TEXT_DEFAULT : 0;
	if (!number_option(&q->req, "limit", &r->limit, err) ||
	    !number_option(&q->req, "min", &r->min_bytes, err) ||
	    !number_option(&q->req, "site", &site, err))
		return BS_EXIT_USAGE;
	r->only_site = (uint32_t)site;
	copy_history(q, t);
	return BS_EXIT_OK;
}

/* A reply is made of lines: what is no text goes as base64. */
static void write_sites(struct bs_buf *body, const struct bs_sitereport *r)
{
	struct bs_buf bytes = BS_BUF_INIT;

	if (r->form != BS_FORM_PPROF) {
		bs_sitereport_write(body, r);
		return;
	}
	bs_sitereport_write(&bytes, r);
	bs_base64_add(body, bytes.data, bytes.len);
	body->failed |= bytes.failed;
	bs_buf_free(&bytes);
}

static int run_sites(struct bs_query *q, struct bs_symbolizer *sym,
		     struct bs_buf *body, struct bs_buf *err)
{
	struct bs_query_work *w = q->work;
	struct bs_sitereport *r = &w->report;
	struct bs_snapshot *s;

	s = read_target(w, BS_SNAP_STACKS, err);
	if (!s)
		return BS_EXIT_FAILED;
	if (w->load_history)
		load_history(w, s);
	r->snapshot = s;
	if (!bs_sitereport_check_data(r, err)) {
		bs_snapshot_free(s);
		return BS_EXIT_FAILED;
	}
	r->symbolizer = sym;
	r->history = w->history;
	r->nr_history = w->nr_history;
	r->ended = w->ended;
	r->now_ns = w->ended ? 0 : bs_now_ns();
	if (r->leaks && w->no_verdicts)
		r->history = NULL;
	if (r->leaks && w->ended && !r->min_bytes)
		r->min_bytes = 1;
	write_sites(body, r);
	bs_snapshot_free(s);
	return BS_EXIT_OK;
}

/* ---- summary ---------------------------------------------------------------------------- */

static int prepare_summary(struct bs_query *q, struct bs_tracked *t,
			   struct bs_buf *err)
{
	(void)err;
	copy_history(q, t);
	if (!q->work->ended)
		q->work->stats.ended_ns = bs_now_ns();
	return BS_EXIT_OK;
}

static double seconds_since_start(const struct bs_query_work *w, uint64_t ns)
{
	return ns > w->target.created_ns
		       ? (double)(ns - w->target.created_ns) / 1e9
		       : 0;
}

static const struct bs_worst_zone *worst_zone(const struct bs_query_work *w)
{
	const struct bs_worst_zone *worst = NULL;

	for (uint32_t i = 0; i < w->stats.nr_zones; i++)
		if (w->stats.worst[i].score &&
		    (!worst || w->stats.worst[i].score > worst->score))
			worst = &w->stats.worst[i];
	return worst;
}

static void summary_head(const struct bs_query_work *w,
			 const struct bs_snapshot *s, struct bs_buf *out)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	const struct bs_target_stats *st = &w->stats;
	struct bs_site_counts all = bs_site_counts_all(s);

	bs_buf_puts_clean(out, w->target.comm);
	bs_buf_printf(out, " (pid %d) %s after %.1f s: ", w->target.pid,
		      w->ended ? bs_target_state_name(w->target.state)
			       : "running",
		      seconds_since_start(w, st->ended_ns));
	bs_render_peak(out, s);
	bs_buf_puts(out, w->ended ? "at exit " : "now ");
	if (h->trace_mode == BS_TRACE_OFF) {
		bs_buf_put_bytes(out, st->live_bytes);
		bs_buf_puts(out, " of pages\n");
	} else {
		bs_buf_puts(out, bs_live_mark(&all));
		bs_buf_put_bytes(out, st->live_bytes);
		bs_buf_printf(out,
			      " live in %s%" PRIu64 " objects, %s%" PRIu64
			      " allocations\n",
			      bs_live_mark(&all), st->live_objects,
			      bs_total_mark(&all), st->allocs);
	}
	bs_trace_put_off(out, h);
	bs_site_share_line(out, h, &all);
	bs_render_refused(out, s);
}

static void summary_sites(const struct bs_query_work *w,
			  const struct bs_snapshot *s,
			  struct bs_symbolizer *sym, struct bs_buf *out)
{
	uint64_t sites[SUMMARY_SITES];
	size_t nr = bs_sites_top(s, sites, SUMMARY_SITES);

	if (nr)
		bs_buf_printf(out, "%s, most bytes first:\n",
			      w->ended ? "never freed" : "live");
	for (size_t i = 0; i < nr; i++) {
		struct bs_site_counts c = bs_site_counts(s, sites[i]);
		bool leak = sites[i] < w->nr_history &&
			    w->history[sites[i]].verdict == BS_VERDICT_LEAK;

		bs_buf_puts(out, "  ");
		bs_site_counts_put_live(out, &c);
		bs_buf_puts(out, !leak		    ? ": "
				 : c.sampled_allocs ? ", LEAK (estimate): "
						    : ", LEAK: ");
		bs_site_stack_line(out, s, sym, sites[i], SUMMARY_FRAMES);
		bs_buf_putc(out, '\n');
	}
}

static void summary_worst(const struct bs_query_work *w, struct bs_buf *out)
{
	const struct bs_worst_zone *worst = worst_zone(w);

	if (!worst) {
		bs_buf_puts(out, "memory was never fragmented\n");
		return;
	}
	bs_buf_printf(
		out,
		"worst fragmentation after %.1f s: zone %s, %" PRIu64
		" free pages, largest free order %d, unusable index of orders %u to %u:",
		seconds_since_start(w, worst->time_ns), worst->name,
		worst->free_pages, bs_frag_largest_order(worst->nr_free),
		BS_FRAG_LOW_ORDER, BS_NR_ORDERS - 1);
	for (unsigned int o = BS_FRAG_LOW_ORDER; o < BS_NR_ORDERS; o++) {
		int index = bs_unusable_free_index(worst->nr_free, o);

		bs_buf_printf(out, " %d.%03d", index / 1000, index % 1000);
	}
	bs_buf_putc(out, '\n');
}

static void summary_json(const struct bs_query_work *w,
			 const struct bs_snapshot *s, struct bs_symbolizer *sym,
			 struct bs_buf *out)
{
	const struct bs_target_stats *st = &w->stats;
	const struct bs_worst_zone *worst = worst_zone(w);
	struct bs_site_counts all = bs_site_counts_all(s);
	uint64_t sites[SUMMARY_SITES];
	size_t nr = bs_sites_top(s, sites, SUMMARY_SITES);
	struct bs_json j;

	bs_json_init(&j, out);
	bs_json_object(&j, NULL);
	bs_json_i64(&j, "pid", w->target.pid);
	bs_json_str(&j, "comm", w->target.comm);
	bs_json_str(&j, "state", bs_target_state_name(w->target.state));
	bs_json_double(&j, "ran_s", seconds_since_start(w, st->ended_ns), 3);
	bs_json_u64(&j, "peak_bytes", st->peak_bytes);
	bs_json_u64(&j, "peak_pages", bs_snapshot_peak_pages(s));
	bs_json_u64(&j, "live_bytes", st->live_bytes);
	bs_json_u64(&j, "live_objects", st->live_objects);
	bs_json_u64(&j, "allocs", st->allocs);
	bs_json_u64(&j, "frees", st->frees);
	bs_json_object(&j, "total");
	bs_site_counts_json(&j, &all);
	bs_json_object_end(&j);
	bs_json_u64(&j, "lost_events", st->lost_events);
	bs_json_array(&j, "sites");
	for (size_t i = 0; i < nr; i++) {
		struct bs_site_counts c = bs_site_counts(s, sites[i]);

		bs_json_object(&j, NULL);
		bs_json_u64(&j, "site", sites[i]);
		bs_site_counts_json(&j, &c);
		bs_site_stack_json(&j, "stack", s, sym, sites[i]);
		bs_json_object_end(&j);
	}
	bs_json_array_end(&j);
	if (worst) {
		bs_json_object(&j, "worst");
		bs_json_str(&j, "zone", worst->name);
		bs_json_double(&j, "at_s",
			       seconds_since_start(w, worst->time_ns), 3);
		bs_json_u64(&j, "free_pages", worst->free_pages);
		bs_json_array(&j, "free");
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
			bs_json_u64(&j, NULL, worst->nr_free[o]);
		bs_json_array_end(&j);
		bs_json_object_end(&j);
	} else {
		bs_json_null(&j, "worst");
	}
	bs_json_object_end(&j);
	bs_buf_putc(out, '\n');
}

static int run_summary(struct bs_query *q, struct bs_symbolizer *sym,
		       struct bs_buf *body, struct bs_buf *err)
{
	struct bs_query_work *w = q->work;
	struct bs_snapshot *s;

	s = read_target(w, BS_SNAP_ZONES | BS_SNAP_STACKS, err);
	if (!s)
		return BS_EXIT_FAILED;
	if (w->load_history)
		load_history(w, s);
	if (q->req.json) {
		summary_json(w, s, sym, body);
	} else {
		summary_head(w, s, body);
		summary_sites(w, s, sym, body);
		summary_worst(w, body);
	}
	bs_snapshot_free(s);
	return BS_EXIT_OK;
}

/* ---- the table ----------------------------------------------------------------------------- */

#define TARGET "[PID|NAME]"
#define VIEW(name, options, help)                                              \
	{                                                                      \
		name, TARGET options " [--format=2.6.29]", help, NEEDS_TARGET, \
			prepare_view, run_view                                 \
	}

static const struct command commands[] = {
	{ "ps", TARGET, "programs that run or ran", NO_TARGET, prepare_ps,
	  run_ps },
	VIEW("buddyinfo", "", "free blocks per order"),
	VIEW("pagetypeinfo", "", "free blocks per migrate type"),
	VIEW("zoneinfo", "", "zones: pages, watermarks, counters"),
	VIEW("vmstat", "", "all counters"),
	VIEW("slabinfo", " [--statistics]", "kmem_caches"),
	VIEW("slab_allocators", "", "live objects by cache and caller"),
	VIEW("vmallocinfo", " [--paths]", "large allocations and mappings"),
	VIEW("devices", "", "DMA memory of each device, carve-outs"),
	VIEW("extfrag", " [--unusable]", "fragmentation index per order"),
	VIEW("failures", " [--all]", "requests that failed, and why"),
	{ "sites",
	  TARGET
	  " [--sort=KEY] [--limit=N] [--min=BYTES] [--site=N] [--by=GROUP]"
	  " [--folded[=COUNT] [--objects] | --lifetimes | --pprof (base64)]",
	  "call sites", NEEDS_TARGET, prepare_sites, run_sites },
	{ "leaks", TARGET " [--all] [--limit=N] [--site=N] [--lifetimes]",
	  "call sites that leak", NEEDS_TARGET, prepare_sites, run_sites },
	{ "log", TARGET " [--lines=N] [--follow]", "what was logged",
	  MAY_HAVE_TARGET, prepare_log, NULL },
	{ "summary", TARGET, "peak, what lives, worst fragmentation",
	  NEEDS_TARGET, prepare_summary, run_summary },
	{ "version", "", "of the daemon", NO_TARGET, prepare_version, NULL },
	{ "help", "", "this", NO_TARGET, prepare_help, NULL },
	{ NULL, NULL, NULL, NO_TARGET, NULL, NULL },
};

static int prepare_help(struct bs_query *q, struct bs_tracked *t,
			struct bs_buf *err)
{
	struct bs_json json;

	(void)t;
	(void)err;
	bs_json_init(&json, &q->reply);
	if (q->req.json) {
		bs_json_object(&json, NULL);
		bs_json_array(&json, "commands");
	}
	for (const struct command *c = commands; c->name; c++) {
		if (!q->req.json) {
			bs_buf_printf(&q->reply, "%-15s %s\n", c->name,
				      c->help);
			if (*c->synopsis)
				bs_buf_printf(&q->reply, "                %s\n",
					      c->synopsis);
			continue;
		}
		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", c->name);
		bs_json_str(&json, "arguments", c->synopsis);
		bs_json_str(&json, "help", c->help);
		bs_json_object_end(&json);
	}
	if (q->req.json) {
		bs_json_array_end(&json);
		bs_json_object_end(&json);
		bs_buf_putc(&q->reply, '\n');
	}
	return BS_EXIT_OK;
}

static const struct command *find_command(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (!strcmp(c->name, name))
			return c;
	return NULL;
}

/* ---- from line to answer ------------------------------------------------------------------- */

static struct bs_tracked *find_target(struct bs_query *q, int *code,
				      struct bs_buf *err)
{
	struct bs_target_list list = { 0 };
	const struct bs_target *found;
	struct bs_tracked *t;

	bs_watch_scan(q->daemon);
	bs_watch_check_deaths(q->daemon);
	*code = BS_EXIT_FAILED;
	if (!list_targets(q, err))
		return NULL;
	list = q->work->list;
	memset(&q->work->list, 0, sizeof(q->work->list));
	found = bs_target_resolve(&list, q->req.target, code, err);
	t = q->daemon->targets;
	for (size_t i = 0; found && found != &list.targets[i]; i++)
		t = t->next;
	bs_target_list_free(&list);
	return found ? t : NULL;
}

static void work_run(struct bs_job *job, struct bs_symbolizer *sym)
{
	struct bs_query *q = (struct bs_query *)job;
	struct bs_buf body = BS_BUF_INIT, err = BS_BUF_INIT;
	int code;

	code = q->work->command->run(q, sym, &body, &err);
	if (!code && body.failed) {
		code = BS_EXIT_FAILED;
		bs_buf_puts(&err, "out of memory");
	}
	finish(q, code, &body, bs_buf_str(&err));
	bs_buf_free(&body);
	bs_buf_free(&err);
}

static void work_done(struct bs_job *job, bool cancelled)
{
	struct bs_query *q = (struct bs_query *)job;

	q->answered(q, cancelled);
}

/* Returns BS_EXIT_OK when the worker has it or the reply is there. */
static int start_command(struct bs_query *q, struct bs_buf *err)
{
	const struct command *c = find_command(q->req.command);
	struct bs_tracked *t = NULL;
	int code;

	if (!c) {
		bs_buf_puts(err, "unknown command '");
		bs_buf_puts_clean(err, q->req.command);
		bs_buf_puts(err, "'; try: help");
		return BS_EXIT_USAGE;
	}
	if (c->target == NEEDS_TARGET ||
	    (c->target == MAY_HAVE_TARGET && q->req.target)) {
		t = find_target(q, &code, err);
		if (!t)
			return code;
		q->work->target = t->target;
		q->work->ended = t->phase != BS_PHASE_LIVE;
		memcpy(q->work->journal, t->journal, PATH_MAX);
		bs_state_path(q->daemon, "archive", t->name, ".seg",
			      q->work->archived);
	}
	q->work->command = c;
	code = c->prepare(q, t, err);
	if (code || !c->run)
		return code;
	q->job.run = work_run;
	q->job.done = work_done;
	bs_worker_add(q->daemon->worker, &q->job, true);
	return BS_EXIT_OK;
}

void bs_query_start(struct bs_query *q, const char *line)
{
	struct bs_buf err = BS_BUF_INIT, body = BS_BUF_INIT;
	char text[256];
	int code = BS_EXIT_OK;

	q->work = calloc(1, sizeof(*q->work));
	if (!q->work) {
		code = BS_EXIT_FAILED;
		bs_buf_puts(&err, "out of memory");
	} else if (bs_wire_parse(&q->req, line, text, sizeof(text))) {
		code = BS_EXIT_USAGE;
		bs_buf_puts(&err, text);
	} else {
		code = start_command(q, &err);
		if (!code && q->work->command->run)
			goto out;
	}
	/* The reply's body was written in place: frame it. */
	body = q->reply;
	q->reply = (struct bs_buf)BS_BUF_INIT;
	finish(q, code, &body, bs_buf_str(&err));
	bs_buf_free(&body);
	q->answered(q, false);
out:
	bs_buf_free(&err);
}

void bs_query_free(struct bs_query *q)
{
	if (q->work) {
		bs_target_list_free(&q->work->list);
		free(q->work->history);
		free(q->work);
	}
	bs_buf_free(&q->reply);
	free(q);
}
