/* SPDX-License-Identifier: MIT */
/*
 * shapes.c - programs whose memory has a shape; one of them leaks.
 *
 * Owns:   a mode per shape, each allocating in a function of its own:
 *           warmup    4,000 objects in 8 s, kept for good; then churn
 *           cache     fills in 12 s to 5,000 entries, then replaces the oldest
 *           sawtooth  rises for 60 s, falls to nothing, again
 *           drip      24 bytes each second, never freed: the leak
 *           still     a known number of objects, then nothing at all
 * Layer:  test.
 * Locks:  none.
 *
 * usage: shapes MODE [TICKS-FILE]; runs until a signal ends it.  The number of
 * objects that the named function has made so far is kept in the file.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define NR_SLOTS 16384

static void *volatile slots[NR_SLOTS];
static void *volatile lost;

static NOINLINE void *warmup_load(void)
{
	return malloc(1000);
}

static NOINLINE void *cache_entry(void)
{
	return malloc(500);
}

static NOINLINE void *sawtooth_rise(void)
{
	return malloc(700);
}

static NOINLINE void drip(void)
{
	lost = malloc(24); /* DRIP */
}

static NOINLINE void *still_object(void)
{
	return malloc(4321);
}

static NOINLINE void churn(void)
{
	for (int i = 0; i < 100; i++) {
		void *volatile p = malloc((size_t)(1 + i * 37));

		free(p);
	}
}

/* Sleeps until tick n of `per_s`, counted from the first call. */
static void until_tick(long n, long per_s)
{
	static struct timespec begin;
	struct timespec due;
	int64_t ns;

	if (!begin.tv_sec)
		clock_gettime(CLOCK_MONOTONIC, &begin);
	ns = begin.tv_nsec + n * (1000000000 / per_s);
	due.tv_sec = begin.tv_sec + ns / 1000000000;
	due.tv_nsec = ns % 1000000000;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL))
		;
}

static void publish(const char *path, long n)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%012ld\n", n);
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;

	if (fd < 0)
		return;
	if (pwrite(fd, line, (size_t)len, 0) != len)
		_exit(1);
	close(fd);
}

static void warmup(long tick)
{
	for (int i = 0; i < 50 && tick < 80; i++)
		slots[tick * 50 + i] = warmup_load();
	churn();
}

static void cache(long tick)
{
	for (int i = 0; i < 42; i++) {
		long at = (tick * 42 + i) % 5000;

		free(slots[at]);
		slots[at] = cache_entry();
	}
}

static void sawtooth(long tick)
{
	long phase = tick % 600;

	if (phase == 0)
		for (long i = 0; i < 12000; i++) {
			free(slots[i]);
			slots[i] = NULL;
		}
	for (int i = 0; i < 20; i++)
		slots[phase * 20 + i] = sawtooth_rise();
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	const char *path = argc > 2 ? argv[2] : NULL;
	long per_s = strcmp(mode, "drip") ? 10 : 1;

	for (long tick = 0;; tick++) {
		until_tick(tick, per_s);
		if (!strcmp(mode, "warmup")) {
			warmup(tick);
		} else if (!strcmp(mode, "cache")) {
			cache(tick);
		} else if (!strcmp(mode, "sawtooth")) {
			sawtooth(tick);
		} else if (!strcmp(mode, "drip")) {
			drip();
		} else if (!strcmp(mode, "still")) {
			if (tick < 20)
				slots[tick] = still_object();
		} else {
			return 2;
		}
		publish(path, tick + 1);
	}
}
