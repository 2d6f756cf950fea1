/* SPDX-License-Identifier: MIT */
/*
 * sitereport.h - call sites and leaks: text, JSON, groups, folded stacks, pprof.
 *
 * Owns:   the forms of `sites` and `leaks`, and their options, wherever they are
 *         shown: by the daemon (with history) or from a saved segment (without).
 * Layer:  shared; on snapshot, symbols, json.
 * Locks:  none.
 */
#ifndef BS_SHARED_SITEREPORT_H
#define BS_SHARED_SITEREPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/json.h"
#include "shared/sitestack.h"
#include "shared/snapshot.h"
#include "shared/symbols.h"

enum bs_verdict {
	BS_VERDICT_NONE,
	BS_VERDICT_SUSPECT, /* floor rose in three consecutive windows */
	BS_VERDICT_STOPPED, /* was a leak, grows no longer */
	BS_VERDICT_LEAK,
};

/* "none", "suspect", "stopped", "leak" */
const char *bs_verdict_name(enum bs_verdict verdict);

/* After so many closed windows there is a verdict on every suspect; see daemon/leak.h. */
#define BS_VERDICT_WINDOWS 20U

/* What only a watcher knows of a site: see docs/leaks.md. */
struct bs_site_history {
	enum bs_verdict verdict;
	uint32_t windows;	   /* closed windows seen; 0: nothing known */
	bool starved;		   /* a leak that is refused memory by now */
	bool has_thirds;	   /* enough windows for floor_bytes[] */
	uint64_t floor_bytes[3];   /* lowest live bytes in each third */
	uint64_t newest_bytes;	   /* floor of the newest window */
	uint32_t survivor_cohorts; /* of alloc_cohorts, with survivors */
	uint32_t alloc_cohorts;	   /* cohorts in which the site allocated */
	uint32_t windows_per_cohort;
	double allocs_per_window;
	double growth_bytes_per_s;
};

enum bs_site_sort {
	BS_SORT_LIVE,	/* live bytes */
	BS_SORT_GROWTH, /* bytes per second */
	BS_SORT_ALLOCS,
	BS_SORT_BYTES, /* bytes allocated since the start */
};

/* What the report has a line for. */
enum bs_site_by {
	BS_BY_SITE,
	BS_BY_FUNCTION, /* see wrapper.h for whose name it is */
	BS_BY_LIBRARY,
	BS_BY_LINE,
	BS_BY_THREAD, /* that allocated; see sitethread.h */
};

enum bs_site_form {
	BS_FORM_TEXT,
	BS_FORM_JSON,	/* one line */
	BS_FORM_FOLDED, /* "outermost;...;innermost NUMBER" */
	BS_FORM_PPROF,	/* gzipped profile.proto: bytes, not text */
};

struct bs_sitereport {
	const struct bs_snapshot *snapshot;    /* SITES, NODES, MODULES */
	struct bs_symbolizer *symbolizer;      /* NULL: addresses only */
	const struct bs_site_history *history; /* by site number, or NULL */
	uint64_t nr_history;
	enum bs_site_sort sort;
	uint64_t limit; /* most sites (groups) shown, 0: all */
	uint64_t
		min_bytes; /* sites (groups) with fewer live bytes are left out */
	uint32_t only_site; /* 0: all */
	/* leaks, not sites; in texts suspects without a verdict so far, too */
	bool leaks;
	bool all;   /* with leaks: suspects and stopped ones, too */
	bool ended; /* with leaks: then whatever was never freed */
	enum bs_site_by by;
	enum bs_site_form form;
	bool folded_allocated; /* all that was allocated, not what lives */
	bool folded_objects;   /* objects, not bytes */
	bool lifetimes;	       /* in texts, too */
	uint64_t now_ns; /* for ages; 0: the segment's last sign of life */
};

/* "live", "growth", "allocs", "bytes" -> sort; false: unknown. */
bool bs_site_sort_parse(const char *name, enum bs_site_sort *sort);

/*
 * The options that say what is written and how, without their dashes: "by" GROUP,
 * "folded" live|alloc, "objects", "pprof", "lifetimes", and "json"; value is NULL or "" where
 * there is none.  False with one line in err.
 */
bool bs_sitereport_set_option(struct bs_sitereport *r, const char *name,
			      const char *value, struct bs_buf *err);
/* Do the options go together?  False with one line in err. */
bool bs_sitereport_check(const struct bs_sitereport *r, struct bs_buf *err);
/* Does the snapshot tell what is asked for?  The same. */
bool bs_sitereport_check_data(const struct bs_sitereport *r,
			      struct bs_buf *err);
/* For the daemon: what was set, as " --by=line --json". */
void bs_sitereport_put_options(struct bs_buf *out,
			       const struct bs_sitereport *r);
/* The names above but json, which every command has; NULL at the end. */
extern const char *const bs_sitereport_options[];

/* In the form that r says. */
void bs_sitereport_write(struct bs_buf *out, const struct bs_sitereport *r);

/* The forms one by one, whatever r->form says. */
void bs_sitereport_text(struct bs_buf *out, const struct bs_sitereport *r);
void bs_sitereport_json(struct bs_buf *out, const struct bs_sitereport *r);
void bs_sitegroup_text(struct bs_buf *out, const struct bs_sitereport *r);
void bs_sitegroup_json(struct bs_buf *out, const struct bs_sitereport *r);
void bs_folded_write(struct bs_buf *out, const struct bs_sitereport *r);
void bs_pprof_write(struct bs_buf *out, const struct bs_sitereport *r);

/* The three numbers of a verdict in words, one line without newline. */
void bs_site_history_text(struct bs_buf *out, const struct bs_site_history *h);

/* The numbers of the sites with most live bytes, descending. Returns how many. */
size_t bs_sites_top(const struct bs_snapshot *s, uint64_t *sites, size_t max);

#endif
