/* SPDX-License-Identifier: MIT */
/*
 * verify.c - mm_verify(): proves the invariants that mm.h lists.
 *
 * Owns:   nothing; reads everything.
 * Layer:  mm, top.
 * Locks:  all, by mm_fork_prepare().  Allocates only by mmap.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "preload/mm/bitset.h"
#include "preload/mm/buddy.h"
#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"

typedef void live_fn_t(void *arg, uint64_t tag, uint64_t requested_bytes);

/* What the walk found. */
struct walk {
	char *why;
	size_t why_len;
	bool broken;
	live_fn_t *live_fn;
	void *live_arg;
	uint64_t used[BS_NR_USES];
	uint64_t nr_free[MM_NR_TYPES][MAX_ORDER];
	uint64_t nr_blocks[MM_NR_TYPES];
	uint64_t free_pages, dirty_pages, managed, reclaimable;
	/* all objects in array_caches, sorted */
	void **cached;
	size_t nr_cached, cached_bytes;
	uint64_t last_end; /* areas: end of the one before */
	uint64_t lent[2];  /* pages by use: vmalloc, mmap */
	uint64_t lent_found[2];
	uint64_t window_bytes;
};

#define fail(w, ...)                                                           \
	do {                                                                   \
		if (!(w)->broken && (w)->why)                                  \
			sys_format((w)->why, (w)->why_len, __VA_ARGS__);       \
		(w)->broken = true;                                            \
	} while (0)

/* ---- zones -------------------------------------------------------------------- */

static void check_free(struct walk *w, struct zone *zone, uint64_t pfn)
{
	const struct page *page = pfn_to_page(pfn);
	unsigned int order = page->order, type = page->migratetype, t, o;
	uint64_t buddy = pfn ^ (1UL << order), i;

	if (order >= MAX_ORDER || (pfn & ((1UL << order) - 1)) ||
	    type >= MM_NR_TYPES) {
		fail(w, "I2: free block %lx has order %u, type %u",
		     (unsigned long)pfn, order, type);
		return;
	}
	for (i = 1; i < 1UL << order; i++)
		if (page_kind(&page[i]) != PK_TAIL) {
			fail(w, "I2: frame %lx in free block %lx has kind %u",
			     (unsigned long)(pfn + i), (unsigned long)pfn,
			     page[i].kind);
			break;
		}
	for (t = 0; t < MM_NR_TYPES; t++)
		for (o = 0; o < MAX_ORDER; o++) {
			bool bit;

			if (pfn & ((1UL << o) - 1))
				continue;
			bit = bitset_test(&zone->free_area[o].free_list[t],
					  (pfn - zone->start_pfn) >> o);
			if (bit != (t == type && o == order))
				fail(w,
				     "I3: free block %lx order %u type %u: bit of order %u type %u is %d",
				     (unsigned long)pfn, order, type, o, t,
				     bit);
		}
	if (order < MAX_ORDER - 1 && buddy > pfn &&
	    page_kind(pfn_to_page(buddy)) == PK_FREE &&
	    pfn_to_page(buddy)->order == order)
		fail(w, "I4: free buddies %lx and %lx of order %u",
		     (unsigned long)pfn, (unsigned long)buddy, order);
	w->nr_free[type][order]++;
	w->free_pages += 1UL << order;
	if (!(page->flags & PG_ZERO))
		w->dirty_pages += 1UL << order;
}

static void check_slab_pages(struct walk *w, uint64_t pfn)
{
	const struct page *page = pfn_to_page(pfn);
	struct kmem_cache *cachep = page->cache;
	uint64_t i, nr = cachep->nr_pages;

	for (i = 0; i < nr; i++)
		if (page_kind(&page[i]) != PK_SLAB || page[i].cache != cachep ||
		    page[i].slab != page->slab) {
			fail(w, "I7: frame %lx of a slab of %s names another",
			     (unsigned long)(pfn + i), cachep->name);
			return;
		}
	if (page->slab->cache != cachep ||
	    ALIGN_DOWN(virt_to_pfn(page->slab->s_mem),
		       1UL << cachep->gfporder) != pfn)
		fail(w,
		     "I7: frame %lx names slab %p of %s, which lies elsewhere",
		     (unsigned long)pfn, (void *)page->slab,
		     page->slab->cache->name);
	w->used[BS_USE_SLAB] += nr;
	if (cachep->flags & SLAB_RECLAIM_ACCOUNT)
		w->reclaimable += nr;
}

static void check_large(struct walk *w, uint64_t pfn)
{
	const struct page *page = pfn_to_page(pfn);
	uint64_t i, tag;

	for (i = 1; i < page->nr_pages; i++)
		if (page_kind(&page[i]) != PK_TAIL) {
			fail(w, "I12: frame %lx in large block %lx has kind %u",
			     (unsigned long)(pfn + i), (unsigned long)pfn,
			     page[i].kind);
			return;
		}
	tag = page_kind(page) == PK_LARGE ? tag_load(&page->tag) : 0;
	if (tag && w->live_fn)
		w->live_fn(w->live_arg, tag, page->requested_bytes);
	w->used[page->use] += page->nr_pages;
}

static uint64_t check_frame(struct walk *w, struct zone *zone, uint64_t pfn)
{
	const struct page *page = pfn_to_page(pfn);

	section_settle(pfn >> SECTION_ORDER);
	switch (page_kind(page)) {
	case PK_FREE:
		check_free(w, zone, pfn);
		if (page->order >= MAX_ORDER)
			return 1;
		break;
	case PK_SLAB:
		check_slab_pages(w, pfn);
		break;
	case PK_LARGE:
	case PK_TRANSIT:
	case PK_TABLE:
		check_large(w, pfn);
		break;
	case PK_LENT:
		w->used[page->use] += 1UL << page->order;
		w->lent_found[page->use == BS_USE_MMAP] += 1UL << page->order;
		break;
	case PK_PCP:
		w->used[BS_USE_PCP]++;
		break;
	case PK_LOST:
		w->used[BS_USE_TABLE] += 1UL << page->order;
		break;
	default:
		fail(w, "I1: frame %lx is nowhere (kind %u)",
		     (unsigned long)pfn, page->kind);
	}
	return page_span(page);
}

static void compare_zone(struct walk *w, const struct zone *zone)
{
	const struct bs_abi_zone *s = &zone->stat;
	uint64_t used = 0;
	unsigned int t, o;

	for (t = 0; t < MM_NR_TYPES; t++) {
		for (o = 0; o < MAX_ORDER; o++)
			if (w->nr_free[t][o] != s->nr_free[t][o])
				fail(w,
				     "I5: %s order %u type %u: %lu free, counted %lu",
				     zone->name, o, t,
				     (unsigned long)w->nr_free[t][o],
				     (unsigned long)s->nr_free[t][o]);
		if (w->nr_blocks[t] != s->nr_blocks[t])
			fail(w, "I14: %s type %u: %lu pageblocks, counted %lu",
			     zone->name, t, (unsigned long)w->nr_blocks[t],
			     (unsigned long)s->nr_blocks[t]);
	}
	if (w->free_pages != s->free_pages)
		fail(w, "I5: %s: %lu pages free, counted %lu", zone->name,
		     (unsigned long)w->free_pages,
		     (unsigned long)s->free_pages);
	if (w->dirty_pages != zone->dirty_free_pages)
		fail(w, "I5: %s: %lu dirty pages free, counted %lu", zone->name,
		     (unsigned long)w->dirty_pages,
		     (unsigned long)zone->dirty_free_pages);
	for (t = 0; t < BS_NR_USES; t++) {
		used += s->used_pages[t];
		if (w->used[t] != s->used_pages[t])
			fail(w, "I6: %s use %u: %lu pages, counted %lu",
			     zone->name, t, (unsigned long)w->used[t],
			     (unsigned long)s->used_pages[t]);
	}
	if (w->reclaimable != s->slab_reclaimable_pages)
		fail(w, "I6: %s: %lu reclaimable slab pages, counted %lu",
		     zone->name, (unsigned long)w->reclaimable,
		     (unsigned long)s->slab_reclaimable_pages);
	if (s->managed_pages != w->managed ||
	    s->managed_pages != s->free_pages + used)
		fail(w, "I6: %s: managed %lu, online %lu, free + used %lu",
		     zone->name, (unsigned long)s->managed_pages,
		     (unsigned long)w->managed,
		     (unsigned long)(s->free_pages + used));
}

static void check_pcp_list(struct walk *w, const struct zone *zone,
			   unsigned int slot, unsigned int type)
{
	const struct per_cpu_pages *pcp = &zone->pcp[slot];
	const uint32_t *list = pcp->pfn[type];
	unsigned int i, j;

	for (i = 0; i < pcp->count[type]; i++) {
		const struct page *page = pfn_to_page(list[i]);

		if (page_kind(page) != PK_PCP || page->migratetype != type)
			fail(w,
			     "I15: %s: frame %x in a per-CPU list is not so marked",
			     zone->name, list[i]);
		for (j = 0; j < i; j++)
			if (list[j] == list[i])
				fail(w,
				     "I15: %s: frame %x twice in a per-CPU list",
				     zone->name, list[i]);
	}
}

static void check_pcp(struct walk *w, const struct zone *zone)
{
	unsigned int slot, t;
	uint64_t sum = 0;

	for (slot = 0; slot < mm.nr_slots; slot++) {
		uint64_t count = 0;

		for (t = 0; t < MM_NR_TYPES; t++) {
			count += zone->pcp[slot].count[t];
			check_pcp_list(w, zone, slot, t);
		}
		if (count != zone->stat.pcp_count[slot])
			fail(w,
			     "I15: %s: CPU slot %u has %lu pages, counted %u",
			     zone->name, slot, (unsigned long)count,
			     zone->stat.pcp_count[slot]);
		sum += count;
	}
	if (sum != zone->stat.used_pages[BS_USE_PCP])
		fail(w, "I15: %s: %lu pages in per-CPU lists, counted %lu",
		     zone->name, (unsigned long)sum,
		     (unsigned long)zone->stat.used_pages[BS_USE_PCP]);
}

static void check_zone(struct walk *w, struct zone *zone)
{
	uint64_t pfn = zone->start_pfn, end = pfn + zone->stat.spanned_pages;

	if (zone->lost_end)
		return; /* after a raw fork nothing can be proved here */
	memset(w->used, 0, sizeof(w->used));
	memset(w->nr_free, 0, sizeof(w->nr_free));
	memset(w->nr_blocks, 0, sizeof(w->nr_blocks));
	w->free_pages = w->dirty_pages = w->managed = w->reclaimable = 0;
	while (pfn < end && !w->broken) {
		uint64_t stop = ALIGN_DOWN(pfn, SECTION_PAGES) + SECTION_PAGES;
		uint64_t b;

		if (!pfn_online(pfn)) {
			pfn = stop;
			continue;
		}
		w->managed += SECTION_PAGES;
		for (b = pfn; b < stop; b += 1UL << PAGEBLOCK_ORDER)
			w->nr_blocks[page_block_type(zone, b) % MM_NR_TYPES]++;
		while (pfn < stop && !w->broken)
			pfn += check_frame(w, zone, pfn);
		if (pfn > stop)
			fail(w, "I1: a block before frame %lx is too long",
			     (unsigned long)stop);
	}
	compare_zone(w, zone);
	check_pcp(w, zone);
}

/* ---- caches ---------------------------------------------------------------------- */

static bool is_cached(const struct walk *w, const void *objp)
{
	size_t low = 0, high = w->nr_cached;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (w->cached[mid] == objp)
			return true;
		if (w->cached[mid] < objp)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

static void check_debug(struct walk *w, const struct kmem_cache *cachep,
			const struct slab *slabp, uint32_t index)
{
	const char *what;
	const void *bad;

	if (!cache_has_debug(cachep))
		return;
	what = slab_debug_verify(cachep, slabp, index, &bad);
	if (what)
		fail(w, "I18: %s: object %p: %s at %p", cachep->name,
		     index_to_obj(cachep, slabp, index), what, bad);
}

/*
 * Living tags by frame: what the frame knows of them, where it counts.  Nobody may be
 * setting tags, which takes no lock.
 */
static void check_tagged(struct walk *w, const struct kmem_cache *cachep,
			 const struct slab *slabp)
{
	const uint64_t *tags = slab_tags(cachep, slabp);
	const struct page *page = NULL;
	uint32_t i, live = 0;

	for (i = 0; tags && i <= cachep->num; i++) {
		const struct page *of =
			i < cachep->num
				? pfn_to_page(virt_to_pfn(
					  index_to_obj(cachep, slabp, i)))
				: NULL;

		if (of != page && page && !(page->tagged & PAGE_TAGGED) &&
		    page->tagged != live)
			fail(w, "I13: %s: %u tags on the frame of %p, not %u",
			     cachep->name, live,
			     index_to_obj(cachep, slabp, i - 1), page->tagged);
		if (of != page && page && page->tagged > PAGE_TAGGED &&
		    mm_frame_tags(page) != tags)
			fail(w, "I13: %s: the frame of %p has its tags at %p",
			     cachep->name, index_to_obj(cachep, slabp, i - 1),
			     (void *)mm_frame_tags(page));
		if (of != page)
			live = 0;
		page = of;
		live += of && tag_is_live(tag_load(&tags[i]));
	}
}

static bool is_live_object(const struct walk *w,
			   const struct kmem_cache *cachep, const void *p)
{
	const struct page *page;
	int64_t index;

	if (!mm_in_arena(p))
		return false;
	page = pfn_to_page(virt_to_pfn(p));
	if (page->kind != PK_SLAB || page->cache != cachep)
		return false;
	index = obj_to_index(cachep, page->slab, p);
	return index >= 0 &&
	       !slab_object_is_free(page->slab, (uint32_t)index) &&
	       !is_cached(w, p);
}

static void check_objects(struct walk *w, const struct kmem_cache *cachep,
			  const struct slab *slabp)
{
	const uint64_t *tags = slab_tags(cachep, slabp);
	uint32_t i, active = 0;

	if (tags && !is_live_object(w, cachep->tags_cache, tags)) {
		fail(w,
		     "I13: %s: slab %p has its tags at %p, in no live object",
		     cachep->name, (const void *)slabp, (const void *)tags);
		return;
	}
	for (i = 0; i < cachep->num; i++) {
		bool is_active = !slab_object_is_free(slabp, i);
		uint64_t tag = tags ? tag_load(&tags[i]) : 0;
		bool live = is_active &&
			    !is_cached(w, index_to_obj(cachep, slabp, i));
		size_t usable = obj_usable(cachep, slabp, i);

		active += is_active;
		check_debug(w, cachep, slabp, i);
		if (!tag_is_live(tag))
			continue;
		if (!live)
			fail(w, "I13: %s: free object %p has a tag",
			     cachep->name, index_to_obj(cachep, slabp, i));
		else if (tag_slack(tag) > usable)
			fail(w, "I13: %s: slack of %p is %u of %lu bytes",
			     cachep->name, index_to_obj(cachep, slabp, i),
			     tag_slack(tag), (unsigned long)usable);
		else if (w->live_fn)
			w->live_fn(w->live_arg, tag, usable - tag_slack(tag));
	}
	if (active != slabp->inuse)
		fail(w, "I8: %s: slab %p has %u active objects, inuse %u",
		     cachep->name, (const void *)slabp, active, slabp->inuse);
}

static void check_free_bits(struct walk *w, const struct kmem_cache *cachep,
			    const struct slab *slabp)
{
	uint32_t words = SLAB_FREE_WORDS(cachep->num), nr = 0, i;

	for (i = 0; i < words; i++)
		nr += (uint32_t)__builtin_popcountll(slabp->free[i]);
	if (cachep->num % 64 && slabp->free[words - 1] >> cachep->num % 64)
		fail(w, "I8: %s: slab %p: an object beyond the %uth is free",
		     cachep->name, (const void *)slabp, cachep->num);
	else if (nr != cachep->num - slabp->inuse)
		fail(w, "I8: %s: slab %p: %u objects are free, inuse %u of %u",
		     cachep->name, (const void *)slabp, nr, slabp->inuse,
		     cachep->num);
}

static void check_list(struct walk *w, const struct kmem_cache *cachep,
		       const struct list_head *head, uint32_t min, uint32_t max,
		       uint64_t *slabs, uint64_t *objs)
{
	const struct list_head *pos;

	for (pos = head->next; pos != head && !w->broken; pos = pos->next) {
		const struct slab *slabp = list_entry(pos, struct slab, list);

		if (slabp->inuse < min || slabp->inuse > max)
			fail(w,
			     "I7: %s: slab %p with %u of %u in the wrong list",
			     cachep->name, (const void *)slabp, slabp->inuse,
			     cachep->num);
		check_free_bits(w, cachep, slabp);
		check_objects(w, cachep, slabp);
		if (w->live_fn && !w->broken)
			check_tagged(w, cachep, slabp);
		*slabs += 1;
		*objs += cachep->num - slabp->inuse;
	}
}

static void check_cache(struct walk *w, const struct kmem_cache *cachep)
{
	const struct kmem_list3 *l3 = &cachep->list3;
	uint64_t slabs = 0, free_slabs = 0, objs = 0;

	check_list(w, cachep, &l3->slabs_free, 0, 0, &free_slabs, &objs);
	check_list(w, cachep, &l3->slabs_partial, 1, cachep->num - 1, &slabs,
		   &objs);
	check_list(w, cachep, &l3->slabs_full, cachep->num, cachep->num, &slabs,
		   &objs);
	if (slabs + free_slabs != l3->nr_slabs ||
	    free_slabs != l3->nr_free_slabs || objs != l3->free_objects)
		fail(w,
		     "I10: %s: %lu slabs, %lu free, %lu free objects; counted %lu, %lu, %lu",
		     cachep->name, (unsigned long)(slabs + free_slabs),
		     (unsigned long)free_slabs, (unsigned long)objs,
		     (unsigned long)l3->nr_slabs,
		     (unsigned long)l3->nr_free_slabs,
		     (unsigned long)l3->free_objects);
}

static void check_array(struct walk *w, const struct kmem_cache *cachep,
			const struct array_cache *ac)
{
	uint32_t i;

	if (ac->avail > ac->limit) {
		fail(w, "I9: %s: array holds %u of %u", cachep->name, ac->avail,
		     ac->limit);
		return;
	}
	for (i = 0; i < ac->avail; i++) {
		void *objp = ac->entry[i];
		const struct page *page;
		int64_t index;

		page = mm_in_arena(objp) ? pfn_to_page(virt_to_pfn(objp))
					 : NULL;
		if (!page || page->kind != PK_SLAB || page->cache != cachep) {
			fail(w, "I9: %s: array holds %p of another cache",
			     cachep->name, objp);
			return;
		}
		index = obj_to_index(cachep, page->slab, objp);
		if (index < 0 ||
		    slab_object_is_free(page->slab, (uint32_t)index))
			fail(w,
			     "I9: %s: array holds %p, which is on a slab's list",
			     cachep->name, objp);
		w->cached[w->nr_cached++] = objp;
	}
}

/* Heap sort: no recursion, no memory. */
static void sort_pointers(void **a, size_t n)
{
	size_t start = n / 2, end = n, root, child;

	while (end > 1) {
		void *tmp;

		if (start) {
			start--;
		} else {
			end--;
			tmp = a[end], a[end] = a[0], a[0] = tmp;
		}
		for (root = start; (child = 2 * root + 1) < end; root = child) {
			if (child + 1 < end && a[child] < a[child + 1])
				child++;
			if (a[root] >= a[child])
				break;
			tmp = a[root], a[root] = a[child], a[child] = tmp;
		}
	}
}

static bool collect_cached(struct walk *w)
{
	struct list_head *pos;
	size_t max = 1, i;
	unsigned int s;

	list_for_each(pos, &mm.cache_chain) {
		const struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		max += (size_t)cachep->limit * mm.nr_slots +
		       cachep->shared * cachep->batchcount;
	}
	w->cached_bytes = ALIGN_UP(max * sizeof(void *), PAGE_SIZE);
	w->cached = sys_reserve(w->cached_bytes);
	if (!w->cached)
		return false;
	list_for_each(pos, &mm.cache_chain) {
		const struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		for (s = 0; s < mm.nr_slots; s++)
			if (cachep->array[s])
				check_array(w, cachep, cachep->array[s]);
		if (cachep->list3.shared)
			check_array(w, cachep, cachep->list3.shared);
	}
	sort_pointers(w->cached, w->nr_cached);
	for (i = 1; i < w->nr_cached; i++)
		if (w->cached[i] == w->cached[i - 1])
			fail(w, "I9: object %p is twice in arrays",
			     w->cached[i]);
	return true;
}

/* Each size leads to a cache that is alive and large enough. */
static void check_kmalloc_table(struct walk *w)
{
	struct list_head *pos;
	unsigned int step;

	for (step = 0; step < KMALLOC_NR_STEPS && !w->broken; step++) {
		const struct kmem_cache *cachep = mm.kmalloc_table[step];
		bool alive = false;

		list_for_each(pos, &mm.cache_chain)
			if (list_entry(pos, struct kmem_cache, next) == cachep)
				alive = true;
		if (!alive ||
		    !(cachep->flags & (SLAB_GENERAL | SLAB_DEDICATED)))
			fail(w, "I17: size %u leads to no kmalloc cache",
			     kmalloc_step_bytes(step));
		else if (cachep->object_size < kmalloc_step_bytes(step))
			fail(w, "I17: size %u leads to %s",
			     kmalloc_step_bytes(step), cachep->name);
	}
}

/* ---- areas ---------------------------------------------------------------------------- */

/* A vmalloc area's pages[], from the end, are the frames of its chain. */
static bool names_its_frames(const struct vm_struct *area)
{
	uint64_t i = area->nr_pages;
	uint32_t at = area->lent;

	while (at && i) {
		struct page *page = pfn_to_page(at - 1UL);
		uint64_t n = 1UL << page->order;

		while (n && i)
			if (area->pages[--i] != page + --n)
				return false;
		at = page->next_lent;
	}
	return !at && !i;
}

/* A vmap area's are frames of large blocks, and marked. */
static bool names_mapped_frames(const struct vm_struct *area)
{
	uint64_t i;

	for (i = 0; i < area->nr_pages; i++)
		if (!(area->pages[i]->flags & PG_VMAP))
			return false;
	return true;
}

static void check_named_pages(struct walk *w, const struct vm_struct *area)
{
	bool vmap = area->flags & BS_AREA_VMAP;

	if (!area->pages || w->broken)
		return;
	if (area->nr_pages != area->size >> PAGE_SHIFT ||
	    area->charged_pages != (vmap ? 0 : area->nr_pages) ||
	    !(vmap ? names_mapped_frames(area) : names_its_frames(area)))
		fail(w,
		     "I16: area %lx of %lu bytes names %u pages that are not its",
		     (unsigned long)area->addr, (unsigned long)area->size,
		     area->nr_pages);
}

static void check_carveout(struct walk *w, const struct carveout *c)
{
	uint64_t at = 0, used = 0, start;

	while (at < c->nr_pages) {
		start = at++;
		if (!c->run[start])
			continue;
		used += c->run[start];
		for (; at < start + c->run[start]; at++)
			if (at >= c->nr_pages || c->run[at]) {
				fail(w,
				     "I19: carve-out %s: pages %lu and %lu overlap",
				     c->name, (unsigned long)start,
				     (unsigned long)at);
				return;
			}
	}
	if (used != c->used_pages)
		fail(w, "I19: carve-out %s: %lu pages in use, counted %lu",
		     c->name, (unsigned long)used,
		     (unsigned long)c->used_pages);
}

static int check_area(struct vm_struct *area, void *arg)
{
	struct walk *w = arg;
	uint64_t pages = 0, limit = area->charged_pages + 1, tag;
	uint32_t at;

	if (area->addr < w->last_end || !area->size)
		fail(w, "I11: area %lx of %lu bytes overlaps the one before",
		     (unsigned long)area->addr, (unsigned long)area->size);
	w->last_end = area->addr + area->size;
	for (at = area->lent; at && pages < limit;) {
		const struct page *page = pfn_to_page(at - 1UL);

		if (page->kind != PK_LENT || page->area != area ||
		    page->use != vm_use(area)) {
			fail(w, "I11: area %lx: frame %lx is not lent to it",
			     (unsigned long)area->addr, at - 1UL);
			return 1;
		}
		pages += 1UL << page->order;
		at = page->next_lent;
	}
	if (pages != area->charged_pages)
		fail(w, "I11: area %lx: %lu pages lent, charged %lu",
		     (unsigned long)area->addr, (unsigned long)pages,
		     (unsigned long)area->charged_pages);
	w->lent[vm_use(area) == BS_USE_MMAP] += pages;
	check_named_pages(w, area);
	if (area->flags & (BS_AREA_ALLOC | BS_AREA_VMAP) ||
	    (area->flags & (BS_AREA_CARVEOUT | BS_AREA_USERMAP)) ==
		    BS_AREA_CARVEOUT)
		w->window_bytes +=
			area->guard_bytes ? area->size + area->guard_bytes : 0;
	tag = tag_load(&area->tag);
	if (tag_is_live(tag) && w->live_fn && !(area->flags & BS_AREA_LAZY))
		w->live_fn(w->live_arg, tag, vm_site_bytes(area));
	return w->broken;
}

/* ---- the door -------------------------------------------------------------------------- */

int mm_verify(char *why, size_t why_len, live_fn_t *live_fn, void *arg)
{
	struct walk w = { .why = why,
			  .why_len = why_len,
			  .live_fn = live_fn,
			  .live_arg = arg };
	struct list_head *pos;
	unsigned int i;

	mm_fork_prepare();
	if (!collect_cached(&w)) {
		mm_fork_parent();
		return -ENOMEM;
	}
	for (i = 0; i < mm.nr_zones && !w.broken; i++)
		check_zone(&w, &mm.zone[i]);
	check_kmalloc_table(&w);
	if (!w.broken)
		list_for_each(pos, &mm.cache_chain)
			check_cache(&w,
				    list_entry(pos, struct kmem_cache, next));
	if (!w.broken)
		vm_walk(check_area, &w);
	for (i = 0; i < mm.nr_carveouts && !w.broken; i++)
		check_carveout(&w, &mm.carveout[i]);
	if (!w.broken && w.window_bytes != mm.vm_window_bytes)
		fail(&w, "I16: areas take %lu bytes of the window, counted %lu",
		     (unsigned long)w.window_bytes,
		     (unsigned long)mm.vm_window_bytes);
	if (!w.broken &&
	    (w.lent[0] != w.lent_found[0] || w.lent[1] != w.lent_found[1]))
		fail(&w,
		     "I11: lent pages %lu + %lu, charged to areas %lu + %lu",
		     (unsigned long)w.lent_found[0],
		     (unsigned long)w.lent_found[1], (unsigned long)w.lent[0],
		     (unsigned long)w.lent[1]);
	mm_fork_parent();
	sys_munmap(w.cached, w.cached_bytes);
	return w.broken ? -EUCLEAN : 0;
}
