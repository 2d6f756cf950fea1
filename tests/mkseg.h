/* SPDX-License-Identifier: MIT */
/*
 * mkseg.h - make a segment without a program under buddyscope.
 *
 * Owns:   a realistic image of a segment in memory: zones whose sums hold,
 *         caches, areas, devices, owners, a depot, sites, events, and the modules of the calling
 *         process, so that its return addresses resolve.
 * Layer:  tests.
 * Locks:  none.
 */
#ifndef BS_TESTS_MKSEG_H
#define BS_TESTS_MKSEG_H

#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"

/* What mkseg_new() puts in; tests compare with these. */
#define MKSEG_NR_ZONES	  3U  /* DMA, NORMAL, and EMPTY without pages */
#define MKSEG_NR_CACHES	  5U  /* of 6 slots: one is free */
#define MKSEG_NR_AREAS	  8U  /* of 9 slots: one is free */
#define MKSEG_NR_DEVICES  2U  /* of 3 slots: one is free */
#define MKSEG_NR_OWNERS	  4U  /* of 5: one holds nothing */
#define MKSEG_NR_SITES	  6U  /* 0 unknown, 1 leak, 2 cache, 3 churn, 4 mmap */
#define MKSEG_EVENTS	  20U /* made; the ring holds fewer */
#define MKSEG_EVENT_SLOTS 16U
#define MKSEG_PINS_SLOTS  4U
#define MKSEG_PINS_EVENT  14U /* whose are the last ones */
#define MKSEG_LEAK_BYTES  777U
#define MKSEG_LEAK_NR	  100U

struct mkseg {
	unsigned char *image;
	size_t bytes;
};

/* NULL: out of memory. */
struct mkseg *mkseg_new(void);
void mkseg_free(struct mkseg *m);

/*
 * As if some callers were sampled: trace=auto, an estimate at site 2 (20 of 30
 * samples live, which stand for 2000 objects of 64 bytes), and one more site
 * record, MKSEG_NR_SITES, that is a shard of site 3 (30 of 50 objects of 1 KiB live).
 */
#define MKSEG_ESTIMATED_BYTES (2000U * 64)
#define MKSEG_SHARD_BYTES     (30U * 1024)
void mkseg_add_sampling(struct mkseg *m);

/*
 * As with trace_threads=on: a site of 10 live bytes for each thread record, from 1 on
 * (others, the main one and two more of one name, one without), and for one that is
 * not there.
 */
#define MKSEG_NR_THREADS 6U
void mkseg_add_threads(struct mkseg *m);

struct bs_abi_header *mkseg_header(struct mkseg *m);
/* Record i of a section; by capacity, not by count. */
void *mkseg_record(struct mkseg *m, unsigned int section, uint64_t i);
/* The ages of site i, made if it has none. */
struct bs_abi_ages *mkseg_ages(struct mkseg *m, uint32_t i);

/* The process that the segment is of; by default the caller. */
void mkseg_set_process(struct mkseg *m, int pid, uint64_t start_ticks,
		       uint64_t nonce);

/*
 * Writes DIR/<pid>-<start>-<nonce>.seg (mode 0600), path receives its name.
 * Returns 0 or -errno.
 */
int mkseg_write(const struct mkseg *m, const char *dir, char *path, size_t len);

#endif
