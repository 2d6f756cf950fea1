/* SPDX-License-Identifier: MIT */
/*
 * fork.c - fork() in a program with threads; vfork() and clone().
 *
 * Owns:   our place in the list of atfork handlers; vfork, clone.
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
 *
 * A child that shares our memory and thread pointer would find its parent's rseq
 * there, which says nothing about where the child runs, and the kernel restarts
 * nothing in it.  So no restartable sequence runs while such a child lives.  What
 * posix_spawn() makes does not allocate.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>

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

/* ---- children that share our memory ------------------------------------------ */

long bs_vfork_begin(void) BS_HIDDEN;
long bs_vfork_end(long ret, long flags) BS_HIDDEN;

/*
 * What vfork() in tail.S gives to the clone system call.  A handler that
 * interrupted the engine may hold the lock that would be needed: it gets a child
 * with memory of its own, which vfork() may be.
 */
long bs_vfork_begin(void)
{
	if (!bs_enter())
		return bs_tls.depth ? SIGCHLD
				    : CLONE_VM | CLONE_VFORK | SIGCHLD;
	mm_sections_stop();
	bs_leave();
	return CLONE_VM | CLONE_VFORK | SIGCHLD;
}

/* In the parent, when the child has ended or runs another program; or -errno. */
long bs_vfork_end(long ret, long flags)
{
	if (flags & CLONE_VM && mm.up)
		mm_sections_start();
	if (ret >= 0)
		return ret;
	errno = (int)-ret;
	return -1;
}

void bs_sections_end(void)
{
	if (bs_enter()) {
		mm_sections_end();
		bs_leave();
	}
}

/*
 * Not what threads are made with.  A child that shares our memory for longer than
 * until exec, or has a thread pointer that libc did not make, ends all sections.
 */
BS_EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	static int (*real)(int (*)(void *), void *, int, void *, ...);
	bool until_exec = flags & CLONE_VFORK && !(flags & CLONE_SETTLS);
	long begun = 0;
	void *a[3];
	va_list ap;
	int ret;

	va_start(ap, arg);
	for (int i = 0; i < 3; i++)
		a[i] = va_arg(ap, void *);
	va_end(ap);
	if (unlikely(!real))
		*(void **)&real = dlsym(RTLD_NEXT, "clone");
	if (unlikely(!real))
		sys_die("no clone() in libc");
	if (flags & CLONE_VM && until_exec)
		begun = bs_vfork_begin();
	else if (flags & CLONE_VM)
		bs_sections_end();
	ret = real(fn, stack, flags, arg, a[0], a[1], a[2]);
	if (begun & CLONE_VM)
		bs_vfork_end(0, begun);
	return ret;
}

void bs_fork_register(void)
{
	if (pthread_atfork(prepare, parent, child))
		sys_say("no atfork handler: forked children start bare");
}
