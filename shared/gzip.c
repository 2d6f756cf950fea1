/* SPDX-License-Identifier: MIT */
/*
 * gzip.c - see gzip.h.
 *
 * Owns:   the two codings.
 * Layer:  shared.
 * Locks:  none.
 * Source: zlib.h; RFC 4648.
 */
#include "shared/gzip.h"

#include <string.h>
#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* the largest window; + 16: a gzip header */
#define GZIP_MEM_LEVEL	 8	   /* zlib's default */
#define CHUNK_BYTES	 16384U
#define INPUT_MAX	 (1U << 30) /* zlib counts in unsigned int */

void bs_gzip_add(struct bs_buf *out, const void *data, size_t len)
{
	unsigned char chunk[CHUNK_BYTES];
	const unsigned char *from = data;
	z_stream z = { 0 };
	int ret = Z_OK;

	if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED,
			 GZIP_WINDOW_BITS, GZIP_MEM_LEVEL,
			 Z_DEFAULT_STRATEGY) != Z_OK) {
		out->failed = true;
		return;
	}
	while (ret == Z_OK) {
		if (!z.avail_in) {
			z.next_in = (unsigned char *)from;
			z.avail_in =
				len > INPUT_MAX ? INPUT_MAX : (unsigned int)len;
			from += z.avail_in;
			len -= z.avail_in;
		}
		z.next_out = chunk;
		z.avail_out = CHUNK_BYTES;
		ret = deflate(&z, len ? Z_NO_FLUSH : Z_FINISH);
		bs_buf_add(out, chunk, CHUNK_BYTES - z.avail_out);
	}
	out->failed |= ret != Z_STREAM_END;
	deflateEnd(&z);
}

/* ---- base64 ------------------------------------------------------------------ */

#define LINE_BYTES 57U /* 76 characters */

static const char digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Three bytes, or the last one or two. */
static void put_four(struct bs_buf *out, const unsigned char *p, size_t n)
{
	unsigned int bits = (unsigned int)p[0] << 16 |
			    (n > 1 ? (unsigned int)p[1] << 8 : 0) |
			    (n > 2 ? p[2] : 0);

	bs_buf_putc(out, digits[bits >> 18]);
	bs_buf_putc(out, digits[bits >> 12 & 63]);
	bs_buf_putc(out, n > 1 ? digits[bits >> 6 & 63] : '=');
	bs_buf_putc(out, n > 2 ? digits[bits & 63] : '=');
}

void bs_base64_add(struct bs_buf *out, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t at = 0; at < len; at += 3) {
		put_four(out, p + at, len - at < 3 ? len - at : 3);
		if (at + 3 >= len || (at + 3) % LINE_BYTES == 0)
			bs_buf_putc(out, '\n');
	}
}

bool bs_base64_take(struct bs_buf *out, const char *line)
{
	for (; *line; line += 4) {
		unsigned int bits = 0, n = 0;
		const char *digit;

		for (; n < 4 && line[n] && line[n] != '='; n++) {
			digit = strchr(digits, line[n]);
			if (!digit)
				return false;
			bits |= (unsigned int)(digit - digits) << (18 - 6 * n);
		}
		if (n < 2 || (n < 4 && strcmp(line + n, &"=="[n - 2])))
			return false;
		for (unsigned int i = 0; i + 1 < n; i++)
			bs_buf_putc(out, (char)(bits >> (16 - 8 * i)));
		if (n < 4)
			break;
	}
	return true;
}
