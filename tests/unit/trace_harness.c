/* SPDX-License-Identifier: MIT */
/*
 * trace_harness.c - see trace_harness.h.
 */
#include "tests/unit/trace_harness.h"

#include <dirent.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct bs_options bs_options;
__thread __attribute__((tls_model("initial-exec"))) struct bs_tls bs_tls;
pid_t bs_pid;
bool bs_sandboxed;
bool bs_unwinder_wanted;
bool bs_tracing = true;

static const struct mm_client client = {
	.area_gone = trace_area_gone,
	.current_site = trace_current_site,
};

static int start(bool threads, uint64_t fixed_pages)
{
	memset(&bs_options, 0, sizeof(bs_options));
	mm_default_config(&bs_options.mm);
	bs_options.mm.tags = true;
	if (fixed_pages) {
		bs_options.mm.zone[0].elastic = false;
		bs_options.mm.zone[0].pages = fixed_pages;
		bs_options.mm.oom_fail = true;
	}
	bs_options.trace_mode = BS_TRACE_EXACT;
	bs_options.trace_threads = threads;
	bs_options.nr_nodes = 1U << 18;
	bs_options.nr_sites = 1U << 16;
	bs_options.publish = true;
	bs_options.leak_window_ns = 1000000000;
	strcpy(bs_options.dir, "/dev/shm/bs-test-XXXXXX");
	if (!mkdtemp(bs_options.dir))
		return -1;
	bs_sandboxed = false;
	bs_pid = getpid();
	if (mm_init(&bs_options.mm, &client))
		return -1;
	mm_wipe->alive = 1;
	segment_create();
	trace_init();
	return 0;
}

int harness_start(void **state)
{
	(void)state;
	return start(false, 0);
}

int harness_start_threads(void **state)
{
	(void)state;
	return start(true, 0);
}

int harness_start_small(void **state)
{
	(void)state;
	return start(false, 8 * SECTION_PAGES);
}

static bool is_segment(const char *name)
{
	size_t n = strlen(name);

	return n > 4 && !strcmp(name + n - 4, ".seg");
}

int harness_stop(void **state)
{
	char path[PATH_MAX];
	DIR *d = opendir(bs_options.dir);
	struct dirent *e;

	(void)state;
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", bs_options.dir,
			 e->d_name);
		if (is_segment(e->d_name))
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(bs_options.dir);
	trace_destroy();
	segment_destroy();
	mm_destroy();
	return 0;
}

const char *harness_segment_path(pid_t pid)
{
	static char path[PATH_MAX];
	char prefix[32];
	DIR *d = opendir(bs_options.dir);
	struct dirent *e;
	unsigned int nr = 0;

	assert_non_null(d);
	snprintf(prefix, sizeof(prefix), "%d-", (int)pid);
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, prefix, strlen(prefix)) && ++nr)
			snprintf(path, sizeof(path), "%s/%s", bs_options.dir,
				 e->d_name);
	closedir(d);
	assert_int_equal(nr, 1);
	return path;
}

unsigned int harness_nr_segments(void)
{
	DIR *d = opendir(bs_options.dir);
	struct dirent *e;
	unsigned int nr = 0;

	assert_non_null(d);
	while ((e = readdir(d)))
		nr += is_segment(e->d_name);
	closedir(d);
	return nr;
}

__attribute__((noinline)) void *traced_alloc(size_t size)
{
	void *p = mm_alloc(size, 1, GFP_KERNEL);
	struct unwind_regs regs;
	struct mm_block b;

	UNWIND_CALLER(&regs);
	if (p && !mm_lookup(p, &b))
		trace_alloc(&b, size, &regs, 0);
	return p;
}

void traced_free(void *p)
{
	struct mm_block b;

	assert_int_equal(mm_lookup(p, &b), 0);
	assert_true(trace_free(&b));
	assert_int_equal(mm_free(p, &b), 0);
}

pid_t traced_fork(void)
{
	pid_t pid;

	segment_fork_prepare();
	mm_fork_prepare();
	pid = fork();
	if (pid) {
		mm_fork_parent();
		segment_fork_parent();
		return pid;
	}
	mm_fork_child();
	sys_rank_reset();
	segment_child(false);
	trace_fork_child(false);
	bs_pid = getpid();
	mm_wipe->alive = 1;
	return 0;
}

bool traced_grow_up(void)
{
	unsigned int i;

	for (i = 0; i < 1000 && !segment_self()->ready; i++)
		traced_free(traced_alloc(10));
	return segment_self()->ready;
}
