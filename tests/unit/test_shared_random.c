/* SPDX-License-Identifier: MIT */
/*
 * test_shared_random.c - random damage to a segment, printed seed.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 *
 * Whatever the bytes are: the reader refuses with one line, or gives a snapshot
 * on which every view works.  SEED=n repeats a run, ROUNDS=n makes it longer.
 */
#include "tests/unit/shared_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shared/sitereport.h"

#define ROUNDS_DEFAULT 400

static uint64_t random_state;

/* xorshift64*, Vigna 2014. */
static uint64_t random_u64(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return random_state * UINT64_C(2685821657736338717);
}

static uint64_t below(uint64_t n)
{
	return random_u64() % n;
}

/* Values that break arithmetic more often than random ones do. */
static uint64_t nasty(void)
{
	static const uint64_t values[] = {
		0,
		1,
		2,
		7,
		8,
		4095,
		4096,
		UINT32_MAX,
		INT32_MAX,
		UINT64_MAX,
		INT64_MAX,
		UINT64_C(1) << 32,
		UINT64_MAX - 4095,
		UINT64_C(1) << 63,
	};
	uint64_t pick = below(sizeof(values) / sizeof(values[0]) + 3);

	return pick < sizeof(values) / sizeof(values[0]) ? values[pick]
							 : random_u64();
}

static void mutate(struct mkseg *m)
{
	struct bs_abi_header *h = mkseg_header(m);
	unsigned int section = (unsigned int)below(BS_ABI_NR_SECTIONS);
	const struct bs_abi_section *sec = &h->section[section];
	uint64_t value = nasty(), where, used;

	switch (below(4)) {
	case 0: /* a word of the header */
		where = below(sizeof(*h) / 4) * 4;
		break;
	case 1: /* a field of a section's entry */
		where = offsetof(struct bs_abi_header, section[section]) +
			below(6) * 8;
		break;
	default: /* a word of a record in use */
		used = sec->count < sec->capacity ? sec->count : sec->capacity;
		used *= sec->elem_bytes;
		if (used < 8 || used > m->bytes || sec->offset > m->bytes ||
		    sec->offset + used > m->bytes)
			return;
		where = sec->offset + below(used / 4) * 4;
	}
	memcpy(m->image + where, &value, below(2) ? 4 : 8);
}

/* Waiting for torn records takes a while; most rounds go without. */
static void settle(struct mkseg *m, const struct mkseg *good)
{
	static const unsigned int with_seq[] = { BS_SEC_ZONES, BS_SEC_CACHES,
						 BS_SEC_AREAS, BS_SEC_MODULES,
						 BS_SEC_DEVICES };
	const struct bs_abi_header *h = (const void *)good->image;

	for (size_t i = 0; i < sizeof(with_seq) / sizeof(with_seq[0]); i++) {
		const struct bs_abi_section *sec = &h->section[with_seq[i]];

		for (uint64_t r = 0; r < sec->count; r++)
			m->image[sec->offset + r * sec->elem_bytes] &= 0xfe;
	}
}

static void look_at(const struct bs_snapshot *s)
{
	struct bs_sitereport report = { .snapshot = s };
	struct bs_buf out = BS_BUF_INIT;
	char err[256];

	test_render_all(s);
	bs_sitereport_text(&out, &report);
	bs_buf_reset(&out);
	bs_sitereport_json(&out, &report);
	assert_true(test_is_json_line(bs_buf_str(&out)));
	bs_buf_free(&out);
	(void)bs_snapshot_live_bytes(s);
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		(void)bs_zone_check(bs_snapshot_zone(s, i), err, sizeof(err));
}

static void read_random_damage_never_crashes(void **state)
{
	const char *seed = getenv("SEED"), *rounds_text = getenv("ROUNDS");
	unsigned long rounds =
		rounds_text ? strtoul(rounds_text, NULL, 0) : ROUNDS_DEFAULT;
	struct mkseg *good = mkseg_new(), bad;
	unsigned long refused = 0, accepted = 0;
	char err[512];

	(void)state;
	random_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	random_state |= 1;
	print_message("SEED=%llu\n", (unsigned long long)random_state);
	mkseg_add_sampling(good);
	bad.image = malloc(good->bytes);
	assert_non_null(bad.image);
	for (unsigned long round = 0; round < rounds; round++) {
		struct bs_snapshot *s;

		memcpy(bad.image, good->image, good->bytes);
		bad.bytes = good->bytes;
		for (uint64_t n = 1 + below(6); n > 0; n--)
			mutate(&bad);
		if (round % 200)
			settle(&bad, good);
		if (!below(16))
			bad.bytes = below(good->bytes);
		/* The name must not follow the damage. */
		mkseg_set_process(&bad, mkseg_header(good)->pid, 1, 1);
		s = test_read(&bad, err, sizeof(err));
		if (s) {
			look_at(s);
			accepted++;
		} else {
			assert_true(err[0]);
			assert_null(strchr(err, '\n'));
			refused++;
		}
		bs_snapshot_free(s);
	}
	print_message("%lu refused, %lu read\n", refused, accepted);
	/* Both ways were exercised. */
	assert_true(rounds < 100 || (refused > 0 && accepted > 0));
	free(bad.image);
	mkseg_free(good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_random_damage_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
