/* SPDX-License-Identifier: MIT */
/*
 * tags.c - the vectors of tags, and all live tags, found by a walk over the frames.
 *
 * Owns:   a slab's vector, from the first object with a tag to the slab's end: a word
 *         for each object, in a cache whose objects have no tags.
 *         The walk reads what mm_verify() proves, without proving it.  A forked child
 *         rebuilds its counters from it, so it costs a load per object and a few
 *         instructions per block.
 * Layer:  mm, top.
 * Locks:  none for a vector; all for the walk, by mm_fork_prepare().
 */
#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"

/* Of threads that make it at once one is first. */
__attribute__((noinline)) bool mm_make_tag(struct mm_block *b)
{
	uint64_t *tags, *before = NULL;

	tags = kmem_cache_alloc(b->cache->tags_cache,
				__GFP_ZERO | __GFP_NOWARN);
	if (!tags)
		return false;
	if (!__atomic_compare_exchange_n(&b->slab->tags, &before, tags, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		kmem_cache_free(b->cache->tags_cache, tags);
		tags = before;
	}
	b->tag = &tags[b->objnr];
	return true;
}

struct visit {
	void (*fn)(void *arg, uint64_t tag, uint64_t requested_bytes);
	void *arg;
};

static void visit_slab(const struct visit *v, const struct slab *slabp)
{
	const struct kmem_cache *cachep = slabp->cache;
	const uint64_t *tags = slab_tags(cachep, slabp);
	uint32_t i;

	for (i = 0; tags && i < cachep->num; i++) {
		uint64_t tag = tag_load(&tags[i]);

		if (tag_is_live(tag))
			v->fn(v->arg, tag,
			      obj_usable(cachep, slabp, i) - tag_slack(tag));
	}
}

static void visit_frame(const struct visit *v, const struct page *page)
{
	uint8_t kind = page_kind(page);

	if (kind == PK_SLAB)
		visit_slab(v, page->slab);
	else if (kind == PK_LARGE && tag_is_live(tag_load(&page->tag)))
		v->fn(v->arg, tag_load(&page->tag), page->requested_bytes);
}

/* A zone that a raw fork left unfinished may have frames that are nowhere. */
static void visit_zone(const struct visit *v, const struct zone *zone)
{
	uint64_t pfn = zone->start_pfn;
	uint64_t end = pfn + zone->stat.spanned_pages;

	while (pfn < end) {
		if ((section_state(pfn >> SECTION_ORDER) &
		     (SECT_ONLINE | SECT_FRESH)) != SECT_ONLINE) {
			pfn = ALIGN_DOWN(pfn, SECTION_PAGES) + SECTION_PAGES;
			continue;
		}
		visit_frame(v, pfn_to_page(pfn));
		pfn += MAX(page_span(pfn_to_page(pfn)), 1UL);
	}
}

static int visit_area(struct vm_struct *area, void *arg)
{
	const struct visit *v = arg;
	uint64_t tag = tag_load(&area->tag);

	if (tag_is_live(tag) && !(area->flags & BS_AREA_LAZY))
		v->fn(v->arg, tag, vm_site_bytes(area));
	return 0;
}

void mm_for_each_tag(void (*fn)(void *arg, uint64_t tag,
				uint64_t requested_bytes),
		     void *arg)
{
	struct visit v = { .fn = fn, .arg = arg };
	unsigned int i;

	mm_fork_prepare();
	for (i = 0; i < mm.nr_zones; i++)
		visit_zone(&v, &mm.zone[i]);
	vm_walk(visit_area, &v);
	mm_fork_parent();
}
