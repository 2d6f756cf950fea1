/* SPDX-License-Identifier: MIT */
/*
 * memo_table.h - the table of parts, for the files that make up the memo.
 *
 * Layer:  trace; below memo.c, which recognises stacks, memo_learn.c, which walks and
 *         keeps them, and flat.c, which keeps some in one piece.
 * Locks:  none; see memo.c.
 */
#ifndef BS_TRACE_MEMO_TABLE_H
#define BS_TRACE_MEMO_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "preload/trace/frame.h"
#include "preload/trace/memo.h"
#include "preload/trace/thread.h"

#define MEMO_WAYS 8U
#define NR_PARTS  (MEMO_BYTES / sizeof(struct memo_part))
#define NR_SETS	  (NR_PARTS / MEMO_WAYS)
#define SET_SHIFT (64 - 9)
_Static_assert(NR_SETS == 1UL << (64 - SET_SHIFT), "sets by hash");

/*
 * Of each way of a set: part of the key's hash, so that few parts are looked at, and
 * which part it has.  A way is given a part when it is first used, the next one: those of
 * a small program lie in few pages.
 */
struct memo_set {
	uint32_t mark[MEMO_WAYS]; /* 0: nothing is there */
	uint16_t nr[MEMO_WAYS];	  /* of the part, from 1 on; 0: none */
} __attribute__((aligned(64)));
_Static_assert(NR_PARTS <= UINT16_MAX, "a part has a number");

extern __attribute__((visibility("hidden"))) struct memo_table {
	struct memo_part *parts;
	struct memo_set *sets;
	uint32_t nr_given; /* parts that a way has */
} memo_table;
/* Since a way was looked for in its set: how often it was recognised, up to FLAT_AFTER. */
extern __attribute__((visibility("hidden"))) uint8_t memo_used[NR_PARTS];

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/* The part of a way that has one. */
static inline uint32_t part_in(uint32_t set, uint32_t way)
{
	return LOAD(memo_table.sets[set].nr[way]) - 1U;
}

static inline uint64_t epoch_now(void)
{
	return LOAD(frame_rule_epoch);
}

static inline uintptr_t place_of(uintptr_t sp)
{
	uintptr_t end = (uintptr_t)__builtin_thread_pointer();

	return thread_sp((end - sp) & ((1UL << THREAD_SP_SHIFT) - 1));
}

static inline uint64_t hash_of(uintptr_t pc, uintptr_t place)
{
	return (pc ^ place * 0xd6e8feb86659fd93ULL) * 0x9e3779b97f4a7c15ULL;
}

static inline uint32_t mark_of(uint64_t hash)
{
	return (uint32_t)(hash >> 8) | 1;
}

static inline uint64_t mix(uint64_t hash, uintptr_t word)
{
	return (hash ^ word) * 0x9e3779b97f4a7c15ULL;
}

/* ---- a live stack ----------------------------------------------------------------- */

FRAME_INLINE __attribute__((no_sanitize("address", "thread"))) uintptr_t
stack_word(uintptr_t sp, unsigned int off)
{
	return ((const uintptr_t *)sp)[off];
}

/* off[i] */
FRAME_INLINE unsigned int off_in(const uint64_t *offs, unsigned int i)
{
	return offs[i / 4] >> i % 4 * 16 & 0xffff;
}

/* Makes *seq odd; false: somebody else writes, or it is not was any more. */
static inline bool seq_write_begin(uint32_t *seq, uint32_t was)
{
	if (was & 1)
		return false;
	if (sys_alone()) {
		*seq = was | 1;
		return true;
	}
	if (!__atomic_compare_exchange_n(seq, &was, was | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return true;
}

/* The return address lies in front of the CFA, and that as far from SP as is said. */
FRAME_INLINE bool is_sp_rule(struct cfi_rule rule)
{
	return rule.type == CFI_FRAME && rule.base == CFI_BASE_SP &&
	       rule.ra == CFI_RA_AT_CFA && rule.ra_words == -1;
}

/*
 * Where parts of a live stack that begin with pc and sp are looked for.  A wrapper around
 * malloc is called from many places at one depth: the same pc and SP with more stacks
 * than a set has ways.  So the return address of the next frame helps to choose the set,
 * where a rule that needs no frame pointer leads to it.  This only decides where to look;
 * a wrong answer costs a walk.
 */
#define LOOK_AHEAD 1

/*
 * Where there are more such parts than the set has ways, or one with the same words and
 * others behind them (a wrapper that is called from many places, frames further out than
 * a part goes), the next ones are in a second set, chosen by as many return addresses.
 */
#define LOOK_FAR 8

FRAME_INLINE uint64_t live_hash(uintptr_t pc, uintptr_t sp, unsigned int ahead)
{
	uint64_t hash = hash_of(pc, place_of(sp));
	unsigned int i;

	for (i = 0; i < ahead; i++) {
		struct cfi_rule rule = frame_rule_peek(pc - 1);
		uintptr_t cfa = sp + (uintptr_t)(intptr_t)rule.cfa_off;

		if (!is_sp_rule(rule) || cfa > frame_stack.here.hi || cfa <= sp)
			break;
		pc = stack_word(cfa - sizeof(uintptr_t), 0);
		hash = mix(hash, pc);
		sp = cfa;
	}
	return hash;
}

/* A stack to be found. */
struct start {
	uint64_t key; /* pc ^ epoch */
	uintptr_t pc, sp, fp;
	uintptr_t place; /* of sp */
};

FRAME_INLINE struct start start_of(const struct unwind_regs *r, uint64_t epoch)
{
	return (struct start){
		.key = r->pc ^ epoch,
		.pc = r->pc,
		.sp = r->sp,
		.fp = r->fp,
		.place = place_of(r->sp),
	};
}

/*
 * The part that a live stack begins with, if the table knows it up to the outermost frame:
 * *index, *seq.  The depot's node of the stack; 0: it is not known.
 */
uint32_t memo_find_node(const struct start *at, uint32_t *index, uint32_t *seq);

#endif
