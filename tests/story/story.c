/* SPDX-License-Identifier: MIT */
/*
 * story.c - a video output driver next to an application that leaks.
 *
 * usage: story STAGE [SEED]
 *
 *   one-zone     driver and application share one zone; the application leaks
 *   two-zones    the driver has a zone of its own, the same leak
 *   no-leak      one zone, nothing leaks, for long
 *   no-leak-two-zones
 *                the same with a zone for the driver
 *   dma-policy   one zone, a leak, a fixed number of steps: compare dma=trim, whole
 *   carveout     the driver has moved to a carve-out named "video"
 *
 * The stages differ in the zones and options that the program is started with, which
 * tests/story/run gives; the traffic of one seed is the same in all of them.
 *
 * The driver, every BURST_STEPS, gives the buffers of the last stream back and
 * allocates those of the next: some of one typical size.  The application decodes:
 * small objects, packets and pages that live for some steps.  The leak is a few small
 * objects and pages in each step that are never freed.
 *
 * Numbers are the program's own, read from its segment as any reader does it, printed
 * as a table and, at the end, as "result KEY VALUE" lines.  One thread on one CPU: a
 * run with the same seed prints the same.
 */
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/behaviour/check.h"

#include "buddyscope/mm.h" /* after abi.h, which knows some of the names too */

#define KIB 1024UL
#define MIB (1024UL * KIB)

/* ---- random numbers, the same for each run of a seed ---------------------------- */

static uint64_t random_state;

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's generators" */
static uint64_t random_below(uint64_t n)
{
	uint64_t x = random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	random_state = x;
	return (x * 0x2545f4914f6cdd1dULL >> 32) % n;
}

static uint64_t random_between(uint64_t low, uint64_t high)
{
	return low + random_below(high - low + 1);
}

/* ---- what the program sees of itself ---------------------------------------------- */

#define LARGE_ORDER 6 /* 256 KiB: the smallest buffer of the driver */

static const struct bs_abi_header *segment;

static const struct bs_abi_zone *zone(unsigned int nr)
{
	return (const struct bs_abi_zone *)section(segment, BS_SEC_ZONES) + nr;
}

static uint64_t blocks_of(unsigned int nr, unsigned int order)
{
	uint64_t n = 0;
	unsigned int t;

	for (t = 0; t < BS_MIGRATE_TYPES; t++)
		n += zone(nr)->nr_free[t][order];
	return n;
}

/* So many blocks of this order are to be had: those of higher ones can be split. */
static uint64_t suitable_blocks(unsigned int nr, unsigned int order)
{
	uint64_t n = 0;
	unsigned int o;

	for (o = order; o < BS_NR_ORDERS; o++)
		n += blocks_of(nr, o) << (o - order);
	return n;
}

/* What the driver's buffers may come from, in units of the smallest. */
static uint64_t large_blocks(unsigned int nr)
{
	return suitable_blocks(nr, LARGE_ORDER);
}

/*
 * None is left but one or two in the reserve below the minimum watermark, which no
 * driver gets: there is no buffer of any size.
 */
static bool large_blocks_gone(void)
{
	return large_blocks(0) <= 2 &&
	       large_blocks(0) << LARGE_ORDER < zone(0)->wmark_min_pages;
}

static uint64_t nr_fallback(void)
{
	uint64_t n = 0;
	unsigned int i;

	for (i = 0; i < segment->nr_zones; i++)
		n += zone(i)->nr_fallback;
	return n;
}

static uint64_t used_by_dma(unsigned int nr)
{
	return zone(nr)->used_pages[BS_USE_DMA];
}

/* ---- the table ------------------------------------------------------------------------ */

static void print_head(void)
{
	unsigned int o;

	printf("%7s  %-8s", "step", "zone");
	for (o = 0; o < BS_NR_ORDERS; o++)
		printf(" %5u", o);
	printf("  %6s %6s %8s %8s\n", "free", "dma", "fallback", "failed");
}

static uint64_t nr_failed; /* the driver's requests */

static void print_zones(unsigned int step)
{
	unsigned int i, o;

	for (i = 0; i < segment->nr_zones; i++) {
		printf("%7u  %-8s", step, zone(i)->name);
		for (o = 0; o < BS_NR_ORDERS; o++)
			printf(" %5lu", blocks_of(i, o));
		printf("  %6lu %6lu %8lu %8lu\n", zone(i)->free_pages,
		       used_by_dma(i), zone(i)->nr_fallback, nr_failed);
	}
}

static void result(const char *key, uint64_t value)
{
	printf("result %s %lu\n", key, value);
}

/* ---- the driver -------------------------------------------------------------------------- */

#define DEVICE	    "video0"
#define CARVEOUT    "video"
#define BURST_STEPS 10
#define MAX_BUFFERS 5

/* Bytes of a frame, or of a piece of a stream. */
static const size_t buffer_sizes[] = {
	1920 * 1080 * 3 / 2, /* 1080p, NV12 */
	1280 * 720 * 3 / 2,  /* 720p, NV12 */
	720 * 576 * 2,	     /* 576i, YUYV */
	1 * MIB,	     /* a bitstream buffer */
	352 * 288 * 2,	     /* CIF, YUYV */
};
#define NR_SIZES (sizeof(buffer_sizes) / sizeof(buffer_sizes[0]))

static struct buffer {
	void *p;
	size_t size;
	uint64_t handle;
} buffer[MAX_BUFFERS];

static bool from_carveout;
static uint64_t nr_buffers;

static void driver_stop(void)
{
	unsigned int i;

	for (i = 0; i < MAX_BUFFERS; i++) {
		struct buffer *b = &buffer[i];

		if (b->p && from_carveout)
			bs_carveout_free(CARVEOUT, b->p);
		else if (b->p)
			bs_dma_free_coherent(DEVICE, b->size, b->p, b->handle);
		b->p = NULL;
	}
}

/* False when one of the stream's buffers is not to be had; the others are kept. */
static bool driver_start(void)
{
	size_t size = buffer_sizes[random_below(NR_SIZES)];
	uint64_t n = random_between(3, MAX_BUFFERS), i;
	bool ok = true;

	for (i = 0; i < n; i++) {
		struct buffer *b = &buffer[i];

		b->size = size;
		b->p = from_carveout
			       ? bs_carveout_alloc(CARVEOUT, size, &b->handle)
			       : bs_dma_alloc_coherent(DEVICE, size, &b->handle,
						       BS_GFP_KERNEL);
		nr_buffers++;
		if (b->p) {
			memset(b->p, (int)i, size);
		} else {
			nr_failed++;
			ok = false;
		}
	}
	return ok;
}

/* ---- the application ------------------------------------------------------------------------ */

#define MAX_STEPS  20  /* longest life of what is not leaked */
#define MAX_BLOCKS 200 /* that end in one step */

enum kind {
	OBJECT,
	PACKET,
	PAGES
};

/* A calendar: what ends in which step. */
static struct block {
	void *p;
	enum kind kind;
	unsigned int order;
} calendar[MAX_STEPS + 1][MAX_BLOCKS];
static unsigned int nr_due[MAX_STEPS + 1];

static void end_block(const struct block *b)
{
	switch (b->kind) {
	case OBJECT:
		bs_kfree(b->p);
		break;
	case PACKET:
		free(b->p);
		break;
	case PAGES:
		bs_free_pages_at(b->p, b->order);
		break;
	}
}

/* A block that could not be had is a frame that is not shown: no reason to stop. */
static void keep(unsigned int step, unsigned int steps, struct block b)
{
	unsigned int day = (step + steps) % (MAX_STEPS + 1);

	if (!b.p)
		return;
	if (nr_due[day] == MAX_BLOCKS)
		end_block(&b);
	else
		calendar[day][nr_due[day]++] = b;
}

static void end_due(unsigned int step)
{
	unsigned int day = step % (MAX_STEPS + 1);

	while (nr_due[day])
		end_block(&calendar[day][--nr_due[day]]);
}

/* What comes in from a network, as in an interrupt: it may use the last reserve. */
#define NETWORK (BS_GFP_ATOMIC | BS_GFP_NOWARN)

static void decode(unsigned int step)
{
	unsigned int i, order;
	size_t size;

	for (i = 0; i < 40; i++) {
		size = random_between(32, 4096);
		keep(step, random_between(1, 10),
		     (struct block){ .p = bs_kmalloc(size, BS_GFP_NOWARN),
				     .kind = OBJECT });
	}
	for (i = 0; i < 4; i++) {
		size = random_between(20 * KIB, 120 * KIB);
		keep(step, random_between(1, 6),
		     (struct block){ .p = malloc(size), .kind = PACKET });
	}
	for (i = 0; i < 4; i++) {
		order = random_below(3);
		keep(step, random_between(1, MAX_STEPS),
		     (struct block){ .p = bs_get_free_pages(NETWORK, order),
				     .kind = PAGES,
				     .order = order });
	}
}

static uint64_t leaked_bytes;

/* Never freed, never reported: the failures to be told are the driver's. */
static void leak(void)
{
	unsigned int i;
	size_t size;

	for (i = 0; i < 8; i++) {
		size = random_between(500, 3000);
		if (launder(bs_kmalloc(size, BS_GFP_NOWARN)))
			leaked_bytes += size;
	}
	if (launder(bs_get_free_pages(NETWORK, 0)))
		leaked_bytes += BS_PAGE_SIZE;
}

/* ---- stages -------------------------------------------------------------------------------------- */

struct stage {
	const char *name;
	unsigned int nr_zones;
	unsigned int steps; /* at most */
	unsigned int print_steps;
	bool leaks;
	bool until_large_gone; /* ends when no large block is left */
	bool carveout;
};

static const struct stage stages[] = {
	{ "one-zone", 1, 20000, 500, true, true, false },
	{ "two-zones", 2, 20000, 500, true, true, false },
	{ "no-leak", 1, 50000, 5000, false, false, false },
	{ "no-leak-two-zones", 2, 50000, 5000, false, false, false },
	{ "dma-policy", 1, 3000, 500, true, false, false },
	{ "carveout", 2, 8000, 500, true, false, true },
};

/* Steps at which something happened first; 0: not yet. */
struct firsts {
	unsigned int fallback, failed, gone;
	uint64_t dma_at_fallback, normal_at_fallback, free_at_failed;
};

static void note(unsigned int *first, unsigned int step, bool happened)
{
	if (happened && !*first)
		*first = step;
}

/* The driver's zone is the lowest; the application's the highest. */
static void observe(struct firsts *f, unsigned int step)
{
	if (nr_fallback() && !f->fallback) {
		f->dma_at_fallback =
			large_blocks(0) + (used_by_dma(0) >> LARGE_ORDER);
		f->normal_at_fallback = large_blocks(segment->nr_zones - 1);
	}
	if (nr_failed && !f->failed)
		f->free_at_failed = zone(0)->free_pages;
	note(&f->fallback, step, nr_fallback() > 0);
	note(&f->failed, step, nr_failed > 0);
	note(&f->gone, step, nr_failed && large_blocks_gone());
}

static void run_stage(const struct stage *s)
{
	uint64_t large_at_start = large_blocks(0);
	unsigned int o;
	struct firsts f = { 0 };
	unsigned int step;

	from_carveout = s->carveout;
	print_head();
	print_zones(0);
	for (step = 1; step <= s->steps; step++) {
		end_due(step);
		if (step % BURST_STEPS == 0) {
			driver_stop();
			driver_start();
		}
		decode(step);
		if (s->leaks)
			leak();
		observe(&f, step);
		if (step % s->print_steps == 0)
			print_zones(step);
		if (s->until_large_gone && f.gone)
			break;
	}
	print_zones(step);
	result("steps", step);
	result("leaked_mib", leaked_bytes / MIB);
	result("buffers", nr_buffers);
	result("buffers_failed", nr_failed);
	result("failed_step", f.failed);
	result("free_pages_at_failed", f.free_at_failed);
	result("large_gone_step", f.gone);
	result("fallback_step", f.fallback);
	result("large_at_start", large_at_start);
	result("large_at_fallback", f.dma_at_fallback);
	result("normal_large_at_fallback", f.normal_at_fallback);
	driver_stop();
	for (o = LARGE_ORDER; o < BS_NR_ORDERS; o++) {
		printf("result blocks_of_order_%u ", o);
		printf("%lu\n", suitable_blocks(0, o));
	}
}

static void pin_to_one_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? 0 : cpu, &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* TEST_SEGMENTS, or where segments are when nobody says otherwise. */
static void find_segments(void)
{
	const char *dir = getenv("BUDDYSCOPE_DIR");
	char dflt[64];

	snprintf(dflt, sizeof(dflt), "/dev/shm/buddyscope-%u", geteuid());
	setenv("TEST_SEGMENTS", dir ? dir : dflt, 0);
}

int main(int argc, char **argv)
{
	static char out[64 * 1024];
	unsigned int i;

	setvbuf(stdout, out, _IOFBF,
		sizeof(out)); /* malloc may have no memory */
	random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	if (argc < 2 || !random_state)
		goto out_usage;
	CHECK(bs_active());
	pin_to_one_cpu();
	find_segments();
	segment = open_segment(getpid());
	CHECK(segment);
	for (i = 0; i < sizeof(stages) / sizeof(stages[0]); i++) {
		if (strcmp(stages[i].name, argv[1]) != 0)
			continue;
		if (segment->nr_zones != stages[i].nr_zones) {
			fprintf(stderr, "%s needs %u zones\n", argv[1],
				stages[i].nr_zones);
			return 2;
		}
		printf("stage %s, seed %lu\n", argv[1], random_state);
		run_stage(&stages[i]);
		return 0;
	}
out_usage:
	fprintf(stderr,
		"usage: story one-zone|two-zones|no-leak|no-leak-two-zones|dma-policy|carveout [SEED]\n");
	return 2;
}
