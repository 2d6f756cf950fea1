/* SPDX-License-Identifier: MIT */
/*
 * sample.c - ten samples a window from each target.
 *
 * Owns:   when samples are taken; the lines about zones and verdicts.
 * Layer:  daemon.
 * Locks:  none.
 */
#include "daemon/daemon.h"

#include <event2/event.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "shared/fragindex.h"
#include "shared/render.h"
#include "shared/sitelist.h"

#define SLOW_NS		UINT64_C(50000000) /* a read that took this long ... */
#define SLOW_TIMES	10U /* ... is not repeated before so many times that */
#define ERRORS_MAX	20U /* failed samples in a row: the target is given up */
#define VERDICTS_A_JOB	64U
#define LINE_FRAMES_MAX 48U

/* ---- zone lines ------------------------------------------------------------------ */

static void zone_line(struct bs_tracked *t, const struct bs_abi_zone *zone)
{
	struct bs_log *log = t->daemon->log;
	int unusable[BS_NR_ORDERS], extfrag[BS_NR_ORDERS];
	uint64_t n[BS_NR_ORDERS];

	bs_zone_free_blocks(zone, n);
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		unusable[o] = bs_unusable_free_index(n, o);
		extfrag[o] = bs_fragmentation_index(n, o);
	}
	bs_line_begin(log, "zone", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_line_u64(log, "node", zone->node);
	bs_line_str(log, "zone", zone->name);
	bs_line_u64(log, "free_pages", zone->free_pages);
	bs_line_u64(log, "managed_pages", zone->managed_pages);
	bs_line_u64s(log, "free", n, BS_NR_ORDERS);
	bs_line_u64(log, "from_order", BS_FRAG_LOW_ORDER);
	bs_line_millis(log, "unusable", unusable + BS_FRAG_LOW_ORDER,
		       BS_NR_ORDERS - BS_FRAG_LOW_ORDER);
	bs_line_millis(log, "extfrag", extfrag + BS_FRAG_LOW_ORDER,
		       BS_NR_ORDERS - BS_FRAG_LOW_ORDER);
	if (zone->seq & 1)
		bs_line_str(log, "torn", "yes");
	bs_line_end(log);
}

/*
 * The largest free order fell.  A zone that swings between two orders would
 * fill the log, so within an interval only new lows are named.
 */
static void fall_line(struct bs_tracked *t, const struct bs_abi_zone *zone,
		      struct bs_zone_watch *watch, int before, uint64_t now)
{
	struct bs_log *log = t->daemon->log;
	uint64_t n[BS_NR_ORDERS];

	if (now < watch->quiet_until_ns && watch->largest >= watch->logged_low)
		return;
	watch->logged_low = watch->largest;
	watch->quiet_until_ns = now + t->daemon->options.interval_ns;
	bs_zone_free_blocks(zone, n);
	bs_line_begin(log, "largest_order_fell", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_line_str(log, "zone", zone->name);
	bs_line_i64(log, "from", before);
	bs_line_i64(log, "to", watch->largest);
	bs_line_u64(log, "free_pages", zone->free_pages);
	bs_line_u64s(log, "free", n, BS_NR_ORDERS);
	bs_line_end(log);
}

static void watch_zones(struct bs_tracked *t, const struct bs_snapshot *s,
			uint64_t now)
{
	bool lines = now >= t->next_line_ns;
	uint64_t nr = bs_snapshot_nr_zones(s), n[BS_NR_ORDERS];

	if (lines)
		t->next_line_ns = now + t->daemon->options.interval_ns;
	for (uint64_t i = 0; i < nr && i < BS_HISTORY_ZONES_MAX; i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);
		struct bs_zone_watch *watch = &t->zones[i];
		int before = watch->largest;

		if (lines)
			zone_line(t, zone);
		if (bs_snapshot_zone_torn(s, i))
			continue;
		bs_zone_free_blocks(zone, n);
		watch->largest = bs_frag_largest_order(n);
		if (watch->largest < before)
			fall_line(t, zone, watch, before, now);
	}
	bs_log_flush(t->daemon->log);
}

/* ---- verdicts --------------------------------------------------------------------- */

struct verdict {
	uint64_t site;
	char kind; /* bs_once.kind: 's', 'l', 'w' */
	struct bs_site_counts counts;
	struct bs_site_history numbers;
	char *stack;
};

struct verdict_job {
	struct bs_job job;
	struct bs_tracked *t;
	char path[PATH_MAX];
	size_t nr;
	struct verdict verdicts[VERDICTS_A_JOB];
};

static void verdict_run(struct bs_job *job, struct bs_symbolizer *sym)
{
	struct verdict_job *j = (struct verdict_job *)job;
	uint64_t sites[VERDICTS_A_JOB];
	char *stacks[VERDICTS_A_JOB];

	for (size_t i = 0; i < j->nr; i++)
		sites[i] = j->verdicts[i].site;
	bs_site_stack_lines(j->path, sym, sites, stacks, j->nr,
			    LINE_FRAMES_MAX);
	for (size_t i = 0; i < j->nr; i++)
		j->verdicts[i].stack = stacks[i];
}

static const char *verdict_event(char kind)
{
	return kind == 'l' ? "leak" : kind == 's' ? "suspect" : "leak_stopped";
}

static uint8_t verdict_flag(char kind)
{
	return kind == 'l'   ? BS_LOGGED_LEAK
	       : kind == 's' ? BS_LOGGED_SUSPECT
			     : BS_LOGGED_STOPPED;
}

void bs_line_estimate(struct bs_log *log, const struct bs_site_counts *c)
{
	if (!c->sampled_allocs)
		return;
	bs_line_str(log, "estimated", "yes");
	bs_line_u64(log, "exact_live_bytes",
		    c->live_bytes - c->estimated_live_bytes);
	bs_line_u64(log, "samples", c->sampled_allocs - c->sampled_frees);
	bs_line_double(log, "live_bytes_stderr", sqrt(c->var_live_bytes), 1);
	bs_line_double(log, "live_objects_stderr", sqrt(c->var_live_objects),
		       1);
}

void bs_line_counts(struct bs_log *log, const struct bs_site_counts *c)
{
	bs_line_u64(log, "live_bytes", c->live_bytes);
	bs_line_u64(log, "live_objects", c->live_objects);
	bs_line_estimate(log, c);
}

/* The three numbers of the definition: floors, survivors, rate. */
static void numbers_line(struct bs_log *log, const struct bs_site_history *n)
{
	if (n->has_thirds)
		bs_line_u64s(log, "floors_bytes", n->floor_bytes, 3);
	bs_line_u64(log, "survivor_windows",
		    (uint64_t)n->survivor_cohorts * n->windows_per_cohort);
	bs_line_u64(log, "alloc_windows",
		    (uint64_t)n->alloc_cohorts * n->windows_per_cohort);
	bs_line_double(log, "allocs_per_window", n->allocs_per_window, 1);
	bs_line_double(log, "growth_bytes_per_s", n->growth_bytes_per_s, 1);
	bs_line_u64(log, "windows", n->windows);
}

static void verdict_line(struct bs_tracked *t, struct verdict *v)
{
	struct bs_log *log = t->daemon->log;
	struct bs_leak_site *site = &t->history.sites[v->site];

	bs_line_begin(log, verdict_event(v->kind), t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_once_id(t, v->kind, v->site);
	bs_line_u64(log, "site", v->site);
	bs_line_counts(log, &v->counts);
	numbers_line(log, &v->numbers);
	bs_line_str(log, "stack", v->stack);
	bs_line_end(log);
	bs_once_flush(t, v->kind, v->site, v->site);
	site->logged |= verdict_flag(v->kind);
	bs_history_keep_site(&t->history, v->site);
}

static void verdict_done(struct bs_job *job, bool cancelled)
{
	struct verdict_job *j = (struct verdict_job *)job;
	struct bs_tracked *t = j->t;

	for (size_t i = 0; i < j->nr; i++) {
		struct verdict *v = &j->verdicts[i];

		t->history.sites[v->site].logged &= (uint8_t)~BS_LOG_QUEUED;
		if (!cancelled)
			verdict_line(t, v);
		free(v->stack);
	}
	t->nr_jobs--;
	free(j);
}

/* What has to be said of a site that has not been said yet; 0: nothing. */
static char news(const struct bs_leak_site *site)
{
	if (site->logged & BS_LOG_QUEUED)
		return 0;
	switch (site->verdict) {
	case BS_VERDICT_LEAK:
		return site->logged & BS_LOGGED_LEAK ? 0 : 'l';
	case BS_VERDICT_STOPPED:
		return site->logged & BS_LOGGED_STOPPED ||
				       !(site->logged & BS_LOGGED_LEAK)
			       ? 0
			       : 'w';
	case BS_VERDICT_SUSPECT:
		return site->logged ? 0 : 's';
	default:
		return 0;
	}
}

static void queue_verdict(struct bs_tracked *t, struct verdict_job **job,
			  const struct verdict *v)
{
	struct verdict_job *j = *job;

	if (!j) {
		j = calloc(1, sizeof(*j));
		if (!j)
			return;
		j->job.run = verdict_run;
		j->job.done = verdict_done;
		j->t = t;
		memcpy(j->path, t->target.path, sizeof(j->path));
		*job = j;
	}
	j->verdicts[j->nr++] = *v;
	t->history.sites[v->site].logged |= BS_LOG_QUEUED;
	if (j->nr < VERDICTS_A_JOB)
		return;
	t->nr_jobs++;
	bs_worker_add(t->daemon->worker, &j->job, false);
	*job = NULL;
}

static void judge(struct bs_tracked *t, const struct bs_snapshot *s)
{
	struct verdict_job *job = NULL;
	uint64_t nr = bs_snapshot_nr_sites(s);

	for (uint64_t i = 0; i < nr; i++) {
		struct verdict v = { .site = i };

		if (!bs_history_judge(&t->history, s, i, &v.numbers))
			continue;
		v.kind = news(&t->history.sites[i]);
		if (!v.kind)
			continue;
		v.counts = bs_site_counts(s, i);
		queue_verdict(t, &job, &v);
	}
	if (job) {
		t->nr_jobs++;
		bs_worker_add(t->daemon->worker, &job->job, false);
	}
}

/* ---- samples ----------------------------------------------------------------------- */

static bool has_new_events(const struct bs_tracked *t,
			   const struct bs_snapshot *s)
{
	return bs_snapshot_header(s)->section[BS_SEC_EVENTS].count >
	       t->history.stats.last_event;
}

/* Of a target that ended, maybe while no daemon ran, nothing is later than its end. */
static uint64_t sample_time(const struct bs_tracked *t,
			    const struct bs_snapshot *s)
{
	uint64_t now = bs_now_ns(), last = bs_snapshot_last_ns(s);

	if (last < t->history.stats.sampled_ns)
		last = t->history.stats.sampled_ns;
	return t->phase == BS_PHASE_LIVE || last > now ? now : last;
}

bool bs_sample_now(struct bs_tracked *t)
{
	const struct bs_snapshot *s = bs_sampler_snapshot(t->sampler);
	uint64_t now;
	char err[512];

	if (bs_sampler_read(t->sampler, BS_SNAP_ZONES | BS_SNAP_SITES, err,
			    sizeof(err))) {
		if (!t->nr_errors++)
			bs_log_text(t->daemon->log, "bad_segment",
				    t->target.pid, "%s", err);
		return false;
	}
	t->nr_errors = 0;
	now = sample_time(t, s);
	if (bs_history_sample(&t->history, s, now) &&
	    t->phase == BS_PHASE_LIVE) {
		judge(t, s);
		bs_history_maybe_checkpoint(&t->history, t->journal);
	}
	watch_zones(t, s, now);
	if (t->phase == BS_PHASE_LIVE && has_new_events(t, s))
		bs_events_log(t, false);
	return true;
}

/* Samples stand on a grid that begins with the target. */
static void schedule(struct bs_tracked *t, uint64_t took_ns)
{
	uint64_t step = t->history.window_ns / BS_LEAK_SAMPLES;
	uint64_t now = bs_now_ns(), created = t->history.created_ns;
	uint64_t wait = step;
	struct timeval tv;

	if (now > created)
		wait = step - (now - created) % step;
	if (took_ns > SLOW_NS && wait < took_ns * SLOW_TIMES)
		wait = took_ns * SLOW_TIMES;
	tv.tv_sec = (time_t)(wait / 1000000000);
	tv.tv_usec = (suseconds_t)(wait % 1000000000 / 1000) + 1;
	event_add(t->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct bs_tracked *t = arg;
	uint64_t start = bs_now_ns();

	(void)fd;
	(void)what;
	if (t->pidfd < 0)
		bs_watch_check_deaths(t->daemon);
	if (t->phase != BS_PHASE_LIVE)
		return;
	bs_sample_now(t);
	if (t->nr_errors >= ERRORS_MAX)
		return; /* its segment is broken: only its end is awaited */
	schedule(t, bs_now_ns() - start);
}

void bs_sample_start(struct bs_tracked *t)
{
	t->timer = evtimer_new(t->daemon->base, on_timer, t);
	if (!t->timer)
		return;
	for (unsigned int i = 0; i < BS_HISTORY_ZONES_MAX; i++)
		t->zones[i].largest = -1;
	on_timer(-1, 0, t);
}
