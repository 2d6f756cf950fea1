/* SPDX-License-Identifier: MIT */
/*
 * api-map.c - the public calls: areas, devices, carve-outs.
 *
 * Owns:   the rules of arguments that include/buddyscope/mm.h promises.
 * Layer:  preload.
 * Locks:  none.
 */
#include <errno.h>

#include "preload/api.h"
#include "preload/mm/vmalloc.h"

BS_HIDDEN __attribute__((noinline)) uint64_t api_area_tag(void)
{
	struct unwind_regs regs;

	UNWIND_CALLER(&regs);
	return bs_tracing ? trace_map_tag(0, &regs) : 0;
}

BS_HIDDEN void api_drop_area_tag(uint64_t tag)
{
	if (tag)
		trace_area_gone(tag, 0, 1);
}

/* ---- areas -------------------------------------------------------------------- */

static void *get_area(const char *call, size_t size, gfp_t gfp)
{
	void *p;

	if (!size) {
		api_refuse(call, "size is 0", NULL);
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return NULL;
	p = api_traced(vmalloc(size, gfp), size);
	bs_leave();
	return p;
}

BS_EXPORT void *bs_vmalloc(size_t size)
{
	return get_area("bs_vmalloc", size, GFP_KERNEL);
}

BS_EXPORT void *bs_vzalloc(size_t size)
{
	return get_area("bs_vzalloc", size, __GFP_ZERO);
}

static bool is_area(const struct mm_block *b, uint64_t arg)
{
	(void)arg;
	return b->kind == MM_VMALLOC;
}

BS_EXPORT void bs_vfree(const void *addr)
{
	if (addr)
		api_free((void *)(uintptr_t)addr, "bs_vfree", is_area, 0,
			 __builtin_return_address(0));
}

BS_EXPORT struct bs_page *bs_vmalloc_to_page(const void *addr)
{
	struct page *page = NULL;

	if (bs_enter()) {
		page = vmalloc_to_page(addr);
		bs_leave();
	}
	return (struct bs_page *)page;
}

BS_EXPORT void *bs_vmap(struct bs_page *const *pages, unsigned int count)
{
	uint64_t tag;
	void *p;

	if (!pages || !count) {
		api_refuse("bs_vmap", "no pages", pages);
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return NULL;
	tag = api_area_tag();
	p = vmap((struct page *const *)pages, count, GFP_KERNEL, tag);
	if (!p)
		api_drop_area_tag(tag);
	bs_leave();
	return p;
}

/* Through fn, which knows what may end at this address. */
static void end_area(void *addr, const char *call, int (*fn)(void *addr))
{
	int err = -EBUSY;

	if (!addr)
		return;
	if (bs_enter()) {
		err = fn(addr);
		bs_leave();
	}
	if (err)
		api_refuse(call,
			   err == -EBUSY ? "from a handler in the allocator"
					 : "no such area starts here",
			   addr);
}

BS_EXPORT void bs_vunmap(void *addr)
{
	end_area(addr, "bs_vunmap", vunmap);
}

/* ---- devices -------------------------------------------------------------------- */

BS_EXPORT void *bs_dma_alloc_coherent(const char *device, size_t size,
				      bs_dma_addr_t *handle, bs_gfp_t gfp)
{
	void *p;

	if (!device || !*device || !handle || !size) {
		api_refuse("bs_dma_alloc_coherent",
			   "no device, no size or no place for the handle",
			   device);
		return NULL;
	}
	if (!api_gfp_ok("bs_dma_alloc_coherent", gfp))
		return NULL;
	if (unlikely(!bs_enter()))
		return NULL;
	p = api_traced(dma_alloc_coherent(dma_device(device), size, handle,
					  gfp | GFP_DMA),
		       size);
	bs_leave();
	return p;
}

BS_EXPORT void bs_dma_free_coherent(const char *device, size_t size, void *addr,
				    bs_dma_addr_t handle)
{
	struct mm_block b;
	int err;

	if (!addr || !device)
		return;
	if (unlikely(!bs_enter())) {
		bs_free_atomic(addr);
		return;
	}
	err = dma_lookup(dma_device_find(device), size, addr, handle, &b);
	if (!err)
		err = bs_free_block(addr, &b);
	bs_leave();
	if (err == -EALREADY || err == -EBUSY)
		bs_free_failed(addr, err, "bs_dma_free_coherent",
			       __builtin_return_address(0));
	else if (err)
		api_refuse("bs_dma_free_coherent",
			   "device, size or handle are not this block's", addr);
}

/* ---- carve-outs --------------------------------------------------------------------- */

BS_EXPORT int bs_carveout(const char *name, uint64_t *phys, uint64_t *size)
{
	int err = -EAGAIN;

	if (!name || !phys || !size)
		return -EINVAL;
	if (bs_enter()) {
		err = carveout_find(name, phys, size);
		bs_leave();
	}
	return err;
}

BS_EXPORT void *bs_carveout_alloc(const char *name, size_t size, uint64_t *phys)
{
	void *p;

	if (!name || !size || !phys) {
		api_refuse("bs_carveout_alloc",
			   "no name, no size or no place for the address",
			   name);
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return NULL;
	p = carveout_alloc(name, size, phys, GFP_KERNEL);
	bs_leave();
	return p;
}

BS_EXPORT void bs_carveout_free(const char *name, void *addr)
{
	int err = -EBUSY;

	if (!addr || !name)
		return;
	if (bs_enter()) {
		err = carveout_free(name, addr);
		bs_leave();
	}
	if (err)
		api_refuse("bs_carveout_free",
			   "not what it gave out, or not this process's", addr);
}

BS_EXPORT void *bs_ioremap(uint64_t phys, size_t size)
{
	uint64_t tag;
	void *p;

	if (!size) {
		api_refuse("bs_ioremap", "size is 0", (void *)(uintptr_t)phys);
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return NULL;
	tag = api_area_tag();
	p = ioremap(phys, size, tag);
	if (!p)
		api_drop_area_tag(tag);
	bs_leave();
	return p;
}

BS_EXPORT void bs_iounmap(void *addr)
{
	end_area(addr, "bs_iounmap", iounmap);
}

BS_EXPORT int bs_remap_pfn_range(void *addr, uint64_t pfn, size_t size)
{
	uint64_t tag;
	int err;

	if (unlikely(!bs_enter()))
		return -EAGAIN;
	tag = api_area_tag();
	err = remap_pfn_range(addr, pfn, size, tag);
	if (err)
		api_drop_area_tag(tag);
	bs_leave();
	return err;
}
