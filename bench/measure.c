/* SPDX-License-Identifier: MIT */
/*
 * measure.c - runs a command and says what it took.
 *
 * usage: measure [-n TIMES] [-e NAME=VALUE]... FILE COMMAND [ARG]...
 *
 * Writes one line to FILE:
 *
 *	wall_ns user_us sys_us peak_kib minor_faults major_faults status
 *
 * wall: from before the fork until the command is reaped.  user, sys, faults:
 * the command and those of its descendants that were waited for (wait4).
 * peak: most resident memory of the largest one of them (its VmHWM).  With -n
 * the command runs TIMES times in turn; times and faults are sums.  status: the
 * last one, 128 + signal if one ended it.
 *
 * Why not from the harness itself: a child that is forked from a process starts
 * with that one's peak as its own, so a peak below the size of a Python
 * interpreter could not be seen.  -e sets the environment of the command alone:
 * nothing is preloaded into this program.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_VARIABLES 64

struct usage {
	uint64_t wall_ns, user_us, sys_us;
	long peak_kib, minor_faults, major_faults;
	int status;
};

static char *variables[MAX_VARIABLES];
static unsigned int nr_variables;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static uint64_t us(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * 1000000 + (uint64_t)tv.tv_usec;
}

static _Noreturn void become(char **argv)
{
	unsigned int i;

	for (i = 0; i < nr_variables; i++)
		putenv(variables[i]);
	execvp(argv[0], argv);
	fprintf(stderr, "measure: %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void add(struct usage *sum, const struct rusage *ru, int status)
{
	sum->user_us += us(ru->ru_utime);
	sum->sys_us += us(ru->ru_stime);
	sum->minor_faults += ru->ru_minflt;
	sum->major_faults += ru->ru_majflt;
	if (ru->ru_maxrss > sum->peak_kib)
		sum->peak_kib = ru->ru_maxrss;
	sum->status = WIFEXITED(status) ? WEXITSTATUS(status)
					: 128 + WTERMSIG(status);
}

static int run_once(char **argv, struct usage *sum)
{
	uint64_t start_ns = now_ns();
	struct rusage ru;
	int status;
	pid_t pid;

	pid = fork();
	if (!pid)
		become(argv);
	if (pid < 0 || wait4(pid, &status, 0, &ru) != pid) {
		perror("measure");
		return -1;
	}
	sum->wall_ns += now_ns() - start_ns;
	add(sum, &ru, status);
	return 0;
}

static int save(const char *path, const struct usage *u)
{
	FILE *f = fopen(path, "w");

	if (!f) {
		fprintf(stderr, "measure: %s: %s\n", path, strerror(errno));
		return -1;
	}
	fprintf(f, "%llu %llu %llu %ld %ld %ld %d\n",
		(unsigned long long)u->wall_ns, (unsigned long long)u->user_us,
		(unsigned long long)u->sys_us, u->peak_kib, u->minor_faults,
		u->major_faults, u->status);
	return fclose(f);
}

int main(int argc, char **argv)
{
	struct usage sum = { 0 };
	long times = 1, i;
	int c;

	while ((c = getopt(argc, argv, "+n:e:")) != -1) {
		if (c == 'n')
			times = strtol(optarg, NULL, 10);
		else if (c == 'e' && nr_variables < MAX_VARIABLES)
			variables[nr_variables++] = optarg;
		else
			times = 0;
	}
	if (times < 1 || argc - optind < 2) {
		fprintf(stderr, "usage: measure [-n TIMES] [-e NAME=VALUE]... "
				"FILE COMMAND [ARG]...\n");
		return 2;
	}
	for (i = 0; i < times && !sum.status; i++)
		if (run_once(argv + optind + 1, &sum))
			return 1;
	return save(argv[optind], &sum) ? 1 : 0;
}
