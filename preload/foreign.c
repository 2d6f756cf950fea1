/* SPDX-License-Identifier: MIT */
/*
 * foreign.c - pointers that our engine did not hand out.
 *
 * Owns:   telling another allocator's block from a wild pointer.
 * Layer:  preload.
 * Locks:  none; called outside (depth 0).
 *
 * A block of another allocator goes to the next `free` in link order.  That one
 * is usually libc's, which crashes on what it did not make: so it gets a pointer
 * only when libc's heap was ever used and the pointer looks like one of its
 * chunks.  What is on a stack, in a file's mapping or nowhere is a bug of the
 * program.  Where nobody can tell (no /proc, a sandbox), the block is kept.
 * Any other allocator gets everything, as it would without us.
 * Source: glibc 2.36 malloc/malloc.c, struct malloc_chunk and the size bits.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <string.h>

#include "preload/entry.h"

/* ---- where is it? ----------------------------------------------------------------- */

struct mapping {
	uintptr_t start, end;
	bool readable, writable;
	char name[64]; /* "", "[heap]", "[stack]", "/...": may be cut */
};

struct reader {
	int fd;
	size_t at, len;
	char buf[1024];
};

static int next_char(struct reader *r)
{
	if (r->at == r->len) {
		long n = sys_read(r->fd, r->buf, sizeof(r->buf));

		if (n <= 0)
			return -1;
		r->at = 0;
		r->len = (size_t)n;
	}
	return (unsigned char)r->buf[r->at++];
}

static uintptr_t read_hex(struct reader *r, int *c)
{
	uintptr_t v = 0;

	for (*c = next_char(r);; *c = next_char(r)) {
		if (*c >= '0' && *c <= '9')
			v = v << 4 | (uintptr_t)(*c - '0');
		else if (*c >= 'a' && *c <= 'f')
			v = v << 4 | (uintptr_t)(*c - 'a' + 10);
		else
			return v;
	}
}

/* "start-end rwxp offset dev inode   name\n"; false at the end. */
static bool read_mapping(struct reader *r, struct mapping *m)
{
	size_t len = 0;
	int field = 0, c;

	m->start = read_hex(r, &c);
	if (c != '-')
		return false;
	m->end = read_hex(r, &c);
	m->readable = next_char(r) == 'r';
	m->writable = next_char(r) == 'w';
	for (c = next_char(r); c >= 0 && c != '\n' && field < 4;) {
		while (c >= 0 && c != ' ' && c != '\n')
			c = next_char(r);
		while (c == ' ')
			c = next_char(r);
		field++;
	}
	for (; c >= 0 && c != '\n'; c = next_char(r))
		if (len < sizeof(m->name) - 1)
			m->name[len++] = (char)c;
	m->name[len] = '\0';
	return true;
}

/* 0, -ENOENT: unmapped; else nobody can tell. */
static int find_mapping(const void *p, struct mapping *m)
{
	struct reader r = { 0 };
	int ret = -ENOENT;
	long fd;

	if (bs_sandboxed)
		return -EACCES;
	fd = sys_openat(AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
	if (sys_is_err(fd))
		return (int)fd == -ENOENT ? -EACCES : (int)fd;
	r.fd = (int)fd;
	while (ret == -ENOENT && read_mapping(&r, m))
		if ((uintptr_t)p >= m->start && (uintptr_t)p < m->end)
			ret = 0;
	sys_close(r.fd);
	return ret;
}

/* ---- whose is it? ------------------------------------------------------------------ */

#define CHUNK_MMAPPED	2UL
#define CHUNK_NON_MAIN	4UL
#define CHUNK_FLAGS	7UL
#define CHUNK_MIN_BYTES 32UL
#define CHUNK_HEAD	(2 * sizeof(size_t))
#define HEAP_MAX_BYTES	(64UL << 20) /* arenas but the first are aligned so */

/* Is there a plausible chunk of glibc's around p, which lies in m? */
static bool looks_like_libc_chunk(const char *p, const struct mapping *m)
{
	const size_t *head = (const size_t *)(p - CHUNK_HEAD);
	size_t size, before;

	if ((uintptr_t)p % 16 || (uintptr_t)p - m->start < CHUNK_HEAD)
		return false;
	before = head[0];
	size = head[1];
	if (size & CHUNK_MMAPPED) {
		size &= ~CHUNK_FLAGS;
		return !(((uintptr_t)head - before) & ~PAGE_MASK) &&
		       !((before + size) & ~PAGE_MASK) &&
		       before <= (uintptr_t)head - m->start &&
		       size <= m->end - (uintptr_t)head;
	}
	if (size & CHUNK_NON_MAIN) {
		if (m->start != ALIGN_DOWN((uintptr_t)p, HEAP_MAX_BYTES))
			return false;
	} else if (strcmp(m->name, "[heap]")) {
		return false;
	}
	size &= ~CHUNK_FLAGS;
	return size >= CHUNK_MIN_BYTES && size % 16 == 0 &&
	       size <= m->end - (uintptr_t)head;
}

static bool libc_heap_was_used(void)
{
	struct mallinfo2 (*info)(void) =
		(struct mallinfo2(*)(void))dlsym(RTLD_NEXT, "mallinfo2");
	struct mallinfo2 now;

	if (!info)
		return true;
	now = info();
	return now.arena || now.hblkhd;
}

enum owner {
	OWNER_NEXT,
	OWNER_NOBODY,
	OWNER_UNKNOWN
};

static enum owner find_owner(const void *p)
{
	char *sp = __builtin_frame_address(0);
	struct mapping m;
	int ret;

	/* Not libc's: it knows its own best, and may have many of them. */
	if (dlsym(RTLD_NEXT, "free") != dlsym(RTLD_NEXT, "__libc_free"))
		return OWNER_NEXT;
	ret = find_mapping(p, &m);
	if (ret == -ENOENT)
		return OWNER_NOBODY;
	if (ret)
		return OWNER_UNKNOWN;
	if (!m.readable || !m.writable || m.name[0] == '/' ||
	    !strncmp(m.name, "[stack", 6) ||
	    ((uintptr_t)sp >= m.start && (uintptr_t)sp < m.end))
		return OWNER_NOBODY;
	return libc_heap_was_used() && looks_like_libc_chunk(p, &m)
		       ? OWNER_NEXT
		       : OWNER_NOBODY;
}

/* ---- what to do with it ----------------------------------------------------------------- */

static void give_to_next(void *p)
{
	void (*next)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "free");

	if (next)
		next(p);
}

void bs_foreign_free(void *p, const char *call, void *caller)
{
	switch (find_owner(p)) {
	case OWNER_NOBODY:
		bs_report_free(BS_FREE_WILD, call, p, caller);
		return;
	case OWNER_NEXT:
		give_to_next(p);
		break;
	case OWNER_UNKNOWN:
		break;
	}
	mm_count(BS_VMSTAT_FOREIGN_FREES, 1);
}

size_t bs_foreign_usable(void *p)
{
	size_t (*next)(void *) =
		(size_t(*)(void *))dlsym(RTLD_NEXT, "malloc_usable_size");

	return next && find_owner(p) == OWNER_NEXT ? next(p) : 0;
}

void *bs_foreign_realloc(void *p, size_t size, void *caller)
{
	size_t old = bs_foreign_usable(p);
	void *q;

	if (!old) {
		bs_report_free(BS_FREE_WILD, "realloc", p, caller);
		errno = ENOMEM;
		return NULL;
	}
	q = bs_alloc(size, 1, GFP_KERNEL);
	if (!q)
		return NULL;
	memcpy(q, p, MIN(old, size));
	give_to_next(p);
	mm_count(BS_VMSTAT_FOREIGN_FREES, 1);
	return q;
}
