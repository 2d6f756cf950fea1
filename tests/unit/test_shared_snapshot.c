/* SPDX-License-Identifier: MIT */
/*
 * test_shared_snapshot.c - segments that are hostile, torn, cut short or newer.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/unit/shared_util.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/control.h"

static const unsigned int record_sections[] = {
	BS_SEC_ZONES,	BS_SEC_CACHES,	BS_SEC_AREAS,	  BS_SEC_NODES,
	BS_SEC_SITES,	BS_SEC_MODULES, BS_SEC_EVENTS,	  BS_SEC_VMSTAT,
	BS_SEC_DEVICES, BS_SEC_OWNERS,	BS_SEC_ESTIMATES, BS_SEC_AGES,
	BS_SEC_PINS,
};
#define NR_RECORD_SECTIONS                                                     \
	(sizeof(record_sections) / sizeof(record_sections[0]))

/* The image must be refused, with one line that says why. */
static void expect_refused(const struct mkseg *m, const char *why)
{
	char err[512];
	struct bs_snapshot *s = test_read(m, err, sizeof(err));

	assert_null(s);
	assert_null(strchr(err, '\n'));
	if (!strstr(err, why))
		fail_msg("'%s' does not say '%s'", err, why);
}

static struct bs_snapshot *expect_read(const struct mkseg *m)
{
	char err[512];
	struct bs_snapshot *s = test_read(m, err, sizeof(err));

	if (!s)
		fail_msg("%s", err);
	return s;
}

/* ---- a good one ---------------------------------------------------------- */

static void read_good_segment_gives_all_records(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s = expect_read(m);

	(void)state;
	assert_int_equal(bs_snapshot_nr_zones(s), MKSEG_NR_ZONES);
	assert_int_equal(bs_snapshot_nr_caches(s), MKSEG_NR_CACHES);
	assert_int_equal(bs_snapshot_nr_areas(s), MKSEG_NR_AREAS);
	assert_int_equal(bs_snapshot_nr_sites(s), MKSEG_NR_SITES);
	assert_int_equal(bs_snapshot_nr_events(s), MKSEG_EVENT_SLOTS);
	assert_int_equal(bs_snapshot_nr_devices(s), MKSEG_NR_DEVICES);
	assert_int_equal(bs_snapshot_nr_owners(s), MKSEG_NR_OWNERS);
	assert_int_equal(bs_snapshot_vmstat(s, BS_VMSTAT_UNWINDS), 4711);
	assert_int_equal(bs_snapshot_event(s, 0)->number,
			 MKSEG_EVENTS - MKSEG_EVENT_SLOTS + 1);
	assert_int_equal(bs_snapshot_event(s, MKSEG_EVENT_SLOTS - 1)->number,
			 MKSEG_EVENTS);
	for (uint64_t i = 1; i < MKSEG_NR_AREAS; i++)
		assert_true(bs_snapshot_area(s, i - 1)->addr <
			    bs_snapshot_area(s, i)->addr);
	assert_int_equal(bs_snapshot_live_bytes(s),
			 MKSEG_LEAK_BYTES * MKSEG_LEAK_NR + 1000 * 64 +
				 (1 << 20));
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_untraced_live_bytes_are_pages(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;

	(void)state;
	mkseg_header(m)->trace_mode = BS_TRACE_OFF;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_live_bytes(s),
			 4096 * (200 + 16 + 8 + 3000 + 700 + 900));
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void stack_walk_is_innermost_first_and_bounded(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s = expect_read(m);
	uint32_t node = bs_snapshot_site(s, 1)->node;
	uint64_t pcs[8];
	size_t nr;

	(void)state;
	bs_snapshot_stack(s, node, pcs, 8, &nr);
	assert_int_equal(nr, 3);
	assert_int_equal(pcs[0], bs_snapshot_node(s, node)->pc);
	assert_int_equal(pcs[2], (uintptr_t)mkseg_new + 8);
	bs_snapshot_stack(s, node, pcs, 2, &nr);
	assert_int_equal(nr, 2);
	bs_snapshot_stack(s, 0, pcs, 8, &nr);
	assert_int_equal(nr, 0);
	bs_snapshot_stack(s, UINT32_MAX, pcs, 8, &nr);
	assert_int_equal(nr, 0);
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void find_module_takes_the_generation_of_the_time(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_section *sec = &mkseg_header(m)->section[BS_SEC_MODULES];
	struct bs_abi_module *old, *new;
	struct bs_snapshot *s;

	(void)state;
	old = mkseg_record(m, BS_SEC_MODULES, sec->count++);
	new = mkseg_record(m, BS_SEC_MODULES, sec->count++);
	*old = (struct bs_abi_module){ .start = 0x1000,
				       .end = 0x2000,
				       .loaded_ns = 10,
				       .unloaded_ns = 20,
				       .generation = 1000,
				       .path = "old" };
	*new = (struct bs_abi_module){ .start = 0x1000,
				       .end = 0x2000,
				       .loaded_ns = 30,
				       .generation = 1001,
				       .path = "new" };
	s = expect_read(m);
	assert_string_equal(bs_snapshot_find_module(s, 0x1500, 15)->path,
			    "old");
	assert_string_equal(bs_snapshot_find_module(s, 0x1500, 35)->path,
			    "new");
	assert_string_equal(bs_snapshot_find_module(s, 0x1500, 0)->path, "new");
	assert_string_equal(bs_snapshot_find_module(s, 0x1500, 25)->path,
			    "new");
	assert_null(bs_snapshot_find_module(s, 0x2000, 15));
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* ---- files that are no segment ------------------------------------------- */

static void read_wrong_kind_of_file_is_refused(void **state)
{
	char path[PATH_MAX], target[PATH_MAX], err[512];
	struct mkseg *m = mkseg_new();

	(void)state;
	assert_null(bs_snapshot_read(test_dir(), err, sizeof(err)));
	assert_non_null(strstr(err, "not a regular file"));
	assert_null(bs_snapshot_read("/nonexistent.seg", err, sizeof(err)));
	assert_non_null(strstr(err, "cannot open"));
	snprintf(path, sizeof(path), "%s/pipe", test_dir());
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_null(bs_snapshot_read(path, err, sizeof(err)));
	assert_non_null(strstr(err, "not a regular file"));
	unlink(path);
	assert_int_equal(mkseg_write(m, test_dir(), target, sizeof(target)), 0);
	assert_int_equal(symlink(target, path), 0);
	assert_null(bs_snapshot_read(path, err, sizeof(err)));
	assert_non_null(strstr(err, "symbolic link"));
	unlink(path);
	unlink(target);
	mkseg_free(m);
}

static void read_foreign_file_is_refused(void **state)
{
	char path[PATH_MAX], err[512];
	struct mkseg *m;

	(void)state;
	if (geteuid()) {
		print_message("needs root to make another user's file\n");
		return;
	}
	m = mkseg_new();
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	assert_int_equal(chmod(test_dir(), 0755), 0);
	assert_int_equal(chmod(path, 0644), 0);
	assert_int_equal(chown(path, 12345, 12345), 0);
	assert_int_equal(seteuid(54321), 0);
	assert_null(bs_snapshot_read(path, err, sizeof(err)));
	assert_int_equal(seteuid(0), 0);
	assert_non_null(strstr(err, "belongs to user 12345"));
	unlink(path);
	mkseg_free(m);
}

static void read_damaged_header_is_refused(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header good = *mkseg_header(m);

	(void)state;
#define REFUSED(change, why)                                                   \
	do {                                                                   \
		*mkseg_header(m) = good;                                       \
		mkseg_header(m)->change;                                       \
		expect_refused(m, why);                                        \
	} while (0)
	REFUSED(magic = 0, "not complete yet");
	REFUSED(magic = 12345, "wrong magic");
	REFUSED(compat = BS_ABI_VERSION + 1, "needs a reader of version");
	REFUSED(version = 0, "too old");
	REFUSED(version = BS_ABI_COMPAT - 1, "too old");
	REFUSED(header_bytes = 0, "damaged header");
	REFUSED(header_bytes = sizeof(good) - 1, "damaged header");
	REFUSED(nr_sections = 3, "damaged header");
	REFUSED(page_bytes = 0, "damaged header");
	REFUSED(file_bytes = UINT64_MAX, "cut short");
	REFUSED(file_bytes += 1, "cut short");
	REFUSED(file_bytes = 0, "do not fit");
	REFUSED(header_bytes = UINT32_MAX, "do not fit");
#undef REFUSED
	mkseg_free(m);
}

static void read_truncated_file_is_refused_at_any_length(void **state)
{
	struct mkseg *m = mkseg_new();
	size_t whole = m->bytes;

	(void)state;
	for (size_t len = 0; len < whole; len += 3001) {
		m->bytes = len;
		expect_refused(m, len < sizeof(struct bs_abi_header)
					  ? "less than a header"
					  : "cut short");
	}
	m->bytes = whole - 1;
	expect_refused(m, "cut short");
	m->bytes = whole;
	mkseg_free(m);
}

/* ---- sections that lie --------------------------------------------------- */

static void read_lying_section_is_refused(void **state)
{
	struct mkseg *m = mkseg_new();

	(void)state;
	for (size_t i = 0; i < NR_RECORD_SECTIONS; i++) {
		struct bs_abi_section *sec =
			&mkseg_header(m)->section[record_sections[i]];
		struct bs_abi_section good = *sec;
		size_t least = record_sections[i] == BS_SEC_EVENTS
				       ? BS_EVENT_BYTES(1)
				       : good.elem_bytes;

#define REFUSED(change, why)                                                   \
	do {                                                                   \
		*sec = good;                                                   \
		sec->change;                                                   \
		expect_refused(m, why);                                        \
	} while (0)
		REFUSED(elem_bytes = 0, "records of 0 bytes");
		REFUSED(elem_bytes = (uint32_t)least - 8, "records of");
		REFUSED(elem_bytes += 4, "records of");
		REFUSED(elem_bytes = UINT32_MAX, "records of");
		REFUSED(elem_bytes = 1 << 16, "records of");
		REFUSED(offset = 0, "do not fit");
		REFUSED(offset = UINT64_MAX, "do not fit");
		REFUSED(offset = UINT64_MAX - 4095, "do not fit");
		REFUSED(offset = mkseg_header(m)->file_bytes, "do not fit");
		REFUSED(offset += 1, "do not fit");
		REFUSED(capacity = UINT64_MAX, "do not fit");
		REFUSED(capacity = UINT64_MAX / good.elem_bytes + 1,
			"do not fit");
		REFUSED(capacity = UINT64_MAX / good.elem_bytes, "do not fit");
#undef REFUSED
		*sec = good;
	}
	mkseg_free(m);
}

static void read_count_beyond_capacity_is_clamped(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;

	(void)state;
	for (size_t i = 0; i < NR_RECORD_SECTIONS; i++) {
		struct bs_abi_section *sec =
			&mkseg_header(m)->section[record_sections[i]];

		sec->count = UINT64_MAX;
	}
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_zones(s),
			 mkseg_header(m)->section[BS_SEC_ZONES].capacity);
	assert_int_equal(bs_snapshot_nr_sites(s),
			 mkseg_header(m)->section[BS_SEC_SITES].capacity);
	assert_int_equal(bs_snapshot_nr_caches(s), MKSEG_NR_CACHES);
	test_render_all(s);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* A sparse file of 4 TiB that says it is full of records. */
static void read_enormous_count_is_refused_without_memory(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_abi_section *sec = &h->section[BS_SEC_NODES];
	char path[PATH_MAX], err[512];
	struct bs_snapshot *s;

	(void)state;
	h->file_bytes = UINT64_C(1) << 42;
	sec->offset = 1 << 20;
	sec->capacity = UINT64_C(1) << 37;
	sec->count = sec->capacity;
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	assert_int_equal(truncate(path, (off_t)h->file_bytes), 0);
	assert_null(bs_snapshot_read(path, err, sizeof(err)));
	assert_non_null(strstr(err, "more than any program makes"));
	/* The capacity alone costs nothing. */
	sec->count = 3;
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	assert_int_equal(truncate(path, (off_t)h->file_bytes), 0);
	s = bs_snapshot_read(path, err, sizeof(err));
	assert_non_null(s);
	assert_int_equal(bs_snapshot_nr_nodes(s), 3);
	bs_snapshot_free(s);
	unlink(path);
	mkseg_free(m);
}

static void read_absent_section_is_empty(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;

	(void)state;
	for (size_t i = 0; i < NR_RECORD_SECTIONS; i++)
		memset(&mkseg_header(m)->section[record_sections[i]], 0,
		       sizeof(struct bs_abi_section));
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_zones(s), 0);
	assert_int_equal(bs_snapshot_nr_events(s), 0);
	assert_int_equal(bs_snapshot_live_bytes(s), 0);
	assert_int_equal(bs_snapshot_vmstat(s, BS_VMSTAT_UNWINDS), 0);
	test_render_all(s);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* A newer writer has longer records; we step over what we do not know. */
static void read_longer_records_are_stepped_over(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_abi_section *sec = &h->section[BS_SEC_ZONES];
	const size_t step = sizeof(struct bs_abi_zone) + 64;
	uint64_t offset = m->bytes;
	struct bs_snapshot *s;
	unsigned char *image;

	(void)state;
	image = calloc(1, m->bytes + 8 * step);
	assert_non_null(image);
	memcpy(image, m->image, m->bytes);
	memset(image + offset, 0xee, 8 * step);
	for (uint64_t i = 0; i < sec->count; i++)
		memcpy(image + offset + i * step,
		       mkseg_record(m, BS_SEC_ZONES, i),
		       sizeof(struct bs_abi_zone));
	free(m->image);
	m->image = image;
	m->bytes += 8 * step;
	h = mkseg_header(m);
	h->file_bytes = m->bytes;
	h->version = BS_ABI_VERSION + 1; /* compat still names ours */
	h->section[BS_SEC_ZONES].offset = offset;
	h->section[BS_SEC_ZONES].elem_bytes = (uint32_t)step;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_zones(s), MKSEG_NR_ZONES);
	assert_string_equal(bs_snapshot_zone(s, 1)->name, "NORMAL");
	assert_int_equal(bs_snapshot_zone(s, 1)->managed_pages, 14408);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* ---- records that lie ---------------------------------------------------- */

static void read_text_without_end_is_terminated(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_abi_zone *zone = mkseg_record(m, BS_SEC_ZONES, 0);
	struct bs_abi_cache *cache = mkseg_record(m, BS_SEC_CACHES, 0);
	struct bs_abi_area *area = mkseg_record(m, BS_SEC_AREAS, 0);
	struct bs_abi_module *module = mkseg_record(m, BS_SEC_MODULES, 0);
	struct bs_snapshot *s;

	(void)state;
	memset(h->comm, 0xff, sizeof(h->comm));
	memset(h->exe, '\n', sizeof(h->exe));
	memset(zone->name, ' ', sizeof(zone->name));
	memset(cache->name, '\t', sizeof(cache->name));
	memset(area->path, 0xc3, sizeof(area->path));
	memset(module->path, '/', sizeof(module->path));
	module->build_id_bytes = UINT32_MAX;
	s = expect_read(m);
	assert_int_equal(strlen(bs_snapshot_header(s)->comm), 15);
	assert_string_equal(bs_snapshot_zone(s, 0)->name, "_______________");
	assert_int_equal(strlen(bs_snapshot_cache(s, 0)->name), 31);
	assert_int_equal(bs_snapshot_module(s, 0)->build_id_bytes, 0);
	test_render_all(s);
	bs_snapshot_free(s);
	memset(cache->name, 0, sizeof(cache->name));
	s = expect_read(m);
	assert_string_equal(bs_snapshot_cache(s, 0)->name, "?");
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_node_cycles_are_cut(void **state)
{
	struct mkseg *m = mkseg_new();
	uint64_t nr = mkseg_header(m)->section[BS_SEC_NODES].count;
	struct bs_snapshot *s;
	uint64_t pcs[64];
	size_t frames;

	(void)state;
	for (uint64_t i = 0; i < nr; i++) {
		struct bs_abi_node *node = mkseg_record(m, BS_SEC_NODES, i);

		node->parent = (uint32_t)(i % 2 ? UINT32_MAX : i);
		node->depth = UINT32_MAX;
		node->pc = i + 1;
	}
	s = expect_read(m);
	for (uint32_t i = 0; i < nr; i++) {
		bs_snapshot_stack(s, i, pcs, 64, &frames);
		assert_true(frames <= nr);
	}
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_dangling_references_become_unknown(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *site = mkseg_record(m, BS_SEC_SITES, 1);
	struct bs_abi_area *area = mkseg_record(m, BS_SEC_AREAS, 0);
	struct bs_snapshot *s;

	(void)state;
	site->node = UINT32_MAX;
	area->site = MKSEG_NR_SITES;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_site(s, 1)->node, 0);
	for (uint64_t i = 0; i < MKSEG_NR_AREAS; i++)
		assert_true(bs_snapshot_area(s, i)->site < MKSEG_NR_SITES);
	test_render_all(s);
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_site_freed_more_than_allocated_is_clamped(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *site = mkseg_record(m, BS_SEC_SITES, 2);
	struct bs_snapshot *s;

	(void)state;
	site->frees = UINT64_MAX;
	site->bytes_freed = site->bytes_allocated + 1;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_site(s, 2)->frees,
			 bs_snapshot_site(s, 2)->allocs);
	assert_int_equal(bs_snapshot_site(s, 2)->bytes_freed,
			 bs_snapshot_site(s, 2)->bytes_allocated);
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_event_of_another_lap_is_left_out(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_event *event = mkseg_record(m, BS_SEC_EVENTS, 3);
	struct bs_snapshot *s;

	(void)state;
	event->number = 0;
	event = mkseg_record(m, BS_SEC_EVENTS, 5);
	event->number += 1;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_events(s), MKSEG_EVENT_SLOTS - 2);
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_pins_are_a_ring_that_names_sites(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_pins *pins;
	struct bs_snapshot *s;

	(void)state;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_pins(s), MKSEG_PINS_SLOTS);
	for (uint64_t i = 0; i < MKSEG_PINS_SLOTS; i++)
		assert_int_equal(bs_snapshot_pins(s, i)->number,
				 MKSEG_PINS_SLOTS + 1 + i);
	assert_int_equal(bs_snapshot_pins(s, 3)->holder[2].site, 3);
	bs_snapshot_free(s);

	pins = mkseg_record(m, BS_SEC_PINS, 1);
	pins->number += 1; /* of another slot */
	pins = mkseg_record(m, BS_SEC_PINS, 2);
	pins->order = BS_NR_ORDERS;
	pins = mkseg_record(m, BS_SEC_PINS, 0);
	pins->holder[0].site = 100000;
	pins->holder[7].site = UINT32_MAX;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_pins(s), MKSEG_PINS_SLOTS - 2);
	assert_int_equal(bs_snapshot_pins(s, 1)->number, 2 * MKSEG_PINS_SLOTS);
	assert_int_equal(bs_snapshot_pins(s, 1)->holder[0].site, 0);
	assert_int_equal(bs_snapshot_pins(s, 1)->holder[7].site, 0);
	bs_snapshot_free(s);

	/* a writer that has no such section */
	mkseg_header(m)->section[BS_SEC_PINS].capacity = 0;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_nr_pins(s), 0);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* ---- ages ------------------------------------------------------------------ */

static void read_ages_of_another_are_left_out(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *site = mkseg_record(m, BS_SEC_SITES, 2);
	struct bs_abi_ages *ages = mkseg_ages(m, 2);
	struct bs_snapshot *s;

	(void)state;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[0], 200);
	assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[4], 200);
	bs_snapshot_free(s);
	/* of another time: read again for a while, then taken as it is */
	ages->seq = 2;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[0], 200);
	bs_snapshot_free(s);
	ages->site = 1;
	s = expect_read(m);
	assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[0], 0);
	assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[4], 200);
	bs_snapshot_free(s);
	site->ages = UINT32_MAX;
	site->cohort = UINT8_MAX;
	site->lifetime = BS_NR_LIFETIMES;
	site->lifetime_frees = 1;
	s = expect_read(m);
	for (uint32_t c = 0; c < BS_NR_COHORTS; c++)
		assert_int_equal(bs_snapshot_site(s, 2)->cohort_live[c], 0);
	test_render_all(s);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* ---- estimates and shards ------------------------------------------------- */

static void read_estimate_counts_into_live_bytes(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s = expect_read(m);
	uint64_t before = bs_snapshot_live_bytes(s);

	(void)state;
	assert_int_equal(bs_snapshot_estimate(s, 2)->sampled_allocs, 0);
	bs_snapshot_free(s);
	mkseg_add_sampling(m);
	s = expect_read(m);
	assert_int_equal(bs_snapshot_estimate(s, 1)->sampled_allocs, 0);
	assert_int_equal(bs_snapshot_estimate(s, 2)->sampled_allocs, 30);
	assert_int_equal(bs_snapshot_live_bytes(s) - before,
			 MKSEG_ESTIMATED_BYTES + MKSEG_SHARD_BYTES);
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void read_estimates_fewer_than_sites_are_zeros_behind(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_section *sec =
		&mkseg_header(m)->section[BS_SEC_ESTIMATES];
	struct bs_snapshot *s;

	(void)state;
	mkseg_add_sampling(m);
	for (uint64_t nr = 0; nr < 5; nr++) {
		sec->capacity = nr;
		s = expect_read(m);
		for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++)
			assert_int_equal(
				bs_snapshot_estimate(s, i)->sampled_allocs,
				i == 2 && nr > 2 ? 30 : 0);
		bs_snapshot_free(s);
	}
	mkseg_free(m);
}

static void read_estimate_freed_more_than_allocated_is_clamped(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_estimate *e = mkseg_record(m, BS_SEC_ESTIMATES, 2);
	const struct bs_abi_estimate *r;
	struct bs_snapshot *s;

	(void)state;
	mkseg_add_sampling(m);
	e->sampled_frees = e->frees_256 = e->bytes_freed = UINT64_MAX;
	e->var_objects_freed = e->var_bytes_freed = UINT64_MAX;
	s = expect_read(m);
	r = bs_snapshot_estimate(s, 2);
	assert_int_equal(r->sampled_frees, r->sampled_allocs);
	assert_int_equal(r->frees_256, r->allocs_256);
	assert_int_equal(r->bytes_freed, r->bytes_allocated);
	assert_int_equal(r->var_objects_freed, r->var_objects_allocated);
	assert_int_equal(r->var_bytes_freed, r->var_bytes_allocated);
	test_render_all(s);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* Made of nothing but numbers that tell where they went. */
static void read_shard_is_added_to_its_site_and_empty(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *to = mkseg_record(m, BS_SEC_SITES, 3);
	struct bs_abi_site *shard =
		mkseg_record(m, BS_SEC_SITES, MKSEG_NR_SITES);
	struct bs_abi_estimate *e =
		mkseg_record(m, BS_SEC_ESTIMATES, MKSEG_NR_SITES);
	struct bs_abi_area *area = mkseg_record(m, BS_SEC_AREAS, 0);
	struct bs_abi_owner *owner = mkseg_record(m, BS_SEC_OWNERS, 0);
	struct bs_abi_event *event = mkseg_record(
		m, BS_SEC_EVENTS, MKSEG_EVENTS % MKSEG_EVENT_SLOTS);
	static const struct bs_site none;
	struct bs_abi_ages *ages;
	const struct bs_site *r;
	struct bs_snapshot *s;

	(void)state;
	mkseg_add_sampling(m);
	area->site = event->site = owner->site = MKSEG_NR_SITES;
	*e = (struct bs_abi_estimate){ 2, 1, 512, 256, 80, 40, 6, 3, 8, 4 };
	to->cohort_shift = 0;
	to->cohort_born = 0x17; /* 0, 1, 2, 4 */
	ages = mkseg_ages(m, 3);
	for (uint32_t c = 0; c < 4; c++)
		ages->cohort_live[c] = c + 1;
	to->cohort = 4;
	to->cohort_live = 5;
	to->lifetime_frees = 5;
	ages->lifetime[19] = UINT32_MAX - 1;
	shard->cohort_shift = 1;
	shard->cohort_born = 0x9; /* 0, 3 */
	ages = mkseg_ages(m, MKSEG_NR_SITES);
	memset(ages->cohort_live, 0, sizeof(ages->cohort_live));
	ages->cohort_live[0] = 100;
	shard->cohort = 3;
	shard->cohort_live = 200;
	ages->lifetime[0] = 6;
	shard->lifetime = 19;
	shard->lifetime_frees = 2;
	to->last_ns = 7;
	shard->last_ns = 9;
	to->first_ns = 5;
	shard->first_ns = 3;
	to->peak_live_bytes = 1000;
	shard->peak_live_bytes = 24;
	s = expect_read(m);
	r = bs_snapshot_site(s, 3);
	assert_int_equal(r->allocs, 200050);
	assert_int_equal(r->frees, 200020);
	assert_int_equal(r->bytes_allocated, 200050 * 1024);
	assert_int_equal(r->bytes_freed, 200020 * 1024);
	assert_int_equal(r->peak_live_bytes, 1024);
	assert_int_equal(r->first_ns, 3);
	assert_int_equal(r->last_ns, 9);
	assert_int_equal(r->cohort_shift, 1);
	assert_int_equal(r->cohort_born, 0xf);
	assert_int_equal(r->cohort_live[0], 103);
	assert_int_equal(r->cohort_live[1], 7);
	assert_int_equal(r->cohort_live[2], 5);
	assert_int_equal(r->cohort_live[3], 200);
	assert_int_equal(r->lifetime[0], 11);
	assert_int_equal(r->lifetime[19], UINT32_MAX);
	assert_int_equal(bs_snapshot_estimate(s, 3)->sampled_allocs, 2);
	assert_int_equal(bs_snapshot_estimate(s, 3)->var_bytes_freed, 4);
	assert_int_equal(
		bs_snapshot_estimate(s, MKSEG_NR_SITES)->sampled_allocs, 0);
	assert_memory_equal(bs_snapshot_site(s, MKSEG_NR_SITES), &none,
			    sizeof(none));
	for (uint64_t i = 0; i < bs_snapshot_nr_areas(s); i++)
		if (bs_snapshot_area(s, i)->addr == area->addr)
			assert_int_equal(bs_snapshot_area(s, i)->site, 3);
	assert_int_equal(bs_snapshot_owner(s, 0)->site, 3);
	assert_int_equal(bs_snapshot_event(s, MKSEG_EVENT_SLOTS - 1)->site, 3);
	test_render_all(s);
	bs_snapshot_free(s);
	/* The other way round: the shard is the finer one. */
	to->cohort_shift = 2;
	shard->cohort_shift = 0;
	s = expect_read(m);
	r = bs_snapshot_site(s, 3);
	assert_int_equal(r->cohort_shift, 2);
	assert_int_equal(r->cohort_live[0], 1 + 100 + 200);
	assert_int_equal(r->cohort_live[1], 2);
	assert_int_equal(r->cohort_born, 0x17);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* Objects of the site that end at its shard, in the same cohort or, once, another. */
static void read_shard_may_end_what_began_elsewhere(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *to = mkseg_record(m, BS_SEC_SITES, 3);
	struct bs_abi_site *shard =
		mkseg_record(m, BS_SEC_SITES, MKSEG_NR_SITES);
	const struct bs_site *r;
	struct bs_snapshot *s;

	(void)state;
	mkseg_add_sampling(m);
	to->allocs = 100;
	to->bytes_allocated = 1000;
	to->frees = to->bytes_freed = 0;
	to->cohort = 2;
	to->cohort_live = 100;
	shard->allocs = 10;
	shard->bytes_allocated = 100;
	shard->frees = 60;
	shard->bytes_freed = 600;
	shard->cohort_shift = 0;
	memset(mkseg_ages(m, MKSEG_NR_SITES)->cohort_live, 0,
	       sizeof(mkseg_ages(m, MKSEG_NR_SITES)->cohort_live));
	for (uint32_t cohort = 2; cohort < 4; cohort++) {
		shard->cohort = cohort;
		shard->cohort_live = (uint32_t)-50;
		s = expect_read(m);
		r = bs_snapshot_site(s, 3);
		assert_int_equal(r->allocs - r->frees, 50);
		assert_int_equal(r->bytes_allocated - r->bytes_freed, 500);
		assert_int_equal(r->cohort_live[2], 50);
		assert_int_equal(r->cohort_live[3], 0);
		bs_snapshot_free(s);
	}
	mkseg_free(m);
}

/* Of the image, written to a file whose name goes to path, of PATH_MAX bytes. */
static struct bs_sampler *open_sampler(const struct mkseg *m, char *path)
{
	struct bs_sampler *sampler;
	char err[512];

	assert_int_equal(mkseg_write(m, test_dir(), path, PATH_MAX), 0);
	sampler = bs_sampler_open(path, err, sizeof(err));
	if (!sampler)
		fail_msg("%s", err);
	return sampler;
}

/* A section that cannot be read leaves no site half made. */
static void sampler_has_no_sites_after_a_failed_read(void **state)
{
	struct mkseg *m = mkseg_new();
	char path[PATH_MAX], err[512];
	struct bs_sampler *sampler;
	const struct bs_snapshot *s;

	(void)state;
	mkseg_header(m)->section[BS_SEC_AGES].elem_bytes = 1;
	sampler = open_sampler(m, path);
	s = bs_sampler_snapshot(sampler);
	assert_true(bs_sampler_read(sampler, BS_SNAP_STACKS, err, sizeof(err)) <
		    0);
	assert_non_null(strstr(err, "damaged section ages"));
	assert_int_equal(bs_snapshot_nr_sites(s), 0);
	assert_int_equal(bs_snapshot_last_ns(s),
			 bs_snapshot_header(s)->created_ns);
	bs_sampler_close(sampler);
	unlink(path);
	mkseg_free(m);
}

/* Out of range, itself, a shard: whichever comes first, it stays a site. */
static void read_shard_of_nonsense_is_a_site(void **state)
{
	static const uint32_t nonsense[] = {
		UINT32_MAX,
		MKSEG_NR_SITES + 1,
		MKSEG_NR_SITES, /* itself */
		2,
		5, /* shards */
	};
	struct mkseg *m = mkseg_new();
	struct bs_abi_site *shard =
		mkseg_record(m, BS_SEC_SITES, MKSEG_NR_SITES);
	struct bs_snapshot *s;
	uint64_t live;

	(void)state;
	mkseg_add_sampling(m);
	s = expect_read(m);
	live = bs_snapshot_live_bytes(s);
	bs_snapshot_free(s);
	shard->cohort_shift = UINT8_MAX;
	for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++) {
		struct bs_abi_site *two = mkseg_record(m, BS_SEC_SITES, 2);
		struct bs_abi_site *five = mkseg_record(m, BS_SEC_SITES, 5);

		shard->shard_of = nonsense[i];
		two->shard_of = nonsense[i] == 2 ? 2 : 0;  /* itself */
		five->shard_of = nonsense[i] == 5 ? 1 : 0; /* a good one */
		s = expect_read(m);
		assert_int_equal(bs_snapshot_site(s, MKSEG_NR_SITES)->allocs,
				 50);
		for (uint64_t k = 0; k < bs_snapshot_nr_sites(s); k++)
			assert_int_equal(bs_snapshot_site(s, k)->shard_of, 0);
		assert_int_equal(bs_snapshot_site(s, 1)->allocs,
				 nonsense[i] == 5 ? MKSEG_LEAK_NR + 23
						  : MKSEG_LEAK_NR);
		assert_int_equal(bs_snapshot_live_bytes(s), live);
		test_render_all(s);
		bs_snapshot_free(s);
	}
	/* Any width of cohorts can be had. */
	shard->shard_of = 3;
	s = expect_read(m);
	live = 0;
	for (uint32_t c = 0; c < BS_NR_COHORTS; c++)
		live += bs_snapshot_site(s, 3)->cohort_live[c];
	assert_int_equal(live, 30);
	bs_snapshot_free(s);
	mkseg_free(m);
}

/* ---- the control page -------------------------------------------------------- */

static int open_control(const struct mkseg *m, struct bs_control *c, char *err,
			size_t errlen)
{
	static char path[PATH_MAX];
	int ret;

	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	ret = bs_control_open(c, path, err, errlen);
	unlink(path);
	return ret;
}

static void control_request_writes_its_page_and_nothing_else(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_control *page = mkseg_record(m, BS_SEC_CONTROL, 0);
	unsigned char *after = malloc(m->bytes);
	struct bs_control c;
	char err[512];

	(void)state;
	page->trim_request = 77;
	page->trace_request = UINT32_MAX;
	mkseg_header(m)->trace_request_seen = UINT32_MAX;
	assert_int_equal(open_control(m, &c, err, sizeof(err)), 0);
	assert_true(bs_control_trace_seen(&c));
	assert_int_equal(bs_control_request_trace(&c, BS_TRACE_SAMPLE, 0, 8192,
						  err, sizeof(err)),
			 0);
	assert_false(bs_control_trace_seen(&c));
	assert_int_equal(c.page.trace_request, 0); /* wraps */
	*page = (struct bs_abi_control){ .trim_request = 77,
					 .trace_mode = BS_TRACE_SAMPLE,
					 .trace_sample_bytes = 8192 };
	assert_int_equal(pread(c.fd, after, m->bytes, 0), m->bytes);
	assert_memory_equal(after, m->image, m->bytes);
	bs_control_close(&c);
	free(after);
	mkseg_free(m);
}

static void control_request_pins_waits_for_its_answer(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_control *page = mkseg_record(m, BS_SEC_CONTROL, 0);
	struct bs_control c;
	char err[512];

	(void)state;
	page->pins_order = 8;
	page->pins_request = mkseg_header(m)->pins_request_seen = 4;
	assert_int_equal(open_control(m, &c, err, sizeof(err)), 0);
	assert_true(bs_control_pins_seen(&c));
	for (int i = 0; i < 2; i++) { /* asked once */
		assert_int_equal(
			bs_control_request_pins(&c, 8, err, sizeof(err)), 0);
		assert_false(bs_control_pins_seen(&c));
		assert_int_equal(c.page.pins_request, 5);
	}
	assert_int_equal(bs_control_request_pins(&c, 3, err, sizeof(err)), 0);
	assert_int_equal(c.page.pins_request, 6);
	assert_int_equal(c.page.pins_order, 3);
	bs_control_close(&c);
	mkseg_free(m);
}

static void control_of_a_damaged_segment_is_not_written(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_section *sec = &mkseg_header(m)->section[BS_SEC_CONTROL];
	struct bs_abi_section good = *sec;
	char err[512], path[PATH_MAX], link[PATH_MAX + 8];
	struct bs_control c;

	(void)state;
#define REFUSED(change, why)                                                   \
	do {                                                                   \
		*sec = good;                                                   \
		change;                                                        \
		assert_true(open_control(m, &c, err, sizeof(err)) < 0);        \
		if (!strstr(err, why))                                         \
			fail_msg("'%s' does not say '%s'", err, why);          \
	} while (0)
	REFUSED(sec->capacity = 0, "no control page");
	REFUSED(sec->count = 0, "no control page");
	REFUSED(sec->elem_bytes = 32, "records of 32 bytes");
	REFUSED(sec->offset = mkseg_header(m)->file_bytes, "do not fit");
	REFUSED(sec->offset = 0, "do not fit"); /* the header */
	REFUSED(mkseg_header(m)->magic = 1, "wrong magic");
#undef REFUSED
	*sec = good;
	mkseg_header(m)->magic = BS_ABI_MAGIC;
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	snprintf(link, sizeof(link), "%s.link", path);
	assert_int_equal(symlink(path, link), 0);
	assert_true(bs_control_open(&c, link, err, sizeof(err)) < 0);
	assert_non_null(strstr(err, "symbolic link"));
	unlink(link);
	unlink(path);
	mkseg_free(m);
}

/* ---- torn ---------------------------------------------------------------- */

static void read_odd_sequence_is_torn(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_zone *zone = mkseg_record(m, BS_SEC_ZONES, 1);
	struct bs_abi_cache *cache = mkseg_record(m, BS_SEC_CACHES, 3);
	struct bs_abi_area *area = mkseg_record(m, BS_SEC_AREAS, 0);
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;

	(void)state;
	zone->seq++;
	zone->free_pages = 1;
	cache->seq++;
	area->seq++;
	s = expect_read(m);
	assert_false(bs_snapshot_zone_torn(s, 0));
	assert_true(bs_snapshot_zone_torn(s, 1));
	/* The free slot before it is gone: 3 became 2. */
	assert_true(bs_snapshot_cache_torn(s, 2));
	assert_false(bs_snapshot_cache_torn(s, 1));
	assert_true(bs_snapshot_area_torn(s, 3));
	assert_false(bs_snapshot_area_torn(s, 0));
	test_render_all(s);
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void zone_check_names_the_difference(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_zone zone;
	char err[256];

	(void)state;
	memcpy(&zone, mkseg_record(m, BS_SEC_ZONES, 0), sizeof(zone));
	assert_int_equal(bs_zone_check(&zone, err, sizeof(err)), 0);
	zone.used_pages[BS_USE_MMAP]++;
	assert_int_equal(bs_zone_check(&zone, err, sizeof(err)), -EUCLEAN);
	assert_string_equal(
		err,
		"zone DMA: 26 free + 231 used pages, managed_pages is 256");
	zone.used_pages[BS_USE_MMAP]--;
	zone.nr_free[0][3]++;
	assert_int_equal(bs_zone_check(&zone, err, sizeof(err)), -EUCLEAN);
	assert_string_equal(
		err, "zone DMA: free lists hold 34 pages, free_pages is 26");
	mkseg_free(m);
}

/* ---- while it is written ------------------------------------------------- */

struct writer {
	struct bs_abi_zone *zone;
	struct bs_abi_site *site;
	bool stop;
};

/*
 * Moves pages between free and used as the engine does, and counts at a site
 * under its lock, as fast as it can.
 */
static void *write_records(void *arg)
{
	struct writer *w = arg;
	struct bs_abi_zone *z = w->zone;
	struct bs_abi_site *site = w->site;
	uint64_t n = 0;

#define PUT(lvalue, value) __atomic_store_n(&(lvalue), value, __ATOMIC_RELAXED)
	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
		uint64_t take = n++ % 5;

		PUT(z->seq, z->seq | 1);
		__atomic_thread_fence(__ATOMIC_RELEASE);
		PUT(z->nr_free[0][0], 9 - take);
		PUT(z->free_pages, 5711 - take);
		PUT(z->used_pages[BS_USE_PCP], 33 + take);
		__atomic_store_n(&z->seq, z->seq + 1, __ATOMIC_RELEASE);

		__atomic_store_n(&site->lock, 1, __ATOMIC_SEQ_CST);
		PUT(site->allocs, site->allocs + 1);
		PUT(site->bytes_allocated, site->bytes_allocated + 777);
		__atomic_store_n(&site->lock, 0, __ATOMIC_SEQ_CST);
		/* A site that allocates all the time is never at rest. */
		for (volatile int i = 0; i < 10000; i++)
			;
	}
#undef PUT
	return NULL;
}

static void read_while_written_adds_up_each_time(void **state)
{
	struct mkseg *m = mkseg_new();
	char path[PATH_MAX], err[512];
	struct bs_sampler *sampler;
	const struct bs_snapshot *s;
	static struct writer w; /* outlives a failure: the thread goes on */
	unsigned char *map;
	pthread_t thread;
	uint64_t before = 0;
	int fd;

	(void)state;
	assert_int_equal(mkseg_write(m, test_dir(), path, sizeof(path)), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	map = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(map, MAP_FAILED);
	close(fd);
	w.zone = (void *)(map +
			  ((unsigned char *)mkseg_record(m, BS_SEC_ZONES, 1) -
			   m->image));
	w.site = (void *)(map +
			  ((unsigned char *)mkseg_record(m, BS_SEC_SITES, 1) -
			   m->image));
	assert_int_equal(pthread_create(&thread, NULL, write_records, &w), 0);
	sampler = bs_sampler_open(path, err, sizeof(err));
	assert_non_null(sampler);
	for (int i = 0; i < 300; i++) {
		assert_int_equal(bs_sampler_read(sampler,
						 BS_SNAP_ZONES | BS_SNAP_SITES,
						 err, sizeof(err)),
				 0);
		s = bs_sampler_snapshot(sampler);
		for (uint64_t z = 0; z < bs_snapshot_nr_zones(s); z++) {
			assert_false(bs_snapshot_zone_torn(s, z));
			if (bs_zone_check(bs_snapshot_zone(s, z), err,
					  sizeof(err)))
				fail_msg("reading %d: %s", i, err);
		}
		assert_int_equal(bs_snapshot_site(s, 1)->bytes_allocated,
				 bs_snapshot_site(s, 1)->allocs * 777);
		assert_true(bs_snapshot_site(s, 1)->allocs >= before);
		before = bs_snapshot_site(s, 1)->allocs;
	}
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	bs_sampler_close(sampler);
	munmap(map, m->bytes);
	unlink(path);
	mkseg_free(m);
}

static void sampler_file_cut_short_gives_an_error(void **state)
{
	struct mkseg *m = mkseg_new();
	char path[PATH_MAX], err[512];
	struct bs_sampler *sampler;

	(void)state;
	sampler = open_sampler(m, path);
	assert_int_equal(
		bs_sampler_read(sampler, BS_SNAP_ALL, err, sizeof(err)), 0);
	test_render_all(bs_sampler_snapshot(sampler));
	assert_int_equal(truncate(path, 8192), 0);
	assert_true(bs_sampler_read(sampler, BS_SNAP_ALL, err, sizeof(err)) <
		    0);
	assert_non_null(strstr(err, "cut short"));
	test_render_all(bs_sampler_snapshot(sampler));
	bs_sampler_close(sampler);
	unlink(path);
	mkseg_free(m);
}

static void sampler_sees_new_nodes_and_survives_unlink(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_section *sec = &mkseg_header(m)->section[BS_SEC_NODES];
	char path[PATH_MAX], err[512];
	struct bs_sampler *sampler;
	struct bs_abi_node *node;
	int fd;

	(void)state;
	/* The last node is counted, but not written yet. */
	node = mkseg_record(m, BS_SEC_NODES, sec->count++);
	sampler = open_sampler(m, path);
	assert_int_equal(
		bs_sampler_read(sampler, BS_SNAP_NODES, err, sizeof(err)), 0);
	assert_int_equal(bs_snapshot_node(bs_sampler_snapshot(sampler),
					  sec->count - 1)
				 ->pc,
			 0);
	*node = (struct bs_abi_node){ 0x1234, 1, 2 };
	node = mkseg_record(m, BS_SEC_NODES, sec->count++);
	*node = (struct bs_abi_node){ 0x5678, 2, 3 };
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, m->image, m->bytes), m->bytes);
	close(fd);
	unlink(path);
	assert_int_equal(
		bs_sampler_read(sampler, BS_SNAP_NODES, err, sizeof(err)), 0);
	assert_int_equal(bs_snapshot_node(bs_sampler_snapshot(sampler),
					  sec->count - 2)
				 ->pc,
			 0x1234);
	assert_int_equal(bs_snapshot_node(bs_sampler_snapshot(sampler),
					  sec->count - 1)
				 ->pc,
			 0x5678);
	bs_sampler_close(sampler);
	mkseg_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(read_good_segment_gives_all_records),
		cmocka_unit_test(read_untraced_live_bytes_are_pages),
		cmocka_unit_test(stack_walk_is_innermost_first_and_bounded),
		cmocka_unit_test(find_module_takes_the_generation_of_the_time),
		cmocka_unit_test(read_wrong_kind_of_file_is_refused),
		cmocka_unit_test(read_foreign_file_is_refused),
		cmocka_unit_test(read_damaged_header_is_refused),
		cmocka_unit_test(read_truncated_file_is_refused_at_any_length),
		cmocka_unit_test(read_lying_section_is_refused),
		cmocka_unit_test(read_count_beyond_capacity_is_clamped),
		cmocka_unit_test(read_enormous_count_is_refused_without_memory),
		cmocka_unit_test(read_absent_section_is_empty),
		cmocka_unit_test(read_longer_records_are_stepped_over),
		cmocka_unit_test(read_text_without_end_is_terminated),
		cmocka_unit_test(read_node_cycles_are_cut),
		cmocka_unit_test(read_dangling_references_become_unknown),
		cmocka_unit_test(
			read_site_freed_more_than_allocated_is_clamped),
		cmocka_unit_test(read_event_of_another_lap_is_left_out),
		cmocka_unit_test(read_pins_are_a_ring_that_names_sites),
		cmocka_unit_test(read_ages_of_another_are_left_out),
		cmocka_unit_test(read_estimate_counts_into_live_bytes),
		cmocka_unit_test(
			read_estimates_fewer_than_sites_are_zeros_behind),
		cmocka_unit_test(
			read_estimate_freed_more_than_allocated_is_clamped),
		cmocka_unit_test(read_shard_is_added_to_its_site_and_empty),
		cmocka_unit_test(read_shard_may_end_what_began_elsewhere),
		cmocka_unit_test(sampler_has_no_sites_after_a_failed_read),
		cmocka_unit_test(read_shard_of_nonsense_is_a_site),
		cmocka_unit_test(
			control_request_writes_its_page_and_nothing_else),
		cmocka_unit_test(control_request_pins_waits_for_its_answer),
		cmocka_unit_test(control_of_a_damaged_segment_is_not_written),
		cmocka_unit_test(read_odd_sequence_is_torn),
		cmocka_unit_test(zone_check_names_the_difference),
		cmocka_unit_test(read_while_written_adds_up_each_time),
		cmocka_unit_test(sampler_file_cut_short_gives_an_error),
		cmocka_unit_test(sampler_sees_new_nodes_and_survives_unlink),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
