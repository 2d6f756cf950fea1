/* SPDX-License-Identifier: MIT */
/*
 * wire.h - the protocol between buddyscope and buddyscoped.
 *
 * Owns:   the form of requests and replies on the unix stream socket, and the
 *         client's side of the connection.
 * Layer:  shared.
 * Locks:  none.
 *
 * Request, one line, at most BS_WIRE_LINE_MAX bytes with its newline:
 *	COMMAND [PID|NAME] [--json] [--key[=value] ...]\n
 * Words are separated by blanks; a value cannot hold a blank.
 *
 * Text reply: the body's lines, then a last line ". CODE MESSAGE" (MESSAGE empty
 * when CODE is 0).  A line of the body that begins with '.' is sent with one
 * more '.' in front.  JSON reply (--json): exactly one line; an error is
 * {"error":{"code":3,"message":"..."}}.  A streaming reply (log --follow) is
 * lines without an end; the client closes the connection.  Requests may follow
 * each other on one connection.  Usable with socat.
 */
#ifndef BS_SHARED_WIRE_H
#define BS_SHARED_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include "shared/json.h"

/* Exit codes of the command, and CODE on the wire. */
#define BS_EXIT_OK	  0
#define BS_EXIT_FAILED	  1
#define BS_EXIT_USAGE	  2
#define BS_EXIT_NO_TARGET 3

#define BS_WIRE_LINE_MAX    4096
#define BS_WIRE_OPTIONS_MAX 16

struct bs_wire_option {
	const char *key;   /* without the dashes */
	const char *value; /* "" when there was no '=' */
};

struct bs_wire_request {
	const char *command;
	const char *target; /* NULL: not given */
	bool json;
	unsigned int nr_options; /* --json is not among them */
	struct bs_wire_option options[BS_WIRE_OPTIONS_MAX];
	char line[BS_WIRE_LINE_MAX]; /* what the pointers point into */
};

/* ---- server's side ----------------------------------------------------- */

/*
 * Parses a line (with or without its newline).  0, or -EINVAL with one line in
 * err.
 */
int bs_wire_parse(struct bs_wire_request *req, const char *line, char *err,
		  size_t errlen);
/* The option's value ("" without one), NULL when it was not given. */
const char *bs_wire_option(const struct bs_wire_request *req, const char *key);

/* Appends a body (any number of whole lines) with leading dots doubled. */
void bs_wire_put_body(struct bs_buf *out, const char *body);
/* Appends ". CODE MESSAGE\n"; newlines in the message become "; ". */
void bs_wire_put_end(struct bs_buf *out, int code, const char *message);
/* Appends {"error":{...}}\n. */
void bs_wire_put_json_error(struct bs_buf *out, int code, const char *message);

/* ---- client's side ----------------------------------------------------- */

/* Connects to DIR/buddyscoped.sock.  A descriptor (CLOEXEC), or -errno. */
int bs_wire_connect(const char *dir);

/* A line of a reply without its newline; non-zero return stops reading. */
typedef int bs_wire_line_fn(void *arg, const char *line);

/*
 * Sends `request` (newline added) and hands each line of the body to fn.
 * timeout_ms bounds the silence between two lines, -1 waits for ever.
 * *code and message receive the end line, or for JSON the error object's.
 * Returns 0 when a complete reply came, 1 when fn stopped it, or -errno
 * (-ECONNRESET: closed in the middle; -ETIMEDOUT).
 */
int bs_wire_call(int fd, const char *request, bool json, int timeout_ms,
		 bs_wire_line_fn *fn, void *arg, int *code, char *message,
		 size_t message_len);

#endif
