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
#include <sys/mman.h>

#include "preload/sys/sys.h"

#define FIRST_MASK 3U
#define MAX_MASK   ((1U << FLAT_MAX_BITS) / FLAT_WAYS - 1)
#define MAX_BYTES  ((1UL << FLAT_MAX_BITS) * sizeof(struct flat))

struct flat *flat_table;
uint32_t flat_mask;
static uint32_t nr_used; /* entries, of what is in use */

#define LOAD(x)	    FLAT_LOAD(x)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

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

			differ |= (flat_word(sp, offs, i) - from) ^
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

	if (mask < MAX_MASK && LOAD(nr_used) * 4 > (mask + 1) * FLAT_WAYS)
		STORE(flat_mask, mask * 2 + 1);
}

static bool has_room(const struct flat *f)
{
	return !LOAD(f->site) || !LOAD(f->credit);
}

bool flat_wants(uint64_t hash)
{
	struct flat *set;
	uint8_t credit;
	uint32_t i;

	if (unlikely(!flat_table))
		return false;
	set = flat_set(hash);
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

void flat_keep(uint64_t hash, const struct flat *from)
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
	if (seq & 1 ||
	    !__atomic_compare_exchange_n(&to->seq, &seq, seq | 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		return;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (!LOAD(to->site))
		__atomic_fetch_add(&nr_used, 1, __ATOMIC_RELAXED);
	copy(to, from);
	STORE(to->site, from->site);
	__atomic_store_n(&to->seq, seq + 2, __ATOMIC_RELEASE);
}
