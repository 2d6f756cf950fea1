/* SPDX-License-Identifier: MIT */
/*
 * arch-x86_64.h - entry to the kernel, and where the arena may live.
 * Source: System V ABI for x86-64, appendix A.2.
 */
#ifndef BS_SYS_ARCH_X86_64_H
#define BS_SYS_ARCH_X86_64_H

static inline long arch_syscall(long nr, long a0, long a1, long a2, long a3,
				long a4, long a5)
{
	register long r10 __asm__("r10") = a3;
	register long r8 __asm__("r8") = a4;
	register long r9 __asm__("r9") = a5;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a0), "S"(a1), "d"(a2), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* Something that counts on at a constant rate. */
static inline unsigned long arch_cycles(void)
{
	return __builtin_ia32_rdtsc();
}

/* A handler of this thread sees it done or not begun; other threads may not. */
static inline void arch_add_local(unsigned int *p, unsigned int n)
{
	__asm__ volatile("addl %1, %0" : "+m"(*p) : "ri"(n) : "cc");
}

static inline void arch_relax(void)
{
	__builtin_ia32_pause();
}

/*
 * Executables live at 0x55…, mappings and stacks at 0x7f…; nobody chooses
 * addresses between 32 and 64 TiB.  ThreadSanitizer forbids that range but
 * allows the lowest 512 GiB.
 */
#ifdef __SANITIZE_THREAD__
#define BS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BS_TSAN 1
#endif
#endif
#ifdef BS_TSAN
#define ARCH_ARENA_BASE	  0x1000000000UL /* 64 GiB */
#define ARCH_ARENA_RANDOM 0UL
#define ARCH_ARENA_MAX	  (64UL << 30)
#else
#define ARCH_ARENA_BASE	  0x200000000000UL /* 32 TiB */
#define ARCH_ARENA_RANDOM 0x0fff00000000UL /* 12 bits, steps of 4 GiB */
#define ARCH_ARENA_MAX	  (1UL << 40)
#endif

#endif
