/* SPDX-License-Identifier: MIT */
/*
 * fork.c - fork() in a program with threads.
 *
 * Owns:   our place in the list of atfork handlers.
 * Layer:  preload.
 * Locks:  all of the engine's, from prepare to parent or child.
 *
 * Handlers run last registered first before the fork, and first registered
 * first after it.  We register at the start, before anybody else can: so ours
 * is the last to prepare (a handler that waits for a thread which is inside
 * malloc still gets it) and the first afterwards (other handlers may allocate).
 *
 * From prepare on, this thread counts as inside: should a handler come between
 * anyway and allocate, it is served from the reserve, without a lock.
 *
 * A vfork child shares our memory and runs none of this.  _Fork() and a raw
 * clone run none of this either; start.c notices them by the wiped page.
 */
#include <pthread.h>

#include "preload/internal.h"
#include "preload/segment.h"

/*
 * bs_tls.fork_nested: a handler interrupted this thread inside the allocator and
 * forks.  We may hold the very locks; the child goes on as after a raw clone, once the
 * interrupted call has returned.
 */

static void prepare(void)
{
	bs_tls.fork_nested = bs_tls.depth != 0;
	if (bs_tls.fork_nested)
		return;
	bs_tls.depth = 1;
	segment_fork_prepare();
	mm_fork_prepare();
}

static void parent(void)
{
	if (bs_tls.fork_nested)
		return;
	mm_fork_parent();
	segment_fork_parent();
	bs_leave();
}

static void child(void)
{
	if (bs_tls.fork_nested)
		return;
	bs_child(false);
	bs_leave();
}

void bs_fork_register(void)
{
	if (pthread_atfork(prepare, parent, child))
		sys_say("no atfork handler: forked children start bare");
}
