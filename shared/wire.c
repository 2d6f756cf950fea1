/* SPDX-License-Identifier: MIT */
/*
 * wire.c - requests and replies.
 *
 * Owns:   parsing a request line, the frame around a reply, the client.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "shared/target.h"

#define READ_BYTES 65536

/* ---- requests ---------------------------------------------------------- */

static int parse_option(struct bs_wire_request *req, char *word, char *err,
			size_t errlen)
{
	struct bs_wire_option *opt;
	char *value = strchr(word, '=');

	if (!strcmp(word, "--json")) {
		req->json = true;
		return 0;
	}
	if (req->nr_options == BS_WIRE_OPTIONS_MAX) {
		snprintf(err, errlen, "more than %d options",
			 BS_WIRE_OPTIONS_MAX);
		return -EINVAL;
	}
	if (value)
		*value++ = '\0';
	if (!word[2]) {
		snprintf(err, errlen, "an option without a name");
		return -EINVAL;
	}
	opt = &req->options[req->nr_options++];
	opt->key = word + 2;
	opt->value = value ? value : "";
	return 0;
}

int bs_wire_parse(struct bs_wire_request *req, const char *line, char *err,
		  size_t errlen)
{
	size_t len = strcspn(line, "\r\n");
	char *save = NULL, *word;
	int ret = 0;

	memset(req, 0, sizeof(*req));
	if (len >= sizeof(req->line)) {
		snprintf(err, errlen, "request longer than %d bytes",
			 BS_WIRE_LINE_MAX);
		return -EINVAL;
	}
	memcpy(req->line, line, len);
	for (word = strtok_r(req->line, " \t", &save); word && !ret;
	     word = strtok_r(NULL, " \t", &save)) {
		if (!strncmp(word, "--", 2)) {
			ret = parse_option(req, word, err, errlen);
		} else if (!req->command) {
			req->command = word;
		} else if (!req->target) {
			req->target = word;
		} else {
			snprintf(err, errlen, "unexpected word '%s'", word);
			ret = -EINVAL;
		}
	}
	if (!ret && !req->command) {
		snprintf(err, errlen, "empty request");
		ret = -EINVAL;
	}
	return ret;
}

const char *bs_wire_option(const struct bs_wire_request *req, const char *key)
{
	for (unsigned int i = 0; i < req->nr_options; i++)
		if (!strcmp(req->options[i].key, key))
			return req->options[i].value;
	return NULL;
}

/* ---- replies ----------------------------------------------------------- */

void bs_wire_put_body(struct bs_buf *out, const char *body)
{
	while (*body) {
		size_t len = strcspn(body, "\n");

		if (*body == '.')
			bs_buf_putc(out, '.');
		bs_buf_add(out, body, len);
		bs_buf_putc(out, '\n');
		body += len + (body[len] == '\n');
	}
}

void bs_wire_put_end(struct bs_buf *out, int code, const char *message)
{
	bs_buf_printf(out, ". %d ", code);
	for (; message && *message; message++) {
		if (*message == '\n')
			bs_buf_puts(out, "; ");
		else
			bs_buf_putc(out, *message);
	}
	bs_buf_putc(out, '\n');
}

void bs_wire_put_json_error(struct bs_buf *out, int code, const char *message)
{
	struct bs_json json;

	bs_json_init(&json, out);
	bs_json_object(&json, NULL);
	bs_json_object(&json, "error");
	bs_json_i64(&json, "code", code);
	bs_json_str(&json, "message", message);
	bs_json_object_end(&json);
	bs_json_object_end(&json);
	bs_buf_putc(out, '\n');
}

/* ---- client ------------------------------------------------------------ */

int bs_wire_connect(const char *dir)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd, ret;

	if ((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir,
			     BS_SOCKET_NAME) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* ". CODE MESSAGE"; false if it is not of that form. */
static bool parse_end(const char *line, int *code, char *message,
		      size_t message_len)
{
	char *stop;
	long value;

	if (strncmp(line, ". ", 2))
		return false;
	value = strtol(line + 2, &stop, 10);
	if (stop == line + 2 || (*stop && *stop != ' ') || value < 0 ||
	    value > 255)
		return false;
	*code = (int)value;
	snprintf(message, message_len, "%s", *stop ? stop + 1 : "");
	return true;
}

/*
 * {"error":{"code":N,"message":"..."}}, in exactly the form that our own writer
 * gives it.  Escapes other than \" and \\ stay as they are.
 */
static bool parse_json_error(const char *line, int *code, char *message,
			     size_t message_len)
{
	static const char head[] = "{\"error\":{\"code\":";
	static const char middle[] = ",\"message\":\"";
	size_t n = 0;
	char *stop;

	if (strncmp(line, head, strlen(head)))
		return false;
	*code = (int)strtol(line + strlen(head), &stop, 10);
	if (strncmp(stop, middle, strlen(middle)))
		return false;
	for (stop += strlen(middle); *stop && *stop != '"'; stop++) {
		if (*stop == '\\' && (stop[1] == '"' || stop[1] == '\\'))
			stop++;
		if (n + 1 < message_len)
			message[n++] = *stop;
	}
	if (message_len)
		message[n] = '\0';
	return true;
}

struct call {
	bool json;
	bs_wire_line_fn *fn;
	void *arg;
	int *code;
	char *message;
	size_t message_len;
};

/* One line of the reply.  1: reply complete, 2: fn stopped it, 0: go on. */
static int take_line(struct call *call, const char *line)
{
	if (call->json) {
		if (parse_json_error(line, call->code, call->message,
				     call->message_len))
			return 1;
		return call->fn(call->arg, line) ? 2 : 1;
	}
	if (line[0] == '.' && line[1] != '.')
		return parse_end(line, call->code, call->message,
				 call->message_len)
			       ? 1
			       : -EPROTO;
	return call->fn(call->arg, line[0] == '.' ? line + 1 : line) ? 2 : 0;
}

/* All whole lines in the buffer; what remains is moved to its start. */
static int take_lines(struct call *call, struct bs_buf *in)
{
	char *line = in->data, *end;
	int ret = 0;

	while (!ret && (end = memchr(line, '\n',
				     in->len - (size_t)(line - in->data)))) {
		*end = '\0';
		ret = take_line(call, line);
		line = end + 1;
	}
	in->len -= (size_t)(line - in->data);
	memmove(in->data, line, in->len + 1);
	return ret;
}

int bs_wire_call(int fd, const char *request, bool json, int timeout_ms,
		 bs_wire_line_fn *fn, void *arg, int *code, char *message,
		 size_t message_len)
{
	struct call call = { json, fn, arg, code, message, message_len };
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct bs_buf in = BS_BUF_INIT;
	char *chunk;
	ssize_t n;
	int ret;

	*code = 0;
	if (message_len)
		message[0] = '\0';
	chunk = malloc(READ_BYTES);
	if (!chunk)
		return -ENOMEM;
	bs_buf_printf(&in, "%s\n", request); /* one send: one line */
	ret = in.failed ? -ENOMEM : send_all(fd, in.data, in.len);
	bs_buf_reset(&in);
	while (!ret) {
		n = poll(&pfd, 1, timeout_ms);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ret = n ? -errno : -ETIMEDOUT;
			break;
		}
		n = read(fd, chunk, READ_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			ret = n ? -errno : -ECONNRESET;
			break;
		}
		bs_buf_add(&in, chunk, (size_t)n);
		ret = in.failed ? -ENOMEM : take_lines(&call, &in);
	}
	bs_buf_free(&in);
	free(chunk);
	return ret < 0 ? ret : ret - 1;
}
