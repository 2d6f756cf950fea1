/* SPDX-License-Identifier: MIT */
/*
 * bitset.h - address-ordered set of block numbers: the buddy's free lists.
 *
 * Owns:   bit trees.  Bit i of level[0] is block i; bit i of level[l+1] says
 *         that word i of level[l] is not zero.
 * Layer:  mm.
 * Locks:  the zone's, held by the caller.
 */
#ifndef BS_MM_BITSET_H
#define BS_MM_BITSET_H

#include "preload/mm/mm.h"

#define BITSET_NONE UINT64_MAX

/* 64-bit words for nr_bits, all levels. */
static inline uint64_t bitset_words(uint64_t nr_bits)
{
	uint64_t words = 0;

	do {
		nr_bits = (nr_bits + 63) / 64;
		words += nr_bits;
	} while (nr_bits > 1);
	return words;
}

/* mem: bitset_words() zeroed words. */
static inline void bitset_init(struct bitset *b, uint64_t nr_bits,
			       uint64_t *mem)
{
	b->nr_bits = nr_bits;
	b->nr_levels = 0;
	do {
		nr_bits = (nr_bits + 63) / 64;
		b->level[b->nr_levels++] = mem;
		mem += nr_bits;
	} while (nr_bits > 1);
}

static inline bool bitset_test(const struct bitset *b, uint64_t i)
{
	return b->level[0][i / 64] >> (i % 64) & 1;
}

static inline void bitset_set(struct bitset *b, uint64_t i)
{
	unsigned int l;

	for (l = 0; l < b->nr_levels; l++, i /= 64) {
		uint64_t *word = &b->level[l][i / 64];
		uint64_t old = *word;

		*word = old | 1ULL << (i % 64);
		if (old)
			break;
	}
}

static inline void bitset_clear(struct bitset *b, uint64_t i)
{
	unsigned int l;

	for (l = 0; l < b->nr_levels; l++, i /= 64) {
		uint64_t *word = &b->level[l][i / 64];

		*word &= ~(1ULL << (i % 64));
		if (*word)
			break;
	}
}

/* Lowest member, BITSET_NONE when empty. */
static inline uint64_t bitset_first(const struct bitset *b)
{
	unsigned int l = b->nr_levels;
	uint64_t i = 0;

	while (l--) {
		uint64_t word = b->level[l][i];

		if (!word)
			return BITSET_NONE;
		i = i * 64 + (unsigned int)__builtin_ctzll(word);
	}
	return i;
}

/* Highest member, BITSET_NONE when empty. */
static inline uint64_t bitset_last(const struct bitset *b)
{
	unsigned int l = b->nr_levels;
	uint64_t i = 0;

	while (l--) {
		uint64_t word = b->level[l][i];

		if (!word)
			return BITSET_NONE;
		i = i * 64 + 63 - (unsigned int)__builtin_clzll(word);
	}
	return i;
}

/* Lowest member >= from, BITSET_NONE when there is none. */
static inline uint64_t bitset_next(const struct bitset *b, uint64_t from)
{
	unsigned int l;
	uint64_t i = from;

	if (from >= b->nr_bits)
		return BITSET_NONE;
	for (l = 0; l < b->nr_levels; l++) {
		uint64_t word = b->level[l][i / 64] >> (i % 64);

		if (word) {
			i += (unsigned int)__builtin_ctzll(word);
			while (l--)
				i = i * 64 + (unsigned int)__builtin_ctzll(
						     b->level[l][i]);
			return i;
		}
		i = i / 64 + 1;
		if (l + 1 < b->nr_levels &&
		    i >= (b->nr_bits + (1ULL << (6 * (l + 1))) - 1) >>
			    (6 * (l + 1)))
			return BITSET_NONE;
	}
	return BITSET_NONE;
}

#endif
