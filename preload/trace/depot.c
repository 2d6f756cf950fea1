/* SPDX-License-Identifier: MIT */
/*
 * depot.c - the tree of return addresses.
 *
 * Owns:   the nodes, their hash table, the segment's node section.
 * Layer:  trace.
 * Locks:  depot_lock (SYS_RANK_DEPOT) around every change.
 * Source: Linux lib/stackdepot.c for the idea (there whole stacks are stored; a
 *         tree shares the outer frames, of which stacks have most in common).
 */
#include <errno.h>

#include "preload/segment.h"
#include "preload/sys/sys.h"
#include "preload/trace/depot.h"

#define DEPTH_BITS 8
#define NODE_BITS  22
#define NODE_MASK  ((1U << NODE_BITS) - 1)
_Static_assert(SEGMENT_NR_NODES <= 1U << NODE_BITS, "a node's number fits");
/* A page at first, doubled when three of four are taken. */
#define FIRST_SLOTS (PAGE_SIZE / sizeof(uint32_t))
_Static_assert(DEPOT_MAX_DEPTH < 1U << DEPTH_BITS, "a depth fits");

/* All but site is constant once the node is in the table. */
struct node {
	uint64_t pc;
	uint32_t parent;
	uint32_t site; /* 0: none */
	uint32_t depth : DEPTH_BITS;
	uint32_t generation : 32 - DEPTH_BITS;
};

_Static_assert(sizeof(struct node) == DEPOT_PRIVATE_BYTES, "accounted for");

static struct node *nodes;
/*
 * Nodes by hash of what they are, in the next slot that is free: the node's number in
 * the lower bits, more of the hash above, so that one that is not there is missed
 * without a look at nodes.  0: free.
 */
static uint32_t *slots;
static uint32_t slot_mask, nr_in_slots, max_slots;
static uint8_t *published, *stale; /* stale: of the parent's file */
static uint32_t nr_nodes, max_nodes;
static struct sys_lock depot_lock;

int depot_init(uint32_t capacity)
{
	max_slots = FIRST_SLOTS;
	while (max_slots / 2 < capacity)
		max_slots *= 2;
	nodes = sys_reserve(capacity * sizeof(*nodes));
	slots = sys_reserve(max_slots * sizeof(*slots));
	if (!nodes || !slots)
		return -ENOMEM;
	max_nodes = capacity;
	nr_nodes = 1; /* the root */
	slot_mask = FIRST_SLOTS - 1;
	nr_in_slots = 0;
	return depot_new_segment();
}

void depot_destroy(void)
{
	sys_munmap(nodes, max_nodes * sizeof(*nodes));
	sys_munmap(slots, max_slots * sizeof(*slots));
	sys_munmap(published ? published : stale, max_nodes);
	published = stale = NULL;
	nodes = NULL;
	slots = NULL;
	nr_nodes = max_nodes = 0;
}

static inline uint64_t hash_of(uint32_t parent, uintptr_t pc,
			       uint32_t generation)
{
	uint64_t h = pc ^ (uint64_t)parent << 32 ^ (uint64_t)generation << 20;

	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 29;
	return h * 0xbf58476d1ce4e5b9ULL;
}

/* The upper bits of a slot; the lower half of the hash says where it is. */
static inline uint32_t mark_of(uint64_t hash)
{
	return (uint32_t)(hash >> 32) & ~NODE_MASK;
}

static void put_in_slot(uint32_t i)
{
	const struct node *n = &nodes[i];
	uint64_t hash = hash_of(n->parent, n->pc, n->generation);
	uint32_t slot = (uint32_t)hash & slot_mask;

	while (slots[slot])
		slot = (slot + 1) & slot_mask;
	__atomic_store_n(&slots[slot], mark_of(hash) | i, __ATOMIC_RELEASE);
}

/* The node behind its parent is in no slot; see add_chain(). */
static void fill_slots(void)
{
	uint32_t i;

	for (i = 0; i <= slot_mask; i++)
		__atomic_store_n(&slots[i], 0, __ATOMIC_RELAXED);
	for (i = 1; i < nr_nodes; i++)
		if (nodes[i].parent != i - 1)
			put_in_slot(i);
}

/* depot_lock held. */
static void add_to_slots(uint32_t i)
{
	put_in_slot(i);
	if (++nr_in_slots <= slot_mask / 4 * 3 || slot_mask == max_slots - 1)
		return;
	__atomic_store_n(&slot_mask, 2 * slot_mask + 1, __ATOMIC_RELAXED);
	fill_slots();
}

static inline bool is_child(uint32_t i, uint32_t parent, uintptr_t pc,
			    uint32_t generation)
{
	const struct node *n = &nodes[i];

	return n->pc == pc && n->parent == parent &&
	       n->generation == generation;
}

/* Whoever finds nothing looks again with the lock held, so they may be moved meanwhile. */
static uint32_t find_child(uint32_t parent, uintptr_t pc, uint32_t generation)
{
	uint32_t mask = __atomic_load_n(&slot_mask, __ATOMIC_RELAXED);
	uint32_t i = parent + 1, slot, word;
	uint64_t hash;

	if (i < depot_nr_nodes() && is_child(i, parent, pc, generation))
		return i;
	hash = hash_of(parent, pc, generation);
	for (slot = (uint32_t)hash & mask;; slot = (slot + 1) & mask) {
		word = __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE);
		if (!word)
			return DEPOT_NONE;
		i = word & NODE_MASK;
		if (word == (mark_of(hash) | i) &&
		    is_child(i, parent, pc, generation))
			return i;
	}
}

/*
 * nr nodes in a row.  Readers of the file see count last.  published[] says what this
 * process's own file has: a forked child begins with an empty one and brings over what
 * it uses.
 */
static void publish(uint32_t first, uint32_t nr)
{
	struct segment *seg = segment_self();
	struct bs_abi_node *out;
	uint64_t end, i;

	if (!seg->header || !published || first >= seg->nr_nodes)
		return;
	end = MIN(first + (uint64_t)nr, seg->nr_nodes);
	out = &seg->nodes[first];
	if (!segment_claim_or_private(out, (end - first) * sizeof(*out)))
		return;
	for (i = first; i < end; i++, out++) {
		out->pc = nodes[i].pc;
		out->parent = nodes[i].parent;
		out->depth = nodes[i].depth;
		__atomic_store_n(&published[i], 1, __ATOMIC_RELEASE);
	}
	sys_raise(seg->header->section[BS_SEC_NODES].count, end);
}

/* The root ends every chain, so it is published first of all. */
void depot_publish_chain(uint32_t node, bool locked)
{
	if (!locked)
		sys_lock(&depot_lock, SYS_RANK_DEPOT);
	if (published && !published[0])
		publish(0, 1);
	for (; published && node && !published[node]; node = nodes[node].parent)
		publish(node, 1);
	if (!locked)
		sys_unlock(&depot_lock, SYS_RANK_DEPOT);
}

int depot_new_segment(void)
{
	if (stale)
		sys_munmap(stale, max_nodes);
	stale = NULL;
	published = sys_reserve(max_nodes);
	return published ? 0 : -ENOMEM;
}

static void count_dropped(void)
{
	struct segment *seg = segment_self();

	if (seg->header)
		__atomic_fetch_add(&seg->header->section[BS_SEC_NODES].dropped,
				   1, __ATOMIC_RELAXED);
}

/*
 * The frames that are missing below a node, as one row of nodes; the innermost one.
 * Each is found as the one behind its parent, so only the first is in a slot: most
 * nodes have one child, and a look-up along a row takes a cache line for two or three
 * frames.  Seen only when all are filled.  depot_lock held.
 */
static uint32_t add_chain(uint32_t parent, const uintptr_t *pcs,
			  const uint32_t *generation, size_t nr,
			  uint32_t *chain)
{
	uint32_t first = nr_nodes, above = nodes[parent].depth, i = first;

	for (; nr--; i++) {
		nodes[i] = (struct node){
			.pc = pcs[nr],
			.parent = i == first ? parent : i - 1,
			.depth = above + 1 + (i - first),
			.generation = generation[nr],
		};
		chain[nr] = i;
	}
	publish(first, i - first);
	__atomic_store_n(&nr_nodes, i, __ATOMIC_RELEASE);
	if (first != parent + 1)
		add_to_slots(first);
	return i - 1;
}

uint32_t depot_frames(uint32_t node, uintptr_t *pcs, uint32_t max)
{
	uint32_t nr = 0;

	for (; nodes[node].depth && nr < max; node = nodes[node].parent)
		pcs[nr++] = nodes[node].pc;
	return nr;
}

uint32_t depot_descend(uint32_t node, const uintptr_t *pcs,
		       const uint32_t *generation, size_t *nr, uint32_t *chain)
{
	while (*nr) {
		size_t i = *nr - 1;
		uint32_t child = find_child(node, pcs[i], generation[i]);

		if (child == DEPOT_NONE)
			break;
		chain[i] = node = child;
		*nr = i;
	}
	return node;
}

uint32_t depot_grow(uint32_t node, const uintptr_t *pcs,
		    const uint32_t *generation, size_t nr, uint32_t *chain)
{
	size_t depth = nr + nodes[node].depth;
	uint32_t limit = max_nodes - (depth > DEPOT_SHORT ? max_nodes / 8 : 0);
	bool full = depth > DEPOT_MAX_DEPTH;

	if (full || !nr)
		goto out;
	sys_lock(&depot_lock, SYS_RANK_DEPOT);
	node = depot_descend(node, pcs, generation, &nr, chain);
	full = nr && (nr > limit || nr_nodes > limit - nr);
	if (nr && !full)
		node = add_chain(node, pcs, generation, nr, chain);
	sys_unlock(&depot_lock, SYS_RANK_DEPOT);
out:
	if (likely(!full))
		return node;
	count_dropped();
	return DEPOT_NONE;
}

/* A node that is no frame: at depth 0, and found by its slot. */
static uint32_t add_root(uint64_t pc)
{
	uint32_t i = nr_nodes;

	if (i >= max_nodes)
		return DEPOT_NONE;
	nodes[i] = (struct node){ .pc = pc };
	publish(i, 1);
	__atomic_store_n(&nr_nodes, i + 1, __ATOMIC_RELEASE);
	if (i != 1)
		add_to_slots(i);
	return i;
}

uint32_t depot_root(uint64_t pc)
{
	uint32_t node = find_child(0, pc, 0);

	if (node != DEPOT_NONE)
		return node;
	sys_lock(&depot_lock, SYS_RANK_DEPOT);
	node = find_child(0, pc, 0);
	if (node == DEPOT_NONE)
		node = add_root(pc);
	sys_unlock(&depot_lock, SYS_RANK_DEPOT);
	return node;
}

uint32_t depot_add(const uintptr_t *pcs, const uint32_t *generation, size_t nr)
{
	uint32_t chain[DEPOT_MAX_DEPTH];
	uint32_t node = depot_descend(0, pcs, generation, &nr, chain);

	return depot_grow(node, pcs, generation, nr, chain);
}

uint64_t depot_bytes(void)
{
	uint64_t nr = depot_nr_nodes();

	return nr * DEPOT_NODE_BYTES + (slot_mask + 1) * sizeof(*slots);
}

uint32_t depot_depth(uint32_t node)
{
	return nodes[node].depth;
}

uint32_t depot_site(uint32_t node)
{
	return __atomic_load_n(&nodes[node].site, __ATOMIC_ACQUIRE);
}

void depot_set_site(uint32_t node, uint32_t site)
{
	__atomic_store_n(&nodes[node].site, site, __ATOMIC_RELEASE);
}

uint32_t depot_nr_nodes(void)
{
	return __atomic_load_n(&nr_nodes, __ATOMIC_ACQUIRE);
}

void depot_fork_child(void)
{
	if (depot_lock.word)
		fill_slots(); /* somebody may have been at it */
	depot_lock.word = 0;
	stale = published ? published : stale;
	published = NULL;
}
