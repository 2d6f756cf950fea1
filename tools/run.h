/* SPDX-License-Identifier: MIT */
/*
 * run.h - the parts of `buddyscope run`.
 *
 * Owns:   nothing; private to tools/cmd-run.c and tools/run-*.c.
 * Layer:  tools.
 * Locks:  none.
 */
#ifndef BS_TOOLS_RUN_H
#define BS_TOOLS_RUN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit codes as of env(1). */
#define RUN_EXIT_CANNOT_EXECUTE 126
#define RUN_EXIT_NOT_FOUND	127

/*
 * run-check.c: finds the program as execvp() would, and makes sure that the
 * dynamic linker will preload into it.  0 with the path, or an exit code with
 * the message printed.
 */
int run_check_program(const char *name, char *path, size_t len);

/* run-paths.c: 0 with the path, or an exit code with the message printed. */
int run_find_library(char *path, size_t len);
/* The same for the daemon; no message.  0 or -ENOENT. */
int run_find_daemon(char *path, size_t len);

/*
 * run-daemon.c: makes sure that a daemon answers; starts one if none does.  If
 * it cannot, says so: the program runs all the same.
 */
void run_ensure_daemon(void);

/*
 * run-child.c: runs the program with signals passed on, until it ends.  Returns
 * the wait status, or -errno if it could not be started.  *pid and *start_ticks
 * tell its segment.
 */
int run_child(const char *path, char **argv, pid_t *pid, uint64_t *start_ticks);
/* Ends as the child did: exit code, or killed by the same signal. */
int run_end_like(int status);

/* run-summary.c: a few lines on stderr about what happened. */
void run_summary(pid_t pid, uint64_t start_ticks);

#endif
