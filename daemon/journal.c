/* SPDX-License-Identifier: MIT */
/*
 * journal.c - see journal.h.
 *
 * Owns:   record framing and CRC-32 (ISO 3309, reflected 0xEDB88320).
 * Layer:  daemon.
 * Locks:  none.
 */
#include "daemon/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define WAITING_BYTES (256U << 10)
#define RECORD_MAGIC  0x4a425342U /* "BSBJ" */

struct record {
	uint32_t magic;
	uint32_t type;
	uint32_t len;
	uint32_t crc; /* of type, len and the payload */
};

struct bs_journal {
	int fd;
	uint64_t bytes;
	char *path;
	char *temporary; /* NULL once committed */
	char *waiting;	 /* of a temporary one: not written yet */
	size_t nr_waiting;
};

static uint32_t crc32(uint32_t crc, const void *data, size_t len)
{
	static uint32_t table[256];
	const uint8_t *at = data;

	if (!table[1]) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t c = i;

			for (unsigned int k = 0; k < 8; k++)
				c = c & 1 ? c >> 1 ^ 0xedb88320U : c >> 1;
			table[i] = c;
		}
	}
	crc = ~crc;
	while (len--)
		crc = table[(crc ^ *at++) & 0xff] ^ crc >> 8;
	return ~crc;
}

static uint32_t record_crc(const struct record *r, const void *payload)
{
	return crc32(crc32(0, &r->type, sizeof(r->type) + sizeof(r->len)),
		     payload, r->len);
}

static uint32_t padded(uint32_t len)
{
	return (len + 7U) & ~7U;
}

static int read_exact(int fd, void *data, size_t len, uint64_t offset)
{
	char *at = data;

	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -ENODATA;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Walks the good records; *end is where they end. */
static int walk(int fd, bs_journal_fn *fn, void *arg, uint64_t *end)
{
	uint64_t at = 0;
	char *payload = NULL;
	size_t cap = 0;
	int ret = 0;

	for (;;) {
		struct record r;

		if (read_exact(fd, &r, sizeof(r), at) ||
		    r.magic != RECORD_MAGIC || r.len > BS_JOURNAL_RECORD_MAX)
			break;
		if (r.len > cap || !payload) {
			char *bigger = realloc(payload, r.len + 8);

			if (!bigger) {
				ret = -ENOMEM;
				break;
			}
			payload = bigger;
			cap = r.len;
		}
		if (read_exact(fd, payload, padded(r.len), at + sizeof(r)) ||
		    record_crc(&r, payload) != r.crc)
			break;
		at += sizeof(r) + padded(r.len);
		if (fn && fn(arg, r.type, payload, r.len))
			break;
	}
	free(payload);
	*end = at;
	return ret;
}

int bs_journal_replay(const char *path, bs_journal_fn *fn, void *arg)
{
	uint64_t end;
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	ret = walk(fd, fn, arg, &end);
	close(fd);
	return ret;
}

static struct bs_journal *journal_new(const char *path, const char *suffix)
{
	struct bs_journal *j = calloc(1, sizeof(*j));

	if (!j)
		return NULL;
	j->fd = -1;
	j->path = strdup(path);
	if (!j->path)
		goto out_free;
	if (suffix && asprintf(&j->temporary, "%s%s", path, suffix) < 0) {
		j->temporary = NULL;
		goto out_free;
	}
	return j;

out_free:
	free(j->path);
	free(j);
	errno = ENOMEM;
	return NULL;
}

struct bs_journal *bs_journal_open(const char *path)
{
	struct bs_journal *j = journal_new(path, NULL);
	uint64_t end;
	int saved;

	if (!j)
		return NULL;
	j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (j->fd < 0 || walk(j->fd, NULL, NULL, &end) ||
	    ftruncate(j->fd, (off_t)end)) {
		saved = errno ? errno : EIO;
		bs_journal_close(j);
		errno = saved;
		return NULL;
	}
	j->bytes = end;
	return j;
}

struct bs_journal *bs_journal_create(const char *path)
{
	struct bs_journal *j = journal_new(path, ".new");
	int saved;

	if (!j)
		return NULL;
	j->fd = open(j->temporary,
		     O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	j->waiting = j->fd < 0 ? NULL : malloc(WAITING_BYTES);
	if (!j->waiting) {
		saved = j->fd < 0 ? errno : ENOMEM;
		if (j->fd < 0) {
			free(j->temporary); /* not ours to remove */
			j->temporary = NULL;
		}
		bs_journal_close(j);
		errno = saved;
		return NULL;
	}
	return j;
}

/* All of it at the end of the file, or the file is as it was. */
static int write_out(struct bs_journal *j, struct iovec *iov, int nr,
		     size_t total)
{
	ssize_t n;
	int ret;

	do {
		n = pwritev(j->fd, iov, nr, (off_t)j->bytes);
	} while (n < 0 && errno == EINTR);
	if (n == (ssize_t)total) {
		j->bytes += total;
		return 0;
	}
	ret = n < 0 ? -errno : -ENOSPC;
	if (ftruncate(j->fd, (off_t)j->bytes))
		return -errno;
	return ret;
}

static int write_waiting(struct bs_journal *j)
{
	struct iovec iov = { j->waiting, j->nr_waiting };

	if (!j->nr_waiting)
		return 0;
	j->nr_waiting = 0;
	return write_out(j, &iov, 1, iov.iov_len);
}

int bs_journal_commit(struct bs_journal *j)
{
	int ret = write_waiting(j);

	if (ret)
		return ret;
	if (rename(j->temporary, j->path))
		return -errno;
	free(j->temporary);
	j->temporary = NULL;
	free(j->waiting);
	j->waiting = NULL;
	return 0;
}

void bs_journal_close(struct bs_journal *j)
{
	if (!j)
		return;
	if (j->temporary)
		unlink(j->temporary);
	if (j->fd >= 0)
		close(j->fd);
	free(j->waiting);
	free(j->temporary);
	free(j->path);
	free(j);
}

int bs_journal_append(struct bs_journal *j, uint32_t type, const void *payload,
		      uint32_t len)
{
	static const char zeros[8];
	struct record r = { RECORD_MAGIC, type, len, 0 };
	struct iovec iov[3] = {
		{ &r, sizeof(r) },
		{ (void *)payload, len },
		{ (void *)zeros, padded(len) - len },
	};
	size_t total = sizeof(r) + padded(len);
	int ret;

	if (len > BS_JOURNAL_RECORD_MAX)
		return -EFBIG;
	r.crc = record_crc(&r, payload);
	if (!j->waiting)
		return write_out(j, iov, 3, total);
	if (j->nr_waiting + total > WAITING_BYTES) {
		ret = write_waiting(j);
		if (ret)
			return ret;
	}
	if (total > WAITING_BYTES)
		return write_out(j, iov, 3, total);
	for (unsigned int i = 0; i < 3; i++) {
		memcpy(j->waiting + j->nr_waiting, iov[i].iov_base,
		       iov[i].iov_len);
		j->nr_waiting += iov[i].iov_len;
	}
	return 0;
}

uint64_t bs_journal_bytes(const struct bs_journal *j)
{
	return j->bytes;
}
