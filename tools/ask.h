/* SPDX-License-Identifier: MIT */
/*
 * ask.h - asking a running program something, and waiting for its answer.
 *
 * Owns:   the wait.
 * Layer:  tools; on shared/control.h.
 * Locks:  none.
 */
#ifndef BS_TOOLS_ASK_H
#define BS_TOOLS_ASK_H

#include "shared/control.h"
#include "tools/tool.h"

/* Why an answer may be long in coming; "... it does AT_ITS_NEXT". */
#define ASK_WHEN                                                               \
	"at its next allocation on a slow path, which an idle program may be long in making"

/* "mpv (pid 1234)" */
void ask_put_name(struct bs_buf *out, const struct bs_abi_header *h);

/* "buddyscope: mpv (pid 1234) WHAT" on stderr.  Returns BS_EXIT_FAILED. */
int ask_fail(const struct bs_abi_header *h, const char *what);
/* By SIGSTOP or a debugger. */
bool ask_is_stopped(const struct bs_abi_header *h);

/*
 * Finds the target of the command line and opens its control page; the path stays in
 * `path`.  BS_EXIT_OK, or an exit code with the message printed: also when the program
 * has ended.
 */
int ask_open(struct bs_control *c, const char *target, char *path, size_t len);

/*
 * Looks until seen() holds, two seconds are over, or the program ends, which is said.
 * BS_EXIT_OK with *answered, or an exit code with the message printed.
 */
int ask_wait(struct bs_control *c, bool (*seen)(const struct bs_control *c),
	     bool *answered);

#endif
