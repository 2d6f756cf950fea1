/* SPDX-License-Identifier: MIT */
/*
 * test_sampling.c - is what sampling estimates right, and as precise as it says?
 *
 * Seeds are printed; BS_TEST_SEED repeats a run.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <string.h>

#include <cmocka.h>

#include "preload/trace/sampling.h"
#include "tests/unit/trace_harness.h"

#define RATE_8K	  1U
#define RATE_512K 4U

/*
 * One in some hundred seeds lies outside by chance, so a run without one given uses
 * this.
 */
#define DEFAULT_SEED 20261127U

static void probability_is_one_minus_exp(void **state)
{
	static const size_t sizes[] = { 1,    16,    100,    4096,   8192,
					8193, 40000, 262144, 524288, 1 << 30 };
	uint32_t rate;
	size_t i;

	(void)state;
	for (rate = 1; rate < SAMPLING_NR_RATES; rate++)
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			double want = -expm1(
				-(double)sizes[i] /
				(double)(UINT64_C(8192) << 2 * (rate - 1)));
			double got = sampling_probability(sizes[i], rate);

			if (fabs(got - want) > 1e-12 * want)
				fail_msg("%zu bytes at rate %u: %.17g, not "
					 "%.17g",
					 sizes[i], rate, got, want);
		}
}

static void rate_is_the_nearest(void **state)
{
	(void)state;
	assert_int_equal(sampling_rate_of(1), 1);
	assert_int_equal(sampling_rate_of(8192), 1);
	assert_int_equal(sampling_rate_of(16384), 1);
	assert_int_equal(sampling_rate_of(16385), 2);
	assert_int_equal(sampling_rate_of(524288), RATE_512K);
	assert_int_equal(sampling_rate_of(UINT64_C(32) << 20), 7);
	assert_int_equal(sampling_rate_of(UINT64_MAX), 7);
}

static uint32_t seed_of_run(void)
{
	const char *given = getenv("BS_TEST_SEED");
	uint32_t seed =
		given ? (uint32_t)strtoul(given, NULL, 0) : DEFAULT_SEED;

	print_message("BS_TEST_SEED=%u\n", seed);
	return seed;
}

static uint64_t next(uint64_t *x)
{
	*x = *x * 6364136223846793005ULL + 1442695040888963407ULL;
	return *x >> 33;
}

/*
 * One run: objects of many sizes, of which some die.  The estimate of what lives, and
 * its standard error, by the sums that a site keeps.
 */
struct run {
	double live_bytes, live_objects;
};

static void one_run(uint64_t *x, uint32_t site, struct run *truth)
{
	uint32_t i;

	truth->live_bytes = truth->live_objects = 0;
	for (i = 0; i < 8000; i++) {
		uint64_t bytes = 64 + next(x) % (next(x) % 8 ? 500 : 20000);
		bool dies = next(x) % 3 == 0;

		if (!dies) {
			truth->live_bytes += (double)bytes;
			truth->live_objects += 1;
		}
		/* as the library does: the quick answer, or the toss */
		if (sampling_skips(0, bytes) || !sampling_toss(bytes, RATE_8K))
			continue;
		site_count_sample(site, RATE_8K, bytes, 0, 0, true,
				  BS_SITE_OBJECT);
		if (dies)
			site_count_sample(site, RATE_8K, bytes, 0, 0, false,
					  BS_SITE_OBJECT);
	}
}

/* The true value lies within 1.96 standard errors in 93 to 97 % of 1,000 runs. */
static void estimate_is_inside_its_interval(void **state)
{
	uint64_t x = seed_of_run();
	int bytes_inside = 0, objects_inside = 0, i;
	double bias = 0, sum = 0;

	(void)state;
	bs_tls.random = (uint32_t)x | 1;
	sampling_init(BS_TRACE_SAMPLE, 8192, 50);
	for (i = 0; i < 1000; i++) {
		const uintptr_t pc = 0x10000 + (uintptr_t)i * 16;
		const uint32_t generation = 0;
		uint32_t site = site_of_node(depot_add(&pc, &generation, 1));
		struct bs_abi_estimate *e = &segment_self()->estimates[site];
		double bytes, objects, bytes_error, objects_error;
		struct run truth;

		one_run(&x, site, &truth);
		bytes = (double)(e->bytes_allocated - e->bytes_freed);
		objects = (double)(e->allocs_256 - e->frees_256) / 256;
		bytes_error = 1024 * sqrt((double)(e->var_bytes_allocated -
						   e->var_bytes_freed));
		objects_error = sqrt((double)(e->var_objects_allocated -
					      e->var_objects_freed));
		bytes_inside +=
			fabs(bytes - truth.live_bytes) <= 1.96 * bytes_error;
		objects_inside += fabs(objects - truth.live_objects) <=
				  1.96 * objects_error;
		bias += bytes - truth.live_bytes;
		sum += truth.live_bytes;
	}
	print_message("inside: bytes %d, objects %d of 1000; bias %.4f\n",
		      bytes_inside, objects_inside, bias / sum);
	assert_in_range(bytes_inside, 930, 970);
	assert_in_range(objects_inside, 930, 970);
	/* the mean of 1,000 runs is five times as close as one in 200 */
	assert_true(fabs(bias / sum) < 0.01);
}

/* What one window costs decides who is sampled. */
static void auto_samples_the_busiest_caller_first(void **state)
{
	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	sampling_note_caller(0x1000, 100000);
	sampling_note_caller(0x2000, 1000);
	sampling_note_caller(0x3000, 10);
	/* 101,010 allocations of 100 ns in 100 ms: 10 %, twice the budget */
	assert_int_equal(sampling_end_window(10101000, 100000000, 100, 0), 101);
	assert_int_equal(sampling_caller_rate(0x1000), RATE_512K);
	assert_int_equal(sampling_caller_rate(0x2000), 0);
	assert_int_equal(sampling_caller_rate(0x3000), 0);
}

/* New stacks cost fifty times as much as known ones. */
static void auto_samples_the_costliest_caller_first(void **state)
{
	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	sampling_note_caller(0x1000, 50000);
	sampling_note_cost(0x1000, 100000);
	sampling_note_caller(0x2000, 2000);
	sampling_note_cost(0x2000, 200000);
	/* dear, and looked at once */
	sampling_note_caller(0x3000, 64);
	sampling_note_cost(0x3000, 900000);
	assert_int_equal(sampling_end_window(6000000, 100000000, 100, 20), 60);
	assert_int_equal(sampling_caller_rate(0x1000), 0);
	assert_int_equal(sampling_caller_rate(0x2000), RATE_512K);
	assert_int_equal(sampling_caller_rate(0x3000), 0);
}

static void auto_goes_back_when_it_can(void **state)
{
	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	sampling_note_caller(0x1000, 100000);
	sampling_end_window(10000000, 100000000, 100, 0);
	assert_int_equal(sampling_caller_rate(0x1000), RATE_512K);
	/* still as busy: to record it all would cost as much again */
	sampling_note_caller(0x1000, 100000);
	sampling_end_window(100000, 100000000, 100, 0);
	assert_int_equal(sampling_caller_rate(0x1000), RATE_512K);
	/* quiet: exact again */
	sampling_note_caller(0x1000, 1000);
	sampling_end_window(1000, 100000000, 100, 0);
	assert_int_equal(sampling_caller_rate(0x1000), 0);
}

static bool skips_new(uintptr_t pc)
{
	return sampling_choose_new(pc, 1) == SAMPLING_SKIP;
}

/* 25 ms may be owed; the first eight stacks of a caller are recorded all the same. */
static void auto_in_debt_samples_new_stacks(void **state)
{
	const struct bs_abi_header *h = segment_self()->header;
	unsigned int i, skipped;

	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	for (i = 0; i < 100; i++)
		assert_int_equal(sampling_choose_new(0x7000, 1), 0);
	sampling_end_window(20000000, 100000000, 100, 0);
	assert_int_equal(sampling_choose_new(0x7000, 1), 0);
	assert_int_equal(h->trace_samples_new, 0);
	sampling_end_window(20000000, 100000000, 100, 0);
	assert_int_equal(h->trace_samples_new, 1);
	for (i = skipped = 0; i < 100; i++)
		skipped += skips_new(0x7000);
	assert_in_range(skipped, 99, 100);
	assert_int_equal(sampling_choose_new(0x7000, 64UL << 20), RATE_512K);
	for (i = 0; i < 8; i++)
		assert_int_equal(sampling_choose_new(0x9000, 1), 0);
	for (i = skipped = 0; i < 100; i++)
		skipped += skips_new(0x9000);
	assert_in_range(skipped, 99, 100);
	/* more than half of it is left after three windows, of 5 ms each */
	sampling_end_window(0, 100000000, 100, 0);
	sampling_end_window(0, 100000000, 100, 0);
	sampling_end_window(0, 100000000, 100, 0);
	assert_int_equal(h->trace_samples_new, 1);
	sampling_end_window(0, 100000000, 100, 0);
	assert_int_equal(h->trace_samples_new, 0);
	assert_int_equal(sampling_choose_new(0x7000, 1), 0);
}

/* A caller of many unknown stacks is sampled itself until the debt is paid. */
static void auto_in_debt_samples_callers_of_many_new_stacks(void **state)
{
	unsigned int i;

	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	for (i = 0; i < 2; i++)
		sampling_end_window(20000000, 100000000, 100, 0);
	for (i = 0; i < 100; i++) {
		sampling_choose_new(0xa000, 1);
		if (i < 16)
			sampling_choose_new(0xb000, 1);
	}
	assert_int_equal(sampling_caller_rate(0xa000), RATE_512K);
	assert_int_equal(sampling_caller_rate(0xb000), 0);
	for (i = 0; i < 3; i++)
		sampling_end_window(0, 100000000, 100, 0);
	assert_int_equal(sampling_caller_rate(0xa000), RATE_512K);
	sampling_end_window(0, 100000000, 100, 0);
	assert_int_equal(sampling_caller_rate(0xa000), 0);
}

/* Few allocations, of which those looked at happened to be interrupted. */
static void auto_is_not_misled_by_a_few_slow_ones(void **state)
{
	const struct timespec slow = { 0, 100000 }, pause = { 0, 30000000 };
	unsigned int i, j;

	(void)state;
	sampling_init(BS_TRACE_AUTO, 512UL << 10, 50);
	for (i = 0; i < 15; i++) {
		for (j = 0; j < 65; j++) {
			uint64_t begin;

			assert_int_equal(sampling_choose(0x5000, 100), 0);
			begin = sampling_cost_begin();
			if (begin)
				nanosleep(&slow, NULL);
			sampling_cost_end(begin, 0x5000, true);
		}
		nanosleep(&pause, NULL);
	}
}

static void request_in_control_page_looks_who_pins(void **state)
{
	struct bs_abi_control *control = segment_self()->control;
	const struct bs_abi_header *h = segment_self()->header;
	const struct bs_abi_section *sec = &h->section[BS_SEC_PINS];
	const struct bs_abi_pins *pins =
		(const void *)((const char *)h + sec->offset);
	uint32_t i;

	(void)state;
	control->pins_order = 3;
	control->pins_request = 7;
	sampling_poll(); /* somebody may hold a lock: not now */
	assert_int_equal(h->pins_request_seen, 0);
	mm_atomic_work(traced_free);
	assert_int_equal(h->pins_request_seen, 7);
	assert_int_equal(sec->count, h->nr_zones);
	for (i = 0; i < h->nr_zones; i++) {
		assert_int_equal(pins[1 + i].number, 1 + i);
		assert_int_equal(pins[1 + i].event, 0);
		assert_int_equal(pins[1 + i].request, 7);
		assert_int_equal(pins[1 + i].zone, i);
		assert_int_equal(pins[1 + i].order, 3);
		assert_true(pins[1 + i].nr_blocks > pins[1 + i].nr_free);
	}
	sampling_poll();
	mm_atomic_work(traced_free); /* answered already */
	assert_int_equal(sec->count, h->nr_zones);
	control->pins_order = MAX_ORDER;
	control->pins_request = 8;
	sampling_poll();
	mm_atomic_work(traced_free);
	assert_int_equal(h->pins_request_seen, 8);
	control->pins_order = 0;
	control->pins_request = 9;
	sampling_poll();
	mm_atomic_work(traced_free);
	assert_int_equal(h->pins_request_seen, 9);
	assert_int_equal(sec->count, h->nr_zones);
}

static void request_in_control_page_switches_the_mode(void **state)
{
	struct bs_abi_control *control = segment_self()->control;
	const struct bs_abi_header *h = segment_self()->header;

	(void)state;
	bs_tracing = true;
	assert_int_equal(h->trace_mode, BS_TRACE_EXACT);
	control->trace_mode = BS_TRACE_SAMPLE;
	control->trace_sample_bytes = 131072;
	control->trace_request = 1;
	sampling_poll();
	assert_int_equal(h->trace_mode, BS_TRACE_SAMPLE);
	assert_int_equal(h->trace_sample_bytes, 131072);
	assert_int_equal(h->trace_request_seen, 1);
	control->trace_mode = 77;
	control->trace_request = 2;
	sampling_poll();
	assert_int_equal(h->trace_mode, BS_TRACE_SAMPLE);
	assert_int_equal(h->trace_request_seen, 2);
}

/* ---- modes that change while objects live ----------------------------------------- */

#define NR_LIVE 4000

static uint32_t nr_skipped, nr_new_skipped;

/* As malloc() does, from one of many places. */
static void *alloc_as_the_mode_says(size_t bytes, uintptr_t pc)
{
	void *p = mm_alloc(bytes, 1, GFP_KERNEL);
	uint32_t rate = sampling_choose(pc, bytes);
	struct unwind_regs regs;
	struct mm_block b;

	assert_non_null(p);
	UNWIND_CALLER(&regs);
	assert_int_equal(mm_lookup(p, &b), 0);
	if (rate == SAMPLING_SKIP) {
		nr_skipped++;
		return p;
	}
	trace_alloc(&b, bytes, &regs, rate);
	if (!b.tag || !tag_is_live(*b.tag))
		nr_new_skipped++;
	return p;
}

/* One of two places by each bit of way, so that each way is another stack. */
static __attribute__((noinline)) void *alloc_on(uint64_t way, size_t bytes,
						uintptr_t pc)
{
	void *p;

	if (!way)
		return alloc_as_the_mode_says(bytes, pc);
	if (way & 1) {
		p = alloc_on(way >> 1, bytes, pc);
		__asm__ volatile("# one" : "+r"(p));
	} else {
		p = alloc_on(way >> 1, bytes, pc);
		__asm__ volatile("# zero" : "+r"(p));
	}
	return p;
}

static void switch_to(uint32_t mode, uint32_t nr)
{
	struct bs_abi_control *control = segment_self()->control;

	control->trace_mode = mode;
	control->trace_sample_bytes = 32768;
	control->trace_request = nr;
	sampling_poll();
	assert_int_equal(segment_self()->header->trace_mode, mode);
}

/* Books and heap agree whatever was recorded, and slabs come and go meanwhile. */
static void counters_hold_through_modes(void **state)
{
	static const uint32_t modes[] = { BS_TRACE_SAMPLE, BS_TRACE_EXACT,
					  BS_TRACE_AUTO };
	static void *live[NR_LIVE];
	uint64_t x = seed_of_run();
	uint32_t round, i;
	char why[256];

	(void)state;
	bs_tracing = true;
	for (round = 0; round < 30; round++) {
		uint32_t mode = modes[next(&x) % 3];

		switch_to(mode, round + 1);
		if (mode == BS_TRACE_AUTO) /* far beyond its budget */
			sampling_end_window(100000000, 100000000, 100, 0);
		for (i = 0; i < 4000; i++) {
			void **p = &live[next(&x) % NR_LIVE];
			uint64_t bytes =
				1 + next(&x) % (next(&x) % 8 ? 300 : 9000);

			uint64_t way = next(&x) % 16 ? 0 : next(&x) % 4096;

			if (*p)
				traced_free(*p);
			*p = next(&x) % 4
				     ? alloc_on(way, bytes, 0x1000 + bytes / 32)
				     : NULL;
		}
		if (trace_verify(why, sizeof(why)))
			fail_msg("round %u: %s", round, why);
		if (round % 8 == 7)
			mm_trim();
	}
	assert_true(nr_skipped > 1000);
	assert_true(nr_new_skipped > 100);
	for (i = 0; i < NR_LIVE; i++)
		if (live[i])
			traced_free(live[i]);
	memset(live, 0, sizeof(live));
	assert_int_equal(trace_verify(why, sizeof(why)), 0);
}

int main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, harness_start, harness_stop)
	const struct CMUnitTest tests[] = {
		T(probability_is_one_minus_exp),
		T(rate_is_the_nearest),
		T(estimate_is_inside_its_interval),
		T(auto_samples_the_busiest_caller_first),
		T(auto_samples_the_costliest_caller_first),
		T(auto_goes_back_when_it_can),
		T(auto_in_debt_samples_new_stacks),
		T(auto_in_debt_samples_callers_of_many_new_stacks),
		T(auto_is_not_misled_by_a_few_slow_ones),
		T(request_in_control_page_looks_who_pins),
		T(request_in_control_page_switches_the_mode),
		T(counters_hold_through_modes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
