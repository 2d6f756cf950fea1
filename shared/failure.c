/* SPDX-License-Identifier: MIT */
/*
 * failure.c - failed requests, told as the kernel tells them.
 *
 * Owns:   the report of an event: what was asked, the zones at that moment, the
 *         backtrace, the verdict and what would help.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/page_alloc.c (__alloc_pages_internal, show_free_areas) of Linux
 *         2.6.29 and 6.x for the form.
 *
 * The zones, and who was between the free pages, are those of the event; who holds the
 * memory is read now.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/event.h"
#include "shared/fragindex.h"
#include "shared/pins.h"
#include "shared/render-priv.h"
#include "shared/sitelist.h"

#define HOLDERS	      3U /* call sites named where memory lacks */
#define HOLDER_FRAMES 4U
#define OLD_COHORTS   4U /* survivors of fewer say nothing */
#define PAGE_KB	      (BS_ABI_PAGE_BYTES / 1024)

static uint64_t kb(uint64_t pages)
{
	return pages * PAGE_KB;
}

static void put_kb_of_bytes(struct bs_buf *out, uint64_t bytes)
{
	bs_buf_printf(out, "%" PRIu64 "kB", bytes / 1024 + !!(bytes % 1024));
}

/* ---- what happened ------------------------------------------------------- */

static void put_seconds(struct bs_buf *out, const struct bs_snapshot *s,
			const struct bs_abi_event *e)
{
	uint64_t created = bs_snapshot_header(s)->created_ns;
	double at = e->time_ns < created ? 0 : (double)(e->time_ns - created);

	bs_buf_printf(out, "[%12.6f] ", at / 1e9);
}

static bool is_request(uint32_t type)
{
	return type == BS_EVENT_ALLOC_FAILED || type == BS_EVENT_DMA_FAILED ||
	       type == BS_EVENT_VMALLOC_FAILED ||
	       type == BS_EVENT_ZONE_FALLBACK;
}

/* "mpv: page allocation failure: order:8, mode:0x60(GFP_ATOMIC)" */
static void put_first_line(struct bs_buf *out, const struct bs_snapshot *s,
			   const struct bs_abi_event *e,
			   enum bs_kernel_format format)
{
	bool old = format == BS_FORMAT_2_6_29;

	put_seconds(out, s, e);
	bs_buf_puts_clean(out, bs_snapshot_header(s)->comm);
	bs_buf_printf(out, ": %s", bs_event_text(e->type));
	if (e->name[0]) {
		bs_buf_puts(out, " (");
		bs_buf_puts_clean(out, e->name);
		bs_buf_putc(out, ')');
	}
	if (is_request(e->type)) {
		bs_buf_printf(out, "%s order:%u, mode:0x%x", old ? "." : ":",
			      e->order, e->gfp);
		if (!old) {
			bs_buf_putc(out, '(');
			bs_gfp_text(out, e->gfp);
			bs_buf_putc(out, ')');
		}
	}
	bs_buf_putc(out, '\n');
}

static void put_facts(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_abi_event *e)
{
	bs_buf_printf(out, "event %" PRIu64 ", thread %u", e->number, e->tid);
	if (e->zone != BS_EVENT_NO_ZONE && e->nr_zones)
		bs_buf_printf(out, ", zone %s",
			      bs_render_zone_name(s, e->zone));
	if (e->bytes)
		bs_buf_printf(out, ", %" PRIu64 " bytes", e->bytes);
	if (e->addr)
		bs_buf_printf(out, ", address 0x%" PRIx64, e->addr);
	if (e->site)
		bs_buf_printf(out, ", site %u", e->site);
	bs_buf_putc(out, '\n');
	if (e->suppressed)
		bs_buf_printf(
			out,
			"%u such report%s before this one %s left out: too many (10 in 5 s)\n",
			e->suppressed, e->suppressed == 1 ? "" : "s",
			e->suppressed == 1 ? "was" : "were");
}

/* ---- the zones at that moment ---------------------------------------------- */

static void put_zone_pages(struct bs_buf *out, const char *name,
			   const struct bs_abi_event_zone *z)
{
	bs_buf_printf(out,
		      "%s free:%" PRIu64 "kB min:%" PRIu64 "kB low:%" PRIu64
		      "kB high:%" PRIu64 "kB managed:%" PRIu64 "kB",
		      name, kb(z->free_pages), kb(z->wmark_min_pages),
		      kb(z->wmark_low_pages), kb(z->wmark_high_pages),
		      kb(z->managed_pages));
#define X(id, nr, key)                                                         \
	bs_buf_printf(out, " " key ":%" PRIu64 "kB", kb(z->used_pages[nr]));
	BS_USE_TABLE(X)
#undef X
	bs_buf_putc(out, '\n');
}

/* "DMA: 4*4kB 3*8kB ... 0*4096kB = 104kB" */
static void put_zone_blocks(struct bs_buf *out, const char *name,
			    const struct bs_abi_event_zone *z)
{
	uint64_t n[BS_NR_ORDERS];

	bs_event_free_blocks(z, n);
	bs_buf_printf(out, "%s: ", name);
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
		bs_buf_printf(out, "%" PRIu64 "*%ukB ", n[o], PAGE_KB << o);
	bs_buf_printf(out, "= %" PRIu64 "kB\n", kb(bs_frag_free_pages(n)));
}

static void put_mem_info(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_abi_event *e)
{
	if (!e->nr_zones)
		return;
	bs_buf_puts(out, "Mem-Info:\n");
	for (uint32_t i = 0; i < e->nr_zones; i++)
		put_zone_pages(out, bs_render_zone_name(s, i), &e->zones[i]);
	/* Of each zone against this request, in pages. */
	bs_buf_puts(out, "lowmem_reserve[]:");
	for (uint32_t i = 0; i < e->nr_zones; i++)
		bs_buf_printf(out, " %u", e->zones[i].protection_pages);
	bs_buf_putc(out, '\n');
	for (uint32_t i = 0; i < e->nr_zones; i++)
		put_zone_blocks(out, bs_render_zone_name(s, i), &e->zones[i]);
}

/* ---- verdict --------------------------------------------------------------- */

static void put_index(struct bs_buf *out, int index)
{
	unsigned int n = (unsigned int)(index < 0 ? -index : index);

	bs_buf_printf(out, "%s%u.%03u", index < 0 ? "-" : "", n / 1000,
		      n % 1000);
}

static void put_largest(struct bs_buf *out, const struct bs_abi_event_zone *z)
{
	uint64_t n[BS_NR_ORDERS];
	int largest;

	bs_event_free_blocks(z, n);
	largest = bs_frag_largest_order(n);
	if (largest < 0)
		bs_buf_puts(out, "no block is free");
	else
		bs_buf_printf(out, "the largest free block has %ukB (order %d)",
			      PAGE_KB << largest, largest);
}

/* Such blocks are there, but the watermark wants more of them to stay. */
static void put_in_large_blocks(struct bs_buf *out,
				const struct bs_abi_event_zone *z,
				unsigned int order)
{
	uint64_t pages = 0;

	for (unsigned int o = order; o < BS_NR_ORDERS; o++)
		pages += (uint64_t)z->nr_free[o] << o;
	bs_buf_printf(out,
		      "only %" PRIu64 "kB of them in blocks of %ukB or more, "
		      "too few for the watermark",
		      kb(pages), PAGE_KB << order);
}

static void put_verdict(struct bs_buf *out, const struct bs_snapshot *s,
			const struct bs_abi_event *e,
			const struct bs_failure_cause *c)
{
	const struct bs_abi_event_zone *z = bs_event_zone(e);
	const char *zone = bs_render_zone_name(s, e->zone);
	uint64_t free_pages = 0, reserve = 0;

	for (uint32_t i = 0; i < e->nr_zones; i++) {
		free_pages += e->zones[i].free_pages;
		reserve += (uint64_t)e->zones[i].wmark_min_pages +
			   e->zones[i].protection_pages;
	}
	bs_buf_puts(out, "Verdict: ");
	if (e->type == BS_EVENT_VMALLOC_FAILED) {
		bs_buf_printf(out, "%s: %" PRIu64 "kB are free",
			      c->cause == BS_CAUSE_LACK ? "lack of memory"
			      : e->name[0] ? "no addresses in the window"
					   : "pages enough, no addresses",
			      kb(free_pages));
		if (c->cause == BS_CAUSE_LACK)
			bs_buf_printf(out,
				      ", of which %" PRIu64 "kB have to stay",
				      kb(reserve));
		bs_buf_puts(out, ", ");
		put_kb_of_bytes(out, e->bytes);
		bs_buf_puts(out, " were asked for\n");
		return;
	}
	switch (c->cause) {
	case BS_CAUSE_FRAGMENTATION:
		bs_buf_printf(out,
			      "fragmentation of zone %s: %" PRIu64
			      "kB are free, but ",
			      zone, kb(z->free_pages));
		if (c->index == -1000)
			put_in_large_blocks(out, z, e->order);
		else
			put_largest(out, z);
		break;
	case BS_CAUSE_LACK:
		bs_buf_printf(out,
			      "lack of memory in zone %s: %" PRIu64
			      "kB of %" PRIu64 "kB are free (min %" PRIu64
			      "kB), ",
			      zone, kb(z->free_pages), kb(z->managed_pages),
			      kb(z->wmark_min_pages));
		put_largest(out, z);
		break;
	default:
		bs_buf_printf(out, "the reserve of zone %s: ", zone);
		put_largest(out, z);
		bs_buf_printf(
			out,
			", but %" PRIu64 "kB have to stay free (min %" PRIu64
			"kB, lowmem_reserve %" PRIu64 "kB)",
			kb((uint64_t)z->wmark_min_pages + z->protection_pages),
			kb(z->wmark_min_pages), kb(z->protection_pages));
	}
	bs_buf_printf(out, "; fragmentation index of order %u: ", e->order);
	put_index(out, c->index);
	bs_buf_puts(out, c->index == -1000
				 ? " (such a block is free, in the reserve)\n"
				 : " (0 lack of memory, 1 fragmentation)\n");
}

/* ---- what would help ------------------------------------------------------- */

static bool has_option(const struct bs_snapshot *s, const char *option)
{
	const char *at = bs_snapshot_header(s)->options;
	size_t len = strlen(option);

	while ((at = strstr(at, option))) {
		bool begins =
			at == bs_snapshot_header(s)->options || at[-1] == ' ';

		if (begins && (!at[len] || at[len] == ' '))
			return true;
		at += len;
	}
	return false;
}

/*
 * Survivors of (nearly) all times are what a leak leaves; the verdict itself
 * needs the daemon's history.
 */
static bool of_all_ages(const struct bs_site *site)
{
	unsigned int born = 0, alive = 0;

	for (unsigned int c = 0; c < BS_NR_COHORTS; c++) {
		if (!(site->cohort_born >> c & 1))
			continue;
		born++;
		alive += site->cohort_live[c] != 0;
	}
	return born >= OLD_COHORTS && alive * 5 >= born * 4;
}

struct holder {
	uint64_t site;
	struct bs_site_counts counts;
};

/* By site: bytes of mappings for which no frame of a zone was taken; NULL: no memory. */
static uint64_t *bytes_elsewhere(const struct bs_snapshot *s)
{
	uint64_t nr_sites = bs_snapshot_nr_sites(s), i;
	uint64_t *bytes = calloc(nr_sites ? nr_sites : 1, sizeof(*bytes));

	for (i = 0; bytes && i < bs_snapshot_nr_areas(s); i++) {
		const struct bs_abi_area *a = bs_snapshot_area(s, i);
		uint64_t taken = a->charged_pages * BS_ABI_PAGE_BYTES;

		/* A reservation counts as nothing, a kept area is freed. */
		if (a->live && a->site < nr_sites && a->bytes > taken &&
		    !(a->flags & (BS_AREA_RESERVE | BS_AREA_LAZY)))
			bytes[a->site] += a->bytes - taken;
	}
	return bytes;
}

/* The call sites that hold most of the zones' memory, most first; how many. */
static size_t find_holders(const struct bs_snapshot *s, struct holder *top)
{
	uint64_t *elsewhere = bytes_elsewhere(s), i;
	size_t nr = 0;

	for (i = 0; elsewhere && i < bs_snapshot_nr_sites(s); i++) {
		struct bs_site_counts c = bs_site_counts(s, i);
		size_t at;

		if (c.live_bytes <= elsewhere[i])
			continue;
		c.live_bytes -= elsewhere[i];
		for (at = nr;
		     at && top[at - 1].counts.live_bytes < c.live_bytes; at--)
			if (at < HOLDERS)
				top[at] = top[at - 1];
		if (at < HOLDERS)
			top[at] = (struct holder){ i, c };
		nr += nr < HOLDERS;
	}
	free(elsewhere);
	return nr;
}

static void put_holders(struct bs_buf *out, const struct bs_snapshot *s,
			const struct bs_render_options *opt)
{
	struct holder top[HOLDERS];
	size_t nr = find_holders(s, top);

	if (bs_snapshot_header(s)->trace_mode == BS_TRACE_OFF && !nr)
		bs_buf_puts(out, "Held now: not known, trace is off\n");
	for (size_t i = 0; i < nr; i++) {
		uint64_t site = top[i].site;
		bool of_all = of_all_ages(bs_snapshot_site(s, site));

		bs_buf_printf(out, "%s", i ? "          " : "Held now: ");
		bs_site_counts_put_live(out, &top[i].counts);
		bs_buf_printf(out, ", site %" PRIu64 "%s: ", site,
			      of_all ? ", of all ages as a leak's are" : "");
		bs_site_stack_line(out, s, opt->symbolizer, site,
				   HOLDER_FRAMES);
		bs_buf_putc(out, '\n');
	}
}

static void put_hint(struct bs_buf *out, unsigned int *nr, const char *text)
{
	bs_buf_printf(out, "%s%s\n",
		      (*nr)++ ? "          " : "To try:   ", text);
}

static void hints_fragmentation(struct bs_buf *out, const struct bs_snapshot *s,
				const struct bs_abi_event *e, unsigned int *nr)
{
	bool dma = e->type == BS_EVENT_DMA_FAILED;

	if (dma && !has_option(s, "dma=whole"))
		put_hint(
			out, nr,
			"dma=whole: keep 2^n blocks whole, do not free their tails");
	if (!dma && !has_option(s, "large=whole"))
		put_hint(
			out, nr,
			"large=whole: keep 2^n blocks whole, do not free their tails");
	if (e->nr_zones < 2)
		put_hint(
			out, nr,
			"a zone apart for what needs large blocks: zones=DMA:SIZE,NORMAL:SIZE route=min=BYTES:DMA");
	else
		put_hint(
			out, nr,
			"less of other traffic in this zone: route=..., or a larger zone above it");
	put_hint(
		out, nr,
		"a carve-out that the buddy never sees: memmap=SIZE$NAME, for code that calls bs_carveout_alloc()");
}

static void put_help(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_render_options *opt,
		     const struct bs_abi_event *e, enum bs_cause cause)
{
	unsigned int nr = 0;
	char text[128];

	snprintf(text, sizeof(text), "is it a leak? buddyscope leaks %d",
		 bs_snapshot_header(s)->pid);
	switch (cause) {
	case BS_CAUSE_LACK:
		put_holders(out, s, opt);
		put_hint(out, &nr, text);
		put_hint(out, &nr, "if it is not: larger zones (zones=...)");
		break;
	case BS_CAUSE_FRAGMENTATION:
		put_holders(out, s, opt);
		put_hint(out, &nr, text);
		hints_fragmentation(out, s, e, &nr);
		break;
	case BS_CAUSE_RESERVE:
		put_hint(
			out, &nr,
			"a larger zone; GFP_HIGH may take half of the reserve");
		break;
	case BS_CAUSE_WINDOW:
		put_hint(out, &nr,
			 "a larger window of addresses: vmalloc=SIZE");
		break;
	case BS_CAUSE_UNKNOWN:
		if (e->type == BS_EVENT_CARVEOUT_FULL)
			put_hint(out, &nr,
				 "a larger carve-out: memmap=SIZE$NAME");
		break;
	}
}

/* ---- the view ---------------------------------------------------------------- */

static void put_event(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt,
		      const struct bs_abi_event *e)
{
	const struct bs_abi_pins *pins = bs_pins_of_event(s, e->number);
	struct bs_failure_cause c = bs_failure_cause(e);

	put_first_line(out, s, e, opt->format);
	put_facts(out, s, e);
	if (e->site) {
		bs_buf_puts(out, "Call Trace:\n");
		bs_site_stack_text(out, s, opt->symbolizer, e->site);
	}
	if (!bs_event_is_failure(e->type))
		return;
	if (is_request(e->type))
		put_mem_info(out, s, e);
	if (c.cause != BS_CAUSE_UNKNOWN)
		put_verdict(out, s, e, &c);
	if (pins && c.cause == BS_CAUSE_FRAGMENTATION)
		bs_pins_text(out, s, opt->symbolizer, pins);
	put_help(out, s, opt, e, c.cause);
}

static bool shown(const struct bs_abi_event *e,
		  const struct bs_render_options *opt)
{
	return opt->all || bs_event_is_failure(e->type);
}

/* ---- many reports -------------------------------------------------------------- */

#define KINDS_MAX 16 /* that are counted apart */

struct kind {
	struct bs_buf text; /* "fragmentation in zone DMA" */
	uint64_t nr;
};

static void put_kind(struct bs_buf *out, const struct bs_snapshot *s,
		     const struct bs_abi_event *e)
{
	enum bs_cause cause = bs_failure_cause(e).cause;

	if (cause == BS_CAUSE_UNKNOWN) {
		bs_buf_puts(out, bs_event_text(e->type));
		return;
	}
	bs_buf_puts(out, cause == BS_CAUSE_LACK ? "lack of memory"
						: bs_cause_name(cause));
	if (e->zone != BS_EVENT_NO_ZONE)
		bs_buf_printf(out, " in zone %s",
			      bs_render_zone_name(s, e->zone));
	else
		bs_buf_puts(out, " for areas");
}

/* How many of each kind; the number of kinds. */
static size_t count_kinds(struct kind kinds[KINDS_MAX],
			  const struct bs_snapshot *s,
			  const struct bs_render_options *opt, uint64_t *all)
{
	size_t nr = 0;

	*all = 0;
	for (uint64_t i = 0; i < bs_snapshot_nr_events(s); i++) {
		const struct bs_abi_event *e = bs_snapshot_event(s, i);
		struct bs_buf text = BS_BUF_INIT;
		size_t k;

		if (!shown(e, opt))
			continue;
		put_kind(&text, s, e);
		for (k = 0; k < nr; k++)
			if (!strcmp(bs_buf_str(&kinds[k].text),
				    bs_buf_str(&text)))
				break;
		if (k == nr && nr < KINDS_MAX)
			kinds[nr++] = (struct kind){ text, 0 };
		else
			bs_buf_free(&text);
		if (k < nr)
			kinds[k].nr++;
		++*all;
	}
	return nr;
}

/* "mpv (pid 1234): 12 reports: 7 fragmentation in zone DMA, 5 lack of memory ..." */
static void put_overview(struct bs_buf *out, const struct bs_snapshot *s,
			 const struct bs_render_options *opt)
{
	struct kind kinds[KINDS_MAX] = { 0 };
	uint64_t all;
	size_t nr = count_kinds(kinds, s, opt, &all);

	if (all > 1) {
		bs_buf_puts_clean(out, bs_snapshot_header(s)->comm);
		bs_buf_printf(out,
			      " (pid %d): %" PRIu64 " reports, oldest first",
			      bs_snapshot_header(s)->pid, all);
		for (size_t k = 0; k < nr; k++)
			bs_buf_printf(out, "%s%" PRIu64 " %s", k ? ", " : ": ",
				      kinds[k].nr, bs_buf_str(&kinds[k].text));
		bs_buf_puts(out, "\n\n");
	}
	for (size_t k = 0; k < nr; k++)
		bs_buf_free(&kinds[k].text);
}

/* Events that the ring no longer holds, and those that were never made. */
static void put_rest(struct bs_buf *out, const struct bs_snapshot *s)
{
	uint64_t nr = bs_snapshot_nr_events(s);
	uint64_t suppressed =
		bs_snapshot_vmstat(s, BS_VMSTAT_EVENTS_SUPPRESSED);

	if (nr && bs_snapshot_event(s, 0)->number > 1)
		bs_buf_printf(
			out,
			"%" PRIu64
			" earlier events were overwritten; the log has them: buddyscope log %d\n",
			bs_snapshot_event(s, 0)->number - 1,
			bs_snapshot_header(s)->pid);
	if (suppressed)
		bs_buf_printf(out,
			      "%" PRIu64
			      " events were left out in all: too many of their "
			      "kind at once\n",
			      suppressed);
}

void bs_text_failures(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	uint64_t nr = 0;

	put_overview(out, s, opt);
	for (uint64_t i = 0; i < bs_snapshot_nr_events(s); i++) {
		const struct bs_abi_event *e = bs_snapshot_event(s, i);

		if (!shown(e, opt))
			continue;
		if (nr++)
			bs_buf_putc(out, '\n');
		put_event(out, s, opt, e);
	}
	if (nr)
		bs_buf_putc(out, '\n');
	else
		bs_buf_printf(out, "%s (pid %d): no request failed\n",
			      bs_snapshot_header(s)->comm,
			      bs_snapshot_header(s)->pid);
	put_rest(out, s);
}

void bs_json_failures(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	struct bs_json json;

	bs_render_begin(&json, out, s);
	bs_json_u64(&json, "events_suppressed",
		    bs_snapshot_vmstat(s, BS_VMSTAT_EVENTS_SUPPRESSED));
	bs_json_array(&json, "failures");
	for (uint64_t i = 0; i < bs_snapshot_nr_events(s); i++) {
		const struct bs_abi_event *e = bs_snapshot_event(s, i);

		if (!shown(e, opt))
			continue;
		bs_json_object(&json, NULL);
		bs_event_json(&json, s, e);
		if (e->site)
			bs_site_stack_json(&json, "stack", s, opt->symbolizer,
					   e->site);
		bs_pins_json(&json, s, opt->symbolizer,
			     bs_pins_of_event(s, e->number));
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}
