/* SPDX-License-Identifier: MIT */
/*
 * json.h - a growable text buffer and a streaming JSON writer on top of it.
 *
 * Owns:   how text and JSON are put together everywhere outside preload/.
 * Layer:  shared.
 * Locks:  none; a buffer belongs to one thread.
 *
 * Out of memory is sticky: a buffer that could not grow drops what follows and
 * says so in `failed`; callers check once at the end.  JSON conventions of
 * buddyscope: numbers are exact integers where they can be, addresses are
 * strings "0x7f..." (they do not fit a double), times are nanoseconds, unknown
 * is null.  Strings come from files that we do not trust: bytes that are not
 * UTF-8 become U+FFFD, control characters are escaped.
 */
#ifndef BS_SHARED_JSON_H
#define BS_SHARED_JSON_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BS_JSON_DEPTH_MAX 32

struct bs_buf {
	char *data; /* NUL-terminated once something was written, else NULL */
	size_t len; /* without the NUL */
	size_t cap;
	bool failed; /* out of memory: the text is cut */
};

#define BS_BUF_INIT                                                            \
	{                                                                      \
		NULL, 0, 0, false                                              \
	}

void bs_buf_free(struct bs_buf *buf);
/* Empties the text, keeps the memory. */
void bs_buf_reset(struct bs_buf *buf);
/* The text; "" when nothing was written. */
const char *bs_buf_str(const struct bs_buf *buf);
void bs_buf_add(struct bs_buf *buf, const void *data, size_t len);
void bs_buf_puts(struct bs_buf *buf, const char *text);
void bs_buf_putc(struct bs_buf *buf, char c);
void bs_buf_printf(struct bs_buf *buf, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void bs_buf_vprintf(struct bs_buf *buf, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));
/* Text for a terminal or a log: control characters and DEL become '?'. */
void bs_buf_puts_clean(struct bs_buf *buf, const char *text);
/* The same, and what is no UTF-8 becomes U+FFFD. */
void bs_buf_put_utf8(struct bs_buf *buf, const char *text);
/* 1536 -> "1.5 KiB"; below 1024 "777 B". */
void bs_buf_put_bytes(struct bs_buf *buf, uint64_t bytes);

struct bs_json {
	struct bs_buf *buf;
	unsigned int depth;
	bool comma[BS_JSON_DEPTH_MAX]; /* a value was written at this depth */
};

/*
 * key is NULL inside arrays and for the outermost value.  Begin and end must
 * pair; deeper than BS_JSON_DEPTH_MAX is a programming error (assert).
 */
void bs_json_init(struct bs_json *json, struct bs_buf *buf);
void bs_json_object(struct bs_json *json, const char *key);
void bs_json_object_end(struct bs_json *json);
void bs_json_array(struct bs_json *json, const char *key);
void bs_json_array_end(struct bs_json *json);
void bs_json_u64(struct bs_json *json, const char *key, uint64_t value);
void bs_json_i64(struct bs_json *json, const char *key, int64_t value);
/* Fixed point with `decimals` digits, never an exponent; NaN/Inf: null. */
void bs_json_double(struct bs_json *json, const char *key, double value,
		    int decimals);
void bs_json_bool(struct bs_json *json, const char *key, bool value);
void bs_json_null(struct bs_json *json, const char *key);
/* A NULL value is written as null. */
void bs_json_str(struct bs_json *json, const char *key, const char *value);
void bs_json_addr(struct bs_json *json, const char *key, uint64_t addr);

#endif
