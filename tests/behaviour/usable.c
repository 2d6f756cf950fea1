/* SPDX-License-Identifier: MIT */
/* Rule 5: the usable size is what may be written, and never changes. */
#include <malloc.h>

#include "check.h"

#define NR 400

static struct {
	unsigned char *p;
	size_t usable;
} block[NR];

static size_t size_of(unsigned int i)
{
	return i < 300 ? i * 37 : i < 390 ? i * 1999 : i * 20000;
}

int main(void)
{
	CHECK(malloc_usable_size(NULL) == 0);
	for (unsigned int i = 0; i < NR; i++) {
		block[i].p = malloc(size_of(i));
		block[i].usable = malloc_usable_size(block[i].p);
		CHECK(block[i].usable >= size_of(i));
		memset(block[i].p, (int)i, block[i].usable);
	}
	for (unsigned int i = 0; i < NR; i += 2) {
		free(block[i].p);
		block[i].p = NULL;
	}
	for (int round = 0; round < 3; round++)
		for (unsigned int i = 0; i < NR; i++)
			free(malloc(size_of(i)));
	for (unsigned int i = 1; i < NR; i += 2) {
		CHECK(malloc_usable_size(block[i].p) == block[i].usable);
		for (size_t k = 0; k < block[i].usable; k++)
			CHECK(block[i].p[k] == (unsigned char)i);
		free(block[i].p);
	}
	return 0;
}
