/* SPDX-License-Identifier: MIT */
/*
 * rseq.c - is there rseq, and how sections of other threads are stopped.
 *
 * Owns:   sys_rseq.
 * Layer:  sys.
 * Source: membarrier(2).
 */
#include "preload/sys/rseq.h"

#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>

#include "preload/sys/arch.h"
#include "preload/sys/sys.h"

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#endif
/* Linux 5.10; the header may be older. */
#define RESTART_ALL	     (1 << 7)
#define REGISTER_RESTART_ALL (1 << 8)

struct sys_rseq sys_rseq;

static long membarrier(int command)
{
	return arch_syscall(SYS_membarrier, command, 0, 0, 0, 0, 0);
}

bool sys_rseq_init(void)
{
#ifdef BS_NO_RSEQ
	return false;
#else
	if (!&__rseq_size || !__rseq_size)
		return false;
	sys_rseq.area = __rseq_offset;
	sys_rseq.slot = __rseq_offset +
			(getauxval(AT_RSEQ_FEATURE_SIZE) >= RSEQ_MM_CID + 4
				 ? RSEQ_MM_CID
				 : RSEQ_CPU_ID);
	return sys_rseq_slot() != UINT32_MAX &&
	       !membarrier(REGISTER_RESTART_ALL);
#endif
}

/*
 * Refused only under a seccomp filter that nobody announced (sandbox.c).  Nothing
 * is left then but time: a section is fifteen instructions long and ends, one way
 * or the other, when its thread loses the CPU.
 */
void sys_rseq_restart_all(void)
{
	const struct timespec moment = { 0, 20000000 };

	if (membarrier(RESTART_ALL))
		arch_syscall(SYS_nanosleep, (long)&moment, 0, 0, 0, 0, 0);
}

void sys_rseq_stay_cold(void)
{
	static __thread __attribute__((tls_model("initial-exec")))
	uint64_t never;

	sys_rseq.area = (ptrdiff_t)((uintptr_t)&never - RSEQ_CS -
				    (uintptr_t)__builtin_thread_pointer());
}
