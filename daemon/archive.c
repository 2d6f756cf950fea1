/* SPDX-License-Identifier: MIT */
/*
 * archive.c - ended targets on disk.
 *
 * Owns:   STATE/<directory>/archive: NAME.seg (a sparse copy of the segment) and
 *         NAME.journal (its history), and how much of that is kept.
 * Layer:  daemon.
 * Locks:  none.
 *
 * Order, so that kill -9 loses nothing: copy aside, rename, move the journal,
 * remove the segment.
 */
#include "daemon/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/snapshot.h"

#define ARCHIVE_TARGETS_MAX 64U
#define ARCHIVE_BRIEF_NS    UINT64_C(2000000000)
#define ARCHIVE_BYTES_MAX   (UINT64_C(256) << 20)

void bs_state_path(const struct bs_daemon *d, const char *folder,
		   const char *name, const char *suffix, char path[PATH_MAX])
{
	size_t at;

	/* "" cannot be opened: better than a place that nobody meant. */
	if (bs_state_dir_in(d->options.state, d->options.dir, path, PATH_MAX))
		path[0] = '\0';
	at = strlen(path);
	if (!at)
		return;
	snprintf(path + at, PATH_MAX - at, "/%s/%s%s", folder, name, suffix);
}

/* ---- copying ---------------------------------------------------------------------- */

static int copy_range(int from, int to, off_t start, off_t end)
{
	char chunk[65536];

	while (start < end) {
		size_t want = (size_t)(end - start) < sizeof(chunk)
				      ? (size_t)(end - start)
				      : sizeof(chunk);
		ssize_t n = pread(from, chunk, want, start);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		if (pwrite(to, chunk, (size_t)n, start) != n)
			return errno ? -errno : -ENOSPC;
		start += n;
	}
	return 0;
}

/* Data is copied, holes stay holes. */
static int copy_sparse(int from, int to)
{
	off_t data = 0, hole, end = lseek(from, 0, SEEK_END);
	int ret = 0;

	if (end < 0 || ftruncate(to, end))
		return -errno;
	while (!ret && data < end) {
		data = lseek(from, data, SEEK_DATA);
		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0)
			return -errno;
		ret = copy_range(from, to, data, hole);
		data = hole;
	}
	return ret;
}

static int copy_file(const char *from_path, const char *to_path)
{
	char temporary[PATH_MAX + 8];
	int from, to, ret;

	snprintf(temporary, sizeof(temporary), "%s.new", to_path);
	from = open(from_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (from < 0)
		return -errno;
	to = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (to < 0) {
		ret = -errno;
		goto out_from;
	}
	ret = copy_sparse(from, to);
	close(to);
	if (!ret && rename(temporary, to_path))
		ret = -errno;
	if (ret)
		unlink(temporary);
out_from:
	close(from);
	return ret;
}

static uint64_t disk_bytes(const char *path)
{
	struct stat st;

	return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

/* ---- bounds ------------------------------------------------------------------------- */

static void forget(struct bs_tracked *t)
{
	unlink(t->target.path);
	unlink(t->journal);
	bs_tracked_remove(t);
}

/* One of the many that a script starts, or the image before an exec. */
static bool was_brief(const struct bs_tracked *t)
{
	return t->target.state == BS_TARGET_EXEC ||
	       t->history.stats.ended_ns <
		       t->history.created_ns + ARCHIVE_BRIEF_NS;
}

static bool ended_before(const struct bs_tracked *t, const struct bs_tracked *u)
{
	return !u || t->history.stats.ended_ns < u->history.stats.ended_ns;
}

/* Brief ones have half of the places, so that they do not push out the others. */
static void prune(struct bs_daemon *d)
{
	for (;;) {
		struct bs_tracked *oldest[2] = { NULL, NULL }, *t;
		unsigned int nr[2] = { 0, 0 };
		uint64_t bytes = 0;
		bool brief;

		for (t = d->targets; t; t = t->next) {
			if (t->phase != BS_PHASE_ARCHIVED)
				continue;
			brief = was_brief(t);
			nr[brief]++;
			bytes += t->archive_bytes;
			if (ended_before(t, oldest[brief]))
				oldest[brief] = t;
		}
		if (nr[0] + nr[1] <= ARCHIVE_TARGETS_MAX &&
		    bytes <= ARCHIVE_BYTES_MAX)
			return;
		if (nr[0] + nr[1] > ARCHIVE_TARGETS_MAX)
			brief = nr[1] > ARCHIVE_TARGETS_MAX / 2;
		else
			brief = !oldest[0] ||
				(oldest[1] &&
				 ended_before(oldest[1], oldest[0]));
		if (!oldest[brief])
			return;
		forget(oldest[brief]);
	}
}

/* ---- the job ------------------------------------------------------------------------- */

struct archive_job {
	struct bs_job job;
	struct bs_tracked *t;
	char segment[PATH_MAX];
	char journal[PATH_MAX];
	char to_segment[PATH_MAX];
	char to_journal[PATH_MAX];
	uint64_t bytes;
	int error;
};

static void archive_run(struct bs_job *job, struct bs_symbolizer *sym)
{
	struct archive_job *j = (struct archive_job *)job;

	(void)sym;
	j->error = copy_file(j->segment, j->to_segment);
	if (j->error)
		return;
	if (rename(j->journal, j->to_journal) && errno != ENOENT)
		j->error = -errno;
	unlink(j->segment);
	j->bytes = disk_bytes(j->to_segment) + disk_bytes(j->to_journal);
}

static void archive_done(struct bs_job *job, bool cancelled)
{
	struct archive_job *j = (struct archive_job *)job;
	struct bs_tracked *t = j->t;
	struct bs_daemon *d = t->daemon;

	t->nr_jobs--;
	if (cancelled)
		goto out;
	if (j->error)
		bs_log_text(d->log, "error", t->target.pid,
			    "cannot archive %s: %s", j->segment,
			    strerror(-j->error));
	t->phase = BS_PHASE_ARCHIVED;
	t->daemon->busy_ns = bs_now_ns(); /* it ran since we looked */
	if (j->bytes) {
		memcpy(t->target.path, j->to_segment, PATH_MAX);
		memcpy(t->journal, j->to_journal, PATH_MAX);
		t->archive_bytes = j->bytes;
	}
	bs_sampler_close(t->sampler);
	t->sampler = NULL;
	bs_history_free(&t->history);
	prune(d);
out:
	free(j);
}

void bs_archive_start(struct bs_tracked *t)
{
	struct archive_job *j = calloc(1, sizeof(*j));

	if (!j)
		return; /* the next daemon does it */
	j->job.run = archive_run;
	j->job.done = archive_done;
	j->t = t;
	memcpy(j->segment, t->target.path, PATH_MAX);
	memcpy(j->journal, t->journal, PATH_MAX);
	bs_state_path(t->daemon, "archive", t->name, ".seg", j->to_segment);
	bs_state_path(t->daemon, "archive", t->name, ".journal", j->to_journal);
	t->nr_jobs++;
	bs_worker_add(t->daemon->worker, &j->job, false);
}

/* ---- what is there ------------------------------------------------------------------ */

static struct bs_tracked *archived_new(struct bs_daemon *d,
				       const struct bs_target *target)
{
	const char *file = strrchr(target->path, '/') + 1;
	struct bs_tracked *t = calloc(1, sizeof(*t));
	struct bs_snapshot *s;
	char err[256];

	if (!t)
		return NULL;
	t->daemon = d;
	t->pidfd = -1;
	t->phase = BS_PHASE_ARCHIVED;
	t->target = *target;
	snprintf(t->name, sizeof(t->name), "%.*s",
		 (int)(strlen(file) - strlen(".seg")), file);
	bs_state_path(d, "archive", t->name, ".journal", t->journal);
	s = bs_snapshot_read_sections(target->path, BS_SNAP_HEADER, err,
				      sizeof(err));
	if (!s) {
		free(t);
		return NULL;
	}
	bs_history_init(&t->history, bs_snapshot_header(s));
	bs_history_load(&t->history, bs_snapshot_header(s), t->journal, false);
	bs_history_free(&t->history); /* the sites; the extremes stay */
	bs_snapshot_free(s);
	if (t->history.stats.end_state)
		t->target.state =
			(enum bs_target_state)t->history.stats.end_state;
	t->archive_bytes = disk_bytes(t->target.path) + disk_bytes(t->journal);
	return t;
}

int bs_archive_load(struct bs_daemon *d)
{
	struct bs_target_list list;
	char path[PATH_MAX], err[256];
	struct bs_tracked **at;
	int ret;

	bs_state_path(d, "archive", "", "", path);
	ret = bs_target_list(path, &list, err, sizeof(err));
	if (ret)
		return ret;
	for (size_t i = 0; i < list.nr; i++) {
		struct bs_tracked *t = archived_new(d, &list.targets[i]);

		if (!t)
			continue;
		for (at = &d->targets; *at; at = &(*at)->next)
			; /* the list is sorted already */
		*at = t;
	}
	bs_target_list_free(&list);
	prune(d);
	return 0;
}
