/* SPDX-License-Identifier: MIT */
/*
 * test_sitelife.c - lifetimes and ages of a site's objects.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/unit/shared_util.h"

#include <string.h>

#include "shared/sitelife.h"

#define SITE	 2U
#define SECOND	 UINT64_C(1000000000)
#define WIDTH_NS UINT64_C(10000000000) /* of mkseg's windows */

static struct mkseg *m;
static struct bs_snapshot *s;

static struct bs_abi_site *begin(void)
{
	m = mkseg_new();
	return mkseg_record(m, BS_SEC_SITES, SITE);
}

static void forget_cohorts(struct bs_abi_site *site)
{
	struct bs_abi_ages *ages = mkseg_ages(m, SITE);

	memset(ages->cohort_live, 0, sizeof(ages->cohort_live));
	site->cohort_live = 0;
}

static void look(void)
{
	char err[512];

	s = test_read(m, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
}

static void end(void)
{
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void lifetimes_first_bucket_is_what_the_others_leave(void **state)
{
	struct bs_abi_site *site = begin();
	struct bs_lifetimes life;

	(void)state;
	site->lifetime_frees = 5;
	mkseg_ages(m, SITE)->lifetime[0] = 2;
	mkseg_ages(m, SITE)->lifetime[19] = 3;
	look();
	life = bs_site_lifetimes(s, SITE);
	assert_int_equal(life.frees, 4000);
	assert_int_equal(life.count[0], 3990);
	assert_int_equal(life.count[1], 7);
	assert_int_equal(life.count[20], 3);
	end();
}

static void lifetimes_more_than_frees_leave_nothing_for_the_first(void **state)
{
	struct bs_abi_ages *ages;
	struct bs_lifetimes life;

	(void)state;
	begin();
	ages = mkseg_ages(m, SITE);
	memset(ages->lifetime, 0xff, sizeof(ages->lifetime));
	look();
	life = bs_site_lifetimes(s, SITE);
	assert_int_equal(life.count[0], 0);
	assert_int_equal(life.frees, UINT64_C(20) * UINT32_MAX);
	end();
}

static void lifetimes_of_samples_count_once(void **state)
{
	(void)state;
	begin();
	mkseg_add_sampling(m);
	look();
	assert_int_equal(bs_site_lifetimes(s, SITE).frees, 4000 + 10);
	end();
}

static void bounds_are_powers_of_two_ticks(void **state)
{
	(void)state;
	assert_int_equal(bs_life_bound_ns(0), 8388608);
	assert_int_equal(bs_life_bound_ns(1), 2 * 8388608);
	assert_int_equal(bs_life_bound_ns(19), UINT64_C(8388608) << 19);
	assert_int_equal(bs_life_bound_ns(20), UINT64_MAX);
}

static void oldest_is_the_age_of_the_first_cohort_that_lives(void **state)
{
	struct bs_abi_site *site = begin();
	uint64_t created = mkseg_header(m)->created_ns, min, max;

	(void)state;
	forget_cohorts(site);
	mkseg_ages(m, SITE)->cohort_live[3] = 1;
	site->cohort_live = 9; /* of the fifth */
	look();
	/* Born from 30 to 40 s. */
	assert_true(bs_site_oldest(s, SITE, created + 60 * SECOND, &min, &max));
	assert_int_equal(min, 20 * SECOND);
	assert_int_equal(max, 30 * SECOND);
	assert_true(bs_site_oldest(s, SITE, created + 35 * SECOND, &min, &max));
	assert_int_equal(min, 0);
	assert_int_equal(max, 5 * SECOND);
	bs_snapshot_free(s);
	/* Cohorts of four windows. */
	site->cohort_shift = 2;
	look();
	assert_true(
		bs_site_oldest(s, SITE, created + 200 * SECOND, &min, &max));
	assert_int_equal(min, 40 * SECOND);
	assert_int_equal(max, 80 * SECOND);
	end();
}

static void oldest_is_not_older_than_the_site(void **state)
{
	struct bs_abi_site *site = begin();
	uint64_t created = mkseg_header(m)->created_ns, min, max;

	(void)state;
	site->first_ns = created + 7 * SECOND;
	look();
	assert_true(bs_site_oldest(s, SITE, created + 12 * SECOND, &min, &max));
	assert_int_equal(min, 2 * SECOND);
	assert_int_equal(max, 5 * SECOND);
	end();
}

static void oldest_of_nothing_is_unknown(void **state)
{
	struct bs_abi_site *site = begin();
	uint64_t min, max;

	(void)state;
	forget_cohorts(site);
	look();
	assert_false(bs_site_oldest(s, SITE, UINT64_MAX, &min, &max));
	end();
}

/* Whatever the numbers are, the range is one. */
static void oldest_of_absurd_widths_is_a_range(void **state)
{
	static const uint64_t widths[] = { 0, 1, WIDTH_NS, UINT64_MAX };
	static const uint32_t shifts[] = { 0, 31, 32, 63, 64, UINT32_MAX };
	struct bs_abi_site *site = begin();
	uint64_t min, max;

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		for (unsigned int k = 0; k < 6; k++) {
			mkseg_header(m)->cohort_ns = widths[i];
			mkseg_header(m)->created_ns = widths[3 - i];
			site->cohort_shift = shifts[k];
			look();
			assert_true(
				bs_site_oldest(s, SITE, WIDTH_NS, &min, &max));
			assert_true(min <= max);
			bs_snapshot_free(s);
		}
	}
	mkseg_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			lifetimes_first_bucket_is_what_the_others_leave),
		cmocka_unit_test(
			lifetimes_more_than_frees_leave_nothing_for_the_first),
		cmocka_unit_test(lifetimes_of_samples_count_once),
		cmocka_unit_test(bounds_are_powers_of_two_ticks),
		cmocka_unit_test(
			oldest_is_the_age_of_the_first_cohort_that_lives),
		cmocka_unit_test(oldest_is_not_older_than_the_site),
		cmocka_unit_test(oldest_of_nothing_is_unknown),
		cmocka_unit_test(oldest_of_absurd_widths_is_a_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
