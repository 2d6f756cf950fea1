/* SPDX-License-Identifier: MIT */
/*
 * folded.c - call sites as folded stacks, for flame graphs.
 *
 * Owns:   the form "outermost;...;innermost NUMBER", a line a stack.
 * Layer:  shared.
 * Locks:  none.
 * Source: the input of flamegraph.pl; speedscope and inferno read it, too.
 *
 * Lines differ in their functions, not in addresses: sites whose frames have the
 * same names are added up.  Where threads are told apart, that is the outermost frame.  Stacks that count nothing are left out.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "shared/sitelist.h"
#include "shared/sitethread.h"

#define FRAMES_MAX (BS_STACK_MAX * BS_FRAMES_PER_PC_MAX)

/* Names of a site's frames, innermost first, each ended by a NUL. */
struct names {
	struct bs_buf text;
	size_t start[FRAMES_MAX + 1]; /* and the thread */
	size_t nr;
};

struct line {
	char *stack; /* malloc'ed; NULL: no memory */
	uint64_t value;
};

/* The name that begins at start is complete. */
static void end_name(struct names *n, size_t start)
{
	/* What separates frames may not be in one. */
	for (size_t i = start; i < n->text.len; i++)
		if (n->text.data[i] == ';')
			n->text.data[i] = ':';
	bs_buf_putc(&n->text, '\0');
	n->start[n->nr++] = start;
}

static void take_frame(void *arg, const struct bs_frame *f)
{
	struct names *n = arg;
	size_t start = n->text.len;

	if (n->nr == FRAMES_MAX)
		return;
	bs_frame_put_name(&n->text, f);
	end_name(n, start);
}

static void take_text(struct names *n, const char *text)
{
	size_t start = n->text.len;

	bs_buf_puts(&n->text, text);
	end_name(n, start);
}

static void take_thread(struct names *n, const struct bs_snapshot *s,
			uint64_t site)
{
	size_t start = n->text.len;

	bs_thread_put_name(&n->text, bs_snapshot_site_thread(s, site));
	end_name(n, start);
}

static char *stack_of(const struct bs_sitereport *r, uint64_t site,
		      struct names *n)
{
	struct bs_buf stack = BS_BUF_INIT;

	bs_buf_reset(&n->text);
	n->nr = 0;
	bs_site_each_frame(r->snapshot, r->symbolizer, site, take_frame, n);
	if (!n->nr)
		take_text(n, BS_NO_BACKTRACE);
	if (bs_snapshot_has_threads(r->snapshot))
		take_thread(n, r->snapshot, site);
	for (size_t i = n->nr; i-- && !n->text.failed;) {
		bs_buf_puts(&stack, n->text.data + n->start[i]);
		if (i)
			bs_buf_putc(&stack, ';');
	}
	if (stack.failed || n->text.failed)
		bs_buf_free(&stack);
	return stack.data;
}

static uint64_t value_of(const struct bs_sitereport *r, uint64_t site)
{
	struct bs_site_counts c = bs_site_counts(r->snapshot, site);

	if (r->folded_objects)
		return r->folded_allocated ? c.allocs : c.live_objects;
	return r->folded_allocated ? c.bytes_allocated : c.live_bytes;
}

static int by_stack(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	return strcmp(x->stack, y->stack);
}

static void put_lines(struct bs_buf *out, struct line *lines, size_t nr)
{
	qsort(lines, nr, sizeof(*lines), by_stack);
	for (size_t i = 0; i < nr; i++) {
		if (i + 1 < nr && !by_stack(&lines[i], &lines[i + 1]))
			lines[i + 1].value += lines[i].value;
		else
			bs_buf_printf(out, "%s %" PRIu64 "\n", lines[i].stack,
				      lines[i].value);
	}
}

void bs_folded_write(struct bs_buf *out, const struct bs_sitereport *r)
{
	struct names *names = calloc(1, sizeof(*names));
	struct bs_site_choice *sites;
	struct line *lines;
	size_t nr, total, n = 0;

	sites = bs_sites_choose(r, &nr, &total);
	lines = calloc(nr ? nr : 1, sizeof(*lines));
	out->failed |= !names || !sites || !lines;
	for (size_t i = 0; i < nr && !out->failed; i++) {
		lines[n].value = value_of(r, sites[i].site);
		if (!lines[n].value)
			continue;
		lines[n].stack = stack_of(r, sites[i].site, names);
		out->failed |= !lines[n++].stack;
	}
	if (!out->failed)
		put_lines(out, lines, n);
	while (n--)
		free(lines[n].stack);
	if (names)
		bs_buf_free(&names->text);
	free(names);
	free(lines);
	free(sites);
}
