/* SPDX-License-Identifier: MIT */
/*
 * Rule 8: fork while other threads allocate; the child allocates at once, has a
 * segment of its own, unless it ends at once, and leaves the parent's alone.  By
 * fork(), _Fork() and the bare system call.
 */
#include <pthread.h>
#include <signal.h>

#include "check.h"

#define NR_THREADS 3
#define NR_FORKS   40

static bool stop;
static int nr_prepared, nr_child;

static void *churn(void *arg)
{
	void *p[64] = { 0 };
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned int i = (unsigned int)rand_r(&seed) % 64;

		free(p[i]);
		p[i] = malloc((size_t)rand_r(&seed) %
			      (i == 7 ? 300000u : 3000u));
	}
	for (int i = 0; i < 64; i++)
		free(p[i]);
	return NULL;
}

/* Handlers of the program's own allocate around the fork. */
static void prepare(void)
{
	free(malloc(100));
	nr_prepared++;
}

static void in_child(void)
{
	free(malloc(100));
	nr_child++;
}

static void child(void *inherited, bool raw)
{
	void *p[200];

	for (unsigned int i = 0; i < 200; i++) {
		p[i] = malloc(i * 50);
		CHECK(p[i]);
		memset(p[i], (int)i, i * 50);
	}
	for (unsigned int i = 0; i < 200; i++)
		free(p[i]);
	free(inherited);
	/* A child with much to describe waits until it has allocated a bit. */
	for (int i = 0; i < 1000 && !open_segment(getpid()); i++)
		free(malloc(100));
	CHECK(open_segment(getpid()));
	CHECK(open_segment(getpid())->parent_nonce ==
	      open_segment(getppid())->nonce);
	/* A raw child may not run exit handlers: others hold their locks. */
	if (raw)
		_exit(0);
	quick_exit(0);
}

static pid_t make(int way)
{
	switch (way) {
	case 0:
		return fork();
	case 1:
		return _Fork();
	default:
		return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	}
}

/* One that is about to end, or to exec, makes no segment. */
static void short_lived(void)
{
	pid_t pid = fork();

	if (!pid) {
		for (size_t i = 0; i < 20; i++)
			free(malloc(i * 100));
		_exit(0);
	}
	CHECK(pid > 0);
	CHECK(!wait_for(pid));
	CHECK(!open_segment(pid));
}

/* One that allocates little has a segment soon all the same, which ends with it. */
static void idle(void)
{
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < 30 && !open_segment(getpid()); i++) {
			usleep(25000);
			free(malloc(100));
		}
		_exit(open_segment(getpid()) ? 0 : 1);
	}
	CHECK(pid > 0);
	CHECK(!wait_for(pid));
	CHECK(open_segment(pid)->state == BS_STATE_EXITED);
}

int main(void)
{
	const struct bs_abi_header *seg = open_segment(getpid());
	pthread_t t[NR_THREADS];

	CHECK(seg);
	short_lived();
	idle();
	CHECK(!pthread_atfork(prepare, NULL, in_child));
	for (uintptr_t i = 0; i < NR_THREADS; i++)
		CHECK(!pthread_create(&t[i], NULL, churn, (void *)(i + 1)));
	for (int i = 0; i < NR_FORKS; i++) {
		int way = i % 4 == 3 ? 1 + i / 4 % 2 : 0;
		void *p = malloc(777);
		pid_t pid;

		CHECK(p);
		pid = make(way);
		if (!pid)
			child(p, way != 0);
		CHECK(pid > 0);
		CHECK(!wait_for(pid));
		CHECK(open_segment(pid)->state == BS_STATE_EXITED);
		free(p);
	}
	stop = true;
	for (int i = 0; i < NR_THREADS; i++)
		pthread_join(t[i], NULL);
	CHECK(nr_prepared == 30);
	CHECK(seg->state == BS_STATE_RUNNING && seg->pid == getpid());
	return 0;
}
