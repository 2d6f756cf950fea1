/* SPDX-License-Identifier: MIT */
/*
 * Rule 2: next to no static TLS, and none needed late: destructors of
 * thread-specific data allocate and free to the very end of a thread.
 */
#include <link.h>
#include <pthread.h>

#include "check.h"

#ifdef BS_DEBUG
#define MAX_TLS_BYTES (64 + 8) /* the ranks that are held */
#else
#define MAX_TLS_BYTES 64
#endif

static size_t tls_bytes;
static int seen;

static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	if (!strstr(info->dlpi_name, "libbuddyscope"))
		return 0;
	seen++;
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_TLS)
			tls_bytes += info->dlpi_phdr[i].p_memsz;
	return 0;
}

static pthread_key_t key;
static int rounds;

static void destroy(void *p)
{
	free(p);
	if (__atomic_add_fetch(&rounds, 1, __ATOMIC_RELAXED) % 4)
		pthread_setspecific(key, malloc(500));
}

static void *thread(void *arg)
{
	pthread_setspecific(key, malloc(100));
	return arg;
}

int main(void)
{
	pthread_t t;

	dl_iterate_phdr(visit, NULL);
	CHECK(seen == 1);
	CHECK(tls_bytes > 0 && tls_bytes <= MAX_TLS_BYTES);
	CHECK(!pthread_key_create(&key, destroy));
	for (int i = 0; i < 20; i++) {
		CHECK(!pthread_create(&t, NULL, thread, NULL));
		CHECK(!pthread_join(t, NULL));
	}
	CHECK(rounds == 80);
	return 0;
}
