/* SPDX-License-Identifier: MIT */
/*
 * rseq.h - pop, push and store as restartable sequences.
 *
 * Owns:   which slot a thread may use without a lock, and the proof that it did.
 * Layer:  sys.
 * Source: Linux include/uapi/linux/rseq.h, Documentation/userspace-api/rseq.rst;
 *         M. Desnoyers, "The 5-year journey to bring restartable sequences to
 *         Linux" (2019).  The kernel's own words: a section is a range of
 *         instructions whose last one makes everything visible; a thread that
 *         loses the CPU or takes a signal inside continues at `abort` instead.
 *
 * A slot is a mm_cid where the kernel gives one (Linux 6.3: dense, so a process
 * with one thread uses one slot wherever it runs), else the CPU number.  At any
 * moment one running thread has a slot's number, so what sections do with the
 * things of that slot they do as if alone.  In a stack of pointers one word says
 * how many there are: storing it is what makes a pop or a push happen.
 *
 * Each section fails, with nothing done, when the slot's number is not below
 * *slots (which is 0 while sections are stopped, and in the page that fork
 * wipes), when it was aborted, or as said.  The caller then goes the long way: no
 * section is tried again, so that single-stepping gets through.
 *
 * Only for threads whose rseq is registered; children of vfork are not.
 */
#ifndef BS_SYS_RSEQ_H
#define BS_SYS_RSEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A stack of pointers; offsets in bytes:
 *
 *   STATE  64 bits: number of entries in bits 0 to 15, number of pops above
 *   LIMIT  32 bits: a push finds it full with so many
 *   ENTRY  the pointers
 */
#define RSEQ_STATE 32
#define RSEQ_LIMIT 40
#define RSEQ_ENTRY 48
#define RSEQ_POP   0xffff /* to the state: one pop more, one entry less */
#define RSEQ_PUSH  1

/* In struct rseq */
#define RSEQ_CPU_ID 4
#define RSEQ_CS	    8
#define RSEQ_MM_CID 24

/* From the thread pointer.  Constant once sys_rseq_init() returned true. */
struct sys_rseq {
	ptrdiff_t area; /* struct rseq */
	ptrdiff_t slot; /* its 32-bit word that is the slot */
};
extern __attribute__((visibility("hidden"))) struct sys_rseq sys_rseq;

/* ThreadSanitizer does not see what an asm does. */
#if defined(__SANITIZE_THREAD__)
#define BS_NO_RSEQ 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BS_NO_RSEQ 1
#endif
#endif

#ifdef BS_NO_RSEQ
static inline void *rseq_pop(void *const *table, const uint32_t *slots)
{
	(void)table;
	(void)slots;
	return NULL;
}
static inline bool rseq_push(void *const *table, const uint32_t *slots, void *p)
{
	(void)table;
	(void)slots;
	(void)p;
	return false;
}
static inline bool rseq_store(void **to, void *value, uint32_t slot)
{
	(void)to;
	(void)value;
	(void)slot;
	return false;
}
#elif defined(__x86_64__)
#include "preload/sys/rseq-x86_64.h"
#else
#include "preload/sys/rseq-aarch64.h"
#endif

/*
 * Once, while the process has one thread: true when sections work here.  False:
 * the kernel or libc has no rseq, it is switched off
 * (GLIBC_TUNABLES=glibc.pthread.rseq=0), or nobody could stop the sections of
 * other threads (before Linux 5.10).
 */
bool sys_rseq_init(void);

/* This thread's slot; UINT32_MAX: rseq is not registered.  Not for vfork's children. */
static inline uint32_t sys_rseq_slot(void)
{
	const char *tp = (const char *)__builtin_thread_pointer();

	if (*(const volatile int32_t *)(tp + sys_rseq.area + RSEQ_CPU_ID) < 0)
		return UINT32_MAX;
	return *(const volatile uint32_t *)(tp + sys_rseq.slot);
}

/*
 * False: this thread was off its processor, or a handler ran, since it was last in
 * a section, or it never was in one.  The kernel clears the pointer to the section
 * then, as its header promises.  Not known before sys_rseq_init().
 */
static inline bool sys_rseq_is_warm(void)
{
#ifdef BS_NO_RSEQ
	return true;
#else
	const char *tp = (const char *)__builtin_thread_pointer();

	return *(const volatile uint64_t *)(tp + sys_rseq.area + RSEQ_CS) != 0;
#endif
}

/* No section will ever run here: sys_rseq_is_warm() is false from now on. */
void sys_rseq_stay_cold(void);

/*
 * Sections that other threads are in are aborted; those that begin later see what
 * this thread wrote before.
 */
void sys_rseq_restart_all(void);

#endif
