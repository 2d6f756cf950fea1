/* SPDX-License-Identifier: MIT */
/*
 * test_history.c - what a daemon remembers after kill -9.
 *
 * Owns:   histories fed with segments of tests/mkseg.c at made-up times, their
 *         journals cut at every kind of place, and the log's exactly-once
 *         search and rotation.
 * Random cuts print their seed; BS_SEED=n repeats one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/history.h"
#include "daemon/journal.h"
#include "daemon/log.h"
#include "tests/mkseg.h"

#define WINDOW_NS UINT64_C(1000000000)
#define SITE_LEAK 1U

static char dir[] = "/tmp/test_history.XXXXXX";
static char journal[64], copy[64], log_path[64], log_old[64];

struct target {
	struct mkseg *m;
	struct bs_abi_header header;
	struct bs_history h;
	uint64_t now;
};

static struct target target;

static struct bs_snapshot *snapshot(void)
{
	struct bs_snapshot *s;
	char path[4096], err[512];

	assert_int_equal(mkseg_write(target.m, dir, path, sizeof(path)), 0);
	s = bs_snapshot_read(path, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	unlink(path);
	return s;
}

static void begin(bool keep)
{
	target.m = mkseg_new();
	assert_non_null(target.m);
	mkseg_header(target.m)->leak_window_ns = WINDOW_NS;
	target.header = *mkseg_header(target.m);
	target.now = target.header.created_ns;
	unlink(journal);
	bs_history_init(&target.h, &target.header);
	if (keep)
		assert_int_equal(bs_history_load(&target.h, &target.header,
						 journal, true),
				 0);
}

static void end(void)
{
	bs_history_free(&target.h);
	mkseg_free(target.m);
}

/* A window of ten samples in which the leaking site grew by `objects`. */
static void run_window(unsigned int objects)
{
	struct bs_abi_site *site =
		mkseg_record(target.m, BS_SEC_SITES, SITE_LEAK);
	struct bs_snapshot *s;

	site->allocs += objects;
	site->bytes_allocated += (uint64_t)objects * MKSEG_LEAK_BYTES;
	s = snapshot();
	for (unsigned int i = 0; i < BS_LEAK_SAMPLES; i++) {
		bs_history_sample(&target.h, s, target.now);
		target.now += WINDOW_NS / BS_LEAK_SAMPLES;
	}
	bs_snapshot_free(s);
}

static void same_site(const struct bs_leak_site *a,
		      const struct bs_leak_site *b)
{
	assert_int_equal(a->windows, b->windows);
	assert_int_equal(a->nr, b->nr);
	assert_int_equal(a->rises, b->rises);
	assert_int_equal(a->last_bytes, b->last_bytes);
	assert_int_equal(a->last_objects, b->last_objects);
	assert_int_equal(a->allocs_before, b->allocs_before);
	if (a->windows > 1)
		assert_int_equal(a->previous_bytes, b->previous_bytes);
	if (a->nr)
		assert_memory_equal(a->entries, b->entries,
				    a->nr * sizeof(a->entries[0]));
}

static void same_history(const struct bs_history *a, const struct bs_history *b)
{
	uint64_t nr = a->nr_sites < b->nr_sites ? a->nr_sites : b->nr_sites;

	assert_int_equal(a->has_closed, b->has_closed);
	assert_int_equal(a->last_closed, b->last_closed);
	for (uint64_t i = 0; i < nr; i++)
		same_site(&a->sites[i], &b->sites[i]);
	for (uint64_t i = nr; i < a->nr_sites; i++)
		assert_int_equal(a->sites[i].windows, 0);
	for (uint64_t i = nr; i < b->nr_sites; i++)
		assert_int_equal(b->sites[i].windows, 0);
}

/* What a daemon knows that reads the journal now is what the target's history is. */
static void load_again(struct bs_history *again)
{
	bs_history_init(again, &target.header);
	assert_int_equal(bs_history_load(again, &target.header, journal, false),
			 0);
	same_history(&target.h, again);
}

static uint64_t base_seed(void)
{
	const char *env = getenv("BS_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : (uint64_t)time(NULL);

	printf("BS_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* ---- history ---------------------------------------------------------------- */

static void load_after_kill_gives_the_same_history(void **state)
{
	struct bs_history again;

	(void)state;
	begin(true);
	for (unsigned int w = 0; w < 150; w++)
		run_window(w % 3);
	target.h.stats.last_event = 17;
	target.h.sites[SITE_LEAK].logged = BS_LOGGED_LEAK | BS_LOG_QUEUED;
	bs_history_keep_stats(&target.h);
	bs_history_keep_site(&target.h, SITE_LEAK);

	/* As if killed here: nothing is closed or flushed. */
	load_again(&again);
	assert_int_equal(again.stats.last_event, 17);
	assert_int_equal(again.sites[SITE_LEAK].logged, BS_LOGGED_LEAK);
	assert_int_equal(again.stats.peak_bytes, target.h.stats.peak_bytes);
	bs_history_free(&again);

	/* The same from a rewritten journal. */
	assert_int_equal(bs_history_checkpoint(&target.h, journal), 0);
	load_again(&again);
	bs_history_free(&again);
	end();
}

static void load_of_another_target_is_refused(void **state)
{
	struct bs_abi_header other;
	struct bs_history again;

	(void)state;
	begin(true);
	for (unsigned int w = 0; w < 5; w++)
		run_window(1);
	other = target.header;
	other.nonce++;
	bs_history_init(&again, &other);
	assert_int_equal(bs_history_load(&again, &other, journal, false), 0);
	assert_int_equal(again.nr_sites, 0);
	assert_false(again.has_closed);
	bs_history_free(&again);
	end();
}

static void copy_cut(uint64_t bytes, int64_t flip)
{
	static char data[1 << 20];
	int from = open(journal, O_RDONLY);
	int to = open(copy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n = read(from, data, sizeof(data));

	assert_true(n > 0 && n < (ssize_t)sizeof(data));
	if (flip >= 0)
		data[flip] ^= 0x40;
	if (bytes > (uint64_t)n)
		bytes = (uint64_t)n;
	assert_int_equal(write(to, data, bytes), bytes);
	close(from);
	close(to);
}

/* Cut or damaged anywhere: what stands before is there, and work goes on. */
static void load_of_cut_journal_gives_a_prefix(void **state)
{
	uint64_t seed = base_seed();
	struct stat st;

	(void)state;
	srandom((unsigned int)seed);
	begin(true);
	for (unsigned int w = 0; w < 40; w++)
		run_window(1 + w % 2);
	assert_int_equal(stat(journal, &st), 0);
	for (unsigned int i = 0; i < 300; i++) {
		uint64_t cut = (uint64_t)random() % (uint64_t)st.st_size;
		bool flip = i % 2;
		struct bs_history again;

		copy_cut(flip ? UINT64_MAX : cut, flip ? (int64_t)cut : -1);
		bs_history_init(&again, &target.header);
		assert_int_equal(
			bs_history_load(&again, &target.header, copy, true), 0);
		assert_true(!again.has_closed ||
			    again.last_closed <= target.h.last_closed);
		if (again.has_closed) {
			const struct bs_leak_site *a = &again.sites[SITE_LEAK];

			assert_int_equal(a->windows, again.last_closed + 1);
			assert_true(a->last_bytes <=
				    target.h.sites[SITE_LEAK].last_bytes);
		}
		bs_history_free(&again);
	}
	end();
}

static void journal_that_grows_is_rewritten_shorter(void **state)
{
	uint64_t largest = 0;

	(void)state;
	begin(true);
	for (unsigned int w = 0; w < 500; w++) {
		/* Much to write in each window: all sites allocate. */
		for (unsigned int i = 0; i < 128; i++) {
			struct bs_abi_site *site =
				mkseg_record(target.m, BS_SEC_SITES, i);

			site->allocs++;
			site->frees++;
		}
		mkseg_header(target.m)->section[BS_SEC_SITES].count = 128;
		run_window(1);
		assert_int_equal(
			bs_history_maybe_checkpoint(&target.h, journal), 0);
		if (bs_journal_bytes(target.h.journal) > largest)
			largest = bs_journal_bytes(target.h.journal);
	}
	assert_true(largest > 1 << 20); /* it was rewritten */
	assert_true(largest < 2 << 20);
	assert_int_equal(target.h.sites[SITE_LEAK].windows, 499);
	end();
}

/* Nobody looked for 20 windows: they stand with the lower floor. */
static void unseen_windows_count_with_the_lower_floor(void **state)
{
	struct bs_leak_site *site;
	uint64_t before;

	(void)state;
	begin(false);
	for (unsigned int w = 0; w < 10; w++)
		run_window(1);
	run_window(1);
	before = target.h.sites[SITE_LEAK].last_bytes;
	target.now += 20 * WINDOW_NS;
	run_window(100);
	run_window(1);
	site = &target.h.sites[SITE_LEAK];
	assert_int_equal(site->windows, 32);
	assert_int_equal(site->last_bytes, before + 101 * MKSEG_LEAK_BYTES);
	assert_int_equal(site->entries[site->nr - 2].floor_bytes,
			 before + MKSEG_LEAK_BYTES);
	end();
}

/* Exact and estimated together make the floor, and the sums. */
static void sample_of_estimates_counts_both(void **state)
{
	struct bs_abi_estimate *e;
	struct bs_snapshot *s;

	(void)state;
	begin(false);
	mkseg_add_sampling(target.m);
	for (unsigned int w = 0; w < 3; w++)
		run_window(0);
	assert_int_equal(target.h.sites[2].last_bytes,
			 1000 * 64 + MKSEG_ESTIMATED_BYTES);
	assert_int_equal(target.h.sites[2].last_objects, 3000);
	assert_int_equal(target.h.sites[3].last_bytes, MKSEG_SHARD_BYTES);
	assert_int_equal(target.h.sites[MKSEG_NR_SITES].windows, 0);
	assert_int_equal(target.h.stats.live_objects, 1101 + 2000 + 30);
	assert_int_equal(target.h.stats.allocs, 205133 + 3000 + 50);
	/* A site that has nothing but estimates is watched as well. */
	e = mkseg_record(target.m, BS_SEC_ESTIMATES, 0);
	e->sampled_allocs = 1;
	e->allocs_256 = 10 * 256 + 128; /* rounded up */
	e->bytes_allocated = 4096;
	run_window(0);
	run_window(0);
	assert_int_equal(target.h.sites[0].last_objects, 11);
	s = snapshot();
	assert_int_equal(bs_snapshot_live_bytes(s), target.h.stats.live_bytes);
	bs_snapshot_free(s);
	end();
}

static void window_with_few_samples_is_not_closed(void **state)
{
	struct bs_snapshot *s;

	(void)state;
	begin(false);
	s = snapshot();
	for (unsigned int i = 0; i < 3; i++)
		bs_history_sample(&target.h, s, target.now + i);
	assert_false(bs_history_sample(&target.h, s, target.now + WINDOW_NS));
	assert_false(target.h.has_closed);
	bs_snapshot_free(s);
	end();
}

static enum bs_verdict verdict_now(bool *starved)
{
	struct bs_snapshot *s = snapshot();
	struct bs_site_history out;

	assert_true(bs_history_judge(&target.h, s, SITE_LEAK, &out));
	bs_snapshot_free(s);
	*starved = out.starved;
	return out.verdict;
}

static void run_windows(unsigned int nr, unsigned int objects)
{
	while (nr--)
		run_window(objects);
}

static uint64_t *refused(void)
{
	return mkseg_record(target.m, BS_SEC_VMSTAT, BS_VMSTAT_REFUSED);
}

/* Judged after each window, as the daemon does. */
static enum bs_verdict judge_windows(unsigned int nr, unsigned int objects,
				     bool *starved)
{
	enum bs_verdict verdict = BS_VERDICT_NONE;

	while (nr--) {
		run_window(objects);
		verdict = verdict_now(starved);
	}
	return verdict;
}

/* Requests are refused before, while, or long after a leak stops to grow, or never. */
static void leak_that_is_refused_memory_stays_one(void **state)
{
	static const struct {
		int at; /* window, from the last one that grew; -1: never */
		enum bs_verdict verdict;
	} cases[] = {
		{ -1, BS_VERDICT_STOPPED }, { -10, BS_VERDICT_STOPPED },
		{ 0, BS_VERDICT_LEAK },	    { 2, BS_VERDICT_LEAK },
		{ 60, BS_VERDICT_STOPPED },
	};
	bool starved;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bs_abi_site *site;
		int at = cases[i].at;

		begin(true);
		run_windows(20, 100);
		*refused() += at < -1;
		assert_int_equal(judge_windows(20, 100, &starved),
				 BS_VERDICT_LEAK);
		assert_false(starved);
		*refused() += at == 0;
		judge_windows(2, 0, &starved);
		*refused() += at == 2;
		judge_windows(58, 0, &starved);
		*refused() += at == 60;
		assert_int_equal(judge_windows(40, 0, &starved),
				 cases[i].verdict);
		assert_int_equal(starved, cases[i].verdict == BS_VERDICT_LEAK);

		/* it is known after kill -9, and ends with what it holds */
		if (starved) {
			bs_history_free(&target.h);
			bs_history_init(&target.h, &target.header);
			assert_int_equal(bs_history_load(&target.h,
							 &target.header,
							 journal, true),
					 0);
			assert_int_equal(judge_windows(5, 0, &starved),
					 BS_VERDICT_LEAK);
			assert_true(starved);
			site = mkseg_record(target.m, BS_SEC_SITES, SITE_LEAK);
			site->frees = site->allocs / 2;
			site->bytes_freed = site->bytes_allocated / 2;
			assert_int_equal(judge_windows(3, 0, &starved),
					 BS_VERDICT_STOPPED);
		}
		end();
	}
}

/* What nobody records does not stand still, and is in no history afterwards. */
static void window_without_trace_is_not_closed(void **state)
{
	struct bs_abi_header *h;
	struct bs_history again;
	bool starved;

	(void)state;
	begin(true);
	h = mkseg_header(target.m);
	run_windows(20, 100);
	judge_windows(20, 100, &starved);
	h->trace_mode = BS_TRACE_OFF;
	assert_int_equal(judge_windows(40, 0, &starved), BS_VERDICT_LEAK);
	assert_in_range(target.h.sites[SITE_LEAK].windows, 38, 40);
	h->trace_mode = BS_TRACE_EXACT;
	assert_int_equal(judge_windows(5, 100, &starved), BS_VERDICT_LEAK);
	assert_in_range(target.h.sites[SITE_LEAK].windows, 42, 45);
	load_again(&again);
	bs_history_free(&again);
	end();
}

static void announced_line_is_known_until_confirmed(void **state)
{
	struct bs_once once = { .kind = 'e',
				.from = 3,
				.to = 9,
				.log_ino = 42,
				.log_offset = 1000 };
	struct bs_history again;

	(void)state;
	begin(true);
	bs_history_announce(&target.h, &once);
	bs_history_init(&again, &target.header);
	bs_history_load(&again, &target.header, journal, false);
	assert_memory_equal(&again.once, &once, sizeof(once));
	bs_history_free(&again);
	bs_history_confirm(&target.h);
	bs_history_init(&again, &target.header);
	bs_history_load(&again, &target.header, journal, false);
	assert_int_equal(again.once.kind, 0);
	bs_history_free(&again);
	end();
}

/* ---- log --------------------------------------------------------------------- */

static struct bs_log *open_log(enum bs_log_format format)
{
	struct bs_log *log;
	char err[256];

	log = bs_log_open(log_path, format, err, sizeof(err));
	if (!log)
		fail_msg("%s", err);
	return log;
}

static void log_fresh(void)
{
	unlink(log_path);
	unlink(log_old);
}

static void log_grown_is_rotated_and_bounded(void **state)
{
	static char text[4096];
	struct stat st;
	struct bs_log *log;

	(void)state;
	log_fresh();
	log = open_log(BS_LOG_LOGFMT);
	memset(text, 'x', sizeof(text) - 1);
	for (unsigned int i = 0; i < 3 * BS_LOG_FILE_BYTES_MAX / 4096; i++)
		bs_log_text(log, "test", -1, "%s", text);
	assert_int_equal(stat(log_path, &st), 0);
	assert_true(st.st_size <= BS_LOG_FILE_BYTES_MAX);
	assert_int_equal(stat(log_old, &st), 0);
	assert_true(st.st_size <= BS_LOG_FILE_BYTES_MAX);
	assert_true(st.st_size > BS_LOG_FILE_BYTES_MAX / 2);
	bs_log_close(log);
}

static void log_find_id_sees_whole_lines_behind_the_offset(void **state)
{
	uint64_t ino, offset;
	struct bs_log *log;
	int fd;

	(void)state;
	log_fresh();
	log = open_log(BS_LOG_LOGFMT);
	bs_log_text(log, "test", -1, "7.e4 is in front");
	bs_log_position(log, 0, &ino, &offset);
	assert_int_equal(bs_log_find_id(log, ino, offset, "7.e", 1, 9), 0);
	bs_log_text(log, "test", -1, "7.e5");
	bs_log_text(log, "test", -1, "7.e6");
	bs_log_text(log, "test", -1, "7.e20");
	assert_int_equal(bs_log_find_id(log, ino, offset, "7.e", 1, 9), 6);
	assert_int_equal(bs_log_find_id(log, ino + 1, offset, "7.e", 1, 9), 0);
	/* Half a line of a daemon that was killed: not written. */
	fd = open(log_path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "id=7.e8", 7), 7);
	close(fd);
	assert_int_equal(bs_log_find_id(log, ino, offset, "7.e", 1, 9), 6);
	bs_log_close(log);
	/* The next daemon ends that line before its own. */
	log = open_log(BS_LOG_LOGFMT);
	bs_log_text(log, "test", -1, "next");
	bs_log_close(log);
}

static void log_recent_is_known_after_restart(void **state)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_log *log;

	(void)state;
	log_fresh();
	for (unsigned int format = 0; format < 2; format++) {
		log = open_log((enum bs_log_format)format);
		for (int i = 0; i < 10; i++)
			bs_log_text(log, "test", 100 + i % 2, "line %d %u", i,
				    format);
		bs_log_close(log);
	}
	log = open_log(BS_LOG_LOGFMT);
	bs_log_recent(log, 101, 7, &out, false);
	assert_null(strstr(out.data, "line 3 0"));
	assert_null(strstr(out.data, "line 8"));
	assert_non_null(strstr(out.data, "line 7 0"));
	assert_non_null(strstr(out.data, "line 9 1"));
	bs_buf_free(&out);
	bs_log_close(log);
}

static void log_values_are_quoted_where_they_must(void **state)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_log *log;

	(void)state;
	log_fresh();
	log = open_log(BS_LOG_LOGFMT);
	bs_line_begin(log, "test", 5);
	bs_line_str(log, "a", "plain");
	bs_line_str(log, "b", "two words \"q\" back\\ \n");
	bs_line_str(log, "c", "");
	bs_line_str(log, "d", NULL);
	bs_line_end(log);
	bs_log_flush(log);
	bs_log_recent(log, -1, 1, &out, false);
	assert_non_null(strstr(out.data,
			       " pid=5 a=plain b=\"two words \\\"q\\\" "
			       "back\\\\ ?\" c=\"\" d=-"));
	bs_buf_free(&out);
	bs_log_close(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(load_after_kill_gives_the_same_history),
		cmocka_unit_test(load_of_another_target_is_refused),
		cmocka_unit_test(load_of_cut_journal_gives_a_prefix),
		cmocka_unit_test(journal_that_grows_is_rewritten_shorter),
		cmocka_unit_test(unseen_windows_count_with_the_lower_floor),
		cmocka_unit_test(sample_of_estimates_counts_both),
		cmocka_unit_test(window_with_few_samples_is_not_closed),
		cmocka_unit_test(leak_that_is_refused_memory_stays_one),
		cmocka_unit_test(window_without_trace_is_not_closed),
		cmocka_unit_test(announced_line_is_known_until_confirmed),
		cmocka_unit_test(log_grown_is_rotated_and_bounded),
		cmocka_unit_test(
			log_find_id_sees_whole_lines_behind_the_offset),
		cmocka_unit_test(log_recent_is_known_after_restart),
		cmocka_unit_test(log_values_are_quoted_where_they_must),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	snprintf(journal, sizeof(journal), "%s/journal", dir);
	snprintf(copy, sizeof(copy), "%s/copy", dir);
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	snprintf(log_old, sizeof(log_old), "%s/log.1", dir);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(journal);
	unlink(copy);
	unlink(log_path);
	unlink(log_old);
	rmdir(dir);
	return failed;
}
