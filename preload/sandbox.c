/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - notice that a seccomp filter is about to be installed.
 *
 * Owns:   bs_sandboxed.  From then on a system call that the program itself
 *         would not make may kill it: no file is opened any more, no library
 *         loaded, forked children publish nothing.  Memory calls and futex go
 *         on; no program forbids those to its own malloc.
 * Layer:  preload.
 * Locks:  none.  Async-signal safe, but for the first syscall().
 *
 * seccomp(2) has no function in libc: libseccomp and everybody else come
 * through syscall() or prctl().  So do those who make threads without libc.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "preload/internal.h"

bool bs_sandboxed;

void *bs_real_syscall(long nr, long a0) BS_HIDDEN;

/* A vfork child shares our memory, but the filter will be its own. */
static void filter_coming(void)
{
	if (!bs_is_owner())
		return;
	__atomic_store_n(&bs_sandboxed, true, __ATOMIC_RELAXED);
	__atomic_store_n(&mm.sandboxed, true, __ATOMIC_RELAXED);
	bs_sections_end();
}

/* A thread that rseq does not know, or one that leaves rseq. */
static bool ends_sections(long nr, long a0)
{
#ifdef SYS_vfork
	if (nr == SYS_vfork)
		return true;
#endif
	return (nr == SYS_clone && a0 & CLONE_VM) || nr == SYS_clone3 ||
	       nr == SYS_rseq;
}

/* tail.S calls this with the first arguments of syscall() and jumps on. */
void *bs_real_syscall(long nr, long a0)
{
	static void *real;
	void *fn = __atomic_load_n(&real, __ATOMIC_RELAXED);

	if (unlikely(!fn)) {
		fn = dlsym(RTLD_NEXT, "syscall");
		if (!fn)
			sys_die("no syscall() in libc");
		__atomic_store_n(&real, fn, __ATOMIC_RELAXED);
	}
	if (unlikely((nr == SYS_seccomp && a0 != SECCOMP_GET_ACTION_AVAIL &&
		      a0 != SECCOMP_GET_NOTIF_SIZES) ||
		     (nr == SYS_prctl && a0 == PR_SET_SECCOMP)))
		filter_coming();
	if (unlikely(ends_sections(nr, a0)))
		bs_sections_end();
	return fn;
}

BS_EXPORT int prctl(int option, ...)
{
	unsigned long a[4];
	va_list ap;
	long ret;

	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_SECCOMP)
		filter_coming();
	ret = sys_call(SYS_prctl, option, (long)a[0], (long)a[1], (long)a[2],
		       (long)a[3], 0);
	if (sys_is_err(ret)) {
		errno = (int)-ret;
		return -1;
	}
	return (int)ret;
}
