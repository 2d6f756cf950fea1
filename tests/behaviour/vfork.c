/* SPDX-License-Identifier: MIT */
/*
 * Rule 9: a vfork child shares our memory: it may allocate, and its end is not
 * ours.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>

#include "check.h"

extern char **environ;

/* Not inlined: a vfork child must not return from its function. */
static __attribute__((noinline)) void vfork_once(const char *program)
{
	pid_t pid = vfork();

	if (!pid) {
		char *volatile p = malloc(300);

		if (p)
			memset(p, 1, 300);
		free(p);
		free(malloc(200000));
		if (program)
			execl(program, program, (char *)NULL);
		_exit(program ? 127 : 0);
	}
	CHECK(pid > 0);
	CHECK(!wait_for(pid));
}

/* The same by hand: the child has a stack of its own, and our thread pointer. */
static int allocate_in_child(void *arg)
{
	for (int i = 0; i < 100; i++) {
		unsigned char *p = malloc(48);

		CHECK(p);
		memset(p, i, 48);
		CHECK(p[47] == (unsigned char)i);
		free(p);
	}
	(void)arg;
	_exit(0);
}

static void clone_once(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int pid = clone(allocate_in_child, stack + sizeof(stack),
			CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);

	CHECK(pid > 0);
	CHECK(!wait_for(pid));
}

static bool stop;

/* What a child took must not be what we take. */
static void *allocate(void *arg)
{
	unsigned char *p[100];

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (int i = 0; i < 100; i++) {
			p[i] = malloc(48);
			CHECK(p[i]);
			memset(p[i], 100 + i, 48);
		}
		for (int i = 0; i < 100; i++) {
			CHECK(p[i][0] == 100 + i && p[i][47] == 100 + i);
			free(p[i]);
		}
	}
	return arg;
}

static void among_threads(void)
{
	pthread_t thread[3];

	for (int i = 0; i < 3; i++)
		CHECK(!pthread_create(&thread[i], NULL, allocate, NULL));
	for (int i = 0; i < 50; i++) {
		vfork_once(i % 2 ? "/bin/true" : NULL);
		clone_once();
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
}

int main(void)
{
	const struct bs_abi_header *seg = open_segment(getpid());
	char *const args[] = { (char *)"/bin/true", NULL };
	pid_t pid;

	CHECK(seg);
	for (int i = 0; i < 50; i++) {
		void *p = malloc(50);

		vfork_once(i % 2 ? "/bin/true" : NULL);
		free(p);
	}
	CHECK(!posix_spawn(&pid, args[0], NULL, NULL, args, environ));
	CHECK(!wait_for(pid));
	CHECK(system("exit 0") == 0);
	clone_once();
	among_threads();
	CHECK(seg->state == BS_STATE_RUNNING && seg->pid == getpid());
	return 0;
}
