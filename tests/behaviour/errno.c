/* SPDX-License-Identifier: MIT */
/* Rule 3: errno survives free; a failure sets it, a success leaves it. */
#include <malloc.h>

#include "check.h"

int main(void)
{
	static const size_t sizes[] = { 0,     1,      100,	5000,
					70000, 200000, 3 << 20, 30 << 20 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		void *p;

		errno = 4711;
		p = malloc(sizes[i]);
		CHECK(p && errno == 4711);
		p = realloc(p, sizes[i] + 1);
		CHECK(p && errno == 4711);
		free(p);
		CHECK(errno == 4711);
		p = memalign(4096, sizes[i]);
		CHECK(p && errno == 4711);
		free(p);
		CHECK(errno == 4711);
	}
	errno = 4711;
	free(NULL);
	CHECK(errno == 4711);
	errno = 0;
	CHECK(!malloc((size_t)launder((void *)PTRDIFF_MAX) + 1));
	CHECK(errno == ENOMEM);
	errno = 0;
	CHECK(!malloc((size_t)1 << 60));
	CHECK(errno == ENOMEM);
	return 0;
}
