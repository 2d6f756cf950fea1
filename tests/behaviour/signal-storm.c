/* SPDX-License-Identifier: MIT */
/*
 * Rule 14, at length: every thread is interrupted a thousand times a second, in
 * whatever path of the allocator it is just in, by a handler that allocates,
 * resizes, frees and maps.  Content must stay, nobody may wait for ever.
 *
 * BS_STORM_SECONDS: how long, default 4.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "check.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

#define THREADS	      4
#define BLOCKS	      128
#define KEPT	      8
#define PATIENCE_SECS 120 /* without one step of a thread: a deadlock */

struct storm {
	pthread_t thread;
	unsigned long steps, signals, refused;
	unsigned int seed;
	struct {
		unsigned char *p;
		size_t size;
	} kept[KEPT];
};

static struct storm storms[THREADS];
static __thread struct storm *mine;
static volatile bool stop;

static void fill(unsigned char *p, size_t size)
{
	p[0] = (unsigned char)size;
	p[size / 2] = (unsigned char)(size >> 3);
	p[size - 1] = (unsigned char)(size >> 7);
}

static void check(const unsigned char *p, size_t size)
{
	if (size == 1)
		return;
	CHECK(p[size - 1] == (unsigned char)(size >> 7));
	if (size > 2)
		CHECK(p[size / 2] == (unsigned char)(size >> 3));
	if (size > 2)
		CHECK(p[0] == (unsigned char)size);
}

/* Sizes of the reserve, beyond it, and a mapping now and then. */
static void handler(int sig)
{
	static const size_t sizes[] = { 24, 64, 200, 1000, 4000, 100 };
	struct storm *s = mine;
	unsigned long n = s->signals++;
	unsigned int i = (unsigned int)(n % KEPT);
	size_t size = n % 50 == 49 ? 70000 : sizes[n % 6];
	unsigned char *p = n % 3 ? malloc(size) : calloc(1, size), *q;
	int saved_errno = errno;

	(void)sig;
	if (!p) {
		s->refused++;
		errno = saved_errno;
		return;
	}
	fill(p, size);
	q = n % 5 == 0 ? realloc(p, size + 10) : NULL;
	if (q) {
		p = q;
		size += 10;
		fill(p, size);
	}
	if (s->kept[i].p) {
		check(s->kept[i].p, s->kept[i].size);
		free(s->kept[i].p);
	}
	s->kept[i].p = p;
	s->kept[i].size = size;
	if (n % 7 == 0) {
		p = mmap(NULL, 16384, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(p != MAP_FAILED);
		fill(p, 16384);
		munmap(p, 16384);
	}
	errno = saved_errno;
}

static size_t random_size(unsigned int *seed)
{
	unsigned int r = (unsigned int)rand_r(seed);

	switch (r % 16) {
	case 0:
		return r % (12U << 20) + 1; /* vmalloc */
	case 1:
		return r % (3U << 20) + 1; /* large */
	case 2:
	case 3:
		return r % 131072 + 1;
	default:
		return r % 700 + 1;
	}
}

static void map_something(unsigned int *seed)
{
	size_t bytes = ((unsigned int)rand_r(seed) % 64 + 1) * 4096U;
	unsigned char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	fill(p, bytes);
	p = mremap(p, bytes, bytes * 2, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED);
	check(p, bytes);
	CHECK(!mprotect(p + bytes, bytes, PROT_NONE));
	CHECK(!munmap(p, bytes * 2));
}

static void fork_something(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		free(malloc(100));
		_exit(0);
	}
	CHECK(!wait_for(pid));
}

static void one_step(struct storm *s, unsigned char **block, size_t *size)
{
	unsigned int i = (unsigned int)rand_r(&s->seed) % BLOCKS;
	unsigned int what = (unsigned int)rand_r(&s->seed) % 1000;
	size_t new_size = random_size(&s->seed);

	if (what < 4)
		malloc_trim(0);
	else if (what < 20)
		map_something(&s->seed);
	else if (what == 20)
		fork_something();
	if (block[i])
		check(block[i], size[i]);
	if (block[i] && what % 3 == 0) {
		block[i] = realloc(block[i], new_size);
	} else {
		free(block[i]);
		block[i] = what % 5 ? malloc(new_size)
				    : memalign(64U << what % 8, new_size);
	}
	CHECK(block[i]);
	size[i] = new_size;
	fill(block[i], new_size);
}

static timer_t start_timer(void)
{
	struct itimerspec every = { { 0, 1000000 }, { 0, 1000000 } };
	struct sigevent event = { 0 };
	timer_t timer;

	event.sigev_notify = SIGEV_THREAD_ID;
	event.sigev_signo = SIGUSR1;
	event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
	CHECK(!timer_create(CLOCK_MONOTONIC, &event, &timer));
	CHECK(!timer_settime(timer, 0, &every, NULL));
	return timer;
}

static void *storm_main(void *arg)
{
	struct storm *s = arg;
	unsigned char *block[BLOCKS] = { 0 };
	size_t size[BLOCKS] = { 0 };
	timer_t timer;

	mine = s;
	timer = start_timer();
	while (!stop) {
		one_step(s, block, size);
		__atomic_add_fetch(&s->steps, 1, __ATOMIC_RELAXED);
	}
	CHECK(!timer_delete(timer));
	for (int i = 0; i < BLOCKS; i++)
		free(block[i]);
	for (int i = 0; i < KEPT; i++)
		free(s->kept[i].p);
	return NULL;
}

/* False: some thread made no step for PATIENCE_SECS. */
static void watch(unsigned long *seen, unsigned int *idle)
{
	for (int i = 0; i < THREADS; i++) {
		unsigned long steps =
			__atomic_load_n(&storms[i].steps, __ATOMIC_RELAXED);

		idle[i] = steps == seen[i] ? idle[i] + 1 : 0;
		seen[i] = steps;
		CHECK(idle[i] < PATIENCE_SECS);
	}
}

int main(void)
{
	const char *given = getenv("BS_STORM_SECONDS");
	unsigned int seconds = given ? (unsigned int)atoi(given) : 4;
	unsigned long seen[THREADS] = { 0 }, signals = 0, refused = 0;
	unsigned long steps = 0;
	unsigned int idle[THREADS] = { 0 };
	struct sigaction sa = { 0 };

	sa.sa_handler = handler;
	sa.sa_flags = SA_RESTART;
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	for (int i = 0; i < THREADS; i++) {
		storms[i].seed = (unsigned int)i + 1;
		CHECK(!pthread_create(&storms[i].thread, NULL, storm_main,
				      &storms[i]));
	}
	while (seconds--) {
		sleep(1);
		watch(seen, idle);
	}
	stop = true;
	for (int i = 0; i < THREADS; i++) {
		CHECK(!pthread_join(storms[i].thread, NULL));
		steps += storms[i].steps;
		signals += storms[i].signals;
		refused += storms[i].refused;
	}
	if (given)
		dprintf(2, "%lu steps, %lu signals, %lu refused\n", steps,
			signals, refused);
	CHECK(signals > 100 && steps > 100);
	CHECK(refused == 0);
	return 0;
}
