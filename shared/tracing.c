/* SPDX-License-Identifier: MIT */
/*
 * tracing.c - see tracing.h.
 *
 * Owns:   the words for trace modes.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/tracing.h"

#include <inttypes.h>

const char *bs_trace_name(uint32_t trace_mode)
{
	switch (trace_mode) {
	case BS_TRACE_OFF:
		return "off";
	case BS_TRACE_EXACT:
		return "exact";
	case BS_TRACE_AUTO:
		return "auto";
	case BS_TRACE_SAMPLE:
		return "sample";
	default:
		return "?";
	}
}

void bs_trace_put(struct bs_buf *out, const struct bs_abi_header *h)
{
	bs_buf_puts(out, bs_trace_name(h->trace_mode));
	if (h->trace_mode == BS_TRACE_SAMPLE)
		bs_buf_printf(out, ":%" PRIu64, h->trace_sample_bytes);
	else if (h->trace_mode == BS_TRACE_AUTO && h->trace_sampled_callers)
		bs_buf_printf(out, "(sampling %" PRIu32 " %s)",
			      h->trace_sampled_callers,
			      h->trace_sampled_callers == 1 ? "caller"
							    : "callers");
}

void bs_trace_json(struct bs_json *j, const struct bs_abi_header *h)
{
	bs_json_str(j, "trace", bs_trace_name(h->trace_mode));
	bs_json_u64(j, "trace_sample_bytes", h->trace_sample_bytes);
	bs_json_u64(j, "trace_sampled_callers", h->trace_sampled_callers);
	bs_json_double(j, "trace_budget_percent", h->trace_budget / 10.0, 1);
	bs_json_double(j, "trace_cost_percent", h->trace_cost / 10.0, 1);
	bs_json_u64(j, "trace_table_bytes", h->trace_table_bytes);
	bs_json_u64(j, "trace_limit_bytes", h->trace_limit_bytes);
}
