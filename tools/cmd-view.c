/* SPDX-License-Identifier: MIT */
/*
 * cmd-view.c - buddyinfo, slabinfo, failures and their kin: one view of one
 * segment.
 *
 * Owns:   their options on a command line.
 * Layer:  tools; views, options and forms are shared/render.h's.
 * Locks:  none.
 *
 * They read the segment themselves and need no daemon.
 */
#include <assert.h>
#include <string.h>

#include "shared/symbols.h"
#include "tools/tool.h"

#define OPTIONS_MAX 16
#define FIRST_VALUE 0x100 /* of getopt: behind all letters */

struct view_run {
	const struct bs_view *view;
	struct bs_render_options options;
	struct tool_common common;
};

/* Symbols are for those that show callers; the others never look at one. */
static int render(struct view_run *run, const struct bs_snapshot *s)
{
	const struct bs_view *view = run->view;
	struct bs_buf out = BS_BUF_INIT;
	struct bs_symbolizer *sym = NULL;

	if (view->known && !view->known(s)) {
		tool_warn("%s", view->unknown);
		return BS_EXIT_FAILED;
	}
	if (view->sections & BS_SNAP_MODULES)
		sym = bs_symbolizer_new(NULL, NULL);
	bs_render_use_symbols(&run->options, sym);
	(run->common.json ? view->json : view->text)(&out, s, &run->options);
	bs_symbolizer_free(sym);
	return tool_output(&out);
}

/* The options of all views: one of another view gets a better message. */
static void long_options(struct option options[OPTIONS_MAX])
{
	static const struct option common[] = { TOOL_OPTIONS_COMMON };
	size_t nr = 0;

	for (const struct bs_view_option *o = bs_view_options; o->name; o++) {
		options[nr] = (struct option){
			o->name, o->has_value ? required_argument : no_argument,
			NULL, FIRST_VALUE + (int)(o - bs_view_options)
		};
		nr++;
	}
	assert(nr + sizeof(common) / sizeof(common[0]) <= OPTIONS_MAX);
	memcpy(&options[nr], common, sizeof(common));
}

static int set_option(const struct tool *tool, void *arg, int c)
{
	struct view_run *run = arg;
	struct bs_buf err = BS_BUF_INIT;
	int ret = TOOL_GO_ON;

	if (c < FIRST_VALUE)
		return TOOL_NOT_MINE;
	if (!bs_view_set_option(&run->view, &run->options,
				bs_view_options[c - FIRST_VALUE].name, optarg,
				&err))
		ret = tool_usage(tool, "%s", bs_buf_str(&err));
	bs_buf_free(&err);
	return ret;
}

int tool_run_view(const struct tool *tool, int argc, char **argv)
{
	struct view_run run = { .view = bs_view_find(tool->name) };
	struct option options[OPTIONS_MAX];
	struct bs_snapshot *s;
	int ret;

	assert(run.view);
	long_options(options);
	ret = tool_parse(tool, argc, argv, "h", options, set_option, &run,
			 &run.common);
	if (ret != TOOL_GO_ON)
		return ret;
	s = tool_snapshot(run.common.target, run.view->sections, &ret);
	if (!s)
		return ret;
	ret = render(&run, s);
	bs_snapshot_free(s);
	return ret;
}
