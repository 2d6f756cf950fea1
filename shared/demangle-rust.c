/* SPDX-License-Identifier: MIT */
/*
 * demangle-rust.c - Rust's names, through libiberty.
 *
 * Owns:   the text that libiberty's demangler hands out, and its bound.
 * Layer:  shared; demangle-raw.c takes its place where there is no libiberty.
 * Locks:  none.
 * Source: libiberty's demangle.h.
 *
 * A name of the new form refers back to parts of itself, so a hundred bytes can
 * stand for more text than there is memory.  rust_demangle() knows no bound;
 * here the text is taken piece by piece and left by longjmp when it is long
 * enough.  What is lost then is one short buffer of an identifier in punycode.
 */
#include "shared/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

struct text {
	char *data; /* BS_DEMANGLED_MAX + 1 bytes */
	size_t len;
	jmp_buf too_long;
};

static void take(const char *piece, size_t len, void *arg)
{
	struct text *t = arg;

	if (len > BS_DEMANGLED_MAX - t->len)
		longjmp(t->too_long, 1);
	if (len) /* piece may be NULL else */
		memcpy(t->data + t->len, piece, len);
	t->len += len;
}

char *bs_demangle_rust(const char *name)
{
	struct text *t = calloc(1, sizeof(*t));
	char *result = NULL;

	if (!t)
		return NULL;
	t->data = malloc(BS_DEMANGLED_MAX + 1);
	/* Without DMGL_VERBOSE the hash of the crate and of the item is left out. */
	if (t->data && !setjmp(t->too_long) &&
	    rust_demangle_callback(name, 0, take, t) && t->len) {
		t->data[t->len] = '\0';
		result = t->data;
	} else {
		free(t->data);
	}
	free(t);
	return result;
}
