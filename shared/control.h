/* SPDX-License-Identifier: MIT */
/*
 * control.h - ask something of a program: the control page of its segment.
 *
 * Owns:   the only writes to segments outside preload/.
 * Layer:  shared; on snapshot.h, which checks the file.
 * Locks:  none.
 *
 * The program looks at the page on its slow path.  A program that does not allocate
 * has none: it may answer late, or never.
 */
#ifndef BS_SHARED_CONTROL_H
#define BS_SHARED_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"

struct bs_control {
	int fd;
	uint64_t offset;	     /* of the page */
	const char *path;	     /* the caller's */
	struct bs_abi_header header; /* as of the last look */
	struct bs_abi_control page;
};

/* Opens the segment for writing and looks.  0 or -errno with one line in err. */
int bs_control_open(struct bs_control *c, const char *path, char *err,
		    size_t errlen);
void bs_control_close(struct bs_control *c);
/* Reads header and page again. */
int bs_control_look(struct bs_control *c, char *err, size_t errlen);

/*
 * Asks for a trace mode; budget (1/1000 of the CPU) and sample_bytes 0: as they are.
 * The number of the request is written last.
 */
int bs_control_request_trace(struct bs_control *c, uint32_t mode,
			     uint32_t budget, uint64_t sample_bytes, char *err,
			     size_t errlen);
/* As of the last look: has the program seen the last request? */
bool bs_control_trace_seen(const struct bs_control *c);

/*
 * Asks who pins blocks of an order, 1 to 10.  One that waits for its answer already, of
 * this order, is not asked again.
 */
int bs_control_request_pins(struct bs_control *c, uint32_t order, char *err,
			    size_t errlen);
bool bs_control_pins_seen(const struct bs_control *c);

#endif
