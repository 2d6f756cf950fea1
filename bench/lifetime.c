/* SPDX-License-Identifier: MIT */
/*
 * lifetime.c - how much memory a program holds for what it asked for, as its
 * objects come and go.
 *
 * usage: lifetime [OBJECTS]        default 300,000
 *
 * Phases, each printed as "PHASE_requested_mib X", "PHASE_held_mib X" and, while
 * something is requested, "PHASE_held_per_requested X":
 *
 *	fill    OBJECTS objects of 16 bytes to 1 KiB, one in 100 up to 32 KiB
 *	thin    90 % of them freed, at random
 *	refill  the gaps filled with objects of other sizes, 32 bytes to 2 KiB
 *	empty   all freed
 *	rest    two seconds later, with a few small calls now and then
 *	work    another two seconds later, with sizes up to 2 MiB among them
 *
 * held: growth of resident memory since before the first object, from
 * /proc/self/smaps_rollup (statm where there is none).  The program's own table
 * is a static array, touched before.  All bytes of an object are written.
 * rest, work: an allocator without a thread can give memory back only when it is
 * called, and perhaps only off its fast path, which small calls alone stay on.
 */
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "bench/micro.h"

#define MAX_OBJECTS 10000000
#define REST_MS	    2000
#define REST_STEP   10

static struct object {
	void *address;
	size_t size_bytes;
} object[MAX_OBJECTS];
static size_t nr_objects = 300000;
static size_t requested_bytes;
static uint64_t state = 8;

/* The first call makes what stdio needs; later ones change nothing. */
static size_t resident_bytes(void)
{
	static char buffer[4096];
	FILE *f;
	const char *rss;
	size_t pages = 0;

	f = fopen("/proc/self/smaps_rollup", "r");
	if (f) {
		size_t n = fread(buffer, 1, sizeof(buffer) - 1, f);

		fclose(f);
		buffer[n] = 0;
		rss = strstr(buffer, "\nRss:");
		if (rss)
			return strtoull(rss + 5, NULL, 10) << 10;
	}
	f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*u %zu", &pages) != 1)
		exit(1);
	fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void make(struct object *o, size_t size)
{
	o->address = take(size);
	memset(o->address, 1, size);
	o->size_bytes = size;
	requested_bytes += size;
}

static void drop(struct object *o)
{
	free(o->address);
	requested_bytes -= o->size_bytes;
	o->address = NULL;
}

static void fill(void)
{
	for (size_t i = 0; i < nr_objects; i++)
		make(&object[i], next_random(&state) % 100
					 ? random_size(&state, 4, 10)
					 : random_size(&state, 10, 15));
}

static void thin(void)
{
	for (size_t i = 0; i < nr_objects; i++)
		if (next_random(&state) % 10)
			drop(&object[i]);
}

static void refill(void)
{
	for (size_t i = 0; i < nr_objects; i++)
		if (!object[i].address)
			make(&object[i], random_size(&state, 5, 11));
}

static void empty(void)
{
	for (size_t i = 0; i < nr_objects; i++)
		drop(&object[i]);
}

/* Two seconds with calls of 16 bytes up to 1 << @orders. */
static void pass(unsigned int orders)
{
	for (int ms = 0; ms < REST_MS; ms += REST_STEP) {
		usleep(REST_STEP * 1000);
		for (unsigned int order = 4; order < orders; order++)
			free(take((size_t)1 << order));
	}
}

static void rest(void)
{
	pass(16);
}

static void work(void)
{
	pass(22);
}

static const struct phase {
	const char *name;
	void (*run)(void);
} phases[] = {
	{ "fill", fill },   { "thin", thin }, { "refill", refill },
	{ "empty", empty }, { "rest", rest }, { "work", work },
};

int main(int argc, char **argv)
{
	const double mib = 1 << 20;
	size_t before_bytes, i;

	if (argc == 2)
		nr_objects = strtoull(argv[1], NULL, 10);
	if (argc > 2 || nr_objects < 1 || nr_objects > MAX_OBJECTS) {
		fprintf(stderr, "usage: lifetime [OBJECTS]\n");
		return 2;
	}
	for (i = 0; i < nr_objects; i++)
		((volatile struct object *)object)[i].size_bytes = 0;
	printf("objects %zu\n", nr_objects);
	(void)resident_bytes();
	before_bytes = resident_bytes();
	for (i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		const char *name = phases[i].name;
		double held;

		phases[i].run();
		held = (double)resident_bytes() - (double)before_bytes;
		printf("%s_requested_mib %.3f\n", name,
		       (double)requested_bytes / mib);
		printf("%s_held_mib %.3f\n", name, held / mib);
		if (requested_bytes)
			printf("%s_held_per_requested %.4f\n", name,
			       held / (double)requested_bytes);
	}
	return 0;
}
