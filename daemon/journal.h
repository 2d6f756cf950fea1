/* SPDX-License-Identifier: MIT */
/*
 * journal.h - what a daemon must know again after kill -9.
 *
 * Owns:   an append-only file of checksummed records, and its replacement by a
 *         shorter one (written aside, then renamed).
 * Layer:  daemon; knows nothing of what the records say.
 * Locks:  none.
 *
 * A record: magic, type, payload bytes, CRC-32 of type, length and payload, then the payload,
 * padded to 8.  Reading stops at the first record that is not whole or not
 * right; opening for appending cuts the file there.  Page cache survives the
 * daemon, so nothing is synced: after a power cut the tail may be lost.
 */
#ifndef BS_DAEMON_JOURNAL_H
#define BS_DAEMON_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#define BS_JOURNAL_RECORD_MAX (64U << 20)

struct bs_journal;

/* Gets each record; payload is aligned to 8.  Non-zero stops. */
typedef int bs_journal_fn(void *arg, uint32_t type, const void *payload,
			  uint32_t len);

/* Hands each good record to fn.  0, -ENOENT, or another -errno. */
int bs_journal_replay(const char *path, bs_journal_fn *fn, void *arg);

/* Opens for appending (creates, cuts a torn tail).  NULL with errno. */
struct bs_journal *bs_journal_open(const char *path);
/* A new file that replaces `path` at commit. */
struct bs_journal *bs_journal_create(const char *path);
int bs_journal_commit(struct bs_journal *journal);
/* Also drops what was created and never committed. NULL is allowed. */
void bs_journal_close(struct bs_journal *journal);

/* 0 or -errno; a record that was written in part is cut off again. */
int bs_journal_append(struct bs_journal *journal, uint32_t type,
		      const void *payload, uint32_t len);
uint64_t bs_journal_bytes(const struct bs_journal *journal);

#endif
