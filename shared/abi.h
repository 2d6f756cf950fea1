/* SPDX-License-Identifier: MIT */
/*
 * abi.h - the segment: what a process under buddyscope publishes.
 *
 * Owns:   the byte layout of <pid>-<start>-<nonce>.seg.  docs/segment.md is
 *         generated from this file (tests/abi-table) and checked by a test.
 * Layer:  shared.  Written by preload/, read by everything else.
 * Locks:  none.  Records that change as a whole carry a sequence word: even
 *         means stable, odd means a writer is inside.  A reader copies the
 *         record, compares the word before and after, and tries again; a word
 *         that stays odd after the writer died means "torn".
 *
 * Rules: fixed-width little-endian fields, naturally aligned, offsets from the
 * start of the file instead of pointers, no enums, bit-fields, size_t or packed
 * structs.  A field is never moved or given a new meaning; new ones use
 * reserved space or go to the end of a record (readers step by the
 * section's elem_bytes, not by sizeof).
 *
 * Every text field is NUL-terminated and NUL-padded.  Every time is in
 * nanoseconds of CLOCK_MONOTONIC unless the name says realtime.
 */
#ifndef BS_SHARED_ABI_H
#define BS_SHARED_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define BS_ABI_MAGIC	   UINT64_C(0x45504f4353594442) /* "BDYSCOPE" */
#define BS_ABI_VERSION	   5U /* layout written by this tree */
#define BS_ABI_COMPAT	   5U /* oldest reader that understands it */
#define BS_ABI_PAGE_BYTES  4096U
#define BS_ABI_NR_SECTIONS 16U

/* Section numbers: index into bs_abi_header.section[]. */
#define BS_SEC_CONTROL	 0U
#define BS_SEC_ZONES	 1U
#define BS_SEC_CACHES	 2U
#define BS_SEC_AREAS	 3U
#define BS_SEC_NODES	 4U
#define BS_SEC_SITES	 5U
#define BS_SEC_MODULES	 6U
#define BS_SEC_PAGEMAP	 7U
#define BS_SEC_EVENTS	 8U
#define BS_SEC_VMSTAT	 9U
#define BS_SEC_DEVICES	 10U
#define BS_SEC_OWNERS	 11U
#define BS_SEC_ESTIMATES 12U
#define BS_SEC_THREADS	 13U
#define BS_SEC_AGES	 14U
#define BS_SEC_PINS	 15U

/* bs_abi_header.state */
#define BS_STATE_STARTING 0U /* header not complete yet */
#define BS_STATE_RUNNING  1U
#define BS_STATE_EXITED	  2U /* exit handlers ran; the process may still free */

/* Trace modes (header.trace_mode). */
#define BS_TRACE_OFF	0U
#define BS_TRACE_EXACT	1U
#define BS_TRACE_AUTO	2U /* exact; sampled where that would cost too much */
#define BS_TRACE_SAMPLE 3U

#define BS_MAX_SLOTS	 64U /* per-CPU slots; more CPUs share them */
#define BS_MAX_ZONES	 16U
#define BS_NR_ORDERS	 11U /* orders 0 to 10: 4 KiB to 4 MiB */
#define BS_MIGRATE_TYPES 5U

/* A pageblock, the unit that has a migrate type, is 2^9 pages: 2 MiB. */
#define BS_PAGEBLOCK_ORDER 9U

/* Migrate types, the modern kernel's order. */
#define BS_MIGRATE_UNMOVABLE   0U
#define BS_MIGRATE_MOVABLE     1U
#define BS_MIGRATE_RECLAIMABLE 2U
#define BS_MIGRATE_HIGHATOMIC  3U
#define BS_MIGRATE_ISOLATE     4U

/* What a frame is used for: bs_abi_zone.used_pages[] index, JSON key. */
#define BS_USE_TABLE(X)                                                        \
	X(SLAB, 0, "slab")                                                     \
	X(LARGE, 1, "large")                                                   \
	X(VMALLOC, 2, "vmalloc")                                               \
	X(MMAP, 3, "mmap")                                                     \
	X(PCP, 4, "pcp")                                                       \
	X(TABLE, 5, "table")                                                   \
	X(DMA, 6, "dma")
#define BS_MAX_USES 8U /* room in the records */
enum bs_use {
#define X(name, nr, key) BS_USE_##name = (nr),
	BS_USE_TABLE(X)
#undef X
	BS_NR_USES
};

/* Values of the page map: 0 = not present, 1 = free, else 2 + BS_USE_*. */
#define BS_PAGEMAP_ABSENT 0U
#define BS_PAGEMAP_FREE	  1U
#define BS_PAGEMAP_USE	  2U

/*
 * A section: an array of `capacity` records of `elem_bytes` each, of which the
 * first `count` may be in use.  count only grows.  dropped counts what did not
 * fit (or could not be published because the tmpfs was full).
 */
struct bs_abi_section {
	uint64_t offset; /* from the start of the file, page-aligned */
	uint64_t capacity;
	uint64_t count;
	uint64_t dropped;
	uint32_t elem_bytes;
	uint32_t reserved0;
	uint64_t reserved1;
};
static_assert(sizeof(struct bs_abi_section) == 48, "ABI");

/* Offset 0 of the file. */
struct bs_abi_header {
	uint64_t magic;	  /* BS_ABI_MAGIC, stored last */
	uint32_t version; /* BS_ABI_VERSION */
	uint32_t compat;  /* BS_ABI_COMPAT */
	uint32_t header_bytes;
	uint32_t nr_sections;
	uint64_t file_bytes;
	uint32_t page_bytes; /* frame size: 4096 */
	uint32_t state;	     /* BS_STATE_* */
	int32_t pid;	     /* in the pid namespace pidns_inode */
	int32_t ppid;
	uint64_t start_ticks;  /* field 22 of /proc/PID/stat */
	uint64_t pidns_inode;  /* of /proc/self/ns/pid, 0 unknown */
	uint64_t nonce;	       /* from AT_RANDOM: tells exec images apart */
	uint64_t parent_nonce; /* after fork: the segment it was made from */
	uint32_t uid;
	uint32_t nr_cpus; /* per-CPU slots */
	uint64_t created_ns;
	uint64_t created_realtime_ns;
	uint64_t exited_ns;  /* 0 while running */
	uint32_t trace_mode; /* BS_TRACE_* */
	uint32_t nr_zones;
	uint64_t leak_window_ns;
	uint64_t arena_base; /* address of pfn 0 */
	uint64_t cohort_ns;  /* width of a tag's birth window: leak_window_ns */
	uint64_t bytes_published;	/* tmpfs memory claimed so far */
	uint64_t publish_failed;	/* pages that could not be claimed */
	uint64_t trace_sample_bytes;	/* mean bytes from sample to sample */
	uint64_t trace_table_bytes;	/* memory of all tables of tracing */
	uint64_t trace_limit_bytes;	/* what they may take, trace_memory= */
	uint32_t trace_budget;		/* of the CPU, 1/1000; BS_TRACE_AUTO */
	uint32_t trace_cost;		/* last estimate of it, 1/1000 */
	uint32_t trace_sampled_callers; /* that are sampled now */
	uint32_t trace_request_seen;	/* of the control page */
	uint32_t trace_samples_new;	/* 1: stacks not met before, too */
	uint32_t trace_gaps;		/* times that it was switched off */
	uint32_t pins_request_seen;	/* of the control page, answered */
	uint32_t reserved0;
	uint64_t reserved[5];
	char comm[16];
	char exe[256];	   /* path of the executable, may be cut */
	char cmdline[512]; /* arguments joined by blanks, may be cut */
	char options[512]; /* BUDDYSCOPE as given, may be cut */
	struct bs_abi_section section[BS_ABI_NR_SECTIONS];
};
static_assert(offsetof(struct bs_abi_header, comm) == 256, "ABI");
static_assert(offsetof(struct bs_abi_header, section) == 1552, "ABI");
static_assert(sizeof(struct bs_abi_header) <= BS_ABI_PAGE_BYTES, "ABI");

/*
 * Control page: the only part that others write, the daemon and the commands.  The
 * library polls it on its slow path.  Values that it does not know are ignored.
 */
struct bs_abi_control {
	uint32_t trim_request;	/* raise by one: give free pages back now */
	uint32_t trace_request; /* raise by one when these are set: */
	uint32_t trace_mode;	/* BS_TRACE_* */
	uint32_t trace_budget;	/* 1/1000 of the CPU; 0: as it is */
	uint64_t trace_sample_bytes; /* 0: as it is */
	uint32_t pins_request;	     /* raise by one when pins_order is set */
	uint32_t pins_order; /* look who pins blocks of this order, 1 to 10 */
	uint32_t reserved[8];
};
static_assert(sizeof(struct bs_abi_control) == 64, "ABI");

/*
 * A zone.  In a stable record:
 *   managed_pages = free_pages + sum of used_pages[]
 *   used_pages[BS_USE_PCP] = sum of pcp_count[]
 *   free_pages    = sum over types and orders of nr_free[t][o] << o
 */
struct bs_abi_zone {
	uint32_t seq;
	uint32_t node;
	char name[16];
	uint32_t elastic; /* 1: grows and shrinks on demand */
	uint32_t reserved0;
	uint64_t start_pfn;
	uint64_t spanned_pages;
	uint64_t present_pages;
	uint64_t managed_pages;
	uint64_t free_pages;
	uint64_t wmark_min_pages;
	uint64_t wmark_low_pages;
	uint64_t wmark_high_pages;
	uint64_t protection_pages[BS_MAX_ZONES]; /* lowmem_reserve */
	uint64_t used_pages[BS_MAX_USES];
	uint64_t nr_free[BS_MIGRATE_TYPES][BS_NR_ORDERS]; /* free blocks */
	uint64_t nr_blocks[BS_MIGRATE_TYPES]; /* pageblocks of each type */
	/* Events since start, monotonic. */
	uint64_t nr_alloc;	/* blocks handed out */
	uint64_t nr_free_calls; /* blocks given back */
	uint64_t nr_split;
	uint64_t nr_merge;
	uint64_t nr_fallback;	   /* requests served for a higher zone */
	uint64_t nr_type_fallback; /* blocks taken from another migrate type */
	uint64_t nr_failed;	   /* requests that this zonelist refused */
	uint64_t hot_added_pages;
	uint64_t hot_removed_pages;
	uint64_t reported_pages;   /* given back to the system, cumulated */
	uint64_t overcommit_pages; /* now mapped but not charged: no room */
	uint64_t min_free_pages;   /* lowest free_pages seen */
	uint64_t peak_used_pages;  /* highest managed - free seen; 0: unknown */
	/* Per-CPU page lists. */
	uint32_t pcp_high;  /* a list longer than this is cut */
	uint32_t pcp_batch; /* pages moved at a time */
	uint64_t pcp_refills;
	uint64_t pcp_drains;
	uint64_t slab_reclaimable_pages; /* of used_pages[BS_USE_SLAB] */
	uint64_t reserved1[6];
	uint16_t pcp_count[BS_MAX_SLOTS]; /* pages in each CPU slot's list */
};
static_assert(offsetof(struct bs_abi_zone, start_pfn) == 32, "ABI");
static_assert(offsetof(struct bs_abi_zone, used_pages) == 224, "ABI");
static_assert(offsetof(struct bs_abi_zone, nr_free) == 288, "ABI");
static_assert(offsetof(struct bs_abi_zone, nr_blocks) == 728, "ABI");
static_assert(offsetof(struct bs_abi_zone, pcp_high) == 872, "ABI");
static_assert(sizeof(struct bs_abi_zone) == 1080, "ABI");

/* bs_abi_cache.flags */
#define BS_CACHE_OFF_SLAB  0x1U	 /* descriptors are kept elsewhere */
#define BS_CACHE_GENERAL   0x2U	 /* kmalloc: one of the general sizes */
#define BS_CACHE_DEDICATED 0x4U	 /* kmalloc: a size that was seen often */
#define BS_CACHE_PROGRAM   0x8U	 /* the program made it: bs_kmem_cache_create */
#define BS_CACHE_CTOR	   0x10U /* objects have a constructor */

/* bs_abi_cache.debug: slab_debug's letters. */
#define BS_DEBUG_CHECKS	  0x1U /* F: sanity checks */
#define BS_DEBUG_RED_ZONE 0x2U /* Z */
#define BS_DEBUG_POISON	  0x4U /* P */
#define BS_DEBUG_USER	  0x8U /* U: who allocated and who freed */

/* A kmem_cache.  active_objs counts objects in per-CPU arrays as active. */
struct bs_abi_cache {
	uint32_t seq;
	uint32_t live;	       /* 0: slot free (cache destroyed) */
	char name[32];	       /* no blanks */
	uint32_t object_bytes; /* padded size: buffer_size */
	uint32_t align_bytes;
	uint32_t objs_per_slab;
	uint32_t pages_per_slab;
	uint32_t limit;
	uint32_t batchcount;
	uint32_t shared;
	uint32_t flags; /* BS_CACHE_* */
	uint64_t active_objs;
	uint64_t num_objs;
	uint64_t active_slabs; /* partial and full */
	uint64_t num_slabs;
	uint64_t shared_avail;
	uint64_t high_mark; /* highest active_objs seen */
	uint64_t grown;	    /* slabs created */
	uint64_t reaped;    /* free slabs destroyed because nobody used them */
	uint64_t errors;
	uint64_t refills; /* per-CPU array misses on allocation */
	uint64_t flushes; /* per-CPU array overflows on free */
	/*
	 * Monotonic; brought up to date when a per-CPU array is refilled or
	 * flushed.  A hit is an operation that the array served alone.
	 */
	uint64_t alloc_hits;
	uint64_t alloc_misses;
	uint64_t free_hits;
	uint64_t free_misses;
	uint64_t max_freeable;	  /* most free slabs after a flush */
	uint32_t requested_bytes; /* size given at creation: obj_size */
	uint32_t obj_offset;	  /* of the object behind its left red zone */
	uint32_t zone;	       /* index of the zone its slabs come from first */
	uint32_t colours;      /* different offsets of the first object */
	uint32_t colour_bytes; /* step of the offset */
	uint32_t debug;	       /* BS_DEBUG_* */
	uint32_t slot;	       /* its own index in the section */
	uint32_t reserved0;
	uint64_t list_allocs; /* objects ever taken from its slabs */
	uint64_t reserved;
};
static_assert(offsetof(struct bs_abi_cache, active_objs) == 72, "ABI");
static_assert(offsetof(struct bs_abi_cache, max_freeable) == 192, "ABI");
static_assert(sizeof(struct bs_abi_cache) == 248, "ABI");

/* bs_abi_area.flags: the kernel's vm_struct flags, then ours. */
#define BS_AREA_IOREMAP	 0x01U /* file, device or shared memory */
#define BS_AREA_ALLOC	 0x02U /* vmalloc: a large allocation */
#define BS_AREA_MAP	 0x04U /* the program's own anonymous mmap */
#define BS_AREA_USERMAP	 0x08U
#define BS_AREA_VPAGES	 0x10U
#define BS_AREA_LAZY	 0x100U	 /* freed, kept for reuse */
#define BS_AREA_RESERVE	 0x200U	 /* PROT_NONE or MAP_NORESERVE: not charged */
#define BS_AREA_STACK	 0x400U	 /* MAP_STACK or MAP_GROWSDOWN */
#define BS_AREA_SHARED	 0x800U	 /* MAP_SHARED */
#define BS_AREA_HUGE	 0x1000U /* MAP_HUGETLB */
#define BS_AREA_VMAP	 0x2000U /* bs_vmap: pages that somebody else holds */
#define BS_AREA_DEVICE	 0x4000U /* path is a device node */
#define BS_AREA_CARVEOUT 0x8000U /* of a carve-out: path is its name */

/* A vm_struct. */
struct bs_abi_area {
	uint32_t seq;
	uint32_t live; /* 0: slot free */
	uint64_t addr;
	uint64_t bytes;		  /* without the guard page */
	uint64_t requested_bytes; /* what the program asked for */
	uint64_t charged_pages;	  /* frames taken from the zones */
	uint64_t offset;	  /* file offset of addr, bytes */
	uint32_t flags;		  /* BS_AREA_* */
	uint32_t prot;		  /* PROT_* when last set for the whole area */
	uint32_t guard_bytes;
	uint32_t site; /* 0: unknown */
	uint64_t born_ns;
	uint64_t phys_addr; /* IOREMAP: what is mapped; 0: unknown */
	char path[176]; /* file or device, empty for anonymous, may be cut */
};
static_assert(offsetof(struct bs_abi_area, path) == 80, "ABI");
static_assert(sizeof(struct bs_abi_area) == 256, "ABI");

/*
 * Stack depot: a tree of return addresses that only grows.  Node 0 is the root.
 * A stack is the chain from a node (innermost frame) to the root.  pc is the
 * return address; look up pc - 1.  parent is always smaller than the node's own
 * number, so that a walk ends whatever the file holds.
 */
struct bs_abi_node {
	uint64_t pc;
	uint32_t parent;
	uint32_t depth; /* frames up to and including this one */
};
static_assert(sizeof(struct bs_abi_node) == 16, "ABI");

/*
 * With trace_threads=on the stacks of a thread end in a node of depth 0 that is no
 * frame: its parent is the root, its pc BS_THREAD_PC + i, where no code can be, and
 * record i of the threads section says which thread it is.
 */
#define BS_THREAD_PC   UINT64_C(0x4254485200000000) /* no canonical address */
#define BS_THREAD_MASK UINT64_C(0xffffffff)	    /* the record's number */

/* bs_abi_thread.flags */
#define BS_THREAD_MAIN	 0x1U /* of its process: tid = pid */
#define BS_THREAD_OTHERS 0x2U /* all those that there was no record left for */

/*
 * A thread that allocated.  A record is never used for another thread, except that
 * record 1 is for those that came when all others were taken.  Record 0 is empty.  A
 * forked child has its parent's records, which live objects may belong to, and new
 * ones for its own threads.  Capacity 0: trace_threads=off.
 */
struct bs_abi_thread {
	uint32_t seq;
	uint32_t flags;	     /* BS_THREAD_* */
	uint32_t tid;	     /* 0: unknown, or several */
	uint32_t nr_threads; /* 1; more: BS_THREAD_OTHERS */
	uint64_t first_ns;   /* time of its first allocation */
	char name[16];	     /* when a new stack of it was last walked */
	uint64_t reserved[3];
};
static_assert(sizeof(struct bs_abi_thread) == 64, "ABI");

#define BS_NR_COHORTS	32U
#define BS_NR_LIFETIMES 20U

/* Unit of lifetimes, as a shift: 2^23 ns = 8.4 ms. */
#define BS_TICK_SHIFT 23U

/* bs_abi_site.kinds */
#define BS_SITE_OBJECT 0x1U  /* malloc and its kin */
#define BS_SITE_MMAP   0x2U  /* mmap */
#define BS_SITE_LIBC   0x4U  /* stack is cut: unwinder not loaded yet */
#define BS_SITE_SHARDS 0x80U /* others count for it (shard_of) */

/*
 * A call site: one stack that allocates.  Record 0 is "unknown".
 * Counters are monotonic; live = allocs - frees (read frees first).
 *
 * Cohorts tell the age of what lives.  Windows of leak_window_ns are counted
 * from created_ns; window w falls into cohort w >> cohort_shift.  When w no
 * longer fits, neighbours are added in pairs and cohort_shift grows by one.
 * Bit c of cohort_born says that the site allocated at all in cohort c.
 *
 * Lifetimes are counted in buckets: i has the objects freed after 2^i to 2^(i+1) - 1
 * ticks; the last one those that lived longer, too.  A count stays at 2^32 - 1 when it
 * gets there.  What was freed within the tick it was born in is the rest of frees.
 *
 * Most sites need one cohort and one bucket; these are here.  What others need is in
 * the record of ages of that number, whose seq is that of the site when both belong
 * together.  The numbers of a cohort, or bucket, are the sum of both places; those of
 * cohorts are modulo 2^32, and may be negative at a site that has shards or is one.
 */
struct bs_abi_site {
	uint32_t lock;	/* the writers'; readers ignore it */
	uint16_t kinds; /* BS_SITE_* */
	uint8_t cohort_shift;
	uint8_t cohort; /* the newest */
	uint64_t allocs;
	uint64_t frees;
	uint64_t bytes_allocated; /* requested bytes */
	uint64_t bytes_freed;
	uint64_t peak_live_bytes;
	uint64_t last_ns; /* coarse time of the last allocation */
	uint32_t cohort_born;
	uint32_t cohort_live;	 /* live objects born in the newest cohort */
	uint64_t first_ns;	 /* coarse time of the first allocation */
	uint32_t node;		 /* innermost frame in the depot */
	uint32_t seq;		 /* odd while cohorts move */
	uint32_t lifetime_frees; /* objects freed after a time of `lifetime` */
	uint32_t ages;		 /* record of the ages section; 0: none */
	uint32_t shard_of;	 /* not 0: counts for that site */
	uint8_t lifetime;	 /* the first bucket that was needed */
	uint8_t reserved[3];
};
static_assert(offsetof(struct bs_abi_site, allocs) == 8, "ABI");
static_assert(offsetof(struct bs_abi_site, node) == 72, "ABI");
static_assert(sizeof(struct bs_abi_site) == 96, "ABI");

/* The other cohorts and lifetimes of a site.  Record 0 is empty. */
struct bs_abi_ages {
	uint32_t site; /* whose it is */
	uint32_t seq;
	uint32_t cohort_live[BS_NR_COHORTS];
	uint32_t lifetime[BS_NR_LIFETIMES];
	uint64_t reserved[1];
};
static_assert(sizeof(struct bs_abi_ages) == 224, "ABI");

/*
 * What sampling adds to the site of the same number: objects that were recorded as
 * samples stand for others of their kind that were not.  An object of n bytes is a
 * sample with probability p = 1 - exp(-n / interval) and stands for 1/p of them.  The
 * sums of var_ are (1 - p)/p^2 and n^2 (1 - p)/p^2 over the samples: the variance of
 * what is estimated, for what lives the difference of the two.  All zero for a site
 * whose numbers are exact.  Monotonic; read freed before allocated.
 * Source: D. G. Horvitz, D. J. Thompson, "A Generalization of Sampling Without
 * Replacement From a Finite Universe" (1952).
 */
struct bs_abi_estimate {
	uint64_t sampled_allocs;
	uint64_t sampled_frees;
	uint64_t allocs_256; /* objects stood for, in 1/256 */
	uint64_t frees_256;
	uint64_t bytes_allocated; /* requested bytes stood for */
	uint64_t bytes_freed;
	uint64_t var_objects_allocated; /* objects^2 */
	uint64_t var_objects_freed;
	uint64_t var_bytes_allocated; /* KiB^2 */
	uint64_t var_bytes_freed;
};
static_assert(sizeof(struct bs_abi_estimate) == 80, "ABI");

/* A loaded object.  generation orders modules that shared an address. */
struct bs_abi_module {
	uint32_t seq;
	uint32_t build_id_bytes; /* 0: none */
	uint64_t bias;		 /* run-time address - address in the file */
	uint64_t start;		 /* lowest mapped address */
	uint64_t end;		 /* first address behind */
	uint64_t loaded_ns;
	uint64_t unloaded_ns; /* 0 while loaded */
	uint64_t generation;
	uint8_t build_id[32];
	char path[168];
};
static_assert(sizeof(struct bs_abi_module) == 256, "ABI");

/*
 * A device that allocates with dma_alloc_coherent.  Counters are monotonic but
 * live_ and peak_; live_bytes = what was asked for, live_pages = what it took.
 */
struct bs_abi_device {
	uint32_t seq;
	uint32_t live; /* 0: slot free */
	char name[32];
	uint64_t allocs;
	uint64_t frees;
	uint64_t failed;
	uint64_t live_bytes;
	uint64_t live_pages;
	uint64_t peak_pages;
	uint64_t trimmed_pages; /* tails given back at once (dma=trim) */
	uint64_t kept_pages;	/* tails kept, cumulated (dma=whole) */
	uint32_t zone;		/* index of the zone asked first */
	uint32_t reserved0;
	uint64_t reserved[2];
};
static_assert(sizeof(struct bs_abi_device) == 128, "ABI");

/*
 * Who holds objects of a cache: kept for caches with slab_debug=U.  The file
 * slab_allocators is made of these.
 */
struct bs_abi_owner {
	uint32_t cache; /* index in the caches section */
	uint32_t site;
	uint64_t live_objs;
};
static_assert(sizeof(struct bs_abi_owner) == 16, "ABI");

/*
 * bs_abi_event.gfp: what a request allowed, with the names that reports show.
 * A request without BS_GFP_DMA or both bits of GFP_ATOMIC is GFP_KERNEL, which
 * is 0.  Bits 16 to 20 hold 1 + the zone asked for first.
 */
#define BS_GFP_TABLE(X)                                                        \
	X(DMA, 0x1U, "GFP_DMA")                                                \
	X(HIGH, 0x20U, "GFP_HIGH")                                             \
	X(NOWAIT, 0x40U, "__GFP_NOWAIT")                                       \
	X(ZERO, 0x100U, "__GFP_ZERO")                                          \
	X(NOWARN, 0x200U, "__GFP_NOWARN")                                      \
	X(MOVABLE, 0x400U, "__GFP_MOVABLE")                                    \
	X(LENT, 0x800U, "__GFP_LENT")                                          \
	X(NORETRY, 0x1000U, "__GFP_NORETRY")                                   \
	X(RECLAIMABLE, 0x2000U, "__GFP_RECLAIMABLE")
enum bs_gfp {
#define X(id, bits, text) BS_GFP_##id = (bits),
	BS_GFP_TABLE(X)
#undef X
};
#define BS_GFP_ATOMIC	  0x60U
#define BS_GFP_ZONE_SHIFT 16U
#define BS_GFP_ZONE_MASK  0x1f0000U

/* bs_abi_event.type */
#define BS_EVENT_TABLE(X)                                                      \
	X(ALLOC_FAILED, 1, "page allocation failure")                          \
	X(ZONE_FALLBACK, 2, "zone fallback")                                   \
	X(HOT_ADD, 3, "hot add")                                               \
	X(HOT_REMOVE, 4, "hot remove")                                         \
	X(DOUBLE_FREE, 5, "double free")                                       \
	X(BAD_FREE, 6, "free of an invalid pointer")                           \
	X(VMALLOC_FAILED, 7, "vmalloc failure")                                \
	X(FORK_ABANDONED, 8, "state abandoned by raw fork")                    \
	X(OVERCOMMIT, 9, "mapping beyond the zones")                           \
	X(DMA_FAILED, 10, "dma_alloc_coherent failure")                        \
	X(SLAB_CORRUPTED, 11, "slab object corrupted")                         \
	X(CARVEOUT_FULL, 12, "carve-out exhausted")
enum bs_event_type {
#define X(name, nr, text) BS_EVENT_##name = (nr),
	BS_EVENT_TABLE(X)
#undef X
	BS_NR_EVENTS
};

/* A zone as it was at an event; pages. */
struct bs_abi_event_zone {
	uint32_t managed_pages;
	uint32_t free_pages;
	uint32_t wmark_min_pages;
	uint32_t wmark_low_pages;
	uint32_t wmark_high_pages;
	uint32_t protection_pages; /* against the zone that was asked for */
	uint32_t used_pages[BS_MAX_USES];
	uint32_t nr_free[BS_NR_ORDERS]; /* free blocks */
	uint32_t reserved;
};
static_assert(sizeof(struct bs_abi_event_zone) == 104, "ABI");

#define BS_EVENT_NO_ZONE UINT32_MAX

/*
 * Event ring: event number n (from 1) is in slot n % capacity; count of the
 * section is the number of events ever made.  A record whose `number` is not
 * the one expected was overwritten or is being written.  Records are no longer
 * than the zones that the process has: elem_bytes is BS_EVENT_BYTES() of them.
 *
 * Types that a failing program makes by the thousand (failures, fallbacks,
 * overcommit) are limited as the kernel's reports are: 10 in 5 s.  suppressed
 * says how many of this type were left out since the one before; those that no
 * event followed are in vmstat events_suppressed alone.
 */
struct bs_abi_event {
	uint64_t number; /* stored last */
	uint64_t time_ns;
	uint32_t type; /* BS_EVENT_* */
	uint32_t tid;
	uint32_t site;
	uint32_t order;
	uint32_t gfp;
	uint32_t zone; /* index of the zone asked for, or BS_EVENT_NO_ZONE */
	uint64_t addr;
	uint64_t bytes;
	uint32_t suppressed;
	uint32_t nr_zones; /* of zones[] */
	char name[32];	   /* cache, device or carve-out; else empty */
	struct bs_abi_event_zone zones[BS_MAX_ZONES];
};
static_assert(offsetof(struct bs_abi_event, zones) == 96, "ABI");
static_assert(sizeof(struct bs_abi_event) == 1760, "ABI");
#define BS_EVENT_BYTES(nr_zones)                                               \
	(offsetof(struct bs_abi_event, zones) +                                \
	 (nr_zones) * sizeof(struct bs_abi_event_zone))

/*
 * Who has memory in blocks that would be free without it.  Where it says that nobody else
 * has, what is buddyscope's own (a board has it not) and what is kept for reuse do not
 * count.
 */
struct bs_abi_pin {
	uint32_t site; /* 0: no call site is known */
	/* BS_USE_*, when site is 0; TABLE: ours, PCP: kept for reuse */
	uint32_t use;
	uint32_t blocks; /* partial ones that it has pages in */
	uint32_t alone;	 /* of these: nobody else has */
	uint32_t pages;	 /* in them; a page of a slab counts for each site */
	/* Partial ones that only this one and those before it have pages in. */
	uint32_t together;
};
static_assert(sizeof(struct bs_abi_pin) == 24, "ABI");
#define BS_NR_PINS 8U

/*
 * What was between the free pages of a zone, when a request found them too scattered or
 * the control page asked: each block of 2^order pages, aligned, is free, partial (half of
 * its pages are free, at least) or full.  Where such blocks have less than half of the
 * free pages, those are partial that are free to a quarter, or else to an eighth.
 * holder[] are call sites that have pages in most of the partial ones, most first; behind
 * them what has no call site.  Pages in per-CPU lists count as free.  Of a zone
 * of more than BS_PINS_PAGES only every nth section of 2^10 pages is looked at.
 *
 * A ring as that of the events: record n (from 1) is in slot n % capacity.  Made on the
 * way out of the call that failed, a moment after its event; when two threads fail at the
 * same time, for one of them.
 */
#define BS_PINS_PAGES 65536U /* 256 MiB */
struct bs_abi_pins {
	uint64_t number; /* stored last */
	uint64_t event;	 /* number of the event that it belongs to; 0: asked */
	uint64_t time_ns;
	uint32_t zone; /* index */
	uint32_t order;
	uint32_t nr_blocks; /* that were looked at */
	uint32_t nr_free;
	uint32_t nr_partial;
	uint32_t nr_holders; /* all, of which holder[] has the first */
	uint32_t request;    /* of the control page, when event is 0 */
	uint32_t part;	     /* of a partial block 1/part is free: 2, 4 or 8 */
	uint32_t free_pages; /* in partial and full blocks */
	uint32_t partial_free_pages; /* of these, in partial ones */
	struct bs_abi_pin holder[BS_NR_PINS];
};
static_assert(sizeof(struct bs_abi_pins) == 256, "ABI");

/*
 * vmstat: one uint64_t each, in this order.  The table is the single source of
 * the index, the JSON key and the documentation.
 */
#define BS_VMSTAT_TABLE(X)                                                     \
	X(FOREIGN_FREES, "foreign_frees",                                      \
	  "frees of pointers that another allocator made")                     \
	X(BAD_FREES, "bad_frees", "frees of pointers that nobody made")        \
	X(DOUBLE_FREES, "double_frees", "frees of objects already free")       \
	X(ATOMIC_ALLOCS, "atomic_allocs",                                      \
	  "allocations from a handler inside the allocator")                   \
	X(ATOMIC_FAILED, "atomic_failed",                                      \
	  "of those, refused because the reserve was empty")                   \
	X(DEFERRED_FREES, "deferred_frees",                                    \
	  "frees from a handler, finished later")                              \
	X(LOST_FREES, "lost_frees",                                            \
	  "frees given up: deferred list full, or state lost in a raw fork")   \
	X(MAPS_UNRECORDED, "maps_unrecorded",                                  \
	  "mmap calls passed on without a record")                             \
	X(MAPS_FAILED, "maps_failed", "mmap calls that the kernel refused")    \
	X(OVERCOMMIT_PAGES, "overcommit_pages",                                \
	  "mapped pages now that no zone had room for")                        \
	X(UNWINDS, "unwinds", "stacks new, or walked to the outermost frame")  \
	X(UNWIND_FAILED, "unwind_failed", "backtraces that found no frame")    \
	X(TRACE_CHECKS, "trace_checks", "recognised stacks unwound again")     \
	X(TRACE_DIFFERENCES, "trace_differences", "of these, not the same")    \
	X(SITES_DROPPED, "sites_dropped",                                      \
	  "allocations whose stack did not fit the depot, or tag the memory")  \
	X(FORK_ABANDONED, "fork_abandoned",                                    \
	  "structures given up after a raw fork")                              \
	X(CHILD_UNPUBLISHED, "child_unpublished",                              \
	  "forked children that could not publish")                            \
	X(LAZY_PAGES, "lazy_pages", "pages of freed areas kept for reuse")     \
	X(VM_REUSED, "vm_reused", "areas served from the kept ones")           \
	X(REAL_MMAP_CALLS, "real_mmap_calls",                                  \
	  "mmap system calls of the engine")                                   \
	X(REAL_MUNMAP_CALLS, "real_munmap_calls",                              \
	  "munmap system calls of the engine")                                 \
	X(REAL_MADVISE_CALLS, "real_madvise_calls",                            \
	  "madvise system calls of the engine")                                \
	X(EVENTS_SUPPRESSED, "events_suppressed",                              \
	  "events left out because there were too many of their kind")         \
	X(ROUTED, "routed", "allocations that a route sent elsewhere")         \
	X(DEBUG_ERRORS, "debug_errors", "errors that slab_debug found")        \
	X(REFUSED, "refused", "requests for which there was no memory")

enum bs_vmstat_item {
#define X(id, key, doc) BS_VMSTAT_##id,
	BS_VMSTAT_TABLE(X)
#undef X
	BS_NR_VMSTAT
};

#endif
