/* SPDX-License-Identifier: MIT */
/* Rule 7: blocks of libc's own malloc go back to it. */
#include <malloc.h>
#include <pthread.h>

#include "check.h"

static void *(*libc_malloc)(size_t);

static void give_back(size_t size)
{
	unsigned char *p = libc_malloc(size), *q;

	CHECK(p);
	memset(p, 42, size);
	CHECK(malloc_usable_size(p) >= size);
	free(p);
	p = libc_malloc(size);
	memset(p, 42, size);
	q = realloc(p, size * 2);
	CHECK(q && q != p);
	for (size_t i = 0; i < size; i++)
		CHECK(q[i] == 42);
	free(q);
}

/* Another thread has an arena of its own, away from the heap. */
static void *thread(void *arg)
{
	give_back(100);
	return arg;
}

int main(void)
{
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	const struct bs_abi_header *seg;
	uint64_t before;
	pthread_t t;

	CHECK(libc);
	libc_malloc = (void *(*)(size_t))dlsym(libc, "malloc");
	CHECK(libc_malloc && !is_ours((void *)libc_malloc));
	seg = open_segment(getpid());
	CHECK(seg);
	before = vmstat(seg, BS_VMSTAT_FOREIGN_FREES);
	give_back(24);
	give_back(5000);
	give_back((size_t)4 << 20); /* a mapping of its own */
	CHECK(!pthread_create(&t, NULL, thread, NULL));
	CHECK(!pthread_join(t, NULL));
	CHECK(vmstat(seg, BS_VMSTAT_FOREIGN_FREES) - before == 8);
	CHECK(vmstat(seg, BS_VMSTAT_BAD_FREES) == 0);
	return 0;
}
