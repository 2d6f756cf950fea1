/* SPDX-License-Identifier: MIT */
/*
 * unwind.c - walks the stack with rules from .eh_frame.
 *
 * Owns:   the rule table, the thread's range of readable stack.
 * Layer:  trace.  Locks: none; table entries check themselves.
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
#include "preload/trace/frame.h"
#include "preload/trace/libunwind.h"
#include "preload/trace/memo.h"

/* ---- which part of the stack is readable ------------------------------------ */

/* A gap up to this is closed by one question about all of it. */
#define RANGE_STEP_BYTES (1UL << 20)
/* Asked for beyond what is needed: a walk goes on upwards. */
#define RANGE_AHEAD_BYTES (8 * PAGE_SIZE)
#define MAX_OTHER_BYTES	  (1UL << 30)

__thread __attribute__((
	tls_model("initial-exec"))) struct frame_stack frame_stack;
SYS_HOT uint32_t frame_memory_epoch = 1;

void unwind_memory_gone(void)
{
	__atomic_fetch_add(&frame_memory_epoch, 1, __ATOMIC_RELAXED);
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
static bool grow(struct frame_range *r, uintptr_t page)
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

static void set_other(struct frame_range r)
{
	frame_stack.other_lo = r.lo;
	frame_stack.other_bytes = (uint32_t)MIN(r.hi - r.lo, MAX_OTHER_BYTES);
}

static bool grow_other(uintptr_t page)
{
	struct frame_range other = {
		frame_stack.other_lo,
		frame_stack.other_lo + frame_stack.other_bytes,
	};

	if (!grow(&other, page))
		return false;
	set_other(other);
	return true;
}

__attribute__((noinline)) bool frame_may_read_slow(uintptr_t addr)
{
	uintptr_t page = addr & PAGE_MASK;

	if (addr < PAGE_SIZE || (intptr_t)addr < 0 || /* the kernel's half */
	    addr % sizeof(uintptr_t) != 0)
		return false;
	if (addr - frame_stack.other_lo < frame_stack.other_bytes)
		return true;
	if (grow(&frame_stack.here, page) || grow_other(page))
		return true;
	if (!readable(page, page + PAGE_SIZE))
		return false;
	set_other((struct frame_range){ page, page + PAGE_SIZE });
	return true;
}

__attribute__((noinline)) void frame_range_reset(uintptr_t sp, uint32_t epoch)
{
	uintptr_t page = sp & PAGE_MASK;
	struct frame_range *r = &frame_stack.here;

	if (frame_stack.epoch == epoch && page < r->lo &&
	    r->lo - page < RANGE_STEP_BYTES && readable(page, r->lo)) {
		r->lo = page; /* deeper than ever before */
		return;
	}
	if (frame_stack.epoch != epoch && page >= r->lo && page < r->hi &&
	    readable(page, r->hi)) {
		r->lo = page; /* something else was unmapped */
		set_other((struct frame_range){ 0, 0 });
		frame_stack.epoch = epoch;
		return;
	}
	set_other(frame_stack.epoch == epoch ? *r
					     : (struct frame_range){ 0, 0 });
	frame_stack.epoch = epoch;
	*r = (struct frame_range){ page, page + PAGE_SIZE };
}

bool unwind_may_read(uintptr_t addr)
{
	return frame_may_read(addr);
}

/* ---- rules ---------------------------------------------------------------------- */

/* A page at first: most of what starts is small, and a touched page costs a microsecond. */
#define FIRST_RULES (PAGE_SIZE / sizeof(struct frame_rule))
#define MAX_RULES   (1U << FRAME_RULE_MAX_BITS)
#define TABLE_BYTES (MAX_RULES * sizeof(struct frame_rule))
#define MASK_OF(nr) ((uint32_t)(nr)-FRAME_RULE_WAYS)

struct frame_rule *frame_rules;
uint32_t frame_rule_mask = MASK_OF(FIRST_RULES);
SYS_HOT uint64_t frame_rule_epoch;
static uint32_t nr_learnt; /* since the table grew */

/* Sixteen bits of it are kept: what 65,536 epochs ago was true must be gone. */
void unwind_set_epoch(uint64_t epoch)
{
	if (unlikely(!(epoch & 0xffff))) {
		if (frame_rules)
			sys_madvise(frame_rules, TABLE_BYTES, MADV_DONTNEED);
		memo_forget();
	}
	__atomic_store_n(&frame_rule_epoch, epoch << 48, __ATOMIC_RELAXED);
}

static inline uint64_t rule_word(struct cfi_rule rule)
{
	union {
		struct cfi_rule rule;
		uint64_t word;
	} u = { .rule = rule };

	return u.word;
}

static uint32_t nr_rules(void)
{
	return __atomic_load_n(&frame_rule_mask, __ATOMIC_RELAXED) +
	       FRAME_RULE_WAYS;
}

static void store_rule(struct frame_rule *e, uint64_t check, uint64_t word)
{
	__atomic_store_n(&e->check, check, __ATOMIC_RELAXED);
	__atomic_store_n(&e->rule, word, __ATOMIC_RELAXED);
}

static bool growing;

void unwind_fork_child(void)
{
	__atomic_store_n(&growing, false, __ATOMIC_RELAXED);
	libunwind_fork_child();
}

/*
 * Twice as large: rules whose place it is move to the upper half.  One that a reader
 * misses meanwhile is learnt again.
 */
static void grow_rules(void)
{
	uint32_t nr = nr_rules(), i;
	uint64_t epoch = __atomic_load_n(&frame_rule_epoch, __ATOMIC_RELAXED);

	if (nr == MAX_RULES ||
	    __atomic_exchange_n(&growing, true, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&frame_rule_mask, MASK_OF(2 * nr), __ATOMIC_RELAXED);
	for (i = 0; i < nr; i++) {
		struct frame_rule *e = &frame_rules[i];
		uint64_t check = __atomic_load_n(&e->check, __ATOMIC_RELAXED);
		uint64_t word = __atomic_load_n(&e->rule, __ATOMIC_RELAXED);
		uintptr_t pc = check ^ word ^ epoch;
		struct frame_rule *set = frame_rule_set(pc);

		if (!check || pc >> 48 || set <= e) /* none; of old; stays */
			continue;
		store_rule(e, 0, 0);
		store_rule(set + i % FRAME_RULE_WAYS, check, word);
	}
	__atomic_store_n(&nr_learnt, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&growing, false, __ATOMIC_RELEASE);
}

__attribute__((noinline)) struct cfi_rule frame_rule_miss(uintptr_t pc,
							  uint64_t key)
{
	struct cfi_rule rule = cfi_learn(pc);
	struct frame_rule *e;
	unsigned int i;

	/* rules that push each other out would make live_hash() waver */
	if (__atomic_add_fetch(&nr_learnt, 1, __ATOMIC_RELAXED) >
	    nr_rules() / 4)
		grow_rules();
	e = frame_rule_set(pc);
	/* the others move on, the last one out */
	for (i = FRAME_RULE_WAYS - 1; i; i--)
		store_rule(&e[i],
			   __atomic_load_n(&e[i - 1].check, __ATOMIC_RELAXED),
			   __atomic_load_n(&e[i - 1].rule, __ATOMIC_RELAXED));
	store_rule(e, key ^ rule_word(rule), rule_word(rule));
	return rule;
}

uint64_t unwind_bytes(void)
{
	return nr_rules() * sizeof(*frame_rules);
}

int unwind_init(void)
{
	if (!frame_rules)
		frame_rules = sys_reserve(TABLE_BYTES);
	return frame_rules ? 0 : -ENOMEM;
}

/* ---- the walk -------------------------------------------------------------------- */

#if defined(__x86_64__)
#define REGS_HERE(r)                                                           \
	__asm__ volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\t"             \
			 "movq %%rbp, %2"                                      \
			 : "=r"((r)->pc), "=r"((r)->sp), "=r"((r)->fp))
#elif defined(__aarch64__)
#define REGS_HERE(r)                                                           \
	__asm__ volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29\n\t"          \
			 "mov %3, x30"                                         \
			 : "=r"((r)->pc), "=r"((r)->sp), "=r"((r)->fp),        \
			   "=r"((r)->lr))
#endif

static uintptr_t self_start, self_end;

void unwind_set_self(uintptr_t start, uintptr_t end)
{
	self_start = start;
	self_end = end;
}

bool unwind_is_self(uintptr_t pc)
{
	return pc - self_start < self_end - self_start;
}

static enum unwind_end end_of(enum frame_next next)
{
	switch (next) {
	case FRAME_OUTERMOST:
		return UNWIND_WHOLE;
	case FRAME_ODD:
		return UNWIND_ODD;
	default:
		return UNWIND_LOST;
	}
}

/* outside: frames of the library, left out in front, are behind us. */
static inline __attribute__((always_inline)) size_t
walk(struct unwind_regs *r, uintptr_t *pcs, size_t max, bool outside,
     enum unwind_end *end)
{
	size_t nr = 0;

	frame_range_begin(r->sp);
	for (;;) {
		enum frame_next next = frame_next(r, NULL);

		if (next > FRAME_SIGNAL) {
			*end = end_of(next);
			return nr;
		}
		if (nr == 0 && !outside && unwind_is_self(r->pc))
			continue;
		if (nr == max) {
			*end = UNWIND_FULL;
			return nr;
		}
		pcs[nr++] = r->pc + r->exact;
	}
}

size_t unwind_from(const struct unwind_regs *regs, uintptr_t *pcs, size_t max,
		   enum unwind_end *end)
{
	struct unwind_regs r = *regs;
	size_t nr = 0;

	if (!unwind_is_self(r.pc))
		pcs[nr++] = r.pc;
	return nr + walk(&r, pcs + nr, max - nr, nr, end);
}

size_t unwind_stack_quick(uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	struct unwind_regs r = { .exact = true };

	*end = UNWIND_LOST;
	if (unlikely(!frame_rules))
		return 0;
	REGS_HERE(&r);
	return walk(&r, pcs, max, false, end);
}

size_t unwind_stack(uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	size_t nr = unwind_stack_quick(pcs, max, end);

	return *end == UNWIND_ODD ? unwind_odd(pcs, nr, max, end) : nr;
}

size_t unwind_odd(uintptr_t *pcs, size_t nr, size_t max, enum unwind_end *end)
{
	int saved_errno = errno; /* it calls mincore() and friends */
	size_t nr_slow, skip;

	*end = UNWIND_ODD;
	if (!libunwind_loaded()) {
		if (!bs_sandboxed && libunwind_possible()) {
			bs_unwinder_wanted = true;
			mm_wipe->client[BS_CLIENT_READY] = 0; /* slow way in */
			mm_exact_end();
		}
		return nr;
	}
	nr_slow = libunwind_stack(pcs, max, end);
	errno = saved_errno;
	for (skip = 0; skip < nr_slow && unwind_is_self(pcs[skip]); skip++)
		;
	for (nr = skip; nr < nr_slow; nr++)
		pcs[nr - skip] = pcs[nr];
	return nr_slow - skip;
}
