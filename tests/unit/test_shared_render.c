/* SPDX-License-Identifier: MIT */
/*
 * test_shared_render.c - the kernel's formats, old and new, and our own views.
 *
 * Owns:   nothing.
 * Layer:  tests.
 * Locks:  none.
 */
#include "tests/unit/shared_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shared/event.h"
#include "shared/fragindex.h"
#include "shared/render.h"
#include "shared/sitereport.h"

/* ---- the kernel's formats ------------------------------------------------ */

static struct bs_snapshot *example(void)
{
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;
	char err[512];

	s = test_read(m, err, sizeof(err));
	if (!s)
		fail_msg("%s", err);
	mkseg_free(m);
	return s;
}

static void expect_text(const char *name, const struct bs_render_options *opt,
			const char *expected)
{
	const struct bs_view *view = bs_view_find(name);
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;

	assert_non_null(view);
	view->text(&out, s, opt);
	assert_string_equal(bs_buf_str(&out), expected);
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

static void expect_view(const char *name, enum bs_kernel_format format,
			const char *expected)
{
	const struct bs_render_options opt = { .format = format };

	expect_text(name, &opt, expected);
}

static void buddyinfo_text_is_the_kernels(void **state)
{
	(void)state;
	expect_view(
		"buddyinfo", BS_FORMAT_MODERN,
		"Node 0, zone      DMA      4      3      2      1      0      0      0      0      0      0      0 \n"
		"Node 0, zone   NORMAL     17      9      5      3      8      2      1      0      1      0      5 \n");
}

static void extfrag_text_is_the_kernels(void **state)
{
	(void)state;
	expect_view(
		"extfrag", BS_FORMAT_MODERN,
		"Node 0, zone      DMA -1.000 -1.000 -1.000 -1.000  0.738  0.819  0.860  0.880  0.890  0.895  0.898 \n"
		"Node 0, zone   NORMAL -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 -1.000 \n");
	expect_view(
		"unusable", BS_FORMAT_MODERN,
		"Node 0, zone      DMA 0.000 0.153 0.384 0.692 1.000 1.000 1.000 1.000 1.000 1.000 1.000 \n"
		"Node 0, zone   NORMAL 0.000 0.002 0.006 0.009 0.013 0.036 0.047 0.058 0.058 0.103 0.103 \n");
}

static void pagetypeinfo_text_is_the_kernels(void **state)
{
	(void)state;
	expect_view(
		"pagetypeinfo", BS_FORMAT_MODERN,
		"Page block order: 9\n"
		"Pages per block:  512\n"
		"\n"
		"Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 \n"
		"Node    0, zone      DMA, type    Unmovable      2      2      1      1      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type      Movable      2      1      1      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type    Unmovable      9      5      3      2      4      1      1      0      1      0      3 \n"
		"Node    0, zone   NORMAL, type      Movable      8      4      2      1      4      1      0      0      0      0      2 \n"
		"Node    0, zone   NORMAL, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n"
		"\n"
		"Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate \n"
		"Node 0, zone      DMA            3            5            0            0            0 \n"
		"Node 0, zone   NORMAL            3            5            0            0            0 \n");
}

static void slabinfo_text_is_the_kernels(void **state)
{
	(void)state;
	expect_view(
		"slabinfo", BS_FORMAT_MODERN,
		"slabinfo - version: 2.1\n"
		"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n"
		"kmalloc-32           900   1152     32  128    1 : tunables  120   60    8 : slabdata      8      9      0\n"
		"kmalloc-64          1100   1216     64   64    1 : tunables  120   60    8 : slabdata     18     19      0\n"
		"kmalloc-1024          77     84   1024    4    1 : tunables  120   60    8 : slabdata     20     21      0\n"
		"dma-kmalloc-4096      12     20   4096    4    4 : tunables  120   60    8 : slabdata      4      5      0\n"
		"kmem_cache             4     42    192   21    1 : tunables  120   60    8 : slabdata      1      2      0\n");
}

/* A caller that does not depend on where the test was loaded. */
static bool fixed_caller(void *arg, const struct bs_snapshot *s, uint32_t site,
			 char *text, size_t len)
{
	(void)s;
	snprintf(text, len, "%s+0x%x/0x40", (const char *)arg, site);
	return true;
}

static void expect_vmallocinfo(enum bs_kernel_format format,
			       const char *expected)
{
	static char name[] = "av alloc";
	struct bs_render_options opt = { .format = format,
					 .caller = fixed_caller,
					 .caller_arg = name };

	expect_text("vmallocinfo", &opt, expected);
}

static void vmallocinfo_text_is_the_kernels(void **state)
{
	(void)state;
	expect_vmallocinfo(
		BS_FORMAT_MODERN,
		"0x00007f0000100000-0x00007f0000110000   65536 av_alloc+0x4/0x40 pages=16 vmap N0=16\n"
		"0x00007f0000200000-0x00007f0000204000   16384 av_alloc+0x4/0x40 phys=0x00000000000a0000 ioremap\n"
		"0x00007f0000300000-0x00007f0000303000   12288 unpurged vm_area\n"
		"0x00007f0000400000-0x00007f0000501000 1052672 av_alloc+0x1/0x40 pages=256 vmalloc N0=256\n"
		"0x00007f0000800000-0x00007f0040800000 1073741824 vmap\n"
		"0x00007f0050000000-0x00007f0050100000 1048576 av_alloc+0x4/0x40 phys=0x000000009e000000 ioremap\n"
		"0x00007f0051000000-0x00007f0051100000 1048576 av_alloc+0x4/0x40 phys=0x00000000000a0000 ioremap\n"
		"0x00007f0052000000-0x00007f0052801000 8392704 av_alloc+0x1/0x40 pages=2048 vmalloc vpages N0=2048\n");
	expect_vmallocinfo(
		BS_FORMAT_2_6_29,
		"0x00007f0000100000-0x00007f0000110000   65536 av_alloc+0x4/0x40 pages=16 vmap N0=16\n"
		"0x00007f0000200000-0x00007f0000204000   16384 av_alloc+0x4/0x40 phys=a0000 ioremap\n"
		"0x00007f0000400000-0x00007f0000501000 1052672 av_alloc+0x1/0x40 pages=256 vmalloc N0=256\n"
		"0x00007f0000800000-0x00007f0040800000 1073741824 vmap\n"
		"0x00007f0050000000-0x00007f0050100000 1048576 av_alloc+0x4/0x40 phys=9e000000 ioremap\n"
		"0x00007f0051000000-0x00007f0051100000 1048576 av_alloc+0x4/0x40 phys=a0000 ioremap\n"
		"0x00007f0052000000-0x00007f0052801000 8392704 av_alloc+0x1/0x40 pages=2048 vmalloc vpages N0=2048\n");
}

static void caller_plain_names_module_and_offset(void **state)
{
	struct mkseg *m = mkseg_new();
	const struct bs_abi_module *module;
	struct bs_snapshot *s;
	uint64_t pc = (uint64_t)(uintptr_t)mkseg_write + 8;
	char err[512], text[512], expected[512];

	(void)state;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	module = bs_snapshot_find_module(s, pc, 0);
	assert_non_null(module);
	assert_true(bs_caller_plain(s, 4, text, sizeof(text)));
	snprintf(expected, sizeof(expected), "%s+0x%llx/0x%llx",
		 strrchr(module->path, '/') + 1,
		 (unsigned long long)(pc - module->start),
		 (unsigned long long)(module->end - module->start));
	assert_string_equal(text, expected);
	assert_false(bs_caller_plain(s, 0, text, sizeof(text)));
	assert_false(bs_caller_plain(s, 4000000000U, text, sizeof(text)));
	bs_snapshot_free(s);
	mkseg_free(m);
}

static char *read_text(const char *path)
{
	struct bs_buf text = BS_BUF_INIT;
	FILE *f = fopen(path, "r");
	char chunk[4096];
	size_t n;

	while (f && (n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		bs_buf_add(&text, chunk, n);
	if (f)
		fclose(f);
	return text.data;
}

/*
 * Every row that we and the running kernel both have begins with the same bytes
 * up to its number.
 */
static void zoneinfo_rows_match_the_running_kernel(void **state)
{
	static const char *const prefixes[] = {
		"Node 0, zone ",
		"\n  per-node stats\n      nr_",
		"\n  pages free     ",
		"\n        boost    ",
		"\n        min      ",
		"\n        low      ",
		"\n        high     ",
		"\n        promo    ",
		"\n        spanned  ",
		"\n        present  ",
		"\n        managed  ",
		"\n        cma      ",
		"\n        protection: (",
		"\n      nr_free_pages ",
		"\n      nr_anon_pages ",
		"\n  pagesets\n    cpu: 0\n",
		"\n              count:    ",
		"\n              high:     ",
		"\n              batch:    ",
		"\n              high_min: ",
		"\n              high_max: ",
		"\n  node_unreclaimable:  ",
		"\n  start_pfn:           ",
	};
	struct bs_render_options opt = { .format = BS_FORMAT_MODERN };
	char *live = read_text("/proc/zoneinfo"), word[32], err[512];
	struct bs_buf out = BS_BUF_INIT;
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s = test_read(m, err, sizeof(err));
	unsigned int compared = 0;

	(void)state;
	assert_non_null(live);
	assert_non_null(s);
	bs_view_find("zoneinfo")->text(&out, s, &opt);
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		assert_non_null(strstr(bs_buf_str(&out), prefixes[i]));
		/* An older kernel has fewer rows. */
		sscanf(prefixes[i], " %31s", word);
		if (!strstr(live, word))
			continue;
		assert_non_null(strstr(live, prefixes[i]));
		compared++;
	}
	assert_true(compared >= 15);
	free(live);
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void zoneinfo_old_format_has_the_old_rows(void **state)
{
	struct bs_render_options opt = { .format = BS_FORMAT_2_6_29 };
	struct bs_buf out = BS_BUF_INIT;
	struct mkseg *m = mkseg_new();
	struct bs_snapshot *s;
	const char *text;
	char err[512];

	(void)state;
	((struct bs_abi_zone *)mkseg_record(m, BS_SEC_ZONES, 0))
		->slab_reclaimable_pages = 40;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("zoneinfo")->text(&out, s, &opt);
	text = bs_buf_str(&out);
	assert_non_null(strstr(text, "\n    nr_slab_reclaimable 40"
				     "\n    nr_slab_unreclaimable 160\n"));
	assert_non_null(strstr(text,
			       "Node 0, zone      DMA\n"
			       "  pages free     26\n"
			       "        min      4\n"
			       "        low      5\n"
			       "        high     8\n"
			       "        scanned  0 (aa: 0 ia: 0 af: 0 if: 0)\n"
			       "        spanned  256\n"
			       "        present  256\n"
			       "    nr_free_pages 26\n"));
	assert_non_null(strstr(text, "  all_unreclaimable: 0\n"
				     "  prev_priority:     12\n"
				     "  start_pfn:         0\n"
				     "  inactive_ratio:    1\n"));
	assert_null(strstr(text, "managed"));
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void views_json_is_valid_and_adds_up(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	test_render_all(s);
	bs_view_find("buddyinfo")->json(&out, s, NULL);
	assert_non_null(strstr(
		bs_buf_str(&out),
		"\"comm\":\"mkseg\",\"zones\":[{\"node\":0,\"name\":\"DMA\","
		"\"free\":[4,3,2,1,0,0,0,0,0,0,0],\"free_pages\":26,"
		"\"managed_pages\":256,\"present_pages\":256,\"used\":{"
		"\"slab\":200,\"large\":16,\"vmalloc\":8,\"mmap\":0,"
		"\"pcp\":4,\"table\":2,\"dma\":0}}"));
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		assert_int_equal(bs_zone_check(bs_snapshot_zone(s, i), err,
					       sizeof(err)),
				 0);
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void pagetypeinfo_old_types_are_in_the_old_order(void **state)
{
	(void)state;
	expect_view(
		"pagetypeinfo", BS_FORMAT_2_6_29,
		"Page block order: 9\n"
		"Pages per block:  512\n"
		"\n"
		"Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 \n"
		"Node    0, zone      DMA, type    Unmovable      2      2      1      1      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type      Movable      2      1      1      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type      Reserve      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone      DMA, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type    Unmovable      9      5      3      2      4      1      1      0      1      0      3 \n"
		"Node    0, zone   NORMAL, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type      Movable      8      4      2      1      4      1      0      0      0      0      2 \n"
		"Node    0, zone   NORMAL, type      Reserve      0      0      0      0      0      0      0      0      0      0      0 \n"
		"Node    0, zone   NORMAL, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n"
		"\n"
		"Number of blocks type     Unmovable  Reclaimable      Movable      Reserve      Isolate \n"
		"Node 0, zone      DMA            3            0            5            0            0 \n"
		"Node 0, zone   NORMAL            3            0            5            0            0 \n");
}

static void pagetypeinfo_counts_stop_where_the_kernels_do(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_zone *zone = mkseg_record(m, BS_SEC_ZONES, 0);
	struct bs_render_options opt = { .format = BS_FORMAT_MODERN };
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	zone->nr_free[BS_MIGRATE_MOVABLE][0] = 99999;
	zone->nr_free[BS_MIGRATE_MOVABLE][1] = 100000;
	zone->nr_free[BS_MIGRATE_MOVABLE][2] = 1234567;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("pagetypeinfo")->text(&out, s, &opt);
	assert_non_null(strstr(bs_buf_str(&out),
			       "type      Movable  99999 >100000 >100000 "));
	bs_buf_reset(&out);
	opt.format = BS_FORMAT_2_6_29;
	bs_view_find("pagetypeinfo")->text(&out, s, &opt);
	assert_non_null(strstr(bs_buf_str(&out),
			       "type      Movable  99999 100000 1234567 "));
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void slabinfo_statistics_old_names_are_the_kernels(void **state)
{
	const struct bs_render_options opt = { .format = BS_FORMAT_2_6_29,
					       .statistics = true };

	(void)state;
	expect_text(
		"slabinfo", &opt,
		"slabinfo - version: 2.1 (statistics)\n"
		"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>"
		" : globalstat <listallocs> <maxobjs> <grown> <reaped> <error> <maxfreeable> <nodeallocs> <remotefrees> <alienoverflow> : cpustat <allochit> <allocmiss> <freehit> <freemiss>\n"
		"size-32              900   1152     32  128    1 : tunables  120   60    8 : slabdata      8      9      0"
		" : globalstat    2700    910    14    5    0   40    0    0    0 : cpustat  81000     90  72000     45\n"
		"size-64             1100   1216     64   64    1 : tunables  120   60    8 : slabdata     18     19      0"
		" : globalstat    3300   1110    24    5    0   40    0    0    0 : cpustat  99000    110  88000     55\n"
		"size-1024             77     84   1024    4    1 : tunables  120   60    8 : slabdata     20     21      0"
		" : globalstat     231     87    26    5    0   40    0    0    0 : cpustat   6930      7   6160      3\n"
		"size-4096(DMA)        12     20   4096    4    4 : tunables  120   60    8 : slabdata      4      5      0"
		" : globalstat      36     22    10    5    0   40    0    0    0 : cpustat   1080      1    960      0\n"
		"kmem_cache             4     42    192   21    1 : tunables  120   60    8 : slabdata      1      2      0"
		" : globalstat      12     14     7    5    0   40    0    0    0 : cpustat    360      0    320      0\n");
}

/* Sites with one caller are one row; most objects first. */
static bool caller_of_kind(void *arg, const struct bs_snapshot *s,
			   uint32_t site, char *text, size_t len)
{
	(void)arg;
	(void)s;
	snprintf(text, len, "%s",
		 site == 1 ? "leak_one+0x1d/0x40" : "cache_new+0x8/0x90");
	return true;
}

static void slab_allocators_text_is_the_kernels(void **state)
{
	const struct bs_render_options old = { .format = BS_FORMAT_2_6_29,
					       .caller = caller_of_kind };
	const struct bs_render_options modern = { .caller = caller_of_kind };

	(void)state;
	expect_text("slab_allocators", &old,
		    "size-64: 777 leak_one+0x1d/0x40\n"
		    "size-64: 323 cache_new+0x8/0x90\n"
		    "size-4096(DMA): 5 cache_new+0x8/0x90\n");
	expect_text("slab_allocators", &modern,
		    "kmalloc-64: 777 leak_one+0x1d/0x40\n"
		    "kmalloc-64: 323 cache_new+0x8/0x90\n"
		    "dma-kmalloc-4096: 5 cache_new+0x8/0x90\n");
}

static void slab_allocators_without_user_tracking_is_not_known(void **state)
{
	const struct bs_view *view = bs_view_find("slab_allocators");
	struct mkseg *m = mkseg_new();
	struct bs_abi_cache *cache = mkseg_record(m, BS_SEC_CACHES, 1);
	struct bs_snapshot *s = example();
	char err[512];

	(void)state;
	assert_true(view->known(s));
	bs_snapshot_free(s);
	cache->debug &= ~BS_DEBUG_USER;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	assert_false(view->known(s));
	assert_non_null(strstr(view->unknown, "slab_debug=U"));
	bs_snapshot_free(s);
	mkseg_free(m);
}

static void vmallocinfo_paths_are_one_token_at_the_end(void **state)
{
	const struct bs_render_options opt = { .paths = true };
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	bs_view_find("vmallocinfo")->text(&out, s, &opt);
	assert_non_null(strstr(
		bs_buf_str(&out),
		" ioremap path=/tmp/a\\040film\\040with\\040blanks.mkv\n"));
	assert_non_null(strstr(bs_buf_str(&out), " ioremap path=vout\n"));
	assert_non_null(
		strstr(bs_buf_str(&out), " ioremap path=/dev/video0\n"));
	assert_non_null(strstr(bs_buf_str(&out), " vpages N0=2048\n"));
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

static void devices_text_and_json_show_dma_and_carveouts(void **state)
{
	const struct bs_view *view = bs_view_find("devices");
	const struct bs_render_options opt = { 0 };
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	expect_text(
		"devices", &opt,
		"device               zone     allocs      frees  failed   live_bytes live_pages peak_pages  trimmed     kept\n"
		"v4l2-out              DMA       1500       1498       2      2097052        512        768       81        0\n"
		"drm                NORMAL       1500       1499       2      1048476        256        512       81        0\n"
		"\n"
		"carve-out                      phys          mapped_at        bytes   used_bytes\n"
		"vout             0x000000009e000000 0x00007f0050000000      1048576      1048476\n");
	view->json(&out, s, &opt);
	assert_non_null(strstr(bs_buf_str(&out),
			       "{\"name\":\"v4l2-out\",\"zone\":\"DMA\","
			       "\"allocs\":1500,\"frees\":1498,"));
	assert_non_null(
		strstr(bs_buf_str(&out), "\"carveouts\":[{\"name\":\"vout\","));
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

static void vmstat_text_is_name_and_value(void **state)
{
	const struct bs_render_options opt = { 0 };
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;
	char *line, *save = NULL, name[64], rest;
	unsigned long long value;

	(void)state;
	bs_view_find("vmstat")->text(&out, s, &opt);
	assert_non_null(strstr(bs_buf_str(&out),
			       "\nnr_slab_reclaimable 0\n"
			       "nr_slab_unreclaimable 3200\n"));
	assert_non_null(strstr(bs_buf_str(&out), "\nnr_slab 3200\n"));
	assert_non_null(strstr(bs_buf_str(&out), "\npgalloc 37035\n"));
	assert_non_null(strstr(bs_buf_str(&out), "\nunwinds 4711\n"));
	for (line = strtok_r(out.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		assert_int_equal(
			sscanf(line, "%63s %llu%c", name, &value, &rest), 2);
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

static void zoneinfo_pagesets_are_one_for_each_cpu(void **state)
{
	struct bs_render_options opt = { 0 };
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;
	const char *text;

	(void)state;
	bs_view_find("zoneinfo")->text(&out, s, &opt);
	text = bs_buf_str(&out);
	assert_non_null(strstr(text, "\n  pagesets"
				     "\n    cpu: 0"
				     "\n              count:    3"
				     "\n              high:     186"
				     "\n              batch:    31"
				     "\n              high_min: 186"
				     "\n              high_max: 186"
				     "\n  vm stats threshold: 0"
				     "\n    cpu: 1"
				     "\n              count:    1"
				     "\n              high:     186"));
	assert_null(strstr(text, "cpu: 2"));
	bs_buf_reset(&out);
	opt.format = BS_FORMAT_2_6_29;
	bs_view_find("zoneinfo")->text(&out, s, &opt);
	text = bs_buf_str(&out);
	assert_non_null(strstr(text, "\n  pagesets"
				     "\n    cpu: 0"
				     "\n              count: 3"
				     "\n              high:  186"
				     "\n              batch: 31"
				     "\n  vm stats threshold: 0"
				     "\n    cpu: 1"
				     "\n              count: 1"
				     "\n              high:  186"
				     "\n              batch: 31"
				     "\n  vm stats threshold: 0"
				     "\n  all_unreclaimable: 0"));
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

static void set_option_refuses_what_the_view_has_not(void **state)
{
	const struct bs_view *view = bs_view_find("buddyinfo");
	struct bs_render_options opt = { 0 };
	struct bs_buf err = BS_BUF_INIT;

	(void)state;
	assert_true(bs_view_set_option(&view, &opt, "format", "2.6.29", &err));
	assert_int_equal(opt.format, BS_FORMAT_2_6_29);
	assert_false(bs_view_set_option(&view, &opt, "format", "", &err));
	assert_false(bs_view_set_option(&view, &opt, "paths", NULL, &err));
	assert_non_null(strstr(bs_buf_str(&err), "belongs to vmallocinfo"));
	assert_false(bs_view_set_option(&view, &opt, "colour", NULL, &err));
	view = bs_view_find("extfrag");
	assert_true(bs_view_set_option(&view, &opt, "unusable", NULL, &err));
	assert_string_equal(view->name, "unusable");
	bs_buf_free(&err);
}

/* ---- failures ------------------------------------------------------------ */

static void expect_gfp(uint32_t gfp, const char *expected)
{
	struct bs_buf out = BS_BUF_INIT;

	bs_gfp_text(&out, gfp);
	assert_string_equal(bs_buf_str(&out), expected);
	bs_buf_free(&out);
}

static void gfp_text_names_every_flag(void **state)
{
	(void)state;
	expect_gfp(0, "GFP_KERNEL");
	expect_gfp(0x1, "GFP_DMA");
	expect_gfp(0x60, "GFP_ATOMIC");
	expect_gfp(0x20, "GFP_KERNEL|GFP_HIGH");
	expect_gfp(0x61, "GFP_ATOMIC|GFP_DMA");
	expect_gfp(0x160, "GFP_ATOMIC|__GFP_ZERO");
	expect_gfp(0x3e00, "GFP_KERNEL|__GFP_NOWARN|__GFP_MOVABLE|__GFP_LENT|"
			   "__GFP_NORETRY|__GFP_RECLAIMABLE");
	expect_gfp(0x20000, "GFP_KERNEL|__GFP_ZONE(1)");
	expect_gfp(0x80000000, "GFP_KERNEL|0x80000000");
}

static void cause_follows_the_fragmentation_index(void **state)
{
	struct bs_abi_event e = { .type = BS_EVENT_DMA_FAILED,
				  .order = 4,
				  .nr_zones = 1 };
	struct bs_abi_event_zone *z = &e.zones[0];

	(void)state;
	/* KERNEL's vector: 0.738 at order 4, 0.898 at order 10. */
	memcpy(z->nr_free, (uint32_t[]){ 4, 3, 2, 1 }, 4 * sizeof(uint32_t));
	z->free_pages = 26;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_FRAGMENTATION);
	assert_int_equal(bs_failure_cause(&e).index, 738);
	e.order = 10;
	assert_int_equal(bs_failure_cause(&e).index, 898);
	/*
	 * A block of order 3 is free.  19 pages would be left: kept by min itself,
	 * by the reserve, or because only one of them lies in such a block.
	 */
	e.order = 3;
	z->wmark_min_pages = 19;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	z->wmark_min_pages = 18;
	z->protection_pages = 1;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_RESERVE);
	z->protection_pages = 0;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_FRAGMENTATION);
	assert_int_equal(bs_failure_cause(&e).index, -1000);
	z->wmark_min_pages = 7; /* the check lets it through */
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_RESERVE);
	z->wmark_min_pages = 36;
	e.gfp = BS_GFP_HIGH;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_FRAGMENTATION);
	z->wmark_min_pages = 50;
	e.gfp = BS_GFP_ATOMIC; /* 50 - 25, then - 6 */
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	/* One block of order 3 where order 4 was wanted: half of it. */
	memset(z->nr_free, 0, sizeof(z->nr_free));
	z->nr_free[3] = 1;
	e.order = 4;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	memset(z->nr_free, 0, sizeof(z->nr_free));
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	assert_int_equal(bs_failure_cause(&e).index, 0);
	e.nr_zones = 0;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_UNKNOWN);
	e.type = BS_EVENT_VMALLOC_FAILED;
	e.nr_zones = 1;
	z->free_pages = 100;
	z->wmark_min_pages = 0;
	e.bytes = 100 * 4096;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_WINDOW);
	e.bytes++;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	e.bytes = 90 * 4096;
	z->wmark_min_pages = 10;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_WINDOW);
	z->protection_pages = 1; /* vmalloc may not touch that */
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_LACK);
	strcpy(e.name, "vmalloc window");
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_WINDOW);
	e.order = 77;
	e.type = BS_EVENT_ALLOC_FAILED;
	assert_int_equal(bs_failure_cause(&e).cause, BS_CAUSE_UNKNOWN);
}

static void has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is not in:\n%s", part, text);
}

/* Event 14 of mkseg is an ALLOC_FAILED: order 8 in a zone of 26 free pages. */
static void failures_text_tells_what_where_why_and_what_to_try(void **state)
{
	struct bs_render_options opt = { 0 };
	struct bs_snapshot *s = example();
	struct bs_buf out = BS_BUF_INIT;
	const char *text;

	(void)state;
	bs_view_find("failures")->text(&out, s, &opt);
	text = bs_buf_str(&out);
	has(text,
	    "): 10 reports, oldest first: 2 double free, 2 free of an invalid pointer, 2 window in zone DMA, 2 fragmentation in zone DMA, 1 slab object corrupted, 1 carve-out exhausted\n\n[");
	has(text,
	    "[   21.000000] mkseg: page allocation failure: order:8, mode:0x160(GFP_ATOMIC|__GFP_ZERO)\n"
	    "event 14, thread ");
	has(text, ", zone DMA, 1048576 bytes, site 1\nCall Trace:\n  #0  ??");
	has(text,
	    "Mem-Info:\n"
	    "DMA free:104kB min:16kB low:20kB high:32kB managed:1024kB slab:800kB large:64kB vmalloc:32kB mmap:0kB pcp:16kB table:8kB dma:0kB\n"
	    "NORMAL free:");
	has(text, "lowmem_reserve[]: 0 32\n"
		  "DMA: 4*4kB 3*8kB 2*16kB 1*32kB 0*64kB 0*128kB 0*256kB "
		  "0*512kB 0*1024kB 0*2048kB 0*4096kB = 104kB\n"
		  "NORMAL: 17*4kB 9*8kB ");
	has(text,
	    "Verdict: fragmentation of zone DMA: 104kB are free, but the largest free block has 32kB (order 3); fragmentation index of order 8: 0.890 (0 lack of memory, 1 fragmentation)\n"
	    "Pinned:   50 of 64 blocks of 1024kB are at least half free; in them lie\n"
	    "          in 50 of them (alone in 12), 100 pages, site 1: ");
	has(text, "          in 42 of them, 99 pages, site 2: ");
	has(text,
	    "          in 26 of them, 1 page, slab pages of no known call site (slabs' descriptors, free objects)\n"
	    "          ... 2 more\n"
	    "          without the first 3, 26 of the 50 would be free\n"
	    "Held now: ");
	has(text, "To try:   is it a leak? buddyscope leaks ");
	has(text, "\n          large=whole");
	has(text, "memmap=SIZE$NAME\n");
	has(text, "4 earlier events were overwritten");
	assert_null(strstr(text, "zone fallback"));
	bs_buf_reset(&out);
	opt.all = true;
	opt.format = BS_FORMAT_2_6_29;
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out), "mkseg: zone fallback. order:8, mode:0x160\n");
	bs_buf_reset(&out);
	bs_view_find("failures")->json(&out, s, &opt);
	has(bs_buf_str(&out),
	    "\"cause\":\"fragmentation\",\"fragmentation_index\":0.890,"
	    "\"zones\":[{\"name\":\"DMA\",\"managed_pages\":256,");
	has(bs_buf_str(&out), "\"pinned\":null");
	has(bs_buf_str(&out),
	    ",\"order\":8,\"blocks\":64,\"free_blocks\":1,\"partial_blocks\":50,\"part\":2,\"free_pages\":0,\"partial_free_pages\":0,"
	    "\"nr_holders\":6,\"holders\":[{\"site\":1,\"use\":null,"
	    "\"blocks\":50,\"alone\":12,\"pages\":100,\"together\":12,\"stack\":[");
	has(bs_buf_str(&out),
	    "{\"site\":0,\"use\":\"slab\",\"blocks\":26,\"alone\":0,\"pages\":1,\"together\":33},{\"site\":0,\"use\":\"table\",\"blocks\":18,");
	has(bs_buf_str(&out), "\"use\":\"kept\",\"blocks\":10,");
	bs_snapshot_free(s);
	bs_buf_free(&out);
}

/* What was not recorded has no site; of blocks that are all used nobody is to blame. */
static void failures_say_when_nobody_is_known_to_pin(void **state)
{
	const struct bs_render_options opt = { 0 };
	struct mkseg *m = mkseg_new();
	struct bs_abi_pins *pins = mkseg_record(m, BS_SEC_PINS, 0);
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	mkseg_header(m)->trace_mode = BS_TRACE_AUTO;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out),
	    "1 page, slab pages of no known call site (trace=exact knows it)\n");
	bs_snapshot_free(s);
	bs_buf_reset(&out);
	pins->part = 8;
	pins->nr_partial = pins->nr_holders = 0;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out),
	    "\nPinned:   none of 64 blocks of 1024kB is at least an eighth free: what is used is everywhere\nHeld now: ");
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

/* Of a mapping for which no frame was taken nothing is missing. */
static void failures_blame_no_mapping_without_frames(void **state)
{
	const struct bs_render_options opt = { 0 };
	struct mkseg *m = mkseg_new();
	struct bs_abi_area *area = mkseg_record(m, BS_SEC_AREAS, 1);
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	assert_int_equal(area->site, 4);
	for (unsigned int i = 2; i < 8; i++)
		((struct bs_abi_area *)mkseg_record(m, BS_SEC_AREAS, i))->site =
			0;
	area->bytes = 1 << 20;
	area->charged_pages = 16;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out), "64.0 KiB in 1 objects, site 4: ");
	bs_snapshot_free(s);
	bs_buf_reset(&out);

	area->charged_pages = 0;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out), "\nHeld now: ");
	assert_null(strstr(bs_buf_str(&out), "site 4: "));
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

static void failures_say_how_many_were_left_out(void **state)
{
	const struct bs_render_options opt = { 0 };
	struct mkseg *m = mkseg_new();
	struct bs_abi_event *e =
		mkseg_record(m, BS_SEC_EVENTS, 14 % MKSEG_EVENT_SLOTS);
	uint64_t *vmstat =
		mkseg_record(m, BS_SEC_VMSTAT, BS_VMSTAT_EVENTS_SUPPRESSED);
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	e->suppressed = 3;
	*vmstat = 44;
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	bs_view_find("failures")->text(&out, s, &opt);
	has(bs_buf_str(&out),
	    "\n3 such reports before this one were left out: too many (10 in 5 s)\n");
	has(bs_buf_str(&out), "\n44 events were left out in all");
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

/* ---- leaks ------------------------------------------------------------------ */

static void leak_with_samples_is_marked_as_an_estimate(void **state)
{
	struct bs_site_history history[MKSEG_NR_SITES + 1] = { 0 };
	struct bs_sitereport r = { .leaks = true,
				   .history = history,
				   .nr_history = MKSEG_NR_SITES + 1 };
	struct mkseg *m = mkseg_new();
	struct bs_buf out = BS_BUF_INIT;
	struct bs_snapshot *s;
	char err[512];

	(void)state;
	mkseg_add_sampling(m);
	for (uint64_t i = 1; i < 3; i++) {
		history[i].windows = 20;
		history[i].windows_per_cohort = 1;
		history[i].verdict = BS_VERDICT_LEAK;
	}
	s = test_read(m, err, sizeof(err));
	assert_non_null(s);
	r.snapshot = s;
	bs_sitereport_text(&out, &r);
	assert_non_null(strstr(bs_buf_str(&out),
			       "live in ~3000 objects, growth +0.0 bytes/s, "
			       "LEAK (estimate)\n"));
	assert_non_null(strstr(bs_buf_str(&out),
			       "live in 100 objects, growth +0.0 bytes/s, "
			       "LEAK\n"));
	/* The share is that of the two leaks: 141700 of 269700 bytes. */
	assert_non_null(strstr(bs_buf_str(&out),
			       "\nexact 52 % of live bytes; the rest is "
			       "estimated from 20 samples, standard error "));
	bs_snapshot_free(s);
	bs_buf_free(&out);
	mkseg_free(m);
}

/* ---- ps ------------------------------------------------------------------- */

static const char *ps_of(struct mkseg *m, bool json, struct bs_buf *out)
{
	struct bs_target t = { .pid = 7, .comm = "player" };
	struct bs_target_list list = { .targets = &t, .nr = 1 };

	assert_int_equal(mkseg_write(m, test_dir(), t.path, sizeof(t.path)), 0);
	bs_buf_reset(out);
	if (json)
		bs_render_ps_json(out, &list);
	else
		bs_render_ps_text(out, &list);
	unlink(t.path);
	return bs_buf_str(out);
}

static void ps_tells_the_mode_with_what_is_sampled(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_buf out = BS_BUF_INIT;

	(void)state;
	assert_non_null(strstr(ps_of(m, false, &out), " - exact player\n"));
	mkseg_add_sampling(m);
	assert_non_null(strstr(ps_of(m, false, &out),
			       " auto(sampling 12 callers) player\n"));
	h->trace_sampled_callers = 1;
	assert_non_null(strstr(ps_of(m, false, &out),
			       " auto(sampling 1 caller) player\n"));
	h->trace_samples_new = 1;
	assert_non_null(
		strstr(ps_of(m, false, &out),
		       " auto(sampling 1 caller and new stacks) player\n"));
	h->trace_samples_new = h->trace_sampled_callers = 0;
	assert_non_null(strstr(ps_of(m, false, &out), " auto  player\n"));
	h->trace_mode = BS_TRACE_SAMPLE;
	assert_non_null(
		strstr(ps_of(m, false, &out), " sample:524288 player\n"));
	h->trace_mode = BS_TRACE_OFF;
	assert_non_null(strstr(ps_of(m, false, &out), " off   player\n"));
	h->trace_mode = 99;
	assert_non_null(strstr(ps_of(m, false, &out), " ?     player\n"));
	bs_buf_free(&out);
	mkseg_free(m);
}

static void ps_tells_what_differs_and_what_did_not_fit(void **state)
{
	struct mkseg *m = mkseg_new();
	struct bs_abi_header *h = mkseg_header(m);
	struct bs_buf out = BS_BUF_INIT;
	uint64_t *vmstat = mkseg_record(m, BS_SEC_VMSTAT, 0);

	(void)state;
	assert_null(strstr(ps_of(m, false, &out), "differ"));
	assert_null(strstr(bs_buf_str(&out), "fit"));
	vmstat[BS_VMSTAT_TRACE_CHECKS] = 4000;
	assert_non_null(strstr(ps_of(m, false, &out),
			       "\n        stacks checked: 0 of 4000 differ\n"));
	vmstat[BS_VMSTAT_TRACE_DIFFERENCES] = 3;
	h->section[BS_SEC_NODES].dropped = 12;
	h->section[BS_SEC_SITES].dropped = 5;
	vmstat[BS_VMSTAT_SITES_DROPPED] = 40;
	assert_non_null(
		strstr(ps_of(m, false, &out),
		       "\n        stacks checked: 3 of 4000 differ\n"
		       "        did not fit: 12 nodes, 5 sites, the stacks of "
		       "40 allocations\n"));
	assert_true(test_is_json_line(ps_of(m, true, &out)));
	assert_non_null(strstr(bs_buf_str(&out),
			       "\"trace_checks\":4000,\"trace_differences\":3,"
			       "\"sites_dropped\":40,\"dropped\":{"));
	assert_non_null(strstr(bs_buf_str(&out), "\"nodes\":12,\"sites\":5,"));
	bs_buf_free(&out);
	mkseg_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buddyinfo_text_is_the_kernels),
		cmocka_unit_test(extfrag_text_is_the_kernels),
		cmocka_unit_test(pagetypeinfo_text_is_the_kernels),
		cmocka_unit_test(slabinfo_text_is_the_kernels),
		cmocka_unit_test(vmallocinfo_text_is_the_kernels),
		cmocka_unit_test(caller_plain_names_module_and_offset),
		cmocka_unit_test(zoneinfo_rows_match_the_running_kernel),
		cmocka_unit_test(zoneinfo_old_format_has_the_old_rows),
		cmocka_unit_test(views_json_is_valid_and_adds_up),
		cmocka_unit_test(pagetypeinfo_old_types_are_in_the_old_order),
		cmocka_unit_test(pagetypeinfo_counts_stop_where_the_kernels_do),
		cmocka_unit_test(slabinfo_statistics_old_names_are_the_kernels),
		cmocka_unit_test(slab_allocators_text_is_the_kernels),
		cmocka_unit_test(
			slab_allocators_without_user_tracking_is_not_known),
		cmocka_unit_test(vmallocinfo_paths_are_one_token_at_the_end),
		cmocka_unit_test(devices_text_and_json_show_dma_and_carveouts),
		cmocka_unit_test(vmstat_text_is_name_and_value),
		cmocka_unit_test(zoneinfo_pagesets_are_one_for_each_cpu),
		cmocka_unit_test(set_option_refuses_what_the_view_has_not),
		cmocka_unit_test(gfp_text_names_every_flag),
		cmocka_unit_test(cause_follows_the_fragmentation_index),
		cmocka_unit_test(
			failures_text_tells_what_where_why_and_what_to_try),
		cmocka_unit_test(failures_say_when_nobody_is_known_to_pin),
		cmocka_unit_test(failures_blame_no_mapping_without_frames),
		cmocka_unit_test(failures_say_how_many_were_left_out),
		cmocka_unit_test(leak_with_samples_is_marked_as_an_estimate),
		cmocka_unit_test(ps_tells_the_mode_with_what_is_sampled),
		cmocka_unit_test(ps_tells_what_differs_and_what_did_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
