/* SPDX-License-Identifier: MIT */
/*
 * render-ps.c - the list of programs under buddyscope.
 *
 * Owns:   the columns and JSON keys of ps.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static uint64_t live_bytes(const struct bs_target *t)
{
	struct bs_snapshot *s;
	uint64_t bytes;
	char err[256];

	s = bs_snapshot_read_sections(t->path, BS_SNAP_ZONES | BS_SNAP_SITES,
				      err, sizeof(err));
	if (!s)
		return 0;
	bytes = bs_snapshot_live_bytes(s);
	bs_snapshot_free(s);
	return bytes;
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

void bs_render_ps_text(struct bs_buf *out, const struct bs_target_list *list)
{
	struct bs_buf live = BS_BUF_INIT;
	char when[32];

	bs_buf_printf(out, "%7s %-7s %-19s %10s %-5s %s\n", "PID", "STATE",
		      "STARTED", "LIVE", "TRACE", "COMMAND");
	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		format_time(t->created_realtime_ns, "%F %T", false, when,
			    sizeof(when));
		bs_buf_reset(&live);
		bs_buf_put_bytes(&live, live_bytes(t));
		bs_buf_printf(out, "%7d %-7s %-19s %10s %-5s %s\n", t->pid,
			      bs_target_state_name(t->state), when,
			      bs_buf_str(&live), bs_trace_name(t->trace_mode),
			      t->comm);
	}
	bs_buf_free(&live);
}

void bs_render_ps_json(struct bs_buf *out, const struct bs_target_list *list)
{
	struct bs_json json;
	char when[32];

	bs_json_init(&json, out);
	bs_json_object(&json, NULL);
	bs_json_array(&json, "targets");
	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		format_time(t->created_realtime_ns, "%FT%TZ", true, when,
			    sizeof(when));
		bs_json_object(&json, NULL);
		bs_json_i64(&json, "pid", t->pid);
		bs_json_str(&json, "comm", t->comm);
		bs_json_u64(&json, "start", t->start_ticks);
		bs_json_str(&json, "started", when);
		bs_json_str(&json, "state", bs_target_state_name(t->state));
		bs_json_u64(&json, "live_bytes", live_bytes(t));
		bs_json_str(&json, "trace", bs_trace_name(t->trace_mode));
		bs_json_str(&json, "exe", t->exe);
		bs_json_str(&json, "segment", t->path);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_object_end(&json);
	bs_buf_putc(out, '\n');
}
