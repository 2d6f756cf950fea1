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

#include <string.h>

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

/* The words of head for the first nr_head blocks of a set of nr_bits. */
static inline uint64_t bitset_head_words(uint64_t nr_bits, uint64_t nr_head)
{
	uint64_t words = 0;

	nr_head = nr_bits < nr_head ? nr_bits : nr_head;
	do {
		nr_bits = (nr_bits + 63) / 64;
		nr_head = (nr_head + 63) / 64;
		words += nr_head;
	} while (nr_bits > 1);
	return words;
}

/*
 * mem: bitset_words() zeroed words; head: bitset_head_words(), zeroed.  What is in
 * head has a place in mem that is never touched.  nr_head: at most 2^20.
 */
static inline void bitset_init(struct bitset *b, uint64_t nr_bits,
			       uint64_t *mem, uint64_t nr_head, uint64_t *head)
{
	b->nr_bits = nr_bits;
	b->nr_levels = 0;
	b->head = head;
	b->head_at[0] = 0;
	nr_head = nr_bits < nr_head ? nr_bits : nr_head;
	do {
		nr_bits = (nr_bits + 63) / 64;
		nr_head = (nr_head + 63) / 64;
		b->level[b->nr_levels] = mem;
		b->head_at[b->nr_levels + 1] =
			(uint16_t)(b->head_at[b->nr_levels] + nr_head);
		b->nr_levels++;
		mem += nr_bits;
	} while (nr_bits > 1);
}

/* Word i of level l. */
static inline uint64_t *bitset_word(const struct bitset *b, unsigned int l,
				    uint64_t i)
{
	unsigned int at = b->head_at[l];

	return i < b->head_at[l + 1] - at ? &b->head[at + i] : &b->level[l][i];
}

static inline bool bitset_test(const struct bitset *b, uint64_t i)
{
	return *bitset_word(b, 0, i / 64) >> (i % 64) & 1;
}

static inline void bitset_set(struct bitset *b, uint64_t i)
{
	unsigned int l;

	for (l = 0; l < b->nr_levels; l++, i /= 64) {
		uint64_t *word = bitset_word(b, l, i / 64);
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
		uint64_t *word = bitset_word(b, l, i / 64);

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
		uint64_t word = *bitset_word(b, l, i);

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
		uint64_t word = *bitset_word(b, l, i);

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
		uint64_t word = *bitset_word(b, l, i / 64) >> (i % 64);

		if (word) {
			i += (unsigned int)__builtin_ctzll(word);
			while (l--)
				i = i * 64 + (unsigned int)__builtin_ctzll(
						     *bitset_word(b, l, i));
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

/* No member any more, whatever state the set was in. */
static inline void bitset_clear_all(struct bitset *b)
{
	memset(b->head, 0, b->head_at[b->nr_levels] * sizeof(uint64_t));
	memset(b->level[0], 0, bitset_words(b->nr_bits) * sizeof(uint64_t));
}

#endif
