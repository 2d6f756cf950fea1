/* SPDX-License-Identifier: MIT */
/*
 * test_dma.c - contiguous memory for devices: both policies, counters, failures.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/mm/page_alloc.h"
#include "tests/unit/mm_model.h"
#include "tests/unit/mm_pub.h"

#define MIB	    (1UL << 20)
#define FRAME_BYTES 3110400UL /* 1920 x 1080, NV12: 760 pages of 1024 */
#define FRAME_PAGES 760UL

static const struct bs_abi_device *device(unsigned int nr)
{
	return &mm.device[nr];
}

static uint64_t dma_pages(unsigned int zone)
{
	return mm.zone[zone].stat.used_pages[BS_USE_DMA];
}

static void start(bool whole, unsigned int nr_zones)
{
	struct mm_config c;
	unsigned int i;

	mm_default_config(&c);
	c.tags = true;
	c.oom_fail = true;
	c.dma_whole = whole;
	c.nr_zones = nr_zones;
	for (i = 0; i < nr_zones; i++) {
		sys_format(c.zone[i].name, sizeof(c.zone[i].name), "Z%u", i);
		c.zone[i].pages = 16 * MIB >> PAGE_SHIFT;
		c.zone[i].elastic = false;
	}
	assert_int_equal(mm_init(&c, NULL), 0);
	pub_attach();
}

static int stop(void **state)
{
	(void)state;
	mm_destroy();
	return 0;
}

/* ---- policies ------------------------------------------------------------------- */

static void dma_alloc_coherent_trim_frees_the_tail(void **state)
{
	unsigned int dev;
	dma_addr_t handle;
	char *p;

	(void)state;
	start(false, 2);
	dev = dma_device("video0");
	p = dma_alloc_coherent(dev, FRAME_BYTES, &handle, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(handle, (uint64_t)(p - mm.base));
	assert_int_equal(dma_pages(0), FRAME_PAGES);
	assert_int_equal(dma_pages(1), 0);
	assert_int_equal(device(dev)->live_pages, FRAME_PAGES);
	assert_int_equal(device(dev)->live_bytes, FRAME_BYTES);
	assert_int_equal(device(dev)->trimmed_pages, 1024 - FRAME_PAGES);
	assert_int_equal(device(dev)->kept_pages, 0);
	assert_mm_holds();
	assert_int_equal(dma_free_coherent(dev, FRAME_BYTES, p, handle), 0);
	assert_int_equal(dma_pages(0), 0);
	assert_int_equal(device(dev)->live_pages, 0);
	assert_int_equal(device(dev)->live_bytes, 0);
	assert_int_equal(device(dev)->peak_pages, FRAME_PAGES);
	assert_int_equal(device(dev)->allocs, 1);
	assert_int_equal(device(dev)->frees, 1);
	assert_mm_holds();
}

static void dma_alloc_coherent_whole_keeps_the_block(void **state)
{
	unsigned int dev;
	dma_addr_t handle;
	struct mm_block b;
	char *p;

	(void)state;
	start(true, 1);
	dev = dma_device("video0");
	p = dma_alloc_coherent(dev, FRAME_BYTES, &handle, GFP_KERNEL);
	assert_non_null(p);
	assert_int_equal(dma_pages(0), 1024);
	assert_int_equal(device(dev)->live_pages, 1024);
	assert_int_equal(device(dev)->kept_pages, 1024 - FRAME_PAGES);
	assert_int_equal(device(dev)->trimmed_pages, 0);
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_int_equal(b.usable, FRAME_PAGES * PAGE_SIZE);
	assert_mm_holds();
	assert_int_equal(dma_free_coherent(dev, FRAME_BYTES, p, handle), 0);
	assert_int_equal(dma_pages(0), 0);
	assert_mm_holds();
}

static void dma_alloc_coherent_power_of_two_has_no_tail(void **state)
{
	unsigned int order, dev;

	(void)state;
	start(false, 1);
	dev = dma_device("video0");
	for (order = 0; order < MAX_ORDER; order++) {
		size_t size = PAGE_SIZE << order;
		dma_addr_t handle;
		char *p = dma_alloc_coherent(dev, size, &handle, GFP_KERNEL);

		assert_non_null(p);
		assert_int_equal(handle % size, 0); /* naturally aligned */
		assert_int_equal(dma_pages(0), 1UL << order);
		assert_int_equal(dma_free_coherent(dev, size, p, handle), 0);
	}
	assert_int_equal(device(dev)->trimmed_pages, 0);
	assert_mm_holds();
}

static void dma_alloc_coherent_used_memory_comes_zeroed(void **state)
{
	dma_addr_t handle;
	unsigned int dev, i;
	char *p;

	(void)state;
	start(false, 1);
	dev = dma_device("video0");
	p = dma_alloc_coherent(dev, 100000, &handle, GFP_KERNEL);
	memset(p, 0x5a, 100000);
	assert_int_equal(dma_free_coherent(dev, 100000, p, handle), 0);
	p = dma_alloc_coherent(dev, 100000, &handle, GFP_KERNEL);
	for (i = 0; i < 100000; i++)
		assert_int_equal(p[i], 0);
}

static void dma_alloc_gfp_names_another_zone(void **state)
{
	unsigned int dev;
	struct mm_block b;
	void *p;

	(void)state;
	start(false, 2);
	dev = dma_device("decoder");
	p = dma_alloc(dev, 5 * PAGE_SIZE, __GFP_ZONE(1));
	assert_non_null(p);
	assert_int_equal(dma_pages(0), 0);
	assert_int_equal(dma_pages(1), 5);
	assert_int_equal(device(dev)->zone, 1);
	/* The program's free() gives it back all the same. */
	assert_int_equal(mm_lookup(p, &b), 0);
	assert_int_equal(b.usable, 5 * PAGE_SIZE);
	assert_int_equal(mm_free(p, &b), 0);
	assert_int_equal(dma_pages(1), 0);
	assert_int_equal(device(dev)->live_pages, 0);
	assert_mm_holds();
}

/* ---- failures --------------------------------------------------------------------- */

static void dma_alloc_coherent_zone_full_is_reported(void **state)
{
	void *p[4096];
	const struct bs_abi_event *ev;
	unsigned int dev, nr = 0, i;
	dma_addr_t handle = 42;
	struct mm_block b;
	uint64_t free_pages;

	(void)state;
	start(false, 2);
	dev = dma_device("video0");
	while ((p[nr] = dma_alloc(dev, FRAME_BYTES, __GFP_NOWARN)))
		nr++;
	assert_true(nr >= 3);
	assert_int_equal(pub_nr_events(), 0); /* NOWARN */
	assert_int_equal(device(dev)->failed, 1);
	free_pages = mm.zone[0].stat.free_pages;
	assert_null(dma_alloc_coherent(dev, FRAME_BYTES, &handle, GFP_KERNEL));
	assert_int_equal(handle, 42);
	assert_int_equal(device(dev)->failed, 2);
	assert_int_equal(mm.zone[0].stat.free_pages, free_pages);
	assert_int_equal(pub_nr_events(), 1); /* one report, not two */
	ev = pub_event();
	assert_int_equal(ev->type, BS_EVENT_DMA_FAILED);
	assert_string_equal(ev->name, "video0");
	assert_int_equal(ev->order, 10);
	assert_int_equal(ev->bytes, FRAME_BYTES);
	assert_int_equal(ev->zone, 0);
	assert_int_equal(ev->nr_zones, 2);
	assert_int_equal(ev->zones[0].used_pages[BS_USE_DMA], dma_pages(0));
	for (i = 0; i < nr; i++) {
		assert_int_equal(mm_lookup(p[i], &b), 0);
		assert_int_equal(mm_free(p[i], &b), 0);
	}
	assert_int_equal(dma_pages(0), 0);
	assert_mm_holds();
}

static void
dma_alloc_coherent_zone_that_grows_is_reported_as_the_devices(void **state)
{
	const struct bs_abi_event *ev;
	unsigned int dev, nr;
	dma_addr_t handle;

	(void)state;
	start(false, 2);
	mm.config.oom_fail = false;
	dev = dma_device("video0");
	/* The zone is full once it has more than it began with. */
	for (nr = 0; mm.zone[0].stat.managed_pages <= mm.zone[0].initial_pages;
	     nr++)
		assert_non_null(dma_alloc_coherent(dev, FRAME_BYTES, &handle,
						   GFP_KERNEL));
	assert_true(nr >= 3);
	assert_int_equal(pub_nr_events(), 1);
	ev = pub_event();
	assert_int_equal(ev->type, BS_EVENT_DMA_FAILED);
	assert_string_equal(ev->name, "video0");
	assert_int_equal(ev->bytes, FRAME_BYTES);
	assert_int_equal(ev->zone, 0);
	/* As it was before it grew. */
	assert_int_equal(ev->zones[0].managed_pages, mm.zone[0].initial_pages);
	assert_int_equal(device(dev)->failed, 0);
	assert_int_equal(mm.zone[0].stat.nr_failed, 1);
	assert_mm_holds();
}

static void dma_alloc_coherent_failures_are_limited(void **state)
{
	unsigned int dev, i;
	dma_addr_t handle;

	(void)state;
	start(false, 1);
	dev = dma_device("video0");
	for (i = 0; i < 1000; i++)
		assert_null(dma_alloc_coherent(dev, LARGE_MAX + 1, &handle,
					       GFP_KERNEL));
	assert_int_equal(device(dev)->failed, 1000);
	assert_int_equal(
		mm.vmstat[BS_VMSTAT_EVENTS_SUPPRESSED] + pub_nr_events(), 1000);
	assert_true(pub_nr_events() < 100);
}

static void dma_alloc_coherent_impossible_sizes_return_null(void **state)
{
	static const size_t sizes[] = { 0, LARGE_MAX + 1, SIZE_MAX,
					SIZE_MAX - PAGE_SIZE };
	dma_addr_t handle;
	unsigned int i;

	(void)state;
	start(false, 1);
	for (i = 0; i < ARRAY_SIZE(sizes); i++)
		assert_null(dma_alloc_coherent(dma_device("video0"), sizes[i],
					       &handle, GFP_KERNEL));
	assert_mm_holds();
}

static void dma_free_coherent_other_block_is_refused(void **state)
{
	unsigned int a, b;
	dma_addr_t handle;
	char *p, *large;

	(void)state;
	start(false, 1);
	a = dma_device("video0");
	b = dma_device("video1");
	p = dma_alloc_coherent(a, 10000, &handle, GFP_KERNEL);
	assert_int_equal(dma_free_coherent(b, 10000, p, handle), -EINVAL);
	assert_int_equal(dma_free_coherent(a, 10001, p, handle), -EINVAL);
	assert_int_equal(dma_free_coherent(a, 10000, p, handle + PAGE_SIZE),
			 -EINVAL);
	assert_int_equal(dma_free_coherent(a, 10000, p + PAGE_SIZE,
					   handle + PAGE_SIZE),
			 -EINVAL);
	large = mm_alloc(300000, 1, GFP_KERNEL);
	assert_int_equal(dma_free_coherent(a, 300000, large,
					   (uint64_t)(large - mm.base)),
			 -EINVAL);
	assert_int_equal(device(a)->frees, 0);
	assert_int_equal(dma_free_coherent(a, 10000, p, handle), 0);
	assert_true(dma_free_coherent(a, 10000, p, handle) < 0);
	assert_int_equal(device(a)->frees, 1);
	assert_int_equal(device(b)->frees, 0);
	assert_int_equal(dma_device_find("video1"), b);
	assert_int_equal(dma_device_find("video2"), MM_MAX_DEVICES);
	assert_int_equal(mm.nr_devices, 2);
	assert_mm_holds();
}

/* ---- devices ------------------------------------------------------------------------ */

static void dma_device_too_many_share_the_last_place(void **state)
{
	unsigned int i;
	char name[16];

	(void)state;
	start(false, 1);
	for (i = 0; i < 2 * MM_MAX_DEVICES; i++) {
		sys_format(name, sizeof(name), "dev%u", i);
		assert_int_equal(dma_device(name), MIN(i, MM_MAX_DEVICES - 1));
		assert_int_equal(dma_device(name), MIN(i, MM_MAX_DEVICES - 1));
	}
	assert_int_equal(pub.header.section[BS_SEC_DEVICES].count,
			 MM_MAX_DEVICES);
	assert_string_equal(pub.devices[3].name, "dev3");
	assert_string_equal(pub.devices[MM_MAX_DEVICES - 1].name, "(others)");
	for (i = 0; i < MM_MAX_DEVICES; i++) {
		assert_int_equal(pub.devices[i].live, 1);
		assert_int_equal(pub.devices[i].seq % 2, 0);
	}
}

static void dma_device_long_name_is_cut(void **state)
{
	(void)state;
	start(false, 1);
	assert_int_equal(dma_device("0123456789012345678901234567890-cut"), 0);
	assert_int_equal(dma_device("0123456789012345678901234567890-too"), 0);
	assert_int_equal(dma_device("012345678901234567890123456789"), 1);
	assert_string_equal(pub.devices[0].name,
			    "0123456789012345678901234567890");
}

static void dma_fork_child_keeps_what_it_holds(void **state)
{
	dma_addr_t handle;
	unsigned int dev;
	int status;
	pid_t pid;
	char *p;

	(void)state;
	start(false, 1);
	dev = dma_device("video0");
	p = dma_alloc_coherent(dev, FRAME_BYTES, &handle, GFP_KERNEL);
	mm_fork_prepare();
	pid = fork();
	if (!pid) {
		mm_fork_child();
		pub_attach();
		if (pub.devices[dev].live_pages != FRAME_PAGES ||
		    strcmp(pub.devices[dev].name, "video0"))
			_exit(1);
		if (dma_free_coherent(dev, FRAME_BYTES, p, handle))
			_exit(2);
		_exit(pub.devices[dev].live_pages ? 3 : 0);
	}
	mm_fork_parent();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(device(dev)->live_pages, FRAME_PAGES);
	assert_mm_holds();
}

/* ---- everything together --------------------------------------------------------------- */

#define NR_BUFFERS 64
#define NR_DEVICES 4

struct buffer {
	void *p;
	size_t size;
	dma_addr_t handle;
	unsigned int dev;
};

/* What the counters have to say, from the buffers that live. */
static void assert_devices_add_up(const struct buffer *buf, bool whole)
{
	uint64_t bytes[NR_DEVICES] = { 0 }, pages[NR_DEVICES] = { 0 }, sum = 0;
	unsigned int i;

	for (i = 0; i < NR_BUFFERS; i++) {
		uint64_t n = ALIGN_UP(buf[i].size, PAGE_SIZE) >> PAGE_SHIFT;

		if (!buf[i].p)
			continue;
		while (whole && n & (n - 1))
			n++;
		bytes[buf[i].dev] += buf[i].size;
		pages[buf[i].dev] += n;
	}
	for (i = 0; i < NR_DEVICES; i++) {
		assert_int_equal(pub.devices[i].live_bytes, bytes[i]);
		assert_int_equal(pub.devices[i].live_pages, pages[i]);
		sum += pages[i];
	}
	assert_int_equal(dma_pages(0), sum);
}

static void churn(bool whole)
{
	struct buffer buf[NR_BUFFERS] = { 0 };
	struct model m;
	unsigned int i, nr_failed = 0;
	char name[16];

	start(whole, 1);
	model_init(&m, test_seed(), 0);
	for (i = 0; i < NR_DEVICES; i++) {
		sys_format(name, sizeof(name), "dev%u", i);
		assert_int_equal(dma_device(name), i);
	}
	for (i = 0; i < 20000; i++) {
		struct buffer *b = &buf[model_random(&m) % NR_BUFFERS];

		if (b->p) {
			assert_int_equal(dma_free_coherent(b->dev, b->size,
							   b->p, b->handle),
					 0);
			b->p = NULL;
		} else {
			b->dev = model_random(&m) % NR_DEVICES;
			b->size = 1 + model_random(&m) % (MIB >> i % 8);
			b->p = dma_alloc_coherent(b->dev, b->size, &b->handle,
						  GFP_KERNEL);
			nr_failed += !b->p;
		}
		if (i % 512 == 0) {
			assert_devices_add_up(buf, whole);
			assert_mm_holds();
		}
	}
	for (i = 0; i < NR_BUFFERS; i++)
		if (buf[i].p)
			assert_int_equal(
				dma_free_coherent(buf[i].dev, buf[i].size,
						  buf[i].p, buf[i].handle),
				0);
	memset(buf, 0, sizeof(buf));
	assert_devices_add_up(buf, whole);
	assert_mm_holds();
	assert_int_equal(device(0)->failed + device(1)->failed +
				 device(2)->failed + device(3)->failed,
			 nr_failed);
}

static void dma_random_trim_adds_up(void **state)
{
	(void)state;
	churn(false);
}

static void dma_random_whole_adds_up(void **state)
{
	(void)state;
	churn(true);
}

#define TEST(fn) cmocka_unit_test_teardown(fn, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dma_alloc_coherent_trim_frees_the_tail),
		TEST(dma_alloc_coherent_whole_keeps_the_block),
		TEST(dma_alloc_coherent_power_of_two_has_no_tail),
		TEST(dma_alloc_coherent_used_memory_comes_zeroed),
		TEST(dma_alloc_gfp_names_another_zone),
		TEST(dma_alloc_coherent_zone_full_is_reported),
		TEST(dma_alloc_coherent_zone_that_grows_is_reported_as_the_devices),
		TEST(dma_alloc_coherent_failures_are_limited),
		TEST(dma_alloc_coherent_impossible_sizes_return_null),
		TEST(dma_free_coherent_other_block_is_refused),
		TEST(dma_device_too_many_share_the_last_place),
		TEST(dma_device_long_name_is_cut),
		TEST(dma_fork_child_keeps_what_it_holds),
		TEST(dma_random_trim_adds_up),
		TEST(dma_random_whole_adds_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
