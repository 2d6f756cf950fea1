/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - the daemon's root and its rooms.
 *
 * Owns:   struct bs_daemon, of which there is one, and struct bs_tracked, one
 *         for each program that is watched.
 * Layer:  daemon.
 * Locks:  none: all of it belongs to the loop's thread.  The worker thread gets
 *         copies.
 *
 *	daemon.c   life: directory, socket ownership, signals, shutdown
 *	watch.c    finds segments, notices death
 *	sample.c   samples, zone lines, verdict lines
 *	events.c   the event ring, lines written exactly once
 *	final.c    the last report of a target
 *	archive.c  ended targets on disk
 *	server.c   connections;  query.c  what they ask
 */
#ifndef BS_DAEMON_DAEMON_H
#define BS_DAEMON_DAEMON_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/history.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/worker.h"
#include "shared/sitelist.h"
#include "shared/target.h"

#define BS_NAME_MAX 64 /* "<pid>-<start>-<nonce>" */

struct event;
struct event_base;
struct bs_server;
struct bs_sampler;

enum bs_phase {
	BS_PHASE_LIVE,	   /* sampled */
	BS_PHASE_ENDED,	   /* last sample taken; report and archive under way */
	BS_PHASE_ARCHIVED, /* segment and journal are in the archive */
};

struct bs_zone_watch {
	int largest;	/* highest order with a free block, last sample */
	int logged_low; /* lowest that this interval's lines named */
	uint64_t quiet_until_ns; /* falls that are no new low are not logged */
};

struct bs_tracked {
	struct bs_tracked *next;
	struct bs_daemon *daemon;
	enum bs_phase phase;
	bool begun;	    /* death is watched, samples are taken */
	bool events_queued; /* the worker has some */
	bool final_queued;
	struct bs_target target; /* path: where the segment is now */
	char name[BS_NAME_MAX];
	char journal[PATH_MAX];
	struct bs_sampler *sampler; /* NULL once archived */
	struct bs_history history;  /* sites are dropped once archived */
	uint64_t archive_bytes;	    /* on disk; 0: not (yet) in the archive */
	int pidfd;		    /* -1: liveness is polled */
	struct event *death;
	struct event *timer;
	uint64_t next_line_ns; /* zone lines */
	uint64_t
		event_gap_ns; /* since when the next event is missing, 0: not */
	struct bs_zone_watch zones[BS_HISTORY_ZONES_MAX];
	unsigned int nr_jobs;	/* of this target, in the worker */
	unsigned int nr_errors; /* failed samples in a row */
};

/* A file that is no good; named once in the log. */
struct bs_bad_file {
	struct bs_bad_file *next;
	char name[BS_NAME_MAX];
	uint64_t first_ns; /* young ones may just not be complete */
	bool logged;
	bool seen; /* in the scan under way */
};

struct bs_daemon {
	struct bs_options options;
	struct event_base *base;
	struct bs_log *log;
	struct bs_worker *worker;
	struct bs_server *server;
	struct bs_tracked *targets; /* oldest first */
	struct bs_bad_file *bad;
	uint64_t pidns;
	int dir_fd; /* holds the lock: one daemon for a directory */
	int inotify_fd;
	struct event *inotify;
	struct event *rescan;
	struct event *signals[4];
	struct event *idle;
	uint64_t busy_ns; /* last time that somebody needed us */
	bool stopping;
};

uint64_t bs_now_ns(void);

/* daemon.c: all of it; returns the exit status. */
int bs_daemon_run(const struct bs_options *options);
void bs_daemon_stop(struct bs_daemon *d);

/* watch.c */
int bs_watch_start(struct bs_daemon *d);
void bs_watch_stop(struct bs_daemon *d);
/* Looks at the directory now. */
void bs_watch_scan(struct bs_daemon *d);
/* Notices deaths now, not at the loop's next turn. */
void bs_watch_check_deaths(struct bs_daemon *d);
void bs_tracked_free(struct bs_tracked *t);
/* Takes it off the list and frees it. */
void bs_tracked_remove(struct bs_tracked *t);
struct bs_tracked *bs_tracked_find(struct bs_daemon *d, const char *name);

/* sample.c */
void bs_sample_start(struct bs_tracked *t);
/* False: the segment could not be read. */
bool bs_sample_now(struct bs_tracked *t);
/* live_bytes and live_objects of a line, and how exact they are. */
void bs_line_counts(struct bs_log *log, const struct bs_site_counts *c);
/* The latter alone; nothing where all is exact. */
void bs_line_estimate(struct bs_log *log, const struct bs_site_counts *c);

/* events.c */
/* Logs events that are new; at the end those that are missing are given up. */
void bs_events_log(struct bs_tracked *t, bool at_end);
/*
 * Writes the lines that are ended and not flushed, exactly once: KIND and the
 * ids from..to stand in them as id=PID.KINDn (bs_once_id).
 */
void bs_once_flush(struct bs_tracked *t, char kind, uint64_t from, uint64_t to);
void bs_once_id(struct bs_tracked *t, char kind, uint64_t number);
/* After a restart: what was announced, was it written? */
void bs_once_recover(struct bs_tracked *t);

/* final.c */
void bs_target_ended(struct bs_tracked *t, enum bs_target_state state);
/* The next step of an ended target: events, last report, archive. */
void bs_final_advance(struct bs_tracked *t);
/* The targets that earlier daemons archived. */
int bs_archive_load(struct bs_daemon *d);
/* STATE/<directory>/FOLDER/NAMESUFFIX; folder: "targets" or "archive". */
void bs_state_path(const struct bs_daemon *d, const char *folder,
		   const char *name, const char *suffix, char path[PATH_MAX]);

/* archive.c: moves an ended target to disk; then BS_PHASE_ARCHIVED. */
void bs_archive_start(struct bs_tracked *t);

/* server.c */
struct bs_server *bs_server_new(struct bs_daemon *d, char *err, size_t errlen);
/* Cuts off everybody; then the worker is drained; then free. */
void bs_server_close(struct bs_server *server);
void bs_server_free(struct bs_server *server);
unsigned int bs_server_nr_clients(const struct bs_server *server);

#endif
