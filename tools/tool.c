/* SPDX-License-Identifier: MIT */
/*
 * tool.c - messages, options, output and targets for all subcommands.
 *
 * Owns:   the common manners of the command.
 * Layer:  tools.
 * Locks:  none.
 */
#include "tools/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/gzip.h"

struct bs_target tool_last_target;
bool tool_has_last_target;
static bool target_pinned;

/* ---- messages ----------------------------------------------------------- */

void tool_warn(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	fputs("buddyscope: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

int tool_usage(const struct tool *tool, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	fprintf(stderr, "buddyscope %s: ", tool->name);
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\nTry 'buddyscope %s --help'.\n", tool->name);
	va_end(ap);
	return BS_EXIT_USAGE;
}

int tool_help(const struct tool *tool)
{
	struct bs_buf out = BS_BUF_INIT;

	bs_buf_printf(&out, "usage: buddyscope %s %s\n\n%s.\n", tool->name,
		      tool->synopsis, tool->summary);
	if (tool->help)
		bs_buf_printf(&out, "\n%s", tool->help);
	return tool_output(&out);
}

/* ---- options ------------------------------------------------------------ */

/* 'j', 'h', or '?': getopt has printed the message. */
static int common_option(const struct tool *tool, int c,
			 struct tool_common *common)
{
	switch (c) {
	case 'j':
		common->json = true;
		return TOOL_GO_ON;
	case 'h':
		return tool_help(tool);
	default:
		fprintf(stderr, "Try 'buddyscope %s --help'.\n", tool->name);
		return BS_EXIT_USAGE;
	}
}

int tool_options(const struct tool *tool, int argc, char **argv,
		 const char *letters, const struct option *options,
		 tool_option_fn *mine, void *arg, struct tool_common *common)
{
	int c, ret = TOOL_GO_ON;

	while (ret == TOOL_GO_ON &&
	       (c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		ret = mine ? mine(tool, arg, c) : TOOL_NOT_MINE;
		if (ret == TOOL_NOT_MINE)
			ret = common_option(tool, c, common);
	}
	return ret;
}

int tool_parse(const struct tool *tool, int argc, char **argv,
	       const char *letters, const struct option *options,
	       tool_option_fn *mine, void *arg, struct tool_common *common)
{
	int ret = tool_options(tool, argc, argv, letters, options, mine, arg,
			       common);

	if (ret != TOOL_GO_ON)
		return ret;
	if (optind < argc)
		common->target = argv[optind++];
	if (optind < argc)
		return tool_usage(tool, "unexpected argument '%s'",
				  argv[optind]);
	if (common->target && !common->target[0])
		return tool_usage(tool, "an empty PID or NAME");
	return TOOL_GO_ON;
}

bool tool_parse_number(const char *text, unsigned long min, unsigned long max,
		       unsigned long *value)
{
	char *end;

	if (!*text || strspn(text, "0123456789") != strlen(text))
		return false;
	errno = 0;
	*value = strtoul(text, &end, 10);
	return !errno && !*end && *value >= min && *value <= max;
}

/* ---- output ------------------------------------------------------------- */

int tool_output(struct bs_buf *out)
{
	int ret = BS_EXIT_OK;

	if (out->failed) {
		tool_warn("out of memory");
		ret = BS_EXIT_FAILED;
	} else if ((out->len && fwrite(out->data, out->len, 1, stdout) != 1) ||
		   fflush(stdout)) {
		if (errno != EPIPE)
			tool_warn("cannot write: %s", strerror(errno));
		ret = BS_EXIT_FAILED;
	}
	bs_buf_free(out);
	return ret;
}

/* ---- targets ------------------------------------------------------------ */

bool tool_is_file(const char *arg)
{
	size_t len = strlen(arg);

	return strchr(arg, '/') || (len > 4 && !strcmp(arg + len - 4, ".seg"));
}

void tool_pin_target(void)
{
	target_pinned = tool_has_last_target;
}

/* The pinned target, wherever its segment is by now. */
static const struct bs_target *find_pinned(const struct bs_target_list *list)
{
	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		if (t->pid == tool_last_target.pid &&
		    t->start_ticks == tool_last_target.start_ticks &&
		    t->nonce == tool_last_target.nonce)
			return t;
	}
	return NULL;
}

static int find_target(const char *dir, const char *arg, bool quiet, char *path,
		       size_t len)
{
	const struct bs_target *t = NULL;
	struct bs_buf msg = BS_BUF_INIT;
	struct bs_target_list list;
	int code = BS_EXIT_OK;
	char err[512];

	if (bs_target_list_all(dir, &list, err, sizeof(err))) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	if (target_pinned)
		t = find_pinned(&list);
	if (!t)
		t = bs_target_resolve(&list, arg, &code, &msg);
	if (t) {
		tool_last_target = *t;
		tool_has_last_target = true;
		snprintf(path, len, "%s", t->path);
	} else if (!quiet || code != BS_EXIT_NO_TARGET) {
		tool_warn("%s", bs_buf_str(&msg));
		if (list.nr_bad)
			tool_warn("files that are no segment: %zu (%s)",
				  list.nr_bad, list.bad_err);
	}
	bs_buf_free(&msg);
	bs_target_list_free(&list);
	return code;
}

int tool_target(const char *arg, bool quiet, char *path, size_t len)
{
	char dir[PATH_MAX];

	if (arg && tool_is_file(arg)) {
		if ((size_t)snprintf(path, len, "%s", arg) >= len) {
			tool_warn("the path is too long");
			return BS_EXIT_FAILED;
		}
		return BS_EXIT_OK;
	}
	if (bs_target_dir(dir, sizeof(dir))) {
		tool_warn("BUDDYSCOPE_DIR is too long");
		return BS_EXIT_FAILED;
	}
	return find_target(dir, arg, quiet, path, len);
}

#define MOVED_TRIES 3

struct bs_snapshot *tool_snapshot(const char *arg, unsigned int sections,
				  int *code)
{
	char path[PATH_MAX], err[PATH_MAX + 256];
	bool file = arg && tool_is_file(arg), gone = true;
	struct bs_snapshot *s = NULL;

	/* A program that just ended: the daemon moves its segment. */
	for (int i = 0; i < MOVED_TRIES && gone; i++) {
		*code = tool_target(arg, false, path, sizeof(path));
		if (*code)
			return NULL;
		s = bs_snapshot_read_sections(path, sections, err, sizeof(err));
		gone = !s && access(path, F_OK);
	}
	if (s)
		return s;
	tool_warn("%s", err);
	*code = file && gone ? BS_EXIT_NO_TARGET : BS_EXIT_FAILED;
	return NULL;
}

uint64_t tool_now_ns(const char *arg)
{
	struct timespec ts;

	if ((arg && tool_is_file(arg)) || !tool_has_last_target ||
	    tool_last_target.state != BS_TARGET_RUNNING ||
	    clock_gettime(CLOCK_MONOTONIC, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- daemon ------------------------------------------------------------- */

int tool_daemon_connect(void)
{
	char dir[PATH_MAX];
	int ret = bs_target_dir(dir, sizeof(dir));

	return ret ? ret : bs_wire_connect(dir);
}

/* An exit code with the message printed, or -errno. */
static int ask(int fd, const char *request, bool json, int timeout_ms,
	       bs_wire_line_fn *fn, void *arg)
{
	char message[4096];
	int code, ret;

	ret = bs_wire_call(fd, request, json, timeout_ms, fn, arg, &code,
			   message, sizeof(message));
	if (ret < 0)
		return ret;
	if (ret > 0)
		return BS_EXIT_FAILED;
	if (code)
		tool_warn("%s", message[0] ? message : "the daemon failed");
	return code;
}

static int print_line(void *arg, const char *line)
{
	(void)arg;
	if (puts(line) >= 0 && !fflush(stdout))
		return 0;
	if (errno != EPIPE)
		tool_warn("cannot write: %s", strerror(errno));
	return 1;
}

int tool_daemon_ask(int fd, const char *request, bool json, int timeout_ms)
{
	return ask(fd, request, json, timeout_ms, print_line, NULL);
}

static int take_base64(void *arg, const char *line)
{
	struct bs_buf *out = arg;

	if (!bs_base64_take(out, line))
		tool_warn(
			"the daemon's answer cannot be understood: is it of another version?");
	else if (out->failed)
		tool_warn("out of memory");
	else
		return 0;
	return 1;
}

int tool_daemon_fetch(int fd, const char *request, int timeout_ms,
		      struct bs_buf *out)
{
	return ask(fd, request, false, timeout_ms, take_base64, out);
}
