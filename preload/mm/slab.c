/* SPDX-License-Identifier: MIT */
/*
 * slab.c - the SLAB allocator: caches, slabs, per-CPU arrays.
 *
 * Owns:   kmem_cache, kmem_list3, slab, array_cache.
 * Layer:  mm, above page_alloc.
 * Locks:  cpu lock of one array_cache, then the cache's list lock.  Slabs are
 *         made and destroyed with neither held.
 * Source: Linux 2.6.29 mm/slab.c; Bonwick, "The Slab Allocator" (1994).
 *
 * What differs from the kernel: arrays are created at first use; a CPU's array
 * is guarded by a lock instead of by disabled interrupts, and a thread that
 * finds it taken uses the next one; no shared and alien arrays.
 */
#include "preload/mm/slab.h"

#include <errno.h>
#include <string.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"

#define CACHE_LINE_BYTES    64UL
#define SLAB_MAX_GFPORDER   5 /* 32 pages: one object of 128 KiB */
#define SLAB_BREAK_GFPORDER 1 /* the kernel's value above 32 MB of RAM */
#define OFF_SLAB_MIN_BYTES  (PAGE_SIZE / 8)
#define REAP_NS		    2000000000ULL /* per-CPU arrays */
#define REAP_LIST3_NS	    4000000000ULL /* free slabs */
#define UNTOUCHED_BATCH	    16U

/* ---- geometry -------------------------------------------------------------- */

static size_t mgmt_bytes(uint32_t num, bool tags)
{
	size_t bytes = sizeof(struct slab) + num * sizeof(kmem_bufctl_t);

	return tags ? ALIGN_UP(bytes, sizeof(uint64_t)) + num * sizeof(uint64_t)
		    : bytes;
}

/* Objects per slab of 2^order pages; what is left over in *left. */
static uint32_t cache_estimate(unsigned int order, size_t size, size_t align,
			       bool off_slab, bool tags, size_t *left)
{
	size_t slab_bytes = PAGE_SIZE << order, mgmt = 0;
	uint32_t num;

	if (off_slab) {
		num = (uint32_t)(slab_bytes / size);
	} else {
		num = (uint32_t)((slab_bytes - sizeof(struct slab)) /
				 (size + sizeof(kmem_bufctl_t)));
		while (num &&
		       ALIGN_UP(mgmt_bytes(num, tags), align) + num * size >
			       slab_bytes)
			num--;
		mgmt = ALIGN_UP(mgmt_bytes(num, tags), align);
	}
	*left = slab_bytes - num * size - mgmt;
	return num;
}

/* The lowest order whose waste is at most an eighth, by the kernel's rule. */
static size_t calculate_slab_order(struct kmem_cache *cachep, bool off_slab)
{
	size_t left = 0, size = cachep->buffer_size;
	unsigned int order;

	for (order = 0; order <= SLAB_MAX_GFPORDER; order++) {
		uint32_t num = cache_estimate(order, size, cachep->align,
					      off_slab, cachep->tags, &left);

		if (!num)
			continue;
		cachep->num = num;
		cachep->gfporder = order;
		if (order >= SLAB_BREAK_GFPORDER ||
		    left * 8 <= PAGE_SIZE << order)
			break;
	}
	return left;
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

static void set_geometry(struct kmem_cache *cachep, size_t size, size_t align)
{
	bool off_slab = size >= OFF_SLAB_MIN_BYTES;
	size_t left;

	cachep->align = (uint32_t)MAX(align, KMALLOC_MINALIGN);
	cachep->buffer_size = (uint32_t)ALIGN_UP(size, (size_t)cachep->align);
	cachep->reciprocal_buffer_size =
		(uint32_t)(((1ULL << 32) + cachep->buffer_size - 1) /
			   cachep->buffer_size);
	left = calculate_slab_order(cachep, off_slab);
	cachep->slab_size = (uint32_t)mgmt_bytes(cachep->num, cachep->tags);
	if (off_slab && left >= ALIGN_UP(cachep->slab_size, cachep->align)) {
		off_slab = false;
		left -= ALIGN_UP(cachep->slab_size, cachep->align);
	}
	cachep->flags = off_slab ? CFLGS_OFF_SLAB : 0;
	cachep->colour_off =
		(uint32_t)MAX(CACHE_LINE_BYTES, (size_t)cachep->align);
	cachep->colour = (uint32_t)(left / cachep->colour_off);
	cachep->limit = cpu_limit(cachep->buffer_size);
	cachep->batchcount = (cachep->limit + 1) / 2;
	cachep->shared = 0;
}

/* ---- publishing ---------------------------------------------------------------- */

static uint64_t active_objs(const struct kmem_cache *cachep)
{
	return cachep->list3.nr_slabs * cachep->num -
	       cachep->list3.free_objects;
}

void cache_publish(struct kmem_cache *cachep)
{
	const struct kmem_list3 *l3 = &cachep->list3;
	const struct mm_pub *pub = &mm.wipe->pub;
	struct bs_abi_cache *out;
	uint64_t active = active_objs(cachep);

	cachep->high_mark = MAX(cachep->high_mark, active);
	if (!pub->caches ||
	    cachep->pub_slot >= pub->header->section[BS_SEC_CACHES].capacity)
		return;
	out = &pub->caches[cachep->pub_slot];
	if (!pub->claim(out, sizeof(*out)))
		return;
	sys_seq_begin(&out->seq);
	if (!out->live) {
		memcpy(out->name, cachep->name, sizeof(out->name));
		out->object_bytes = cachep->buffer_size;
		out->align_bytes = cachep->align;
		out->objs_per_slab = cachep->num;
		out->pages_per_slab = 1U << cachep->gfporder;
		out->limit = cachep->limit;
		out->batchcount = cachep->batchcount;
		out->shared = cachep->shared;
		out->flags = cachep->flags;
		out->live = 1;
	}
	out->active_objs = active;
	out->num_objs = l3->nr_slabs * cachep->num;
	out->active_slabs = l3->nr_slabs - l3->nr_free_slabs;
	out->num_slabs = l3->nr_slabs;
	out->high_mark = cachep->high_mark;
	out->grown = cachep->grown;
	out->reaped = cachep->reaped;
	out->errors = cachep->errors;
	out->refills = cachep->refills;
	out->flushes = cachep->flushes;
	sys_seq_end(&out->seq);
}

static void list3_unlock(struct kmem_cache *cachep)
{
	cache_publish(cachep);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
}

/* ---- creation --------------------------------------------------------------------- */

static void list3_init(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;

	list_init(&l3->slabs_partial);
	list_init(&l3->slabs_full);
	list_init(&l3->slabs_free);
	l3->free_limit = (1UL + mm.nr_slots) * cachep->batchcount + cachep->num;
}

struct kmem_cache *kmem_cache_create(const char *name, size_t size,
				     size_t align, bool tags)
{
	struct kmem_cache *cachep;

	if (size > KMALLOC_MAX || (align & (align - 1)))
		return NULL;
	cachep = meta_alloc(sizeof(*cachep));
	if (!cachep)
		return NULL;
	sys_format(cachep->name, sizeof(cachep->name), "%s", name);
	cachep->tags = tags;
	set_geometry(cachep, MAX(size, (size_t)1), align);
	list3_init(cachep);
	if (cachep->flags & CFLGS_OFF_SLAB)
		cachep->slabp_cache =
			mm.kmalloc_caches[kmalloc_nr(cachep->slab_size)];
	sys_lock(&mm.chain_lock, SYS_RANK_CHAIN);
	cachep->pub_slot = mm.nr_caches++;
	list_add_tail(&cachep->next, &mm.cache_chain);
	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	if (mm.wipe->pub.header &&
	    cachep->pub_slot <
		    mm.wipe->pub.header->section[BS_SEC_CACHES].capacity)
		mm.wipe->pub.header->section[BS_SEC_CACHES].count =
			mm.nr_caches;
	list3_unlock(cachep);
	sys_unlock(&mm.chain_lock, SYS_RANK_CHAIN);
	return cachep;
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
static struct slab *alloc_slabmgmt(struct kmem_cache *cachep, char *mem)
{
	size_t colour = next_colour(cachep);
	struct slab *slabp;
	uint32_t i;

	if (cachep->flags & CFLGS_OFF_SLAB) {
		slabp = kmem_cache_alloc(cachep->slabp_cache);
		if (!slabp)
			return NULL;
		slabp->s_mem = mem + colour;
	} else {
		slabp = (struct slab *)(mem + colour);
		slabp->s_mem = (char *)slabp +
			       ALIGN_UP(cachep->slab_size, cachep->align);
	}
	slabp->cache = cachep;
	slabp->colouroff = (uint32_t)colour;
	slabp->inuse = 0;
	slabp->lost = 0;
	slabp->free = 0;
	for (i = 0; i < cachep->num; i++)
		slabp->bufctl[i] = i + 1;
	slabp->bufctl[cachep->num - 1] = BUFCTL_END;
	slabp->tags = NULL;
	if (cachep->tags) {
		slabp->tags = (uint64_t *)ALIGN_UP(
			(uintptr_t)&slabp->bufctl[cachep->num],
			sizeof(uint64_t));
		memset(slabp->tags, 0, cachep->num * sizeof(uint64_t));
	}
	return slabp;
}

/* A new slab on slabs_free; false: no memory.  No lock held. */
static bool cache_grow(struct kmem_cache *cachep)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint64_t nr_pages = 1UL << cachep->gfporder, i;
	struct page *page =
		alloc_pages(GFP_KERNEL, cachep->gfporder, BS_USE_SLAB);
	struct slab *slabp;

	if (!page)
		return false;
	slabp = alloc_slabmgmt(cachep, pfn_to_virt(page_to_pfn(page)));
	if (!slabp) {
		free_page_range(page_to_pfn(page), nr_pages, BS_USE_SLAB,
				false);
		return false;
	}
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	for (i = 0; i < nr_pages; i++) {
		page[i].cache = cachep;
		page[i].slab = slabp;
		set_page_kind(&page[i], PK_SLAB);
	}
	list_add(&slabp->list, &l3->slabs_free);
	l3->free_objects += cachep->num;
	l3->nr_slabs++;
	l3->nr_free_slabs++;
	cachep->grown++;
	list3_unlock(cachep);
	return true;
}

/* Give a chain (through list.next, NULL-ended) of unlinked slabs back. */
static void destroy_slabs(struct kmem_cache *cachep, struct list_head *chain)
{
	while (chain) {
		struct slab *slabp = list_entry(chain, struct slab, list);
		char *mem = slabp->s_mem - slabp->colouroff;

		chain = chain->next;
		if (!(cachep->flags & CFLGS_OFF_SLAB))
			mem = (char *)slabp - slabp->colouroff;
		free_page_range(virt_to_pfn(mem), 1UL << cachep->gfporder,
				BS_USE_SLAB, false);
		if (cachep->flags & CFLGS_OFF_SLAB)
			kmem_cache_free(cachep->slabp_cache, slabp);
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
	cachep->reaped++;
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

/* ---- per-CPU arrays ---------------------------------------------------------------------- */

/* Under a lock of its own, so that fork knows every array there is. */
static struct array_cache *new_array_cache(struct kmem_cache *cachep,
					   unsigned int slot)
{
	struct array_cache *ac;

	sys_lock(&mm.array_lock, SYS_RANK_ARRAY);
	ac = cachep->array[slot];
	if (!ac) {
		ac = meta_alloc(sizeof(*ac) + cachep->limit * sizeof(void *));
		if (ac) {
			ac->limit = cachep->limit;
			ac->batchcount = cachep->batchcount;
		}
		__atomic_store_n(&cachep->array[slot], ac, __ATOMIC_RELEASE);
	}
	sys_unlock(&mm.array_lock, SYS_RANK_ARRAY);
	return ac;
}

/* Lock this CPU's array, or the next that is not taken.  NULL: no memory. */
static inline struct array_cache *cpu_cache_lock(struct kmem_cache *cachep)
{
	unsigned int slot = sys_getcpu(), i = 0;
	struct array_cache *ac;

	if (unlikely(slot >= mm.nr_slots))
		slot %= mm.nr_slots;
	for (;;) {
		ac = __atomic_load_n(&cachep->array[slot], __ATOMIC_ACQUIRE);
		if (unlikely(!ac)) {
			ac = new_array_cache(cachep, slot);
			if (!ac)
				return NULL;
		}
		if (likely(sys_trylock(&ac->lock, SYS_RANK_CPU)))
			return ac;
		if (++i == mm.nr_slots)
			break;
		slot = slot + 1 == mm.nr_slots ? 0 : slot + 1;
	}
	sys_spin_lock(&ac->lock, SYS_RANK_CPU);
	return ac;
}

/* Take up to nr objects of a slab into ac.  List lock held. */
static uint32_t slab_to_array(struct kmem_cache *cachep, struct slab *slabp,
			      struct array_cache *ac, uint32_t nr)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint32_t taken = 0;

	if (!slabp->inuse)
		l3->nr_free_slabs--;
	while (taken < nr && slabp->free != BUFCTL_END) {
		uint32_t index = slabp->free;

		if (unlikely(index >= cachep->num))
			sys_die("%s: slab %p: free list names object %u of %u",
				cachep->name, (void *)slabp, index,
				cachep->num);
		slabp->free = slabp->bufctl[index];
		slabp->bufctl[index] = BUFCTL_ACTIVE;
		ac->entry[ac->avail++] = index_to_obj(cachep, slabp, index);
		taken++;
	}
	slabp->inuse += taken;
	l3->free_objects -= taken;
	list_move(&slabp->list, slabp->free == BUFCTL_END ? &l3->slabs_full
							  : &l3->slabs_partial);
	return taken;
}

/* Fill ac from the lists; false when they are empty.  cpu lock held. */
static bool cache_refill(struct kmem_cache *cachep, struct array_cache *ac)
{
	struct kmem_list3 *l3 = &cachep->list3;
	uint32_t batch = ac->batchcount;

	if (!ac->touched)
		batch = MIN(batch, UNTOUCHED_BATCH);
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	l3->free_touched = 1;
	cachep->refills++;
	while (batch) {
		struct list_head *entry = l3->slabs_partial.next;

		if (entry == &l3->slabs_partial)
			entry = l3->slabs_free.next;
		if (entry == &l3->slabs_free)
			break;
		batch -= slab_to_array(cachep,
				       list_entry(entry, struct slab, list), ac,
				       batch);
	}
	list3_unlock(cachep);
	return ac->avail != 0;
}

static void *cache_alloc_slow(struct kmem_cache *cachep, struct array_cache *ac)
{
	void *objp;

	while (!cache_refill(cachep, ac)) {
		sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
		cache_reap(sys_now_coarse_ns());
		if (!cache_grow(cachep))
			return NULL;
		ac = cpu_cache_lock(cachep);
		if (!ac)
			return NULL;
		if (ac->avail)
			break;
	}
	objp = ac->entry[--ac->avail];
	ac->touched = 1;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	return objp;
}

void *kmem_cache_alloc(struct kmem_cache *cachep)
{
	struct array_cache *ac = cpu_cache_lock(cachep);
	void *objp;

	if (unlikely(!ac))
		return NULL;
	if (unlikely(!ac->avail))
		return cache_alloc_slow(cachep, ac);
	objp = ac->entry[--ac->avail];
	ac->touched = 1;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	return objp;
}

/* ---- free ----------------------------------------------------------------------------------- */

int64_t obj_to_index(const struct kmem_cache *cachep, const struct slab *slabp,
		     const void *p)
{
	uint64_t offset = (uint64_t)((const char *)p - slabp->s_mem);
	uint64_t index = offset * cachep->reciprocal_buffer_size >> 32;

	if (offset >= (uint64_t)cachep->num * cachep->buffer_size ||
	    index * cachep->buffer_size != offset)
		return -1;
	return (int64_t)index;
}

/* Objects back to their slabs.  List lock held.  Returns slabs to destroy. */
static struct list_head *free_block(struct kmem_cache *cachep, void **objs,
				    uint32_t nr)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *chain = NULL;
	uint32_t i;

	for (i = 0; i < nr; i++) {
		struct slab *slabp = pfn_to_page(virt_to_pfn(objs[i]))->slab;
		int64_t index = obj_to_index(cachep, slabp, objs[i]);

		if (unlikely(slabp->lost))
			continue;
		if (unlikely(index < 0 ||
			     slabp->bufctl[index] != BUFCTL_ACTIVE))
			sys_die("%s: object %p freed twice or corrupted",
				cachep->name, objs[i]);
		slabp->bufctl[index] = slabp->free;
		slabp->free = (kmem_bufctl_t)index;
		slabp->inuse--;
		l3->free_objects++;
		if (slabp->inuse) {
			list_del(&slabp->list);
			list_add_tail(&slabp->list, &l3->slabs_partial);
			continue;
		}
		list_move(&slabp->list, &l3->slabs_free);
		l3->nr_free_slabs++;
		if (l3->free_objects > l3->free_limit)
			chain = unlink_free_slab(cachep, slabp, chain);
	}
	return chain;
}

/* Flush the nr oldest objects of ac.  cpu lock held. */
static struct list_head *flush_array(struct kmem_cache *cachep,
				     struct array_cache *ac, uint32_t nr)
{
	struct list_head *chain;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	cachep->flushes++;
	chain = free_block(cachep, ac->entry, nr);
	list3_unlock(cachep);
	ac->avail -= nr;
	memmove(ac->entry, ac->entry + nr, ac->avail * sizeof(void *));
	return chain;
}

int kmem_cache_free(struct kmem_cache *cachep, void *objp)
{
	struct array_cache *ac = cpu_cache_lock(cachep);
	struct list_head *chain = NULL;
	bool flushed = false;

	if (unlikely(!ac)) { /* no array ever existed: straight to the slab */
		sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
		chain = free_block(cachep, &objp, 1);
		list3_unlock(cachep);
		destroy_slabs(cachep, chain);
		return 0;
	}
	if (unlikely(ac->avail && ac->entry[ac->avail - 1] == objp)) {
		sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
		return -EALREADY;
	}
	if (unlikely(ac->avail >= ac->limit)) {
		chain = flush_array(cachep, ac, ac->batchcount);
		flushed = true;
	}
	ac->entry[ac->avail++] = objp;
	ac->touched = 1;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	if (unlikely(flushed)) {
		destroy_slabs(cachep, chain);
		cache_reap(sys_now_coarse_ns());
	}
	return 0;
}

/* ---- reaping --------------------------------------------------------------------------------- */

/* An array that was not used since the last round loses a fifth. */
static void reap_array(struct kmem_cache *cachep, struct array_cache *ac,
		       bool all)
{
	struct list_head *chain = NULL;
	uint32_t nr;

	if (!ac || !sys_trylock(&ac->lock, SYS_RANK_CPU))
		return;
	nr = all ? ac->avail : MIN((ac->limit + 4) / 5, ac->avail);
	if (nr && (all || !ac->touched))
		chain = flush_array(cachep, ac, nr);
	else
		ac->touched = 0;
	sys_spin_unlock(&ac->lock, SYS_RANK_CPU);
	destroy_slabs(cachep, chain);
}

static uint64_t reap_list3(struct kmem_cache *cachep, uint64_t now_ns, bool all)
{
	struct kmem_list3 *l3 = &cachep->list3;
	struct list_head *chain = NULL;
	uint64_t before, after;

	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	before = l3->nr_slabs;
	if (all) {
		chain = unlink_free_slabs(cachep, UINT64_MAX);
	} else if (now_ns >= l3->next_reap_ns) {
		l3->next_reap_ns = now_ns + REAP_LIST3_NS;
		if (l3->free_touched)
			l3->free_touched = 0;
		else
			chain = unlink_free_slabs(
				cachep, (l3->free_limit + 5 * cachep->num - 1) /
						(5 * cachep->num));
	}
	after = l3->nr_slabs;
	list3_unlock(cachep);
	destroy_slabs(cachep, chain);
	return before - after;
}

/*
 * Caches are never destroyed and the chain only grows at its tail, so it is
 * walked without its lock.
 */
static uint64_t reap_all(uint64_t now_ns, bool all)
{
	struct list_head *pos;
	uint64_t slabs = 0;
	unsigned int i;

	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		for (i = 0; i < mm.nr_slots; i++)
			reap_array(cachep,
				   __atomic_load_n(&cachep->array[i],
						   __ATOMIC_ACQUIRE),
				   all);
		slabs += reap_list3(cachep, now_ns, all);
	}
	return slabs;
}

void cache_reap(uint64_t now_ns)
{
	uint64_t last = __atomic_load_n(&mm.last_reap_ns, __ATOMIC_RELAXED);

	if (likely(now_ns - last < REAP_NS) ||
	    !__atomic_compare_exchange_n(&mm.last_reap_ns, &last, now_ns, false,
					 __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	reap_all(now_ns, false);
}

uint64_t kmem_cache_shrink_all(void)
{
	/* Twice: descriptors of off-slab slabs are freed by the first round. */
	uint64_t slabs = reap_all(0, true);

	return slabs + reap_all(0, true);
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

		if (!(mm.section[pfn >> SECTION_ORDER] & SECT_ONLINE))
			pfn |= SECTION_PAGES - 1;
		else if (page->kind == PK_SLAB && page->cache == cachep)
			page->slab->lost = 1;
	}
	list_init(&l3->slabs_partial);
	list_init(&l3->slabs_full);
	list_init(&l3->slabs_free);
	l3->free_objects = l3->nr_slabs = l3->nr_free_slabs = 0;
	return 1;
}

unsigned int slab_raw_child(void)
{
	struct list_head *pos;
	unsigned int lost = 0, i;

	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);
		unsigned int lists = lose_lists(cachep);

		lost += lists;
		for (i = 0; i < mm.nr_slots; i++) {
			struct array_cache *ac = cachep->array[i];

			if (!ac || (!lists && !sys_is_locked(&ac->lock)))
				continue;
			lost += sys_is_locked(&ac->lock);
			ac->lock.word = 0;
			ac->avail = 0; /* its objects are lost, never twice */
		}
	}
	return lost;
}
