/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - the daemon's life.
 *
 * Owns:   becoming a daemon, being the only one for its directory, signals,
 *         start and end in the right order.
 * Layer:  daemon.
 * Locks:  flock on the segment directory, from start to end: the kernel drops
 *         it however we die.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/wire.h"

uint64_t bs_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

void bs_daemon_stop(struct bs_daemon *d)
{
	d->stopping = true;
	event_base_loopbreak(d->base);
}

/* ---- the only one ------------------------------------------------------------- */

static int complain(const char *fmt, const char *arg)
{
	fprintf(stderr, "buddyscoped: ");
	fprintf(stderr, fmt, arg);
	fputc('\n', stderr);
	return -1;
}

static int own_directory(struct bs_daemon *d)
{
	const char *dir = d->options.dir;
	char err[512];
	int fd;

	if (bs_target_dir_make(dir, err, sizeof(err)))
		return complain("%s", err);
	fd = bs_wire_connect(dir);
	if (fd >= 0) {
		close(fd);
		return complain("a daemon for %s is running already", dir);
	}
	d->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->dir_fd < 0)
		return complain("cannot open %s", dir);
	if (flock(d->dir_fd, LOCK_EX | LOCK_NB))
		return complain("a daemon for %s is running or starting", dir);
	return 0;
}

/* ---- background ---------------------------------------------------------------- */

/*
 * The parent stays until the child can answer, so that whoever started us can
 * connect when we return.  Returns the pipe's end in the child, -1 in the
 * foreground, -2 on failure; the parent does not return.
 */
static int go_background(void)
{
	char ready = 1;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -2;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return -2;
	if (pid > 0) {
		close(fds[1]);
		if (read(fds[0], &ready, 1) != 1)
			ready = 1; /* died; it said why on stderr */
		_exit(ready);
	}
	close(fds[0]);
	setsid();
	if (chdir("/"))
		return -2;
	return fds[1];
}

static void say_ready(int fd)
{
	char ok = 0;
	int null;

	if (fd < 0)
		return;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		if (null > STDERR_FILENO)
			close(null);
	}
	if (write(fd, &ok, 1) != 1) {
		/* Nobody waits any more. */
	}
	close(fd);
}

/* ---- signals -------------------------------------------------------------------- */

static void on_end(evutil_socket_t signal, short what, void *arg)
{
	struct bs_daemon *d = arg;

	(void)signal;
	(void)what;
	bs_daemon_stop(d);
}

static void on_hangup(evutil_socket_t signal, short what, void *arg)
{
	struct bs_daemon *d = arg;
	int ret;

	(void)signal;
	(void)what;
	ret = bs_log_reopen(d->log);
	if (ret)
		bs_log_text(d->log, "error", -1, "cannot open the log %s: %s",
			    d->options.log, strerror(-ret));
	else
		bs_log_text(d->log, "log_reopened", -1, "on SIGHUP");
}

static int add_signals(struct bs_daemon *d)
{
	static const struct {
		int number;
		event_callback_fn fn;
	} signals[] = { { SIGTERM, on_end },
			{ SIGINT, on_end },
			{ SIGHUP, on_hangup } };

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		d->signals[i] = evsignal_new(d->base, signals[i].number,
					     signals[i].fn, d);
		if (!d->signals[i] || event_add(d->signals[i], NULL))
			return complain("%s", "cannot catch signals");
	}
	return 0;
}

/* ---- idle ------------------------------------------------------------------------ */

static bool is_busy(struct bs_daemon *d)
{
	if (bs_server_nr_clients(d->server) || bs_worker_pending(d->worker))
		return true;
	for (struct bs_tracked *t = d->targets; t; t = t->next)
		if (t->phase != BS_PHASE_ARCHIVED)
			return true;
	return false;
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct bs_daemon *d = arg;

	(void)fd;
	(void)what;
	if (is_busy(d))
		d->busy_ns = bs_now_ns();
	else if (bs_now_ns() - d->busy_ns >= d->options.idle_exit_ns)
		bs_daemon_stop(d);
}

/* Looks eight times before it is time, but no more than four times a second. */
static int add_idle(struct bs_daemon *d)
{
	uint64_t tick_ns = d->options.idle_exit_ns / 8;
	struct timeval tick;

	if (!tick_ns)
		return 0;
	if (tick_ns < 250000000)
		tick_ns = 250000000;
	tick = (struct timeval){ (time_t)(tick_ns / 1000000000),
				 (suseconds_t)(tick_ns / 1000 % 1000000) };
	d->busy_ns = bs_now_ns();
	d->idle = event_new(d->base, -1, EV_PERSIST, on_idle, d);
	return d->idle && !event_add(d->idle, &tick) ? 0 : -1;
}

/* ---- start and end ---------------------------------------------------------------- */

static int make_state(struct bs_daemon *d)
{
	static const char *const folders[] = { "targets", "archive" };
	char path[PATH_MAX];
	int ret;

	for (size_t i = 0; i < 2; i++) {
		bs_state_path(d, folders[i], "", "", path);
		ret = bs_make_path(path);
		if (ret) {
			fprintf(stderr, "buddyscoped: cannot make %s: %s\n",
				path, strerror(-ret));
			return ret;
		}
	}
	return 0;
}

static int start(struct bs_daemon *d)
{
	char err[512];

	if (make_state(d))
		return -1;
	d->log = bs_log_open(d->options.log[0] ? d->options.log : NULL,
			     d->options.log_format, err, sizeof(err));
	if (!d->log)
		return complain("%s", err);
	d->base = event_base_new();
	if (!d->base)
		return complain("%s", "cannot start the event loop");
	d->worker = bs_worker_new(d->base);
	if (!d->worker)
		return complain("cannot start a thread: %s", strerror(errno));
	if (add_signals(d) || add_idle(d))
		return -1;
	bs_log_text(d->log, "daemon_start", -1, "buddyscoped %s, pid %d, %s",
		    BS_VERSION, (int)getpid(), d->options.dir);
	if (bs_archive_load(d) || bs_watch_start(d))
		return complain("cannot watch %s", d->options.dir);
	d->server = bs_server_new(d, err, sizeof(err));
	if (!d->server)
		return complain("%s", err);
	return 0;
}

static void end(struct bs_daemon *d)
{
	bs_server_close(d->server);
	if (d->base)
		bs_watch_stop(d);
	bs_worker_free(d->worker);
	bs_server_free(d->server);
	while (d->targets)
		bs_tracked_remove(d->targets);
	for (size_t i = 0; i < 4; i++)
		if (d->signals[i])
			event_free(d->signals[i]);
	if (d->idle)
		event_free(d->idle);
	if (d->log && d->base)
		bs_log_text(d->log, "daemon_end", -1, "pid %d", (int)getpid());
	bs_log_close(d->log);
	if (d->base)
		event_base_free(d->base);
	if (d->dir_fd >= 0)
		close(d->dir_fd);
}

int bs_daemon_run(const struct bs_options *options)
{
	struct bs_daemon *d = calloc(1, sizeof(*d));
	int status = BS_EXIT_FAILED, ready = -1;

	if (!d)
		return BS_EXIT_FAILED;
	d->options = *options;
	d->dir_fd = -1;
	d->inotify_fd = -1;
	d->pidns = bs_proc_pidns();
	umask(077);
	if (own_directory(d))
		goto out;
	if (!options->foreground) {
		ready = go_background();
		if (ready == -2) {
			complain("cannot go to the background: %s",
				 strerror(errno));
			goto out;
		}
	}
	if (start(d))
		goto out;
	say_ready(ready);
	event_base_dispatch(d->base);
	status = BS_EXIT_OK;
out:
	end(d);
	free(d);
	return status;
}
