/* SPDX-License-Identifier: MIT */
/*
 * test_export.c - folded stacks, profiles, and what they are made with.
 *
 * Owns:   base64, gzip, numbers for keys, UTF-8; names that would break the form
 *         of an export.  tests/integration/site-forms compares the numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <cmocka.h>

#include "shared/gzip.h"
#include "shared/idmap.h"
#include "shared/sitereport.h"
#include "tests/mkseg.h"

static char dir[] = "/tmp/test_export.XXXXXX";

/* ---- base64 ------------------------------------------------------------------ */

static void base64_of_any_length_comes_back(void **state)
{
	unsigned char data[400];

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 167 + 13);
	for (size_t len = 0; len <= sizeof(data); len++) {
		struct bs_buf text = BS_BUF_INIT, back = BS_BUF_INIT;
		char *line, *save = NULL;

		bs_base64_add(&text, data, len);
		if (len)
			assert_int_equal(text.data[text.len - 1], '\n');
		for (line = len ? strtok_r(text.data, "\n", &save) : NULL; line;
		     line = strtok_r(NULL, "\n", &save)) {
			assert_true(strlen(line) <= 76);
			assert_true(bs_base64_take(&back, line));
		}
		assert_int_equal(back.len, len);
		if (len)
			assert_memory_equal(back.data, data, len);
		bs_buf_free(&text);
		bs_buf_free(&back);
	}
}

static void base64_is_that_of_the_rfc(void **state)
{
	struct bs_buf text = BS_BUF_INIT;

	(void)state;
	bs_base64_add(&text, "fooba", 5);
	bs_base64_add(&text, "foob", 4);
	bs_base64_add(&text, "\xfb\xff", 2);
	assert_string_equal(text.data, "Zm9vYmE=\nZm9vYg==\n+/8=\n");
	bs_buf_free(&text);
}

static void base64_take_refuses_other_text(void **state)
{
	static const char *const bad[] = { "a",	    "ab",    "abc",   "abcde",
					   "ab=c",  "a===",  "ab==c", "ab c",
					   "site:", "abc\n", "====" };
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (bs_base64_take(&out, bad[i]))
			fail_msg("'%s' was taken", bad[i]);
	bs_buf_free(&out);
}

/* ---- gzip ---------------------------------------------------------------------- */

/* The first len bytes of what is packed. */
static size_t unpack(const struct bs_buf *packed, void *data, size_t len)
{
	z_stream z = { .next_in = (unsigned char *)packed->data,
		       .avail_in = (unsigned int)packed->len,
		       .next_out = data,
		       .avail_out = (unsigned int)len };

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.avail_in, 0);
	inflateEnd(&z);
	return z.total_out;
}

static void gzip_comes_back_and_is_the_same_each_time(void **state)
{
	const size_t sizes[] = { 0, 1, 16384, 1000000 };
	unsigned char *data = malloc(1000000), *back = malloc(1000001);
	uint32_t random = 1;

	(void)state;
	assert_non_null(data);
	assert_non_null(back);
	/* Does not pack well: more than one piece comes out. */
	for (size_t i = 0; i < 1000000; i++)
		data[i] = (random = random * 1664525 + 1013904223) >> 24;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bs_buf a = BS_BUF_INIT, b = BS_BUF_INIT;

		bs_gzip_add(&a, data, sizes[i]);
		bs_gzip_add(&b, data, sizes[i]);
		assert_false(a.failed);
		assert_int_equal(a.len, b.len);
		assert_memory_equal(a.data, b.data, a.len);
		assert_int_equal(unpack(&a, back, 1000001), sizes[i]);
		assert_memory_equal(back, data, sizes[i]);
		bs_buf_free(&a);
		bs_buf_free(&b);
	}
	free(data);
	free(back);
}

/* ---- numbers, text ------------------------------------------------------------- */

static void idmap_numbers_keys_in_their_order(void **state)
{
	struct bs_idmap *map = bs_idmap_new();
	bool added;

	(void)state;
	assert_non_null(map);
	for (unsigned int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < 5000; i++) {
			uint32_t key[2] = { i, i / 3 };

			assert_int_equal(
				bs_idmap_get(map, key, sizeof(key), &added), i);
			assert_int_equal(added, round == 0);
		}
	}
	/* A beginning of a key is another key, as is none. */
	assert_int_equal(bs_idmap_get(map, "", 0, &added), 5000);
	assert_int_equal(bs_idmap_get(map, "\0", 1, &added), 5001);
	assert_int_equal(bs_idmap_get(map, NULL, 0, &added), 5000);
	assert_false(added);
	bs_idmap_free(map);
}

static void put_utf8_replaces_what_is_none(void **state)
{
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	bs_buf_put_utf8(&out, "a\xc3\xa4\xff-\xe2\x82\n");
	assert_string_equal(out.data, "a\xc3\xa4\xef\xbf\xbd-\xef\xbf\xbd"
				      "\xef\xbf\xbd?");
	bs_buf_free(&out);
}

/* ---- exports ------------------------------------------------------------------- */

static struct bs_snapshot *snapshot_with_path(const char *module_path)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;
	char path[4096], err[512];
	uint64_t nr;

	assert_non_null(m);
	nr = mkseg_header(m)->section[BS_SEC_MODULES].count;
	for (uint64_t i = 0; i < nr; i++)
		strcpy(((struct bs_abi_module *)mkseg_record(m, BS_SEC_MODULES,
							     i))
			       ->path,
		       module_path);
	assert_int_equal(mkseg_write(m, dir, path, sizeof(path)), 0);
	s = bs_snapshot_read(path, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	unlink(path);
	mkseg_free(m);
	return s;
}

/* What separates frames, and what ends a line, may stand in a file's name. */
static void folded_keeps_one_stack_a_line_whatever_the_names(void **state)
{
	struct bs_snapshot *s = snapshot_with_path("/lib/a;b\nc 7");
	struct bs_sitereport r = { .snapshot = s, .form = BS_FORM_FOLDED };
	struct bs_buf out = BS_BUF_INIT;
	unsigned int lines = 0;
	char *line, *save = NULL;

	(void)state;
	bs_sitereport_write(&out, &r);
	assert_false(out.failed);
	for (line = strtok_r(out.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save), lines++) {
		const char *number = strrchr(line, ' ');

		assert_memory_equal(line, "a:b?c 7+0x", 10);
		assert_non_null(number);
		assert_true(strtoull(number, NULL, 10) > 0);
	}
	/* mkseg's sites with live bytes. */
	assert_int_equal(lines, 3);
	bs_buf_free(&out);
	bs_snapshot_free(s);
}

static void folded_site_without_frames_has_a_name(void **state)
{
	struct bs_snapshot *s = snapshot_with_path("/lib/libbuddyscope.so");
	struct bs_sitereport r = { .snapshot = s, .form = BS_FORM_FOLDED };
	struct bs_buf out = BS_BUF_INIT;
	char expect[64];

	(void)state;
	/* All frames are our own; the three sites are one stack. */
	bs_sitereport_write(&out, &r);
	snprintf(expect, sizeof(expect), "(no backtrace) %u\n",
		 MKSEG_LEAK_BYTES * MKSEG_LEAK_NR + 1000 * 64 + (1 << 20));
	assert_string_equal(out.data, expect);
	bs_buf_free(&out);
	bs_snapshot_free(s);
}

static void pprof_texts_are_utf8(void **state)
{
	struct bs_snapshot *s = snapshot_with_path("/lib/x\xff.so");
	struct bs_sitereport r = { .snapshot = s, .form = BS_FORM_PPROF };
	struct bs_buf out = BS_BUF_INIT;
	char *data = malloc(1 << 20);
	size_t len;

	(void)state;
	assert_non_null(data);
	bs_sitereport_write(&out, &r);
	assert_false(out.failed);
	len = unpack(&out, data, 1 << 20);
	assert_non_null(memmem(data, len, "/lib/x\xef\xbf\xbd.so", 12));
	assert_null(memmem(data, len, "x\xff.so", 5));
	free(data);
	bs_buf_free(&out);
	bs_snapshot_free(s);
}

/* ---- threads ------------------------------------------------------------------- */

static struct bs_snapshot *snapshot_with_threads(void)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;
	char path[128], err[256];

	assert_non_null(m);
	mkseg_add_threads(m);
	assert_int_equal(mkseg_write(m, dir, path, sizeof(path)), 0);
	s = bs_snapshot_read(path, err, sizeof(err));
	assert_non_null(s);
	unlink(path);
	mkseg_free(m);
	return s;
}

static void threads_of_one_name_are_a_group(void **state)
{
	static const char *const expect[] = {
		" 20            2            2            0               20       2  pool (2 threads)\n",
		" 10            1            1            0               10       1  pool (main thread) (tid 70)\n",
		" 10            1            1            0               10       1  (other threads) (9 threads)\n",
		" 10            1            1            0               10       1  (without a name) (tid 73)\n",
		/* What is in no thread, or one that is not there. */
		"  (unknown thread)\n",
		" sites in 5 threads\n",
	};
	struct bs_snapshot *s = snapshot_with_threads();
	struct bs_sitereport r = { .snapshot = s, .by = BS_BY_THREAD };
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	assert_true(bs_sitereport_check_data(&r, &out));
	bs_sitereport_write(&out, &r);
	assert_false(out.failed);
	for (size_t i = 0; i < sizeof(expect) / sizeof(expect[0]); i++)
		if (!strstr(out.data, expect[i]))
			fail_msg("no '%s' in\n%s", expect[i], out.data);
	bs_buf_free(&out);
	bs_snapshot_free(s);
}

static void thread_is_no_frame(void **state)
{
	struct bs_snapshot *s = snapshot_with_threads();
	uint64_t last = bs_snapshot_nr_sites(s) - 1, pcs[8];
	size_t nr;

	(void)state;
	assert_null(bs_snapshot_site_thread(s, last));
	assert_null(bs_snapshot_site_thread(s, 1));
	assert_int_equal(bs_snapshot_site_thread(s, last - 1)->tid, 73);
	bs_snapshot_stack(s, bs_snapshot_site(s, last)->node, pcs, 8, &nr);
	assert_int_equal(nr, 1);
	bs_snapshot_free(s);
}

/* ---- options ------------------------------------------------------------------- */

static bool accepted(const char *const *options, bool leaks)
{
	struct bs_sitereport r = { .leaks = leaks };
	struct bs_buf err = BS_BUF_INIT;
	bool ok = true;

	for (; ok && options[0]; options += 2)
		ok = bs_sitereport_set_option(&r, options[0], options[1], &err);
	ok = ok && bs_sitereport_check(&r, &err);
	/* A refusal says why, on one line. */
	assert_int_equal(ok, !err.len);
	assert_null(strchr(bs_buf_str(&err), '\n'));
	bs_buf_free(&err);
	return ok;
}

#define ACCEPTED(leaks, ...)                                                   \
	accepted((const char *const[]){ __VA_ARGS__, NULL }, leaks)

static void options_that_contradict_are_refused(void **state)
{
	(void)state;
	assert_true(ACCEPTED(false, "by", "line", "json", NULL));
	assert_true(ACCEPTED(true, "by", "site", "json", NULL));
	assert_true(ACCEPTED(false, "folded", "", "objects", NULL));
	assert_true(ACCEPTED(false, "folded", "alloc"));
	assert_true(ACCEPTED(false, "pprof", NULL, "by", "site"));
	assert_true(ACCEPTED(false, "by", "thread", "json", NULL));
	assert_false(ACCEPTED(false, "by", "cpu"));
	assert_false(ACCEPTED(false, "by", ""));
	assert_false(ACCEPTED(false, "by", "x\ny"));
	assert_false(ACCEPTED(false, "folded", "peak"));
	assert_false(ACCEPTED(false, "objects", NULL));
	assert_false(ACCEPTED(false, "pprof", NULL, "json", NULL));
	assert_false(ACCEPTED(false, "pprof", NULL, "folded", NULL));
	assert_false(ACCEPTED(false, "pprof", NULL, "objects", NULL));
	assert_false(ACCEPTED(false, "folded", NULL, "by", "line"));
	assert_false(ACCEPTED(true, "pprof", NULL));
	assert_false(ACCEPTED(true, "by", "function"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_of_any_length_comes_back),
		cmocka_unit_test(base64_is_that_of_the_rfc),
		cmocka_unit_test(base64_take_refuses_other_text),
		cmocka_unit_test(gzip_comes_back_and_is_the_same_each_time),
		cmocka_unit_test(idmap_numbers_keys_in_their_order),
		cmocka_unit_test(put_utf8_replaces_what_is_none),
		cmocka_unit_test(
			folded_keeps_one_stack_a_line_whatever_the_names),
		cmocka_unit_test(folded_site_without_frames_has_a_name),
		cmocka_unit_test(pprof_texts_are_utf8),
		cmocka_unit_test(threads_of_one_name_are_a_group),
		cmocka_unit_test(thread_is_no_frame),
		cmocka_unit_test(options_that_contradict_are_refused),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
