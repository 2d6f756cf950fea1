/* SPDX-License-Identifier: MIT */
/*
 * atomic.c - memory for signal handlers that interrupted the allocator.
 *
 * Owns:   mm.atomic.
 * Layer:  mm, beside kmalloc.
 * Locks:  none: such a handler may not wait for what its own thread holds.
 *
 * A handler cannot take a lock, so it takes an object that was made ready, and
 * it cannot free, so it leaves the pointer to be freed later.  Both are
 * arrays of slots that are exchanged atomically; no list, so no ABA.
 *
 * While one thread is long inside (a fork, a large munmap) and the others wait
 * for its locks, nobody refills: what handlers take and free in that time has to
 * find a slot.  1024 are a quarter of a second of four threads at 1 kHz.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/mm/kmalloc.h"
#include "preload/mm/slab.h"

static size_t class_bytes(unsigned int class)
{
	return 64UL << (2 * class);
}

static void *take_slot(unsigned int class)
{
	unsigned int i;

	for (i = 0; i < ATOMIC_OBJECTS; i++) {
		void **slot = &mm.atomic.slot[class][i];
		void *p = __atomic_load_n(slot, __ATOMIC_RELAXED);

		if (p && __atomic_compare_exchange_n(slot, &p, NULL, false,
						     __ATOMIC_ACQ_REL,
						     __ATOMIC_RELAXED))
			return p;
	}
	return NULL;
}

static bool put_slot(unsigned int class, void *p)
{
	void **slots = mm.atomic.slot[class];
	unsigned int i;

	for (i = 0; i < ATOMIC_OBJECTS; i++) {
		void *empty = NULL;

		if (!__atomic_load_n(&slots[i], __ATOMIC_RELAXED) &&
		    __atomic_compare_exchange_n(&slots[i], &empty, p, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	}
	return false;
}

static void *map_new(size_t size, size_t align)
{
	size_t len = ALIGN_UP(size, PAGE_SIZE);
	unsigned int i;
	long addr;

	if (align > PAGE_SIZE || len < size)
		return NULL;
	addr = sys_mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_is_err(addr))
		return NULL;
	for (i = 0; i < ATOMIC_MAPS; i++) {
		uintptr_t empty = 0;

		if (!__atomic_compare_exchange_n(&mm.atomic.map[i].addr, &empty,
						 1, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		mm.atomic.map[i].len = len;
		sys_raise(mm.atomic.maps_end, i + 1);
		__atomic_store_n(&mm.atomic.map[i].addr, (uintptr_t)addr,
				 __ATOMIC_RELEASE);
		return (void *)addr;
	}
	sys_munmap((void *)addr, len);
	return NULL;
}

void *mm_atomic_alloc(size_t size, size_t align, bool zero)
{
	size_t want = MAX(MAX(size, align), (size_t)1);
	unsigned int class;
	struct mm_block b;
	void *p = NULL;

	mm_count(BS_VMSTAT_ATOMIC_ALLOCS, 1);
	for (class = 0; !p && class < ATOMIC_CLASSES; class ++)
		if (want <= class_bytes(class))
			p = take_slot(class);
	/* After the slot is empty: who sees this fills it. */
	mm_work_later(MM_WORK_ATOMIC);
	if (!p)
		p = map_new(size ? size : 1, align);
	if (!p) {
		mm_count(BS_VMSTAT_ATOMIC_FAILED, 1);
		return NULL;
	}
	if (zero)
		memset(p, 0, size);
	if (mm_in_arena(p) && mm_lookup(p, &b) == 0 && b.tag)
		mm_set_tag(&b, tag_make(0, (uint32_t)(b.usable - size), 1),
			   true);
	return p;
}

static bool defer(void *p)
{
	unsigned int i;

	for (i = 0; i < ATOMIC_FREES; i++) {
		void *empty = NULL;

		if (__atomic_load_n(&mm.atomic.deferred[i], __ATOMIC_RELAXED))
			continue;
		sys_raise(mm.atomic.deferred_end, i + 1);
		if (__atomic_compare_exchange_n(&mm.atomic.deferred[i], &empty,
						p, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return true;
	}
	return false;
}

bool mm_atomic_free(void *p)
{
	bool deferred = defer(p);

	/* After p is there: who sees this finds it. */
	mm_work_later(MM_WORK_ATOMIC);
	mm_count(deferred ? BS_VMSTAT_DEFERRED_FREES : BS_VMSTAT_LOST_FREES, 1);
	return true;
}

/* With a place for its tag, which a handler could not make. */
static void *spare_object(struct kmem_cache *cachep)
{
	void *p = kmem_cache_alloc(cachep, GFP_KERNEL);
	struct mm_block b;

	if (p && mm.config.tags && !mm_lookup(p, &b) && !b.tag)
		mm_make_tag(&b);
	return p;
}

/* What handlers freed; the reserve is filled up. */
static void handlers_work(void (*free_fn)(void *p))
{
	unsigned int class, i, end;

	end = __atomic_load_n(&mm.atomic.deferred_end, __ATOMIC_ACQUIRE);
	for (i = 0; i < end; i++) {
		void **slot = &mm.atomic.deferred[i];
		void *p = __atomic_load_n(slot, __ATOMIC_RELAXED);

		if (p)
			p = __atomic_exchange_n(slot, NULL, __ATOMIC_ACQ_REL);
		if (p)
			free_fn(p);
	}
	for (class = 0; class < ATOMIC_CLASSES; class ++) {
		struct kmem_cache *cachep =
			mm.kmalloc_caches[kmalloc_nr(class_bytes(class))];

		for (i = 0; i < ATOMIC_OBJECTS; i++) {
			void *p;

			if (__atomic_load_n(&mm.atomic.slot[class][i],
					    __ATOMIC_RELAXED))
				continue;
			p = spare_object(cachep);
			if (p && !put_slot(class, p))
				kmem_cache_free(cachep, p);
		}
	}
}

void mm_atomic_work(void (*free_fn)(void *p))
{
	uint32_t work = __atomic_load_n(&mm.atomic.work, __ATOMIC_RELAXED);

	if (work & MM_WORK_ATOMIC) {
		__atomic_fetch_and(&mm.atomic.work, ~MM_WORK_ATOMIC,
				   __ATOMIC_ACQ_REL);
		handlers_work(free_fn);
	}
	if (work & MM_WORK_DECAY)
		mm_decay_poll(sys_now_coarse_ns());
	if (work & MM_WORK_TRIM) {
		__atomic_fetch_and(&mm.atomic.work, ~MM_WORK_TRIM,
				   __ATOMIC_ACQ_REL);
		mm_trim();
	}
	if (work & MM_WORK_PINS) {
		__atomic_fetch_and(&mm.atomic.work, ~MM_WORK_PINS,
				   __ATOMIC_ACQ_REL);
		mm_pins_make();
	}
}

int atomic_lookup(const void *p, struct mm_block *b)
{
	unsigned int end, i;

	if (!p || (uintptr_t)p & (PAGE_SIZE - 1))
		return -ENOENT;
	end = __atomic_load_n(&mm.atomic.maps_end, __ATOMIC_ACQUIRE);
	for (i = 0; i < end; i++) {
		if (__atomic_load_n(&mm.atomic.map[i].addr, __ATOMIC_ACQUIRE) !=
		    (uintptr_t)p)
			continue;
		b->kind = MM_ATOMIC;
		b->usable = mm.atomic.map[i].len;
		b->tag = NULL;
		return 0;
	}
	return -ENOENT;
}

int atomic_unmap(void *p)
{
	unsigned int end, i;

	end = __atomic_load_n(&mm.atomic.maps_end, __ATOMIC_ACQUIRE);
	for (i = 0; i < end; i++) {
		uintptr_t addr = (uintptr_t)p;
		size_t len = mm.atomic.map[i].len;

		if (!__atomic_compare_exchange_n(&mm.atomic.map[i].addr, &addr,
						 1, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		sys_munmap(p, len);
		__atomic_store_n(&mm.atomic.map[i].addr, 0, __ATOMIC_RELEASE);
		return 0;
	}
	return -EALREADY;
}
