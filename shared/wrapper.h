/* SPDX-License-Identifier: MIT */
/*
 * wrapper.h - which functions only hand out memory for somebody else.
 *
 * Owns:   the rule by which a group of call sites is named (docs/sites.md).
 * Layer:  shared; on symbols.
 * Locks:  none.
 *
 * A site is called after its innermost frame that is no wrapper.  A wrapper is
 *  1. a function whose own name (without scopes, parameters, template arguments)
 *     has one of the words malloc, calloc, realloc, strdup, ... in it, whatever
 *     the case, at its end or in front of anything but a small letter:
 *     g_malloc0, av_malloc_array, PyMem_RawMalloc, __GI___strdup;
 *  2. operator new, and whatever is called allocate;
 *  3. C++'s standard library: namespaces std and __gnu_cxx;
 *  4. Rust's: crates alloc, core and std.
 */
#ifndef BS_SHARED_WRAPPER_H
#define BS_SHARED_WRAPPER_H

#include <stdbool.h>

#include "shared/symbols.h"

bool bs_is_alloc_wrapper(const struct bs_frame *frame);

#endif
