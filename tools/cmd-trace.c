/* SPDX-License-Identifier: MIT */
/*
 * cmd-trace.c - how a program is traced, and how it shall be.
 *
 * Owns:   the options of trace.
 * Layer:  tools.
 * Locks:  none.
 */
#include <stdlib.h>
#include <string.h>

#include "tools/ask.h"

#define BUDGET_MAX     1000 /* all of the CPU */
#define BUDGET_PERCENT 10   /* 1/1000 in a percent */

struct trace {
	struct tool_common common;
	bool ask; /* not only look */
	bool mode_given;
	uint32_t mode;
	uint64_t sample_bytes; /* 0: as they are */
	uint32_t budget;       /* 1/1000, 0: as it is */
};

/* ---- what is asked for -------------------------------------------------------- */

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct trace *t = arg;
	double percent;
	char *end;

	if (c != 'b')
		return TOOL_NOT_MINE;
	percent = strtod(optarg, &end);
	if (*end == '%')
		end++;
	if (*optarg < '0' || *optarg > '9' || *end || !(percent >= 0.1) ||
	    !(percent <= BUDGET_MAX / BUDGET_PERCENT))
		return tool_usage(
			tool,
			"bad budget '%s'; a percentage of the CPU from 0.1 to 100",
			optarg);
	t->budget = (uint32_t)(percent * BUDGET_PERCENT + 0.5);
	t->ask = true;
	return TOOL_GO_ON;
}

static int take_mode(const struct tool *tool, struct trace *t, const char *text)
{
	struct bs_buf err = BS_BUF_INIT;
	uint64_t asked;
	int ret = TOOL_GO_ON;

	if (!bs_trace_parse(text, &t->mode, &asked, &err)) {
		ret = tool_usage(tool, "%s", bs_buf_str(&err));
	} else {
		t->ask = t->mode_given = true;
		t->sample_bytes = bs_trace_round_sample(asked);
		if (t->sample_bytes != asked)
			tool_warn(
				"%s becomes sample:%llu; there are 8K, 32K, 128K, 512K, 2M, 8M and 32M",
				text, (unsigned long long)t->sample_bytes);
	}
	bs_buf_free(&err);
	return ret;
}

/* [PID|NAME] [MODE]: a single argument that looks like a mode is one. */
static int parse(const struct tool *tool, int argc, char **argv,
		 struct trace *t)
{
	static const struct option long_options[] = {
		{ "budget", required_argument, NULL, 'b' }, TOOL_OPTIONS_COMMON
	};
	const char *mode = NULL;
	int ret;

	ret = tool_options(tool, argc, argv, "h", long_options, parse_option, t,
			   &t->common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (optind < argc &&
	    (optind + 1 < argc || !bs_trace_is_mode(argv[optind])))
		t->common.target = argv[optind++];
	if (optind < argc)
		mode = argv[optind++];
	if (optind < argc)
		return tool_usage(tool, "unexpected argument '%s'",
				  argv[optind]);
	if (t->common.target && !t->common.target[0])
		return tool_usage(tool, "an empty PID or NAME");
	if (mode)
		ret = take_mode(tool, t, mode);
	if (ret == TOOL_GO_ON && t->budget && t->mode_given &&
	    t->mode != BS_TRACE_AUTO)
		return tool_usage(tool, "--budget belongs to auto");
	if (ret == TOOL_GO_ON && t->ask && t->common.target &&
	    tool_is_file(t->common.target))
		return tool_usage(
			tool,
			"a saved segment cannot be switched; give a PID or NAME");
	return ret;
}

/* ---- what is the case ----------------------------------------------------------- */

static void put_details(struct bs_buf *out, const struct bs_abi_header *h)
{
	bool samples = h->trace_mode == BS_TRACE_AUTO ||
		       h->trace_mode == BS_TRACE_SAMPLE;

	if (h->trace_mode == BS_TRACE_AUTO) {
		bs_buf_printf(out,
			      "  budget %.1f %% of the CPU, cost %.1f %%, ",
			      h->trace_budget / 10.0, h->trace_cost / 10.0);
		bs_trace_put_sampled(out, h);
		bs_buf_puts(out, " sampled\n");
	}
	if (samples && h->trace_sample_bytes) {
		bs_buf_puts(out, "  one sample in ");
		bs_buf_put_bytes(out, h->trace_sample_bytes);
		bs_buf_puts(out, " of what is sampled\n");
	}
	if (h->trace_table_bytes || h->trace_limit_bytes) {
		bs_buf_puts(out, "  tables ");
		bs_trace_put_tables(out, h);
		bs_buf_putc(out, '\n');
	}
}

/* The keys of JSON; asked and taken are null where nothing was asked. */
static void put_json(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct trace *t, bool taken)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_json j;

	bs_json_init(&j, out);
	bs_json_object(&j, NULL);
	bs_json_i64(&j, "pid", h->pid);
	bs_json_str(&j, "comm", h->comm);
	bs_trace_json(&j, h);
	bs_trace_troubles_json(&j, s);
	bs_json_str(&j, "asked", t->ask ? bs_trace_name(t->mode) : NULL);
	if (t->ask)
		bs_json_bool(&j, "taken", taken);
	else
		bs_json_null(&j, "taken");
	bs_json_object_end(&j);
	bs_buf_putc(out, '\n');
}

static int show(const struct trace *t)
{
	struct bs_buf out = BS_BUF_INIT;
	const struct bs_abi_header *h;
	struct bs_snapshot *s;
	int code;

	s = tool_snapshot(t->common.target, BS_SNAP_HEADER, &code);
	if (!s)
		return code;
	h = bs_snapshot_header(s);
	if (t->common.json) {
		put_json(&out, s, t, false);
	} else {
		ask_put_name(&out, h);
		bs_buf_puts(&out, ": trace ");
		bs_trace_put(&out, h);
		bs_buf_putc(&out, '\n');
		put_details(&out, h);
		bs_trace_put_troubles(&out, s, "  ");
	}
	bs_snapshot_free(s);
	return tool_output(&out);
}

/* ---- asking ---------------------------------------------------------------------- */

/* The program's answer in words; an exit code. */
static int tell(const struct bs_control *c)
{
	const struct bs_abi_header *h = &c->header;
	struct bs_buf out = BS_BUF_INIT;

	ask_put_name(&out, h);
	if (!bs_control_trace_seen(c)) {
		bs_buf_printf(&out,
			      " has not taken it yet: it does " ASK_WHEN
			      "; 'buddyscope trace %d' shows when it has\n",
			      h->pid);
		return tool_output(&out);
	}
	bs_buf_puts(&out, " has taken it: trace ");
	bs_trace_put(&out, h);
	bs_buf_putc(&out, '\n');
	put_details(&out, h);
	return tool_output(&out);
}

/* Taken, but not done? */
static int refused(const struct trace *t, const struct bs_control *c)
{
	const struct bs_abi_header *h = &c->header;

	if (!bs_control_trace_seen(c) || h->trace_mode == t->mode)
		return BS_EXIT_OK;
	if (h->trace_mode == BS_TRACE_OFF)
		tool_warn(
			"started with trace=off, which keeps no tags; start it with trace=auto (or sample:BYTES) to be able to switch");
	else
		tool_warn("the program knows no trace mode '%s'; it stays %s",
			  bs_trace_name(t->mode), bs_trace_name(h->trace_mode));
	return BS_EXIT_FAILED;
}

static int tell_json(const struct trace *t, const struct bs_control *c)
{
	struct bs_buf out = BS_BUF_INIT;
	char err[PATH_MAX + 256];
	struct bs_snapshot *s;

	s = bs_snapshot_read_sections(c->path, BS_SNAP_HEADER, err,
				      sizeof(err));
	if (!s) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	put_json(&out, s, t, bs_control_trace_seen(c));
	bs_snapshot_free(s);
	return tool_output(&out);
}

static int ask(struct trace *t, struct bs_control *c)
{
	char err[PATH_MAX + 256];
	bool answered;
	int ret;

	if (!t->mode_given)
		t->mode = c->header.trace_mode;
	if (bs_control_request_trace(c, t->mode, t->budget, t->sample_bytes,
				     err, sizeof(err))) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	ret = ask_wait(c, bs_control_trace_seen, &answered);
	if (ret)
		return ret;
	ret = refused(t, c);
	if (t->common.json) {
		int shown = tell_json(t, c);

		return ret ? ret : shown;
	}
	return ret ? ret : tell(c);
}

int tool_run_trace(const struct tool *tool, int argc, char **argv)
{
	struct trace t = { 0 };
	char path[PATH_MAX];
	struct bs_control c;
	int ret;

	ret = parse(tool, argc, argv, &t);
	if (ret != TOOL_GO_ON)
		return ret;
	if (!t.ask)
		return show(&t);
	ret = ask_open(&c, t.common.target, path, sizeof(path));
	if (ret)
		return ret;
	ret = ask(&t, &c);
	bs_control_close(&c);
	return ret;
}
