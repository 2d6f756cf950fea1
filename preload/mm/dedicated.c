/* SPDX-License-Identifier: MIT */
/*
 * dedicated.c - caches of exactly the size that a program asks for often.
 *
 * Owns:   mm.kmalloc_samples, and which cache a step of kmalloc's table leads to
 *         once it no longer is the general one.
 * Layer:  mm, above slab; below kmalloc, which reads the table.
 * Locks:  the array lock, tried for; the chain lock, tried for within it, while
 *         a cache is made.
 *
 * General caches waste what lies between a size and the next one of theirs: a
 * kernel has dedicated caches for the structures that it has many of.  A program
 * does not say which those are, so they are observed.  Each refill of an array
 * is a sample of the size asked for at that moment.  Refills happen where the
 * number of live objects grows, so the samples' shares are taken for the shares
 * of the live objects:
 *
 *     waste(step) = live objects * share of the step * (buffer - size of step)
 *
 * Where that passes WASTE_BYTES a cache of the step's size is made, and the step,
 * with all smaller ones that are served by a larger cache, leads there from now
 * on.  Objects that live stay where they are; what an object's size is, its page
 * says alone.
 */
#include "preload/mm/slab.h"
#include "preload/mm/slab_cache.h"

/*
 * Worth a cache: what its own partly used slabs may cost, and those of the general
 * one that its objects leave (32 KiB: cc1plus made 14 caches and took 2 % more).
 */
#define WASTE_BYTES   (64UL << 10)
#define MIN_SAMPLES   4U    /* of a step */
#define DECAY_SAMPLES 1024U /* of a cache: then old ones count half */
#define MAX_DEDICATED 320U  /* of MM_MAX_CACHES */

/* array lock held, here and in all below. */
static void add_sample(struct kmem_cache *cachep, unsigned int step)
{
	unsigned int i;

	mm.kmalloc_samples[step]++;
	if (++cachep->nr_samples < DECAY_SAMPLES)
		return;
	cachep->nr_samples = 0;
	for (i = cachep->step_first; i <= cachep->step_last; i++) {
		if (mm.kmalloc_table[i] != cachep)
			continue;
		mm.kmalloc_samples[i] /= 2;
		cachep->nr_samples += mm.kmalloc_samples[i];
	}
}

static uint64_t waste_bytes(struct kmem_cache *cachep, unsigned int step)
{
	uint64_t live;

	sys_lock(&cachep->list3.list_lock, SYS_RANK_LIST);
	live = cache_active_objs(cachep);
	sys_unlock(&cachep->list3.list_lock, SYS_RANK_LIST);
	return live * mm.kmalloc_samples[step] / MAX(cachep->nr_samples, 1U) *
	       (cachep->buffer_size - kmalloc_step_bytes(step));
}

/* The step, and those below that a larger cache serves. */
static void switch_steps(struct kmem_cache *to, unsigned int step)
{
	to->step_last = step;
	while (mm.kmalloc_table[step]->buffer_size > to->buffer_size) {
		mm.kmalloc_table[step]->nr_samples -= mm.kmalloc_samples[step];
		mm.kmalloc_samples[step] = 0;
		to->step_first = step;
		__atomic_store_n(&mm.kmalloc_table[step], to, __ATOMIC_RELEASE);
		if (!step--)
			break;
	}
}

static void make_dedicated(unsigned int step)
{
	const struct kmem_cache_args args = {
		.size = kmalloc_step_bytes(step),
		.flags = SLAB_DEDICATED | (mm.config.tags ? SLAB_TAGS : 0),
		.nowait = true,
	};
	struct kmem_cache *cachep;
	char name[32];

	sys_format(name, sizeof(name), "kmalloc-fit-%u",
		   kmalloc_step_bytes(step));
	cachep = kmem_cache_create_args(name, &args);
	if (!cachep)
		return;
	mm.nr_dedicated++;
	switch_steps(cachep, step);
}

void kmalloc_observe(struct kmem_cache *cachep, size_t size)
{
	unsigned int step = kmalloc_step(size);

	if (!mm.config.dedicated ||
	    !(cachep->flags & (SLAB_GENERAL | SLAB_DEDICATED)) ||
	    !sys_trylock(&mm.array_lock, SYS_RANK_ARRAY))
		return;
	if (mm.kmalloc_table[step] == cachep) {
		add_sample(cachep, step);
		if (mm.kmalloc_samples[step] >= MIN_SAMPLES &&
		    mm.nr_dedicated < MAX_DEDICATED &&
		    waste_bytes(cachep, step) >= WASTE_BYTES)
			make_dedicated(step);
	}
	sys_unlock(&mm.array_lock, SYS_RANK_ARRAY);
}
