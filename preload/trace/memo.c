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
#include <string.h>
#include <sys/mman.h>

#include "preload/sys/sys.h"
#include "preload/trace/depot.h"
#include "preload/trace/flat.h"
#include "preload/trace/frame.h"
#include "preload/trace/thread.h"

#define WAYS	  8U
#define NR_PARTS  (MEMO_BYTES / sizeof(struct memo_part))
#define NR_SETS	  (NR_PARTS / WAYS)
#define SET_SHIFT (64 - 9)
_Static_assert(NR_SETS == 1UL << (64 - SET_SHIFT), "sets by hash");

/*
 * Of each way of a set: part of the key's hash, so that few parts are looked at, and
 * which part it has.  A way is given a part when it is first used, the next one: those of
 * a small program lie in few pages.
 */
struct set {
	uint32_t mark[WAYS]; /* 0: nothing is there */
	uint16_t nr[WAYS];   /* of the part, from 1 on; 0: none */
} __attribute__((aligned(64)));
_Static_assert(NR_PARTS <= UINT16_MAX, "a part has a number");

static struct memo_part *parts;
static struct set *sets;
static uint8_t used[NR_PARTS]; /* since a way was looked for in its set */
static uint32_t nr_given;      /* parts that a way has */

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

int memo_init(void)
{
	if (parts)
		return 0;
	sets = sys_reserve(NR_SETS * sizeof(*sets));
	parts = sets ? sys_reserve(MEMO_BYTES) : NULL;
	return parts ? flat_init() : -ENOMEM;
}

void memo_destroy(void)
{
	if (parts)
		sys_munmap(parts, MEMO_BYTES);
	if (sets)
		sys_munmap(sets, NR_SETS * sizeof(*sets));
	flat_destroy();
	parts = NULL;
	sets = NULL;
	nr_given = 0;
}

uint64_t memo_bytes(void)
{
	return LOAD(nr_given) * sizeof(*parts) + NR_SETS * sizeof(*sets) +
	       sizeof(used) + flat_bytes();
}

void memo_forget(void)
{
	uint32_t i;

	for (i = 0; parts && i < NR_PARTS; i++)
		STORE(sets[i / WAYS].mark[i % WAYS], 0); /* nr stays */
	if (parts) {
		sys_madvise(parts, MEMO_BYTES, MADV_DONTNEED);
		flat_forget();
	}
}

/* The part of a way that has one. */
static inline uint32_t part_in(uint32_t set, uint32_t way)
{
	return LOAD(sets[set].nr[way]) - 1U;
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

/* ---- recognising ------------------------------------------------------------------ */

FRAME_INLINE __attribute__((no_sanitize("address", "thread"))) uintptr_t
stack_word(uintptr_t sp, unsigned int off)
{
	return ((const uintptr_t *)sp)[off];
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

		if (rule.type != CFI_FRAME || rule.base != CFI_BASE_SP ||
		    rule.ra != CFI_RA_AT_CFA || rule.ra_words != -1 ||
		    cfa > frame_stack.here.hi || cfa <= sp)
			break;
		pc = stack_word(cfa - sizeof(uintptr_t), 0);
		hash = mix(hash, pc);
		sp = cfa;
	}
	return hash;
}

/* Read first: what many threads use is written once in a while. */
FRAME_INLINE void mark_used(const struct memo_part *part)
{
	uint8_t *u = &used[part - parts];

	if (!LOAD(*u))
		STORE(*u, 1);
}

FRAME_INLINE void prefetch_part(const struct memo_part *part)
{
	__builtin_prefetch(part);
	__builtin_prefetch(part->val);
}

/* off[i] */
FRAME_INLINE unsigned int off_in(const uint64_t *offs, unsigned int i)
{
	return offs[i / 4] >> i % 4 * 16 & 0xffff;
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
		prefetch_part(&parts[link->outer]);
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
		part = &parts[link.outer];
		seq = link.outer_seq;
		sp += link.next_bytes;
		if (unlikely(__atomic_load_n(&part->seq, __ATOMIC_ACQUIRE) !=
			     seq))
			break;
	}
	return match;
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

/* Others with this hash fill the set, or did: keep_part() may have used the second one. */
static bool is_crowded(uint64_t hash)
{
	const uint32_t *mark = sets[hash >> SET_SHIFT].mark;
	uint32_t way, nr = 0;

	for (way = 0; way < WAYS; way++)
		nr += LOAD(mark[way]) == mark_of(hash);
	return nr >= WAYS / 2;
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

	for (way = 0; way < WAYS; way++) {
		const struct memo_part *part;

		if (LOAD(sets[set].mark[way]) != mark)
			continue;
		part = &parts[part_in(set, way)];
		*seq = __atomic_load_n(&part->seq, __ATOMIC_ACQUIRE);
		found = for_site ? LOAD(part->site) : LOAD(part->node);
		if (*seq & 1 || LOAD(part->pc) != at->key ||
		    LOAD(part->sp) != at->place)
			continue;
		match = chain_matches(part, *seq, at->sp, at->fp, 1,
				      for_site ? TRACE_MAX_FRAMES +
							 LOAD(part->nr_self)
					       : UINT32_MAX);
		*index = (uint32_t)(part - parts);
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
FRAME_INLINE uint64_t flat_hash(const struct start *at)
{
	uint64_t hash = at->pc * 0x9e3779b97f4a7c15ULL;
	uint64_t hint = LOAD(*hint_of(hash));
	uintptr_t words = hint >> 32;

	if (likely((uint32_t)hint == (uint32_t)at->pc) && words &&
	    likely(at->sp + words * sizeof(words) < frame_stack.here.hi))
		hash ^= stack_word(at->sp, (unsigned int)words);
	return (hash ^ at->place) * 0xd6e8feb86659fd93ULL;
}

static void learn_hint(const struct start *at)
{
	struct cfi_rule rule = frame_rule_peek(at->pc - 1);
	uint64_t words = 0;

	if (rule.type == CFI_FRAME && rule.base == CFI_BASE_SP &&
	    rule.ra == CFI_RA_AT_CFA && rule.ra_words == -1 && rule.cfa_off > 0)
		words = (uint64_t)rule.cfa_off / sizeof(uintptr_t) - 1;
	STORE(*hint_of(at->pc * 0x9e3779b97f4a7c15ULL),
	      words << 32 | (uint32_t)at->pc);
}

/* What lies behind the words of f, of version seq; they matched. */
static __attribute__((noinline)) bool
rest_matches(const struct flat *f, uint32_t seq, const struct start *at)
{
	uint64_t behind = LOAD(f->behind);
	struct link link = {
		.outer = (uint32_t)behind,
		.outer_seq = (uint32_t)(behind >> 32),
		.next_bytes = LOAD(f->next_bytes),
		.fp_off = LOAD(f->fp_off),
	};
	unsigned int room = LOAD(f->room);
	const struct memo_part *part = &parts[link.outer];
	uintptr_t fp;

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (LOAD(f->seq) != seq)
		return false;
	fp = next_fp(&link, at->sp, at->fp);
	return __atomic_load_n(&part->seq, __ATOMIC_ACQUIRE) ==
		       link.outer_seq &&
	       chain_matches(part, link.outer_seq, at->sp + link.next_bytes, fp,
			     0, room) == MATCH_WHOLE;
}

FRAME_INLINE uint32_t find_flat(uint64_t hash, const struct start *at)
{
	struct flat *f = flat_set(hash);
	uint32_t way, seq, site;

	for (way = 0; way < FLAT_WAYS; way++, f++) {
		/* odd: it never matches */
		seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE) & ~1U;
		site = LOAD(f->site);
		if (LOAD(f->pc) != at->key || LOAD(f->sp) != at->place)
			continue;
		if (unlikely(at->sp + LOAD(f->span_words) * sizeof(at->sp) >
			     frame_stack.here.hi))
			continue;
		if (likely(!LOAD(f->special))) {
			if (!flat_words_match(f, seq, at->sp))
				continue;
		} else if (!flat_matches_special(f, seq, at->sp, at->fp)) {
			continue;
		}
		if (unlikely(LOAD(f->outer) != MEMO_END) &&
		    !rest_matches(f, seq, at))
			continue;
		if (unlikely(LOAD(f->credit) != FLAT_CREDIT))
			STORE(f->credit, FLAT_CREDIT);
		return site;
	}
	return 0;
}

/* What append_part() knows of the stack so far. */
struct flattening {
	struct flat flat;
	unsigned int nr; /* words */
	unsigned int frames;
	uintptr_t bytes;   /* from the start to the next part */
	uint32_t fp_words; /* where its FP is saved, or MEMO_FP_SAME */
};

static bool append_word(struct flattening *to, uintptr_t words, uintptr_t val,
			bool relative)
{
	struct flat *f = &to->flat;

	if (words >= FLAT_MAX_OFF || to->nr == FLAT_WORDS)
		return false;
	f->off[to->nr] = (uint16_t)words;
	f->val[to->nr] = val;
	f->relative |= (uint32_t)relative << to->nr;
	f->span_words = (uint16_t)MAX(f->span_words, words + 1);
	to->nr++;
	return true;
}

/* Adds what a part depends on; false: it does not fit. */
static bool append_part(struct flattening *to, const struct memo_part *part)
{
	uintptr_t base = to->bytes / sizeof(uintptr_t);
	struct flat *f = &to->flat;
	unsigned int i;

	if (part->flags & MEMO_USES_FP) {
		if (to->fp_words == MEMO_FP_SAME) {
			f->special |= FLAT_USES_FP;
			f->fp = part->fp + to->bytes;
		} else if (!append_word(to, to->fp_words, part->fp + to->bytes,
					true)) {
			return false;
		}
	}
	for (i = 0; i < part->nr_words; i++) {
		bool relative = part->relative >> i & 1;

		if (!append_word(to, base + part->off[i],
				 part->val[i] + (relative ? to->bytes : 0),
				 relative))
			return false;
	}
	if (part->fp_off != MEMO_FP_SAME) {
		to->fp_words = (uint32_t)(base + part->fp_off);
		if (to->fp_words >= FLAT_MAX_OFF)
			return false;
	}
	to->frames += part->nr_frames;
	to->bytes += part->next_bytes;
	return true;
}

/* A part of this very version. */
static bool read_part(struct memo_part *to, uint32_t index, uint32_t seq)
{
	const struct memo_part *from = &parts[index];
	unsigned int i;

	if (__atomic_load_n(&from->seq, __ATOMIC_ACQUIRE) != seq)
		return false;
	to->fp = LOAD(from->fp);
	to->behind = LOAD(from->behind);
	to->next_bytes = LOAD(from->next_bytes);
	to->nr_words = LOAD(from->nr_words);
	to->nr_frames = LOAD(from->nr_frames);
	to->nr_self = LOAD(from->nr_self);
	to->flags = LOAD(from->flags);
	to->fp_off = LOAD(from->fp_off);
	to->offs[0] = LOAD(from->offs[0]);
	to->offs[1] = LOAD(from->offs[1]);
	for (i = 0; i < MEMO_WORDS; i++)
		to->val[i] = LOAD(from->val[i]);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return LOAD(from->seq) == seq;
}

/*
 * Keeps the stack that begins with that version of a part in one piece, as far as whole
 * parts fit.
 */
static __attribute__((noinline)) void
flatten(const struct start *at, uint32_t index, uint32_t seq, uint32_t site)
{
	struct flattening to = { .fp_words = MEMO_FP_SAME, .frames = 1 }, was;
	unsigned int i, max = TRACE_MAX_FRAMES;
	struct memo_part part;

	do {
		was = to;
		if (!read_part(&part, index, seq))
			return;
		if (!to.nr)
			max += part.nr_self;
		if (!append_part(&to, &part)) {
			to = was;
			to.flat.outer = index;
			to.flat.outer_seq = seq;
			break;
		}
		to.flat.behind = part.behind;
		index = part.outer;
		seq = part.outer_seq;
		if (to.frames >= max)
			to.flat.outer = MEMO_END;
	} while (to.flat.outer < NR_PARTS);
	if (!to.nr || to.flat.outer == MEMO_OPEN)
		return;
	to.flat.site = site;
	to.flat.room = (uint8_t)(max - MIN(max, to.frames));
	to.flat.credit = FLAT_CREDIT;
	to.flat.pc = at->key;
	to.flat.sp = at->place;
	to.flat.next_bytes = (uint32_t)to.bytes;
	to.flat.fp_off = (uint16_t)to.fp_words;
	if (to.fp_words != MEMO_FP_SAME)
		to.flat.span_words =
			(uint16_t)MAX(to.flat.span_words, to.fp_words + 1);
	for (i = to.nr; i % FLAT_GROUP_WORDS; i++)
		append_word(&to, to.flat.off[0], to.flat.val[0],
			    to.flat.relative & 1);
	to.flat.nr_groups = (uint8_t)(to.nr / FLAT_GROUP_WORDS);
	if (to.flat.relative)
		to.flat.special |= FLAT_RELATIVE;
	flat_keep(flat_hash(at), &to.flat);
}

/* A stack was recognised by its parts, for the n-th time. */
#define FLAT_AFTER 16

FRAME_INLINE void note_recognised(const struct start *at, uint32_t index,
				  uint32_t seq, uint32_t site)
{
	uint8_t times = LOAD(used[index]);

	if (times < FLAT_AFTER) {
		STORE(used[index], (uint8_t)(times + 1));
		return;
	}
	learn_hint(at);
	if (flat_wants(flat_hash(at)))
		flatten(at, index, seq, site);
}

static __attribute__((noinline)) uint32_t find_parts(const struct start *at)
{
	uint32_t index, seq, site;
	bool far = false;

	site = find_in_set(live_hash(at->pc, at->sp, LOOK_AHEAD), at, true,
			   &index, &seq, &far);
	if (unlikely(!site) && far)
		site = find_far(at, true, &index, &seq);
	if (likely(site))
		note_recognised(at, index, seq, site);
	return site;
}

uint32_t memo_find(const struct unwind_regs *regs)
{
	struct start at;
	uint32_t site;

	if (unlikely(!parts || regs->exact))
		return 0;
	frame_range_begin(regs->sp);
	at = start_of(regs, epoch_now());
	site = find_flat(flat_hash(&at), &at);
	return likely(site) ? site : find_parts(&at);
}

/* Gives a way a part, or finds it has one.  False: none is left. */
static bool give_part(uint16_t *nr)
{
	uint16_t none = 0;
	uint32_t n;

	if (LOAD(*nr))
		return true;
	if (LOAD(nr_given) == NR_PARTS)
		return false;
	n = __atomic_add_fetch(&nr_given, 1, __ATOMIC_RELAXED);
	if (n > NR_PARTS) {
		STORE(nr_given, (uint32_t)NR_PARTS);
		return false;
	}
	/* a page that is read first is faulted in twice */
	STORE(parts[n - 1].seq, 0);
	/* of two threads one loses a part, for good */
	__atomic_compare_exchange_n(nr, &none, (uint16_t)n, false,
				    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return true;
}

/* A way that is free, else one not used since it was asked last, else by turns. */
static uint32_t choose_way(uint32_t set)
{
	static uint32_t turn;
	uint32_t way, i, first = LOAD(turn) + 1;

	for (way = 0; way < WAYS; way++)
		if (!LOAD(sets[set].mark[way]) && give_part(&sets[set].nr[way]))
			return way;
	STORE(turn, first);
	for (i = 0; i < WAYS; i++) {
		way = (first + i) % WAYS;
		if (!LOAD(sets[set].nr[way]))
			continue;
		if (!LOAD(used[part_in(set, way)]))
			break;
		STORE(used[part_in(set, way)], 0);
	}
	return way;
}

/* ---- walking --------------------------------------------------------------------------- */

/* A place where every part ends that comes by. */
static inline bool is_cut(const struct unwind_regs *r)
{
	return (hash_of(r->pc, place_of(r->sp)) >> 20 & 7) == 0;
}

/*
 * Chooses where the part that begins at r is kept, if it is: its lines, which nobody has
 * touched for long, come while the frames are walked.
 */
static uint8_t prepare_way(const struct unwind_regs *r)
{
	uint64_t hash = live_hash(r->pc, r->sp, LOOK_AHEAD);
	uint32_t set = (uint32_t)(hash >> SET_SHIFT), way = choose_way(set);
	uint32_t nr = LOAD(sets[set].nr[way]);

	if (nr) {
		__builtin_prefetch(&parts[nr - 1], 1);
		__builtin_prefetch(&parts[nr - 1].val, 1);
	}
	return (uint8_t)way;
}

/*
 * What is behind r, after nr frames: a chain that matches, whole, and has a node that
 * leaves room for these frames.  r's own pc is the last of them.
 */
static bool find_tail(const struct unwind_regs *r, struct memo_walk *walk,
		      size_t nr)
{
	struct start at = start_of(r, walk->epoch);
	uint32_t index, seq, node;
	bool far = false;

	if (r->exact || r->sp < frame_stack.here.lo ||
	    r->sp >= frame_stack.here.hi)
		return false;
	node = find_in_set(live_hash(r->pc, r->sp, LOOK_AHEAD), &at, false,
			   &index, &seq, &far);
	if (!node && far)
		node = find_far(&at, false, &index, &seq);
	if (!node || nr - 1 + depot_depth(node) > TRACE_MAX_FRAMES)
		return false;
	walk->tail = index;
	walk->tail_seq = seq;
	walk->node = node;
	return true;
}

/* Offset of a word from the part's SP; false: not one that fits. */
static bool word_off(uintptr_t sp, uintptr_t addr, uint16_t *off)
{
	uintptr_t words = (addr - sp) / sizeof(uintptr_t);

	if (addr < sp || addr % sizeof(uintptr_t) || words >= MEMO_FP_SAME)
		return false;
	*off = (uint16_t)words;
	return true;
}

/* From what was noted between *from and *to. */
static void fill_part(struct memo_part *part, const struct unwind_regs *from,
		      const struct unwind_regs *to,
		      const struct frame_reads *reads)
{
	bool fits = !from->exact && to->sp >= from->sp &&
		    to->sp - from->sp < UINT32_MAX;
	unsigned int i, returns = 0;
	uint16_t last = 0;

	part->sp = from->sp;
	part->pc = from->pc;
	part->fp = from->fp - from->sp;
	part->relative = 0;
	part->next_bytes = (uint32_t)(to->sp - from->sp);
	part->nr_words = (uint8_t)reads->nr;
	part->nr_frames = (uint8_t)__builtin_popcount(reads->ra_mask);
	part->flags = reads->uses_fp ? MEMO_USES_FP : 0;
	part->fp_off = MEMO_FP_SAME;
	part->nr_self = unwind_is_self(from->pc);
	for (i = 0; fits && i < reads->nr; i++) {
		fits = word_off(from->sp, reads->addr[i], &part->off[i]);
		part->val[i] = reads->val[i];
		last = MAX(last, part->off[i]);
		if (!(reads->ra_mask >> i & 1)) {
			part->val[i] -= from->sp;
			part->relative |= (uint16_t)(1U << i);
			continue;
		}
		if (part->nr_self == ++returns && unwind_is_self(part->val[i]))
			part->nr_self++;
	}
	if (fits && reads->fp_from != FRAME_FP_START) {
		fits = word_off(from->sp, reads->fp_addr, &part->fp_off);
		last = MAX(last, part->fp_off);
	}
	for (i = reads->nr; reads->nr && i < MEMO_WORDS; i++) {
		part->off[i] = part->off[0];
		part->val[i] = part->val[0];
		part->relative |= (uint16_t)((part->relative & 1U) << i);
	}
	part->span_words = last + 1U;
	if (!fits)
		part->flags |= MEMO_NEVER;
}

/*
 * One part from r on.  Returns what ended it: FRAME_STEPPED at a cut; FRAME_SIGNAL,
 * with r as it is behind the signal frame; or the end of the walk.
 */
static enum frame_next walk_part(struct unwind_regs *r, struct memo_part *part,
				 uintptr_t *pcs, size_t *nr)
{
	const struct unwind_regs from = *r;
	struct unwind_regs was = from;
	struct frame_reads reads, before;
	enum frame_next next;

	frame_reads_begin(&reads);
	for (;;) {
		if (reads.nr + FRAME_STEP_WORDS > MEMO_WORDS) {
			was = *r;
			before = reads;
		}
		next = frame_next(r, &reads);
		if (reads.nr > MEMO_WORDS) {
			*r = was;
			reads = before;
			next = FRAME_STEPPED;
			break;
		}
		if (next > FRAME_SIGNAL)
			break;
		if (*nr > 0 || !unwind_is_self(r->pc))
			pcs[(*nr)++] = r->pc + r->exact;
		if (next == FRAME_SIGNAL || from.exact || is_cut(r) ||
		    *nr == TRACE_MAX_FRAMES)
			break;
	}
	fill_part(part, &from, r, &reads);
	if (next == FRAME_SIGNAL || next >= FRAME_UNREADABLE)
		part->flags |= MEMO_NEVER;
	return next;
}

static enum unwind_end end_of_walk(enum frame_next next)
{
	if (next <= FRAME_SIGNAL)
		return UNWIND_FULL;
	if (next == FRAME_OUTERMOST)
		return UNWIND_WHOLE;
	return next == FRAME_ODD ? UNWIND_ODD : UNWIND_LOST;
}

static struct memo_part *part_of(struct memo_walk *walk, uint32_t i)
{
	return &walk->part[i % MEMO_MAX_PARTS];
}

size_t memo_walk(const struct unwind_regs *regs, struct memo_walk *walk,
		 uintptr_t *pcs, enum unwind_end *end)
{
	struct unwind_regs r = *regs;
	enum frame_next next = FRAME_STEPPED;
	size_t nr = 0;

	walk->epoch = epoch_now();
	walk->nr_parts = 0;
	walk->tail = MEMO_OPEN;
	walk->node = 0;
	frame_range_begin(r.sp);
	if (!unwind_is_self(r.pc))
		pcs[nr++] = r.pc;
	while (next <= FRAME_SIGNAL && nr < TRACE_MAX_FRAMES) {
		if (walk->nr_parts && nr && find_tail(&r, walk, nr)) {
			*end = UNWIND_WHOLE;
			return nr - 1;
		}
		part_of(walk, walk->nr_parts)->node = (uint32_t)nr;
		if (parts)
			walk->way[walk->nr_parts % MEMO_MAX_PARTS] =
				prepare_way(&r);
		next = walk_part(&r, part_of(walk, walk->nr_parts++), pcs, &nr);
	}
	if (next == FRAME_OUTERMOST || next == FRAME_LOST)
		walk->tail = MEMO_END;
	*end = end_of_walk(next);
	return nr;
}

/* ---- keeping -------------------------------------------------------------------------------- */

static bool same_part(const struct memo_part *a, const struct memo_part *b)
{
	unsigned int i;

	if (LOAD(a->pc) != b->pc || LOAD(a->sp) != place_of(b->sp) ||
	    LOAD(a->relative) != b->relative ||
	    LOAD(a->nr_words) != b->nr_words || LOAD(a->flags) != b->flags ||
	    (b->flags & MEMO_USES_FP && LOAD(a->fp) != b->fp) ||
	    LOAD(a->next_bytes) != b->next_bytes ||
	    LOAD(a->fp_off) != b->fp_off)
		return false;
	for (i = 0; i < b->nr_words; i++)
		if (LOAD(a->off[i]) != b->off[i] ||
		    LOAD(a->val[i]) != b->val[i])
			return false;
	return true;
}

/* Makes seq odd; false: somebody else writes, or it is not seq any more. */
static bool write_begin(struct memo_part *part, uint32_t seq)
{
	if (seq & 1)
		return false;
	if (sys_alone()) {
		part->seq = seq | 1;
		return true;
	}
	if (!__atomic_compare_exchange_n(&part->seq, &seq, seq | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return false;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return true;
}

static void copy_part(struct memo_part *to, const struct memo_part *from)
{
	unsigned int i;

	STORE(to->site, 0);
	STORE(to->node, from->node);
	STORE(to->pc, from->pc);
	STORE(to->sp, place_of(from->sp));
	STORE(to->relative, from->relative);
	STORE(to->fp, from->fp);
	STORE(to->behind, from->behind);
	STORE(to->next_bytes, from->next_bytes);
	STORE(to->fp_off, from->fp_off);
	STORE(to->span_words, from->span_words);
	STORE(to->nr_words, from->nr_words);
	STORE(to->nr_frames, from->nr_frames);
	STORE(to->nr_self, from->nr_self);
	STORE(to->flags, from->flags);
	for (i = 0; i < MEMO_WORDS; i++) {
		STORE(to->off[i], from->off[i]);
		STORE(to->val[i], from->val[i]);
	}
}

/* Does what a part names behind itself still exist? */
static bool has_outer(const struct memo_part *part)
{
	uint64_t behind = LOAD(part->behind);
	uint32_t outer = (uint32_t)behind;

	return outer >= NR_PARTS ||
	       LOAD(parts[outer].seq) == (uint32_t)(behind >> 32);
}

enum found {
	FOUND_NONE, /* not these words; or with what is gone behind them: to write to */
	FOUND_OTHER, /* these words with something else behind them */
	FOUND_SAME,  /* the same stack */
};

/* The way that says already what a part is to say, of the stack with that site. */
static enum found find_same(uint64_t hash, const struct memo_part *part,
			    uint32_t site, uint32_t *way, uint32_t *seq)
{
	uint32_t set = (uint32_t)(hash >> SET_SHIFT), w, here;
	enum found found = FOUND_NONE;
	unsigned int nr = 0;

	*way = WAYS;
	for (w = 0; w < WAYS; w++) {
		const struct memo_part *p;
		bool same, useless;

		if (LOAD(sets[set].mark[w]) != mark_of(hash))
			continue;
		p = &parts[part_in(set, w)];
		if (++nr == WAYS)
			found = FOUND_OTHER;
		here = __atomic_load_n(&p->seq, __ATOMIC_ACQUIRE);
		if (here & 1 || !same_part(p, part))
			continue;
		same = LOAD(p->behind) == part->behind ||
		       (part->node && LOAD(p->node) == part->node);
		useless = LOAD(p->outer) == MEMO_OPEN || !has_outer(p) ||
			  (site && LOAD(p->site) == site);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD(p->seq) != here)
			continue;
		if (same || useless) {
			*way = w;
			*seq = here;
		}
		if (same)
			return FOUND_SAME;
		found = FOUND_OTHER;
	}
	return *way == WAYS ? found : FOUND_NONE;
}

/*
 * A part that is there, with the same stack behind it as ever, in another place: parts
 * that name this one go on to stand for what they stood for, so seq remains.
 */
static void link_again(struct memo_part *to, uint32_t seq, uint64_t behind)
{
	if (LOAD(to->behind) == behind || !write_begin(to, seq))
		return;
	STORE(to->behind, behind);
	__atomic_store_n(&to->seq, seq, __ATOMIC_RELEASE);
}

/* Writes the part there; false: somebody else does. */
static bool write_part(uint64_t hash, uint32_t way,
		       const struct memo_part *part, uint32_t *seq)
{
	uint32_t set = (uint32_t)(hash >> SET_SHIFT);
	uint32_t index = part_in(set, way);
	struct memo_part *to = &parts[index];

	*seq = __atomic_load_n(&to->seq, __ATOMIC_ACQUIRE);
	if (!write_begin(to, *seq))
		return false;
	copy_part(to, part);
	STORE(sets[set].mark[way], mark_of(hash));
	STORE(used[index], 0);
	*seq += 2;
	__atomic_store_n(&to->seq, *seq, __ATOMIC_RELEASE);
	return true;
}

/*
 * The way that was chosen while part i was walked, if none of the outer parts, which are
 * kept by now, has taken it: else WAYS.
 */
static uint32_t prepared_way(const struct memo_walk *walk, uint32_t i,
			     uint32_t set)
{
	uint32_t way = walk->way[i % MEMO_MAX_PARTS], k;
	uint32_t index = part_in(set, way);

	if (index == walk->tail)
		return WAYS;
	for (k = i + 1; k < walk->nr_parts; k++)
		if (walk->kept[k % MEMO_MAX_PARTS] == index)
			return WAYS;
	return way;
}

/*
 * Index of part i of the walk in the table, its version in *seq; MEMO_OPEN: not kept.
 * site: that of the stack which begins with the part; 0: none does.
 */
static uint32_t keep_part(struct memo_walk *walk, uint32_t i, uintptr_t pc,
			  uint32_t site, uint32_t *seq)
{
	const struct memo_part *part = part_of(walk, i);
	uint64_t hash = live_hash(pc, part->sp, LOOK_AHEAD);
	uint32_t set = (uint32_t)(hash >> SET_SHIFT), way;
	enum found found = find_same(hash, part, site, &way, seq);

	if (found == FOUND_OTHER) {
		hash = live_hash(pc, part->sp, LOOK_FAR);
		set = (uint32_t)(hash >> SET_SHIFT);
		found = find_same(hash, part, site, &way, seq);
	} else if (way == WAYS) {
		way = prepared_way(walk, i, set);
	}
	if (way == WAYS)
		way = choose_way(set);
	if (!LOAD(sets[set].nr[way]))
		return MEMO_OPEN;
	if (found == FOUND_SAME)
		link_again(&parts[part_in(set, way)], *seq, part->behind);
	else if (!write_part(hash, way, part, seq))
		return MEMO_OPEN;
	walk->kept[i % MEMO_MAX_PARTS] = part_in(set, way);
	return part_in(set, way);
}

/* The site of the stack that begins with this very version of a part. */
static void keep_site(uint32_t index, uint32_t seq, uint32_t site)
{
	struct memo_part *part = &parts[index];

	if (LOAD(part->site) == site || !write_begin(part, seq))
		return;
	STORE(part->site, site);
	__atomic_store_n(&part->seq, seq, __ATOMIC_RELEASE);
}

/*
 * Until here a part's node is the number of frames before it, its own pc included.
 * What is cut at the outer end is not the whole stack: no node.
 */
static uint32_t node_of(const struct memo_walk *walk,
			const struct memo_part *part, const uint32_t *chain)
{
	return chain && part->node && walk->tail != MEMO_OPEN
		       ? chain[part->node - 1]
		       : 0;
}

void memo_learn(struct memo_walk *walk, uint32_t site, const uint32_t *chain)
{
	uint32_t outer = walk->tail, seq = walk->tail_seq, i = walk->nr_parts;
	uint32_t lost = i > MEMO_MAX_PARTS ? i - MEMO_MAX_PARTS : 0;

	if (!parts || walk->epoch != epoch_now())
		return;
	while (i-- > lost) {
		struct memo_part *part = part_of(walk, i);
		uintptr_t pc = part->pc;

		if (part->flags & MEMO_NEVER)
			return;
		part->pc ^= walk->epoch;
		part->node = node_of(walk, part, chain);
		part->outer = outer;
		part->outer_seq = outer < NR_PARTS ? seq : 0;
		outer = keep_part(walk, i, pc, i ? 0 : site, &seq);
		if (outer == MEMO_OPEN)
			return;
	}
	if (!lost)
		keep_site(outer, seq, site);
}
