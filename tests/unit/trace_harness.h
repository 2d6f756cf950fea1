/* SPDX-License-Identifier: MIT */
/*
 * trace_harness.h - the engine, a segment and the tracer in a test program, without
 * any exported malloc.
 *
 * Owns:   what preload/start.c and preload/options.c own in the library.
 * Layer:  tests.
 */
#ifndef BS_TESTS_TRACE_HARNESS_H
#define BS_TESTS_TRACE_HARNESS_H

#include "preload/internal.h"
#include "preload/segment.h"
#include "preload/trace/count.h"
#include "preload/trace/depot.h"
#include "preload/trace/site.h"
#include "preload/trace/trace.h"
#include "preload/trace/unwind.h"

/* cmocka fixtures: a fresh engine, a segment in a directory of the test's own. */
int harness_start(void **state);
int harness_start_threads(void **state); /* trace_threads=on */
int harness_start_small(void **state);	 /* memory that does not grow */
int harness_stop(void **state);

/* Path of the only segment of that process; the test fails when there is none. */
const char *harness_segment_path(pid_t pid);
/* Number of segments in the directory. */
unsigned int harness_nr_segments(void);

/* What preload/malloc.c does. */
void *traced_alloc(size_t size);
void traced_free(void *p);

/* What preload/fork.c does; returns as fork(). */
pid_t traced_fork(void);
/* Makes calls until the child has its segment; false: it never gets one. */
bool traced_grow_up(void);

#endif
