/* SPDX-License-Identifier: MIT */
/*
 * slab_debug.c - slab_debug=FZPU: red zones, poison, users of objects.
 *
 * Owns:   struct slab_debug_obj, the bytes around objects of caches with debug,
 *         the table of owners.
 * Layer:  mm, above slab.
 * Locks:  the list lock of a cache; none while something is reported.
 * Source: Linux mm/slub.c and Documentation/mm/slub (letters, byte values,
 *         words), include/linux/poison.h.
 *
 * Such a cache has no arrays: each allocation and each free goes to the slab's
 * list, so an object is either live or free, and its neighbours can be checked.
 *
 *     lead      requested          rest          lead of the next object
 *   | left    | user's bytes     | right       | ...
 *   | redzone | 5a.. when new    | redzone     |
 *             ^ object           ^ + requested_bytes
 *   |<---------------- buffer_size ----------->|
 *
 * live: both red zones cc.  free: red zones bb; poison 6b.., a5 in the last of
 * object_size bytes.  What was asked for, who allocated and who freed is kept in
 * the slab's descriptor, which no overflow of an object reaches.
 *
 * A cache with a constructor is not poisoned: its free objects are constructed.
 * Objects beyond RED_MAX_BYTES get no room for red zones (the next power of two
 * would be needed), but what they leave of their buffer is one.
 */
#include "preload/mm/slab_debug.h"

#include <errno.h>

#include "preload/mm/list.h"
#include "preload/mm/page_alloc.h"
#include "preload/mm/slab_cache.h"

#define RED_BYTES     16U
#define RED_MAX_BYTES 32768U
#define RED_INACTIVE  0xbb
#define RED_ACTIVE    0xcc
#define POISON_INUSE  0x5a
#define POISON_FREE   0x6b
#define POISON_END    0xa5
#define MAX_ERRORS    16U /* kept of one walk */

/* ---- which caches ------------------------------------------------------------ */

static bool name_matches(const char *name, const char *pattern, size_t len)
{
	if (len && pattern[len - 1] == '*')
		return !strncmp(name, pattern, len - 1);
	return strlen(name) == len && !memcmp(name, pattern, len);
}

static bool is_named(const char *name)
{
	const char *s = mm.config.slab_debug_names;

	while (*s) {
		const char *comma = strchr(s, ',');
		size_t len = comma ? (size_t)(comma - s) : strlen(s);

		if (name_matches(name, s, len))
			return true;
		s += len + (comma != NULL);
	}
	return false;
}

uint32_t slab_debug_flags(const char *name, const struct kmem_cache_args *args)
{
	static const uint32_t letters[][2] = {
		{ BS_DEBUG_CHECKS, SLAB_DEBUG_FREE },
		{ BS_DEBUG_RED_ZONE, SLAB_RED_ZONE },
		{ BS_DEBUG_POISON, SLAB_POISON },
		{ BS_DEBUG_USER, SLAB_STORE_USER },
	};
	uint32_t flags = args->flags & SLAB_DEBUG_FLAGS;
	size_t i;

	if (mm.config.slab_debug_names[0] && !is_named(name))
		goto out;
	for (i = 0; i < ARRAY_SIZE(letters); i++)
		if (mm.config.slab_debug & letters[i][0])
			flags |= letters[i][1];
out:
	return args->ctor ? flags & ~SLAB_POISON : flags;
}

uint32_t slab_debug_lead(const struct kmem_cache *cachep)
{
	return cachep->flags & SLAB_RED_ZONE &&
			       cachep->object_size <= RED_MAX_BYTES
		       ? RED_BYTES
		       : 0;
}

/* ---- one object -------------------------------------------------------------------- */

struct slab_debug_obj *slab_debug_of(const struct kmem_cache *cachep,
				     const struct slab *slabp, uint32_t index)
{
	const void *at = &slabp->free[SLAB_FREE_WORDS(cachep->num)];

	return (struct slab_debug_obj *)(uintptr_t)at + index;
}

size_t obj_usable(const struct kmem_cache *cachep, const struct slab *slabp,
		  uint32_t index)
{
	if (likely(!cache_has_debug(cachep)))
		return cachep->buffer_size;
	return __atomic_load_n(
		&slab_debug_of(cachep, slabp, index)->requested_bytes,
		__ATOMIC_RELAXED);
}

/* Bytes that must all have one value. */
struct stretch {
	unsigned char *at;
	size_t bytes;
	uint8_t value;
	const char *what;
};
#define MAX_STRETCHES 4

static unsigned int add_stretch(struct stretch *s, unsigned int nr,
				unsigned char *at, size_t bytes, uint8_t value,
				const char *what)
{
	if (bytes)
		s[nr++] = (struct stretch){ at, bytes, value, what };
	return nr;
}

/* All that must be found around (and, when free, in) an object. */
static unsigned int stretches(const struct kmem_cache *cachep,
			      const struct slab_debug_obj *d,
			      unsigned char *objp, bool live, struct stretch *s)
{
	uint32_t used = live ? d->requested_bytes : cachep->object_size;
	uint8_t red = live ? RED_ACTIVE : RED_INACTIVE;
	unsigned int nr = 0;

	if (cachep->flags & SLAB_RED_ZONE) {
		nr = add_stretch(s, nr, objp - cachep->lead_bytes,
				 cachep->lead_bytes, red,
				 "Left Redzone overwritten");
		nr = add_stretch(s, nr, objp + used,
				 cachep->buffer_size - cachep->lead_bytes -
					 used,
				 red, "Right Redzone overwritten");
	}
	if (!live && (cachep->flags & SLAB_POISON)) {
		nr = add_stretch(s, nr, objp, used - 1, POISON_FREE,
				 "Poison overwritten");
		nr = add_stretch(s, nr, objp + used - 1, 1, POISON_END,
				 "Poison overwritten");
	}
	return nr;
}

static void draw(const struct kmem_cache *cachep,
		 const struct slab_debug_obj *d, void *objp, bool live)
{
	struct stretch s[MAX_STRETCHES];
	unsigned int nr = stretches(cachep, d, objp, live, s), i;

	for (i = 0; i < nr; i++)
		memset(s[i].at, s[i].value, s[i].bytes);
}

/* The first byte that is not value; NULL: all are. */
static unsigned char *first_other(const struct stretch *s)
{
	size_t i;

	for (i = 0; i < s->bytes; i++)
		if (s->at[i] != s->value)
			return s->at + i;
	return NULL;
}

/* The first stretch that is broken; NULL: none. */
static const struct stretch *broken(const struct stretch *s, unsigned int nr,
				    unsigned char **bad)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		*bad = first_other(&s[i]);
		if (*bad)
			return &s[i];
	}
	return NULL;
}

const char *slab_debug_verify(const struct kmem_cache *cachep,
			      const struct slab *slabp, uint32_t index,
			      const void **bad)
{
	const struct slab_debug_obj *d = slab_debug_of(cachep, slabp, index);
	uint32_t state = __atomic_load_n(&d->state, __ATOMIC_ACQUIRE);
	bool active = !slab_object_is_free(slabp, index);
	void *objp = index_to_obj(cachep, slabp, index);
	struct stretch s[MAX_STRETCHES];
	const struct stretch *hit;
	unsigned char *at;

	*bad = objp;
	if (state == DEBUG_BUSY)
		return NULL;
	if (active != (state == DEBUG_LIVE))
		return active ? "active, but marked free"
			      : "on a list, but marked live";
	hit = broken(s, stretches(cachep, d, objp, active, s), &at);
	if (hit)
		*bad = at;
	return hit ? hit->what : NULL;
}

/* ---- words ------------------------------------------------------------------------- */

/* The bytes around the first bad one, cut to the object and its red zones. */
static void take_dump(const struct kmem_cache *cachep, struct slab_error *e)
{
	const char *from = e->objp - cachep->lead_bytes;
	const char *end = e->objp + cachep->buffer_size - cachep->lead_bytes;
	const char *at = e->bad ? e->bad : e->objp;

	if (at > from + sizeof(e->dump) / 2)
		from = (const char *)ALIGN_DOWN(
			(uintptr_t)at - sizeof(e->dump) / 2, 16UL);
	e->dump_at = from;
	e->nr_dump = (uint32_t)MIN(sizeof(e->dump), (size_t)(end - from));
	memcpy(e->dump, from, e->nr_dump);
}

static void fill_error(struct slab_error *e, const struct kmem_cache *cachep,
		       const struct slab_debug_obj *d, const void *objp,
		       const char *what)
{
	memset(e, 0, sizeof(*e));
	e->what = what;
	memcpy(e->cache, cachep->name, sizeof(e->cache));
	e->objp = objp;
	e->object_bytes = cachep->object_size;
	e->buffer_bytes = cachep->buffer_size;
	e->lead_bytes = cachep->lead_bytes;
	e->event = BS_EVENT_SLAB_CORRUPTED;
	if (!d)
		return;
	e->requested_bytes = d->requested_bytes;
	e->alloc_site = d->alloc.site;
	e->alloc_tid = d->alloc.tid;
	e->alloc_ns = d->alloc.when_ns;
	e->free_site = d->free.site;
	e->free_tid = d->free.tid;
	e->free_ns = d->free.when_ns;
}

/* Counts, makes the event, tells preload/.  No lock held. */
static void tell(const struct slab_error *e)
{
	const struct mm_event event = {
		.type = e->event,
		.zone_nr = -1,
		.addr = (uint64_t)(uintptr_t)(e->bad ? e->bad : e->objp),
		.bytes = e->requested_bytes,
		.name = e->cache,
	};

	mm_count(BS_VMSTAT_DEBUG_ERRORS, 1);
	mm_event_make(&event);
	if (mm.client.slab_error)
		mm.client.slab_error(e);
	else
		sys_say("BUG %s: %s: object %p, byte %p", e->cache, e->what,
			(const void *)e->objp, (const void *)e->bad);
}

/*
 * Compares an object with what must be there; mends it, so that each damage is
 * told once.  True: *e says what was wrong.
 */
static bool find_damage(struct kmem_cache *cachep,
			const struct slab_debug_obj *d, void *objp, bool live,
			struct slab_error *e)
{
	struct stretch s[MAX_STRETCHES];
	unsigned int nr = stretches(cachep, d, objp, live, s);
	const struct stretch *hit;
	unsigned char *bad, *last;

	hit = broken(s, nr, &bad);
	if (likely(!hit))
		return false;
	__atomic_fetch_add(&cachep->errors, 1, __ATOMIC_RELAXED);
	fill_error(e, cachep, d, objp, hit->what);
	last = hit->at + hit->bytes - 1;
	while (last > bad && *last == hit->value)
		last--;
	e->bad = (const char *)bad;
	e->nr_bad = (uint32_t)(last - bad + 1);
	e->expected = hit->value;
	e->found = *bad;
	e->live = live;
	take_dump(cachep, e);
	draw(cachep, d, objp, live);
	return true;
}

/* ---- owners --------------------------------------------------------------------------- */

#define NR_OWNERS    16384U
#define OWNER_HASH   32768U /* a power of two */
#define OWNER_PROBES 64U

/*
 * cache slot and site -> record.  hash holds a record's number + 1; both only
 * grow, without a lock: a record is filled before its number is stored, and who
 * loses the race for a place leaves a record of nobody.
 */
static struct owners {
	uint32_t hash[OWNER_HASH];
	uint32_t nr;
	struct bs_abi_owner owner[NR_OWNERS];
} * owners;

static struct owners *owners_get(void)
{
	struct owners *o = __atomic_load_n(&owners, __ATOMIC_ACQUIRE);
	struct owners *mine;

	if (likely(o))
		return o;
	mine = sys_reserve(sizeof(*mine));
	if (!mine)
		return NULL;
	if (__atomic_compare_exchange_n(&owners, &o, mine, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return mine;
	sys_munmap(mine, sizeof(*mine));
	return o;
}

static void owner_publish(const struct bs_abi_owner *from, uint32_t nr)
{
	const struct mm_pub *pub = &mm_wipe->pub;
	struct bs_abi_section *sec;

	if (!pub->header || !pub->owners)
		return;
	sec = &pub->header->section[BS_SEC_OWNERS];
	if (nr >= sec->capacity || !pub->claim(&pub->owners[nr], sizeof(*from)))
		return;
	pub->owners[nr].cache = from->cache;
	pub->owners[nr].site = from->site;
	__atomic_store_n(&pub->owners[nr].live_objs,
			 __atomic_load_n(&from->live_objs, __ATOMIC_RELAXED),
			 __ATOMIC_RELAXED);
	sys_raise(sec->count, nr + 1UL);
}

/* A new record at hash place *at, unless somebody else was first there. */
static uint32_t owner_add(struct owners *o, uint32_t *at, uint32_t cache,
			  uint32_t site)
{
	uint32_t nr = __atomic_fetch_add(&o->nr, 1, __ATOMIC_RELAXED);
	uint32_t seen = 0;

	if (nr >= NR_OWNERS) {
		__atomic_store_n(&o->nr, NR_OWNERS, __ATOMIC_RELAXED);
		return 0;
	}
	o->owner[nr].cache = cache;
	o->owner[nr].site = site;
	return __atomic_compare_exchange_n(at, &seen, nr + 1, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
		       ? nr + 1
		       : seen;
}

static void owner_count(const struct kmem_cache *cachep, uint32_t site,
			int64_t n)
{
	uint64_t key = (uint64_t)cachep->pub_slot << 32 | site;
	uint64_t h = key * 0x9e3779b97f4a7c15ULL >> 40;
	struct owners *o = owners_get();
	unsigned int i;

	if (!o || !(cachep->flags & SLAB_STORE_USER))
		return;
	for (i = 0; i < OWNER_PROBES; i++) {
		uint32_t *at = &o->hash[(h + i) & (OWNER_HASH - 1)];
		uint32_t nr = __atomic_load_n(at, __ATOMIC_ACQUIRE);
		struct bs_abi_owner *rec;

		if (!nr)
			nr = owner_add(o, at, cachep->pub_slot, site);
		if (!nr)
			return;
		rec = &o->owner[nr - 1];
		if (rec->cache != cachep->pub_slot || rec->site != site)
			continue;
		__atomic_fetch_add(&rec->live_objs, (uint64_t)n,
				   __ATOMIC_RELAXED);
		owner_publish(rec, nr - 1);
		return;
	}
}

void slab_debug_publish(void)
{
	uint32_t i;

	for (i = 0; owners && i < MIN(owners->nr, NR_OWNERS); i++)
		owner_publish(&owners->owner[i], i);
}

void slab_debug_destroy(void)
{
	if (owners)
		sys_munmap(owners, sizeof(*owners));
	owners = NULL;
}

/* ---- allocate and free -------------------------------------------------------------------- */

void slab_debug_new_slab(const struct kmem_cache *cachep,
			 const struct slab *slabp)
{
	uint32_t i;

	for (i = 0; i < cachep->num; i++) {
		struct slab_debug_obj *d = slab_debug_of(cachep, slabp, i);

		memset(d, 0, sizeof(*d));
		draw(cachep, d, index_to_obj(cachep, slabp, i), false);
	}
}

/* Asking the kernel each time would take longer than all the rest. */
static uint32_t this_thread(void)
{
	SYS_TLS struct {
		uint32_t tid, nr_forks;
	} self;
	uint32_t nr_forks = __atomic_load_n(&mm.nr_forks, __ATOMIC_RELAXED);

	if (mm.sandboxed)
		return 0;
	if (!self.tid || self.nr_forks != nr_forks) {
		self.tid = (uint32_t)sys_gettid();
		self.nr_forks = nr_forks;
	}
	return self.tid;
}

static void set_track(const struct kmem_cache *cachep, struct slab_track *t)
{
	memset(t, 0, sizeof(*t));
	if (!(cachep->flags & SLAB_STORE_USER))
		return;
	t->when_ns = sys_now_coarse_ns();
	t->tid = this_thread();
	if (mm.client.current_site)
		t->site = mm.client.current_site();
}

static struct slab *slab_of(const void *objp)
{
	return pfn_to_page(virt_to_pfn(objp))->slab;
}

void *slab_debug_alloc(struct kmem_cache *cachep, gfp_t gfp, size_t size)
{
	struct slab_debug_obj *d;
	struct slab_error e;
	unsigned char *objp;
	struct slab *slabp;

	while (!(objp = slab_take_object(cachep))) {
		cache_reap(sys_now_coarse_ns());
		if (!cache_grow(cachep, gfp))
			return NULL;
	}
	slabp = slab_of(objp);
	d = slab_debug_of(cachep, slabp,
			  (uint32_t)obj_to_index(cachep, slabp, objp));
	if (find_damage(cachep, d, objp, false, &e))
		tell(&e);
	__atomic_store_n(&d->requested_bytes,
			 (uint32_t)MIN(MAX(size, (size_t)1),
				       cachep->object_size),
			 __ATOMIC_RELAXED);
	set_track(cachep, &d->alloc);
	owner_count(cachep, d->alloc.site, 1);
	if (cachep->flags & SLAB_POISON)
		memset(objp, POISON_INUSE, d->requested_bytes);
	draw(cachep, d, objp, true);
	__atomic_store_n(&d->state, DEBUG_LIVE, __ATOMIC_RELEASE);
	return objp;
}

/*
 * The first of those who free an object takes it; the list lock makes sure that a
 * walk sees either a live object or one that is on its way.
 */
static bool take_live(struct kmem_cache *cachep, struct slab_debug_obj *d)
{
	uint32_t live = DEBUG_LIVE;
	bool taken;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	taken = __atomic_compare_exchange_n(&d->state, &live, DEBUG_BUSY, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
	return taken;
}

int slab_debug_free(struct kmem_cache *cachep, void *objp)
{
	struct slab *slabp = slab_of(objp);
	int64_t index = obj_to_index(cachep, slabp, objp);
	struct slab_debug_obj *d;
	struct slab_error e;

	if (index < 0)
		return -EINVAL;
	d = slab_debug_of(cachep, slabp, (uint32_t)index);
	if (!take_live(cachep, d))
		return -EALREADY;
	if (find_damage(cachep, d, objp, true, &e))
		tell(&e);
	owner_count(cachep, d->alloc.site, -1);
	set_track(cachep, &d->free);
	draw(cachep, d, objp, false);
	slab_put_object(cachep, objp);
	return 0;
}

int kmem_cache_free_checked(struct kmem_cache *cachep, void *objp)
{
	struct slab_error e;
	struct mm_block b;
	int err = mm_lookup(objp, &b);

	if (err)
		return err;
	if (b.kind != MM_OBJECT)
		return -EINVAL;
	if (b.cache == cachep)
		return mm_free(objp, &b);
	fill_error(&e, b.cache,
		   cache_has_debug(b.cache)
			   ? slab_debug_of(b.cache, b.slab, b.objnr)
			   : NULL,
		   objp, "freed to the wrong cache");
	__atomic_fetch_add(&b.cache->errors, 1, __ATOMIC_RELAXED);
	e.live = true;
	e.wrong_cache = cachep->name;
	if (!e.alloc_site && b.tag)
		e.alloc_site = tag_site(*b.tag);
	tell(&e);
	return mm_free(objp, &b);
}

/* ---- checks of many ---------------------------------------------------------------------------- */

struct found {
	unsigned int nr;
	struct slab_error error[MAX_ERRORS];
};

/* List lock held. */
static void check_object(struct kmem_cache *cachep, const struct slab *slabp,
			 uint32_t index, struct found *f)
{
	struct slab_debug_obj *d = slab_debug_of(cachep, slabp, index);
	uint32_t state = __atomic_load_n(&d->state, __ATOMIC_ACQUIRE);
	bool active = !slab_object_is_free(slabp, index);

	if (f->nr == MAX_ERRORS || state == DEBUG_BUSY ||
	    active != (state == DEBUG_LIVE))
		return;
	if (find_damage(cachep, d, index_to_obj(cachep, slabp, index), active,
			&f->error[f->nr]))
		f->nr++;
}

static void check_list(struct kmem_cache *cachep, const struct list_head *head,
		       struct found *f)
{
	const struct list_head *pos;
	uint32_t i;

	for (pos = head->next; pos != head; pos = pos->next)
		for (i = 0; i < cachep->num; i++)
			check_object(cachep, list_entry(pos, struct slab, list),
				     i, f);
}

/* Up to MAX_ERRORS at a time; those were mended, so the next call goes on. */
static unsigned int check_some(struct kmem_cache *cachep, struct found *f)
{
	struct kmem_list3 *l3 = &cachep->list3;

	f->nr = 0;
	sys_lock(&l3->list_lock, SYS_RANK_LIST);
	check_list(cachep, &l3->slabs_full, f);
	check_list(cachep, &l3->slabs_partial, f);
	check_list(cachep, &l3->slabs_free, f);
	sys_unlock(&l3->list_lock, SYS_RANK_LIST);
	return f->nr;
}

unsigned int slab_debug_check_cache(struct kmem_cache *cachep)
{
	unsigned int total = 0, i;
	struct found f;

	if (!cache_has_debug(cachep))
		return 0;
	while (check_some(cachep, &f)) {
		for (i = 0; i < f.nr; i++)
			tell(&f.error[i]);
		total += f.nr;
		if (f.nr < MAX_ERRORS)
			break;
	}
	return total;
}

/* The cache in a slot of the segment; NULL: none.  Chain lock held. */
static struct kmem_cache *cache_in_slot(uint32_t slot)
{
	struct list_head *pos;

	list_for_each(pos, &mm.cache_chain) {
		struct kmem_cache *cachep =
			list_entry(pos, struct kmem_cache, next);

		if (cachep->pub_slot == slot)
			return cachep;
	}
	return NULL;
}

/* By slot, because no lock is held while something is told. */
unsigned int slab_debug_check_all(void)
{
	unsigned int total = 0, i;
	uint32_t slot;
	struct found f;

	for (slot = 0; slot < mm.nr_cache_slots; slot++) {
		do {
			struct kmem_cache *cachep;

			f.nr = 0;
			sys_lock(&mm.chain_lock, SYS_RANK_CHAIN);
			cachep = cache_in_slot(slot);
			if (cachep && cache_has_debug(cachep))
				check_some(cachep, &f);
			sys_unlock(&mm.chain_lock, SYS_RANK_CHAIN);
			for (i = 0; i < f.nr; i++)
				tell(&f.error[i]);
			total += f.nr;
		} while (f.nr == MAX_ERRORS);
	}
	return total;
}

bool slab_debug_tracks(const void *p, struct slab_track *alloc,
		       struct slab_track *free)
{
	const struct kmem_cache *cachep;
	const struct slab_debug_obj *d;
	const struct page *page;
	int64_t index;

	if (!mm_in_arena(p))
		return false;
	page = pfn_to_page(virt_to_pfn(p));
	if (page_kind(page) != PK_SLAB ||
	    !(page->cache->flags & SLAB_STORE_USER))
		return false;
	cachep = page->cache;
	index = obj_to_index(cachep, page->slab, p);
	if (index < 0)
		return false;
	d = slab_debug_of(cachep, page->slab, (uint32_t)index);
	*alloc = d->alloc;
	*free = d->free;
	return true;
}
