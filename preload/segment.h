/* SPDX-License-Identifier: MIT */
/*
 * segment.h - the process's segment file, and its module table.
 *
 * Owns:   creating, mapping, claiming and ending <pid>-<start>-<nonce>.seg
 *         (shared/abi.h), removing dead ones of others, the module section.
 * Layer:  preload; above mm, below the exported names.
 * Locks:  SYS_RANK_SEGMENT for the module table.  Creation needs none: it runs
 *         before the second thread of a process can reach it.
 *
 * Every pointer into the mapping lives in the page that fork wipes
 * (mm_wipe->client), so a forked child has none until it made its own; the
 * mapping itself is MADV_DONTFORK.  No descriptor is kept.
 *
 * Not published is a normal state: no directory, full tmpfs, RLIMIT_FSIZE,
 * publish=no, a seccomp filter.  Then the same tables live in private memory and
 * everybody goes on as usual.
 */
#ifndef BS_PRELOAD_SEGMENT_H
#define BS_PRELOAD_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/internal.h"
#include "preload/mm/mm.h"
#include "shared/abi.h"

/* Capacities, records.  Slot 0 of areas is never used. */
#define SEGMENT_NR_CACHES  512U
#define SEGMENT_NR_AREAS   65536U
#define SEGMENT_NR_NODES   (1U << 22)	    /* at most; trace_memory= */
#define SEGMENT_NR_SITES   ((1U << 17) - 1) /* the same */
#define SEGMENT_NR_MODULES 1024U
#define SEGMENT_NR_EVENTS  1024U
#define SEGMENT_NR_PINS	   256U
#define SEGMENT_NR_DEVICES MM_MAX_DEVICES
#define SEGMENT_NR_OWNERS  16384U
#define SEGMENT_NR_THREADS 4096U      /* trace_threads=on */
#define SEGMENT_MAX_PFNS   (1U << 24) /* page map: one byte each */

/*
 * Dead segments of others that may stay when nobody collects them; so many are
 * left when there were more.
 */
#define SEGMENT_MAX_DEAD  64U
#define SEGMENT_KEEP_DEAD 48U

/*
 * What this process writes to.  NULL header: nothing yet (a forked child before
 * it made some calls).
 */
struct segment {
	/* What each traced call reads comes first. */
	uint64_t ready; /* 1: complete; threads of a child wait for it */
	struct bs_abi_site *sites;
	uint64_t nr_whole; /* site.c: the records 1 to this can be counted in */
	struct bs_abi_header *header;
	struct bs_abi_control *control;
	struct bs_abi_node *nodes;
	struct bs_abi_estimate *estimates; /* as many as sites */
	struct bs_abi_ages *ages;	   /* at most one for each site */
	struct bs_abi_module *modules;
	struct bs_abi_thread *threads; /* SEGMENT_NR_THREADS, or none */
	uint64_t nr_nodes, nr_sites, nr_modules; /* capacities */
	uint64_t published; /* 1: there is a file behind it */
	uint64_t created_ns;
	uint64_t windows_per_tick; /* in 2^-SEGMENT_WINDOW_SHIFT */
};
static_assert(sizeof(struct segment) <=
		      (BS_CLIENT_NR - BS_CLIENT_SEGMENT) * sizeof(uint64_t),
	      "struct segment lives in its words of the wiped page");

__extension__ typedef unsigned __int128 segment_u128;
#define SEGMENT_WINDOW_SHIFT 56 /* windows are 1 ms at least */

static inline struct segment *segment_self(void)
{
	return (struct segment *)(void *)&mm_wipe->client[BS_CLIENT_SEGMENT];
}

/*
 * At the start, after mm_init(): makes the file, maps it, fills the header, sets
 * mm_wipe->pub and calls mm_publish_all().  0: published.  -errno: not published,
 * private tables took its place (say nothing: this is a normal state; a directory
 * of somebody else's is reported once with sys_say()).
 * Context: inside (bs_enter() held), no lock held.
 */
int segment_create(void);

/* Around fork(), outside of every engine lock; the child calls segment_child(). */
void segment_fork_prepare(void);
void segment_fork_parent(void);

/*
 * First thing in a forked child, cheap: forgets what another thread was doing.  raw:
 * mm_raw_child() was needed.  The child's own segment comes later.
 */
void segment_child(bool raw);

/*
 * For untraced processes, at each call while segment_self()->ready is 0: makes the
 * forked child's segment when it is worth while.  Modules, sites and stacks keep
 * their numbers; the site counters are rebuilt from the live tags, and
 * header.created_ns stays the parent's, so that birth windows stay valid.  Under a
 * seccomp filter (bs_sandboxed) it counts BS_VMSTAT_CHILD_UNPUBLISHED and opens
 * nothing.  Context: inside, no lock held.
 */
void segment_child_called(void);

/*
 * For the tracer, while segment_self()->ready is 0.  Under this lock objects get and
 * lose tags uncounted, so that the walk which rebuilds the counters sees each one
 * once.  False: the segment is there meanwhile, and the lock is not held.
 */
bool segment_child_lock(void);
void segment_child_unlock(void);
/* The same at each allocation, lock held. */
void segment_child_grew(void);

/* Tests only: unmaps everything; the file stays. */
void segment_destroy(void);

/* From an exit handler: modules once more, state EXITED, exited_ns. */
void segment_exit(void);

/*
 * Makes [p, p+len) of the mapping safe to write.  Cheap when it was claimed
 * before.  False: the tmpfs is full (tried again once a second, counted in
 * header.publish_failed) or there is no file.  This is mm_pub.claim.
 */
bool segment_claim(const void *p, size_t len);

/*
 * The same for tables that the library itself needs: pages that cannot be claimed
 * are replaced with private memory.  False only when that fails too.
 */
bool segment_claim_or_private(const void *p, size_t len);

/*
 * Brings the module table up to date; costs one dl_iterate_phdr() step when
 * nothing was loaded or unloaded.  Call after dlclose().
 * Context: inside or outside, no lock of ours held.
 */
void segment_modules(void);

/* The same when one of these return addresses is in a module not known yet. */
void segment_modules_check(const uintptr_t *pcs, size_t nr);

/*
 * Number of times that the set of modules changed.  A stack recorded in an
 * earlier epoch has to be looked up again.
 */
uint64_t segment_epoch(void);

/* Generation of the loaded module that pc lies in; 0: none. Any context. */
uint32_t segment_generation(uintptr_t pc);

/*
 * Path of the loaded module that pc lies in, for ever valid; NULL: none known.
 * Any context.
 */
const char *segment_module_path(uintptr_t pc);

/* In the dynamic loader? */
bool segment_is_loader(uintptr_t pc);

#endif
