/* SPDX-License-Identifier: MIT */
/*
 * mkseg.c - the image that mkseg.h promises.
 *
 * Owns:   numbers that look like a small player after a minute.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/mkseg.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shared/target.h"

struct layout {
	unsigned int section;
	uint32_t elem_bytes;
	uint64_t capacity;
};

static const struct layout layouts[] = {
	{ BS_SEC_CONTROL, sizeof(struct bs_abi_control), 1 },
	{ BS_SEC_ZONES, sizeof(struct bs_abi_zone), 8 },
	{ BS_SEC_CACHES, sizeof(struct bs_abi_cache), 32 },
	{ BS_SEC_AREAS, sizeof(struct bs_abi_area), 64 },
	{ BS_SEC_NODES, sizeof(struct bs_abi_node), 1024 },
	{ BS_SEC_SITES, sizeof(struct bs_abi_site), 128 },
	{ BS_SEC_MODULES, sizeof(struct bs_abi_module), 128 },
	{ BS_SEC_EVENTS, sizeof(struct bs_abi_event), MKSEG_EVENT_SLOTS },
	{ BS_SEC_DEVICES, sizeof(struct bs_abi_device), 8 },
	{ BS_SEC_OWNERS, sizeof(struct bs_abi_owner), 64 },
	{ BS_SEC_VMSTAT, sizeof(uint64_t), BS_NR_VMSTAT },
	{ BS_SEC_ESTIMATES, sizeof(struct bs_abi_estimate), 128 },
	{ BS_SEC_THREADS, sizeof(struct bs_abi_thread), MKSEG_NR_THREADS },
	{ BS_SEC_AGES, sizeof(struct bs_abi_ages), 128 },
	{ BS_SEC_PINS, sizeof(struct bs_abi_pins), MKSEG_PINS_SLOTS },
};

static uint64_t now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct bs_abi_header *mkseg_header(struct mkseg *m)
{
	return (struct bs_abi_header *)(void *)m->image;
}

void *mkseg_record(struct mkseg *m, unsigned int section, uint64_t i)
{
	const struct bs_abi_section *sec = &mkseg_header(m)->section[section];

	return m->image + sec->offset + i * sec->elem_bytes;
}

/* The next record, counted. */
static void *add_record(struct mkseg *m, unsigned int section)
{
	return mkseg_record(m, section,
			    mkseg_header(m)->section[section].count++);
}

static void copy_text(char *to, size_t len, const char *from)
{
	size_t n = strnlen(from, len - 1);

	memcpy(to, from, n);
	to[n] = '\0';
}

/* ---- zones, caches, areas ----------------------------------------------- */

static void add_zone(struct mkseg *m, const char *name, uint64_t start_pfn,
		     const uint64_t *nr_free, const uint64_t *used)
{
	struct bs_abi_zone *zone = add_record(m, BS_SEC_ZONES);

	zone->seq = 1000;
	copy_text(zone->name, sizeof(zone->name), name);
	zone->start_pfn = start_pfn;
	for (unsigned int o = 0; o < BS_NR_ORDERS; o++) {
		uint64_t movable = nr_free[o] / 2;

		zone->nr_free[BS_MIGRATE_MOVABLE][o] = movable;
		zone->nr_free[BS_MIGRATE_UNMOVABLE][o] = nr_free[o] - movable;
		zone->free_pages += nr_free[o] << o;
	}
	zone->managed_pages = zone->free_pages;
	for (unsigned int u = 0; u < BS_NR_USES; u++) {
		zone->used_pages[u] = used[u];
		zone->managed_pages += used[u];
	}
	zone->present_pages = zone->managed_pages;
	zone->spanned_pages = zone->managed_pages;
	zone->nr_blocks[BS_MIGRATE_UNMOVABLE] = 3;
	zone->nr_blocks[BS_MIGRATE_MOVABLE] = 5;
	zone->wmark_min_pages = zone->managed_pages / 64;
	zone->wmark_low_pages = zone->managed_pages / 48;
	zone->wmark_high_pages = zone->managed_pages / 32;
	zone->min_free_pages = zone->free_pages / 2;
	zone->nr_alloc = 12345;
	zone->nr_free_calls = 12000;
	/* All that the lists hold, three in slot 0 and the rest in slot 1. */
	zone->pcp_high = 186;
	zone->pcp_batch = 31;
	zone->pcp_count[0] =
		used[BS_USE_PCP] < 3 ? (uint16_t)used[BS_USE_PCP] : 3;
	zone->pcp_count[1] = (uint16_t)(used[BS_USE_PCP] - zone->pcp_count[0]);
	zone->pcp_refills = 70;
	zone->pcp_drains = 60;
	mkseg_header(m)->nr_zones++;
}

static void add_zones(struct mkseg *m)
{
	/* DMA is the test vector of the kernel's formulas. */
	static const uint64_t dma[] = { 4, 3, 2, 1, 0, 0, 0, 0, 0, 0, 0 };
	static const uint64_t normal[] = { 17, 9, 5, 3, 8, 2, 1, 0, 1, 0, 5 };
	static const uint64_t empty[BS_NR_ORDERS];
	static const uint64_t dma_used[BS_NR_USES] = { 200, 16, 8, 0, 4, 2 };
	static const uint64_t normal_used[BS_NR_USES] = { 3000, 700, 900,
							  4000, 33,  64 };
	static const uint64_t empty_used[BS_NR_USES];

	add_zone(m, "DMA", 0, dma, dma_used);
	add_zone(m, "NORMAL", 262144, normal, normal_used);
	add_zone(m, "EMPTY", 524288, empty, empty_used);
}

static void add_cache(struct mkseg *m, const char *name, uint32_t bytes,
		      uint64_t active)
{
	uint64_t nr = mkseg_header(m)->section[BS_SEC_CACHES].count;
	struct bs_abi_cache *cache = add_record(m, BS_SEC_CACHES);
	uint32_t pages = bytes > BS_ABI_PAGE_BYTES / 2 ? 4 : 1;

	if (!name)
		return; /* a destroyed cache's slot */
	cache->seq = 8;
	cache->live = 1;
	copy_text(cache->name, sizeof(cache->name), name);
	cache->object_bytes = bytes;
	cache->align_bytes = 16;
	cache->pages_per_slab = pages;
	cache->objs_per_slab = pages * BS_ABI_PAGE_BYTES / bytes;
	cache->limit = 120;
	cache->batchcount = 60;
	cache->shared = 8;
	cache->active_objs = active;
	cache->num_slabs = active / cache->objs_per_slab + 2;
	cache->active_slabs = cache->num_slabs - 1;
	cache->num_objs = cache->num_slabs * cache->objs_per_slab;
	cache->grown = cache->num_slabs + 5;
	cache->reaped = 5;
	cache->high_mark = active + 10;
	cache->list_allocs = active * 3;
	cache->max_freeable = 40;
	cache->alloc_hits = active * 90;
	cache->alloc_misses = active / 10;
	cache->free_hits = active * 80;
	cache->free_misses = active / 20;
	cache->requested_bytes = bytes;
	cache->flags = strncmp(name, "kmem", 4) ? BS_CACHE_GENERAL : 0;
	cache->slot = (uint32_t)nr;
}

static void add_area(struct mkseg *m, uint64_t addr, uint64_t bytes,
		     uint32_t flags, uint32_t site, const char *path)
{
	struct bs_abi_area *area = add_record(m, BS_SEC_AREAS);

	area->seq = 2;
	if (!addr)
		return; /* an unmapped area's slot */
	area->live = 1;
	area->addr = addr;
	area->bytes = bytes;
	area->requested_bytes = bytes - 100;
	area->flags = flags;
	area->site = site;
	area->prot = 3;
	if (flags & BS_AREA_ALLOC)
		area->guard_bytes = BS_ABI_PAGE_BYTES;
	if (!(flags & (BS_AREA_IOREMAP | BS_AREA_RESERVE)))
		area->charged_pages = bytes / BS_ABI_PAGE_BYTES;
	else if (flags & BS_AREA_CARVEOUT)
		area->phys_addr = 0x9e000000;
	else if (flags & BS_AREA_IOREMAP)
		area->offset = 0xa0000;
	copy_text(area->path, sizeof(area->path), path);
}

/* ---- devices, owners ------------------------------------------------------ */

static void add_device(struct mkseg *m, const char *name, uint32_t zone,
		       uint64_t live_pages)
{
	struct bs_abi_device *device = add_record(m, BS_SEC_DEVICES);

	if (!name)
		return; /* the slot of one that is gone */
	device->seq = 4;
	device->live = 1;
	copy_text(device->name, sizeof(device->name), name);
	device->allocs = 1500;
	device->frees = 1500 - live_pages / 256;
	device->failed = 2;
	device->live_pages = live_pages;
	device->live_bytes = live_pages * BS_ABI_PAGE_BYTES - 100;
	device->peak_pages = live_pages + 256;
	device->trimmed_pages = 81;
	device->zone = zone;
}

static void add_owner(struct mkseg *m, uint32_t cache, uint32_t site,
		      uint64_t live_objs)
{
	struct bs_abi_owner *owner = add_record(m, BS_SEC_OWNERS);

	owner->cache = cache;
	owner->site = site;
	owner->live_objs = live_objs;
}

/* kmalloc-64 (slot 1) knows its owners; two of its sites have one caller. */
static void add_owners(struct mkseg *m)
{
	struct bs_abi_cache *cache = mkseg_record(m, BS_SEC_CACHES, 1);

	cache->debug = BS_DEBUG_RED_ZONE | BS_DEBUG_USER;
	add_owner(m, 1, 2, 300);
	add_owner(m, 1, 1, 777);
	add_owner(m, 1, 3, 0);
	add_owner(m, 4, 2, 5);
	add_owner(m, 1, 5, 23);
}

/* ---- depot, sites, events ----------------------------------------------- */

static uint32_t add_node(struct mkseg *m, uint32_t parent, const void *code)
{
	struct bs_abi_section *sec = &mkseg_header(m)->section[BS_SEC_NODES];
	uint32_t nr = (uint32_t)sec->count;
	struct bs_abi_node *node = add_record(m, BS_SEC_NODES);
	const struct bs_abi_node *up = mkseg_record(m, BS_SEC_NODES, parent);

	/* Like a return address: a few bytes into the function. */
	node->pc = code ? (uint64_t)(uintptr_t)code + 8 : 0;
	node->parent = parent;
	node->depth = code ? up->depth + 1 : 0;
	return nr;
}

struct bs_abi_ages *mkseg_ages(struct mkseg *m, uint32_t i)
{
	struct bs_abi_site *site = mkseg_record(m, BS_SEC_SITES, i);
	uint64_t *count = &mkseg_header(m)->section[BS_SEC_AGES].count;
	struct bs_abi_ages *ages;

	if (!*count)
		*count = 1;
	if (!site->ages)
		site->ages = (uint32_t)(*count)++;
	ages = mkseg_record(m, BS_SEC_AGES, site->ages);
	ages->site = i;
	ages->seq = site->seq;
	return ages;
}

static void add_site(struct mkseg *m, uint32_t node, uint32_t kinds,
		     uint64_t allocs, uint64_t frees, uint64_t object_bytes)
{
	uint32_t i = (uint32_t)mkseg_header(m)->section[BS_SEC_SITES].count;
	struct bs_abi_site *site = add_record(m, BS_SEC_SITES);
	const struct bs_abi_header *h = mkseg_header(m);
	uint64_t live = allocs - frees;
	struct bs_abi_ages *ages;

	site->node = node;
	site->kinds = kinds;
	site->allocs = allocs;
	site->frees = frees;
	site->bytes_allocated = allocs * object_bytes;
	site->bytes_freed = frees * object_bytes;
	site->first_ns = h->created_ns + 1000000;
	site->last_ns = h->created_ns + 50000000;
	site->peak_live_bytes = live * object_bytes;
	if (live) {
		ages = mkseg_ages(m, i);
		site->cohort_born = 0x1f;
		for (unsigned int c = 0; c < 4; c++)
			ages->cohort_live[c] = (uint32_t)(live / 5);
		ages->cohort_live[0] += (uint32_t)(live % 5);
		site->cohort = 4;
		site->cohort_live = (uint32_t)(live / 5);
	}
}

static void add_sites(struct mkseg *m)
{
	uint32_t outer, inner;

	add_node(m, 0, NULL);
	outer = add_node(m, 0, (const void *)mkseg_new);
	inner = add_node(m, outer, (const void *)add_zones);
	add_site(m, 0, 0, 0, 0, 0);
	add_site(m, add_node(m, inner, (const void *)add_zone), BS_SITE_OBJECT,
		 MKSEG_LEAK_NR, 0, MKSEG_LEAK_BYTES);
	add_site(m, add_node(m, inner, (const void *)add_cache), BS_SITE_OBJECT,
		 5000, 4000, 64);
	add_site(m, add_node(m, outer, (const void *)add_area), BS_SITE_OBJECT,
		 200000, 200000, 1024);
	add_site(m, add_node(m, outer, (const void *)mkseg_write), BS_SITE_MMAP,
		 10, 9, 1 << 20);
	add_site(m, add_node(m, outer, (const void *)add_cache), BS_SITE_OBJECT,
		 23, 23, 64);
}

void mkseg_add_sampling(struct mkseg *m)
{
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_abi_estimate *e = mkseg_record(m, BS_SEC_ESTIMATES, 2);
	struct bs_abi_site *site = mkseg_record(m, BS_SEC_SITES, 2), *shard;

	h->section[BS_SEC_ESTIMATES].count = h->section[BS_SEC_SITES].count;
	h->trace_mode = BS_TRACE_AUTO;
	h->trace_sample_bytes = 524288;
	h->trace_table_bytes = 12 << 20;
	h->trace_limit_bytes = 64 << 20;
	h->trace_budget = 20;
	h->trace_cost = 13;
	h->trace_sampled_callers = 12;
	/* Of site 2; p = 1/100: a sample's variance is 9900, of 64 bytes each. */
	e->sampled_allocs = 30;
	e->sampled_frees = 10;
	e->allocs_256 = UINT64_C(3000) * 256;
	e->frees_256 = UINT64_C(1000) * 256;
	e->bytes_allocated = 3000 * 64;
	e->bytes_freed = 1000 * 64;
	e->var_objects_allocated = 30 * 9900;
	e->var_objects_freed = 10 * 9900;
	e->var_bytes_allocated = 1160;
	e->var_bytes_freed = 387;
	site->lifetime = 3;
	site->lifetime_frees = 3000;
	mkseg_ages(m, 2)->lifetime[10] = 500;
	shard = mkseg_record(m, BS_SEC_SITES, h->section[BS_SEC_SITES].count);
	add_site(m, 0, BS_SITE_OBJECT, 50, 20, 1024);
	shard->shard_of = 3;
	shard->cohort_shift = 1;
}

/* A site of 10 bytes in a stack of one frame that ends in a thread's node. */
static void add_thread_site(struct mkseg *m, uint32_t thread)
{
	uint32_t root = add_node(m, 0, NULL);
	struct bs_abi_node *node = mkseg_record(m, BS_SEC_NODES, root);

	node->pc = BS_THREAD_PC + thread;
	add_site(m, add_node(m, root, (const void *)add_area), BS_SITE_OBJECT,
		 1, 0, 10);
}

void mkseg_add_threads(struct mkseg *m)
{
	static const struct bs_abi_thread threads[MKSEG_NR_THREADS] = {
		{ 0 },
		{ .flags = BS_THREAD_OTHERS, .nr_threads = 9 },
		{ .flags = BS_THREAD_MAIN,
		  .tid = 70,
		  .nr_threads = 1,
		  .name = "pool" },
		{ .tid = 71, .nr_threads = 1, .name = "pool" },
		{ .tid = 72, .nr_threads = 1, .name = "pool" },
		{ .tid = 73, .nr_threads = 1, .name = "" },
	};
	struct bs_abi_section *sec = &mkseg_header(m)->section[BS_SEC_THREADS];

	sec->capacity = sec->count = MKSEG_NR_THREADS;
	for (uint32_t i = 0; i < MKSEG_NR_THREADS; i++)
		memcpy(mkseg_record(m, BS_SEC_THREADS, i), &threads[i],
		       sizeof(threads[i]));
	for (uint32_t i = 1; i <= MKSEG_NR_THREADS; i++)
		add_thread_site(m, i);
}

/* The zones now; DMA is asked for, NORMAL is kept from it by a reserve. */
static void fill_event_zones(struct mkseg *m, struct bs_abi_event *event)
{
	event->nr_zones = 2;
	for (uint32_t i = 0; i < event->nr_zones; i++) {
		const struct bs_abi_zone *zone =
			mkseg_record(m, BS_SEC_ZONES, i);
		struct bs_abi_event_zone *z = &event->zones[i];

		z->managed_pages = (uint32_t)zone->managed_pages;
		z->free_pages = (uint32_t)zone->free_pages;
		z->wmark_min_pages = (uint32_t)zone->wmark_min_pages;
		z->wmark_low_pages = (uint32_t)zone->wmark_low_pages;
		z->wmark_high_pages = (uint32_t)zone->wmark_high_pages;
		z->protection_pages = i * 32;
		for (unsigned int u = 0; u < BS_NR_USES; u++)
			z->used_pages[u] = (uint32_t)zone->used_pages[u];
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
			for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
				z->nr_free[o] += (uint32_t)zone->nr_free[t][o];
	}
}

/* Event n is of type n % 13; 0 and 8 are notes without zones. */
static void add_events(struct mkseg *m)
{
	struct bs_abi_header *h = mkseg_header(m);

	for (uint64_t n = 1; n <= MKSEG_EVENTS; n++) {
		struct bs_abi_event *event =
			mkseg_record(m, BS_SEC_EVENTS, n % MKSEG_EVENT_SLOTS);

		event->number = n;
		event->time_ns = h->created_ns + n * 1500000000;
		event->type = (uint32_t)(n % BS_NR_EVENTS);
		event->tid = (uint32_t)h->pid;
		event->site = 1;
		event->order = 8;
		event->gfp = BS_GFP_ATOMIC | BS_GFP_ZERO;
		event->zone = BS_EVENT_NO_ZONE;
		event->bytes = 1 << 20;
		if (event->type && event->type != BS_EVENT_FORK_ABANDONED) {
			event->zone = 0;
			fill_event_zones(m, event);
		}
	}
	h->section[BS_SEC_EVENTS].count = MKSEG_EVENTS;
}

/* Two laps of the ring, all but the last of an event that was overwritten. */
static void add_pins(struct mkseg *m)
{
	struct bs_abi_header *h = mkseg_header(m);
	static const uint32_t use[] = {
		0, 0, 0, BS_USE_SLAB, BS_USE_TABLE, BS_USE_PCP
	};
	const uint64_t last = 2 * MKSEG_PINS_SLOTS;

	for (uint64_t n = 1; n <= last; n++) {
		struct bs_abi_pins *pins =
			mkseg_record(m, BS_SEC_PINS, n % MKSEG_PINS_SLOTS);

		pins->number = n;
		pins->event = n == last ? MKSEG_PINS_EVENT : 1;
		pins->time_ns = h->created_ns + n;
		pins->order = 8;
		pins->nr_blocks = 64;
		pins->nr_free = 1;
		pins->nr_partial = 50;
		pins->nr_holders = 6;
		pins->part = 2;
		for (uint32_t i = 0; i < pins->nr_holders; i++)
			pins->holder[i] = (struct bs_abi_pin){
				.site = i < 3 ? 1 + i : 0,
				.use = use[i],
				.blocks = 50 - 8 * i,
				.alone = i ? 0 : 12,
				.together = 12 + 7 * i,
				.pages = i == 3 ? 1 : 100 - i,
			};
	}
	h->section[BS_SEC_PINS].count = last;
}

/* ---- modules ------------------------------------------------------------ */

static void copy_build_id(struct bs_abi_module *module,
			  const struct dl_phdr_info *info,
			  const ElfW(Phdr) * ph)
{
	const char *note = (const char *)info->dlpi_addr + ph->p_vaddr;
	const char *end = note + ph->p_memsz;

	while (note + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *nh = (const void *)note;
		const char *name = note + sizeof(*nh);
		const char *desc = name + ((nh->n_namesz + 3) & ~3U);

		if (nh->n_type == NT_GNU_BUILD_ID && nh->n_namesz == 4 &&
		    !memcmp(name, "GNU", 4) &&
		    nh->n_descsz <= sizeof(module->build_id)) {
			memcpy(module->build_id, desc, nh->n_descsz);
			module->build_id_bytes = nh->n_descsz;
		}
		note = desc + ((nh->n_descsz + 3) & ~3U);
	}
}

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct mkseg *m = arg;
	struct bs_abi_module *module;
	uint64_t start = UINT64_MAX, end = 0;
	char exe[512];
	ssize_t n;

	(void)size;
	module = add_record(m, BS_SEC_MODULES);
	for (unsigned int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t from = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && from < start)
			start = from;
		if (ph->p_type == PT_LOAD && from + ph->p_memsz > end)
			end = from + ph->p_memsz;
		if (ph->p_type == PT_NOTE)
			copy_build_id(module, info, ph);
	}
	module->bias = info->dlpi_addr;
	module->start = start;
	module->end = end;
	module->loaded_ns = mkseg_header(m)->created_ns;
	module->generation = mkseg_header(m)->section[BS_SEC_MODULES].count;
	copy_text(module->path, sizeof(module->path), info->dlpi_name);
	if (!info->dlpi_name[0]) {
		n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
		exe[n < 0 ? 0 : n] = '\0';
		copy_text(module->path, sizeof(module->path), exe);
	}
	return 0;
}

/* ---- all together -------------------------------------------------------- */

static size_t lay_out(struct bs_abi_header *h)
{
	uint64_t offset = BS_ABI_PAGE_BYTES;

	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		struct bs_abi_section *sec = &h->section[layouts[i].section];
		uint64_t bytes = layouts[i].capacity * layouts[i].elem_bytes;

		sec->offset = offset;
		sec->capacity = layouts[i].capacity;
		sec->elem_bytes = layouts[i].elem_bytes;
		offset += (bytes + BS_ABI_PAGE_BYTES - 1) &
			  ~(uint64_t)(BS_ABI_PAGE_BYTES - 1);
	}
	h->section[BS_SEC_THREADS].capacity = 0; /* mkseg_add_threads() */
	h->section[BS_SEC_CONTROL].count = 1;
	h->section[BS_SEC_VMSTAT].count = BS_NR_VMSTAT;
	return offset;
}

static void fill_header(struct bs_abi_header *h)
{
	char exe[256];
	ssize_t n;

	h->magic = BS_ABI_MAGIC;
	h->version = BS_ABI_VERSION;
	h->compat = BS_ABI_COMPAT;
	h->header_bytes = sizeof(*h);
	h->nr_sections = BS_ABI_NR_SECTIONS;
	h->file_bytes = lay_out(h);
	h->page_bytes = BS_ABI_PAGE_BYTES;
	h->state = BS_STATE_RUNNING;
	h->pidns_inode = bs_proc_pidns();
	h->uid = geteuid();
	h->nr_cpus = 2;
	h->created_ns = now_ns(CLOCK_MONOTONIC) - 60000000000;
	h->created_realtime_ns = now_ns(CLOCK_REALTIME) - 60000000000;
	h->trace_mode = BS_TRACE_EXACT;
	h->leak_window_ns = 10000000000;
	h->cohort_ns = h->leak_window_ns;
	h->arena_base = 0x100000000000;
	copy_text(h->comm, sizeof(h->comm), "mkseg");
	copy_text(h->cmdline, sizeof(h->cmdline), "mkseg --example");
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n < 0 ? 0 : n] = '\0';
	copy_text(h->exe, sizeof(h->exe), exe);
}

void mkseg_set_process(struct mkseg *m, int pid, uint64_t start_ticks,
		       uint64_t nonce)
{
	struct bs_abi_header *h = mkseg_header(m);

	h->pid = pid;
	h->start_ticks = start_ticks;
	h->nonce = nonce;
}

struct mkseg *mkseg_new(void)
{
	struct bs_abi_header scratch = { 0 };
	struct mkseg *m = calloc(1, sizeof(*m));
	uint64_t start = 0;
	char letter;

	if (!m)
		return NULL;
	fill_header(&scratch);
	m->bytes = scratch.file_bytes;
	m->image = calloc(1, m->bytes);
	if (!m->image) {
		free(m);
		return NULL;
	}
	memcpy(m->image, &scratch, sizeof(scratch));
	(void)bs_proc_stat(getpid(), &start, &letter);
	mkseg_set_process(m, getpid(), start, UINT64_C(0x1122334455667788));

	add_zones(m);
	add_cache(m, "kmalloc-32", 32, 900);
	add_cache(m, "kmalloc-64", 64, 1100);
	add_cache(m, NULL, 0, 0);
	add_cache(m, "kmalloc-1024", 1024, 77);
	add_cache(m, "dma-kmalloc-4096", 4096, 12);
	add_cache(m, "kmem_cache", 192, 4);
	/* Not in the order of their addresses. */
	add_area(m, 0x7f0000400000, 1 << 20, BS_AREA_ALLOC, 1, "");
	add_area(m, 0x7f0000100000, 1 << 16, BS_AREA_MAP, 4, "");
	add_area(m, 0, 0, 0, 0, "");
	add_area(m, 0x7f0000200000, 1 << 14, BS_AREA_IOREMAP | BS_AREA_SHARED,
		 4, "/tmp/a film with blanks.mkv");
	add_area(m, 0x7f0000300000, 1 << 13, BS_AREA_ALLOC | BS_AREA_LAZY, 0,
		 "");
	add_area(m, 0x7f0000800000, 1 << 30, BS_AREA_MAP | BS_AREA_RESERVE, 0,
		 "");
	add_area(m, 0x7f0050000000, 1 << 20, BS_AREA_IOREMAP | BS_AREA_CARVEOUT,
		 4, "vout");
	add_area(m, 0x7f0051000000, 1 << 20,
		 BS_AREA_IOREMAP | BS_AREA_DEVICE | BS_AREA_SHARED, 4,
		 "/dev/video0");
	add_area(m, 0x7f0052000000, 1 << 23, BS_AREA_ALLOC | BS_AREA_VPAGES, 1,
		 "");
	add_device(m, "v4l2-out", 0, 512);
	add_device(m, NULL, 0, 0);
	add_device(m, "drm", 1, 256);
	add_sites(m);
	add_owners(m);
	dl_iterate_phdr(add_module, m);
	add_events(m);
	add_pins(m);
	*(uint64_t *)mkseg_record(m, BS_SEC_VMSTAT, BS_VMSTAT_UNWINDS) = 4711;
	return m;
}

void mkseg_free(struct mkseg *m)
{
	if (!m)
		return;
	free(m->image);
	free(m);
}

int mkseg_write(const struct mkseg *m, const char *dir, char *path, size_t len)
{
	const struct bs_abi_header *h = (const void *)m->image;
	ssize_t n;
	int fd;

	snprintf(path, len, "%s/%d-%" PRIu64 "-%016" PRIx64 ".seg", dir, h->pid,
		 h->start_ticks, h->nonce);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	n = write(fd, m->image, m->bytes);
	close(fd);
	return n == (ssize_t)m->bytes ? 0 : -EIO;
}
