/* SPDX-License-Identifier: MIT */
/*
 * history.c - see history.h.
 *
 * Owns:   the records of a target's journal.
 * Layer:  daemon.
 * Locks:  none.
 *
 * Journal: HEAD, then in a fresh one SITE for each site and STATS; then WINDOW
 * records as they close, SITE flags and STATS as they change.  A site that a
 * WINDOW record does not name had the floors of the window before and no
 * allocation.
 */
#include "daemon/history.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/journal.h"
#include "shared/fragindex.h"
#include "shared/sitelist.h"

#define BS_HISTORY_VERSION 2U
#define SAMPLES_NEEDED	   (BS_LEAK_SAMPLES / 2) /* for a floor */
#define CHECKPOINT_BYTES   (1U << 20) /* grown by this much and ... */
#define CHECKPOINT_TIMES   3U	      /* ... by this factor: rewrite */
#define SITES_MAX	   (1U << 22)

enum record_type {
	REC_HEAD = 1,
	REC_SITE,
	REC_WINDOW,
	REC_STATS,
	REC_FLAGS,
	REC_ANNOUNCE,
	REC_CONFIRM,
};

struct rec_head {
	uint32_t version;
	uint32_t entry_bytes;
	uint64_t pid;
	uint64_t start_ticks;
	uint64_t nonce;
	uint64_t window_ns;
	uint64_t has_closed;
	uint64_t last_closed;
};

struct rec_site {
	uint64_t site;
	uint64_t allocs_before;
	uint64_t last_bytes;
	uint64_t last_objects;
	uint64_t previous_bytes;
	uint32_t windows;
	uint32_t nr;
	uint8_t rises;
	uint8_t verdict;
	uint8_t logged;
	uint8_t reserved[5];
	struct bs_leak_entry entries[];
};

struct rec_window_site {
	uint64_t site;
	uint64_t floor_bytes;
	uint64_t floor_objects;
	uint64_t allocs;	/* in this window */
	uint64_t allocs_before; /* up to its end */
};

struct rec_window {
	uint64_t window;
	uint64_t blind; /* 1: trace was off, it is in no history */
	uint64_t nr;
	struct rec_window_site sites[];
};

struct rec_flags {
	uint64_t site;
	uint8_t verdict;
	uint8_t logged;
	uint8_t reserved[6];
};

uint64_t bs_clamp_window_ns(uint64_t window_ns)
{
	if (!window_ns)
		return BS_WINDOW_NS_DEFAULT;
	if (window_ns < BS_WINDOW_NS_MIN)
		return BS_WINDOW_NS_MIN;
	return window_ns > BS_WINDOW_NS_MAX ? BS_WINDOW_NS_MAX : window_ns;
}

void bs_history_init(struct bs_history *h, const struct bs_abi_header *header)
{
	memset(h, 0, sizeof(*h));
	h->created_ns = header->created_ns;
	h->window_ns = bs_clamp_window_ns(header->leak_window_ns);
}

static void drop_sites(struct bs_history *h)
{
	for (uint64_t i = 0; i < h->nr_sites; i++)
		bs_leak_free(&h->sites[i]);
	free(h->sites);
	h->sites = NULL;
	h->nr_sites = 0;
}

void bs_history_free(struct bs_history *h)
{
	drop_sites(h);
	bs_journal_close(h->journal);
	h->journal = NULL;
}

static bool reserve_sites(struct bs_history *h, uint64_t nr)
{
	struct bs_leak_site *sites;
	uint64_t cap;

	if (nr <= h->nr_sites)
		return true;
	if (nr > SITES_MAX)
		return false;
	cap = (nr + 255) & ~UINT64_C(255);
	sites = realloc(h->sites, cap * sizeof(*sites));
	if (!sites)
		return false;
	memset(sites + h->nr_sites, 0, (cap - h->nr_sites) * sizeof(*sites));
	h->sites = sites;
	h->nr_sites = cap;
	return true;
}

/* ---- windows ------------------------------------------------------------------ */

/* Appends a window, and before it the ones that nobody saw. */
static void append_window(struct bs_leak_site *site, uint64_t gap,
			  const struct bs_leak_entry *entry)
{
	if (gap && site->windows) {
		struct bs_leak_entry unseen = {
			.floor_bytes = site->last_bytes,
			.floor_objects = site->last_objects,
			.windows = gap > UINT32_MAX / 2 ? UINT32_MAX / 2
							: (uint32_t)gap,
		};

		if (entry->floor_bytes < unseen.floor_bytes)
			unseen.floor_bytes = entry->floor_bytes;
		if (entry->floor_objects < unseen.floor_objects)
			unseen.floor_objects = entry->floor_objects;
		bs_leak_append(site, &unseen);
	}
	bs_leak_append(site, entry);
}

static uint64_t gap_before(const struct bs_history *h, uint64_t window)
{
	return h->has_closed && window > h->last_closed
		       ? window - h->last_closed - 1
		       : 0;
}

static void close_window(struct bs_history *h)
{
	uint64_t gap = gap_before(h, h->window);
	struct rec_window *rec;

	rec = malloc(sizeof(*rec) + h->nr_sites * sizeof(rec->sites[0]));
	if (rec)
		*rec = (struct rec_window){ .window = h->window };
	for (uint64_t i = 0; i < h->nr_sites; i++) {
		struct bs_leak_site *site = &h->sites[i];
		struct bs_leak_entry e = {
			.floor_bytes = site->min_bytes,
			.floor_objects = site->min_objects,
			.windows = 1,
		};

		if (!site->sampled)
			continue;
		if (site->allocs_now > site->allocs_before)
			e.allocs = site->allocs_now - site->allocs_before;
		if (rec && (!site->windows || e.allocs ||
			    e.floor_bytes != site->last_bytes ||
			    e.floor_objects != site->last_objects))
			rec->sites[rec->nr++] = (struct rec_window_site){
				i, e.floor_bytes, e.floor_objects, e.allocs,
				site->allocs_now
			};
		site->allocs_before = site->allocs_now;
		site->sampled = 0;
		append_window(site, gap, &e);
	}
	h->last_closed = h->window;
	h->has_closed = true;
	if (rec && h->journal)
		bs_journal_append(h->journal, REC_WINDOW, rec,
				  (uint32_t)(sizeof(*rec) +
					     rec->nr * sizeof(rec->sites[0])));
	free(rec);
}

/* A window in which trace was off: sites have none, where there is a gap they have one. */
static void pass_window(struct bs_history *h)
{
	const struct rec_window rec = { .window = h->window, .blind = 1 };

	h->last_closed = h->window;
	h->has_closed = true;
	if (h->journal)
		bs_journal_append(h->journal, REC_WINDOW, &rec, sizeof(rec));
}

static void skip_window(struct bs_history *h)
{
	for (uint64_t i = 0; i < h->nr_sites; i++)
		bs_leak_skip(&h->sites[i]);
}

/* ---- samples ------------------------------------------------------------------ */

/*
 * Fragmentation means: there are pages enough for a block of this order, but
 * not in one piece.  Summed over the orders from 4 up.
 */
static uint64_t worst_score(const uint64_t n[BS_NR_ORDERS])
{
	uint64_t free_pages = bs_frag_free_pages(n), score = 0;

	for (unsigned int o = BS_FRAG_LOW_ORDER; o < BS_NR_ORDERS; o++)
		if (free_pages >= UINT64_C(1) << o)
			score += (uint64_t)bs_unusable_free_index(n, o);
	return score;
}

static void sample_zones(struct bs_history *h, const struct bs_snapshot *s,
			 uint64_t now_ns)
{
	uint64_t nr = bs_snapshot_nr_zones(s);

	if (nr > BS_HISTORY_ZONES_MAX)
		nr = BS_HISTORY_ZONES_MAX;
	h->stats.nr_zones = (uint32_t)nr;
	for (uint64_t i = 0; i < nr; i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);
		struct bs_worst_zone *worst = &h->stats.worst[i];
		uint64_t n[BS_NR_ORDERS], score;

		if (bs_snapshot_zone_torn(s, i))
			continue;
		memcpy(worst->name, zone->name, sizeof(worst->name));
		bs_zone_free_blocks(zone, n);
		score = worst_score(n);
		if (score <= worst->score)
			continue;
		worst->score = score;
		worst->time_ns = now_ns;
		worst->free_pages = bs_frag_free_pages(n);
		memcpy(worst->nr_free, n, sizeof(worst->nr_free));
	}
}

/* A site that was born in this window was empty when the window began. */
static void begin_site(struct bs_history *h, struct bs_leak_site *site,
		       uint64_t first_ns, uint64_t allocs)
{
	uint64_t begins = h->created_ns + h->window * h->window_ns;

	if (first_ns >= begins)
		bs_leak_sample(site, 0, 0, 0);
	else
		site->allocs_before = allocs;
}

static void sample_sites(struct bs_history *h, const struct bs_snapshot *s)
{
	struct bs_target_stats *st = &h->stats;
	uint64_t nr = bs_snapshot_nr_sites(s);

	st->live_objects = st->allocs = st->frees = 0;
	if (!reserve_sites(h, nr))
		nr = nr < h->nr_sites ? nr : h->nr_sites;
	for (uint64_t i = 0; i < nr; i++) {
		struct bs_site_counts c = bs_site_counts(s, i);
		struct bs_leak_site *site = &h->sites[i];

		st->allocs += c.allocs;
		st->frees += c.frees;
		st->live_objects += c.live_objects;
		if (!c.allocs)
			continue;
		if (!site->windows && !site->sampled)
			begin_site(h, site, bs_snapshot_site(s, i)->first_ns,
				   c.allocs);
		bs_leak_sample(site, c.live_bytes, c.live_objects, c.allocs);
	}
}

static void sample_refusals(struct bs_target_stats *st,
			    const struct bs_snapshot *s, uint64_t now_ns)
{
	uint64_t refused = bs_snapshot_vmstat(s, BS_VMSTAT_REFUSED);

	if (refused > st->refused)
		st->refused_ns = now_ns;
	st->refused = refused;
}

bool bs_history_sample(struct bs_history *h, const struct bs_snapshot *s,
		       uint64_t now_ns)
{
	uint64_t window = now_ns > h->created_ns
				  ? (now_ns - h->created_ns) / h->window_ns
				  : 0;
	bool closed = false;

	if (window != h->window) {
		bool newer = !h->has_closed || h->window > h->last_closed;

		closed = newer && h->nr_samples >= SAMPLES_NEEDED;
		if (closed)
			close_window(h);
		else if (h->nr_samples)
			skip_window(h);
		if (!closed && newer && h->nr_blind)
			pass_window(h);
		h->nr_samples = h->nr_blind = 0;
	}
	h->window = window;
	if (bs_snapshot_header(s)->trace_mode == BS_TRACE_OFF) {
		h->nr_blind++;
	} else {
		h->nr_samples++;
		sample_sites(h, s);
	}
	sample_zones(h, s, now_ns);
	sample_refusals(&h->stats, s, now_ns);
	h->stats.sampled_ns = now_ns;
	h->stats.live_bytes = bs_snapshot_live_bytes(s);
	if (h->stats.live_bytes > h->stats.peak_bytes) {
		h->stats.peak_bytes = h->stats.live_bytes;
		h->stats.peak_ns = now_ns;
	}
	if (closed)
		bs_history_keep_stats(h);
	return closed;
}

/* ---- verdicts ------------------------------------------------------------------ */

/*
 * A leak that no longer grows because there is no memory to be had is one, as long as it
 * holds what it held: requests were refused between its last growth and the window in
 * which that was noticed.  What is refused later does not matter.
 */
static bool is_starved(const struct bs_history *h,
		       const struct bs_leak_site *site)
{
	uint64_t windows = bs_leak_windows_full(site), since;

	if (windows == UINT32_MAX)
		return false;
	if (site->logged & BS_LEAK_STARVED)
		return true;
	since = (windows + 2) * h->window_ns; /* and the one being filled */
	return h->stats.refused_ns &&
	       h->stats.refused_ns + since >= h->stats.sampled_ns;
}

/* The verdict was `was`, and is that of out. */
static void judge_starved(const struct bs_history *h, struct bs_leak_site *site,
			  uint8_t was, struct bs_site_history *out)
{
	out->starved = was == BS_VERDICT_LEAK &&
		       out->verdict == BS_VERDICT_STOPPED &&
		       is_starved(h, site);
	site->logged &= (uint8_t)~BS_LEAK_STARVED;
	if (!out->starved)
		return;
	site->logged |= BS_LEAK_STARVED;
	site->verdict = BS_VERDICT_LEAK;
	out->verdict = BS_VERDICT_LEAK;
}

bool bs_history_judge(struct bs_history *h, const struct bs_snapshot *s,
		      uint64_t site, struct bs_site_history *out)
{
	const struct bs_site *rec;
	uint32_t survivors, born;
	uint8_t verdict, logged;

	memset(out, 0, sizeof(*out));
	if (site >= h->nr_sites || site >= bs_snapshot_nr_sites(s) ||
	    !h->sites[site].windows)
		return false;
	rec = bs_snapshot_site(s, site);
	verdict = h->sites[site].verdict;
	logged = h->sites[site].logged;
	bs_leak_survivors(rec, h->window, &survivors, &born);
	bs_leak_judge(&h->sites[site], survivors, born, h->window_ns, out);
	judge_starved(h, &h->sites[site], verdict, out);
	if (rec->cohort_shift < 32)
		out->windows_per_cohort = UINT32_C(1) << rec->cohort_shift;
	if (h->sites[site].verdict != verdict ||
	    h->sites[site].logged != logged)
		bs_history_keep_site(h, site);
	return true;
}

struct bs_site_history *bs_history_judge_all(struct bs_history *h,
					     const struct bs_snapshot *s,
					     uint64_t *nr)
{
	struct bs_site_history *all;

	*nr = bs_snapshot_nr_sites(s);
	all = calloc(*nr ? *nr : 1, sizeof(*all));
	if (!all)
		return NULL;
	for (uint64_t i = 0; i < *nr; i++)
		bs_history_judge(h, s, i, &all[i]);
	return all;
}

/* ---- writing -------------------------------------------------------------------- */

void bs_history_keep_stats(struct bs_history *h)
{
	if (h->journal)
		bs_journal_append(h->journal, REC_STATS, &h->stats,
				  sizeof(h->stats));
}

void bs_history_keep_site(struct bs_history *h, uint64_t site)
{
	struct rec_flags rec = { .site = site };

	if (!h->journal)
		return;
	rec.verdict = h->sites[site].verdict;
	rec.logged = h->sites[site].logged & (uint8_t)~BS_LOG_QUEUED;
	bs_journal_append(h->journal, REC_FLAGS, &rec, sizeof(rec));
}

void bs_history_announce(struct bs_history *h, const struct bs_once *once)
{
	h->once = *once;
	if (h->journal)
		bs_journal_append(h->journal, REC_ANNOUNCE, once,
				  sizeof(*once));
}

void bs_history_confirm(struct bs_history *h)
{
	memset(&h->once, 0, sizeof(h->once));
	if (h->journal)
		bs_journal_append(h->journal, REC_CONFIRM, "", 0);
}

static int write_head(struct bs_history *h, struct bs_journal *j,
		      const struct rec_head *head)
{
	struct rec_head rec = *head;

	rec.has_closed = h->has_closed;
	rec.last_closed = h->last_closed;
	return bs_journal_append(j, REC_HEAD, &rec, sizeof(rec));
}

static int write_site(struct bs_journal *j, uint64_t number,
		      const struct bs_leak_site *site)
{
	union {
		struct rec_site rec;
		char bytes[sizeof(struct rec_site) +
			   BS_LEAK_ENTRIES_MAX * sizeof(struct bs_leak_entry)];
	} u;

	if (!site->windows)
		return 0;
	u.rec = (struct rec_site){
		.site = number,
		.allocs_before = site->allocs_before,
		.last_bytes = site->last_bytes,
		.last_objects = site->last_objects,
		.previous_bytes = site->previous_bytes,
		.windows = site->windows,
		.nr = site->nr,
		.rises = site->rises,
		.verdict = site->verdict,
		.logged = site->logged & (uint8_t)~BS_LOG_QUEUED,
	};
	memcpy(u.rec.entries, site->entries,
	       site->nr * sizeof(site->entries[0]));
	return bs_journal_append(
		j, REC_SITE, &u,
		(uint32_t)(sizeof(u.rec) +
			   site->nr * sizeof(site->entries[0])));
}

/* The head of the journal that is there: who the target is. */
static int read_head(void *arg, uint32_t type, const void *payload,
		     uint32_t len)
{
	if (type == REC_HEAD && len == sizeof(struct rec_head))
		memcpy(arg, payload, len);
	return 1;
}

static int write_all(struct bs_history *h, const char *path,
		     const struct rec_head *head)
{
	struct bs_journal *j = bs_journal_create(path);
	int ret;

	if (!j)
		return -errno;
	ret = write_head(h, j, head);
	for (uint64_t i = 0; i < h->nr_sites && !ret; i++)
		ret = write_site(j, i, &h->sites[i]);
	if (!ret)
		ret = bs_journal_append(j, REC_STATS, &h->stats,
					sizeof(h->stats));
	if (!ret && h->once.kind)
		ret = bs_journal_append(j, REC_ANNOUNCE, &h->once,
					sizeof(h->once));
	if (!ret)
		ret = bs_journal_commit(j);
	if (ret) {
		bs_journal_close(j);
		return ret;
	}
	bs_journal_close(h->journal);
	h->journal = j;
	h->checkpoint_bytes = bs_journal_bytes(j);
	return 0;
}

int bs_history_checkpoint(struct bs_history *h, const char *path)
{
	struct rec_head head = { 0 };

	if (!h->journal)
		return 0;
	bs_journal_replay(path, read_head, &head);
	if (head.version != BS_HISTORY_VERSION)
		return -EINVAL;
	return write_all(h, path, &head);
}

int bs_history_maybe_checkpoint(struct bs_history *h, const char *path)
{
	uint64_t bytes;

	if (!h->journal)
		return 0;
	bytes = bs_journal_bytes(h->journal);
	if (bytes < h->checkpoint_bytes + CHECKPOINT_BYTES ||
	    bytes < h->checkpoint_bytes * CHECKPOINT_TIMES)
		return 0;
	return bs_history_checkpoint(h, path);
}

/* ---- reading --------------------------------------------------------------------- */

struct load {
	struct bs_history *h;
	struct rec_head expect;
	bool seen_head;
};

static int load_site(struct bs_history *h, const struct rec_site *rec,
		     uint32_t len)
{
	struct bs_leak_site *site;
	uint64_t windows = 0;

	if (len < sizeof(*rec) || rec->nr > BS_LEAK_ENTRIES_MAX ||
	    len != sizeof(*rec) + rec->nr * sizeof(rec->entries[0]) ||
	    rec->site >= SITES_MAX || !reserve_sites(h, rec->site + 1))
		return 1;
	for (uint32_t i = 0; i < rec->nr; i++)
		windows += rec->entries[i].windows;
	if (windows != rec->windows || !rec->nr)
		return 1;
	site = &h->sites[rec->site];
	bs_leak_free(site);
	/* Room for as many as may come: appending doubles from a power of 2. */
	for (site->cap = 2; site->cap < rec->nr;)
		site->cap *= 2;
	site->entries = malloc(site->cap * sizeof(site->entries[0]));
	if (!site->entries) {
		site->cap = 0;
		return 1;
	}
	memcpy(site->entries, rec->entries, rec->nr * sizeof(rec->entries[0]));
	site->nr = rec->nr;
	site->windows = rec->windows;
	site->rises = rec->rises;
	site->verdict = rec->verdict <= BS_VERDICT_LEAK ? rec->verdict : 0;
	site->logged = rec->logged;
	site->last_bytes = rec->last_bytes;
	site->last_objects = rec->last_objects;
	site->previous_bytes = rec->previous_bytes;
	site->allocs_before = rec->allocs_before;
	return 0;
}

static int load_window(struct bs_history *h, const struct rec_window *rec,
		       uint32_t len)
{
	uint64_t gap, next = 0;

	if (len < sizeof(*rec) ||
	    rec->nr > (len - sizeof(*rec)) / sizeof(rec->sites[0]) ||
	    (h->has_closed && rec->window <= h->last_closed))
		return 1;
	if (rec->blind) {
		h->last_closed = rec->window;
		h->has_closed = true;
		return 0;
	}
	if (rec->nr && (rec->sites[rec->nr - 1].site >= SITES_MAX ||
			!reserve_sites(h, rec->sites[rec->nr - 1].site + 1)))
		return 1;
	gap = gap_before(h, rec->window);
	for (uint64_t i = 0; i < h->nr_sites; i++) {
		struct bs_leak_site *site = &h->sites[i];
		struct bs_leak_entry e = {
			.floor_bytes = site->last_bytes,
			.floor_objects = site->last_objects,
			.windows = 1,
		};

		if (next < rec->nr && rec->sites[next].site == i) {
			const struct rec_window_site *w = &rec->sites[next++];

			e.floor_bytes = w->floor_bytes;
			e.floor_objects = w->floor_objects;
			e.allocs = w->allocs;
			site->allocs_before = w->allocs_before;
		} else if (!site->windows) {
			continue;
		}
		append_window(site, gap, &e);
	}
	h->last_closed = rec->window;
	h->has_closed = true;
	return 0;
}

static int load_head(struct load *l, const struct rec_head *rec, uint32_t len)
{
	if (len != sizeof(*rec) || rec->version != l->expect.version ||
	    rec->entry_bytes != l->expect.entry_bytes ||
	    rec->pid != l->expect.pid || rec->nonce != l->expect.nonce ||
	    rec->start_ticks != l->expect.start_ticks ||
	    rec->window_ns != l->expect.window_ns)
		return 1;
	l->seen_head = true;
	l->h->has_closed = rec->has_closed;
	l->h->last_closed = rec->last_closed;
	return 0;
}

static int load_record(void *arg, uint32_t type, const void *payload,
		       uint32_t len)
{
	struct load *l = arg;
	struct bs_history *h = l->h;
	const struct rec_flags *flags = payload;

	if (type == REC_HEAD)
		return load_head(l, payload, len);
	if (!l->seen_head)
		return 1;
	switch (type) {
	case REC_SITE:
		return load_site(h, payload, len);
	case REC_WINDOW:
		return load_window(h, payload, len);
	case REC_STATS:
		if (len != sizeof(h->stats))
			return 1;
		memcpy(&h->stats, payload, len);
		break;
	case REC_FLAGS:
		if (len != sizeof(*flags) || flags->site >= h->nr_sites)
			return 1;
		h->sites[flags->site].verdict = flags->verdict;
		h->sites[flags->site].logged = flags->logged;
		break;
	case REC_ANNOUNCE:
		if (len != sizeof(h->once))
			return 1;
		memcpy(&h->once, payload, len);
		break;
	case REC_CONFIRM:
		memset(&h->once, 0, sizeof(h->once));
		break;
	default:
		break;
	}
	return 0;
}

int bs_history_load(struct bs_history *h, const struct bs_abi_header *header,
		    const char *path, bool keep)
{
	struct load l = {
		.h = h,
		.expect = { .version = BS_HISTORY_VERSION,
			    .entry_bytes = sizeof(struct bs_leak_entry),
			    .pid = (uint64_t)header->pid,
			    .start_ticks = header->start_ticks,
			    .nonce = header->nonce,
			    .window_ns = h->window_ns },
	};
	int ret;

	ret = bs_journal_replay(path, load_record, &l);
	if (ret && ret != -ENOENT)
		return ret;
	if (h->stats.nr_zones > BS_HISTORY_ZONES_MAX)
		h->stats.nr_zones = 0;
	if (h->has_closed)
		h->window = h->last_closed + 1;
	return keep ? write_all(h, path, &l.expect) : 0;
}
