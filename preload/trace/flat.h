/* SPDX-License-Identifier: MIT */
/*
 * flat.h - the stacks that are met all the time, each in one piece.
 *
 * Layer:  trace; above memo_table.h, of whose parts it is made, below memo.c.
 * Locks:  none; an entry has a seq, as a memo_part has.
 *
 * A program allocates most of the time from few places: of python3's 4,600 stacks 22
 * make 99 of 100 allocations, of cc1plus' 59,000 1,200 make 80.  Such a stack is kept
 * once more here, without the seams of the memo's parts and in lines that lie side by
 * side, at a place that follows from the call alone: one miss of the cache instead of
 * a chain of them, and half the instructions.  What an entry says is true by itself,
 * whatever became of the parts that it was made from: memo.c has the argument.
 */
#ifndef BS_TRACE_FLAT_H
#define BS_TRACE_FLAT_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/trace/memo_table.h"

#define FLAT_GROUP_WORDS 4U
#define FLAT_NR_GROUPS	 5U
#define FLAT_WORDS	 (FLAT_GROUP_WORDS * FLAT_NR_GROUPS)
#define FLAT_MAX_OFF	 UINT16_MAX /* words from sp */

/*
 * The innermost words of a stack.  Word i is at sp + 8 * off[i] and is val[i], or sp +
 * val[i] where bit i of relative says so; those behind the last repeat the first, so
 * that whole groups are compared.  Then as in a memo_part: the stack ends here, or goes
 * on with a part at sp + next_bytes, whose FP is ours or the word at sp + 8 * fp_off.
 */
struct flat {
	uint32_t seq;  /* odd: somebody writes */
	uint32_t site; /* 0: nothing is here */
	uint64_t pc;   /* ^ epoch of rules */
	uintptr_t sp;  /* its place, as in the memo */
	uintptr_t fp;  /* - sp, where special says so */
	union {
		struct {
			uint32_t outer; /* of a part, or MEMO_END */
			uint32_t outer_seq;
		};
		uint64_t behind;
	};
	uint32_t next_bytes;
	uint16_t fp_off; /* MEMO_FP_SAME */
	uint16_t span_words;
	uint32_t relative;
	uint8_t nr_groups;
	uint8_t special; /* FLAT_* */
	uint8_t room;	 /* for so many frames more, of those that are kept */
	uint8_t credit;	 /* what it has before another stack takes its place */
	union {
		uint16_t off[FLAT_WORDS];
		uint64_t offs[FLAT_NR_GROUPS];
	};
	uintptr_t val[FLAT_WORDS];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct flat) == 256, "four cache lines");

#define FLAT_USES_FP  0x1U
#define FLAT_RELATIVE 0x2U

#define FLAT_MAX_BITS 10
#define FLAT_WAYS     2U
#define FLAT_NR_SETS  ((1U << FLAT_MAX_BITS) / FLAT_WAYS)
#define FLAT_CREDIT   8U

/* Of the part of the table that is in use, which grows: index of the last set. */
extern __attribute__((visibility("hidden"))) struct flat *flat_table;
extern __attribute__((visibility("hidden"))) uint32_t flat_mask;

/* The set for a stack with that hash, and its first way. */
FRAME_INLINE uint32_t flat_set_nr(uint64_t hash)
{
	return (uint32_t)(hash >> 40) & LOAD(flat_mask);
}

FRAME_INLINE struct flat *flat_set(uint64_t hash)
{
	return &flat_table[flat_set_nr(hash) * FLAT_WAYS];
}

/*
 * A wrapper is called from many places at one depth: more stacks with the same pc, depth
 * and return address than a set has ways.  From then on others are in a second set, chosen
 * by more return addresses (memo.c).
 */
extern __attribute__((visibility("hidden"))) uint8_t flat_crowded[FLAT_NR_SETS];
FRAME_INLINE bool flat_is_crowded(uint64_t hash)
{
	return LOAD(flat_crowded[flat_set_nr(hash)]) != 0;
}

/* Slower: where special is not 0. */
bool flat_matches_special(const struct flat *f, uint32_t seq, uintptr_t sp,
			  uintptr_t fp);

/*
 * Every word is what it was.  Where to read is checked to be of version seq before
 * anything is read there.
 */
FRAME_INLINE bool flat_words_match(const struct flat *f, uint32_t seq,
				   uintptr_t sp)
{
	unsigned int g, i, nr = LOAD(f->nr_groups);
	uintptr_t differ = 0;

	for (g = 0; g < nr; g++) {
		uint64_t offs = LOAD(f->offs[g]);

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (unlikely(LOAD(f->seq) != seq))
			return false;
#pragma GCC unroll 4
		for (i = 0; i < FLAT_GROUP_WORDS; i++) {
			differ |= stack_word(sp, off_in(&offs, i)) ^
				  LOAD(f->val[g * FLAT_GROUP_WORDS + i]);
			/* one after the other: that takes fewer registers */
			__asm__("" : "+r"(differ));
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !differ && likely(LOAD(f->seq) == seq);
}

/* 0 or -ENOMEM. */
int flat_init(void);

/*
 * Is there room for a stack with that hash?  If not, those in its place lose some of
 * their credit, which they get back when they are met.
 */
bool flat_wants(uint64_t hash);
/* If not: is that because others with its pc and depth are there?  Then it is crowded. */
bool flat_crowd(uint64_t hash, const struct start *at);
/*
 * Keeps the stack that begins with that version of a part in one piece, as far as whole
 * parts fit.
 */
void flat_make(uint64_t hash, const struct start *at, uint32_t index,
	       uint32_t seq, uint32_t site);

/* All entries. */
void flat_forget(void);

/* Memory in use, at most. */
uint64_t flat_bytes(void);

/* Tests only. */
void flat_destroy(void);

#endif
