/* SPDX-License-Identifier: MIT */
/*
 * render-slab.c - the caches: slabinfo, slab_allocators.
 *
 * Owns:   these files as text, byte for byte, and as JSON.
 * Layer:  shared.
 * Locks:  none.
 * Source: mm/slab.c (print_slabinfo_header, s_show, leaks_show) of Linux 2.6.29,
 *         mm/slab_common.c of 6.x.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/render-priv.h"

/* ---- slabinfo ---------------------------------------------------------- */

#define NAME_MAX_LEN (sizeof(((struct bs_abi_cache *)0)->name) + 8)

/*
 * 2.6.29 called the general caches size-64 and size-64(DMA); kmalloc-64 and
 * dma-kmalloc-64 is what they have been since 3.9.  Ours may be of other zones.
 */
static const char *cache_name(const char *name, enum bs_kernel_format format,
			      char text[NAME_MAX_LEN])
{
	static const char kmalloc[] = "kmalloc-";
	const char *at = strstr(name, kmalloc);
	const char *bytes = at ? at + sizeof(kmalloc) - 1 : "";
	size_t zone = at ? (size_t)(at - name) : 0; /* with its dash */
	size_t len;

	if (format != BS_FORMAT_2_6_29 || !*bytes ||
	    strspn(bytes, "0123456789") != strlen(bytes) ||
	    (zone && name[zone - 1] != '-'))
		return name;
	len = (size_t)snprintf(text, NAME_MAX_LEN, "size-%s", bytes);
	if (!zone)
		return text;
	text[len++] = '(';
	for (size_t i = 0; i + 1 < zone; i++)
		text[len++] = (char)toupper((unsigned char)name[i]);
	text[len++] = ')';
	text[len] = '\0';
	return text;
}

static void put_header(struct bs_buf *out, bool statistics)
{
	bs_buf_printf(out, "slabinfo - version: 2.1%s\n",
		      statistics ? " (statistics)" : "");
	bs_buf_puts(out,
		    "# name            <active_objs> <num_objs> <objsize> "
		    "<objperslab> <pagesperslab>"
		    " : tunables <limit> <batchcount> <sharedfactor>"
		    " : slabdata <active_slabs> <num_slabs> <sharedavail>");
	if (statistics)
		bs_buf_puts(out, " : globalstat <listallocs> <maxobjs> <grown> "
				 "<reaped> <error> <maxfreeable> <nodeallocs> "
				 "<remotefrees> <alienoverflow>"
				 " : cpustat <allochit> <allocmiss> <freehit> "
				 "<freemiss>");
	bs_buf_putc(out, '\n');
}

/* One node: nothing is allocated on, or freed for, another one. */
static void put_statistics(struct bs_buf *out, const struct bs_abi_cache *c)
{
	bs_buf_printf(out,
		      " : globalstat %7" PRIu64 " %6" PRIu64 " %5" PRIu64
		      " %4" PRIu64 " %4" PRIu64 " %4" PRIu64 " %4u %4u %4u",
		      c->list_allocs, c->high_mark, c->grown, c->reaped,
		      c->errors, c->max_freeable, 0U, 0U, 0U);
	bs_buf_printf(out,
		      " : cpustat %6" PRIu64 " %6" PRIu64 " %6" PRIu64
		      " %6" PRIu64,
		      c->alloc_hits, c->alloc_misses, c->free_hits,
		      c->free_misses);
}

void bs_text_slabinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	char name[NAME_MAX_LEN];

	put_header(out, opt->statistics);
	for (uint64_t i = 0; i < bs_snapshot_nr_caches(s); i++) {
		const struct bs_abi_cache *c = bs_snapshot_cache(s, i);

		bs_buf_printf(out,
			      "%-17s %6" PRIu64 " %6" PRIu64 " %6u %4u %4d",
			      cache_name(c->name, opt->format, name),
			      c->active_objs, c->num_objs, c->object_bytes,
			      c->objs_per_slab, (int)c->pages_per_slab);
		bs_buf_printf(out, " : tunables %4u %4u %4u", c->limit,
			      c->batchcount, c->shared);
		bs_buf_printf(out,
			      " : slabdata %6" PRIu64 " %6" PRIu64 " %6" PRIu64,
			      c->active_slabs, c->num_slabs, c->shared_avail);
		if (opt->statistics)
			put_statistics(out, c);
		bs_buf_putc(out, '\n');
	}
}

struct flag_name {
	uint32_t flag;
	const char *name;
};

static void put_flags(struct bs_json *json, const char *key, uint32_t flags,
		      const struct flag_name *names, size_t nr)
{
	bs_json_array(json, key);
	for (size_t i = 0; i < nr; i++)
		if (flags & names[i].flag)
			bs_json_str(json, NULL, names[i].name);
	bs_json_array_end(json);
}

static void put_kind(struct bs_json *json, const struct bs_abi_cache *c)
{
	static const struct flag_name kinds[] = {
		{ BS_CACHE_OFF_SLAB, "off_slab" },
		{ BS_CACHE_GENERAL, "general" },
		{ BS_CACHE_DEDICATED, "dedicated" },
		{ BS_CACHE_PROGRAM, "program" },
		{ BS_CACHE_CTOR, "ctor" },
	};
	static const struct flag_name debug[] = {
		{ BS_DEBUG_CHECKS, "F" },
		{ BS_DEBUG_RED_ZONE, "Z" },
		{ BS_DEBUG_POISON, "P" },
		{ BS_DEBUG_USER, "U" },
	};

	put_flags(json, "flags", c->flags, kinds,
		  sizeof(kinds) / sizeof(kinds[0]));
	put_flags(json, "debug", c->debug, debug,
		  sizeof(debug) / sizeof(debug[0]));
}

void bs_json_slabinfo(struct bs_buf *out, const struct bs_snapshot *s,
		      const struct bs_render_options *opt)
{
	struct bs_json json;

	(void)opt;
	bs_render_begin(&json, out, s);
	bs_json_array(&json, "caches");
	for (uint64_t i = 0; i < bs_snapshot_nr_caches(s); i++) {
		const struct bs_abi_cache *c = bs_snapshot_cache(s, i);

		bs_json_object(&json, NULL);
		bs_json_str(&json, "name", c->name);
		if (bs_snapshot_cache_torn(s, i))
			bs_json_bool(&json, "torn", true);
		bs_json_u64(&json, "active_objs", c->active_objs);
		bs_json_u64(&json, "num_objs", c->num_objs);
		bs_json_u64(&json, "object_bytes", c->object_bytes);
		bs_json_u64(&json, "objs_per_slab", c->objs_per_slab);
		bs_json_u64(&json, "pages_per_slab", c->pages_per_slab);
		bs_json_u64(&json, "active_slabs", c->active_slabs);
		bs_json_u64(&json, "num_slabs", c->num_slabs);
		bs_json_u64(&json, "shared_avail", c->shared_avail);
		bs_json_u64(&json, "limit", c->limit);
		bs_json_u64(&json, "batchcount", c->batchcount);
		bs_json_u64(&json, "shared", c->shared);
		bs_json_u64(&json, "high_mark", c->high_mark);
		bs_json_u64(&json, "grown", c->grown);
		bs_json_u64(&json, "reaped", c->reaped);
		bs_json_u64(&json, "errors", c->errors);
		bs_json_u64(&json, "refills", c->refills);
		bs_json_u64(&json, "flushes", c->flushes);
		bs_json_u64(&json, "list_allocs", c->list_allocs);
		bs_json_u64(&json, "max_freeable", c->max_freeable);
		bs_json_u64(&json, "alloc_hits", c->alloc_hits);
		bs_json_u64(&json, "alloc_misses", c->alloc_misses);
		bs_json_u64(&json, "free_hits", c->free_hits);
		bs_json_u64(&json, "free_misses", c->free_misses);
		bs_json_u64(&json, "align_bytes", c->align_bytes);
		bs_json_u64(&json, "requested_bytes", c->requested_bytes);
		bs_json_u64(&json, "colours", c->colours);
		bs_json_u64(&json, "colour_bytes", c->colour_bytes);
		bs_json_u64(&json, "zone", c->zone);
		put_kind(&json, c);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
}

/* ---- slab_allocators --------------------------------------------------- */

bool bs_slab_allocators_known(const struct bs_snapshot *s)
{
	for (uint64_t i = 0; i < bs_snapshot_nr_caches(s); i++)
		if (bs_snapshot_cache(s, i)->debug & BS_DEBUG_USER)
			return true;
	return false;
}

#define CALLER_MAX 512

/* The kernel has a row for each caller, we know whole stacks: sites add up. */
struct allocator {
	uint64_t cache; /* number in the snapshot */
	uint64_t live_objs;
	uint64_t nr_sites;
	char caller[CALLER_MAX]; /* symbol+0xoff/0xsize [module] */
};

static int by_cache_and_caller(const void *va, const void *vb)
{
	const struct allocator *a = va, *b = vb;

	if (a->cache != b->cache)
		return a->cache < b->cache ? -1 : 1;
	return strcmp(a->caller, b->caller);
}

static int by_cache_and_objs(const void *va, const void *vb)
{
	const struct allocator *a = va, *b = vb;

	if (a->cache != b->cache)
		return a->cache < b->cache ? -1 : 1;
	if (a->live_objs != b->live_objs)
		return a->live_objs > b->live_objs ? -1 : 1;
	return strcmp(a->caller, b->caller);
}

static void name_allocator(const struct bs_snapshot *s,
			   const struct bs_render_options *opt, uint32_t site,
			   char *text, size_t len)
{
	const char *module;
	size_t at;

	if (!bs_render_caller(s, opt, site, text, len)) {
		snprintf(text, len, "0x0");
		return;
	}
	module = bs_caller_module(s, site);
	at = strlen(text);
	if (!module || at + 4 >= len)
		return;
	snprintf(text + at, len - at, " [%s", module);
	for (char *c = text + at + 1; *c; c++)
		if ((unsigned char)*c <= 0x20 || *c == 0x7f)
			*c = '_';
	at = strlen(text);
	snprintf(text + (at + 2 > len ? len - 2 : at), 2, "]");
}

/* All of them, one for each cache and caller; NULL with *nr 0: none. */
static struct allocator *collect(const struct bs_snapshot *s,
				 const struct bs_render_options *opt,
				 size_t *nr)
{
	uint64_t nr_owners = bs_snapshot_nr_owners(s), cache;
	struct allocator *list;
	size_t n = 0, kept = 0;

	*nr = 0;
	list = calloc(nr_owners ? nr_owners : 1, sizeof(*list));
	if (!list)
		return NULL;
	for (uint64_t i = 0; i < nr_owners; i++) {
		const struct bs_abi_owner *o = bs_snapshot_owner(s, i);

		if (!bs_snapshot_cache_in_slot(s, o->cache, &cache))
			continue; /* destroyed meanwhile */
		list[n].cache = cache;
		list[n].live_objs = o->live_objs;
		list[n].nr_sites = 1;
		name_allocator(s, opt, o->site, list[n].caller, CALLER_MAX);
		n++;
	}
	qsort(list, n, sizeof(*list), by_cache_and_caller);
	for (size_t i = 0; i < n; i++) {
		if (kept && !by_cache_and_caller(&list[kept - 1], &list[i])) {
			list[kept - 1].live_objs += list[i].live_objs;
			list[kept - 1].nr_sites++;
		} else if (kept++ != i) {
			list[kept - 1] = list[i];
		}
	}
	qsort(list, kept, sizeof(*list), by_cache_and_objs);
	*nr = kept;
	return list;
}

void bs_text_slab_allocators(struct bs_buf *out, const struct bs_snapshot *s,
			     const struct bs_render_options *opt)
{
	char name[NAME_MAX_LEN];
	struct allocator *list;
	size_t nr;

	list = collect(s, opt, &nr);
	out->failed |= !list;
	for (size_t i = 0; i < nr; i++)
		bs_buf_printf(
			out, "%s: %" PRIu64 " %s\n",
			cache_name(bs_snapshot_cache(s, list[i].cache)->name,
				   opt->format, name),
			list[i].live_objs, list[i].caller);
	free(list);
}

void bs_json_slab_allocators(struct bs_buf *out, const struct bs_snapshot *s,
			     const struct bs_render_options *opt)
{
	struct allocator *list;
	struct bs_json json;
	size_t nr;

	list = collect(s, opt, &nr);
	out->failed |= !list;
	bs_render_begin(&json, out, s);
	bs_json_bool(&json, "known", bs_slab_allocators_known(s));
	bs_json_array(&json, "allocators");
	for (size_t i = 0; i < nr; i++) {
		const struct bs_abi_cache *c =
			bs_snapshot_cache(s, list[i].cache);

		bs_json_object(&json, NULL);
		bs_json_str(&json, "cache", c->name);
		bs_json_u64(&json, "live_objects", list[i].live_objs);
		bs_json_str(&json, "caller", list[i].caller);
		bs_json_u64(&json, "nr_sites", list[i].nr_sites);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_json_array(&json, "owners");
	for (uint64_t i = 0; i < bs_snapshot_nr_owners(s); i++) {
		const struct bs_abi_owner *o = bs_snapshot_owner(s, i);
		uint64_t cache;

		if (!bs_snapshot_cache_in_slot(s, o->cache, &cache))
			continue;
		bs_json_object(&json, NULL);
		bs_json_str(&json, "cache", bs_snapshot_cache(s, cache)->name);
		bs_json_u64(&json, "site", o->site);
		bs_json_u64(&json, "live_objects", o->live_objs);
		bs_json_object_end(&json);
	}
	bs_json_array_end(&json);
	bs_render_end(&json);
	free(list);
}
