/* SPDX-License-Identifier: MIT */
/*
 * cmd-sites.c - sites and leaks: who allocates, who never frees.
 *
 * Owns:   the options of both; the choice between daemon and segment.
 * Layer:  tools; the form is shared/sitereport.h's, whoever prints it.
 * Locks:  none.
 *
 * The daemon is asked because it knows the history.  Where there is none, the
 * segment itself still tells the counters of each site.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/sites.h"

#define LIMIT_DEFAULT	  20
#define DAEMON_TIMEOUT_MS 60000 /* symbols of large programs take a while */

struct query {
	struct tool_common common;
	struct tool_sites sites;
	const char *sort; /* NULL: default */
};

/* From the segment alone. */
static int from_segment(const struct query *q)
{
	struct bs_sitereport r = q->sites.report;
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	int code;

	s = tool_snapshot(q->common.target, BS_SNAP_ALL, &code);
	if (!s)
		return code;
	if (r.leaks && !r.min_bytes)
		r.min_bytes = 1; /* what was never freed */
	r.snapshot = s;
	code = tool_sites_check_data(&r);
	if (code != BS_EXIT_OK) {
		bs_snapshot_free(s);
		return code;
	}
	r.now_ns = tool_now_ns(q->common.target);
	r.symbolizer = bs_symbolizer_new(NULL, NULL);
	bs_sitereport_write(&out, &r);
	bs_symbolizer_free(r.symbolizer);
	bs_snapshot_free(s);
	return tool_sites_output(&q->sites, &out);
}

/*
 * The request for the daemon.  A target that the directory still has is named
 * by its pid; the daemon may know others that are archived.
 */
static int make_request(const struct query *q, struct bs_buf *request)
{
	const struct bs_sitereport *r = &q->sites.report;
	char path[PATH_MAX];
	int code;

	bs_buf_puts(request, r->leaks ? "leaks" : "sites");
	code = tool_target(q->common.target, true, path, sizeof(path));
	if (code == BS_EXIT_OK)
		bs_buf_printf(request, " %d", tool_last_target.pid);
	else if (code != BS_EXIT_NO_TARGET)
		return code;
	else if (q->common.target && strpbrk(q->common.target, " \t\r\n"))
		return tool_target(q->common.target, false, path, sizeof(path));
	else if (q->common.target)
		bs_buf_printf(request, " %s", q->common.target);
	bs_sitereport_put_options(request, r);
	if (r->all)
		bs_buf_puts(request, " --all");
	if (q->sort)
		bs_buf_printf(request, " --sort=%s", q->sort);
	bs_buf_printf(request, " --limit=%" PRIu64, r->limit);
	if (r->min_bytes)
		bs_buf_printf(request, " --min=%" PRIu64, r->min_bytes);
	if (r->only_site)
		bs_buf_printf(request, " --site=%" PRIu32, r->only_site);
	return BS_EXIT_OK;
}

/* A profile comes as base64. */
static int take_profile(const struct query *q, int fd, const char *request)
{
	struct bs_buf profile = BS_BUF_INIT;
	int ret;

	ret = tool_daemon_fetch(fd, request, DAEMON_TIMEOUT_MS, &profile);
	if (ret == BS_EXIT_OK)
		return tool_sites_output(&q->sites, &profile);
	bs_buf_free(&profile);
	return ret;
}

/* An exit code, or -errno if the daemon gave no answer. */
static int from_daemon(const struct query *q)
{
	struct bs_buf request = BS_BUF_INIT;
	int fd = tool_daemon_connect(), ret;

	if (fd < 0)
		return fd;
	ret = make_request(q, &request);
	if (!ret && q->sites.report.form == BS_FORM_PPROF)
		ret = take_profile(q, fd, bs_buf_str(&request));
	else if (!ret)
		ret = tool_daemon_ask(fd, bs_buf_str(&request), q->common.json,
				      DAEMON_TIMEOUT_MS);
	bs_buf_free(&request);
	close(fd);
	return ret;
}

/* Is there something in the answer that only the daemon knows? */
static bool needs_history(const struct bs_sitereport *r)
{
	return !r->by && (r->form == BS_FORM_TEXT || r->form == BS_FORM_JSON);
}

static int answer(const struct query *q)
{
	int ret;

	if (q->common.target && tool_is_file(q->common.target))
		return from_segment(q);
	ret = from_daemon(q);
	if (ret >= 0)
		return ret;
	if (ret != -ENOENT && ret != -ECONNREFUSED)
		tool_warn("the daemon does not answer: %s", strerror(-ret));
	ret = from_segment(q);
	if (ret == BS_EXIT_OK && needs_history(&q->sites.report))
		tool_warn(
			"read from the segment; growth and verdicts need the daemon: start it with 'buddyscoped'");
	return ret;
}

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct query *q = arg;
	struct bs_sitereport *r = &q->sites.report;
	unsigned long number;

	switch (c) {
	case 'a':
		if (!r->leaks)
			return tool_usage(tool, "--all belongs to leaks");
		r->all = true;
		return TOOL_GO_ON;
	case 's':
		if (!bs_site_sort_parse(optarg, &r->sort))
			return tool_usage(
				tool,
				"unknown sort key '%s'; there are live, growth, allocs, bytes",
				optarg);
		q->sort = optarg;
		return TOOL_GO_ON;
	case 'm':
		if (!tool_parse_number(optarg, 0, INT64_MAX, &number))
			return tool_usage(tool, "bad number of bytes '%s'",
					  optarg);
		r->min_bytes = number;
		return TOOL_GO_ON;
	case 'S':
		if (!tool_parse_number(optarg, 1, INT32_MAX, &number))
			return tool_usage(tool, "bad site number '%s'", optarg);
		r->only_site = (uint32_t)number;
		return TOOL_GO_ON;
	default:
		return tool_sites_option(tool, &q->sites, c);
	}
}

int tool_run_sites(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "sort", required_argument, NULL, 's' },
		{ "min", required_argument, NULL, 'm' },
		{ "site", required_argument, NULL, 'S' },
		TOOL_SITES_OPTIONS,
		TOOL_OPTIONS_COMMON
	};
	struct query q = { 0 };
	int ret;

	q.sites.report.leaks = !strcmp(tool->name, "leaks");
	ret = tool_parse(tool, argc, argv, "hn:", long_options, parse_option,
			 &q, &q.common);
	if (ret == TOOL_GO_ON)
		ret = tool_sites_check(tool, &q.sites, &q.common,
				       LIMIT_DEFAULT);
	return ret == TOOL_GO_ON ? answer(&q) : ret;
}
