/* SPDX-License-Identifier: MIT */
/*
 * Rule 12: no descriptor and no thread is ours; a program may close all of its
 * descriptors, and change its root directory.
 */
#include <sys/resource.h>

#include "check.h"

static int count_entries(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;

	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Without an argument: say what a plain run has. */
int main(int argc, char **argv)
{
	int nr_fds = count_entries("/proc/self/fd");
	void *p = malloc(100);

	if (argc == 1)
		return printf("%d\n", nr_fds) < 0;
	CHECK(nr_fds == atoi(argv[1]));
	CHECK(count_entries("/proc/self/task") == 3); /* with "." and ".." */
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	CHECK(!chdir("/") && (geteuid() || !chroot("/proc")));
	for (int i = 0; i < 1000; i++)
		free(malloc((size_t)i * 1000));
	free(p);
	return 0;
}
