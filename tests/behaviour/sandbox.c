/* SPDX-License-Identifier: MIT */
/*
 * Rule 13: after a seccomp filter that kills on anything but memory calls, futex
 * and exit, allocation goes on; so it does in a forked child.
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#include "check.h"

#define ALLOW(name)                                                            \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1),                \
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

static void enter(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(mprotect),
		ALLOW(futex),
		/* what this program and libc's fork() make themselves */
		ALLOW(exit_group),
		ALLOW(write),
		ALLOW(clone),
		ALLOW(wait4),
		ALLOW(set_robust_list),
		ALLOW(rseq),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHECK(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
}

static void use_memory(void)
{
	for (size_t n = 1; n < (size_t)20 << 20; n = n * 3 / 2 + 1) {
		char *p = malloc(n);

		CHECK(p);
		memset(p, 1, n < 4096 ? n : 4096);
		p = realloc(p, n * 2);
		CHECK(p);
		free(p);
	}
}

int main(void)
{
	int status;
	pid_t pid;

	enter();
	use_memory();
	pid = fork();
	if (!pid) {
		use_memory();
		_exit(0);
	}
	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(status == 0);
	use_memory();
	return 0;
}
