/* SPDX-License-Identifier: MIT */
/* api.h - what the files of the public calls share. */
#ifndef BS_PRELOAD_API_H
#define BS_PRELOAD_API_H

#include "preload/entry.h"

/* After abi.h, whose enum has some of the same names for the same values. */
#define BS_LINKED 1
#include "include/buddyscope/mm.h"

/* Refuse a call: one line on stderr, for the first API_MAX_REPORTS of them. */
#define API_MAX_REPORTS 10
void api_refuse(const char *call, const char *why, const void *p);

/* gfp has only flags that the header names; else refused. */
bool api_gfp_ok(const char *call, gfp_t gfp);

/* On the way out of a call that allocated: p gets its call site; NULL: counted. */
static inline void *api_traced(void *p, size_t size)
{
	if (!p)
		mm_count(BS_VMSTAT_REFUSED, 1);
	else if (bs_tracing)
		bs_alloc_traced(p, size);
	return p;
}

/*
 * Free what mm_lookup() knows, if is_it() says that it is what the call is for.
 * From within the allocator it is put off.
 */
void api_free(void *p, const char *call,
	      bool (*is_it)(const struct mm_block *b, uint64_t arg),
	      uint64_t arg, void *caller);

/* A tag for an area that counts no bytes of its own; 0 without tracing. */
uint64_t api_area_tag(void);
void api_drop_area_tag(uint64_t tag);

#endif
