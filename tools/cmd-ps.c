/* SPDX-License-Identifier: MIT */
/*
 * cmd-ps.c - list the programs under buddyscope.
 *
 * Owns:   the options of ps.
 * Layer:  tools.
 * Locks:  none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/tool.h"

static int show(const struct tool_common *common, struct bs_target_list *list)
{
	struct bs_buf out = BS_BUF_INIT;

	if (list->nr_bad)
		tool_warn("files that are no segment: %zu (%s)", list->nr_bad,
			  list->bad_err);
	if (common->target && !bs_target_list_filter(list, common->target)) {
		tool_warn("no program '%s' under buddyscope", common->target);
		return BS_EXIT_NO_TARGET;
	}
	if (common->json)
		bs_render_ps_json(&out, list);
	else
		bs_render_ps_text(&out, list);
	return tool_output(&out);
}

int tool_run_ps(const struct tool *tool, int argc, char **argv)
{
	static const struct option long_options[] = { TOOL_OPTIONS_COMMON };
	struct tool_common common = { 0 };
	struct bs_target_list list;
	char dir[PATH_MAX], err[512];
	int ret;

	ret = tool_parse(tool, argc, argv, "h", long_options, NULL, NULL,
			 &common);
	if (ret != TOOL_GO_ON)
		return ret;
	if (bs_target_dir(dir, sizeof(dir))) {
		tool_warn("BUDDYSCOPE_DIR is too long");
		return BS_EXIT_FAILED;
	}
	if (bs_target_list_all(dir, &list, err, sizeof(err))) {
		tool_warn("%s", err);
		return BS_EXIT_FAILED;
	}
	ret = show(&common, &list);
	bs_target_list_free(&list);
	return ret;
}
