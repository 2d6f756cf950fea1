/* SPDX-License-Identifier: MIT */
/*
 * clock.c - finds the words of the coarse clock.
 *
 * Owns:   sys_clock_words.
 * Layer:  sys.
 *
 * The kernel puts its pages right below its code, which is where AT_SYSINFO_EHDR says;
 * that they are its own, and so no memory of the program's that happens to say the same,
 * shows when they are to be populated.
 *
 * In a time namespace the first page has offsets instead, and the words lie further on
 * or (with an offset of its own) nowhere.  A forked child that comes into another
 * namespace has other words at the place: they then never say what the clock does.
 */
#include "preload/sys/clock.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "preload/sys/sys.h"

#define MAX_PAGES 16 /* 4 to 6 are usual */

static const volatile uint64_t none[2];
SYS_HOT const volatile uint64_t *sys_clock_words = none;

/* Before Linux 5.14 everything looks like it. */
static bool is_kernels(const void *page)
{
	return sys_madvise((void *)(uintptr_t)page, PAGE_SIZE,
			   MADV_POPULATE_READ) == -22; /* EINVAL */
}

/*
 * Some of the pages raise SIGBUS.  The kernel reads a signal mask before it finds that
 * nothing is to be done with it.
 */
static bool is_readable(const void *p)
{
	const int no_such_how = -1;

	return sys_call(SYS_rt_sigprocmask, no_such_how, (long)p, 0, _NSIG / 8,
			0, 0) == -22; /* EINVAL; else EFAULT */
}

static const volatile uint64_t *find_in_page(const volatile uint64_t *page)
{
	uint64_t now_ns = sys_now_coarse_ns();
	const volatile uint64_t *w;

	for (w = page; w < page + PAGE_SIZE / sizeof(*w) - 1; w++)
		if (w[1] < 1000000000ULL &&
		    w[0] * 1000000000ULL + w[1] == now_ns)
			return w;
	return NULL;
}

void sys_clock_find(void)
{
	uintptr_t page = getauxval(AT_SYSINFO_EHDR), i;
	const volatile uint64_t *w = NULL;

	if (!page ||
	    is_kernels((const void *)ALIGN_DOWN((uintptr_t)none, PAGE_SIZE)))
		return;
	for (i = 0; i < MAX_PAGES && !w; i++) {
		page -= PAGE_SIZE;
		if (!is_kernels((const void *)page))
			return;
		if (!is_readable((const void *)page))
			continue;
		/* twice: the clock may move meanwhile */
		w = find_in_page((const uint64_t *)page);
		if (!w)
			w = find_in_page((const uint64_t *)page);
	}
	if (w)
		sys_clock_words = w;
}
