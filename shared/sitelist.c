/* SPDX-License-Identifier: MIT */
/*
 * sitelist.c - see sitelist.h.
 *
 * Owns:   counters, choice and order of sites.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitelist.h"

#include <stdlib.h>

static uint64_t live_bytes(const struct bs_abi_site *s)
{
	return s->bytes_allocated - s->bytes_freed;
}

static uint64_t live_objects(const struct bs_abi_site *s)
{
	return s->allocs - s->frees;
}

struct bs_site_counts bs_site_counts(const struct bs_abi_site *s)
{
	return (struct bs_site_counts){
		.allocs = s->allocs,
		.frees = s->frees,
		.live_objects = live_objects(s),
		.live_bytes = live_bytes(s),
		.bytes_allocated = s->bytes_allocated,
	};
}

void bs_site_counts_add(struct bs_site_counts *sum,
			const struct bs_site_counts *c)
{
	sum->allocs += c->allocs;
	sum->frees += c->frees;
	sum->live_objects += c->live_objects;
	sum->live_bytes += c->live_bytes;
	sum->bytes_allocated += c->bytes_allocated;
}

void bs_site_counts_json(struct bs_json *j, const struct bs_site_counts *c)
{
	bs_json_u64(j, "live_bytes", c->live_bytes);
	bs_json_u64(j, "live_objects", c->live_objects);
	bs_json_u64(j, "allocs", c->allocs);
	bs_json_u64(j, "frees", c->frees);
	bs_json_u64(j, "bytes_allocated", c->bytes_allocated);
}

double bs_site_counts_key(const struct bs_site_counts *c,
			  enum bs_site_sort sort)
{
	switch (sort) {
	case BS_SORT_ALLOCS:
		return (double)c->allocs;
	case BS_SORT_BYTES:
		return (double)c->bytes_allocated;
	case BS_SORT_GROWTH:
	case BS_SORT_LIVE:
		break;
	}
	return (double)c->live_bytes;
}

static int by_key(const void *a, const void *b)
{
	const struct bs_site_choice *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return x->site < y->site ? -1 : x->site > y->site;
}

const struct bs_site_history *bs_site_history_of(const struct bs_sitereport *r,
						 uint64_t site)
{
	if (!r->history || site >= r->nr_history || !r->history[site].windows)
		return NULL;
	return &r->history[site];
}

static bool wanted(const struct bs_sitereport *r, uint64_t site)
{
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = bs_site_history_of(r, site);

	if (!s->allocs || live_bytes(s) < r->min_bytes)
		return false;
	if (r->only_site)
		return site == r->only_site;
	if (!r->leaks)
		return true;
	if (!r->history) /* nobody watched: what was not freed */
		return live_objects(s) > 0;
	if (r->ended && live_objects(s) > 0)
		return true;
	if (!h)
		return false;
	return h->verdict == BS_VERDICT_LEAK ||
	       (r->all && h->verdict != BS_VERDICT_NONE);
}

static double sort_key(const struct bs_sitereport *r, uint64_t site)
{
	const struct bs_abi_site *s = bs_snapshot_site(r->snapshot, site);
	const struct bs_site_history *h = bs_site_history_of(r, site);
	struct bs_site_counts c = bs_site_counts(s);

	/*
	 * Leaks in front of what stopped, in front of suspects; after the end
	 * leaks alone are in front of what was never freed.
	 */
	if (r->leaks && r->ended)
		return (h && h->verdict == BS_VERDICT_LEAK) * 1e18 +
		       (double)live_bytes(s);
	if (r->leaks && h)
		return h->verdict * 1e18 + (double)live_bytes(s);
	if (r->sort == BS_SORT_GROWTH)
		return h ? h->growth_bytes_per_s : -1e18;
	return bs_site_counts_key(&c, r->sort);
}

struct bs_site_choice *bs_sites_choose(const struct bs_sitereport *r,
				       size_t *nr, size_t *total)
{
	uint64_t nr_sites = bs_snapshot_nr_sites(r->snapshot);
	struct bs_site_choice *list;
	size_t n = 0;

	*nr = *total = 0;
	list = calloc(nr_sites ? nr_sites : 1, sizeof(*list));
	if (!list)
		return NULL;
	for (uint64_t i = 0; i < nr_sites; i++)
		if (wanted(r, i))
			list[n++] =
				(struct bs_site_choice){ i, sort_key(r, i) };
	qsort(list, n, sizeof(*list), by_key);
	*total = n;
	*nr = r->limit && n > r->limit ? r->limit : n;
	return list;
}

size_t bs_sites_top(const struct bs_snapshot *s, uint64_t *sites, size_t max)
{
	struct bs_sitereport r = { .snapshot = s,
				   .min_bytes = 1,
				   .limit = max };
	struct bs_site_choice *list;
	size_t nr, total;

	list = bs_sites_choose(&r, &nr, &total);
	for (size_t i = 0; i < nr && i < max; i++)
		sites[i] = list[i].site;
	free(list);
	return nr < max ? nr : max;
}
