/* SPDX-License-Identifier: MIT */
/*
 * flat.c - which stacks are kept in one piece.
 *
 * Owns:   the table.
 * Layer:  trace.
 * Locks:  none.  An entry is written by whoever makes its seq odd; who loses does
 *         without.
 *
 * The table begins with a page and doubles when it fills; what then is in the wrong set is
 * kept anew.
 */
#include "preload/trace/flat.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/sys/sys.h"

#define FIRST_MASK 3U
#define MAX_MASK   (FLAT_NR_SETS - 1)
#define MAX_BYTES  ((1UL << FLAT_MAX_BITS) * sizeof(struct flat))

SYS_HOT struct flat *flat_table;
SYS_HOT uint32_t flat_mask;
uint8_t flat_crowded[FLAT_NR_SETS];
static uint32_t nr_used; /* entries, of what is in use */

int flat_init(void)
{
	flat_table = sys_reserve(MAX_BYTES);
	flat_mask = FIRST_MASK;
	nr_used = 0;
	return flat_table ? 0 : -ENOMEM;
}

void flat_destroy(void)
{
	if (flat_table)
		sys_munmap(flat_table, MAX_BYTES);
	flat_table = NULL;
}

void flat_forget(void)
{
	sys_madvise(flat_table, MAX_BYTES, MADV_DONTNEED);
	memset(flat_crowded, 0, sizeof(flat_crowded));
}

uint64_t flat_bytes(void)
{
	return (LOAD(flat_mask) + 1UL) * FLAT_WAYS * sizeof(struct flat);
}

bool flat_matches_special(const struct flat *f, uint32_t seq, uintptr_t sp,
			  uintptr_t fp)
{
	unsigned int g, i, nr = LOAD(f->nr_groups);
	uint32_t relative = LOAD(f->relative);
	uintptr_t differ = 0;

	if (LOAD(f->special) & FLAT_USES_FP && LOAD(f->fp) != fp - sp)
		return false;
	for (g = 0; g < nr; g++, relative >>= FLAT_GROUP_WORDS) {
		uint64_t offs = LOAD(f->offs[g]);

		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (LOAD(f->seq) != seq)
			return false;
#pragma GCC unroll 4
		for (i = 0; i < FLAT_GROUP_WORDS; i++) {
			uintptr_t from = relative >> i & 1 ? sp : 0;

			differ |= (stack_word(sp, off_in(&offs, i)) - from) ^
				  LOAD(f->val[g * FLAT_GROUP_WORDS + i]);
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return !differ && LOAD(f->seq) == seq;
}

/* ---- keeping ----------------------------------------------------------------------- */

/* An entry as words, which are stored and loaded one by one. */
typedef uint64_t __attribute__((may_alias)) word_t;

#define NR_WORDS   (sizeof(struct flat) / sizeof(word_t))
#define WORD_OF(x) (offsetof(struct flat, x) / sizeof(word_t))

/* All but seq and site, which are in the first word. */
static void copy(struct flat *to, const struct flat *from)
{
	const word_t *in = (const word_t *)from;
	word_t *out = (word_t *)to;
	size_t i;

	for (i = 1; i < NR_WORDS; i++)
		STORE(out[i], in[i]);
}

/* The same stack?  What lies behind it may have moved. */
static bool is_same(const struct flat *a, const struct flat *b)
{
	const word_t *x = (const word_t *)a, *y = (const word_t *)b;
	size_t i;

	for (i = 1; i < NR_WORDS; i++)
		if (i != WORD_OF(behind) && i != WORD_OF(credit) &&
		    LOAD(x[i]) != y[i])
			return false;
	return LOAD(a->site) == b->site;
}

static void grow(void)
{
	uint32_t mask = LOAD(flat_mask);

	if (mask < MAX_MASK && LOAD(nr_used) * 4 > (mask + 1) * FLAT_WAYS) {
		memset(flat_crowded, 0, sizeof(flat_crowded));
		STORE(flat_mask, mask * 2 + 1);
	}
}

static bool has_room(const struct flat *f)
{
	return !(LOAD(f->seq) & 1) && (!LOAD(f->site) || !LOAD(f->credit));
}

bool flat_wants(uint64_t hash)
{
	struct flat *set = flat_set(hash);
	uint8_t credit;
	uint32_t i;

	for (i = 0; i < FLAT_WAYS; i++)
		if (has_room(&set[i]))
			return true;
	for (i = 0; i < FLAT_WAYS; i++) {
		credit = LOAD(set[i].credit);
		if (credit)
			STORE(set[i].credit, (uint8_t)(credit - 1));
	}
	grow();
	return false;
}

bool flat_crowd(uint64_t hash, const struct start *at)
{
	const struct flat *set = flat_set(hash);
	uint32_t i;

	for (i = 0; i < FLAT_WAYS; i++)
		if (LOAD(set[i].pc) != at->key || LOAD(set[i].sp) != at->place)
			return false;
	STORE(flat_crowded[flat_set_nr(hash)], 1);
	return true;
}

/* from's seq and credit do not matter. */
static void keep(uint64_t hash, const struct flat *from)
{
	struct flat *set = flat_set(hash), *to = NULL;
	uint32_t i, seq;

	for (i = 0; i < FLAT_WAYS; i++) {
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

/* ---- making one of parts -------------------------------------------------------- */

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
	const struct memo_part *from = &memo_table.parts[index];
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

void flat_make(uint64_t hash, const struct start *at, uint32_t index,
	       uint32_t seq, uint32_t site)
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
	keep(hash, &to.flat);
}
