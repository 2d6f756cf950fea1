/* SPDX-License-Identifier: MIT */
/*
 * worker.h - a thread for work that would hold up the loop.
 *
 * Owns:   the queue between the loop and one thread: symbols, rendering,
 *         copying segments into the archive.
 * Layer:  daemon; knows libevent, nothing of targets.
 * Locks:  one mutex around both queues; never held while a job runs.
 *
 * A job's run() is called in the thread, its done() in the loop, which then
 * owns the job again.  run() must not touch what belongs to the loop.
 */
#ifndef BS_DAEMON_WORKER_H
#define BS_DAEMON_WORKER_H

#include <stdbool.h>
#include <stddef.h>

struct event_base;
struct bs_symbolizer;
struct bs_worker;

struct bs_job {
	struct bs_job *next; /* the worker's */
	void (*run)(struct bs_job *job, struct bs_symbolizer *sym);
	/* cancelled: the daemon ends and run() was never called. */
	void (*done)(struct bs_job *job, bool cancelled);
};

/* NULL with errno. */
struct bs_worker *bs_worker_new(struct event_base *base);
/* Waits for the running job; cancels the waiting ones. */
void bs_worker_free(struct bs_worker *worker);
/* urgent: in front of what waits (somebody sits at a terminal). */
void bs_worker_add(struct bs_worker *worker, struct bs_job *job, bool urgent);
/* Jobs waiting, running, or done and not yet collected. */
size_t bs_worker_pending(struct bs_worker *worker);

#endif
