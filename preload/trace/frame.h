/* SPDX-License-Identifier: MIT */
/*
 * frame.h - one step from a frame to its caller, inlined into the walkers.
 *
 * Layer:  trace; between cfi.c, whose rules it applies, and unwind.c and memo.c,
 *         which walk.  Locks: none.
 *
 *	CFA = SP + k, FP + k or *(FP + k)     (rule of pc)
 *	pc' = *(CFA + ra), FP' = FP or *(CFA + f), SP' = CFA
 *
 * A step can note what its outcome depends on (struct frame_reads), so that
 * lastwalk.c can tell later whether the same step would lead to the same place.
 */
#ifndef BS_TRACE_FRAME_H
#define BS_TRACE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/sys/sys.h"
#include "preload/trace/cfi.h"
#include "preload/trace/unwind.h"

#define FRAME_INLINE static inline __attribute__((always_inline))

/* ---- readable memory (unwind.c) --------------------------------------------- */

/*
 * What is readable, in epoch `epoch`: [lo, hi) around the stack pointer, and another
 * range, for a walk that leads from a signal stack or a coroutine to the stack below.
 * Four words, because static TLS is scarce.
 */
struct frame_range {
	uintptr_t lo, hi;
};
struct frame_stack {
	struct frame_range here;
	uintptr_t other_lo;
	uint32_t other_bytes;
	uint32_t epoch;
} __attribute__((aligned(8)));
extern __thread
	__attribute__((tls_model("initial-exec"),
		       visibility("hidden"))) struct frame_stack frame_stack;
extern __attribute__((visibility("hidden"))) uint32_t frame_memory_epoch;

bool frame_may_read_slow(uintptr_t addr);
/* sp is the live stack pointer: its own page is readable. */
void frame_range_reset(uintptr_t sp, uint32_t epoch);

/* [sp, here.hi) is readable, where sp is the live stack pointer. */
FRAME_INLINE bool frame_range_is_here(uintptr_t sp)
{
	return sp >= frame_stack.here.lo && sp < frame_stack.here.hi &&
	       frame_stack.epoch ==
		       __atomic_load_n(&frame_memory_epoch, __ATOMIC_RELAXED);
}

/* Begins a walk there: makes it so. */
FRAME_INLINE void frame_range_begin(uintptr_t sp)
{
	if (unlikely(!frame_range_is_here(sp)))
		frame_range_reset(sp, __atomic_load_n(&frame_memory_epoch,
						      __ATOMIC_RELAXED));
}

/* Aligned words only: one that crosses a page would need two checks. */
FRAME_INLINE bool frame_may_read(uintptr_t addr)
{
	if (likely(addr >= frame_stack.here.lo && addr < frame_stack.here.hi &&
		   addr % sizeof(uintptr_t) == 0))
		return true;
	return frame_may_read_slow(addr);
}

/*
 * A word of the running stack inside that range.  It may be anything, a variable's
 * surroundings, too: who compares such words is not checked by sanitizers.
 */
#define FRAME_UNCHECKED __attribute__((no_sanitize("address", "thread")))
FRAME_INLINE FRAME_UNCHECKED uintptr_t frame_word(uintptr_t sp,
						  unsigned int off)
{
	return ((const uintptr_t *)sp)[off];
}

static inline FRAME_UNCHECKED bool frame_read(uintptr_t addr, uintptr_t *val)
{
	if (!frame_may_read(addr))
		return false;
	*val = *(const uintptr_t *)addr;
	return true;
}

/* ---- rules (unwind.c) ----------------------------------------------------------- */

/*
 * A rule is kept in one word, so that eight are in a cache line: pc, epoch, and which of
 * the rules there are, which are few, because many functions have the same.
 *
 *	the upper 42 bits of a hash of pc; what is missing, the set says
 *	FRAME_EPOCH_BITS: of the epoch, never 0
 *	FRAME_KIND_BITS: index into frame_rule_kinds
 */
#define FRAME_RULE_MAX_BITS  15
#define FRAME_RULE_WAYS	     8U
#define FRAME_RULE_MIN_SETS  64U
#define FRAME_RULE_TAG_SHIFT 6U /* log2 of that */
#define FRAME_PC_BITS	     48U
#define FRAME_KIND_BITS	     13U
#define FRAME_NR_KINDS	     (1U << FRAME_KIND_BITS)
#define FRAME_EPOCH_BITS     9U
#define FRAME_KEY_SHIFT	     (FRAME_KIND_BITS + FRAME_EPOCH_BITS)
_Static_assert(FRAME_PC_BITS - FRAME_RULE_TAG_SHIFT + FRAME_KEY_SHIFT == 64,
	       "one word");
extern __attribute__((visibility("hidden"))) uint64_t *frame_rules;
extern __attribute__((visibility("hidden")))
uint64_t frame_rule_kinds[FRAME_NR_KINDS];
/* Of the part of the table that is in use, which grows: index of the last set. */
extern __attribute__((visibility("hidden"))) uint32_t frame_rule_mask;
/* The epoch in its place in a word. */
extern __attribute__((visibility("hidden"))) uint64_t frame_rule_now;
/* epoch << 48 */
extern __attribute__((visibility("hidden"))) uint64_t frame_rule_epoch;
/* Rules that are found from here on are of this epoch, or of a later one. */
FRAME_INLINE uint64_t frame_epoch(void)
{
	return __atomic_load_n(&frame_rule_epoch, __ATOMIC_ACQUIRE);
}

/* Learns the rule and keeps it. */
struct cfi_rule frame_rule_miss(uintptr_t pc);

static inline struct cfi_rule frame_word_rule(uint64_t word)
{
	union {
		uint64_t word;
		struct cfi_rule rule;
	} u = { .word = word };

	return u.rule;
}

/* A permutation of the numbers of FRAME_PC_BITS bits. */
FRAME_INLINE uint64_t frame_pc_hash(uintptr_t pc)
{
	uint64_t hash = (uint64_t)pc * 0x9e3779b97f4a7c15ULL &
			((UINT64_C(1) << FRAME_PC_BITS) - 1);

	return hash ^ hash >> FRAME_PC_BITS / 2;
}

FRAME_INLINE uint64_t *frame_rule_set(uint64_t hash)
{
	return &frame_rules[((uint32_t)hash &
			     __atomic_load_n(&frame_rule_mask,
					     __ATOMIC_RELAXED)) *
			    FRAME_RULE_WAYS];
}

/* The word of a rule, but for its kind. */
FRAME_INLINE uint64_t frame_rule_key(uint64_t hash)
{
	return hash >> FRAME_RULE_TAG_SHIFT << FRAME_KEY_SHIFT |
	       __atomic_load_n(&frame_rule_now, __ATOMIC_RELAXED);
}

/* Which rule, of those there are; FRAME_NR_KINDS: it is not known. */
FRAME_INLINE uint64_t frame_kind_find(uint64_t hash, uint64_t key)
{
	const uint64_t *set = frame_rule_set(hash);
	uint64_t kind = FRAME_NR_KINDS;
	unsigned int i;

	/* without a branch for each way, which would be guessed wrong */
#pragma GCC unroll 8
	for (i = 0; i < FRAME_RULE_WAYS; i++) {
		uint64_t differ =
			__atomic_load_n(&set[i], __ATOMIC_RELAXED) ^ key;

		kind = differ < FRAME_NR_KINDS ? differ : kind;
	}
	return kind;
}

FRAME_INLINE struct cfi_rule frame_kind_rule(uint64_t kind)
{
	return frame_word_rule(
		__atomic_load_n(&frame_rule_kinds[kind], __ATOMIC_RELAXED));
}

/*
 * The words used last, each at one place: of a walk's rules half were needed shortly
 * before, and these 8 KiB are in the cache when the table is not.
 */
#define FRAME_FRONT_BITS 10
extern __attribute__((visibility("hidden")))
uint64_t frame_rule_front[1 << FRAME_FRONT_BITS];

static inline struct cfi_rule frame_rule_of(uintptr_t pc)
{
	uint64_t hash = frame_pc_hash(pc), key = frame_rule_key(hash), kind;
	uint64_t *front =
		&frame_rule_front[hash & ((1U << FRAME_FRONT_BITS) - 1)];

	if (unlikely(pc >> FRAME_PC_BITS))
		return frame_rule_miss(pc);
	kind = __atomic_load_n(front, __ATOMIC_RELAXED) ^ key;
	if (kind >= FRAME_NR_KINDS) {
		kind = frame_kind_find(hash, key);
		if (unlikely(kind == FRAME_NR_KINDS))
			return frame_rule_miss(pc);
		__atomic_store_n(front, key ^ kind, __ATOMIC_RELEASE);
	}
	return frame_kind_rule(kind);
}

/* Of a return address: fetched ahead. */
FRAME_INLINE void frame_rule_prefetch(uintptr_t pc)
{
	__builtin_prefetch(frame_rule_set(frame_pc_hash(pc - 1)));
}

/* The same without learning: CFI_NONE also when it is not in the table. */
FRAME_INLINE struct cfi_rule frame_rule_peek(uintptr_t pc)
{
	uint64_t hash = frame_pc_hash(pc);
	uint64_t kind = frame_kind_find(hash, frame_rule_key(hash));

	return kind < FRAME_NR_KINDS && !(pc >> FRAME_PC_BITS)
		       ? frame_kind_rule(kind)
		       : (struct cfi_rule){ .type = CFI_NONE };
}

/* ---- what a step depends on ------------------------------------------------------- */

/*
 * The words of the stack that decided where a step led: where they are, 0 for one that
 * was not read, and what they said.  A saved FP is one of them when a step further out
 * needs it, not when it is loaded: most functions save that register without ever using
 * it as a frame pointer.
 */
struct frame_reads {
	uintptr_t ra_at, ra;
	uintptr_t cfa_at, cfa;
	uintptr_t fp_at, fp; /* whence the caller's FP was loaded */
	bool uses_fp;	     /* the step needed the frame's own FP */
	bool decides_by_fp;  /* ... and the loaded one */
};

/* ---- steps ------------------------------------------------------------------------ */

/* What a step found; above FRAME_SIGNAL the walk is over. */
enum frame_next {
	FRAME_STEPPED, /* r is the caller's frame */
	FRAME_SIGNAL,  /* ... and was interrupted: its pc is exact */
	FRAME_OUTERMOST,
	FRAME_LOST,	  /* no way on, as far as the noted words tell */
	FRAME_UNREADABLE, /* no way on: memory that is not there */
	FRAME_ODD,	  /* takes libunwind */
};

/* How a walk ended whose last step found that. */
static inline enum unwind_end frame_end(enum frame_next next)
{
	switch (next) {
	case FRAME_STEPPED:
	case FRAME_SIGNAL:
		return UNWIND_FULL;
	case FRAME_OUTERMOST:
		return UNWIND_WHOLE;
	case FRAME_ODD:
		return UNWIND_ODD;
	default:
		return UNWIND_LOST;
	}
}

#define FRAME_OFF(words) ((uintptr_t)((intptr_t)(words)*8))

FRAME_INLINE enum frame_next
frame_step(struct unwind_regs *r, struct cfi_rule rule, struct frame_reads *n)
{
	uintptr_t k = (uintptr_t)(intptr_t)rule.cfa_off;
	uintptr_t cfa, fp = r->fp, pc, at;
	bool uses_fp = rule.base != CFI_BASE_SP || rule.fp == CFI_FP_AT_FP;

	if (n)
		n->uses_fp = uses_fp;
	if (rule.base == CFI_BASE_SP) {
		cfa = r->sp + k;
	} else {
		cfa = r->fp + k;
		if (rule.base == CFI_BASE_AT_FP) {
			at = cfa;
			if (!frame_read(at, &cfa))
				return FRAME_UNREADABLE;
			if (n) {
				n->cfa_at = at;
				n->cfa = cfa;
			}
		}
	}
	if (rule.fp != CFI_FP_SAME) {
		at = (rule.fp == CFI_FP_AT_CFA ? cfa : r->fp) +
		     FRAME_OFF(rule.fp_words);
		if (!frame_read(at, &fp))
			return FRAME_UNREADABLE;
		if (n) {
			n->fp_at = at;
			n->fp = fp;
		}
	}
	if (rule.ra == CFI_RA_AT_CFA) {
		at = cfa + FRAME_OFF(rule.ra_words);
		if (!frame_read(at, &pc))
			return FRAME_UNREADABLE;
		if (n) {
			n->ra_at = at;
			n->ra = pc;
		}
	} else {
#ifdef __aarch64__
		pc = r->lr;
#else
		return FRAME_LOST;
#endif
	}
	if (cfa == r->sp && pc == r->pc)
		return FRAME_LOST; /* would go on for ever */
	r->pc = pc;
	r->sp = cfa;
	r->fp = fp;
	return FRAME_STEPPED;
}

#if defined(__x86_64__)
/* In the kernel's signal frame SP points at the ucontext. */
#define SIGNAL_FP 120
#define SIGNAL_SP 160
#define SIGNAL_PC 168
#elif defined(__aarch64__)
/* SP points at the siginfo, which the ucontext follows. */
#define SIGNAL_FP 544
#define SIGNAL_SP 560
#define SIGNAL_PC 568
#endif

static inline bool frame_step_signal(struct unwind_regs *r)
{
	uintptr_t sp = r->sp;

	return frame_read(sp + SIGNAL_PC, &r->pc) &&
	       frame_read(sp + SIGNAL_FP, &r->fp) &&
	       frame_read(sp + SIGNAL_SP, &r->sp);
}

/* Largest frame that is believed without unwind information. */
#define FRAME_GUESS_MAX_BYTES (64UL << 10)

/*
 * Code without unwind information (JIT, assembler).  It may keep a frame pointer:
 * believed when it points a little up this stack, and what it leads to has unwind
 * information again.
 */
static inline enum frame_next frame_step_guess(struct unwind_regs *r,
					       struct frame_reads *n)
{
	uintptr_t fp = r->fp, next, pc;
	struct cfi_rule rule;

	if (n)
		n->uses_fp = n->decides_by_fp = true;
	if (fp < r->sp || fp - r->sp > FRAME_GUESS_MAX_BYTES)
		return FRAME_LOST;
	if (!frame_read(fp, &next) || !frame_read(fp + 8, &pc))
		return FRAME_UNREADABLE;
	if (n) {
		n->fp_at = fp;
		n->fp = next;
		n->ra_at = fp + 8;
		n->ra = pc;
	}
	if (pc <= PAGE_SIZE || pc == r->pc)
		return FRAME_LOST;
	rule = frame_rule_of(pc - 1);
	if (rule.type == CFI_NONE &&
	    (next <= fp || next - fp > FRAME_GUESS_MAX_BYTES))
		return FRAME_LOST;
	r->pc = pc;
	r->sp = fp + 16;
	r->fp = next;
	return FRAME_STEPPED;
}

FRAME_INLINE enum frame_next frame_next(struct unwind_regs *r,
					struct frame_reads *n)
{
	struct cfi_rule rule = frame_rule_of(r->pc - !r->exact);
	enum frame_next next;

	switch (rule.type) {
	case CFI_FRAME:
		next = frame_step(r, rule, n);
		r->exact = false;
		break;
	case CFI_END:
		return FRAME_OUTERMOST;
	case CFI_SIGNAL:
		next = frame_step_signal(r) ? FRAME_SIGNAL : FRAME_UNREADABLE;
		r->exact = true;
		break;
	case CFI_NONE:
		next = frame_step_guess(r, n);
		r->exact = false;
		break;
	default:
		return FRAME_ODD;
	}
	if (next <= FRAME_SIGNAL && r->pc <= PAGE_SIZE)
		return FRAME_OUTERMOST;
	return next;
}

#endif
