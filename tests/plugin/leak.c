/* SPDX-License-Identifier: MIT */
/*
 * leak.c - an mpv plugin that leaks on purpose, at one known line.
 *
 * Owns:   three allocation sites, each a function of its own:
 *           leak_one_tick()       777 bytes a tick, never freed: the leak;
 *           bounded_cache_fill()  grows to 200 entries, then replaces the
 *                                 oldest: looks like a leak, is none;
 *           churn()               allocates and frees all the time.
 * Layer:  test; runs on the thread that mpv makes for a plugin.
 * Locks:  none.
 * Source: mpv's client API, mpv/client.h (C plugins).
 *
 * Environment:
 *   LEAK_TICKS_FILE      the number of ticks so far is kept in this file
 *   LEAK_TICKS_PER_S     ticks a second, 1 to 1000 (default 10)
 *   LEAK_TICKS_MAX       no tick after this many (default: no end)
 *   LEAK_CACHE_PER_TICK  cache entries made in a tick (default 1: the cache
 *                        fills in 20 s)
 *   LEAK_QUIT_TICKS      ask the player to quit after this many ticks
 *
 * Nothing is printed.  The file is written after the tick's allocations are
 * done, so at rest the leak is exactly 777 bytes times the number in it.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <mpv/client.h>

#define LEAK_BYTES	  777
#define CACHE_ENTRIES	  200
#define CACHE_ENTRY_BYTES 1000
#define CHURN_SLOTS	  16
#define CHURN_PER_TICK	  50
#define NS_PER_S	  1000000000LL

#define NOINLINE __attribute__((noinline))

int mpv_open_cplugin(mpv_handle *mpv);

/* Where the last leaked block goes: a store the compiler must keep. */
static void *volatile lost;

static struct {
	void *entry[CACHE_ENTRIES];
	size_t next;
} cache;

static struct {
	void *slot[CHURN_SLOTS];
	uint32_t seed;
} churned = { .seed = 1 };

static NOINLINE void leak_one_tick(void)
{
	lost = malloc(LEAK_BYTES); /* LEAK: this line is what reports name */
}

static NOINLINE void bounded_cache_fill(void)
{
	void **entry = &cache.entry[cache.next];

	free(*entry);
	*entry = malloc(CACHE_ENTRY_BYTES);
	if (*entry)
		memset(*entry, 0x5a, CACHE_ENTRY_BYTES);
	cache.next = (cache.next + 1) % CACHE_ENTRIES;
}

static uint32_t churn_random(void)
{
	churned.seed = churned.seed * 1664525U + 1013904223U;
	return churned.seed >> 8;
}

static NOINLINE void churn(void)
{
	for (int i = 0; i < CHURN_PER_TICK; i++) {
		void **slot = &churned.slot[churn_random() % CHURN_SLOTS];

		free(*slot);
		*slot = malloc(1 + churn_random() % 20000);
		if (*slot)
			memset(*slot, 0xa5, 1);
	}
}

static void release_all(void)
{
	for (size_t i = 0; i < CACHE_ENTRIES; i++)
		free(cache.entry[i]);
	for (size_t i = 0; i < CHURN_SLOTS; i++)
		free(churned.slot[i]);
	memset(&cache, 0, sizeof(cache));
	memset(churned.slot, 0, sizeof(churned.slot));
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static long env_number(const char *name, long min, long max, long otherwise)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (!text || !*text)
		return otherwise;
	n = strtol(text, &end, 10);
	return *end || n < min || n > max ? otherwise : n;
}

/* One write of a fixed width: a reader sees the old number or the new. */
static void publish(const char *path, long nr_ticks)
{
	char line[32];
	int len = snprintf(line, sizeof(line), "%012ld\n", nr_ticks);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	/* Better no number than a wrong one. */
	if (pwrite(fd, line, (size_t)len, 0) != len)
		unlink(path);
	close(fd);
}

__attribute__((visibility("default"))) int mpv_open_cplugin(mpv_handle *mpv)
{
	const char *path = getenv("LEAK_TICKS_FILE");
	long per_s = env_number("LEAK_TICKS_PER_S", 1, 1000, 10);
	long max = env_number("LEAK_TICKS_MAX", 0, INT32_MAX, INT32_MAX);
	long per_tick = env_number("LEAK_CACHE_PER_TICK", 0, 1000, 1);
	long quit = env_number("LEAK_QUIT_TICKS", 1, INT32_MAX, 0);
	int64_t due_ns = now_ns();
	long nr_ticks = 0;
	long nr_due = 0;

	if (path)
		publish(path, 0);
	for (;;) {
		double wait_s = (double)(due_ns - now_ns()) / NS_PER_S;
		mpv_event *event = mpv_wait_event(mpv, wait_s > 0 ? wait_s : 0);

		if (event->event_id == MPV_EVENT_SHUTDOWN)
			break;
		if (now_ns() < due_ns)
			continue;
		due_ns += NS_PER_S / per_s;
		if (nr_due++ == quit && quit)
			mpv_command_string(mpv, "quit");
		if (nr_ticks >= max)
			continue;
		leak_one_tick();
		for (long i = 0; i < per_tick; i++)
			bounded_cache_fill();
		churn();
		nr_ticks++;
		if (path)
			publish(path, nr_ticks);
	}
	release_all();
	return 0;
}
