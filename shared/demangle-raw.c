/* SPDX-License-Identifier: MIT */
/*
 * demangle-raw.c - Rust's names where configure found no libiberty: as they are.
 *
 * Owns:   nothing.
 * Layer:  shared; takes the place of demangle-rust.c.
 * Locks:  none.
 */
#include "shared/demangle.h"

#include <stddef.h>

char *bs_demangle_rust(const char *name)
{
	(void)name;
	return NULL;
}
