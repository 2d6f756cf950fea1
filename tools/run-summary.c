/* SPDX-License-Identifier: MIT */
/*
 * run-summary.c - what happened, in a few lines on stderr.
 *
 * Owns:   the summary where no daemon gives one.
 * Layer:  tools.
 * Locks:  none.
 *
 * The daemon saw the program's whole life and is asked first.  Without it the
 * last state of the segment tells all but the worst moment.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shared/render.h"
#include "shared/sitelist.h"
#include "shared/tracing.h"
#include "tools/run.h"
#include "tools/tool.h"

#define DAEMON_TIMEOUT_MS 10000
#define TOP_SITES	  5
#define TOP_FRAMES	  4

static int keep_line(void *arg, const char *line)
{
	struct bs_buf *body = arg;

	bs_buf_puts_clean(body, line);
	bs_buf_putc(body, '\n');
	return 0;
}

/* The daemon's summary; false if it has none. */
static bool ask_daemon(pid_t pid, struct bs_buf *body)
{
	char request[64], message[256];
	int fd = tool_daemon_connect(), code = 0, ret;

	if (fd < 0)
		return false;
	snprintf(request, sizeof(request), "summary %d", (int)pid);
	ret = bs_wire_call(fd, request, false, DAEMON_TIMEOUT_MS, keep_line,
			   body, &code, message, sizeof(message));
	close(fd);
	return ret == 0 && code == BS_EXIT_OK && body->len;
}

/* The last segment of the process. */
static struct bs_snapshot *find_segment(pid_t pid, uint64_t start_ticks)
{
	struct bs_snapshot *s = NULL;
	struct bs_target_list list;
	char dir[PATH_MAX], err[512];

	if (bs_target_dir(dir, sizeof(dir)) ||
	    bs_target_list_all(dir, &list, err, sizeof(err)))
		return NULL;
	for (size_t i = list.nr; i-- > 0 && !s;)
		if (list.targets[i].pid == (int)pid &&
		    (!start_ticks ||
		     list.targets[i].start_ticks == start_ticks))
			s = bs_snapshot_read(list.targets[i].path, err,
					     sizeof(err));
	bs_target_list_free(&list);
	return s;
}

static void put_memory(struct bs_buf *out, const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_site_counts all = bs_site_counts_all(s);

	bs_buf_puts_clean(out, h->comm);
	bs_buf_printf(out, " (%d): ", h->pid);
	bs_render_peak(out, s);
	bs_buf_puts(out, "at exit ");
	if (h->trace_mode != BS_TRACE_OFF) {
		bs_site_counts_put_live(out, &all);
		bs_buf_puts(out, " live\n");
	} else {
		bs_buf_put_bytes(out, bs_snapshot_live_bytes(s));
		bs_buf_puts(out, " of pages\n");
	}
	bs_trace_put_off(out, h);
	bs_site_share_line(out, h, &all);
	bs_render_refused(out, s);
}

static void put_top_sites(struct bs_buf *out, const struct bs_snapshot *s)
{
	struct bs_symbolizer *sym = bs_symbolizer_new(NULL, NULL);
	uint64_t sites[TOP_SITES];
	size_t nr = bs_sites_top(s, sites, TOP_SITES);

	if (nr)
		bs_buf_puts(out, "never freed, most bytes first:\n");
	for (size_t i = 0; i < nr; i++) {
		struct bs_site_counts c = bs_site_counts(s, sites[i]);

		bs_buf_puts(out, "  ");
		bs_site_counts_put_live(out, &c);
		bs_buf_puts(out, ": ");
		bs_site_stack_line(out, s, sym, sites[i], TOP_FRAMES);
		bs_buf_putc(out, '\n');
	}
	bs_symbolizer_free(sym);
}

static void put_fragmentation(struct bs_buf *out, const struct bs_snapshot *s)
{
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		if (!zone->present_pages)
			continue;
		bs_buf_puts(out, "at the end ");
		bs_render_zone_line(out, zone);
		bs_buf_putc(out, '\n');
	}
	bs_buf_puts(out,
		    "(no daemon watched: the worst moment is not known)\n");
}

static void print_lines(const char *text)
{
	fflush(stdout);
	while (*text) {
		size_t len = strcspn(text, "\n");

		fprintf(stderr, "buddyscope: %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

void run_summary(pid_t pid, uint64_t start_ticks)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;

	if (!ask_daemon(pid, &out)) {
		bs_buf_reset(&out);
		s = find_segment(pid, start_ticks);
		if (s) {
			put_memory(&out, s);
			put_top_sites(&out, s);
			put_fragmentation(&out, s);
			bs_snapshot_free(s);
		} else {
			bs_buf_puts(
				&out,
				"the program published nothing that could be read\n");
		}
	}
	print_lines(bs_buf_str(&out));
	bs_buf_free(&out);
}
