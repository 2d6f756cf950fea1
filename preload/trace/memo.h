/* SPDX-License-Identifier: MIT */
/*
 * memo.h - the verified memo: a stack seen before is recognised, not walked.
 *
 * Layer:  trace; above frame.h, below trace.c.  Locks: none; the parts check
 *         themselves.
 *
 * Where a walk leads is a pure function of the registers at its start, of the
 * unwind rules, and of the few words of the stack that it reads.  So the memo keeps
 * these words.  When the same pc comes again at the same depth of a thread's stack and
 * each word is what it was, the stack is what it was; nothing is guessed.  memo.c has
 * the argument in full.
 */
#ifndef BS_TRACE_MEMO_H
#define BS_TRACE_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/trace/unwind.h"

/* Frames kept of a stack, innermost first; the others are cut. */
#define TRACE_MAX_FRAMES 128U

/* Memory of the table, bytes; a power of two. */
#define MEMO_BYTES (1UL << 19)

/* 0, or -ENOMEM: then nothing is ever remembered. */
int memo_init(void);

/* The site that memo_learn() was told for this stack; 0: not known.  Any context. */
uint32_t memo_find_flat(uintptr_t pc, uintptr_t sp, uintptr_t fp);
uint32_t memo_find_long(const struct unwind_regs *regs);
static inline uint32_t memo_find(const struct unwind_regs *regs)
{
	uint32_t site =
		regs->exact ? 0 : memo_find_flat(regs->pc, regs->sp, regs->fp);

	return site ? site : memo_find_long(regs);
}

/*
 * Walks a stack that memo_find() does not know, until the rest is known: that rest is
 * walk->node, 0 when the walk came to its end.  Fills pcs as unwind_stack_quick()
 * does, up to TRACE_MAX_FRAMES with what the node stands for.
 */
struct memo_walk;
size_t memo_walk(const struct unwind_regs *regs, struct memo_walk *walk,
		 uintptr_t *pcs, enum unwind_end *end);

/*
 * Keeps what was walked: its site, not 0, and chain[i], the depot's node of the stack
 * from pcs[i] outwards; NULL: the depot has no room for it.  Not when the epoch of
 * rules changed.
 */
void memo_learn(struct memo_walk *walk, uint32_t site, const uint32_t *chain);

/* All entries, in a new epoch of rules that looks like an old one. */
void memo_forget(void);

/* Memory in use, at most. */
uint64_t memo_bytes(void);

/* Tests only. */
void memo_destroy(void);

/* ---- the parts of a stack ------------------------------------------------------- */

#define MEMO_WORDS     7U
#define MEMO_MAX_PARTS 12U

/*
 * A part of a stack: frames one after the other, up to a point that depends on
 * nothing but the pc and SP there, so that the outer parts of different stacks are
 * the same ones.  Two cache lines.
 *
 *	key:	pc, sp (in the table: its place), and fp - sp where flags say so
 *	proof:	word i at sp + 8 * off[i] is val[i], or sp + val[i] where bit i of
 *		relative says so; those behind nr_words repeat the first, so that
 *		seven are always compared
 *	then:	the next part begins at sp + next_bytes; its pc is the last return
 *		address here; its FP is ours, or the word at sp + 8 * fp_off
 *
 * seq is odd while somebody writes and grows with each writing, so that (index, seq)
 * names a part and everything behind it for good.
 */
struct memo_part {
	uint32_t seq;
	uint32_t site; /* of the stack that begins here; 0: not known */
	uint64_t pc;   /* ^ epoch of rules << 48 */
	uintptr_t sp;
	uintptr_t fp; /* - sp */
	union {
		struct {
			uint32_t outer; /* index, or MEMO_END, MEMO_OPEN */
			uint32_t outer_seq;
		};
		uint64_t behind; /* both in one load */
	};
	uint32_t next_bytes;
	uint32_t node; /* in the depot: of the stack that begins here */
	uint8_t nr_words;
	uint8_t nr_frames; /* return addresses among the words */
	uint8_t nr_self; /* leading frames that are the library's, pc included */
	uint8_t flags;
	uint16_t fp_off;     /* MEMO_FP_SAME: the FP of the start */
	uint16_t span_words; /* from sp to behind the last word read */
	union {
		struct {
			uint16_t off[MEMO_WORDS];
			uint16_t relative;
		};
		uint64_t offs[2]; /* all in two loads */
	};
	uintptr_t val[MEMO_WORDS];
};
_Static_assert(sizeof(struct memo_part) == 128, "two cache lines");

#define MEMO_END     UINT32_MAX	      /* the outermost frame was reached */
#define MEMO_OPEN    (UINT32_MAX - 1) /* not looked at further */
#define MEMO_FP_SAME UINT16_MAX
#define MEMO_USES_FP 0x1U
#define MEMO_NEVER   0x2U /* cannot be remembered; in a memo_walk only */

/*
 * The last parts of a walk, part i at i % MEMO_MAX_PARTS.  A longer stack is learnt
 * from its outermost part inwards, by a few walks.
 */
struct memo_walk {
	uint64_t epoch;
	uint32_t nr_parts;
	uint32_t tail, tail_seq; /* what lies behind the last part */
	uint32_t node;
	struct memo_part part[MEMO_MAX_PARTS];
	/* where part i is to be kept: the way of that set, MEMO_WAYS: nothing is chosen */
	uint8_t way[MEMO_MAX_PARTS];
	uint16_t set[MEMO_MAX_PARTS];
	uint32_t kept[MEMO_MAX_PARTS]; /* its index, when it is */
};

#endif
