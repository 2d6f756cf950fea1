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

#include "shared/sitereport.h"
#include "tools/tool.h"

#define LIMIT_DEFAULT	  20
#define DAEMON_TIMEOUT_MS 60000 /* symbols of large programs take a while */

struct query {
	struct tool_common common;
	bool leaks;
	bool all;
	const char *sort; /* NULL: default */
	unsigned long limit;
	bool limit_given;
	unsigned long min_bytes;
	unsigned long site;
};

/* From the segment alone. */
static int from_segment(const struct query *q)
{
	struct bs_sitereport r = { .limit = q->limit,
				   .min_bytes = q->min_bytes,
				   .only_site = (uint32_t)q->site };
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	int code;

	s = tool_snapshot(q->common.target, BS_SNAP_ALL, &code);
	if (!s)
		return code;
	if (q->leaks && !r.min_bytes)
		r.min_bytes = 1; /* what was never freed */
	if (q->sort)
		bs_site_sort_parse(q->sort, &r.sort);
	r.snapshot = s;
	r.symbolizer = bs_symbolizer_new(NULL, NULL);
	if (q->common.json)
		bs_sitereport_json(&out, &r);
	else
		bs_sitereport_text(&out, &r);
	bs_symbolizer_free(r.symbolizer);
	bs_snapshot_free(s);
	return tool_output(&out);
}

/*
 * The request for the daemon.  A target that the directory still has is named
 * by its pid; the daemon may know others that are archived.
 */
static int make_request(const struct query *q, struct bs_buf *request)
{
	char path[PATH_MAX];
	int code;

	bs_buf_puts(request, q->leaks ? "leaks" : "sites");
	code = tool_target(q->common.target, true, path, sizeof(path));
	if (code == BS_EXIT_OK)
		bs_buf_printf(request, " %d", tool_last_target.pid);
	else if (code != BS_EXIT_NO_TARGET)
		return code;
	else if (q->common.target && strpbrk(q->common.target, " \t\r\n"))
		return tool_target(q->common.target, false, path, sizeof(path));
	else if (q->common.target)
		bs_buf_printf(request, " %s", q->common.target);
	if (q->common.json)
		bs_buf_puts(request, " --json");
	if (q->all)
		bs_buf_puts(request, " --all");
	if (q->sort)
		bs_buf_printf(request, " --sort=%s", q->sort);
	bs_buf_printf(request, " --limit=%lu", q->limit);
	if (q->min_bytes)
		bs_buf_printf(request, " --min=%lu", q->min_bytes);
	if (q->site)
		bs_buf_printf(request, " --site=%lu", q->site);
	return BS_EXIT_OK;
}

/* An exit code, or -errno if the daemon gave no answer. */
static int from_daemon(const struct query *q)
{
	struct bs_buf request = BS_BUF_INIT;
	int fd = tool_daemon_connect(), ret;

	if (fd < 0)
		return fd;
	ret = make_request(q, &request);
	if (!ret)
		ret = tool_daemon_ask(fd, bs_buf_str(&request), q->common.json,
				      DAEMON_TIMEOUT_MS);
	bs_buf_free(&request);
	close(fd);
	return ret;
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
	if (ret == BS_EXIT_OK)
		tool_warn(
			"read from the segment; growth and verdicts need the daemon: start it with 'buddyscoped'");
	return ret;
}

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct query *q = arg;
	enum bs_site_sort sort;

	switch (c) {
	case 'a':
		if (!q->leaks)
			return tool_usage(tool, "--all belongs to leaks");
		q->all = true;
		return TOOL_GO_ON;
	case 's':
		if (!bs_site_sort_parse(optarg, &sort))
			return tool_usage(
				tool,
				"unknown sort key '%s'; there are live, growth, allocs, bytes",
				optarg);
		q->sort = optarg;
		return TOOL_GO_ON;
	case 'n':
		if (!tool_parse_number(optarg, 0, INT32_MAX, &q->limit))
			return tool_usage(tool, "bad number of sites '%s'",
					  optarg);
		q->limit_given = true;
		return TOOL_GO_ON;
	case 'm':
		if (!tool_parse_number(optarg, 0, INT64_MAX, &q->min_bytes))
			return tool_usage(tool, "bad number of bytes '%s'",
					  optarg);
		return TOOL_GO_ON;
	case 'S':
		if (!tool_parse_number(optarg, 1, INT32_MAX, &q->site))
			return tool_usage(tool, "bad site number '%s'", optarg);
		return TOOL_GO_ON;
	default:
		return TOOL_NOT_MINE;
	}
}

int tool_run_sites(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "sort", required_argument, NULL, 's' },
		{ "limit", required_argument, NULL, 'n' },
		{ "min", required_argument, NULL, 'm' },
		{ "site", required_argument, NULL, 'S' },
		TOOL_OPTIONS_COMMON
	};
	struct query q = { .leaks = !strcmp(tool->name, "leaks") };
	int ret;

	ret = tool_parse(tool, argc, argv, "hn:", long_options, parse_option,
			 &q, &q.common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (!q.limit_given && !q.common.json)
		q.limit = LIMIT_DEFAULT;
	return answer(&q);
}
