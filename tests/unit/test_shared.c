/* SPDX-License-Identifier: MIT */
/*
 * test_shared.c - formulas, JSON, targets, the wire.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/unit/shared_util.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/demangle.h"
#include "shared/fragindex.h"
#include "shared/target.h"
#include "shared/tracing.h"
#include "shared/wire.h"

/* ---- formulas ------------------------------------------------------------ */

static void fragindex_kernel_vector_gives_kernel_numbers(void **state)
{
	static const uint64_t n[] = { 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0 };
	static const int extfrag[] = { -1000, -1000, -1000, -1000, 738, 819,
				       860,   880,   890,   895,   898 };
	static const int unusable[] = { 0,    153,  384,  692,	1000, 1000,
					1000, 1000, 1000, 1000, 1000 };

	(void)state;
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		assert_int_equal(bs_fragmentation_index(n, o), extfrag[o]);
		assert_int_equal(bs_unusable_free_index(n, o), unusable[o]);
	}
	assert_int_equal(bs_extfrag_for_order(n, 0), 0);
	assert_int_equal(bs_extfrag_for_order(n, 2), 38);
	assert_int_equal(bs_extfrag_for_order(n, 4), 100);
	assert_int_equal(bs_frag_free_pages(n), 26);
	assert_int_equal(bs_frag_free_blocks(n), 10);
	assert_int_equal(bs_frag_largest_order(n), 3);
}

static void fragindex_nothing_free_is_lack_of_memory(void **state)
{
	static const uint64_t n[BS_NR_ORDERS];

	(void)state;
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		assert_int_equal(bs_fragmentation_index(n, o), 0);
		assert_int_equal(bs_unusable_free_index(n, o), 1000);
		assert_int_equal(bs_extfrag_for_order(n, o), 0);
	}
	assert_int_equal(bs_frag_largest_order(n), -1);
}

static void fragindex_only_largest_blocks_is_not_fragmented(void **state)
{
	static const uint64_t n[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7 };

	(void)state;
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		assert_int_equal(bs_fragmentation_index(n, o), -1000);
		assert_int_equal(bs_unusable_free_index(n, o), 0);
	}
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_str_hostile_bytes_are_escaped(void **state)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_json json;

	(void)state;
	bs_json_init(&json, &out);
	bs_json_object(&json, NULL);
	bs_json_str(&json, "a", "q\" b\\ n\n t\t c\x01 d\x7f");
	bs_json_str(&json, "utf", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80");
	bs_json_str(&json, "bad", "\xff \xc3 \xc0\x80 \xed\xa0\x80 \xf5");
	bs_json_str(&json, "cut", "\xe2\x82");
	bs_json_str(&json, "null", NULL);
	bs_json_object_end(&json);
	assert_string_equal(
		bs_buf_str(&out),
		"{\"a\":\"q\\\" b\\\\ n\\n t\\t c\\u0001 d\\u007f\","
		"\"utf\":\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\","
		"\"bad\":\"\\ufffd \\ufffd \\ufffd\\ufffd "
		"\\ufffd\\ufffd\\ufffd \\ufffd\","
		"\"cut\":\"\\ufffd\\ufffd\",\"null\":null}");
	bs_buf_free(&out);
}

static void json_nesting_puts_commas_between_values_only(void **state)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_json json;

	(void)state;
	bs_json_init(&json, &out);
	bs_json_object(&json, NULL);
	bs_json_array(&json, "empty");
	bs_json_array_end(&json);
	bs_json_array(&json, "list");
	bs_json_u64(&json, NULL, UINT64_MAX);
	bs_json_i64(&json, NULL, INT64_MIN);
	bs_json_object(&json, NULL);
	bs_json_object_end(&json);
	bs_json_array_end(&json);
	bs_json_bool(&json, "t", true);
	bs_json_double(&json, "d", 1.5, 2);
	bs_json_double(&json, "nan", NAN, 2);
	bs_json_addr(&json, "addr", 0x7f0000001000);
	bs_json_object_end(&json);
	bs_buf_putc(&out, '\n');
	assert_string_equal(bs_buf_str(&out),
			    "{\"empty\":[],\"list\":[18446744073709551615,"
			    "-9223372036854775808,{}],\"t\":true,\"d\":1.50,"
			    "\"nan\":null,\"addr\":\"0x7f0000001000\"}\n");
	assert_true(test_is_json_line(bs_buf_str(&out)));
	bs_buf_free(&out);
}

static void buf_long_text_grows(void **state)
{
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	for (int i = 0; i < 10000; i++)
		bs_buf_printf(&out, "%04d", i);
	assert_int_equal(out.len, 40000);
	assert_int_equal(strlen(bs_buf_str(&out)), 40000);
	assert_memory_equal(out.data + 4 * 9999, "9999", 4);
	bs_buf_reset(&out);
	assert_string_equal(bs_buf_str(&out), "");
	bs_buf_put_bytes(&out, 777);
	bs_buf_putc(&out, ' ');
	bs_buf_put_bytes(&out, 1536);
	bs_buf_putc(&out, ' ');
	bs_buf_put_bytes(&out, UINT64_C(5) << 40);
	assert_string_equal(bs_buf_str(&out), "777 B 1.5 KiB 5.0 TiB");
	bs_buf_free(&out);
}

/* ---- names --------------------------------------------------------------- */

static void demangle_gives_the_name_as_written(void **state)
{
	char *name = bs_demangle("_ZN2av5allocIiEEPvmPKc"), *longest;

	(void)state;
	assert_null(bs_demangle("malloc"));
	assert_null(bs_demangle(""));
	assert_null(bs_demangle("_Z"));
	assert_null(bs_demangle("_ZN2av"));
	longest = malloc(100001);
	assert_non_null(longest);
	memset(longest, 'P', 100000);
	memcpy(longest, "_Z1f", 4);
	longest[100000] = '\0';
	assert_null(bs_demangle(longest));
	free(longest);
	if (!name)
		skip(); /* no C++ runtime here */
	assert_string_equal(name,
			    "void* av::alloc<int>(unsigned long, char const*)");
	free(name);
}

/* ---- targets ------------------------------------------------------------- */

static void parse_name_accepts_only_the_exact_form(void **state)
{
	static const char *const bad[] = {
		"",
		".seg",
		"1-2-0123456789abcde.seg",
		"1-2-0123456789abcdefa.seg",
		"1-2-0123456789ABCDEF.seg",
		"0-2-0123456789abcdef.seg",
		"-1-2-0123456789abcdef.seg",
		"1-2-0123456789abcdef",
		"1-2-0123456789abcdef.seg.tmp",
		"1-2-0123456789abcdef.segx",
		" 1-2-0123456789abcdef.seg",
		"1--0123456789abcdef.seg",
		"4294967296-2-0123456789abcdef.seg",
		"1-99999999999999999999-0123456789abcdef.seg",
	};
	uint64_t start, nonce;
	int pid;

	(void)state;
	assert_true(bs_target_parse_name("12-345-00000000deadbeef.seg", &pid,
					 &start, &nonce));
	assert_int_equal(pid, 12);
	assert_int_equal(start, 345);
	assert_int_equal(nonce, 0xdeadbeef);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(
			bs_target_parse_name(bad[i], &pid, &start, &nonce));
}

struct target_spec {
	int pid;
	uint64_t start;
	uint64_t nonce;
	const char *comm;
	uint32_t state;
	uint64_t age_ns;
	uint64_t pidns;
};

static void write_target(const struct target_spec *spec)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	char path[PATH_MAX];

	mkseg_set_process(m, spec->pid, spec->start, spec->nonce);
	snprintf(h->comm, sizeof(h->comm), "%s", spec->comm);
	snprintf(h->exe, sizeof(h->exe), "/usr/bin/%s", spec->comm);
	h->state = spec->state;
	h->created_realtime_ns -= spec->age_ns;
	if (spec->pidns)
		h->pidns_inode = spec->pidns;
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	mkseg_free(m);
}

static void clear_targets(void)
{
	struct bs_target_list list;
	char err[256];

	assert_int_equal(bs_target_list(test_dir(), &list, err, sizeof(err)),
			 0);
	for (size_t i = 0; i < list.nr; i++)
		unlink(list.targets[i].path);
	bs_target_list_free(&list);
}

static uint64_t start_of(pid_t pid)
{
	uint64_t start;
	char letter;

	assert_int_equal(bs_proc_stat(pid, &start, &letter), 0);
	return start;
}

static void list_states_follow_the_processes(void **state)
{
	uint64_t me = start_of(getpid());
	const struct target_spec specs[] = {
		{ getpid(), me, 2, "old", BS_STATE_RUNNING, 2000, 0 },
		{ getpid(), me, 1, "new", BS_STATE_RUNNING, 1000, 0 },
		{ getpid(), me + 1, 3, "recycled", BS_STATE_RUNNING, 900, 0 },
		{ getpid(), me + 2, 4, "done", BS_STATE_EXITED, 800, 0 },
		{ getpid(), me, 5, "other", BS_STATE_RUNNING, 700, 4242 },
	};
	static const enum bs_target_state expected[] = {
		BS_TARGET_EXEC,	  BS_TARGET_RUNNING, BS_TARGET_KILLED,
		BS_TARGET_EXITED, BS_TARGET_UNKNOWN,
	};
	struct bs_target_list list;
	char err[256];

	(void)state;
	for (size_t i = 0; i < 5; i++)
		write_target(&specs[i]);
	assert_int_equal(bs_target_list(test_dir(), &list, err, sizeof(err)),
			 0);
	assert_int_equal(list.nr, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_string_equal(list.targets[i].comm, specs[i].comm);
		assert_int_equal(list.targets[i].state, expected[i]);
	}
	bs_target_list_free(&list);
	clear_targets();
}

static void list_zombie_counts_as_killed(void **state)
{
	struct target_spec spec = { 0, 0, 1, "zombie", BS_STATE_RUNNING, 0, 0 };
	struct bs_target_list list;
	siginfo_t info;
	char err[256];
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(0);
	/* Ended, but not reaped: /proc/PID/stat still answers. */
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	spec.pid = pid;
	spec.start = start_of(pid);
	write_target(&spec);
	assert_int_equal(bs_target_list(test_dir(), &list, err, sizeof(err)),
			 0);
	assert_int_equal(list.nr, 1);
	assert_int_equal(list.targets[0].state, BS_TARGET_KILLED);
	bs_target_list_free(&list);
	waitpid(pid, NULL, 0);
	clear_targets();
}

static void list_broken_files_are_counted_not_fatal(void **state)
{
	struct bs_target_list list;
	char path[PATH_MAX], err[256];
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/7-7-0000000000000007.seg", test_dir());
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("no segment", f);
	fclose(f);
	assert_int_equal(bs_target_list(test_dir(), &list, err, sizeof(err)),
			 0);
	assert_int_equal(list.nr, 0);
	assert_int_equal(list.nr_bad, 1);
	assert_non_null(strstr(list.bad_err, "no segment"));
	bs_target_list_free(&list);
	/* Killed while it started: the header is there, but for its magic. */
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, sizeof(struct bs_abi_header)), 0);
	assert_int_equal(bs_target_list(test_dir(), &list, err, sizeof(err)),
			 0);
	assert_int_equal(list.nr, 0);
	assert_int_equal(list.nr_bad, 0);
	bs_target_list_free(&list);
	unlink(path);
	assert_int_equal(bs_target_list("/nonexistent/buddyscope", &list, err,
					sizeof(err)),
			 0);
	assert_int_equal(list.nr, 0);
}

static void expect_resolve(const struct bs_target_list *list, const char *arg,
			   int expected_code, uint64_t expected_nonce)
{
	struct bs_buf err = BS_BUF_INIT;
	const struct bs_target *t;
	int code;

	t = bs_target_resolve(list, arg, &code, &err);
	assert_int_equal(code, expected_code);
	if (expected_code == BS_EXIT_OK) {
		assert_non_null(t);
		assert_int_equal(t->nonce, expected_nonce);
		assert_int_equal(err.len, 0);
	} else {
		assert_null(t);
		assert_true(err.len > 0);
	}
	bs_buf_free(&err);
}

static void resolve_finds_what_is_meant(void **state)
{
	struct bs_target targets[] = {
		{ .pid = 10,
		  .nonce = 1,
		  .comm = "mpv",
		  .state = BS_TARGET_EXITED,
		  .exe = "/usr/bin/mpv" },
		{ .pid = 11,
		  .nonce = 2,
		  .comm = "mpv",
		  .state = BS_TARGET_KILLED,
		  .exe = "/usr/bin/mpv" },
		{ .pid = 12,
		  .nonce = 3,
		  .comm = "sh",
		  .state = BS_TARGET_EXEC,
		  .exe = "/bin/dash" },
		{ .pid = 12,
		  .nonce = 4,
		  .comm = "main",
		  .state = BS_TARGET_RUNNING,
		  .exe = "/usr/bin/redis-server" },
		{ .pid = 13,
		  .nonce = 5,
		  .comm = "7",
		  .state = BS_TARGET_RUNNING,
		  .exe = "/tmp/7" },
	};
	struct bs_target_list none = { 0 }, one = { targets, 4, 0, "" },
			      two = { targets, 5, 0, "" };
	struct bs_buf err = BS_BUF_INIT;
	int code;

	(void)state;
	expect_resolve(&none, NULL, BS_EXIT_NO_TARGET, 0);
	expect_resolve(&one, NULL, BS_EXIT_OK, 4);
	expect_resolve(&two, NULL, BS_EXIT_USAGE, 0);
	expect_resolve(&two, "12", BS_EXIT_OK, 4);
	expect_resolve(&two, "redis-server", BS_EXIT_OK, 4);
	expect_resolve(&two, "mpv", BS_EXIT_OK, 2);
	expect_resolve(&two, "10", BS_EXIT_OK, 1);
	expect_resolve(&two, "7", BS_EXIT_OK, 5);
	expect_resolve(&two, "sh", BS_EXIT_NO_TARGET, 0);
	expect_resolve(&two, "99999999999999999999", BS_EXIT_NO_TARGET, 0);
	/* An ambiguous name lists the candidates. */
	assert_null(bs_target_resolve(&two, NULL, &code, &err));
	assert_non_null(strstr(bs_buf_str(&err), "12 main"));
	assert_non_null(strstr(bs_buf_str(&err), "13 7"));
	assert_null(strstr(bs_buf_str(&err), "mpv"));
	bs_buf_free(&err);
}

static void target_dir_make_refuses_what_others_can_write(void **state)
{
	char path[PATH_MAX], err[512];
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/sub", test_dir());
	assert_int_equal(bs_target_dir_make(path, err, sizeof(err)), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(bs_target_dir_make(path, err, sizeof(err)), 0);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(bs_target_dir_make(path, err, sizeof(err)), -EPERM);
	rmdir(path);
	assert_int_equal(symlink("/tmp", path), 0);
	assert_int_equal(bs_target_dir_make(path, err, sizeof(err)), -EPERM);
	unlink(path);
}

/* ---- wire ---------------------------------------------------------------- */

static void wire_parse_splits_a_request(void **state)
{
	struct bs_wire_request req;
	char err[256];

	(void)state;
	assert_int_equal(bs_wire_parse(&req,
				       "leaks  mpv --json --sort=a=b --all\r\n",
				       err, sizeof(err)),
			 0);
	assert_string_equal(req.command, "leaks");
	assert_string_equal(req.target, "mpv");
	assert_true(req.json);
	assert_int_equal(req.nr_options, 2);
	assert_string_equal(bs_wire_option(&req, "sort"), "a=b");
	assert_string_equal(bs_wire_option(&req, "all"), "");
	assert_null(bs_wire_option(&req, "limit"));
	assert_int_equal(bs_wire_parse(&req, "ps", err, sizeof(err)), 0);
	assert_null(req.target);
}

static void wire_parse_nonsense_is_refused(void **state)
{
	static const char *const bad[] = { "",	    "\n",   "   ",   "--json",
					   "a b c", "a --", "a --=b" };
	struct bs_wire_request req;
	char err[256], line[BS_WIRE_LINE_MAX + 16];
	size_t len = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = '\0';
		assert_int_equal(bs_wire_parse(&req, bad[i], err, sizeof(err)),
				 -EINVAL);
		assert_true(err[0]);
	}
	memset(line, 'x', sizeof(line));
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(bs_wire_parse(&req, line, err, sizeof(err)), -EINVAL);
	len += (size_t)sprintf(line, "ps");
	for (int i = 0; i <= BS_WIRE_OPTIONS_MAX; i++)
		len += (size_t)sprintf(line + len, " --o%d", i);
	assert_int_equal(bs_wire_parse(&req, line, err, sizeof(err)), -EINVAL);
}

/* A server for one connection: answers whatever comes with `reply`. */
static pid_t serve(const char *reply, bool keep_open)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), conn;
	char buf[4096];
	pid_t pid;

	assert_true((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path),
				     "%s/%s", test_dir(),
				     BS_SOCKET_NAME) < sizeof(addr.sun_path));
	unlink(addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid) {
		close(fd);
		return pid;
	}
	conn = accept(fd, NULL, NULL);
	if (read(conn, buf, sizeof(buf)) <= 0)
		_exit(1);
	for (const char *p = reply; *p; p++) /* in single bytes */
		if (write(conn, p, 1) != 1)
			_exit(1);
	if (keep_open)
		while (read(conn, buf, sizeof(buf)) > 0)
			;
	_exit(0);
}

static int collect(void *arg, const char *line)
{
	struct bs_buf *out = arg;

	bs_buf_printf(out, "[%s]", line);
	return !strcmp(line, "stop");
}

static void expect_call(const char *reply, bool json, bool keep_open, int ret,
			int code, const char *message, const char *lines)
{
	pid_t pid = serve(reply, keep_open);
	struct bs_buf out = BS_BUF_INIT;
	int fd = bs_wire_connect(test_dir()), got_code;
	char got[128];

	assert_true(fd >= 0);
	assert_int_equal(bs_wire_call(fd, "ps", json, keep_open ? 200 : 10000,
				      collect, &out, &got_code, got,
				      sizeof(got)),
			 ret);
	close(fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_string_equal(bs_buf_str(&out), lines);
	if (ret == 0) {
		assert_int_equal(got_code, code);
		assert_string_equal(got, message);
	}
	bs_buf_free(&out);
}

static void wire_call_understands_replies(void **state)
{
	(void)state;
	expect_call("one\n..dot\n\n. 0 \n", false, false, 0, 0, "",
		    "[one][.dot][]");
	expect_call(". 3 no such program\n", false, false, 0, 3,
		    "no such program", "");
	expect_call("{\"a\":1}\n", true, false, 0, 0, "", "[{\"a\":1}]");
	expect_call("{\"error\":{\"code\":2,\"message\":\"say \\\"x\\\"\"}}\n",
		    true, false, 0, 2, "say \"x\"", "");
	expect_call("a\nstop\nb\n", false, true, 1, 0, "", "[a][stop]");
	expect_call("half", false, false, -ECONNRESET, 0, "", "");
	expect_call("whole\n", false, true, -ETIMEDOUT, 0, "", "[whole]");
	expect_call(". x\n", false, false, -EPROTO, 0, "", "");
}

static void wire_connect_without_daemon_fails(void **state)
{
	(void)state;
	assert_int_equal(bs_wire_connect("/nonexistent"), -ENOENT);
}

static void wire_put_roundtrips_dots_and_newlines(void **state)
{
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	bs_wire_put_body(&out, "a\n.b\n\n..c");
	bs_wire_put_end(&out, 3, "no\nsuch");
	assert_string_equal(bs_buf_str(&out), "a\n..b\n\n...c\n. 3 no; such\n");
	bs_buf_reset(&out);
	bs_wire_put_json_error(&out, 3, "say \"x\"");
	assert_string_equal(
		bs_buf_str(&out),
		"{\"error\":{\"code\":3,\"message\":\"say \\\"x\\\"\"}}\n");
	bs_buf_free(&out);
}

/* ---- trace modes ----------------------------------------------------------- */

static void trace_parse_takes_what_is_documented(void **state)
{
	static const struct {
		const char *text;
		uint32_t mode;
		uint64_t bytes;
	} good[] = {
		{ "exact", BS_TRACE_EXACT, 0 },
		{ "auto", BS_TRACE_AUTO, 0 },
		{ "off", BS_TRACE_OFF, 0 },
		{ "sample:524288", BS_TRACE_SAMPLE, 524288 },
		{ "sample:512K", BS_TRACE_SAMPLE, 524288 },
		{ "sample:2m", BS_TRACE_SAMPLE, 2 << 20 },
		{ "sample:1", BS_TRACE_SAMPLE, 1 },
	};
	static const char *const bad[] = {
		"",
		"Exact",
		"offf",
		"sample",
		"sample:",
		"sample:0",
		"sample:-1",
		"sample: 8K",
		"sample:8G",
		"sample:8KB",
		"sample:0x10",
		"sample:x",
		"sampled:1",
		"sample8K",
		"sample:99999999999999999999",
		"sample:18446744073709551615M",
	};
	struct bs_buf err = BS_BUF_INIT;
	uint64_t bytes;
	uint32_t mode;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(bs_trace_is_mode(good[i].text));
		if (!bs_trace_parse(good[i].text, &mode, &bytes, &err))
			fail_msg("%s: %s", good[i].text, bs_buf_str(&err));
		assert_int_equal(mode, good[i].mode);
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bs_buf_reset(&err);
		if (bs_trace_parse(bad[i], &mode, &bytes, &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_non_null(strstr(bs_buf_str(&err), "sample:"));
		assert_null(strchr(bs_buf_str(&err), '\n'));
	}
	assert_true(bs_trace_is_mode("sampled"));
	assert_false(bs_trace_is_mode("mpv"));
	assert_false(bs_trace_is_mode("4711"));
	bs_buf_free(&err);
}

static void trace_round_sample_gives_the_nearest_step(void **state)
{
	static const uint64_t from_to[][2] = {
		{ 0, 0 },
		{ 1, 8 << 10 },
		{ 8 << 10, 8 << 10 },
		{ (20 << 10) - 1, 8 << 10 },
		{ 20 << 10, 32 << 10 },
		{ 32 << 10, 32 << 10 },
		{ 64 << 10, 32 << 10 },
		{ 100 << 10, 128 << 10 },
		{ 512 << 10, 512 << 10 },
		{ 1 << 20, 512 << 10 },
		{ 2 << 20, 2 << 20 },
		{ 8 << 20, 8 << 20 },
		{ 32 << 20, 32 << 20 },
		{ UINT64_MAX, 32 << 20 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(from_to) / sizeof(from_to[0]); i++)
		assert_int_equal(bs_trace_round_sample(from_to[i][0]),
				 from_to[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fragindex_kernel_vector_gives_kernel_numbers),
		cmocka_unit_test(fragindex_nothing_free_is_lack_of_memory),
		cmocka_unit_test(
			fragindex_only_largest_blocks_is_not_fragmented),
		cmocka_unit_test(json_str_hostile_bytes_are_escaped),
		cmocka_unit_test(json_nesting_puts_commas_between_values_only),
		cmocka_unit_test(buf_long_text_grows),
		cmocka_unit_test(demangle_gives_the_name_as_written),
		cmocka_unit_test(parse_name_accepts_only_the_exact_form),
		cmocka_unit_test(list_states_follow_the_processes),
		cmocka_unit_test(list_zombie_counts_as_killed),
		cmocka_unit_test(list_broken_files_are_counted_not_fatal),
		cmocka_unit_test(resolve_finds_what_is_meant),
		cmocka_unit_test(target_dir_make_refuses_what_others_can_write),
		cmocka_unit_test(wire_parse_splits_a_request),
		cmocka_unit_test(wire_parse_nonsense_is_refused),
		cmocka_unit_test(wire_call_understands_replies),
		cmocka_unit_test(wire_connect_without_daemon_fails),
		cmocka_unit_test(wire_put_roundtrips_dots_and_newlines),
		cmocka_unit_test(trace_parse_takes_what_is_documented),
		cmocka_unit_test(trace_round_sample_gives_the_nearest_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
