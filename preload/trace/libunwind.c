/* SPDX-License-Identifier: MIT */
/*
 * libunwind.c - loads libunwind and asks it for a stack.
 *
 * Owns:   the handle and the entry points; our pipe2().
 * Layer:  trace.  Locks: none.  Source: libunwind(3), unw_get_accessors(3).
 */
#include "preload/trace/libunwind.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "preload/internal.h"
#include "preload/sys/sys.h"
#include "preload/trace/trace.h"

#ifndef BS_LIBUNWIND_SONAME
#define BS_LIBUNWIND_SONAME "libunwind.so.8"
#endif

#define NAME_OF(x) #x
#define SYMBOL(x)  NAME_OF(x) /* expands libunwind's own renaming first */

struct entry_points {
	int (*getcontext)(unw_context_t *);
	int (*init_local)(unw_cursor_t *, unw_context_t *);
	int (*step)(unw_cursor_t *);
	int (*get_reg)(unw_cursor_t *, unw_regnum_t, unw_word_t *);
	unw_accessors_t *(*get_accessors)(unw_addr_space_t);
	unw_addr_space_t *local_addr_space;
};

static struct entry_points unw;
static bool loading, loaded, given_up;
static uint32_t nr_inside; /* threads in libunwind */

/* libunwind's own access_mem, for callers that are not us. */
static int (*plain_access_mem)(unw_addr_space_t, unw_word_t, unw_word_t *, int,
			       void *);

bool libunwind_loaded(void)
{
	return __atomic_load_n(&loaded, __ATOMIC_ACQUIRE);
}

bool libunwind_possible(void)
{
	return !__atomic_load_n(&given_up, __ATOMIC_RELAXED);
}

/* Registers lie in the context on our own stack, so they pass the check too. */
static int guarded_access_mem(unw_addr_space_t as, unw_word_t addr,
			      unw_word_t *val, int write, void *arg)
{
	if (!bs_tls.no_trace)
		return plain_access_mem(as, addr, val, write, arg);
	if (write || !unwind_may_read(addr))
		return -UNW_EINVAL;
	*val = *(const unw_word_t *)addr;
	return 0;
}

static bool find_entry_points(void *handle)
{
	unw.init_local = (int (*)(unw_cursor_t *, unw_context_t *))dlsym(
		handle, SYMBOL(UNW_OBJ(init_local)));
	unw.step =
		(int (*)(unw_cursor_t *))dlsym(handle, SYMBOL(UNW_OBJ(step)));
	unw.get_reg =
		(int (*)(unw_cursor_t *, unw_regnum_t,
			 unw_word_t *))dlsym(handle, SYMBOL(UNW_OBJ(get_reg)));
	unw.get_accessors = (unw_accessors_t * (*)(unw_addr_space_t))
		dlsym(handle, SYMBOL(UNW_ARCH_OBJ(get_accessors)));
	unw.local_addr_space = dlsym(handle, SYMBOL(UNW_OBJ(local_addr_space)));
#ifdef __x86_64__
	unw.getcontext = (int (*)(unw_context_t *))dlsym(
		handle, SYMBOL(UNW_ARCH_OBJ(getcontext)));
	if (!unw.getcontext)
		return false;
#endif
	return unw.init_local && unw.step && unw.get_reg && unw.get_accessors &&
	       unw.local_addr_space;
}

static inline __attribute__((always_inline)) int here(unw_context_t *context)
{
#ifdef __x86_64__
	return unw.getcontext(context);
#else
	return unw_getcontext(context);
#endif
}

void unwind_load(void)
{
	unw_context_t context;
	unw_cursor_t cursor;
	unw_accessors_t *acc;
	void *handle;

	if (__atomic_exchange_n(&loading, true, __ATOMIC_ACQ_REL))
		return;
	bs_tls.no_trace++;
	handle = dlopen(BS_LIBUNWIND_SONAME, RTLD_NOW | RTLD_LOCAL);
	if (!handle || !find_entry_points(handle))
		goto out_give_up;
	/* its first call sets everything up, accessors included */
	if (here(&context) || unw.init_local(&cursor, &context))
		goto out_give_up;
	acc = unw.get_accessors(*unw.local_addr_space);
	plain_access_mem = acc->access_mem;
	acc->access_mem = guarded_access_mem;
	__atomic_store_n(&loaded, true, __ATOMIC_RELEASE);
	bs_tls.no_trace--;
	return;

out_give_up:
	__atomic_store_n(&given_up, true, __ATOMIC_RELAXED);
	bs_tls.no_trace--;
}

size_t libunwind_stack(uintptr_t *pcs, size_t max, enum unwind_end *end)
{
	uint16_t depth = bs_tls.depth;
	unw_context_t context;
	unw_cursor_t cursor;
	unw_word_t ip;
	size_t nr = 0;
	int ret;

	*end = UNWIND_LOST;
	__atomic_fetch_add(&nr_inside, 1, __ATOMIC_ACQ_REL);
	bs_tls.no_trace++;
	bs_tls.depth = 0;
	if (here(&context) || unw.init_local(&cursor, &context))
		goto out;
	while (nr < max) {
		ret = unw.step(&cursor);
		if (ret <= 0) {
			*end = ret == 0 ? UNWIND_WHOLE : UNWIND_LOST;
			goto out;
		}
		if (unw.get_reg(&cursor, UNW_REG_IP, &ip) || ip <= PAGE_SIZE)
			goto out;
		pcs[nr++] = ip;
	}
	*end = UNWIND_FULL;
out:
	bs_tls.depth = depth;
	bs_tls.no_trace--;
	__atomic_fetch_sub(&nr_inside, 1, __ATOMIC_ACQ_REL);
	return nr;
}

void libunwind_fork_child(void)
{
	if (__atomic_load_n(&nr_inside, __ATOMIC_RELAXED) == 0)
		return;
	/* its locks may be held for ever */
	__atomic_store_n(&loaded, false, __ATOMIC_RELAXED);
	__atomic_store_n(&given_up, true, __ATOMIC_RELAXED);
	__atomic_store_n(&nr_inside, 0, __ATOMIC_RELAXED);
}

/*
 * libunwind opens a pipe at its first use to test addresses with, and never closes
 * it.  We test addresses ourselves, so under our guard it gets none.
 */
BS_EXPORT int pipe2(int fds[2], int flags)
{
	long ret;

	if (bs_tls.no_trace) {
		errno = EMFILE;
		return -1;
	}
	ret = sys_call(SYS_pipe2, (long)fds, flags, 0, 0, 0, 0);
	if (sys_is_err(ret)) {
		errno = (int)-ret;
		return -1;
	}
	return 0;
}
