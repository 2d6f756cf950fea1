/* SPDX-License-Identifier: MIT */
/*
 * sitethread.h - the thread of a call site.
 *
 * Owns:   what threads are called in reports, and which of them are one there.
 * Layer:  shared; on snapshot, json.
 * Locks:  none.
 *
 * Known where the program ran with trace_threads=on.  Threads of one name are one in
 * reports, as those of a pool are; the main thread is one for itself, because many
 * threads keep the name that they inherit from it.  NULL stands for the thread of
 * what has no stack, and is called "(unknown thread)".
 */
#ifndef BS_SHARED_SITETHREAD_H
#define BS_SHARED_SITETHREAD_H

#include <stdint.h>

#include "shared/json.h"
#include "shared/snapshot.h"

/* "demux", "mpv (main thread)", "(other threads)", "(unknown thread)" */
void bs_thread_put_name(struct bs_buf *out, const struct bs_abi_thread *t);

/* By name; 0: they are one in reports. */
int bs_thread_order(const struct bs_abi_thread *a,
		    const struct bs_abi_thread *b);

/* How many threads are that one.  *tid: of the only one, else 0. */
uint64_t bs_threads_like(const struct bs_snapshot *s,
			 const struct bs_abi_thread *t, uint32_t *tid);

/* " (tid 4711)" or " (8 threads)" */
void bs_thread_put_number(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_abi_thread *t);

/* Keys of an open object: "thread", "main_thread", "threads", "tids". */
void bs_threads_json(struct bs_json *j, const struct bs_snapshot *s,
		     const struct bs_abi_thread *t);

/* For a site in a report; nothing where threads were not told apart. */
void bs_site_thread_text(struct bs_buf *out, const struct bs_snapshot *s,
			 uint64_t site);
void bs_site_thread_json(struct bs_json *j, const struct bs_snapshot *s,
			 uint64_t site);

#endif
