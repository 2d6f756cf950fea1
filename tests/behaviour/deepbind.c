/* SPDX-License-Identifier: MIT */
/*
 * Rule 6: a library opened with RTLD_DEEPBIND allocates with us too.  And
 * dlopen() still sees who calls it: sub/module-b.so is found by bare name only
 * through the RUNPATH ($ORIGIN/sub) of the library that asks.
 */
#include "check.h"

int main(int argc, char **argv)
{
	void *(*alloc)(size_t), *(*address)(void), *(*open_it)(const char *);
	void *lib, *p;

	CHECK(argc == 2);
	lib = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	CHECK(lib);
	alloc = (void *(*)(size_t))dlsym(lib, "module_alloc");
	address = (void *(*)(void))dlsym(lib, "module_malloc_address");
	open_it = (void *(*)(const char *))dlsym(lib, "module_open");
	CHECK(alloc && address && open_it);
	CHECK(address() == (void *)malloc && is_ours(address()));
	p = alloc(1000);
	p = realloc(p, 2000);
	free(p);
	CHECK(!dlopen("module-b.so",
		      RTLD_NOW)); /* this program has no RUNPATH */
	CHECK(open_it("module-b.so"));
	CHECK(is_ours((void *)dlopen));
	return 0;
}
