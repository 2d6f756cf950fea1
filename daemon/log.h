/* SPDX-License-Identifier: MIT */
/*
 * log.h - the daemon's log: logfmt or JSON lines, rotated, with a memory of the
 * last lines for `buddyscope log`.
 *
 * Owns:   the log file (or stderr) and the form of a line; docs/log.md lists
 *         the events and their keys.
 * Layer:  daemon.
 * Locks:  none; used by the loop only.
 */
#ifndef BS_DAEMON_LOG_H
#define BS_DAEMON_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"

#define BS_LOG_FILE_BYTES_MAX (16U << 20) /* then FILE becomes FILE.1 */
#define BS_LOG_RECENT_LINES   8192U
#define BS_LOG_RECENT_BYTES   (4U << 20)

struct bs_log;

enum bs_log_format {
	BS_LOG_LOGFMT,
	BS_LOG_JSON,
};

/* path NULL: stderr.  NULL on failure with one line in err. */
struct bs_log *bs_log_open(const char *path, enum bs_log_format format,
			   char *err, size_t errlen);
void bs_log_close(struct bs_log *log);
/* After SIGHUP.  Keeps the old file if the new one cannot be opened. */
int bs_log_reopen(struct bs_log *log);
/* Is stderr the log? */
bool bs_log_is_stderr(const struct bs_log *log);

/*
 * A line, or several that are written at once:
 *	bs_line_begin(log, "zone", pid); bs_line_u64(log, "free_pages", 7);
 *	bs_line_end(log); ... bs_log_flush(log);
 * Every line begins with time, event and (pid >= 0) pid.
 */
void bs_line_begin(struct bs_log *log, const char *event, int pid);
void bs_line_str(struct bs_log *log, const char *key, const char *value);
void bs_line_u64(struct bs_log *log, const char *key, uint64_t value);
void bs_line_i64(struct bs_log *log, const char *key, int64_t value);
void bs_line_double(struct bs_log *log, const char *key, double value,
		    int decimals);
/* Lists: a JSON array, or values with commas between them. */
void bs_line_u64s(struct bs_log *log, const char *key, const uint64_t *values,
		  size_t nr);
/* Each value divided by 1000, three decimals: the kernel's index form. */
void bs_line_millis(struct bs_log *log, const char *key, const int *values,
		    size_t nr);
/* For a value with a shape of its own: the writer; NULL where it is logfmt. */
struct bs_json *bs_line_json(struct bs_log *log);
void bs_line_end(struct bs_log *log);
void bs_log_flush(struct bs_log *log);

/* One line with a text, written at once. */
void bs_log_text(struct bs_log *log, const char *event, int pid,
		 const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/*
 * Where the next line will be written: inode and offset; rotates first if
 * `bytes` more do not fit.  ino 0: not a file.
 */
void bs_log_position(struct bs_log *log, size_t bytes, uint64_t *ino,
		     uint64_t *offset);
/* Bytes of the lines that were ended but not flushed. */
size_t bs_log_pending_bytes(const struct bs_log *log);

/*
 * The highest number n in from..to for which a line with id "PREFIXn" stands in
 * the file with inode ino (FILE or FILE.1) behind offset; 0: none, or the file
 * is not there.
 */
uint64_t bs_log_find_id(struct bs_log *log, uint64_t ino, uint64_t offset,
			const char *prefix, uint64_t from, uint64_t to);

/* The last `nr` lines of pid (-1: all) kept in memory, oldest first. */
void bs_log_recent(const struct bs_log *log, int pid, size_t nr,
		   struct bs_buf *out, bool as_json_array);

/* Called with each line when it is written (for log --follow). */
typedef void bs_log_listener_fn(void *arg, int pid, const char *line,
				size_t len);
void bs_log_listen(struct bs_log *log, bs_log_listener_fn *fn, void *arg);

#endif
