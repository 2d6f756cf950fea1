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

#include "preload/mm/mm.h"
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

/*
 * Two words, so that four nodes are in a cache line:
 *
 *	code:	pc, PC_BITS; above, the lower bits of the generation
 *	rest:	site (0: none), parent, depth, the other bits of the generation
 *
 * All but site is constant once the node is in the table.
 */
struct node {
	uint64_t code;
	uint64_t rest;
};

_Static_assert(sizeof(struct node) == DEPOT_PRIVATE_BYTES, "accounted for");

#define PC_BITS	     57U /* of user space, with five-level page tables, too */
#define PC_MASK	     ((UINT64_C(1) << PC_BITS) - 1)
#define GEN_LOW_BITS (64 - PC_BITS)
#define PARENT_SHIFT TAG_SITE_BITS
#define DEPTH_SHIFT  (PARENT_SHIFT + NODE_BITS)
#define GEN_SHIFT    (DEPTH_SHIFT + DEPTH_BITS)
#define SITE_MASK    ((UINT64_C(1) << TAG_SITE_BITS) - 1)
#define FAMILY	     (~SITE_MASK & ~(UINT64_C(0xff) << DEPTH_SHIFT))
_Static_assert(DEPTH_BITS == 8 && GEN_SHIFT < 64,
	       "FAMILY is parent, generation");

static inline uint64_t code_of(uintptr_t pc, uint32_t generation)
{
	return (pc & PC_MASK) | (uint64_t)generation << PC_BITS;
}

/* parent and generation */
static inline uint64_t family_of(uint32_t parent, uint32_t generation)
{
	return (uint64_t)parent << PARENT_SHIFT |
	       (uint64_t)(generation >> GEN_LOW_BITS) << GEN_SHIFT;
}

static inline uint64_t rest_of(const struct node *n)
{
	return __atomic_load_n(&n->rest, __ATOMIC_RELAXED);
}

static inline uint32_t parent_of(const struct node *n)
{
	return (uint32_t)(rest_of(n) >> PARENT_SHIFT) & NODE_MASK;
}

static inline uint32_t depth_of(const struct node *n)
{
	return (uint32_t)(rest_of(n) >> DEPTH_SHIFT) & ((1U << DEPTH_BITS) - 1);
}

/* At depth 0 is the root, of pc 0, and what depot_root() made. */
static inline uintptr_t pc_of(const struct node *n)
{
	uintptr_t pc = n->code & PC_MASK;

	return pc && !depth_of(n) ? pc | (BS_THREAD_PC & ~PC_MASK) : pc;
}

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

static inline uint64_t hash_of(uint64_t code, uint64_t family)
{
	uint64_t h =
		code * 0x9e3779b97f4a7c15ULL ^ family * 0xd6e8feb86659fd93ULL;

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
	uint64_t hash = hash_of(n->code, rest_of(n) & FAMILY);
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
		if (parent_of(&nodes[i]) != i - 1)
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

static inline bool is_child(uint32_t i, uint64_t code, uint64_t family)
{
	const struct node *n = &nodes[i];

	return n->code == code && (rest_of(n) & FAMILY) == family;
}

/* Whoever finds nothing looks again with the lock held, so they may be moved meanwhile. */
static uint32_t find_child(uint32_t parent, uintptr_t pc, uint32_t generation)
{
	uint32_t mask = __atomic_load_n(&slot_mask, __ATOMIC_RELAXED);
	uint64_t code = code_of(pc, generation), hash;
	uint64_t family = family_of(parent, generation);
	uint32_t i = parent + 1, slot, word;

	if (i < depot_nr_nodes() && is_child(i, code, family))
		return i;
	hash = hash_of(code, family);
	for (slot = (uint32_t)hash & mask;; slot = (slot + 1) & mask) {
		word = __atomic_load_n(&slots[slot], __ATOMIC_ACQUIRE);
		if (!word)
			return DEPOT_NONE;
		i = word & NODE_MASK;
		if (word == (mark_of(hash) | i) && is_child(i, code, family))
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
		out->pc = pc_of(&nodes[i]);
		out->parent = parent_of(&nodes[i]);
		out->depth = depth_of(&nodes[i]);
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
	for (; published && node && !published[node];
	     node = parent_of(&nodes[node]))
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
	uint32_t first = nr_nodes, above = depth_of(&nodes[parent]), i = first;

	for (; nr--; i++) {
		uint32_t up = i == first ? parent : i - 1;
		uint64_t depth = above + 1 + (i - first);

		nodes[i] = (struct node){
			.code = code_of(pcs[nr], generation[nr]),
			.rest = family_of(up, generation[nr]) |
				depth << DEPTH_SHIFT,
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

	for (; depth_of(&nodes[node]) && nr < max;
	     node = parent_of(&nodes[node]))
		pcs[nr++] = pc_of(&nodes[node]);
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

static bool has_room(size_t nr, uint32_t limit)
{
	return !nr || (nr <= limit && depot_nr_nodes() <= limit - nr);
}

uint32_t depot_grow(uint32_t node, const uintptr_t *pcs,
		    const uint32_t *generation, size_t nr, uint32_t *chain)
{
	size_t depth = nr + depth_of(&nodes[node]);
	uint32_t limit = max_nodes - (depth > DEPOT_SHORT ? max_nodes / 8 : 0);
	bool full = depth > DEPOT_MAX_DEPTH || !has_room(nr, limit);

	if (full || !nr)
		goto out;
	sys_lock(&depot_lock, SYS_RANK_DEPOT);
	node = depot_descend(node, pcs, generation, &nr, chain);
	full = !has_room(nr, limit);
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
	nodes[i] = (struct node){ .code = code_of(pc, 0) };
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
	return depth_of(&nodes[node]);
}

uint32_t depot_site(uint32_t node)
{
	return (uint32_t)(__atomic_load_n(&nodes[node].rest, __ATOMIC_ACQUIRE) &
			  SITE_MASK);
}

void depot_set_site(uint32_t node, uint32_t site)
{
	__atomic_fetch_or(&nodes[node].rest, site, __ATOMIC_RELEASE);
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
