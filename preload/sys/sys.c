/* SPDX-License-Identifier: MIT */
/*
 * sys.c - system calls without libc.
 *
 * Owns:   every system call of the preloaded library but futex (lock.c).
 * Layer:  sys.  The kernel is entered through arch.h, so errno stays as it is
 *         and no wrapper (ours or another preloaded library's) is in between.
 */
#include "preload/sys/sys.h"

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "preload/sys/arch.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

long sys_call(long nr, long a0, long a1, long a2, long a3, long a4, long a5)
{
	return arch_syscall(nr, a0, a1, a2, a3, a4, a5);
}

static long call3(long nr, long a0, long a1, long a2)
{
	return arch_syscall(nr, a0, a1, a2, 0, 0, 0);
}

long sys_mmap(void *addr, size_t len, int prot, int flags, int fd,
	      uint64_t offset)
{
	return arch_syscall(SYS_mmap, (long)addr, (long)len, prot, flags, fd,
			    (long)offset);
}

long sys_munmap(void *addr, size_t len)
{
	return call3(SYS_munmap, (long)addr, (long)len, 0);
}

long sys_mremap(void *old, size_t old_len, size_t new_len, int flags,
		void *new_addr)
{
	return arch_syscall(SYS_mremap, (long)old, (long)old_len, (long)new_len,
			    flags, (long)new_addr, 0);
}

long sys_mprotect(void *addr, size_t len, int prot)
{
	return call3(SYS_mprotect, (long)addr, (long)len, prot);
}

long sys_madvise(void *addr, size_t len, int advice)
{
	return call3(SYS_madvise, (long)addr, (long)len, advice);
}

void *sys_reserve(size_t len)
{
	long ret = sys_mmap(NULL, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sys_is_err(ret))
		return NULL;
	/* A table of which little is used: no huge page, whatever the default. */
	sys_madvise((void *)ret, len, MADV_NOHUGEPAGE);
	return (void *)ret;
}

int sys_map_at(void *addr, size_t len)
{
	long ret = sys_mmap(addr, len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				    MAP_FIXED_NOREPLACE,
			    -1, 0);

	if (sys_is_err(ret))
		return (int)ret;
	if ((void *)ret != addr) { /* before Linux 4.17: the flag is a hint */
		sys_munmap((void *)ret, len);
		return -17; /* EEXIST */
	}
	return 0;
}

long sys_openat(int dirfd, const char *path, int flags, unsigned int mode)
{
	return arch_syscall(SYS_openat, dirfd, (long)path, flags, mode, 0, 0);
}

long sys_close(int fd)
{
	return call3(SYS_close, fd, 0, 0);
}

long sys_read(int fd, void *buf, size_t len)
{
	return call3(SYS_read, fd, (long)buf, (long)len);
}

long sys_write(int fd, const void *buf, size_t len)
{
	return call3(SYS_write, fd, (long)buf, (long)len);
}

long sys_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	return arch_syscall(SYS_pread64, fd, (long)buf, (long)len, (long)offset,
			    0, 0);
}

long sys_ftruncate(int fd, uint64_t len)
{
	return call3(SYS_ftruncate, fd, (long)len, 0);
}

long sys_fallocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	return arch_syscall(SYS_fallocate, fd, mode, (long)offset, (long)len, 0,
			    0);
}

long sys_unlinkat(int dirfd, const char *path, int flags)
{
	return call3(SYS_unlinkat, dirfd, (long)path, flags);
}

long sys_mkdirat(int dirfd, const char *path, unsigned int mode)
{
	return call3(SYS_mkdirat, dirfd, (long)path, mode);
}

long sys_readlinkat(int dirfd, const char *path, char *buf, size_t len)
{
	return arch_syscall(SYS_readlinkat, dirfd, (long)path, (long)buf,
			    (long)len, 0, 0);
}

pid_t sys_getpid(void)
{
	return (pid_t)call3(SYS_getpid, 0, 0, 0);
}

pid_t sys_gettid(void)
{
	return (pid_t)call3(SYS_gettid, 0, 0, 0);
}

unsigned int sys_getcpu_slow(void)
{
	int cpu = sched_getcpu(); /* vdso: no system call, no lock */

	return cpu < 0 ? 0 : (unsigned int)cpu;
}

unsigned int sys_nr_cpus(void)
{
	unsigned long mask[128] = { 0 }; /* 8,192 CPUs */
	long ret = call3(SYS_sched_getaffinity, 0, sizeof(mask), (long)mask);
	unsigned int i, nr = 1;

	if (sys_is_err(ret))
		return 1;
	for (i = 0; i < (unsigned int)ret * 8 && i < sizeof(mask) * 8; i++)
		if (mask[i / 64] >> (i % 64) & 1)
			nr = i + 1;
	return nr;
}

uint64_t sys_ram_bytes(void)
{
	struct sysinfo si;

	if (sys_is_err(call3(SYS_sysinfo, (long)&si, 0, 0)))
		return 1ULL << 30;
	return ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
}

static uint64_t rlimit(int resource)
{
	struct rlimit lim;

	if (sys_is_err(arch_syscall(SYS_prlimit64, 0, resource, 0, (long)&lim,
				    0, 0)))
		return UINT64_MAX;
	return lim.rlim_cur == RLIM_INFINITY ? UINT64_MAX : lim.rlim_cur;
}

uint64_t sys_rlimit_as(void)
{
	return rlimit(RLIMIT_AS);
}

uint64_t sys_rlimit_fsize(void)
{
	return rlimit(RLIMIT_FSIZE);
}

static uint64_t now(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts); /* vdso; fails only on a bad clock */
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

uint64_t sys_now_ns(void)
{
	return now(CLOCK_MONOTONIC);
}

uint64_t sys_now_coarse_ns(void)
{
	return now(CLOCK_MONOTONIC_COARSE);
}
