/* SPDX-License-Identifier: MIT */
/*
 * demangle.h - C++ names as they were written.
 *
 * Owns:   the use of the C++ runtime's demangler.
 * Layer:  shared.
 * Locks:  none; any thread.
 *
 * The runtime (libstdc++.so.6 or libc++abi.so.1) is loaded when the first such
 * name comes: a program whose names are mangled brings it along, and a board
 * without C++ needs it not.
 */
#ifndef BS_SHARED_DEMANGLE_H
#define BS_SHARED_DEMANGLE_H

/* malloc'ed; NULL: not a mangled name, no runtime, or too long to be sane. */
char *bs_demangle(const char *name);

#endif
