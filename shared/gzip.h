/* SPDX-License-Identifier: MIT */
/*
 * gzip.h - bytes that are packed, and bytes that go through text.
 *
 * Owns:   the use of zlib; base64.
 * Layer:  shared.
 * Locks:  none.
 */
#ifndef BS_SHARED_GZIP_H
#define BS_SHARED_GZIP_H

#include <stdbool.h>
#include <stddef.h>

#include "shared/json.h"

/* Appends data as a gzip file without name and time: the same bytes each time. */
void bs_gzip_add(struct bs_buf *out, const void *data, size_t len);

/* Appends base64 (RFC 4648) in lines of 76, each ended. */
void bs_base64_add(struct bs_buf *out, const void *data, size_t len);
/* Appends what a line (without its end) stands for; false if it is not base64. */
bool bs_base64_take(struct bs_buf *out, const char *line);

#endif
