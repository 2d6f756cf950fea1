/* SPDX-License-Identifier: MIT */
/*
 * page_alloc.c - the buddy allocator: split, merge, watermarks, fallback.
 *
 * Owns:   free lists, struct page of free blocks, zone counters.
 * Layer:  mm, above memblock.c (sections) and sys.
 * Locks:  the zone lock.
 * Source: Linux 2.6.29 mm/page_alloc.c (behaviour); Knuth, TAOCP 1, 2.5.
 */
#include "preload/mm/page_alloc.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/mm/bitset.h"
#include "preload/mm/memblock.h"

/* Smallest free block that is given back by decay: 64 KiB. */
#define REPORT_MIN_ORDER 4
/* Dirty free memory beyond this waits for an eighth of the decay time only. */
#define REPORT_NOW_PAGES ((8UL << 20) >> PAGE_SHIFT)

/* Fallback order of migrate types, the kernel's table. */
static const uint8_t type_fallbacks[MM_NR_TYPES][MM_NR_TYPES - 1] = {
	[BS_MIGRATE_UNMOVABLE] = { BS_MIGRATE_RECLAIMABLE, BS_MIGRATE_MOVABLE },
	[BS_MIGRATE_MOVABLE] = { BS_MIGRATE_RECLAIMABLE, BS_MIGRATE_UNMOVABLE },
	[BS_MIGRATE_RECLAIMABLE] = { BS_MIGRATE_UNMOVABLE, BS_MIGRATE_MOVABLE },
};

/* ---- block primitives, zone lock held ------------------------------------ */

struct zone *page_zone(uint64_t pfn)
{
	unsigned int i;

	for (i = mm.nr_zones - 1; i > 0; i--)
		if (pfn >= mm.zone[i].start_pfn)
			break;
	return &mm.zone[i];
}

static uint8_t *block_type(const struct zone *zone, uint64_t pfn)
{
	return &zone->block_type[(pfn - zone->start_pfn) >> PAGEBLOCK_ORDER];
}

unsigned int page_block_type(const struct zone *zone, uint64_t pfn)
{
	return *block_type(zone, pfn) - 1U;
}

static void set_block_type(struct zone *zone, uint64_t pfn, unsigned int type)
{
	uint8_t *t = block_type(zone, pfn);

	zone->stat.nr_blocks[*t - 1]--;
	zone->stat.nr_blocks[type]++;
	*t = (uint8_t)(type + 1);
}

static struct bitset *list_of(struct zone *zone, unsigned int order,
			      unsigned int type)
{
	return &zone->free_area[order].free_list[type];
}

static uint64_t block_nr(const struct zone *zone, uint64_t pfn,
			 unsigned int order)
{
	return (pfn - zone->start_pfn) >> order;
}

/* Put a block on a free list; counters follow. */
static void add_block(struct zone *zone, uint64_t pfn, unsigned int order,
		      unsigned int type, bool zero, uint64_t freed_ns)
{
	struct page *page = pfn_to_page(pfn);

	VM_BUG_ON(pfn & ((1UL << order) - 1));
	set_page_kind(page, PK_FREE);
	page->order = (uint8_t)order;
	page->migratetype = (uint8_t)type;
	page->flags = zero ? PG_ZERO : 0;
	page->freed_ns = freed_ns;
	bitset_set(list_of(zone, order, type), block_nr(zone, pfn, order));
	zone->stat.nr_free[type][order]++;
	zone->stat.free_pages += 1UL << order;
	if (!zero)
		zone->dirty_free_pages += 1UL << order;
}

static void del_block(struct zone *zone, uint64_t pfn)
{
	struct page *page = pfn_to_page(pfn);
	unsigned int order = page->order, type = page->migratetype;

	VM_BUG_ON(page->kind != PK_FREE);
	bitset_clear(list_of(zone, order, type), block_nr(zone, pfn, order));
	zone->stat.nr_free[type][order]--;
	zone->stat.free_pages -= 1UL << order;
	if (!(page->flags & PG_ZERO))
		zone->dirty_free_pages -= 1UL << order;
	set_page_kind(page, PK_TAIL);
}

/* Free one naturally aligned block: merge with its buddies as far as they go. */
static void free_one_block(struct zone *zone, uint64_t pfn, unsigned int order,
			   bool zero, uint64_t now_ns)
{
	unsigned int type = page_block_type(zone, pfn);

	zone->stat.nr_free_calls++;
	while (order < MAX_ORDER - 1) {
		uint64_t buddy = pfn ^ (1UL << order);
		struct page *page = pfn_to_page(buddy);

		if (page_kind(page) != PK_FREE || page->order != order)
			break;
		zero = zero && (page->flags & PG_ZERO);
		del_block(zone, buddy);
		pfn &= ~(1UL << order);
		order++;
		zone->stat.nr_merge++;
	}
	add_block(zone, pfn, order, type, zero, now_ns);
}

/* Cut a block of order high down to order low; the upper halves go free. */
static void expand(struct zone *zone, uint64_t pfn, unsigned int low,
		   unsigned int high, unsigned int type)
{
	const struct page *page = pfn_to_page(pfn);
	bool zero = page->flags & PG_ZERO;
	uint64_t freed_ns = page->freed_ns;

	while (high > low) {
		high--;
		add_block(zone, pfn + (1UL << high), high, type, zero,
			  freed_ns);
		zone->stat.nr_split++;
	}
}

static uint64_t take_block(struct zone *zone, unsigned int want,
			   unsigned int order, unsigned int type,
			   unsigned int expand_type)
{
	uint64_t pfn = zone->start_pfn +
		       (bitset_first(list_of(zone, order, type)) << order);

	del_block(zone, pfn);
	expand(zone, pfn, want, order, expand_type);
	return pfn;
}

static uint64_t rmqueue_smallest(struct zone *zone, unsigned int order,
				 unsigned int type)
{
	unsigned int o;

	for (o = order; o < MAX_ORDER; o++)
		if (zone->stat.nr_free[type][o])
			return take_block(zone, order, o, type, type);
	return BITSET_NONE;
}

/* Move the free blocks of pfn's pageblock to another type's lists. */
static uint64_t move_freepages_block(struct zone *zone, uint64_t pfn,
				     unsigned int type)
{
	uint64_t start = ALIGN_DOWN(pfn, 1UL << PAGEBLOCK_ORDER);
	uint64_t end = start + (1UL << PAGEBLOCK_ORDER);
	uint64_t moved = 0;

	for (pfn = start; pfn < end;) {
		const struct page *page = pfn_to_page(pfn);
		unsigned int order;

		if (page_kind(page) != PK_FREE) {
			pfn++;
			continue;
		}
		order = page->order;
		if (page->migratetype != type) {
			bool zero = page->flags & PG_ZERO;
			uint64_t freed_ns = page->freed_ns;

			del_block(zone, pfn);
			add_block(zone, pfn, order, type, zero, freed_ns);
		}
		moved += 1UL << order;
		pfn += 1UL << order;
	}
	return moved;
}

/* The largest block of another type; its pageblock is claimed where it pays. */
static uint64_t rmqueue_fallback(struct zone *zone, unsigned int order,
				 unsigned int type)
{
	int o;
	unsigned int i;

	for (o = MAX_ORDER - 1; o >= (int)order; o--) {
		for (i = 0; i < MM_NR_TYPES - 1; i++) {
			unsigned int from = type_fallbacks[type][i];
			unsigned int high = (unsigned int)o, t = from;
			uint64_t pfn, b;

			if (!zone->stat.nr_free[from][o])
				continue;
			pfn = zone->start_pfn +
			      (bitset_first(list_of(zone, high, from)) << o);
			zone->stat.nr_type_fallback++;
			if (high >= PAGEBLOCK_ORDER) {
				for (b = 0; b < 1UL << high;
				     b += 1UL << PAGEBLOCK_ORDER)
					set_block_type(zone, pfn + b, type);
				t = type;
			} else if (high >= PAGEBLOCK_ORDER / 2 ||
				   type == BS_MIGRATE_RECLAIMABLE) {
				if (move_freepages_block(zone, pfn, type) >=
				    1UL << (PAGEBLOCK_ORDER - 1))
					set_block_type(zone, pfn, type);
				t = type;
			}
			del_block(zone, pfn);
			expand(zone, pfn, order, high, t);
			return pfn;
		}
	}
	return BITSET_NONE;
}

/* ---- watermarks ------------------------------------------------------------ */

/*
 * The check of 2.6.29: enough pages above the mark now, and at each lower order
 * enough of them in blocks that are larger.
 */
bool zone_watermark_ok(const struct zone *zone, unsigned int order,
		       uint64_t mark, unsigned int class_nr, gfp_t gfp)
{
	const struct bs_abi_zone *stat = &zone->stat;
	int64_t min = (int64_t)mark;
	int64_t free = (int64_t)stat->free_pages - (1L << order) + 1;
	unsigned int o, t;

	if (gfp & GFP_HIGH)
		min -= min / 2;
	if (gfp & GFP_ATOMIC & ~GFP_HIGH)
		min -= min / 4;
	if (free <= min + (int64_t)stat->protection_pages[class_nr])
		return false;
	for (o = 0; o < order; o++) {
		for (t = 0; t < MM_NR_TYPES; t++)
			free -= (int64_t)stat->nr_free[t][o] << o;
		min >>= 1;
		if (free <= min)
			return false;
	}
	return true;
}

/* ---- publishing -------------------------------------------------------------- */

void zone_publish(struct zone *zone)
{
	const struct mm_pub *pub = &mm.wipe->pub;
	struct bs_abi_zone *stat = &zone->stat;
	struct bs_abi_zone *out;

	stat->min_free_pages = MIN(stat->min_free_pages, stat->free_pages);
	stat->peak_used_pages = MAX(stat->peak_used_pages,
				    stat->managed_pages - stat->free_pages);
	if (!pub->zones)
		return;
	out = &pub->zones[zone->nr];
	sys_seq_begin(&out->seq);
	memcpy((char *)out + sizeof(out->seq), (char *)stat + sizeof(out->seq),
	       sizeof(*out) - sizeof(out->seq));
	sys_seq_end(&out->seq);
}

void pagemap_publish(uint64_t pfn, uint64_t nr_pages, uint8_t value)
{
	const struct mm_pub *pub = &mm.wipe->pub;
	struct bs_abi_section *sec;
	uint64_t end = pfn + nr_pages, count;

	if (!pub->pagemap)
		return;
	sec = &pub->header->section[BS_SEC_PAGEMAP];
	if (end > sec->capacity || !pub->claim(pub->pagemap + pfn, nr_pages))
		return;
	memset(pub->pagemap + pfn, value, nr_pages);
	count = __atomic_load_n(&sec->count, __ATOMIC_RELAXED);
	while (end > count && /* the zones' locks are different ones */
	       !__atomic_compare_exchange_n(&sec->count, &count, end, false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

static void zone_unlock(struct zone *zone)
{
	zone_publish(zone);
	sys_unlock(&zone->lock, SYS_RANK_ZONE);
}

/* ---- allocation ---------------------------------------------------------------- */

static unsigned int gfp_type(gfp_t gfp)
{
	if (gfp & __GFP_RECLAIMABLE)
		return BS_MIGRATE_RECLAIMABLE;
	return gfp & __GFP_MOVABLE ? BS_MIGRATE_MOVABLE : BS_MIGRATE_UNMOVABLE;
}

/* The zone that is asked first. */
static unsigned int gfp_zone(gfp_t gfp)
{
	unsigned int nr = (gfp & __GFP_ZONE_MASK) / __GFP_ZONE(0);

	if (gfp & GFP_DMA)
		return 0;
	return nr && nr <= mm.nr_zones ? nr - 1 : mm.nr_zones - 1;
}

/* One zone, lock held; BITSET_NONE when the mark forbids or nothing fits. */
static uint64_t zone_take(struct zone *zone, unsigned int order, uint64_t mark,
			  unsigned int class_nr, gfp_t gfp)
{
	uint64_t pfn;

	if (!zone_watermark_ok(zone, order, mark, class_nr, gfp))
		return BITSET_NONE;
	pfn = rmqueue_smallest(zone, order, gfp_type(gfp));
	if (pfn == BITSET_NONE)
		pfn = rmqueue_fallback(zone, order, gfp_type(gfp));
	return pfn;
}

static void account_alloc(struct zone *zone, uint64_t pfn, unsigned int order,
			  enum bs_use use)
{
	struct page *page = pfn_to_page(pfn);

	page->order = (uint8_t)order;
	page->nr_pages = 1U << order;
	page->use = (uint32_t)use;
	set_page_kind(page, use == BS_USE_TABLE ? PK_TABLE : PK_TRANSIT);
	page->tag = 0;
	page->requested_bytes = 0;
	zone->stat.used_pages[use] += 1UL << order;
	zone->stat.nr_alloc++;
}

/* Try the zones from class_nr down.  mark_low: leave more than the minimum. */
static uint64_t zonelist_take(unsigned int class_nr, unsigned int order,
			      gfp_t gfp, enum bs_use use, bool mark_low)
{
	int nr;

	for (nr = (int)class_nr; nr >= 0; nr--) {
		struct zone *zone = &mm.zone[nr];
		uint64_t pfn, mark = mark_low ? zone->stat.wmark_low_pages
					      : zone->stat.wmark_min_pages;

		sys_lock(&zone->lock, SYS_RANK_ZONE);
		pfn = zone_take(zone, order, mark, class_nr, gfp);
		if (pfn == BITSET_NONE && zone->elastic) {
			while (pfn == BITSET_NONE &&
			       zone_hot_add(zone, BS_MIGRATE_MOVABLE) == 0)
				pfn = zone_take(zone, order, mark, class_nr,
						gfp);
		}
		if (pfn != BITSET_NONE) {
			account_alloc(zone, pfn, order, use);
			if (nr != (int)class_nr)
				zone->stat.nr_fallback++;
			zone_unlock(zone);
			return pfn;
		}
		zone_unlock(zone);
	}
	return BITSET_NONE;
}

/* Fixed zones are exhausted: report, then let the first choice grow. */
static uint64_t alloc_slow(unsigned int class_nr, unsigned int order, gfp_t gfp,
			   enum bs_use use)
{
	struct zone *zone = &mm.zone[class_nr];
	uint64_t pfn;

	if (!(gfp & __GFP_NOWARN))
		mm_event(BS_EVENT_ALLOC_FAILED, (int)class_nr, order, gfp, 0,
			 PAGE_SIZE << order);
	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.nr_failed++;
	if (mm.config.oom_fail || (gfp & __GFP_NORETRY)) {
		zone_unlock(zone);
		return BITSET_NONE;
	}
	do {
		if (zone_hot_add(zone, BS_MIGRATE_MOVABLE)) {
			zone_unlock(zone);
			return BITSET_NONE;
		}
		pfn = zone_take(zone, order, zone->stat.wmark_min_pages,
				class_nr, gfp);
	} while (pfn == BITSET_NONE);
	account_alloc(zone, pfn, order, use);
	zone_unlock(zone);
	return pfn;
}

/* Somebody mapped something there: these frames can never be memory. */
static void lose_block(uint64_t pfn, unsigned int order, enum bs_use use)
{
	struct zone *zone = page_zone(pfn);

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.used_pages[use] -= 1UL << order;
	zone->stat.used_pages[BS_USE_TABLE] += 1UL << order;
	pfn_to_page(pfn)->kind = PK_LOST;
	zone_unlock(zone);
}

struct page *alloc_pages(gfp_t gfp, unsigned int order, enum bs_use use)
{
	unsigned int zone_nr = gfp_zone(gfp);
	uint64_t pfn;
	int err;

	VM_BUG_ON(order >= MAX_ORDER);
again:
	pfn = zonelist_take(zone_nr, order, gfp, use, true);
	if (pfn == BITSET_NONE)
		pfn = zonelist_take(zone_nr, order, gfp, use, false);
	if (pfn == BITSET_NONE)
		pfn = alloc_slow(zone_nr, order, gfp, use);
	if (pfn == BITSET_NONE)
		return NULL;
	pagemap_publish(pfn, 1UL << order, (uint8_t)(BS_PAGEMAP_USE + use));
	if (gfp & __GFP_LENT)
		return pfn_to_page(pfn);
	err = section_map(pfn >> SECTION_ORDER);
	if (err == -EEXIST) {
		lose_block(pfn, order, use);
		goto again;
	}
	if (err) {
		free_page_range(pfn, 1UL << order, use, true);
		return NULL;
	}
	return pfn_to_page(pfn);
}

/*
 * Heads that large_free() takes: contiguous memory is counted as large, or as
 * DMA.
 */
void split_page(struct page *head, unsigned int order)
{
	uint64_t i;

	for (i = 0; i < 1UL << order; i++) {
		head[i].order = 0;
		head[i].nr_pages = 1;
		head[i].use = head->use;
		head[i].device = head->device;
		head[i].tag = 0;
		head[i].requested_bytes = PAGE_SIZE;
		set_page_kind(&head[i], PK_LARGE);
	}
}

/* ---- free -------------------------------------------------------------------------- */

/* Free [pfn, pfn+nr) in the largest aligned blocks.  Zone lock held. */
static void free_range_locked(struct zone *zone, uint64_t pfn, uint64_t nr,
			      bool zero, uint64_t now_ns)
{
	while (nr) {
		unsigned int order = MAX_ORDER - 1;

		if (pfn & ((1UL << order) - 1))
			order = (unsigned int)__builtin_ctzll(pfn);
		while (1UL << order > nr)
			order--;
		free_one_block(zone, pfn, order, zero, now_ns);
		pfn += 1UL << order;
		nr -= 1UL << order;
	}
}

static void clear_kinds(uint64_t pfn, uint64_t nr_pages, enum bs_use use)
{
	uint64_t i, n = use == BS_USE_SLAB ? nr_pages : 1;

	for (i = 0; i < n; i++)
		set_page_kind(pfn_to_page(pfn + i), PK_TAIL);
}

/* A scan of the free lists pays only now and then, however much is freed. */
static void report_if_due(struct zone *zone, uint64_t now_ns)
{
	uint64_t decay_ns = mm.config.decay_ns;
	uint64_t since_ns = now_ns - zone->last_report_ns;

	if (since_ns > decay_ns / 4)
		zone_report(zone, now_ns, decay_ns);
	else if (zone->dirty_free_pages > REPORT_NOW_PAGES &&
		 since_ns > decay_ns / 16)
		zone_report(zone, now_ns, decay_ns / 8);
}

/* Used pages of a zone become free.  Zone lock held. */
static void free_range_used(struct zone *zone, uint64_t pfn, uint64_t nr_pages,
			    enum bs_use use, bool zero, uint64_t now_ns)
{
	zone->stat.used_pages[use] -= nr_pages;
	if (unlikely(pfn < zone->lost_end)) {
		zone->stat.used_pages[BS_USE_TABLE] += nr_pages;
		return;
	}
	free_range_locked(zone, pfn, nr_pages, zero, now_ns);
	pagemap_publish(pfn, nr_pages, BS_PAGEMAP_FREE);
	report_if_due(zone, now_ns);
}

void free_page_range(uint64_t pfn, uint64_t nr_pages, enum bs_use use,
		     bool zero)
{
	struct zone *zone = page_zone(pfn);
	uint64_t now_ns = sys_now_coarse_ns();

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	clear_kinds(pfn, nr_pages, use);
	free_range_used(zone, pfn, nr_pages, use, zero, now_ns);
	zone_unlock(zone);
}

void trim_pages(struct page *head, uint64_t keep_pages, bool zero)
{
	uint64_t pfn = page_to_pfn(head), tail = head->nr_pages - keep_pages;
	uint64_t now_ns = sys_now_coarse_ns();
	struct zone *zone = page_zone(pfn);

	sys_lock(&zone->lock, SYS_RANK_ZONE);
	head->nr_pages = (uint32_t)keep_pages;
	free_range_used(zone, pfn + keep_pages, tail, head->use, zero, now_ns);
	zone_unlock(zone);
}

/* ---- free page reporting --------------------------------------------------------------- */

/*
 * Reported blocks are zero only after the kernel said so: on locked memory
 * MADV_DONTNEED fails and the content stays.
 */
static bool report_block(struct zone *zone, uint64_t pfn, unsigned int order)
{
	struct page *page = pfn_to_page(pfn);

	mm_count(BS_VMSTAT_REAL_MADVISE_CALLS, 1);
	if (section_mapped(pfn >> SECTION_ORDER) &&
	    sys_madvise(pfn_to_virt(pfn), PAGE_SIZE << order, MADV_DONTNEED))
		return false;
	page->flags |= PG_ZERO;
	zone->dirty_free_pages -= 1UL << order;
	zone->stat.reported_pages += 1UL << order;
	return true;
}

uint64_t zone_report(struct zone *zone, uint64_t now_ns, uint64_t decay_ns)
{
	int min_order = decay_ns ? REPORT_MIN_ORDER : 0;
	uint64_t done = 0, i;
	unsigned int t;
	int o;

	zone->last_report_ns = now_ns;
	for (o = MAX_ORDER - 1; o >= min_order; o--) {
		for (t = 0; t < MM_NR_TYPES; t++) {
			const struct bitset *list =
				list_of(zone, (unsigned int)o, t);

			if (!zone->dirty_free_pages)
				goto out;
			for (i = bitset_first(list); i != BITSET_NONE;
			     i = bitset_next(list, i + 1)) {
				uint64_t pfn = zone->start_pfn + (i << o);
				const struct page *page = pfn_to_page(pfn);

				if ((page->flags & PG_ZERO) ||
				    page->freed_ns + decay_ns > now_ns)
					continue;
				if (report_block(zone, pfn, (unsigned int)o))
					done += 1UL << o;
			}
		}
	}
out:
	if (zone->elastic)
		zone_shrink(zone, false);
	return done;
}

/*
 * Hot-remove from the top: sections beyond the initial size that are one free,
 * known-zero block, as long as an eighth of the zone stays free.
 */
void zone_shrink(struct zone *zone, bool all)
{
	struct bs_abi_zone *stat = &zone->stat;
	unsigned int t;

	for (t = 0; t < MM_NR_TYPES; t++) {
		struct bitset *list = list_of(zone, MAX_ORDER - 1, t);

		while (stat->managed_pages >=
		       zone->initial_pages + SECTION_PAGES) {
			uint64_t nr = bitset_last(list), pfn;
			uint64_t keep = all ? 0 : stat->managed_pages / 8;

			if (nr == BITSET_NONE ||
			    stat->free_pages < SECTION_PAGES + keep +
						       stat->wmark_high_pages)
				break;
			pfn = zone->start_pfn + nr * SECTION_PAGES;
			if (!(pfn_to_page(pfn)->flags & PG_ZERO))
				break;
			del_block(zone, pfn);
			zone_hot_remove(zone, pfn);
		}
	}
}

/* Called by memblock.c when a section has come online. */
void zone_add_section(struct zone *zone, uint64_t pfn, unsigned int type)
{
	uint64_t b;

	for (b = 0; b < SECTION_PAGES; b += 1UL << PAGEBLOCK_ORDER) {
		*block_type(zone, pfn + b) = (uint8_t)(type + 1);
		zone->stat.nr_blocks[type]++;
	}
	add_block(zone, pfn, SECTION_ORDER, type, true, 0);
}

void zone_del_section(struct zone *zone, uint64_t pfn)
{
	uint64_t b;

	for (b = 0; b < SECTION_PAGES; b += 1UL << PAGEBLOCK_ORDER) {
		zone->stat.nr_blocks[page_block_type(zone, pfn + b)]--;
		*block_type(zone, pfn + b) = 0;
	}
}

/* ---- lent frames ------------------------------------------------------------------------ */

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
static unsigned int lend_order(uint64_t nr_pages)
{
	unsigned int order = MAX_ORDER - 1;

	if (!mm.zone[mm.nr_zones - 1].elastic)
		return 0;
	while (1UL << order > nr_pages)
		order--;
	return order;
}

uint64_t lend_pages(struct vm_struct *area, uint64_t nr_pages, enum bs_use use,
		    bool must)
{
	gfp_t gfp = __GFP_LENT | __GFP_MOVABLE |
		    (must ? 0 : __GFP_NOWARN | __GFP_NORETRY);
	uint64_t got = 0;

	while (got < nr_pages) {
		unsigned int order = lend_order(nr_pages - got);
		struct page *page = alloc_pages(gfp, order, use);
		uint64_t pfn;
		bool zero;

		if (!page)
			break;
		pfn = page_to_pfn(page);
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

/* ---- the library's own memory -------------------------------------------------------------- */

void *mm_table_alloc(size_t bytes)
{
	uint64_t nr_pages = ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	unsigned int order = 0;
	struct page *page;
	bool zero;
	void *p;

	while (1UL << order < nr_pages)
		order++;
	if (order >= MAX_ORDER)
		return sys_reserve(bytes);
	page = alloc_pages(GFP_KERNEL, order, BS_USE_TABLE);
	if (!page)
		return NULL;
	zero = page->flags & PG_ZERO;
	p = pfn_to_virt(page_to_pfn(page));
	if (!zero)
		memset(p, 0, PAGE_SIZE << order);
	return p;
}

void *meta_alloc(size_t bytes)
{
	void *p = NULL;

	bytes = ALIGN_UP(bytes, 64UL); /* no false sharing between CPUs */
	sys_lock(&mm.meta_lock, SYS_RANK_META);
	if ((size_t)(mm.meta_end - mm.meta_next) < bytes) {
		size_t chunk = MAX(bytes, 8 * PAGE_SIZE);

		mm.meta_next = mm_table_alloc(chunk);
		mm.meta_end = mm.meta_next ? mm.meta_next + chunk : NULL;
	}
	if (mm.meta_next) {
		p = mm.meta_next;
		mm.meta_next += bytes;
	}
	sys_unlock(&mm.meta_lock, SYS_RANK_META);
	return p;
}

/* ---- publishing everything, raw fork ---------------------------------------------------------- */

static uint8_t pagemap_value(const struct page *page)
{
	switch (page_kind(page)) {
	case PK_FREE:
		return BS_PAGEMAP_FREE;
	case PK_SLAB:
		return (uint8_t)(BS_PAGEMAP_USE + BS_USE_SLAB);
	case PK_LARGE:
	case PK_TRANSIT:
	case PK_LENT:
		return (uint8_t)(BS_PAGEMAP_USE + page->use);
	default:
		return (uint8_t)(BS_PAGEMAP_USE + BS_USE_TABLE);
	}
}

uint64_t page_span(const struct page *page)
{
	switch (page_kind(page)) {
	case PK_FREE:
	case PK_LENT:
	case PK_LOST:
		return 1UL << page->order;
	case PK_LARGE:
	case PK_TRANSIT:
	case PK_TABLE:
		return page->nr_pages;
	case PK_SLAB:
		return 1UL << page->cache->gfporder;
	default:
		return 1;
	}
}

void zone_publish_pagemap(struct zone *zone)
{
	uint64_t end = zone->start_pfn + zone->stat.spanned_pages;
	uint64_t pfn = zone->start_pfn, nr;

	if (!mm.wipe->pub.pagemap)
		return;
	for (; pfn < end; pfn += nr) {
		const struct page *page = pfn_to_page(pfn);

		nr = SECTION_PAGES;
		if (!(mm.section[pfn >> SECTION_ORDER] & SECT_ONLINE))
			continue;
		nr = page_span(page);
		pagemap_publish(pfn, nr, pagemap_value(page));
	}
}

/*
 * A raw fork found the zone in the middle of a change: nothing in it can be
 * believed but what its users hold.  All that seemed free counts as used by
 * tables from now on; an elastic zone goes on with sections never used before.
 */
void zone_abandon(struct zone *zone)
{
	struct bs_abi_zone *stat = &zone->stat;
	unsigned int o, t;
	uint64_t used = 0;

	for (o = 0; o < MAX_ORDER; o++) {
		for (t = 0; t < MM_NR_TYPES; t++) {
			struct bitset *list = list_of(zone, o, t);

			memset(list->level[0], 0,
			       bitset_words(list->nr_bits) * sizeof(uint64_t));
			stat->nr_free[t][o] = 0;
		}
	}
	for (t = 0; t < BS_NR_USES; t++)
		used += t == BS_USE_TABLE ? 0 : stat->used_pages[t];
	zone->next_section = stat->spanned_pages >> SECTION_ORDER;
	stat->free_pages = 0;
	stat->used_pages[BS_USE_TABLE] =
		stat->managed_pages > used ? stat->managed_pages - used : 0;
	zone->dirty_free_pages = 0;
	zone->lost_end = zone->start_pfn + stat->spanned_pages;
}
