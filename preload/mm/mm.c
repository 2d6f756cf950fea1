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
#include "preload/mm/memblock.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/bitset.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"

static_assert(GFP_DMA == BS_GFP_DMA && GFP_HIGH == BS_GFP_HIGH &&
		      GFP_ATOMIC == BS_GFP_ATOMIC &&
		      __GFP_ZERO == BS_GFP_ZERO &&
		      __GFP_NOWARN == BS_GFP_NOWARN &&
		      __GFP_MOVABLE == BS_GFP_MOVABLE &&
		      __GFP_LENT == BS_GFP_LENT &&
		      __GFP_NORETRY == BS_GFP_NORETRY &&
		      __GFP_RECLAIMABLE == BS_GFP_RECLAIMABLE &&
		      __GFP_ZONE(0) == 1U << BS_GFP_ZONE_SHIFT &&
		      __GFP_ZONE_MASK == BS_GFP_ZONE_MASK,
	      "gfp flags are part of the segment: shared/abi.h names them");

#define DEFAULT_ZONE_PAGES ((64UL << 20) >> PAGE_SHIFT)
#define DEFAULT_DECAY_NS   1000000000ULL
#define DEFAULT_LAZY_BYTES (32UL << 20)

/* Events of these types are limited in number: shared/abi.h says why. */
#define EVENTS_LIMITED                                                         \
	(1U << BS_EVENT_ALLOC_FAILED | 1U << BS_EVENT_ZONE_FALLBACK |          \
	 1U << BS_EVENT_VMALLOC_FAILED | 1U << BS_EVENT_OVERCOMMIT |           \
	 1U << BS_EVENT_DMA_FAILED | 1U << BS_EVENT_CARVEOUT_FULL)
#define EVENT_INTERVAL_NS 5000000000ULL
#define EVENT_BURST	  10U

struct mm mm __attribute__((aligned(64)));
union mm_wipe_page mm_wipe_page __attribute__((aligned(PAGE_SIZE)));

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
	config->dedicated = true;
}

static void init_wipe(void)
{
	/* Before Linux 4.14 refused: then only pthread_atfork tells of fork. */
	sys_madvise(mm_wipe, PAGE_SIZE, MADV_WIPEONFORK);
	mm_wipe->alive = 1;
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
	mm.decay_next_ns = MM_DECAY_NEVER;
	mm.huge_page_ns = HUGE_PAGE_NS;
	mm.nr_slots = MIN(sys_nr_cpus(), (unsigned int)MM_MAX_SLOTS);
	list_init(&mm.cache_chain);
	bitset_init(&mm.area_slot_free, MM_AREA_SLOTS, mm.area_slot_mem, 0,
		    NULL);
	init_wipe();
	mm.rseq = sys_rseq_init();
	if (mm.rseq)
		mm_wipe->slots = mm.nr_stops ? 0 : mm.nr_slots;
	else
		sys_rseq_stay_cold();
	err = page_alloc_init();
	if (!err)
		err = kmalloc_init();
	if (!err)
		err = vmalloc_init();
	if (!err)
		carveouts_init();
	if (err) {
		mm_destroy();
		return err;
	}
	mm.up = true;
	return 0;
}

static int unmap_area(struct vm_struct *area, void *arg)
{
	(void)arg;
	if (area->flags & (BS_AREA_ALLOC | BS_AREA_VMAP | BS_AREA_CARVEOUT))
		sys_munmap((void *)area->addr, area->size + area->guard_bytes);
	return 0;
}

void mm_destroy(void)
{
	vm_walk(unmap_area, NULL);
	carveouts_destroy();
	slab_debug_destroy();
	page_alloc_destroy();
	memset(&mm_wipe_page, 0, sizeof(mm_wipe_page));
	memset(&mm, 0, sizeof(mm));
}

/* ---- counters and events ------------------------------------------------------ */

void mm_count(enum bs_vmstat_item item, int64_t n)
{
	uint64_t v;

	if (sys_alone())
		v = mm.vmstat[item] += (uint64_t)n;
	else
		v = __atomic_add_fetch(&mm.vmstat[item], (uint64_t)n,
				       __ATOMIC_RELAXED);

	if (mm_wipe->pub.vmstat)
		__atomic_store_n(&mm_wipe->pub.vmstat[item], v,
				 __ATOMIC_RELAXED);
}

/*
 * The kernel's printk_ratelimit: ten of a type in five seconds.  Others are
 * counted; the next one of the type tells how many.  Event lock held.
 */
static bool suppressed_locked(struct mm_ratelimit *rl, uint64_t now_ns,
			      uint32_t *nr)
{
	if (!rl->begin_ns || now_ns - rl->begin_ns >= EVENT_INTERVAL_NS) {
		rl->begin_ns = now_ns;
		rl->nr_made = 0;
	}
	if (rl->nr_made >= EVENT_BURST) {
		rl->nr_suppressed++;
		mm_count(BS_VMSTAT_EVENTS_SUPPRESSED, 1);
		return true;
	}
	rl->nr_made++;
	*nr = rl->nr_suppressed;
	rl->nr_suppressed = 0;
	return false;
}

static bool event_suppressed(uint32_t type, uint64_t now_ns, uint32_t *nr)
{
	bool suppressed;

	*nr = 0;
	if (!(EVENTS_LIMITED >> type & 1))
		return false;
	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	suppressed = suppressed_locked(&mm.ratelimit[type], now_ns, nr);
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
	return suppressed;
}

/* Unlocked: a picture, not a proof. */
static void fill_event_zone(struct bs_abi_event_zone *out,
			    const struct bs_abi_zone *stat,
			    unsigned int class_nr)
{
	unsigned int i, t;

	out->managed_pages = (uint32_t)stat->managed_pages;
	out->free_pages =
		(uint32_t)__atomic_load_n(&stat->free_pages, __ATOMIC_RELAXED);
	out->wmark_min_pages = (uint32_t)stat->wmark_min_pages;
	out->wmark_low_pages = (uint32_t)stat->wmark_low_pages;
	out->wmark_high_pages = (uint32_t)stat->wmark_high_pages;
	out->protection_pages = (uint32_t)stat->protection_pages[class_nr];
	for (i = 0; i < BS_MAX_USES; i++)
		out->used_pages[i] = (uint32_t)__atomic_load_n(
			&stat->used_pages[i], __ATOMIC_RELAXED);
	for (i = 0; i < MAX_ORDER; i++) {
		out->nr_free[i] = 0;
		for (t = 0; t < MM_NR_TYPES; t++)
			out->nr_free[i] += (uint32_t)__atomic_load_n(
				&stat->nr_free[t][i], __ATOMIC_RELAXED);
	}
}

static void fill_event(struct bs_abi_event *ev, const struct mm_event *e)
{
	unsigned int i;

	ev->type = e->type;
	ev->tid = mm.sandboxed ? 0 : (uint32_t)sys_gettid();
	ev->order = e->order;
	ev->gfp = e->gfp &
		  ~(__GFP_NOGROW | __GFP_TRY | __GFP_LOCKED); /* our own */
	ev->addr = e->addr;
	ev->bytes = e->bytes;
	ev->zone = e->zone_nr < 0 ? BS_EVENT_NO_ZONE : (uint32_t)e->zone_nr;
	ev->nr_zones = mm.nr_zones;
	for (i = 0; i < mm.nr_zones; i++)
		fill_event_zone(&ev->zones[i], &mm.zone[i].stat,
				e->zone_nr < 0 ? mm.nr_zones - 1
					       : (unsigned int)e->zone_nr);
	sys_format(ev->name, sizeof(ev->name), "%s", e->name ? e->name : "");
}

/* Its records begin with their number, and are as long as the section says. */
void *mm_ring_begin(unsigned int section, void *ring, uint64_t number)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	const struct bs_abi_section *sec;
	char *record;

	if (!ring)
		return NULL;
	sec = &pub->header->section[section];
	record = (char *)ring + number % sec->capacity * sec->elem_bytes;
	if (!pub->claim(record, sec->elem_bytes))
		return NULL;
	__atomic_store_n((uint64_t *)(void *)record, 0, __ATOMIC_SEQ_CST);
	return record;
}

void mm_ring_end(unsigned int section, void *record, uint64_t number)
{
	struct bs_abi_section *sec = &mm_wipe->pub.header->section[section];

	__atomic_store_n((uint64_t *)record, number, __ATOMIC_RELEASE);
	__atomic_store_n(&sec->count, number, __ATOMIC_RELEASE);
}

void mm_event_make(const struct mm_event *e)
{
	uint64_t now_ns = sys_now_ns(), number;
	uint32_t site = 0, suppressed;
	struct bs_abi_event *ev;

	if (event_suppressed(e->type, now_ns, &suppressed))
		return;
	if (mm.client.current_site)
		site = mm.client.current_site();
	sys_lock(&mm.event_lock, SYS_RANK_EVENT);
	number = ++mm.nr_events;
	ev = mm_ring_begin(BS_SEC_EVENTS, mm_wipe->pub.events, number);
	if (!ev)
		goto out;
	ev->time_ns = now_ns;
	ev->site = site;
	ev->suppressed = suppressed;
	fill_event(ev, e);
	mm_ring_end(BS_SEC_EVENTS, ev, number);
	mm_pins_want(e, number);
out:
	sys_unlock(&mm.event_lock, SYS_RANK_EVENT);
}

/* ---- restartable sequences ----------------------------------------------------------- */

void mm_sections_stop(void)
{
	sys_lock(&mm.stop_lock, SYS_RANK_STOP);
	/* Held meanwhile: whoever comes second finds them stopped, too. */
	if (!mm.nr_stops++ && mm.rseq) {
		__atomic_store_n(&mm_wipe->slots, 0, __ATOMIC_RELAXED);
		if (!sys_alone())
			sys_rseq_restart_all();
	}
	sys_unlock(&mm.stop_lock, SYS_RANK_STOP);
}

void mm_sections_start(void)
{
	sys_lock(&mm.stop_lock, SYS_RANK_STOP);
	if (!--mm.nr_stops && mm.rseq)
		__atomic_store_n(&mm_wipe->slots, mm.nr_slots,
				 __ATOMIC_RELEASE);
	sys_unlock(&mm.stop_lock, SYS_RANK_STOP);
}

void mm_sections_end(void)
{
	if (!mm.rseq)
		return;
	mm_sections_stop();
	__atomic_store_n(&mm.rseq, false, __ATOMIC_RELEASE);
	__atomic_store_n(&mm_wipe->fast_bytes, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&mm_wipe->section_bytes, 0, __ATOMIC_RELAXED);
	mm_exact_end();
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
	fn(&mm.device_lock);
	fn(&mm.map_lock);
	fn(&mm.event_lock);
	fn(&mm.stop_lock);
}

void mm_fork_prepare(void)
{
	mm_sections_stop();
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
	mm_sections_start();
}

/* The child's page is wiped: it publishes nothing until preload/ says so. */
static void forget_publication(void)
{
	uint64_t slot;

	mm_wipe->alive = 1;
	mm.nr_events = 0;
	mm.pins = (struct mm_pins){ 0 };
	while (mm.area_slot_next > 1 &&
	       (slot = bitset_first(&mm.area_slot_free)) != BITSET_NONE)
		bitset_clear(&mm.area_slot_free, slot);
	mm.area_slot_next = 1;
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
	mm.carveouts_inherited = true;
	mm.nr_forks++;
	vm_walk(reset_slot, NULL);
	forget_publication();
	mm.nr_stops = 1; /* those of other threads are over */
	mm_fork_parent();
}

unsigned int mm_raw_child(void)
{
	unsigned int lost = 0, i;

	sys_rank_reset();
	mm.carveouts_inherited = true;
	mm.nr_forks++;
	if (sys_is_locked(&mm.vm_lock)) {
		mm.vm_root =
			NULL; /* frees of those areas are not ours any more */
		mm.nr_areas = 0;
		list_init(&mm.vm_lazy);
		list_init(&mm.vm_loose);
		mm.vm_lazy_bytes = 0;
		mm.vm_live_bytes = 0;
		mm.vm_window_bytes = 0;
		lost++;
	}
	mm.vm_lock.word = mm.chain_lock.word = 0;
	mm.map_lock.word = mm.event_lock.word = mm.array_lock.word = 0;
	mm.device_lock.word = mm.stop_lock.word = 0;
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
		mm.meta_free = NULL;
		mm.meta_lock.word = 0;
		lost++;
	}
	lost += slab_raw_child();
	mm.nr_stops = 0;
	if (mm.rseq)
		mm_wipe->slots = mm.nr_slots;
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
	mm_wipe->pub.header->section[BS_SEC_ZONES].count = mm.nr_zones;
	list_for_each(pos, &mm.cache_chain)
		cache_publish(list_entry(pos, struct kmem_cache, next));
	mm_wipe->pub.header->section[BS_SEC_CACHES].count = mm.nr_cache_slots;
	slab_debug_publish();
	devices_publish();
	forget_publication();
	vm_walk(publish_area, NULL);
	for (i = 0; i < BS_NR_VMSTAT; i++)
		mm_count((enum bs_vmstat_item)i, 0);
	mm_fork_parent();
}
