/* SPDX-License-Identifier: MIT */
/*
 * memo.c - stacks seen before, recognised by the words that a walk would read.
 *
 * Owns:   the table of parts.
 * Layer:  trace.
 * Locks:  none.  A part is written by whoever makes its seq odd; who loses does
 *         without.  Readers compare seq before and after, as with a seqlock.
 *
 * Why a match is the truth.  A step of the walk (frame.h) computes the caller's pc,
 * SP and FP from those of the frame, from the rule of pc, and from words of the
 * stack whose addresses follow from these.  A part holds the registers at its start
 * (FP where a rule used it before it was loaded) and all such words in the order in
 * which they were needed.  By induction over the words: as long as each one is
 * equal, the next one has the same address; when all are equal, the walk ends in the
 * same registers and has met the same return addresses.  FP at the end is read from
 * where it was saved, and compared when the next part used it.  A part names the one
 * behind it by index and seq, and that one cannot have changed meanwhile; so a chain
 * of parts up to the outermost frame stands for one stack, whose site is kept with
 * the first part.  Rules change with the epoch, which is part of the key.
 *
 * Why it reads no unmapped memory: only words inside the range that the thread knows
 * to be readable, from its live stack pointer upwards (frame_range_begin()).
 *
 * Where the stack lies does not matter.  A step adds constants to SP and FP, and what it
 * reads is a return address, or an address on the stack that a later step uses as these:
 * that one is kept, and compared, relative to the part's SP.  So all threads that run the
 * same code share the parts, and the key has, instead of SP, its distance from the
 * thread pointer, which libc has put at the end of the thread's stack.
 *
 * With trace_threads=on a stack belongs to its thread, too, and a new thread may have
 * the stack of one that ended: the thread's number is in the upper bits of the distance.
 *
 * A part ends where a hash of (pc, place) says so, one place in eight: two stacks with
 * the same outer frames are cut at the same places there and share the parts.
 */
#include "preload/trace/memo.h"

#include <errno.h>
#include <sys/mman.h>

#include "preload/sys/sys.h"
#include "preload/trace/flat.h"
#include "preload/trace/frame.h"
#include "preload/trace/memo_table.h"

struct memo_table memo_table;
uint8_t memo_used[NR_PARTS];

int memo_init(void)
{
	if (memo_table.parts)
		return 0;
	memo_table.sets = sys_reserve(NR_SETS * sizeof(*memo_table.sets));
	memo_table.parts = memo_table.sets ? sys_reserve(MEMO_BYTES) : NULL;
	return memo_table.parts ? flat_init() : -ENOMEM;
}

void memo_destroy(void)
{
	if (memo_table.parts)
		sys_munmap(memo_table.parts, MEMO_BYTES);
	if (memo_table.sets)
		sys_munmap(memo_table.sets, NR_SETS * sizeof(*memo_table.sets));
	flat_destroy();
	memo_table.parts = NULL;
	memo_table.sets = NULL;
	memo_table.nr_given = 0;
}

uint64_t memo_bytes(void)
{
	return LOAD(memo_table.nr_given) * sizeof(*memo_table.parts) +
	       NR_SETS * sizeof(*memo_table.sets) + sizeof(memo_used) +
	       flat_bytes();
}

void memo_forget(void)
{
	uint32_t i;

	for (i = 0; memo_table.parts && i < NR_PARTS; i++)
		STORE(memo_table.sets[i / MEMO_WAYS].mark[i % MEMO_WAYS],
		      0); /* nr stays */
	if (memo_table.parts) {
		sys_madvise(memo_table.parts, MEMO_BYTES, MADV_DONTNEED);
		flat_forget();
	}
}

/* ---- recognising ------------------------------------------------------------------ */

/* Read first: what many threads use is written once in a while. */
FRAME_INLINE void mark_used(const struct memo_part *part)
{
	uint8_t *u = &memo_used[part - memo_table.parts];

	if (!LOAD(*u))
		STORE(*u, 1);
}

FRAME_INLINE void prefetch_part(const struct memo_part *part)
{
	__builtin_prefetch(part);
	__builtin_prefetch(part->val);
}

static __attribute__((noinline)) bool
words_match_relative(const struct memo_part *part, uintptr_t sp,
		     const uint64_t *offs, unsigned int relative)
{
	unsigned int i;

	for (i = 0; i < MEMO_WORDS; i++) {
		uintptr_t from = relative >> i & 1 ? sp : 0;

		if (stack_word(sp, off_in(offs, i)) - from !=
		    LOAD(part->val[i]))
			return false;
	}
	return true;
}

/*
 * Every word of the part is what it was.  One branch for all, and one for whether they
 * are few: each of seven would be guessed wrong now and then.
 */
FRAME_INLINE bool words_match(const struct memo_part *part, uintptr_t sp,
			      const uint64_t *offs, unsigned int nr)
{
	unsigned int relative = off_in(offs, MEMO_WORDS), i;
	uintptr_t differ = 0;

	if (unlikely(relative))
		return words_match_relative(part, sp, offs, relative);
#pragma GCC unroll 7
	for (i = 0; i < MEMO_WORDS; i++) {
		if (i == 4 && nr <= 4)
			break;
		differ |= stack_word(sp, off_in(offs, i)) ^ LOAD(part->val[i]);
	}
	return !differ;
}

/* Of one version of a part. */
struct link {
	uint32_t outer, outer_seq;
	uint32_t next_bytes;
	uint16_t fp_off;
	unsigned int frames;
};

/*
 * Are the words of a part, whose pc and SP fit, those on the stack?  Where to read is
 * checked to be of version seq before anything is read there, what to find there
 * afterwards.
 */
FRAME_INLINE bool part_matches(const struct memo_part *part, uint32_t seq,
			       uintptr_t sp, uintptr_t fp, struct link *link)
{
	uint64_t behind = LOAD(part->behind);
	uint64_t offs[2] = { LOAD(part->offs[0]), LOAD(part->offs[1]) };
	uintptr_t span = sp + LOAD(part->span_words) * sizeof(sp);
	unsigned int nr = LOAD(part->nr_words);

	*link = (struct link){
		.outer = (uint32_t)behind,
		.outer_seq = (uint32_t)(behind >> 32),
		.next_bytes = LOAD(part->next_bytes),
		.fp_off = LOAD(part->fp_off),
		.frames = LOAD(part->nr_frames),
	};
	if (link->outer < NR_PARTS)
		prefetch_part(&memo_table.parts[link->outer]);
	if ((LOAD(part->flags) & MEMO_USES_FP) && LOAD(part->fp) != fp - sp)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (unlikely(LOAD(part->seq) != seq) ||
	    unlikely(span > frame_stack.here.hi))
		return false;
	if (likely(nr) && !words_match(part, sp, offs, nr))
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return likely(LOAD(part->seq) == seq);
}

FRAME_INLINE uintptr_t next_fp(const struct link *link, uintptr_t sp,
			       uintptr_t fp)
{
	return link->fp_off == MEMO_FP_SAME ? fp : stack_word(sp, link->fp_off);
}

/* What there is of a stack: nothing; the words of its first part; all of it. */
enum match {
	MATCH_NONE,
	MATCH_PART,
	MATCH_WHOLE
};

/*
 * From a part whose pc and SP fit, version seq: is the stack the one it stands for,
 * up to the outermost frame or as many frames as are kept?  frames: found so far.
 */
static __attribute__((noinline)) enum match
chain_matches(const struct memo_part *part, uint32_t seq, uintptr_t sp,
	      uintptr_t fp, unsigned int frames, unsigned int max)
{
	enum match match = MATCH_NONE;
	struct link link;

	while (part_matches(part, seq, sp, fp, &link)) {
		mark_used(part);
		match = MATCH_PART;
		frames += link.frames;
		if (link.outer == MEMO_END || frames >= max)
			return MATCH_WHOLE;
		if (link.outer == MEMO_OPEN)
			break;
		fp = next_fp(&link, sp, fp);
		part = &memo_table.parts[link.outer];
		seq = link.outer_seq;
		sp += link.next_bytes;
		if (unlikely(__atomic_load_n(&part->seq, __ATOMIC_ACQUIRE) !=
			     seq))
			break;
	}
	return match;
}

/* Others with this hash fill the set, or did: keep_part() may have used the second one. */
static bool is_crowded(uint64_t hash)
{
	const uint32_t *mark = memo_table.sets[hash >> SET_SHIFT].mark;
	uint32_t way, nr = 0;

	for (way = 0; way < MEMO_WAYS; way++)
		nr += LOAD(mark[way]) == mark_of(hash);
	return nr >= MEMO_WAYS / 2;
}

/*
 * In the set of this hash: *index, *seq.  for_site: its site, and it has to match up to as
 * many frames as are kept; else its node, and it has to be whole.  0: not there; *far: it
 * may be in the second set.
 */
FRAME_INLINE uint32_t find_in_set(uint64_t hash, const struct start *at,
				  bool for_site, uint32_t *index, uint32_t *seq,
				  bool *far)
{
	uint32_t set = (uint32_t)(hash >> SET_SHIFT), way, found;
	uint32_t mark = mark_of(hash);
	enum match match;

	for (way = 0; way < MEMO_WAYS; way++) {
		const struct memo_part *part;

		if (LOAD(memo_table.sets[set].mark[way]) != mark ||
		    unlikely(!LOAD(memo_table.sets[set].nr[way])))
			continue;
		part = &memo_table.parts[part_in(set, way)];
		*seq = __atomic_load_n(&part->seq, __ATOMIC_ACQUIRE);
		found = for_site ? LOAD(part->site) : LOAD(part->node);
		if (*seq & 1 || LOAD(part->pc) != at->key ||
		    LOAD(part->sp) != at->place)
			continue;
		match = chain_matches(part, *seq, at->sp, at->fp, 1,
				      for_site ? TRACE_MAX_FRAMES +
							 LOAD(part->nr_self)
					       : UINT32_MAX);
		*index = (uint32_t)(part - memo_table.parts);
		if (likely(match == MATCH_WHOLE && found))
			return found;
		*far |= match != MATCH_NONE;
	}
	*far |= is_crowded(hash);
	return 0;
}

static __attribute__((noinline)) uint32_t
find_far(const struct start *at, bool for_site, uint32_t *index, uint32_t *seq)
{
	uint64_t hash = live_hash(at->pc, at->sp, LOOK_FAR);
	bool far = false;

	return find_in_set(hash, at, for_site, index, seq, &far);
}

/* In the one set, and then in the other. */
FRAME_INLINE uint32_t find(const struct start *at, bool for_site,
			   uint32_t *index, uint32_t *seq)
{
	uint32_t found;
	bool far = false;

	found = find_in_set(live_hash(at->pc, at->sp, LOOK_AHEAD), at, for_site,
			    index, seq, &far);
	return unlikely(!found) && far ? find_far(at, for_site, index, seq)
				       : found;
}

uint32_t memo_find_node(const struct start *at, uint32_t *index, uint32_t *seq)
{
	return find(at, false, index, seq);
}

/* ---- stacks in one piece ---------------------------------------------------------------- */

/*
 * How far from SP the return address of the frame of a pc is, as was learnt last: the
 * lower half of the pc, then words, 0 where it depends on more than SP.  So it is known
 * with one load which of a wrapper's callers it is.  As in live_hash(), this decides only
 * where to look.
 */
#define HINT_BITS 8
static uint64_t hints[1 << HINT_BITS];

FRAME_INLINE uint64_t *hint_of(uint64_t pc_hash)
{
	return &hints[pc_hash >> (64 - HINT_BITS)];
}

/* Of a stack in the table of those in one piece. */
FRAME_INLINE uint64_t flat_hash(uintptr_t pc, uintptr_t sp, uintptr_t place)
{
	uint64_t hash = pc * 0x9e3779b97f4a7c15ULL;
	uint64_t hint = LOAD(*hint_of(hash));
	uintptr_t words = hint >> 32;

	if (likely((uint32_t)hint == (uint32_t)pc) && words &&
	    likely(sp + words * sizeof(words) < frame_stack.here.hi))
		hash ^= stack_word(sp, (unsigned int)words);
	return (hash ^ place) * 0xd6e8feb86659fd93ULL;
}

static void learn_hint(const struct start *at)
{
	struct cfi_rule rule = frame_rule_peek(at->pc - 1);
	uint64_t words = 0;

	if (is_sp_rule(rule) && rule.cfa_off > 0)
		words = (uint64_t)rule.cfa_off / sizeof(uintptr_t) - 1;
	STORE(*hint_of(at->pc * 0x9e3779b97f4a7c15ULL),
	      words << 32 | (uint32_t)at->pc);
}

/* What lies behind the words of f, of version seq; they matched. */
static bool rest_matches(const struct flat *f, uint32_t seq, uintptr_t sp,
			 uintptr_t fp)
{
	uint64_t behind = LOAD(f->behind);
	struct link link = {
		.outer = (uint32_t)behind,
		.outer_seq = (uint32_t)(behind >> 32),
		.next_bytes = LOAD(f->next_bytes),
		.fp_off = LOAD(f->fp_off),
	};
	unsigned int room = LOAD(f->room);
	const struct memo_part *part = &memo_table.parts[link.outer];

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (LOAD(f->seq) != seq)
		return false;
	fp = next_fp(&link, sp, fp);
	return __atomic_load_n(&part->seq, __ATOMIC_ACQUIRE) ==
		       link.outer_seq &&
	       chain_matches(part, link.outer_seq, sp + link.next_bytes, fp, 0,
			     room) == MATCH_WHOLE;
}

FRAME_INLINE void give_credit(struct flat *f)
{
	if (unlikely(LOAD(f->credit) != FLAT_CREDIT))
		STORE(f->credit, FLAT_CREDIT);
}

static bool is_last_way(const struct flat *f)
{
	return (f - flat_table) % FLAT_WAYS == FLAT_WAYS - 1;
}

/* The ways of the set from f on. */
static __attribute__((noinline)) uint32_t
find_flat_from(struct flat *f, uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uint64_t key = pc ^ epoch_now();
	uintptr_t place = place_of(sp);
	uint32_t seq, site, outer;
	bool last;

	for (last = false; !last; f++) {
		last = is_last_way(f);
		/* odd: it never matches */
		seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE) & ~1U;
		site = LOAD(f->site);
		outer = LOAD(f->outer);
		if (LOAD(f->pc) != key || LOAD(f->sp) != place ||
		    sp + LOAD(f->span_words) * sizeof(sp) > frame_stack.here.hi)
			continue;
		if (!(LOAD(f->special) ? flat_matches_special(f, seq, sp, fp)
				       : flat_words_match(f, seq, sp)))
			continue;
		if (outer != MEMO_END && !rest_matches(f, seq, sp, fp))
			continue;
		give_credit(f);
		return site;
	}
	return 0;
}

_Static_assert(FLAT_WAYS == 2, "memo_find_flat() chooses one of two");

/*
 * Runs for nearly each allocation: it looks at one way, ends in a jump to what takes
 * longer, and so needs no register that has to be saved.
 */
uint32_t memo_find_flat(uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	uintptr_t place = place_of(sp);
	uint64_t key = pc ^ epoch_now();
	uint32_t seq, site;
	struct flat *f;

	if (unlikely(!frame_range_is_here(sp)))
		return 0;
	f = flat_set(flat_hash(pc, sp, place));
	/* first, so that all else is of this version; odd: it never matches */
	seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE) & ~1U;
	if (LOAD(f->pc) != key || LOAD(f->sp) != place) {
		f++;
		seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE) & ~1U;
		if (LOAD(f->pc) != key || LOAD(f->sp) != place)
			return 0;
	}
	if (unlikely(LOAD(f->special)) || unlikely(LOAD(f->outer) != MEMO_END))
		return find_flat_from(f, pc, sp, fp);
	if (unlikely(sp + LOAD(f->span_words) * sizeof(sp) >
		     frame_stack.here.hi))
		return 0;
	site = LOAD(f->site);
	if (unlikely(!flat_words_match(f, seq, sp)))
		return is_last_way(f) ? 0 : find_flat_from(f + 1, pc, sp, fp);
	give_credit(f);
	return site;
}

/* A stack was recognised by its parts, for the n-th time. */
#define FLAT_AFTER 16

FRAME_INLINE void note_recognised(const struct start *at, uint32_t index,
				  uint32_t seq, uint32_t site)
{
	uint8_t times = LOAD(memo_used[index]);
	uint64_t hash;

	if (times < FLAT_AFTER) {
		STORE(memo_used[index], (uint8_t)(times + 1));
		return;
	}
	learn_hint(at);
	hash = flat_hash(at->pc, at->sp, at->place);
	if (!flat_wants(hash)) {
		if (!flat_crowd(hash, at))
			return;
		hash = live_hash(at->pc, at->sp, LOOK_FAR);
		if (!flat_wants(hash))
			return;
	}
	flat_make(hash, at, index, seq, site);
}

static uint32_t find_parts(const struct start *at)
{
	uint32_t index, seq, site = find(at, true, &index, &seq);

	if (likely(site))
		note_recognised(at, index, seq, site);
	return site;
}

uint32_t memo_find_long(const struct unwind_regs *regs)
{
	struct start at;
	uint32_t site;

	if (unlikely(!memo_table.parts || regs->exact))
		return 0;
	if (unlikely(!frame_range_is_here(regs->sp))) {
		frame_range_begin(regs->sp);
		site = memo_find_flat(regs->pc, regs->sp, regs->fp);
		if (site)
			return site;
	}
	at = start_of(regs, epoch_now());
	if (flat_is_crowded(flat_hash(at.pc, at.sp, at.place))) {
		site = find_flat_from(
			flat_set(live_hash(at.pc, at.sp, LOOK_FAR)), at.pc,
			at.sp, at.fp);
		if (site)
			return site;
	}
	return find_parts(&at);
}
