/* SPDX-License-Identifier: MIT */
/*
 * slab.c - the SLAB allocator: slabs, per-CPU arrays, the shared array, reaping.
 *
 * Owns:   kmem_list3, slab, array_cache.
 * Layer:  mm, above page_alloc; slab_cache.c makes the caches.
 * Locks:  cpu lock of one array_cache, then the cache's list lock, which guards
 *         the shared array too.  Slabs are made and destroyed, and constructors
 *         run, with neither held.  The chain lock to walk all caches.
 * Source: Linux 2.6.29 mm/slab.c; Bonwick, "The Slab Allocator" (1994).
 *
 * What differs from the kernel: arrays are created at first use; a CPU's array
 * is guarded by a lock instead of by disabled interrupts, and a thread that
 * finds it taken uses the next one; one node, so no alien arrays; all colours
 * that fit are used, the kernel's last one never is.
 */
#include "preload/mm/slab.h"

#include <errno.h>
#include <string.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab_cache.h"
#include "preload/mm/slab_debug.h"

#define REAP_NS		2000000000ULL /* per-CPU arrays */
#define REAP_LIST3_NS	4000000000ULL /* free slabs and the shared array */
#define UNTOUCHED_BATCH 16U
/* Objects that an idle array keeps: what small calls take and give back. */
#define IDLE_KEEP 2U
/* An array is locked in the slot's own section; so often a thread may move. */
#define SLOT_TRIES 4

/* What a caller may add to the cache's own gfpflags. */
#define GFP_OF_CALLER                                                          \
	(GFP_ATOMIC | __GFP_NOWARN | __GFP_NORETRY | __GFP_TRY |               \
	 __GFP_NOGROW | __GFP_LOCKED)

static void list3_unlock(struct kmem_cache *cachep)
{
	cache_publish(cachep);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
}

/* ---- slabs -------------------------------------------------------------------------- */

static size_t next_colour(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint32_t colour =
		__atomic_fetch_add(&l3->colour_next, 1, __ATOMIC_RELAXED);

	return (size_t)(colour % (cachep->colour + 1)) * cachep->colour_off;
}

/* Place and fill the descriptor of a slab in mem; NULL: no memory. */
static struct slab *alloc_slabmgmt(struct kmem_cache *cachep, char *mem,
				   gfp_t gfp)
{
	size_t colour = next_colour(cachep);
	struct slab *slabp;
	uint32_t i;

	if (cachep->flags & CFLGS_OFF_SLAB) {
		slabp = kmem_cache_alloc(cachep->slabp_cache, gfp);
		if (!slabp)
			return NULL;
	} else {
		slabp = (struct slab *)(mem + colour);
	}
	slabp->s_mem = slab_first_object(cachep, mem + colour);
	slabp->cache = cachep;
	slabp->tags = NULL;
	slabp->inuse = 0;
	for (i = 0; i < SLAB_FREE_WORDS(cachep->num); i++)
		slabp->free[i] = UINT64_MAX;
	if (cachep->num % 64)
		slabp->free[i - 1] = (UINT64_C(1) << cachep->num % 64) - 1;
	return slabp;
}

/* Constructors run once, here; with debug an object's borders are drawn too. */
static void cache_init_objs(const struct kmem_cache *cachep,
			    const struct slab *slabp)
{
	uint32_t i;

	if (cache_has_debug(cachep))
		slab_debug_new_slab(cachep, slabp);
	for (i = 0; cachep->ctor && i < cachep->num; i++) {
		void *objp = index_to_obj(cachep, slabp, i);

		if (mm.client.run_ctor)
			mm.client.run_ctor(cachep->ctor, objp);
		else
			cachep->ctor(objp);
	}
}

/* Is it time for the handlers' reserve? */
static void see_slab(void)
{
	uint32_t seen =
		__atomic_add_fetch(&mm.atomic.slabs_seen, 1, __ATOMIC_RELAXED);

	if (seen == ATOMIC_FROM_SLABS)
		mm_work_later(MM_WORK_ATOMIC);
}

bool cache_grow(struct kmem_cache *cachep, gfp_t gfp)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint64_t nr_pages = cachep->nr_pages, i;
	struct page *page;
	struct slab *slabp;

	gfp &= GFP_OF_CALLER;
	page = alloc_pages(cachep->gfpflags | gfp, cachep->gfporder,
			   BS_USE_SLAB);
	if (!page)
		return false;
	if (nr_pages < 1UL << cachep->gfporder)
		trim_pages(page, nr_pages, page->flags & PG_ZERO);
	slabp = alloc_slabmgmt(cachep, pfn_to_virt(page_to_pfn(page)), gfp);
	if (!slabp) {
		free_page_range(page_to_pfn(page), nr_pages, BS_USE_SLAB,
				false);
		return false;
	}
	cache_init_objs(cachep, slabp);
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	for (i = 0; i < nr_pages; i++) {
		page[i].cache = cachep;
		page[i].slab = slabp;
		page[i].tagged = 0;
		page[i].from_s_mem =
			(uint32_t)(pfn_to_virt(page_to_pfn(&page[i])) -
				   slabp->s_mem);
		set_page_kind(&page[i], PK_SLAB);
	}
	list_add(&slabp->list, &l3->slabs_free);
	l3->free_objects += cachep->num;
	l3->nr_slabs++;
	l3->nr_free_slabs++;
	cachep->grown++;
	if (cachep->flags & SLAB_RECLAIM_ACCOUNT)
		zone_slab_reclaimable(page_to_pfn(page), nr_pages);
	list3_unlock(cachep);
	if (unlikely(__atomic_load_n(&mm.atomic.slabs_seen, __ATOMIC_RELAXED) <
		     ATOMIC_FROM_SLABS))
		see_slab();
	return true;
}

/* Give a chain (through list.next, NULL-ended) of unlinked slabs back. */
static void destroy_slabs(struct kmem_cache *cachep, struct list_head *chain)
{
	uint64_t block_pages = 1UL << cachep->gfporder;

	while (chain) {
		struct slab *slabp = list_entry(chain, struct slab, list);
		uint64_t *tags = slabp->tags;

		chain = chain->next;
		free_page_range(ALIGN_DOWN(virt_to_pfn(slabp->s_mem),
					   block_pages),
				cachep->nr_pages, BS_USE_SLAB, false);
		if (cachep->flags & CFLGS_OFF_SLAB)
			kmem_cache_free(cachep->slabp_cache, slabp);
		if (tags)
			kmem_cache_free(cachep->tags_cache, tags);
	}
}

/* Unlink one slab of slabs_free onto a chain.  List lock held. */
static struct list_head *unlink_free_slab(struct kmem_cache *cachep,
					  struct slab *slabp,
					  struct list_head *chain)
{
	struct kmem_list3 *l3 = &cachep->list3;

	list_del(&slabp->list);
	l3->free_objects -= cachep->num;
	l3->nr_slabs--;
	l3->nr_free_slabs--;
	slabp->list.next = chain;
	return &slabp->list;
}

static struct list_head *unlink_free_slabs(struct kmem_cache *cachep,
					   uint64_t max)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *chain = NULL;

	while (max-- && !list_empty(&l3->slabs_free))
		chain = unlink_free_slab(cachep,
					 list_entry(l3->slabs_free.prev,
						    struct slab, list),
					 chain);
	return chain;
}

/* ---- arrays -------------------------------------------------------------------------- */

/*
 * Where there is rseq the array of a slot changes in three ways:
 *
 *   1. In a section, which takes the array from cachep->open[slot].
 *   2. Under its lock, by a thread that had the slot when it took the array out of
 *      open[]: it did so in a section of its own, so no other is under way, and
 *      those that follow find no_array there.  It puts the array back before it
 *      unlocks, wherever it runs by then.
 *   3. Under its lock, by anybody within mm_sections_stop().
 *
 * Where there is none, under its lock.
 */
struct array_cache no_array;

/* What sections counted in state, to hits.  ac locked. */
static void count_hits(struct array_cache *ac)
{
	uint64_t taken = ac->state >> 16;

	ac->alloc_hits += taken;
	ac->free_hits += ac->avail + taken - ac->base;
	ac->state = ac->base = ac->avail;
}

/* After a change that is no hit. */
static void cpu_cache_unlock(struct kmem_cache *cachep, struct array_cache *ac)
{
	ac->base = ac->avail;
	if (mm.rseq)
		__atomic_store_n(&cachep->open[ac->slot], ac, __ATOMIC_RELEASE);
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
}

static struct array_cache *make_array(uint32_t limit, uint32_t batchcount)
{
	struct array_cache *ac = meta_alloc(array_cache_bytes(limit));

	if (ac) {
		ac->limit = limit;
		ac->batchcount = batchcount;
	}
	return ac;
}

/* Under a lock of its own, so that fork knows every array there is. */
static struct array_cache *new_array_cache(struct kmem_cache *cachep,
					   unsigned int slot)
{
	struct array_cache *ac;

	sys_lock(&mm.array_lock, SYS_RANK_ARRAY);
	ac = cachep->array[slot];
	if (!ac) {
		ac = make_array(cachep->limit, cachep->batchcount);
		if (ac)
			ac->slot = slot;
		__atomic_store_n(&cachep->array[slot], ac, __ATOMIC_RELEASE);
	}
	sys_unlock(&mm.array_lock, SYS_RANK_ARRAY);
	return ac;
}

/* Way 2 above; NULL: no memory, sections are stopped, or the array is taken. */
static struct array_cache *slot_cache_lock(struct kmem_cache *cachep)
{
	struct array_cache *ac;
	unsigned int tries;
	uint32_t slot;

	/* This may be a child of vfork, whose slot is not known. */
	if (unlikely(__atomic_load_n(&mm.nr_stops, __ATOMIC_RELAXED)))
		return NULL;
	for (tries = 0; tries < SLOT_TRIES; tries++) {
		slot = sys_rseq_slot();
		if (unlikely(slot >= mm.nr_slots))
			break;
		ac = __atomic_load_n(&cachep->array[slot], __ATOMIC_ACQUIRE);
		if (unlikely(!ac))
			ac = new_array_cache(cachep, slot);
		if (unlikely(!ac) ||
		    unlikely(!sys_trylock(&ac->lock, SYS_RANK_CPU)))
			break;
		if (likely(rseq_store((void **)&cachep->open[slot], &no_array,
				      slot)))
			return ac;
		sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	}
	return NULL;
}

/*
 * Lock this CPU's array, or the next that is not taken.  NULL: use the lists.
 */
static struct array_cache *cpu_cache_lock(struct kmem_cache *cachep)
{
	unsigned int slot, i = 0;
	struct array_cache *ac;

	if (mm.rseq) {
		ac = slot_cache_lock(cachep);
		if (ac)
			count_hits(ac);
		return ac;
	}
	slot = sys_getcpu() % mm.nr_slots;
	for (;;) {
		ac = __atomic_load_n(&cachep->array[slot], __ATOMIC_ACQUIRE);
		if (unlikely(!ac)) {
			ac = new_array_cache(cachep, slot);
			if (!ac)
				return NULL;
		}
		if (likely(sys_trylock(&ac->lock, SYS_RANK_CPU)))
			goto out_count;
		if (++i == mm.nr_slots)
			break;
		slot = slot + 1 == mm.nr_slots ? 0 : slot + 1;
	}
	sys_spin_lock(&ac->lock, SYS_RANK_CPU);
out_count:
	count_hits(ac);
	return ac;
}

/* Add an array's hits to the cache's.  Its lock and the list lock held; counted. */
static void fold_hits(struct kmem_cache *cachep, struct array_cache *ac)
{
	if (ac->alloc_hits || ac->free_hits)
		ac->touched = 1;
	cachep->alloc_hits += ac->alloc_hits;
	cachep->free_hits += ac->free_hits;
	ac->alloc_hits = ac->free_hits = 0;
}

/* Take one of the free objects of a word.  List lock held. */
static inline void *take_bit(struct kmem_cache *cachep, struct slab *slabp,
			     uint32_t word)
{
	uint32_t index =
		word * 64 + (uint32_t)__builtin_ctzll(slabp->free[word]);

	if (unlikely(index >= cachep->num))
		sys_die("%s: slab %p: object %u of %u is free", cachep->name,
			(void *)slabp, index, cachep->num);
	slabp->free[word] &= slabp->free[word] - 1;
	if (unlikely(cache_has_debug(cachep)))
		slab_debug_of(cachep, slabp, index)->state = DEBUG_BUSY;
	return index_to_obj(cachep, slabp, index);
}

/* Take up to nr objects of a slab, the lowest first.  List lock held. */
static uint32_t slab_take(struct kmem_cache *cachep, struct slab *slabp,
			  void **out, uint32_t nr)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint32_t taken = 0, word;

	if (!slabp->inuse)
		l3->nr_free_slabs--;
	for (word = 0; word < SLAB_FREE_WORDS(cachep->num); word++)
		while (taken < nr && slabp->free[word])
			out[taken++] = take_bit(cachep, slabp, word);
	slabp->inuse += taken;
	l3->free_objects -= taken;
	list_move(&slabp->list, slabp->inuse == cachep->num
					? &l3->slabs_full
					: &l3->slabs_partial);
	return taken;
}

/* The last is taken first: let that be the lowest, so that addresses rise. */
static void turn_round(void **objs, uint32_t nr)
{
	void **last = objs + nr;

	while (objs + 1 < last) {
		void *objp = *objs;

		*objs++ = *--last;
		*last = objp;
	}
}

/* Up to nr objects of partial slabs, then of free ones.  List lock held. */
static uint32_t lists_take(struct kmem_cache *cachep, void **out, uint32_t nr)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint32_t taken = 0;

	l3->free_touched = 1;
	while (taken < nr) {
		struct list_head *entry = l3->slabs_partial.next;

		if (entry == &l3->slabs_partial)
			entry = l3->slabs_free.next;
		if (entry == &l3->slabs_free)
			break;
		taken += slab_take(cachep, list_entry(entry, struct slab, list),
				   out + taken, nr - taken);
	}
	cachep->list_allocs += taken;
	turn_round(out, taken);
	return taken;
}

/* The last nr of one array to another; returns how many there were. */
static uint32_t transfer_objects(struct array_cache *to,
				 struct array_cache *from, uint32_t nr)
{
	nr = MIN(MIN(nr, from->avail), to->limit - to->avail);
	from->avail = (uint16_t)(from->avail - nr);
	memcpy(to->entry + to->avail, from->entry + from->avail,
	       nr * sizeof(void *));
	to->avail = (uint16_t)(to->avail + nr);
	from->touched = 1;
	return nr;
}

/*
 * Fill ac: from the shared array, else from the lists.  False: both are empty.
 * cpu lock held.
 */
static bool cache_refill(struct kmem_cache *cachep, struct array_cache *ac)
{
	struct array_cache *shared;
	uint32_t batch = ac->batchcount;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	fold_hits(cachep, ac);
	if (!ac->touched)
		batch = MIN(batch, UNTOUCHED_BATCH);
	shared = cachep->list3.shared;
	cachep->refills++;
	if (!shared || !transfer_objects(ac, shared, batch))
		ac->avail = (uint16_t)(ac->avail +
				       lists_take(cachep, ac->entry + ac->avail,
						  batch));
	if (ac->avail)
		cachep->alloc_misses++;
	list3_unlock(cachep);
	return ac->avail != 0;
}

void *slab_take_object(struct kmem_cache *cachep)
{
	void *objp = NULL;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	if (lists_take(cachep, &objp, 1))
		cachep->alloc_misses++;
	list3_unlock(cachep);
	return objp;
}

/* Without an array. */
static void *lists_alloc(struct kmem_cache *cachep, gfp_t gfp)
{
	void *objp = slab_take_object(cachep);

	while (!objp && cache_grow(cachep, gfp))
		objp = slab_take_object(cachep);
	return objp;
}

/*
 * An object of ac, after a refill if need be; NULL: no memory.  cpu lock held,
 * released.
 */
static void *refill_and_take(struct kmem_cache *cachep, struct array_cache *ac,
			     gfp_t gfp, bool *refilled)
{
	void *objp;

	*refilled = false;
	while (!ac->avail) {
		*refilled = cache_refill(cachep, ac);
		if (*refilled)
			break;
		cpu_cache_unlock(cachep, ac);
		cache_reap(sys_now_coarse_ns());
		if (!cache_grow(cachep, gfp))
			return NULL;
		ac = cpu_cache_lock(cachep);
		if (!ac)
			return lists_alloc(cachep, gfp);
	}
	objp = ac->entry[--ac->avail];
	if (!*refilled)
		ac->alloc_hits++;
	ac->touched = 1;
	cpu_cache_unlock(cachep, ac);
	return objp;
}

void *cache_alloc_slow(struct kmem_cache *cachep, struct array_cache *ac,
		       gfp_t gfp, size_t size)
{
	bool refilled;
	void *objp;

	if (cache_has_debug(cachep)) {
		if (ac)
			sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
		return slab_debug_alloc(cachep, gfp, size);
	}
	if (ac)
		count_hits(ac);
	else
		ac = cpu_cache_lock(cachep);
	if (!ac)
		return lists_alloc(cachep, gfp);
	objp = refill_and_take(cachep, ac, gfp, &refilled);
	if (refilled && size != SLAB_WHOLE_OBJECT) {
		kmalloc_observe(cachep, size);
		if (mm.client.slow_path)
			mm.client.slow_path();
	}
	return objp;
}

/* ---- free ----------------------------------------------------------------------------------- */

/*
 * Descriptors of slabs that were full for long are in no processor's cache: have
 * what those of the objects after the next few need fetched meanwhile, in two lines
 * where there are many objects.
 */
#define PREFETCH_AHEAD 12

static void prefetch_slab(const struct kmem_cache *cachep, const void *objp)
{
	const struct page *page = pfn_to_page(virt_to_pfn(objp));
	const struct slab *slabp = page->slab;
	int64_t index = obj_to_index_by_page(cachep, page, objp);

	__builtin_prefetch(&slabp->inuse, 1);
	if (likely(index >= 0))
		__builtin_prefetch(&slabp->free[index / 64], 1);
}

/*
 * Objects back to their slabs.  List lock held.  Returns slabs to destroy.
 * A slab that was full goes to the end of the partial ones.  The kernel moves it there
 * with each object; that touches three slabs an object and saved no memory.
 */
static struct list_head *free_block(struct kmem_cache *cachep, void **objs,
				    uint32_t nr)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *chain = NULL;
	uint32_t i;

	for (i = 0; i < nr; i++) {
		const struct page *page = pfn_to_page(virt_to_pfn(objs[i]));
		struct slab *slabp = page->slab;
		int64_t index = obj_to_index_by_page(cachep, page, objs[i]);

		if (i + PREFETCH_AHEAD < nr)
			prefetch_slab(cachep, objs[i + PREFETCH_AHEAD]);
		if (unlikely(index < 0)) {
			if (page->from_s_mem == PAGE_LOST)
				continue;
			index = obj_to_index(cachep, slabp, objs[i]);
		}
		if (unlikely(index < 0 ||
			     slab_object_is_free(slabp, (uint32_t)index)))
			sys_die("%s: object %p freed twice or corrupted",
				cachep->name, objs[i]);
		if (unlikely(cache_has_debug(cachep)))
			slab_debug_of(cachep, slabp, (uint32_t)index)->state =
				DEBUG_FREE;
		slabp->free[index / 64] |= UINT64_C(1) << index % 64;
		slabp->inuse--;
		l3->free_objects++;
		if (slabp->inuse) {
			if (slabp->inuse + 1 == cachep->num) {
				list_del(&slabp->list);
				list_add_tail(&slabp->list, &l3->slabs_partial);
			}
			continue;
		}
		list_move(&slabp->list, &l3->slabs_free);
		l3->nr_free_slabs++;
		if (l3->free_objects > l3->free_limit)
			chain = unlink_free_slab(cachep, slabp, chain);
	}
	return chain;
}

/* List lock held; the lock of a new array's memory comes after it. */
static struct array_cache *shared_array(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;

	if (!l3->shared && cachep->shared)
		l3->shared = make_array(cachep->shared * cachep->batchcount, 0);
	return l3->shared;
}

/* A free that went to the lists, as the kernel counts it.  List lock held. */
static void count_free_miss(struct kmem_cache *cachep)
{
	cachep->free_misses++;
	cachep->max_freeable =
		MAX(cachep->max_freeable, cachep->list3.nr_free_slabs);
}

/*
 * The nr oldest objects of ac: to the shared array where it has room for any of
 * them and may be used, else to their slabs.  cpu lock held.
 */
static struct list_head *flush_array(struct kmem_cache *cachep,
				     struct array_cache *ac, uint32_t nr,
				     bool use_shared)
{
	struct array_cache *shared;
	struct list_head *chain = NULL;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	fold_hits(cachep, ac);
	cachep->flushes++;
	shared = use_shared ? shared_array(cachep) : NULL;
	if (shared && shared->avail < shared->limit) {
		nr = MIN(nr, shared->limit - shared->avail);
		memcpy(shared->entry + shared->avail, ac->entry,
		       nr * sizeof(void *));
		shared->avail = (uint16_t)(shared->avail + nr);
	} else {
		chain = free_block(cachep, ac->entry, nr);
	}
	if (use_shared)
		count_free_miss(cachep);
	ac->avail = (uint16_t)(ac->avail - nr);
	memmove(ac->entry, ac->entry + nr, ac->avail * sizeof(void *));
	list3_unlock(cachep);
	return chain;
}

void slab_put_object(struct kmem_cache *cachep, void *objp)
{
	struct list_head *chain;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	chain = free_block(cachep, &objp, 1);
	count_free_miss(cachep);
	list3_unlock(cachep);
	destroy_slabs(cachep, chain);
}

int cache_free_slow(struct kmem_cache *cachep, struct array_cache *ac,
		    void *objp)
{
	struct list_head *chain = NULL;
	bool flushed = false;

	if (cache_has_debug(cachep)) {
		if (ac)
			sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
		return slab_debug_free(cachep, objp);
	}
	if (ac)
		count_hits(ac);
	else
		ac = cpu_cache_lock(cachep);
	if (!ac) { /* straight to the slab */
		slab_put_object(cachep, objp);
		return 0;
	}
	if (ac->avail && ac->entry[ac->avail - 1] == objp) {
		cpu_cache_unlock(cachep, ac);
		return -EALREADY;
	}
	if (ac->avail >= ac->limit) {
		chain = flush_array(cachep, ac, ac->batchcount, true);
		flushed = true;
	} else {
		ac->free_hits++;
	}
	ac->entry[ac->avail++] = objp;
	ac->touched = 1;
	cpu_cache_unlock(cachep, ac);
	if (flushed) {
		destroy_slabs(cachep, chain);
		cache_reap(sys_now_coarse_ns());
	}
	return 0;
}

/* ---- reaping --------------------------------------------------------------------------------- */

/* drain_array(): a fifth of what it may hold; half of what it has, if less. */
static uint32_t to_reap(const struct array_cache *ac)
{
	uint32_t nr = (ac->limit + 4) / 5, avail = ac->avail;

	return nr > avail ? (avail + 1) / 2 : nr;
}

/* An array that was not used since the last round.  Sections are stopped. */
static void reap_array(struct kmem_cache *cachep, struct array_cache *ac)
{
	struct list_head *chain = NULL;
	uint32_t nr;

	if (!ac || !sys_trylock(&ac->lock, SYS_RANK_CPU))
		return;
	count_hits(ac);
	nr = to_reap(ac);
	if (ac->touched || ac->alloc_hits || ac->free_hits) {
		sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
		fold_hits(cachep, ac);
		list3_unlock(cachep);
		ac->touched = 0;
	} else if (nr) {
		chain = flush_array(cachep, ac, nr, false);
	}
	cpu_cache_unlock(cachep, ac);
	destroy_slabs(cachep, chain);
}

/* The nr oldest objects of the shared array.  List lock held. */
static struct list_head *drain_shared(struct kmem_cache *cachep, uint32_t nr)
{
	struct array_cache *shared = cachep->list3.shared;
	struct list_head *chain;

	if (!shared || !shared->avail)
		return NULL;
	nr = MIN(nr, shared->avail);
	chain = free_block(cachep, shared->entry, nr);
	shared->avail = (uint16_t)(shared->avail - nr);
	memmove(shared->entry, shared->entry + nr,
		shared->avail * sizeof(void *));
	return chain;
}

/* The same for the shared array, and a fifth of what free slabs may be. */
static void reap_list3(struct kmem_cache *cachep, uint64_t now_ns)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *from_shared = NULL, *chain = NULL;

	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	if (now_ns >= l3->next_reap_ns) {
		l3->next_reap_ns = now_ns + REAP_LIST3_NS;
		if (l3->shared && !l3->shared->touched)
			from_shared = drain_shared(cachep, to_reap(l3->shared));
		else if (l3->shared)
			l3->shared->touched = 0;
		if (l3->free_touched) {
			l3->free_touched = 0;
		} else {
			uint64_t before = l3->nr_slabs;

			chain = unlink_free_slabs(
				cachep, (l3->free_limit + 5 * cachep->num - 1) /
						(5 * cachep->num));
			cachep->reaped += before - l3->nr_slabs;
		}
	}
	list3_unlock(cachep);
	destroy_slabs(cachep, from_shared);
	destroy_slabs(cachep, chain);
}

uint64_t cache_drain(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *chain;
	uint64_t before, after;
	unsigned int i;

	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	before = l3->nr_slabs;
	sys_unlock(&l3->list_lock, SYS_RANK_LIST);
	mm_sections_stop();
	for (i = 0; i < mm.nr_slots; i++) {
		struct array_cache *ac =
			__atomic_load_n(&cachep->array[i], __ATOMIC_ACQUIRE);

		if (!ac)
			continue;
		sys_spin_lock(&ac->lock, SYS_RANK_CPU);
		count_hits(ac);
		chain = flush_array(cachep, ac, ac->avail, false);
		cpu_cache_unlock(cachep, ac);
		destroy_slabs(cachep, chain);
	}
	mm_sections_start();
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	chain = drain_shared(cachep, UINT32_MAX);
	list3_unlock(cachep);
	destroy_slabs(cachep, chain);
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	chain = unlink_free_slabs(cachep, UINT64_MAX);
	after = l3->nr_slabs;
	list3_unlock(cachep);
	destroy_slabs(cachep, chain);
	return before > after ? before - after : 0;
}

void cache_reap(uint64_t now_ns)
{
	uint64_t last = __atomic_load_n(&mm.last_reap_ns, __ATOMIC_RELAXED);
	struct list_head *pos;
	unsigned int i;

	if (likely(now_ns - last < REAP_NS) ||
	    !__atomic_compare_exchange_n(&mm.last_reap_ns, &last, now_ns, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	if (!cache_chain_trylock()) /* next time */
		return;
	mm_sections_stop();
	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		for (i = 0; i < mm.nr_slots; i++)
			reap_array(cachep, __atomic_load_n(&cachep->array[i],
							   __ATOMIC_ACQUIRE));
		reap_list3(cachep, now_ns);
	}
	mm_sections_start();
	cache_chain_unlock();
}

/* All but the newest objects of an array.  Sections are stopped. */
static bool drain_idle_array(struct kmem_cache *cachep, struct array_cache *ac)
{
	struct list_head *chain = NULL;
	bool any = false;

	if (!ac || !sys_trylock(&ac->lock, SYS_RANK_CPU))
		return false;
	count_hits(ac);
	if (ac->avail > IDLE_KEEP) {
		chain = flush_array(cachep, ac, ac->avail - IDLE_KEEP, false);
		any = true;
	}
	cpu_cache_unlock(cachep, ac);
	destroy_slabs(cachep, chain);
	return any;
}

/* No array went to the lists since the last round.  List lock held. */
static bool is_idle(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint64_t moves = cachep->refills + cachep->flushes;
	bool idle = l3->decay_moves == moves;

	l3->decay_moves = moves;
	return idle;
}

static bool drain_idle_cache(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *from_shared, *chain;
	bool idle, any;
	uint64_t before;
	unsigned int i;

	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	idle = is_idle(cachep);
	any = !idle && l3->free_objects;
	sys_unlock(&l3->list_lock, SYS_RANK_LIST);
	if (!idle)
		return any;
	for (i = 0; i < mm.nr_slots; i++)
		any |= drain_idle_array(cachep,
					__atomic_load_n(&cachep->array[i],
							__ATOMIC_ACQUIRE));
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	any |= l3->shared && l3->shared->avail;
	from_shared = drain_shared(cachep, UINT32_MAX);
	before = l3->nr_slabs;
	chain = unlink_free_slabs(cachep, UINT64_MAX);
	cachep->reaped += before - l3->nr_slabs;
	any |= chain != NULL;
	is_idle(cachep); /* this round's own flushes */
	list3_unlock(cachep);
	destroy_slabs(cachep, from_shared);
	destroy_slabs(cachep, chain);
	return any;
}

bool cache_reap_idle(void)
{
	struct list_head *pos;
	bool any = false;

	if (!cache_chain_trylock()) /* next time */
		return true;
	mm_sections_stop();
	list_for_each(pos, &mm.cache_chain)
		any |= drain_idle_cache(
			list_entry(pos, struct kmem_cache, next));
	mm_sections_start();
	cache_chain_unlock();
	return any;
}

#define SHRINK_ROUNDS 4U

uint64_t kmem_cache_shrink_all(void)
{
	struct list_head *pos;
	uint64_t slabs = 0, before = 1;
	unsigned int round;

	sys_lock(&mm.chain_lock, SYS_RANK_CHAIN);
	mm_sections_stop(); /* once for all caches */
	/*
	 * Again where slabs' tags, and descriptors of those, were objects of others; no
	 * longer, because other threads free meanwhile.
	 */
	for (round = 0; round < SHRINK_ROUNDS && slabs != before; round++) {
		before = slabs;
		list_for_each(pos, &mm.cache_chain)
			slabs += cache_drain(
				list_entry(pos, struct kmem_cache, next));
	}
	mm_sections_start();
	sys_unlock(&mm.chain_lock, SYS_RANK_CHAIN);
	return slabs;
}

/* ---- raw fork --------------------------------------------------------------------------------- */

static unsigned int lose_lists(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint64_t pfn;

	if (!sys_is_locked(&l3->list_lock))
		return 0;
	l3->list_lock.word = 0;
	for (pfn = 0; pfn < mm.nr_pfns; pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (!pfn_online(pfn))
			pfn |= SECTION_PAGES - 1;
		else if (page->kind == PK_SLAB && page->cache == cachep)
			page->from_s_mem = PAGE_LOST;
	}
	list_init(&l3->slabs_partial);
	list_init(&l3->slabs_full);
	list_init(&l3->slabs_free);
	l3->free_objects = l3->nr_slabs = l3->nr_free_slabs = 0;
	if (l3->shared)
		l3->shared->state = 0;
	return 1;
}

unsigned int slab_raw_child(void)
{
	struct list_head *pos;
	unsigned int lost = 0, i;

	cache_chain_repair();
	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);
		unsigned int lists = lose_lists(cachep);

		lost += lists;
		for (i = 0; i < mm.nr_slots; i++) {
			struct array_cache *ac = cachep->array[i];

			if (!ac)
				continue;
			cachep->open[i] = ac;
			if (!lists && !sys_is_locked(&ac->lock))
				continue;
			lost += sys_is_locked(&ac->lock);
			ac->lock.word = 0;
			/* Its objects are lost, never twice. */
			ac->state = ac->base = 0;
		}
	}
	return lost;
}
