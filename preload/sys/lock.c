/* SPDX-License-Identifier: MIT */
/*
 * lock.c - the futex lock's slow path and, in debug builds, rank checks.
 *
 * Owns:   waiting and waking.
 * Layer:  sys.
 * Source: U. Drepper, "Futexes Are Tricky" (2011), mutex 2: the states 0, 1, 2.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#include "preload/sys/arch.h"
#include "preload/sys/sys.h"

/* About 1 us: longer than most sections, shorter than a trip to the kernel. */
#define SPINS 64

void sys_lock_slow(struct sys_lock *l)
{
	uint32_t seen;
	int i;

	for (i = 0; i < SPINS; i++) {
		seen = 0;
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 &&
		    __atomic_compare_exchange_n(&l->word, &seen, 1, false,
						__ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return;
		arch_relax();
	}
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
		arch_syscall(SYS_futex, (long)&l->word, FUTEX_WAIT_PRIVATE, 2,
			     0, 0, 0);
}

void sys_spin_slow(struct sys_lock *l)
{
	const struct timespec moment = { 0, 20000 };
	uint32_t seen;
	int i;

	for (;;) {
		for (i = 0; i < SPINS; i++) {
			seen = 0;
			if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 &&
			    __atomic_compare_exchange_n(&l->word, &seen, 1,
							false, __ATOMIC_ACQUIRE,
							__ATOMIC_RELAXED))
				return;
			arch_relax();
		}
		arch_syscall(SYS_nanosleep, (long)&moment, 0, 0, 0, 0, 0);
	}
}

void sys_lock_wake(struct sys_lock *l)
{
	arch_syscall(SYS_futex, (long)&l->word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

#ifdef BS_DEBUG
/* Bit r: this thread holds a lock of rank r. */
SYS_TLS uint32_t held_ranks;

void sys_rank_enter(unsigned int rank)
{
	if (held_ranks >> rank)
		sys_die("lock rank %u taken while ranks %x are held", rank,
			held_ranks);
	held_ranks |= 1U << rank;
}

void sys_rank_leave(unsigned int rank)
{
	if (!(held_ranks >> rank & 1))
		sys_die("lock rank %u released but not held", rank);
	held_ranks &= ~(1U << rank);
}

void sys_rank_reset(void)
{
	held_ranks = 0;
}
#endif
