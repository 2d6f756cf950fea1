/* SPDX-License-Identifier: MIT */
/*
 * test_trace.c - depot, sites, cohorts, memo, tags: who allocated what.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>

#include <cmocka.h>

#include "preload/mm/slab.h"
#include "preload/sys/clock.h"
#include "preload/trace/memo.h"
#include "preload/trace/sampling.h"
#include "tests/unit/trace_harness.h"

static const uint32_t no_generation[TRACE_MAX_FRAMES];

static struct bs_abi_site *record(uint32_t site)
{
	return &segment_self()->sites[site];
}

/* Both places of a cohort, and of a bucket. */
static uint32_t live_in(const struct bs_abi_site *s, uint32_t c)
{
	return (s->cohort == c ? s->cohort_live : 0) +
	       segment_self()->ages[s->ages].cohort_live[c];
}

static uint32_t lifetime_of(const struct bs_abi_site *s, uint32_t i)
{
	return (s->lifetime == i ? s->lifetime_frees : 0) +
	       segment_self()->ages[s->ages].lifetime[i];
}

static uint64_t live_objects(uint32_t site)
{
	return record(site)->allocs - record(site)->frees;
}

static uint64_t live_bytes(uint32_t site)
{
	return record(site)->bytes_allocated - record(site)->bytes_freed;
}

static uint64_t tag_of(void *p)
{
	struct mm_block b;

	assert_int_equal(mm_lookup(p, &b), 0);
	return *b.tag;
}

static void assert_counts_hold(void)
{
	char why[256] = "";

	if (trace_verify(why, sizeof(why)))
		fail_msg("%s", why);
}

/* ---- depot ------------------------------------------------------------------------ */

static void depot_add_same_stack_gives_same_node(void **state)
{
	const uintptr_t pcs[] = { 0x3000, 0x2000, 0x1000 };
	uint32_t node = depot_add(pcs, no_generation, 3), chain[3];
	uintptr_t frames[3];
	size_t left = 3;

	(void)state;
	assert_int_not_equal(node, DEPOT_NONE);
	assert_int_equal(depot_add(pcs, no_generation, 3), node);
	assert_int_equal(depot_descend(0, pcs, no_generation, &left, chain),
			 node);
	assert_int_equal(left, 0);
	assert_int_equal(chain[0], node);
	assert_int_equal(depot_depth(node), 3);
	assert_int_equal(depot_frames(node, frames, 3), 3);
	assert_memory_equal(frames, pcs, sizeof(pcs));
}

static void depot_descend_finds_the_outer_frames_only(void **state)
{
	const uintptr_t outer[] = { 0x2100, 0x1100 };
	const uintptr_t pcs[] = { 0x4100, 0x3100, 0x2100, 0x1100 };
	uint32_t node = depot_add(outer, no_generation, 2);
	uint32_t nr = depot_nr_nodes(), chain[4];
	size_t left = 4;

	(void)state;
	assert_int_equal(depot_descend(0, pcs, no_generation, &left, chain),
			 node);
	assert_int_equal(left, 2);
	assert_int_equal(chain[2], node);
	assert_int_equal(depot_nr_nodes(), nr);
}

/* A node is found behind its parent, or by its bucket when another one is there. */
static void depot_tells_children_of_a_node_apart(void **state)
{
	uintptr_t pcs[] = { 0, 0x2200, 0x1200 };
	uint32_t node[8], i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(node); i++) {
		pcs[0] = 0x3200 + i;
		node[i] = depot_add(pcs, no_generation, 3);
	}
	for (i = 0; i < ARRAY_SIZE(node); i++) {
		uintptr_t pc;

		pcs[0] = 0x3200 + i;
		assert_int_equal(depot_add(pcs, no_generation, 3), node[i]);
		assert_int_equal(depot_frames(node[i], &pc, 1), 1);
		assert_int_equal(pc, 0x3200 + i);
	}
}

#define NR_CHILDREN                                                            \
	5000U /* several times as many as there are buckets at first */

static void *add_children(void *arg)
{
	uintptr_t pcs[] = { 0, 0x2400, 0x1400 };
	uint32_t *node = arg, i;

	for (i = 0; i < NR_CHILDREN; i++) {
		pcs[0] = 0x10000 + i;
		node[i] = depot_add(pcs, no_generation, 3);
	}
	return NULL;
}

/* Whoever looks while the buckets double finds each node, or adds it, once. */
static void depot_grows_while_threads_look(void **state)
{
	static uint32_t a[NR_CHILDREN], b[NR_CHILDREN], again[NR_CHILDREN];
	uint32_t before = depot_nr_nodes();
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, add_children, b), 0);
	add_children(a);
	pthread_join(other, NULL);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(depot_nr_nodes() - before, 2 + NR_CHILDREN);
	add_children(again);
	assert_memory_equal(a, again, sizeof(a));
}

static void depot_add_shares_outer_frames(void **state)
{
	const uintptr_t a[] = { 0x3000, 0x2000, 0x1000 };
	const uintptr_t b[] = { 0x4000, 0x2000, 0x1000 };
	uint32_t nr = depot_nr_nodes();

	(void)state;
	assert_int_not_equal(depot_add(a, no_generation, 3),
			     depot_add(b, no_generation, 3));
	assert_int_equal(depot_nr_nodes(), nr + 4);
}

static void depot_add_other_generation_gives_new_node(void **state)
{
	const uintptr_t pcs[] = { 0x3000, 0x2000 };
	const uint32_t before[] = { 7, 1 }, after[] = { 8, 1 };
	uint32_t a = depot_add(pcs, before, 2), b = depot_add(pcs, after, 2);

	(void)state;
	assert_int_not_equal(a, b);
	assert_int_equal(depot_add(pcs, before, 2), a);
	assert_int_equal(depot_add(pcs, after, 2), b);
}

static void depot_publishes_chain_to_the_root(void **state)
{
	const uintptr_t pcs[] = { 0x5000, 0x4000, 0x3000, 0x2000 };
	uint32_t node = depot_add(pcs, no_generation, 4);
	const struct segment *seg = segment_self();
	unsigned int i;

	(void)state;
	assert_true(node < seg->header->section[BS_SEC_NODES].count);
	for (i = 0; i < 4; i++) {
		assert_int_equal(seg->nodes[node].pc, pcs[i]);
		assert_int_equal(seg->nodes[node].depth, 4 - i);
		assert_true(seg->nodes[node].parent < node);
		node = seg->nodes[node].parent;
	}
	assert_int_equal(node, 0);
}

static void depot_full_keeps_room_for_short_stacks(void **state)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	uintptr_t next = 0x10000;
	unsigned int i;

	(void)state;
	do {
		for (i = 0; i < TRACE_MAX_FRAMES; i++)
			pcs[i] = next++;
	} while (depot_add(pcs, no_generation, TRACE_MAX_FRAMES) != DEPOT_NONE);
	assert_true(depot_nr_nodes() < bs_options.nr_nodes);
	assert_true(segment_self()->header->section[BS_SEC_NODES].dropped > 0);
	do {
		pcs[0] = next++;
	} while (depot_add(pcs, no_generation, 1) != DEPOT_NONE);
	assert_int_equal(depot_nr_nodes(), bs_options.nr_nodes);
}

/* ---- sites ---------------------------------------------------------------------------- */

static uint32_t some_site(uintptr_t pc)
{
	return site_of_node(depot_add(&pc, no_generation, 1));
}

static void site_of_node_is_made_once(void **state)
{
	const uintptr_t pc = 0x1234;
	uint32_t node = depot_add(&pc, no_generation, 1);
	uint32_t site = site_of_node(node);

	(void)state;
	assert_int_not_equal(site, 0);
	assert_int_equal(site_of_node(node), site);
	assert_int_equal(site_node(site), node);
	assert_int_equal(record(site)->node, node);
	assert_int_not_equal(some_site(0x4321), site);
}

static void site_counts_objects_and_bytes(void **state)
{
	uint32_t site = some_site(0x1000);

	(void)state;
	site_count_alloc(site, 0, 100, BS_SITE_OBJECT);
	site_count_alloc(site, 0, 200, BS_SITE_MMAP);
	site_count_free(site, 0, 0, 100, 1);
	site_count_alloc(site, 7, 10, BS_SITE_OBJECT);
	assert_int_equal(record(site)->allocs, 3);
	assert_int_equal(record(site)->frees, 1);
	assert_int_equal(record(site)->bytes_allocated, 310);
	assert_int_equal(record(site)->bytes_freed, 100);
	assert_int_equal(record(site)->peak_live_bytes, 300);
	assert_int_equal(record(site)->last_ns,
			 segment_self()->created_ns + (7 << BS_TICK_SHIFT));
	assert_int_equal(record(site)->kinds, BS_SITE_OBJECT | BS_SITE_MMAP);
	assert_int_equal(live_in(record(site), 0), 2);
}

/* A split area: one object more, no byte more; then both go. */
static void site_split_never_lowers_a_counter(void **state)
{
	uint32_t site = some_site(0x1000);

	(void)state;
	site_count_alloc(site, 0, 8192, BS_SITE_MMAP);
	site_count_free(site, 0, 0, 0, -1);
	assert_int_equal(record(site)->allocs, 2);
	assert_int_equal(record(site)->frees, 0);
	assert_int_equal(live_in(record(site), 0), 2);
	site_count_free(site, 0, 0, 4096, 1);
	site_count_free(site, 0, 0, -512, 0);
	site_count_free(site, 0, 0, 4096 + 512, 1);
	assert_int_equal(live_objects(site), 0);
	assert_int_equal(live_bytes(site), 0);
	assert_int_equal(record(site)->bytes_allocated, 8192 + 512);
	assert_int_equal(live_in(record(site), 0), 0);
}

static void site_unknown_counts_without_lock(void **state)
{
	(void)state;
	record(0)->lock = 1; /* held for ever, as under a handler */
	site_count_alloc(0, 0, 50, BS_SITE_OBJECT);
	site_count_free(0, 0, 0, 20, 1);
	assert_int_equal(record(0)->allocs, 1);
	assert_int_equal(record(0)->frees, 1);
	assert_int_equal(live_bytes(0), 30);
	record(0)->lock = 0;
}

/* ---- cohorts ---------------------------------------------------------------------------- */

static void cohorts_first_32_windows_have_one_each(void **state)
{
	struct bs_abi_site s = { 0 };
	uint32_t w;

	(void)state;
	for (w = 0; w < BS_NR_COHORTS; w += 2)
		count_cohort(&s, w, 1);
	assert_int_equal(s.cohort_shift, 0);
	assert_int_equal(s.cohort_born, 0x55555555);
	for (w = 0; w < BS_NR_COHORTS; w++)
		assert_int_equal(live_in(&s, w), w % 2 ? 0 : 1);
}

static void cohorts_merge_in_pairs_when_full(void **state)
{
	struct bs_abi_site s = { 0 };
	uint32_t w, c;

	(void)state;
	for (w = 0; w < BS_NR_COHORTS; w++)
		for (c = 0; c <= w; c++)
			count_cohort(&s, w, 1);
	count_cohort(&s, BS_NR_COHORTS, 1);
	assert_int_equal(s.cohort_shift, 1);
	assert_int_equal(s.seq % 2, 0);
	for (c = 0; c < BS_NR_COHORTS / 2; c++)
		assert_int_equal(live_in(&s, c), 4 * c + 3);
	assert_int_equal(live_in(&s, c), 1);
	assert_int_equal(s.cohort_born, 0x1ffff);
	for (c++; c < BS_NR_COHORTS; c++)
		assert_int_equal(live_in(&s, c), 0);
}

static void cohorts_far_window_merges_as_often_as_needed(void **state)
{
	struct bs_abi_site s = { 0 };

	(void)state;
	count_cohort(&s, 0, 1);
	count_cohort(&s, 31, 1);
	count_cohort(&s, 1000, 1);
	assert_int_equal(s.cohort_shift, 5);
	assert_int_equal(live_in(&s, 0), 2);
	assert_int_equal(live_in(&s, 31), 1);
	assert_int_equal(s.cohort_born, 1U << 31 | 1);
	count_cohort(&s, 31, -1);
	count_cohort(&s, 0, -1);
	count_cohort(&s, 1000, -1);
	assert_int_equal(live_in(&s, 0) + live_in(&s, 31), 0);
	assert_int_equal(s.cohort_born, 1U << 31 | 1);
}

static void cohorts_free_of_old_object_after_merge_finds_it(void **state)
{
	struct bs_abi_site s = { 0 };
	uint32_t w, sum = 0;

	(void)state;
	for (w = 0; w < 5000; w++)
		count_cohort(&s, w, 1);
	for (w = 0; w < 5000; w += 2)
		count_cohort(&s, w, -1);
	for (w = 0; w < BS_NR_COHORTS; w++)
		sum += live_in(&s, w);
	assert_int_equal(sum, 2500);
}

/* Whatever happens, what lives is counted, in the cohort that it was born in. */
static void cohorts_and_model_agree(void **state)
{
	static uint32_t born[200]; /* objects of each window that live */
	struct bs_abi_site s = { 0 };
	const struct bs_abi_ages *a;
	uint64_t x = 1;
	uint32_t now = 0, i, w, c;

	(void)state;
	memset(born, 0, sizeof(born));
	for (i = 0; i < 20000; i++) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		w = (uint32_t)(x >> 33) % (now + 1);
		if ((x >> 60) % 2) {
			count_cohort(&s, now, 1);
			born[now]++;
		} else if (born[w]) {
			count_cohort(&s, w, -1);
			born[w]--;
		}
		if ((x >> 40) % 128 == 0 && now < ARRAY_SIZE(born) - 1)
			now++;
		if (i % 500)
			continue;
		for (c = 0, w = 0; c < BS_NR_COHORTS; c++) {
			uint32_t live = 0;

			for (; w <= now && w >> s.cohort_shift == c; w++)
				live += born[w];
			assert_int_equal(live_in(&s, c), live);
		}
		a = &segment_self()->ages[s.ages];
		assert_true(!s.ages || a->seq == s.seq);
	}
	assert_true(now > 100 && s.ages);
}

/* What comes and goes leaves nothing behind, so the site needs no record of ages. */
static void cohorts_of_what_is_freed_need_no_ages(void **state)
{
	struct bs_abi_site s = { 0 };
	uint32_t w;

	(void)state;
	for (w = 0; w < 100; w++) {
		count_cohort(&s, w, 1);
		count_cohort(&s, w, -1);
	}
	assert_int_equal(s.ages, 0);
	ages_count_lifetime(&s, 5, 2);
	ages_count_lifetime(&s, 7, 1);
	assert_int_equal(s.ages, 0);
	assert_int_equal(lifetime_of(&s, 2), 3);
	ages_count_lifetime(&s, 8, 1);
	assert_int_not_equal(s.ages, 0);
	assert_int_equal(lifetime_of(&s, 3), 1);
}

static void cohorts_without_room_for_ages_stay_together(void **state)
{
	struct bs_abi_section *section =
		&segment_self()->header->section[BS_SEC_AGES];
	uint64_t capacity = section->capacity, dropped = section->dropped;
	struct bs_abi_site s = { 0 };
	uint32_t w, sum = 0;

	(void)state;
	section->capacity = section->count;
	for (w = 0; w < 20; w++)
		count_cohort(&s, w, 2);
	assert_int_equal(s.ages, 0);
	assert_true(section->dropped > dropped);
	assert_int_equal(live_in(&s, 0), 40);
	count_cohort(&s, 7, -1);
	assert_int_equal(live_in(&s, 0), 39);
	section->capacity = capacity;
	count_cohort(&s, 20, 1); /* now there is room */
	assert_int_not_equal(s.ages, 0);
	assert_int_equal(live_in(&s, 0), 39);
	assert_int_equal(live_in(&s, 20), 1);
	for (w = 0; w < 20; w++)
		count_cohort(&s, w, w == 7 ? -1 : -2);
	for (w = 0; w < BS_NR_COHORTS; w++)
		sum += live_in(&s, w);
	assert_int_equal(sum, 1); /* modulo 2^32; readers settle it */
}

/* Ticks in which the window of that number begins, rounded up. */
static uint64_t window_tick(uint64_t window)
{
	uint64_t ns = window * segment_self()->header->cohort_ns;

	return (ns + (1U << BS_TICK_SHIFT) - 1) >> BS_TICK_SHIFT;
}

static void window_counts_from_creation(void **state)
{
	(void)state;
	assert_int_equal(site_window(0), 0);
	assert_int_equal(site_window(window_tick(1)), 1);
	assert_int_equal(site_window(window_tick(1) - 1), 0);
	assert_int_equal(site_window(window_tick(9) - 1), 8);
	/* after centuries all windows are the last one */
	assert_int_equal(site_window(UINT64_MAX >> BS_TICK_SHIFT),
			 (1 << 28) - 1);
}

/* Age as the record has it: index + 1 of the only count, 0: none. */
static unsigned int only_lifetime(uint32_t site)
{
	unsigned int i, found = 0;

	for (i = 0; i < BS_NR_LIFETIMES; i++) {
		if (!lifetime_of(record(site), i))
			continue;
		assert_int_equal(found, 0);
		assert_int_equal(lifetime_of(record(site), i), 1);
		found = i + 1;
	}
	return found;
}

#define TICKS_OF_A_YEAR UINT64_C(3761959076)

/* ---- time -------------------------------------------------------------------- */

/* For 40 ms. */
static void assert_now_is_the_clock(void)
{
	uint64_t begin_ns = sys_now_coarse_ns(), before, now, after;

	do {
		before = site_tick(sys_now_coarse_ns());
		now = site_now();
		after = site_tick(sys_now_coarse_ns());
		assert_in_range(now, before, after);
	} while (sys_now_coarse_ns() < begin_ns + 40000000);
}

static void *ask_now(void *arg)
{
	(void)arg;
	assert_now_is_the_clock();
	return NULL;
}

static void now_is_what_the_clock_says(void **state)
{
	pthread_t t[2];
	unsigned int i;

	(void)state;
	assert_now_is_the_clock();
	for (i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, ask_now, NULL), 0);
	assert_now_is_the_clock();
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
}

/* Other words come to the place in a time namespace, or were never found. */
static void now_trusts_no_words_that_are_not_the_clock(void **state)
{
	const volatile uint64_t *found = sys_clock_words;
	volatile uint64_t words[2] = { 0, 0 };

	(void)state;
	sys_clock_words = words;
	assert_now_is_the_clock();
	words[0] = 1ULL << 33;
	words[1] = 999999999;
	assert_now_is_the_clock();
	sys_clock_words = found;
	assert_now_is_the_clock();
}

static void clock_words_are_found_where_the_kernel_has_them(void **state)
{
	uint64_t before, peek, after;
	unsigned int i;

	(void)state;
	if (!getauxval(AT_SYSINFO_EHDR))
		skip(); /* an emulator */
	/* Between two seconds the halves may not belong together. */
	for (i = 0; i < 3; i++) {
		before = sys_now_coarse_ns();
		peek = sys_clock_peek();
		after = sys_now_coarse_ns();
		if (peek >= before && peek <= after)
			return;
	}
	fail_msg("the words say %llu, the clock %llu", (unsigned long long)peek,
		 (unsigned long long)after);
}

/* One object that lives so long; a tag keeps the lower bits of its birth. */
static void live_and_die(uint32_t site, uint64_t birth, uint64_t ticks)
{
	site_count_alloc(site, birth, 8, BS_SITE_OBJECT);
	site_count_free(site, birth + ticks,
			birth & ((1U << TAG_BIRTH_BITS) - 1), 8, 1);
}

static void free_counts_the_lifetime_in_powers_of_two(void **state)
{
	static const struct {
		uint64_t ticks;
		unsigned int bucket; /* + 1 */
	} want[] = {
		{ 0, 0 },  { 1, 1 },	  { 6, 3 },	  { 12, 4 },
		{ 96, 7 }, { 49152, 16 }, { 786432, 20 }, { 100000000, 20 }
	};
	unsigned int i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		uint32_t site = some_site(0x2000 + i * 16);

		live_and_die(site, TICKS_OF_A_YEAR, want[i].ticks);
		assert_int_equal(only_lifetime(site), want[i].bucket);
		assert_int_equal(live_objects(site), 0);
	}
}

static void lifetime_count_stays_at_its_maximum(void **state)
{
	uint32_t site = some_site(0x3000);

	(void)state;
	live_and_die(site, 0, 6);
	record(site)->lifetime_frees = UINT32_MAX - 1;
	live_and_die(site, 0, 6);
	live_and_die(site, 0, 6);
	assert_int_equal(lifetime_of(record(site), 2), UINT32_MAX);
	live_and_die(site, 0, 1);
	segment_self()->ages[record(site)->ages].lifetime[0] = UINT32_MAX - 1;
	live_and_die(site, 0, 1);
	live_and_die(site, 0, 1);
	assert_int_equal(lifetime_of(record(site), 0), UINT32_MAX);
}

/* ---- tags and sites of real blocks -------------------------------------------------------- */

static __attribute__((noinline)) void *one_place(size_t size)
{
	void *p = traced_alloc(size);

	__asm__ volatile("" : "+r"(p)); /* no tail call */
	return p;
}

static __attribute__((noinline)) void *another_place(size_t size)
{
	void *p = traced_alloc(size);

	__asm__ volatile("" : "+r"(p));
	return p;
}

static void alloc_same_place_is_one_site(void **state)
{
	void *p[50], *q;
	uint32_t site = 0;
	volatile unsigned int i; /* one place: not unrolled */

	(void)state;
	for (i = 0; i < 50; i++) {
		p[i] = one_place(777);
		if (i)
			assert_int_equal(tag_site(tag_of(p[i])), site);
		site = tag_site(tag_of(p[i]));
	}
	q = another_place(777);
	assert_int_not_equal(site, 0);
	assert_int_not_equal(tag_site(tag_of(q)), site);
	assert_int_equal(live_objects(site), 50);
	assert_int_equal(live_bytes(site), 50 * 777);
	assert_counts_hold();
	for (i = 0; i < 50; i++)
		traced_free(p[i]);
	traced_free(q);
	assert_int_equal(live_objects(site), 0);
	assert_int_equal(live_bytes(site), 0);
	assert_counts_hold();
}

static void alloc_counts_requested_bytes_of_every_kind(void **state)
{
	static const size_t sizes[] = { 1,	16,	17,	4096,	 100000,
					131072, 131073, 300001, 5000000, 0 };
	unsigned int i;
	uint32_t site;
	void *p;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		p = one_place(sizes[i]);
		assert_non_null(p);
		site = tag_site(tag_of(p));
		assert_int_equal(live_bytes(site), sizes[i]);
		assert_counts_hold();
		traced_free(p);
		assert_int_equal(live_bytes(site), 0);
	}
}

static void free_twice_is_refused(void **state)
{
	void *p = one_place(64);
	struct mm_block b;

	(void)state;
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_true(trace_free(&b));
	assert_false(trace_free(&b));
	assert_int_equal(mm_free(p, &b), 0);
}

/* In a slab where no object has had a tag, all are free as well. */
static void free_of_what_never_had_a_tag_is_refused(void **state)
{
	void *p = mm_alloc(64, 1, GFP_KERNEL);
	struct mm_block b;

	(void)state;
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_null(b.tag);
	assert_true(trace_is_dead(&b));
	assert_false(trace_free(&b));
	assert_int_equal(mm_free(p, &b), 0);
}

/*
 * Without memory for a tag the object is served and not recorded, which is counted;
 * books and walk agree, and from then on an object without a tag may live.
 */
static void no_memory_for_a_tag_leaves_the_object_unrecorded(void **state)
{
	uint64_t *dropped = &mm.vmstat[BS_VMSTAT_SITES_DROPPED];
	void *p = mm_alloc(64, 1, GFP_KERNEL), *q;
	struct mm_block b;

	(void)state;
	assert_int_equal(mm_lookup(p, &b), 0);
	while (kmem_cache_alloc(b.cache->tags_cache, __GFP_NOWARN))
		;
	assert_false(sampling_is_sparse());
	q = one_place(64);
	assert_non_null(q);
	assert_int_equal(*dropped, 1);
	assert_true(sampling_is_sparse());
	assert_int_equal(mm_lookup(q, &b), 0);
	assert_null(b.tag);
	trace_atomic_alloc(&b, 64);
	assert_int_equal(*dropped, 2);
	assert_counts_hold();
	traced_free(q);
	traced_free(p);
	assert_counts_hold();
	sampling.sparse = 0; /* for the other tests */
}

static void no_trace_goes_to_unknown(void **state)
{
	void *p;

	(void)state;
	bs_tls.no_trace = 1;
	p = one_place(64);
	bs_tls.no_trace = 0;
	assert_int_not_equal(tag_of(p), 0);
	assert_int_equal(tag_site(tag_of(p)), 0);
	assert_int_equal(live_objects(0), 1);
	traced_free(p);
	assert_int_equal(live_objects(0), 0);
}

static __attribute__((noinline)) uint64_t map_tag(size_t bytes)
{
	struct unwind_regs regs;

	UNWIND_CALLER(&regs);
	return trace_map_tag(bytes, &regs);
}

static void map_tag_counts_and_is_undone(void **state)
{
	uint64_t tag = map_tag(12288);
	uint32_t site = tag_site(tag);

	(void)state;
	assert_int_not_equal(site, 0);
	assert_int_equal(live_bytes(site), 12288);
	assert_int_equal(record(site)->kinds, BS_SITE_MMAP);
	trace_area_gone(tag, 12288, 1);
	assert_int_equal(live_objects(site), 0);
	assert_int_equal(live_bytes(site), 0);
}

static void verify_finds_a_wrong_counter(void **state)
{
	void *p = one_place(100);
	uint32_t site = tag_site(tag_of(p));
	char why[256];

	(void)state;
	assert_counts_hold();
	record(site)->allocs++;
	assert_int_equal(trace_verify(why, sizeof(why)), -EUCLEAN);
	record(site)->allocs--;
	record(site)->bytes_freed += 16;
	assert_int_equal(trace_verify(why, sizeof(why)), -EUCLEAN);
	record(site)->bytes_freed -= 16;
	assert_counts_hold();
	traced_free(p);
}

static __attribute__((noinline)) void *deep(unsigned int depth, size_t size)
{
	void *p = depth ? deep(depth - 1, size) : one_place(size);

	__asm__ volatile("" : "+r"(p));
	return p;
}

/* Often enough for a stack to be in the memo, and to be met there. */
#define ROUNDS 60

/* The memo has the stack of a site. */
static bool is_remembered(uint32_t site)
{
	uint32_t i;

	for (i = 0; i < (memo_mask + 1) * MEMO_WAYS; i++)
		if (memo_table[i].site == site)
			return true;
	return false;
}

/* The memo must tell stacks apart that differ in their number of frames alone. */
static void recursion_depth_is_part_of_the_stack(void **state)
{
	volatile unsigned int i, k; /* one place: not unrolled */
	uint32_t site[30], nr_kept = 0;

	(void)state;
	for (k = 0; k < ROUNDS; k++)
		for (i = 0; i < 30; i++) {
			void *p = deep(i, 40);

			if (k)
				assert_int_equal(site[i], tag_site(tag_of(p)));
			site[i] = tag_site(tag_of(p));
			traced_free(p);
		}
	for (i = 1; i < 30; i++)
		assert_int_not_equal(site[i], site[i - 1]);
	for (i = 0; i < 30; i++)
		nr_kept += is_remembered(site[i]);
	assert_in_range(nr_kept, 20, 30);
}

/*
 * Two ways into one function whose frame is found by its frame pointer.  The second way
 * takes more of the stack before it, and the function less, so that the stack pointer is
 * the same; and in what the second way took are the words that the first one left there,
 * return address and all.  Only the frame pointer tells the two apart.
 */
static __thread uintptr_t sp_in_frame;
static __thread unsigned int frames_below; /* of deep() */

static __attribute__((noinline)) void *alloca_frame(size_t room)
{
	volatile char *p = __builtin_alloca(room);
	void *q;

	sp_in_frame = (uintptr_t)p;
	q = frames_below ? deep(frames_below, 48) : one_place(48);
	__asm__ volatile("" ::"r"(p) : "memory");
	return q;
}

#define WAY(name)                                                              \
	static __attribute__((noinline)) void *name(size_t before,             \
						    size_t room)               \
	{                                                                      \
		volatile char *space = __builtin_alloca(before);               \
		void *p = alloca_frame(room);                                  \
                                                                               \
		__asm__ volatile("" : "+r"(p) : "r"(space) : "memory");        \
		return p;                                                      \
	}
WAY(first_way)
WAY(second_way)

#define BEFORE_FIRST  256U
#define BEFORE_SECOND 768U
#define ROOM_FIRST    1024U

/* One call for all ways, whose return address is the same. */
static __attribute__((noinline)) uint32_t go_by(void *(*way)(size_t, size_t),
						size_t before, size_t room)
{
	void *(*volatile fn)(size_t, size_t) = way;
	void *p = fn(before, room);
	uint32_t site = tag_site(tag_of(p));

	traced_free(p);
	return site;
}

/* The second way, with so much room in the function, or the first. */
static __attribute__((noinline)) uint32_t go(bool second, size_t room)
{
	return second ? go_by(second_way, BEFORE_SECOND, room)
		      : go_by(first_way, BEFORE_FIRST, ROOM_FIRST);
}

/* What leaves the function the stack pointer that it has on the first way. */
static size_t room_of_second(void)
{
	uintptr_t sp;
	size_t room;

	go(false, 0);
	sp = sp_in_frame;
	for (room = 16; room < ROOM_FIRST; room += 16) {
		go(true, room);
		if (sp_in_frame == sp)
			break;
	}
	assert_true(room < ROOM_FIRST);
	return room;
}

static void frame_pointer_tells_equal_words_apart(void **state)
{
	struct step {
		bool forget, second;
	} steps[5 + 4 * ROUNDS] = {
		{ true, true }, { true, false },  { false, true },
		{ true, true }, { false, false },
	};
	uint32_t site[2] = { 0, 0 };
	volatile unsigned int i;
	size_t room = room_of_second();

	(void)state;
	for (i = 5; i < ARRAY_SIZE(steps); i++)
		steps[i].second = i / ROUNDS & 1;
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		uint32_t got;

		if (steps[i].forget)
			memo_forget();
		got = go(steps[i].second, room); /* in this place alone */
		if (site[steps[i].second])
			assert_int_equal(got, site[steps[i].second]);
		site[steps[i].second] = got;
	}
	assert_int_not_equal(site[0], site[1]);
	assert_true(is_remembered(site[0]) && is_remembered(site[1]));
}

/*
 * The same where that function is so far out that the memo leaves it to the thread's last
 * walk.  That is of the same return addresses, found by another frame pointer; its words
 * are still where it left them; and the running stack is what is remembered but for the
 * function's caller.
 */
static void frame_pointer_tells_last_walks_apart(void **state)
{
	uint32_t known = 0, site;
	volatile unsigned int i;
	size_t room;

	(void)state;
	frames_below = MEMO_WORDS + 4;
	room = room_of_second();
	memo_forget();
	for (i = 0; i < 3 * ROUNDS; i++) {
		/* in one place each time */
		site = go_by(i % ROUNDS == ROUNDS - 1 ? second_way : first_way,
			     i % ROUNDS == ROUNDS - 2 ? BEFORE_SECOND
						      : BEFORE_FIRST,
			     i % ROUNDS == ROUNDS - 2 ? room : ROOM_FIRST);
		if (i % ROUNDS == ROUNDS - 1)
			assert_int_not_equal(site, known);
		else if (known)
			assert_int_equal(site, known);
		else
			known = site;
	}
	frames_below = 0;
	assert_true(is_remembered(known));
}

static __attribute__((noinline)) uint32_t walks_of(void *(*fn)(size_t),
						   size_t arg)
{
	uint64_t before = mm.vmstat[BS_VMSTAT_UNWINDS];

	traced_free(fn(arg));
	return (uint32_t)(mm.vmstat[BS_VMSTAT_UNWINDS] - before);
}

static void stack_seen_before_is_not_walked(void **state)
{
	volatile int i;
	uint32_t walks = 0;

	(void)state;
	for (i = 0; i < 10; i++)
		walks += walks_of(one_place, 64);
	assert_int_equal(walks, 1);
	segment_modules();			      /* nothing changed */
	assert_int_equal(walks_of(one_place, 64), 1); /* from another line */
	unwind_set_epoch(77);
	walks = 0;
	for (i = 0; i < 10; i++)
		walks += walks_of(one_place, 64);
	assert_int_equal(walks, 1);
}

/* One of two places by each bit, the outermost frame's first; the same SP on all ways. */
static __attribute__((noinline)) void *by_bits(unsigned int depth,
					       unsigned int bits)
{
	void *p;

	if (!depth)
		return one_place(40);
	if (bits >> (depth - 1) & 1) {
		p = by_bits(depth - 1, bits);
		__asm__ volatile("# one" : "+r"(p));
	} else {
		p = by_bits(depth - 1, bits);
		__asm__ volatile("# zero" : "+r"(p));
	}
	return p;
}

/* More stacks with the same inner frames than a set of the memo has room for. */
static void crowded_stacks_are_told_apart(void **state)
{
	enum {
		INNER = 4,
		NR_BITS = 5,
		NR = 1 << NR_BITS
	};
	uint64_t before = mm.vmstat[BS_VMSTAT_UNWINDS], walks = 0;
	uint32_t site[NR] = { 0 }, nr_kept = 0;
	volatile unsigned int i, k;

	(void)state;
	for (k = 0; k < ROUNDS; k++) {
		if (k == 20)
			walks = mm.vmstat[BS_VMSTAT_UNWINDS] - before;
		for (i = 0; i < NR; i++) {
			void *p = by_bits(INNER + NR_BITS, i << INNER);

			if (k)
				assert_int_equal(site[i], tag_site(tag_of(p)));
			site[i] = tag_site(tag_of(p));
			traced_free(p);
		}
	}
	for (i = 1; i < NR; i++)
		for (k = 0; k < i; k++)
			assert_int_not_equal(site[i], site[k]);
	for (i = 0; i < NR; i++)
		nr_kept += is_remembered(site[i]);
#if defined(__x86_64__) && defined(__OPTIMIZE__) &&                            \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	/* two lie where one return address says, the others where further words do */
	assert_in_range(nr_kept, NR / 2, NR);
#else
	(void)nr_kept; /* frame pointers are not followed to choose a set */
#endif
	assert_in_range(walks, NR, NR + 1);
}

static uint64_t next(uint64_t *x)
{
	*x = *x * 6364136223846793005ULL + 1442695040888963407ULL;
	return *x >> 33;
}

static void assert_recognised_rightly(void)
{
	assert_true(mm.vmstat[BS_VMSTAT_TRACE_CHECKS] > 1000);
	assert_int_equal(mm.vmstat[BS_VMSTAT_TRACE_DIFFERENCES], 0);
	assert_counts_hold();
}

/* Calls and allocations at random, frames with and without frame pointer. */
static __attribute__((noinline)) void wander(unsigned int depth, uint64_t *x)
{
	volatile unsigned int i, nr = 1 + (unsigned int)(next(x) % 3);

	for (i = 0; i < nr; i++) {
		switch (next(x) % 5) {
		case 0:
			traced_free(one_place(40));
			break;
		case 1:
			traced_free(alloca_frame(16 * (next(x) % 8)));
			break;
		case 2: {
			volatile char *room =
				__builtin_alloca(16 * (1 + next(x) % 8));

			if (depth)
				wander(depth - 1, x);
			__asm__ volatile("" ::"r"(room) : "memory");
			break;
		}
		default:
			if (depth)
				wander(depth - 1, x);
			__asm__ volatile("");
		}
	}
}

#ifdef __SANITIZE_THREAD__
#define NR_WANDERS 300 /* which take as long there */
#else
#define NR_WANDERS 3000
#endif

static void *wander_for_long(void *arg)
{
	uint64_t x = (uintptr_t)arg;
	volatile int i;

	for (i = 0; i < NR_WANDERS; i++)
		wander(30, &x);
	return NULL;
}

/* Each stack that is recognised is walked as a whole, too (trace_check=). */
static void recognised_stack_is_the_one_that_is_there(void **state)
{
	pthread_t t[2];
	uintptr_t i;

	(void)state;
	bs_options.trace_check = 1;
	wander_for_long((void *)7);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, wander_for_long,
						(void *)(i + 1)),
				 0);
	for (i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
	bs_options.trace_check = 0;
	assert_recognised_rightly();
}

/* As deep as what is recorded of a stack, what is kept of a walk, and deeper. */
static void recognised_deep_stack_is_the_one_that_is_there(void **state)
{
	volatile unsigned int i;
	uint64_t x = 3;

	(void)state;
	bs_options.trace_check = 1;
	for (i = 0; i < 4000; i++) {
		unsigned int depth =
			(unsigned int)(next(&x) % 4 * 110 + next(&x) % 30);

		traced_free(deep(depth, 40));
		if (next(&x) % 2)
			traced_free(deep(depth, 40));
	}
	bs_options.trace_check = 0;
	assert_recognised_rightly();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static sigjmp_buf back;
static uint32_t site_in_handler;

static void on_fault(int sig)
{
	void *p = one_place(40);

	(void)sig;
	site_in_handler = tag_site(tag_of(p));
	traced_free(p);
	siglongjmp(back, 1);
}

static void jump_to(uintptr_t pc)
{
	void (*volatile fn)(void) = (void (*)(void))pc;

	fn();
}

static void read_from(uintptr_t addr)
{
	(void)*(volatile char *)addr;
}

/* One call for all ways to fault, with its handler on a stack of its own. */
static uint32_t site_of_fault(void (*volatile fault)(uintptr_t))
{
	if (!sigsetjmp(back, 1))
		fault(0);
	return site_in_handler;
}

/* What a signal interrupted at address 0 ends the walk, and no word says so. */
static void fault_at_no_code_is_told_from_others(void **state)
{
	static char stack[64 << 10];
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) }, old;
	struct sigaction sa = { .sa_handler = on_fault,
				.sa_flags = SA_ONSTACK },
			 was;
	void (*const way[])(uintptr_t) = { jump_to, read_from };
	uint32_t site[2] = { 0 };
	volatile unsigned int i;

	(void)state;
	sigaltstack(&ss, &old);
	sigaction(SIGSEGV, &sa, &was);
	for (i = 0; i < 2 * ROUNDS; i++) {
		uint32_t s = site_of_fault(way[i % 2]);

		if (i >= 2)
			assert_int_equal(s, site[i % 2]);
		site[i % 2] = s;
	}
	sigaction(SIGSEGV, &was, NULL);
	sigaltstack(&old, NULL);
	assert_int_not_equal(site[0], site[1]);
}
#endif

/* In a thread, so that there are locks: its last walk is had by somebody. */
static void *walk_while_busy(void *arg)
{
	uint32_t *site = arg;
	struct lastwalk *w = NULL;
	volatile int i; /* one place: not unrolled */

	for (i = 0; i < 3; i++) {
		void *p;

		if (i == 1) {
			w = lastwalk_open();
			assert_non_null(w);
			assert_null(lastwalk_open());
			memo_forget();
		} else if (i == 2) {
			lastwalk_fork_child();
		}
		p = deep(7, 40);
		site[i] = tag_site(tag_of(p));
		traced_free(p);
	}
	assert_ptr_equal(lastwalk_open(), w);
	lastwalk_close(w);
	return NULL;
}

static void walk_without_the_last_one_comes_to_the_same_site(void **state)
{
	uint32_t site[3];
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, walk_while_busy, site), 0);
	pthread_join(t, NULL);
	assert_true(site[0]);
	assert_int_equal(site[1], site[0]);
	assert_int_equal(site[2], site[0]);
	assert_counts_hold();
}

static void deep_stack_is_cut_at_the_outer_end(void **state)
{
	void *p = deep(200, 40);
	uint32_t node = record(tag_site(tag_of(p)))->node;

	(void)state;
	assert_int_equal(segment_self()->nodes[node].depth, TRACE_MAX_FRAMES);
	traced_free(p);
}

/* ---- threads --------------------------------------------------------------------------------- */

#define NR_THREADS 4
#define NR_ROUNDS  3000

static void *churn(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg, i, k;
	void *p[16] = { 0 };

	for (i = 0; i < NR_ROUNDS; i++) {
		k = (seed = seed * 1103515245 + 12345) >> 16 & 15;
		if (p[k])
			traced_free(p[k]);
		p[k] = deep(k % 5, 1 + (seed >> 8) % 3000);
	}
	for (k = 0; k < 16; k++)
		if (p[k] && k % 2)
			traced_free(p[k]);
	return NULL;
}

static void threads_count_exactly(void **state)
{
	pthread_t t[NR_THREADS];
	uintptr_t i;

	(void)state;
	for (i = 0; i < NR_THREADS; i++)
		assert_int_equal(
			pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
	for (i = 0; i < NR_THREADS; i++)
		pthread_join(t[i], NULL);
	assert_counts_hold();
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, harness_start, harness_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(depot_add_same_stack_gives_same_node),
		T(depot_descend_finds_the_outer_frames_only),
		T(depot_tells_children_of_a_node_apart),
		T(depot_grows_while_threads_look),
		T(depot_add_shares_outer_frames),
		T(depot_add_other_generation_gives_new_node),
		T(depot_publishes_chain_to_the_root),
		T(depot_full_keeps_room_for_short_stacks),
		T(site_of_node_is_made_once),
		T(site_counts_objects_and_bytes),
		T(site_split_never_lowers_a_counter),
		T(site_unknown_counts_without_lock),
		T(cohorts_first_32_windows_have_one_each),
		T(cohorts_merge_in_pairs_when_full),
		T(cohorts_far_window_merges_as_often_as_needed),
		T(cohorts_free_of_old_object_after_merge_finds_it),
		T(cohorts_and_model_agree),
		T(cohorts_of_what_is_freed_need_no_ages),
		T(cohorts_without_room_for_ages_stay_together),
		T(window_counts_from_creation),
		T(clock_words_are_found_where_the_kernel_has_them),
		T(now_is_what_the_clock_says),
		T(now_trusts_no_words_that_are_not_the_clock),
		T(free_counts_the_lifetime_in_powers_of_two),
		T(lifetime_count_stays_at_its_maximum),
		T(alloc_same_place_is_one_site),
		T(alloc_counts_requested_bytes_of_every_kind),
		T(free_twice_is_refused),
		T(free_of_what_never_had_a_tag_is_refused),
		cmocka_unit_test_setup_teardown(
			no_memory_for_a_tag_leaves_the_object_unrecorded,
			harness_start_small, harness_stop),
		T(no_trace_goes_to_unknown),
		T(map_tag_counts_and_is_undone),
		T(verify_finds_a_wrong_counter),
		T(recursion_depth_is_part_of_the_stack),
		T(frame_pointer_tells_equal_words_apart),
		T(frame_pointer_tells_last_walks_apart),
		T(stack_seen_before_is_not_walked),
		T(crowded_stacks_are_told_apart),
		T(recognised_stack_is_the_one_that_is_there),
		T(recognised_deep_stack_is_the_one_that_is_there),
		T(walk_without_the_last_one_comes_to_the_same_site),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		T(fault_at_no_code_is_told_from_others),
#endif
		T(deep_stack_is_cut_at_the_outer_end),
		T(threads_count_exactly),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
