/* SPDX-License-Identifier: MIT */
/*
 * mm_pub.h - a segment of plain memory for tests of what the engine publishes.
 *
 * Owns:   the tables; one program, one of them.
 * Layer:  tests.
 */
#ifndef BS_TESTS_MM_PUB_H
#define BS_TESTS_MM_PUB_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "preload/mm/mm.h"

#define PUB_EVENTS 64
#define PUB_PINS   64
#define PUB_AREAS  256
#define PUB_CACHES 64

static struct mm_pub_tables {
	struct bs_abi_header header;
	struct bs_abi_zone zones[BS_MAX_ZONES];
	struct bs_abi_cache caches[PUB_CACHES];
	struct bs_abi_area areas[PUB_AREAS];
	struct bs_abi_event events[PUB_EVENTS];
	struct bs_abi_pins pins[PUB_PINS];
	struct bs_abi_device devices[MM_MAX_DEVICES];
	uint64_t vmstat[BS_NR_VMSTAT];
} pub;

static bool pub_claim(const void *p, size_t len)
{
	(void)p;
	(void)len;
	return true;
}

/* After mm_init(). */
static inline void pub_attach(void)
{
	struct mm_pub *to = &mm_wipe->pub;

	memset(&pub, 0, sizeof(pub));
	pub.header.section[BS_SEC_ZONES].capacity = BS_MAX_ZONES;
	pub.header.section[BS_SEC_CACHES].capacity = PUB_CACHES;
	pub.header.section[BS_SEC_AREAS].capacity = PUB_AREAS;
	pub.header.section[BS_SEC_EVENTS].capacity = PUB_EVENTS;
	pub.header.section[BS_SEC_EVENTS].elem_bytes =
		sizeof(struct bs_abi_event);
	pub.header.section[BS_SEC_PINS].capacity = PUB_PINS;
	pub.header.section[BS_SEC_PINS].elem_bytes = sizeof(struct bs_abi_pins);
	pub.header.section[BS_SEC_DEVICES].capacity = MM_MAX_DEVICES;
	to->zones = pub.zones;
	to->caches = pub.caches;
	to->areas = pub.areas;
	to->events = pub.events;
	to->pins = pub.pins;
	to->devices = pub.devices;
	to->vmstat = pub.vmstat;
	to->claim = pub_claim;
	to->header = &pub.header;
	mm_publish_all();
}

static inline uint64_t pub_nr_events(void)
{
	return pub.header.section[BS_SEC_EVENTS].count;
}

/* The one made last. */
static inline const struct bs_abi_event *pub_event(void)
{
	assert_true(pub_nr_events() > 0);
	return &pub.events[pub_nr_events() % PUB_EVENTS];
}

#endif
