/* SPDX-License-Identifier: MIT */
/*
 * shared_util.h - what the tests of shared/ have in common.
 *
 * Owns:   a temporary directory, writing and reading back images, a check that
 *         text is JSON.
 * Layer:  tests.
 * Locks:  none.
 */
#ifndef BS_TESTS_SHARED_UTIL_H
#define BS_TESTS_SHARED_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "shared/json.h"
#include "shared/snapshot.h"
#include "tests/mkseg.h"

/* The test's own directory, made at first use, removed at exit. */
const char *test_dir(void);
/* Writes the image, reads it back; NULL with err filled in. */
struct bs_snapshot *test_read(const struct mkseg *m, char *err, size_t errlen);
/* Exactly one JSON value, one line, newline at the end. */
bool test_is_json_line(const char *text);
/* Every view of a snapshot as text and JSON; asserts what must hold. */
void test_render_all(const struct bs_snapshot *s);

#endif
