/* SPDX-License-Identifier: MIT */
/*
 * Rule: memory that is free goes back to the system in time, also when the program
 * makes small calls only, few of them.
 */
#include <time.h>

#include "check.h"

#define NR 200000
#define MOST_STAYS                                                             \
	(12UL << 20) /* a tenth of what was there; tables of tracing */
#define GIVE_UP_SEC 30

static void *object[NR];

/* No allocation in here. */
static size_t resident_bytes(void)
{
	char text[128];
	char *next;
	ssize_t n;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	CHECK(n > 0);
	close(fd);
	text[n] = '\0';
	(void)strtoul(text, &next, 10);
	return strtoul(next, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

int main(void)
{
	size_t before, full;
	time_t begin;

	memset(object, 1, sizeof(object));
	before = resident_bytes();
	for (unsigned int i = 0; i < NR; i++) {
		size_t size = 100 + i * 7919UL % 1000;

		object[i] = malloc(size);
		CHECK(object[i]);
		memset(object[i], 1, size);
	}
	full = resident_bytes();
	CHECK(full - before > 8 * MOST_STAYS);
	for (unsigned int i = 0; i < NR; i++)
		free(object[i]);
	begin = time(NULL);
	while (resident_bytes() > before + MOST_STAYS) {
		CHECK(time(NULL) - begin < GIVE_UP_SEC);
		usleep(5000);
		free(launder(malloc(100)));
	}
	return 0;
}
