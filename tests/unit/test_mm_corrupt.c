/* SPDX-License-Identifier: MIT */
/*
 * test_mm_corrupt.c - each corruption that mm.h lists must make mm_verify()
 * fail, and with the invariant that it breaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "preload/mm/bitset.h"
#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"
#include "tests/unit/mm_model.h"

/* Live blocks of every kind, so that each structure has something in it. */
struct scene {
	char *small[400]; /* 64 bytes each; every second one was freed */
	char *large[2];
	char *area[2];
	char *named;	   /* vmalloc(), 20 pages */
	char *mapped;	   /* vmap() of large[1]'s first page */
	char *debugged[2]; /* 90 bytes in kmalloc-96; the second was freed */
};

static void *obtain(size_t size)
{
	struct mm_block b;
	void *p = mm_alloc(size, 1, GFP_KERNEL);

	assert_non_null(p);
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_non_null(tag_place(&b));
	mm_set_tag(&b, tag_make(1, (uint32_t)(b.usable - size), 1), true);
	return p;
}

static struct kmem_cache *cache_of(const void *p)
{
	return pfn_to_page(virt_to_pfn(p))->cache;
}

static void set_up(struct scene *s)
{
	struct mm_config c;
	struct page *page;
	unsigned int i;
	uint64_t phys;

	mm_default_config(&c);
	c.tags = true;
	c.nr_carveouts = 1;
	strcpy(c.carveout[0].name, "video");
	c.carveout[0].bytes = 16 * PAGE_SIZE;
	c.slab_debug = BS_DEBUG_RED_ZONE | BS_DEBUG_POISON;
	strcpy(c.slab_debug_names, "kmalloc-96");
	assert_int_equal(mm_init(&c, NULL), 0);
	for (i = 0; i < 400; i++)
		s->small[i] = obtain(64);
	for (i = 0; i < 400; i += 2)
		release(s->small[i]);
	/* The shared array keeps nothing from the slabs, a CPU's has some. */
	kmem_cache_shrink(cache_of(s->small[1]));
	for (i = 391; i < 400; i += 2)
		release(s->small[i]);
	for (i = 0; i < 2; i++) {
		s->debugged[i] = obtain(90);
		s->large[i] = obtain(300000);
		s->area[i] = obtain(5UL << 20);
	}
	release(s->debugged[1]);
	s->named = vmalloc(20 * PAGE_SIZE, GFP_KERNEL);
	assert_non_null(s->named);
	page = pfn_to_page(virt_to_pfn(s->large[1]));
	s->mapped = vmap(&page, 1, GFP_KERNEL, 0);
	assert_non_null(s->mapped);
	assert_non_null(carveout_alloc("video", 3 * PAGE_SIZE, &phys, 0));
	assert_non_null(carveout_alloc("video", 3 * PAGE_SIZE, &phys, 0));
	assert_mm_holds();
}

/* A free block of an order below the highest. */
static uint64_t some_free_block(unsigned int *order, unsigned int *type)
{
	struct zone *zone = &mm.zone[0];

	for (*order = 0; *order < MAX_ORDER; ++*order)
		for (*type = 0; *type < MM_NR_TYPES; ++*type) {
			const struct bitset *list =
				&zone->free_area[*order].free_list[*type];

			if (zone->stat.nr_free[*type][*order])
				return bitset_first(list) << *order;
		}
	fail_msg("no free block");
	return 0;
}

static struct slab *slab_of(const void *p)
{
	return pfn_to_page(virt_to_pfn(p))->slab;
}

/* An array_cache with at least two objects. */
static struct array_cache *full_array(const struct kmem_cache *cachep)
{
	unsigned int i;

	for (i = 0; i < mm.nr_slots; i++)
		if (cachep->array[i] && cachep->array[i]->avail >= 2)
			return cachep->array[i];
	fail_msg("no array holds objects");
	return NULL;
}

/* A partial slab: it has free and active objects. */
static struct slab *partial_slab(struct kmem_cache *cachep)
{
	assert_false(list_empty(&cachep->list3.slabs_partial));
	return list_entry(cachep->list3.slabs_partial.next, struct slab, list);
}

/* ---- the corruptions, numbered as in mm.h --------------------------------- */

static void c01_bit_cleared(struct scene *s)
{
	unsigned int order, type;
	uint64_t pfn = some_free_block(&order, &type);

	(void)s;
	bitset_clear(&mm.zone[0].free_area[order].free_list[type],
		     pfn >> order);
}

static void c02_bit_set_twice(struct scene *s)
{
	unsigned int order, type;
	uint64_t pfn = some_free_block(&order, &type);

	(void)s;
	bitset_set(&mm.zone[0].free_area[order].free_list[(type + 1) %
							  MM_NR_TYPES],
		   pfn >> order);
}

static void c03_order_changed(struct scene *s)
{
	unsigned int order, type;
	uint64_t pfn = some_free_block(&order, &type);

	(void)s;
	pfn_to_page(pfn)->order = (uint8_t)(order + 1);
}

static void c04_nr_free_off_by_one(struct scene *s)
{
	(void)s;
	mm.zone[0].stat.nr_free[BS_MIGRATE_MOVABLE][SECTION_ORDER]++;
}

static void c05_used_off_by_one(struct scene *s)
{
	(void)s;
	mm.zone[0].stat.used_pages[BS_USE_LARGE]--;
}

static void c06_live_object_is_free(struct scene *s)
{
	struct slab *slabp = partial_slab(cache_of(s->small[1]));
	uint32_t i = 0;

	while (slab_object_is_free(slabp, i))
		i++;
	slabp->free[i / 64] |= UINT64_C(1) << i % 64;
}

static void c07_slab_in_wrong_list(struct scene *s)
{
	struct kmem_cache *cachep = cache_of(s->small[1]);
	struct slab *slabp = partial_slab(cachep);

	list_move(&slabp->list, &cachep->list3.slabs_full);
}

static void c08_inuse_off_by_one(struct scene *s)
{
	partial_slab(cache_of(s->small[1]))->inuse++;
}

static void c09_object_twice_in_array(struct scene *s)
{
	struct array_cache *ac = full_array(cache_of(s->small[1]));

	ac->entry[0] = ac->entry[1];
}

static void c10_foreign_object_in_array(struct scene *s)
{
	struct array_cache *ac = full_array(cache_of(s->small[1]));

	ac->entry[0] = s->large[0];
}

static void c11_free_objects_off_by_one(struct scene *s)
{
	cache_of(s->small[1])->list3.free_objects++;
}

static void c12_charge_off_by_one(struct scene *s)
{
	vm_find((uint64_t)s->area[0])->charged_pages--;
}

static void c13_lent_block_in_two_areas(struct scene *s)
{
	struct vm_struct *a = vm_find((uint64_t)s->area[0]);
	struct vm_struct *b = vm_find((uint64_t)s->area[1]);

	b->lent = a->lent;
	b->charged_pages = a->charged_pages;
}

static void c14_page_names_wrong_slab(struct scene *s)
{
	struct slab *other = NULL;
	unsigned int i;

	for (i = 3; i < 390 && !other; i += 2)
		if (slab_of(s->small[i]) != slab_of(s->small[1]))
			other = slab_of(s->small[i]);
	assert_non_null(other);
	pfn_to_page(virt_to_pfn(s->small[1]))->slab = other;
}

static void c15_unmerged_buddies(struct scene *s)
{
	struct zone *zone = &mm.zone[0];
	struct bitset *top =
		&zone->free_area[SECTION_ORDER].free_list[BS_MIGRATE_MOVABLE];
	struct bitset *half = &zone->free_area[SECTION_ORDER - 1]
				       .free_list[BS_MIGRATE_MOVABLE];
	uint64_t nr = bitset_first(top), i;

	(void)s;
	bitset_clear(top, nr);
	for (i = 0; i < 2; i++) {
		struct page *page = pfn_to_page((nr << SECTION_ORDER) +
						(i << (SECTION_ORDER - 1)));

		page->kind = PK_FREE;
		page->order = SECTION_ORDER - 1;
		page->migratetype = BS_MIGRATE_MOVABLE;
		page->flags = PG_ZERO;
		bitset_set(half, nr * 2 + i);
	}
	zone->stat.nr_free[BS_MIGRATE_MOVABLE][SECTION_ORDER]--;
	zone->stat.nr_free[BS_MIGRATE_MOVABLE][SECTION_ORDER - 1] += 2;
}

static void c16_tag_on_free_object(struct scene *s)
{
	struct slab *slabp = partial_slab(cache_of(s->small[1]));
	uint32_t i = 0;

	while (!slab_object_is_free(slabp, i))
		i++;
	slab_tags(slabp->cache, slabp)[i] = tag_make(1, 0, 1);
}

static void c17_frame_nowhere(struct scene *s)
{
	pfn_to_page(virt_to_pfn(s->large[0]))->kind = PK_TAIL;
}

static void c18_block_type_changed(struct scene *s)
{
	(void)s;
	mm.zone[0].block_type[0] ^= 3;
}

/* A CPU's list with two pages at least. */
static struct per_cpu_pages *pcp_list(unsigned int *slot)
{
	struct zone *zone = &mm.zone[0];
	uint64_t pfn[2];
	unsigned int i;

	for (i = 0; i < 2; i++)
		pfn[i] = page_to_pfn(alloc_pages(GFP_KERNEL | __GFP_MOVABLE, 0,
						 BS_USE_LARGE));
	for (i = 0; i < 2; i++)
		free_page_range(pfn[i], 1, BS_USE_LARGE, false);
	for (*slot = 0; *slot < mm.nr_slots; ++*slot)
		if (zone->pcp[*slot].count[BS_MIGRATE_MOVABLE] > 1)
			return &zone->pcp[*slot];
	fail_msg("no page in any per-CPU list");
	return NULL;
}

static void c19_page_twice_in_pcp_list(struct scene *s)
{
	unsigned int slot;
	struct per_cpu_pages *pcp = pcp_list(&slot);

	(void)s;
	pcp->pfn[BS_MIGRATE_MOVABLE][0] = pcp->pfn[BS_MIGRATE_MOVABLE][1];
}

static void c20_pcp_count_off_by_one(struct scene *s)
{
	unsigned int slot;

	(void)s;
	pcp_list(&slot);
	mm.zone[0].stat.pcp_count[slot]++;
}

/* One CPU has no shared array. */
static void c21_object_in_both_arrays(struct scene *s)
{
	struct kmem_cache *cachep = cache_of(s->small[1]);
	struct array_cache *ac = full_array(cachep);
	struct array_cache *shared = cachep->list3.shared;

	if (!shared)
		shared = ac;
	shared->entry[shared->avail++] = ac->entry[0];
}

static void c22_table_leads_to_a_small_cache(struct scene *s)
{
	(void)s;
	mm.kmalloc_table[kmalloc_step(100)] = mm.kmalloc_caches[0];
}

static void c23_red_zone_of_live_object(struct scene *s)
{
	s->debugged[0][90] = 1;
}

static void c24_red_zone_of_free_object(struct scene *s)
{
	s->debugged[1][-1] = 1;
}

static void c25_poison_of_free_object(struct scene *s)
{
	s->debugged[1][40] = 1;
}

static void c26_area_names_another_frame(struct scene *s)
{
	vm_find((uint64_t)s->named)->pages[4]++;
}

static void c27_mapped_frame_not_marked(struct scene *s)
{
	vmalloc_to_page(s->mapped)->flags &= (uint8_t)~PG_VMAP;
}

static void c28_window_off_by_a_page(struct scene *s)
{
	(void)s;
	mm.vm_window_bytes += PAGE_SIZE;
}

static void c29_runs_overlap(struct scene *s)
{
	(void)s;
	mm.carveout[0].run[0]++;
	mm.carveout[0].used_pages++;
}

static void c30_tags_in_no_live_object(struct scene *s)
{
	partial_slab(cache_of(s->small[1]))->tags++;
}

/* What the walker must say, in the order of the numbers. */
static const struct {
	void (*corrupt)(struct scene *s);
	const char *invariant; /* the first one broken */
} corruptions[] = {
	{ c01_bit_cleared, "I3" },
	{ c02_bit_set_twice, "I3" },
	{ c03_order_changed, "I" }, /* I2 or I3, by what follows the block */
	{ c04_nr_free_off_by_one, "I5" },
	{ c05_used_off_by_one, "I6" },
	{ c06_live_object_is_free, "I8" },
	{ c07_slab_in_wrong_list, "I7" },
	{ c08_inuse_off_by_one, "I8" },
	{ c09_object_twice_in_array, "I9" },
	{ c10_foreign_object_in_array, "I9" },
	{ c11_free_objects_off_by_one, "I10" },
	{ c12_charge_off_by_one, "I11" },
	{ c13_lent_block_in_two_areas, "I11" },
	{ c14_page_names_wrong_slab, "I7" },
	{ c15_unmerged_buddies, "I4" },
	{ c16_tag_on_free_object, "I13" },
	{ c17_frame_nowhere, "I1" },
	{ c18_block_type_changed, "I14" },
	{ c19_page_twice_in_pcp_list, "I15" },
	{ c20_pcp_count_off_by_one, "I15" },
	{ c21_object_in_both_arrays, "I9" },
	{ c22_table_leads_to_a_small_cache, "I17" },
	{ c23_red_zone_of_live_object, "I18" },
	{ c24_red_zone_of_free_object, "I18" },
	{ c25_poison_of_free_object, "I18" },
	{ c26_area_names_another_frame, "I16" },
	{ c27_mapped_frame_not_marked, "I16" },
	{ c28_window_off_by_a_page, "I16" },
	{ c29_runs_overlap, "I19" },
	{ c30_tags_in_no_live_object, "I13" },
};

static void mm_verify_corrupted_fails(void **state)
{
	struct scene s;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(corruptions); i++) {
		char why[256] = "holds";

		set_up(&s);
		corruptions[i].corrupt(&s);
		if (mm_verify(why, sizeof(why), NULL, NULL) == 0 ||
		    strncmp(why, corruptions[i].invariant,
			    strlen(corruptions[i].invariant)) != 0)
			fail_msg("corruption %zu: mm_verify says: %s", i + 1,
				 why);
		mm_destroy();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mm_verify_corrupted_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
