/* SPDX-License-Identifier: MIT */
/*
 * site.h - call sites and their counters.
 *
 * Layer:  trace; above depot.  Locks: SYS_RANK_SITE to count, one record at a time;
 * the depot's to make a site.
 *
 * What a site is (its stack) is private memory and survives fork; its counters are
 * the segment's record.  In a forked child they start from the live tags.
 */
#ifndef BS_TRACE_SITE_H
#define BS_TRACE_SITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"

int site_init(uint32_t nr_sites);

/* The site of a depot node, made when missing; 0: no room. */
uint32_t site_of_node(uint32_t node);

uint32_t site_node(uint32_t site);
uint32_t site_nr(void);

/* Coarse time since the first ancestor's start, in ticks of 2^BS_TICK_SHIFT ns. */
uint64_t site_now(void);

/* The birth window of a tick. */
uint32_t site_window(uint64_t tick);

/* Sets a flag of kinds. */
void site_mark(uint32_t site, uint32_t kind);

/* One object of that many bytes began.  kind: BS_SITE_*. */
void site_count_alloc(uint32_t site, uint64_t now, uint64_t bytes,
		      uint32_t kind);
/*
 * nr objects and so many bytes ended; negative: came into being by a split.
 * birth: the tick when they began, or as many lower bits of it as a tag keeps.
 */
void site_count_free(uint32_t site, uint64_t now, uint32_t birth, int64_t bytes,
		     int nr);

/* The segment is a new one: nothing is in it.  0 or -ENOMEM. */
int site_new_segment(void);
/* The record, NULL: not in this process's segment, so nothing was counted. */
const struct bs_abi_site *site_record(uint32_t site);
/* Brings record 0 over. */
void site_publish_unknown(void);
/* A live tag found by a walk that holds all locks; nobody counts meanwhile. */
void site_recount(uint32_t site, uint32_t birth, uint64_t bytes);

/* The cohort arithmetic, for tests. */
void site_cohort_alloc(struct bs_abi_site *s, uint32_t window);
void site_cohort_free(struct bs_abi_site *s, uint32_t window, int nr);

/* In a forked child: nobody is making a site any more. */
void site_fork_child(void);

/* Tests only: forget everything. */
void site_destroy(void);

#endif
