/* SPDX-License-Identifier: MIT */
/*
 * siteoptions.c - what the options of `sites` mean, and which go together.
 *
 * Owns:   their values and messages, for the command and the daemon; the way
 *         from a form to its writer.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitereport.h"

#include <string.h>

#include "shared/sitelist.h"

const char *const bs_sitereport_options[] = { "by",    "folded",    "objects",
					      "pprof", "lifetimes", NULL };

/* By enum bs_site_by. */
static const char *const groups[] = { "site", "function", "library", "line",
				      "thread" };
#define NR_GROUPS (sizeof(groups) / sizeof(groups[0]))

static bool set_by(struct bs_sitereport *r, const char *value,
		   struct bs_buf *err)
{
	for (size_t i = 0; value && i < NR_GROUPS; i++) {
		if (!strcmp(value, groups[i])) {
			r->by = (enum bs_site_by)i;
			return true;
		}
	}
	bs_buf_puts(err, "unknown group '");
	bs_buf_puts_clean(err, value ? value : "");
	bs_buf_puts(err, "'; there are function, library, line, thread, site");
	return false;
}

static bool set_folded(struct bs_sitereport *r, const char *value,
		       struct bs_buf *err)
{
	r->folded_allocated = value && !strcmp(value, "alloc");
	if (!value || !*value || !strcmp(value, "live") || r->folded_allocated)
		return true;
	bs_buf_puts(err, "unknown count '");
	bs_buf_puts_clean(err, value);
	bs_buf_puts(err, "' for --folded; there are live, alloc");
	return false;
}

static bool set_form(struct bs_sitereport *r, enum bs_site_form form,
		     struct bs_buf *err)
{
	if (r->form != BS_FORM_TEXT && r->form != form) {
		bs_buf_puts(err, "only one of --json, --folded and --pprof");
		return false;
	}
	r->form = form;
	return true;
}

bool bs_sitereport_set_option(struct bs_sitereport *r, const char *name,
			      const char *value, struct bs_buf *err)
{
	if (!strcmp(name, "json"))
		return set_form(r, BS_FORM_JSON, err);
	if (!strcmp(name, "by"))
		return set_by(r, value, err);
	if (!strcmp(name, "folded"))
		return set_form(r, BS_FORM_FOLDED, err) &&
		       set_folded(r, value, err);
	if (!strcmp(name, "pprof"))
		return set_form(r, BS_FORM_PPROF, err);
	if (!strcmp(name, "objects"))
		r->folded_objects = true;
	if (!strcmp(name, "lifetimes"))
		r->lifetimes = true;
	return true;
}

bool bs_sitereport_check(const struct bs_sitereport *r, struct bs_buf *err)
{
	bool export = r->form == BS_FORM_FOLDED || r->form == BS_FORM_PPROF;

	if (r->leaks && (r->by || export))
		bs_buf_puts(err, "--by, --folded and --pprof belong to sites");
	else if (r->folded_objects && r->form != BS_FORM_FOLDED)
		bs_buf_puts(err, "--objects belongs to --folded");
	else if (r->lifetimes && (r->by || export))
		bs_buf_puts(err, "--lifetimes goes with single sites");
	else if (r->by && export)
		bs_buf_puts(
			err,
			"--by goes with text and --json, not with --folded or --pprof");
	else if (r->by && r->sort == BS_SORT_GROWTH)
		bs_buf_puts(
			err,
			"--sort=growth goes with single sites, not with --by");
	return !err->len;
}

bool bs_sitereport_check_data(const struct bs_sitereport *r, struct bs_buf *err)
{
	const struct bs_abi_header *h = bs_snapshot_header(r->snapshot);
	bool profile = r->form == BS_FORM_FOLDED || r->form == BS_FORM_PPROF;
	const char *text = NULL;

	if (r->by == BS_BY_THREAD && !bs_snapshot_has_threads(r->snapshot))
		text = " does not tell its threads apart; start it with "
		       "BUDDYSCOPE=trace_threads=on";
	else if (profile && h->trace_mode == BS_TRACE_OFF &&
		 !bs_site_counts_all(r->snapshot).allocs)
		text = " has recorded nothing for a profile: its trace is off";
	if (!text)
		return true;
	bs_buf_puts_clean(err, h->comm);
	bs_buf_printf(err, " (pid %d)%s", h->pid, text);
	return false;
}

void bs_sitereport_put_options(struct bs_buf *out,
			       const struct bs_sitereport *r)
{
	if (r->by)
		bs_buf_printf(out, " --by=%s", groups[r->by]);
	if (r->form == BS_FORM_JSON)
		bs_buf_puts(out, " --json");
	else if (r->form == BS_FORM_FOLDED)
		bs_buf_printf(out, " --folded=%s",
			      r->folded_allocated ? "alloc" : "live");
	else if (r->form == BS_FORM_PPROF)
		bs_buf_puts(out, " --pprof");
	if (r->folded_objects)
		bs_buf_puts(out, " --objects");
	if (r->lifetimes)
		bs_buf_puts(out, " --lifetimes");
}

void bs_sitereport_write(struct bs_buf *out, const struct bs_sitereport *r)
{
	switch (r->form) {
	case BS_FORM_TEXT:
		r->by ? bs_sitegroup_text(out, r) : bs_sitereport_text(out, r);
		break;
	case BS_FORM_JSON:
		r->by ? bs_sitegroup_json(out, r) : bs_sitereport_json(out, r);
		break;
	case BS_FORM_FOLDED:
		bs_folded_write(out, r);
		break;
	case BS_FORM_PPROF:
		bs_pprof_write(out, r);
		break;
	}
}
