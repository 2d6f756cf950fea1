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

#include <stdint.h>

#include "shared/abi.h"
#include "shared/json.h"

/* "off", "exact", "auto", "sample"; "?" for a mode that we do not know. */
const char *bs_trace_name(uint32_t trace_mode);
/* The same with what is sampled: "auto(sampling 12 callers)", "sample:524288". */
void bs_trace_put(struct bs_buf *out, const struct bs_abi_header *h);
/* As keys of an open object: "trace", and what else the header knows of it. */
void bs_trace_json(struct bs_json *j, const struct bs_abi_header *h);

#endif
