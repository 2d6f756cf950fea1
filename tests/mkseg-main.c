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
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/target.h"
#include "tests/mkseg.h"

int main(int argc, char **argv)
{
	char path[PATH_MAX], letter;
	bool sampled = argc > 1 && !strcmp(argv[1], "--sampled");
	uint64_t start = 1;
	struct mkseg *m;
	int ret;

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
