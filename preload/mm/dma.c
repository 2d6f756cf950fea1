/* SPDX-License-Identifier: MIT */
/*
 * dma.c - contiguous memory for devices, and who holds how much of it.
 *
 * Owns:   large blocks with use DMA, the devices and their counters.
 * Layer:  mm, beside kmalloc, above page_alloc.
 * Locks:  the device lock, for names and counters.
 * Source: Linux 2.6.29 arch/arm/mm/dma-mapping.c (trim), arch/x86/kernel/pci-dma.c
 *         (whole).
 *
 * Both allocators take the smallest 2^order block that holds the page-rounded size.
 *
 *   dma=trim    | pages that were asked for | tail: freed page by page |
 *   dma=whole   | pages that were asked for | tail: kept               |
 *
 * A tail that was freed goes to whoever needs small pages next.  When such a page
 * lives long its buddies cannot merge any more: this is how a zone that only ever
 * serves large buffers ends without large blocks.
 */
#include <errno.h>
#include <string.h>

#include "preload/mm/kmalloc.h"
#include "preload/mm/page_alloc.h"

/* Where everybody goes when all other places are taken. */
#define OTHERS (MM_MAX_DEVICES - 1)

/* ---- devices ---------------------------------------------------------------- */

static void device_publish(unsigned int nr)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	const struct bs_abi_device *dev = &mm.device[nr];
	struct bs_abi_section *sec;
	struct bs_abi_device *out;

	if (!pub->devices)
		return;
	sec = &pub->header->section[BS_SEC_DEVICES];
	out = &pub->devices[nr];
	if (nr >= sec->capacity || !pub->claim(out, sizeof(*out)))
		return;
	sys_seq_begin(&out->seq);
	memcpy((char *)out + sizeof(out->seq),
	       (const char *)dev + sizeof(dev->seq),
	       sizeof(*out) - sizeof(out->seq));
	sys_seq_end(&out->seq);
	if (sec->count <= nr)
		__atomic_store_n(&sec->count, nr + 1UL, __ATOMIC_RELEASE);
}

void devices_publish(void)
{
	unsigned int i;

	for (i = 0; i < mm.nr_devices; i++)
		device_publish(i);
}

static unsigned int device_new(const char *name)
{
	unsigned int nr = MIN(mm.nr_devices, OTHERS);
	struct bs_abi_device *dev = &mm.device[nr];

	if (dev->live)
		return nr;
	sys_format(dev->name, sizeof(dev->name), "%s",
		   nr == OTHERS ? "(others)" : name);
	dev->live = 1;
	mm.nr_devices = nr + 1;
	device_publish(nr);
	return nr;
}

/* mm.nr_devices: none.  Device lock held. */
static unsigned int find_locked(const char *name)
{
	unsigned int i;

	for (i = 0; i < mm.nr_devices; i++)
		if (!strncmp(mm.device[i].name, name,
			     sizeof(mm.device[i].name) - 1))
			break;
	return i;
}

unsigned int dma_device(const char *name)
{
	unsigned int i;

	sys_lock(&mm.device_lock, SYS_RANK_DEVICE);
	i = find_locked(name);
	if (i == mm.nr_devices)
		i = device_new(name);
	sys_unlock(&mm.device_lock, SYS_RANK_DEVICE);
	return i;
}

/* Where all places are taken, the last one is that of all other names. */
unsigned int dma_device_find(const char *name)
{
	unsigned int i;

	sys_lock(&mm.device_lock, SYS_RANK_DEVICE);
	i = find_locked(name);
	if (i == mm.nr_devices)
		i = mm.nr_devices == MM_MAX_DEVICES ? OTHERS : MM_MAX_DEVICES;
	sys_unlock(&mm.device_lock, SYS_RANK_DEVICE);
	return i;
}

static void count_alloc(unsigned int device, const struct page *page,
			uint64_t tail_pages)
{
	struct bs_abi_device *dev = &mm.device[device];

	sys_lock(&mm.device_lock, SYS_RANK_DEVICE);
	dev->allocs++;
	dev->live_bytes += page->requested_bytes;
	dev->live_pages += page->nr_pages;
	dev->peak_pages = MAX(dev->peak_pages, dev->live_pages);
	if (mm.config.dma_whole)
		dev->kept_pages += tail_pages;
	else
		dev->trimmed_pages += tail_pages;
	dev->zone = page_zone(page_to_pfn(page))->nr;
	device_publish(device);
	sys_unlock(&mm.device_lock, SYS_RANK_DEVICE);
}

static void count_failed(unsigned int device)
{
	sys_lock(&mm.device_lock, SYS_RANK_DEVICE);
	mm.device[device].failed++;
	device_publish(device);
	sys_unlock(&mm.device_lock, SYS_RANK_DEVICE);
}

static void report_failed(unsigned int device, unsigned int order, gfp_t gfp,
			  size_t size)
{
	if (!(gfp & __GFP_NOWARN))
		mm_event_make(
			&(struct mm_event){ .type = BS_EVENT_DMA_FAILED,
					    .zone_nr = (int)gfp_zone(gfp),
					    .order = order,
					    .gfp = gfp,
					    .bytes = size,
					    .name = mm.device[device].name });
}

void dma_freed(const struct page *page)
{
	struct bs_abi_device *dev = &mm.device[page->device];

	sys_lock(&mm.device_lock, SYS_RANK_DEVICE);
	dev->frees++;
	dev->live_bytes -= page->requested_bytes;
	dev->live_pages -= page->nr_pages;
	device_publish(page->device);
	sys_unlock(&mm.device_lock, SYS_RANK_DEVICE);
}

/* ---- blocks ------------------------------------------------------------------- */

/*
 * The tail page by page, as __free_page() does it: single pages go to the per-CPU
 * lists.  From the end, so that what is left is one block all the time.
 */
static void free_tail(struct page *page, uint64_t keep_pages, bool zero)
{
	while (page->nr_pages > keep_pages)
		trim_pages(page, page->nr_pages - 1UL, zero);
}

void *dma_alloc(unsigned int device, size_t size, gfp_t gfp)
{
	uint64_t nr_pages = ALIGN_UP((uint64_t)size, PAGE_SIZE) >> PAGE_SHIFT;
	struct page *page = NULL;
	unsigned int order = 0;
	uint64_t tail;
	bool zero;
	void *p;

	if (!(gfp & __GFP_ZONE_MASK))
		gfp |= GFP_DMA;
	while (order < MAX_ORDER && 1UL << order < nr_pages)
		order++;
	if (size && size <= LARGE_MAX)
		page = alloc_pages(gfp | __GFP_NOGROW, order, BS_USE_DMA);
	if (!page) {
		/* One report, ours; then a fixed zone may grow. */
		report_failed(device, order, gfp, size);
		if (size && size <= LARGE_MAX && !mm.config.oom_fail)
			page = alloc_pages(gfp | __GFP_NOWARN, order,
					   BS_USE_DMA);
	}
	if (!page) {
		count_failed(device);
		return NULL;
	}
	zero = page->flags & PG_ZERO;
	tail = (1UL << order) - nr_pages;
	if (!mm.config.dma_whole)
		free_tail(page, nr_pages, zero);
	p = pfn_to_virt(page_to_pfn(page));
	if ((gfp & __GFP_ZERO) && !zero)
		memset(p, 0, size);
	page->requested_bytes = size;
	page->device = device;
	count_alloc(device, page, tail);
	set_page_kind(page, PK_LARGE);
	return p;
}

/* ---- the driver's calls ----------------------------------------------------------- */

void *dma_alloc_coherent(unsigned int device, size_t size, dma_addr_t *handle,
			 gfp_t gfp)
{
	void *p = dma_alloc(device, size, gfp | __GFP_ZERO);

	if (p)
		*handle = virt_to_pfn(p) << PAGE_SHIFT;
	return p;
}

int dma_lookup(unsigned int device, size_t size, const void *cpu_addr,
	       dma_addr_t handle, struct mm_block *b)
{
	int err = mm_lookup(cpu_addr, b);

	if (err)
		return err;
	if (b->kind != MM_LARGE || b->page->use != BS_USE_DMA ||
	    b->page->device != device || b->page->requested_bytes != size ||
	    handle != virt_to_pfn(cpu_addr) << PAGE_SHIFT)
		return -EINVAL;
	return 0;
}

int dma_free_coherent(unsigned int device, size_t size, void *cpu_addr,
		      dma_addr_t handle)
{
	struct mm_block b;
	int err = dma_lookup(device, size, cpu_addr, handle, &b);

	return err ? err : mm_free(cpu_addr, &b);
}
