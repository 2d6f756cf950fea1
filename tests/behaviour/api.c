/* SPDX-License-Identifier: MIT */
/*
 * api.c - the public calls: what they give, what they refuse, and that all of them
 * are safe in a program that runs without the library.
 *
 * usage: api [absent|misuse|handler|window|wrong-cache|oom]
 */
#include <signal.h>
#include <sys/time.h>

#include "tests/behaviour/check.h"

#include "buddyscope/mm.h" /* after abi.h, which knows some of the names too */

#define PAGES(n) ((n)*BS_PAGE_SIZE)

static bool is_zero(const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* ---- pages ----------------------------------------------------------------------- */

static void pages(void)
{
	struct bs_page *page;
	unsigned int order, i;
	char *p;

	for (order = 0; order < BS_MAX_ORDER; order++) {
		page = bs_alloc_pages(BS_GFP_KERNEL, order);
		CHECK(page);
		p = bs_page_address(page);
		CHECK((uintptr_t)p % (BS_PAGE_SIZE << order) == 0);
		memset(p, 1, BS_PAGE_SIZE << order);
		CHECK(bs_virt_to_page(p) == page);
		bs_free_pages(page, order);
		p = bs_get_free_pages(BS_GFP_KERNEL | BS_GFP_ZERO, order);
		CHECK(p && is_zero(p, BS_PAGE_SIZE << order));
		memset(p, 1, BS_PAGE_SIZE << order);
		bs_free_pages_at(p, order);
	}
	p = bs_get_zeroed_page(BS_GFP_KERNEL);
	CHECK(p && is_zero(p, BS_PAGE_SIZE));
	bs_free_pages_at(p, 0);
	p = bs_alloc_pages_exact(PAGES(5) - 1, BS_GFP_KERNEL);
	CHECK(p);
	memset(p, 1, PAGES(5));
	bs_free_pages_exact(p, PAGES(5) - 1);
	page = bs_alloc_pages(BS_GFP_KERNEL, 3);
	bs_split_page(page, 3);
	for (i = 0; i < 8; i++)
		bs_free_pages(bs_nth_page(page, 7 - i), 0);
	CHECK(!bs_virt_to_page(&page));
	CHECK(!bs_virt_to_page(NULL));
}

/* ---- objects ------------------------------------------------------------------------ */

static void kmalloc(void)
{
	volatile size_t size;
	char *p;

	p = launder(bs_kmalloc(100, BS_GFP_KERNEL));
	CHECK(p && (uintptr_t)p % 16 == 0);
	CHECK(bs_ksize(p) == 128);
	bs_kfree(p);
	p = launder(bs_kzalloc(131072, BS_GFP_KERNEL));
	CHECK(p && is_zero(p, 131072));
	memset(p, 1, 131072);
	bs_kfree(p);
	for (size = 1; size <= BS_KMALLOC_MAX; size += size / 2 + 1) {
		p = bs_kmalloc(size, BS_GFP_KERNEL);
		CHECK(p && bs_ksize(p) >= size);
		memset(p, 1, size);
		bs_kfree(p);
		p = bs_kzalloc(size, BS_GFP_KERNEL);
		CHECK(p && is_zero(p, size));
		bs_kfree(p);
	}
	CHECK(bs_kmalloc(0, BS_GFP_KERNEL) == BS_ZERO_SIZE_PTR);
	size = 0;
	CHECK(bs_kmalloc(size, BS_GFP_KERNEL) == BS_ZERO_SIZE_PTR);
	CHECK(bs_ksize(BS_ZERO_SIZE_PTR) == 0);
	bs_kfree(BS_ZERO_SIZE_PTR);
	bs_kfree(NULL);
	CHECK(!bs_kmalloc(BS_KMALLOC_MAX + 1, BS_GFP_KERNEL));
	size = BS_KMALLOC_MAX + 1;
	CHECK(!bs_kmalloc(size, BS_GFP_KERNEL));
	/* The compiler's choice of a cache and the library's agree. */
	p = launder(bs_kmalloc(1500, BS_GFP_KERNEL | BS_GFP_NOWARN));
	CHECK(bs_ksize(p) == 2048);
	bs_kfree(p);
}

struct node {
	struct node *next;
	int built;
};

static void build(void *obj)
{
	((struct node *)obj)->built = 42;
}

static void caches(void)
{
	struct bs_kmem_cache *cache;
	struct node *n[500];
	int i;

	cache = bs_kmem_cache_create("node", sizeof(struct node), 64, 0, build);
	CHECK(cache);
	CHECK(bs_kmem_cache_size(cache) == sizeof(struct node));
	for (i = 0; i < 500; i++) {
		n[i] = bs_kmem_cache_alloc(cache, BS_GFP_KERNEL);
		CHECK(n[i] && n[i]->built == 42);
		CHECK((uintptr_t)n[i] % 64 == 0);
	}
	for (i = 0; i < 500; i++)
		bs_kmem_cache_free(cache, n[i]);
	CHECK(bs_kmem_cache_shrink(cache) == 0);
	CHECK(bs_kmem_cache_destroy(cache) == 0);
	cache = bs_kmem_cache_create("node", 100, 0, BS_SLAB_RECLAIM_ACCOUNT,
				     NULL);
	CHECK(cache);
	CHECK(bs_kmem_cache_destroy(cache) == 0);
	bs_kmem_cache_free(cache, NULL);
	CHECK(bs_kmem_cache_destroy(NULL) == 0);
}

/* ---- areas, devices -------------------------------------------------------------------- */

static void areas(void)
{
	struct bs_page *page[3];
	char *p;
	int i;

	p = bs_vmalloc(PAGES(1000));
	CHECK(p);
	memset(p, 1, PAGES(1000));
	CHECK(bs_vmalloc_to_page(p) &&
	      bs_vmalloc_to_page(p) != bs_vmalloc_to_page(p + PAGES(1)));
	bs_vfree(p);
	p = bs_vzalloc(PAGES(1000));
	CHECK(p && is_zero(p, PAGES(1000)));
	bs_vfree(p);
	bs_vfree(NULL);
	for (i = 0; i < 3; i++) {
		page[i] = bs_alloc_pages(BS_GFP_KERNEL, 0);
		CHECK(page[i]);
		memset(bs_page_address(page[i]), 'a' + i, BS_PAGE_SIZE);
	}
	p = bs_vmap(page, 3);
	CHECK(p && p[0] == 'a' && p[PAGES(1)] == 'b' && p[PAGES(3) - 1] == 'c');
	p[0] = 'z';
	bs_vunmap(p);
	CHECK(*(char *)bs_page_address(page[0]) == 'z');
	for (i = 0; i < 3; i++)
		bs_free_pages(page[i], 0);
}

static void devices(void)
{
	bs_dma_addr_t handle = 0;
	uint64_t phys, size;
	char *p, *q;

	p = bs_dma_alloc_coherent("video0", 3110400, &handle, BS_GFP_KERNEL);
	CHECK(p && is_zero(p, 3110400) && handle % (4UL << 20) == 0);
	memset(p, 1, 3110400);
	CHECK(bs_dma_alloc_coherent("video0", 5 << 20, &handle,
				    BS_GFP_KERNEL | BS_GFP_NOWARN) == NULL);
	bs_dma_free_coherent("video0", 3110400, p, handle);
	bs_dma_free_coherent("video0", 1, NULL, 0);
	CHECK(bs_carveout("none", &phys, &size) == -ENOENT);
	CHECK(bs_carveout("video", &phys, &size) == 0);
	CHECK(size == 1 << 20);
	p = bs_carveout_alloc("video", 10000, &phys);
	CHECK(p);
	q = bs_ioremap(phys + 5, 10000);
	CHECK(q);
	strcpy(q, "seen");
	CHECK(!strcmp(p + 5, "seen"));
	bs_iounmap(q);
	q = mmap(NULL, PAGES(4), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(q != MAP_FAILED);
	CHECK(bs_remap_pfn_range(q + PAGES(1), phys >> BS_PAGE_SHIFT,
				 PAGES(2)) == 0);
	CHECK(!strcmp(q + PAGES(1) + 5, "seen"));
	munmap(q, PAGES(4));
	CHECK(!strcmp(p + 5, "seen"));
	bs_carveout_free("video", p);
}

/* A child has copies of all but the carve-out, which it sees and cannot give out. */
static void fork_keeps_all(void)
{
	struct bs_page *page = bs_alloc_pages(BS_GFP_KERNEL, 0);
	uint64_t phys, other;
	bs_dma_addr_t handle;
	char *area = bs_vmalloc(PAGES(3)), *map, *dma, *carved;
	pid_t pid;

	memset(bs_page_address(page), 'p', BS_PAGE_SIZE);
	map = bs_vmap(&page, 1);
	dma = bs_dma_alloc_coherent("video0", PAGES(3), &handle, BS_GFP_KERNEL);
	carved = bs_carveout_alloc("video", PAGES(1), &phys);
	CHECK(area && map && dma && carved);
	strcpy(area, "area");
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK(map[0] == 'p' && !strcmp(area, "area"));
		map[0] = 'c';
		bs_vunmap(map);
		CHECK(*(char *)bs_page_address(page) == 'c');
		bs_free_pages(page, 0);
		bs_vfree(area);
		bs_dma_free_coherent("video0", PAGES(3), dma, handle);
		CHECK(!bs_carveout_alloc("video", PAGES(1), &other));
		strcpy(carved, "child");
		pages();
		areas();
		_exit(0);
	}
	CHECK(wait_for(pid) == 0);
	CHECK(map[0] == 'p' && !strcmp(area, "area"));
	CHECK(!strcmp(carved, "child"));
	bs_vunmap(map);
	bs_free_pages(page, 0);
	bs_vfree(area);
	bs_dma_free_coherent("video0", PAGES(3), dma, handle);
	bs_carveout_free("video", carved);
}

/* ---- without the library ------------------------------------------------------------------ */

static void absent(void)
{
	bs_dma_addr_t handle = 7;
	uint64_t phys = 7, size = 7;
	struct bs_page *page = NULL;
	char *p = malloc(100);

	CHECK(!bs_active());
	CHECK(!bs_alloc_pages(BS_GFP_KERNEL, 0));
	CHECK(!bs_get_free_pages(BS_GFP_KERNEL, 0));
	CHECK(!bs_get_zeroed_page(BS_GFP_KERNEL));
	CHECK(!bs_alloc_pages_exact(1, BS_GFP_KERNEL));
	CHECK(!bs_page_address(NULL));
	CHECK(!bs_virt_to_page(p));
	CHECK(!bs_nth_page(NULL, 1));
	CHECK(!bs_kmalloc(100, BS_GFP_KERNEL));
	CHECK(!bs_kmalloc(0, BS_GFP_KERNEL));
	CHECK(!bs_kzalloc(sizeof(page) + (size_t)(uintptr_t)page,
			  BS_GFP_KERNEL));
	CHECK(!bs_ksize(p));
	CHECK(!bs_kmem_cache_create("node", 100, 0, 0, NULL));
	CHECK(!bs_kmem_cache_alloc(NULL, BS_GFP_KERNEL));
	CHECK(bs_kmem_cache_shrink(NULL) == -1);
	CHECK(bs_kmem_cache_destroy(NULL) == -1);
	CHECK(!bs_kmem_cache_size(NULL));
	CHECK(!bs_vmalloc(1));
	CHECK(!bs_vzalloc(1));
	CHECK(!bs_vmalloc_to_page(p));
	CHECK(!bs_vmap(&page, 1));
	CHECK(!bs_dma_alloc_coherent("video0", 1, &handle, BS_GFP_KERNEL));
	CHECK(bs_carveout("video", &phys, &size) == -1);
	CHECK(!bs_carveout_alloc("video", 1, &phys));
	CHECK(!bs_ioremap(0, 1));
	CHECK(bs_remap_pfn_range(p, 0, 1) == -1);
	CHECK(handle == 7 && phys == 7 && size == 7);
	bs_free_pages(NULL, 0);
	bs_free_pages_at(p, 0);
	bs_free_pages_exact(p, 1);
	bs_split_page(NULL, 0);
	bs_kfree(p);
	bs_kmem_cache_free(NULL, p);
	bs_vfree(p);
	bs_vunmap(p);
	bs_dma_free_coherent("video0", 1, p, 0);
	bs_carveout_free("video", p);
	bs_iounmap(p);
	free(p); /* still ours: none of them touched it */
}

/* ---- misuse ---------------------------------------------------------------------------------- */

/* Ten refusals, and more that are silent because ten were told. */
static void misuse(void)
{
	struct bs_page *page = bs_alloc_pages(BS_GFP_KERNEL, 2);
	char *area = bs_vmalloc(5000), *obj = bs_kmalloc(100, BS_GFP_KERNEL);
	const struct bs_abi_header *seg = open_segment(getpid());
	bs_dma_addr_t handle;
	char *dma =
		bs_dma_alloc_coherent("video0", 5000, &handle, BS_GFP_KERNEL);
	int stack;

	CHECK(!bs_alloc_pages(BS_GFP_KERNEL, 11));
	CHECK(!bs_alloc_pages(0x80000000U, 0));
	CHECK(!bs_vmalloc(0));
	CHECK(!bs_ioremap(1UL << 60, 0));
	bs_free_pages(page, 1);
	bs_free_pages((struct bs_page *)(void *)&stack, 0);
	bs_split_page(page, 3);
	bs_kfree(area);
	bs_vfree(obj);
	bs_dma_free_coherent("video1", 5000, dma, handle);
	if (seg) /* freeing makes no device */
		CHECK(seg->section[BS_SEC_DEVICES].count == 1);
	bs_free_pages_exact(dma, 5000);
	CHECK(!bs_alloc_pages_exact(0, BS_GFP_KERNEL));
	bs_vunmap(area);
	CHECK(!bs_dma_alloc_coherent("video0", 0, &handle, BS_GFP_KERNEL));
	/* Nothing of it did any harm. */
	bs_free_pages(page, 2);
	bs_vfree(area);
	bs_kfree(obj);
	bs_dma_free_coherent("video0", 5000, dma, handle);
}

/* on_error=continue: what bs_vmap() shows lives on, whoever frees it. */
static void mapped(void)
{
	char *p = bs_get_free_pages(BS_GFP_KERNEL, 1), *map;
	struct bs_page *page = bs_virt_to_page(p);

	CHECK(p && page);
	strcpy(p, "mine");
	map = bs_vmap(&page, 1);
	CHECK(map && !strcmp(map, "mine"));
	errno = 0;
	free(launder(p));
	CHECK(!errno);
	CHECK(!realloc(launder(p), 1 << 20));
	CHECK(!strcmp(map, "mine"));
	bs_vunmap(map);
	CHECK(!strcmp(p, "mine"));
	free(launder(p));
}

/* With vmalloc=64K. */
static void window(void)
{
	char *p = bs_vmalloc(PAGES(10)), *q;

	CHECK(p);
	CHECK(!bs_vmalloc(PAGES(5))); /* 11 + 6 of 16 pages */
	CHECK(!bs_vmalloc(PAGES(100)));
	q = bs_vmalloc(PAGES(4));
	CHECK(q);
	bs_vfree(p);
	bs_vfree(q);
}

/* on_error=continue: told once, and the object comes home. */
static void wrong_cache(void)
{
	struct bs_kmem_cache *mine, *other;
	void *obj;

	mine = bs_kmem_cache_create("mine", 100, 0, 0, NULL);
	other = bs_kmem_cache_create("other", 100, 0, 0, NULL);
	obj = bs_kmem_cache_alloc(mine, BS_GFP_KERNEL);
	CHECK(mine && other && obj);
	bs_kmem_cache_free(other, obj);
	CHECK(bs_kmem_cache_destroy(mine) == 0);
	CHECK(bs_kmem_cache_destroy(other) == 0);
}

static unsigned int count_events(const struct bs_abi_header *seg, uint32_t type)
{
	const struct bs_abi_section *sec = &seg->section[BS_SEC_EVENTS];
	const char *records = section(seg, BS_SEC_EVENTS);
	unsigned int nr = 0;
	uint64_t i;

	for (i = 1; i <= sec->count; i++) {
		const struct bs_abi_event *ev =
			(const void *)(records +
				       i % sec->capacity * sec->elem_bytes);

		nr += ev->type == type;
	}
	return nr;
}

/* zones=NORMAL:16M oom=fail: what cannot be had is tried twice and told once. */
static void oom(void)
{
	const struct bs_abi_header *seg = open_segment(getpid());

	CHECK(seg);
	CHECK(!count_events(seg, BS_EVENT_VMALLOC_FAILED));
	CHECK(!launder(malloc(100 << 20)));
	CHECK(errno == ENOMEM);
	CHECK(count_events(seg, BS_EVENT_VMALLOC_FAILED) == 1);
	CHECK(!count_events(seg,
			    BS_EVENT_ALLOC_FAILED)); /* nor a frame of it */
	errno = 42;
}

/* ---- from a handler ----------------------------------------------------------------------------- */

static volatile sig_atomic_t nr_ticks, nr_served;

static void tick(int sig)
{
	char *p = bs_kmalloc(200, BS_GFP_ATOMIC);
	char *pages_too = bs_get_free_pages(BS_GFP_ATOMIC | BS_GFP_NOWARN, 1);

	(void)sig;
	if (p) {
		memset(p, 1, 200);
		nr_served++;
	}
	bs_kfree(p);
	bs_free_pages_at(pages_too, 1);
	nr_ticks++;
}

static void handler(void)
{
	const struct itimerval often = { { 0, 500 }, { 0, 500 } };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction sa = { .sa_handler = tick, .sa_flags = SA_RESTART };
	bs_dma_addr_t handle;

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	while (nr_ticks < 400) {
		char *a = bs_vmalloc(PAGES(20));
		char *d = bs_dma_alloc_coherent("video0", PAGES(3), &handle,
						BS_GFP_KERNEL);
		char *k = bs_kmalloc(5000, BS_GFP_KERNEL);

		CHECK(a && d && k);
		bs_vfree(a);
		bs_dma_free_coherent("video0", PAGES(3), d, handle);
		bs_kfree(k);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(nr_served == nr_ticks);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "absent")) {
		absent();
		return 0;
	}
	CHECK(bs_active());
	errno = 42;
	if (!strcmp(what, "misuse")) {
		misuse();
	} else if (!strcmp(what, "mapped")) {
		mapped();
		return 0;
	} else if (!strcmp(what, "window")) {
		window();
	} else if (!strcmp(what, "oom")) {
		oom();
	} else if (!strcmp(what, "wrong-cache")) {
		wrong_cache();
	} else if (!strcmp(what, "handler")) {
		handler();
		return 0;
	} else {
		pages();
		kmalloc();
		caches();
		areas();
		devices();
		fork_keeps_all();
	}
	CHECK(errno == 42);
	return 0;
}
