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
#include <string.h>
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

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/* A page at first: most of what starts is small, and a touched page costs a microsecond. */
#define MAX_RULES   (1U << FRAME_RULE_MAX_BITS)
#define TABLE_BYTES (MAX_RULES * sizeof(uint64_t))
#define NR_EPOCHS   ((1U << FRAME_EPOCH_BITS) - 1)

uint64_t *frame_rules;
uint64_t frame_rule_front[1 << FRAME_FRONT_BITS] SYS_LARGE;
uint64_t frame_rule_kinds[FRAME_NR_KINDS] SYS_LARGE; /* [0]: CFI_NONE */
uint32_t frame_rule_mask = FRAME_RULE_MIN_SETS - 1;
uint64_t frame_rule_now = UINT64_C(1) << FRAME_KIND_BITS;
SYS_HOT uint64_t frame_rule_epoch;
static uint32_t nr_pushed_out; /* since the table grew */
static uint64_t last_epoch;

/*
 * Sixteen bits of it are kept with what is made of rules, nine with the rules: what so
 * many epochs ago was true must be gone, and also what a thread writes that was asleep
 * meanwhile, so rules are forgotten twice as often.
 */
void unwind_set_epoch(uint64_t epoch)
{
	const uint64_t forget_each = (NR_EPOCHS + 1) / 2;
	bool forget = epoch / forget_each != last_epoch / forget_each;

	last_epoch = epoch;
	if (unlikely(forget) && frame_rules) {
		sys_madvise(frame_rules, TABLE_BYTES, MADV_DONTNEED);
		memset(frame_rule_front, 0, sizeof(frame_rule_front));
	}
	if (unlikely(!(epoch & 0xffff)))
		memo_forget();
	__atomic_store_n(&frame_rule_now,
			 (epoch % NR_EPOCHS + 1) << FRAME_KIND_BITS,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&frame_rule_epoch, epoch << 48, __ATOMIC_RELEASE);
}

static inline uint64_t rule_word(struct cfi_rule rule)
{
	union {
		struct cfi_rule rule;
		uint64_t word;
	} u = { .rule = rule };

	return u.word;
}

/* Its index, new or not; NR_KINDS: there is no room.  A program has a few hundred. */
static uint32_t kind_of(uint64_t word)
{
	uint32_t i = 0;

	if (!word)
		return 0;
	while (++i < FRAME_NR_KINDS) {
		uint64_t here =
			__atomic_load_n(&frame_rule_kinds[i], __ATOMIC_RELAXED);

		if (here == word ||
		    (!here && (__atomic_compare_exchange_n(
				       &frame_rule_kinds[i], &here, word, false,
				       __ATOMIC_RELAXED, __ATOMIC_RELAXED) ||
			       here == word)))
			break;
	}
	return i;
}

static bool growing;

void unwind_fork_child(void)
{
	__atomic_store_n(&growing, false, __ATOMIC_RELAXED);
	libunwind_fork_child();
}

/* Is nothing there, or a rule of another epoch? */
static bool is_free(uint64_t word)
{
	const uint64_t mask = (uint64_t)NR_EPOCHS << FRAME_KIND_BITS;

	return ((word ^ LOAD(frame_rule_now)) & mask) != 0;
}

/* In front; the others move on, up to one that is free, else the last one out. */
static bool push(uint64_t *set, uint64_t word)
{
	uint32_t free = 0, i;

	while (free < FRAME_RULE_WAYS - 1 && !is_free(LOAD(set[free])))
		free++;
	i = free;
	free = is_free(LOAD(set[free]));
	/* what a word names is there before the word */
	for (; i; i--)
		__atomic_store_n(&set[i], LOAD(set[i - 1]), __ATOMIC_RELEASE);
	__atomic_store_n(&set[0], word, __ATOMIC_RELEASE);
	return free;
}

/*
 * Twice as large: rules whose place it is move to the upper half.  One that a reader
 * misses meanwhile is learnt again.
 */
static void grow_rules(void)
{
	uint32_t sets = LOAD(frame_rule_mask) + 1, set, way;

	if (sets * FRAME_RULE_WAYS == MAX_RULES ||
	    __atomic_exchange_n(&growing, true, __ATOMIC_ACQUIRE))
		return;
	STORE(frame_rule_mask, 2 * sets - 1);
	for (set = 0; set < sets; set++)
		for (way = 0; way < FRAME_RULE_WAYS; way++) {
			uint64_t *e = &frame_rules[set * FRAME_RULE_WAYS + way];
			uint64_t word = LOAD(*e);
			uint64_t hash = word >> FRAME_KEY_SHIFT
							<< FRAME_RULE_TAG_SHIFT;

			if (is_free(word) || !(hash & sets))
				continue;
			push(frame_rule_set(hash |
					    (set & (FRAME_RULE_MIN_SETS - 1))),
			     word);
			STORE(*e, 0);
		}
	STORE(nr_pushed_out, 0);
	__atomic_store_n(&growing, false, __ATOMIC_RELEASE);
}

/* When of eight sets one was full, the table is. */
static bool is_full(void)
{
	return __atomic_add_fetch(&nr_pushed_out, 1, __ATOMIC_RELAXED) >
	       LOAD(frame_rule_mask) / 8;
}

__attribute__((noinline)) struct cfi_rule frame_rule_miss(uintptr_t pc)
{
	uint64_t now = LOAD(frame_rule_now), hash = frame_pc_hash(pc), word;
	struct cfi_rule rule = cfi_learn(pc);
	uint32_t kind = kind_of(rule_word(rule));

	if (kind == FRAME_NR_KINDS || pc >> FRAME_PC_BITS)
		return rule;
	word = hash >> FRAME_RULE_TAG_SHIFT << FRAME_KEY_SHIFT | now | kind;
	if (!push(frame_rule_set(hash), word) && is_full())
		grow_rules();
	return rule;
}

uint64_t unwind_bytes(void)
{
	return (LOAD(frame_rule_mask) + 1UL) * FRAME_RULE_WAYS *
		       sizeof(*frame_rules) +
	       sizeof(frame_rule_front) + PAGE_SIZE; /* of kinds */
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
			*end = frame_end(next);
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
