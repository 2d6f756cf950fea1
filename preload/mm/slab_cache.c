/* SPDX-License-Identifier: MIT */
/*
 * slab_cache.c - caches: geometry, creation, destruction, publishing.
 *
 * Owns:   the chain of caches, their slots in the segment.
 * Layer:  mm, above page_alloc; slab.c is about their objects.
 * Locks:  the chain lock; the list lock of a cache for what is published.
 * Source: Linux 2.6.29 mm/slab.c; Bonwick, "The Slab Allocator" (1994).
 *
 * The chain is walked under its lock, but for a raw fork's child, who finds it
 * as a thread left it that does not exist any more: one store links a cache in
 * or out as seen along next.
 */
#include <errno.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab.h"
#include "preload/mm/slab_cache.h"
#include "preload/mm/slab_debug.h"

#define CACHE_LINE_BYTES    64UL
#define SLAB_MAX_GFPORDER   5 /* 32 pages: one object of 128 KiB */
#define SLAB_BREAK_GFPORDER 1 /* above BREAK_HI_BYTES of RAM, else 0 */
#define BREAK_HI_BYTES	    (32UL << 20)
#define SMALL_OBJECT	    256
#define SMALL_NR_OBJECTS    100
#define SMALL_GFPORDER	    2
#define OFF_SLAB_MIN_BYTES  (PAGE_SIZE / 8)
#define FREE_MAX_BYTES	    (128UL << 10) /* kmalloc: in free objects on the lists */
#define ARRAY_MAX_BYTES	    (64U << 10) /* kmalloc: in a CPU's array */
#define SHARED_FACTOR	    8U		/* shared array: so many batches */
#define TAGS_LIMIT	    8U		/* one vector serves a whole slab */
/*
 * A dedicated cache: what a page more in each slab costs, as a part of all its
 * slabs.  The last slab is half empty, whatever the others are.
 */
#define DEDICATED_PAGE_COST_SHIFT 8

/* ---- geometry -------------------------------------------------------------- */

static size_t mgmt_bytes(uint32_t num, uint32_t flags)
{
	size_t bytes =
		sizeof(struct slab) + SLAB_FREE_WORDS(num) * sizeof(uint64_t);

	if (flags & SLAB_DEBUG_FLAGS)
		bytes += num * sizeof(struct slab_debug_obj);
	return bytes;
}

/* From the slab's (coloured) start to its first object. */
static size_t head_bytes(const struct kmem_cache *cachep, uint32_t num,
			 bool off_slab)
{
	size_t bytes = cachep->lead_bytes;

	if (!off_slab)
		bytes += mgmt_bytes(num, cachep->flags);
	return ALIGN_UP(bytes, (size_t)cachep->align);
}

/* Objects per slab of nr_pages; what is left over in *left. */
static uint32_t cache_estimate(const struct kmem_cache *cachep,
			       unsigned int nr_pages, bool off_slab,
			       size_t *left)
{
	size_t slab_bytes = PAGE_SIZE * nr_pages, size = cachep->buffer_size;
	uint32_t num;

	num = (uint32_t)((slab_bytes - (off_slab ? 0 : sizeof(struct slab))) /
			 size);
	while (num &&
	       head_bytes(cachep, num, off_slab) + num * size > slab_bytes)
		num--;
	*left = num ? slab_bytes - num * size -
				head_bytes(cachep, num, off_slab)
		    : slab_bytes;
	return num;
}

static void set_pages(struct kmem_cache *cachep, unsigned int nr_pages,
		      uint32_t num)
{
	cachep->nr_pages = nr_pages;
	cachep->gfporder = 0;
	while (1U << cachep->gfporder < nr_pages)
		cachep->gfporder++;
	cachep->num = num;
}

static uint64_t initial_pages(void)
{
	uint64_t pages = 0;
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++)
		pages += mm.zone[i].initial_pages;
	return pages;
}

/*
 * Small objects have slabs of up to four pages there, for a hundred of them, as the
 * kernel's SLUB has slub_min_objects: less is left over, and what is allocated in turn
 * lies together.
 */
static bool is_large_enough(const struct kmem_cache *cachep, unsigned int order,
			    size_t left)
{
	bool elastic = mm_is_elastic();
	bool much = elastic || initial_pages() > BREAK_HI_BYTES >> PAGE_SHIFT;

	if (elastic && cachep->object_size <= SMALL_OBJECT)
		return cachep->num >= SMALL_NR_OBJECTS ||
		       order >= SMALL_GFPORDER;
	return left * 8 <= PAGE_SIZE << order ||
	       order >= (much ? SLAB_BREAK_GFPORDER : 0);
}

/*
 * The lowest order whose waste is at most an eighth, by the kernel's rule.  Its
 * limit for off-slab descriptors, (size - sizeof(slab)) / 4 objects, is not asked
 * for: from 512 bytes up no slab that the rule allows has more than 16.
 */
static size_t calculate_slab_order(struct kmem_cache *cachep, bool off_slab)
{
	size_t left = 0;
	unsigned int order;

	for (order = 0; order <= SLAB_MAX_GFPORDER; order++) {
		uint32_t num =
			cache_estimate(cachep, 1U << order, off_slab, &left);

		if (!num)
			continue;
		set_pages(cachep, 1U << order, num);
		if (cachep->flags & SLAB_RECLAIM_ACCOUNT ||
		    is_large_enough(cachep, order, left))
			break;
	}
	return left;
}

/*
 * A dedicated cache is there to save: any number of pages, as many as leave little
 * over without being many.
 */
static size_t dedicated_slab_pages(struct kmem_cache *cachep, bool off_slab)
{
	uint64_t best = UINT64_MAX, cost;
	size_t best_left = 0, left;
	unsigned int nr;

	for (nr = 1; nr <= 1U << SLAB_MAX_GFPORDER; nr++) {
		uint32_t num = cache_estimate(cachep, nr, off_slab, &left);

		if (!num)
			continue;
		/* In parts of 2^-20 of the slab. */
		cost = ((uint64_t)left << 20) / (PAGE_SIZE * nr) +
		       ((uint64_t)nr << (20 - DEDICATED_PAGE_COST_SHIFT));
		if (cost >= best)
			continue;
		set_pages(cachep, nr, num);
		best = cost;
		best_left = left;
	}
	return best_left;
}

static uint32_t cpu_limit(size_t size)
{
	if (size > 131072)
		return 1;
	if (size > PAGE_SIZE)
		return 8;
	if (size > 1024)
		return 24;
	return size > 256 ? 54 : 120;
}

/* enable_cpucache() and set_up_list3s() of the kernel. */
static void set_limits(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	unsigned int i;

	cachep->limit = cachep->flags & SLAB_OF_TAGS
				? TAGS_LIMIT
				: cpu_limit(cachep->buffer_size);
	if (cachep->flags & (SLAB_GENERAL | SLAB_DEDICATED))
		cachep->limit =
			MIN(cachep->limit,
			    MAX(2U, ARRAY_MAX_BYTES / cachep->buffer_size));
	cachep->batchcount = (cachep->limit + 1) / 2;
	if (cachep->buffer_size <= PAGE_SIZE && mm.nr_slots > 1 &&
	    !(cachep->flags & SLAB_OF_TAGS))
		cachep->shared = SHARED_FACTOR;
	if (cachep->flags & SLAB_DEBUG_FLAGS)
		cachep->limit = cachep->batchcount = cachep->shared = 0;
	for (i = 0; i < mm.nr_slots; i++)
		cachep->open[i] = &no_array;
	list_init(&l3->slabs_partial);
	list_init(&l3->slabs_full);
	list_init(&l3->slabs_free);
	l3->free_limit = (1UL + mm.nr_slots) * cachep->batchcount + cachep->num;
	/* A kernel's large objects are few; malloc's are what a program is of. */
	if (cachep->flags & (SLAB_GENERAL | SLAB_DEDICATED))
		l3->free_limit = MIN(l3->free_limit,
				     MAX((uint64_t)cachep->num,
					 FREE_MAX_BYTES / cachep->buffer_size));
}

static size_t alignment(const struct kmem_cache_args *args)
{
	size_t align = MAX(args->align, KMALLOC_MINALIGN);
	size_t line = CACHE_LINE_BYTES;

	if (args->flags & SLAB_HWCACHE_ALIGN) {
		while (args->size <= line / 2)
			line /= 2;
		align = MAX(align, line);
	}
	return align;
}

/* Descriptors next to large objects would spoil the packing: off the slab. */
static bool wants_off_slab(const struct kmem_cache *cachep)
{
	/* Or descriptor and tags of two slabs could keep each other. */
	if (cachep->flags & SLAB_OF_TAGS)
		return false;
	/* With debug a descriptor is large: from caches far below only. */
	if (cachep->flags & SLAB_DEBUG_FLAGS)
		return cachep->object_size >= PAGE_SIZE;
	return cachep->object_size >= OFF_SLAB_MIN_BYTES;
}

static void set_geometry(struct kmem_cache *cachep,
			 const struct kmem_cache_args *args)
{
	bool off_slab;
	size_t left;

	cachep->align = (uint32_t)alignment(args);
	cachep->object_size = (uint32_t)args->size;
	cachep->lead_bytes = slab_debug_lead(cachep);
	cachep->buffer_size = (uint32_t)ALIGN_UP(
		args->size + 2 * cachep->lead_bytes, (size_t)cachep->align);
	cachep->reciprocal_buffer_size =
		(uint32_t)(((1ULL << 32) + cachep->buffer_size - 1) /
			   cachep->buffer_size);
	off_slab = wants_off_slab(cachep);
	left = cachep->flags & SLAB_DEDICATED
		       ? dedicated_slab_pages(cachep, off_slab)
		       : calculate_slab_order(cachep, off_slab);
	cachep->slab_size = (uint32_t)mgmt_bytes(cachep->num, cachep->flags);
	if (off_slab && left >= ALIGN_UP(cachep->slab_size, cachep->align)) {
		off_slab = false;
		left -= ALIGN_UP(cachep->slab_size, cachep->align);
	}
	if (off_slab)
		cachep->flags |= CFLGS_OFF_SLAB;
	cachep->colour_off =
		(uint32_t)MAX(CACHE_LINE_BYTES, (size_t)cachep->align);
	cachep->colour = (uint32_t)(left / cachep->colour_off);
	if (!(cachep->flags & SLAB_DEBUG_FLAGS))
		cachep->plain_bytes = cachep->num * cachep->buffer_size;
}

char *slab_first_object(const struct kmem_cache *cachep, char *start)
{
	return start +
	       head_bytes(cachep, cachep->num, cachep->flags & CFLGS_OFF_SLAB);
}

/* ---- publishing ---------------------------------------------------------------- */

static const struct {
	uint32_t slab, abi;
} abi_flags[] = {
	{ CFLGS_OFF_SLAB, BS_CACHE_OFF_SLAB },
	{ SLAB_GENERAL, BS_CACHE_GENERAL },
	{ SLAB_DEDICATED, BS_CACHE_DEDICATED },
	{ SLAB_PROGRAM, BS_CACHE_PROGRAM },
}, abi_debug[] = {
	{ SLAB_DEBUG_FREE, BS_DEBUG_CHECKS },
	{ SLAB_RED_ZONE, BS_DEBUG_RED_ZONE },
	{ SLAB_POISON, BS_DEBUG_POISON },
	{ SLAB_STORE_USER, BS_DEBUG_USER },
};

/* What never changes, once per life of the slot. */
static void publish_constants(const struct kmem_cache *cachep,
			      struct bs_abi_cache *out)
{
	size_t i;

	memcpy(out->name, cachep->name, sizeof(out->name));
	out->object_bytes = cachep->buffer_size;
	out->requested_bytes = cachep->object_size;
	out->obj_offset = cachep->lead_bytes;
	out->align_bytes = cachep->align;
	out->objs_per_slab = cachep->num;
	out->pages_per_slab = cachep->nr_pages;
	out->limit = cachep->limit;
	out->batchcount = cachep->batchcount;
	out->shared = cachep->shared;
	out->zone = gfp_zone(cachep->gfpflags);
	out->colours = cachep->colour + 1;
	out->colour_bytes = cachep->colour_off;
	out->slot = cachep->pub_slot;
	out->flags = cachep->ctor ? BS_CACHE_CTOR : 0;
	for (i = 0; i < ARRAY_SIZE(abi_flags); i++)
		if (cachep->flags & abi_flags[i].slab)
			out->flags |= abi_flags[i].abi;
	out->debug = 0;
	for (i = 0; i < ARRAY_SIZE(abi_debug); i++)
		if (cachep->flags & abi_debug[i].slab)
			out->debug |= abi_debug[i].abi;
	out->live = 1;
}

static void publish_counters(const struct kmem_cache *cachep,
			     struct bs_abi_cache *out)
{
	const struct kmem_list3 *l3 = &cachep->list3;

	out->active_objs = cache_active_objs(cachep);
	out->num_objs = l3->nr_slabs * cachep->num;
	out->active_slabs = l3->nr_slabs - l3->nr_free_slabs;
	out->num_slabs = l3->nr_slabs;
	out->shared_avail = l3->shared ? l3->shared->avail : 0;
	out->high_mark = cachep->high_mark;
	out->grown = cachep->grown;
	out->reaped = cachep->reaped;
	out->errors = cachep->errors;
	out->refills = cachep->refills;
	out->flushes = cachep->flushes;
	out->alloc_hits = cachep->alloc_hits;
	out->alloc_misses = cachep->alloc_misses;
	out->free_hits = cachep->free_hits;
	out->free_misses = cachep->free_misses;
	out->max_freeable = cachep->max_freeable;
	out->list_allocs = cachep->list_allocs;
}

/* The cache's record, safe to write; NULL: not published. */
static struct bs_abi_cache *record_of(const struct kmem_cache *cachep)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_cache *out;

	if (!pub->caches ||
	    cachep->pub_slot >= pub->header->section[BS_SEC_CACHES].capacity)
		return NULL;
	out = &pub->caches[cachep->pub_slot];
	return pub->claim(out, sizeof(*out)) ? out : NULL;
}

void cache_publish(struct kmem_cache *cachep)
{
	struct bs_abi_cache *out;

	cachep->high_mark = MAX(cachep->high_mark, cache_active_objs(cachep));
	out = record_of(cachep);
	if (!out)
		return;
	sys_seq_begin(&out->seq);
	if (!out->live)
		publish_constants(cachep, out);
	publish_counters(cachep, out);
	sys_seq_end(&out->seq);
}

static void unpublish(const struct kmem_cache *cachep)
{
	struct bs_abi_cache *out = record_of(cachep);

	if (!out)
		return;
	sys_seq_begin(&out->seq);
	out->live = 0;
	sys_seq_end(&out->seq);
}

/* ---- the chain -------------------------------------------------------------------- */

bool cache_chain_trylock(void)
{
	uint32_t unlocked = 0;

	return __atomic_compare_exchange_n(&mm.chain_lock.word, &unlocked, 1,
					   false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

void cache_chain_unlock(void)
{
	if (__atomic_exchange_n(&mm.chain_lock.word, 0, __ATOMIC_RELEASE) == 2)
		sys_lock_wake(&mm.chain_lock);
}

/* Chain lock held, for both. */
static void chain_add(struct kmem_cache *cachep)
{
	struct list_head *last = mm.cache_chain.prev;

	cachep->next.prev = last;
	cachep->next.next = &mm.cache_chain;
	mm.cache_chain.prev = &cachep->next;
	__atomic_store_n(&last->next, &cachep->next, __ATOMIC_RELEASE);
}

static void chain_del(struct kmem_cache *cachep)
{
	struct list_head *after = cachep->next.next;

	after->prev = cachep->next.prev;
	__atomic_store_n(&cachep->next.prev->next, after, __ATOMIC_RELEASE);
}

void cache_chain_repair(void)
{
	struct list_head *pos;

	for (pos = &mm.cache_chain; pos->next != &mm.cache_chain;
	     pos = pos->next)
		pos->next->prev = pos;
	mm.cache_chain.prev = pos;
}

static bool name_taken(const char *name)
{
	struct list_head *pos;

	list_for_each(pos, &mm.cache_chain)
		if (!strcmp(list_entry(pos, struct kmem_cache, next)->name,
			    name))
			return true;
	return false;
}

/* The lowest free slot; MM_MAX_CACHES: none. */
static uint32_t slot_get(void)
{
	uint32_t i, slot;

	for (i = 0; i < ARRAY_SIZE(mm.cache_slots); i++) {
		if (!~mm.cache_slots[i])
			continue;
		slot = i * 64 + (uint32_t)__builtin_ctzll(~mm.cache_slots[i]);
		mm.cache_slots[i] |= 1ULL << slot % 64;
		mm.nr_cache_slots = MAX(mm.nr_cache_slots, slot + 1);
		return slot;
	}
	return MM_MAX_CACHES;
}

static void slot_put(uint32_t slot)
{
	mm.cache_slots[slot / 64] &= ~(1ULL << slot % 64);
}

/* ---- creation --------------------------------------------------------------------- */

static void refuse(const char *name, const char *why, bool nowait)
{
	if (!nowait)
		sys_say("kmem_cache_create: %s: %s", name ? name : "(null)",
			why);
}

static const char *bad_request(const char *name,
			       const struct kmem_cache_args *args)
{
	size_t i;

	if (!name || !*name)
		return "no name";
	for (i = 0; name[i]; i++)
		if (i + 1 >= sizeof(((struct kmem_cache *)0)->name) ||
		    name[i] <= ' ' || name[i] == 127)
			return "a name has at most 31 bytes and no blanks";
	if (!args->size || args->size > KMALLOC_MAX)
		return "objects have 1 to 131072 bytes";
	if (args->align > PAGE_SIZE * 32 || (args->align & (args->align - 1)))
		return "alignment is a power of two of at most 131072";
	return NULL;
}

static struct kmem_cache *make_cache(const char *name,
				     const struct kmem_cache_args *args)
{
	struct kmem_cache *cachep = meta_alloc(sizeof(*cachep));

	if (!cachep)
		return NULL;
	memcpy(cachep->name, name, strlen(name) + 1);
	cachep->flags = args->flags & ~(CFLGS_OFF_SLAB | SLAB_DEBUG_FLAGS);
	cachep->flags |= slab_debug_flags(name, args);
	cachep->ctor = args->ctor;
	cachep->gfpflags = args->gfp;
	if (args->flags & SLAB_CACHE_DMA)
		cachep->gfpflags |= GFP_DMA;
	if (args->flags & SLAB_RECLAIM_ACCOUNT)
		cachep->gfpflags |= __GFP_RECLAIMABLE;
	set_geometry(cachep, args);
	set_limits(cachep);
	if (cachep->flags & CFLGS_OFF_SLAB)
		cachep->slabp_cache =
			mm.kmalloc_caches[kmalloc_nr(cachep->slab_size)];
	return cachep;
}

static struct kmem_cache *create_locked(const char *name,
					const struct kmem_cache_args *args,
					const char **why);

/*
 * Sizes of vectors: the largest of which as many fit into a page as of the one that is
 * wanted, so that nothing is lost to rounding; but small ones share few caches, and
 * those of a page or more are rare.  Returns which of mm.tags_caches it is.
 */
static unsigned int tags_class(size_t bytes, size_t *size)
{
	/* one word of free bits: so many have room for one each */
	const size_t room = PAGE_SIZE - sizeof(struct slab) - sizeof(uint64_t);
	unsigned int nr;

	*size = ALIGN_UP(bytes, 32UL);
	if (*size <= 224)
		return (unsigned int)(*size / 32 - 1);
	nr = (unsigned int)(room / ALIGN_UP(bytes, 16UL));
	if (nr > 1) { /* 2 to 16 */
		*size = ALIGN_DOWN(room / nr, 16UL);
		return 7 + 16 - nr;
	}
	*size = PAGE_SIZE;
	for (nr = 22; *size < bytes; nr++)
		*size *= 2;
	return nr;
}

/* Where the slabs of a cache with num objects have their tags.  Chain lock held. */
static struct kmem_cache *tags_cache(uint32_t num, const char **why)
{
	struct kmem_cache_args args = { .flags = SLAB_OF_TAGS };
	unsigned int nr = tags_class(num * sizeof(uint64_t), &args.size);
	char name[32];

	args.install = &mm.tags_caches[nr];
	sys_format(name, sizeof(name), "tags-%u", (uint32_t)args.size);
	return create_locked(name, &args, why);
}

/* Into the chain and the segment.  Chain lock held. */
static void register_cache(struct kmem_cache *cachep, uint32_t slot,
			   struct kmem_cache **install)
{
	const struct mm_pub *pub = &mm_wipe->pub;

	cachep->pub_slot = slot;
	if (install)
		__atomic_store_n(install, cachep, __ATOMIC_RELEASE);
	chain_add(cachep);
	if (pub->header)
		pub->header->section[BS_SEC_CACHES].count =
			MIN(mm.nr_cache_slots,
			    pub->header->section[BS_SEC_CACHES].capacity);
	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	cache_publish(cachep);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
}

/* The same with a cache for its slabs' tags.  Chain lock held. */
static struct kmem_cache *make_whole_cache(const char *name,
					   const struct kmem_cache_args *args,
					   const char **why)
{
	struct kmem_cache *cachep = make_cache(name, args);

	if (!cachep || !(cachep->flags & SLAB_TAGS))
		return cachep;
	cachep->tags_cache = tags_cache(cachep->num, why);
	if (cachep->tags_cache)
		return cachep;
	meta_free(cachep, sizeof(*cachep));
	return NULL;
}

/* Chain lock held. */
static struct kmem_cache *create_locked(const char *name,
					const struct kmem_cache_args *args,
					const char **why)
{
	struct kmem_cache *cachep;
	uint32_t slot;

	cachep = args->install ? *args->install : NULL;
	if (cachep)
		return cachep;
	*why = "a cache of that name exists";
	if (name_taken(name))
		return NULL;
	*why = "512 caches exist";
	slot = slot_get();
	if (slot == MM_MAX_CACHES)
		return NULL;
	*why = "no memory";
	cachep = make_whole_cache(name, args, why);
	if (cachep)
		register_cache(cachep, slot, args->install);
	else
		slot_put(slot);
	return cachep;
}

struct kmem_cache *kmem_cache_create_args(const char *name,
					  const struct kmem_cache_args *args)
{
	const char *why = bad_request(name, args);
	struct kmem_cache *cachep = NULL;

	if (!why) {
		if (args->nowait) {
			if (!cache_chain_trylock())
				return NULL;
			cachep = create_locked(name, args, &why);
			cache_chain_unlock();
		} else {
			sys_lock(&mm.chain_lock, SYS_RANK_CHAIN);
			cachep = create_locked(name, args, &why);
			sys_unlock(&mm.chain_lock, SYS_RANK_CHAIN);
		}
	}
	if (!cachep)
		refuse(name, why, args->nowait);
	return cachep;
}

struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, uint32_t flags,
				     void (*ctor)(void *objp))
{
	const struct kmem_cache_args args = {
		.size = size,
		.align = align,
		.flags = flags,
		.ctor = ctor,
	};

	return kmem_cache_create_args(name, &args);
}

/* ---- the end ------------------------------------------------------------------------ */

static void free_arrays(struct kmem_cache *cachep)
{
	struct array_cache *shared = cachep->list3.shared;
	unsigned int i;

	for (i = 0; i < mm.nr_slots; i++)
		if (cachep->array[i])
			meta_free(cachep->array[i],
				  array_cache_bytes(cachep->array[i]->limit));
	if (shared)
		meta_free(shared, array_cache_bytes(shared->limit));
}

int kmem_cache_destroy(struct kmem_cache *cachep)
{
	uint64_t objs, slabs;

	if (cachep->flags & (SLAB_GENERAL | SLAB_DEDICATED))
		return -EBUSY; /* kmalloc's are always in use */
	sys_lock(&mm.chain_lock, SYS_RANK_CHAIN);
	cache_drain(cachep);
	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	objs = cache_active_objs(cachep);
	slabs = cachep->list3.nr_slabs;
	if (slabs)
		cachep->errors++;
	else
		unpublish(cachep);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
	if (!slabs) {
		chain_del(cachep);
		slot_put(cachep->pub_slot);
	}
	sys_unlock(&mm.chain_lock, SYS_RANK_CHAIN);
	if (slabs) {
		sys_say("kmem_cache_destroy: %s: %lu objects are alive: "
			"the cache stays",
			cachep->name, (unsigned long)objs);
		return -EBUSY;
	}
	free_arrays(cachep);
	meta_free(cachep, sizeof(*cachep));
	return 0;
}

int kmem_cache_shrink(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	bool left;

	slab_debug_check_cache(cachep);
	cache_drain(cachep);
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	left = l3->nr_slabs != 0;
	sys_unlock(&l3->list_lock, SYS_RANK_LIST);
	return left;
}

size_t kmem_cache_size(const struct kmem_cache *cachep)
{
	return cachep->object_size;
}
