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

void bs_trace_put_tables(struct bs_buf *out, const struct bs_abi_header *h)
{
	if (!h->trace_table_bytes && !h->trace_limit_bytes) {
		bs_buf_putc(out, '-');
		return;
	}
	bs_buf_put_bytes(out, h->trace_table_bytes);
	if (h->trace_limit_bytes) {
		bs_buf_puts(out, " of ");
		bs_buf_put_bytes(out, h->trace_limit_bytes);
	}
}

static void put_dropped(struct bs_buf *out, const struct bs_snapshot *s,
			const char *indent)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	uint64_t allocs = bs_snapshot_vmstat(s, BS_VMSTAT_SITES_DROPPED);
	const char *between = "did not fit:";
	struct bs_buf text = BS_BUF_INIT;

	for (unsigned int i = 0; i < BS_ABI_NR_SECTIONS; i++) {
		if (!bs_section_name(i) || !h->section[i].dropped)
			continue;
		bs_buf_printf(&text, "%s %" PRIu64 " %s", between,
			      h->section[i].dropped, bs_section_name(i));
		between = ",";
	}
	if (allocs)
		bs_buf_printf(&text, "%s the stacks of %" PRIu64 " allocations",
			      between, allocs);
	if (text.len)
		bs_buf_printf(out, "%s%s\n", indent, bs_buf_str(&text));
	bs_buf_free(&text);
}

void bs_trace_put_troubles(struct bs_buf *out, const struct bs_snapshot *s,
			   const char *indent)
{
	uint64_t checks = bs_snapshot_vmstat(s, BS_VMSTAT_TRACE_CHECKS);

	if (checks)
		bs_buf_printf(
			out,
			"%sstacks checked: %" PRIu64 " of %" PRIu64 " differ\n",
			indent,
			bs_snapshot_vmstat(s, BS_VMSTAT_TRACE_DIFFERENCES),
			checks);
	put_dropped(out, s, indent);
}

void bs_trace_troubles_json(struct bs_json *j, const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);

	bs_json_u64(j, "trace_checks",
		    bs_snapshot_vmstat(s, BS_VMSTAT_TRACE_CHECKS));
	bs_json_u64(j, "trace_differences",
		    bs_snapshot_vmstat(s, BS_VMSTAT_TRACE_DIFFERENCES));
	bs_json_u64(j, "sites_dropped",
		    bs_snapshot_vmstat(s, BS_VMSTAT_SITES_DROPPED));
	bs_json_object(j, "dropped");
	for (unsigned int i = 0; i < BS_ABI_NR_SECTIONS; i++)
		if (bs_section_name(i))
			bs_json_u64(j, bs_section_name(i),
				    h->section[i].dropped);
	bs_json_object_end(j);
}
