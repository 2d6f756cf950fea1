/* SPDX-License-Identifier: MIT */
/*
 * sites.h - what sites, leaks and report have in common: the forms of a report of
 * call sites, and where it goes.
 *
 * Owns:   the options --by, --folded, --objects, --lifetimes, --pprof and -n; the output.
 * Layer:  tools; on shared/sitereport.h, which says what the options mean.
 * Locks:  none.
 */
#ifndef BS_TOOLS_SITES_H
#define BS_TOOLS_SITES_H

#include "shared/sitereport.h"
#include "tools/tool.h"

struct tool_sites {
	struct bs_sitereport report;
	bool limit_given;
	const char *pprof_file; /* with --pprof; "-": standard output */
};

/* Entries of a table of struct option; their letters are ours. */
#define TOOL_SITES_OPTIONS                                                     \
	{ "limit", required_argument, NULL, 'n' },                             \
		{ "by", required_argument, NULL, 'B' },                        \
		{ "folded", optional_argument, NULL, 'F' },                    \
		{ "objects", no_argument, NULL, 'O' },                         \
		{ "lifetimes", no_argument, NULL, 'L' },                       \
	{                                                                      \
		"pprof", required_argument, NULL, 'P'                          \
	}

#define TOOL_SITES_HELP                                                              \
	"  --by=GROUP     add sites up by function, library or line, or by thread\n" \
	"                 (of programs that ran with trace_threads=on)\n"            \
	"  --folded[=COUNT]\n"                                                       \
	"                 stacks for flame graphs; COUNT is live (default) or\n"     \
	"                 alloc, all that was ever allocated, in bytes\n"            \
	"  --objects      with --folded: objects instead of bytes\n"                 \
	"  --lifetimes    how long what was freed has lived (JSON always has it)\n"  \
	"  --pprof=FILE   a profile for pprof (gzipped); '-': standard output\n"

/* As a tool_option_fn does. */
int tool_sites_option(const struct tool *tool, struct tool_sites *sites, int c);

/*
 * Behind all options: do they go together?  A text without a limit gets
 * `default_limit`.  TOOL_GO_ON, or BS_EXIT_USAGE with the message printed.
 */
int tool_sites_check(const struct tool *tool, struct tool_sites *sites,
		     const struct tool_common *common, uint64_t default_limit);

/* BS_EXIT_OK, or BS_EXIT_FAILED with a message: the segment does not tell that. */
int tool_sites_check_data(const struct bs_sitereport *r);

/* Writes the report where it belongs and frees the buffer; an exit code. */
int tool_sites_output(const struct tool_sites *sites, struct bs_buf *out);

#endif
