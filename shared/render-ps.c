/* SPDX-License-Identifier: MIT */
/*
 * render-ps.c - the list of programs under buddyscope.
 *
 * Owns:   the columns and JSON keys of ps.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/render.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* NULL: cannot be read, has nothing but what the list knows. */
static struct bs_snapshot *read_target(const struct bs_target *t)
{
	char err[256];

	return bs_snapshot_read_sections(t->path, BS_SNAP_ZONES | BS_SNAP_SITES,
					 err, sizeof(err));
}

static void format_time(uint64_t realtime_ns, const char *format, bool utc,
			char *text, size_t len)
{
	time_t seconds = (time_t)(realtime_ns / 1000000000);
	struct tm tm;

	if (!(utc ? gmtime_r(&seconds, &tm) : localtime_r(&seconds, &tm)) ||
	    !strftime(text, len, format, &tm))
		snprintf(text, len, "?");
}

/* A line of the table, and what stands below it. */
struct row {
	struct bs_buf live;
	struct bs_buf tables;
	struct bs_buf trace;
	struct bs_buf troubles;
};

#define TROUBLE_INDENT "        "

static void make_row(struct row *row, const struct bs_target *t)
{
	struct bs_snapshot *s = read_target(t);

	if (!s) {
		bs_buf_puts(&row->live, "?");
		bs_buf_puts(&row->tables, "?");
		bs_buf_puts(&row->trace, bs_trace_name(t->trace_mode));
		return;
	}
	bs_buf_put_bytes(&row->live, bs_snapshot_live_bytes(s));
	bs_trace_put_tables(&row->tables, bs_snapshot_header(s));
	bs_trace_put(&row->trace, bs_snapshot_header(s));
	bs_trace_put_troubles(&row->troubles, s, TROUBLE_INDENT);
	bs_snapshot_free(s);
}

static void free_row(struct row *row)
{
	bs_buf_free(&row->live);
	bs_buf_free(&row->tables);
	bs_buf_free(&row->trace);
	bs_buf_free(&row->troubles);
}

static int wider(int width, const struct bs_buf *text)
{
	return (int)text->len > width ? (int)text->len : width;
}

static void put_rows(struct bs_buf *out, const struct bs_target_list *list,
		     const struct row *rows)
{
	int tables = 6, trace = 5;
	char when[32];

	for (size_t i = 0; i < list->nr; i++) {
		tables = wider(tables, &rows[i].tables);
		trace = wider(trace, &rows[i].trace);
	}
	bs_buf_printf(out, "%7s %-7s %-19s %10s %*s %-*s %s\n", "PID", "STATE",
		      "STARTED", "LIVE", tables, "TABLES", trace, "TRACE",
		      "COMMAND");
	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		format_time(t->created_realtime_ns, "%F %T", false, when,
			    sizeof(when));
		bs_buf_printf(out, "%7d %-7s %-19s %10s %*s %-*s %s\n", t->pid,
			      bs_target_state_name(t->state), when,
			      bs_buf_str(&rows[i].live), tables,
			      bs_buf_str(&rows[i].tables), trace,
			      bs_buf_str(&rows[i].trace), t->comm);
		bs_buf_puts(out, bs_buf_str(&rows[i].troubles));
	}
}

void bs_render_ps_text(struct bs_buf *out, const struct bs_target_list *list)
{
	struct row *rows = calloc(list->nr ? list->nr : 1, sizeof(*rows));

	if (!rows) {
		out->failed = true;
		return;
	}
	for (size_t i = 0; i < list->nr; i++)
		make_row(&rows[i], &list->targets[i]);
	put_rows(out, list, rows);
	for (size_t i = 0; i < list->nr; i++)
		free_row(&rows[i]);
	free(rows);
}

static void target_json(struct bs_json *json, const struct bs_target *t)
{
	struct bs_snapshot *s = read_target(t);
	char when[32];

	format_time(t->created_realtime_ns, "%FT%TZ", true, when, sizeof(when));
	bs_json_object(json, NULL);
	bs_json_i64(json, "pid", t->pid);
	bs_json_str(json, "comm", t->comm);
	bs_json_u64(json, "start", t->start_ticks);
	bs_json_str(json, "started", when);
	bs_json_str(json, "state", bs_target_state_name(t->state));
	bs_json_u64(json, "live_bytes", s ? bs_snapshot_live_bytes(s) : 0);
	if (s) {
		bs_trace_json(json, bs_snapshot_header(s));
		bs_trace_troubles_json(json, s);
	} else {
		bs_json_str(json, "trace", bs_trace_name(t->trace_mode));
	}
	bs_json_str(json, "exe", t->exe);
	bs_json_str(json, "segment", t->path);
	bs_json_object_end(json);
	bs_snapshot_free(s);
}

void bs_render_ps_json(struct bs_buf *out, const struct bs_target_list *list)
{
	struct bs_json json;

	bs_json_init(&json, out);
	bs_json_object(&json, NULL);
	bs_json_array(&json, "targets");
	for (size_t i = 0; i < list->nr; i++)
		target_json(&json, &list->targets[i]);
	bs_json_array_end(&json);
	bs_json_object_end(&json);
	bs_buf_putc(out, '\n');
}
