/* SPDX-License-Identifier: MIT */
/*
 * ioremap.c - carve-outs: memory that the buddy never sees.
 *
 * Owns:   mm.carveout[], areas with BS_AREA_CARVEOUT.
 * Layer:  mm, above vmalloc (addresses) and kmalloc (names).
 * Locks:  the vm lock.
 * Source: Linux 2.6.29 arch/arm/mm/ioremap.c, mm/vmalloc.c (alignment).
 *
 * memmap=SIZE$NAME sets memory aside at the start.  Its "physical" address lies
 * behind all zones:
 *
 *   | zone 0 | zone 1 | ... | a section left out | carve-out 0 | carve-out 1 | ...
 *
 * It is shared memory, so that each ioremap() is one more view of the same pages.
 * A forked child sees its parent's; only the parent gives pages of it out.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/mm/page_alloc.h"
#include "preload/mm/vmalloc.h"

/* An ioremap() is aligned to its size, up to this many pages. */
#define IOREMAP_MAX_ORDER 7

/* ---- start ------------------------------------------------------------------ */

static void carveout_record(struct carveout *c)
{
	uint64_t bytes = c->nr_pages << PAGE_SHIFT;

	c->area = vm_insert((uint64_t)c->base, bytes,
			    BS_AREA_IOREMAP | BS_AREA_CARVEOUT,
			    PROT_READ | PROT_WRITE, GFP_KERNEL);
	if (!c->area)
		return;
	c->area->requested_bytes = 0;
	c->area->phys_addr = c->phys;
	c->area->path = vm_dup_path(c->name);
}

static bool carveout_make(struct carveout *c,
			  const struct mm_carveout_config *config,
			  uint64_t phys)
{
	uint64_t nr_pages = config->bytes >> PAGE_SHIFT;
	long base = sys_mmap(NULL, config->bytes, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (sys_is_err(base))
		return false;
	c->run = sys_reserve(nr_pages * sizeof(*c->run));
	if (!c->run) {
		sys_munmap((void *)base, config->bytes);
		return false;
	}
	c->name = config->name;
	c->base = (char *)base;
	c->phys = phys;
	c->nr_pages = nr_pages;
	carveout_record(c);
	return true;
}

void carveouts_init(void)
{
	uint64_t phys = (mm.nr_pfns + SECTION_PAGES) << PAGE_SHIFT;
	unsigned int i;

	for (i = 0; i < mm.config.nr_carveouts; i++) {
		const struct mm_carveout_config *config =
			&mm.config.carveout[i];

		if (carveout_make(&mm.carveout[mm.nr_carveouts], config, phys))
			mm.nr_carveouts++;
		else
			sys_say("memmap: no %lu bytes for %s", config->bytes,
				config->name);
		phys += ALIGN_UP(config->bytes, SECTION_BYTES);
	}
}

/* The mappings went with their areas. */
void carveouts_destroy(void)
{
	unsigned int i;

	for (i = 0; i < mm.nr_carveouts; i++)
		sys_munmap(mm.carveout[i].run,
			   mm.carveout[i].nr_pages * sizeof(uint32_t));
}

/* ---- pages of a carve-out ------------------------------------------------------ */

static struct carveout *by_name(const char *name)
{
	unsigned int i;

	for (i = 0; i < mm.nr_carveouts; i++)
		if (!strcmp(mm.carveout[i].name, name))
			return &mm.carveout[i];
	return NULL;
}

int carveout_find(const char *name, uint64_t *phys, uint64_t *bytes)
{
	const struct carveout *c = by_name(name);

	if (!c)
		return -ENOENT;
	*phys = c->phys;
	*bytes = c->nr_pages << PAGE_SHIFT;
	return 0;
}

/* The lowest gap of that many pages; nr_pages when there is none. */
static uint64_t first_fit(const struct carveout *c, uint64_t want)
{
	uint64_t at = 0, start = 0;

	while (at < c->nr_pages && at - start < want) {
		if (c->run[at]) {
			at += c->run[at];
			start = at;
		} else {
			at++;
		}
	}
	return at - start >= want ? start : c->nr_pages;
}

static void carveout_used(struct carveout *c, int64_t pages)
{
	c->used_pages += (uint64_t)pages;
	if (!c->area)
		return;
	c->area->requested_bytes = c->used_pages << PAGE_SHIFT;
	vm_publish(c->area);
}

void *carveout_alloc(const char *name, size_t size, uint64_t *phys, gfp_t gfp)
{
	uint64_t want = ALIGN_UP((uint64_t)size, PAGE_SIZE) >> PAGE_SHIFT, at;
	struct carveout *c = by_name(name);
	char *p = NULL;

	if (!c || !size || mm.carveouts_inherited)
		return NULL;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	at = want && want <= c->nr_pages ? first_fit(c, want) : c->nr_pages;
	if (at < c->nr_pages) {
		c->run[at] = (uint32_t)want;
		carveout_used(c, (int64_t)want);
		p = c->base + (at << PAGE_SHIFT);
		*phys = c->phys + (at << PAGE_SHIFT);
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	if (!p && !(gfp & __GFP_NOWARN))
		mm_event_make(
			&(struct mm_event){ .type = BS_EVENT_CARVEOUT_FULL,
					    .zone_nr = -1,
					    .gfp = gfp,
					    .addr = c->phys,
					    .bytes = size,
					    .name = c->name });
	if (p && gfp & __GFP_ZERO)
		memset(p, 0, size);
	return p;
}

int carveout_free(const char *name, void *p)
{
	struct carveout *c = by_name(name);
	uint64_t at;
	int err = -EINVAL;

	if (!c || mm.carveouts_inherited)
		return -EINVAL;
	at = (uint64_t)((char *)p - c->base) >> PAGE_SHIFT;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	if (at < c->nr_pages && c->base + (at << PAGE_SHIFT) == (char *)p &&
	    c->run[at]) {
		carveout_used(c, -(int64_t)c->run[at]);
		c->run[at] = 0;
		err = 0;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return err;
}

/* ---- views ------------------------------------------------------------------------ */

/* The carve-out that holds all of [phys, phys + bytes). */
static struct carveout *by_phys(uint64_t phys, uint64_t bytes)
{
	unsigned int i;

	for (i = 0; i < mm.nr_carveouts; i++) {
		struct carveout *c = &mm.carveout[i];
		uint64_t all = c->nr_pages << PAGE_SHIFT, at = phys - c->phys;

		if (at < all && bytes <= all - at)
			return c;
	}
	return NULL;
}

/* A second view of shared pages: mremap() from a length of 0. */
static bool view(const struct carveout *c, uint64_t phys, uint64_t bytes,
		 uint64_t addr)
{
	return !sys_is_err(sys_mremap(c->base + (phys - c->phys), 0, bytes,
				      MREMAP_MAYMOVE | MREMAP_FIXED,
				      (void *)addr));
}

static uint64_t ioremap_align(uint64_t bytes)
{
	unsigned int fls = 64 - (unsigned int)__builtin_clzll(bytes);

	return 1UL << MIN(MAX(fls, PAGE_SHIFT), PAGE_SHIFT + IOREMAP_MAX_ORDER);
}

/* vm lock held. */
static struct vm_struct *map_view(const struct carveout *c, uint64_t phys,
				  uint64_t bytes, struct vm_request *req)
{
	uint64_t addr = vm_space_get(bytes, ioremap_align(bytes), req);
	struct vm_struct *area;

	if (!addr)
		return NULL;
	area = vm_insert(addr, bytes, BS_AREA_IOREMAP | BS_AREA_CARVEOUT,
			 PROT_READ | PROT_WRITE, GFP_KERNEL);
	if (area && view(c, phys, bytes, addr)) {
		area->guard_bytes = VM_GUARD_BYTES;
		area->phys_addr = phys;
		area->path = vm_dup_path(c->name);
		return area;
	}
	if (area)
		vm_remove(area);
	vm_space_put(addr, bytes + VM_GUARD_BYTES);
	return NULL;
}

void *ioremap(uint64_t phys, size_t size, uint64_t tag)
{
	uint64_t start = ALIGN_DOWN(phys, PAGE_SIZE);
	uint64_t bytes = ALIGN_UP(phys + size, PAGE_SIZE) - start;
	struct vm_request req = { .strict = true };
	const struct carveout *c;
	struct vm_struct *area;
	char *p = NULL;

	if (!size || phys + size < phys || bytes < size)
		return NULL;
	c = by_phys(start, bytes);
	if (!c)
		return NULL; /* as the kernel refuses RAM */
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = map_view(c, start, bytes, &req);
	if (area) {
		area->requested_bytes = size;
		area->tag = tag;
		vm_publish(area);
		p = (char *)area->addr + (phys - start);
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	if (!p)
		vm_request_failed(&req, size, false);
	return p;
}

int iounmap(void *addr)
{
	uint64_t start = ALIGN_DOWN((uint64_t)addr, PAGE_SIZE);
	struct vm_struct *area;
	int err = -EINVAL;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find(start);
	if (area && area->addr == start && area->flags & BS_AREA_CARVEOUT &&
	    area->guard_bytes) {
		vm_space_put(area->addr, area->size + area->guard_bytes);
		if (area->tag && mm.client.area_gone)
			mm.client.area_gone(area->tag, 0, 1);
		vm_remove(area);
		err = 0;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return err;
}

/* Has the program itself mapped all of [addr, addr + bytes)?  vm lock held. */
static bool program_mapped(uint64_t addr, uint64_t bytes)
{
	uint64_t at = addr;

	while (at - addr < bytes) {
		const struct vm_struct *area = vm_find(at);

		if (!area || area->addr > at || vm_is_ours(area) ||
		    !(area->flags & (BS_AREA_MAP | BS_AREA_IOREMAP)))
			return false;
		at = area->addr + area->size;
	}
	return true;
}

int remap_pfn_range(void *addr, uint64_t pfn, size_t size, uint64_t tag)
{
	uint64_t bytes = ALIGN_UP((uint64_t)size, PAGE_SIZE);
	uint64_t phys = pfn << PAGE_SHIFT;
	const struct carveout *c = by_phys(phys, bytes);
	struct vm_struct *area;
	int err = -EINVAL;

	if (!c || !size || bytes < size || (uint64_t)addr & (PAGE_SIZE - 1))
		return -EINVAL;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	if (!program_mapped((uint64_t)addr, bytes))
		goto out;
	err = -ENOMEM;
	if (view(c, phys, bytes, (uint64_t)addr)) {
		area = vm_record((uint64_t)addr, bytes, PROT_READ | PROT_WRITE,
				 BS_AREA_IOREMAP | BS_AREA_CARVEOUT |
					 BS_AREA_USERMAP | BS_AREA_SHARED,
				 vm_dup_path(c->name), 0, tag);
		if (area) {
			area->phys_addr = phys;
			vm_publish(area);
		}
		err = 0;
	}
out:
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return err;
}
