/* SPDX-License-Identifier: MIT */
/*
 * test_trace_thread.c - trace_threads=on: each thread has call sites of its own.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/trace_harness.h"

static uint32_t site_of(void *p)
{
	struct mm_block b;

	return mm_lookup(p, &b) ? 0 : tag_site(*b.tag);
}

/* The record that the site's stack ends in, as a reader finds it; 0: none. */
static uint32_t thread_of(uint32_t site)
{
	const struct bs_abi_node *nodes = segment_self()->nodes;
	uint32_t node = segment_self()->sites[site].node;

	while (node && (nodes[node].pc & ~BS_THREAD_MASK) != BS_THREAD_PC)
		node = nodes[node].parent;
	return (uint32_t)(nodes[node].pc & BS_THREAD_MASK);
}

static const struct bs_abi_thread *record(uint32_t thread)
{
	return &segment_self()->threads[thread];
}

static void assert_counts_hold(void)
{
	char why[256] = "";

	if (trace_verify(why, sizeof(why)))
		fail_msg("%s", why);
}

static void assert_checks_hold(void)
{
	assert_int_equal(mm.vmstat[BS_VMSTAT_TRACE_DIFFERENCES], 0);
	assert_true(mm.vmstat[BS_VMSTAT_TRACE_CHECKS] > 0);
}

/* What a thread did, in one place: ten allocations, of which it keeps the last. */
struct work {
	const char *name;
	void *last;
	uint32_t first_site, last_site;
	pid_t tid;
	uint64_t walks;
};

static __attribute__((noinline)) void *worker(void *arg)
{
	struct work *w = arg;
	uint64_t before = mm.vmstat[BS_VMSTAT_UNWINDS];
	volatile int i; /* one place: not unrolled */

	w->tid = sys_gettid();
	if (w->name)
		prctl(PR_SET_NAME, w->name);
	for (i = 0; i < 10; i++) {
		w->last = traced_alloc(100);
		if (i == 0)
			w->first_site = site_of(w->last);
		if (i < 9)
			traced_free(w->last);
	}
	w->last_site = site_of(w->last);
	w->walks = mm.vmstat[BS_VMSTAT_UNWINDS] - before;
	return NULL;
}

#define STACK_BYTES (2UL << 20) /* ThreadSanitizer wants one of them */

/* stack NULL: libc's. */
static void run(struct work *w, void *stack)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	if (stack)
		assert_int_equal(
			pthread_attr_setstack(&attr, stack, STACK_BYTES), 0);
	assert_int_equal(pthread_create(&t, &attr, worker, w), 0);
	pthread_join(t, NULL);
	pthread_attr_destroy(&attr);
}

static void two_threads_in_one_place_are_two_sites(void **state)
{
	struct work a = { .name = "first" }, b = { .name = "second" };
	uint32_t i, k;

	(void)state;
	run(&a, NULL);
	run(&b, NULL);
	assert_int_equal(a.first_site, a.last_site);
	assert_int_equal(b.first_site, b.last_site);
	assert_int_not_equal(a.last_site, b.last_site);
	i = thread_of(a.last_site);
	k = thread_of(b.last_site);
	assert_true(i && k && i != k);
	assert_string_equal(record(i)->name, "first");
	assert_string_equal(record(k)->name, "second");
	assert_int_equal(record(i)->tid, a.tid);
	assert_int_equal(record(k)->tid, b.tid);
	assert_int_equal(record(i)->nr_threads, 1);
	assert_int_equal(record(i)->flags, 0);
	assert_true(segment_self()->header->section[BS_SEC_THREADS].count > k);
	/* It stays with the one that made it, whoever frees it. */
	traced_free(a.last);
	assert_int_equal(segment_self()->sites[a.last_site].frees, 10);
	assert_int_equal(segment_self()->sites[b.last_site].frees, 9);
	assert_counts_hold();
}

static void stack_of_an_ended_thread_is_not_taken_for_the_new_ones(void **state)
{
	void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct work w[4] = { { .name = NULL } };
	int i, k;

	(void)state;
	assert_true(stack != MAP_FAILED);
	bs_options.trace_check = 1;
	for (i = 0; i < 4; i++) {
		run(&w[i], stack);
		assert_int_equal(w[i].first_site, w[i].last_site);
		assert_int_equal(record(thread_of(w[i].last_site))->tid,
				 w[i].tid);
		/* Recognised from the second time on, by each of them. */
		assert_int_equal(w[i].walks, 1);
		for (k = 0; k < i; k++)
			assert_int_not_equal(w[i].last_site, w[k].last_site);
	}
	assert_checks_hold();
	assert_counts_hold();
	munmap(stack, STACK_BYTES);
}

static void main_thread_is_marked(void **state)
{
	void *p = traced_alloc(1);
	const struct bs_abi_thread *t = record(thread_of(site_of(p)));

	(void)state;
	assert_int_equal(t->flags, BS_THREAD_MAIN);
	assert_int_equal(t->tid, getpid());
	traced_free(p);
}

static void new_name_is_seen_with_the_next_new_stack(void **state)
{
	void *p = traced_alloc(1), *q;
	uint32_t thread = thread_of(site_of(p));
	char name[16];

	(void)state;
	prctl(PR_GET_NAME, name);
	assert_string_equal(record(thread)->name, name);
	prctl(PR_SET_NAME, "renamed");
	q = traced_alloc(2);
	assert_string_equal(record(thread)->name, "renamed");
	assert_int_equal(record(thread)->seq & 1, 0);
	assert_int_equal(thread_of(site_of(q)), thread);
	prctl(PR_SET_NAME, name);
}

/* A thread that nobody has met is one whose word is 0. */
static __attribute__((noinline)) uint32_t as_a_new_thread(void)
{
	bs_tls.thread = 0;
	return site_of(traced_alloc(8));
}

static void threads_beyond_the_table_share_a_record_that_counts(void **state)
{
	const struct bs_abi_section *s =
		&segment_self()->header->section[BS_SEC_THREADS];
	volatile uint32_t i;
	uint32_t site = 0, first;

	(void)state;
	for (i = 0; i < SEGMENT_NR_THREADS - 2; i++)
		site = as_a_new_thread();
	assert_int_equal(thread_of(site), SEGMENT_NR_THREADS - 1);
	assert_int_equal(s->count, SEGMENT_NR_THREADS);
	assert_int_equal(s->dropped, 0);
	assert_int_equal(record(1)->nr_threads, 0);
	first = as_a_new_thread();
	for (i = 0; i < 4; i++)
		site = as_a_new_thread();
	assert_int_equal(thread_of(first), 1);
	assert_int_equal(thread_of(site), 1);
	assert_int_equal(record(1)->flags, BS_THREAD_OTHERS);
	assert_int_equal(record(1)->nr_threads, 5);
	assert_int_equal(record(1)->tid, 0);
	assert_int_equal(s->dropped, 5);
	assert_counts_hold();
}

static __attribute__((noinline)) void *deep(unsigned int depth, size_t size)
{
	void *volatile p = depth ? deep(depth - 1, size) : traced_alloc(size);

	return p;
}

static void thread_takes_no_frame_of_a_deep_stack(void **state)
{
	void *p = deep(200, 40);
	uint32_t site = site_of(p);

	(void)state;
	assert_int_equal(
		segment_self()->nodes[segment_self()->sites[site].node].depth,
		TRACE_MAX_FRAMES);
	assert_int_equal(mm.vmstat[BS_VMSTAT_SITES_DROPPED], 0);
	assert_int_not_equal(thread_of(site), 0);
	traced_free(p);
}

/* Cut stacks are still those of a thread. */
static void full_depot_cuts_stacks_but_not_the_thread(void **state)
{
	unsigned int i;
	void *p;

	(void)state;
	trace_destroy();
	segment_destroy();
	memset(mm_wipe->client, 0, sizeof(mm_wipe->client));
	memset(&mm_wipe->pub, 0, sizeof(mm_wipe->pub));
	bs_options.nr_nodes = 64;
	segment_create();
	trace_init();
	for (i = 0; i < 120; i += 5) {
		p = deep(i, 40);
		assert_int_not_equal(site_of(p), 0);
		assert_int_not_equal(thread_of(site_of(p)), 0);
	}
	assert_true(mm.vmstat[BS_VMSTAT_SITES_DROPPED] > 0);
	assert_int_equal(segment_self()
				 ->nodes[segment_self()->sites[site_of(p)].node]
				 .depth,
			 DEPOT_SHORT);
	assert_counts_hold();
}

#define CHILD_CHECK(cond)                                                      \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "child: not true: %s\n", #cond);       \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static __attribute__((noinline)) void *one_place(void)
{
	return traced_alloc(24);
}

static void child_keeps_threads_and_is_one_itself(void **state)
{
	struct work w = { .name = "worker" };
	volatile int i;
	void *p[2];
	int status;
	pid_t pid;

	(void)state;
	run(&w, NULL);
	pid = 0;
	for (i = 0; i < 2; i++) {
		p[i] = one_place();
		if (i == 0)
			pid = traced_fork();
	}
	if (!pid) {
		bool grown = traced_grow_up();
		uint32_t worker = thread_of(w.last_site);
		uint32_t parent = thread_of(site_of(p[0]));
		uint32_t child = thread_of(site_of(p[1]));
		const struct bs_abi_site *s;
		char why[256];

		CHILD_CHECK(grown && worker && parent && child);
		CHILD_CHECK(worker != parent && child != parent);
		CHILD_CHECK(!strcmp(record(worker)->name, "worker"));
		CHILD_CHECK(record(worker)->tid == (uint32_t)w.tid);
		CHILD_CHECK(record(parent)->tid == (uint32_t)getppid());
		CHILD_CHECK(record(child)->tid == (uint32_t)getpid());
		CHILD_CHECK(record(child)->flags == BS_THREAD_MAIN);
		s = &segment_self()->sites[w.last_site];
		CHILD_CHECK(s->allocs - s->frees == 1);
		CHILD_CHECK(!trace_verify(why, sizeof(why)));
		traced_free(w.last);
		CHILD_CHECK(s->allocs == s->frees);
		CHILD_CHECK(!trace_verify(why, sizeof(why)));
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(site_of(p[0]), site_of(p[1]));
	assert_counts_hold();
}

static void off_there_is_nothing_of_it(void **state)
{
	struct work a = { .name = NULL }, b = { .name = NULL };

	(void)state;
	run(&a, NULL);
	run(&b, NULL);
	assert_int_equal(a.last_site, b.last_site);
	assert_int_equal(thread_of(a.last_site), 0);
	assert_int_equal(
		segment_self()->header->section[BS_SEC_THREADS].capacity, 0);
	assert_counts_hold();
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, harness_start_threads,           \
					harness_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_threads_in_one_place_are_two_sites),
		T(stack_of_an_ended_thread_is_not_taken_for_the_new_ones),
		T(main_thread_is_marked),
		T(new_name_is_seen_with_the_next_new_stack),
		T(threads_beyond_the_table_share_a_record_that_counts),
		T(thread_takes_no_frame_of_a_deep_stack),
		T(full_depot_cuts_stacks_but_not_the_thread),
		T(child_keeps_threads_and_is_one_itself),
		cmocka_unit_test_setup_teardown(off_there_is_nothing_of_it,
						harness_start, harness_stop),
	};

	return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
