/* SPDX-License-Identifier: MIT */
/*
 * Rule 11: what the kernel allows goes through, what it refuses is refused with
 * its error, and the records in the segment follow.
 */
#include <sys/ipc.h>
#include <sys/shm.h>

#include "check.h"

#define PAGE 4096UL
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW   (PROT_READ | PROT_WRITE)

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static const struct bs_abi_header *seg;

/* The live area that p lies in. */
static const struct bs_abi_area *area_of(const void *p)
{
	const struct bs_abi_area *a = section(seg, BS_SEC_AREAS);
	uint64_t addr = (uint64_t)(uintptr_t)p;

	for (uint64_t i = 0; i < seg->section[BS_SEC_AREAS].count; i++)
		if (a[i].live && !(a[i].flags & BS_AREA_LAZY) &&
		    addr >= a[i].addr && addr < a[i].addr + a[i].bytes)
			return &a[i];
	return NULL;
}

/* Recorded from p on for pages, charged or not. */
static bool recorded(const void *p, uint64_t pages, bool charged)
{
	const struct bs_abi_area *a = area_of(p);

	return a && a->addr <= (uintptr_t)p &&
	       a->addr + a->bytes >= (uintptr_t)p + pages * PAGE &&
	       (charged ? a->charged_pages >= pages : !a->charged_pages);
}

static char *map(size_t pages, int prot, int flags)
{
	char *p = mmap(NULL, pages * PAGE, prot, flags, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void cutting(void)
{
	char *p = map(16, RW, ANON), *q;

	CHECK(recorded(p, 16, true));
	memset(p, 1, 16 * PAGE);
	CHECK(!munmap(p + 4 * PAGE, 4 * PAGE)); /* a hole */
	CHECK(recorded(p, 4, true) && recorded(p + 8 * PAGE, 8, true));
	CHECK(!area_of(p + 4 * PAGE) && !area_of(p + 7 * PAGE));
	q = mmap(p + 2 * PAGE, 8 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
	CHECK(q == p + 2 * PAGE);
	CHECK(recorded(p, 2, true) && recorded(q, 8, false));
	CHECK(p[PAGE] == 1 && q[0] == 0 && p[10 * PAGE] == 1);
	errno = 0;
	q = mmap(p, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(q == MAP_FAILED && errno == EEXIST);
	CHECK(!munmap(p, 16 * PAGE));
	CHECK(!area_of(p) && !area_of(p + 12 * PAGE));
	CHECK(!munmap(p, 16 * PAGE)); /* nothing there: still no error */
}

static void moving(void)
{
	char *p = map(4, RW, ANON), *q, *room;

	memset(p, 3, 4 * PAGE);
	p = mremap(p, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
	CHECK(p != MAP_FAILED && p[3 * PAGE] == 3 && p[63 * PAGE] == 0);
	CHECK(recorded(p, 64, true));
	p = mremap(p, 64 * PAGE, 2 * PAGE, 0);
	CHECK(p != MAP_FAILED && recorded(p, 2, true));
	CHECK(!area_of(p + 2 * PAGE));

	room = map(8, PROT_NONE, ANON);
	q = mremap(p, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		   room + 2 * PAGE);
	CHECK(q == room + 2 * PAGE && q[0] == 3);
	CHECK(!area_of(p) && recorded(q, 4, true));
	CHECK(recorded(room, 2, false) && recorded(room + 6 * PAGE, 2, false));

	p = mremap(q, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
	if (p != MAP_FAILED) { /* since Linux 5.7 */
		CHECK(p[0] == 3 && q[0] == 0);
		CHECK(area_of(p) && area_of(q) && area_of(p) != area_of(q));
		CHECK(!munmap(p, 4 * PAGE));
	}
	CHECK(!munmap(room, 8 * PAGE));
	errno = 0;
	CHECK(mremap(room, PAGE, 2 * PAGE, 0) == MAP_FAILED && errno == EFAULT);
}

static void reserving(void)
{
	size_t tera = (size_t)1 << 40;
	char *p = mmap(NULL, tera, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED && recorded(p, tera / PAGE, false));
	CHECK(!mprotect(p + tera / 2, 8 * PAGE, RW));
	CHECK(recorded(p + tera / 2, 8, true));
	p[tera / 2] = 1;
	CHECK(!munmap(p, tera));
	CHECK(!area_of(p) && !area_of(p + tera / 2));

	p = map(8, RW, ANON | MAP_STACK);
	CHECK(area_of(p)->flags & BS_AREA_STACK);
	CHECK(!munmap(p, 8 * PAGE));
	p = mmap(NULL, 2 << 20, RW, ANON | MAP_HUGETLB, -1, 0);
	if (p != MAP_FAILED) {
		CHECK(area_of(p)->flags & BS_AREA_HUGE);
		CHECK(!munmap(p, 2 << 20));
	}
}

static void files(void)
{
	char path[] = "/tmp/buddyscope-mmap-XXXXXX";
	off_t far = (off_t)5 << 30;
	int fd = mkstemp(path);
	char *p;

	CHECK(fd >= 0 && !ftruncate(fd, far + 8192));
	CHECK(pwrite(fd, "far", 3, far + 4096) == 3);
	p = mmap(NULL, 8192, RW, MAP_SHARED, fd, far);
	CHECK(p != MAP_FAILED && !memcmp(p + 4096, "far", 3));
	CHECK(recorded(p, 2, false));
	CHECK(!strcmp(area_of(p)->path, path));
	CHECK(area_of(p)->offset == (uint64_t)far);
	CHECK(area_of(p)->flags & BS_AREA_IOREMAP);
	CHECK(area_of(p)->flags & BS_AREA_SHARED);
	CHECK(!munmap(p, 8192));
	p = mmap64(NULL, 8192, PROT_READ, MAP_PRIVATE, fd, far);
	CHECK(p != MAP_FAILED && !memcmp(p + 4096, "far", 3));
	CHECK(!munmap(p, 8192));
	errno = 0;
	CHECK(mmap(NULL, 8192, RW, MAP_SHARED, fd, 100) == MAP_FAILED);
	CHECK(errno == EINVAL);
	close(fd);
	errno = 0;
	CHECK(mmap(NULL, 8192, RW, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(errno == EBADF);
	unlink(path);
}

static void refusals(void)
{
	volatile size_t huge = SIZE_MAX - 100;

	errno = 0;
	CHECK(mmap(NULL, 0, RW, ANON, -1, 0) == MAP_FAILED && errno == EINVAL);
	errno = 0;
	CHECK(mmap(NULL, huge, RW, ANON, -1, 0) == MAP_FAILED &&
	      errno == ENOMEM);
	errno = 0;
	CHECK(munmap((void *)100, PAGE) == -1 && errno == EINVAL);
	errno = 0;
	CHECK(mprotect((void *)PAGE, PAGE, PROT_READ) == -1 && errno == ENOMEM);
}

static void shm(void)
{
	int id = shmget(IPC_PRIVATE, 3 * PAGE, IPC_CREAT | 0600);
	char *p;

	if (id < 0 && errno == ENOSYS)
		return; /* a kernel without System V IPC */
	CHECK(id >= 0);
	p = shmat(id, NULL, 0);
	CHECK(!shmctl(id, IPC_RMID, NULL));
	CHECK(p != (char *)-1);
	p[2 * PAGE] = 1;
	CHECK(recorded(p, 3, false));
	CHECK(area_of(p)->flags & BS_AREA_SHARED);
	CHECK(!strncmp(area_of(p)->path, "/SYSV", 5));
	CHECK(!shmdt(p) && !area_of(p));
	errno = 0;
	CHECK(shmdt(p) == -1 && errno == EINVAL);
}

int main(void)
{
	seg = open_segment(getpid());
	CHECK(seg);
	cutting();
	moving();
	reserving();
	files();
	refusals();
	shm();
	return 0;
}
