/* SPDX-License-Identifier: MIT */
/*
 * Rule 9: a vfork child shares our memory: it may allocate, and its end is not
 * ours.
 */
#include <signal.h>
#include <spawn.h>

#include "check.h"

extern char **environ;

/* Not inlined: a vfork child must not return from its function. */
static __attribute__((noinline)) void vfork_once(const char *program)
{
	pid_t pid = vfork();

	if (!pid) {
		char *volatile p = malloc(300);

		if (p)
			memset(p, 1, 300);
		free(p);
		free(malloc(200000));
		if (program)
			execl(program, program, (char *)NULL);
		_exit(program ? 127 : 0);
	}
	CHECK(pid > 0);
	CHECK(!wait_for(pid));
}

int main(void)
{
	const struct bs_abi_header *seg = open_segment(getpid());
	char *const args[] = { (char *)"/bin/true", NULL };
	pid_t pid;

	CHECK(seg);
	for (int i = 0; i < 50; i++) {
		void *p = malloc(50);

		vfork_once(i % 2 ? "/bin/true" : NULL);
		free(p);
	}
	CHECK(!posix_spawn(&pid, args[0], NULL, NULL, args, environ));
	CHECK(!wait_for(pid));
	CHECK(system("exit 0") == 0);
	CHECK(seg->state == BS_STATE_RUNNING && seg->pid == getpid());
	return 0;
}
