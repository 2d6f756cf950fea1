/* SPDX-License-Identifier: MIT */
/*
 * json.c - text buffer and JSON writer.
 *
 * Owns:   growth of struct bs_buf, JSON punctuation and escaping.
 * Layer:  shared.
 * Locks:  none.
 * Source: RFC 8259 for the escapes, RFC 3629 for what is UTF-8.
 */
#include "shared/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST_BYTES 256

void bs_buf_free(struct bs_buf *buf)
{
	free(buf->data);
	*buf = (struct bs_buf)BS_BUF_INIT;
}

void bs_buf_reset(struct bs_buf *buf)
{
	buf->len = 0;
	buf->failed = false;
	if (buf->data)
		buf->data[0] = '\0';
}

const char *bs_buf_str(const struct bs_buf *buf)
{
	return buf->data ? buf->data : "";
}

/* Room for `len` more bytes and the NUL. */
static bool buf_reserve(struct bs_buf *buf, size_t len)
{
	size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;
	char *data;

	if (buf->failed || len > SIZE_MAX / 4 || buf->len > SIZE_MAX / 4)
		goto out_failed;
	while (cap < buf->len + len + 1)
		cap *= 2;
	if (cap == buf->cap)
		return true;
	data = realloc(buf->data, cap);
	if (!data)
		goto out_failed;
	buf->data = data;
	buf->cap = cap;
	return true;

out_failed:
	buf->failed = true;
	return false;
}

void bs_buf_add(struct bs_buf *buf, const void *data, size_t len)
{
	if (!buf_reserve(buf, len))
		return;
	if (len)
		memcpy(buf->data + buf->len, data, len);
	buf->len += len;
	buf->data[buf->len] = '\0';
}

void bs_buf_puts(struct bs_buf *buf, const char *text)
{
	bs_buf_add(buf, text, strlen(text));
}

void bs_buf_putc(struct bs_buf *buf, char c)
{
	bs_buf_add(buf, &c, 1);
}

void bs_buf_vprintf(struct bs_buf *buf, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0 || !buf_reserve(buf, (size_t)len)) {
		buf->failed = true;
		return;
	}
	vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, ap);
	buf->len += (size_t)len;
}

void bs_buf_printf(struct bs_buf *buf, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	bs_buf_vprintf(buf, fmt, ap);
	va_end(ap);
}

void bs_buf_puts_clean(struct bs_buf *buf, const char *text)
{
	for (; *text; text++)
		bs_buf_putc(buf, (unsigned char)*text < 0x20 || *text == 0x7f
					 ? '?'
					 : *text);
}

void bs_buf_put_bytes(struct bs_buf *buf, uint64_t bytes)
{
	static const char *const units[] = { "KiB", "MiB", "GiB", "TiB" };
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		bs_buf_printf(buf, "%" PRIu64 " B", bytes);
		return;
	}
	while (value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1024;
		unit++;
	}
	bs_buf_printf(buf, "%.1f %s", value, units[unit]);
}

/* ---- JSON -------------------------------------------------------------- */

/*
 * Length of the UTF-8 sequence at s, 0 if it is none.  s is NUL-terminated, and
 * a NUL is no continuation byte, so that nothing behind it is read.
 */
static size_t utf8_len(const unsigned char *s)
{
	size_t len, i;
	uint32_t code;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] < 0xe0) {
		len = 2;
		code = s[0] & 0x1f;
	} else if (s[0] >= 0xe0 && s[0] < 0xf0) {
		len = 3;
		code = s[0] & 0x0f;
	} else if (s[0] >= 0xf0 && s[0] < 0xf5) {
		len = 4;
		code = s[0] & 0x07;
	} else {
		return 0;
	}
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	/* Overlong forms, surrogates, beyond Unicode. */
	if ((len == 3 && code < 0x800) || (len == 4 && code < 0x10000) ||
	    (code >= 0xd800 && code < 0xe000) || code > 0x10ffff)
		return 0;
	return len;
}

void bs_buf_put_utf8(struct bs_buf *buf, const char *text)
{
	while (*text) {
		size_t len = utf8_len((const unsigned char *)text);

		if (!len)
			bs_buf_puts(buf, "\xef\xbf\xbd");
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			bs_buf_putc(buf, '?');
		else
			bs_buf_add(buf, text, len);
		text += len ? len : 1;
	}
}

static void put_string(struct bs_buf *buf, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len;

	bs_buf_putc(buf, '"');
	for (; *s; s += len ? len : 1) {
		len = utf8_len(s);
		if (len == 0)
			bs_buf_puts(buf, "\\ufffd");
		else if (*s == '"' || *s == '\\')
			bs_buf_printf(buf, "\\%c", *s);
		else if (*s == '\n')
			bs_buf_puts(buf, "\\n");
		else if (*s == '\t')
			bs_buf_puts(buf, "\\t");
		else if (*s < 0x20 || *s == 0x7f)
			bs_buf_printf(buf, "\\u%04x", *s);
		else
			bs_buf_add(buf, s, len);
	}
	bs_buf_putc(buf, '"');
}

/* Comma if needed, then the key. */
static void put_prefix(struct bs_json *json, const char *key)
{
	if (json->comma[json->depth])
		bs_buf_putc(json->buf, ',');
	json->comma[json->depth] = true;
	if (key) {
		put_string(json->buf, key);
		bs_buf_putc(json->buf, ':');
	}
}

static void put_open(struct bs_json *json, const char *key, char bracket)
{
	put_prefix(json, key);
	bs_buf_putc(json->buf, bracket);
	assert(json->depth + 1 < BS_JSON_DEPTH_MAX);
	json->comma[++json->depth] = false;
}

static void put_close(struct bs_json *json, char bracket)
{
	assert(json->depth > 0);
	json->depth--;
	bs_buf_putc(json->buf, bracket);
}

void bs_json_init(struct bs_json *json, struct bs_buf *buf)
{
	*json = (struct bs_json){ .buf = buf };
}

void bs_json_object(struct bs_json *json, const char *key)
{
	put_open(json, key, '{');
}

void bs_json_object_end(struct bs_json *json)
{
	put_close(json, '}');
}

void bs_json_array(struct bs_json *json, const char *key)
{
	put_open(json, key, '[');
}

void bs_json_array_end(struct bs_json *json)
{
	put_close(json, ']');
}

void bs_json_u64(struct bs_json *json, const char *key, uint64_t value)
{
	put_prefix(json, key);
	bs_buf_printf(json->buf, "%" PRIu64, value);
}

void bs_json_i64(struct bs_json *json, const char *key, int64_t value)
{
	put_prefix(json, key);
	bs_buf_printf(json->buf, "%" PRId64, value);
}

void bs_json_double(struct bs_json *json, const char *key, double value,
		    int decimals)
{
	put_prefix(json, key);
	if (isfinite(value))
		bs_buf_printf(json->buf, "%.*f", decimals, value);
	else
		bs_buf_puts(json->buf, "null");
}

void bs_json_bool(struct bs_json *json, const char *key, bool value)
{
	put_prefix(json, key);
	bs_buf_puts(json->buf, value ? "true" : "false");
}

void bs_json_null(struct bs_json *json, const char *key)
{
	put_prefix(json, key);
	bs_buf_puts(json->buf, "null");
}

void bs_json_str(struct bs_json *json, const char *key, const char *value)
{
	put_prefix(json, key);
	if (value)
		put_string(json->buf, value);
	else
		bs_buf_puts(json->buf, "null");
}

void bs_json_addr(struct bs_json *json, const char *key, uint64_t addr)
{
	put_prefix(json, key);
	bs_buf_printf(json->buf, "\"0x%" PRIx64 "\"", addr);
}
