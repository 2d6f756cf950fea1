/* SPDX-License-Identifier: MIT */
/*
 * control.c - see control.h.
 *
 * Owns:   reads and writes of the control page.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/control.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/snapshot.h"

static int fail(const struct bs_control *c, const char *what, int ret,
		char *err, size_t errlen)
{
	snprintf(err, errlen, "%s: cannot %s the control page: %s", c->path,
		 what, ret ? strerror(-ret) : "the file was cut short");
	return ret ? ret : -EIO;
}

int bs_control_open(struct bs_control *c, const char *path, char *err,
		    size_t errlen)
{
	int ret;

	*c = (struct bs_control){ .path = path };
	c->fd = bs_segment_open_control(path, &c->offset, err, errlen);
	if (c->fd < 0)
		return c->fd;
	ret = bs_control_look(c, err, errlen);
	if (ret)
		bs_control_close(c);
	return ret;
}

void bs_control_close(struct bs_control *c)
{
	close(c->fd);
}

int bs_control_look(struct bs_control *c, char *err, size_t errlen)
{
	ssize_t n;

	n = pread(c->fd, &c->page, sizeof(c->page), (off_t)c->offset);
	if (n == (ssize_t)sizeof(c->page))
		n = pread(c->fd, &c->header, sizeof(c->header), 0);
	if (n == (ssize_t)sizeof(c->header)) {
		c->header.comm[sizeof(c->header.comm) - 1] = '\0';
		return 0;
	}
	return fail(c, "read", n < 0 ? -errno : 0, err, errlen);
}

static int put(struct bs_control *c, size_t at, const void *value, size_t len)
{
	ssize_t n = pwrite(c->fd, value, len, (off_t)(c->offset + at));

	return n < 0 ? -errno : n == (ssize_t)len ? 0 : -EIO;
}

#define PUT(c, field, value)                                                   \
	put(c, offsetof(struct bs_abi_control, field), &(value), sizeof(value))

int bs_control_request_trace(struct bs_control *c, uint32_t mode,
			     uint32_t budget, uint64_t sample_bytes, char *err,
			     size_t errlen)
{
	uint32_t number = c->page.trace_request + 1;
	int ret;

	ret = PUT(c, trace_mode, mode);
	if (!ret)
		ret = PUT(c, trace_budget, budget);
	if (!ret)
		ret = PUT(c, trace_sample_bytes, sample_bytes);
	if (!ret) /* a system call each: the order is that of the stores */
		ret = PUT(c, trace_request, number);
	if (ret)
		return fail(c, "write", ret, err, errlen);
	return bs_control_look(c, err, errlen);
}

bool bs_control_trace_seen(const struct bs_control *c)
{
	return c->header.trace_request_seen == c->page.trace_request;
}

int bs_control_request_pins(struct bs_control *c, uint32_t order, char *err,
			    size_t errlen)
{
	uint32_t number = c->page.pins_request + 1;
	int ret;

	if (!bs_control_pins_seen(c) && c->page.pins_order == order)
		return 0;
	ret = PUT(c, pins_order, order);
	if (!ret)
		ret = PUT(c, pins_request, number);
	if (ret)
		return fail(c, "write", ret, err, errlen);
	return bs_control_look(c, err, errlen);
}

bool bs_control_pins_seen(const struct bs_control *c)
{
	return c->header.pins_request_seen == c->page.pins_request;
}
