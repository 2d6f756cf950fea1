/* SPDX-License-Identifier: MIT */
/* Rule 1: dlsym and dlerror allocate; they may be the first calls of all. */
#include "check.h"

static void *early;

/* Runs before libc is done with this program's own constructors. */
static void __attribute__((constructor)) first(void)
{
	CHECK(!dlsym(RTLD_DEFAULT, "no_such_symbol_anywhere"));
	CHECK(dlerror());
	CHECK(!dlopen("no-such-library.so", RTLD_NOW));
	CHECK(strstr(dlerror(), "no-such-library.so"));
	early = calloc(3, 7);
	CHECK(early);
}

int main(void)
{
	early = realloc(early, 100000);
	CHECK(early);
	free(early);
	CHECK(dlsym(RTLD_NEXT, "malloc") && dlsym(RTLD_DEFAULT, "malloc"));
	CHECK(dlsym(RTLD_NEXT, "malloc") != NULL);
	CHECK(is_ours(dlsym(RTLD_DEFAULT, "malloc")));
	return 0;
}
