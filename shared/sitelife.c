/* SPDX-License-Identifier: MIT */
/*
 * sitelife.c - see sitelife.h.
 *
 * Owns:   buckets, their bounds, ages.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitelife.h"

#include <inttypes.h>
#include <string.h>

#define TICK_NS	     (UINT64_C(1) << BS_TICK_SHIFT)
#define SHORT_BUCKET 7U /* short-lived: below 2^7 ticks, 1.1 s */

struct bs_lifetimes bs_site_lifetimes(const struct bs_snapshot *s,
				      uint64_t site)
{
	const struct bs_site *x = bs_snapshot_site(s, site);
	uint64_t sampled = bs_snapshot_estimate(s, site)->sampled_frees;
	struct bs_lifetimes life = { 0 };
	uint64_t rest;

	for (unsigned int i = 0; i < BS_NR_LIFETIMES; i++) {
		life.count[i + 1] = x->lifetime[i];
		life.frees += x->lifetime[i];
	}
	/* A reader that comes between two stores may see fewer frees. */
	rest = x->frees + sampled;
	if (rest > life.frees) {
		life.count[0] = rest - life.frees;
		life.frees = rest;
	}
	return life;
}

uint64_t bs_life_bound_ns(unsigned int bucket)
{
	return bucket < BS_NR_LIFETIMES ? TICK_NS << bucket : UINT64_MAX;
}

bool bs_site_oldest(const struct bs_snapshot *s, uint64_t site, uint64_t now_ns,
		    uint64_t *min_ns, uint64_t *max_ns)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	const struct bs_site *x = bs_snapshot_site(s, site);
	uint64_t width = h->cohort_ns ? h->cohort_ns : h->leak_window_ns;
	uint64_t begins, ends, first = h->created_ns;
	uint32_t c = 0;

	while (c < BS_NR_COHORTS && !x->cohort_live[c])
		c++;
	if (c == BS_NR_COHORTS)
		return false;
	/* A width that does not fit covers all of the program's time. */
	if (x->cohort_shift >= 64 ||
	    width > (UINT64_MAX - first) / (BS_NR_COHORTS + 1) >>
		    x->cohort_shift) {
		begins = first;
		ends = UINT64_MAX;
	} else {
		width <<= x->cohort_shift;
		begins = first + c * width;
		ends = begins + width;
	}
	/* Nothing is older than the site. */
	if (begins < x->first_ns)
		begins = x->first_ns;
	*max_ns = now_ns > begins ? now_ns - begins : 0;
	*min_ns = now_ns > ends ? now_ns - ends : 0;
	if (*min_ns > *max_ns)
		*min_ns = *max_ns;
	return true;
}

/* ---- text ------------------------------------------------------------------------ */

static void put_time(struct bs_buf *out, uint64_t ns)
{
	double s = (double)ns / 1e9;

	if (s < 1)
		bs_buf_printf(out, "%.3g ms", s * 1e3);
	else if (s < 120)
		bs_buf_printf(out, "%.3g s", s);
	else
		bs_buf_printf(out, "%.3g min", s / 60);
}

void bs_site_lifetimes_text(struct bs_buf *out, const struct bs_snapshot *s,
			    uint64_t site)
{
	struct bs_lifetimes life = bs_site_lifetimes(s, site);
	uint64_t sum = 0, brief = 0;
	unsigned int half = BS_NR_LIFE_BUCKETS;

	if (!life.frees) {
		bs_buf_puts(out, "  lifetimes: none was freed\n");
		return;
	}
	for (unsigned int i = 0; i < BS_NR_LIFE_BUCKETS; i++) {
		sum += life.count[i];
		if (i <= SHORT_BUCKET)
			brief = sum;
		if (half == BS_NR_LIFE_BUCKETS && sum >= life.frees - sum)
			half = i;
	}
	bs_buf_printf(out, "  lifetimes: %" PRIu64 " freed, half of them ",
		      life.frees);
	if (half < BS_NR_LIFETIMES) {
		bs_buf_puts(out, "within ");
		put_time(out, bs_life_bound_ns(half));
	} else {
		bs_buf_puts(out, "after more than ");
		put_time(out, bs_life_bound_ns(BS_NR_LIFETIMES - 1));
	}
	/* Rounded down: 100 % is all of them. */
	bs_buf_printf(out, ", %d %% within ",
		      (int)((double)brief * 100 / (double)life.frees));
	put_time(out, bs_life_bound_ns(SHORT_BUCKET));
	bs_buf_putc(out, '\n');
}

static bool oldest(const struct bs_sitereport *r, uint64_t site, uint64_t *min,
		   uint64_t *max)
{
	uint64_t now = r->now_ns ? r->now_ns : bs_snapshot_last_ns(r->snapshot);

	return bs_site_oldest(r->snapshot, site, now, min, max);
}

void bs_site_oldest_text(struct bs_buf *out, const struct bs_sitereport *r,
			 uint64_t site)
{
	uint64_t min, max;

	if (oldest(r, site, &min, &max))
		bs_buf_printf(out,
			      "  oldest live object is %.1f to %.1f s old\n",
			      (double)min / 1e9, (double)max / 1e9);
}

/* ---- JSON ------------------------------------------------------------------------ */

void bs_site_life_json(struct bs_json *j, const struct bs_sitereport *r,
		       uint64_t site)
{
	struct bs_lifetimes life = bs_site_lifetimes(r->snapshot, site);
	uint64_t min, max;

	bs_json_array(j, "lifetimes_ms");
	for (unsigned int i = 0; i < BS_NR_LIFE_BUCKETS; i++) {
		if (!life.count[i])
			continue;
		bs_json_object(j, NULL);
		if (i < BS_NR_LIFETIMES)
			bs_json_double(j, "below",
				       (double)bs_life_bound_ns(i) / 1e6, 3);
		else
			bs_json_null(j, "below");
		bs_json_u64(j, "objects", life.count[i]);
		bs_json_object_end(j);
	}
	bs_json_array_end(j);
	if (!oldest(r, site, &min, &max)) {
		bs_json_null(j, "oldest_live_s");
		return;
	}
	bs_json_array(j, "oldest_live_s");
	bs_json_double(j, NULL, (double)min / 1e9, 3);
	bs_json_double(j, NULL, (double)max / 1e9, 3);
	bs_json_array_end(j);
}
