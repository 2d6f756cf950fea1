/* SPDX-License-Identifier: MIT */
/*
 * tracing.h - how a program is traced: exactly, by samples, or not at all.
 *
 * Owns:   the names of trace modes in texts, in JSON and on command lines.
 * Layer:  shared.
 * Locks:  none.
 */
#ifndef BS_SHARED_TRACING_H
#define BS_SHARED_TRACING_H

#include <stdbool.h>
#include <stdint.h>

#include "shared/abi.h"
#include "shared/json.h"
#include "shared/snapshot.h"

/* "off", "exact", "auto", "sample"; "?" for a mode that we do not know. */
const char *bs_trace_name(uint32_t trace_mode);
/* What trace=auto samples now: "12 callers", "1 caller and new stacks". */
void bs_trace_put_sampled(struct bs_buf *out, const struct bs_abi_header *h);
/* The mode with what is sampled: "auto(sampling 12 callers)", "sample:524288". */
void bs_trace_put(struct bs_buf *out, const struct bs_abi_header *h);
/* A line for reports of what is allocated: nothing, unless it is, or was, off. */
void bs_trace_put_off(struct bs_buf *out, const struct bs_abi_header *h);
/*
 * Is `text` meant as a mode, well-formed or not?  The names, and all that begins with
 * "sample".
 */
bool bs_trace_is_mode(const char *text);
/*
 * "exact", "auto", "off", "sample:BYTES"; BYTES may have a K or M, and are 0 for the
 * others.  False with one line in err.
 */
bool bs_trace_parse(const char *text, uint32_t *mode, uint64_t *sample_bytes,
		    struct bs_buf *err);
/* The distance of samples that is nearest: 8K to 32M in steps of 4.  0 stays 0. */
uint64_t bs_trace_round_sample(uint64_t bytes);

/* As keys of an open object: "trace", and what else the header knows of it. */
void bs_trace_json(struct bs_json *j, const struct bs_abi_header *h);

/* "12.0 MiB of 64.0 MiB", what the tables of tracing take; "-": not known. */
void bs_trace_put_tables(struct bs_buf *out, const struct bs_abi_header *h);
/*
 * What went wrong, a line each with `indent` in front: recognised stacks that were
 * not the same when checked (if any were checked), and what did not fit.
 */
void bs_trace_put_troubles(struct bs_buf *out, const struct bs_snapshot *s,
			   const char *indent);
/* The same as keys of an open object. */
void bs_trace_troubles_json(struct bs_json *j, const struct bs_snapshot *s);

#endif
