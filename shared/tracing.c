/* SPDX-License-Identifier: MIT */
/*
 * tracing.c - see tracing.h.
 *
 * Owns:   the words for trace modes.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/tracing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SAMPLE_MIN UINT64_C(8192)     /* mean bytes from sample to sample */
#define SAMPLE_MAX UINT64_C(33554432) /* SAMPLE_MIN * 4^6 */

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

#define SAMPLE "sample"

bool bs_trace_is_mode(const char *text)
{
	return !strncmp(text, SAMPLE, strlen(SAMPLE)) ||
	       !strcmp(text, "exact") || !strcmp(text, "auto") ||
	       !strcmp(text, "off");
}

/* A number of bytes in all of text; 0: it is none. */
static uint64_t parse_bytes(const char *text)
{
	unsigned int shift = 0;
	uint64_t bytes;
	char *end;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	bytes = strtoull(text, &end, 10);
	if (*end == 'K' || *end == 'k')
		shift = 10;
	else if (*end == 'M' || *end == 'm')
		shift = 20;
	if (shift)
		end++;
	if (errno || *end || bytes > UINT64_MAX >> shift)
		return 0;
	return bytes << shift;
}

bool bs_trace_parse(const char *text, uint32_t *mode, uint64_t *sample_bytes,
		    struct bs_buf *err)
{
	const char *bytes = text + strlen(SAMPLE);

	*sample_bytes = 0;
	for (*mode = BS_TRACE_OFF; *mode < BS_TRACE_SAMPLE; ++*mode)
		if (!strcmp(text, bs_trace_name(*mode)))
			return true;
	if (strncmp(text, SAMPLE, strlen(SAMPLE)) ||
	    (*bytes && *bytes != ':')) {
		bs_buf_puts(err, "unknown trace mode '");
		bs_buf_puts_clean(err, text);
		bs_buf_puts(err,
			    "'; there are exact, auto, sample:BYTES and off");
		return false;
	}
	*sample_bytes = *bytes ? parse_bytes(bytes + 1) : 0;
	if (*sample_bytes)
		return true;
	bs_buf_puts(err, "'");
	bs_buf_puts_clean(err, text);
	bs_buf_puts(err,
		    *bytes && bytes[1]
			    ? "': BYTES is a number, which may have a K or M"
			    : "' lacks the BYTES");
	bs_buf_puts(err, "; from sample:8K to sample:32M");
	return false;
}

uint64_t bs_trace_round_sample(uint64_t bytes)
{
	uint64_t step = SAMPLE_MIN;

	if (!bytes)
		return 0;
	/* Half way between step and 4 * step is 2.5 * step. */
	while (step < SAMPLE_MAX && bytes >= step / 2 * 5)
		step *= 4;
	return step;
}

void bs_trace_put_sampled(struct bs_buf *out, const struct bs_abi_header *h)
{
	bs_buf_printf(out, "%" PRIu32 " %s", h->trace_sampled_callers,
		      h->trace_sampled_callers == 1 ? "caller" : "callers");
	if (h->trace_samples_new)
		bs_buf_puts(out, " and new stacks");
}

void bs_trace_put(struct bs_buf *out, const struct bs_abi_header *h)
{
	bs_buf_puts(out, bs_trace_name(h->trace_mode));
	if (h->trace_mode == BS_TRACE_SAMPLE)
		bs_buf_printf(out, ":%" PRIu64, h->trace_sample_bytes);
	if (h->trace_mode == BS_TRACE_AUTO &&
	    (h->trace_sampled_callers || h->trace_samples_new)) {
		bs_buf_puts(out, "(sampling ");
		bs_trace_put_sampled(out, h);
		bs_buf_putc(out, ')');
	}
}

void bs_trace_put_off(struct bs_buf *out, const struct bs_abi_header *h)
{
	if (h->trace_mode != BS_TRACE_OFF) {
		if (h->trace_gaps)
			bs_buf_puts(out, "trace was off for a time: what was "
					 "allocated then is not known\n");
		return;
	}
	bs_buf_puts(out, "trace is off: what is allocated meanwhile is not "
			 "known, which is no all-clear");
	if (!h->trace_table_bytes)
		bs_buf_puts(out, "; start the program with trace=auto");
	else if (h->state == BS_STATE_RUNNING)
		bs_buf_printf(out, "; 'buddyscope trace %d auto' records it",
			      h->pid);
	bs_buf_putc(out, '\n');
}

void bs_trace_json(struct bs_json *j, const struct bs_abi_header *h)
{
	bs_json_str(j, "trace", bs_trace_name(h->trace_mode));
	bs_json_u64(j, "trace_sample_bytes", h->trace_sample_bytes);
	bs_json_u64(j, "trace_sampled_callers", h->trace_sampled_callers);
	bs_json_bool(j, "trace_samples_new", h->trace_samples_new);
	bs_json_u64(j, "trace_gaps", h->trace_gaps);
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
