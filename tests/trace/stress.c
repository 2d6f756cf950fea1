/* SPDX-License-Identifier: MIT */
/*
 * stress.c - everything at once: threads allocate at many depths, a library comes and
 * goes at one address, threads are born and end, a signal handler allocates, the
 * process forks with and without handlers.
 *
 * usage: stress SECONDS MODULE-A MODULE-B.  Exit 0 when every child ended well.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_WORKERS 4
#define NR_BLOCKS  32

static volatile int stop;
static const char *module[2];

static __attribute__((noinline)) void *deep(int depth, size_t size)
{
	void *p = depth ? deep(depth - 1, size) : malloc(size);

	__asm__ volatile("" : "+r"(p)); /* no tail call */
	return p;
}

static void map_and_unmap(size_t bytes)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	p[0] = 1;
	munmap(p, bytes / 2);
	munmap(p + bytes / 2, bytes / 2);
}

static void *worker(void *arg)
{
	unsigned int seed = (unsigned int)(unsigned long)arg, i;
	void *block[NR_BLOCKS] = { 0 };

	while (!stop) {
		seed = seed * 1103515245 + 12345;
		i = seed >> 16 & (NR_BLOCKS - 1);
		switch (seed >> 24 & 7) {
		case 0:
			block[i] = realloc(block[i], 1 + (seed >> 8) % 5000);
			break;
		case 1:
			map_and_unmap(8192U * (1 + (seed >> 10) % 8));
			break;
		case 2:
			free(block[i]);
			block[i] =
				deep(seed >> 12 & 31, 200000 + seed % 1000000);
			break;
		default:
			free(block[i]);
			block[i] =
				deep(seed >> 12 & 31, 1 + (seed >> 8) % 3000);
		}
	}
	for (i = 0; i < NR_BLOCKS; i++)
		free(block[i]);
	return NULL;
}

static void alloc_back(void *arg)
{
	(void)arg;
	free(deep(0, 55));
}

static void *loader(void *arg)
{
	unsigned int i, k;

	for (i = 0; !stop; i++) {
		void *handle = dlopen(module[i % 2], RTLD_NOW);
		void (*call_back)(void (*)(void *), void *);

		if (!handle) {
			fprintf(stderr, "%s\n", dlerror());
			exit(3);
		}
		*(void **)&call_back = dlsym(handle, "call_back");
		for (k = 0; k < 5; k++)
			call_back(alloc_back, NULL);
		dlclose(handle);
	}
	return arg;
}

static void *one_block(void *arg)
{
	free(malloc(10));
	return arg;
}

static void *spawner(void *arg)
{
	pthread_t t[8];
	int i;

	while (!stop) {
		for (i = 0; i < 8; i++)
			if (pthread_create(&t[i], NULL, one_block, NULL))
				abort();
		for (i = 0; i < 8; i++)
			pthread_join(t[i], NULL);
	}
	return arg;
}

static void on_alarm(int nr)
{
	(void)nr;
	free(deep(2, 64));
	free(deep(2, 70000));
}

/* exit() would wait for a loader's lock that died with another thread. */
static void child(void)
{
	struct itimerval none = { { 0, 0 }, { 0, 0 } };
	int i;

	setitimer(ITIMER_REAL, &none, NULL);
	signal(SIGALRM, SIG_DFL);
	alarm(30);
	for (i = 0; i < 200; i++) {
		void *p = deep(i % 20, 100 + (size_t)i * 37);

		if (i % 3)
			free(p);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	struct itimerval every = { { 0, 997 }, { 0, 997 } };
	struct itimerval none = { { 0, 0 }, { 0, 0 } };
	pthread_t t[NR_WORKERS + 2];
	int nr_forks, status, bad = 0;
	unsigned long i;
	time_t end;

	if (argc != 4)
		return 2;
	module[0] = argv[2];
	module[1] = argv[3];
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &every, NULL);
	for (i = 0; i < NR_WORKERS; i++)
		pthread_create(&t[i], NULL, worker, (void *)(i + 7));
	pthread_create(&t[i++], NULL, loader, NULL);
	pthread_create(&t[i++], NULL, spawner, NULL);
	end = time(NULL) + atoi(argv[1]);
	for (nr_forks = 0; time(NULL) < end || nr_forks < 3; nr_forks++) {
		pid_t pid = nr_forks % 3 == 2 ? _Fork() : fork();

		if (!pid)
			child();
		while (waitpid(pid, &status, 0) < 0)
			;
		if (status) {
			fprintf(stderr, "child %d ended with %#x\n", nr_forks,
				(unsigned int)status);
			bad = 1;
		}
	}
	stop = 1;
	while (i--)
		pthread_join(t[i], NULL);
	/* books are compared with the heap at exit: nobody may allocate then */
	setitimer(ITIMER_REAL, &none, NULL);
	signal(SIGALRM, SIG_IGN);
	return bad;
}
