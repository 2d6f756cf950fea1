/* SPDX-License-Identifier: MIT */
/*
 * idmap.h - numbers for keys, in the order in which they come.
 *
 * Owns:   a hash table from bytes to 0, 1, 2, ...
 * Layer:  shared.
 * Locks:  none.
 */
#ifndef BS_SHARED_IDMAP_H
#define BS_SHARED_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bs_idmap;

/* NULL: out of memory. */
struct bs_idmap *bs_idmap_new(void);
void bs_idmap_free(struct bs_idmap *map);

#define BS_IDMAP_NONE SIZE_MAX

/*
 * The number of these bytes; *added says that they came for the first time.
 * BS_IDMAP_NONE: out of memory.
 */
size_t bs_idmap_get(struct bs_idmap *map, const void *key, size_t len,
		    bool *added);

#endif
