/* SPDX-License-Identifier: MIT */
/*
 * Rule 17: memory is there before main, in constructors and destructors, in
 * atexit handlers, and in threads that go on after exit() began.
 */
#include <pthread.h>

#include "check.h"

static void *early[4];
static char *late;

static void __attribute__((constructor(101))) very_early(void)
{
	early[0] = malloc(10);
	CHECK(early[0]);
	early[1] = calloc(1, 300000);
	CHECK(early[1]);
}

static void __attribute__((constructor)) just_before(void)
{
	early[2] = realloc(early[0], 10000);
	CHECK(early[2]);
	early[0] = NULL;
}

static void at_exit(void)
{
	late = strdup("allocated after exit began");
	CHECK(late);
	free(early[1]);
}

static void __attribute__((destructor)) very_late(void)
{
	char *p = realloc(late, 5000000);

	CHECK(p && !strcmp(p, "allocated after exit began"));
	free(p);
	free(early[2]);
}

static void *go_on(void *arg)
{
	for (;;)
		free(malloc((size_t)(uintptr_t)arg));
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t;

	(void)argv;
	CHECK(early[1] && early[2]);
	CHECK(!atexit(at_exit));
	if (argc > 1) /* verify=exit needs a quiet process */
		for (uintptr_t i = 1; i < 4; i++)
			CHECK(!pthread_create(&t, NULL, go_on,
					      (void *)(i * 1000)));
	return 0;
}
