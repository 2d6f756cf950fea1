/* SPDX-License-Identifier: MIT */
/*
 * Rule 16, from the start: run under ulimit -v and ulimit -f, and with no
 * mappings left.  Files may not be written, memory still is there.
 */
#include <signal.h>
#include <sys/resource.h>

#include "check.h"

#define MAX_MAPS 80000

static char *map[MAX_MAPS];

/* Neighbours of different protection do not merge: one VMA each. */
static int use_all_maps(void)
{
	int n;

	for (n = 0; n < MAX_MAPS; n++) {
		map[n] = mmap(NULL, 4096, n % 2 ? PROT_READ : PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (map[n] == MAP_FAILED)
			break;
	}
	return n;
}

int main(int argc, char **argv)
{
	struct sigaction sa;
	int nr_maps, nr = 0;
	void *p;

	CHECK(!sigaction(SIGXFSZ, NULL, &sa) && sa.sa_handler == SIG_DFL);
	for (size_t n = 1; n <= (size_t)4 << 20; n = n * 2 + 1) {
		p = malloc(n);
		CHECK(p);
		memset(p, 1, n);
		free(p);
	}
	p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	CHECK(!munmap(p, 1 << 20));
	if (argc == 2 && !strcmp(argv[1], "maps")) {
		nr_maps = use_all_maps();
		CHECK(nr_maps < MAX_MAPS && errno == ENOMEM);
		/* Each of these answers, one way or the other. */
		for (size_t n = 16; n <= (size_t)64 << 20; n *= 2) {
			errno = 0;
			p = malloc(n);
			nr += p != NULL;
			CHECK(p || errno == ENOMEM);
			free(p);
		}
		CHECK(nr > 0);
		for (int i = 0; i < nr_maps; i++)
			CHECK(!munmap(map[i], 4096));
		p = malloc((size_t)64 << 20);
		CHECK(p);
		free(p);
	}
	return 0;
}
