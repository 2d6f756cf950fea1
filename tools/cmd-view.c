/* SPDX-License-Identifier: MIT */
/*
 * cmd-view.c - buddyinfo, pagetypeinfo, zoneinfo, slabinfo, vmallocinfo and
 * extfrag: one view of one segment.
 *
 * Owns:   the options of these six.
 * Layer:  tools; the forms themselves are shared/render.h's.
 * Locks:  none.
 *
 * They read the segment themselves and need no daemon.
 */
#include <assert.h>
#include <string.h>

#include "shared/symbols.h"
#include "tools/tool.h"

/* vmallocinfo names the callers; the others never look at a symbol. */
static int render(const struct bs_view *view, const struct bs_snapshot *s,
		  struct bs_render_options *opt, bool json)
{
	struct bs_buf out = BS_BUF_INIT;
	struct bs_symbolizer *sym = NULL;

	if (view->sections & BS_SNAP_MODULES) {
		sym = bs_symbolizer_new(NULL, NULL);
		opt->caller = sym ? bs_symbolizer_caller : NULL;
		opt->caller_arg = sym;
	}
	(json ? view->json : view->text)(&out, s, opt);
	bs_symbolizer_free(sym);
	return tool_output(&out);
}

int tool_run_view(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "format", required_argument, NULL, 'F' },
		{ "unusable", no_argument, NULL, 'u' },
		TOOL_OPTIONS_COMMON
	};
	struct bs_render_options opt = { .format = BS_FORMAT_MODERN };
	const struct bs_view *view = bs_view_find(tool->name);
	struct tool_common common = { 0 };
	struct bs_snapshot *s;
	int c, ret;

	assert(view);
	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		if (c == 'u') {
			if (strcmp(tool->name, "extfrag"))
				return tool_usage(
					tool, "--unusable belongs to extfrag");
			view = bs_view_find("unusable");
		} else if (c == 'F' && !strcmp(optarg, "2.6.29")) {
			opt.format = BS_FORMAT_2_6_29;
		} else if (c == 'F' && !strcmp(optarg, "modern")) {
			opt.format = BS_FORMAT_MODERN;
		} else if (c == 'F') {
			return tool_usage(tool,
					  "unknown format '%s'; there are "
					  "'modern' and '2.6.29'",
					  optarg);
		} else {
			ret = tool_option(tool, c, &common);
			if (ret != TOOL_GO_ON)
				return ret;
		}
	}
	ret = tool_argument(tool, argc, argv, &common);
	if (ret != TOOL_GO_ON)
		return ret;
	s = tool_snapshot(common.target, view->sections, &ret);
	if (!s)
		return ret;
	ret = render(view, s, &opt, common.json);
	bs_snapshot_free(s);
	return ret;
}
