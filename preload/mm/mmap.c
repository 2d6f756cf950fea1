/* SPDX-License-Identifier: MIT */
/*
 * mmap.c - the program's own mappings, recorded as areas.
 *
 * Owns:   areas with BS_AREA_MAP or BS_AREA_IOREMAP.
 * Layer:  mm, above vmap.
 * Locks:  the vm lock, held across each system call, so that what another
 *         thread maps in between cannot be taken for what was unmapped.
 *
 * The system call is always made as asked, and its result returned.  Records
 * follow: cut where a range ends inside one, joined where neighbours are alike.
 * When no memory is left for a record, the mapping lives without one (counted).
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/vmalloc.h"

#define PATH_BYTES 256

/* What fixes whether two neighbours are one area. */
#define JOIN_FLAGS                                                             \
	(BS_AREA_MAP | BS_AREA_IOREMAP | BS_AREA_ALLOC | BS_AREA_RESERVE |     \
	 BS_AREA_STACK | BS_AREA_SHARED | BS_AREA_HUGE)

static void gone(const struct vm_struct *area, int64_t bytes, int nr_objects)
{
	if (area->flags & (BS_AREA_RESERVE | BS_AREA_CARVEOUT))
		bytes = 0; /* see vm_site_bytes() */
	if (area->tag && mm.client.area_gone)
		mm.client.area_gone(area->tag, bytes, nr_objects);
}

/* ---- charging ---------------------------------------------------------------- */

static bool chargeable(const struct vm_struct *area)
{
	return mm.config.mmap_charge && (area->flags & BS_AREA_MAP) &&
	       !(area->flags & (BS_AREA_RESERVE | BS_AREA_SHARED)) &&
	       !area->path;
}

static uint64_t wanted_pages(const struct vm_struct *area)
{
	return chargeable(area) ? area->size >> PAGE_SHIFT : 0;
}

static void overcommit(int64_t pages)
{
	struct zone *zone = &mm.zone[mm.nr_zones - 1];

	if (!pages)
		return;
	mm_count(BS_VMSTAT_OVERCOMMIT_PAGES, pages);
	sys_lock(&zone->lock, SYS_RANK_ZONE);
	zone->stat.overcommit_pages += (uint64_t)pages;
	zone_publish(zone);
	sys_unlock(&zone->lock, SYS_RANK_ZONE);
}

/* Bring the charge to what the area should have, as far as there is room. */
static void charge(struct vm_struct *area)
{
	uint64_t want = wanted_pages(area), need, got;

	if (want < area->charged_pages) {
		unlend_pages(area, area->charged_pages - want, BS_USE_MMAP);
		return;
	}
	need = want - area->charged_pages;
	got = need ? lend_pages(area, need, BS_USE_MMAP, false) : 0;
	if (got < need && !list_empty(&mm.vm_lazy)) {
		vm_purge_kept();
		got += lend_pages(area, need - got, BS_USE_MMAP, false);
	}
	if (got < need)
		mm_event(BS_EVENT_OVERCOMMIT, (int)mm.nr_zones - 1, 0, 0,
			 area->addr, (need - got) << PAGE_SHIFT);
	overcommit((int64_t)(need - got));
}

/* ---- cutting and joining --------------------------------------------------------- */

/* The area is not mapped any more, or will be described anew. */
static void drop(struct vm_struct *area, bool tell)
{
	uint64_t want = wanted_pages(area);

	if (vm_is_ours(area))
		return;
	if (want > area->charged_pages)
		overcommit(-(int64_t)(want - area->charged_pages));
	unlend_pages(area, area->charged_pages, vm_use(area));
	if (tell)
		gone(area, (int64_t)area->requested_bytes, 1);
	vm_remove(area);
}

/* Make start and end borders of areas; false when memory for that is short. */
static bool cut_at(uint64_t addr)
{
	struct vm_struct *area = vm_find(addr), *upper;

	if (!area || area->addr >= addr || vm_is_ours(area))
		return true;
	upper = vm_split(area, addr);
	if (!upper)
		return false;
	if (area->flags & (BS_AREA_MAP | BS_AREA_IOREMAP))
		gone(area, 0, -1);
	vm_publish(area);
	vm_publish(upper);
	return true;
}

static bool cut_range(uint64_t start, uint64_t end)
{
	bool ok = cut_at(start) && cut_at(end);

	if (!ok)
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
	return ok;
}

/* Forget what is recorded in [start, end). */
static void carve(uint64_t start, uint64_t end)
{
	struct vm_struct *area = vm_find(start);

	if (!area || area->addr >= end || !cut_range(start, end))
		return;
	while ((area = vm_find(start)) && area->addr < end) {
		start = area->addr + area->size;
		drop(area, true);
	}
}

static bool alike(const struct vm_struct *a, const struct vm_struct *b)
{
	return a->addr + a->size == b->addr && a->tag == b->tag && !a->path &&
	       !b->path && !a->guard_bytes &&
	       (a->flags & JOIN_FLAGS) == (b->flags & JOIN_FLAGS) &&
	       !(a->flags & BS_AREA_ALLOC);
}

static struct vm_struct *join_neighbours(struct vm_struct *area)
{
	struct vm_struct *other = vm_find(area->addr + area->size);

	if (other && alike(area, other)) {
		vm_join(area, other);
		gone(area, 0, 1);
	}
	other = area->addr ? vm_find(area->addr - 1) : NULL;
	if (other && other != area && alike(other, area)) {
		vm_join(other, area);
		gone(other, 0, 1);
		area = other;
	}
	return area;
}

/* ---- records ------------------------------------------------------------------------ */

/* BS_AREA_DEVICE for a device node.  Other files cost no call. */
static uint32_t fd_flags(int fd, const char *path)
{
	struct stat st;

	if (!path || strncmp(path, "/dev/", 5) != 0 ||
	    sys_is_err(sys_call(SYS_fstat, fd, (long)&st, 0, 0, 0, 0)))
		return 0;
	return S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? BS_AREA_DEVICE : 0;
}

/* Path of a descriptor, NULL when it cannot be told. */
static char *fd_path(int fd)
{
	char link[32], path[PATH_BYTES];
	long len;

	if (mm.sandboxed)
		return NULL;
	sys_format(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = sys_readlinkat(AT_FDCWD, link, path, sizeof(path) - 1);
	if (sys_is_err(len))
		return vm_dup_path("?");
	path[len] = '\0';
	return vm_dup_path(path);
}

struct vm_struct *vm_record(uint64_t addr, uint64_t len, int prot,
			    uint32_t flags, char *path, uint64_t offset,
			    uint64_t tag)
{
	struct vm_struct *area;

	carve(addr, addr + len);
	area = vm_insert(addr, len, flags, (uint32_t)prot, GFP_KERNEL);
	if (!area) {
		mm_count(BS_VMSTAT_MAPS_UNRECORDED, 1);
		return NULL;
	}
	area->path = path;
	area->offset = offset;
	if (flags & BS_AREA_DEVICE)
		area->phys_addr = offset; /* the driver's name for it */
	area->tag = tag;
	charge(area);
	vm_publish(area);
	return area;
}

static uint32_t map_flags(int prot, int flags)
{
	uint32_t f = flags & MAP_ANONYMOUS && !(flags & MAP_SHARED)
			     ? BS_AREA_MAP
			     : BS_AREA_IOREMAP;

	if (mm_map_reserves(prot, flags))
		f |= BS_AREA_RESERVE;
	if (flags & (MAP_STACK | MAP_GROWSDOWN))
		f |= BS_AREA_STACK;
	if (flags & MAP_SHARED)
		f |= BS_AREA_SHARED;
	if (flags & MAP_HUGETLB)
		f |= BS_AREA_HUGE;
	return f;
}

/* ---- the calls --------------------------------------------------------------------------- */

long mm_mmap(void *addr, size_t len, int prot, int flags, int fd,
	     uint64_t offset, uint64_t tag)
{
	uint64_t bytes = ALIGN_UP((uint64_t)len, PAGE_SIZE);
	uint32_t area_flags = map_flags(prot, flags);
	char *path = NULL;
	long ret;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	ret = sys_mmap(addr, len, prot, flags, fd, offset);
	if (!sys_is_err(ret)) {
		if (!(flags & MAP_ANONYMOUS)) {
			path = fd_path(fd);
			area_flags |= fd_flags(fd, path);
		}
		vm_record((uint64_t)ret, bytes, prot, area_flags, path, offset,
			  tag);
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return ret;
}

long mm_munmap(void *addr, size_t len)
{
	uint64_t start = (uint64_t)addr;
	long ret;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	ret = sys_munmap(addr, len);
	if (!ret)
		carve(start, start + ALIGN_UP((uint64_t)len, PAGE_SIZE));
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return ret;
}

/* Describe [old, old+len) at `to` as well; the old records stay. */
static void copy_records(uint64_t old, uint64_t len, uint64_t to)
{
	uint64_t at = old;

	carve(to, to + len);
	while (at < old + len) {
		struct vm_struct *area = vm_find(at), *copy;
		uint64_t end, start;

		if (!area || area->addr >= old + len)
			break;
		start = MAX(area->addr, old);
		end = MIN(area->addr + area->size, old + len);
		copy = vm_insert(to + (start - old), end - start, area->flags,
				 area->prot, GFP_KERNEL);
		if (copy) {
			copy->path =
				area->path ? vm_dup_path(area->path) : NULL;
			copy->offset = area->offset + (start - area->addr);
			if (area->phys_addr)
				copy->phys_addr =
					area->phys_addr + (start - area->addr);
			copy->tag = area->tag;
			copy->born_ns = area->born_ns;
			charge(copy);
			vm_publish(copy);
			gone(copy, -(int64_t)copy->size, -1);
		}
		at = end;
	}
}

static void move_records(uint64_t old, uint64_t len, uint64_t to)
{
	if (old == to)
		return;
	copy_records(old, len, to);
	carve(old, old + len);
}

/* The last area of a grown mapping gets the new pages. */
static void extend(uint64_t end, uint64_t more)
{
	struct vm_struct *area = vm_find(end - 1);

	carve(end, end + more);
	if (!area || area->addr + area->size != end)
		return;
	area->size += more;
	area->requested_bytes += more;
	charge(area);
	gone(area, -(int64_t)more, 0);
	vm_publish(area);
}

long mm_mremap(void *old, size_t old_len, size_t new_len, int flags,
	       void *new_addr)
{
	uint64_t from = (uint64_t)old;
	uint64_t had = ALIGN_UP((uint64_t)old_len, PAGE_SIZE);
	uint64_t want = ALIGN_UP((uint64_t)new_len, PAGE_SIZE);
	struct vm_struct *area;
	long ret;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	ret = sys_mremap(old, old_len, new_len, flags, new_addr);
	if (sys_is_err(ret))
		goto out;
	if (!had || flags & MREMAP_DONTUNMAP) {
		/* A second view of shared pages, or the old one left empty. */
		area = vm_find(from);
		if (area && area->addr <= from)
			copy_records(from, MAX(had, PAGE_SIZE), (uint64_t)ret);
		if (!had && want > PAGE_SIZE)
			extend((uint64_t)ret + PAGE_SIZE, want - PAGE_SIZE);
		goto out;
	}
	if (want < had)
		carve(from + want, from + had);
	move_records(from, MIN(had, want), (uint64_t)ret);
	if (want > had)
		extend((uint64_t)ret + had, want - had);
out:
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return ret;
}

/* A reservation becomes memory where it becomes writable. */
static void commit_range(uint64_t start, uint64_t end)
{
	struct vm_struct *area;

	while ((area = vm_find(start)) && area->addr < end) {
		uint64_t next = area->addr + area->size;

		if (area->flags & BS_AREA_RESERVE) {
			if (!cut_range(MAX(start, area->addr), MIN(end, next)))
				return;
			area = vm_find(MAX(start, area->addr));
			next = area->addr + area->size;
			area->flags &= ~BS_AREA_RESERVE;
			area->prot = PROT_READ | PROT_WRITE;
			charge(area);
			gone(area, -(int64_t)area->size, 0);
			vm_publish(join_neighbours(area));
		}
		start = next;
	}
}

long mm_mprotect(void *addr, size_t len, int prot)
{
	uint64_t start = (uint64_t)addr;
	uint64_t end = start + ALIGN_UP((uint64_t)len, PAGE_SIZE);
	struct vm_struct *area;
	long ret;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	ret = sys_mprotect(addr, len, prot);
	if (!ret && (prot & PROT_WRITE))
		commit_range(start, end);
	area = ret ? NULL : vm_find(start);
	if (area && area->addr >= start && area->addr + area->size <= end) {
		area->prot = (uint32_t)prot;
		vm_publish(area);
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	return ret;
}

void mm_record(void *addr, size_t len, int prot, uint32_t area_flags,
	       const char *path, uint64_t tag)
{
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	vm_record((uint64_t)addr, ALIGN_UP((uint64_t)len, PAGE_SIZE), prot,
		  area_flags, path ? vm_dup_path(path) : NULL, 0, tag);
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
}

void mm_forget(void *addr)
{
	struct vm_struct *area;

	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find((uint64_t)addr);
	if (area && area->addr == (uint64_t)addr &&
	    area->flags & (BS_AREA_MAP | BS_AREA_IOREMAP))
		drop(area, true);
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
}
