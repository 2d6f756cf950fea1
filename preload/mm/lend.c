/* SPDX-License-Identifier: MIT */
/*
 * lend.c - frames lent to areas.
 *
 * Owns:   the chain of lent blocks of each vm_struct, struct page of these.
 * Layer:  mm, above page_alloc.
 * Locks:  the vm lock of the area; the zone lock inside.
 *
 * User space cannot write page tables.  An area is a mapping of its own, and
 * the frames that it would take are taken from the zones and stay unused, so
 * that each byte is backed once and the zones show who has it.
 */
#include <sys/mman.h>

#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"

static void lent_push(struct vm_struct *area, uint64_t pfn, unsigned int order,
		      enum bs_use use, bool zero)
{
	struct page *page = pfn_to_page(pfn);

	set_page_kind(page, PK_LENT);
	page->order = (uint8_t)order;
	page->flags = zero ? PG_ZERO : 0;
	page->area = area;
	page->use = (uint32_t)use;
	page->next_lent = area->lent;
	area->lent = (uint32_t)pfn + 1;
}

/* Detach a lent block of at most max_pages, splitting the first if needed. */
static uint64_t lent_pop(struct vm_struct *area, uint64_t max_pages)
{
	uint64_t pfn = area->lent - 1UL;
	struct page *page = pfn_to_page(pfn);

	area->lent = page->next_lent;
	while (1UL << page->order > max_pages) {
		page->order--;
		lent_push(area, pfn + (1UL << page->order), page->order,
			  page->use, page->flags & PG_ZERO);
	}
	return pfn;
}

/* Order for the next block: as large as fits; page by page in a fixed zone. */
static unsigned int lend_order(const struct vm_struct *area, uint64_t nr_pages)
{
	unsigned int order = MAX_ORDER - 1;

	if (!mm.zone[gfp_zone(area->gfp)].elastic)
		return 0;
	while (1UL << order > nr_pages)
		order--;
	return order;
}

uint64_t lend_pages(struct vm_struct *area, uint64_t nr_pages, enum bs_use use,
		    bool must)
{
	gfp_t gfp = area->gfp | __GFP_LENT | __GFP_MOVABLE |
		    (must ? 0 : __GFP_NOWARN | __GFP_NORETRY | __GFP_TRY);
	uint64_t got = 0;

	while (got < nr_pages) {
		unsigned int order = lend_order(area, nr_pages - got);
		struct page *page = alloc_pages(gfp, order, use);
		uint64_t pfn;
		bool zero;

		if (!page)
			break;
		pfn = page_to_pfn(page);
		section_never_huge(pfn >> SECTION_ORDER);
		zero = (page->flags & PG_ZERO) ||
		       !section_mapped(pfn >> SECTION_ORDER) ||
		       sys_madvise(pfn_to_virt(pfn), PAGE_SIZE << order,
				   MADV_DONTNEED) == 0;
		lent_push(area, pfn, order, use, zero);
		got += 1UL << order;
	}
	area->charged_pages += got;
	if (got < nr_pages && must) {
		unlend_pages(area, got, use);
		got = 0;
	}
	return got;
}

void unlend_pages(struct vm_struct *area, uint64_t nr_pages, enum bs_use use)
{
	area->charged_pages -= nr_pages;
	while (nr_pages) {
		uint64_t pfn = lent_pop(area, nr_pages);
		const struct page *page = pfn_to_page(pfn);
		unsigned int order = page->order;

		nr_pages -= 1UL << order;
		free_page_range(pfn, 1UL << order, use, page->flags & PG_ZERO);
	}
}

void move_lent_pages(struct vm_struct *from, struct vm_struct *to,
		     uint64_t nr_pages)
{
	from->charged_pages -= nr_pages;
	to->charged_pages += nr_pages;
	while (nr_pages) {
		uint64_t pfn = lent_pop(from, nr_pages);
		const struct page *page = pfn_to_page(pfn);

		nr_pages -= 1UL << page->order;
		lent_push(to, pfn, page->order, page->use,
			  page->flags & PG_ZERO);
	}
}
