/* SPDX-License-Identifier: MIT */
/*
 * mmap.c - the mmap family: the kernel's call, and its record.
 *
 * Owns:   mmap munmap mremap mprotect shmat shmdt as the program sees
 *         them.  Flags are never looked at here, and nothing that the kernel
 *         allows fails because of us: what cannot be recorded goes through and
 *         is counted.
 * Layer:  preload.
 * Locks:  none.
 */
#include <errno.h>
#include <stdarg.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "preload/entry.h"
#include "preload/trace/unwind.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static long result(long ret)
{
	if (likely(!sys_is_err(ret)))
		return ret;
	errno = (int)-ret;
	return -1;
}

static void *mapped(long ret)
{
	if (unlikely(sys_is_err(ret)))
		mm_count(BS_VMSTAT_MAPS_FAILED, 1);
	return (void *)result(ret);
}

/* bytes: whole pages; a reservation weighs nothing at its call site. */
static __attribute__((noinline)) uint64_t map_tag(uint64_t bytes)
{
	struct unwind_regs regs;

	UNWIND_CALLER(&regs);
	return bs_tracing ? trace_map_tag(bytes, &regs) : 0;
}

/* The mapping that a tag was made for did not come about. */
static void drop_tag(uint64_t tag, uint64_t bytes)
{
	if (tag)
		trace_area_gone(tag, (int64_t)bytes, 1);
}

BS_EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd,
		     off_t offset)
{
	long ret;

	if (bs_enter()) {
		size_t bytes = mm_map_reserves(prot, flags)
				       ? 0
				       : ALIGN_UP(len, PAGE_SIZE);
		uint64_t tag = map_tag(bytes);

		ret = mm_mmap(addr, len, prot, flags, fd, (uint64_t)offset,
			      tag);
		if (sys_is_err(ret))
			drop_tag(tag, bytes);
		bs_leave();
	} else {
		ret = sys_mmap(addr, len, prot, flags, fd, (uint64_t)offset);
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
	}
	return mapped(ret);
}

/* off_t has 64 bits here. */
static_assert(sizeof(off_t) == 8, "one mmap for both names");
BS_EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
		       off64_t offset) __attribute__((alias("mmap")));

BS_EXPORT int munmap(void *addr, size_t len)
{
	long ret;

	if (bs_enter()) {
		ret = mm_munmap(addr, len);
		bs_leave();
	} else {
		ret = sys_munmap(addr, len);
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
	}
	return (int)result(ret);
}

BS_EXPORT void *mremap(void *old, size_t old_len, size_t new_len, int flags,
		       ...)
{
	void *new_addr = NULL;
	va_list ap;
	long ret;

	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_start(ap, flags);
		new_addr = va_arg(ap, void *);
		va_end(ap);
	}
	if (bs_enter()) {
		ret = mm_mremap(old, old_len, new_len, flags, new_addr);
		bs_leave();
	} else {
		ret = sys_mremap(old, old_len, new_len, flags, new_addr);
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
	}
	return mapped(ret);
}

BS_EXPORT int mprotect(void *addr, size_t len, int prot)
{
	long ret;

	if (!(prot & PROT_READ))
		unwind_memory_gone(); /* it may have been a stack */
	if (bs_enter()) {
		ret = mm_mprotect(addr, len, prot);
		bs_leave();
	} else {
		ret = sys_mprotect(addr, len, prot);
	}
	return (int)result(ret);
}

/* ---- System V shared memory ---------------------------------------------------- */

/* Size of a segment that is attached; 0 when nobody tells. */
static size_t shm_bytes(int id, uint32_t *key)
{
	struct shmid_ds ds;

	if (bs_sandboxed)
		return 0;
	if (sys_is_err(sys_call(SYS_shmctl, id, IPC_STAT, (long)&ds, 0, 0, 0)))
		return 0;
	*key = (uint32_t)ds.shm_perm.__key;
	return ds.shm_segsz;
}

static void record_shm(long addr, int id, int flags)
{
	char path[32];
	uint32_t key = 0;
	size_t bytes = shm_bytes(id, &key);
	uint32_t area = BS_AREA_IOREMAP | BS_AREA_SHARED;

	if (!bytes) {
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
		return;
	}
	sys_format(path, sizeof(path), "/SYSV%x", key);
	bytes = ALIGN_UP(bytes, PAGE_SIZE);
	mm_record((void *)addr, bytes,
		  flags & SHM_RDONLY ? PROT_READ : PROT_READ | PROT_WRITE, area,
		  path, map_tag(bytes));
}

BS_EXPORT void *shmat(int id, const void *addr, int flags)
{
	long ret = sys_call(SYS_shmat, id, (long)addr, flags, 0, 0, 0);

	if (!sys_is_err(ret)) {
		if (bs_enter()) {
			record_shm(ret, id, flags);
			bs_leave();
		} else {
			mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
		}
	}
	return mapped(ret);
}

BS_EXPORT int shmdt(const void *addr)
{
	long ret = sys_call(SYS_shmdt, (long)addr, 0, 0, 0, 0, 0);

	if (!sys_is_err(ret) && bs_enter()) {
		mm_forget((void *)(uintptr_t)addr);
		bs_leave();
	}
	return (int)result(ret);
}
