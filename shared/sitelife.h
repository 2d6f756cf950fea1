/* SPDX-License-Identifier: MIT */
/*
 * sitelife.h - how long the objects of a call site live.
 *
 * Owns:   a site's histogram of lifetimes and the age of its oldest live object,
 *         and their form in reports.
 * Layer:  shared; for the writers of sitereport.h.
 * Locks:  none.
 */
#ifndef BS_SHARED_SITELIFE_H
#define BS_SHARED_SITELIFE_H

#include "shared/sitereport.h"

#define BS_NR_LIFE_BUCKETS (BS_NR_LIFETIMES + 1)

/*
 * Objects by the age at which they were freed.  Bucket 0 holds those that were
 * freed within the tick they were born in; bucket i those below bs_life_bound_ns(i).
 * An object that was a sample counts once here, not as those that it stands for.
 */
struct bs_lifetimes {
	uint64_t frees; /* sum of count[] */
	uint64_t count[BS_NR_LIFE_BUCKETS];
};

struct bs_lifetimes bs_site_lifetimes(const struct bs_snapshot *s,
				      uint64_t site);
/* Upper bound of a bucket; the last one has none: UINT64_MAX. */
uint64_t bs_life_bound_ns(unsigned int bucket);

/*
 * The age of the oldest live object at now_ns, which is known as a range: its
 * birth window's.  False: none lives.
 */
bool bs_site_oldest(const struct bs_snapshot *s, uint64_t site, uint64_t now_ns,
		    uint64_t *min_ns, uint64_t *max_ns);

/* A line each, indented, with its newline. */
void bs_site_lifetimes_text(struct bs_buf *out, const struct bs_snapshot *s,
			    uint64_t site);
void bs_site_oldest_text(struct bs_buf *out, const struct bs_sitereport *r,
			 uint64_t site);
/* "lifetimes_ms" and "oldest_live_s" of an open object. */
void bs_site_life_json(struct bs_json *j, const struct bs_sitereport *r,
		       uint64_t site);

#endif
