/* SPDX-License-Identifier: MIT */
/*
 * colour.c - what colouring is for: the same field of many slabs' objects.
 *
 * usage: colour off|on
 *
 * Reads the first word of the first object of 64 slabs, over and over.  Without
 * colours these words lie at the same offset in their pages and compete for the
 * few lines of one set of the first-level cache.  Prints ns a read; count misses
 * with valgrind --tool=cachegrind --cache-sim=yes.
 */
#include <stdio.h>
#include <string.h>

#include "preload/mm/slab.h"

#define NR_SLABS     64
#define ROUNDS	     200000
#define OBJECT_BYTES 600 /* six in a page: 448 bytes are left over */

static volatile uint64_t *words[NR_SLABS];

/* The first object of each slab; objects of one slab come in a row. */
static unsigned int collect(struct kmem_cache *cachep)
{
	const struct slab *last = NULL;
	unsigned int nr = 0, i;

	for (i = 0; nr < NR_SLABS && i < NR_SLABS * cachep->num * 2; i++) {
		char *objp = kmem_cache_alloc(cachep, GFP_KERNEL);
		const struct slab *slabp;

		if (!objp)
			break;
		slabp = pfn_to_page(virt_to_pfn(objp))->slab;
		if (slabp != last)
			words[nr++] = (volatile uint64_t *)(void *)slabp->s_mem;
		last = slabp;
	}
	return nr;
}

int main(int argc, char **argv)
{
	struct kmem_cache *cachep;
	struct mm_config config;
	unsigned int nr, i, r;
	uint64_t start_ns, sum = 0;

	if (argc != 2 || (strcmp(argv[1], "on") && strcmp(argv[1], "off"))) {
		fprintf(stderr, "usage: colour off|on\n");
		return 2;
	}
	mm_default_config(&config);
	if (mm_init(&config, NULL))
		return 1;
	cachep = kmem_cache_create("colour", OBJECT_BYTES, 0, 0, NULL);
	if (!cachep)
		return 1;
	if (!strcmp(argv[1], "off"))
		cachep->colour = 0;
	nr = collect(cachep);
	if (!nr)
		return 1;
	start_ns = sys_now_ns();
	for (r = 0; r < ROUNDS; r++)
		for (i = 0; i < nr; i++)
			sum += *words[i];
	printf("colours %u, slabs %u, %.2f ns a read%s\n", cachep->colour + 1,
	       nr, (double)(sys_now_ns() - start_ns) / ROUNDS / nr,
	       sum == 1 ? "!" : "");
	return 0;
}
