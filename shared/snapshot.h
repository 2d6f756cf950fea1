/* SPDX-License-Identifier: MIT */
/*
 * snapshot.h - a checked copy of a segment.
 *
 * Owns:   reading segment files (shared/abi.h) that may be hostile, torn,
 *         truncated under us or from another machine.
 * Layer:  shared; knows files, not processes (that is target.h).
 * Locks:  none.  A snapshot belongs to one thread at a time.
 *
 * What holds for every snapshot that a caller gets to see:
 *  - all counts and offsets were checked against the file's real size; reading
 *    uses pread only, so a file cut short gives an error, never a SIGBUS;
 *  - text fields are NUL-terminated; zone and cache names consist of printable
 *    ASCII without blanks (anything else became '_'; empty became "?");
 *  - zones, caches and areas were copied under their sequence word, or are
 *    marked torn (the writer died inside, or did not come out for 250 ms);
 *  - a site's cohorts are those of one moment, or, of a site whose cohorts move all
 *    the time, the tenth reading; ages that say they are another's are left out;
 *  - a node's parent is smaller than the node; a site's node exists (else 0),
 *    the site of an area, owner, event or pin exists (else 0); frees <= allocs, bytes_freed <=
 *    bytes_allocated at every site and in every estimate;
 *  - there are no shards: what they counted was added to the site that they count
 *    for (peaks, too, as an upper bound), their records are empty, and who refers to
 *    one refers to that site.  One that names no site, itself or a shard is a site;
 *  - sites, nodes, modules and threads keep their numbers (index = record number);
 *    caches, areas and devices hold live slots only, a cache knows its slot; areas are sorted by address, events
 *    by number, and events overwritten while reading are left out.
 *
 * Units: as in abi.h.
 */
#ifndef BS_SHARED_SNAPSHOT_H
#define BS_SHARED_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/abi.h"

/* Which sections to read; the header and vmstat always come along. */
#define BS_SNAP_HEADER	0U
#define BS_SNAP_ZONES	(1U << BS_SEC_ZONES)
#define BS_SNAP_CACHES	(1U << BS_SEC_CACHES)
#define BS_SNAP_AREAS	(1U << BS_SEC_AREAS)
#define BS_SNAP_NODES	(1U << BS_SEC_NODES)
#define BS_SNAP_SITES	(1U << BS_SEC_SITES)
#define BS_SNAP_MODULES (1U << BS_SEC_MODULES)
#define BS_SNAP_EVENTS	(1U << BS_SEC_EVENTS)
#define BS_SNAP_DEVICES (1U << BS_SEC_DEVICES)
#define BS_SNAP_OWNERS	(1U << BS_SEC_OWNERS)
#define BS_SNAP_THREADS (1U << BS_SEC_THREADS)
#define BS_SNAP_PINS	(1U << BS_SEC_PINS) /* along with events */
/* These come along with sites. */
#define BS_SNAP_ESTIMATES (1U << BS_SEC_ESTIMATES)
#define BS_SNAP_AGES	  (1U << BS_SEC_AGES)
/* What a backtrace needs. */
#define BS_SNAP_STACKS                                                         \
	(BS_SNAP_SITES | BS_SNAP_NODES | BS_SNAP_MODULES | BS_SNAP_THREADS)
#define BS_SNAP_ALL                                                            \
	(BS_SNAP_ZONES | BS_SNAP_CACHES | BS_SNAP_AREAS | BS_SNAP_NODES |      \
	 BS_SNAP_SITES | BS_SNAP_MODULES | BS_SNAP_EVENTS | BS_SNAP_DEVICES |  \
	 BS_SNAP_OWNERS | BS_SNAP_ESTIMATES | BS_SNAP_THREADS)

struct bs_snapshot;

/* A site with its ages, in the terms of struct bs_abi_site. */
struct bs_site {
	uint32_t node;
	uint32_t kinds;
	uint32_t shard_of; /* 0: there are no shards any more */
	uint32_t cohort_shift;
	uint32_t cohort_born;
	uint64_t allocs;
	uint64_t frees;
	uint64_t bytes_allocated;
	uint64_t bytes_freed;
	uint64_t first_ns;
	uint64_t last_ns;
	uint64_t peak_live_bytes;
	uint32_t cohort_live[BS_NR_COHORTS];
	uint32_t lifetime[BS_NR_LIFETIMES];
};

/*
 * Reads a whole segment (or the sections in `sections`).  NULL on failure with
 * one line without newline in err.  The file must be a regular file owned by
 * the effective user or root; a symbolic link is refused.
 */
struct bs_snapshot *bs_snapshot_read(const char *path, char *err,
				     size_t errlen);
struct bs_snapshot *bs_snapshot_read_sections(const char *path,
					      unsigned int sections, char *err,
					      size_t errlen);
void bs_snapshot_free(struct bs_snapshot *s);

const struct bs_abi_header *bs_snapshot_header(const struct bs_snapshot *s);
const char *bs_snapshot_path(const struct bs_snapshot *s);
/* BS_SNAP_* that were read. */
unsigned int bs_snapshot_sections(const struct bs_snapshot *s);

/* Number of records, and record i; i must be below the number (assert). */
uint64_t bs_snapshot_nr_zones(const struct bs_snapshot *s);
const struct bs_abi_zone *bs_snapshot_zone(const struct bs_snapshot *s,
					   uint64_t i);
uint64_t bs_snapshot_nr_caches(const struct bs_snapshot *s);
const struct bs_abi_cache *bs_snapshot_cache(const struct bs_snapshot *s,
					     uint64_t i);
uint64_t bs_snapshot_nr_areas(const struct bs_snapshot *s);
const struct bs_abi_area *bs_snapshot_area(const struct bs_snapshot *s,
					   uint64_t i);
uint64_t bs_snapshot_nr_nodes(const struct bs_snapshot *s);
const struct bs_abi_node *bs_snapshot_node(const struct bs_snapshot *s,
					   uint64_t i);
uint64_t bs_snapshot_nr_sites(const struct bs_snapshot *s);
const struct bs_site *bs_snapshot_site(const struct bs_snapshot *s, uint64_t i);
/* What sampling adds to a site; zeros where it adds nothing. */
const struct bs_abi_estimate *bs_snapshot_estimate(const struct bs_snapshot *s,
						   uint64_t site);
uint64_t bs_snapshot_nr_modules(const struct bs_snapshot *s);
const struct bs_abi_module *bs_snapshot_module(const struct bs_snapshot *s,
					       uint64_t i);
uint64_t bs_snapshot_nr_events(const struct bs_snapshot *s);
const struct bs_abi_event *bs_snapshot_event(const struct bs_snapshot *s,
					     uint64_t i);
/* By number; pins.h finds those of an event. */
uint64_t bs_snapshot_nr_pins(const struct bs_snapshot *s);
const struct bs_abi_pins *bs_snapshot_pins(const struct bs_snapshot *s,
					   uint64_t i);
uint64_t bs_snapshot_nr_devices(const struct bs_snapshot *s);
const struct bs_abi_device *bs_snapshot_device(const struct bs_snapshot *s,
					       uint64_t i);
uint64_t bs_snapshot_nr_owners(const struct bs_snapshot *s);
const struct bs_abi_owner *bs_snapshot_owner(const struct bs_snapshot *s,
					     uint64_t i);

/* Records of threads; none: trace_threads=off. */
uint64_t bs_snapshot_nr_threads(const struct bs_snapshot *s);
const struct bs_abi_thread *bs_snapshot_thread(const struct bs_snapshot *s,
					       uint64_t i);
/*
 * The thread that a site's stack belongs to; NULL: unknown.  Needs BS_SNAP_STACKS.
 */
const struct bs_abi_thread *bs_snapshot_site_thread(const struct bs_snapshot *s,
						    uint64_t site);
/* Did the writer keep threads apart (trace_threads=on)? */
bool bs_snapshot_has_threads(const struct bs_snapshot *s);

/* "nodes", "sites" ...; NULL for a section of which this reads nothing. */
const char *bs_section_name(unsigned int section);

/* The zone that was asked for, as it was at the event; NULL: none. */
const struct bs_abi_event_zone *bs_event_zone(const struct bs_abi_event *event);

/* The number of the cache that was in slot `slot` of the section. */
bool bs_snapshot_cache_in_slot(const struct bs_snapshot *s, uint32_t slot,
			       uint64_t *i);

/* The record's sequence word was odd to the end: numbers may not add up. */
bool bs_snapshot_zone_torn(const struct bs_snapshot *s, uint64_t i);
bool bs_snapshot_cache_torn(const struct bs_snapshot *s, uint64_t i);
bool bs_snapshot_area_torn(const struct bs_snapshot *s, uint64_t i);

/* 0 for an item that the writer did not know. */
uint64_t bs_snapshot_vmstat(const struct bs_snapshot *s,
			    enum bs_vmstat_item item);

/*
 * The stack of a depot node: return addresses, innermost first.  Look up pc - 1
 * for the call.  *nr = frames written, at most max; the thread's node is no frame.
 */
void bs_snapshot_stack(const struct bs_snapshot *s, uint32_t node,
		       uint64_t *pcs, size_t max, size_t *nr);

/*
 * The module that pc lay in when the site was last active at time_ns (0: the
 * newest that covers pc).  NULL: none.
 */
const struct bs_abi_module *bs_snapshot_find_module(const struct bs_snapshot *s,
						    uint64_t pc,
						    uint64_t time_ns);

/*
 * Requested bytes that live now: sum over the sites when traced, exact and
 * estimated; else the
 * slab, large and vmalloc pages of all zones in bytes.  Needs BS_SNAP_SITES
 * and BS_SNAP_ZONES.
 */
uint64_t bs_snapshot_live_bytes(const struct bs_snapshot *s);

/* The most pages that each zone had in use, added up.  Needs BS_SNAP_ZONES. */
uint64_t bs_snapshot_peak_pages(const struct bs_snapshot *s);

/*
 * The end of the program, or its last allocation if it did not end or did not say so:
 * what is in the segment, whenever it is read.  Needs BS_SNAP_SITES.
 */
uint64_t bs_snapshot_last_ns(const struct bs_snapshot *s);

/*
 * The identities of a stable zone record (abi.h).  0, or -EUCLEAN with the
 * numbers in err.
 */
int bs_zone_check(const struct bs_abi_zone *zone, char *err, size_t errlen);

/*
 * For control.h: opens a segment for reading and writing, with all the checks of a
 * reader.  The descriptor, with *offset that of bs_abi_control, or -errno with err.
 */
int bs_segment_open_control(const char *path, uint64_t *offset, char *err,
			    size_t errlen);

/*
 * A sampler keeps the file open and reads again cheaply: nodes that are already
 * known are not read a second time, memory is reused.  It survives unlink() of
 * the file.  After an error sections may be empty, what is there is safe to use.
 */
struct bs_sampler;
struct bs_sampler *bs_sampler_open(const char *path, char *err, size_t errlen);
/* 0 or -errno with err filled in. */
int bs_sampler_read(struct bs_sampler *sampler, unsigned int sections,
		    char *err, size_t errlen);
/*
 * What the last successful read gave (header only before the first one).
 * Owned by the sampler, valid until the next read or close.  A section that
 * was not asked for in the last read still holds what an earlier one gave.
 */
const struct bs_snapshot *bs_sampler_snapshot(const struct bs_sampler *sampler);
void bs_sampler_close(struct bs_sampler *sampler);

#endif
