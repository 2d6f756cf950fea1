/* SPDX-License-Identifier: MIT */
/*
 * memo.h - the verified memo: a stack met all the time is recognised, not walked.
 *
 * Layer:  trace; above lastwalk.h, of whose frames it is made, below trace.c.
 * Locks:  none; an entry checks itself.
 *
 * Where a walk leads is a pure function of the registers at its start, of the
 * unwind rules, and of the few words of the stack that it reads.  So the memo keeps
 * these words.  When the same pc comes again at the same depth of a thread's stack and
 * each word is what it was, the stack is what it was; nothing is guessed.  memo.c has
 * the argument in full.
 *
 * A program allocates most of the time from few places: of python3's 4,600 stacks 22
 * make 99 of 100 allocations, of cc1plus' 59,000 1,200 make 80.  Such a stack is kept
 * here, in lines that lie side by side, at a place that follows from the call alone:
 * one miss of the cache.  Others are walked as far as they differ from the thread's
 * last one (lastwalk.h).
 */
#ifndef BS_TRACE_MEMO_H
#define BS_TRACE_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/trace/lastwalk.h"

#define MEMO_GROUP_WORDS 4U
#define MEMO_NR_GROUPS	 5U
#define MEMO_WORDS	 (MEMO_GROUP_WORDS * MEMO_NR_GROUPS)
#define MEMO_MAX_OFF	 (UINT16_MAX - 1U) /* words from sp */

/*
 * The innermost words of a stack.  Word i is at sp + 8 * off[i] and is val[i], or sp +
 * val[i] where bit i of relative says so; those behind the last repeat the first, so
 * that whole groups are compared.  The stack ends here, or goes on with a frame at sp +
 * tail_bytes, which is then to be one of the thread's last walk.
 */
struct memo {
	uint32_t seq;  /* odd: somebody writes */
	uint32_t site; /* 0: nothing is here */
	uint64_t pc;   /* ^ epoch of rules */
	uintptr_t
		sp; /* its place: distance from the thread pointer, and the thread */
	uintptr_t fp; /* - sp, where special says so */
	uint32_t tail_bytes;
	uint32_t tail_node; /* MEMO_END */
	int32_t tail_fp;    /* - sp */
	uint16_t tail_index;
	uint16_t span_words;
	uint32_t relative;
	uint8_t nr_groups;
	uint8_t special; /* MEMO_* */
	uint8_t credit;	 /* what it has before another stack takes its place */
	uint8_t unused;
	union {
		uint16_t off[MEMO_WORDS];
		uint64_t offs[MEMO_NR_GROUPS];
	};
	uintptr_t val[MEMO_WORDS];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct memo) == 256, "four cache lines");

#define MEMO_END      0U
#define MEMO_USES_FP  0x1U
#define MEMO_RELATIVE 0x2U

#define MEMO_MAX_BITS 10
#define MEMO_WAYS     2U
#define MEMO_NR_SETS  ((1U << MEMO_MAX_BITS) / MEMO_WAYS)
#define MEMO_CREDIT   8U

/* The part of the table that is in use, which grows: index of the last set. */
extern __attribute__((visibility("hidden"))) struct memo *memo_table;
extern __attribute__((visibility("hidden"))) uint32_t memo_mask;

/* 0, or -ENOMEM: then nothing is ever remembered. */
int memo_init(void);

/* The site of the stack that begins with these registers; 0: not known.  Any context. */
uint32_t memo_find(uintptr_t pc, uintptr_t sp, uintptr_t fp);
/* The same on the slow way: it may be where there is no place for it at the first one. */
uint32_t memo_find_further(uintptr_t pc, uintptr_t sp, uintptr_t fp);

/*
 * The stack that was kept last in w, of that site, was met; when that was often, it is
 * remembered.  regs: where it begins.
 */
void memo_note(const struct lastwalk *w, const struct unwind_regs *regs,
	       uint32_t site);

/* All entries, in a new epoch of rules that looks like an old one. */
void memo_forget(void);

/* Memory in use, at most. */
uint64_t memo_bytes(void);

/* Tests only. */
void memo_destroy(void);

#endif
