/* SPDX-License-Identifier: MIT */
/*
 * thread.h - whose stack it is, with trace_threads=on.
 *
 * Layer:  trace; above depot, below trace.c.  Locks: the depot's, to add a thread.
 *
 * Each thread that allocates has a record and a node of the depot, and the thread's
 * stacks hang below that node instead of the depot's root.  So the same backtrace in
 * two threads is two call sites, and all that is kept of sites (counters, tags, what
 * a forked child inherits) is kept of threads.  The node is no frame (depot_root()).
 *
 * Off, no thread has a record, bs_tls.thread is 0, and nothing here does anything.
 */
#ifndef BS_TRACE_THREAD_H
#define BS_TRACE_THREAD_H

#include <stdint.h>

#include "preload/internal.h"
#include "preload/segment.h"

/* 0, or -ENOMEM.  After depot_init(). */
int thread_init(void);

/* The node for stacks of the running thread, which gets a record if it has none. */
uint32_t thread_root(void);

/* The same on the slow way, where a new name of the thread is noticed. */
uint32_t thread_walks(void);

/*
 * For the memo: sp with the thread's number in the bits that no stack pointer has.  Of
 * a thread without a record it is found nowhere, so that it comes to thread_walks().
 */
#define THREAD_SP_SHIFT 48
_Static_assert(SEGMENT_NR_THREADS <= 1UL << (64 - THREAD_SP_SHIFT), "it fits");
static inline __attribute__((always_inline)) uintptr_t thread_sp(uintptr_t sp)
{
	return sp ^ (uintptr_t)bs_tls.thread << THREAD_SP_SHIFT;
}

/* In a forked child: its only thread is a new one. */
void thread_fork_child(void);

/* The segment is a new one: writes all records. */
void thread_new_segment(void);

/* Tests only: forget everything. */
void thread_destroy(void);

#endif
