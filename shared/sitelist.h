/* SPDX-License-Identifier: MIT */
/*
 * sitelist.h - which call sites a report speaks of, in which order, and their
 * counters.
 *
 * Owns:   what every form of a report (text, JSON, groups, folded stacks, pprof)
 *         has in common: all add up to the same because all start here.
 * Layer:  shared; for the writers of sitereport.h, and for the daemon.
 * Locks:  none.
 *
 * What a site counts is exact, estimated from samples, or in part the one and in
 * part the other; the numbers are the sums of both.
 */
#ifndef BS_SHARED_SITELIST_H
#define BS_SHARED_SITELIST_H

#include "shared/sitereport.h"

/*
 * Of one site or the sum of several.  A sum of peaks is no peak: there is none
 * in here.  live_objects = allocs - frees, in all three groups of numbers.
 */
struct bs_site_counts {
	uint64_t allocs; /* exact and estimated */
	uint64_t frees;
	uint64_t live_objects;
	uint64_t live_bytes;
	uint64_t bytes_allocated;
	/* How much of it is estimated. */
	uint64_t estimated_allocs;
	uint64_t estimated_frees;
	uint64_t estimated_live_bytes;
	uint64_t estimated_bytes_allocated;
	/* From how many samples; 0: nothing is. */
	uint64_t sampled_allocs;
	uint64_t sampled_frees;
	/* Variances of what is estimated: objects^2, bytes^2. */
	double var_live_objects;
	double var_live_bytes;
	double var_allocs;
	double var_bytes_allocated;
};

struct bs_site_counts bs_site_counts(const struct bs_snapshot *s,
				     uint64_t site);
void bs_site_counts_add(struct bs_site_counts *sum,
			const struct bs_site_counts *c);
/* As keys of an open object. */
void bs_site_counts_json(struct bs_json *j, const struct bs_site_counts *c);
/* What a report is sorted by; growth is known of single sites alone. */
double bs_site_counts_key(const struct bs_site_counts *c,
			  enum bs_site_sort sort);

/* What stands in front of a number: "~" if samples are in it, else "". */
const char *bs_live_mark(const struct bs_site_counts *c);
const char *bs_total_mark(const struct bs_site_counts *c);
/* "~12.3 KiB in ~45 objects" */
void bs_site_counts_put_live(struct bs_buf *out,
			     const struct bs_site_counts *c);
/* "exact 83 % of live bytes; the rest is estimated from 12 samples" */
void bs_site_counts_put_share(struct bs_buf *out,
			      const struct bs_site_counts *c);
/* ", standard error 123 bytes, 4.5 objects" of what is live */
void bs_site_counts_put_error(struct bs_buf *out,
			      const struct bs_site_counts *c);
/*
 * The line of the share for the head of a report, with its newline; nothing if the
 * mode is exact or off and no samples are left from another.
 */
void bs_site_share_line(struct bs_buf *out, const struct bs_abi_header *h,
			const struct bs_site_counts *c);
/* The sum over all sites. */
struct bs_site_counts bs_site_counts_all(const struct bs_snapshot *s);

struct bs_site_choice {
	uint64_t site;
	double key;
};

/*
 * Sorted, malloc'ed; NULL with *nr 0 when there is no memory.  *total counts
 * those that the limit cut, too: they are behind the others.
 */
struct bs_site_choice *bs_sites_choose(const struct bs_sitereport *r,
				       size_t *nr, size_t *total);
/* The sum over nr of them. */
struct bs_site_counts bs_sites_sum(const struct bs_snapshot *s,
				   const struct bs_site_choice *list,
				   size_t nr);

/* What is known of the site's past; NULL: nothing. */
const struct bs_site_history *bs_site_history_of(const struct bs_sitereport *r,
						 uint64_t site);

#endif
