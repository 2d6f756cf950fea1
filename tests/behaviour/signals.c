/* SPDX-License-Identifier: MIT */
/*
 * Rule 14: a handler allocates, frees and maps while it interrupts the same
 * thread in the same calls; the signal mask stays as it was.
 */
#include <signal.h>
#include <sys/time.h>

#include "check.h"

#define NR_SIGNALS 600

static volatile int nr_signals, nr_refused;

static void *kept[16];

static void handler(int sig)
{
	unsigned int i = (unsigned int)nr_signals % 16;
	void *p;

	(void)sig;
	p = malloc(40);
	if (!p)
		nr_refused++;
	else
		memset(p, 7, 40);
	p = realloc(p, 90);
	free(kept[i]);
	kept[i] = p;
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		nr_refused++;
	else
		munmap(p, 8192);
	nr_signals++;
}

int main(void)
{
	struct itimerval every = { { 0, 500 }, { 0, 500 } }, never = { 0 };
	struct sigaction sa = { 0 };
	sigset_t before = { 0 }, after = { 0 };
	void *p[256] = { 0 };
	unsigned int seed = 1;

	sa.sa_handler = handler;
	sa.sa_flags = SA_RESTART;
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &before));
	CHECK(!sigaction(SIGPROF, &sa, NULL));
	CHECK(!setitimer(ITIMER_PROF, &every, NULL));
	while (nr_signals < NR_SIGNALS) {
		unsigned int i = (unsigned int)rand_r(&seed) % 256;
		size_t size = (size_t)rand_r(&seed) % 9000;

		free(p[i]);
		p[i] = i % 8 ? malloc(size) : calloc(1, size * 30);
		CHECK(p[i]);
	}
	CHECK(!setitimer(ITIMER_PROF, &never, NULL));
	for (int i = 0; i < 256; i++)
		free(p[i]);
	for (int i = 0; i < 16; i++)
		free(kept[i]);
	CHECK(!sigprocmask(SIG_BLOCK, NULL, &after));
	CHECK(!memcmp(&before, &after, sizeof(before)));
	CHECK(nr_refused == 0);
	return 0;
}
