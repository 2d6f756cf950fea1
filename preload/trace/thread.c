/* SPDX-License-Identifier: MIT */
/*
 * thread.c - records of threads.
 *
 * Owns:   the table of threads, the segment's thread section.
 * Layer:  trace.
 * Locks:  none.  A record is written by its own thread; of record OTHERS, which many
 *         have, nothing changes but its number of threads, which grows.
 *
 * A number is never given to a second thread: what one allocated is told from what
 * another did even when both are gone.  When all are taken, later threads share
 * record OTHERS, which counts them.
 *
 * What another thread was adding when a raw fork copied us is a record that no stack
 * belongs to.
 */
#include "preload/trace/thread.h"

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "preload/sys/sys.h"
#include "preload/trace/depot.h"

#define OTHERS 1U /* abi.h */
_Static_assert(SEGMENT_NR_THREADS <= UINT16_MAX + 1UL, "bs_tls.thread");

/* Private memory, which fork copies. */
static struct thread {
	struct bs_abi_thread abi;
	uint32_t node;
} * threads;
static uint32_t
	nr_threads; /* numbers given away; above the capacity: refused */

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

/* ---- the segment ----------------------------------------------------------------- */

/* The record in this process's own file, NULL: there is none (yet). */
static struct bs_abi_thread *record_of(uint32_t i)
{
	struct segment *seg = segment_self();
	struct bs_abi_thread *out = &seg->threads[i];

	return seg->header && segment_claim_or_private(out, sizeof(*out))
		       ? out
		       : NULL;
}

/* Readers take a record while seq is even and the same before and after. */
static void publish(uint32_t i)
{
	const struct bs_abi_thread *t = &threads[i].abi;
	struct bs_abi_thread *out = record_of(i);
	uint32_t seq;

	if (!out)
		return;
	sys_raise(out->nr_threads, LOAD(t->nr_threads));
	seq = LOAD(out->seq) | 1;
	STORE(out->seq, seq);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	STORE(out->flags, t->flags);
	STORE(out->tid, t->tid);
	STORE(out->first_ns, t->first_ns);
	memcpy(out->name, t->name, sizeof(out->name));
	__atomic_store_n(&out->seq, seq + 1, __ATOMIC_RELEASE);
	sys_raise(segment_self()->header->section[BS_SEC_THREADS].count,
		  i + 1UL);
}

/* ---- threads ------------------------------------------------------------------------ */

/* Not asked in a sandbox, which may kill for it. */
static void read_name(char name[16])
{
	memset(name, 0, 16);
	if (!bs_sandboxed)
		sys_call(SYS_prctl, PR_GET_NAME, (long)name, 0, 0, 0, 0);
}

static void fill(struct bs_abi_thread *t)
{
	t->tid = bs_sandboxed ? 0 : (uint32_t)sys_gettid();
	t->flags = t->tid && (pid_t)t->tid == sys_getpid() ? BS_THREAD_MAIN : 0;
	t->nr_threads = 1;
	t->first_ns = sys_now_coarse_ns();
	read_name(t->name);
}

static uint32_t make_node(uint32_t i)
{
	uint32_t node = depot_root(BS_THREAD_PC + i);

	/* Full: then there is no room for its stacks either. */
	return node == DEPOT_NONE ? 0 : node;
}

/* One more that has no record of its own. */
static void join_others(void)
{
	struct thread *t = &threads[OTHERS];
	struct bs_abi_header *h = segment_self()->header;

	STORE(t->abi.flags, BS_THREAD_OTHERS);
	STORE(t->node, make_node(OTHERS));
	__atomic_fetch_add(&t->abi.nr_threads, 1, __ATOMIC_RELAXED);
	if (h)
		__atomic_fetch_add(&h->section[BS_SEC_THREADS].dropped, 1,
				   __ATOMIC_RELAXED);
	publish(OTHERS);
	bs_tls.thread = OTHERS;
}

static __attribute__((noinline)) void enter(void)
{
	uint32_t i = LOAD(nr_threads);

	if (i < SEGMENT_NR_THREADS)
		i = __atomic_fetch_add(&nr_threads, 1, __ATOMIC_RELAXED);
	if (i >= SEGMENT_NR_THREADS) {
		join_others();
		return;
	}
	fill(&threads[i].abi);
	threads[i].node = make_node(i);
	publish(i);
	bs_tls.thread = (uint16_t)i;
}

uint32_t thread_root(void)
{
	if (likely(!threads))
		return 0;
	if (!bs_tls.thread)
		enter();
	return LOAD(threads[bs_tls.thread].node);
}

uint32_t thread_walks(void)
{
	struct bs_abi_thread *t;
	char name[16];

	if (likely(!threads))
		return 0;
	if (bs_tls.thread > OTHERS && !bs_sandboxed) {
		t = &threads[bs_tls.thread].abi;
		read_name(name);
		if (memcmp(t->name, name, sizeof(name)) != 0) {
			memcpy(t->name, name, sizeof(name));
			publish(bs_tls.thread);
		}
	}
	return thread_root();
}

/* ---- life ----------------------------------------------------------------------------- */

int thread_init(void)
{
	if (!bs_options.trace_threads)
		return 0;
	threads = sys_reserve(SEGMENT_NR_THREADS * sizeof(*threads));
	nr_threads = OTHERS + 1;
	return threads ? 0 : -ENOMEM;
}

void thread_destroy(void)
{
	if (threads)
		sys_munmap(threads, SEGMENT_NR_THREADS * sizeof(*threads));
	threads = NULL;
	bs_tls.thread = 0;
}

void thread_fork_child(void)
{
	bs_tls.thread = 0;
}

void thread_new_segment(void)
{
	uint32_t nr = MIN(LOAD(nr_threads), SEGMENT_NR_THREADS), i;

	if (!threads)
		return;
	if (LOAD(threads[OTHERS].abi.nr_threads))
		publish(OTHERS);
	for (i = OTHERS + 1; i < nr; i++)
		publish(i);
}
