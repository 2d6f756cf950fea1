/* SPDX-License-Identifier: MIT */
/*
 * vmap.c - the address-sorted tree of areas.
 *
 * Owns:   struct vm_struct, mm.vm_root, the slots of areas in the segment.
 * Layer:  mm, above slab (records) and page_alloc (lent frames).
 * Locks:  the vm lock, held by every caller.
 * Source: treaps, Seidel and Aragon (1996): a search tree by address whose
 *         random priorities keep it balanced in the mean.
 */
#include <string.h>

#include "preload/mm/bitset.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"

static uint64_t next_prio(void)
{
	/* xorshift64; any seed but 0 */
	uint64_t x = mm.vm_random ? mm.vm_random : 0x9e3779b97f4a7c15ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return mm.vm_random = x;
}

/* Everything in a lies below everything in b. */
static struct vm_struct *merge(struct vm_struct *a, struct vm_struct *b)
{
	if (!a || !b)
		return a ? a : b;
	if (a->prio > b->prio) {
		a->right = merge(a->right, b);
		return a;
	}
	b->left = merge(a, b->left);
	return b;
}

/* Cut the tree at addr: *low has what starts below it. */
static void cut(struct vm_struct *t, uint64_t addr, struct vm_struct **low,
		struct vm_struct **high)
{
	while (t) {
		if (t->addr < addr) {
			*low = t;
			low = &t->right;
			t = t->right;
		} else {
			*high = t;
			high = &t->left;
			t = t->left;
		}
	}
	*low = *high = NULL;
}

static void tree_insert(struct vm_struct *area)
{
	struct vm_struct *low, *high;

	cut(mm.vm_root, area->addr, &low, &high);
	area->left = area->right = NULL;
	area->prio = next_prio();
	mm.vm_root = merge(merge(low, area), high);
	mm.nr_areas++;
}

static void tree_remove(struct vm_struct *area)
{
	struct vm_struct **link = &mm.vm_root;

	while (*link != area) {
		if (unlikely(!*link))
			sys_die("area %lx is not in the tree",
				(unsigned long)area->addr);
		link = area->addr < (*link)->addr ? &(*link)->left
						  : &(*link)->right;
	}
	*link = merge(area->left, area->right);
	mm.nr_areas--;
}

struct vm_struct *vm_find(uint64_t addr)
{
	struct vm_struct *t = mm.vm_root, *best = NULL;

	while (t) {
		if (t->addr + t->size > addr) {
			best = t;
			t = t->left;
		} else {
			t = t->right;
		}
	}
	return best;
}

static int walk(struct vm_struct *t,
		int (*fn)(struct vm_struct *area, void *arg), void *arg)
{
	int ret;

	if (!t)
		return 0;
	ret = walk(t->left, fn, arg);
	if (!ret)
		ret = fn(t, arg);
	return ret ? ret : walk(t->right, fn, arg);
}

int vm_walk(int (*fn)(struct vm_struct *area, void *arg), void *arg)
{
	return walk(mm.vm_root, fn, arg);
}

/* ---- publishing -------------------------------------------------------------- */

static void take_slot(struct vm_struct *area)
{
	struct bs_abi_section *sec =
		&mm_wipe->pub.header->section[BS_SEC_AREAS];
	uint64_t slot = bitset_first(&mm.area_slot_free);

	if (slot != BITSET_NONE) {
		bitset_clear(&mm.area_slot_free, slot);
	} else if (mm.area_slot_next < MIN(MM_AREA_SLOTS, sec->capacity)) {
		slot = mm.area_slot_next++;
	} else {
		sec->dropped++;
		return;
	}
	area->pub_slot = (uint32_t)slot;
}

void vm_publish(struct vm_struct *area)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_area *out;

	if (!pub->areas)
		return;
	if (!area->pub_slot)
		take_slot(area);
	if (!area->pub_slot)
		return;
	out = &pub->areas[area->pub_slot];
	if (!pub->claim(out, sizeof(*out)))
		return;
	sys_raise(pub->header->section[BS_SEC_AREAS].count,
		  area->pub_slot + 1UL);
	sys_seq_begin(&out->seq);
	out->live = 1;
	out->addr = area->addr;
	out->bytes = area->size;
	out->requested_bytes = area->requested_bytes;
	out->charged_pages = area->charged_pages;
	out->offset = area->offset;
	out->flags = area->flags;
	out->prot = area->prot;
	out->guard_bytes = area->guard_bytes;
	out->site = tag_site(area->tag);
	out->born_ns = area->born_ns;
	out->phys_addr = area->phys_addr;
	memset(out->path, 0, sizeof(out->path));
	if (area->path)
		sys_format(out->path, sizeof(out->path), "%s", area->path);
	sys_seq_end(&out->seq);
}

static void unpublish(struct vm_struct *area)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_area *out;

	if (!area->pub_slot)
		return;
	if (pub->areas) {
		out = &pub->areas[area->pub_slot];
		sys_seq_begin(&out->seq);
		out->live = 0;
		sys_seq_end(&out->seq);
	}
	bitset_set(&mm.area_slot_free, area->pub_slot);
	area->pub_slot = 0;
}

/* ---- records -------------------------------------------------------------------- */

struct vm_struct *vm_insert(uint64_t addr, uint64_t size, uint32_t flags,
			    uint32_t prot, gfp_t gfp)
{
	struct vm_struct *area =
		kmem_cache_alloc(mm.vm_cachep, gfp | __GFP_LOCKED);

	if (!area)
		return NULL;
	memset(area, 0, sizeof(*area));
	area->addr = addr;
	area->size = size;
	area->requested_bytes = size;
	area->flags = flags;
	area->prot = prot;
	area->born_ns = sys_now_coarse_ns();
	tree_insert(area);
	return area;
}

static void free_path(struct vm_struct *area)
{
	struct mm_block b;

	if (area->path && mm_lookup(area->path, &b) == 0)
		mm_free(area->path, &b);
}

void vm_remove(struct vm_struct *area)
{
	VM_BUG_ON(area->charged_pages || area->pages);
	tree_remove(area);
	unpublish(area);
	free_path(area);
	kmem_cache_free(mm.vm_cachep, area);
}

char *vm_dup_path(const char *path)
{
	size_t len = strlen(path) + 1;
	char *copy = mm_kmalloc(len, GFP_KERNEL | __GFP_LOCKED);

	if (copy)
		memcpy(copy, path, len);
	return copy;
}

struct vm_struct *vm_split(struct vm_struct *area, uint64_t addr)
{
	uint64_t low = addr - area->addr, high = area->size - low, keep;
	struct vm_struct *upper;

	VM_BUG_ON(addr <= area->addr || addr >= area->addr + area->size);
	upper = vm_insert(addr, high, area->flags, area->prot, GFP_KERNEL);
	if (!upper)
		return NULL;
	upper->tag = area->tag;
	upper->born_ns = area->born_ns;
	upper->offset = area->offset ? area->offset + low : 0;
	upper->phys_addr = area->phys_addr ? area->phys_addr + low : 0;
	upper->guard_bytes = area->guard_bytes;
	area->guard_bytes = 0;
	area->size = area->requested_bytes = low;
	if (area->path) {
		upper->path = vm_dup_path(area->path);
		upper->offset = area->offset + low;
	}
	keep = MIN(area->charged_pages, low >> PAGE_SHIFT);
	move_lent_pages(area, upper, area->charged_pages - keep);
	return upper;
}

void vm_join(struct vm_struct *a, struct vm_struct *b)
{
	VM_BUG_ON(a->addr + a->size != b->addr);
	move_lent_pages(b, a, b->charged_pages);
	a->size += b->size;
	a->requested_bytes = a->size;
	a->guard_bytes = b->guard_bytes;
	vm_remove(b);
}
