/* SPDX-License-Identifier: MIT */
/*
 * test_symbols.c - function, file and line of our own addresses.
 *
 * Owns:   the symbolizer on modules of this process (compiled with -g -O1):
 *         plain and inlined frames, files that changed or are gone, modules
 *         that took turns at one address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/sitereport.h"
#include "shared/symbols.h"
#include "tests/mkseg.h"

#define NOINLINE __attribute__((noinline))

static char dir[] = "/tmp/test_symbols.XXXXXX";
static volatile int depth;

/* The return address into whoever calls this. */
static NOINLINE uint64_t return_address(void)
{
	return (uint64_t)(uintptr_t)__builtin_return_address(0);
}

static int plain_line;
static NOINLINE uint64_t plain_function(void)
{
	uint64_t pc;

	plain_line = __LINE__ + 1;
	pc = return_address();
	depth++;
	return pc;
}

static int inner_line, outer_line;
static inline __attribute__((always_inline)) uint64_t inner_inlined(void)
{
	uint64_t pc;

	inner_line = __LINE__ + 1;
	pc = return_address();
	depth++;
	return pc;
}

static NOINLINE uint64_t outer_function(void)
{
	uint64_t pc;

	outer_line = __LINE__ + 1;
	pc = inner_inlined();
	depth++;
	return pc;
}

static struct bs_snapshot *snapshot_of(struct mkseg *m)
{
	struct bs_snapshot *s;
	char path[4096], err[512];

	assert_int_equal(mkseg_write(m, dir, path, sizeof(path)), 0);
	s = bs_snapshot_read(path, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	unlink(path);
	return s;
}

/* The record of the module that holds pc, to be changed. */
static struct bs_abi_module *record_of(struct mkseg *m, uint64_t pc)
{
	uint64_t nr = mkseg_header(m)->section[BS_SEC_MODULES].count;

	for (uint64_t i = 0; i < nr; i++) {
		struct bs_abi_module *module =
			mkseg_record(m, BS_SEC_MODULES, i);

		if (pc >= module->start && pc < module->end)
			return module;
	}
	fail_msg("no module at %llx", (unsigned long long)pc);
	return NULL;
}

struct fixture {
	struct mkseg *m;
	struct bs_symbolizer *sym;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->m = mkseg_new();
	f->sym = bs_symbolizer_new(NULL, NULL);
	assert_non_null(f->m);
	assert_non_null(f->sym);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mkseg_free(f->m);
	bs_symbolizer_free(f->sym);
	free(f);
	return 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = text ? strlen(text) : 0;

	return len >= strlen(end) && !strcmp(text + len - strlen(end), end);
}

static void resolve_plain_call_names_function_and_line(void **state)
{
	struct fixture *f = *state;
	struct bs_snapshot *s = snapshot_of(f->m);
	const struct bs_frame *frames;
	uint64_t pc = plain_function();

	for (unsigned int again = 0; again < 2; again++) {
		assert_int_equal(
			bs_symbolizer_resolve(f->sym, s, pc, 0, &frames), 1);
		assert_string_equal(frames[0].function, "plain_function");
		assert_true(
			ends_with(frames[0].file, "tests/unit/test_symbols.c"));
		assert_int_equal(frames[0].line, plain_line);
		assert_false(frames[0].inlined);
		assert_int_equal(frames[0].addr, pc);
		assert_int_equal(frames[0].offset,
				 pc - record_of(f->m, pc)->bias);
		assert_true(frames[0].function_offset > 0);
		assert_true(frames[0].function_offset <=
			    frames[0].function_bytes);
		assert_null(frames[0].note);
	}
	bs_snapshot_free(s);
}

static void resolve_inlined_call_gives_both_innermost_first(void **state)
{
	struct fixture *f = *state;
	struct bs_snapshot *s = snapshot_of(f->m);
	const struct bs_frame *frames;
	uint64_t pc = outer_function();

	assert_int_equal(bs_symbolizer_resolve(f->sym, s, pc, 0, &frames), 2);
	assert_string_equal(frames[0].function, "inner_inlined");
	assert_int_equal(frames[0].line, inner_line);
	assert_true(frames[0].inlined);
	assert_string_equal(frames[1].function, "outer_function");
	assert_int_equal(frames[1].line, outer_line);
	assert_false(frames[1].inlined);
	assert_int_equal(frames[1].addr, pc);
	bs_snapshot_free(s);
}

static void resolve_changed_file_says_so_and_names_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t pc = plain_function();
	const struct bs_frame *frames;
	struct bs_snapshot *s;

	record_of(f->m, pc)->build_id[0] ^= 0xff;
	s = snapshot_of(f->m);
	assert_int_equal(bs_symbolizer_resolve(f->sym, s, pc, 0, &frames), 1);
	assert_null(frames[0].function);
	assert_non_null(frames[0].module);
	assert_int_equal(frames[0].offset, pc - record_of(f->m, pc)->bias);
	assert_string_equal(frames[0].note, "file changed since it was loaded");
	bs_snapshot_free(s);
}

static void resolve_missing_file_says_so(void **state)
{
	struct fixture *f = *state;
	uint64_t pc = plain_function();
	const struct bs_frame *frames;
	struct bs_snapshot *s;

	strcpy(record_of(f->m, pc)->path, "/nonexistent/program");
	s = snapshot_of(f->m);
	assert_int_equal(bs_symbolizer_resolve(f->sym, s, pc, 0, &frames), 1);
	assert_null(frames[0].function);
	assert_string_equal(frames[0].note, "file is gone");
	bs_snapshot_free(s);
}

static void resolve_outside_all_modules_keeps_the_address(void **state)
{
	struct fixture *f = *state;
	struct bs_snapshot *s = snapshot_of(f->m);
	const struct bs_frame *frames;

	assert_int_equal(bs_symbolizer_resolve(f->sym, s, 0x1234, 0, &frames),
			 1);
	assert_int_equal(frames[0].addr, 0x1234);
	assert_null(frames[0].module);
	assert_null(frames[0].function);
	bs_snapshot_free(s);
}

/* Two modules took turns at one address; the site's first time decides. */
static void module_of_shared_address_goes_by_time(void **state)
{
	struct fixture *f = *state;
	struct bs_abi_section *sec =
		&mkseg_header(f->m)->section[BS_SEC_MODULES];
	struct bs_abi_module *a, *b;
	struct bs_snapshot *s;

	a = mkseg_record(f->m, BS_SEC_MODULES, sec->count);
	b = mkseg_record(f->m, BS_SEC_MODULES, sec->count + 1);
	*a = (struct bs_abi_module){ .start = 0x10000,
				     .end = 0x20000,
				     .loaded_ns = 100,
				     .unloaded_ns = 200,
				     .generation = 1000,
				     .path = "/a.so" };
	*b = (struct bs_abi_module){ .start = 0x10000,
				     .end = 0x20000,
				     .loaded_ns = 300,
				     .generation = 1001,
				     .path = "/b.so" };
	sec->count += 2;
	s = snapshot_of(f->m);
	assert_string_equal(bs_symbols_module(s, 0x15000, 150)->path, "/a.so");
	assert_string_equal(bs_symbols_module(s, 0x15000, 350)->path, "/b.so");
	/* Between the two, and before the table knew the first one. */
	assert_string_equal(bs_symbols_module(s, 0x15000, 250)->path, "/b.so");
	assert_string_equal(bs_symbols_module(s, 0x15000, 50)->path, "/a.so");
	/* A return address may be the first byte behind the module. */
	assert_string_equal(bs_symbols_module(s, 0x20000, 350)->path, "/b.so");
	assert_null(bs_symbols_module(s, 0x20001, 350));
	bs_snapshot_free(s);
}

static void own_library_is_recognised_by_its_name(void **state)
{
	struct bs_abi_module m = { .path = "/usr/lib/libbuddyscope.so" };

	(void)state;
	assert_true(bs_symbols_is_own(&m));
	strcpy(m.path, "/usr/lib/libbuddyscope-notes.so");
	assert_false(bs_symbols_is_own(&m));
	assert_false(bs_symbols_is_own(NULL));
}

/* Every number of frames, damaged records: no crash, at least one frame. */
static void resolve_any_address_gives_a_frame(void **state)
{
	struct fixture *f = *state;
	struct bs_snapshot *s = snapshot_of(f->m);
	uint64_t base = plain_function() & ~UINT64_C(0xfff);

	for (uint64_t pc = base; pc < base + 4096; pc += 3) {
		const struct bs_frame *frames;
		size_t nr = bs_symbolizer_resolve(f->sym, s, pc, 0, &frames);

		assert_true(nr >= 1 && nr <= BS_FRAMES_PER_PC_MAX);
		assert_false(frames[nr - 1].inlined);
		assert_int_equal(frames[0].addr, pc);
	}
	bs_symbolizer_trim(f->sym);
	bs_snapshot_free(s);
}

/* ---- reports ---------------------------------------------------------------- */

static void sites_text_names_bytes_and_frames(void **state)
{
	struct fixture *f = *state;
	struct bs_snapshot *s = snapshot_of(f->m);
	struct bs_site_history history[MKSEG_NR_SITES] = { 0 };
	struct bs_sitereport r = { .snapshot = s,
				   .symbolizer = f->sym,
				   .history = history,
				   .nr_history = MKSEG_NR_SITES,
				   .leaks = true };
	struct bs_buf out = BS_BUF_INIT;
	char expect[64];

	history[1] = (struct bs_site_history){ .verdict = BS_VERDICT_LEAK,
					       .windows = 20,
					       .has_thirds = true,
					       .floor_bytes = { 1, 2, 3 },
					       .survivor_cohorts = 9,
					       .alloc_cohorts = 10,
					       .windows_per_cohort = 1 };
	history[2] = (struct bs_site_history){ .verdict = BS_VERDICT_SUSPECT,
					       .windows = 20 };
	bs_sitereport_text(&out, &r);
	snprintf(expect, sizeof(expect), "%u bytes",
		 MKSEG_LEAK_BYTES * MKSEG_LEAK_NR);
	assert_non_null(strstr(out.data, expect));
	assert_non_null(strstr(out.data, "LEAK"));
	assert_non_null(strstr(out.data, "1 -> 2 -> 3 bytes"));
	assert_non_null(strstr(out.data, "survivors from 9 of 10 windows"));
	assert_null(strstr(out.data, "suspect"));
	bs_buf_reset(&out);
	r.all = true;
	bs_sitereport_text(&out, &r);
	assert_non_null(strstr(out.data, "suspect"));
	/* no verdict on it so far: who asks early is told; a program is not */
	r.all = false;
	history[2].windows = 19;
	bs_buf_reset(&out);
	bs_sitereport_text(&out, &r);
	assert_non_null(strstr(out.data, ": 1 leak, 1 suspect (no verdict "
					 "before 20 windows of "));
	assert_non_null(strstr(out.data, ", suspect\n"));
	r.form = BS_FORM_JSON;
	bs_buf_reset(&out);
	bs_sitereport_json(&out, &r);
	assert_null(strstr(out.data, "suspect"));
	bs_buf_free(&out);
	bs_snapshot_free(s);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(resolve_plain_call_names_function_and_line),
		T(resolve_inlined_call_gives_both_innermost_first),
		T(resolve_changed_file_says_so_and_names_nothing),
		T(resolve_missing_file_says_so),
		T(resolve_outside_all_modules_keeps_the_address),
		T(module_of_shared_address_goes_by_time),
		T(own_library_is_recognised_by_its_name),
		T(resolve_any_address_gives_a_frame),
		T(sites_text_names_bytes_and_frames),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
