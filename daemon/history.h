/* SPDX-License-Identifier: MIT */
/*
 * history.h - what the daemon remembers of one target, in memory and on disk.
 *
 * Owns:   the windows of every site (leak.h), the target's extremes, and their
 *         journal: a daemon that was killed and started again knows the same.
 * Layer:  daemon; knows snapshots, not processes or sockets.
 * Locks:  none; belongs to one thread.
 *
 * Windows are counted from the target's created_ns.  Windows that nobody saw
 * (no daemon ran) stand in a site's history with the lower of the floors
 * before and after: nothing is made up that could look like a leak.
 */
#ifndef BS_DAEMON_HISTORY_H
#define BS_DAEMON_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/leak.h"
#include "shared/snapshot.h"

#define BS_HISTORY_ZONES_MAX 16U
#define BS_WINDOW_NS_MIN     UINT64_C(200000000)      /* 0.2 s */
#define BS_WINDOW_NS_MAX     UINT64_C(86400000000000) /* a day */
#define BS_WINDOW_NS_DEFAULT UINT64_C(10000000000)

/* bs_leak_site.logged */
#define BS_LOGGED_SUSPECT 0x1U
#define BS_LOGGED_LEAK	  0x2U
#define BS_LOGGED_STOPPED 0x4U
#define BS_LOG_QUEUED	  0x8U	/* its line is being made; not kept on disk */
#define BS_LEAK_STARVED	  0x10U /* was refused memory when it stopped */

/* The moment at which a zone was most fragmented. */
struct bs_worst_zone {
	char name[16];
	uint64_t
		score; /* sum of unusable indexes that mean something, 0: never */
	uint64_t time_ns;
	uint64_t free_pages;
	uint64_t nr_free[BS_NR_ORDERS];
};

/* Kept on disk as it is; a change needs a new BS_HISTORY_VERSION. */
struct bs_target_stats {
	uint64_t peak_bytes; /* live bytes, highest sample */
	uint64_t peak_ns;
	uint64_t live_bytes; /* newest sample */
	uint64_t live_objects;
	uint64_t allocs;
	uint64_t frees;
	uint64_t sampled_ns; /* when */
	uint64_t last_event; /* highest number logged or given up */
	uint64_t lost_events;
	uint64_t refused;    /* requests; newest sample */
	uint64_t refused_ns; /* when that last rose, 0: never */
	uint64_t ended_ns;   /* 0: lives, or nobody noticed yet */
	uint32_t end_state;  /* enum bs_target_state */
	uint32_t started_logged;
	uint32_t final_logged;
	uint32_t nr_zones;
	struct bs_worst_zone worst[BS_HISTORY_ZONES_MAX];
};

/*
 * A line that must be written exactly once is announced in the journal before
 * and confirmed after; what is announced and not confirmed is looked for in the
 * log by the next daemon.
 */
struct bs_once {
	uint64_t log_ino;
	uint64_t log_offset;
	uint64_t from; /* ids KIND from..to */
	uint64_t to;
	uint32_t kind; /* 'e' event, 's' suspect, 'l' leak, 'w' withdrawn,
			  'b' begin, 'f' final; 0: nothing announced */
	uint32_t reserved;
};

struct bs_journal;

struct bs_history {
	struct bs_leak_site *sites; /* by site number */
	uint64_t nr_sites;
	uint64_t created_ns;
	uint64_t window_ns;
	uint64_t window;	 /* being filled */
	unsigned int nr_samples; /* in it */
	unsigned int nr_blind;	 /* in it, with trace=off */
	bool has_closed;
	uint64_t last_closed;
	struct bs_target_stats stats;
	struct bs_once once;
	struct bs_journal *journal; /* NULL: nothing is kept */
	uint64_t checkpoint_bytes;  /* size of the journal after the last one */
};

uint64_t bs_clamp_window_ns(uint64_t window_ns);

void bs_history_init(struct bs_history *h, const struct bs_abi_header *header);
void bs_history_free(struct bs_history *h);

/*
 * Reads what an earlier daemon left at `path` (nothing there: fine) and, with
 * keep, goes on writing there.  A journal of another target is ignored.  0 or
 * -errno (then the history works, but is not kept).
 */
int bs_history_load(struct bs_history *h, const struct bs_abi_header *header,
		    const char *path, bool keep);
/* Rewrites the journal shortest. */
int bs_history_checkpoint(struct bs_history *h, const char *path);
/* Rewrites it when it has grown enough. */
int bs_history_maybe_checkpoint(struct bs_history *h, const char *path);

/*
 * Takes a sample at now_ns.  Returns true when that ended a window (which is
 * then in the journal): time to judge.
 */
bool bs_history_sample(struct bs_history *h, const struct bs_snapshot *s,
		       uint64_t now_ns);

/* Judges one site; false: nothing known of it. */
bool bs_history_judge(struct bs_history *h, const struct bs_snapshot *s,
		      uint64_t site, struct bs_site_history *out);
/* All of them; NULL without memory.  *nr = number of entries. */
struct bs_site_history *bs_history_judge_all(struct bs_history *h,
					     const struct bs_snapshot *s,
					     uint64_t *nr);

/* Keep what changed outside of windows. */
void bs_history_keep_stats(struct bs_history *h);
void bs_history_keep_site(struct bs_history *h, uint64_t site);
void bs_history_announce(struct bs_history *h, const struct bs_once *once);
void bs_history_confirm(struct bs_history *h);

#endif
