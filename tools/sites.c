/* SPDX-License-Identifier: MIT */
/*
 * sites.c - see sites.h.
 *
 * Owns:   options and output of reports of call sites.
 * Layer:  tools.
 * Locks:  none.
 */
#include "tools/sites.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int set(const struct tool *tool, struct tool_sites *sites,
	       const char *name, const char *value)
{
	struct bs_buf err = BS_BUF_INIT;
	int ret = TOOL_GO_ON;

	if (!bs_sitereport_set_option(&sites->report, name, value, &err))
		ret = tool_usage(tool, "%s", bs_buf_str(&err));
	bs_buf_free(&err);
	return ret;
}

int tool_sites_option(const struct tool *tool, struct tool_sites *sites, int c)
{
	unsigned long limit;

	switch (c) {
	case 'n':
		if (!tool_parse_number(optarg, 0, INT32_MAX, &limit))
			return tool_usage(tool, "bad number of sites '%s'",
					  optarg);
		sites->report.limit = limit;
		sites->limit_given = true;
		return TOOL_GO_ON;
	case 'B':
		return set(tool, sites, "by", optarg);
	case 'F':
		return set(tool, sites, "folded", optarg);
	case 'O':
		return set(tool, sites, "objects", NULL);
	case 'L':
		return set(tool, sites, "lifetimes", NULL);
	case 'P':
		if (!*optarg)
			return tool_usage(tool, "--pprof needs a FILE");
		sites->pprof_file = optarg;
		return set(tool, sites, "pprof", NULL);
	default:
		return TOOL_NOT_MINE;
	}
}

int tool_sites_check(const struct tool *tool, struct tool_sites *sites,
		     const struct tool_common *common, uint64_t default_limit)
{
	struct bs_buf err = BS_BUF_INIT;
	int ret = TOOL_GO_ON;

	if (common->json)
		ret = set(tool, sites, "json", NULL);
	if (ret == TOOL_GO_ON && !bs_sitereport_check(&sites->report, &err))
		ret = tool_usage(tool, "%s", bs_buf_str(&err));
	bs_buf_free(&err);
	if (!sites->limit_given && sites->report.form == BS_FORM_TEXT)
		sites->report.limit = default_limit;
	return ret;
}

int tool_sites_check_data(const struct bs_sitereport *r)
{
	struct bs_buf err = BS_BUF_INIT;
	int code = BS_EXIT_OK;

	if (!bs_sitereport_check_data(r, &err)) {
		tool_warn("%s", bs_buf_str(&err));
		code = BS_EXIT_FAILED;
	}
	bs_buf_free(&err);
	return code;
}

static int save(const char *path, const struct bs_buf *out)
{
	FILE *file = fopen(path, "we");
	bool ok = file && fwrite(out->data, 1, out->len, file) == out->len;

	if (file && fclose(file))
		ok = false;
	if (ok)
		return BS_EXIT_OK;
	tool_warn("cannot write %s: %s", path, strerror(errno));
	return BS_EXIT_FAILED;
}

int tool_sites_output(const struct tool_sites *sites, struct bs_buf *out)
{
	const char *path = sites->pprof_file;
	int ret;

	if (!path || !strcmp(path, "-") || out->failed)
		return tool_output(out);
	ret = save(path, out);
	bs_buf_free(out);
	return ret;
}
