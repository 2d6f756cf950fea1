/* SPDX-License-Identifier: MIT */
/*
 * daemon-leaky.c - the program that the daemon's tests watch.
 *
 * Owns:   call sites with one behaviour each, 50 ticks a second:
 *           leak_tick()    777 bytes a tick, never freed
 *           small_leak()   24 bytes each tenth of a second
 *           fill_cache()   100 entries, then stands
 *           churn_tick()   20 blocks, allocated and freed at once
 *           grow_up()      a warm-up: 300 KB in the first second
 *           collect()      rises for a second, then all goes (sawtooth)
 *           put_ballast()  as many times 16 KiB as the second argument says,
 *                          three a tick from tick 50 on: fills a small zone
 *           scatter_page() with a third argument, before the first tick: fills a
 *                          zone with pages and frees all but each 64th, and a
 *                          block of 2 MiB is asked for in vain
 *         It says "tick N" on each line of its output, and ends on end of
 *         input, or by itself after the ticks of the first argument.
 * Layer:  test.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "buddyscope/mm.h"

#define NOINLINE __attribute__((noinline))
#define TICK_MS	 20

static void *volatile lost;
static void *volatile cache[100];
static void *volatile table[300];
static void *volatile heap[60];

static NOINLINE void leak_tick(void)
{
	lost = malloc(777); /* LEAK: this line */
}

static NOINLINE void small_leak(void)
{
	lost = malloc(24); /* SMALL: this line */
}

static NOINLINE void fill_cache(unsigned int tick)
{
	if (tick < 100)
		cache[tick] = malloc(512);
}

static NOINLINE void churn_tick(void)
{
	for (unsigned int i = 0; i < 20; i++) {
		void *volatile p = malloc(100 + 31 * i);

		free(p);
	}
}

static NOINLINE void grow_up(unsigned int tick)
{
	for (unsigned int i = 0; i < 6 && tick < 50; i++)
		table[tick * 6 + i] = malloc(1000);
}

static NOINLINE void collect(unsigned int tick)
{
	heap[tick % 60] = malloc(2000);
	for (unsigned int i = 0; tick % 60 == 59 && i < 60; i++) {
		free(heap[i]);
		heap[i] = NULL;
	}
}

static NOINLINE void put_ballast(unsigned int tick, unsigned int blocks)
{
	for (unsigned int i = 0; i < 3; i++)
		if (tick >= 50 && (tick - 50) * 3 + i < blocks)
			lost = malloc(16384);
}

static NOINLINE void *scatter_page(void)
{
	void *volatile p = malloc(4096); /* SCATTER: this line */

	return p;
}

static void scatter(void)
{
	static void *page[4096];
	size_t nr = 0;

	while (nr < 4096 && (page[nr] = scatter_page()))
		nr++;
	while (nr--)
		if (nr % 64)
			free(page[nr]);
	lost = bs_get_free_pages(BS_GFP_KERNEL, 9);
}

int main(int argc, char **argv)
{
	unsigned int ticks = argc > 1 ? (unsigned int)atoi(argv[1]) : 0;
	unsigned int ballast = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	if (argc > 3)
		scatter();
	for (unsigned int tick = 0; !ticks || tick < ticks; tick++) {
		leak_tick();
		if (tick % 5 == 0)
			small_leak();
		fill_cache(tick);
		churn_tick();
		grow_up(tick);
		collect(tick);
		put_ballast(tick, ballast);
		printf("tick %u\n", tick + 1);
		fflush(stdout);
		if (poll(&input, 1, TICK_MS) > 0)
			break;
	}
	return 0;
}
