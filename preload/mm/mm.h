/* SPDX-License-Identifier: MIT */
/*
 * mm.h - the engine: a memory manager built like the kernel's, for one process.
 *
 * Read this first.  It holds the theory, the structures with their invariants,
 * the lock order and the interface that preload/ uses.
 *
 * 1. Theory
 * ---------
 * 1.1 Physical memory.  A lonely range of addresses plays the role of RAM.  It
 *     is cut into frames of 4 KiB; frame number (pfn) = (address - base) >> 12.
 *     mem_map[pfn] is the `struct page` of a frame.  Frames come to life in
 *     sections of 4 MiB: `online` means that a section's frames are counted in
 *     its zone, `mapped` that its addresses are backed by a mapping.  Nothing is
 *     reserved in advance: a section is mapped when one of its frames first
 *     serves as memory, at its own fixed address, never over another mapping.
 *     (So RLIMIT_AS, core dumps, mlockall and overcommit see only what is used.)
 *     Everything is anonymous private memory: fork() copies it.
 * 1.2 Zones are ranges of pfns with free lists and watermarks of their own.
 *     zonelist: a request for zone i may fall back to i-1, i-2, ... 0.
 *     A fixed zone has so many pages and no more; an elastic one hot-adds
 *     sections before an allocation would fail and hot-removes free ones.
 * 1.3 Buddy.  Free blocks of order 0 to 10, by migrate type.  A free list is an
 *     address-ordered set (a bit tree): the lowest block is taken first, which
 *     keeps the top of a zone free.  Linux keeps LIFO lists; with them the hot
 *     end wins, here giving whole sections back does.
 * 1.4 SLAB as in Linux 2.6.29: kmem_cache, kmem_list3, slab,
 *     array_cache; objects up to 128 KiB.
 * 1.5 Large: up to 4 MiB, contiguous pages from the buddy.
 * 1.6 vmalloc: beyond, or when no such block is free.  User space cannot write
 *     page tables, so frames are lent: the area is a mapping of its own, the
 *     frames are taken from the buddy and their own memory stays untouched or
 *     is given back.  Each frame is thus backed once.
 * 1.7 The program's mmaps are areas too, with lent frames where the memory is
 *     private, anonymous and writable.
 * 1.8 Free page reporting: free blocks give their memory back after a decay
 *     time.  A reported or never used block is known to be zero (PG_ZERO).
 *     decay.c tells who looks at the clock.
 *
 * 2. Invariants (mm_verify proves them; the numbers are in its messages)
 * ----------------------------------------------------------------------
 * I1  Each online frame is in exactly one place: a free block, a per-CPU list,
 *     a slab, a large block, a lent block, or a table block.
 * I2  A free block of order o starts at a pfn that is a multiple of 2^o, lies in
 *     one zone and one online run, and its head alone is marked PK_FREE; the
 *     others are PK_TAIL.
 * I3  A free block's bit is set in exactly one free list: that of its order and
 *     of the migrate type noted in its head; no other bit is set.
 * I4  Two free buddies of one order and one pageblock type do not both exist
 *     below the highest order (they would have merged).
 * I5  nr_free[type][order] is the number of bits; free_pages their sum in pages.
 * I6  managed_pages = free_pages + sum of used[]; used[] is what the walk finds.
 * I7  A slab's frames all name its cache and slab; the slab is in the list that
 *     its inuse says (0 free, num full, else partial).
 * I8  A slab's free bits are num - inuse, of objects that there are.
 * I9  An object in an array_cache belongs to that cache, is not free in its slab,
 *     and is in no other place of any array_cache.
 * I10 kmem_list3.free_objects and the slab counts are what the walk finds.
 * I11 Areas are sorted, do not overlap, and each one's charged frames are the
 *     sum of its lent blocks; each lent block belongs to one area.
 * I12 A large block's frames: a head with its size, then PK_TAIL, of one zone.
 *     A block that is on its way between the buddy and its owner looks the same.
 * I13 A free object has no living tag; a live one's slack is below its usable size;
 *     tags are in a live object of their own.
 * I14 zone->nr_blocks[] is the number of pageblocks of each type.
 * I15 A frame of kind PK_PCP is in exactly one per-CPU list, that of the type
 *     noted in it; pcp_count[] and used[PCP] are what the lists hold.
 * I16 An area that names its pages names its lent frames in order; those of
 *     vmap() are marked PG_VMAP.  vm_window_bytes is what areas with guard pages
 *     take.
 * I17 kmalloc's table leads from each size to a living cache that holds it.
 * I18 slab_debug: the red zones of live and free objects and the poison of free
 *     ones are untouched; only live objects are on no list.
 * I19 The runs of a carve-out do not overlap; used_pages is their sum.
 *
 * The corruptions that tests/unit inject, each of which must be found:
 *  1 free list bit cleared          7 slab moved to the wrong list
 *  2 free list bit set twice        8 inuse off by one
 *  3 order of a free block changed  9 object twice in an array_cache
 *  4 nr_free off by one            10 object of another cache in an array_cache
 *  5 used[] off by one             11 free_objects off by one
 *  6 free bit of a live object     12 area's charge off by one
 * 13 lent block in two areas       14 page names the wrong slab
 * 15 unmerged buddies              16 tag on a free object
 * 17 used frame marked as a tail    18 type of a pageblock changed
 * 19 page twice in a per-CPU list   20 pcp_count off by one
 * 21 object in a CPU's and the shared array   22 size's cache too small
 * 23 red zone written, object live  24 red zone written, object free
 * 25 poison of a free object written
 * 26 vmalloc area names another frame   27 mark of a mapped frame cleared
 * 28 window off by a page           29 a carve-out's runs overlap
 * 30 a slab's tags in no live object
 *
 * 3. Locks, outermost first (ranks in sys.h)
 * ------------------------------------------
 *   chain lock   list of caches
 *   vm lock      area tree, lazy list; held across the system calls that change
 *                mappings, so that records and mappings agree
 *   array lock   creation of array_caches
 *   cpu lock     one array_cache (never two)
 *   list lock    one cache's kmem_list3
 *   zone lock    one zone: free lists, counters, struct page of its free blocks
 *   device lock  names and counters of devices
 *   stop lock    whether sections may run
 * struct page of a used block belongs to its owner.
 * No lock is held while the program's code or an unwinder runs.
 *
 * 4. Context
 * ----------
 * Every call below may be made from any thread after mm_init(), between
 * mm_enter() and mm_leave() of the caller's (preload/ does it); a handler that
 * interrupts a thread in between must use mm_atomic_alloc()/mm_atomic_free().
 * No call touches errno.
 */
#ifndef BS_MM_H
#define BS_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/sys/rseq.h"
#include "preload/sys/arch.h"
#include "preload/sys/sys.h"
#include "shared/abi.h"

#define MAX_ORDER	 11 /* orders 0 .. MAX_ORDER-1, the kernel's meaning */
#define MM_NR_TYPES	 3  /* migrate types that have free lists here */
#define PAGEBLOCK_ORDER	 BS_PAGEBLOCK_ORDER
#define SECTION_ORDER	 (MAX_ORDER - 1)
#define SECTION_PAGES	 (1UL << SECTION_ORDER)
#define SECTION_BYTES	 (SECTION_PAGES << PAGE_SHIFT)
#define MAX_NR_ZONES	 BS_MAX_ZONES
#define MM_MAX_SLOTS	 BS_MAX_SLOTS
#define KMALLOC_MAX	 131072UL
#define KMALLOC_MINALIGN 16UL
#define KMALLOC_NR	 16 /* 16 32 64 96 128 192 256 ... 131072 */
/*
 * A size's cache is found by table: steps of 16 bytes up to KMALLOC_FINE, then
 * of 1 KiB.
 */
#define KMALLOC_FINE	    8192UL
#define KMALLOC_FINE_STEP   16UL
#define KMALLOC_COARSE_STEP 1024UL
#define KMALLOC_NR_FINE	    (KMALLOC_FINE / KMALLOC_FINE_STEP + 1)
#define KMALLOC_NR_STEPS                                                       \
	(KMALLOC_NR_FINE + (KMALLOC_MAX - KMALLOC_FINE) / KMALLOC_COARSE_STEP)
#define MM_MAX_CACHES	  512U /* alive at once */
#define MM_NR_TAGS_CACHES 27U  /* of vectors of up to 64 KiB */
#define LARGE_MAX	  SECTION_BYTES
#define VM_GUARD_BYTES	  PAGE_SIZE
#define MM_MAX_DEVICES	  32U
#define MM_MAX_CARVEOUTS  8U

typedef uint32_t gfp_t;
#define GFP_KERNEL	  0x00U
#define GFP_DMA		  0x01U /* lowest zone only */
#define GFP_HIGH	  0x20U /* may dip into half of the reserve */
#define GFP_ATOMIC	  (GFP_HIGH | 0x40U)
#define __GFP_ZERO	  0x100U
#define __GFP_NOWARN	  0x200U
#define __GFP_MOVABLE	  0x400U
#define __GFP_LENT	  0x800U /* frames are not used as memory: do not map */
#define __GFP_NORETRY	  0x1000U /* do not grow a zone */
#define __GFP_RECLAIMABLE 0x2000U /* comes back soon: short-lived */
#define __GFP_NOGROW	  0x4000U /* NULL where a fixed zone would grow; no report */
#define __GFP_TRY	  0x8000U /* NULL is no failure: there is another way */
#define __GFP_LOCKED	  0x200000U /* a lock is held: nothing is reclaimed */
#define __GFP_ZONE(nr)	  (((gfp_t)(nr) + 1) << 16) /* ask this zone first */
#define __GFP_ZONE_MASK	  BS_GFP_ZONE_MASK

/* ---- configuration ------------------------------------------------------- */

struct mm_zone_config {
	char name[16];
	uint64_t pages; /* initial size; multiple of SECTION_PAGES */
	bool elastic;
};

/* memmap=SIZE$NAME */
struct mm_carveout_config {
	char name[16];
	uint64_t bytes; /* multiple of PAGE_SIZE */
};

/* Filled by preload/options.c from BUDDYSCOPE; mm_default_config() first. */
struct mm_config {
	struct mm_zone_config zone[MAX_NR_ZONES]; /* lowest first */
	unsigned int nr_zones;
	bool large_whole;    /* large=whole: keep the 2^n block */
	bool dma_whole;	     /* dma=whole: the same for devices */
	bool oom_fail;	     /* oom=fail: fixed zones do not grow */
	bool mmap_charge;    /* mmap=charge (default) or record */
	bool tags;	     /* keep a tag per object (tracing) */
	bool dedicated;	     /* dedicated=on: caches for sizes seen often */
	uint32_t slab_debug; /* BS_DEBUG_*: slab_debug= */
	char slab_debug_names[128]; /* of these caches, by commas; "": all */
	uint64_t decay_ns;	    /* age at which free blocks are reported */
	uint64_t huge_bytes; /* mapped sections before huge pages; 0: none */
	uint64_t lazy_max_bytes; /* freed areas kept for reuse, at most */
	uint64_t vmalloc_bytes;	 /* window of areas; 0: no limit */
	struct mm_carveout_config carveout[MM_MAX_CARVEOUTS];
	unsigned int nr_carveouts;
};

/* ---- frames --------------------------------------------------------------- */

/* page.kind */
enum page_kind {
	PK_TAIL = 0, /* not the head of anything; also: never touched */
	PK_FREE,     /* head of a free block */
	PK_SLAB,     /* every frame of a slab */
	PK_LARGE,    /* head of a large block */
	PK_LENT,     /* head of a block lent to an area (vmalloc or mmap) */
	PK_PCP,	     /* in a per-CPU list */
	PK_TRANSIT,  /* head of a used block that changes hands right now */
	PK_TABLE,    /* head of a block that the library uses itself */
	PK_LOST,     /* head of a block given up after a raw fork */
};

#define PG_ZERO 0x01U /* free block: content is known to be zero */
#define PG_VMAP 0x02U /* any frame of a used block: vmap() moved its content */

/*
 * One per frame, 32 bytes.  All-zero is valid: a tail.
 * Free and lent blocks use only their head's record.
 */
struct page {
	uint8_t kind;
	uint8_t order;
	uint8_t migratetype;
	uint8_t flags;
	union {
		uint32_t nr_pages; /* LARGE, TABLE: pages of the block */
		/*
		 * SLAB: objects that begin here and have a living tag, or, from
		 * the first on that was not counted, PAGE_TAGGED and below it
		 * where the slab's tags are, in 16 bytes from mm.base; 0: too far.
		 */
		uint32_t tagged;
	};
	union {
		struct {
			struct kmem_cache *cache;
			struct slab *slab;
		}; /* SLAB */
		struct {
			uint64_t tag;
			uint64_t requested_bytes;
		}; /* LARGE */
		struct {
			struct vm_struct *area;
			uint32_t next_lent; /* pfn + 1, 0: last */
			uint32_t reserved_lent;
		}; /* LENT */
		struct {
			uint64_t freed_ns; /* coarse; when it became dirty */
			uint64_t reserved;
		}; /* FREE, PCP */
	};
	uint32_t use; /* BS_USE_*: what a used block is counted as */
	union {
		uint32_t device; /* LARGE with use DMA: index of its device */
		/*
		 * SLAB: bytes from the slab's first object to this frame, modulo
		 * 2^32.  PAGE_LOST: given up after a raw fork, frees are ignored.
		 */
		uint32_t from_s_mem;
	};
};
#define PAGE_LOST	0x80000000U
#define PAGE_TAGGED	0x80000000U
#define PAGE_TAGS_SHIFT 4
static_assert(sizeof(struct page) == 32, "struct page is 32 bytes");

/*
 * A used block's owner changes its kind without the zone lock, while somebody
 * may look whether it is a free buddy.
 */
static inline uint8_t page_kind(const struct page *page)
{
	return __atomic_load_n(&page->kind, __ATOMIC_ACQUIRE);
}

static inline void set_page_kind(struct page *page, enum page_kind kind)
{
	__atomic_store_n(&page->kind, kind, __ATOMIC_RELEASE);
}

/* ---- buddy ---------------------------------------------------------------- */

/*
 * Address-ordered set of block numbers: bit trees of 64-way nodes.  The first words
 * of each level lie together in head, so that a small zone's sets share few pages.
 */
#define BITSET_LEVELS 5
struct bitset {
	uint64_t *level[BITSET_LEVELS]; /* level[0]: one bit a block */
	uint64_t *head;
	/* Level l has words [head_at[l], head_at[l + 1]) of it. */
	uint16_t head_at[BITSET_LEVELS + 1];
	uint16_t nr_levels;
	uint64_t nr_bits;
};

struct free_area {
	struct bitset free_list[MM_NR_TYPES]; /* counts: zone.stat.nr_free */
};

/*
 * Single pages that a CPU freed last, by migrate type; the newest is taken first.
 * Guarded by the zone lock: they save the splitting and merging, not the lock
 * (the zone's numbers have to add up at each reading).  Source: Linux 2.6.29
 * per_cpu_pageset.
 */
#define PCP_MAX 192U /* most pages in one list; stat.pcp_high is not above */
struct per_cpu_pages {
	uint16_t count[MM_NR_TYPES];
	uint32_t pfn[MM_NR_TYPES][PCP_MAX];
};

/*
 * A zone owns pfns [start_pfn, start_pfn + window_pages), of which those in
 * online sections exist.  All fields are guarded by lock, but constants.
 */
struct zone {
	struct sys_lock lock;
	bool elastic;
	uint8_t nr;
	char name[16];
	uint64_t start_pfn;
	uint64_t window_pages;
	uint64_t initial_pages;
	struct free_area free_area[MAX_ORDER];
	uint8_t *
		block_type; /* per pageblock of the window: 1 + type, 0 absent */
	uint64_t next_section;	   /* lowest that may be offline */
	uint64_t dirty_free_pages; /* free pages that are not PG_ZERO */
	uint64_t last_report_ns;
	/* used pages; see zone_report_if_due() */
	uint64_t drop_from, rearm_pages;
	uint64_t lost_end; /* raw fork: frames below are never free again */
	struct per_cpu_pages *pcp; /* one for each slot in use */
	uint64_t last_drain_ns;
	uint64_t
		decay_nr_alloc; /* stat.nr_alloc at the last round of decay.c */
	struct bs_abi_zone stat; /* canonical counters; published by copy */
};

/* ---- SLAB ------------------------------------------------------------------ */

struct list_head {
	struct list_head *next, *prev;
};

/*
 * A slab: 2^gfporder pages of one cache, the tail of which a dedicated cache gives
 * back (nr_pages).  On-slab layout (off-slab: the descriptor and its bits are an object
 * of slabp_cache):
 *
 *   | colour | struct slab | free bits | debug[num] | pad | objects ... |
 *
 * Which objects are free is a bit each, where the kernel has a list of indices of two
 * bytes or four: 16-byte objects have 251 to a page instead of 224, and refills hand
 * out rising addresses.
 *
 * Tags are a vector of their own (tags.c), as the kernel's slabobj_ext: most slabs of
 * a program that is sampled never need one.
 *
 * With slab_debug=Z an object has red zones on both sides; slab_debug.c has the
 * picture.
 */
struct slab {
	struct list_head list;
	struct kmem_cache *cache;
	char *s_mem;	 /* first object */
	uint64_t *tags;	 /* one for each object; NULL: none had one so far */
	uint32_t inuse;	 /* objects that are not free */
	uint64_t free[]; /* SLAB_FREE_WORDS(num): bit i, object i is free */
};
#define SLAB_FREE_WORDS(num) (((num) + 63U) / 64U)

static inline bool slab_object_is_free(const struct slab *slabp, uint32_t index)
{
	return slabp->free[index / 64] >> index % 64 & 1;
}

/*
 * LIFO of free objects; its objects are ACTIVE in their slabs.  The shared one is
 * guarded by the list lock.  A slot's is used either under its lock or, where there
 * is rseq, in a section of a thread that has the slot; slab.c tells how the two
 * keep out of each other's way.
 *
 * What the array serves alone is counted within state: the upper bits are the
 * objects taken since `base` objects were in it, and those put follow from that.
 * hits are what was counted before and not yet added to the cache's.
 * limit is 0 with slab_debug: then every call goes the long way.
 */
struct array_cache {
	uint32_t base;
	uint32_t slot;
	uint64_t alloc_hits;
	uint64_t free_hits;
	uint32_t touched; /* since the last round of reaping */
	uint32_t batchcount;
	union {
		uint64_t state;
		uint16_t avail; /* its lower bits */
	};
	uint32_t limit;
	struct sys_lock lock;
	void *entry[];
};
static_assert(offsetof(struct array_cache, state) == RSEQ_STATE &&
		      offsetof(struct array_cache, avail) == RSEQ_STATE &&
		      offsetof(struct array_cache, limit) == RSEQ_LIMIT &&
		      offsetof(struct array_cache, entry) == RSEQ_ENTRY,
	      "an array is the stack of rseq.h");

struct kmem_list3 {
	struct list_head slabs_partial;
	struct list_head slabs_full;
	struct list_head slabs_free;
	uint64_t free_objects; /* on the lists, not in arrays */
	uint64_t free_limit;
	uint64_t nr_slabs, nr_free_slabs;
	uint32_t colour_next;
	struct sys_lock list_lock;
	struct array_cache *shared; /* created at the first flush */
	uint64_t next_reap_ns;
	uint32_t free_touched;
	uint64_t
		decay_moves; /* refills + flushes at the last round of decay.c */
};

/* kmem_cache.flags: the kernel's, then ours. */
#define SLAB_DEBUG_FREE	   0x00000100U /* F: sanity checks */
#define SLAB_RED_ZONE	   0x00000400U /* Z */
#define SLAB_POISON	   0x00000800U /* P; not with a constructor */
#define SLAB_HWCACHE_ALIGN 0x00002000U
#define SLAB_CACHE_DMA	   0x00004000U /* slabs from the lowest zone */
#define SLAB_STORE_USER	   0x00010000U /* U: who allocated, who freed */
#define SLAB_RECLAIM_ACCOUNT                                                   \
	0x00020000U		   /* slabs are short-lived: reclaimable */
#define SLAB_TAGS      0x01000000U /* objects may have tags, for tracing */
#define SLAB_GENERAL   0x02000000U /* one of the general caches */
#define SLAB_DEDICATED 0x04000000U /* made by dedicated.c */
#define SLAB_PROGRAM   0x08000000U /* the program's own */
#define SLAB_OF_TAGS   0x10000000U /* holds the tags of others */
#define CFLGS_OFF_SLAB 0x80000000U
#define SLAB_DEBUG_FLAGS                                                       \
	(SLAB_DEBUG_FREE | SLAB_RED_ZONE | SLAB_POISON | SLAB_STORE_USER)

struct kmem_cache {
	uint32_t buffer_size; /* from one object to the next */
	uint32_t reciprocal_buffer_size;
	/* num * buffer_size; 0 with slab_debug: lookups go the long way. */
	uint32_t plain_bytes;
	uint32_t num;	   /* objects per slab */
	uint32_t flags;	   /* SLAB_* */
	uint32_t gfpflags; /* forced on the page allocator: zone, type */
	/* For sections: the slot's array, or an empty one while it is locked. */
	struct array_cache *open[MM_MAX_SLOTS];
	struct array_cache *array[MM_MAX_SLOTS]; /* created at first use */
	uint32_t object_size;			 /* asked for at creation */
	uint32_t lead_bytes; /* red zone on the left of an object */
	uint32_t limit, batchcount, shared;
	uint32_t gfporder;
	uint32_t nr_pages; /* of a slab: 2^gfporder, or fewer (dedicated) */
	uint32_t colour, colour_off;
	uint32_t slab_size; /* bytes of descriptor, free bits and debug */
	uint32_t align;
	void (*ctor)(void *objp);
	struct kmem_cache *slabp_cache; /* off-slab: of descriptors */
	struct kmem_cache *tags_cache;	/* SLAB_TAGS: of the slabs' vectors */
	struct kmem_list3 list3;
	struct list_head next; /* cache chain */
	uint32_t pub_slot;     /* index in the segment */
	/* kmalloc: the steps of the table that led here; samples of all of them */
	uint32_t step_first, step_last, nr_samples;
	/* Statistics; guarded by the list lock. */
	uint64_t grown, reaped, errors, high_mark, refills, flushes;
	uint64_t alloc_hits, alloc_misses, free_hits, free_misses;
	uint64_t list_allocs; /* objects ever taken from slabs */
	uint64_t max_freeable;
	char name[32];
};

/* ---- areas ------------------------------------------------------------------ */

/* A vm_struct: a mapping outside the arena.  Guarded by the vm lock. */
struct vm_struct {
	struct vm_struct *left, *right; /* treap by addr */
	uint64_t prio;
	uint64_t addr;
	uint64_t size; /* bytes, without the guard page */
	uint64_t requested_bytes;
	uint64_t charged_pages;
	uint64_t offset; /* in the file */
	uint64_t tag;
	uint64_t born_ns;
	uint32_t lent;	/* pfn + 1 of the first lent block */
	uint32_t flags; /* BS_AREA_* */
	uint32_t prot;
	uint32_t guard_bytes;
	uint32_t pub_slot;   /* 0: not published */
	uint32_t nr_pages;   /* of pages[] */
	struct page **pages; /* the area's frames in order; NULL: not named */
	uint64_t phys_addr;
	gfp_t gfp;	       /* __GFP_ZONE bits: where its frames come from */
	char *path;	       /* kmalloc'ed, NULL: none */
	bool loose;	       /* live, and larger than was asked for */
	struct list_head lazy; /* on vm_lazy when BS_AREA_LAZY, or vm_loose */
};

/*
 * Memory that no zone ever sees.  Shared memory, because an ioremap() is one more
 * view of it.  Guarded by the vm lock.
 */
struct carveout {
	const char *name; /* in mm.config */
	char *base;	  /* always mapped, recorded as the area below */
	uint64_t phys;	  /* behind all zones */
	uint64_t nr_pages, used_pages;
	uint32_t *run; /* first page of an allocation: its pages; else 0 */
	struct vm_struct *area;
};

/* ---- the root ----------------------------------------------------------------- */

/*
 * Where the engine publishes.  Lives in the page that fork wipes: NULL header
 * means "nothing to publish to".  claim() makes [p, p+len) safe to write, or
 * returns false (full tmpfs); it is cheap when the pages were claimed before.
 */
struct mm_pub {
	struct bs_abi_header *header;
	struct bs_abi_zone *zones;
	struct bs_abi_cache *caches;
	struct bs_abi_area *areas;
	uint8_t *pagemap;
	struct bs_abi_event *events;
	struct bs_abi_pins *pins;
	uint64_t *vmstat;
	struct bs_abi_device *devices;
	struct bs_abi_owner *owners;
	bool (*claim)(const void *p, size_t len);
};

/*
 * One page with MADV_WIPEONFORK.  alive is 0 in a process that was just forked,
 * by whatever means (but not in a vfork child, which shares everything).
 */
struct mm_wipe {
	/*
	 * Sections may use slots below this; 0 while they are stopped.  Changed
	 * under the stop lock.
	 */
	uint32_t slots;
	/*
	 * preload/: requests of 1 to so many bytes may be served, and blocks
	 * without a tag be freed, by sections alone; 0: every call goes the long
	 * way.  fast_bytes: the same for requests that need not be traced
	 * whoever makes them.
	 */
	uint32_t section_bytes, fast_bytes;
	/*
	 * The same for requests that malloc.c's shortest way with a call site serves.
	 * Not 0 only while nothing is out of the ordinary: exact_begin() there.
	 */
	uint32_t exact_bytes;
	uint64_t alive;
	/* preload/'s own words; the first of them in the line that malloc() reads */
	uint64_t client[32];
	struct mm_pub pub;
};
union mm_wipe_page {
	struct mm_wipe wipe;
	char page[PAGE_SIZE];
};
/* All zero before the start.  Direct, because malloc() and free() begin with it. */
extern __attribute__((visibility("hidden"))) union mm_wipe_page mm_wipe_page;
#define mm_wipe (&mm_wipe_page.wipe)

/* After something of what exact_bytes relies on was ended. */
static inline void mm_exact_end(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&mm_wipe->exact_bytes, 0, __ATOMIC_RELAXED);
}

/* What slab_debug found, for a report.  Sites may be 0: not known. */
struct slab_error {
	const char *what;	 /* "Right Redzone overwritten" ... */
	const char *wrong_cache; /* the one it was freed to, or NULL */
	char cache[32];
	const char *objp; /* the object, as its owner knows it */
	uint32_t object_bytes, requested_bytes, buffer_bytes, lead_bytes;
	const char *bad; /* first bad byte; NULL: none */
	uint32_t nr_bad; /* from the first to the last */
	uint8_t expected, found;
	bool live; /* else a free object */
	uint32_t alloc_site, free_site;
	uint32_t alloc_tid, free_tid;
	uint64_t alloc_ns, free_ns; /* coarse; 0: never */
	uint32_t event;		    /* BS_EVENT_* */
	uint32_t nr_dump;	    /* bytes from dump_at, as found */
	const char *dump_at;
	uint8_t dump[256];
};

/* What preload/ wants to hear; each may be NULL. */
struct mm_client {
	/*
	 * nr_objects areas ended or, when negative, came into being by a split;
	 * bytes of them were unmapped (negative: mapped).  Under the vm lock.
	 */
	void (*area_gone)(uint64_t tag, int64_t bytes, int nr_objects);
	/* stack id of the running call, for events; 0 unknown */
	uint32_t (*current_site)(void);
	/* slab_debug found something.  No lock held. */
	void (*slab_error)(const struct slab_error *e);
	/* Now and then, from an allocation's slow path.  The vm lock may be held. */
	void (*slow_path)(void);
	/* Run a constructor of the program's, which may allocate. */
	void (*run_ctor)(void (*ctor)(void *objp), void *objp);
};

/*
 * The reserve for handlers.  All fields are lock-free: a slot is taken and
 * filled by exchange.  Ordinary objects, made ready by mm_atomic_work(): first when
 * a handler found nothing (it gets a mapping) or so many slabs were made, for it
 * would be most of the memory of a program that ends at once.
 */
#define ATOMIC_FROM_SLABS  16
#define ATOMIC_CLASSES	   4 /* 64, 256, 1024, 4096 bytes */
#define ATOMIC_OBJECTS	   32
#define ATOMIC_MAPS	   1024 /* larger, or none left: a mapping each */
#define ATOMIC_FREES	   1024
#define MM_AREA_SLOTS	   65536U
#define MM_AREA_SLOT_WORDS (1024 + 16 + 1)
struct mm_atomic {
	uint32_t work; /* MM_WORK_*: mm_atomic_work() has something to do */
	/* Slots beyond were never used: nobody has to look there. */
	uint32_t maps_end, deferred_end;
	uint32_t slabs_seen; /* up to ATOMIC_FROM_SLABS */
	void *slot[ATOMIC_CLASSES][ATOMIC_OBJECTS];
	struct {
		uintptr_t addr;
		size_t len;
	} map[ATOMIC_MAPS];
	void *deferred[ATOMIC_FREES];
};
#define MM_WORK_ATOMIC 1U /* what handlers freed and took */
#define MM_WORK_DECAY  2U /* look whether free memory is to go back now */
#define MM_WORK_PINS   4U /* whose memory is between the free pages */
#define MM_WORK_TRIM   8U /* somebody asks for mm_trim() */

/* How many events of a type were made lately; guarded by the event lock. */
struct mm_ratelimit {
	uint64_t begin_ns;
	uint32_t nr_made;
	uint32_t nr_suppressed;
};

/* The walks that pins.c is to make; guarded by the event lock. */
struct mm_pins {
	uint64_t event; /* 0: none */
	unsigned int zone_nr, order;
	uint64_t
		spanned_pages; /* of the zone, before it grew for the request */
	bool asked;
	uint32_t request, ask_order;
	uint64_t nr; /* records made */
};

/*
 * Ordered by when it is touched: a program that ends at once has few pages of it.
 */
struct mm {
	bool up;
	bool rseq; /* arrays are used in sections, too; never again once false */
	char *base;	      /* address of pfn 0 */
	struct page *mem_map; /* of pfn 0; only online sections are mapped */
	uint64_t nr_pfns;     /* size of all windows */
	uint8_t *section;     /* per section: SECT_* flags */
	struct mm_client client;
	struct sys_lock map_lock; /* mapping of sections */
	uint64_t *table_mem;	  /* bit trees, block types, section states */
	size_t table_bytes;
	unsigned int nr_zones;
	unsigned int nr_slots; /* per-CPU slots in use */
	struct sys_lock chain_lock;
	struct list_head cache_chain;
	uint32_t nr_cache_slots; /* used once, in the segment */
	uint64_t cache_slots[MM_MAX_CACHES / 64]; /* bit: used now */
	struct kmem_cache *kmalloc_caches[KMALLOC_NR];
	struct kmem_cache *tags_caches[MM_NR_TAGS_CACHES];
	uint32_t nr_dedicated;
	struct kmem_cache *vm_cachep;
	struct sys_lock array_lock;	    /* creation of array_caches */
	struct sys_lock stop_lock;	    /* nr_stops, wipe->slots */
	uint32_t nr_stops;		    /* who wants no section to run */
	uint64_t nr_sections_mapped;	    /* atomic */
	uint64_t huge_page_ns;		    /* one may take so long */
	uint32_t huge_wait, huge_next_wait; /* sections; map lock */
	uint64_t decay_next_ns;		    /* decay.c; atomic */
	bool decay_by_caller;	   /* ... mm_decay_by_caller(); atomic */
	struct sys_lock meta_lock; /* bump allocator for descriptors */
	char *meta_next, *meta_end;
	struct meta_chunk
		*meta_free; /* given back, for requests of their size */
	uint64_t last_reap_ns;
	struct sys_lock vm_lock;
	struct vm_struct *vm_root;
	struct list_head vm_lazy; /* oldest first */
	uint64_t vm_lazy_bytes;
	struct list_head vm_loose; /* oldest first */
	uint64_t vm_live_bytes,
		vm_live_peak_bytes; /* of malloc() and its kin */
	uint64_t vm_keep_bytes;	    /* the largest area that was ever freed */
	uint64_t vm_window_bytes;   /* addresses of areas with a guard page */
	bool window_full_said;
	uint32_t nr_vmaps;
	unsigned int nr_carveouts;
	bool carveouts_inherited; /* forked child: the parent gives them out */
	uint64_t vm_random;	  /* state of the treap's priorities */
	uint64_t nr_areas;
	/* Segment slots of areas: [1, next) were used, those in free again. */
	uint32_t area_slot_next;
	struct bitset area_slot_free;
	struct sys_lock device_lock;
	unsigned int nr_devices;
	uint32_t nr_forks; /* that made this process and those before it */
	bool sandboxed;	   /* a seccomp filter is on: no unusual system call */
	struct sys_lock event_lock;
	uint64_t nr_events;
	struct mm_pins pins;
	uint64_t vmstat[BS_NR_VMSTAT];
	struct mm_config config;
	struct kmem_cache *kmalloc_table[KMALLOC_NR_STEPS];
	struct mm_atomic atomic;
	struct zone zone[MAX_NR_ZONES];
	uint32_t kmalloc_samples[KMALLOC_NR_STEPS]; /* dedicated.c */
	struct kmem_cache *zone_caches[MAX_NR_ZONES][KMALLOC_NR];
	struct carveout carveout[MM_MAX_CARVEOUTS];
	struct mm_ratelimit ratelimit[BS_NR_EVENTS];
	uint64_t area_slot_mem[MM_AREA_SLOT_WORDS];
	/* Canonical, published by copy; a device keeps its place for ever. */
	struct bs_abi_device device[MM_MAX_DEVICES];
};
extern __attribute__((visibility("hidden"))) struct mm mm;

#define SECT_ONLINE 0x1U
#define SECT_MAPPED 0x2U
#define SECT_TABLE  0x4U  /* its part of mem_map is mapped */
#define SECT_FRESH  0x8U  /* one free block, not written down in mem_map yet */
#define SECT_SMALL  0x10U /* no huge pages, see section_never_huge() */

/* For mm_atomic_work(), on somebody's way out. */
static inline void mm_work_later(uint32_t work)
{
	__atomic_fetch_or(&mm.atomic.work, work, __ATOMIC_RELEASE);
}

static inline char *pfn_to_virt(uint64_t pfn)
{
	return mm.base + (pfn << PAGE_SHIFT);
}

static inline struct page *pfn_to_page(uint64_t pfn)
{
	return &mm.mem_map[pfn];
}

static inline uint64_t page_to_pfn(const struct page *page)
{
	return (uint64_t)(page - mm.mem_map);
}

static inline uint64_t virt_to_pfn(const void *p)
{
	return ((uintptr_t)p - (uintptr_t)mm.base) >> PAGE_SHIFT;
}

/* Any value of pfn is allowed. */
static inline bool pfn_online(uint64_t pfn)
{
	return pfn < mm.nr_pfns &&
	       (__atomic_load_n(&mm.section[pfn >> SECTION_ORDER],
				__ATOMIC_RELAXED) &
		SECT_ONLINE);
}

/* Is p in an online section of the arena?  Any value of p is allowed. */
static inline bool mm_in_arena(const void *p)
{
	return pfn_online(virt_to_pfn(p));
}

/* ---- life cycle ------------------------------------------------------------------ */

void mm_default_config(struct mm_config *config);
/* 0, -EBUSY when up, -ENOMEM, -EINVAL.  Needs no libc, no constructor. */
int mm_init(const struct mm_config *config, const struct mm_client *client);
/* Unmaps everything.  Tests only: all pointers die. */
void mm_destroy(void);

/* Take every lock in rank order; release them; forked child with locks held. */
void mm_fork_prepare(void);
void mm_fork_parent(void);
void mm_fork_child(void);
/*
 * A child made without mm_fork_prepare() (raw clone, _Fork): what another thread
 * held locked is given up.  Returns the number of structures given up.
 */
unsigned int mm_raw_child(void);

/*
 * Publishing starts: fill wipe->pub first, then call this to write the present
 * state of everything.  Takes all locks.
 */
void mm_publish_all(void);

/*
 * No thread is in a section from the return on until mm_sections_start() was called
 * as often: arrays change under their locks alone.
 * Context: any locks held but the stop lock.
 */
void mm_sections_stop(void);
void mm_sections_start(void);
/* Never again: a thread may run without its rseq, or membarrier be forbidden. */
void mm_sections_end(void);

/* ---- decay --------------------------------------------------------------------------- */

#define MM_DECAY_NEVER UINT64_MAX

/* Memory became free.  Context: any lock held. */
void mm_decay_wait(uint64_t now_ns);
/*
 * yes: whoever calls the engine tells mm_decay_clock() the coarse time about as often
 * as it calls.  Until then, and again with no, the engine looks itself.
 */
void mm_decay_by_caller(bool yes);
void mm_decay_due(void);
static inline void mm_decay_clock(uint64_t now_ns)
{
	if (unlikely(now_ns >=
		     __atomic_load_n(&mm.decay_next_ns, __ATOMIC_RELAXED)))
		mm_decay_due();
}
/*
 * A round, if it is due.  mm_atomic_work() calls it.
 * Context: no lock held.
 */
void mm_decay_poll(uint64_t now_ns);
/*
 * The program ends.  What waits goes now: each library that is still to run its
 * destructors makes up to 64 KiB of its file resident, and mpv has 228 of them.
 * Context: no lock held.
 */
void mm_decay_exit(void);

/* ---- allocation -------------------------------------------------------------------- */

/* What a pointer is.  Filled by mm_lookup(). */
struct mm_block {
	enum {
		MM_OBJECT,
		MM_LARGE,
		MM_VMALLOC,
		MM_ATOMIC
	} kind;
	struct page *page;	  /* OBJECT, LARGE */
	struct kmem_cache *cache; /* OBJECT */
	struct slab *slab;	  /* OBJECT */
	uint32_t objnr;		  /* OBJECT */
	size_t usable;		  /* bytes that the caller may use; constant */
	/* NULL: tags are not kept, or it has none and mm_make_tag() makes room. */
	uint64_t *tag;
};

/*
 * size 0 counts as 1.  align: power of two, at least 16 is always given; above
 * 16 natural alignment.  gfp: GFP_KERNEL, GFP_ATOMIC, __GFP_ZERO.
 * NULL: no memory (never because of corruption, which is fatal).
 */
void *mm_alloc(size_t size, size_t align, gfp_t gfp);
/* An object of up to KMALLOC_MAX bytes, never an area. */
void *mm_kmalloc(size_t size, gfp_t gfp);

/*
 * 0: a live block, *b filled.  -ENOENT: not our memory.  -EINVAL: our memory but
 * not the start of a live block.  -EALREADY: was freed (seen where it is cheap to see).
 */
int mm_lookup(const void *p, struct mm_block *b);

/* Can the block have a tag?  If so and b->tag is NULL, no object of its slab had one. */
static inline bool mm_keeps_tag(const struct mm_block *b)
{
	return b->tag || (b->kind == MM_OBJECT && b->cache->flags & SLAB_TAGS);
}
/*
 * The place for the tag of a live block that keeps one: b->tag from now on.  False:
 * no memory.  Context: no lock held; not in a handler.
 */
bool mm_make_tag(struct mm_block *b);

/* After *b->tag was set: an area publishes its call site. */
void vmalloc_tagged(uint64_t *tag);
static inline void mm_tagged(const struct mm_block *b)
{
	if (unlikely(b->kind == MM_VMALLOC) && b->tag)
		vmalloc_tagged(b->tag);
}

/*
 * Frees what mm_lookup() found.  0; nothing done: -EALREADY (a double free),
 * -EBUSY (mm_is_mapped()).
 */
int mm_free(void *p, const struct mm_block *b);
/* Does vmap() show pages of the block? */
bool mm_is_mapped(const struct mm_block *b);

/* Does an object stay where it is when its size changes? */
#define RESIZE_KEEP_BYTES 64UL /* no smaller one moves when it shrinks */
static inline bool mm_object_keeps(size_t usable, size_t new_size)
{
	return new_size <= usable &&
	       (new_size > usable / 2 || usable <= RESIZE_KEEP_BYTES);
}

/*
 * Resize in place, or by moving pages (mremap).  Returns the address, or NULL
 * when the caller has to allocate, copy and free.  *b is refreshed.
 */
void *mm_resize(void *p, struct mm_block *b, size_t new_size);

/* Give free memory back now.  Returns bytes given back. */
size_t mm_trim(void);
/* ... by mm_atomic_work().  Context: any lock held. */
void mm_trim_later(void);
/* Does any zone have as much RAM as it needs? */
bool mm_is_elastic(void);
/*
 * What is kept for reuse goes back to the zones, before a request is refused: kept
 * areas, objects in arrays, free slabs.  Source: the kernel's direct reclaim.
 * Context: no lock held.
 */
void mm_reclaim(void);

/*
 * For handlers that interrupted this thread inside the engine: from the reserve,
 * or a mapping of its own; NULL when both are exhausted (counted).  Takes no
 * lock.  Where tags are kept the object's tag names site 0, window 1, if there was
 * memory for it.
 */
void *mm_atomic_alloc(size_t size, size_t align, bool zero);
/* True when taken care of (now or later); false: not our memory. */
bool mm_atomic_free(void *p);
/* Called on the way out of a normal entry: refill, run deferred frees. */
static inline bool mm_atomic_pending(void)
{
	return __atomic_load_n(&mm.atomic.work, __ATOMIC_RELAXED) != 0;
}
void mm_atomic_work(void (*free_fn)(void *p));

/* ---- the program's own mappings ------------------------------------------------------- */

/*
 * Does such a mapping only reserve addresses?  Those are recorded, not charged,
 * and count no bytes at their call site until mprotect makes them writable.
 */
static inline bool mm_map_reserves(int prot, int flags)
{
	return (flags & 0x20 /* MAP_ANONYMOUS */) &&
	       !(flags & 1 /* SHARED */) &&
	       (!(prot & 2 /* PROT_WRITE */) ||
		(flags & 0x4000 /* NORESERVE */));
}

/*
 * The system call and its record; result as the kernel's (sys_is_err()).  tag:
 * one object of the page-rounded length, or of 0 bytes when mm_map_reserves().
 */
long mm_mmap(void *addr, size_t len, int prot, int flags, int fd,
	     uint64_t offset, uint64_t tag);
long mm_munmap(void *addr, size_t len);
/* A mapping that grows or moves stays its first caller's. */
long mm_mremap(void *old, size_t old_len, size_t new_len, int flags,
	       void *new_addr);
long mm_mprotect(void *addr, size_t len, int prot);
/* shmat and other mappings made elsewhere: record only. */
void mm_record(void *addr, size_t len, int prot, uint32_t area_flags,
	       const char *path, uint64_t tag);
void mm_forget(void *addr);

/* ---- pages ------------------------------------------------------------------------------- */

/* A block of 2^order pages, naturally aligned; use: BS_USE_*. NULL: none. */
struct page *alloc_pages(gfp_t gfp, unsigned int order, enum bs_use use);
/*
 * A block of alloc_pages() with use LARGE or DMA becomes 2^order blocks of one
 * page each, which are freed on their own.
 */
void split_page(struct page *head, unsigned int order);
/* As many pages as size bytes take, contiguous, given back by mm_free(). */
void *alloc_pages_exact(size_t size, gfp_t gfp);
/* Free nr_pages from pfn, whatever the orders they came in. */
void free_page_range(uint64_t pfn, uint64_t nr_pages, enum bs_use use,
		     bool zero);
/* Keep the first pages of a block whose head is known, free the others. */
void trim_pages(struct page *head, uint64_t keep_pages, bool zero);
/* Memory for the library's own tables, page-rounded, zeroed. */
void *mm_table_alloc(size_t bytes);

/* ---- areas -------------------------------------------------------------------------------- */

/*
 * vmalloc() and its kin, for the program's own calls.  tag as for mm_mmap(), of 0
 * bytes; the caller undoes it on failure.  A failure is reported unless gfp says
 * __GFP_NOWARN.
 */
void *vmalloc(size_t size, gfp_t gfp);
/* The frame behind a byte of a vmalloc() or vmap() area; NULL: no such area. */
struct page *vmalloc_to_page(const void *addr);
/*
 * One range of addresses for n pages of alloc_pages().  Private memory cannot be seen
 * twice: until vunmap() the pages' own addresses must not be used, nor can they be
 * freed.  NULL: no memory, a page that is mapped already or not in use, or a system
 * without MREMAP_DONTUNMAP (Linux 5.7).
 */
void *vmap(struct page *const *pages, unsigned int n, gfp_t gfp, uint64_t tag);
/* 0, -EINVAL. */
int vunmap(void *addr);

/* Address and size of a carve-out; 0, -ENOENT. */
int carveout_find(const char *name, uint64_t *phys, uint64_t *bytes);
/*
 * Whole pages of it, first fit; *phys is their address.  NULL: full (reported), no
 * such carve-out, or a forked child's.
 */
void *carveout_alloc(const char *name, size_t size, uint64_t *phys, gfp_t gfp);
/* 0, -EINVAL. */
int carveout_free(const char *name, void *p);
/* One more view of [phys, phys + size), which lies in one carve-out; else NULL. */
void *ioremap(uint64_t phys, size_t size, uint64_t tag);
int iounmap(void *addr);
/*
 * The same in place of what the program had mapped at addr, all of it with mm_mmap();
 * 0, -EINVAL, -ENOMEM.
 */
int remap_pfn_range(void *addr, uint64_t pfn, size_t size, uint64_t tag);

/* ---- devices ----------------------------------------------------------------------------- */

/* What a device calls the address: pfn << PAGE_SHIFT. */
typedef uint64_t dma_addr_t;

/*
 * The device of that name (31 bytes count), made at its first use; the 32nd and all
 * later ones share a place.
 */
unsigned int dma_device(const char *name);
/* The same, not made: MM_MAX_DEVICES, whose blocks nobody has, when there is none. */
unsigned int dma_device_find(const char *name);
/*
 * Contiguous pages, at most LARGE_MAX bytes, from the lowest zone unless gfp names
 * another; given back by mm_free().  NULL: none, counted and reported as the
 * device's; there is no fallback to vmalloc.
 */
void *dma_alloc(unsigned int device, size_t size, gfp_t gfp);
/* The same, zeroed, with the device's address. */
void *dma_alloc_coherent(unsigned int device, size_t size, dma_addr_t *handle,
			 gfp_t gfp);
/* As mm_lookup(), and -EINVAL when it is not what this device was given. */
int dma_lookup(unsigned int device, size_t size, const void *cpu_addr,
	       dma_addr_t handle, struct mm_block *b);
/* 0, or what dma_lookup() said (nothing done). */
int dma_free_coherent(unsigned int device, size_t size, void *cpu_addr,
		      dma_addr_t handle);

/* ---- proof and counters --------------------------------------------------------------------- */

/*
 * Walks everything with all locks held.  0, or -EUCLEAN with the first broken
 * invariant in why ("I3: ...").  live_fn, if not NULL, is called for every
 * live tag found; then nobody else may be setting tags, and frames are checked to
 * have counted them.
 */
int mm_verify(char *why, size_t why_len,
	      void (*live_fn)(void *arg, uint64_t tag,
			      uint64_t requested_bytes),
	      void *arg);

/*
 * Calls fn for every live tag, with all locks held and without proving anything:
 * for a forked child, whose call sites count afresh.
 */
void mm_for_each_tag(void (*fn)(void *arg, uint64_t tag,
				uint64_t requested_bytes),
		     void *arg);

void mm_count(enum bs_vmstat_item item, int64_t n);
/* What happened, for the event ring.  zone_nr: the one asked for, -1: none. */
struct mm_event {
	uint32_t type; /* BS_EVENT_* */
	int zone_nr;
	unsigned int order;
	gfp_t gfp;
	uint64_t addr;
	uint64_t bytes;
	const char *name; /* of a cache, device or carve-out; NULL: none */
};
void mm_event_make(const struct mm_event *e);
/*
 * Record `number`, from 1, of a ring in the segment (mm_pub's): readers do not see it until
 * mm_ring_end().  NULL: there is no segment, or no memory for it.
 * Context: event lock held.
 */
void *mm_ring_begin(unsigned int section, void *ring, uint64_t number);
void mm_ring_end(unsigned int section, void *record, uint64_t number);

/*
 * pins.c: event `number` was made of e.  Where it tells of pages that are free but
 * scattered, the caller looks on its way out whose memory is between them.
 * Context: event lock held.
 */
void mm_pins_want(const struct mm_event *e, uint64_t number);
/* The look.  mm_atomic_work() calls it.  Context: no lock held. */
void mm_pins_make(void);
/*
 * Somebody asks, on the control page: each zone is looked at, and the request is marked
 * as seen, by mm_atomic_work().  Context: any lock held.
 */
void mm_pins_ask(uint32_t request, uint32_t order);

static inline void mm_event(uint32_t type, int zone_nr, unsigned int order,
			    gfp_t gfp, uint64_t addr, uint64_t bytes)
{
	mm_event_make(&(struct mm_event){ .type = type,
					  .zone_nr = zone_nr,
					  .order = order,
					  .gfp = gfp,
					  .addr = addr,
					  .bytes = bytes });
}

/*
 * Tag of an object, from bit 0: site number; slack = usable - requested; birth, a
 * coarse time of which the lower bits are kept; rate at which its kind was sampled,
 * 0: every one; whether it lives.  A free object keeps its last tag without the
 * living bit, which tells who had it; a word of 0 never had one.
 */
#define TAG_SITE_BITS  17
#define TAG_SLACK_BITS 16
#define TAG_BIRTH_BITS 27
#define TAG_RATE_BITS  3
#define TAG_LIVE       (UINT64_C(1) << 63)
static_assert(TAG_SITE_BITS + TAG_SLACK_BITS + TAG_BIRTH_BITS + TAG_RATE_BITS ==
		      63,
	      "a tag is a word");
static inline uint64_t tag_make(uint32_t site, uint32_t slack, uint32_t birth)
{
	return TAG_LIVE |
	       (uint64_t)(birth & ((1U << TAG_BIRTH_BITS) - 1))
		       << (TAG_SITE_BITS + TAG_SLACK_BITS) |
	       (uint64_t)slack << TAG_SITE_BITS | site;
}
/* For a walk: tags belong to their objects' owners, who do not stop for it. */
static inline uint64_t tag_load(const uint64_t *tag)
{
	return __atomic_load_n(tag, __ATOMIC_RELAXED);
}
static inline bool tag_is_live(uint64_t tag)
{
	return (tag & TAG_LIVE) != 0;
}
static inline uint32_t tag_rate(uint64_t tag)
{
	return (uint32_t)(tag >> (63 - TAG_RATE_BITS)) &
	       ((1U << TAG_RATE_BITS) - 1);
}
static inline uint64_t tag_with_rate(uint64_t tag, uint32_t rate)
{
	return tag | (uint64_t)rate << (63 - TAG_RATE_BITS);
}
static inline uint32_t tag_site(uint64_t tag)
{
	return (uint32_t)(tag & ((1U << TAG_SITE_BITS) - 1));
}
static inline uint32_t tag_slack(uint64_t tag)
{
	return (uint32_t)(tag >> TAG_SITE_BITS) & ((1U << TAG_SLACK_BITS) - 1);
}
static inline uint32_t tag_birth(uint64_t tag)
{
	return (uint32_t)(tag >> (TAG_SITE_BITS + TAG_SLACK_BITS)) &
	       ((1U << TAG_BIRTH_BITS) - 1);
}

/* Are the living tags of a frame's objects counted?  If not, that was given up. */
static inline bool mm_counts_tags(const struct page *page)
{
	return !(__atomic_load_n(&page->tagged, __ATOMIC_RELAXED) &
		 PAGE_TAGGED);
}

/* The tags of the frame's slab; NULL: it does not say. */
static inline uint64_t *mm_frame_tags(const struct page *page)
{
	uint32_t tagged = __atomic_load_n(&page->tagged, __ATOMIC_ACQUIRE);

	return likely(tagged > PAGE_TAGGED)
		       ? (uint64_t *)(void *)(mm.base +
					      ((uint64_t)(tagged - PAGE_TAGGED)
					       << PAGE_TAGS_SHIFT))
		       : NULL;
}

/*
 * Of a frame that counts; a handler may do the same, another thread may give it up.  (The
 * handler of an only thread does not: it counts, and where nothing is to be counted, no
 * object of the program's has a counted tag.)
 */
static inline void mm_add_tagged(struct page *page, uint32_t n)
{
	uint32_t was = __atomic_load_n(&page->tagged, __ATOMIC_RELAXED);

	if (sys_alone())
		arch_add_local(&page->tagged, n);
	else
		while (!(was & PAGE_TAGGED) &&
		       !__atomic_compare_exchange_n(
			       &page->tagged, &was, was + n, true,
			       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			;
}

/* Before an object of such a frame gets its tag at `at`; tags: the slab's. */
static inline void mm_count_tag(struct page *page, const uint64_t *tags,
				const uint64_t *at, bool counted)
{
	uint64_t where =
		(uint64_t)((const char *)tags - mm.base) >> PAGE_TAGS_SHIFT;

	if (!counted)
		__atomic_store_n(&page->tagged,
				 PAGE_TAGGED |
					 (where < PAGE_TAGGED ? (uint32_t)where
							      : 0),
				 __ATOMIC_RELEASE);
	else if (!tag_is_live(*at))
		mm_add_tagged(page, 1);
}

/*
 * Sets the tag, a living one, before the block is the program's.  counted: frees on
 * its frame are to be fast again when the tag is gone; false costs less where every
 * object has one.
 */
static inline void mm_set_tag(const struct mm_block *b, uint64_t tag,
			      bool counted)
{
	if (b->kind == MM_OBJECT && unlikely(mm_counts_tags(b->page)))
		mm_count_tag(b->page, b->tag - b->objnr, b->tag, counted);
	__atomic_store_n(b->tag, tag, __ATOMIC_RELAXED);
}

/* After the living bit of *b->tag was taken off. */
static inline void mm_tag_gone(const struct mm_block *b)
{
	if (b->kind == MM_OBJECT && unlikely(mm_counts_tags(b->page)))
		mm_add_tagged(b->page, -1U);
}

#endif
