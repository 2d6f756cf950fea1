/* SPDX-License-Identifier: MIT */
/*
 * dl.c - dlopen and dlmopen without RTLD_DEEPBIND; dlclose.
 *
 * Owns:   the flag.  A library opened with it would look names up in its own
 *         dependencies first, find libc's malloc there, and hand its blocks to
 *         our free.
 * Layer:  preload.
 * Locks:  none.
 *
 * glibc looks at the return address of dlopen() for the caller's RUNPATH,
 * $ORIGIN and namespace.  So the exported names are a few instructions in
 * tail.S, which call bs_real_dlopen() with the flags and jump to what it
 * returns, the stack as they found it.
 */
#include <dlfcn.h>

#include "preload/internal.h"
#include "preload/segment.h"

void *bs_real_dlopen(int *flags) BS_HIDDEN;
void *bs_real_dlmopen(int *flags) BS_HIDDEN;

static void *no_dlopen(void)
{
	return NULL;
}

/* Looking up twice does no harm: both find the same. */
static void *next(void **slot, const char *name)
{
	void *real = __atomic_load_n(slot, __ATOMIC_RELAXED);

	if (unlikely(!real)) {
		real = dlsym(RTLD_NEXT, name);
		if (!real)
			real = (void *)no_dlopen;
		__atomic_store_n(slot, real, __ATOMIC_RELAXED);
	}
	return real;
}

void *bs_real_dlopen(int *flags)
{
	static void *real;

	*flags &= ~RTLD_DEEPBIND;
	return next(&real, "dlopen");
}

/* Another namespace has a libc of its own, and its own malloc with it. */
void *bs_real_dlmopen(int *flags)
{
	static void *real;

	*flags &= ~RTLD_DEEPBIND;
	return next(&real, "dlmopen");
}

/*
 * Afterwards the addresses are free for another library: call sites must not be
 * taken for the old one's.
 */
BS_EXPORT int dlclose(void *handle)
{
	static void *real;
	int (*fn)(void *) = (int (*)(void *))next(&real, "dlclose");
	int ret = fn(handle);

	if (bs_enter()) {
		segment_modules();
		bs_leave();
	}
	return ret;
}
