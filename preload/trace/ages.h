/* SPDX-License-Identifier: MIT */
/*
 * ages.h - when the living objects of a site were born, and how long others lived.
 *
 * Layer:  trace; below count.h.  Locks: the site's record is locked by the caller.
 *
 * struct bs_abi_site has room for the newest cohort and one bucket of lifetimes.  A
 * record of ages is made for a site when objects of an older cohort live, or others
 * were freed after a time of another bucket.  Where its page cannot be had (a full
 * disk), cohorts stay together, and the lifetime counts as one within its tick.
 */
#ifndef BS_TRACE_AGES_H
#define BS_TRACE_AGES_H

#include <stdint.h>

#include "shared/abi.h"

/* Neighbours are added in pairs. */
void ages_merge_cohorts(struct bs_abi_site *s);
/* The site allocates in cohort c for the first time. */
void ages_begin_cohort(struct bs_abi_site *s, uint32_t c);
/* Of a cohort that is not the newest: nr objects more, or, negative, fewer. */
void ages_count_cohort(struct bs_abi_site *s, uint32_t c, int nr);

/* nr objects were freed so many ticks after they were born. */
void ages_count_lifetime(struct bs_abi_site *s, uint64_t ticks, uint32_t nr);

/* What the records take in the segment. */
uint64_t ages_bytes(void);

#endif
