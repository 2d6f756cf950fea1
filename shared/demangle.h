/* SPDX-License-Identifier: MIT */
/*
 * demangle.h - C++ and Rust names as they were written.
 *
 * Owns:   the use of the C++ runtime's demangler, and of libiberty's for Rust.
 * Layer:  shared.
 * Locks:  none; any thread.
 *
 * The runtime (libstdc++.so.6 or libc++abi.so.1) is loaded when the first such
 * name comes: a program whose names are mangled brings it along, and a board
 * without C++ needs it not.  libiberty is linked, if configure found it; without
 * it Rust's old names are read as C++ and keep their hash, the new ones stay raw.
 */
#ifndef BS_SHARED_DEMANGLE_H
#define BS_SHARED_DEMANGLE_H

/* The names come from files that we do not trust, and demanglers recurse. */
#define BS_MANGLED_MAX	 2048U
#define BS_DEMANGLED_MAX 4096U

/* malloc'ed; NULL: not a mangled name, no runtime, or too long to be sane. */
char *bs_demangle(const char *name);

/* Behind it, for Rust alone: _R..., and _ZN...17h<hash>E without the hash. */
char *bs_demangle_rust(const char *name);

#endif
