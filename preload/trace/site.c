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
#include "preload/trace/ages.h"
#include "preload/trace/count.h"
#include "preload/trace/depot.h"
#include "preload/trace/memo.h"
#include "preload/trace/sampling.h"
#include "preload/trace/site.h"

#define NEVER 1 /* no time that sys_clock_peek() gives */
SYS_HOT __attribute__((
	aligned(64))) struct site_table site_table = { .tick_at = NEVER };

static uint32_t nr_sites, max_sites;
static uint8_t *stale; /* published[] of the parent's file */
static struct sys_lock site_lock;
static bool tick_is_written;

/* A lock found taken so often gives its site shards. */
#define MAX_CONTENDED 16U
#define MAX_SHARDS    8U

#define STORE(field, value)                                                    \
	__atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

static uint32_t nr_shards(void)
{
	return site_table.shard_mask + 1;
}

int site_init(uint32_t capacity)
{
	site_table.sites = sys_reserve(capacity * sizeof(*site_table.sites));
	if (!site_table.sites)
		return -ENOMEM;
	max_sites = capacity;
	nr_sites = 1; /* unknown */
	site_table.created_ns = segment_self()->created_ns;
	site_table.tick_at = NEVER;
	site_table.shard_mask = 0;
	while (2 * nr_shards() <= MIN(mm.nr_slots, MAX_SHARDS))
		site_table.shard_mask = 2 * nr_shards() - 1;
	return site_new_segment();
}

void site_destroy(void)
{
	sys_munmap(site_table.sites, max_sites * sizeof(*site_table.sites));
	sys_munmap(site_table.published ? site_table.published : stale,
		   max_sites);
	site_table.published = stale = NULL;
	segment_self()->nr_whole = 0;
	site_table.sites = NULL;
	nr_sites = max_sites = 0;
}

/* ---- records ------------------------------------------------------------------ */

/* In most processes sites are published in order, and that none is missing is enough. */
static void count_whole(void)
{
	struct segment *seg = segment_self();
	uint64_t nr = seg->nr_whole;

	while (nr + 1 < max_sites && site_table.published[nr + 1])
		nr++;
	__atomic_store_n(&seg->nr_whole, nr, __ATOMIC_RELEASE);
}

/* published[] says what this process's own file has, as in depot.c. */
static void publish(uint32_t i)
{
	const struct site *site = &site_table.sites[i];
	struct segment *seg = segment_self();
	struct bs_abi_site *out;

	if (!seg->header || !site_table.published || i >= seg->nr_sites)
		return;
	out = &seg->sites[i];
	if (!segment_claim_or_private(out, sizeof(*out)))
		return;
	out->node = site->node;
	out->shard_of = site->is_shard ? site->shards : 0;
	out->kinds = site_kinds(i);
	out->first_ns = i ? site_tick_ns(site->first_tick) : 0;
	__atomic_store_n(&site_table.published[i], 1, __ATOMIC_RELEASE);
	count_whole();
	sys_raise(seg->header->section[BS_SEC_SITES].count, i + 1UL);
}

/* A site that a forked child inherited and counts at for the first time. */
static __attribute__((noinline)) void bring_over(uint32_t i)
{
	depot_publish_chain(site_table.sites[i].node, false);
	sys_lock(&site_lock, SYS_RANK_DEPOT);
	if (!site_table.published[i])
		publish(i);
	sys_unlock(&site_lock, SYS_RANK_DEPOT);
}

/*
 * The record to count in, or NULL: a forked child without a segment yet; no memory.
 * *site becomes 0 where it is that of "unknown": a child whose segment is smaller than
 * its parent's has no room for all.
 */
static struct bs_abi_site *record_to_count(uint32_t *site)
{
	struct segment *seg = segment_self();

	if (unlikely(!seg->header || !site_table.published))
		return NULL;
	if (unlikely(*site >= seg->nr_sites))
		*site = 0;
	if (unlikely(!__atomic_load_n(&site_table.published[*site],
				      __ATOMIC_ACQUIRE))) {
		if (*site)
			bring_over(*site);
		if (!site_table.published[*site])
			return NULL;
	}
	return &seg->sites[*site];
}

const struct bs_abi_site *site_record(uint32_t site)
{
	struct segment *seg = segment_self();

	return seg->header && site_table.published && site < seg->nr_sites &&
			       site_table.published[site]
		       ? &seg->sites[site]
		       : NULL;
}

static void add_live(uint32_t i, uint64_t *objects, uint64_t *bytes)
{
	const struct bs_abi_site *s = site_record(i);

	if (!s)
		return;
	*objects += s->allocs - s->frees;
	*bytes += s->bytes_allocated - s->bytes_freed;
}

bool site_live(uint32_t i, uint64_t *objects, uint64_t *bytes)
{
	uint32_t shards = site_table.sites[i].shards, k;

	*objects = *bytes = 0;
	if (site_table.sites[i].is_shard)
		return false;
	add_live(i, objects, bytes);
	for (k = 0; shards && k < nr_shards(); k++)
		add_live(shards + k * SITE_SHARD_STEP, objects, bytes);
	return true;
}

int site_new_segment(void)
{
	if (stale)
		sys_munmap(stale, max_sites);
	stale = NULL;
	segment_self()->nr_whole = 0;
	site_table.published = sys_reserve(max_sites);
	return site_table.published ? 0 : -ENOMEM;
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

static void publish_bytes(void)
{
	struct bs_abi_header *h = segment_self()->header;
	uint64_t bytes = SITE_BYTES - sizeof(struct bs_abi_estimate) -
			 sizeof(struct bs_abi_ages);

	if (h)
		STORE(h->trace_table_bytes,
		      nr_sites * bytes + ages_bytes() + depot_bytes() +
			      memo_bytes() + unwind_bytes());
}

/* nr new ones in a row; 0: no room.  site_lock held. */
static uint32_t new_sites(uint32_t node, uint32_t shard_of, uint32_t nr)
{
	uint64_t tick = site_tick(sys_now_coarse_ns());
	uint32_t first = nr_sites, i;

	if (first + nr > capacity()) {
		count_dropped();
		return 0;
	}
	for (i = first; i < first + nr; i++)
		site_table.sites[i] = (struct site){
			.node = node,
			.shards = shard_of,
			.is_shard = shard_of != 0,
			.first_tick = (uint32_t)tick,
		};
	__atomic_store_n(&nr_sites, first + nr, __ATOMIC_RELEASE);
	for (i = first; i < first + nr; i++)
		publish(i);
	publish_bytes();
	return first;
}

/* Filled, published and counted before its node names it. */
static uint32_t make_site(uint32_t node)
{
	uint32_t i = new_sites(node, 0, 1);

	if (i)
		depot_set_site(node, i);
	return i;
}

/* Shards for a site that several threads count at. */
static __attribute__((noinline)) void make_shards(uint32_t site)
{
	uint32_t first;

	sys_lock(&site_lock, SYS_RANK_DEPOT);
	if (!site_table.sites[site].shards && nr_sites < capacity() / 2) {
		first = new_sites(site_table.sites[site].node, site,
				  nr_shards() * SITE_SHARD_STEP + nr_sites % 2);
		first = ALIGN_UP(first, SITE_SHARD_STEP);
		__atomic_store_n(&site_table.sites[site].shards, first,
				 __ATOMIC_RELEASE);
	}
	sys_unlock(&site_lock, SYS_RANK_DEPOT);
}

/* In a forked child the record may have to be made. */
struct bs_abi_site *site_shard_slow(uint32_t shard, struct bs_abi_site *s)
{
	struct bs_abi_site *own = record_to_count(&shard);

	return own && shard ? own : s;
}

struct bs_abi_site *site_lock_contended(uint32_t site, struct bs_abi_site *s)
{
	struct site *t = &site_table.sites[site];
	uint32_t shards;

	if (!__atomic_load_n(&t->shards, __ATOMIC_ACQUIRE) &&
	    __atomic_add_fetch(&t->contended, 1, __ATOMIC_RELAXED) ==
		    MAX_CONTENDED) {
		make_shards(site);
		shards = __atomic_load_n(&t->shards, __ATOMIC_ACQUIRE);
		if (shards) {
			site_mark(site, BS_SITE_SHARDS);
			s = count_shard(shards, s);
		}
	}
	sys_spin_lock((struct sys_lock *)(void *)&s->lock, SYS_RANK_SITE);
	return s;
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
	return site_table.sites[site].node;
}

uint32_t site_nr(void)
{
	return __atomic_load_n(&nr_sites, __ATOMIC_ACQUIRE);
}

void site_fork_child(void)
{
	site_lock.word = 0;
	tick_is_written = false;
	stale = site_table.published ? site_table.published : stale;
	site_table.published = NULL;
}

/* ---- time ------------------------------------------------------------------------- */

/*
 * Who finds tick_at finds a tick that is not older.  Words that never say what the clock
 * does are never trusted.
 */
__attribute__((noinline)) uint64_t site_now_slow(void)
{
	uint64_t now_ns = sys_now_coarse_ns(), tick = site_tick(now_ns);

	mm_decay_clock(now_ns);
	if (sys_clock_peek() != now_ns ||
	    __atomic_exchange_n(&tick_is_written, true, __ATOMIC_ACQUIRE))
		return tick;
	if (now_ns > site_table.tick_at) {
		STORE(site_table.tick, tick);
		__atomic_store_n(&site_table.tick_at, now_ns, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&tick_is_written, false, __ATOMIC_RELEASE);
	return tick;
}

/* ---- counting --------------------------------------------------------------------- */

void site_mark(uint32_t site, uint32_t kind)
{
	struct bs_abi_site *s;

	__atomic_fetch_or(&site_table.sites[site].kinds, (uint8_t)kind,
			  __ATOMIC_RELAXED);
	s = record_to_count(&site);
	if (s)
		__atomic_fetch_or(&s->kinds, kind, __ATOMIC_RELEASE);
}

/* Negative amounts belong on the other side of the books: see count_split(). */
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

void site_recount(uint32_t site, uint32_t birth, uint64_t bytes)
{
	struct bs_abi_site *s;

	if (site_table.published && site < max_sites &&
	    !site_table.published[site]) {
		depot_publish_chain(site_table.sites[site].node, true);
		publish(site);
	}
	s = record_to_count(&site);
	if (!s)
		return;
	STORE(s->allocs, s->allocs + 1);
	STORE(s->bytes_allocated, s->bytes_allocated + bytes);
	STORE(s->peak_live_bytes, s->bytes_allocated);
	if (site)
		count_cohort(s, site_window(site_birth_tick(site_now(), birth)),
			     1);
}

/*
 * A split makes one object more out of nothing: both sides of the books move
 * forward, because readers rely on counters that never fall.
 */
static void count_split(struct bs_abi_site *s, uint64_t now, uint64_t born,
			int64_t bytes, int nr)
{
	if (nr > 0) {
		STORE(s->frees, s->frees + (uint64_t)nr);
		ages_count_lifetime(s, now - born, (uint32_t)nr);
	} else if (nr < 0) {
		STORE(s->allocs, s->allocs + (uint64_t)-nr);
	}
	if (nr)
		count_cohort(s, site_window(born), -nr);
	if (nr < 0) /* what count_newest() relies on */
		STORE(s->last_ns, MAX(s->last_ns, site_tick_ns(born)));
	if (bytes > 0)
		STORE(s->bytes_freed, s->bytes_freed + (uint64_t)bytes);
	else if (bytes < 0)
		STORE(s->bytes_allocated,
		      s->bytes_allocated + (uint64_t)-bytes);
}

__attribute__((noinline)) void site_count_alloc_slow(uint32_t site,
						     uint64_t now,
						     uint64_t bytes,
						     uint32_t kind)
{
	uint32_t asked = site;
	struct bs_abi_site *s = record_to_count(&site);

	if (!s || !(__atomic_load_n(&s->kinds, __ATOMIC_RELAXED) & kind))
		site_mark(asked, kind);
	if (!s)
		return;
	if (site) {
		count_alloc(site, s, now, bytes);
	} else {
		count_unknown(s, -(int64_t)bytes, -1);
		STORE(s->last_ns, site_tick_ns(now));
	}
}

__attribute__((noinline)) void site_count_free_slow(uint32_t site, uint64_t now,
						    uint32_t birth,
						    int64_t bytes, int nr)
{
	struct bs_abi_site *s = record_to_count(&site);
	uint64_t born = site_birth_tick(now, birth);
	bool alone = sys_alone();

	if (!s)
		return;
	if (!site) {
		count_unknown(s, bytes, nr);
	} else if (nr == 1 && bytes >= 0) {
		count_free(site, s, now, born, (uint64_t)bytes);
	} else {
		s = count_lock(site, s, alone);
		count_split(s, now, born, bytes, nr);
		count_unlock(s, alone);
	}
}

/* ---- samples -------------------------------------------------------------------------- */

#define EST_STORE(field, value) STORE(e->field, e->field + (value))

/* The record's page is claimed when it is first needed. */
static struct bs_abi_estimate *estimate_of(uint32_t site)
{
	struct segment *seg = segment_self();
	struct bs_abi_estimate *e = &seg->estimates[site];

	if (site >= seg->nr_sites || !segment_claim_or_private(e, sizeof(*e)))
		return NULL;
	sys_raise(seg->header->section[BS_SEC_ESTIMATES].count, site + 1UL);
	return e;
}

static void add_estimate(struct bs_abi_estimate *e, uint32_t rate,
			 uint64_t bytes, bool begins)
{
	double n = bytes ? (double)bytes : 1, p, weight, var;
	uint64_t objects_256, stood_bytes, var_objects, var_kib2;

	p = sampling_probability(bytes ? bytes : 1, rate);
	weight = 1 / p;
	var = (1 - p) * weight * weight;
	objects_256 = (uint64_t)(weight * 256 + 0.5);
	stood_bytes = (uint64_t)((double)bytes * weight + 0.5);
	var_objects = (uint64_t)(var + 0.5);
	var_kib2 = (uint64_t)(var * (n / 1024) * (n / 1024) + 0.5);
	if (begins) {
		EST_STORE(sampled_allocs, 1);
		EST_STORE(allocs_256, objects_256);
		EST_STORE(bytes_allocated, stood_bytes);
		EST_STORE(var_objects_allocated, var_objects);
		EST_STORE(var_bytes_allocated, var_kib2);
	} else {
		EST_STORE(sampled_frees, 1);
		EST_STORE(frees_256, objects_256);
		EST_STORE(bytes_freed, stood_bytes);
		EST_STORE(var_objects_freed, var_objects);
		EST_STORE(var_bytes_freed, var_kib2);
	}
}

void site_count_sample(uint32_t site, uint32_t rate, uint64_t bytes,
		       uint64_t now, uint64_t born, bool begins, uint32_t kind)
{
	struct bs_abi_estimate *e;
	struct bs_abi_site *s;

	if (!(site_kinds(site) & kind))
		site_mark(site, kind);
	s = record_to_count(&site);
	e = s ? estimate_of(site) : NULL;
	if (!e)
		return;
	sys_spin_lock((struct sys_lock *)(void *)&s->lock, SYS_RANK_SITE);
	add_estimate(e, rate, bytes, begins);
	if (site)
		count_cohort(s, site_window(born), begins ? 1 : -1);
	if (begins)
		STORE(s->last_ns, MAX(s->last_ns, site_tick_ns(now)));
	else if (site)
		ages_count_lifetime(s, now - born, 1);
	sys_spin_unlock((struct sys_lock *)(void *)&s->lock, SYS_RANK_SITE);
}

uint64_t site_live_samples(uint32_t i)
{
	const struct segment *seg = segment_self();

	if (i >= __atomic_load_n(&seg->header->section[BS_SEC_ESTIMATES].count,
				 __ATOMIC_RELAXED))
		return 0;
	return seg->estimates[i].sampled_allocs -
	       seg->estimates[i].sampled_frees;
}
