/* SPDX-License-Identifier: MIT */
/*
 * clock.h - has the coarse clock moved?
 *
 * Layer:  sys.  Locks: none.
 *
 * Asking CLOCK_MONOTONIC_COARSE takes 5 to 10 ns, two calls and a sequence lock, and it
 * says the same for 1 to 4 ms.  The kernel keeps it as a pair of words, seconds and
 * nanoseconds, in pages that each process has mapped read-only; where these lie in them
 * is the kernel's affair and has changed.  So they are looked for by what they say.  A
 * look at them is two loads.
 *
 * They are no clock: between two seconds the halves may not belong together.  But while
 * they say what they said when the clock was last asked, it would answer the same.
 * Source: Linux include/vdso/datapage.h, struct vdso_timestamp; kernel/time/vsyscall.c.
 */
#ifndef BS_SYS_CLOCK_H
#define BS_SYS_CLOCK_H

#include <stdint.h>

/* Seconds and nanoseconds; two zeros of our own until they are found. */
extern __attribute__((visibility("hidden")))
const volatile uint64_t *sys_clock_words;

/*
 * What the words say, in ns: sys_now_coarse_ns() or, rarely, nonsense.  0: they were not
 * found.
 */
static inline __attribute__((always_inline)) uint64_t sys_clock_peek(void)
{
	const volatile uint64_t *words = sys_clock_words;

	return words[0] * 1000000000ULL + words[1];
}

/*
 * Looks for the words, once, in about 30 us.  Where there are none that can be read
 * without risk, all stays as it was.
 */
void sys_clock_find(void);

#endif
