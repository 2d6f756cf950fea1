/* SPDX-License-Identifier: MIT */
/*
 * micro.c - small programs for allocators, one pattern each.
 *
 * usage: micro PATTERN OPS
 *        micro where
 *
 * Prints "ns_per_op X": time of the pattern by the clock divided by OPS, so
 * without the start of the program.  "where" prints which file the dynamic
 * linker took malloc from: what is measured is what was meant.
 *
 * Compiled with -fno-builtin, or the compiler would remove what is measured.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <string.h>

#include "bench/micro.h"

#define PAIR_BYTES   64
#define LIVE_SLOTS   64
#define SMALL_BATCH  100000
#define RANDOM_SLOTS 20000
#define PAGE_BYTES   4096

static void *slots[SMALL_BATCH];

/* malloc and free of one small size: nothing but the fast path. */
static void pattern_pair(uint64_t ops)
{
	while (ops--)
		free(take(PAIR_BYTES));
}

/* 64 live blocks of 1 to 512 bytes, replaced in turn. */
static void pattern_live64(uint64_t ops)
{
	uint64_t state = 1, i;

	for (i = 0; i < ops; i++) {
		free(slots[i % LIVE_SLOTS]);
		slots[i % LIVE_SLOTS] = take(next_random(&state) % 512 + 1);
	}
}

/* Many small objects made, then all freed in the order they were made. */
static void pattern_small(uint64_t ops)
{
	uint64_t state = 2, i;

	for (; ops >= SMALL_BATCH; ops -= SMALL_BATCH) {
		for (i = 0; i < SMALL_BATCH; i++)
			slots[i] = take(next_random(&state) % 120 + 8);
		for (i = 0; i < SMALL_BATCH; i++)
			free(slots[i]);
	}
}

/* 20,000 live objects of 8 bytes to 4 KiB; a random one is replaced. */
static void pattern_random(uint64_t ops)
{
	uint64_t state = 3;

	while (ops--) {
		size_t i = next_random(&state) % RANDOM_SLOTS;

		free(slots[i]);
		slots[i] = take(random_size(&state, 3, 12));
	}
}

/* Blocks of 1 to 8 MiB, one after the other, each page used. */
static void pattern_large(uint64_t ops)
{
	uint64_t state = 4;

	while (ops--) {
		size_t size = (1 + next_random(&state) % 8) << 20, i;
		volatile char *p = take(size);

		for (i = 0; i < size; i += PAGE_BYTES)
			p[i] = 1;
		free((void *)(uintptr_t)p);
	}
}

/* Buffers that grow by half, eight side by side, up to 256 KiB each. */
static void pattern_realloc(uint64_t ops)
{
	char *buffer[8] = { NULL };
	size_t size[8] = { 0 };
	uint64_t i;

	for (i = 0; i < ops; i++) {
		unsigned int b = (unsigned int)(i % 8);

		if (size[b] > 256 << 10) {
			free(buffer[b]);
			buffer[b] = NULL;
			size[b] = 0;
		}
		size[b] += size[b] / 2 + 16;
		buffer[b] = realloc(buffer[b], size[b]);
		if (!buffer[b])
			exit(1);
		buffer[b][size[b] - 1] = 1;
	}
}

/* calloc of 16 bytes to 64 KiB among 512 live blocks. */
static void pattern_calloc(uint64_t ops)
{
	uint64_t state = 5, i;

	for (i = 0; i < ops; i++) {
		size_t size = random_size(&state, 4, 16);
		char *p = calloc(1, size);

		if (!p || p[size / 2]) {
			fprintf(stderr, "calloc: no memory, or not zero\n");
			exit(1);
		}
		memset(p, 1, size);
		free(slots[i % 512]);
		slots[i % 512] = p;
	}
}

static const struct pattern {
	const char *name;
	void (*run)(uint64_t ops);
} patterns[] = {
	{ "pair", pattern_pair },     { "live64", pattern_live64 },
	{ "small", pattern_small },   { "random", pattern_random },
	{ "large", pattern_large },   { "realloc", pattern_realloc },
	{ "calloc", pattern_calloc }, { "producer", pattern_producer },
	{ "churn", pattern_churn },
};

#define NR_PATTERNS (sizeof(patterns) / sizeof(patterns[0]))

static int where(void)
{
	void *address = dlsym(RTLD_DEFAULT, "malloc");
	Dl_info info;

	if (!address || !dladdr(address, &info))
		return 1;
	printf("%s\n", info.dli_fname);
	return 0;
}

static const struct pattern *find(const char *name)
{
	size_t i;

	for (i = 0; i < NR_PATTERNS; i++)
		if (!strcmp(patterns[i].name, name))
			return &patterns[i];
	return NULL;
}

static int usage(void)
{
	size_t i;

	fprintf(stderr, "usage: micro PATTERN OPS\n       micro where\n"
			"patterns:");
	for (i = 0; i < NR_PATTERNS; i++)
		fprintf(stderr, " %s", patterns[i].name);
	fprintf(stderr, "\n");
	return 2;
}

int main(int argc, char **argv)
{
	const struct pattern *p;
	uint64_t start_ns, ops;

	if (argc == 2 && !strcmp(argv[1], "where"))
		return where();
	if (argc != 3)
		return usage();
	p = find(argv[1]);
	ops = strtoull(argv[2], NULL, 10);
	if (!p || !ops)
		return usage();
	start_ns = now_ns();
	p->run(ops);
	printf("ns_per_op %.3f\n", (double)(now_ns() - start_ns) / (double)ops);
	return 0;
}
