/* SPDX-License-Identifier: MIT */
/*
 * mm.c - the root: start, fork, counters, events.
 *
 * Owns:   struct mm as a whole, the page that fork wipes.
 * Layer:  mm, top.
 * Locks:  takes all of them around fork; the event lock.
 */
#include "preload/mm/mm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "preload/mm/kmalloc.h"
#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/bitset.h"
#include "preload/mm/slab.h"
#include "preload/mm/vmalloc.h"

#define DEFAULT_ZONE_PAGES ((64UL << 20) >> PAGE_SHIFT)
#define DEFAULT_DECAY_NS   1000000000ULL
#define DEFAULT_LAZY_BYTES (32UL << 20)

struct mm mm;

void mm_default_config(struct mm_config *config)
{
	memset(config, 0, sizeof(*config));
	config->nr_zones = 1;
	memcpy(config->zone[0].name, "NORMAL", sizeof("NORMAL"));
	config->zone[0].pages = DEFAULT_ZONE_PAGES;
	config->zone[0].elastic = true;
	config->mmap_charge = true;
	config->decay_ns = DEFAULT_DECAY_NS;
	config->lazy_max_bytes = DEFAULT_LAZY_BYTES;
}

static int make_wipe(void)
{
	struct mm_wipe *wipe = sys_reserve(PAGE_SIZE);

	if (!wipe)
		return -ENOMEM;
	/* Before Linux 4.14 refused: then only pthread_atfork tells of fork. */
	sys_madvise(wipe, PAGE_SIZE, MADV_WIPEONFORK);
	wipe->alive = 1;
	mm.wipe = wipe;
	return 0;
}

int mm_init(const struct mm_config *config, const struct mm_client *client)
{
	int err;

	if (mm.up)
		return -EBUSY;
	if (!config->nr_zones || config->nr_zones > MAX_NR_ZONES)
		return -EINVAL;
	mm.config = *config;
	if (client)
		mm.client = *client;
	mm.nr_zones = config->nr_zones;
	mm.nr_slots = MIN(sys_nr_cpus(), (unsigned int)MM_MAX_SLOTS);
	list_init(&mm.cache_chain);
	bitset_init(&mm.area_slot_free, MM_AREA_SLOTS, mm.area_slot_mem);
	err = make_wipe();
	if (!err)
		err = page_alloc_init();
	if (!err)
		err = kmalloc_init();
	if (!err)
		err = vmalloc_init();
	if (err) {
		mm_destroy();
		return err;
	}
	mm.atomic.work = 1; /* fill the reserve on the first way out */
	mm.up = true;
	return 0;
}

static int unmap_area(struct vm_struct *area, void *arg)
{
	(void)arg;
	if (area->flags & BS_AREA_ALLOC)
		sys_munmap((void *)area->addr, area->size + area->guard_bytes);
	return 0;
}

void mm_destroy(void)
{
	vm_walk(unmap_area, NULL);
	page_alloc_destroy();
	if (mm.wipe)
		sys_munmap(mm.wipe, PAGE_SIZE);
	memset(&mm, 0, sizeof(mm));
}

/* ---- counters and events ------------------------------------------------------ */

void mm_count(enum bs_vmstat_item item, int64_t n)
{
	uint64_t v = __atomic_add_fetch(&mm.vmstat[item], (uint64_t)n,
					__ATOMIC_RELAXED);

	if (mm.wipe && mm.wipe->pub.vmstat)
		__atomic_store_n(&mm.wipe->pub.vmstat[item], v,
				 __ATOMIC_RELAXED);
}

static void fill_event(struct bs_abi_event *ev, int zone_nr)
{
	const struct bs_abi_zone *stat;
	unsigned int o, t;

	memset(ev->nr_free, 0, sizeof(ev->nr_free));
	ev->free_pages = 0;
	ev->zone = (uint32_t)zone_nr;
	if (zone_nr < 0)
		return;
	stat = &mm.zone[zone_nr].stat; /* unlocked: a picture, not a proof */
	ev->free_pages = __atomic_load_n(&stat->free_pages, __ATOMIC_RELAXED);
	for (o = 0; o < MAX_ORDER; o++)
		for (t = 0; t < MM_NR_TYPES; t++)
			ev->nr_free[o] += (uint32_t)__atomic_load_n(
				&stat->nr_free[t][o], __ATOMIC_RELAXED);
}

void mm_event(uint32_t type, int zone_nr, unsigned int order, gfp_t gfp,
	      uint64_t addr, uint64_t bytes)
{
	const struct mm_pub *pub = &mm.wipe->pub;
	uint32_t site = mm.client.current_site ? mm.client.current_site() : 0;
	struct bs_abi_section *sec;
	struct bs_abi_event *ev;
	uint64_t number;

	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	number = ++mm.nr_events;
	if (!pub->events)
		goto out;
	sec = &pub->header->section[BS_SEC_EVENTS];
	ev = &pub->events[number % sec->capacity];
	if (!pub->claim(ev, sizeof(*ev)))
		goto out;
	__atomic_store_n(&ev->number, 0, __ATOMIC_SEQ_CST);
	ev->time_ns = sys_now_ns();
	ev->type = type;
	ev->tid = mm.sandboxed ? 0 : (uint32_t)sys_gettid();
	ev->site = site;
	ev->order = order;
	ev->gfp = gfp;
	ev->addr = addr;
	ev->bytes = bytes;
	fill_event(ev, zone_nr);
	__atomic_store_n(&ev->number, number, __ATOMIC_RELEASE);
	__atomic_store_n(&sec->count, number, __ATOMIC_RELEASE);
out:
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
}

/* ---- all locks ---------------------------------------------------------------------- */

/* fork holds many locks of one rank, which the rank checker does not know. */
static void take(struct sys_lock *l)
{
	uint32_t free = 0;

	if (!__atomic_compare_exchange_n(&l->word, &free, 1, false,
					 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		sys_lock_slow(l);
}

static void take_spin(struct sys_lock *l)
{
	sys_spin_slow(l);
}

static void drop(struct sys_lock *l)
{
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) == 2)
		sys_lock_wake(l);
}

/* Every lock of the engine, in rank order or its reverse. */
static void for_each_lock(void (*fn)(struct sys_lock *l), bool array_pass)
{
	struct list_head *pos;
	unsigned int i;

	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		if (!array_pass) {
			fn(&cachep->list3.list_lock);
			continue;
		}
		for (i = 0; i < mm.nr_slots; i++)
			if (cachep->array[i])
				fn(&cachep->array[i]->lock);
	}
}

static void for_each_zone_lock(void (*fn)(struct sys_lock *l))
{
	unsigned int i;

	fn(&mm.meta_lock);
	for (i = 0; i < mm.nr_zones; i++)
		fn(&mm.zone[i].lock);
	fn(&mm.map_lock);
	fn(&mm.event_lock);
}

void mm_fork_prepare(void)
{
	take(&mm.chain_lock);
	take(&mm.vm_lock);
	take(&mm.array_lock);
	for_each_lock(take_spin, true);
	for_each_lock(take, false);
	for_each_zone_lock(take);
}

void mm_fork_parent(void)
{
	for_each_zone_lock(drop);
	for_each_lock(drop, false);
	for_each_lock(drop, true);
	drop(&mm.array_lock);
	drop(&mm.vm_lock);
	drop(&mm.chain_lock);
}

/* The child's page is wiped: it publishes nothing until preload/ says so. */
static void forget_publication(void)
{
	uint64_t slot;

	mm.wipe->alive = 1;
	mm.nr_events = 0;
	mm.area_slot_next = 1;
	while ((slot = bitset_first(&mm.area_slot_free)) != BITSET_NONE)
		bitset_clear(&mm.area_slot_free, slot);
}

static int reset_slot(struct vm_struct *area, void *arg)
{
	(void)arg;
	area->pub_slot = 0;
	return 0;
}

void mm_fork_child(void)
{
	sys_rank_reset();
	vm_walk(reset_slot, NULL);
	forget_publication();
	mm_fork_parent();
}

unsigned int mm_raw_child(void)
{
	unsigned int lost = 0, i;

	sys_rank_reset();
	if (sys_is_locked(&mm.vm_lock)) {
		mm.vm_root =
			NULL; /* frees of those areas are not ours any more */
		mm.nr_areas = 0;
		list_init(&mm.vm_lazy);
		mm.vm_lazy_bytes = 0;
		lost++;
	}
	mm.vm_lock.word = mm.chain_lock.word = 0;
	mm.map_lock.word = mm.event_lock.word = mm.array_lock.word = 0;
	vm_walk(reset_slot, NULL);
	forget_publication();
	for (i = 0; i < mm.nr_zones; i++) {
		struct zone *zone = &mm.zone[i];

		if (sys_is_locked(&zone->lock)) {
			zone_abandon(zone);
			lost++;
		}
		zone->lock.word = 0;
	}
	if (sys_is_locked(&mm.meta_lock)) {
		mm.meta_next = mm.meta_end = NULL;
		mm.meta_lock.word = 0;
		lost++;
	}
	lost += slab_raw_child();
	if (lost)
		mm_count(BS_VMSTAT_FORK_ABANDONED, lost);
	return lost;
}

/* ---- publishing ------------------------------------------------------------------------ */

static int publish_area(struct vm_struct *area, void *arg)
{
	(void)arg;
	area->pub_slot = 0;
	vm_publish(area);
	return 0;
}

void mm_publish_all(void)
{
	struct list_head *pos;
	unsigned int i;

	mm_fork_prepare();
	for (i = 0; i < mm.nr_zones; i++) {
		zone_publish(&mm.zone[i]);
		zone_publish_pagemap(&mm.zone[i]);
	}
	mm.wipe->pub.header->section[BS_SEC_ZONES].count = mm.nr_zones;
	list_for_each(pos, &mm.cache_chain)
		cache_publish(list_entry(pos, struct kmem_cache, next));
	mm.wipe->pub.header->section[BS_SEC_CACHES].count = mm.nr_caches;
	forget_publication();
	vm_walk(publish_area, NULL);
	for (i = 0; i < BS_NR_VMSTAT; i++)
		mm_count((enum bs_vmstat_item)i, 0);
	mm_fork_parent();
}
