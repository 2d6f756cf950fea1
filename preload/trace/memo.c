/* SPDX-License-Identifier: MIT */
/*
 * memo.c - stacks met all the time, recognised by the words that a walk would read.
 *
 * Owns:   the table.
 * Layer:  trace.
 * Locks:  none.  An entry is written by whoever makes its seq odd; who loses does
 *         without.  Readers compare seq before and after, as with a seqlock.
 *
 * Why a match is the truth.  A step of the walk (frame.h) computes the caller's pc,
 * SP and FP from those of the frame, from the rule of pc, and from words of the
 * stack whose addresses follow from these.  An entry holds the registers at its start
 * (FP where a step needs it before it was loaded) and all such words.  By induction over
 * the words in the order in which they are needed: as long as each one is equal, the next
 * one has the same address; when all are equal, the walk leads to the same registers and
 * has met the same return addresses.  It ends there, or it is at a frame of the thread's
 * last walk, whose node of the depot says what was outside: whether that is still so,
 * lastwalk.c finds out.  Rules change with the epoch, which is part of the key.
 *
 * Why it reads no unmapped memory: only words inside the range that the thread knows
 * to be readable, from its live stack pointer upwards (frame_range_begin()).
 *
 * Where the stack lies does not matter.  A step adds constants to SP and FP, and what it
 * reads is a return address, or an address on the stack that a later step uses as these:
 * that one is kept, and compared, relative to SP.  So all threads that run the same code
 * share the entries, and the key has, instead of SP, its distance from the thread
 * pointer, which libc has put at the end of the thread's stack.
 *
 * With trace_threads=on a stack belongs to its thread, too, and a new thread may have
 * the stack of one that ended: the thread's number is in the upper bits of the distance.
 *
 * The table begins with a page and doubles when it fills; what then is in the wrong set is
 * kept anew.
 */
#include "preload/trace/memo.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/segment.h"
#include "preload/sys/sys.h"
#include "preload/trace/count.h"
#include "preload/trace/frame.h"
#include "preload/trace/thread.h"

#define FIRST_MASK 3U
#define MAX_MASK   (MEMO_NR_SETS - 1)
#define MAX_BYTES  ((1UL << MEMO_MAX_BITS) * sizeof(struct memo))

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

SYS_HOT struct memo *memo_table;
SYS_HOT uint32_t memo_mask;
static uint32_t nr_used;	     /* entries, of what is in use */
static uint16_t apart[MEMO_NR_SETS]; /* see next_hash() */

int memo_init(void)
{
	if (memo_table)
		return 0;
	memo_table = sys_reserve(MAX_BYTES);
	memo_mask = FIRST_MASK;
	nr_used = 0;
	return memo_table ? lastwalk_init() : -ENOMEM;
}

void memo_destroy(void)
{
	if (memo_table)
		sys_munmap(memo_table, MAX_BYTES);
	memo_table = NULL;
	memset(apart, 0, sizeof(apart));
	lastwalk_destroy();
}

void memo_forget(void)
{
	if (memo_table)
		sys_madvise(memo_table, MAX_BYTES, MADV_DONTNEED);
	memset(apart, 0, sizeof(apart));
	lastwalk_forget();
}

uint64_t memo_bytes(void)
{
	return (LOAD(memo_mask) + 1UL) * MEMO_WAYS * sizeof(struct memo) +
	       lastwalk_bytes();
}

/* ---- where a stack is looked for ---------------------------------------------------- */

static inline uintptr_t place_of(uintptr_t sp)
{
	uintptr_t end = (uintptr_t)__builtin_thread_pointer();

	return thread_sp((end - sp) & ((1UL << THREAD_SP_SHIFT) - 1));
}

/*
 * How far from SP the return address of the frame of a pc is, as was learnt last: the
 * lower half of the pc, then words, 0 where it depends on more than SP.  A wrapper around
 * malloc is called from many places at one depth, and so it is known with one load which
 * of its callers it is.  This only decides where to look: a wrong answer costs a walk.
 */
#define HINT_BITS 8
static uint64_t hints[1 << HINT_BITS];

FRAME_INLINE uint64_t *hint_of(uint64_t pc_hash)
{
	return &hints[pc_hash >> (64 - HINT_BITS)];
}

FRAME_INLINE FRAME_UNCHECKED uint64_t hash_of(uintptr_t pc, uintptr_t sp,
					      uintptr_t place)
{
	uint64_t hash = pc * 0x9e3779b97f4a7c15ULL;
	uint64_t hint = LOAD(*hint_of(hash));
	uintptr_t words = hint >> 32;

	if (likely((uint32_t)hint == (uint32_t)pc) && words &&
	    likely(sp + words * sizeof(words) < frame_stack.here.hi))
		hash ^= frame_word(sp, (unsigned int)words);
	return (hash ^ place) * 0xd6e8feb86659fd93ULL;
}

/* The return address lies in front of the CFA, and that as far from SP as is said. */
static bool is_sp_rule(struct cfi_rule rule)
{
	return rule.type == CFI_FRAME && rule.base == CFI_BASE_SP &&
	       rule.ra == CFI_RA_AT_CFA && rule.ra_words == -1;
}

static void learn_hint(uintptr_t pc)
{
	struct cfi_rule rule = frame_rule_peek(pc - 1);
	uint64_t words = 0;

	if (is_sp_rule(rule) && rule.cfa_off > 0)
		words = (uint64_t)rule.cfa_off / sizeof(uintptr_t) - 1;
	STORE(*hint_of(pc * 0x9e3779b97f4a7c15ULL), words << 32 | (uint32_t)pc);
}

/* The set for a stack with that hash, and its first way. */
FRAME_INLINE uint32_t set_nr(uint64_t hash)
{
	return (uint32_t)(hash >> 40) & LOAD(memo_mask);
}

FRAME_INLINE struct memo *set_of(uint64_t hash)
{
	return &memo_table[set_nr(hash) * MEMO_WAYS];
}

/*
 * A wrapper is called from many places at one depth, and so are its callers: more stacks
 * with the same pc, depth and return address than a set has ways.  Such a set says at
 * which word, counted from 1, its stacks differ, and the others are where that word
 * leads, which may be a set of the same kind; 0: it is not crowded.
 */
#define MEMO_LEVELS 4

/* Of the next set, where that one is crowded; false: it is not. */
static FRAME_UNCHECKED bool next_hash(uint64_t *hash, uintptr_t sp)
{
	uint16_t word = LOAD(apart[set_nr(*hash)]);

	if (!word || sp + word * sizeof(sp) > frame_stack.here.hi)
		return false;
	*hash = (*hash ^ frame_word(sp, word - 1U)) * 0x9e3779b97f4a7c15ULL;
	return true;
}

static bool is_last_way(const struct memo *m)
{
	return (m - memo_table) % MEMO_WAYS == MEMO_WAYS - 1;
}

/* ---- recognising ------------------------------------------------------------------ */

/* off[i] */
FRAME_INLINE unsigned int off_in(uint64_t offs, unsigned int i)
{
	return offs >> i * 16 & 0xffff;
}

/*
 * Every word is what it was.  Where to read is checked to be of version seq before
 * anything is read there.
 */
FRAME_INLINE FRAME_UNCHECKED bool words_match(const struct memo *m,
					      uint32_t seq, uintptr_t sp)
{
	unsigned int g, i, nr = LOAD(m->nr_groups);
	uintptr_t differ = 0;

	for (g = 0; g < nr; g++) {
		uint64_t offs = LOAD(m->offs[g]);

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (unlikely(LOAD(m->seq) != seq))
			return false;
#pragma GCC unroll 4
		for (i = 0; i < MEMO_GROUP_WORDS; i++) {
			differ |= frame_word(sp, off_in(offs, i)) ^
				  LOAD(m->val[g * MEMO_GROUP_WORDS + i]);
			/* one after the other: that takes fewer registers */
			__asm__("" : "+r"(differ));
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !differ && likely(LOAD(m->seq) == seq);
}

/* Slower: where special is not 0. */
static FRAME_UNCHECKED bool matches_special(const struct memo *m, uint32_t seq,
					    uintptr_t sp, uintptr_t fp)
{
	unsigned int g, i, nr = LOAD(m->nr_groups);
	uint32_t relative = LOAD(m->relative);
	uintptr_t differ = 0;

	if (LOAD(m->special) & MEMO_USES_FP && LOAD(m->fp) != fp - sp)
		return false;
	for (g = 0; g < nr; g++, relative >>= MEMO_GROUP_WORDS) {
		uint64_t offs = LOAD(m->offs[g]);

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD(m->seq) != seq)
			return false;
#pragma GCC unroll 4
		for (i = 0; i < MEMO_GROUP_WORDS; i++) {
			uintptr_t from = relative >> i & 1 ? sp : 0;

			differ |= (frame_word(sp, off_in(offs, i)) - from) ^
				  LOAD(m->val[g * MEMO_GROUP_WORDS + i]);
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !differ && LOAD(m->seq) == seq;
}

/* What lies outside the words of m, of version seq; they matched. */
static bool tail_matches(const struct memo *m, uint32_t seq, uintptr_t sp)
{
	uint32_t node = LOAD(m->tail_node), index = LOAD(m->tail_index);
	uintptr_t tail_sp = sp + LOAD(m->tail_bytes);
	uintptr_t tail_fp = sp + (uintptr_t)(intptr_t)LOAD(m->tail_fp);

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD(m->seq) == seq &&
	       lastwalk_is_at(index, node, tail_sp, tail_fp, sp);
}

FRAME_INLINE void give_credit(struct memo *m)
{
	if (unlikely(LOAD(m->credit) != MEMO_CREDIT))
		STORE(m->credit, MEMO_CREDIT);
}

/* The ways of the set from m on. */
static __attribute__((noinline)) uint32_t
find_from(struct memo *m, uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uint64_t key = pc ^ LOAD(frame_rule_epoch);
	uintptr_t place = place_of(sp);
	uint32_t seq, site, tail;
	bool last;

	for (last = false; !last; m++) {
		last = is_last_way(m);
		/* odd: it never matches */
		seq = __atomic_load_n(&m->seq, __ATOMIC_ACQUIRE) & ~1U;
		site = LOAD(m->site);
		tail = LOAD(m->tail_node);
		if (LOAD(m->pc) != key || LOAD(m->sp) != place ||
		    sp + LOAD(m->span_words) * sizeof(sp) > frame_stack.here.hi)
			continue;
		if (!(LOAD(m->special) ? matches_special(m, seq, sp, fp)
				       : words_match(m, seq, sp)))
			continue;
		if (tail != MEMO_END && !tail_matches(m, seq, sp))
			continue;
		give_credit(m);
		return site;
	}
	return 0;
}

_Static_assert(MEMO_WAYS == 2, "memo_find() chooses one of two");

/*
 * Runs for nearly each allocation: it looks at one way, ends in a jump to what takes
 * longer, and so needs no register that has to be saved.
 */
FRAME_UNCHECKED uint32_t memo_find(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uintptr_t place = place_of(sp);
	uint64_t key = pc ^ LOAD(frame_rule_epoch);
	uint32_t seq, site;
	struct memo *m;

	if (unlikely(!frame_range_is_here(sp)))
		return 0;
	m = set_of(hash_of(pc, sp, place));
	/* first, so that all else is of this version; odd: it never matches */
	seq = __atomic_load_n(&m->seq, __ATOMIC_ACQUIRE) & ~1U;
	if (LOAD(m->pc) != key || LOAD(m->sp) != place) {
		m++;
		seq = __atomic_load_n(&m->seq, __ATOMIC_ACQUIRE) & ~1U;
		if (LOAD(m->pc) != key || LOAD(m->sp) != place)
			return 0;
	}
	if (unlikely(LOAD(m->special)) ||
	    unlikely(LOAD(m->tail_node) != MEMO_END))
		return find_from(m, pc, sp, fp);
	if (unlikely(sp + LOAD(m->span_words) * sizeof(sp) >
		     frame_stack.here.hi))
		return 0;
	site = LOAD(m->site);
	if (unlikely(!words_match(m, seq, sp)))
		return is_last_way(m) ? 0 : find_from(m + 1, pc, sp, fp);
	give_credit(m);
	return site;
}

FRAME_UNCHECKED uint32_t memo_find_further(uintptr_t pc, uintptr_t sp,
					   uintptr_t fp)
{
	uint32_t site = 0, level;
	uint64_t hash;

	if (unlikely(!memo_table))
		return 0;
	if (unlikely(!frame_range_is_here(sp))) {
		frame_range_begin(sp);
		site = memo_find(pc, sp, fp);
	}
	hash = hash_of(pc, sp, place_of(sp));
	for (level = 0; !site && level < MEMO_LEVELS && next_hash(&hash, sp);
	     level++)
		site = find_from(set_of(hash), pc, sp, fp);
	return site;
}

/* ---- keeping ----------------------------------------------------------------------- */

/* An entry as words, which are stored and loaded one by one. */
typedef uint64_t __attribute__((may_alias)) word_t;

#define NR_WORDS   (sizeof(struct memo) / sizeof(word_t))
#define WORD_OF(x) (offsetof(struct memo, x) / sizeof(word_t))

/* All but seq and site, which are in the first word. */
static void copy(struct memo *to, const struct memo *from)
{
	const word_t *in = (const word_t *)from;
	word_t *out = (word_t *)to;
	size_t i;

	for (i = 1; i < NR_WORDS; i++)
		STORE(out[i], in[i]);
}

/* The same stack? */
static bool is_same(const struct memo *a, const struct memo *b)
{
	const word_t *x = (const word_t *)a, *y = (const word_t *)b;
	size_t i;

	for (i = 1; i < NR_WORDS; i++)
		if (i != WORD_OF(credit) && LOAD(x[i]) != y[i])
			return false;
	return LOAD(a->site) == b->site;
}

static void grow(void)
{
	uint32_t mask = LOAD(memo_mask);

	if (mask < MAX_MASK && LOAD(nr_used) * 4 > (mask + 1) * MEMO_WAYS) {
		memset(apart, 0, sizeof(apart));
		STORE(memo_mask, mask * 2 + 1);
	}
}

static bool has_room(const struct memo *m)
{
	return !(LOAD(m->seq) & 1) && (!LOAD(m->site) || !LOAD(m->credit));
}

/*
 * Is there room for a stack with that hash?  If not, those in its place lose some of
 * their credit, which they get back when they are met.
 */
static bool wants(uint64_t hash)
{
	struct memo *set = set_of(hash);
	uint8_t credit;
	uint32_t i;

	for (i = 0; i < MEMO_WAYS; i++)
		if (has_room(&set[i]))
			return true;
	for (i = 0; i < MEMO_WAYS; i++) {
		credit = LOAD(set[i].credit);
		if (credit)
			STORE(set[i].credit, (uint8_t)(credit - 1));
	}
	grow();
	return false;
}

/* Makes *seq odd; false: somebody else writes, or it is not was any more. */
static bool seq_write_begin(uint32_t *seq, uint32_t was)
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

/* from's seq and credit do not matter. */
static void keep(uint64_t hash, const struct memo *from)
{
	struct memo *set = set_of(hash), *to = NULL;
	uint32_t i, seq;

	for (i = 0; i < MEMO_WAYS; i++) {
		if (is_same(&set[i], from)) {
			to = &set[i];
			break;
		}
		if (!to && has_room(&set[i]))
			to = &set[i];
	}
	if (!to)
		return;
	seq = LOAD(to->seq);
	if (!seq_write_begin(&to->seq, seq))
		return;
	if (!LOAD(to->site))
		__atomic_fetch_add(&nr_used, 1, __ATOMIC_RELAXED);
	copy(to, from);
	STORE(to->site, from->site);
	__atomic_store_n(&to->seq, seq + 2, __ATOMIC_RELEASE);
}

/* ---- making one of frames ---------------------------------------------------------- */

/* of: in words from the frame's SP, which is so many words from that of the start. */
static void add_word(struct memo *m, unsigned int *nr, uintptr_t base,
		     uint16_t of, uintptr_t val, bool relative)
{
	uintptr_t words = base + of;

	if (of == LASTWALK_NONE)
		return;
	m->off[*nr] = (uint16_t)words;
	m->val[*nr] = val;
	m->relative |= (uint32_t)relative << *nr;
	m->span_words = (uint16_t)MAX(m->span_words, words + 1);
	++*nr;
}

/* What the step out of a frame depends on; false: it does not fit. */
static bool add_frame(struct memo *m, unsigned int *nr,
		      const struct lastwalk_frame *f, uintptr_t sp)
{
	const struct lastwalk_frame *outer = f - 1;
	uintptr_t base = (f->sp - sp) / sizeof(sp);
	unsigned int words = (f->cfa_off != LASTWALK_NONE) +
			     (f->fp_off != LASTWALK_NONE) +
			     (f->ra_off != LASTWALK_NONE);

	if (*nr + words > MEMO_WORDS || base + f->span > MEMO_MAX_OFF)
		return false;
	add_word(m, nr, base, f->cfa_off, outer->sp - sp, true);
	add_word(m, nr, base, f->fp_off, outer->fp - sp, true);
	add_word(m, nr, base, f->ra_off, outer->pc, false);
	return true;
}

/* The frames that did not fit begin with frame i; false: that can not be told. */
static bool set_tail(struct memo *m, const struct lastwalk *w, uint32_t i,
		     uintptr_t sp)
{
	const struct lastwalk_frame *f = &w->frame[i];
	intptr_t fp = f->uses_fp ? (intptr_t)(f->fp - sp) : 0;

	if (!f->node || i > UINT16_MAX || f->sp - sp > UINT32_MAX ||
	    fp != (int32_t)fp)
		return false;
	m->tail_node = f->node;
	m->tail_index = (uint16_t)i;
	m->tail_bytes = (uint32_t)(f->sp - sp);
	m->tail_fp = (int32_t)fp;
	return true;
}

/* From the frames that are kept last; false: they do not fit. */
static bool make(struct memo *m, const struct lastwalk *w, uint32_t site)
{
	const struct lastwalk_frame *f = &w->frame[w->nr - 1];
	uintptr_t sp = f->sp;
	uint32_t i = w->nr - 1;
	unsigned int nr = 0;

	*m = (struct memo){ .site = site,
			    .credit = MEMO_CREDIT,
			    .pc = f->pc ^ w->epoch,
			    .sp = place_of(sp) };
	while (i && add_frame(m, &nr, &w->frame[i], sp))
		i--;
	if (!nr || (i ? !set_tail(m, w, i, sp) : !w->whole))
		return false;
	if (f->uses_fp) {
		m->special |= MEMO_USES_FP;
		m->fp = f->fp - sp;
	}
	while (nr % MEMO_GROUP_WORDS)
		add_word(m, &nr, 0, m->off[0], m->val[0], m->relative & 1);
	m->nr_groups = (uint8_t)(nr / MEMO_GROUP_WORDS);
	if (m->relative)
		m->special |= MEMO_RELATIVE;
	return true;
}

/* ---- crowded sets -------------------------------------------------------------------- */

/* Have all that are in the set this pc and depth? */
static bool is_crowd(const struct memo *set, uint64_t key, uintptr_t place)
{
	uint32_t i;

	for (i = 0; i < MEMO_WAYS; i++)
		if (LOAD(set[i].pc) != key || LOAD(set[i].sp) != place)
			return false;
	return true;
}

/*
 * The first word, counted from 1, at which m and one of a set's stacks both have a return
 * address, and not the same.  0: there is none, as when m is one of them.
 */
static uint16_t tells_apart(const struct memo *set, const struct memo *m)
{
	uint32_t i, way;

	for (i = 0; i < m->nr_groups * MEMO_GROUP_WORDS; i++)
		for (way = 0; way < MEMO_WAYS; way++)
			if (LOAD(set[way].off[i]) == m->off[i] &&
			    LOAD(set[way].val[i]) != m->val[i] &&
			    !((m->relative | LOAD(set[way].relative)) >> i & 1))
				return (uint16_t)(m->off[i] + 1);
	return 0;
}

/* A stack is kept after it was met so often; a set is told crowded each so many times. */
#define MEMO_AFTER 16U
#define MEMO_CROWD 8U

FRAME_UNCHECKED void memo_note(const struct lastwalk *w,
			       const struct unwind_regs *regs, uint32_t site)
{
	const struct lastwalk_frame *f = &w->frame[w->nr - 1];
	uintptr_t sp = regs->sp, place = place_of(sp);
	uint64_t hash, times;
	uint32_t level;
	struct memo m;

	if (!memo_table || !count_has_record(site))
		return;
	times = LOAD(segment_self()->sites[site].allocs);
	if (times < MEMO_AFTER || f->pc != regs->pc ||
	    f->sp != sp) /* it begins inside the library */
		return;
	learn_hint(regs->pc);
	hash = hash_of(regs->pc, sp, place);
	for (level = 0; level <= MEMO_LEVELS; level++) {
		struct memo *set = set_of(hash);
		uint16_t *word = &apart[set_nr(hash)];

		if (wants(hash)) {
			if (make(&m, w, site))
				keep(hash, &m);
			return;
		}
		if (!is_crowd(set, regs->pc ^ w->epoch, place))
			return;
		if (!LOAD(*word) && times % MEMO_CROWD == 0 &&
		    make(&m, w, site))
			STORE(*word, tells_apart(set, &m));
		if (!next_hash(&hash, sp))
			return;
	}
}
