/* SPDX-License-Identifier: MIT */
/*
 * unwind.c - walks the stack with rules from .eh_frame.
 *
 * Owns:   the rule table, the thread's range of readable stack.
 * Layer:  trace.  Locks: none; table entries check themselves.
 *
 * A walk of ordinary frames:
 *
 *	CFA = SP + k, FP + k or *(FP + k)     (rule of pc)
 *	pc' = *(CFA + ra), FP' = FP or *(CFA + f), SP' = CFA
 *
 * The first pc is our own and looked up as it is; every other is a return address
 * and looked up as pc - 1, but for a frame that a signal interrupted.
 */
#include "preload/trace/unwind.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "preload/internal.h"
#include "preload/sys/sys.h"
#include "preload/trace/cfi.h"
#include "preload/trace/libunwind.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

/* ---- which part of the stack is readable ------------------------------------ */

/* A gap up to this is closed by one question about all of it. */
#define RANGE_STEP_BYTES (1UL << 20)
/* Asked for beyond what is needed: a walk goes on upwards. */
#define RANGE_AHEAD_BYTES (8 * PAGE_SIZE)

/*
 * What is readable, in epoch `epoch`: [lo, hi) around the stack pointer, and another
 * range, for a walk that leads from a signal stack or a coroutine to the stack below.
 */
struct range {
	uintptr_t lo, hi;
};
SYS_TLS struct {
	struct range here, other;
	uint64_t epoch;
} stack;

static uint64_t memory_epoch = 1;

void unwind_memory_gone(void)
{
	__atomic_fetch_add(&memory_epoch, 1, __ATOMIC_RELAXED);
}

/*
 * Is the page-aligned range mapped and readable?  Before Linux 5.14 the kernel is
 * asked page by page to read a signal set there: EFAULT, or EINVAL for the unknown
 * `how`, which it looks at last.
 */
static bool readable(uintptr_t start, uintptr_t end)
{
	long ret = sys_madvise((void *)start, end - start, MADV_POPULATE_READ);

	if (ret != -EINVAL || bs_sandboxed)
		return ret == 0;
	for (; start < end; start += PAGE_SIZE)
		if (sys_call(SYS_rt_sigprocmask, -1, (long)start, 0, 8, 0, 0) !=
		    -EINVAL)
			return false;
	return true;
}

/* The range grows upwards to hold page. */
static bool grow(struct range *r, uintptr_t page)
{
	uintptr_t need = page + PAGE_SIZE, ahead = need + RANGE_AHEAD_BYTES;

	if (page < r->hi || page - r->hi >= RANGE_STEP_BYTES)
		return false;
	if (readable(r->hi, ahead))
		r->hi = ahead;
	else if (readable(r->hi, need))
		r->hi = need;
	else
		return false;
	return true;
}

static __attribute__((noinline)) bool may_read_slow(uintptr_t addr)
{
	uintptr_t page = addr & PAGE_MASK;

	if (addr < PAGE_SIZE || (intptr_t)addr < 0 || /* the kernel's half */
	    addr % sizeof(uintptr_t) != 0)
		return false;
	if (addr >= stack.other.lo && addr < stack.other.hi)
		return true;
	if (grow(&stack.here, page) || grow(&stack.other, page))
		return true;
	if (!readable(page, page + PAGE_SIZE))
		return false;
	stack.other = (struct range){ page, page + PAGE_SIZE };
	return true;
}

/* Aligned words only: one that crosses a page would need two checks. */
static inline bool may_read(uintptr_t addr)
{
	if (likely(addr >= stack.here.lo && addr < stack.here.hi &&
		   addr % sizeof(uintptr_t) == 0))
		return true;
	return may_read_slow(addr);
}

static inline __attribute__((no_sanitize("address", "thread"))) bool
read_word(uintptr_t addr, uintptr_t *val)
{
	if (!may_read(addr))
		return false;
	*val = *(const uintptr_t *)addr;
	return true;
}

/* sp is the live stack pointer: its own page is readable. */
static __attribute__((noinline)) void range_reset(uintptr_t sp, uint64_t epoch)
{
	uintptr_t page = sp & PAGE_MASK;
	struct range *r = &stack.here;

	if (stack.epoch == epoch && page < r->lo &&
	    r->lo - page < RANGE_STEP_BYTES && readable(page, r->lo)) {
		r->lo = page; /* deeper than ever before */
		return;
	}
	stack.other = stack.epoch == epoch ? *r : (struct range){ 0, 0 };
	stack.epoch = epoch;
	*r = (struct range){ page, page + PAGE_SIZE };
}

static inline void range_begin(uintptr_t sp)
{
	uint64_t epoch = __atomic_load_n(&memory_epoch, __ATOMIC_RELAXED);

	if (unlikely(sp < stack.here.lo || sp >= stack.here.hi ||
		     stack.epoch != epoch))
		range_reset(sp, epoch);
}

bool unwind_may_read(uintptr_t addr)
{
	return may_read(addr);
}

/* ---- rules ---------------------------------------------------------------------- */

#define TABLE_BITS  15
#define TABLE_WAYS  2UL
#define TABLE_SLOTS (1UL << TABLE_BITS)

/*
 * check = pc ^ epoch << 48 ^ rule: an entry that two threads wrote at once does
 * not match either of them.
 */
struct entry {
	uint64_t check;
	uint64_t rule;
};

static struct entry *table;
static uint64_t rule_epoch;

void unwind_set_epoch(uint64_t epoch)
{
	__atomic_store_n(&rule_epoch, epoch << 48, __ATOMIC_RELAXED);
}

static inline uint64_t rule_word(struct cfi_rule rule)
{
	union {
		struct cfi_rule rule;
		uint64_t word;
	} u = { .rule = rule };

	return u.word;
}

static inline struct cfi_rule word_rule(uint64_t word)
{
	union {
		uint64_t word;
		struct cfi_rule rule;
	} u = { .word = word };

	return u.rule;
}

static __attribute__((noinline)) struct cfi_rule
rule_miss(uintptr_t pc, struct entry *set, uint64_t key)
{
	struct cfi_rule rule = cfi_learn(pc);
	struct entry *e = set;

	/* the other way keeps what was there, unless that way is free */
	if (__atomic_load_n(&e->check, __ATOMIC_RELAXED) != 0) {
		uint64_t check = __atomic_load_n(&e->check, __ATOMIC_RELAXED);
		uint64_t word = __atomic_load_n(&e->rule, __ATOMIC_RELAXED);

		__atomic_store_n(&e[1].check, check, __ATOMIC_RELAXED);
		__atomic_store_n(&e[1].rule, word, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&e->check, key ^ rule_word(rule), __ATOMIC_RELAXED);
	__atomic_store_n(&e->rule, rule_word(rule), __ATOMIC_RELAXED);
	return rule;
}

static inline struct cfi_rule rule_of(uintptr_t pc)
{
	uint64_t hash = (uint64_t)pc * 0x9e3779b97f4a7c15ULL;
	struct entry *set =
		&table[(hash >> (64 - TABLE_BITS)) & ~(TABLE_WAYS - 1)];
	uint64_t key = pc ^ __atomic_load_n(&rule_epoch, __ATOMIC_RELAXED);
	unsigned int i;

	for (i = 0; i < TABLE_WAYS; i++) {
		uint64_t word = __atomic_load_n(&set[i].rule, __ATOMIC_RELAXED);

		if (likely((__atomic_load_n(&set[i].check, __ATOMIC_RELAXED) ^
			    word) == key))
			return word_rule(word);
	}
	return rule_miss(pc, set, key);
}

int unwind_init(void)
{
	if (!table)
		table = sys_reserve(TABLE_SLOTS * sizeof(*table));
	return table ? 0 : -ENOMEM;
}

/* ---- the walk -------------------------------------------------------------------- */

struct regs {
	uintptr_t pc, sp, fp;
#ifdef __aarch64__
	uintptr_t lr;
#endif
};

#if defined(__x86_64__)
#define REGS_HERE(r)                                                           \
	__asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\t"             \
			 "movq %%rbp, %2"                                      \
			 : "=r"((r)->pc), "=r"((r)->sp), "=r"((r)->fp))
/* In the kernel's signal frame SP points at the ucontext. */
#define SIGNAL_FP 120
#define SIGNAL_SP 160
#define SIGNAL_PC 168
#elif defined(__aarch64__)
#define REGS_HERE(r)                                                           \
	__asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29\n\t"          \
			 "mov %3, x30"                                         \
			 : "=r"((r)->pc), "=r"((r)->sp), "=r"((r)->fp),        \
			   "=r"((r)->lr))
/* SP points at the siginfo, which the ucontext follows. */
#define SIGNAL_FP 544
#define SIGNAL_SP 560
#define SIGNAL_PC 568
#endif

static uintptr_t self_start, self_end;

void unwind_set_self(uintptr_t start, uintptr_t end)
{
	self_start = start;
	self_end = end;
}

static inline bool is_self(uintptr_t pc)
{
	return pc - self_start < self_end - self_start;
}

static inline __attribute__((always_inline)) bool
step_frame(struct regs *r, struct cfi_rule rule)
{
	uintptr_t cfa, fp = r->fp, pc;

	if (rule.base == CFI_BASE_SP)
		cfa = r->sp + (uintptr_t)(intptr_t)rule.cfa_off;
	else if (rule.base == CFI_BASE_FP)
		cfa = r->fp + (uintptr_t)(intptr_t)rule.cfa_off;
	else if (!read_word(r->fp + (uintptr_t)(intptr_t)rule.cfa_off, &cfa))
		return false;

	if (rule.fp != CFI_FP_SAME &&
	    !read_word((rule.fp == CFI_FP_AT_CFA ? cfa : r->fp) +
			       (uintptr_t)((intptr_t)rule.fp_words * 8),
		       &fp))
		return false;
	if (rule.ra == CFI_RA_AT_CFA) {
		if (!read_word(cfa + (uintptr_t)((intptr_t)rule.ra_words * 8),
			       &pc))
			return false;
	} else {
#ifdef __aarch64__
		pc = r->lr;
#else
		return false;
#endif
	}
	if (cfa == r->sp && pc == r->pc)
		return false; /* would go on for ever */
	r->pc = pc;
	r->sp = cfa;
	r->fp = fp;
	return true;
}

static bool step_signal(struct regs *r)
{
	uintptr_t sp = r->sp;

	return read_word(sp + SIGNAL_PC, &r->pc) &&
	       read_word(sp + SIGNAL_FP, &r->fp) &&
	       read_word(sp + SIGNAL_SP, &r->sp);
}

/* Largest frame that is believed without unwind information. */
#define GUESS_MAX_BYTES (64UL << 10)

/*
 * Code without unwind information (JIT, assembler).  It may keep a frame pointer:
 * believed when it points a little up this stack, and what it leads to has unwind
 * information again.
 */
static bool step_guess(struct regs *r)
{
	uintptr_t fp = r->fp, next, pc;
	struct cfi_rule rule;

	if (fp < r->sp || fp - r->sp > GUESS_MAX_BYTES ||
	    !read_word(fp, &next) || !read_word(fp + 8, &pc))
		return false;
	if (pc <= PAGE_SIZE || pc == r->pc)
		return false;
	rule = rule_of(pc - 1);
	if (rule.type == CFI_NONE &&
	    (next <= fp || next - fp > GUESS_MAX_BYTES))
		return false;
	r->pc = pc;
	r->sp = fp + 16;
	r->fp = next;
	return true;
}

static inline __attribute__((always_inline)) size_t
walk(struct regs *r, uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	bool exact = true; /* pc is not a return address */
	size_t nr = 0;

	*end = UNWIND_LOST;
	range_begin(r->sp);
	for (;;) {
		struct cfi_rule rule = rule_of(r->pc - !exact);
		bool was_signal = false;

		switch (rule.type) {
		case CFI_FRAME:
			if (!step_frame(r, rule))
				return nr;
			break;
		case CFI_END:
			*end = UNWIND_WHOLE;
			return nr;
		case CFI_SIGNAL:
			if (!step_signal(r))
				return nr;
			was_signal = true;
			break;
		case CFI_NONE:
			if (!step_guess(r))
				return nr;
			break;
		default:
			*end = UNWIND_ODD;
			return nr;
		}
		exact = was_signal;
		if (r->pc <= PAGE_SIZE) {
			*end = UNWIND_WHOLE;
			return nr;
		}
		if (nr == 0 && is_self(r->pc))
			continue;
		if (nr == max) {
			*end = UNWIND_FULL;
			return nr;
		}
		pcs[nr++] = r->pc + was_signal;
	}
}

size_t unwind_stack_quick(uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	struct regs r;

	*end = UNWIND_LOST;
	if (unlikely(!table))
		return 0;
	REGS_HERE(&r);
	return walk(&r, pcs, max, end);
}

size_t unwind_stack(uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	struct regs r;
	size_t nr, nr_slow, skip;

	*end = UNWIND_LOST;
	if (unlikely(!table))
		return 0;
	REGS_HERE(&r);
	nr = walk(&r, pcs, max, end);
	if (likely(*end != UNWIND_ODD))
		return nr;
	if (!libunwind_loaded()) {
		if (!bs_sandboxed && libunwind_possible()) {
			bs_unwinder_wanted = true;
			bs_wipe->client[BS_CLIENT_READY] = 0; /* slow way in */
		}
		return nr;
	}
	nr_slow = libunwind_stack(pcs, max, end);
	for (skip = 0; skip < nr_slow && is_self(pcs[skip]); skip++)
		;
	for (nr = skip; nr < nr_slow; nr++)
		pcs[nr - skip] = pcs[nr];
	return nr_slow - skip;
}
