/* SPDX-License-Identifier: MIT */
/* pins.c - see pins.h. */
#include "shared/pins.h"

#include <inttypes.h>

#include "shared/sitestack.h"

#define TOLD	    4U /* holders of which a text tells */
#define TOLD_FRAMES 4U

const struct bs_abi_pins *bs_pins_of_event(const struct bs_snapshot *s,
					   uint64_t number)
{
	for (uint64_t i = 0; number && i < bs_snapshot_nr_pins(s); i++)
		if (bs_snapshot_pins(s, i)->event == number)
			return bs_snapshot_pins(s, i);
	return NULL;
}

const struct bs_abi_pins *bs_pins_of_request(const struct bs_snapshot *s,
					     uint32_t request, uint32_t order,
					     uint32_t zone)
{
	const struct bs_abi_pins *found = NULL;

	for (uint64_t i = 0; i < bs_snapshot_nr_pins(s); i++) {
		const struct bs_abi_pins *pins = bs_snapshot_pins(s, i);

		if (!pins->event && pins->request == request &&
		    pins->order == order && pins->zone == zone)
			found = pins;
	}
	return found;
}

bool bs_pins_last_request(const struct bs_snapshot *s, uint32_t order,
			  uint32_t *request, uint64_t *time_ns)
{
	for (uint64_t i = bs_snapshot_nr_pins(s); i--;) {
		const struct bs_abi_pins *pins = bs_snapshot_pins(s, i);

		if (!pins->event && pins->order == order) {
			*request = pins->request;
			*time_ns = pins->time_ns;
			return true;
		}
	}
	return false;
}

size_t bs_pins_named(const struct bs_abi_pins *pins)
{
	return pins->nr_holders < BS_NR_PINS ? pins->nr_holders : BS_NR_PINS;
}

static const char *use_key(uint32_t use)
{
	if (use == BS_USE_PCP)
		return "kept";
	switch (use) {
#define X(id, nr, key)                                                         \
	case nr:                                                               \
		return key;
		BS_USE_TABLE(X)
#undef X
	}
	return "other";
}

/* Somebody's, of whom we do not know. */
static bool has_owner(const struct bs_abi_pin *pin)
{
	return pin->use != BS_USE_TABLE && pin->use != BS_USE_PCP;
}

void bs_pin_no_site(struct bs_buf *out, const struct bs_abi_pin *pin)
{
	static const char *const pages[] = {
		[BS_USE_SLAB] = "slab pages",
		[BS_USE_LARGE] = "pages",
		[BS_USE_VMALLOC] = "vmalloc pages",
		[BS_USE_MMAP] = "mmap pages",
		[BS_USE_PCP] = "kept for reuse",
		[BS_USE_TABLE] = "buddyscope's own",
		[BS_USE_DMA] = "DMA pages",
	};

	bs_buf_puts(out, pin->use < sizeof(pages) / sizeof(pages[0])
				 ? pages[pin->use]
				 : "pages");
	if (has_owner(pin))
		bs_buf_puts(out, " of no known call site");
}

/* Why there is none. */
static void put_reason(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_abi_pin *pin)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);

	if (!has_owner(pin))
		return;
	if (h->trace_mode == BS_TRACE_OFF)
		bs_buf_puts(out, " (trace is off)");
	else if (h->trace_mode != BS_TRACE_EXACT || h->trace_gaps)
		bs_buf_puts(out, " (trace=exact knows it)");
	else if (pin->use == BS_USE_SLAB)
		bs_buf_puts(out, " (slabs' descriptors, free objects)");
}

static void put_holder(struct bs_buf *out, const struct bs_snapshot *s,
		       struct bs_symbolizer *sym, const struct bs_abi_pin *pin)
{
	bs_buf_printf(out, "          in %" PRIu32 " of them", pin->blocks);
	if (pin->alone)
		bs_buf_printf(out, " (alone in %" PRIu32 ")", pin->alone);
	bs_buf_printf(out, ", %" PRIu32 " page%s, ", pin->pages,
		      pin->pages == 1 ? "" : "s");
	if (pin->site) {
		bs_buf_printf(out, "site %" PRIu32 ": ", pin->site);
		bs_site_stack_line(out, s, sym, pin->site, TOLD_FRAMES);
	} else {
		bs_pin_no_site(out, pin);
		put_reason(out, s, pin);
	}
	bs_buf_putc(out, '\n');
}

/*
 * So few of the sites above that without them half of the blocks, or any, would be free.
 * What has no site nobody can leave out.
 */
static void put_together(struct bs_buf *out, const struct bs_abi_pins *pins,
			 size_t nr)
{
	size_t i = 0;

	if (!nr || !pins->holder[0].site)
		return;
	while (i + 1 < nr && pins->holder[i + 1].site &&
	       pins->holder[i].together * 2 < pins->nr_partial)
		i++;
	if (!pins->holder[i].together)
		return;
	bs_buf_puts(out, "          without the first");
	if (i)
		bs_buf_printf(out, " %zu", i + 1);
	bs_buf_printf(out, ", %" PRIu32 " of the %" PRIu32 " would be free\n",
		      pins->holder[i].together, pins->nr_partial);
}

static void put_holders(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym,
			const struct bs_abi_pins *pins, size_t max)
{
	size_t nr = bs_pins_named(pins);

	for (size_t i = 0; i < nr && i < max; i++)
		put_holder(out, s, sym, &pins->holder[i]);
	if (pins->nr_holders > max)
		bs_buf_printf(out, "          ... %zu more\n",
			      pins->nr_holders - max);
	put_together(out, pins, nr < max ? nr : max);
}

/* "44 blocks of 1024kB" */
static void put_blocks(struct bs_buf *out, const struct bs_snapshot *s,
		       const struct bs_abi_pins *pins)
{
	const struct bs_abi_zone *zone =
		pins->zone < bs_snapshot_nr_zones(s)
			? bs_snapshot_zone(s, pins->zone)
			: NULL;

	bs_buf_printf(out, "%" PRIu32 " blocks of %ukB%s", pins->nr_blocks,
		      BS_ABI_PAGE_BYTES / 1024 << pins->order,
		      zone && zone->managed_pages > BS_PINS_PAGES
			      ? " that were looked at"
			      : "");
}

static const char *part_text(const struct bs_abi_pins *pins)
{
	switch (pins->part) {
	case 8:
		return "an eighth";
	case 4:
		return "a quarter";
	default:
		return "half";
	}
}

void bs_pins_text(struct bs_buf *out, const struct bs_snapshot *s,
		  struct bs_symbolizer *sym, const struct bs_abi_pins *pins)
{
	bs_buf_puts(out, "Pinned:   ");
	if (pins->nr_partial)
		bs_buf_printf(out, "%" PRIu32 " of ", pins->nr_partial);
	else
		bs_buf_puts(out, "none of ");
	put_blocks(out, s, pins);
	bs_buf_printf(out, " %s at least %s free%s\n",
		      pins->nr_partial ? "are" : "is", part_text(pins),
		      pins->nr_partial ? "; in them lie"
				       : ": what is used is everywhere");
	put_holders(out, s, sym, pins, TOLD);
}

void bs_pins_zone_text(struct bs_buf *out, const struct bs_snapshot *s,
		       struct bs_symbolizer *sym,
		       const struct bs_abi_pins *pins)
{
	bs_buf_printf(out, "zone %s: %" PRIu32 " of ",
		      pins->zone < bs_snapshot_nr_zones(s)
			      ? bs_snapshot_zone(s, pins->zone)->name
			      : "?",
		      pins->nr_free);
	put_blocks(out, s, pins);
	bs_buf_printf(out, " are free, %" PRIu32 " more at least %s free%s\n",
		      pins->nr_partial, part_text(pins),
		      pins->nr_partial ? "; in these lie" : "");
	put_holders(out, s, sym, pins, BS_NR_PINS);
}

static void holder_json(struct bs_json *json, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, const struct bs_abi_pin *pin)
{
	bs_json_object(json, NULL);
	bs_json_u64(json, "site", pin->site);
	if (pin->site)
		bs_json_null(json, "use");
	else
		bs_json_str(json, "use", use_key(pin->use));
	bs_json_u64(json, "blocks", pin->blocks);
	bs_json_u64(json, "alone", pin->alone);
	bs_json_u64(json, "pages", pin->pages);
	bs_json_u64(json, "together", pin->together);
	if (pin->site)
		bs_site_stack_json(json, "stack", s, sym, pin->site);
	bs_json_object_end(json);
}

void bs_pins_json(struct bs_json *json, const struct bs_snapshot *s,
		  struct bs_symbolizer *sym, const struct bs_abi_pins *pins)
{
	if (!pins) {
		bs_json_null(json, "pinned");
		return;
	}
	bs_json_object(json, "pinned");
	bs_json_u64(json, "time_ns", pins->time_ns);
	bs_json_u64(json, "order", pins->order);
	bs_json_u64(json, "blocks", pins->nr_blocks);
	bs_json_u64(json, "free_blocks", pins->nr_free);
	bs_json_u64(json, "partial_blocks", pins->nr_partial);
	bs_json_u64(json, "part", pins->part);
	bs_json_u64(json, "free_pages", pins->free_pages);
	bs_json_u64(json, "partial_free_pages", pins->partial_free_pages);
	bs_json_u64(json, "nr_holders", pins->nr_holders);
	bs_json_array(json, "holders");
	for (size_t i = 0; i < bs_pins_named(pins); i++)
		holder_json(json, s, sym, &pins->holder[i]);
	bs_json_array_end(json);
	bs_json_object_end(json);
}
