/* SPDX-License-Identifier: MIT */
/*
 * Rule 15: what a library allocated keeps its name when the library is gone,
 * and another library at its address is another one.
 */
#include <link.h>

#include "check.h"

static uint64_t loaded_start, loaded_end;

static int find_range(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	if (!strstr(info->dlpi_name, arg))
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type != PT_LOAD)
			continue;
		if (!loaded_start || start < loaded_start)
			loaded_start = start;
		if (start + ph->p_memsz > loaded_end)
			loaded_end = start + ph->p_memsz;
	}
	return 1;
}

static void *load_and_alloc(const char *path, size_t size, void **block)
{
	void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *(*alloc)(size_t);

	CHECK(lib);
	alloc = (void *(*)(size_t))dlsym(lib, "module_alloc");
	*block = alloc(size);
	CHECK(*block);
	return lib;
}

static const struct bs_abi_module *find_module(const struct bs_abi_header *seg,
					       const char *name)
{
	const struct bs_abi_module *m = section(seg, BS_SEC_MODULES);

	for (uint64_t i = 0; i < seg->section[BS_SEC_MODULES].count; i++)
		if (strstr(m[i].path, name))
			return &m[i];
	return NULL;
}

/* Is there a site of exactly one live object of that size inside [start, end)? */
static bool has_site(const struct bs_abi_header *seg, uint64_t bytes,
		     uint64_t start, uint64_t end)
{
	const struct bs_abi_site *s = section(seg, BS_SEC_SITES);
	const struct bs_abi_node *n = section(seg, BS_SEC_NODES);

	for (uint64_t i = 1; i < seg->section[BS_SEC_SITES].count; i++)
		if (s[i].allocs - s[i].frees == 1 &&
		    s[i].bytes_allocated - s[i].bytes_freed == bytes &&
		    n[s[i].node].pc > start && n[s[i].node].pc <= end)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct bs_abi_header *seg = open_segment(getpid());
	const struct bs_abi_module *a, *b;
	void *block[3], *lib;

	CHECK(argc == 3 && seg);
	if (seg->trace_mode == BS_TRACE_OFF)
		return 0; /* no sites, and so no modules to name them */
	lib = load_and_alloc(argv[1], 12345, &block[0]);
	dl_iterate_phdr(find_range, strrchr(argv[1], '/') + 1);
	CHECK(loaded_start);
	CHECK(!dlclose(lib));
	lib = load_and_alloc(argv[2], 23456, &block[1]);
	block[2] = malloc(34567); /* any call that notices what was unloaded */
	a = find_module(seg, strrchr(argv[1], '/') + 1);
	b = find_module(seg, strrchr(argv[2], '/') + 1);
	CHECK(a && b && a != b);
	CHECK(a->unloaded_ns && !b->unloaded_ns);
	CHECK(a->generation != b->generation);
	CHECK(a->start == loaded_start && a->end >= loaded_end);
	CHECK(has_site(seg, 12345, a->start, a->end));
	CHECK(has_site(seg, 23456, b->start, b->end));
	for (int i = 0; i < 3; i++)
		free(block[i]);
	CHECK(!has_site(seg, 12345, a->start, a->end));
	return lib ? 0 : 1;
}
