/* SPDX-License-Identifier: MIT */
/*
 * final.c - the last report of a target, however it ended.
 *
 * Owns:   what happens between the death of a target and its archive: last
 *         sample, events that are left, report, then archive.c.
 * Layer:  daemon.
 * Locks:  none.
 *
 * Each step leaves its mark in the journal, so that a daemon killed in between
 * goes on where it was.
 */
#include "daemon/daemon.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fragindex.h"
#include "shared/sitelist.h"

#define TOP_SITES	 10U
#define LEAK_SITES	 10U /* beside them, and in front */
#define FINAL_FRAMES_MAX 48U

struct final_site {
	uint64_t site;
	struct bs_site_counts counts;
	char *stack;
};

struct final_job {
	struct bs_job job;
	struct bs_tracked *t;
	char path[PATH_MAX];
	size_t nr_leaks;
	uint64_t leaks[LEAK_SITES]; /* most bytes first */
	struct bs_site_counts all;
	size_t nr;
	struct final_site top[LEAK_SITES + TOP_SITES];
};

/* A leak may be small beside what the program keeps for good. */
static void choose_leaks(struct final_job *j, const struct bs_history *h)
{
	for (uint64_t i = 0; i < h->nr_sites; i++) {
		const struct bs_leak_site *site = &h->sites[i];
		size_t at = j->nr_leaks;

		if (site->verdict != BS_VERDICT_LEAK &&
		    site->verdict != BS_VERDICT_STOPPED)
			continue;
		while (at &&
		       h->sites[j->leaks[at - 1]].last_bytes < site->last_bytes)
			at--;
		if (at == LEAK_SITES)
			continue;
		if (j->nr_leaks < LEAK_SITES)
			j->nr_leaks++;
		memmove(&j->leaks[at + 1], &j->leaks[at],
			(j->nr_leaks - at - 1) * sizeof(j->leaks[0]));
		j->leaks[at] = i;
	}
}

static bool is_leak(const struct final_job *j, uint64_t site)
{
	for (size_t i = 0; i < j->nr_leaks; i++)
		if (j->leaks[i] == site)
			return true;
	return false;
}

static void describe(struct final_job *j, const struct bs_snapshot *s,
		     struct bs_symbolizer *sym, uint64_t site)
{
	struct bs_buf stack = BS_BUF_INIT;

	bs_site_stack_line(&stack, s, sym, site, FINAL_FRAMES_MAX);
	j->top[j->nr++] = (struct final_site){ site, bs_site_counts(s, site),
					       stack.data };
}

static void final_run(struct bs_job *job, struct bs_symbolizer *sym)
{
	struct final_job *j = (struct final_job *)job;
	uint64_t sites[TOP_SITES];
	struct bs_snapshot *s;
	char err[256];
	size_t nr;

	s = bs_snapshot_read_sections(j->path, BS_SNAP_STACKS, err,
				      sizeof(err));
	if (!s)
		return;
	j->all = bs_site_counts_all(s);
	for (size_t i = 0; i < j->nr_leaks; i++)
		if (j->leaks[i] < bs_snapshot_nr_sites(s))
			describe(j, s, sym, j->leaks[i]);
	nr = bs_sites_top(s, sites, TOP_SITES);
	for (size_t i = 0; i < nr; i++)
		if (!is_leak(j, sites[i]))
			describe(j, s, sym, sites[i]);
	bs_snapshot_free(s);
}

static void final_zone(struct bs_tracked *t, const struct bs_worst_zone *worst)
{
	struct bs_log *log = t->daemon->log;
	int unusable[BS_NR_ORDERS];

	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		unusable[o] = bs_unusable_free_index(worst->nr_free, o);
	bs_line_begin(log, "final_zone", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_line_str(log, "zone", worst->name);
	bs_line_double(
		log, "worst_at_s",
		((double)worst->time_ns - (double)t->history.created_ns) / 1e9,
		1);
	bs_line_u64(log, "free_pages", worst->free_pages);
	bs_line_i64(log, "largest_order",
		    bs_frag_largest_order(worst->nr_free));
	bs_line_u64s(log, "free", worst->nr_free, BS_NR_ORDERS);
	bs_line_u64(log, "from_order", BS_FRAG_LOW_ORDER);
	bs_line_millis(log, "unusable", unusable + BS_FRAG_LOW_ORDER,
		       BS_NR_ORDERS - BS_FRAG_LOW_ORDER);
	bs_line_end(log);
}

static void final_site(struct bs_tracked *t, const struct final_site *f,
		       size_t rank)
{
	struct bs_log *log = t->daemon->log;
	enum bs_verdict verdict = BS_VERDICT_NONE;

	if (f->site < t->history.nr_sites)
		verdict = (enum bs_verdict)t->history.sites[f->site].verdict;
	bs_line_begin(log, "final_site", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_line_u64(log, "rank", rank);
	bs_line_u64(log, "site", f->site);
	bs_line_counts(log, &f->counts);
	bs_line_str(log, "verdict", bs_verdict_name(verdict));
	bs_line_str(log, "stack", f->stack);
	bs_line_end(log);
}

static void final_lines(struct bs_tracked *t, const struct final_job *j)
{
	const struct bs_target_stats *st = &t->history.stats;
	struct bs_log *log = t->daemon->log;

	for (size_t i = 0; i < j->nr; i++)
		final_site(t, &j->top[i], i + 1);
	for (uint32_t i = 0; i < st->nr_zones; i++)
		if (st->worst[i].score)
			final_zone(t, &st->worst[i]);
	bs_line_begin(log, "target_end", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_once_id(t, 'f', 1);
	bs_line_str(log, "state", bs_target_state_name(t->target.state));
	bs_line_double(log, "ran_s",
		       ((double)st->ended_ns - (double)t->history.created_ns) /
			       1e9,
		       1);
	bs_line_u64(log, "peak_bytes", st->peak_bytes);
	bs_line_u64(log, "live_bytes", st->live_bytes);
	bs_line_u64(log, "live_objects", st->live_objects);
	bs_line_u64(log, "allocs", st->allocs);
	bs_line_u64(log, "frees", st->frees);
	bs_line_estimate(log, &j->all);
	if (st->lost_events)
		bs_line_u64(log, "lost_events", st->lost_events);
	bs_line_end(log);
}

static void final_done(struct bs_job *job, bool cancelled)
{
	struct final_job *j = (struct final_job *)job;
	struct bs_tracked *t = j->t;

	if (!cancelled) {
		final_lines(t, j);
		bs_once_flush(t, 'f', 1, 1);
	}
	for (size_t i = 0; i < j->nr; i++)
		free(j->top[i].stack);
	free(j);
	t->nr_jobs--;
	if (!cancelled)
		bs_final_advance(t);
}

static void final_start(struct bs_tracked *t)
{
	struct final_job *j = calloc(1, sizeof(*j));

	if (!j)
		return; /* the next daemon does it */
	j->job.run = final_run;
	j->job.done = final_done;
	j->t = t;
	memcpy(j->path, t->target.path, sizeof(j->path));
	choose_leaks(j, &t->history);
	t->nr_jobs++;
	bs_worker_add(t->daemon->worker, &j->job, false);
}

void bs_final_advance(struct bs_tracked *t)
{
	if (t->phase != BS_PHASE_ENDED || t->events_queued)
		return;
	bs_events_log(t, true);
	if (t->events_queued)
		return; /* comes back here */
	if (!t->history.stats.final_logged)
		final_start(t);
	else
		bs_archive_start(t);
}

void bs_target_ended(struct bs_tracked *t, enum bs_target_state state)
{
	struct bs_target_stats *st = &t->history.stats;
	bool seen_alive = t->timer != NULL;

	t->phase = BS_PHASE_ENDED;
	t->target.state = state;
	if (t->timer)
		event_free(t->timer);
	t->timer = NULL;
	bs_sample_now(t);
	if (!st->ended_ns) {
		const struct bs_snapshot *s = bs_sampler_snapshot(t->sampler);

		/* If nobody saw it: when a site was last used. */
		t->target.exited_ns = bs_snapshot_header(s)->exited_ns;
		st->ended_ns = t->target.exited_ns ? t->target.exited_ns
			       : seen_alive	   ? bs_now_ns()
						   : bs_snapshot_last_ns(s);
	}
	st->end_state = state;
	bs_history_keep_stats(&t->history);
	bs_history_checkpoint(&t->history, t->journal);
	bs_final_advance(t);
}
