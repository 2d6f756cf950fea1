/* SPDX-License-Identifier: MIT */
/*
 * vpages.c - areas that name their pages: vmalloc(), vmap().
 *
 * Owns:   vm_struct.pages, the PG_VMAP mark.
 * Layer:  mm, above vmalloc and kmalloc.
 * Locks:  the vm lock.
 * Source: Linux 2.6.29 mm/vmalloc.c (page array from kmalloc or, beyond a page, from
 *         vmalloc itself).
 *
 * vmalloc():  the area's memory is a mapping of its own and its frames are lent, as
 *             with every area; pages[] says which frame pays for which page.
 * vmap():     the pages have content.  Their page table entries are moved to the area,
 *             one by one, and back by vunmap().
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/mm/page_alloc.h"
#include "preload/mm/vmalloc.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 /* Linux 5.7 */
#endif

/* ---- the array of pages ---------------------------------------------------- */

/* *flags gets BS_AREA_VPAGES when the array is an area itself. */
static struct page **alloc_array(uint64_t nr_pages, gfp_t gfp, uint32_t *flags)
{
	size_t bytes = nr_pages * sizeof(struct page *);

	*flags = bytes > PAGE_SIZE ? BS_AREA_VPAGES : 0;
	return bytes > PAGE_SIZE ? vmalloc(bytes, gfp)
				 : mm_kmalloc(bytes, GFP_KERNEL);
}

struct page **vm_take_pages(struct vm_struct *area)
{
	struct page **pages = area->pages;

	area->pages = NULL;
	area->nr_pages = 0;
	area->flags &= ~BS_AREA_VPAGES;
	return pages;
}

void vm_name_array(const struct vm_struct *area)
{
	struct vm_struct *array = area->flags & BS_AREA_VPAGES
					  ? vm_find((uint64_t)area->pages)
					  : NULL;

	if (!array)
		return;
	array->tag = area->tag & ~TAG_LIVE;
	vm_publish(array);
}

void vm_free_pages(struct page **pages)
{
	struct mm_block b;

	if (pages && mm_lookup(pages, &b) == 0)
		mm_free(pages, &b);
}

/* ---- vmalloc ------------------------------------------------------------------ */

/* The chain has the frame that was lent last in front. */
static void name_frames(const struct vm_struct *area)
{
	uint64_t i = area->charged_pages;
	uint32_t at = area->lent;

	while (at) {
		struct page *page = pfn_to_page(at - 1UL);
		uint64_t n = 1UL << page->order;

		while (n)
			area->pages[--i] = page + --n;
		at = page->next_lent;
	}
}

void *vmalloc(size_t size, gfp_t gfp)
{
	uint64_t bytes = ALIGN_UP((uint64_t)size, PAGE_SIZE);
	struct vm_request req = {
		.align = PAGE_SIZE, .gfp = gfp, .exact = true, .strict = true
	};
	struct vm_struct *area = NULL;
	struct page **pages = NULL;
	uint32_t flags;
	void *p = NULL;

	if (bytes >= size && bytes && bytes <= mm.nr_pfns << PAGE_SHIFT)
		pages = alloc_array(bytes >> PAGE_SHIFT, gfp | __GFP_NOWARN,
				    &flags);
	if (!pages)
		goto out_failed;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vmalloc_area(bytes, &req);
	if (area) {
		area->requested_bytes = size;
		area->pages = pages;
		area->nr_pages = (uint32_t)(bytes >> PAGE_SHIFT);
		area->flags |= flags;
		name_frames(area);
		vm_publish(area);
		p = (void *)area->addr;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	if (p)
		return p;
	vm_free_pages(pages);
out_failed:
	vm_request_failed(&req, size, false);
	return NULL;
}

struct page *vmalloc_to_page(const void *addr)
{
	struct page *page = NULL;
	struct vm_struct *area;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find((uint64_t)addr);
	if (area && area->addr <= (uint64_t)addr && area->pages)
		page = area->pages[((uint64_t)addr - area->addr) >> PAGE_SHIFT];
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return page;
}

/* ---- vmap ----------------------------------------------------------------------- */

/* The head of the block that a frame is in; NULL when that is not large memory. */
static struct page *large_head(struct page *page)
{
	uint64_t pfn = page_to_pfn(page), head;
	unsigned int order;

	if (pfn >= mm.nr_pfns || !mm_in_arena(pfn_to_virt(pfn)))
		return NULL;
	for (order = 0; order < MAX_ORDER; order++) {
		head = ALIGN_DOWN(pfn, 1UL << order);
		if (page_kind(pfn_to_page(head)) != PK_TAIL)
			break;
	}
	if (order == MAX_ORDER || page_kind(pfn_to_page(head)) != PK_LARGE ||
	    pfn - head >= pfn_to_page(head)->nr_pages)
		return NULL;
	return pfn_to_page(head);
}

bool vmap_covers(const struct page *head)
{
	uint64_t i;

	for (i = 0; i < head->nr_pages; i++)
		if (head[i].flags & PG_VMAP)
			return true;
	return false;
}

static bool move_page(uint64_t from, uint64_t to)
{
	return !sys_is_err(sys_mremap(
		(void *)from, PAGE_SIZE, PAGE_SIZE,
		MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, (void *)to));
}

/*
 * Where the system is short of mappings (max_map_count) a page is copied: its home
 * is memory all the time, unless the system gave up half-way.
 */
static void move_or_copy(char *from, char *to)
{
	int err;

	if (move_page((uint64_t)from, (uint64_t)to))
		return;
	err = sys_map_at(to, PAGE_SIZE);
	if (err && err != -EEXIST)
		sys_die("vunmap: page %p cannot be moved back", (void *)to);
	memcpy(to, from, PAGE_SIZE);
}

/* The first n pages of the area go home. */
static void move_back(struct vm_struct *area, uint64_t n)
{
	while (n--) {
		struct page *page = area->pages[n];

		move_or_copy((char *)area->addr + (n << PAGE_SHIFT),
			     pfn_to_virt(page_to_pfn(page)));
		page->flags &= (uint8_t)~PG_VMAP;
	}
}

static uint64_t move_there(struct vm_struct *area)
{
	uint64_t i;

	for (i = 0; i < area->nr_pages; i++) {
		struct page *page = area->pages[i];

		if (!large_head(page) || page->flags & PG_VMAP)
			break;
		if (!move_page((uint64_t)pfn_to_virt(page_to_pfn(page)),
			       area->addr + (i << PAGE_SHIFT)))
			break;
		page->flags |= PG_VMAP;
	}
	return i;
}

/* vm lock held. */
static struct vm_struct *map_pages(struct page **pages, unsigned int n,
				   struct vm_request *req)
{
	uint64_t bytes = (uint64_t)n << PAGE_SHIFT, moved;
	uint64_t addr = vm_space_get(bytes, PAGE_SIZE, req);
	struct vm_struct *area;

	if (!addr)
		return NULL;
	area = vm_insert(addr, bytes, BS_AREA_VMAP, PROT_READ | PROT_WRITE,
			 GFP_KERNEL);
	if (!area)
		goto out_unmap;
	area->guard_bytes = VM_GUARD_BYTES;
	area->pages = pages;
	area->nr_pages = n;
	moved = move_there(area);
	if (moved == n)
		return area;
	move_back(area, moved);
	vm_take_pages(area);
	vm_remove(area);
out_unmap:
	vm_space_put(addr, bytes + VM_GUARD_BYTES);
	return NULL;
}

void *vmap(struct page *const *pages, unsigned int n, gfp_t gfp, uint64_t tag)
{
	struct vm_request req = { .align = PAGE_SIZE,
				  .gfp = gfp,
				  .strict = true };
	struct vm_struct *area = NULL;
	struct page **copy = NULL;
	uint32_t flags = 0;
	void *p = NULL;

	if (n && n <= mm.nr_pfns)
		copy = alloc_array(n, gfp | __GFP_NOWARN, &flags);
	if (!copy)
		goto out_failed;
	memcpy(copy, pages, n * sizeof(*copy));
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = map_pages(copy, n, &req);
	if (area) {
		area->flags |= flags;
		area->tag = tag;
		__atomic_add_fetch(&mm.nr_vmaps, 1, __ATOMIC_RELAXED);
		vm_publish(area);
		vm_name_array(area);
		p = (void *)area->addr;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	if (p)
		return p;
	vm_free_pages(copy);
out_failed:
	vm_request_failed(&req, (size_t)n << PAGE_SHIFT, false);
	return NULL;
}

int vunmap(void *addr)
{
	struct page **pages = NULL;
	struct vm_struct *area;
	int err = -EINVAL;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find((uint64_t)addr);
	if (area && area->addr == (uint64_t)addr &&
	    area->flags & BS_AREA_VMAP) {
		move_back(area, area->nr_pages);
		pages = vm_take_pages(area);
		vm_space_put(area->addr, area->size + area->guard_bytes);
		if (area->tag && mm.client.area_gone)
			mm.client.area_gone(area->tag, 0, 1);
		vm_remove(area);
		__atomic_sub_fetch(&mm.nr_vmaps, 1, __ATOMIC_RELAXED);
		err = 0;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	vm_free_pages(pages);
	return err;
}
