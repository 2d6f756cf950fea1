/* SPDX-License-Identifier: MIT */
/*
 * cmd-pins.c - whose memory lies between the free pages of a program, now.
 *
 * Owns:   the options of pins.
 * Layer:  tools.
 * Locks:  none.
 *
 * The program looks itself: tags are in its memory, and only it can hold its locks.
 */
#include <time.h>

#include "shared/pins.h"
#include "tools/ask.h"

#define DEFAULT_ORDER 8 /* 1 MiB */
#define TRIES	      5

struct pins {
	struct tool_common common;
	unsigned long order;
};

static int parse_option(const struct tool *tool, void *arg, int c)
{
	struct pins *p = arg;

	if (c != 'o')
		return TOOL_NOT_MINE;
	if (!tool_parse_number(optarg, 1, BS_NR_ORDERS - 1, &p->order))
		return tool_usage(tool,
				  "bad order '%s'; 1 (8 KiB) to %u (4 MiB)",
				  optarg, BS_NR_ORDERS - 1);
	return TOOL_GO_ON;
}

/* What was found in each zone for one request. */
struct answer {
	const struct bs_abi_pins *zone[BS_MAX_ZONES];
	uint32_t nr_zones;
	bool any;
	bool late; /* it is that of an earlier request */
	uint64_t time_ns;
};

static void find_answer(struct answer *a, const struct bs_snapshot *s,
			const struct pins *p, uint32_t request)
{
	uint64_t nr = bs_snapshot_nr_zones(s);

	a->nr_zones = nr < BS_MAX_ZONES ? (uint32_t)nr : BS_MAX_ZONES;
	for (uint32_t i = 0; i < a->nr_zones; i++) {
		a->zone[i] =
			bs_pins_of_request(s, request, (uint32_t)p->order, i);
		a->any |= a->zone[i] != NULL;
	}
}

/* Behind the name: how old it is, when the program has not looked again. */
static void put_age(struct bs_buf *out, uint64_t time_ns)
{
	struct timespec now;
	double s;

	clock_gettime(CLOCK_MONOTONIC, &now);
	s = (double)now.tv_sec + (double)now.tv_nsec / 1e9 -
	    (double)time_ns / 1e9;
	bs_buf_printf(out, ", %.1f s ago; it has not looked again yet",
		      s < 0 ? 0 : s);
}

static void put_text(struct bs_buf *out, const struct bs_snapshot *s,
		     struct bs_symbolizer *sym, const struct answer *a)
{
	ask_put_name(out, bs_snapshot_header(s));
	if (a->late)
		put_age(out, a->time_ns);
	bs_buf_puts(out, ":\n");
	for (uint32_t i = 0; i < a->nr_zones; i++)
		if (a->zone[i])
			bs_pins_zone_text(out, s, sym, a->zone[i]);
}

static void put_json(struct bs_buf *out, const struct bs_snapshot *s,
		     struct bs_symbolizer *sym, const struct answer *a)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_json json;

	bs_json_init(&json, out);
	bs_json_object(&json, NULL);
	bs_json_i64(&json, "pid", h->pid);
	bs_json_str(&json, "comm", h->comm);
	bs_json_array(&json, "zones");
	for (uint32_t i = 0; i < a->nr_zones; i++) {
		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", bs_snapshot_zone(s, i)->name);
		bs_pins_json(&json, s, sym, a->zone[i]);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_object_end(&json);
	bs_buf_putc(out, '\n');
}

/* True with *ret: the answer was written.  False: there is none of this order. */
static bool tell(const struct pins *p, const struct bs_control *c, bool late,
		 int *ret)
{
	struct answer a = { .late = late };
	struct bs_buf out = BS_BUF_INIT;
	uint32_t request = c->page.pins_request;
	struct bs_symbolizer *sym;
	char err[PATH_MAX + 256];
	struct bs_snapshot *s;

	s = bs_snapshot_read_sections(
		c->path, BS_SNAP_ZONES | BS_SNAP_PINS | BS_SNAP_STACKS, err,
		sizeof(err));
	if (!s) {
		tool_warn("%s", err);
		*ret = BS_EXIT_FAILED;
		return true;
	}
	if (!late ||
	    bs_pins_last_request(s, (uint32_t)p->order, &request, &a.time_ns))
		find_answer(&a, s, p, request);
	if (a.any) {
		sym = bs_symbolizer_new(NULL, NULL);
		(p->common.json ? put_json : put_text)(&out, s, sym, &a);
		bs_symbolizer_free(sym);
		*ret = tool_output(&out);
	}
	bs_snapshot_free(s);
	return a.any;
}

/* Others may ask for another order at the same time: the page has room for one. */
static int ask(const struct pins *p, struct bs_control *c)
{
	char err[PATH_MAX + 256];
	bool answered = true;
	int ret = 0;

	if (!c->header.section[BS_SEC_PINS].capacity)
		return ask_fail(
			&c->header,
			"runs with an older library, which cannot look");
	for (int tries = 0; tries < TRIES && answered; tries++) {
		if (bs_control_request_pins(c, (uint32_t)p->order, err,
					    sizeof(err))) {
			tool_warn("%s", err);
			return BS_EXIT_FAILED;
		}
		ret = ask_wait(c, bs_control_pins_seen, &answered);
		if (ret)
			return ret;
		if (answered && tell(p, c, false, &ret))
			return ret;
		if (c->page.pins_order == p->order && answered)
			return ask_fail(&c->header, "had no memory to look");
	}
	if (tell(p, c, true, &ret))
		return ret;
	return ask_fail(&c->header,
			ask_is_stopped(&c->header)
				? "is stopped: it cannot look"
				: "has not looked yet: it does " ASK_WHEN
				  "; ask again then");
}

int tool_run_pins(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "order", required_argument, NULL, 'o' }, TOOL_OPTIONS_COMMON
	};
	struct pins p = { .order = DEFAULT_ORDER };
	char path[PATH_MAX];
	struct bs_control c;
	int ret;

	ret = tool_parse(tool, argc, argv, "h", long_options, parse_option, &p,
			 &p.common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (p.common.target && tool_is_file(p.common.target))
		return tool_usage(
			tool,
			"a saved segment cannot be asked; 'buddyscope failures' has what it noted");
	ret = ask_open(&c, p.common.target, path, sizeof(path));
	if (ret)
		return ret;
	ret = ask(&p, &c);
	bs_control_close(&c);
	return ret;
}
