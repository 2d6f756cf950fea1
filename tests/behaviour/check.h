/* SPDX-License-Identifier: MIT */
/*
 * check.h - what the behaviour programs share: one assertion, and a look at the
 * program's own segment.
 *
 * Each program runs under LD_PRELOAD=libbuddyscope.so and ends with status 0
 * when the rule holds.  The runner also wants "verify: ok" from the library.
 */
#ifndef BS_BEHAVIOUR_CHECK_H
#define BS_BEHAVIOUR_CHECK_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/abi.h"

/* Says what failed without allocating, and ends without exit handlers. */
#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			dprintf(2, "%s:%d: not true: %s (errno %d)\n",         \
				__FILE__, __LINE__, #cond, errno);             \
			_exit(1);                                              \
		}                                                              \
	} while (0)

/* The optimiser may not know what a pointer is used for. */
static inline void *launder(void *p)
{
	__asm__ volatile("" : "+r"(p) : : "memory");
	return p;
}

/* True when p's code is in libbuddyscope.so. */
static inline bool is_ours(void *p)
{
	Dl_info info;

	return dladdr(p, &info) && strstr(info.dli_fname, "libbuddyscope");
}

/*
 * Maps a process's segment, read-only; NULL when it has none.  The runner passes
 * the directory in TEST_SEGMENTS.
 */
static inline const struct bs_abi_header *open_segment(pid_t pid)
{
	const char *dir = getenv("TEST_SEGMENTS");
	const struct bs_abi_header *seg = NULL;
	char prefix[32], path[4096];
	struct dirent *e;
	struct stat st;
	DIR *d;
	int fd;

	CHECK(dir);
	d = opendir(dir);
	if (!d)
		return NULL;
	snprintf(prefix, sizeof(prefix), "%d-", (int)pid);
	while (!seg && (e = readdir(d))) {
		if (strncmp(e->d_name, prefix, strlen(prefix)) ||
		    !strstr(e->d_name, ".seg"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		CHECK(fd >= 0 && !fstat(fd, &st));
		seg = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd,
			   0);
		CHECK(seg != MAP_FAILED);
		close(fd);
	}
	closedir(d);
	return seg;
}

static inline const void *section(const struct bs_abi_header *seg, unsigned nr)
{
	return (const char *)seg + seg->section[nr].offset;
}

static inline uint64_t vmstat(const struct bs_abi_header *seg,
			      enum bs_vmstat_item item)
{
	const uint64_t *v = section(seg, BS_SEC_VMSTAT);

	return v[item];
}

/* 0 when the child ended with status 0. */
static inline int wait_for(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		dprintf(2, "child %d: wait status 0x%x\n", (int)pid, status);
	return status;
}

#endif
