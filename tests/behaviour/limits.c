/* SPDX-License-Identifier: MIT */
/*
 * Rules 16 and 17: limits, also when they come late: NULL and ENOMEM, never an
 * abort, and memory again once some was freed.
 */
#include <sys/resource.h>

#include "check.h"

#define MAX_BLOCKS 4096

static void *block[MAX_BLOCKS];

/* Takes all there is in pieces of size, gives it back, takes one again. */
static size_t exhaust(size_t size)
{
	size_t n;

	for (n = 0; n < MAX_BLOCKS; n++) {
		errno = 0;
		block[n] = malloc(size);
		if (!block[n])
			break;
		memset(block[n], 1, size < 4096 ? size : 4096);
	}
	CHECK(n < MAX_BLOCKS && errno == ENOMEM);
	CHECK(n > 0);
	errno = 0;
	CHECK(!calloc(1, size) && errno == ENOMEM);
	for (size_t i = 0; i < n; i++)
		free(block[i]);
	block[0] = malloc(size);
	CHECK(block[0]);
	free(block[0]);
	return n;
}

static size_t status_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	size_t kib = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kib = strtoul(line + strlen(key), NULL, 10);
	fclose(f);
	return kib;
}

static void set(int what, size_t bytes)
{
	struct rlimit r;

	CHECK(!getrlimit((__rlimit_resource_t)what, &r));
	r.rlim_cur = bytes;
	CHECK(!setrlimit((__rlimit_resource_t)what, &r));
}

static void no_more(int what)
{
	struct rlimit r;

	CHECK(!getrlimit((__rlimit_resource_t)what, &r));
	r.rlim_cur = r.rlim_max;
	CHECK(!setrlimit((__rlimit_resource_t)what, &r));
}

int main(void)
{
	size_t base = status_kib("VmSize:") << 10;
	void *p;

	/* No giant reservation: core files and limits see what is used. */
	CHECK(base && base < (size_t)512 << 20);

	set(RLIMIT_AS, base + ((size_t)200 << 20));
	exhaust((size_t)1 << 20);
	exhaust((size_t)20 << 20);
	exhaust(100000);
	no_more(RLIMIT_AS);

	set(RLIMIT_DATA, (status_kib("VmData:") << 10) + ((size_t)100 << 20));
	exhaust((size_t)2 << 20);
	no_more(RLIMIT_DATA);

	/* Everything mapped from now on is locked; as root there is no limit. */
	set(RLIMIT_AS, (status_kib("VmSize:") << 10) + ((size_t)100 << 20));
	if (!mlockall(MCL_FUTURE)) {
		p = malloc((size_t)8 << 20);
		CHECK(p);
		memset(p, 1, (size_t)8 << 20);
		free(p);
		p = calloc(1, (size_t)8 << 20);
		for (size_t i = 0; i < (size_t)8 << 20; i += 512)
			CHECK(!((char *)p)[i]);
		free(p);
		munlockall();
	}
	no_more(RLIMIT_AS);

#ifdef MAP_32BIT
	p = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(p != MAP_FAILED && (uintptr_t)p < UINTPTR_MAX >> 32);
	CHECK(!munmap(p, 65536));
#endif
	return 0;
}
