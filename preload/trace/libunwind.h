/* SPDX-License-Identifier: MIT */
/*
 * libunwind.h - the second unwinder: libunwind, loaded at run time.
 *
 * Layer:  trace; below unwind.c.  Locks: none of ours may be held.
 *
 * libunwind is never linked: its _Unwind_* symbols would capture the program's C++
 * exceptions.  It calls malloc, mmap and, at its first use, pipe2; all of them
 * meet bs_tls.no_trace, and our pipe2 refuses then, so that no descriptor stays
 * open.  Every word of the stack that it wants goes through unwind_may_read().
 */
#ifndef BS_TRACE_LIBUNWIND_H
#define BS_TRACE_LIBUNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/trace/unwind.h"

bool libunwind_loaded(void);
/* False after loading failed, or after a fork in the middle of it. */
bool libunwind_possible(void);

/* As unwind_stack(), with our own frames still in front. */
size_t libunwind_stack(uintptr_t *pcs, size_t max, enum unwind_end *end);

/* unwind.c: is this stack word readable? */
bool unwind_may_read(uintptr_t addr);

/* In a forked child: gives it up if another thread was inside. */
void libunwind_fork_child(void);

#endif
