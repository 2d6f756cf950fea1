/* SPDX-License-Identifier: MIT */
/*
 * site.c - counts at each call site.
 *
 * Owns:   the site table, the counters in the segment's site records.
 * Layer:  trace.
 * Locks:  a record's own lock word (SYS_RANK_SITE); site_lock (SYS_RANK_DEPOT) to
 *         make a site.
 *
 * Record 0, "unknown", is counted from signal handlers too, so it has no lock and no
 * cohorts: its counters are added to atomically.
 *
 * Readers take no lock.  Each counter is stored in one piece; frees are read
 * before allocs and both only grow, so live objects are never negative.
 */
#include <errno.h>
#include <string.h>

#include "preload/segment.h"
#include "preload/sys/sys.h"
#include "preload/trace/depot.h"
#include "preload/trace/site.h"

/* Merging halves what is kept; far beyond any run. */
#define MAX_WINDOW (1U << 30)

struct site {
	uint32_t node;
	uint32_t kinds;
	uint64_t first_ns;
};

static struct site *sites;
static uint32_t nr_sites, max_sites;
static uint8_t *published, *stale; /* stale: of the parent's file */
static struct sys_lock site_lock;

#define STORE(field, value)                                                    \
	__atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

int site_init(uint32_t capacity)
{
	sites = sys_reserve(capacity * sizeof(*sites));
	if (!sites)
		return -ENOMEM;
	max_sites = capacity;
	nr_sites = 1; /* unknown */
	return site_new_segment();
}

void site_destroy(void)
{
	sys_munmap(sites, max_sites * sizeof(*sites));
	sys_munmap(published ? published : stale, max_sites);
	published = stale = NULL;
	sites = NULL;
	nr_sites = max_sites = 0;
}

/* ---- records ------------------------------------------------------------------ */

/* published[] says what this process's own file has, as in depot.c. */
static void publish(uint32_t i)
{
	struct segment *seg = segment_self();
	struct bs_abi_site *out;
	uint64_t *count;

	if (!seg->header || !published || i >= seg->nr_sites)
		return;
	out = &seg->sites[i];
	if (!segment_claim_or_private(out, sizeof(*out)))
		return;
	out->node = sites[i].node;
	out->kinds = sites[i].kinds;
	out->first_ns = sites[i].first_ns;
	__atomic_store_n(&published[i], 1, __ATOMIC_RELEASE);
	count = &seg->header->section[BS_SEC_SITES].count;
	if (*count <= i)
		__atomic_store_n(count, i + 1, __ATOMIC_RELEASE);
}

/* A site that a forked child inherited and counts at for the first time. */
static __attribute__((noinline)) void bring_over(uint32_t i)
{
	depot_publish_chain(sites[i].node, false);
	sys_lock(&site_lock, SYS_RANK_DEPOT);
	if (!published[i])
		publish(i);
	sys_unlock(&site_lock, SYS_RANK_DEPOT);
}

/*
 * The record to count in, or NULL: a forked child without a segment yet; no memory.
 * A child whose segment is smaller than its parent's counts what does not fit as
 * unknown.
 */
static struct bs_abi_site *record_of(uint32_t *site)
{
	struct segment *seg = segment_self();

	if (unlikely(!seg->header || !published))
		return NULL;
	if (unlikely(*site >= seg->nr_sites))
		*site = 0;
	if (unlikely(!__atomic_load_n(&published[*site], __ATOMIC_ACQUIRE))) {
		if (*site)
			bring_over(*site);
		if (!published[*site])
			return NULL;
	}
	return &seg->sites[*site];
}

const struct bs_abi_site *site_record(uint32_t site)
{
	struct segment *seg = segment_self();

	return seg->header && published && site < seg->nr_sites &&
			       published[site]
		       ? &seg->sites[site]
		       : NULL;
}

int site_new_segment(void)
{
	if (stale)
		sys_munmap(stale, max_sites);
	stale = NULL;
	published = sys_reserve(max_sites);
	return published ? 0 : -ENOMEM;
}

/* Site 0 is counted by handlers, which cannot bring it over. */
void site_publish_unknown(void)
{
	publish(0);
}

static uint32_t capacity(void)
{
	struct segment *seg = segment_self();

	return seg->header && seg->nr_sites < max_sites
		       ? (uint32_t)seg->nr_sites
		       : max_sites;
}

static void count_dropped(void)
{
	struct segment *seg = segment_self();

	if (seg->header)
		seg->header->section[BS_SEC_SITES].dropped++;
}

/* Filled, published and counted before its node names it. */
static uint32_t make_site(uint32_t node)
{
	uint32_t i = nr_sites;

	if (i >= capacity()) {
		count_dropped();
		return 0;
	}
	sites[i].node = node;
	sites[i].kinds = 0;
	sites[i].first_ns = sys_now_coarse_ns();
	__atomic_store_n(&nr_sites, i + 1, __ATOMIC_RELEASE);
	publish(i);
	depot_set_site(node, i);
	return i;
}

uint32_t site_of_node(uint32_t node)
{
	uint32_t site = depot_site(node);

	if (likely(site))
		return site;
	sys_lock(&site_lock, SYS_RANK_DEPOT);
	site = depot_site(node);
	if (!site)
		site = make_site(node);
	sys_unlock(&site_lock, SYS_RANK_DEPOT);
	return site;
}

uint32_t site_node(uint32_t site)
{
	return sites[site].node;
}

uint32_t site_nr(void)
{
	return __atomic_load_n(&nr_sites, __ATOMIC_ACQUIRE);
}

void site_fork_child(void)
{
	site_lock.word = 0;
	stale = published ? published : stale;
	published = NULL;
}

/* ---- cohorts -------------------------------------------------------------------- */

uint64_t site_now(void)
{
	uint64_t created_ns = segment_self()->created_ns;
	uint64_t now_ns = sys_now_coarse_ns();

	return now_ns > created_ns ? (now_ns - created_ns) >> BS_TICK_SHIFT : 0;
}

uint32_t site_window(uint64_t tick)
{
	uint64_t cohort_ns = segment_self()->cohort_ns;
	uint64_t w = cohort_ns ? (tick << BS_TICK_SHIFT) / cohort_ns : 0;

	return w < MAX_WINDOW ? (uint32_t)w : MAX_WINDOW;
}

/* The whole tick of a birth that is not later than now; good for 13 days. */
static uint64_t birth_tick(uint64_t now, uint32_t birth)
{
	uint64_t age = (now - birth) & ((1U << TAG_BIRTH_BITS) - 1);

	return now > age ? now - age : 0;
}

/* Neighbours are added in pairs.  seq is odd meanwhile. */
static void merge_cohorts(struct bs_abi_site *s)
{
	uint32_t born = 0;
	unsigned int c;

	__atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	for (c = 0; c < BS_NR_COHORTS / 2; c++) {
		STORE(s->cohort_live[c],
		      s->cohort_live[2 * c] + s->cohort_live[2 * c + 1]);
		if (s->cohort_born >> (2 * c) & 3)
			born |= 1U << c;
	}
	for (; c < BS_NR_COHORTS; c++)
		STORE(s->cohort_live[c], 0);
	STORE(s->cohort_born, born);
	STORE(s->cohort_shift, s->cohort_shift + 1);
	__atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

void site_cohort_alloc(struct bs_abi_site *s, uint32_t window)
{
	uint32_t c;

	while (unlikely(window >> s->cohort_shift >= BS_NR_COHORTS))
		merge_cohorts(s);
	c = window >> s->cohort_shift;
	STORE(s->cohort_live[c], s->cohort_live[c] + 1);
	if (unlikely(!(s->cohort_born >> c & 1)))
		STORE(s->cohort_born, s->cohort_born | 1U << c);
}

void site_cohort_free(struct bs_abi_site *s, uint32_t window, int nr)
{
	uint32_t c;

	while (unlikely(window >> s->cohort_shift >= BS_NR_COHORTS))
		merge_cohorts(s);
	c = window >> s->cohort_shift;
	STORE(s->cohort_live[c], s->cohort_live[c] - (uint32_t)nr);
}

/* ---- counting --------------------------------------------------------------------- */

void site_mark(uint32_t site, uint32_t kind)
{
	struct bs_abi_site *s;

	__atomic_fetch_or(&sites[site].kinds, kind, __ATOMIC_RELAXED);
	s = record_of(&site);
	if (s)
		__atomic_fetch_or(&s->kinds, kind, __ATOMIC_RELAXED);
}

/* Negative amounts belong on the other side of the books: see count_born(). */
static void count_unknown(struct bs_abi_site *s, int64_t bytes, int nr)
{
	if (nr > 0)
		__atomic_fetch_add(&s->frees, (uint64_t)nr, __ATOMIC_RELAXED);
	else if (nr < 0)
		__atomic_fetch_add(&s->allocs, (uint64_t)-nr, __ATOMIC_RELAXED);
	if (bytes > 0)
		__atomic_fetch_add(&s->bytes_freed, (uint64_t)bytes,
				   __ATOMIC_RELAXED);
	else if (bytes < 0)
		__atomic_fetch_add(&s->bytes_allocated, (uint64_t)-bytes,
				   __ATOMIC_RELAXED);
}

static void sum_up_alloc(struct bs_abi_site *s, uint64_t now, uint64_t bytes)
{
	uint64_t live, now_ns;

	STORE(s->allocs, s->allocs + 1);
	STORE(s->bytes_allocated, s->bytes_allocated + bytes);
	live = s->bytes_allocated - s->bytes_freed;
	if (live > s->peak_live_bytes)
		STORE(s->peak_live_bytes, live);
	now_ns = segment_self()->created_ns + (now << BS_TICK_SHIFT);
	if (s->last_ns != now_ns)
		STORE(s->last_ns, now_ns);
	site_cohort_alloc(s, site_window(now));
}

void site_count_alloc(uint32_t site, uint64_t now, uint64_t bytes,
		      uint32_t kind)
{
	struct bs_abi_site *s;
	struct sys_lock *lock;

	if (unlikely(!(sites[site].kinds & kind)))
		site_mark(site, kind);
	s = record_of(&site);
	if (unlikely(!s))
		return;
	if (unlikely(!site)) {
		count_unknown(s, -(int64_t)bytes, -1);
		STORE(s->last_ns,
		      segment_self()->created_ns + (now << BS_TICK_SHIFT));
		return;
	}
	lock = (struct sys_lock *)(void *)&s->lock;
	sys_lock(lock, SYS_RANK_SITE);
	sum_up_alloc(s, now, bytes);
	sys_unlock(lock, SYS_RANK_SITE);
}

void site_recount(uint32_t site, uint32_t birth, uint64_t bytes)
{
	struct bs_abi_site *s;

	if (published && site < max_sites && !published[site]) {
		depot_publish_chain(sites[site].node, true);
		publish(site);
	}
	s = record_of(&site);
	if (!s)
		return;
	STORE(s->allocs, s->allocs + 1);
	STORE(s->bytes_allocated, s->bytes_allocated + bytes);
	STORE(s->peak_live_bytes, s->bytes_allocated);
	if (site)
		site_cohort_alloc(s,
				  site_window(birth_tick(site_now(), birth)));
}

/*
 * A split makes one object more out of nothing: both sides of the books move
 * forward, because readers rely on counters that never fall.
 */
static void count_born(struct bs_abi_site *s, uint32_t window, int64_t bytes,
		       int nr)
{
	if (nr < 0) {
		STORE(s->allocs, s->allocs + (uint64_t)-nr);
		site_cohort_free(s, window, nr);
	}
	if (bytes < 0)
		STORE(s->bytes_allocated,
		      s->bytes_allocated + (uint64_t)-bytes);
}

static void count_lifetime(struct bs_abi_site *s, uint64_t ticks, uint32_t nr)
{
	uint32_t i, count;

	if (!ticks)
		return;
	i = 63 - (uint32_t)__builtin_clzll(ticks);
	i = MIN(i, BS_NR_LIFETIMES - 1);
	count = s->lifetime[i];
	STORE(s->lifetime[i],
	      count < UINT32_MAX - nr ? count + nr : UINT32_MAX);
}

void site_count_free(uint32_t site, uint64_t now, uint32_t birth, int64_t bytes,
		     int nr)
{
	struct bs_abi_site *s = record_of(&site);
	uint64_t born = birth_tick(now, birth);
	struct sys_lock *lock;

	if (unlikely(!s))
		return;
	if (unlikely(!site)) {
		count_unknown(s, bytes, nr);
		return;
	}
	lock = (struct sys_lock *)(void *)&s->lock;
	sys_lock(lock, SYS_RANK_SITE);
	if (likely(nr > 0)) {
		STORE(s->frees, s->frees + (uint64_t)nr);
		site_cohort_free(s, site_window(born), nr);
		count_lifetime(s, now - born, (uint32_t)nr);
	}
	if (unlikely(nr < 0 || bytes < 0))
		count_born(s, site_window(born), bytes, nr);
	if (bytes > 0)
		STORE(s->bytes_freed, s->bytes_freed + (uint64_t)bytes);
	sys_unlock(lock, SYS_RANK_SITE);
}
