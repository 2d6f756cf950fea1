/* SPDX-License-Identifier: MIT */
/*
 * odd.c - allocates below a frame that is left to libunwind, which gets loaded for it.
 *
 * Exit 0: all descriptors are as before, and libunwind is there (argument 1) or not
 * (argument 0).  Prints nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#define IS_ODD 1
void odd_frame(void (*fn)(void));
__asm__(".text\n\t"
	".type odd_frame, @function\n"
	"odd_frame:\n\t"
	".cfi_startproc\n\t"
	"pushq %rbx\n\t"
	".cfi_adjust_cfa_offset 8\n\t"
	".cfi_rel_offset %rbx, 0\n\t"
	"movq %rsp, %rbx\n\t"
	".cfi_def_cfa_register %rbx\n\t"
	"andq $-64, %rsp\n\t"
	"call *%rdi\n\t"
	"movq %rbx, %rsp\n\t"
	".cfi_def_cfa_register %rsp\n\t"
	"popq %rbx\n\t"
	".cfi_adjust_cfa_offset -8\n\t"
	".cfi_restore %rbx\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size odd_frame, . - odd_frame\n");
#else /* an ordinary one */
#define IS_ODD 0
static void odd_frame(void (*fn)(void))
{
	fn();
}
#endif

static void *volatile kept;

static void leak(void)
{
	kept = malloc(4242);
}

static int nr_descriptors(void)
{
	int fd, nr = 0;

	for (fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

static int has_libunwind(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int found = 0;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, "libunwind.so") != NULL;
	if (f)
		fclose(f);
	return found;
}

int main(int argc, char **argv)
{
	int before = nr_descriptors(), i;
	int wanted = argc > 1 && atoi(argv[1]);

	for (i = 0; i < 100; i++)
		odd_frame(leak);
	if (nr_descriptors() != before)
		return 2;
	if (IS_ODD && has_libunwind() != wanted)
		return 3;
	return 0;
}
