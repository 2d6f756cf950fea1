/* SPDX-License-Identifier: MIT */
/*
 * sitelist.h - which call sites a report speaks of, in which order, and their
 * counters.
 *
 * Owns:   what every form of a report (text, JSON, groups, folded stacks, pprof)
 *         has in common: all add up to the same because all start here.
 * Layer:  shared; for the writers of sitereport.h.
 * Locks:  none.
 */
#ifndef BS_SHARED_SITELIST_H
#define BS_SHARED_SITELIST_H

#include "shared/sitereport.h"

/* Of one site or the sum of several.  A sum of peaks is no peak: there is none
 * in here. */
struct bs_site_counts {
	uint64_t allocs;
	uint64_t frees;
	uint64_t live_objects;
	uint64_t live_bytes;
	uint64_t bytes_allocated;
};

struct bs_site_counts bs_site_counts(const struct bs_abi_site *s);
void bs_site_counts_add(struct bs_site_counts *sum,
			const struct bs_site_counts *c);
/* As keys of an open object. */
void bs_site_counts_json(struct bs_json *j, const struct bs_site_counts *c);
/* What a report is sorted by; growth is known of single sites alone. */
double bs_site_counts_key(const struct bs_site_counts *c,
			  enum bs_site_sort sort);

struct bs_site_choice {
	uint64_t site;
	double key;
};

/*
 * Sorted, malloc'ed; NULL with *nr 0 when there is no memory.  *total counts
 * those that the limit cut, too.
 */
struct bs_site_choice *bs_sites_choose(const struct bs_sitereport *r,
				       size_t *nr, size_t *total);

/* What is known of the site's past; NULL: nothing. */
const struct bs_site_history *bs_site_history_of(const struct bs_sitereport *r,
						 uint64_t site);

#endif
