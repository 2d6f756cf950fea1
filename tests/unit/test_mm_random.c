/* SPDX-License-Identifier: MIT */
/*
 * test_mm_random.c - random calls against the model, mm_verify() after each
 * batch: one thread, several threads, elastic and fixed zones, tags or not.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/mm_model.h"

#define THREADS 4

static unsigned int env_number(const char *name, unsigned int fallback)
{
	const char *s = getenv(name);

	return s ? (unsigned int)strtoul(s, NULL, 0) : fallback;
}

static void config_elastic(struct mm_config *c)
{
	mm_default_config(c);
	c->tags = true;
}

static void config_fixed(struct mm_config *c)
{
	mm_default_config(c);
	c->nr_zones = 2;
	memcpy(c->zone[0].name, "DMA", 4);
	c->zone[0].pages = (64UL << 20) >> PAGE_SHIFT;
	c->zone[0].elastic = false;
	c->zone[1] = c->zone[0];
	memcpy(c->zone[1].name, "NORMAL", 7);
	c->large_whole = true;
	c->decay_ns = 1000000;
	c->lazy_max_bytes = 1 << 20;
}

static void run_single(void (*configure)(struct mm_config *c), size_t max_bytes)
{
	unsigned int batches = env_number("BS_TEST_BATCHES", 60), i, j;
	struct model *m = calloc(1, sizeof(*m));
	struct mm_config c;

	configure(&c);
	assert_int_equal(mm_init(&c, NULL), 0);
	model_init(m, test_seed(), max_bytes);
	for (i = 0; i < batches; i++) {
		for (j = 0; j < 500; j++)
			model_step(m);
		assert_no_overlap(m, 1);
		assert_mm_holds();
		if (i % 16 == 15) {
			mm_trim();
			assert_mm_holds();
		}
	}
	model_free_all(m);
	assert_mm_holds();
	mm_trim();
	assert_mm_holds();
	assert_int_equal(mm.zone[mm.nr_zones - 1].stat.used_pages[BS_USE_LARGE],
			 0);
	assert_int_equal(
		mm.zone[mm.nr_zones - 1].stat.used_pages[BS_USE_VMALLOC], 0);
	mm_destroy();
	free(m);
}

static void mm_random_elastic_holds(void **state)
{
	(void)state;
	run_single(config_elastic, 200UL << 20);
}

static void mm_random_fixed_zones_holds(void **state)
{
	(void)state;
	run_single(config_fixed, 60UL << 20);
}

/* ---- threads ------------------------------------------------------------------- */

static struct model models[THREADS];
static pthread_barrier_t barrier;
static unsigned int thread_batches;

static void *thread_main(void *arg)
{
	struct model *m = arg;
	unsigned int i, j;

	for (i = 0; i < thread_batches; i++) {
		for (j = 0; j < 400; j++)
			model_step(m);
		pthread_barrier_wait(&barrier); /* all stopped: main verifies */
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void mm_random_threads_holds(void **state)
{
	pthread_t thread[THREADS];
	uint64_t seed = test_seed();
	struct mm_config c;
	unsigned int i;

	(void)state;
	config_elastic(&c);
	c.decay_ns = 1000000;
	assert_int_equal(mm_init(&c, NULL), 0);
	thread_batches = env_number("BS_TEST_BATCHES", 40);
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (i = 0; i < THREADS; i++) {
		model_init(&models[i], seed + i, 60UL << 20);
		pthread_create(&thread[i], NULL, thread_main, &models[i]);
	}
	for (i = 0; i < thread_batches; i++) {
		pthread_barrier_wait(&barrier);
		assert_no_overlap(models, THREADS);
		assert_mm_holds();
		pthread_barrier_wait(&barrier);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	for (i = 0; i < THREADS; i++)
		model_free_all(&models[i]);
	assert_mm_holds();
	mm_trim();
	assert_mm_holds();
	mm_destroy();
}

/* The walker stops everybody at a consistent point, wherever they are. */
static void *busy_main(void *arg)
{
	struct model *m = arg;
	unsigned int i;

	for (i = 0; i < thread_batches * 400; i++)
		model_step(m);
	model_free_all(m);
	return NULL;
}

static void mm_verify_while_threads_run_holds(void **state)
{
	pthread_t thread[THREADS];
	uint64_t seed = test_seed();
	struct mm_config c;
	unsigned int i;

	(void)state;
	config_elastic(&c);
	c.decay_ns = 1000000;
	assert_int_equal(mm_init(&c, NULL), 0);
	thread_batches = env_number("BS_TEST_BATCHES", 40);
	for (i = 0; i < THREADS; i++) {
		model_init(&models[i], seed + i, 60UL << 20);
		pthread_create(&thread[i], NULL, busy_main, &models[i]);
	}
	for (i = 0; i < 100; i++)
		assert_mm_holds();
	for (i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_mm_holds();
	mm_destroy();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mm_random_elastic_holds),
		cmocka_unit_test(mm_random_fixed_zones_holds),
		cmocka_unit_test(mm_random_threads_holds),
		cmocka_unit_test(mm_verify_while_threads_run_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
