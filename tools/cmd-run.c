/* SPDX-License-Identifier: MIT */
/*
 * cmd-run.c - run a program under buddyscope.
 *
 * Owns:   the options of run, the environment of the program.
 * Layer:  tools.
 * Locks:  none.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/run.h"
#include "tools/tool.h"

struct run {
	bool quiet;
	struct bs_buf options; /* key=value ... */
};

/* Only the form is ours; what keys there are is the library's business. */
static bool valid_option(const char *text)
{
	size_t key = strspn(text, "abcdefghijklmnopqrstuvwxyz"
				  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");

	if (key == 0 || text[key] != '=' || !text[key + 1])
		return false;
	for (; *text; text++)
		if (isspace((unsigned char)*text) ||
		    iscntrl((unsigned char)*text))
			return false;
	return true;
}

/* Joins new and old value of a variable.  0 or -ENOMEM. */
static int set_joined(const char *name, const char *first, const char *second,
		      char separator)
{
	struct bs_buf value = BS_BUF_INIT;
	int ret = 0;

	bs_buf_puts(&value, first);
	if (*first && *second)
		bs_buf_putc(&value, separator);
	bs_buf_puts(&value, second);
	if (value.failed || setenv(name, bs_buf_str(&value), 1))
		ret = -ENOMEM;
	bs_buf_free(&value);
	return ret;
}

static int set_environment(const struct run *run, const char *library)
{
	const char *preload = getenv("LD_PRELOAD");
	const char *options = getenv("BUDDYSCOPE");
	int ret;

	ret = set_joined("LD_PRELOAD", library, preload ? preload : "", ':');
	if (!ret && run->options.len)
		ret = set_joined("BUDDYSCOPE", options ? options : "",
				 bs_buf_str(&run->options), ' ');
	if (ret)
		tool_warn("out of memory");
	return ret;
}

/*
 * The directory of the segments must be there, and its name must stay right
 * when the program or the daemon changes its own directory.
 */
static int prepare_directory(void)
{
	char dir[PATH_MAX], absolute[PATH_MAX], err[512];
	const char *env = getenv("BUDDYSCOPE_DIR");

	if (bs_target_dir(dir, sizeof(dir))) {
		tool_warn("BUDDYSCOPE_DIR is too long");
		return BS_EXIT_FAILED;
	}
	if (bs_target_dir_make(dir, err, sizeof(err))) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	if (env && *env &&
	    (!realpath(dir, absolute) ||
	     setenv("BUDDYSCOPE_DIR", absolute, 1))) {
		tool_warn("cannot resolve %s: %s", dir, strerror(errno));
		return BS_EXIT_FAILED;
	}
	return 0;
}

static int run_program(const struct run *run, char **argv)
{
	char path[PATH_MAX], library[PATH_MAX];
	uint64_t start_ticks = 0;
	pid_t pid = 0;
	int ret;

	ret = run_check_program(argv[0], path, sizeof(path));
	if (!ret)
		ret = run_find_library(library, sizeof(library));
	if (ret)
		return ret;
	ret = prepare_directory();
	if (ret)
		return ret;
	run_ensure_daemon();
	if (set_environment(run, library))
		return BS_EXIT_FAILED;
	ret = run_child(path, argv, &pid, &start_ticks);
	if (ret < 0) {
		tool_warn("cannot run %s: %s", path, strerror(-ret));
		return ret == -ENOENT ? RUN_EXIT_NOT_FOUND
				      : RUN_EXIT_CANNOT_EXECUTE;
	}
	if (!run->quiet)
		run_summary(pid, start_ticks);
	return run_end_like(ret);
}

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct run *run = arg;

	switch (c) {
	case 'o':
		if (!valid_option(optarg))
			return tool_usage(
				tool, "bad option '%s'; the form is KEY=VALUE",
				optarg);
		bs_buf_printf(&run->options, "%s%s",
			      run->options.len ? " " : "", optarg);
		return TOOL_GO_ON;
	case 'q':
		run->quiet = true;
		return TOOL_GO_ON;
	default:
		return TOOL_NOT_MINE;
	}
}

int tool_run_run(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "option", required_argument, NULL, 'o' },
		{ "quiet", no_argument, NULL, 'q' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	struct run run = { .options = BS_BUF_INIT };
	struct tool_common common = { 0 };
	int ret;

	ret = tool_options(tool, argc, argv, "+ho:q", long_options,
			   parse_option, &run, &common);
	if (ret == TOOL_GO_ON && optind == argc)
		ret = tool_usage(tool, "which PROGRAM?");
	if (ret == TOOL_GO_ON)
		ret = run_program(&run, argv + optind);
	bs_buf_free(&run.options);
	return ret;
}
