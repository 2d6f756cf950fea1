/* SPDX-License-Identifier: MIT */
/*
 * watch.c - which programs are there, and when they end.
 *
 * Owns:   inotify on the segment directory, one pidfd for each target, the
 *         list of targets.
 * Layer:  daemon.
 * Locks:  none.
 *
 * A pid is believed only together with its start time: looked up, pidfd opened,
 * looked up again.  Without pidfd_open (before Linux 5.3) each sample asks /proc.
 * A target of another pid namespace cannot be asked; it ends when a newer image
 * of it or the removal of its segment says so.
 */
#include "daemon/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shared/snapshot.h"

#define TARGETS_MAX    1024U		    /* watched at once */
#define YOUNG_NS       UINT64_C(3000000000) /* so long a file may be incomplete */
#define YOUNG_RETRY_US 50000
#define RESCAN_SECONDS 5 /* in case a notification got lost */

/* ---- the list ------------------------------------------------------------------ */

struct bs_tracked *bs_tracked_find(struct bs_daemon *d, const char *name)
{
	for (struct bs_tracked *t = d->targets; t; t = t->next)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

static void stop_watching(struct bs_tracked *t)
{
	if (t->death)
		event_free(t->death);
	t->death = NULL;
	if (t->pidfd >= 0)
		close(t->pidfd);
	t->pidfd = -1;
}

void bs_tracked_free(struct bs_tracked *t)
{
	stop_watching(t);
	if (t->timer)
		event_free(t->timer);
	bs_history_free(&t->history);
	bs_sampler_close(t->sampler);
	free(t);
}

void bs_tracked_remove(struct bs_tracked *t)
{
	struct bs_tracked **at = &t->daemon->targets;

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	bs_tracked_free(t);
}

/* Oldest first. */
static void list_add(struct bs_daemon *d, struct bs_tracked *t)
{
	struct bs_tracked **at = &d->targets;

	while (*at && (*at)->target.created_realtime_ns <=
			      t->target.created_realtime_ns)
		at = &(*at)->next;
	t->next = *at;
	*at = t;
}

/* ---- death ---------------------------------------------------------------------- */

static enum bs_target_state end_state(struct bs_tracked *t)
{
	char err[256];

	/* Did it say goodbye? */
	if (!bs_sampler_read(t->sampler, BS_SNAP_HEADER, err, sizeof(err)) &&
	    bs_snapshot_header(bs_sampler_snapshot(t->sampler))->state ==
		    BS_STATE_EXITED)
		return BS_TARGET_EXITED;
	return BS_TARGET_KILLED;
}

static bool is_alive(const struct bs_target *target)
{
	uint64_t start;
	char letter;
	int ret = bs_proc_stat(target->pid, &start, &letter);

	if (ret == -ESRCH)
		return false;
	if (ret) /* no /proc: kill(2) knows less, but something */
		return true;
	return start == target->start_ticks && letter != 'Z' && letter != 'X';
}

static void ended(struct bs_tracked *t, enum bs_target_state state)
{
	stop_watching(t);
	bs_target_ended(t, state);
}

static void on_death(evutil_socket_t fd, short what, void *arg)
{
	struct bs_tracked *t = arg;

	(void)fd;
	(void)what;
	if (t->phase == BS_PHASE_LIVE)
		ended(t, end_state(t));
}

/* False: it is dead already. */
static bool watch_death(struct bs_tracked *t)
{
	if (t->target.state == BS_TARGET_UNKNOWN)
		return true;
	if (!is_alive(&t->target))
		return false;
	t->pidfd = (int)syscall(SYS_pidfd_open, t->target.pid, 0);
	if (t->pidfd < 0)
		return errno != ESRCH;
	if (!is_alive(&t->target)) /* the pid was another's by then */
		return false;
	t->death = event_new(t->daemon->base, t->pidfd, EV_READ, on_death, t);
	if (!t->death || event_add(t->death, NULL))
		stop_watching(t); /* polled instead */
	return true;
}

static bool has_died(struct bs_tracked *t)
{
	struct pollfd pfd = { .fd = t->pidfd, .events = POLLIN };

	if (t->phase != BS_PHASE_LIVE || t->target.state == BS_TARGET_UNKNOWN)
		return false;
	if (t->pidfd >= 0)
		return poll(&pfd, 1, 0) == 1;
	return !is_alive(&t->target);
}

void bs_watch_check_deaths(struct bs_daemon *d)
{
	for (struct bs_tracked *t = d->targets; t; t = t->next)
		if (has_died(t))
			ended(t, end_state(t));
}

/* Of two images of one process the older one was ended by exec. */
static void end_replaced(struct bs_daemon *d)
{
	for (struct bs_tracked *a = d->targets; a; a = a->next) {
		if (a->phase != BS_PHASE_LIVE)
			continue;
		for (struct bs_tracked *b = a->next; b; b = b->next) {
			if (b->target.pid != a->target.pid ||
			    b->target.start_ticks != a->target.start_ticks ||
			    b->target.pidns_inode != a->target.pidns_inode)
				continue;
			ended(a, end_state(a) == BS_TARGET_EXITED
					 ? BS_TARGET_EXITED
					 : BS_TARGET_EXEC);
			break;
		}
	}
}

/* ---- new ones --------------------------------------------------------------------- */

static void fill_target(struct bs_tracked *t, const struct bs_abi_header *h,
			uint64_t pidns)
{
	struct bs_target *target = &t->target;

	target->pid = h->pid;
	target->start_ticks = h->start_ticks;
	target->nonce = h->nonce;
	target->pidns_inode = h->pidns_inode;
	target->created_ns = h->created_ns;
	target->created_realtime_ns = h->created_realtime_ns;
	target->exited_ns = h->exited_ns;
	target->trace_mode = h->trace_mode;
	target->state = h->pidns_inode && pidns && h->pidns_inode != pidns
				? BS_TARGET_UNKNOWN
				: BS_TARGET_RUNNING;
	memcpy(target->comm, h->comm, sizeof(target->comm));
	memcpy(target->exe, h->exe, sizeof(target->exe));
	for (char *c = target->comm; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

static void log_start(struct bs_tracked *t, const struct bs_abi_header *h)
{
	struct bs_log *log = t->daemon->log;

	if (t->history.stats.started_logged)
		return;
	bs_line_begin(log, "target_start", t->target.pid);
	bs_line_str(log, "comm", t->target.comm);
	bs_once_id(t, 'b', 1);
	bs_line_str(log, "exe", t->target.exe);
	bs_line_str(log, "cmdline", h->cmdline);
	bs_line_str(log, "options", h->options);
	bs_line_i64(log, "ppid", h->ppid);
	bs_line_str(log, "segment", t->target.path);
	bs_line_double(log, "leak_window_s", (double)t->history.window_ns / 1e9,
		       3);
	bs_line_end(log);
	bs_once_flush(t, 'b', 1, 1);
}

/* A file that claims to be of another process would end that one's watch. */
static bool name_is_true(const char *file, const struct bs_abi_header *h,
			 char *err, size_t errlen)
{
	uint64_t start, nonce;
	int pid;

	if (bs_target_parse_name(file, &pid, &start, &nonce) && pid == h->pid &&
	    start == h->start_ticks && nonce == h->nonce)
		return true;
	snprintf(err, errlen,
		 "%s says in its header that it is %d-%llu-%016llx", file,
		 h->pid, (unsigned long long)h->start_ticks,
		 (unsigned long long)h->nonce);
	return false;
}

static struct bs_tracked *tracked_new(struct bs_daemon *d, const char *file,
				      char *err, size_t errlen)
{
	const struct bs_abi_header *h;
	struct bs_tracked *t;
	int ret;

	t = calloc(1, sizeof(*t));
	if (!t) {
		snprintf(err, errlen, "out of memory");
		return NULL;
	}
	t->daemon = d;
	t->pidfd = -1;
	snprintf(t->name, sizeof(t->name), "%.*s",
		 (int)(strlen(file) - strlen(".seg")), file);
	strcpy(t->target.path, d->options.dir); /* leaves room: options.c */
	strcat(strcat(t->target.path, "/"), file);
	t->sampler = bs_sampler_open(t->target.path, err, errlen);
	if (!t->sampler)
		goto out_free;
	h = bs_snapshot_header(bs_sampler_snapshot(t->sampler));
	if (!name_is_true(file, h, err, errlen))
		goto out_free;
	fill_target(t, h, d->pidns);
	bs_history_init(&t->history, h);
	bs_state_path(d, "targets", t->name, ".journal", t->journal);
	ret = bs_history_load(&t->history, h, t->journal, true);
	if (ret)
		bs_log_text(d->log, "error", t->target.pid,
			    "cannot keep its history in %s: %s", t->journal,
			    strerror(-ret));
	bs_once_recover(t);
	log_start(t, h);
	return t;

out_free:
	bs_tracked_free(t);
	return NULL;
}

static void begin_new(struct bs_daemon *d)
{
	for (struct bs_tracked *t = d->targets; t; t = t->next) {
		if (t->phase != BS_PHASE_LIVE || t->begun)
			continue;
		t->begun = true;
		if (watch_death(t))
			bs_sample_start(t);
		else
			ended(t, end_state(t));
	}
}

/* ---- files that are no good ------------------------------------------------------- */

static struct bs_bad_file *bad_find(struct bs_daemon *d, const char *name)
{
	struct bs_bad_file *bad = d->bad;

	while (bad && strcmp(bad->name, name))
		bad = bad->next;
	return bad;
}

/* Returns true while it may still become a segment. */
static bool bad_file(struct bs_daemon *d, const char *name, int pid,
		     const char *err)
{
	struct bs_bad_file *bad = bad_find(d, name);

	if (!bad) {
		bad = calloc(1, sizeof(*bad));
		if (!bad)
			return false;
		snprintf(bad->name, sizeof(bad->name), "%s", name);
		bad->first_ns = bs_now_ns();
		bad->next = d->bad;
		d->bad = bad;
	}
	bad->seen = true;
	if (bs_now_ns() - bad->first_ns < YOUNG_NS)
		return true;
	if (!bad->logged)
		bs_log_text(d->log, "bad_segment", pid, "%s", err);
	bad->logged = true;
	return false;
}

static void bad_sweep(struct bs_daemon *d)
{
	struct bs_bad_file **at = &d->bad, *bad;

	while ((bad = *at)) {
		if (bad->seen) {
			bad->seen = false;
			at = &bad->next;
			continue;
		}
		*at = bad->next;
		free(bad);
	}
}

/* ---- scanning ---------------------------------------------------------------------- */

static unsigned int nr_unarchived(const struct bs_daemon *d)
{
	unsigned int nr = 0;

	for (const struct bs_tracked *t = d->targets; t; t = t->next)
		nr += t->phase != BS_PHASE_ARCHIVED;
	return nr;
}

/* Returns true if the file should be looked at again soon. */
static bool scan_file(struct bs_daemon *d, const char *file)
{
	struct bs_bad_file *bad = bad_find(d, file);
	char name[BS_NAME_MAX], err[512];
	uint64_t start, nonce;
	struct bs_tracked *t;
	int pid;

	if (!bs_target_parse_name(file, &pid, &start, &nonce) ||
	    strlen(file) - strlen(".seg") >= sizeof(name))
		return false;
	snprintf(name, sizeof(name), "%.*s",
		 (int)(strlen(file) - strlen(".seg")), file);
	t = bs_tracked_find(d, name);
	if (t) {
		/* Killed between archiving and removing: finish. */
		if (t->phase == BS_PHASE_ARCHIVED && t->archive_bytes)
			unlinkat(d->dir_fd, file, 0);
		return false;
	}
	if (bad && bad->logged) {
		bad->seen = true;
		return false;
	}
	if (nr_unarchived(d) >= TARGETS_MAX)
		return bad_file(d, file, pid, "too many programs at once");
	t = tracked_new(d, file, err, sizeof(err));
	if (!t)
		return bad_file(d, file, pid, err);
	list_add(d, t);
	return false;
}

static void rescan_after(struct bs_daemon *d, bool soon)
{
	struct timeval tv = { RESCAN_SECONDS, 0 };

	if (soon)
		tv = (struct timeval){ 0, YOUNG_RETRY_US };
	event_add(d->rescan, &tv);
}

/* Somebody removed the directory: the lock that we hold locks nothing. */
static bool directory_is_ours(const struct bs_daemon *d)
{
	struct stat mine, there;

	return !fstat(d->dir_fd, &mine) && !stat(d->options.dir, &there) &&
	       mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

void bs_watch_scan(struct bs_daemon *d)
{
	struct dirent *entry;
	bool again = false;
	DIR *dir;

	if (!directory_is_ours(d)) {
		if (!d->stopping)
			bs_log_text(d->log, "error", -1, "%s was removed",
				    d->options.dir);
		bs_daemon_stop(d);
		return;
	}
	dir = opendir(d->options.dir);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		again |= scan_file(d, entry->d_name);
	closedir(dir);
	bad_sweep(d);
	end_replaced(d);
	begin_new(d);
	rescan_after(d, again);
}

static void on_rescan(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	bs_watch_scan(arg);
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char events[16384]
		__attribute__((aligned(__alignof__(struct inotify_event))));

	(void)what;
	/* What changed does not matter: the scan is cheap and sees it all. */
	while (read(fd, events, sizeof(events)) > 0)
		;
	bs_watch_scan(arg);
}

/* Journals whose segment is gone say nothing to anybody. */
static void sweep_journals(struct bs_daemon *d)
{
	char path[PATH_MAX], name[NAME_MAX + 1];
	struct dirent *entry;
	DIR *dir;

	bs_state_path(d, "targets", "", "", path);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir))) {
		snprintf(name, sizeof(name), "%s", entry->d_name);
		if (name[0] == '.')
			continue;
		if (strchr(name, '.'))
			*strchr(name, '.') = '\0';
		if (!bs_tracked_find(d, name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	}
	closedir(dir);
}

int bs_watch_start(struct bs_daemon *d)
{
	d->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->inotify_fd < 0 ||
	    inotify_add_watch(d->inotify_fd, d->options.dir,
			      IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
		return -errno;
	d->inotify = event_new(d->base, d->inotify_fd, EV_READ | EV_PERSIST,
			       on_inotify, d);
	d->rescan = evtimer_new(d->base, on_rescan, d);
	if (!d->inotify || !d->rescan || event_add(d->inotify, NULL))
		return -ENOMEM;
	bs_watch_scan(d);
	sweep_journals(d);
	return 0;
}

void bs_watch_stop(struct bs_daemon *d)
{
	if (d->inotify)
		event_free(d->inotify);
	if (d->rescan)
		event_free(d->rescan);
	d->inotify = d->rescan = NULL;
	if (d->inotify_fd >= 0)
		close(d->inotify_fd);
	d->inotify_fd = -1;
	for (struct bs_tracked *t = d->targets; t; t = t->next) {
		if (t->phase != BS_PHASE_LIVE)
			continue;
		bs_history_keep_stats(&t->history);
		bs_history_checkpoint(&t->history, t->journal);
	}
	for (struct bs_bad_file *bad = d->bad, *next; bad; bad = next) {
		next = bad->next;
		free(bad);
	}
	d->bad = NULL;
}
