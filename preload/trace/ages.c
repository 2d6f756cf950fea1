/* SPDX-License-Identifier: MIT */
/*
 * ages.c - cohorts and lifetimes that a site's record has no room for; see ages.h.
 *
 * Owns:   the ages section of the segment.
 * Layer:  trace.  Locks: none of its own.
 *
 * seq of the site, and of its ages, is odd while objects move between cohorts, and the
 * same even number afterwards, by which readers know that they saw both of one time.
 * Of a cohort one place counts: the site, if it is the newest, else the record.
 *
 * Counts of cohorts are modulo 2^32.  A shard may count the end of objects that began
 * at another one; and where there was no room for a record once, objects ended in
 * another cohort than they began in.  The sum over shards and cohorts is right.
 */
#include "preload/trace/ages.h"

#include "preload/segment.h"

#define STORE(field, value)                                                    \
	__atomic_store_n(&(field), (value), __ATOMIC_RELAXED)

static struct bs_abi_section *section_of_ages(void)
{
	struct bs_abi_header *h = segment_self()->header;

	return h ? &h->section[BS_SEC_AGES] : NULL;
}

uint64_t ages_bytes(void)
{
	const struct bs_abi_section *section = section_of_ages();

	return section ? __atomic_load_n(&section->count, __ATOMIC_RELAXED) *
				 sizeof(struct bs_abi_ages)
		       : 0;
}

/* NULL: the site has none, or its page cannot be had now. */
static struct bs_abi_ages *known_ages(const struct bs_abi_site *s)
{
	struct bs_abi_ages *a = &segment_self()->ages[s->ages];

	return s->ages && segment_claim(a, sizeof(*a)) ? a : NULL;
}

/* The same, made when missing. */
static struct bs_abi_ages *ages_of(struct bs_abi_site *s)
{
	struct bs_abi_section *section = section_of_ages();
	struct bs_abi_ages *a;
	uint64_t i;

	if (!s->ages && section) {
		i = __atomic_fetch_add(&section->count, 1, __ATOMIC_RELAXED);
		if (i >= section->capacity) {
			__atomic_fetch_sub(&section->count, 1,
					   __ATOMIC_RELAXED);
			__atomic_fetch_add(&section->dropped, 1,
					   __ATOMIC_RELAXED);
			return NULL;
		}
		STORE(s->ages, (uint32_t)i);
		__atomic_fetch_add(&segment_self()->header->trace_table_bytes,
				   sizeof(*a), __ATOMIC_RELAXED);
	}
	a = known_ages(s);
	if (a && !a->site) {
		STORE(a->seq, s->seq);
		STORE(a->site, (uint32_t)(s - segment_self()->sites));
	}
	return a;
}

static void begin_move(struct bs_abi_site *s, struct bs_abi_ages *a)
{
	STORE(s->seq, s->seq + 1);
	if (a)
		STORE(a->seq, s->seq);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void end_move(struct bs_abi_site *s, struct bs_abi_ages *a)
{
	uint32_t seq = s->seq + 1;

	if (a)
		__atomic_store_n(&a->seq, seq, __ATOMIC_RELEASE);
	__atomic_store_n(&s->seq, seq, __ATOMIC_RELEASE);
}

static void merge_pairs(struct bs_abi_ages *a)
{
	unsigned int c;

	for (c = 0; c < BS_NR_COHORTS / 2; c++)
		STORE(a->cohort_live[c],
		      a->cohort_live[2 * c] + a->cohort_live[2 * c + 1]);
	for (; c < BS_NR_COHORTS; c++)
		STORE(a->cohort_live[c], 0);
}

void ages_merge_cohorts(struct bs_abi_site *s)
{
	struct bs_abi_ages *a = known_ages(s);
	uint32_t born = 0, newest = s->cohort / 2;
	unsigned int c;

	begin_move(s, a);
	for (c = 0; c < BS_NR_COHORTS / 2; c++)
		if (s->cohort_born >> (2 * c) & 3)
			born |= 1U << c;
	if (a) {
		merge_pairs(a);
		STORE(s->cohort_live, s->cohort_live + a->cohort_live[newest]);
		STORE(a->cohort_live[newest], 0);
	}
	STORE(s->cohort, newest);
	STORE(s->cohort_born, born);
	STORE(s->cohort_shift, s->cohort_shift + 1);
	end_move(s, a);
}

/* What lives of the newest cohort goes to the record; false: no room. */
static bool make_older(struct bs_abi_site *s)
{
	struct bs_abi_ages *a = ages_of(s);

	if (!a)
		return false;
	begin_move(s, a);
	STORE(a->cohort_live[s->cohort],
	      a->cohort_live[s->cohort] + s->cohort_live);
	STORE(s->cohort_live, 0);
	end_move(s, a);
	return true;
}

void ages_begin_cohort(struct bs_abi_site *s, uint32_t c)
{
	if (!s->cohort_born ||
	    (c > s->cohort && (!s->cohort_live || make_older(s))))
		STORE(s->cohort, c);
	STORE(s->cohort_born, s->cohort_born | 1U << c);
}

void ages_count_cohort(struct bs_abi_site *s, uint32_t c, int nr)
{
	struct bs_abi_ages *a = ages_of(s);
	uint32_t *live = a ? &a->cohort_live[c] : &s->cohort_live;

	STORE(*live, *live + (uint32_t)nr);
}

static void add_frees(uint32_t *count, uint32_t nr)
{
	STORE(*count, *count < UINT32_MAX - nr ? *count + nr : UINT32_MAX);
}

void ages_count_lifetime(struct bs_abi_site *s, uint64_t ticks, uint32_t nr)
{
	struct bs_abi_ages *a;
	uint32_t i;

	if (!ticks)
		return;
	i = 63 - (uint32_t)__builtin_clzll(ticks);
	i = MIN(i, BS_NR_LIFETIMES - 1);
	if (!s->lifetime_frees)
		STORE(s->lifetime, i);
	if (likely(i == s->lifetime)) {
		add_frees(&s->lifetime_frees, nr);
		return;
	}
	a = ages_of(s);
	if (a)
		add_frees(&a->lifetime[i], nr);
}
