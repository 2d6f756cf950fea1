/* SPDX-License-Identifier: MIT */
/*
 * A library that allocates from a function of its own, and opens another one by
 * bare name.  Built several times.
 */
#include <dlfcn.h>
#include <stdlib.h>

void *module_alloc(size_t size);
void *module_open(const char *name);
void *module_malloc_address(void);

void *module_alloc(size_t size)
{
	void *volatile p = malloc(size);

	return p;
}

/* The handle must not be returned by a tail call: then this is not the caller. */
void *module_open(const char *name)
{
	void *volatile h = dlopen(name, RTLD_NOW | RTLD_LOCAL);

	return h;
}

void *module_malloc_address(void)
{
	return (void *)malloc;
}
