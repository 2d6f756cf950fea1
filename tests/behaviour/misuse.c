/* SPDX-License-Identifier: MIT */
/* Rule 21: one misuse per run; the runner compares report and exit status. */
#include "check.h"

static char in_data[64];

static void *wild(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED && !munmap(p, 8192));
	return p + 64;
}

int main(int argc, char **argv)
{
	char on_stack[64], *p;
	const char *what = argc > 1 ? argv[1] : "";
	size_t size = argc > 2 ? strtoul(argv[2], NULL, 0) : 100;

	p = malloc(size);
	CHECK(p);
	errno = 4711;
	if (!strcmp(what, "double")) {
		free(p);
		free(launder(p));
	} else if (!strcmp(what, "double-realloc")) {
		free(p);
		CHECK(!realloc(launder(p), size * 2));
	} else if (!strcmp(what, "interior")) {
		free(launder(p + 24));
		free(p);
	} else if (!strcmp(what, "stack")) {
		free(launder(on_stack + 16));
		free(p);
	} else if (!strcmp(what, "data")) {
		free(launder(in_data + 16));
		free(p);
	} else if (!strcmp(what, "wild")) {
		free(launder(wild()));
		free(p);
	} else if (!strcmp(what, "mapping")) {
		char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		errno = 4711;
		free(launder(m + 64));
		free(p);
		errno = 4711;
		munmap(m, 8192);
	} else if (!strcmp(what, "overflow")) { /* these with slab_debug */
		((char *)launder(p))[size] = 'A';
		free(p);
	} else if (!strcmp(what, "underflow")) {
		((char *)launder(p))[-1] = 'A';
		free(p);
	} else if (!strcmp(what, "after-free")) {
		free(p);
		*((char *)launder(p) + 5) = 'A';
	} else if (!strcmp(what, "never-freed")) {
		((char *)launder(p))[size] = 'A';
	} else {
		CHECK(!"a known misuse");
	}
	if (strcmp(what, "double-realloc"))
		CHECK(errno == 4711);
	/* The heap is what it was. */
	for (int i = 0; i < 1000; i++) {
		p = malloc(size);
		CHECK(p);
		memset(p, i, size);
		free(p);
	}
	return 0;
}
