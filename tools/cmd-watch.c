/* SPDX-License-Identifier: MIT */
/*
 * cmd-watch.c - repeat a command.
 *
 * Owns:   the interval and when to stop.
 * Layer:  tools.
 * Locks:  none.
 *
 * The first reading decides which program is meant; the watch ends with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/tool.h"

#define NS_PER_S UINT64_C(1000000000)
#define MIN_NS	 UINT64_C(10000000) /* more would be all that we do */
#define MAX_NS	 (86400 * NS_PER_S)

/* "2", "0.5", "2s", "500ms", "1m"; no sign, no exponent, no hex. */
static bool parse_interval(const char *text, uint64_t *ns)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = { { "", 1e9 }, { "s", 1e9 }, { "ms", 1e6 }, { "m", 60e9 } };
	size_t len = strspn(text, "0123456789.");
	double value;
	char *end;

	if (len == 0 || len > 20)
		return false;
	value = strtod(text, &end);
	if (end != text + len)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (strcmp(end, units[i].unit))
			continue;
		value *= units[i].ns;
		if (value < (double)MIN_NS || value > (double)MAX_NS)
			return false;
		*ns = (uint64_t)value;
		return true;
	}
	return false;
}

/* The state now of the target that the first reading was of. */
static enum bs_target_state target_state(const struct bs_target *target)
{
	enum bs_target_state state = BS_TARGET_EXITED;
	struct bs_target_list list;
	char dir[PATH_MAX], err[512];

	if (bs_target_dir(dir, sizeof(dir)) ||
	    bs_target_list_all(dir, &list, err, sizeof(err)))
		return BS_TARGET_UNKNOWN;
	for (size_t i = 0; i < list.nr; i++)
		if (list.targets[i].pid == target->pid &&
		    list.targets[i].start_ticks == target->start_ticks &&
		    list.targets[i].nonce == target->nonce)
			state = list.targets[i].state;
	bs_target_list_free(&list);
	return state;
}

static void sleep_until(struct timespec *next, uint64_t interval_ns)
{
	uint64_t ns = (uint64_t)next->tv_nsec + interval_ns;
	struct timespec now;

	next->tv_sec += (time_t)(ns / NS_PER_S);
	next->tv_nsec = (long)(ns % NS_PER_S);
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec > next->tv_sec ||
	    (now.tv_sec == next->tv_sec && now.tv_nsec > next->tv_nsec)) {
		*next = now; /* late: no readings in a row to catch up */
		return;
	}
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL) ==
	       EINTR)
		;
}

static void between(const char *command, bool first, bool json)
{
	if (isatty(STDOUT_FILENO))
		printf("\033[H\033[2J%s\n\n", command);
	else if (!first && !json)
		putchar('\n');
}

static int repeat(const struct tool *command, uint64_t interval_ns, int argc,
		  char **argv)
{
	struct bs_target target;
	struct timespec next;
	bool json = false, once = false;
	char **args;
	int ret;

	args = calloc((size_t)argc + 1, sizeof(*args));
	if (!args) {
		tool_warn("out of memory");
		return BS_EXIT_FAILED;
	}
	for (int i = 1; i < argc; i++) {
		json |= !strcmp(argv[i], "--json");
		once |= !strcmp(argv[i], "--help") || !strcmp(argv[i], "-h");
	}
	clock_gettime(CLOCK_MONOTONIC, &next);
	tool_has_last_target = false;
	for (bool first = true;; first = false) {
		/* getopt reorders what it is given. */
		memcpy(args, argv, (size_t)argc * sizeof(*args));
		optind = 0;
		between(argv[0], first, json);
		ret = command->run(command, argc, args);
		if (ret || once)
			break;
		if (first && tool_has_last_target) {
			target = tool_last_target;
			if (target.state != BS_TARGET_RUNNING)
				break;
			tool_pin_target();
		}
		sleep_until(&next, interval_ns);
		if (!tool_has_last_target)
			continue;
		target.state = target_state(&target);
		if (target.state != BS_TARGET_RUNNING) {
			tool_warn("%s (%d) ended: %s", target.comm, target.pid,
				  bs_target_state_name(target.state));
			break;
		}
	}
	free(args);
	return ret;
}

static int not_repeatable(const struct tool *tool, const char *name)
{
	struct bs_buf names = BS_BUF_INIT;
	int ret;

	for (const struct tool *t = tools; t->name; t++)
		if (t->repeatable)
			bs_buf_printf(&names, " %s", t->name);
	ret = tool_usage(tool, "cannot repeat '%s'; can repeat:%s", name,
			 bs_buf_str(&names));
	bs_buf_free(&names);
	return ret;
}

int tool_run_watch(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
	};
	struct tool_common common = { 0 };
	const struct tool *command;
	uint64_t interval_ns;
	char name[64];
	int ret;

	ret = tool_options(tool, argc, argv, "+h", long_options, NULL, NULL,
			   &common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (optind + 2 > argc)
		return tool_usage(tool, "needs an INTERVAL and a COMMAND");
	if (!parse_interval(argv[optind], &interval_ns))
		return tool_usage(
			tool,
			"bad interval '%s'; use a number of seconds or a unit, "
			"10ms to 24 hours: 2, 0.5, 500ms, 2s, 1m",
			argv[optind]);
	command = tool_find(argv[optind + 1]);
	if (!command || !command->repeatable)
		return not_repeatable(tool, argv[optind + 1]);
	snprintf(name, sizeof(name), "buddyscope %s", command->name);
	argv[optind + 1] = name;
	return repeat(command, interval_ns, argc - optind - 1,
		      argv + optind + 1);
}
