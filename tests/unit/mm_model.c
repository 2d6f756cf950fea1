/* SPDX-License-Identifier: MIT */
#include "tests/unit/mm_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

uint64_t test_seed(void)
{
	const char *given = getenv("BS_TEST_SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : sys_now_ns();

	printf("seed %llu (BS_TEST_SEED repeats it)\n",
	       (unsigned long long)seed);
	return seed;
}

uint64_t model_random(struct model *m)
{
	/* splitmix64 */
	uint64_t z = (m->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

void model_init(struct model *m, uint64_t seed, size_t max_bytes)
{
	memset(m, 0, sizeof(*m));
	m->random = seed;
	m->max_bytes = max_bytes;
}

/* Small sizes often, large ones now and then: every allocator has its turn. */
static size_t random_size(struct model *m)
{
	uint64_t r = model_random(m), kind = r % 1000;

	r >>= 10;
	if (kind < 5)
		return 0;
	if (kind < 800)
		return r % 600;
	if (kind < 950)
		return r % 20000;
	if (kind < 990)
		return r % (300UL << 10);
	if (kind < 998)
		return r % (6UL << 20);
	return r % (20UL << 20);
}

/* Both ends and a few places between: all pages of large blocks would be slow. */
static void each_probe(struct model_block *b, size_t size,
		       void (*fn)(unsigned char *p, unsigned char fill))
{
	size_t step = size > 8192 ? size / 61 : 1, i;

	for (i = 0; i < size; i += step)
		fn(b->p + i, (unsigned char)(b->fill + i));
	if (size)
		fn(b->p + size - 1, (unsigned char)(b->fill + 7));
}

static void write_probe(unsigned char *p, unsigned char fill)
{
	*p = fill;
}

static void check_probe(unsigned char *p, unsigned char fill)
{
	if (*p != fill)
		fail_msg("content of %p is %u, was written as %u", (void *)p,
			 *p, fill);
}

static void fill_block(struct model *m, struct model_block *b)
{
	b->fill = (unsigned char)model_random(m);
	each_probe(b, b->size, write_probe);
}

static void check_block(struct model_block *b)
{
	struct mm_block mb;

	/* The last byte may share its place with a step of the ramp. */
	if (b->size > 1 && b->size <= 8192) {
		size_t i;

		for (i = 0; i + 1 < b->size; i++)
			check_probe(b->p + i, (unsigned char)(b->fill + i));
	}
	if (b->size)
		check_probe(b->p + b->size - 1, (unsigned char)(b->fill + 7));
	assert_int_equal(mm_lookup(b->p, &mb), 0);
	assert_int_equal(mb.usable, b->usable);
	assert_true(mb.usable >= b->size);
}

uint64_t *tag_place(struct mm_block *b)
{
	return b->tag || (mm_keeps_tag(b) && mm_make_tag(b)) ? b->tag : NULL;
}

static void clear_tag(struct mm_block *mb)
{
	if (mb->tag && tag_is_live(*mb->tag)) {
		__atomic_store_n(mb->tag, 0, __ATOMIC_RELAXED);
		mm_tag_gone(mb);
	}
}

/*
 * As when modes change: one of four has a tag, so that slabs without any are met, too;
 * some sizes are never counted by their frames, the others mostly.
 */
static void set_tag(struct model *m, struct mm_block *mb, size_t size)
{
	if (model_random(m) % 4 == 0 && tag_place(mb))
		mm_set_tag(mb, tag_make(1, (uint32_t)(mb->usable - size), 1),
			   mb->usable % 32 && model_random(m) % 16);
	else
		clear_tag(mb);
}

static void step_alloc(struct model *m, struct model_block *b)
{
	static const size_t aligns[] = { 1, 16, 64, 256, 4096, 65536 };
	size_t size = random_size(m), i;
	size_t align = model_random(m) % 10
			       ? 1
			       : aligns[model_random(m) % ARRAY_SIZE(aligns)];
	bool zero = model_random(m) % 4 == 0;
	struct mm_block mb;

	if (m->live_bytes + size > m->max_bytes)
		return;
	b->p = mm_alloc(size, align, zero ? __GFP_ZERO : GFP_KERNEL);
	assert_non_null(b->p);
	assert_int_equal((uintptr_t)b->p & (MAX(align, KMALLOC_MINALIGN) - 1),
			 0);
	for (i = 0; zero && i<size; i += size> 65536 ? 997 : 1)
		assert_int_equal(b->p[i], 0);
	assert_int_equal(mm_lookup(b->p, &mb), 0);
	b->size = size;
	b->usable = mb.usable;
	b->align = align;
	set_tag(m, &mb, size);
	m->live_bytes += size;
	fill_block(m, b);
}

static void step_free(struct model *m, struct model_block *b)
{
	struct mm_block mb;

	check_block(b);
	assert_int_equal(mm_lookup(b->p, &mb), 0);
	clear_tag(&mb);
	assert_int_equal(mm_free(b->p, &mb), 0);
	m->live_bytes -= b->size;
	b->p = NULL;
}

/* In place or by moved pages; the first bytes stay. */
static void step_resize(struct model *m, struct model_block *b)
{
	size_t size = random_size(m), keep = MIN(size, b->size);
	struct mm_block mb;
	unsigned char *p;

	if (m->live_bytes + size > m->max_bytes || !size)
		return;
	check_block(b);
	assert_int_equal(mm_lookup(b->p, &mb), 0);
	p = mm_resize(b->p, &mb, size);
	if (!p)
		return;
	if (keep > 2 && keep < b->size && b->size <= 8192)
		assert_int_equal(p[keep - 2],
				 (unsigned char)(b->fill + keep - 2));
	m->live_bytes += size - b->size;
	b->p = p;
	b->size = size;
	b->usable = mb.usable;
	assert_true(b->usable >= size);
	set_tag(m, &mb, size);
	fill_block(m, b);
}

void model_step(struct model *m)
{
	struct model_block *b = &m->block[model_random(m) % MODEL_BLOCKS];

	if (!b->p)
		step_alloc(m, b);
	else if (model_random(m) % 5 == 0)
		step_resize(m, b);
	else
		step_free(m, b);
}

void model_free_all(struct model *m)
{
	unsigned int i;

	for (i = 0; i < MODEL_BLOCKS; i++)
		if (m->block[i].p)
			step_free(m, &m->block[i]);
}

void release(void *p)
{
	struct mm_block b;

	assert_int_equal(mm_lookup(p, &b), 0);
	clear_tag(&b);
	assert_int_equal(mm_free(p, &b), 0);
}

static void ignore_tag(void *arg, uint64_t tag, uint64_t requested_bytes)
{
	(void)arg;
	(void)tag;
	(void)requested_bytes;
}

void assert_mm_holds(void)
{
	char why[256] = "";

	/* with the counts of tags while nobody else changes them */
	if (mm_verify(why, sizeof(why), sys_alone() ? ignore_tag : NULL, NULL))
		fail_msg("%s", why);
}

static int by_address(const void *a, const void *b)
{
	const struct model_block *const *x = a, *const *y = b;

	return (*x)->p < (*y)->p ? -1 : (*x)->p > (*y)->p;
}

void assert_no_overlap(struct model *m, unsigned int nr)
{
	struct model_block **all =
		calloc((size_t)nr * MODEL_BLOCKS, sizeof(*all));
	size_t n = 0, i;

	assert_non_null(all);
	for (i = 0; i < (size_t)nr * MODEL_BLOCKS; i++) {
		struct model_block *b =
			&m[i / MODEL_BLOCKS].block[i % MODEL_BLOCKS];

		if (b->p)
			all[n++] = b;
	}
	qsort(all, n, sizeof(*all), by_address);
	for (i = 1; i < n; i++)
		if (all[i - 1]->p + all[i - 1]->usable > all[i]->p)
			fail_msg("%p of %zu bytes overlaps %p",
				 (void *)all[i - 1]->p, all[i - 1]->usable,
				 (void *)all[i]->p);
	free(all);
}
