/* SPDX-License-Identifier: MIT */
/*
 * leak.h - is this call site leaking?  A pure module on time series.
 *
 * Owns:   a site's history of windows and the verdict on it.
 * Layer:  daemon; knows nothing of segments, clocks or files.
 * Locks:  none; a history belongs to the daemon's loop.
 *
 * Time is cut into windows.  A window's floor is the lowest number of live
 * bytes that its samples (ten) saw: what was alive all the time.
 *
 *  suspect  the floor rose in three consecutive windows.
 *  leak     after the warm-up (the first quarter of the history, at least three
 *           windows) each third of the rest has a floor higher than the third
 *           before by more than max(4 KiB, 1 %), or, at a site with fewer than
 *           1,000 allocations per window, by one object per window; and the
 *           survivors come from at least 80 % of the windows in which the site
 *           allocated: they are of all ages.
 *
 * A table that is being filled satisfies all this until it is full, so a leak
 * is declared only while it still grows: the newest floor has risen above the
 * last third's floor by two thirds of what the thirds promise, and above the
 * window before it by two thirds of a window's share of that.  It is taken back,
 * as "stopped", when less than a third of the promise is kept.  And a heap that
 * a garbage collector empties now and then swings more than it grows: after the
 * warm-up the floor must not have fallen, from any peak, by more than a quarter of
 * what it rose in all.  There is no verdict on fewer than 13 windows, and none
 * on fewer than 20 when single objects decide: in three windows chance finds
 * three objects, too.
 * docs/leaks.md has the reasons.
 *
 *	 bytes			     /  leak: three floors, each higher
 *	   |		    ____/---		 _________ table: the third
 *	   |	   ____/---|   F3 ->F4	       _/ |	  floor stands still
 *	   |  _/---|   F2  |		 _/|	  |
 *	   +--F1---+-------+------> t	 --+------+-------> t
 *	 warm-up  thirds of the rest
 */
#ifndef BS_DAEMON_LEAK_H
#define BS_DAEMON_LEAK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"
#include "shared/sitereport.h"

#define BS_LEAK_SAMPLES		 10U /* per window */
#define BS_LEAK_MIN_WINDOWS	 13U /* history needed for a verdict */
#define BS_LEAK_RARE_WINDOWS	 BS_VERDICT_WINDOWS /* single objects decide */
#define BS_LEAK_WARMUP_WINDOWS	 3U /* at least; else a quarter */
#define BS_LEAK_SUSPECT_RISES	 3U
#define BS_LEAK_MIN_BYTES	 4096U /* growth per third that counts */
#define BS_LEAK_MIN_PERCENT	 1U
#define BS_LEAK_RARE_ALLOCS	 1000U /* per window: objects count, too */
#define BS_LEAK_SURVIVOR_PERCENT 80U
#define BS_LEAK_SWING_TIMES	 4U  /* risen at least so many times the fall */
#define BS_LEAK_ENTRIES_MAX	 64U /* per site; more are merged */

/* Neighbouring windows with what their floors have in common: the lower. */
struct bs_leak_entry {
	uint64_t floor_bytes;
	uint64_t floor_objects;
	uint64_t allocs;
	uint32_t windows;
	uint32_t reserved;
};

/*
 * A site's history.  All zero is a valid empty one.  Invariants: the entries'
 * windows add up to `windows`; nr <= cap <= BS_LEAK_ENTRIES_MAX; last_* are the
 * newest window's floors.
 */
struct bs_leak_site {
	struct bs_leak_entry *entries; /* oldest first */
	uint32_t nr;
	uint32_t cap;
	uint32_t windows;
	uint8_t rises;	 /* of the floor, in a row; stops at 255 */
	uint8_t verdict; /* enum bs_verdict */
	uint8_t logged;	 /* the daemon's: BS_LOGGED_* */
	uint8_t sampled; /* the window being filled has a sample */
	uint64_t last_bytes;
	uint64_t last_objects;
	uint64_t previous_bytes; /* the window before it, once windows > 1 */
	/* The window being filled. */
	uint64_t min_bytes;
	uint64_t min_objects;
	uint64_t allocs_before; /* the site's counter when the window began */
	uint64_t allocs_now;
};

void bs_leak_free(struct bs_leak_site *site);

/* Counts a sample into the window being filled. */
void bs_leak_sample(struct bs_leak_site *site, uint64_t live_bytes,
		    uint64_t live_objects, uint64_t allocs);

/*
 * Ends the window.  Returns true and the window in *out if one was recorded; a
 * window without samples leaves no trace.  Out of memory: the newest entry
 * absorbs the window.
 */
bool bs_leak_close(struct bs_leak_site *site, struct bs_leak_entry *out);

/* Forgets the samples of the window being filled (too few to give a floor). */
void bs_leak_skip(struct bs_leak_site *site);

/* Appends a window (or several equal ones) as if it had been sampled. */
void bs_leak_append(struct bs_leak_site *site,
		    const struct bs_leak_entry *entry);

/*
 * Windows since the floor first came within 1 % of its highest; UINT32_MAX: it holds less
 * than two thirds of that by now.
 */
uint32_t bs_leak_windows_full(const struct bs_leak_site *site);

/*
 * The share of windows with survivors.  current_window is the one being filled:
 * what was born in it says nothing yet.  Writes cohorts, not windows: one
 * cohort is 1 << record->cohort_shift windows.
 */
void bs_leak_survivors(const struct bs_site *record, uint64_t current_window,
		       uint32_t *survivors, uint32_t *born);

/*
 * Judges and remembers the verdict (a leak once declared is kept on a weaker
 * condition).  window_ns scales growth.  Fills *out.
 */
enum bs_verdict bs_leak_judge(struct bs_leak_site *site, uint32_t survivors,
			      uint32_t born, uint64_t window_ns,
			      struct bs_site_history *out);

#endif
