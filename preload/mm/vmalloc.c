/* SPDX-License-Identifier: MIT */
/*
 * vmalloc.c - allocations that need no contiguous frames.
 *
 * Owns:   areas with BS_AREA_ALLOC, the list of freed areas kept for reuse.
 * Layer:  mm, above vmap and page_alloc.
 * Locks:  the vm lock.
 * Source: Linux 2.6.29 mm/vmalloc.c (guard page, lazy purge, window).
 *
 * An area:   | size bytes, read-write | guard page, PROT_NONE |
 *
 * The window (vmalloc=SIZE) is a number of bytes, not a range: areas lie where the
 * system puts them.  Guard pages and kept areas count, as their addresses do in
 * the kernel.
 */
#include "preload/mm/vmalloc.h"

#include <errno.h>
#include <sys/mman.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"

/*
 * A kept area may be twice as large as the request that reuses it.  What is more
 * than an eighth too much goes back when the area has lived for the decay time.
 */
#define LOOSE_SHIFT 3

int vmalloc_init(void)
{
	list_init(&mm.vm_lazy);
	list_init(&mm.vm_loose);
	mm.area_slot_next = 1;
	mm.vm_cachep = kmem_cache_create("vm_struct", sizeof(struct vm_struct),
					 0, 0, NULL);
	return mm.vm_cachep ? 0 : -ENOMEM;
}

/* ---- mappings --------------------------------------------------------------- */

static void unmap(uint64_t addr, uint64_t len)
{
	mm_count(BS_VMSTAT_REAL_MUNMAP_CALLS, 1);
	sys_munmap((void *)addr, len);
}

void vm_space_put(uint64_t addr, uint64_t len)
{
	unmap(addr, len);
	mm.vm_window_bytes -= len;
}

/* Addresses for bytes and a guard page, aligned, not accessible.  0: none. */
static uint64_t map_none(uint64_t bytes, uint64_t align)
{
	uint64_t len = bytes + VM_GUARD_BYTES, extra, start;
	long addr;

	extra = align > PAGE_SIZE ? align - PAGE_SIZE : 0;
	if (len + extra < bytes)
		return 0;
	mm_count(BS_VMSTAT_REAL_MMAP_CALLS, 1);
	addr = sys_mmap(NULL, len + extra, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sys_is_err(addr))
		return 0;
	start = ALIGN_UP((uint64_t)addr, MAX(align, PAGE_SIZE));
	if (start > (uint64_t)addr)
		unmap((uint64_t)addr, start - (uint64_t)addr);
	if (start + len < (uint64_t)addr + len + extra)
		unmap(start + len, (uint64_t)addr + extra - start);
	return start;
}

static bool window_has(uint64_t len)
{
	uint64_t max = mm.config.vmalloc_bytes;

	return !max || (len <= max && mm.vm_window_bytes <= max - len);
}

static void purge_locked(uint64_t max_bytes, uint64_t age_ns);

uint64_t vm_space_get(uint64_t bytes, uint64_t align, struct vm_request *req)
{
	uint64_t len = bytes + VM_GUARD_BYTES, addr;

	if (unlikely(!window_has(len))) {
		purge_locked(0, 0);
		req->window_full = !window_has(len);
		if (req->window_full && req->strict)
			return 0;
	}
	addr = map_none(bytes, align);
	if (addr)
		mm.vm_window_bytes += len;
	return addr;
}

void vm_request_failed(const struct vm_request *req, size_t size, bool served)
{
	if (req->gfp & __GFP_NOWARN || (req->gfp & __GFP_TRY && !served))
		return;
	if (req->window_full && req->strict && !mm.window_full_said) {
		mm.window_full_said = true;
		sys_say("vmap allocation for size %lu failed: use vmalloc=<size> to increase size",
			size);
	}
	mm_event_make(&(struct mm_event){
		.type = BS_EVENT_VMALLOC_FAILED,
		.zone_nr = -1,
		.gfp = req->gfp,
		.bytes = size,
		.name = req->window_full ? "vmalloc window" : NULL });
}

static uint64_t map_area(uint64_t bytes, struct vm_request *req)
{
	uint64_t addr = vm_space_get(bytes, req->align, req);

	if (addr && sys_mprotect((void *)addr, bytes, PROT_READ | PROT_WRITE)) {
		vm_space_put(addr, bytes + VM_GUARD_BYTES);
		addr = 0;
	}
	return addr;
}

/* ---- kept areas ----------------------------------------------------------------- */

/* A hollow one keeps nothing but its addresses. */
static void count_lazy(const struct vm_struct *area, int sign)
{
	int64_t pages = sign * (int64_t)area->charged_pages;

	mm.vm_lazy_bytes += (uint64_t)(pages * (int64_t)PAGE_SIZE);
	mm_count(BS_VMSTAT_LAZY_PAGES, pages);
}

static void lazy_del(struct vm_struct *area)
{
	list_del(&area->lazy);
	area->flags &= ~BS_AREA_LAZY;
	count_lazy(area, -1);
}

static void loose_del(struct vm_struct *area)
{
	if (area->loose)
		list_del(&area->lazy);
	area->loose = false;
}

static void loose_add_if(struct vm_struct *area, uint64_t bytes)
{
	area->loose = area->size - bytes > bytes >> LOOSE_SHIFT;
	if (area->loose)
		list_add_tail(&area->lazy, &mm.vm_loose);
}

/*
 * An area larger than all that were freed before may be the only one of its kind: its
 * memory and frames go at once (as glibc's dynamic threshold has it), and the record
 * stays, which knows a double free.
 */
static void hollow_if_first(struct vm_struct *area)
{
	if (area->size <= mm.vm_keep_bytes)
		return;
	mm.vm_keep_bytes = area->size;
	if (!sys_madvise((void *)area->addr, area->size, MADV_DONTNEED))
		unlend_pages(area, area->charged_pages, BS_USE_VMALLOC);
}

static void lazy_add(struct vm_struct *area)
{
	list_add_tail(&area->lazy, &mm.vm_lazy);
	area->flags |= BS_AREA_LAZY;
	area->born_ns = sys_now_coarse_ns();
	count_lazy(area, 1);
	mm_decay_wait(area->born_ns);
}

static void destroy_area(struct vm_struct *area)
{
	vm_space_put(area->addr, area->size + area->guard_bytes);
	unlend_pages(area, area->charged_pages, BS_USE_VMALLOC);
	vm_remove(area);
}

/* The oldest go until at most max_bytes are kept and none is older than age. */
static void purge_locked(uint64_t max_bytes, uint64_t age_ns)
{
	uint64_t now_ns = sys_now_coarse_ns();

	while (!list_empty(&mm.vm_lazy)) {
		struct vm_struct *area =
			list_entry(mm.vm_lazy.next, struct vm_struct, lazy);

		if (mm.vm_lazy_bytes <= max_bytes &&
		    area->born_ns + age_ns > now_ns)
			break;
		lazy_del(area);
		destroy_area(area);
	}
}

/*
 * What may be kept, so that live and kept areas together, and `more` bytes, are not
 * more than was alive at once.
 */
static uint64_t keep_bytes(uint64_t more)
{
	uint64_t live = mm.vm_live_bytes + more;

	return MIN(mm.config.lazy_max_bytes,
		   mm.vm_live_peak_bytes > live ? mm.vm_live_peak_bytes - live
						: 0);
}

static void count_live(int64_t bytes)
{
	mm.vm_live_bytes += (uint64_t)bytes;
	mm.vm_live_peak_bytes = MAX(mm.vm_live_peak_bytes, mm.vm_live_bytes);
}

void vm_purge_kept(void)
{
	purge_locked(0, 0);
}

static bool shrink(struct vm_struct *area, uint64_t bytes);

static void tighten_locked(uint64_t age_ns)
{
	uint64_t now_ns = sys_now_coarse_ns();

	while (!list_empty(&mm.vm_loose)) {
		struct vm_struct *area =
			list_entry(mm.vm_loose.next, struct vm_struct, lazy);

		if (area->born_ns + age_ns > now_ns)
			break;
		loose_del(area);
		if (shrink(area, ALIGN_UP(area->requested_bytes, PAGE_SIZE)))
			vm_publish(area);
	}
}

bool vmalloc_purge(uint64_t age_ns)
{
	bool left;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	purge_locked(UINT64_MAX, age_ns);
	tighten_locked(age_ns);
	left = !list_empty(&mm.vm_lazy) || !list_empty(&mm.vm_loose);
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return left;
}

static struct vm_struct *lazy_take(uint64_t bytes, const struct vm_request *req)
{
	uint64_t slack = req->exact ? 0 : bytes;
	struct list_head *pos;

	for (pos = mm.vm_lazy.prev; pos != &mm.vm_lazy; pos = pos->prev) {
		struct vm_struct *area =
			list_entry(pos, struct vm_struct, lazy);

		if (!area->charged_pages || area->size < bytes ||
		    area->size - bytes > slack ||
		    (area->addr & (req->align - 1)) ||
		    area->gfp != (req->gfp & __GFP_ZONE_MASK))
			continue;
		lazy_del(area);
		loose_add_if(area, bytes);
		mm_count(BS_VMSTAT_VM_REUSED, 1);
		return area;
	}
	return NULL;
}

/* ---- allocation --------------------------------------------------------------------- */

/* A new, charged area.  vm lock held. */
static struct vm_struct *new_area(uint64_t bytes, struct vm_request *req)
{
	uint64_t addr = map_area(bytes, req);
	struct vm_struct *area;

	if (!addr)
		return NULL;
	area = vm_insert(addr, bytes, BS_AREA_ALLOC, PROT_READ | PROT_WRITE,
			 req->gfp & (__GFP_NOWARN | __GFP_TRY | __GFP_NOGROW));
	if (!area)
		goto out_unmap;
	area->guard_bytes = VM_GUARD_BYTES;
	area->gfp = req->gfp &
		    (__GFP_ZONE_MASK | __GFP_NOWARN | __GFP_TRY | __GFP_NOGROW);
	if (lend_pages(area, bytes >> PAGE_SHIFT, BS_USE_VMALLOC, true)) {
		area->gfp &= __GFP_ZONE_MASK; /* for life */
		return area;
	}
	vm_remove(area);
out_unmap:
	vm_space_put(addr, bytes + VM_GUARD_BYTES);
	return NULL;
}

static struct vm_struct *try_area(uint64_t bytes, struct vm_request *req)
{
	struct vm_struct *area;

	purge_locked(mm.config.lazy_max_bytes, mm.config.decay_ns);
	area = lazy_take(bytes, req);
	if (area && (req->gfp & __GFP_ZERO) &&
	    sys_madvise((void *)area->addr, area->size, MADV_DONTNEED)) {
		loose_del(area);
		destroy_area(area);
		area = NULL;
	}
	if (!area) {
		purge_locked(keep_bytes(bytes), mm.config.decay_ns);
		area = new_area(bytes, req);
	}
	if (!area && !list_empty(&mm.vm_lazy)) {
		purge_locked(0, 0);
		area = new_area(bytes, req);
	}
	if (area) {
		area->tag = 0;
		area->born_ns = sys_now_coarse_ns();
		count_live((int64_t)area->size);
	}
	return area;
}

struct vm_struct *vmalloc_area(uint64_t bytes, struct vm_request *req)
{
	struct vm_request first = *req;
	struct vm_struct *area;

	first.gfp |= __GFP_NOGROW | __GFP_TRY;
	area = try_area(bytes, &first);
	req->window_full = first.window_full;
	if (area || (first.window_full && first.strict))
		return area;
	if (gfp_may_reclaim(req->gfp)) {
		sys_unlock(&mm.vm_lock, SYS_RANK_VM);
		mm_reclaim();
		sys_lock(&mm.vm_lock, SYS_RANK_VM);
	}
	return try_area(bytes, req);
}

void *vmalloc_alloc(size_t size, size_t align, gfp_t gfp)
{
	uint64_t bytes = ALIGN_UP((uint64_t)size, PAGE_SIZE);
	struct vm_request req = { .align = MAX(align, PAGE_SIZE),
				  .gfp = gfp,
				  .strict = mm.config.oom_fail };
	struct vm_struct *area;
	void *p = NULL;

	if (bytes < size || bytes > mm.nr_pfns << PAGE_SHIFT)
		goto out_failed;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vmalloc_area(bytes, &req);
	if (area) {
		area->requested_bytes = size;
		vm_publish(area);
		p = (void *)area->addr;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
out_failed:
	if (unlikely(!p || req.window_full))
		vm_request_failed(&req, size, p != NULL);
	return p;
}

/* The live area that starts at p.  vm lock held. */
static struct vm_struct *area_at(const void *p)
{
	struct vm_struct *area = vm_find((uint64_t)p);

	if (!area || area->addr != (uint64_t)p ||
	    (area->flags & (BS_AREA_ALLOC | BS_AREA_LAZY)) != BS_AREA_ALLOC)
		return NULL;
	return area;
}

int vmalloc_lookup(const void *p, struct mm_block *b)
{
	uint64_t addr = (uint64_t)p;
	struct vm_struct *area;
	int err = -ENOENT;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find(addr);
	if (!area || area->addr > addr || !(area->flags & BS_AREA_ALLOC))
		goto out;
	if (area->flags & BS_AREA_LAZY) {
		err = -EALREADY;
	} else if (area->addr != addr) {
		err = -EINVAL;
	} else {
		b->kind = MM_VMALLOC;
		b->usable = ALIGN_UP(area->requested_bytes, PAGE_SIZE);
		b->tag = mm.config.tags ? &area->tag : NULL;
		err = 0;
	}
out:
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return err;
}

void vmalloc_tagged(uint64_t *tag)
{
	struct vm_struct *area = list_entry(tag, struct vm_struct, tag);

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	vm_publish(area);
	vm_name_array(area);
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
}

int vmalloc_free(void *p)
{
	struct page **pages = NULL;
	struct vm_struct *area;
	int err = -EALREADY;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = area_at(p);
	if (area) {
		pages = vm_take_pages(area);
		loose_del(area);
		count_live(-(int64_t)area->size);
		hollow_if_first(area);
		lazy_add(area);
		vm_publish(area);
		purge_locked(keep_bytes(0), mm.config.decay_ns);
		err = 0;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	vm_free_pages(pages);
	return err;
}

/* ---- resize ---------------------------------------------------------------------------- */

static bool shrink(struct vm_struct *area, uint64_t bytes)
{
	uint64_t end = area->addr + bytes;
	uint64_t old_end = area->addr + area->size + area->guard_bytes;

	if (sys_mprotect((void *)end, VM_GUARD_BYTES, PROT_NONE))
		return false;
	vm_space_put(end + VM_GUARD_BYTES, old_end - end - VM_GUARD_BYTES);
	unlend_pages(area, (area->size - bytes) >> PAGE_SHIFT, BS_USE_VMALLOC);
	count_live(-(int64_t)(area->size - bytes));
	area->size = bytes;
	area->guard_bytes = VM_GUARD_BYTES;
	return true;
}

/* Frames for an area that grows: what is kept goes before a zone grows for it. */
static bool lend_more(struct vm_struct *area, uint64_t pages, gfp_t gfp)
{
	uint64_t got;

	area->gfp = gfp | __GFP_NOGROW | __GFP_TRY;
	got = lend_pages(area, pages, BS_USE_VMALLOC, true);
	area->gfp = gfp;
	if (got)
		return true;
	vm_purge_kept();
	return lend_pages(area, pages, BS_USE_VMALLOC, true);
}

/* Move the page tables to a larger place.  The area's record moves along. */
static struct vm_struct *grow(struct vm_struct *area, uint64_t bytes)
{
	struct vm_request req = { .align = PAGE_SIZE, .strict = true };
	uint64_t more = (bytes - area->size) >> PAGE_SHIFT;
	uint64_t addr, old = area->addr, old_bytes = area->size;
	struct vm_struct *moved;
	long ret;

	addr = vm_space_get(bytes, PAGE_SIZE, &req);
	if (!addr)
		return NULL;
	moved = vm_insert(addr, bytes, area->flags, area->prot,
			  __GFP_NOGROW | __GFP_TRY);
	if (!moved)
		goto out_unmap;
	if (!lend_more(moved, more, area->gfp))
		goto out_remove;
	ret = sys_mremap((void *)old, old_bytes, bytes,
			 MREMAP_MAYMOVE | MREMAP_FIXED, (void *)addr);
	if (sys_is_err(ret))
		goto out_unlend;
	mm.vm_window_bytes -= old_bytes; /* moved away, not unmapped */
	vm_space_put(old + old_bytes, area->guard_bytes);
	moved->guard_bytes = VM_GUARD_BYTES;
	moved->tag = area->tag;
	move_lent_pages(area, moved, area->charged_pages);
	vm_remove(area);
	count_live((int64_t)(bytes - old_bytes));
	return moved;
out_unlend:
	unlend_pages(moved, more, BS_USE_VMALLOC);
out_remove:
	vm_remove(moved);
out_unmap:
	vm_space_put(addr, bytes + VM_GUARD_BYTES);
	return NULL;
}

void *vmalloc_resize(void *p, size_t new_size)
{
	uint64_t bytes = ALIGN_UP((uint64_t)new_size, PAGE_SIZE);
	struct vm_struct *area;

	if (bytes < new_size || bytes > mm.nr_pfns << PAGE_SHIFT)
		return NULL;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = area_at(p);
	if (area && area->pages)
		area = NULL; /* its frames are named: the caller copies */
	if (area)
		loose_del(area);
	if (area && bytes > area->size)
		area = grow(area, bytes);
	else if (area && bytes < area->size && !shrink(area, bytes))
		area = NULL;
	if (area) {
		area->requested_bytes = new_size;
		vm_publish(area);
	}
	p = area ? (void *)area->addr : NULL;
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return p;
}
