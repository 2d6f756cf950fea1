/* SPDX-License-Identifier: MIT */
/*
 * memo_learn.c - a stack that the memo does not know is walked, and kept.
 *
 * Owns:   which parts the table has.
 * Layer:  trace; beside memo.c.
 * Locks:  none.  A part is written by whoever makes its seq odd; who loses does
 *         without.
 */
#include "preload/sys/sys.h"
#include "preload/trace/depot.h"
#include "preload/trace/frame.h"
#include "preload/trace/memo_table.h"

/* ---- room ------------------------------------------------------------------------------ */

/* Gives a way a part, or finds it has one.  False: none is left. */
static bool give_part(uint16_t *nr)
{
	uint16_t none = 0;
	uint32_t n;

	if (LOAD(*nr))
		return true;
	if (LOAD(memo_table.nr_given) == NR_PARTS)
		return false;
	n = __atomic_add_fetch(&memo_table.nr_given, 1, __ATOMIC_RELAXED);
	if (n > NR_PARTS) {
		STORE(memo_table.nr_given, (uint32_t)NR_PARTS);
		return false;
	}
	/* a page that is read first is faulted in twice */
	STORE(memo_table.parts[n - 1].seq, 0);
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

	for (way = 0; way < MEMO_WAYS; way++)
		if (!LOAD(memo_table.sets[set].mark[way]) &&
		    give_part(&memo_table.sets[set].nr[way]))
			return way;
	STORE(turn, first);
	for (i = 0; i < MEMO_WAYS; i++) {
		way = (first + i) % MEMO_WAYS;
		if (!LOAD(memo_table.sets[set].nr[way]))
			continue;
		if (!LOAD(memo_used[part_in(set, way)]))
			break;
		STORE(memo_used[part_in(set, way)], 0);
	}
	return way;
}

/* ---- walking --------------------------------------------------------------------------- */

/* A place where every part ends that comes by. */
static inline bool is_cut(const struct unwind_regs *r)
{
	return (hash_of(r->pc, place_of(r->sp)) >> 20 & 7) == 0;
}

/* Its stack may be looked at without asking, as the memo does. */
static bool is_in_range(const struct unwind_regs *r)
{
	return !r->exact && r->sp >= frame_stack.here.lo &&
	       r->sp < frame_stack.here.hi;
}

/*
 * Chooses where the part that begins at r is kept, if it is: its lines, which nobody has
 * touched for long, come while the frames are walked.
 */
static void prepare_way(struct memo_walk *walk, uint32_t i,
			const struct unwind_regs *r)
{
	uint32_t set, way, nr;

	walk->way[i % MEMO_MAX_PARTS] = MEMO_WAYS;
	if (!memo_table.parts || !is_in_range(r))
		return;
	set = (uint32_t)(live_hash(r->pc, r->sp, LOOK_AHEAD) >> SET_SHIFT);
	way = choose_way(set);
	nr = LOAD(memo_table.sets[set].nr[way]);
	if (!nr)
		return;
	walk->set[i % MEMO_MAX_PARTS] = (uint16_t)set;
	walk->way[i % MEMO_MAX_PARTS] = (uint8_t)way;
	__builtin_prefetch(&memo_table.parts[nr - 1], 1);
	__builtin_prefetch(&memo_table.parts[nr - 1].val, 1);
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

	if (!is_in_range(r))
		return false;
	node = memo_find_node(&at, &index, &seq);
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
		prepare_way(walk, walk->nr_parts, &r);
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
	       LOAD(memo_table.parts[outer].seq) == (uint32_t)(behind >> 32);
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

	*way = MEMO_WAYS;
	for (w = 0; w < MEMO_WAYS; w++) {
		const struct memo_part *p;
		bool same, useless;

		if (LOAD(memo_table.sets[set].mark[w]) != mark_of(hash) ||
		    !LOAD(memo_table.sets[set].nr[w]))
			continue;
		p = &memo_table.parts[part_in(set, w)];
		if (++nr == MEMO_WAYS)
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
	return *way == MEMO_WAYS ? found : FOUND_NONE;
}

/*
 * A part that is there, with the same stack behind it as ever, in another place: parts
 * that name this one go on to stand for what they stood for, so seq remains.
 */
static void link_again(struct memo_part *to, uint32_t seq, uint64_t behind)
{
	if (LOAD(to->behind) == behind || !seq_write_begin(&to->seq, seq))
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
	struct memo_part *to = &memo_table.parts[index];

	*seq = __atomic_load_n(&to->seq, __ATOMIC_ACQUIRE);
	if (!seq_write_begin(&to->seq, *seq))
		return false;
	copy_part(to, part);
	STORE(memo_table.sets[set].mark[way], mark_of(hash));
	STORE(memo_used[index], 0);
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
	uint32_t way = walk->way[i % MEMO_MAX_PARTS], index, k;

	if (way == MEMO_WAYS || walk->set[i % MEMO_MAX_PARTS] != set)
		return MEMO_WAYS; /* its rule was learnt meanwhile */
	index = part_in(set, way);
	if (index == walk->tail)
		return MEMO_WAYS;
	for (k = i + 1; k < walk->nr_parts; k++)
		if (walk->kept[k % MEMO_MAX_PARTS] == index)
			return MEMO_WAYS;
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
	} else if (way == MEMO_WAYS) {
		way = prepared_way(walk, i, set);
	}
	if (way == MEMO_WAYS)
		way = choose_way(set);
	if (!LOAD(memo_table.sets[set].nr[way]))
		return MEMO_OPEN;
	if (found == FOUND_SAME)
		link_again(&memo_table.parts[part_in(set, way)], *seq,
			   part->behind);
	else if (!write_part(hash, way, part, seq))
		return MEMO_OPEN;
	walk->kept[i % MEMO_MAX_PARTS] = part_in(set, way);
	return part_in(set, way);
}

/* The site of the stack that begins with this very version of a part. */
static void keep_site(uint32_t index, uint32_t seq, uint32_t site)
{
	struct memo_part *part = &memo_table.parts[index];

	if (LOAD(part->site) == site || !seq_write_begin(&part->seq, seq))
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

	if (!memo_table.parts || walk->epoch != epoch_now())
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
