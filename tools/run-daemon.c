/* SPDX-License-Identifier: MIT */
/*
 * run-daemon.c - make sure that a daemon watches.
 *
 * Owns:   starting buddyscoped for the user.
 * Layer:  tools.
 * Locks:  none; two of us at once are the daemon's business (one of them finds
 *         the socket taken and leaves).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/run.h"
#include "tools/tool.h"

#define WAIT_STEP_MS 20
#define WAIT_STEPS   250 /* 5 s */
/* Long enough to ask the next morning; it knows the ended programs. */
#define IDLE_EXIT "24h"

/*
 * In the grandchild: a session of its own, no terminal, none of our files, no
 * preload.  --foreground, because the fork is done already.
 */
static void exec_daemon(const char *path)
{
	int null = open("/dev/null", O_RDWR);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	close_range(STDERR_FILENO + 1, ~0U, 0);
	if (chdir("/"))
		_exit(127);
	unsetenv("LD_PRELOAD");
	execl(path, path, "--foreground", "--idle-exit", IDLE_EXIT,
	      (char *)NULL);
	_exit(127);
}

/* Through a child that leaves at once, so that init inherits the daemon. */
static int spawn_daemon(const char *path)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0) {
		setsid();
		switch (fork()) {
		case -1:
			_exit(1);
		case 0:
			exec_daemon(path);
		}
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EAGAIN;
}

static bool wait_for_answer(void)
{
	static const struct timespec step = { 0, WAIT_STEP_MS * 1000000L };

	for (int i = 0; i < WAIT_STEPS; i++) {
		int fd = tool_daemon_connect();

		if (fd >= 0) {
			close(fd);
			return true;
		}
		nanosleep(&step, NULL);
	}
	return false;
}

void run_ensure_daemon(void)
{
	static const char without[] =
		"going on without (no history, no leak verdicts)";
	char path[PATH_MAX];
	int fd = tool_daemon_connect(), ret;

	if (fd >= 0) {
		close(fd);
		return;
	}
	if (run_find_daemon(path, sizeof(path))) {
		tool_warn("cannot find buddyscoped; %s", without);
		return;
	}
	ret = spawn_daemon(path);
	if (ret)
		tool_warn("cannot start %s: %s; %s", path, strerror(-ret),
			  without);
	else if (!wait_for_answer())
		tool_warn("%s was started but does not answer; %s", path,
			  without);
}
