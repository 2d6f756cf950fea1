/* SPDX-License-Identifier: MIT */
/*
 * route.c - sends allocations to the zone and allocator that route= says.
 *
 * Owns:   the rules; a memo of which rules' dso= a stack fulfils.
 * Layer:  preload, above trace/ (stacks), segment.h (modules) and mm/.
 * Locks:  none; memo entries are single words.
 */
#include "preload/route.h"

#include <string.h>

#include "preload/mm/mm.h"
#include "preload/mm/vmalloc.h"
#include "preload/segment.h"
#include "preload/trace/trace.h"
#include "preload/trace/unwind.h"

size_t route_from_bytes = (size_t)PTRDIFF_MAX + 1;

static struct route routes[ROUTE_MAX];
static unsigned int nr_routes;
static uint32_t dso_rules; /* one bit a rule */
static unsigned int device[ROUTE_MAX];

/* Upper 48 bits: of a stack's hash; lower 16: rules whose dso= it fulfils. */
#define MEMO_BITS 12
SYS_LARGE static uint64_t memo[1 << MEMO_BITS];
static_assert(ROUTE_MAX <= 16, "a memo word holds one bit a rule");

/* ---- the text of a rule ------------------------------------------------------ */

static bool parse_size(const char *p, size_t len, uint64_t *bytes)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < len && p[i] >= '0' && p[i] <= '9'; i++)
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(p[i] - '0'), &n))
			return false;
	if (!i || len - i > 1)
		return false;
	if (i < len) {
		unsigned int shift = p[i] == 'K'   ? 10
				     : p[i] == 'M' ? 20
				     : p[i] == 'G' ? 30
						   : 0;

		if (!shift || n > UINT64_MAX >> shift)
			return false;
		n <<= shift;
	}
	*bytes = n;
	return true;
}

static bool copy_word(char *to, size_t room, const char *p, size_t len)
{
	if (!len || len >= room)
		return false;
	memcpy(to, p, len);
	to[len] = '\0';
	return true;
}

static bool parse_condition(struct route *r, const char *p, size_t len)
{
	if (len > 4 && !memcmp(p, "dso=", 4))
		return copy_word(r->dso, sizeof(r->dso), p + 4, len - 4);
	if (len > 4 && !memcmp(p, "min=", 4))
		return parse_size(p + 4, len - 4, &r->min_bytes);
	if (len > 4 && !memcmp(p, "max=", 4))
		return parse_size(p + 4, len - 4, &r->max_bytes);
	if (len > 6 && !memcmp(p, "align=", 6))
		return parse_size(p + 6, len - 6, &r->min_align);
	return false;
}

static bool parse_target(struct route *r, const char *p, size_t len)
{
	static const char *const via[] = {
		[ROUTE_DMA] = "dma",
		[ROUTE_KMALLOC] = "kmalloc",
		[ROUTE_VMALLOC] = "vmalloc",
	};
	const char *slash = memchr(p, '/', len);
	size_t name_len = slash ? (size_t)(slash - p) : len, i;

	if (!copy_word(r->zone_name, sizeof(r->zone_name), p, name_len))
		return false;
	if (!slash)
		return true;
	len -= name_len + 1;
	for (i = ROUTE_DMA; i < ARRAY_SIZE(via); i++)
		if (strlen(via[i]) == len && !memcmp(via[i], slash + 1, len))
			r->via = (uint32_t)i;
	return r->via != ROUTE_BY_SIZE;
}

bool route_parse(const char *text, size_t len)
{
	struct route r = { .max_bytes = PTRDIFF_MAX };
	const char *colon = memrchr(text, ':', len);
	const char *p = text;

	if (!colon || nr_routes == ROUTE_MAX)
		return false;
	while (p < colon) {
		const char *comma = memchr(p, ',', (size_t)(colon - p));
		const char *end = comma ? comma : colon;

		if (!parse_condition(&r, p, (size_t)(end - p)))
			return false;
		p = end + 1;
		if (comma && p == colon)
			return false;
	}
	if (r.min_bytes > r.max_bytes ||
	    !parse_target(&r, colon + 1, len - (size_t)(colon + 1 - text)))
		return false;
	routes[nr_routes++] = r;
	return true;
}

static bool resolve_zone(struct route *r, const struct mm_config *config)
{
	uint32_t i;

	for (i = 0; i < config->nr_zones; i++) {
		if (strcmp(config->zone[i].name, r->zone_name))
			continue;
		r->zone_nr = i;
		return true;
	}
	return false;
}

void route_resolve(const struct mm_config *config)
{
	unsigned int i, nr = 0;

	for (i = 0; i < nr_routes; i++) {
		if (!resolve_zone(&routes[i], config)) {
			sys_say("ignoring a route: there is no zone '%s'",
				routes[i].zone_name);
			continue;
		}
		routes[nr] = routes[i];
		if (routes[nr].dso[0])
			dso_rules |= 1U << nr;
		route_from_bytes =
			MIN(route_from_bytes, (size_t)routes[nr].min_bytes);
		nr++;
	}
	nr_routes = nr;
}

void route_init(void)
{
	unsigned int i;

	if (dso_rules && !bs_stacks && unwind_init())
		sys_say("no memory for backtraces: routes with dso= are off");
	for (i = 0; i < nr_routes; i++)
		device[i] =
			dma_device(routes[i].dso[0] ? routes[i].dso : "route");
}

/* ---- whose call is it? --------------------------------------------------------- */

/* Shell patterns without brackets: * and ?. */
static bool glob(const char *pattern, const char *s)
{
	const char *star = NULL, *from = NULL;

	while (*s) {
		if (*pattern == '*') {
			star = pattern++;
			from = s;
		} else if (*pattern == '?' || *pattern == *s) {
			pattern++;
			s++;
		} else if (star) {
			pattern = star + 1;
			s = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return !*pattern;
}

static uint32_t match_frame(uintptr_t pc)
{
	const char *path = segment_module_path(pc - 1), *name;
	uint32_t mask = 0, i;

	if (!path)
		return 0;
	name = strrchr(path, '/');
	name = name ? name + 1 : path;
	for (i = 0; i < nr_routes; i++)
		if ((dso_rules & 1U << i) && glob(routes[i].dso, name))
			mask |= 1U << i;
	return mask;
}

static uint32_t match_stack(void)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	uint64_t hash, *slot, word;
	enum unwind_end end;
	uint32_t mask = 0;
	size_t nr, i;

	nr = unwind_stack_quick(pcs, TRACE_MAX_FRAMES, &end);
	hash = trace_hash_stack(pcs, nr);
	slot = &memo[hash >> 16 & ((1U << MEMO_BITS) - 1)];
	word = __atomic_load_n(slot, __ATOMIC_RELAXED);
	if (likely(word && (word ^ hash) >> 16 == 0))
		return (uint32_t)(word & 0xffff);
	segment_modules_check(pcs, nr);
	hash = trace_hash_stack(pcs, nr);
	for (i = 0; i < nr; i++)
		mask |= match_frame(pcs[i]);
	slot = &memo[hash >> 16 & ((1U << MEMO_BITS) - 1)];
	__atomic_store_n(slot, (hash & ~UINT64_C(0xffff)) | mask,
			 __ATOMIC_RELAXED);
	return mask;
}

/* ---- allocation ----------------------------------------------------------------- */

static const struct route *find_route(size_t size, size_t align)
{
	uint32_t matched = 0, i;
	bool walked = false;

	for (i = 0; i < nr_routes; i++) {
		const struct route *r = &routes[i];

		if (size < r->min_bytes || size > r->max_bytes ||
		    align < r->min_align)
			continue;
		if (!r->dso[0])
			return r;
		if (!walked)
			matched = match_stack();
		walked = true;
		if (matched & 1U << i)
			return r;
	}
	return NULL;
}

static void *alloc_via(const struct route *r, size_t size, size_t align,
		       gfp_t gfp)
{
	gfp |= __GFP_ZONE(r->zone_nr);
	/* A block is aligned to its own power of two, which covers most. */
	if (align > PAGE_SIZE && size < align)
		size = align;
	switch (r->via) {
	case ROUTE_VMALLOC:
		return vmalloc_alloc(MAX(size, (size_t)1), align, gfp);
	case ROUTE_KMALLOC:
		return mm_alloc(size, align, gfp);
	case ROUTE_DMA:
		break;
	default:
		if (size < PAGE_SIZE)
			return mm_alloc(size, align, gfp);
	}
	return dma_alloc(device[r - routes], MAX(size, (size_t)1), gfp);
}

bool route_alloc(size_t size, size_t align, gfp_t gfp, void **p)
{
	const struct route *r = find_route(size, align);
	void *q;

	if (!r)
		return false;
	q = alloc_via(r, size, align, gfp);
	if (!q && !mm.config.oom_fail)
		return false;
	if (q)
		mm_count(BS_VMSTAT_ROUTED, 1);
	*p = q;
	return true;
}
