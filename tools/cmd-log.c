/* SPDX-License-Identifier: MIT */
/*
 * cmd-log.c - what the daemon logged.
 *
 * Owns:   the options of log.
 * Layer:  tools.
 * Locks:  none.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/tool.h"

#define LINES_DEFAULT	  50
#define DAEMON_TIMEOUT_MS 60000

static int print_line(void *arg, const char *line)
{
	(void)arg;
	return puts(line) < 0 || fflush(stdout);
}

/* Until interrupted, or until the daemon closes. */
static int follow(int fd, const char *request)
{
	char message[4096];
	int code, ret;

	/* Lines may be JSON; each is one event, none is the last. */
	ret = bs_wire_call(fd, request, false, -1, print_line, NULL, &code,
			   message, sizeof(message));
	if (ret == -ECONNRESET) {
		tool_warn("the daemon ended");
		return BS_EXIT_FAILED;
	}
	if (ret < 0)
		tool_warn("the daemon does not answer: %s", strerror(-ret));
	else if (ret == 0 && code)
		tool_warn("%s", message);
	return ret ? BS_EXIT_FAILED : code;
}

static int ask(const struct tool_common *common, unsigned long lines,
	       bool following)
{
	struct bs_buf request = BS_BUF_INIT;
	int fd = tool_daemon_connect(), ret;

	if (fd < 0) {
		tool_warn(
			"no daemon answers (%s); the log is its: start it with 'buddyscoped'",
			strerror(-fd));
		return BS_EXIT_FAILED;
	}
	bs_buf_puts(&request, "log");
	if (common->target)
		bs_buf_printf(&request, " %s", common->target);
	bs_buf_printf(&request, " --lines=%lu%s%s", lines,
		      following ? " --follow" : "",
		      common->json ? " --json" : "");
	if (following)
		ret = follow(fd, bs_buf_str(&request));
	else
		ret = tool_daemon_ask(fd, bs_buf_str(&request), common->json,
				      DAEMON_TIMEOUT_MS);
	if (ret < 0) {
		tool_warn("the daemon does not answer: %s", strerror(-ret));
		ret = BS_EXIT_FAILED;
	}
	bs_buf_free(&request);
	close(fd);
	return ret;
}

struct log_options {
	unsigned long lines;
	bool follow;
};

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct log_options *opt = arg;

	switch (c) {
	case 'n':
		if (!tool_parse_number(optarg, 0, INT32_MAX, &opt->lines))
			return tool_usage(tool, "bad number of lines '%s'",
					  optarg);
		return TOOL_GO_ON;
	case 'f':
		opt->follow = true;
		return TOOL_GO_ON;
	default:
		return TOOL_NOT_MINE;
	}
}

int tool_run_log(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "lines", required_argument, NULL, 'n' },
		{ "follow", no_argument, NULL, 'f' },
		TOOL_OPTIONS_COMMON
	};
	struct log_options opt = { .lines = LINES_DEFAULT };
	struct tool_common common = { 0 };
	int ret;

	ret = tool_parse(tool, argc, argv, "hn:f", long_options, parse_option,
			 &opt, &common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (common.target && strpbrk(common.target, " \t\r\n"))
		return tool_usage(tool,
				  "a name with a blank; say the PID instead");
	return ask(&common, opt.lines, opt.follow);
}
