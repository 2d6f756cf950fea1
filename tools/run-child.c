/* SPDX-License-Identifier: MIT */
/*
 * run-child.c - run the program as if we were not there.
 *
 * Owns:   fork, exec, the passing on of signals, ending like the child.
 * Layer:  tools.
 * Locks:  none.
 * Source: signal(7), credentials(7) on process groups.
 *
 * The child stays in our process group.  What the terminal sends (Ctrl-C,
 * Ctrl-\, Ctrl-Z, hangup) it sends to the whole group, so the child has it
 * already: such a signal (si_code SI_KERNEL) is not passed on.  What somebody
 * sends to us alone with kill() is.  All these signals are blocked here and
 * taken with sigwaitinfo(): no handler, no race.
 *
 * When job control stops the child (TSTP, TTIN, TTOU) we stop, too, for the
 * shell to see; a SIGSTOP sent to the child alone is the sender's own business.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/target.h"
#include "tools/run.h"
#include "tools/tool.h"

static const int passed_on[] = { SIGTERM, SIGINT,   SIGQUIT, SIGHUP,
				 SIGUSR1, SIGUSR2,  SIGALRM, SIGTSTP,
				 SIGCONT, SIGWINCH, SIGPIPE };

static void fill_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
		sigaddset(set, passed_on[i]);
}

/*
 * SIGCHLD must not be ignored here, or there is no status to wait for.  What
 * we inherited is what the child gets.
 */
static void take_sigchld(struct sigaction *inherited)
{
	struct sigaction sa = { .sa_handler = SIG_DFL };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGCHLD, &sa, inherited);
}

/*
 * In the child.  A failed exec is told through the pipe, which a successful
 * one closes.
 */
static void exec_program(const char *path, char **argv, const sigset_t *mask,
			 int pipe_fd)
{
	int error;

	sigprocmask(SIG_SETMASK, mask, NULL);
	execv(path, argv);
	error = errno;
	if (error == ENOEXEC) { /* no #! line: a script for the shell */
		size_t nr = 0;
		char **args;

		while (argv[nr])
			nr++;
		args = calloc(nr + 2, sizeof(*args));
		if (args) {
			args[0] = argv[0];
			args[1] = (char *)path;
			for (size_t i = 1; i < nr; i++)
				args[i + 1] = argv[i];
			execv("/bin/sh", args);
		}
	}
	if (write(pipe_fd, &error, sizeof(error)) != sizeof(error))
		_exit(RUN_EXIT_CANNOT_EXECUTE);
	_exit(RUN_EXIT_CANNOT_EXECUTE);
}

/* 0 when the exec succeeded, else -errno of it. */
static int exec_result(int pipe_fd)
{
	int error = 0;
	ssize_t n;

	do {
		n = read(pipe_fd, &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(error) ? -error : 0;
}

static void stop_like(int sig)
{
	if (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU)
		raise(SIGSTOP);
}

/* True when the child has ended and *status is its wait status. */
static bool reap(pid_t child, int *status)
{
	pid_t pid;

	while ((pid = waitpid(child, status, WNOHANG | WUNTRACED)) > 0) {
		if (!WIFSTOPPED(*status))
			return true;
		stop_like(WSTOPSIG(*status));
	}
	return pid < 0 && errno != EINTR;
}

static int wait_for_child(pid_t child, const sigset_t *set)
{
	siginfo_t info;
	int status = 0, sig;

	for (;;) {
		sig = sigwaitinfo(set, &info);
		if (sig < 0)
			continue; /* EINTR: stopped and continued */
		if (sig == SIGCHLD) {
			if (reap(child, &status))
				return status;
		} else if (info.si_code != SI_KERNEL) {
			kill(child, sig);
		}
	}
}

int run_child(const char *path, char **argv, pid_t *pid, uint64_t *start_ticks)
{
	struct sigaction inherited;
	sigset_t set, old;
	int fds[2], ret;
	char letter;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	fill_set(&set);
	sigprocmask(SIG_BLOCK, &set, &old);
	take_sigchld(&inherited);
	*pid = fork();
	if (*pid < 0) {
		ret = -errno;
		close(fds[0]);
		close(fds[1]);
		sigprocmask(SIG_SETMASK, &old, NULL);
		return ret;
	}
	if (*pid == 0) {
		sigaction(SIGCHLD, &inherited, NULL);
		exec_program(path, argv, &old, fds[1]);
	}
	close(fds[1]);
	if (bs_proc_stat(*pid, start_ticks, &letter))
		*start_ticks = 0;
	ret = exec_result(fds[0]);
	close(fds[0]);
	if (ret) {
		waitpid(*pid, NULL, 0);
		sigprocmask(SIG_SETMASK, &old, NULL);
		return ret;
	}
	return wait_for_child(*pid, &set);
}

int run_end_like(int status)
{
	static const struct rlimit no_core = { 0, 0 };
	sigset_t set;
	int sig;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	/* The child's core is enough. */
	sig = WTERMSIG(status);
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_DUMPABLE, 0);
	fflush(NULL);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	return 128 + sig; /* a signal that does not kill by default */
}
