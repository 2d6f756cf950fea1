/* SPDX-License-Identifier: MIT */
/*
 * log.c - see log.h.
 *
 * Owns:   log file, rotation, line form, ring of recent lines.
 * Layer:  daemon.
 * Locks:  none.
 */
#include "daemon/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct recent {
	int pid;
	size_t len;
	char *text; /* without newline */
};

struct bs_log {
	char *path; /* NULL: stderr */
	int fd;
	enum bs_log_format format;
	uint64_t bytes;	     /* of the file */
	struct bs_buf lines; /* ended, not yet flushed */
	size_t line_start;   /* of the line being built, in lines */
	int line_pid;
	struct bs_json json;
	struct recent *ring; /* BS_LOG_RECENT_LINES */
	size_t ring_first;
	size_t ring_nr;
	size_t ring_bytes;
	uint64_t nr_failed; /* lines that could not be written */
	bs_log_listener_fn *listener;
	void *listener_arg;
};

/* ---- recent lines ---------------------------------------------------------- */

static void ring_drop_oldest(struct bs_log *log)
{
	struct recent *r = &log->ring[log->ring_first];

	log->ring_bytes -= r->len;
	free(r->text);
	r->text = NULL;
	log->ring_first = (log->ring_first + 1) % BS_LOG_RECENT_LINES;
	log->ring_nr--;
}

static void ring_add(struct bs_log *log, int pid, const char *text, size_t len)
{
	struct recent *r;
	char *copy = malloc(len + 1);

	if (!copy)
		return;
	memcpy(copy, text, len);
	copy[len] = '\0';
	while (log->ring_nr && (log->ring_nr == BS_LOG_RECENT_LINES ||
				log->ring_bytes + len > BS_LOG_RECENT_BYTES))
		ring_drop_oldest(log);
	r = &log->ring[(log->ring_first + log->ring_nr) % BS_LOG_RECENT_LINES];
	*r = (struct recent){ pid, len, copy };
	log->ring_nr++;
	log->ring_bytes += len;
}

/* The pid of a line that an earlier daemon wrote; -1: none. */
static int line_pid(const char *line)
{
	const char *at = line[0] == '{' ? strstr(line, "\"pid\":")
					: strstr(line, " pid=");

	if (!at)
		return -1;
	return atoi(strpbrk(at, "=:") + 1);
}

/* After a restart `log` shows what the daemon before wrote. */
static void ring_preload(struct bs_log *log)
{
	off_t from = log->bytes > BS_LOG_RECENT_BYTES
			     ? (off_t)(log->bytes - BS_LOG_RECENT_BYTES)
			     : 0;
	size_t len = (size_t)log->bytes - (size_t)from;
	char *text = malloc(len + 1), *at, *next;
	ssize_t got;

	if (!text)
		return;
	got = pread(log->fd, text, len, from);
	if (got <= 0)
		goto out;
	text[got] = '\0';
	at = text;
	if (from) {
		at = strchr(text, '\n');
		at = at ? at + 1 : text + got;
	}
	for (; (next = strchr(at, '\n')); at = next + 1) {
		*next = '\0';
		if (next > at)
			ring_add(log, line_pid(at), at, (size_t)(next - at));
	}
out:
	free(text);
}

void bs_log_recent(const struct bs_log *log, int pid, size_t nr,
		   struct bs_buf *out, bool as_json_array)
{
	size_t first = log->ring_nr, found = 0;
	struct bs_json json;

	while (first && found < nr) {
		size_t i = (log->ring_first + first - 1) % BS_LOG_RECENT_LINES;

		first--;
		if (pid < 0 || log->ring[i].pid == pid)
			found++;
	}
	bs_json_init(&json, out);
	if (as_json_array) {
		bs_json_object(&json, NULL);
		bs_json_array(&json, "lines");
	}
	for (; first < log->ring_nr; first++) {
		const struct recent *r = &log->ring[(log->ring_first + first) %
						    BS_LOG_RECENT_LINES];

		if (pid >= 0 && r->pid != pid)
			continue;
		if (as_json_array) {
			bs_json_str(&json, NULL, r->text);
		} else {
			bs_buf_puts(out, r->text);
			bs_buf_putc(out, '\n');
		}
	}
	if (as_json_array) {
		bs_json_array_end(&json);
		bs_json_object_end(&json);
		bs_buf_putc(out, '\n');
	}
}

/* ---- the file ---------------------------------------------------------------- */

static int open_path(const char *path)
{
	return open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY,
		    0600);
}

/* A daemon killed inside a write left half a line: end it. */
static void mend_tail(struct bs_log *log)
{
	char last = '\n';

	if (log->bytes &&
	    pread(log->fd, &last, 1, (off_t)log->bytes - 1) == 1 &&
	    last != '\n' && write(log->fd, "\n", 1) == 1)
		log->bytes++;
}

static void take_fd(struct bs_log *log, int fd)
{
	struct stat st;

	if (log->fd > STDERR_FILENO)
		close(log->fd);
	log->fd = fd;
	log->bytes = 0;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode)) {
		log->bytes = (uint64_t)st.st_size;
		mend_tail(log);
	}
}

struct bs_log *bs_log_open(const char *path, enum bs_log_format format,
			   char *err, size_t errlen)
{
	struct bs_log *log = calloc(1, sizeof(*log));
	int fd;

	if (!log)
		goto out_memory;
	log->fd = STDERR_FILENO;
	log->format = format;
	log->ring = calloc(BS_LOG_RECENT_LINES, sizeof(*log->ring));
	if (!log->ring)
		goto out_memory;
	if (!path)
		return log;
	log->path = strdup(path);
	if (!log->path)
		goto out_memory;
	fd = open_path(path);
	if (fd < 0) {
		snprintf(err, errlen, "cannot open the log %s: %s", path,
			 strerror(errno));
		bs_log_close(log);
		return NULL;
	}
	take_fd(log, fd);
	ring_preload(log);
	return log;

out_memory:
	snprintf(err, errlen, "out of memory");
	bs_log_close(log);
	return NULL;
}

void bs_log_close(struct bs_log *log)
{
	if (!log)
		return;
	bs_log_flush(log);
	while (log->ring && log->ring_nr)
		ring_drop_oldest(log);
	free(log->ring);
	if (log->fd > STDERR_FILENO)
		close(log->fd);
	bs_buf_free(&log->lines);
	free(log->path);
	free(log);
}

int bs_log_reopen(struct bs_log *log)
{
	int fd;

	bs_log_flush(log);
	if (!log->path)
		return 0;
	fd = open_path(log->path);
	if (fd < 0)
		return -errno;
	take_fd(log, fd);
	return 0;
}

bool bs_log_is_stderr(const struct bs_log *log)
{
	return !log->path;
}

static void rotated_path(const struct bs_log *log, char *path, size_t len)
{
	snprintf(path, len, "%s.1", log->path);
}

static void rotate_if_full(struct bs_log *log, size_t more)
{
	char old[PATH_MAX];
	struct stat st, mine;

	if (!log->path || !log->bytes ||
	    log->bytes + more <= BS_LOG_FILE_BYTES_MAX)
		return;
	/* Only what is still ours: somebody else may have rotated already. */
	if (!fstat(log->fd, &mine) && !stat(log->path, &st) &&
	    st.st_ino == mine.st_ino && st.st_dev == mine.st_dev &&
	    S_ISREG(st.st_mode)) {
		rotated_path(log, old, sizeof(old));
		if (rename(log->path, old))
			return;
	}
	bs_log_reopen(log);
}

static void write_all(struct bs_log *log, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(log->fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			log->nr_failed++;
			return;
		}
		log->bytes += (uint64_t)n;
		data += n;
		len -= (size_t)n;
	}
}

void bs_log_flush(struct bs_log *log)
{
	struct bs_buf lines = log->lines;

	if (!lines.len)
		return;
	log->lines = (struct bs_buf)BS_BUF_INIT;
	rotate_if_full(log, lines.len);
	write_all(log, lines.data, lines.len);
	bs_buf_free(&lines);
}

size_t bs_log_pending_bytes(const struct bs_log *log)
{
	return log->lines.len;
}

void bs_log_position(struct bs_log *log, size_t bytes, uint64_t *ino,
		     uint64_t *offset)
{
	struct stat st;

	rotate_if_full(log, bytes);
	*ino = 0;
	*offset = 0;
	if (log->path && !fstat(log->fd, &st) && S_ISREG(st.st_mode)) {
		*ino = st.st_ino;
		*offset = (uint64_t)st.st_size;
	}
}

/* ---- finding an id ------------------------------------------------------------ */

static uint64_t find_in(int fd, uint64_t offset, const char *prefix,
			uint64_t from, uint64_t to)
{
	uint64_t best = 0;
	struct stat st;
	char *text, *at;
	size_t len;
	ssize_t got;

	if (fstat(fd, &st) || (uint64_t)st.st_size <= offset)
		return 0;
	len = (size_t)((uint64_t)st.st_size - offset);
	if (len > 2 * BS_LOG_FILE_BYTES_MAX)
		len = 2 * BS_LOG_FILE_BYTES_MAX;
	text = malloc(len + 1);
	if (!text)
		return 0;
	got = pread(fd, text, len, (off_t)offset);
	text[got > 0 ? got : 0] = '\0';
	for (at = text; (at = strstr(at, prefix)); at++) {
		char *end;
		uint64_t n = strtoull(at + strlen(prefix), &end, 10);

		/* Whole lines only: a torn one is written again. */
		if (strchr(end, '\n') && n >= from && n <= to && n > best)
			best = n;
	}
	free(text);
	return best;
}

uint64_t bs_log_find_id(struct bs_log *log, uint64_t ino, uint64_t offset,
			const char *prefix, uint64_t from, uint64_t to)
{
	char paths[2][PATH_MAX];
	uint64_t found = 0;

	if (!log->path || !ino)
		return 0;
	snprintf(paths[0], sizeof(paths[0]), "%s", log->path);
	rotated_path(log, paths[1], sizeof(paths[1]));
	for (unsigned int i = 0; i < 2 && !found; i++) {
		struct stat st;
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);

		if (fd < 0)
			continue;
		if (!fstat(fd, &st) && st.st_ino == ino)
			found = find_in(fd, offset, prefix, from, to);
		close(fd);
	}
	return found;
}

/* ---- lines --------------------------------------------------------------------- */

static void put_time(struct bs_log *log)
{
	struct timespec ts;
	struct tm tm;
	char text[64];

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ",
		 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec, ts.tv_nsec / 1000000);
	bs_line_str(log, "time", text);
}

void bs_line_begin(struct bs_log *log, const char *event, int pid)
{
	log->line_start = log->lines.len;
	log->line_pid = pid;
	if (log->format == BS_LOG_JSON) {
		bs_json_init(&log->json, &log->lines);
		bs_json_object(&log->json, NULL);
	}
	put_time(log);
	bs_line_str(log, "event", event);
	if (pid >= 0)
		bs_line_i64(log, "pid", pid);
}

static bool put_key(struct bs_log *log, const char *key)
{
	if (log->format == BS_LOG_JSON)
		return false;
	if (log->lines.len > log->line_start)
		bs_buf_putc(&log->lines, ' ');
	bs_buf_puts(&log->lines, key);
	bs_buf_putc(&log->lines, '=');
	return true;
}

static bool needs_quotes(const char *value)
{
	if (!*value)
		return true;
	for (; *value; value++)
		if ((unsigned char)*value <= ' ' || *value == '"' ||
		    *value == '=' || *value == '\\' || *value == 0x7f)
			return true;
	return false;
}

void bs_line_str(struct bs_log *log, const char *key, const char *value)
{
	if (!put_key(log, key)) {
		bs_json_str(&log->json, key, value);
		return;
	}
	if (!value || !needs_quotes(value)) {
		bs_buf_puts(&log->lines, value ? value : "-");
		return;
	}
	bs_buf_putc(&log->lines, '"');
	for (; *value; value++) {
		unsigned char c = (unsigned char)*value;

		if (c == '"' || c == '\\')
			bs_buf_printf(&log->lines, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			bs_buf_putc(&log->lines, '?');
		else
			bs_buf_putc(&log->lines, (char)c);
	}
	bs_buf_putc(&log->lines, '"');
}

void bs_line_u64(struct bs_log *log, const char *key, uint64_t value)
{
	if (put_key(log, key))
		bs_buf_printf(&log->lines, "%" PRIu64, value);
	else
		bs_json_u64(&log->json, key, value);
}

void bs_line_i64(struct bs_log *log, const char *key, int64_t value)
{
	if (put_key(log, key))
		bs_buf_printf(&log->lines, "%" PRId64, value);
	else
		bs_json_i64(&log->json, key, value);
}

void bs_line_double(struct bs_log *log, const char *key, double value,
		    int decimals)
{
	if (put_key(log, key))
		bs_buf_printf(&log->lines, "%.*f", decimals, value);
	else
		bs_json_double(&log->json, key, value, decimals);
}

void bs_line_u64s(struct bs_log *log, const char *key, const uint64_t *values,
		  size_t nr)
{
	if (put_key(log, key)) {
		for (size_t i = 0; i < nr; i++)
			bs_buf_printf(&log->lines, "%s%" PRIu64, i ? "," : "",
				      values[i]);
		return;
	}
	bs_json_array(&log->json, key);
	for (size_t i = 0; i < nr; i++)
		bs_json_u64(&log->json, NULL, values[i]);
	bs_json_array_end(&log->json);
}

void bs_line_millis(struct bs_log *log, const char *key, const int *values,
		    size_t nr)
{
	if (put_key(log, key)) {
		for (size_t i = 0; i < nr; i++)
			bs_buf_printf(&log->lines, "%s%.3f", i ? "," : "",
				      values[i] / 1000.0);
		return;
	}
	bs_json_array(&log->json, key);
	for (size_t i = 0; i < nr; i++)
		bs_json_double(&log->json, NULL, values[i] / 1000.0, 3);
	bs_json_array_end(&log->json);
}

struct bs_json *bs_line_json(struct bs_log *log)
{
	return log->format == BS_LOG_JSON ? &log->json : NULL;
}

void bs_line_end(struct bs_log *log)
{
	const char *line;
	size_t len;

	if (log->format == BS_LOG_JSON)
		bs_json_object_end(&log->json);
	if (log->lines.failed) {
		bs_buf_reset(&log->lines);
		log->nr_failed++;
		return;
	}
	line = log->lines.data + log->line_start;
	len = log->lines.len - log->line_start;
	ring_add(log, log->line_pid, line, len);
	bs_buf_putc(&log->lines, '\n');
	if (log->listener)
		log->listener(log->listener_arg, log->line_pid,
			      log->lines.data + log->line_start, len + 1);
}

void bs_log_text(struct bs_log *log, const char *event, int pid,
		 const char *fmt, ...)
{
	struct bs_buf text = BS_BUF_INIT;
	va_list ap;

	va_start(ap, fmt);
	bs_buf_vprintf(&text, fmt, ap);
	va_end(ap);
	bs_line_begin(log, event, pid);
	bs_line_str(log, "text", bs_buf_str(&text));
	bs_line_end(log);
	bs_log_flush(log);
	bs_buf_free(&text);
}

void bs_log_listen(struct bs_log *log, bs_log_listener_fn *fn, void *arg)
{
	log->listener = fn;
	log->listener_arg = arg;
}
