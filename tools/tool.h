/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what the subcommands of `buddyscope` share.
 *
 * Owns:   the table entry of a subcommand, common options, messages and exit
 *         codes, finding the target, the connection to the daemon.
 * Layer:  tools; on shared/.
 * Locks:  none; the program has one thread.
 */
#ifndef BS_TOOLS_TOOL_H
#define BS_TOOLS_TOOL_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "shared/json.h"
#include "shared/render.h"
#include "shared/snapshot.h"
#include "shared/target.h"
#include "shared/tracing.h"
#include "shared/wire.h"

struct tool {
	const char *name;
	/* argv[0] is "buddyscope NAME".  Returns an exit code. */
	int (*run)(const struct tool *tool, int argc, char **argv);
	const char *synopsis; /* what follows the name */
	const char *summary;  /* one line for the list of commands */
	const char *help;     /* options and notes, or NULL */
	bool repeatable;      /* watch may run it again and again */
};

/* All subcommands in the order of --help, ended by a NULL name. */
extern const struct tool tools[];
const struct tool *tool_find(const char *name);
/* The name in the table that `name` is probably a slip of; NULL: none. */
const char *tool_nearest(const char *name);

int tool_run_view(const struct tool *tool, int argc, char **argv);
int tool_run_ps(const struct tool *tool, int argc, char **argv);
int tool_run_sites(const struct tool *tool, int argc, char **argv);
int tool_run_log(const struct tool *tool, int argc, char **argv);
int tool_run_pins(const struct tool *tool, int argc, char **argv);
int tool_run_trace(const struct tool *tool, int argc, char **argv);
int tool_run_watch(const struct tool *tool, int argc, char **argv);
int tool_run_report(const struct tool *tool, int argc, char **argv);
int tool_run_run(const struct tool *tool, int argc, char **argv);

/* ---- messages ----------------------------------------------------------- */

/* "buddyscope: ..." on stderr; newline added. */
void tool_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, then "Try 'buddyscope NAME --help'."  Returns BS_EXIT_USAGE. */
int tool_usage(const struct tool *tool, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The help of a subcommand on stdout.  Returns an exit code. */
int tool_help(const struct tool *tool);

/* ---- options ------------------------------------------------------------ */

#define TOOL_OPTIONS_COMMON                                                    \
	{ "json", no_argument, NULL, 'j' },                                    \
		{ "help", no_argument, NULL, 'h' },                            \
	{                                                                      \
		NULL, 0, NULL, 0                                               \
	}

struct tool_common {
	bool json;
	const char *target; /* PID, NAME or FILE.seg; NULL: not given */
};

/* Returned by tool_options(): go on parsing; else it is the exit code. */
#define TOOL_GO_ON (-1)

/*
 * What a subcommand does with its own option c (optarg is its value): TOOL_GO_ON,
 * an exit code with the message printed, or TOOL_NOT_MINE.
 */
#define TOOL_NOT_MINE (-2)
typedef int tool_option_fn(const struct tool *tool, void *arg, int c);

/*
 * Takes all options: `mine` gets each first, then the common ones.  A `letters`
 * that begins with '+' stops at the first argument.  TOOL_GO_ON, or a code;
 * optind is behind the options.
 */
int tool_options(const struct tool *tool, int argc, char **argv,
		 const char *letters, const struct option *options,
		 tool_option_fn *mine, void *arg, struct tool_common *common);
/* The same, and the one optional argument behind them. */
int tool_parse(const struct tool *tool, int argc, char **argv,
	       const char *letters, const struct option *options,
	       tool_option_fn *mine, void *arg, struct tool_common *common);
/* A whole number in [min, max]; false if text is anything else. */
bool tool_parse_number(const char *text, unsigned long min, unsigned long max,
		       unsigned long *value);

/* ---- output ------------------------------------------------------------- */

/*
 * Writes the text to stdout and frees the buffer.  BS_EXIT_OK, or
 * BS_EXIT_FAILED; silent if the reader of a pipe went away.
 */
int tool_output(struct bs_buf *out);

/* ---- targets ------------------------------------------------------------ */

/* The target that the last tool_target() found, for watch. */
extern struct bs_target tool_last_target;
extern bool tool_has_last_target;
/* From now on that one is meant, whatever the argument says. */
void tool_pin_target(void);

/* Is this argument a saved segment (has a '/' or ends in .seg)? */
bool tool_is_file(const char *arg);

/*
 * Finds the segment that `arg` means and writes its path.  BS_EXIT_OK or an
 * exit code with the message printed.  quiet: no message for
 * BS_EXIT_NO_TARGET.
 */
int tool_target(const char *arg, bool quiet, char *path, size_t len);

/* tool_target() and reading it.  NULL with *code set and message printed. */
struct bs_snapshot *tool_snapshot(const char *arg, unsigned int sections,
				  int *code);

/*
 * CLOCK_MONOTONIC if the target that was found for `arg` runs; 0: it ended, or is a
 * saved segment, whose clock may be another machine's.
 */
uint64_t tool_now_ns(const char *arg);

/* ---- daemon ------------------------------------------------------------- */

/* A connected descriptor, or -errno. */
int tool_daemon_connect(void);

/*
 * Sends a request and prints the reply as it comes.  Returns the reply's code
 * with its message printed, or -errno if there was no complete reply.
 */
int tool_daemon_ask(int fd, const char *request, bool json, int timeout_ms);

/* The same for a text reply that is base64: appends what it stands for. */
int tool_daemon_fetch(int fd, const char *request, int timeout_ms,
		      struct bs_buf *out);

#endif
