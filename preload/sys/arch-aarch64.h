/* SPDX-License-Identifier: MIT */
/*
 * arch-aarch64.h - entry to the kernel, and where the arena may live.
 * Source: Linux Documentation/arm64/memory.rst (39-, 48-bit user addresses).
 */
#ifndef BS_SYS_ARCH_AARCH64_H
#define BS_SYS_ARCH_AARCH64_H

static inline long arch_syscall(long nr, long a0, long a1, long a2, long a3,
				long a4, long a5)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a0;
	register long x1 __asm__("x1") = a1;
	register long x2 __asm__("x2") = a2;
	register long x3 __asm__("x3") = a3;
	register long x4 __asm__("x4") = a4;
	register long x5 __asm__("x5") = a5;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}

/* Something that counts on at a constant rate. */
static inline unsigned long arch_cycles(void)
{
	unsigned long count;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
	return count;
}

/* A handler of this thread sees it done or not begun. */
static inline void arch_add_local(unsigned int *p, unsigned int n)
{
	__atomic_fetch_add(p, n, __ATOMIC_RELAXED);
}

static inline void arch_relax(void)
{
	__asm__ volatile("yield");
}

/* Valid with 39-bit addresses too: the middle of 512 GiB. */
#define ARCH_ARENA_BASE	  0x2000000000UL /* 128 GiB */
#define ARCH_ARENA_RANDOM 0x0700000000UL
#define ARCH_ARENA_MAX	  (128UL << 30)

#endif
