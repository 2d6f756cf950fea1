/* SPDX-License-Identifier: MIT */
/*
 * prune.c - keeps the segment directory small without a daemon.
 *
 * Owns:   unlinking segments of processes that are gone.
 * Layer:  preload, beside segment.c.  Locks: none.
 *
 * A segment is dead when no process has its pid, when that process started at
 * another time, or when it is an older image of our own process.  A segment of
 * another pid namespace may be alive whatever our kill() says, so it stays.
 */
#include "preload/prune.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "preload/segment.h"
#include "preload/sys/sys.h"

/* Names looked at in one start; what is beyond waits for the next one. */
#define MAX_NAMES 1024U
#define NAME_LEN  56U /* "<10>-<20>-<16>.seg" and NUL */

struct dead {
	char name[NAME_LEN];
	uint64_t changed_ns;
	uint64_t bytes;
};

/* The kernel's struct linux_dirent64. */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t len;
	uint8_t type;
	char name[];
};

static const char *number(const char *p, uint64_t *v)
{
	const char *start = p;

	for (*v = 0; *p >= '0' && *p <= '9'; p++)
		*v = *v * 10 + (uint64_t)(*p - '0');
	return p > start ? p : NULL;
}

/* Splits "<pid>-<start>-<16 hex>.seg". */
static bool parse(const char *name, uint64_t *pid, uint64_t *start)
{
	const char *p = number(name, pid);

	if (!p || *p++ != '-')
		return false;
	p = number(p, start);
	if (!p || *p++ != '-')
		return false;
	return strlen(name) < NAME_LEN && strspn(p, "0123456789abcdef") == 16 &&
	       !strcmp(p + 16, ".seg");
}

/* own_name is not dead; pid and start are own's for an earlier image of ours. */
static bool is_dead(const char *name, const char *own_name,
		    const struct bs_abi_header *own)
{
	uint64_t pid, start, now;
	char path[64];

	if (!parse(name, &pid, &start) || pid == 0 || pid > INT32_MAX ||
	    !strcmp(name, own_name))
		return false;
	if (pid == (uint64_t)own->pid && start == own->start_ticks)
		return true;
	if (sys_call(SYS_kill, (long)pid, 0, 0, 0, 0, 0) == -ESRCH)
		return true;
	sys_format(path, sizeof(path), "/proc/%d/stat", (int)pid);
	now = segment_start_ticks(path);
	return now && start && now != start;
}

static bool add_dead(int dir, const char *name, struct dead *out)
{
	struct stat st;

	if (sys_call(SYS_newfstatat, dir, (long)name, (long)&st,
		     AT_SYMLINK_NOFOLLOW, 0, 0) ||
	    (st.st_mode & S_IFMT) != S_IFREG)
		return false;
	out->changed_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000ULL +
			  (uint64_t)st.st_mtim.tv_nsec;
	out->bytes = (uint64_t)st.st_blocks * 512;
	memcpy(out->name, name, strlen(name) + 1);
	return true;
}

/* Another pid namespace's processes are out of our sight. */
static bool of_our_namespace(int dir, const char *name, uint64_t pidns)
{
	struct bs_abi_header h;
	long fd = sys_openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
	long n;

	if (sys_is_err(fd))
		return false;
	memset(&h, 0, sizeof(h));
	n = sys_pread((int)fd, &h, offsetof(struct bs_abi_header, comm), 0);
	sys_close((int)fd);
	return !sys_is_err(n) &&
	       (h.magic != BS_ABI_MAGIC || h.pidns_inode == pidns);
}

/* Calls fn for each name of the directory, up to MAX_NAMES; their number. */
static uint32_t for_each_name(int dir, void (*fn)(void *arg, const char *name),
			      void *arg)
{
	char buf[4096] __attribute__((aligned(8)));
	uint32_t nr = 0;
	long n, at;

	sys_call(SYS_lseek, dir, 0, SEEK_SET, 0, 0, 0);
	for (;;) {
		n = sys_call(SYS_getdents64, dir, (long)buf, sizeof(buf), 0, 0,
			     0);
		if (sys_is_err(n) || n == 0)
			return nr;
		for (at = 0; at < n;) {
			const struct entry *e = (const void *)(buf + at);

			at += e->len;
			if (nr++ == MAX_NAMES)
				return nr;
			if (fn)
				fn(arg, e->name);
		}
	}
}

struct collection {
	int dir;
	char own_name[NAME_LEN];
	const struct bs_abi_header *own;
	struct dead *dead;
	uint32_t nr;
};

static void collect(void *arg, const char *name)
{
	struct collection *c = arg;

	if (is_dead(name, c->own_name, c->own) &&
	    add_dead(c->dir, name, &c->dead[c->nr]))
		c->nr++;
}

/* Bytes that dead segments may take; *crowded: is more than that in use at all? */
static uint64_t quarter_bytes(int dir, bool *crowded)
{
	struct statfs fs;
	uint64_t quarter;

	*crowded = false;
	if (sys_call(SYS_fstatfs, dir, (long)&fs, 0, 0, 0, 0) || !fs.f_blocks)
		return UINT64_MAX;
	quarter = (uint64_t)fs.f_blocks / 4;
	*crowded = fs.f_blocks - fs.f_bfree > quarter;
	return quarter * (uint64_t)fs.f_bsize;
}

static struct dead *oldest(struct dead *dead, uint32_t nr)
{
	struct dead *old = NULL;
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (dead[i].name[0] &&
		    (!old || dead[i].changed_ns < old->changed_ns))
			old = &dead[i];
	return old;
}

void prune_dead(int dir, const struct bs_abi_header *own)
{
	struct collection c = { .dir = dir, .own = own };
	uint64_t bytes = 0, max_bytes;
	uint32_t left, max_dead, i;
	bool crowded;

	max_bytes = quarter_bytes(dir, &crowded);
	if (!crowded && for_each_name(dir, NULL, NULL) <= SEGMENT_MAX_DEAD)
		return;
	c.dead = sys_reserve(MAX_NAMES * sizeof(*c.dead));
	if (!c.dead)
		return;
	segment_file_name(c.own_name, sizeof(c.own_name), own);
	for_each_name(dir, collect, &c);
	left = c.nr;
	for (i = 0; i < c.nr; i++)
		bytes += c.dead[i].bytes;
	/* More than one, or each start of many would look at all of them. */
	max_dead = c.nr > SEGMENT_MAX_DEAD ? SEGMENT_KEEP_DEAD : c.nr;
	while (left > max_dead || bytes > max_bytes) {
		struct dead *old = oldest(c.dead, c.nr);

		if (!old)
			break;
		if (of_our_namespace(dir, old->name, own->pidns_inode))
			sys_unlinkat(dir, old->name, 0);
		bytes -= old->bytes;
		old->name[0] = '\0';
		left--;
	}
	sys_munmap(c.dead, MAX_NAMES * sizeof(*c.dead));
}
