/* SPDX-License-Identifier: MIT */
/*
 * events.c - the event ring, and lines that are written exactly once.
 *
 * Owns:   which events of a target are logged already, and how that is known
 *         after kill -9.
 * Layer:  daemon.
 * Locks:  none.
 *
 * Exactly once.  Before lines are written the journal says which (kind and
 * numbers), into which log file and from which offset on; afterwards it says
 * that it is done.  A daemon that finds the announcement alone looks behind the
 * offset for the ids.  When the log is no file (stderr) such lines are written
 * again.
 */
#include "daemon/daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/event.h"
#include "shared/pins.h"
#include "shared/sitereport.h"

#define EVENTS_A_JOB	  256U
#define EVENT_PATIENCE_NS UINT64_C(2000000000) /* a writer may be preempted */
#define EVENT_FRAMES_MAX  48U
/* Pins are looked for behind the event, for 25 ms, with others at work. */
#define PINS_PATIENCE_NS UINT64_C(200000000)
#define PINS_LOGGED	 4U

/* ---- once --------------------------------------------------------------------------- */

static void once_prefix(const struct bs_tracked *t, char kind, char *text,
			size_t len)
{
	snprintf(text, len, "%d-%04x.%c", t->target.pid,
		 (unsigned int)(t->target.nonce & 0xffff), kind);
}

void bs_once_id(struct bs_tracked *t, char kind, uint64_t number)
{
	char prefix[48], id[80];

	once_prefix(t, kind, prefix, sizeof(prefix));
	snprintf(id, sizeof(id), "%s%llu", prefix, (unsigned long long)number);
	bs_line_str(t->daemon->log, "id", id);
}

void bs_once_flush(struct bs_tracked *t, char kind, uint64_t from, uint64_t to)
{
	struct bs_log *log = t->daemon->log;
	struct bs_once once = { .kind = (uint32_t)kind,
				.from = from,
				.to = to };

	bs_log_position(log, bs_log_pending_bytes(log), &once.log_ino,
			&once.log_offset);
	bs_history_announce(&t->history, &once);
	bs_log_flush(log);
	if (kind == 'b')
		t->history.stats.started_logged = 1;
	if (kind == 'f')
		t->history.stats.final_logged = 1;
	if (kind == 'e')
		t->history.stats.last_event = to;
	if (kind == 'b' || kind == 'f' || kind == 'e')
		bs_history_keep_stats(&t->history);
	bs_history_confirm(&t->history);
}

static void once_was_written(struct bs_tracked *t, char kind, uint64_t number)
{
	struct bs_history *h = &t->history;

	switch (kind) {
	case 'b':
		h->stats.started_logged = 1;
		break;
	case 'f':
		h->stats.final_logged = 1;
		break;
	case 'e':
		h->stats.last_event = number;
		break;
	default:
		if (number >= h->nr_sites)
			break;
		h->sites[number].logged |= kind == 'l'	 ? BS_LOGGED_LEAK
					   : kind == 's' ? BS_LOGGED_SUSPECT
							 : BS_LOGGED_STOPPED;
		bs_history_keep_site(h, number);
	}
	bs_history_keep_stats(h);
}

void bs_once_recover(struct bs_tracked *t)
{
	struct bs_once once = t->history.once;
	char prefix[48];
	uint64_t found;

	if (!once.kind)
		return;
	once_prefix(t, (char)once.kind, prefix, sizeof(prefix));
	found = bs_log_find_id(t->daemon->log, once.log_ino, once.log_offset,
			       prefix, once.from, once.to);
	if (found)
		once_was_written(t, (char)once.kind, found);
	bs_history_confirm(&t->history);
}

/* ---- events ---------------------------------------------------------------------------- */

/* What is told of one event: its site's stack, then those of its pins' holders. */
#define STACKS_AN_EVENT (1 + PINS_LOGGED)

struct event_job {
	struct bs_job job;
	struct bs_tracked *t;
	char path[PATH_MAX];
	uint64_t lost; /* overwritten in front of the first */
	uint64_t last; /* number up to which this job tells all */
	size_t nr;
	struct bs_abi_event events[EVENTS_A_JOB];
	struct bs_abi_pins pins[EVENTS_A_JOB]; /* number 0: none */
	char *stacks[EVENTS_A_JOB * STACKS_AN_EVENT];
};

/* A zone at the event, on a logfmt line: sizes in pages. */
static void put_zone(struct bs_buf *out, const struct bs_abi_event_zone *z,
		     const char *name)
{
	bs_buf_printf(out,
		      "%s managed=%u free=%u min=%u low=%u high=%u reserve=%u",
		      name, z->managed_pages, z->free_pages, z->wmark_min_pages,
		      z->wmark_low_pages, z->wmark_high_pages,
		      z->protection_pages);
#define X(id, nr, key) bs_buf_printf(out, " " key "=%u", z->used_pages[nr]);
	BS_USE_TABLE(X)
#undef X
	bs_buf_puts(out, " blocks=");
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_buf_printf(out, "%s%u", o ? "," : "", z->nr_free[o]);
}

static void line_zones(struct bs_log *log, const struct bs_snapshot *s,
		       const struct bs_abi_event *e)
{
	struct bs_buf text = BS_BUF_INIT;
	struct bs_json *json = bs_line_json(log);

	if (json) {
		bs_event_zones_json(json, "zones", s, e);
		return;
	}
	for (uint32_t i = 0; i < e->nr_zones; i++) {
		bs_buf_puts(&text, i ? "; " : "");
		put_zone(&text, &e->zones[i],
			 i < bs_snapshot_nr_zones(s)
				 ? bs_snapshot_zone(s, i)->name
				 : "?");
	}
	bs_line_str(log, "zones", bs_buf_str(&text));
	bs_buf_free(&text);
}

static void line_cause(struct bs_log *log, const struct bs_abi_event *e)
{
	struct bs_failure_cause c = bs_failure_cause(e);

	if (c.cause == BS_CAUSE_UNKNOWN)
		return;
	bs_line_str(log, "cause", bs_cause_name(c.cause));
	if (e->type != BS_EVENT_VMALLOC_FAILED)
		bs_line_double(log, "fragmentation_index", c.index / 1000.0, 3);
}

static void line_addr(struct bs_log *log, uint64_t addr)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)addr);
	bs_line_str(log, "addr", text);
}

static size_t nr_logged(const struct bs_abi_pins *pins)
{
	size_t nr = bs_pins_named(pins);

	return nr < PINS_LOGGED ? nr : PINS_LOGGED;
}

static void holder_text(struct bs_buf *out, const struct bs_abi_pin *pin,
			const char *stack)
{
	bs_buf_printf(out, "blocks=%u alone=%u together=%u pages=%u ",
		      pin->blocks, pin->alone, pin->together, pin->pages);
	if (pin->site)
		bs_buf_printf(out, "site=%u %s", pin->site,
			      stack ? stack : BS_NO_BACKTRACE);
	else
		bs_pin_no_site(out, pin);
}

static void holder_json(struct bs_json *json, const struct bs_abi_pin *pin,
			const char *stack)
{
	struct bs_buf text = BS_BUF_INIT;

	if (!pin->site)
		bs_pin_no_site(&text, pin);
	bs_json_object(json, NULL);
	bs_json_u64(json, "blocks", pin->blocks);
	bs_json_u64(json, "alone", pin->alone);
	bs_json_u64(json, "together", pin->together);
	bs_json_u64(json, "pages", pin->pages);
	bs_json_u64(json, "site", pin->site);
	bs_json_str(json, "stack", pin->site ? stack : bs_buf_str(&text));
	bs_json_object_end(json);
	bs_buf_free(&text);
}

static void line_pins(struct bs_log *log, const struct bs_abi_pins *pins,
		      char *const *stacks)
{
	struct bs_json *json = bs_line_json(log);
	struct bs_buf text = BS_BUF_INIT;

	if (!pins->number)
		return;
	bs_line_u64(log, "blocks", pins->nr_blocks);
	bs_line_u64(log, "free_blocks", pins->nr_free);
	bs_line_u64(log, "partial_blocks", pins->nr_partial);
	bs_line_u64(log, "part", pins->part);
	if (json)
		bs_json_array(json, "pinned_by");
	for (size_t i = 0; i < nr_logged(pins); i++) {
		if (json) {
			holder_json(json, &pins->holder[i], stacks[i]);
			continue;
		}
		bs_buf_puts(&text, i ? "; " : "");
		holder_text(&text, &pins->holder[i], stacks[i]);
	}
	if (json)
		bs_json_array_end(json);
	else
		bs_line_str(log, "pinned_by", bs_buf_str(&text));
	bs_buf_free(&text);
}

/* Event i of the job. */
static void event_line(struct bs_tracked *t, const struct event_job *j,
		       size_t i)
{
	const struct bs_abi_event *e = &j->events[i];
	char *const *stacks = &j->stacks[i * STACKS_AN_EVENT];
	struct bs_log *log = t->daemon->log;
	const struct bs_snapshot *s = bs_sampler_snapshot(t->sampler);
	const struct bs_abi_event_zone *zone = bs_event_zone(e);
	struct bs_buf gfp = BS_BUF_INIT;
	char key[BS_EVENT_KEY_MAX];
	uint64_t n[BS_NR_ORDERS];

	bs_gfp_text(&gfp, e->gfp);
	bs_line_begin(log, bs_event_key(e->type, key), t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_once_id(t, 'e', e->number);
	bs_line_str(log, "text", bs_event_text(e->type));
	bs_line_double(
		log, "at_s",
		((double)e->time_ns - (double)t->history.created_ns) / 1e9, 3);
	bs_line_u64(log, "tid", e->tid);
	if (e->zone < bs_snapshot_nr_zones(s))
		bs_line_str(log, "zone", bs_snapshot_zone(s, e->zone)->name);
	if (e->name[0])
		bs_line_str(log, "name", e->name);
	bs_line_u64(log, "order", e->order);
	bs_line_u64(log, "gfp", e->gfp);
	bs_line_str(log, "gfp_flags", bs_buf_str(&gfp));
	bs_line_u64(log, "bytes", e->bytes);
	if (e->addr)
		line_addr(log, e->addr);
	if (zone) {
		bs_event_free_blocks(zone, n);
		bs_line_u64(log, "free_pages", zone->free_pages);
		bs_line_u64s(log, "free", n, BS_NR_ORDERS);
	}
	line_cause(log, e);
	if (e->suppressed)
		bs_line_u64(log, "suppressed", e->suppressed);
	bs_line_u64(log, "site", e->site);
	if (stacks[0])
		bs_line_str(log, "stack", stacks[0]);
	line_pins(log, &j->pins[i], &stacks[1]);
	if (e->nr_zones)
		line_zones(log, s, e);
	bs_line_end(log);
	bs_buf_free(&gfp);
}

static void event_run(struct bs_job *job, struct bs_symbolizer *sym)
{
	struct event_job *j = (struct event_job *)job;
	uint64_t sites[EVENTS_A_JOB * STACKS_AN_EVENT] = { 0 };

	for (size_t i = 0; i < j->nr; i++) {
		uint64_t *of = &sites[i * STACKS_AN_EVENT];

		of[0] = j->events[i].site;
		for (size_t k = 0; k < nr_logged(&j->pins[i]); k++)
			of[1 + k] = j->pins[i].holder[k].site;
	}
	bs_site_stack_lines(j->path, sym, sites, j->stacks,
			    j->nr * STACKS_AN_EVENT, EVENT_FRAMES_MAX);
}

static void event_write(struct bs_tracked *t, struct event_job *j)
{
	struct bs_log *log = t->daemon->log;
	uint64_t from = t->history.stats.last_event + 1;

	for (size_t i = 0; i < j->nr; i++)
		event_line(t, j, i);
	if (j->lost) {
		t->history.stats.lost_events += j->lost;
		bs_line_begin(log, "events_lost", t->target.pid);
		bs_line_str(log, "comm", t->target.comm);
		/* Else the last event's line has that id. */
		if (!j->nr || j->events[j->nr - 1].number != j->last)
			bs_once_id(t, 'e', j->last);
		bs_line_u64(log, "lost", j->lost);
		bs_line_u64(log, "lost_total", t->history.stats.lost_events);
		bs_line_end(log);
	}
	bs_once_flush(t, 'e', from, j->last);
}

static void event_done(struct bs_job *job, bool cancelled)
{
	struct event_job *j = (struct event_job *)job;
	struct bs_tracked *t = j->t;

	if (!cancelled)
		event_write(t, j);
	for (size_t i = 0; i < j->nr * STACKS_AN_EVENT; i++)
		free(j->stacks[i]);
	t->nr_jobs--;
	t->events_queued = false;
	if (!cancelled && t->phase == BS_PHASE_ENDED)
		bs_final_advance(t);
	free(j);
}

/* Those of the event, if there are any; false: they may still come. */
static bool take_pins(const struct bs_snapshot *s, const struct bs_abi_event *e,
		      uint64_t now, struct bs_abi_pins *out)
{
	const struct bs_abi_pins *pins = bs_pins_of_event(s, e->number);

	if (pins)
		*out = *pins;
	return pins || bs_failure_cause(e).cause != BS_CAUSE_FRAGMENTATION ||
	       now - e->time_ns >= PINS_PATIENCE_NS;
}

/*
 * Takes the events that follow what was logged, in order.  A number that is
 * missing though the ring should still have it is being written: wait for it,
 * but not for ever.
 */
static void take_events(struct bs_tracked *t, const struct bs_snapshot *s,
			struct event_job *j, bool at_end)
{
	const struct bs_abi_section *sec =
		&bs_snapshot_header(s)->section[BS_SEC_EVENTS];
	uint64_t last = t->history.stats.last_event;
	uint64_t nr = bs_snapshot_nr_events(s), count = sec->count;
	uint64_t now = bs_now_ns();

	for (uint64_t i = 0; i < nr && j->nr < EVENTS_A_JOB; i++) {
		const struct bs_abi_event *e = bs_snapshot_event(s, i);
		uint64_t missing;

		if (e->number <= last || e->number > count + sec->capacity)
			continue;
		missing = e->number - last - 1;
		if (missing && !at_end && last + 1 + sec->capacity > count) {
			if (!t->event_gap_ns)
				t->event_gap_ns = now;
			if (now - t->event_gap_ns < EVENT_PATIENCE_NS)
				break;
		}
		t->event_gap_ns = 0;
		if (!take_pins(s, e, now, &j->pins[j->nr]) && !at_end)
			break;
		j->lost += missing;
		last = e->number;
		j->events[j->nr++] = *e;
	}
	/* At the end those that were begun and never written are lost, too. */
	if (at_end && j->nr < EVENTS_A_JOB && count > last) {
		j->lost += count - last;
		last = count;
	}
	j->last = last;
}

void bs_events_log(struct bs_tracked *t, bool at_end)
{
	const struct bs_snapshot *s = bs_sampler_snapshot(t->sampler);
	struct event_job *j;
	char err[256];

	/* With sites: an event may be of a site's shard. */
	if (t->events_queued ||
	    bs_sampler_read(t->sampler, BS_SNAP_EVENTS | BS_SNAP_SITES, err,
			    sizeof(err)))
		return;
	j = calloc(1, sizeof(*j));
	if (!j)
		return;
	take_events(t, s, j, at_end);
	if (!j->nr && !j->lost) {
		free(j);
		return;
	}
	j->job.run = event_run;
	j->job.done = event_done;
	j->t = t;
	memcpy(j->path, t->target.path, sizeof(j->path));
	t->events_queued = true;
	t->nr_jobs++;
	bs_worker_add(t->daemon->worker, &j->job, false);
}
