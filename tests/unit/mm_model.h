/* SPDX-License-Identifier: MIT */
/*
 * mm_model.h - a reference model of an allocator, and a driver of random calls.
 *
 * Owns:   what a correct allocator must have returned: live blocks that do not
 *         overlap, keep their content and their usable size.
 * Layer:  tests.
 * Locks:  none; each thread has a model of its own.
 */
#ifndef BS_TESTS_MM_MODEL_H
#define BS_TESTS_MM_MODEL_H

#include "preload/mm/mm.h"

#define MODEL_BLOCKS 512

struct model_block {
	unsigned char *p;
	size_t size, usable, align;
	unsigned char fill;
};

struct model {
	struct model_block block[MODEL_BLOCKS];
	uint64_t random;  /* state; the seed is printed by the test */
	size_t max_bytes; /* do not let the live sum grow beyond */
	size_t live_bytes;
};

void model_init(struct model *m, uint64_t seed, size_t max_bytes);
uint64_t model_random(struct model *m);
/* One random call: allocate, free or resize; checks content and size. */
void model_step(struct model *m);
void model_free_all(struct model *m);
/* Where the block's tag is to be; NULL: it never has one, or there is no memory. */
uint64_t *tag_place(struct mm_block *b);
/* Ends a live block, its tag first; fails the test when it is none. */
void release(void *p);
/* Fails the test with the walker's words unless mm_verify() holds. */
void assert_mm_holds(void);
/* Fails the test when two live blocks of the models overlap. */
void assert_no_overlap(struct model *m, unsigned int nr);
/* From BS_TEST_SEED, or the clock; prints it. */
uint64_t test_seed(void);

#endif
