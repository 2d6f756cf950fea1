/* SPDX-License-Identifier: MIT */
/*
 * micro.h - what the synthetic programs share: a clock, random numbers that are
 * the same in each run, and the sign that the memory was used.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A pattern: @ops is how many allocations it makes, about. */
void pattern_producer(uint64_t ops);
void pattern_churn(uint64_t ops);

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* xorshift64 (Marsaglia 2003): fast enough not to be what is measured. */
static inline uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/*
 * 1 << lowest … 1 << highest, each doubling equally often: small sizes are
 * common, large ones rare, as in programs.
 */
static inline size_t random_size(uint64_t *state, unsigned int lowest,
				 unsigned int highest)
{
	uint64_t r = next_random(state);
	unsigned int order = lowest + (unsigned int)(r % (highest - lowest));

	return ((size_t)1 << order) + ((r >> 8) & (((size_t)1 << order) - 1));
}

/* malloc that touches both ends of what it got. */
static inline void *take(size_t size)
{
	char *p = malloc(size);

	if (!p) {
		fprintf(stderr, "malloc(%zu) failed\n", size);
		exit(1);
	}
	p[0] = 1;
	p[size - 1] = 1;
	return p;
}

#endif
