/* SPDX-License-Identifier: MIT */
/*
 * cmd-report.c - everything that a saved segment tells.
 *
 * Owns:   the composition; each part is rendered by shared/.
 * Layer:  tools.
 * Locks:  none.
 *
 * Needs neither the process nor the daemon nor this machine: with --sysroot and
 * --debug-dir symbols come from wherever the program's files are.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "shared/event.h"
#include "shared/pins.h"
#include "tools/sites.h"

#define LIMIT_DEFAULT 10

struct report {
	struct tool_common common;
	const char *sysroot;
	const char *debug_dir;
	struct tool_sites sites;
	const struct bs_snapshot *snapshot;
	struct bs_symbolizer *symbolizer;
	struct bs_render_options render;
};

static const char *state_text(const struct bs_abi_header *h)
{
	return h->state == BS_STATE_EXITED
		       ? "ended"
		       : "did not say goodbye (running, killed or replaced by exec)";
}

static void format_start(const struct bs_abi_header *h, char *text, size_t len)
{
	time_t seconds = (time_t)(h->created_realtime_ns / 1000000000);
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(text, len, "%F %T UTC", &tm))
		snprintf(text, len, "?");
}

/* "key:      value", the value from a file that we do not trust. */
static void put_fact(struct bs_buf *out, const char *key, const char *value)
{
	if (!value[0])
		return;
	bs_buf_printf(out, "%-10s ", key);
	bs_buf_puts_clean(out, value);
	bs_buf_putc(out, '\n');
}

static void put_header(struct bs_buf *out, const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_buf text = BS_BUF_INIT;
	char when[48];

	format_start(h, when, sizeof(when));
	put_fact(out, "segment", bs_snapshot_path(s));
	bs_buf_printf(out, "%-10s %d, child of %d, user %u\n", "pid", h->pid,
		      h->ppid, h->uid);
	put_fact(out, "command", h->comm);
	put_fact(out, "program", h->exe);
	put_fact(out, "arguments", h->cmdline);
	put_fact(out, "options", h->options);
	put_fact(out, "started", when);
	put_fact(out, "state", state_text(h));
	if (h->exited_ns > h->created_ns)
		bs_buf_printf(out, "%-10s %.3f s\n", "ran for",
			      (double)(h->exited_ns - h->created_ns) / 1e9);
	bs_trace_put(&text, h);
	put_fact(out, "trace", bs_buf_str(&text));
	bs_buf_reset(&text);
	bs_trace_put_tables(&text, h);
	put_fact(out, "tables", bs_buf_str(&text));
	bs_buf_free(&text);
	bs_trace_put_troubles(out, s, "           ");
	bs_buf_printf(out, "%-10s ", "live");
	bs_buf_put_bytes(out, bs_snapshot_live_bytes(s));
	bs_buf_putc(out, '\n');
	if (h->publish_failed)
		bs_buf_printf(
			out,
			"%-10s %" PRIu64
			" pages could not be published: the tmpfs was full\n",
			"missing", h->publish_failed);
}

static void put_title(struct bs_buf *out, const char *title)
{
	bs_buf_printf(out, "\n%s\n", title);
	for (size_t i = strlen(title); i > 0; i--)
		bs_buf_putc(out, '-');
	bs_buf_putc(out, '\n');
}

static void put_counters(struct bs_buf *out, const struct bs_snapshot *s)
{
#define X(id, key, doc)                                                        \
	if (bs_snapshot_vmstat(s, BS_VMSTAT_##id))                             \
		bs_buf_printf(out, "%10" PRIu64 "  %s: %s\n",                  \
			      bs_snapshot_vmstat(s, BS_VMSTAT_##id), key,      \
			      doc);
	BS_VMSTAT_TABLE(X)
#undef X
}

static void report_text(struct bs_buf *out, const struct report *r)
{
	const struct bs_snapshot *s = r->snapshot;

	put_header(out, s);
	for (const struct bs_view *v = bs_views; v->name; v++) {
		put_title(out, v->name);
		if (v->known && !v->known(s))
			bs_buf_printf(out, "%s\n", v->unknown);
		else
			v->text(out, s, &r->render);
	}
	put_title(out, "counters that are not zero");
	put_counters(out, s);
	put_title(out, "call sites by live bytes");
	bs_sitereport_write(out, &r->sites.report);
}

/* A rendered line of JSON as the value of `key` in an open object. */
static void splice(struct bs_buf *out, const char *key, struct bs_buf *line)
{
	while (line->len && line->data[line->len - 1] == '\n')
		line->data[--line->len] = '\0';
	bs_buf_printf(out, ",\"%s\":", key);
	bs_buf_add(out, bs_buf_str(line), line->len);
	bs_buf_reset(line);
}

static void put_header_json(struct bs_buf *out, const struct bs_snapshot *s,
			    struct bs_symbolizer *sym)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_json json;

	bs_json_init(&json, out);
	bs_json_object(&json, NULL);
	bs_json_i64(&json, "pid", h->pid);
	bs_json_str(&json, "comm", h->comm);
	bs_json_u64(&json, "start", h->start_ticks);
	bs_json_str(&json, "segment", bs_snapshot_path(s));
	bs_json_i64(&json, "ppid", h->ppid);
	bs_json_u64(&json, "uid", h->uid);
	bs_json_str(&json, "exe", h->exe);
	bs_json_str(&json, "cmdline", h->cmdline);
	bs_json_str(&json, "options", h->options);
	bs_json_u64(&json, "created_realtime_ns", h->created_realtime_ns);
	bs_json_u64(&json, "created_ns", h->created_ns);
	bs_json_u64(&json, "exited_ns", h->exited_ns);
	bs_json_bool(&json, "exited", h->state == BS_STATE_EXITED);
	bs_trace_json(&json, h);
	bs_trace_troubles_json(&json, s);
	bs_json_u64(&json, "live_bytes", bs_snapshot_live_bytes(s));
	bs_json_u64(&json, "publish_failed", h->publish_failed);
	bs_json_array(&json, "events");
	for (uint64_t i = 0; i < bs_snapshot_nr_events(s); i++) {
		const struct bs_abi_event *e = bs_snapshot_event(s, i);

		bs_json_object(&json, NULL);
		bs_event_json(&json, s, e);
		bs_pins_json(&json, s, sym, bs_pins_of_event(s, e->number));
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_object_end(&json);
}

static void report_json(struct bs_buf *out, const struct report *r)
{
	struct bs_buf line = BS_BUF_INIT;

	put_header_json(out, r->snapshot, r->symbolizer);
	if (out->len) /* the object stays open for the parts */
		out->data[--out->len] = '\0';
	for (const struct bs_view *v = bs_views; v->name; v++) {
		/* extfrag has the one, the events are the other. */
		if (!strcmp(v->name, "unusable") ||
		    !strcmp(v->name, "failures"))
			continue;
		v->json(&line, r->snapshot, &r->render);
		splice(out, v->name, &line);
	}
	bs_sitereport_write(&line, &r->sites.report);
	splice(out, "sites", &line);
	out->failed |= line.failed;
	bs_buf_free(&line);
	bs_buf_puts(out, "}\n");
}

static int make_report(struct report *r)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	int code;

	s = tool_snapshot(r->common.target, BS_SNAP_ALL, &code);
	if (!s)
		return code;
	r->snapshot = s;
	r->sites.report.snapshot = s;
	code = tool_sites_check_data(&r->sites.report);
	if (code != BS_EXIT_OK) {
		bs_snapshot_free(s);
		return code;
	}
	r->symbolizer = bs_symbolizer_new(r->sysroot, r->debug_dir);
	bs_render_use_symbols(&r->render, r->symbolizer);
	r->render.paths = true;
	r->render.all = true;
	r->sites.report.now_ns = tool_now_ns(r->common.target);
	r->sites.report.symbolizer = r->symbolizer;
	switch (r->sites.report.form) {
	case BS_FORM_TEXT:
		report_text(&out, r);
		break;
	case BS_FORM_JSON:
		report_json(&out, r);
		break;
	default: /* has the call sites alone */
		bs_sitereport_write(&out, &r->sites.report);
	}
	bs_symbolizer_free(r->symbolizer);
	bs_snapshot_free(s);
	return tool_sites_output(&r->sites, &out);
}

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct report *r = arg;

	switch (c) {
	case 's':
		r->sysroot = optarg;
		return TOOL_GO_ON;
	case 'd':
		r->debug_dir = optarg;
		return TOOL_GO_ON;
	default:
		return tool_sites_option(tool, &r->sites, c);
	}
}

int tool_run_report(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "sysroot", required_argument, NULL, 's' },
		{ "debug-dir", required_argument, NULL, 'd' },
		TOOL_SITES_OPTIONS,
		TOOL_OPTIONS_COMMON
	};
	struct report r = { 0 };
	int ret;

	ret = tool_parse(tool, argc, argv, "hn:", long_options, parse_option,
			 &r, &r.common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (!r.common.target)
		return tool_usage(tool, "needs a FILE.seg (or PID|NAME)");
	ret = tool_sites_check(tool, &r.sites, &r.common, LIMIT_DEFAULT);
	return ret == TOOL_GO_ON ? make_report(&r) : ret;
}
