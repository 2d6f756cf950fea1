/* SPDX-License-Identifier: MIT */
/*
 * idmap.c - see idmap.h.
 *
 * Owns:   buckets; copies of the keys.
 * Layer:  shared.
 * Locks:  none.
 * Source: FNV-1a.
 */
#include "shared/idmap.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 256U /* power of two */

struct entry {
	struct entry *next;
	uint64_t hash;
	size_t id;
	size_t len;
	char key[];
};

struct bs_idmap {
	struct entry **buckets;
	size_t nr_buckets; /* power of two, never below nr */
	size_t nr;
};

struct bs_idmap *bs_idmap_new(void)
{
	struct bs_idmap *map = calloc(1, sizeof(*map));

	if (!map)
		return NULL;
	map->nr_buckets = FIRST_BUCKETS;
	map->buckets = calloc(map->nr_buckets, sizeof(struct entry *));
	if (!map->buckets) {
		free(map);
		return NULL;
	}
	return map;
}

void bs_idmap_free(struct bs_idmap *map)
{
	if (!map)
		return;
	for (size_t i = 0; i < map->nr_buckets; i++) {
		while (map->buckets[i]) {
			struct entry *e = map->buckets[i];

			map->buckets[i] = e->next;
			free(e);
		}
	}
	free(map->buckets);
	free(map);
}

static uint64_t hash_bytes(const void *key, size_t len)
{
	const unsigned char *p = key;
	uint64_t h = UINT64_C(14695981039346656037);

	while (len--)
		h = (h ^ *p++) * UINT64_C(1099511628211);
	return h ^ h >> 32;
}

static bool grow(struct bs_idmap *map)
{
	size_t nr = map->nr_buckets * 2;
	struct entry **buckets = calloc(nr, sizeof(struct entry *));

	if (!buckets)
		return false;
	for (size_t i = 0; i < map->nr_buckets; i++) {
		while (map->buckets[i]) {
			struct entry *e = map->buckets[i];

			map->buckets[i] = e->next;
			e->next = buckets[e->hash & (nr - 1)];
			buckets[e->hash & (nr - 1)] = e;
		}
	}
	free(map->buckets);
	map->buckets = buckets;
	map->nr_buckets = nr;
	return true;
}

size_t bs_idmap_get(struct bs_idmap *map, const void *key, size_t len,
		    bool *added)
{
	uint64_t hash = hash_bytes(key, len);
	struct entry *e, **bucket;

	if (!len)
		key = ""; /* memcpy() takes no NULL */
	*added = false;
	for (e = map->buckets[hash & (map->nr_buckets - 1)]; e; e = e->next)
		if (e->hash == hash && e->len == len &&
		    !memcmp(e->key, key, len))
			return e->id;
	if (map->nr == map->nr_buckets && !grow(map))
		return BS_IDMAP_NONE;
	e = malloc(sizeof(*e) + len);
	if (!e)
		return BS_IDMAP_NONE;
	memcpy(e->key, key, len);
	e->hash = hash;
	e->len = len;
	e->id = map->nr++;
	bucket = &map->buckets[hash & (map->nr_buckets - 1)];
	e->next = *bucket;
	*bucket = e;
	*added = true;
	return e->id;
}
