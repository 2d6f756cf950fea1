/* SPDX-License-Identifier: MIT */
/*
 * leak.c - windows, floors, thirds, verdicts.  See leak.h.
 *
 * Owns:   the arithmetic of the leak definition.
 * Layer:  daemon, pure.
 * Locks:  none.
 */
#include "daemon/leak.h"

#include <stdlib.h>
#include <string.h>

/* A leak is declared at 2/3 of the promised growth and kept down to 1/3. */
#define BS_LEAK_DECLARE_TIMES 2U
#define BS_LEAK_KEEP_TIMES    1U
#define BS_LEAK_PROMISE_PARTS 3U

void bs_leak_free(struct bs_leak_site *site)
{
	free(site->entries);
	memset(site, 0, sizeof(*site));
}

void bs_leak_sample(struct bs_leak_site *site, uint64_t live_bytes,
		    uint64_t live_objects, uint64_t allocs)
{
	if (!site->sampled) {
		site->sampled = 1;
		site->min_bytes = live_bytes;
		site->min_objects = live_objects;
	}
	if (live_bytes < site->min_bytes)
		site->min_bytes = live_bytes;
	if (live_objects < site->min_objects)
		site->min_objects = live_objects;
	site->allocs_now = allocs;
}

void bs_leak_skip(struct bs_leak_site *site)
{
	site->sampled = 0;
}

static void entry_merge(struct bs_leak_entry *to,
			const struct bs_leak_entry *from)
{
	if (from->floor_bytes < to->floor_bytes)
		to->floor_bytes = from->floor_bytes;
	if (from->floor_objects < to->floor_objects)
		to->floor_objects = from->floor_objects;
	to->allocs += from->allocs;
	to->windows += from->windows;
}

/*
 * Merges the two neighbours that together cover the fewest windows, the oldest
 * of those: the resolution stays even over the whole history.
 */
static void merge_one(struct bs_leak_site *site)
{
	uint64_t best_windows = UINT64_MAX;
	uint32_t best = 0;

	for (uint32_t i = 0; i + 1 < site->nr; i++) {
		uint64_t windows = (uint64_t)site->entries[i].windows +
				   site->entries[i + 1].windows;

		if (windows < best_windows) {
			best_windows = windows;
			best = i;
		}
	}
	entry_merge(&site->entries[best], &site->entries[best + 1]);
	memmove(&site->entries[best + 1], &site->entries[best + 2],
		(site->nr - best - 2) * sizeof(*site->entries));
	site->nr--;
}

static bool entries_reserve(struct bs_leak_site *site)
{
	uint32_t cap = site->cap ? site->cap * 2 : 2;
	struct bs_leak_entry *entries;

	if (site->nr < site->cap)
		return true;
	if (site->cap >= BS_LEAK_ENTRIES_MAX) {
		merge_one(site);
		return true;
	}
	entries = realloc(site->entries, cap * sizeof(*entries));
	if (!entries)
		return false;
	site->entries = entries;
	site->cap = cap;
	return true;
}

void bs_leak_append(struct bs_leak_site *site,
		    const struct bs_leak_entry *entry)
{
	struct bs_leak_entry *last =
		site->nr ? &site->entries[site->nr - 1] : NULL;

	if (!entry->windows || entry->windows > UINT32_MAX - site->windows)
		return;
	if (site->windows && entry->floor_bytes > site->last_bytes)
		site->rises += site->rises < UINT8_MAX;
	else
		site->rises = 0;
	site->previous_bytes = site->last_bytes;
	site->last_bytes = entry->floor_bytes;
	site->last_objects = entry->floor_objects;
	site->windows += entry->windows;

	if (last && last->floor_bytes == entry->floor_bytes &&
	    last->floor_objects == entry->floor_objects) {
		entry_merge(last, entry);
		return;
	}
	if (entries_reserve(site))
		site->entries[site->nr++] = *entry;
	else if (last)
		entry_merge(last, entry);
	else
		site->windows = 0;
}

bool bs_leak_close(struct bs_leak_site *site, struct bs_leak_entry *out)
{
	if (!site->sampled)
		return false;
	*out = (struct bs_leak_entry){
		.floor_bytes = site->min_bytes,
		.floor_objects = site->min_objects,
		.windows = 1,
	};
	if (site->allocs_now > site->allocs_before)
		out->allocs = site->allocs_now - site->allocs_before;
	site->allocs_before = site->allocs_now;
	site->sampled = 0;
	bs_leak_append(site, out);
	return true;
}

uint32_t bs_leak_windows_full(const struct bs_leak_site *site)
{
	uint64_t top = 0;
	uint32_t i, windows = site->windows;

	for (i = 0; i < site->nr; i++)
		if (site->entries[i].floor_bytes > top)
			top = site->entries[i].floor_bytes;
	if (site->last_bytes < top - top / 3)
		return UINT32_MAX;
	for (i = 0;
	     i < site->nr && site->entries[i].floor_bytes < top - top / 100;
	     i++)
		windows -= site->entries[i].windows;
	return windows;
}

void bs_leak_survivors(const struct bs_site *record, uint64_t current_window,
		       uint32_t *survivors, uint32_t *born)
{
	uint64_t current = record->cohort_shift < 64
				   ? current_window >> record->cohort_shift
				   : 0;
	uint32_t mask = record->cohort_born;

	if (current < BS_NR_COHORTS && mask != UINT32_C(1) << current)
		mask &= ~(UINT32_C(1) << current);
	*survivors = 0;
	*born = 0;
	for (uint32_t c = 0; c < BS_NR_COHORTS; c++) {
		if (!(mask >> c & 1))
			continue;
		++*born;
		if (record->cohort_live[c])
			++*survivors;
	}
}

struct floor {
	uint64_t bytes;
	uint64_t objects;
};

/* The floor of the windows from..to-1 (counted from 0, the oldest). */
static struct floor range_floor(const struct bs_leak_site *site, uint64_t from,
				uint64_t to)
{
	struct floor floor = { UINT64_MAX, UINT64_MAX };
	uint64_t at = 0;

	for (uint32_t i = 0; i < site->nr && at < to; i++) {
		const struct bs_leak_entry *e = &site->entries[i];

		if (at + e->windows > from) {
			if (e->floor_bytes < floor.bytes)
				floor.bytes = e->floor_bytes;
			if (e->floor_objects < floor.objects)
				floor.objects = e->floor_objects;
		}
		at += e->windows;
	}
	return floor;
}

static bool third_rose(const struct floor *before, const struct floor *after,
		       uint64_t windows, bool rare)
{
	uint64_t need = before->bytes / 100 * BS_LEAK_MIN_PERCENT;

	if (after->bytes <= before->bytes)
		return false;
	if (need < BS_LEAK_MIN_BYTES)
		need = BS_LEAK_MIN_BYTES;
	if (after->bytes - before->bytes > need)
		return true;
	/* One object per window; a tick may fall on either side of the edge. */
	return rare && after->objects > before->objects &&
	       after->objects - before->objects + 1 >= windows;
}

/* Where the thirds of the history begin; start[3] is its end. */
static void third_starts(uint64_t windows, uint64_t start[4])
{
	uint64_t warmup = windows / 4;
	uint64_t rest;

	if (warmup < BS_LEAK_WARMUP_WINDOWS)
		warmup = BS_LEAK_WARMUP_WINDOWS;
	rest = windows - warmup;
	for (unsigned int k = 0; k < 4; k++)
		start[k] = warmup + rest * k / 3;
}

/* Bytes per window that the thirds let expect. */
static double promise(const struct floor third[3], const uint64_t start[4])
{
	return (double)(third[2].bytes - third[0].bytes) /
	       (double)(start[2] - start[0]);
}

/* Did it rise by times/3 of what `windows` windows promise? */
static bool rose(uint64_t from, uint64_t to, double promised, uint64_t windows,
		 unsigned int times)
{
	return to > from && (double)(to - from) * BS_LEAK_PROMISE_PARTS >=
				    promised * (double)windows * times;
}

static bool still_growing(const struct bs_leak_site *site,
			  const struct floor third[3], const uint64_t start[4])
{
	bool known = site->verdict == BS_VERDICT_LEAK;
	double promised = promise(third, start);

	if (!rose(third[2].bytes, site->last_bytes, promised,
		  start[3] - 1 - start[2],
		  known ? BS_LEAK_KEEP_TIMES : BS_LEAK_DECLARE_TIMES))
		return false;
	return known || rose(site->previous_bytes, site->last_bytes, promised,
			     1, BS_LEAK_DECLARE_TIMES);
}

/* The deepest fall of the floor from a peak, from window `from` on. */
static uint64_t deepest_fall(const struct bs_leak_site *site, uint64_t from)
{
	uint64_t at = 0, peak = 0, fall = 0;

	for (uint32_t i = 0; i < site->nr; i++) {
		uint64_t floor = site->entries[i].floor_bytes;

		at += site->entries[i].windows;
		if (at <= from)
			continue;
		if (floor > peak)
			peak = floor;
		if (peak - floor > fall)
			fall = peak - floor;
	}
	return fall;
}

/* Grows more than it swings? */
static bool steady(const struct bs_leak_site *site, const struct floor third[3],
		   const uint64_t start[4])
{
	return site->last_bytes > third[0].bytes &&
	       site->last_bytes - third[0].bytes >=
		       BS_LEAK_SWING_TIMES * deepest_fall(site, start[0]);
}

static double growth(const struct bs_leak_site *site, uint64_t window_ns)
{
	uint64_t start[4] = { 0, 0, 0, site->windows };
	uint64_t first;
	double seconds;

	if (site->windows >= BS_LEAK_MIN_WINDOWS)
		third_starts(site->windows, start);
	else if (site->windows > 2)
		start[0] = 1; /* the first is that of its birth */
	if (start[3] - start[0] < 2)
		return 0;
	first = range_floor(site, start[0], start[0] + 1).bytes;
	seconds = (double)(start[3] - 1 - start[0]) * (double)window_ns / 1e9;
	return ((double)site->last_bytes - (double)first) / seconds;
}

static bool is_leak(struct bs_leak_site *site, struct bs_site_history *out)
{
	bool rare = out->allocs_per_window < BS_LEAK_RARE_ALLOCS &&
		    site->windows >= BS_LEAK_RARE_WINDOWS;
	struct floor third[3];
	uint64_t start[4];

	third_starts(site->windows, start);
	for (unsigned int k = 0; k < 3; k++) {
		third[k] = range_floor(site, start[k], start[k + 1]);
		out->floor_bytes[k] = third[k].bytes;
	}
	out->has_thirds = true;
	for (unsigned int k = 0; k < 2; k++)
		if (!third_rose(&third[k], &third[k + 1],
				start[k + 1] - start[k], rare))
			return false;
	if (!out->alloc_cohorts ||
	    out->survivor_cohorts * UINT64_C(100) <
		    out->alloc_cohorts * (uint64_t)BS_LEAK_SURVIVOR_PERCENT)
		return false;
	return steady(site, third, start) && still_growing(site, third, start);
}

enum bs_verdict bs_leak_judge(struct bs_leak_site *site, uint32_t survivors,
			      uint32_t born, uint64_t window_ns,
			      struct bs_site_history *out)
{
	uint64_t allocs = 0;
	bool was_leak = site->verdict == BS_VERDICT_LEAK ||
			site->verdict == BS_VERDICT_STOPPED;

	memset(out, 0, sizeof(*out));
	out->windows = site->windows;
	out->newest_bytes = site->last_bytes;
	out->survivor_cohorts = survivors;
	out->alloc_cohorts = born;
	out->windows_per_cohort = 1;
	for (uint32_t i = 0; i < site->nr; i++)
		allocs += site->entries[i].allocs;
	if (site->windows)
		out->allocs_per_window = (double)allocs / site->windows;
	out->growth_bytes_per_s = growth(site, window_ns);

	if (site->windows >= BS_LEAK_MIN_WINDOWS && is_leak(site, out))
		out->verdict = BS_VERDICT_LEAK;
	else if (was_leak && site->last_bytes)
		out->verdict = BS_VERDICT_STOPPED;
	else if (site->rises >= BS_LEAK_SUSPECT_RISES)
		out->verdict = BS_VERDICT_SUSPECT;
	site->verdict = (uint8_t)out->verdict;
	return out->verdict;
}
