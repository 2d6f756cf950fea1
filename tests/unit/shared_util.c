/* SPDX-License-Identifier: MIT */
/*
 * shared_util.c - helpers for the tests of shared/.
 *
 * Owns:   see shared_util.h.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/unit/shared_util.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/render.h"

static char dir[PATH_MAX];

static void remove_dir(void)
{
	char path[PATH_MAX + 256];
	struct dirent *entry;
	DIR *d = opendir(dir);

	while (d && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

const char *test_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "%s/buddyscope-test-XXXXXX",
			 tmp && *tmp ? tmp : "/tmp");
		assert_non_null(mkdtemp(dir));
		atexit(remove_dir);
	}
	return dir;
}

struct bs_snapshot *test_read(const struct mkseg *m, char *err, size_t errlen)
{
	char path[PATH_MAX];
	struct bs_snapshot *s;

	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	err[0] = '\0';
	s = bs_snapshot_read(path, err, errlen);
	unlink(path);
	return s;
}

/* ---- JSON, RFC 8259 ------------------------------------------------------ */

static const char *json_value(const char *p, int depth);

static const char *json_string(const char *p)
{
	if (*p++ != '"')
		return NULL;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < 0x20)
			return NULL;
		if (*p != '\\')
			continue;
		p++;
		if (*p == 'u') {
			for (int i = 0; i < 4; i++)
				if (!isxdigit((unsigned char)*++p))
					return NULL;
		} else if (!*p || !strchr("\"\\/bfnrt", *p)) {
			return NULL;
		}
	}
	return p + 1;
}

static const char *json_number(const char *p)
{
	if (*p == '-')
		p++;
	if (!isdigit((unsigned char)*p) ||
	    (*p == '0' && isdigit((unsigned char)p[1])))
		return NULL;
	p += strspn(p, "0123456789");
	if (*p != '.')
		return p;
	if (!isdigit((unsigned char)*++p))
		return NULL;
	return p + strspn(p, "0123456789");
}

static const char *json_members(const char *p, char close, int depth)
{
	if (*++p == close)
		return p + 1;
	for (;;) {
		if (close == '}') {
			p = json_string(p);
			if (!p || *p++ != ':')
				return NULL;
		}
		p = json_value(p, depth + 1);
		if (!p)
			return NULL;
		if (*p == close)
			return p + 1;
		if (*p++ != ',')
			return NULL;
	}
}

static const char *json_value(const char *p, int depth)
{
	if (depth > 64)
		return NULL;
	if (*p == '{')
		return json_members(p, '}', depth);
	if (*p == '[')
		return json_members(p, ']', depth);
	if (*p == '"')
		return json_string(p);
	if (!strncmp(p, "true", 4) || !strncmp(p, "null", 4))
		return p + 4;
	if (!strncmp(p, "false", 5))
		return p + 5;
	return json_number(p);
}

bool test_is_json_line(const char *text)
{
	const char *end = json_value(text, 0);

	return end && !strcmp(end, "\n");
}

/* ---- views --------------------------------------------------------------- */

static void check_slabinfo(const char *text, unsigned int expected)
{
	char *copy = strdup(text), *line, *save = NULL, *word, *save_word;
	unsigned int lines = 0, words;

	assert_non_null(copy);
	for (line = strtok_r(copy, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (lines++ < 2)
			continue;
		words = 0;
		save_word = NULL;
		for (word = strtok_r(line, " ", &save_word); word;
		     word = strtok_r(NULL, " ", &save_word))
			words++;
		assert_int_equal(words, expected);
	}
	free(copy);
}

static void render_view(const struct bs_view *v, const struct bs_snapshot *s,
			const struct bs_render_options *opt)
{
	struct bs_buf out = BS_BUF_INIT;

	v->text(&out, s, opt);
	assert_false(out.failed);
	for (const char *c = bs_buf_str(&out); *c; c++)
		assert_true(*c == '\n' || (*c >= ' ' && *c != 0x7f) ||
			    (unsigned char)*c >= 0x80);
	if (!strcmp(v->name, "slabinfo"))
		check_slabinfo(bs_buf_str(&out), opt->statistics ? 33 : 16);
	bs_buf_reset(&out);
	v->json(&out, s, opt);
	assert_true(test_is_json_line(bs_buf_str(&out)));
	bs_buf_free(&out);
}

void test_render_all(const struct bs_snapshot *s)
{
	for (const struct bs_view *v = bs_views; v->name; v++) {
		for (int more = 0; more < 2; more++) {
			const struct bs_render_options opt = {
				.format = more ? BS_FORMAT_2_6_29
					       : BS_FORMAT_MODERN,
				.statistics = more,
				.paths = more,
				.all = more,
			};

			render_view(v, s, &opt);
			if (v->known)
				(void)v->known(s);
		}
	}
}
