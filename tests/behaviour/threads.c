/* SPDX-License-Identifier: MIT */
/*
 * Rule 17: a thousand threads come and go, blocks change hands, and memory does
 * not grow with the number of threads.
 */
#include <pthread.h>

#include "check.h"

#define NR_THREADS 1000
#define AT_ONCE	   20

static void *shelf[64];

static void *thread(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg + 1;

	for (int i = 0; i < 200; i++) {
		void **place = &shelf[(unsigned int)rand_r(&seed) % 64];
		size_t size = (size_t)rand_r(&seed) % 4000 + 16;
		unsigned char *p = malloc(size), *old;

		CHECK(p);
		memset(p, (int)size, 16);
		*(size_t *)(void *)p = size;
		old = __atomic_exchange_n(place, p, __ATOMIC_ACQ_REL);
		if (old) {
			size = *(size_t *)(void *)old;
			CHECK(size >= 16 && size < 4016);
			CHECK(old[15] == (unsigned char)size);
		}
		free(old);
	}
	return NULL;
}

static size_t resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t size, resident;

	CHECK(f && fscanf(f, "%zu %zu", &size, &resident) == 2);
	fclose(f);
	return resident;
}

int main(void)
{
	pthread_t t[AT_ONCE];
	size_t early = 0;

	for (int n = 0; n < NR_THREADS; n += AT_ONCE) {
		for (int i = 0; i < AT_ONCE; i++)
			CHECK(!pthread_create(&t[i], NULL, thread,
					      (void *)(uintptr_t)(n + i)));
		for (int i = 0; i < AT_ONCE; i++)
			CHECK(!pthread_join(t[i], NULL));
		if (n == 200)
			early = resident_pages();
	}
	/* 800 more threads: less than 4 MiB more, so no state of theirs stays. */
	CHECK(resident_pages() < early + 1024);
	for (int i = 0; i < 64; i++)
		free(shelf[i]);
	return 0;
}
