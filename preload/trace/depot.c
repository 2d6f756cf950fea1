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

#define DEPTH_BITS  8
#define BUCKET_BITS 17
#define NR_BUCKETS  (1UL << BUCKET_BITS)
_Static_assert(DEPOT_MAX_DEPTH < 1U << DEPTH_BITS, "a depth fits");

/*
 * next < the node's own number, so a chain always ends.  All but site are constant
 * once the node is linked.
 */
struct node {
	uint64_t pc;
	uint32_t parent;
	uint32_t next; /* in the bucket; 0: end */
	uint32_t site; /* 0: none */
	uint32_t depth : DEPTH_BITS;
	uint32_t generation : 32 - DEPTH_BITS;
};

_Static_assert(sizeof(struct node) == DEPOT_PRIVATE_BYTES, "accounted for");

static struct node *nodes;
static uint32_t *buckets;
static uint8_t *published, *stale; /* stale: of the parent's file */
static uint32_t nr_nodes, max_nodes;
static struct sys_lock depot_lock;

int depot_init(uint32_t capacity)
{
	nodes = sys_reserve(capacity * sizeof(*nodes));
	buckets = sys_reserve(NR_BUCKETS * sizeof(*buckets));
	if (!nodes || !buckets)
		return -ENOMEM;
	max_nodes = capacity;
	nr_nodes = 1; /* the root */
	return depot_new_segment();
}

void depot_destroy(void)
{
	sys_munmap(nodes, max_nodes * sizeof(*nodes));
	sys_munmap(buckets, NR_BUCKETS * sizeof(*buckets));
	sys_munmap(published ? published : stale, max_nodes);
	published = stale = NULL;
	nodes = NULL;
	buckets = NULL;
	nr_nodes = max_nodes = 0;
}

static uint32_t *bucket_of(uint32_t parent, uintptr_t pc, uint32_t generation)
{
	uint64_t h = pc ^ (uint64_t)parent << 32 ^ (uint64_t)generation << 20;

	h *= 0x9e3779b97f4a7c15ULL;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9ULL;
	return &buckets[h >> (64 - BUCKET_BITS)];
}

static uint32_t find_child(uint32_t parent, uintptr_t pc, uint32_t generation)
{
	uint32_t i = __atomic_load_n(bucket_of(parent, pc, generation),
				     __ATOMIC_ACQUIRE);

	while (i) {
		const struct node *n = &nodes[i];

		if (n->pc == pc && n->parent == parent &&
		    n->generation == generation)
			return i;
		i = n->next;
	}
	return DEPOT_NONE;
}

/*
 * Readers of the file see count last.  published[] says what this process's own file
 * has: a forked child begins with an empty one and brings over what it uses.
 */
static void publish(uint32_t i)
{
	struct segment *seg = segment_self();
	uint64_t *count;
	struct bs_abi_node *out;

	if (!seg->header || !published || i >= seg->nr_nodes)
		return;
	out = &seg->nodes[i];
	if (!segment_claim_or_private(out, sizeof(*out)))
		return;
	out->pc = nodes[i].pc;
	out->parent = nodes[i].parent;
	out->depth = nodes[i].depth;
	__atomic_store_n(&published[i], 1, __ATOMIC_RELEASE);
	count = &seg->header->section[BS_SEC_NODES].count;
	if (*count <= i)
		__atomic_store_n(count, i + 1, __ATOMIC_RELEASE);
}

/* The root ends every chain, so it is published first of all. */
void depot_publish_chain(uint32_t node, bool locked)
{
	if (!locked)
		sys_lock(&depot_lock, SYS_RANK_DEPOT);
	if (published && !published[0])
		publish(0);
	for (; published && node && !published[node]; node = nodes[node].parent)
		publish(node);
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

/* Refused at `limit` nodes. */
static uint32_t add_child(uint32_t parent, uintptr_t pc, uint32_t generation,
			  uint32_t depth, uint32_t limit)
{
	uint32_t *bucket = bucket_of(parent, pc, generation);
	uint32_t i = nr_nodes;
	struct node *n;

	if (i >= limit)
		return DEPOT_NONE;
	n = &nodes[i];
	n->pc = pc;
	n->parent = parent;
	n->next = *bucket;
	n->site = 0;
	n->depth = depth;
	n->generation = generation;
	__atomic_store_n(&nr_nodes, i + 1, __ATOMIC_RELEASE);
	publish(i);
	__atomic_store_n(bucket, i, __ATOMIC_RELEASE);
	return i;
}

uint32_t depot_frames(uint32_t node, uintptr_t *pcs, uint32_t max)
{
	uint32_t nr = 0;

	for (; nodes[node].depth && nr < max; node = nodes[node].parent)
		pcs[nr++] = nodes[node].pc;
	return nr;
}

/* The frames that are there already, from the outermost on; *left: those missing. */
static uint32_t descend(uint32_t node, const uintptr_t *pcs,
			const uint32_t *generation, size_t *left,
			uint32_t *chain)
{
	while (*left) {
		size_t i = *left - 1;
		uint32_t child = find_child(node, pcs[i], generation[i]);

		if (child == DEPOT_NONE)
			break;
		chain[i] = node = child;
		*left = i;
	}
	return node;
}

uint32_t depot_find_below(uint32_t node, const uintptr_t *pcs,
			  const uint32_t *generation, size_t nr,
			  uint32_t *chain)
{
	node = descend(node, pcs, generation, &nr, chain);
	return nr ? DEPOT_NONE : node;
}

uint32_t depot_grow(uint32_t node, const uintptr_t *pcs,
		    const uint32_t *generation, size_t nr, uint32_t *chain)
{
	size_t left = nr, depth = nr + nodes[node].depth;
	uint32_t limit = max_nodes - (depth > DEPOT_SHORT ? max_nodes / 8 : 0);

	node = descend(node, pcs, generation, &left, chain);
	if (likely(!left))
		return node;
	if (depot_nr_nodes() >= limit || depth > DEPOT_MAX_DEPTH)
		goto out_full;
	sys_lock(&depot_lock, SYS_RANK_DEPOT);
	node = descend(node, pcs, generation, &left, chain);
	while (left && node != DEPOT_NONE) {
		left--;
		node = add_child(node, pcs[left], generation[left],
				 nodes[node].depth + 1, limit);
		chain[left] = node;
	}
	sys_unlock(&depot_lock, SYS_RANK_DEPOT);
	if (node != DEPOT_NONE)
		return node;
out_full:
	count_dropped();
	return DEPOT_NONE;
}

uint32_t depot_root(uint64_t pc)
{
	uint32_t node = find_child(0, pc, 0);

	if (node != DEPOT_NONE)
		return node;
	sys_lock(&depot_lock, SYS_RANK_DEPOT);
	node = find_child(0, pc, 0);
	if (node == DEPOT_NONE)
		node = add_child(0, pc, 0, 0, max_nodes);
	sys_unlock(&depot_lock, SYS_RANK_DEPOT);
	return node;
}

uint32_t depot_add(const uintptr_t *pcs, const uint32_t *generation, size_t nr)
{
	uint32_t chain[DEPOT_MAX_DEPTH];

	return depot_grow(0, pcs, generation, nr, chain);
}

uint64_t depot_bytes(void)
{
	uint64_t nr = depot_nr_nodes();

	return nr * DEPOT_NODE_BYTES +
	       MIN(nr * PAGE_SIZE, NR_BUCKETS * sizeof(*buckets));
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
	depot_lock.word = 0;
	stale = published ? published : stale;
	published = NULL;
}
