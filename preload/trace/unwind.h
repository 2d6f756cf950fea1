/* SPDX-License-Identifier: MIT */
/*
 * unwind.h - return addresses of the running thread.
 *
 * Layer:  trace; above cfi.  Locks: none.
 *
 * Two unwinders.  The first walks ordinary frames itself: one rule per return
 * address, learnt once from .eh_frame, kept in a shared table.  It takes no lock,
 * allocates nothing, and reads the stack only where it knows that memory is
 * readable, so hand-made stacks, JIT frames and wrong unwind tables end a walk but
 * never the program.  The second is libunwind, for a stack with an odd frame; it
 * is loaded when the first such frame was met.
 */
#ifndef BS_TRACE_UNWIND_H
#define BS_TRACE_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a walk ended. */
enum unwind_end {
	UNWIND_WHOLE, /* the outermost frame was reached */
	UNWIND_FULL,  /* more frames than fit */
	UNWIND_LOST,  /* no way on: no unwind information, unreadable stack */
	UNWIND_ODD,   /* an odd frame, and libunwind not there (yet) */
};

/* Where a walk is.  exact: pc is the instruction itself, not a return address. */
struct unwind_regs {
	uintptr_t pc, sp, fp;
#ifdef __aarch64__
	uintptr_t lr;
#endif
	bool exact;
};

/*
 * The frame of whoever called the function that says this, which must not be
 * inlined.  Costs that function its frame pointer and nothing else.
 */
#define UNWIND_CALLER(r)                                                       \
	do {                                                                   \
		(r)->pc = (uintptr_t)__builtin_return_address(0);              \
		(r)->sp = (uintptr_t)__builtin_dwarf_cfa();                    \
		(r)->fp = *(uintptr_t *)__builtin_frame_address(0);            \
		(r)->exact = false;                                            \
	} while (0)

/* 0, or -ENOMEM: then every walk finds nothing. */
int unwind_init(void);

/*
 * Return addresses of the caller's stack, innermost first; leading frames inside
 * the library itself are left out.  A frame that a signal interrupted is given as
 * its address + 1, so that pc - 1 names the instruction for every entry.
 * Context: inside, no lock held (libunwind may be called).
 */
size_t unwind_stack(uintptr_t *pcs, size_t max, enum unwind_end *end);

/* The same from a frame on, with the first unwinder alone. */
size_t unwind_from(const struct unwind_regs *regs, uintptr_t *pcs, size_t max,
		   enum unwind_end *end);

/* The same with the first unwinder alone. Any context, any lock held. */
size_t unwind_stack_quick(uintptr_t *pcs, size_t max, enum unwind_end *end);

/* Memory that the rules take, at most. */
uint64_t unwind_bytes(void);

/* Code of the library itself? */
bool unwind_is_self(uintptr_t pc);

/*
 * libunwind's answer where a walk met an odd frame after nr frames.  Where it cannot be
 * had, *end stays UNWIND_ODD and the nr frames are all.
 * Context: inside, no lock held.
 */
size_t unwind_odd(uintptr_t *pcs, size_t nr, size_t max, enum unwind_end *end);

/* Frames inside [start, end) are the library's own. */
void unwind_set_self(uintptr_t start, uintptr_t end);

/* Memory was unmapped: what was known to be readable has to be asked again. */
void unwind_memory_gone(void);

/* Code was unloaded: rules die. */
void unwind_set_epoch(uint64_t epoch);

/* Loads libunwind.  Outside (depth 0).  See trace_load_unwinder(). */
void unwind_load(void);

/* In a forked child: no other thread is learning, or inside libunwind. */
void unwind_fork_child(void);

#endif
