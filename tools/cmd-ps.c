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

/* Keeps the targets that arg means: a pid or a name.  Returns how many. */
static size_t filter(struct bs_target_list *list, const char *arg)
{
	struct bs_target_list one;
	struct bs_buf err = BS_BUF_INIT;
	size_t nr = 0;
	int code;

	for (size_t i = 0; i < list->nr; i++) {
		one = (struct bs_target_list){ &list->targets[i], 1, 0, "" };
		/* An exec'ed image is no candidate elsewhere; here it is. */
		if (bs_target_resolve(&one, arg, &code, &err) ||
		    (list->targets[i].state == BS_TARGET_EXEC &&
		     (atoi(arg) == list->targets[i].pid ||
		      !strcmp(arg, list->targets[i].comm)))) {
			if (nr != i)
				list->targets[nr] = list->targets[i];
			nr++;
		}
		bs_buf_reset(&err);
	}
	bs_buf_free(&err);
	list->nr = nr;
	return nr;
}

static int show(const struct tool_common *common, struct bs_target_list *list)
{
	struct bs_buf out = BS_BUF_INIT;

	if (list->nr_bad)
		tool_warn("files that are no segment: %zu (%s)", list->nr_bad,
			  list->bad_err);
	if (common->target && !filter(list, common->target)) {
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
	int c, ret;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		ret = tool_option(tool, c, &common);
		if (ret != TOOL_GO_ON)
			return ret;
	}
	ret = tool_argument(tool, argc, argv, &common);
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
