/* SPDX-License-Identifier: MIT */
/*
 * memblock.c - the arena: windows, sections, mem_map.
 *
 * Owns:   the layout of addresses, mm.section[], which section is online or
 *         mapped.
 * Layer:  mm, lowest file; above sys.
 * Locks:  zone lock for online state; mm.map_lock for mappings.
 *
 * Layout, at a random lonely place (arch.h):
 *
 *   | mem_map of all windows ... | guard | pfn 0 ... window 0 | window 1 | ...
 *
 * Nothing of it is mapped in advance.  A section is mapped with
 * MAP_FIXED_NOREPLACE when it first serves as memory.
 */
#include "preload/mm/memblock.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "preload/mm/bitset.h"
#include "preload/mm/buddy.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/pcp.h"
#include "preload/sys/arch.h"

/* The arena may hold this many times RAM + swap. */
#define ARENA_OVERSIZE	4
#define ARENA_MIN_BYTES (1ULL << 30)
/* Sections whose part of mem_map is mapped at once: 512 KiB of it. */
#define TABLE_SECTIONS 16UL
/* Of so many pages the free lists' words lie together: 64 MiB, 14 KiB of them. */
#define HEAD_PAGES 16384UL
/* Watermark of 2.6.29: min_free_kbytes = 4 * sqrt(kbytes), 128 to 65536. */
#define MIN_FREE_KBYTES_LOWEST	128UL
#define MIN_FREE_KBYTES_HIGHEST 65536UL
/* lowmem_reserve: 1/256 of the zones above. */
#define LOWMEM_RESERVE_RATIO 256UL

static uint64_t isqrt(uint64_t v)
{
	uint64_t r = 0, bit = 1ULL << 62;

	for (; bit; bit >>= 2) {
		if (v >= r + bit) {
			v -= r + bit;
			r = (r >> 1) + bit;
		} else {
			r >>= 1;
		}
	}
	return r;
}

/* ---- sections --------------------------------------------------------------- */

static void section_set(uint64_t section, uint8_t flags)
{
	__atomic_or_fetch(&mm.section[section], flags, __ATOMIC_RELEASE);
}

/* Map the part of mem_map that describes this section and its neighbours. */
static int map_table(uint64_t section)
{
	uint64_t first = ALIGN_DOWN(section, TABLE_SECTIONS), s;
	size_t bytes = TABLE_SECTIONS * SECTION_PAGES * sizeof(struct page);
	int err;

	if (section_state(section) & SECT_TABLE)
		return 0;
	err = sys_map_at(pfn_to_page(first << SECTION_ORDER), bytes);
	if (err)
		return err;
	sys_madvise(pfn_to_page(first << SECTION_ORDER), bytes,
		    MADV_NOHUGEPAGE);
	for (s = first; s < first + TABLE_SECTIONS; s++)
		section_set(s, SECT_TABLE);
	return 0;
}

void section_never_huge(uint64_t section)
{
	uint8_t was = __atomic_fetch_or(&mm.section[section], SECT_SMALL,
					__ATOMIC_ACQ_REL);

	if ((was & (SECT_MAPPED | SECT_SMALL)) == SECT_MAPPED)
		sys_madvise(pfn_to_virt(section << SECTION_ORDER),
			    SECTION_BYTES, MADV_NOHUGEPAGE);
}

#define HUGE_PAGE_BYTES (2UL << 20)
/* Sections with small pages after a huge one that took longer. */
#define HUGE_FIRST_WAIT 4U
#define HUGE_MAX_WAIT	64U

/*
 * A virtual machine whose host took back what was free has each huge page made of small
 * ones, in 4 instead of 0.2 ms.  So the first of a section, which is about to be used, is
 * made here, and after a slow one some sections do without.
 */
static bool want_huge(void *start)
{
	uint64_t begin_ns;

	if (mm.huge_wait) {
		mm.huge_wait--;
		return false;
	}
	begin_ns = sys_now_ns();
	sys_madvise(start, SECTION_BYTES, MADV_HUGEPAGE);
	if (sys_madvise(start, HUGE_PAGE_BYTES, MADV_POPULATE_WRITE))
		return true; /* an older kernel */
	if (sys_now_ns() - begin_ns < mm.huge_page_ns) {
		mm.huge_next_wait = HUGE_FIRST_WAIT;
		return true;
	}
	mm.huge_wait = MAX(mm.huge_next_wait, HUGE_FIRST_WAIT);
	mm.huge_next_wait = MIN(2 * mm.huge_wait, HUGE_MAX_WAIT);
	return false;
}

/*
 * A page fault takes 1.7 us, one of 2 MiB 0.4 us a page, and huge pages save TLB misses.
 * But what is not used of them is resident, too: so only where a heap is large already,
 * whose sections fill from below, and not where frames are lent or were reported.
 * Elsewhere none, whatever the system's default.
 * Just mapped; map lock held.
 */
static void advise_section(uint64_t section)
{
	uint64_t mapped =
		__atomic_fetch_add(&mm.nr_sections_mapped, 1, __ATOMIC_RELAXED);
	void *start = pfn_to_virt(section << SECTION_ORDER);
	bool huge = mm.config.huge_bytes &&
		    mapped * SECTION_BYTES >= mm.config.huge_bytes &&
		    !(section_state(section) & SECT_SMALL) && want_huge(start);

	if (!huge)
		sys_madvise(start, SECTION_BYTES, MADV_NOHUGEPAGE);
	section_set(section, huge ? SECT_MAPPED : SECT_MAPPED | SECT_SMALL);
}

int section_map(uint64_t section)
{
	int err = 0;

	if (likely(section_mapped(section)))
		return 0;
	sys_lock(&mm.map_lock, SYS_RANK_EVENT);
	if (!section_mapped(section)) {
		mm_count(BS_VMSTAT_REAL_MMAP_CALLS, 1);
		err = sys_map_at(pfn_to_virt(section << SECTION_ORDER),
				 SECTION_BYTES);
		if (!err)
			advise_section(section);
	}
	sys_unlock(&mm.map_lock, SYS_RANK_EVENT);
	return err;
}

static void zone_resize(struct zone *zone, int64_t pages)
{
	zone->stat.present_pages += (uint64_t)pages;
	zone->stat.managed_pages += (uint64_t)pages;
	pcp_set_marks(zone);
}

int zone_hot_add(struct zone *zone, unsigned int type)
{
	uint64_t first = zone->start_pfn >> SECTION_ORDER;
	uint64_t end = first + (zone->window_pages >> SECTION_ORDER);
	uint64_t s = first + zone->next_section;
	uint64_t pfn, span;
	int err;

	while (s < end && (section_state(s) & SECT_ONLINE))
		s++;
	if (s >= end)
		return -ENOSPC;
	err = map_table(s);
	if (err)
		return err;
	section_set(s, SECT_ONLINE);
	zone->next_section = s + 1 - first;
	pfn = s << SECTION_ORDER;
	span = pfn + SECTION_PAGES - zone->start_pfn;
	zone->stat.spanned_pages = MAX(zone->stat.spanned_pages, span);
	zone_resize(zone, SECTION_PAGES);
	if (mm.up)
		zone->stat.hot_added_pages += SECTION_PAGES;
	zone_add_section(zone, pfn, type);
	return 0;
}

void zone_hot_remove(struct zone *zone, uint64_t pfn)
{
	uint64_t s = pfn >> SECTION_ORDER;

	zone_del_section(zone, pfn);
	if (section_mapped(s)) {
		mm_count(BS_VMSTAT_REAL_MUNMAP_CALLS, 1);
		sys_munmap(pfn_to_virt(pfn), SECTION_BYTES);
		__atomic_fetch_sub(&mm.nr_sections_mapped, 1, __ATOMIC_RELAXED);
	}
	__atomic_and_fetch(&mm.section[s],
			   (uint8_t) ~(SECT_ONLINE | SECT_MAPPED | SECT_SMALL),
			   __ATOMIC_RELEASE);
	zone_resize(zone, -(int64_t)SECTION_PAGES);
	zone->stat.hot_removed_pages += SECTION_PAGES;
	zone->next_section =
		MIN(zone->next_section, s - (zone->start_pfn >> SECTION_ORDER));
	pagemap_publish(pfn, SECTION_PAGES, BS_PAGEMAP_ABSENT);
}

/* ---- start --------------------------------------------------------------------- */

static uint64_t arena_pages(void)
{
	uint64_t bytes = sys_ram_bytes() * ARENA_OVERSIZE;
	uint64_t limit = sys_rlimit_as();

	bytes = MIN(bytes, limit);
	bytes = MIN(MAX(bytes, ARENA_MIN_BYTES), ARCH_ARENA_MAX);
	return bytes >> PAGE_SHIFT;
}

/* Windows, multiples of what one mapping of mem_map covers. */
static void place_zones(void)
{
	uint64_t step = TABLE_SECTIONS * SECTION_PAGES;
	uint64_t share = ALIGN_UP(arena_pages() / mm.nr_zones, step);
	uint64_t pfn = 0;
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];
		const struct mm_zone_config *c = &mm.config.zone[i];

		zone->nr = (uint8_t)i;
		zone->elastic = c->elastic;
		memcpy(zone->name, c->name, sizeof(zone->name));
		zone->start_pfn = pfn;
		zone->initial_pages = ALIGN_UP(c->pages, SECTION_PAGES);
		zone->window_pages =
			MAX(share, ALIGN_UP(zone->initial_pages * 2, step));
		pfn += zone->window_pages;
	}
	mm.nr_pfns = pfn;
}

/*
 * Carve the zone's bit trees from mem and their heads from head; when they are NULL,
 * only count the words.
 */
static uint64_t carve_lists(struct zone *zone, uint64_t *mem, uint64_t *head,
			    uint64_t *nr_head)
{
	uint64_t words = 0;
	unsigned int o, t;

	*nr_head = 0;
	/* Large orders first: their words are few and all used at once. */
	for (o = MAX_ORDER; o--;) {
		uint64_t bits = zone->window_pages >> o;
		uint64_t head_bits = HEAD_PAGES >> o;

		for (t = 0; t < MM_NR_TYPES; t++) {
			if (mem)
				bitset_init(&zone->free_area[o].free_list[t],
					    bits, mem + words, head_bits,
					    head + *nr_head);
			words += bitset_words(bits);
			*nr_head += bitset_head_words(bits, head_bits);
		}
	}
	return words;
}

/*
 * Carve the zones' tables from mem, or only count words when it is NULL.  What is
 * used from the start comes first, the bit trees behind it all.
 */
static uint64_t carve_tables(uint64_t *mem)
{
	uint64_t *head[MAX_NR_ZONES] = { NULL };
	uint64_t words = 0, nr_head;
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];

		carve_lists(zone, NULL, NULL, &nr_head);
		if (mem) {
			head[i] = mem + words;
			zone->pcp = (void *)(mem + words + nr_head);
		}
		words += nr_head + mm.nr_slots * sizeof(*zone->pcp) / 8 + 1;
		if (mem)
			zone->block_type = (uint8_t *)(mem + words);
		words += (zone->window_pages >> PAGEBLOCK_ORDER) / 8 + 1;
	}
	if (mem)
		mm.section = (uint8_t *)(mem + words);
	words += (mm.nr_pfns >> SECTION_ORDER) / 8 + 1;
	for (i = 0; i < mm.nr_zones; i++)
		words += carve_lists(&mm.zone[i], mem ? mem + words : NULL,
				     head[i], &nr_head);
	return words;
}

static void choose_base(void)
{
	const void *at_random = (const void *)getauxval(AT_RANDOM);
	uintptr_t base = ARCH_ARENA_BASE;
	uint64_t random = 0;

	if (at_random)
		memcpy(&random, at_random, sizeof(random));
	base += random & ARCH_ARENA_RANDOM;
	mm.mem_map = (struct page *)base;
	base += mm.nr_pfns * sizeof(struct page) + SECTION_BYTES;
	mm.base = (char *)ALIGN_UP(base, 1UL << 30);
}

/* setup_per_zone_pages_min() and setup_per_zone_lowmem_reserve(). */
static void set_watermarks(void)
{
	uint64_t total = 0, min_kbytes, above;
	unsigned int i, j;

	for (i = 0; i < mm.nr_zones; i++)
		total += mm.zone[i].initial_pages;
	min_kbytes = isqrt(total * (PAGE_SIZE >> 10) * 16);
	min_kbytes = MIN(MAX(min_kbytes, MIN_FREE_KBYTES_LOWEST),
			 MIN_FREE_KBYTES_HIGHEST);
	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];
		struct bs_abi_zone *stat = &zone->stat;
		uint64_t min = min_kbytes / (PAGE_SIZE >> 10) *
			       zone->initial_pages / MAX(total, 1UL);

		stat->wmark_min_pages = min;
		stat->wmark_low_pages = min + min / 4;
		stat->wmark_high_pages = min + min / 2;
		for (j = i + 1, above = 0; j < mm.nr_zones; j++) {
			above += mm.zone[j].initial_pages;
			stat->protection_pages[j] =
				above / LOWMEM_RESERVE_RATIO;
		}
	}
}

static int zone_online(struct zone *zone)
{
	struct bs_abi_zone *stat = &zone->stat;
	uint64_t pages;
	int err = 0;

	memcpy(stat->name, zone->name, sizeof(stat->name));
	stat->elastic = zone->elastic;
	stat->start_pfn = zone->start_pfn;
	for (pages = 0; !err && pages < zone->initial_pages;
	     pages += SECTION_PAGES)
		err = zone_hot_add(zone, BS_MIGRATE_MOVABLE);
	stat->min_free_pages = stat->free_pages;
	return err;
}

int page_alloc_init(void)
{
	unsigned int i;
	int err = 0;

	place_zones();
	mm.table_bytes = carve_tables(NULL) * sizeof(uint64_t);
	mm.table_mem = sys_reserve(mm.table_bytes);
	if (!mm.table_mem)
		return -ENOMEM;
	carve_tables(mm.table_mem);
	choose_base();
	set_watermarks();
	for (i = 0; !err && i < mm.nr_zones; i++)
		err = zone_online(&mm.zone[i]);
	return err;
}

void page_alloc_destroy(void)
{
	size_t table = TABLE_SECTIONS * SECTION_PAGES * sizeof(struct page);
	uint64_t s, nr = mm.nr_pfns >> SECTION_ORDER;

	if (!mm.table_mem)
		return;
	for (s = 0; s < nr; s++) {
		if (mm.section[s] & SECT_MAPPED)
			sys_munmap(pfn_to_virt(s << SECTION_ORDER),
				   SECTION_BYTES);
		if (s % TABLE_SECTIONS == 0 && (mm.section[s] & SECT_TABLE))
			sys_munmap(pfn_to_page(s << SECTION_ORDER), table);
	}
	sys_munmap(mm.table_mem, mm.table_bytes);
	mm.table_mem = NULL;
}
