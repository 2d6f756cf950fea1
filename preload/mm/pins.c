/* SPDX-License-Identifier: MIT */
/*
 * pins.c - whose memory lies between the free pages.
 *
 * Owns:   mm.pins (what is to be looked at), the ring of struct bs_abi_pins.
 * Layer:  mm, top.
 * Locks:  all for the walk, by mm_fork_prepare(); the event lock for mm.pins.  Memory
 *         by mmap, so that no zone is asked for any while it is looked at.
 *
 * A request that fails though enough pages are free asks for a walk, which the same
 * thread makes on its way out, when it holds no lock.  Reports are limited to 10 in 5 s,
 * and walks with them.  What it finds are call sites by the blocks that they keep: the
 * kernel's page_owner, for one order.  Memory that is kept for reuse and was not reclaimed
 * before is told as that, under the use PCP, which has no other meaning here.
 */
#include <string.h>

#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"

/* In one walk, which takes 0.3 ms, or up to 25 with millions of small objects. */
#define PINS_MAX_SECTIONS (BS_PINS_PAGES >> SECTION_ORDER)

/* Sites, and behind them memory without a site, by its use. */
#define NR_SITES (1U << TAG_SITE_BITS)
#define NR_KEYS	 (NR_SITES + BS_MAX_USES)

/* What is known of one key. */
struct pin {
	uint32_t slab;	      /* the last one that it was found in */
	uint32_t block_pages; /* in this block */
	uint32_t blocks, alone, pages;
	uint32_t place; /* among those that the record names, from 1; 0: none */
};

#define NR_PARTS 3U /* a half, a quarter, an eighth */

struct walk {
	enum {
		COUNT,	 /* blocks, by what part of them is free */
		NOTE,	 /* who is in the partial ones */
		TOGETHER /* in which only those are that the record names */
	} pass;
	uint64_t spanned_pages;
	uint32_t blocks[NR_PARTS + 1];
	uint64_t free_pages[NR_PARTS + 1];
	struct pin *pin;
	uint32_t *keys; /* of this block */
	uint32_t nr_keys;
	uint32_t *holders; /* keys of partial blocks */
	uint32_t nr_slabs;
	struct bs_abi_pins *out;
};

/* ---- what is to be looked at ------------------------------------------------------ */

static bool is_scattered(const struct mm_event *e)
{
	return (e->type == BS_EVENT_ALLOC_FAILED ||
		e->type == BS_EVENT_DMA_FAILED) &&
	       e->zone_nr >= 0 && e->order && e->order < MAX_ORDER &&
	       mm.zone[e->zone_nr].stat.free_pages >= 1UL << e->order;
}

void mm_pins_want(const struct mm_event *e, uint64_t number)
{
	struct mm_pins *p = &mm.pins;

	if (p->event || !is_scattered(e))
		return;
	p->event = number;
	p->zone_nr = (unsigned int)e->zone_nr;
	p->order = e->order;
	p->spanned_pages = mm.zone[p->zone_nr].stat.spanned_pages;
	mm_work_later(MM_WORK_PINS);
}

void mm_pins_ask(uint32_t request, uint32_t order)
{
	struct mm_pins *p = &mm.pins;

	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	p->asked = true;
	p->request = request;
	p->ask_order = order;
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
	mm_work_later(MM_WORK_PINS);
}

/* ---- one block ---------------------------------------------------------------------- */

static void note(struct walk *w, uint32_t key, uint64_t pages)
{
	struct pin *pin = &w->pin[key];

	if (!pin->block_pages)
		w->keys[w->nr_keys++] = key;
	pin->block_pages += (uint32_t)pages;
}

static uint32_t tag_key(uint64_t tag, uint32_t use)
{
	return tag_is_live(tag) && tag_site(tag) ? tag_site(tag)
						 : NR_SITES + use;
}

#define KEPT (NR_SITES + BS_USE_PCP)

/* With tracing, caches without tags are the library's own. */
static uint32_t unknown_key(const struct slab *slabp)
{
	if (!slabp->inuse)
		return KEPT;
	if (mm.config.tags && !(slabp->cache->flags & SLAB_TAGS))
		return NR_SITES + BS_USE_TABLE;
	return NR_SITES + BS_USE_SLAB;
}

/* Each site that has an object in the slab has its pages. */
static void note_slab(struct walk *w, const struct slab *slabp, uint64_t pages)
{
	const uint64_t *tags = slab_tags(slabp->cache, slabp);
	uint32_t i, key, slab = ++w->nr_slabs;
	bool known = false;

	for (i = 0; tags && i < slabp->cache->num; i++) {
		key = tag_key(tag_load(&tags[i]), BS_USE_SLAB);
		if (key >= NR_SITES)
			continue;
		known = true;
		if (w->pin[key].slab == slab)
			continue;
		w->pin[key].slab = slab;
		note(w, key, pages);
	}
	if (!known)
		note(w, unknown_key(slabp), pages);
}

static uint32_t area_key(const struct page *page)
{
	const struct vm_struct *area = page->area;

	return area->flags & BS_AREA_LAZY
		       ? KEPT
		       : tag_key(tag_load(&area->tag), page->use);
}

static bool is_free(const struct page *page)
{
	return page_kind(page) == PK_FREE || page_kind(page) == PK_PCP;
}

/* So many pages, in this block, of what begins at page. */
static void note_pages(struct walk *w, const struct page *page, uint64_t pages)
{
	switch (page_kind(page)) {
	case PK_SLAB:
		note_slab(w, page->slab, pages);
		break;
	case PK_LARGE:
		note(w, tag_key(tag_load(&page->tag), page->use), pages);
		break;
	case PK_LENT:
		note(w, area_key(page), pages);
		break;
	case PK_TRANSIT:
		note(w, NR_SITES + page->use, pages);
		break;
	default:
		note(w, NR_SITES + BS_USE_TABLE, pages);
	}
}

/* What is in nobody's way on a board. */
static bool is_ours(uint32_t key)
{
	return key == NR_SITES + BS_USE_TABLE || key == KEPT;
}

/* The block has been noted: what its keys have in it. */
static void count_block(struct walk *w)
{
	uint32_t i, theirs = 0;

	for (i = 0; i < w->nr_keys; i++)
		theirs += !is_ours(w->keys[i]);
	for (i = 0; i < w->nr_keys; i++) {
		struct pin *pin = &w->pin[w->keys[i]];

		if (!pin->blocks++)
			w->holders[w->out->nr_holders++] = w->keys[i];
		pin->alone += theirs + is_ours(w->keys[i]) == 1;
		pin->pages += pin->block_pages;
	}
}

/* Without how many of those that the record names would it be free? */
static void count_together(struct walk *w)
{
	uint32_t i, last = 0;

	for (i = 0; i < w->nr_keys; i++) {
		uint32_t place = w->pin[w->keys[i]].place;

		if (is_ours(w->keys[i]))
			continue;
		if (!place)
			return;
		last = MAX(last, place);
	}
	if (last)
		w->out->holder[last - 1].together++;
}

/* Each used thing from that at head on, as far as it lies in the block. */
static void note_block(struct walk *w, uint64_t head, uint64_t start,
		       uint64_t end)
{
	uint32_t i;

	while (head < end) {
		const struct page *page = pfn_to_page(head);
		uint64_t next = head + MAX(page_span(page), 1UL);

		if (!is_free(page))
			note_pages(w, page, MIN(next, end) - MAX(head, start));
		head = next;
	}
	if (w->pass == TOGETHER)
		count_together(w);
	else
		count_block(w);
	for (i = 0; i < w->nr_keys; i++)
		w->pin[w->keys[i]].block_pages = 0;
	w->nr_keys = 0;
}

static void count_free(struct walk *w, uint64_t used)
{
	uint64_t size = 1UL << w->out->order, free = size - used;
	unsigned int part = 0;

	w->out->nr_blocks++;
	w->out->nr_free += !used;
	if (!used)
		return;
	while (part < NR_PARTS && free << (part + 1) < size)
		part++;
	w->blocks[part]++;
	w->free_pages[part] += free;
}

/* Which blocks are partial: so many that most free pages are in them. */
static void choose_part(struct walk *w)
{
	struct bs_abi_pins *out = w->out;
	uint64_t all = 0, free;
	unsigned int i;

	for (i = 0; i <= NR_PARTS; i++)
		all += w->free_pages[i];
	out->nr_partial = w->blocks[0];
	free = w->free_pages[0];
	for (i = 1; i < NR_PARTS && free * 2 < all; i++) {
		out->nr_partial += w->blocks[i];
		free += w->free_pages[i];
	}
	out->part = 1U << i;
	out->free_pages = (uint32_t)all;
	out->partial_free_pages = (uint32_t)free;
}

/* The block from start on; *head is what its first page belongs to, then the next's. */
static void walk_block(struct walk *w, uint64_t *head, uint64_t start)
{
	uint64_t size = 1UL << w->out->order, end = start + size;
	uint64_t at = *head, first = at, used = 0;

	for (;;) {
		const struct page *page = pfn_to_page(at);
		uint64_t next = at + MAX(page_span(page), 1UL);

		if (!is_free(page))
			used += MIN(next, end) - MAX(at, start);
		if (next > end)
			break;
		at = next;
		if (at == end)
			break;
	}
	*head = at;
	if (w->pass == COUNT)
		count_free(w, used);
	else if (used && (size - used) * w->out->part >= size)
		note_block(w, first, start, end);
}

/* ---- the walk --------------------------------------------------------------------------- */

static void walk_section(struct walk *w, uint64_t pfn)
{
	uint64_t stop = pfn + SECTION_PAGES, head = pfn;

	for (; pfn < stop; pfn += 1UL << w->out->order)
		walk_block(w, &head, pfn);
}

static void walk_zone(struct walk *w, const struct zone *zone)
{
	uint64_t nr_sections = w->spanned_pages >> SECTION_ORDER;
	uint64_t step = (nr_sections + PINS_MAX_SECTIONS - 1) /
			PINS_MAX_SECTIONS,
		 i;
	uint64_t first = zone->start_pfn >> SECTION_ORDER;

	for (i = first; i < first + nr_sections; i += step) {
		uint8_t state = section_state(i);

		if (!(state & SECT_ONLINE) ||
		    i << SECTION_ORDER < zone->lost_end)
			continue; /* or after a raw fork: nobody knows */
		if (!(state & SECT_FRESH)) {
			walk_section(w, i << SECTION_ORDER);
		} else if (w->pass == COUNT) {
			/* nothing was ever taken from it */
			w->out->nr_blocks += SECTION_PAGES >> w->out->order;
			w->out->nr_free += SECTION_PAGES >> w->out->order;
		}
	}
}

static bool keeps_more(const struct pin *a, const struct bs_abi_pin *b)
{
	if (a->blocks != b->blocks)
		return a->blocks > b->blocks;
	return a->alone != b->alone ? a->alone > b->alone : a->pages > b->pages;
}

/* Into a list of which the first nr are in their places, and max are kept. */
static uint32_t rank(struct bs_abi_pin *list, uint32_t nr, uint32_t max,
		     const struct pin *pin, uint32_t key)
{
	uint32_t i = nr;

	for (; i && keeps_more(pin, &list[i - 1]); i--)
		if (i < max)
			list[i] = list[i - 1];
	if (i < max)
		list[i] = (struct bs_abi_pin){ .site = key < NR_SITES ? key : 0,
					       .use = key < NR_SITES
							      ? 0
							      : key - NR_SITES,
					       .blocks = pin->blocks,
					       .alone = pin->alone,
					       .pages = pin->pages };
	return MIN(nr + 1, max);
}

#define NAMELESS_MIN 2U /* that are named, though there are more sites */

/* Sites, then what has none; their places. */
static void rank_all(struct walk *w)
{
	struct bs_abi_pin *list = w->out->holder;
	struct bs_abi_pin nameless[BS_MAX_USES] = { 0 };
	uint32_t i, nr = 0, nr_nameless = 0;

	for (i = 0; i < w->out->nr_holders; i++) {
		uint32_t key = w->holders[i];

		if (key < NR_SITES)
			nr = rank(list, nr, BS_NR_PINS, &w->pin[key], key);
		else
			nr_nameless = rank(nameless, nr_nameless, BS_MAX_USES,
					   &w->pin[key], key);
	}
	nr_nameless = MIN(nr_nameless, MAX(NAMELESS_MIN, BS_NR_PINS - nr));
	nr = MIN(nr, BS_NR_PINS - nr_nameless);
	memcpy(list + nr, nameless, nr_nameless * sizeof(*list));
	for (i = 0; i < nr + nr_nameless; i++)
		w->pin[list[i].site ? list[i].site : NR_SITES + list[i].use]
			.place = i + 1;
}

static void walk_locked(struct walk *w, const struct zone *zone)
{
	walk_zone(w, zone);
	choose_part(w);
	w->pass = NOTE;
	walk_zone(w, zone);
	rank_all(w);
	w->pass = TOGETHER;
	walk_zone(w, zone);
}

static void walk(const struct mm_pins *what, struct bs_abi_pins *out)
{
	size_t pin_bytes = NR_KEYS * sizeof(struct pin);
	size_t bytes = pin_bytes + 2 * NR_KEYS * sizeof(uint32_t);
	struct walk w = { .out = out, .spanned_pages = what->spanned_pages };
	char *memory = sys_reserve(bytes);
	uint32_t i;

	if (!memory)
		return;
	w.pin = (struct pin *)(void *)memory;
	w.keys = (uint32_t *)(void *)(memory + pin_bytes);
	w.holders = w.keys + NR_KEYS;
	mm_fork_prepare();
	walk_locked(&w, &mm.zone[what->zone_nr]);
	mm_fork_parent();
	for (i = 1; i < MIN(out->nr_holders, BS_NR_PINS); i++)
		out->holder[i].together += out->holder[i - 1].together;
	sys_munmap(memory, bytes);
}

static void publish_locked(const struct bs_abi_pins *found)
{
	uint64_t number = ++mm.pins.nr;
	char *out = mm_ring_begin(BS_SEC_PINS, mm_wipe->pub.pins, number);

	if (!out)
		return;
	memcpy(out + sizeof(number), (const char *)found + sizeof(number),
	       sizeof(*found) - sizeof(number));
	mm_ring_end(BS_SEC_PINS, out, number);
}

static void look(const struct mm_pins *what, uint32_t request)
{
	struct bs_abi_pins found = { .event = what->event,
				     .request = request,
				     .time_ns = sys_now_ns(),
				     .zone = what->zone_nr,
				     .order = what->order };

	walk(what, &found);
	if (!found.nr_blocks)
		return;
	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	publish_locked(&found);
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
}

/* Nobody waits for what is kept for reuse: it is not in the way. */
static void answer(const struct mm_pins *asked)
{
	struct mm_pins what = { .order = asked->ask_order };
	struct bs_abi_header *h = mm_wipe->pub.header;

	if (what.order && what.order < MAX_ORDER) {
		mm_reclaim();
		for (; what.zone_nr < mm.nr_zones; what.zone_nr++) {
			what.spanned_pages =
				mm.zone[what.zone_nr].stat.spanned_pages;
			look(&what, asked->request);
		}
	}
	if (h)
		__atomic_store_n(&h->pins_request_seen, asked->request,
				 __ATOMIC_RELEASE);
}

void mm_pins_make(void)
{
	struct mm_pins what;

	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	what = mm.pins;
	mm.pins.event = 0;
	mm.pins.asked = false;
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
	/* Neither: another thread was first. */
	if (what.event)
		look(&what, 0);
	if (what.asked)
		answer(&what);
}
