/* SPDX-License-Identifier: MIT */
/*
 * test_leak.c - the leak definition on synthetic sites.
 *
 * Owns:   a small model of a call site (objects with a birth window, cohorts
 *         merged as shared/abi.h says) and the shapes of daemon/leak.h: what
 *         leaks, what fills up, what swings.
 * Random shapes print their seed; BS_SEED=n repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/leak.h"

#define SEEDS	    40U
#define WINDOWS_MAX 20000U

/* ---- the model --------------------------------------------------------------- */

struct model {
	struct bs_site rec;
	struct bs_leak_site site;
	struct bs_site_history numbers;
	uint32_t live_of_window[WINDOWS_MAX]; /* objects by birth window */
	uint64_t oldest;		      /* no live object before it */
	uint64_t live;
	uint64_t window;
	uint32_t object_bytes;
	double window_s;
	uint64_t rng;
	unsigned int nr_leak; /* windows that ended with the verdict leak */
	unsigned int nr_suspect;
	uint64_t first_leak; /* window, 0: never */
	uint64_t last_leak;
};

static struct model m;

static uint64_t next_random(void)
{
	m.rng ^= m.rng << 13;
	m.rng ^= m.rng >> 7;
	m.rng ^= m.rng << 17;
	return m.rng;
}

static double uniform(double low, double high)
{
	return low + (high - low) * (double)(next_random() >> 11) /
			     9007199254740992.0;
}

static void start(uint64_t seed, double window_s, uint32_t object_bytes)
{
	bs_leak_free(&m.site);
	memset(&m, 0, sizeof(m));
	m.rng = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	m.window_s = window_s;
	m.object_bytes = object_bytes;
}

static unsigned int cohort_of(uint64_t window)
{
	while (window >> m.rec.cohort_shift >= BS_NR_COHORTS) {
		uint32_t born = 0;

		for (unsigned int c = 0; c < BS_NR_COHORTS / 2; c++) {
			m.rec.cohort_live[c] = m.rec.cohort_live[2 * c] +
					       m.rec.cohort_live[2 * c + 1];
			if (m.rec.cohort_born >> (2 * c) & 3)
				born |= UINT32_C(1) << c;
		}
		memset(&m.rec.cohort_live[BS_NR_COHORTS / 2], 0,
		       sizeof(m.rec.cohort_live) / 2);
		m.rec.cohort_born = born;
		m.rec.cohort_shift++;
	}
	return (unsigned int)(window >> m.rec.cohort_shift);
}

static void alloc(uint64_t n)
{
	unsigned int c = cohort_of(m.window);

	if (!n)
		return;
	m.rec.cohort_live[c] += (uint32_t)n;
	m.rec.cohort_born |= UINT32_C(1) << c;
	m.rec.allocs += n;
	m.live_of_window[m.window] += (uint32_t)n;
	m.live += n;
}

static void free_of(uint64_t window, uint64_t n)
{
	assert_true(m.live_of_window[window] >= n);
	m.live_of_window[window] -= (uint32_t)n;
	m.rec.cohort_live[cohort_of(window)] -= (uint32_t)n;
	m.rec.frees += n;
	m.live -= n;
}

static void free_oldest(uint64_t n)
{
	while (n && m.live) {
		uint64_t k = m.live_of_window[m.oldest];

		if (!k) {
			m.oldest++;
			continue;
		}
		k = k < n ? k : n;
		free_of(m.oldest, k);
		n -= k;
	}
}

static void free_newest(uint64_t n)
{
	for (uint64_t w = m.window; n && m.live; w--) {
		uint64_t k = m.live_of_window[w];

		k = k < n ? k : n;
		free_of(w, k);
		n -= k;
	}
}

/* Half of each window's, again and again: some of every age survive. */
static void free_spread(uint64_t n)
{
	while (n && m.live) {
		for (uint64_t w = 0; w <= m.window && n; w++) {
			uint64_t k = (m.live_of_window[w] + 1) / 2;

			k = k < n ? k : n;
			if (k)
				free_of(w, k);
			n -= k;
		}
	}
}

/* Live objects become `target`: new ones are born, the oldest die. */
static void go_to(uint64_t target)
{
	if (target > m.live)
		alloc(target - m.live);
	else
		free_oldest(m.live - target);
}

static void sample(void)
{
	bs_leak_sample(&m.site, m.live * m.object_bytes, m.live, m.rec.allocs);
}

static enum bs_verdict end_window(void)
{
	struct bs_leak_entry entry;
	uint32_t survivors, born;
	enum bs_verdict verdict;

	assert_true(bs_leak_close(&m.site, &entry));
	m.window++;
	bs_leak_survivors(&m.rec, m.window, &survivors, &born);
	verdict = bs_leak_judge(&m.site, survivors, born,
				(uint64_t)(m.window_s * 1e9), &m.numbers);
	if (verdict == BS_VERDICT_LEAK) {
		m.nr_leak++;
		m.last_leak = m.window;
		if (!m.first_leak)
			m.first_leak = m.window;
	}
	m.nr_suspect += verdict == BS_VERDICT_SUSPECT;
	assert_true(m.site.nr <= BS_LEAK_ENTRIES_MAX);
	return verdict;
}

/* Runs `step` before each sample; it gets the time in seconds. */
static enum bs_verdict run(uint64_t windows, void (*step)(double t))
{
	enum bs_verdict verdict = BS_VERDICT_NONE;

	for (uint64_t w = 0; w < windows; w++) {
		for (unsigned int i = 0; i < BS_LEAK_SAMPLES; i++) {
			step(((double)m.window + i / (double)BS_LEAK_SAMPLES) *
			     m.window_s);
			sample();
		}
		verdict = end_window();
	}
	return verdict;
}

static uint64_t base_seed(void)
{
	const char *env = getenv("BS_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);

	printf("BS_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

static unsigned int nr_seeds(void)
{
	return getenv("BS_SEED") ? 1 : SEEDS;
}

/* ---- leaks ------------------------------------------------------------------- */

static uint64_t leaked;

/* 24 bytes per second: one object of 24 bytes. */
static void step_slow_leak(double t)
{
	if (t < 1)
		leaked = 0;
	while (leaked < (uint64_t)t) {
		alloc(1);
		leaked++;
	}
}

static void judge_24_bytes_per_second_is_leak(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 3; i++) {
		static const double window_s[] = { 1, 2, 10 };

		start(1, window_s[i], 24);
		assert_int_equal(run(40, step_slow_leak), BS_VERDICT_LEAK);
		assert_true(m.first_leak <= BS_LEAK_RARE_WINDOWS + 1);
		assert_true(fabs(m.numbers.growth_bytes_per_s - 24) < 3);
	}
}

/* 25 ticks a second, 777 bytes each, and 40 more that live one tick. */
static void step_tick_leak(double t)
{
	(void)t;
	alloc(5);
	sample();
	alloc(40);
	free_newest(40);
}

static void judge_777_bytes_per_tick_is_leak_within_thirty_windows(void **state)
{
	(void)state;
	start(1, 2, 777);
	assert_int_equal(run(30, step_tick_leak), BS_VERDICT_LEAK);
	assert_int_equal(m.first_leak, BS_LEAK_MIN_WINDOWS);
	assert_true(m.numbers.has_thirds);
	assert_true(m.numbers.floor_bytes[0] < m.numbers.floor_bytes[1]);
	assert_true(m.numbers.floor_bytes[1] < m.numbers.floor_bytes[2]);
	assert_int_equal(m.numbers.survivor_cohorts, m.numbers.alloc_cohorts);
	assert_true(fabs(m.numbers.allocs_per_window - 450) < 1);
}

static double noise_objects, leak_per_sample, leak_carry;

/* A leak below a level of noise that is larger than a window's growth. */
static void step_noisy_leak(double t)
{
	uint64_t noise = (uint64_t)uniform(0, noise_objects);

	if (t == 0)
		leak_carry = 0;
	free_newest(m.live - (uint64_t)leak_carry);
	leak_carry += leak_per_sample;
	alloc((uint64_t)leak_carry - m.live);
	alloc(noise);
}

static void judge_leak_under_noise_is_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 10, 256);
		noise_objects = uniform(10, 100);
		leak_per_sample = uniform(1, 5);
		if (run(120, step_noisy_leak) != BS_VERDICT_LEAK)
			fail_msg("seed %llu: noise %.0f leak %.1f",
				 (unsigned long long)(seed + i), noise_objects,
				 leak_per_sample);
	}
}

static void judge_leak_over_two_days_stays_leak_in_bounded_memory(void **state)
{
	(void)state;
	start(1, 10, 24);
	assert_int_equal(run(17280, step_slow_leak), BS_VERDICT_LEAK);
	assert_int_equal(m.nr_leak, 17280 - m.first_leak + 1);
	assert_true(m.site.cap <= BS_LEAK_ENTRIES_MAX);
	assert_int_equal(m.site.windows, 17280);
}

static double stop_s;

static void step_leak_then_pause(double t)
{
	if (t < stop_s)
		alloc(10);
}

static void judge_leak_that_pauses_is_stopped_and_returns(void **state)
{
	(void)state;
	start(1, 2, 100);
	stop_s = 60;
	assert_int_equal(run(30, step_leak_then_pause), BS_VERDICT_LEAK);
	assert_int_equal(run(30, step_leak_then_pause), BS_VERDICT_STOPPED);
	stop_s = 1e9;
	assert_int_equal(run(120, step_leak_then_pause), BS_VERDICT_LEAK);
}

/* ---- no leaks ----------------------------------------------------------------- */

static double level, tau_s, fill_s, period_s, phase_s, churn;

static void step_warmup(double t)
{
	go_to((uint64_t)(level * (1 - exp(-t / tau_s)) +
			 uniform(0, level * 0.002)));
}

/* Tables fill quickly, then nearly nothing: tau up to two windows. */
static void judge_warmup_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 2, 64);
		level = uniform(100, 100000);
		tau_s = uniform(0.2, 4);
		run(200, step_warmup);
		if (m.nr_leak)
			fail_msg("seed %llu: level %.0f tau %.2f window %llu",
				 (unsigned long long)(seed + i), level, tau_s,
				 (unsigned long long)m.first_leak);
	}
}

/* Fills at an even pace; then each new object replaces the oldest. */
static void step_cache(double t)
{
	uint64_t bound = (uint64_t)level;
	uint64_t want = (uint64_t)(level * t / fill_s);

	if (m.live < bound) {
		go_to(want < bound ? want : bound);
		return;
	}
	alloc((uint64_t)churn);
	free_oldest((uint64_t)churn);
}

static void judge_cache_that_fills_in_eleven_windows_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 2, 512);
		level = uniform(1000, 50000);
		fill_s = uniform(1, 22);
		churn = uniform(0, 1) < 0.3 ? 0 : uniform(1, 50);
		run(200, step_cache);
		if (m.nr_leak)
			fail_msg("seed %llu: level %.0f fill %.2f window %llu",
				 (unsigned long long)(seed + i), level, fill_s,
				 (unsigned long long)m.first_leak);
	}
}

/* One that takes longer looks like a leak until it is full, not much longer. */
static void judge_cache_once_full_is_no_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 2, 512);
		level = uniform(1000, 50000);
		fill_s = uniform(20, 200);
		churn = uniform(0, 50);
		run(300, step_cache);
		if ((double)m.last_leak * m.window_s > fill_s * 1.4 + 4)
			fail_msg("seed %llu: fill %.2f s, leak at %.0f s",
				 (unsigned long long)(seed + i), fill_s,
				 (double)m.last_leak * m.window_s);
		assert_int_not_equal(m.site.verdict, BS_VERDICT_LEAK);
	}
}

static void step_sawtooth(double t)
{
	double x = fmod(t + phase_s, period_s) / period_s;
	uint64_t target = (uint64_t)(level * x);

	/* At the drop all die, also the newest. */
	if (target < m.live)
		free_oldest(m.live);
	go_to(target);
}

static void judge_sawtooth_of_60_s_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 10, 1000);
		level = uniform(100, 100000);
		period_s = 60;
		phase_s = uniform(0, 60);
		run(400, step_sawtooth);
		if (m.nr_leak)
			fail_msg("seed %llu: level %.0f phase %.1f window %llu",
				 (unsigned long long)(seed + i), level, phase_s,
				 (unsigned long long)m.first_leak);
		assert_true(m.nr_suspect > 0);
	}
}

/* With short windows the first whole tooth is all there is; then never. */
static void judge_sawtooth_after_first_tooth_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 2, 1000);
		level = uniform(100, 100000);
		period_s = 60;
		phase_s = uniform(0, 60);
		run(400, step_sawtooth);
		if ((double)m.last_leak * m.window_s >
		    2 * period_s - phase_s + 2)
			fail_msg("seed %llu: phase %.1f, leak at %.0f s",
				 (unsigned long long)(seed + i), phase_s,
				 (double)m.last_leak * m.window_s);
	}
}

static double walk;

/* Swings around a level: an autoregressive walk, objects die oldest first. */
static void step_stationary(double t)
{
	if (t == 0)
		walk = 0;
	walk = walk * 0.98 + uniform(-1, 1);
	go_to((uint64_t)(level * (1 + 0.05 * walk)));
	alloc((uint64_t)churn);
	free_oldest((uint64_t)churn);
}

static void judge_stationary_churn_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		start(seed + i, 10, 128);
		level = uniform(50, 20000);
		churn = uniform(level / 200, level / 10);
		run(2000, step_stationary);
		if (m.nr_leak)
			fail_msg("seed %llu: level %.0f churn %.0f window %llu",
				 (unsigned long long)(seed + i), level, churn,
				 (unsigned long long)m.first_leak);
	}
}

/*
 * A heap with a garbage collector: garbage piles up until the heap is twice
 * what lives, then all of it goes; what lives swings, too.
 */
static double live_level, lives, garbage, garbage_per_sample;

static void step_collected(double t)
{
	if (t == 0) {
		garbage = 0;
		lives = live_level;
	}
	garbage += uniform(0, 2) * garbage_per_sample;
	if (garbage > live_level * uniform(0.8, 1.2)) {
		garbage = 0;
		lives = live_level * uniform(0.9, 1.1);
	}
	if ((uint64_t)(lives + garbage) > m.live)
		alloc((uint64_t)(lives + garbage) - m.live);
	else
		free_spread(m.live - (uint64_t)(lives + garbage));
}

static void judge_collected_heap_is_never_leak(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		double period_samples = uniform(30, 100);

		start(seed + i, 2, 80);
		live_level = uniform(100, 5000);
		garbage_per_sample = live_level / period_samples;
		run(500, step_collected);
		if (m.nr_leak)
			fail_msg(
				"seed %llu: level %.0f period %.0f window %llu",
				(unsigned long long)(seed + i), live_level,
				period_samples / 10,
				(unsigned long long)m.first_leak);
	}
}

/* Ever more memory, but all of it young: growth without survivors. */
static void step_growing_queue(double t)
{
	uint64_t target = 1000 + (uint64_t)(t * 20);

	free_oldest(m.live);
	alloc(target);
}

static void judge_growth_without_old_survivors_is_no_leak(void **state)
{
	(void)state;
	start(1, 2, 64);
	run(100, step_growing_queue);
	assert_int_equal(m.nr_leak, 0);
	assert_true(m.nr_suspect > 0);
}

/* ---- mechanics ------------------------------------------------------------------ */

static void suspect_after_three_rises_and_not_after_two(void **state)
{
	static const uint64_t bytes[] = { 10, 20, 30, 40, 40 };
	static const enum bs_verdict expect[] = {
		BS_VERDICT_NONE,    BS_VERDICT_NONE, BS_VERDICT_NONE,
		BS_VERDICT_SUSPECT, BS_VERDICT_NONE,
	};
	struct bs_site_history numbers;
	struct bs_leak_entry entry;
	struct bs_leak_site site = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 5; i++) {
		bs_leak_sample(&site, bytes[i] + 100, 1, i);
		bs_leak_sample(&site, bytes[i], 1, i);
		assert_true(bs_leak_close(&site, &entry));
		assert_int_equal(entry.floor_bytes, bytes[i]);
		assert_int_equal(bs_leak_judge(&site, 1, 1, 1000000000,
					       &numbers),
				 expect[i]);
	}
	bs_leak_free(&site);
}

static void close_without_sample_leaves_no_trace(void **state)
{
	struct bs_leak_entry entry;
	struct bs_leak_site site = { 0 };

	(void)state;
	assert_false(bs_leak_close(&site, &entry));
	bs_leak_sample(&site, 1, 1, 1);
	bs_leak_skip(&site);
	assert_false(bs_leak_close(&site, &entry));
	assert_int_equal(site.windows, 0);
	assert_null(site.entries);
}

/* Whatever is merged: windows and allocations are kept, floors never rise. */
static void append_many_keeps_sums_and_lowest_floor(void **state)
{
	uint64_t seed = base_seed();

	(void)state;
	for (unsigned int i = 0; i < nr_seeds(); i++) {
		struct bs_leak_site site = { 0 };
		uint64_t allocs = 0, windows = 0, lowest = UINT64_MAX;
		uint64_t sum_allocs = 0, sum_windows = 0, low = UINT64_MAX;

		start(seed + i, 1, 1);
		for (unsigned int k = 0; k < 3000; k++) {
			struct bs_leak_entry e = {
				.floor_bytes = next_random() % 1000 + 5,
				.allocs = next_random() % 7,
				.windows = 1 + (uint32_t)(next_random() % 3),
			};

			bs_leak_append(&site, &e);
			allocs += e.allocs;
			windows += e.windows;
			if (e.floor_bytes < lowest)
				lowest = e.floor_bytes;
		}
		for (uint32_t k = 0; k < site.nr; k++) {
			sum_allocs += site.entries[k].allocs;
			sum_windows += site.entries[k].windows;
			if (site.entries[k].floor_bytes < low)
				low = site.entries[k].floor_bytes;
		}
		assert_int_equal(sum_allocs, allocs);
		assert_int_equal(sum_windows, windows);
		assert_int_equal(site.windows, windows);
		assert_int_equal(low, lowest);
		bs_leak_free(&site);
	}
}

static void survivors_current_cohort_does_not_count(void **state)
{
	struct bs_site rec = { .cohort_born = 0x0f };
	uint32_t survivors, born;

	(void)state;
	rec.cohort_live[3] = 5;
	bs_leak_survivors(&rec, 3, &survivors, &born);
	assert_int_equal(born, 3);
	assert_int_equal(survivors, 0);
	bs_leak_survivors(&rec, 4, &survivors, &born);
	assert_int_equal(born, 4);
	assert_int_equal(survivors, 1);
	rec.cohort_shift = 200; /* a hostile record */
	bs_leak_survivors(&rec, 4, &survivors, &born);
	assert_true(born <= BS_NR_COHORTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judge_24_bytes_per_second_is_leak),
		cmocka_unit_test(
			judge_777_bytes_per_tick_is_leak_within_thirty_windows),
		cmocka_unit_test(judge_leak_under_noise_is_leak),
		cmocka_unit_test(
			judge_leak_over_two_days_stays_leak_in_bounded_memory),
		cmocka_unit_test(judge_leak_that_pauses_is_stopped_and_returns),
		cmocka_unit_test(judge_warmup_is_never_leak),
		cmocka_unit_test(
			judge_cache_that_fills_in_eleven_windows_is_never_leak),
		cmocka_unit_test(judge_cache_once_full_is_no_leak),
		cmocka_unit_test(judge_sawtooth_of_60_s_is_never_leak),
		cmocka_unit_test(
			judge_sawtooth_after_first_tooth_is_never_leak),
		cmocka_unit_test(judge_stationary_churn_is_never_leak),
		cmocka_unit_test(judge_collected_heap_is_never_leak),
		cmocka_unit_test(judge_growth_without_old_survivors_is_no_leak),
		cmocka_unit_test(suspect_after_three_rises_and_not_after_two),
		cmocka_unit_test(close_without_sample_leaves_no_trace),
		cmocka_unit_test(append_many_keeps_sums_and_lowest_floor),
		cmocka_unit_test(survivors_current_cohort_does_not_count),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	bs_leak_free(&m.site);
	return failed;
}
