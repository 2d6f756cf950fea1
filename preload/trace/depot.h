/* SPDX-License-Identifier: MIT */
/*
 * depot.h - stacks by number.
 *
 * Layer:  trace.  Locks: SYS_RANK_DEPOT to add; lookups take none.
 *
 * A tree of return addresses that only grows, as the kernel's stackdepot: a stack
 * is the chain from a node to the root (node 0).  A node's key is (parent, pc,
 * generation of the module that pc lies in), so that a library loaded where another
 * one was gets nodes of its own.  The canonical copy is private memory, which fork
 * copies; each new node is published into the segment, which readers see.
 *
 * What another thread was adding when a raw fork copied us is at worst slots that are
 * never used: nodes are filled before they are counted, and counted before they are
 * linked.
 */
#ifndef BS_TRACE_DEPOT_H
#define BS_TRACE_DEPOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"

#define DEPOT_NONE UINT32_MAX

/* What a node takes, in private memory and in the segment. */
#define DEPOT_PRIVATE_BYTES 16U
#define DEPOT_NODE_BYTES    (DEPOT_PRIVATE_BYTES + 1 + sizeof(struct bs_abi_node))

int depot_init(uint32_t nr_nodes);

/*
 * The node of a stack (innermost frame first), added when missing; generation[i]
 * belongs to pcs[i].  DEPOT_NONE: full; an eighth of the nodes is kept for
 * stacks of at most DEPOT_SHORT frames, so that a program with very many stacks still
 * gets its innermost callers recorded.
 */
#define DEPOT_SHORT 4
uint32_t depot_add(const uintptr_t *pcs, const uint32_t *generation, size_t nr);

/*
 * The node that a thread's stacks hang below, added when missing; DEPOT_NONE: full.  It
 * is no frame: its depth is 0, and what counts or lists frames leaves it out.
 */
uint32_t depot_root(uint64_t pc);

/* Deepest node. */
#define DEPOT_MAX_DEPTH 128U

/*
 * The same for a stack whose outer frames are those of a node: what is there already,
 * from the outermost frame on.  *nr becomes the number of frames missing.  chain[i]
 * becomes the node of the stack from pcs[i] outwards.
 */
uint32_t depot_descend(uint32_t node, const uintptr_t *pcs,
		       const uint32_t *generation, size_t *nr, uint32_t *chain);

/* Adds those; all or none. */
uint32_t depot_grow(uint32_t node, const uintptr_t *pcs,
		    const uint32_t *generation, size_t nr, uint32_t *chain);

/* The innermost frames of a node's stack; how many there were. */
uint32_t depot_frames(uint32_t node, uintptr_t *pcs, uint32_t max);

/* Memory in use, the segment's included. */
uint64_t depot_bytes(void);

/* Frames of a node's stack. */
uint32_t depot_depth(uint32_t node);

/* The site made for a node, 0: none yet.  Stored once, by site.c. */
uint32_t depot_site(uint32_t node);
void depot_set_site(uint32_t node, uint32_t site);

uint32_t depot_nr_nodes(void);

/*
 * Brings a node and all above it into the segment.  locked: nobody else adds or
 * publishes.  Nodes that this process added are there already.
 */
void depot_publish_chain(uint32_t node, bool locked);

/* The segment is a new one: nothing is in it.  0 or -ENOMEM. */
int depot_new_segment(void);

/* In a forked child: nobody is adding any more. */
void depot_fork_child(void);

/* Tests only: forget everything. */
void depot_destroy(void);

#endif
