/* SPDX-License-Identifier: MIT */
/*
 * mkseg-main.c - mkseg [--sampled] DIR [PID]: write an example segment, print its
 * path.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 *
 * Without PID the process is made up and gone ("killed"); with PID it is that
 * process (its start time is read), so that the target counts as running.
 * --sampled: with estimates, see mkseg_add_sampling().
 *
 * mkseg --answer FILE, mkseg --refuse FILE: instead, wait up to 10 s until the
 * segment is asked for a trace mode, and take it, or stay at what it is.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shared/target.h"
#include "tests/mkseg.h"

/* What the library does when it is asked for another trace mode. */
static int answer(const char *path, bool keeps_tags)
{
	static const struct timespec pause = { 0, 5000000 };
	struct bs_abi_control page;
	struct bs_abi_header h;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i < 2000; i++) {
		if (pread(fd, &h, sizeof(h), 0) != sizeof(h) ||
		    pread(fd, &page, sizeof(page),
			  (off_t)h.section[BS_SEC_CONTROL].offset) !=
			    sizeof(page))
			break;
		if (page.trace_request != h.trace_request_seen) {
			if (keeps_tags)
				h.trace_mode = page.trace_mode;
			if (page.trace_budget)
				h.trace_budget = page.trace_budget;
			if (page.trace_sample_bytes)
				h.trace_sample_bytes = page.trace_sample_bytes;
			h.trace_request_seen = page.trace_request;
			return pwrite(fd, &h, sizeof(h), 0) != sizeof(h);
		}
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "mkseg: %s: nobody asked\n", path);
	return 1;
}

int main(int argc, char **argv)
{
	char path[PATH_MAX], letter;
	bool sampled = argc > 1 && !strcmp(argv[1], "--sampled");
	uint64_t start = 1;
	struct mkseg *m;
	int ret;

	if (argc == 3 && !strcmp(argv[1], "--answer"))
		return answer(argv[2], true);
	if (argc == 3 && !strcmp(argv[1], "--refuse"))
		return answer(argv[2], false);
	argc -= sampled;
	argv += sampled;
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: mkseg [--sampled] DIR [PID]\n");
		return 2;
	}
	m = mkseg_new();
	if (!m)
		return 1;
	if (sampled)
		mkseg_add_sampling(m);
	if (argc == 3) {
		ret = bs_proc_stat(atoi(argv[2]), &start, &letter);
		if (ret) {
			fprintf(stderr, "mkseg: pid %s: %s\n", argv[2],
				strerror(-ret));
			return 1;
		}
		mkseg_set_process(m, atoi(argv[2]), start, 0xabcdef);
	} else {
		mkseg_set_process(m, INT_MAX, 1, 0xabcdef);
	}
	ret = mkseg_write(m, argv[1], path, sizeof(path));
	if (ret)
		fprintf(stderr, "mkseg: %s: %s\n", path, strerror(-ret));
	else
		printf("%s\n", path);
	mkseg_free(m);
	return ret ? 1 : 0;
}
