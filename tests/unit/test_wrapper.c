/* SPDX-License-Identifier: MIT */
/*
 * test_wrapper.c - after which function a group of call sites is called.
 *
 * Owns:   the rule of shared/wrapper.h, name by name.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "shared/demangle.h"
#include "shared/wrapper.h"

static void check(const char *symbol, bool expect)
{
	char *written = bs_demangle(symbol);
	struct bs_frame f = { .symbol = symbol,
			      .function = written ? written : symbol };

	if (bs_is_alloc_wrapper(&f) != expect)
		fail_msg("%s (%s): %d", f.function, symbol, !expect);
	free(written);
}

static void wrapper_by_word_of_its_name_is_one(void **state)
{
	static const char *const names[] = {
		"malloc",
		"__GI___libc_malloc",
		"g_malloc",
		"g_malloc0",
		"g_malloc0_n",
		"g_try_realloc",
		"g_strdup",
		"g_strdup_vprintf",
		"g_slice_alloc0",
		"av_malloc",
		"av_mallocz",
		"av_malloc_array",
		"av_fast_malloc",
		"xmalloc",
		"xcalloc",
		"__GI___strdup",
		"strndup",
		"reallocarray",
		"posix_memalign",
		"aligned_alloc",
		"talloc_strdup",
		"ta_alloc_size",
		"ta_xalloc_size",
		"jv_mem_alloc",
		"sqlite3MemMalloc",
		"sqlite3DbMallocRaw",
		"PyObject_Malloc",
		"__vasprintf_internal",
		"__rust_alloc",
		"__rdl_alloc_zeroed",
		"_Z7xmallocm",
		"_ZN3app4Pool6mallocEm",
		"_ZN3app12_GLOBAL__N_17xmallocEm",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check(names[i], true);
}

static void wrapper_of_a_standard_library_is_one(void **state)
{
	(void)state;
	check("_Znwm", true);
	check("_ZnamRKSt9nothrow_t", true);
	check("operator new", true);
	check("_ZSt8allocateIiEPim", true);
	check("_ZNSt6vectorIiSaIiEE9push_backERKi", true);
	/* void std::vector<int>::_M_realloc_insert<int const&>(...) */
	check("_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJRKiEEEvN9__gnu_cxx17"
	      "__normal_iteratorIPiS1_EEDpOT_",
	      true);
	check("_ZNKSs3strEv", true);
	check("_ZN9__gnu_cxx13new_allocatorIiE8allocateEmPKv", true);
	check("_ZN3app9AllocatorIiE8allocateEm", true);
#ifdef BS_TEST_RUST
	check("_ZN5alloc7raw_vec11finish_grow17h0123456789abcdefE", true);
	check("_ZN60_$LT$alloc..string..String$u20$as$u20$core..clone.."
	      "Clone$GT$5clone17h0123456789abcdefE",
	      true);
	check("_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3new", true);
#endif
}

static void wrapper_is_not_who_asks_for_memory(void **state)
{
	static const char *const names[] = {
		"main",
		"av_frame_alloc",
		"avcodec_alloc_context3",
		"preallocate_buffers",
		"reallocate",
		"leak_one_tick",
		"mallocator",
		"fopen",
		"_ZN3app4growEv",
		"_ZN3appL6hiddenEP12malloc_state",
		/* std::vector<int> app::make<int>(int): std is its result */
		"_ZN3app4makeIiEESt6vectorIT_SaIS2_EES2_",
		/* app::Cache<std::allocator<int> >::fill() */
		"_ZN3app5CacheISaIiEE4fillEv",
		/* C++ may have a namespace of Rust's name. */
		"_ZN4core7Session4openEv",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check(names[i], false);
#ifdef BS_TEST_RUST
	check("_ZN4leak4deep4fill17h0123456789abcdefE", false);
	check("_RNvNtCs1234_4leak4deep4fill", false);
#endif
}

static void wrapper_without_a_name_is_none(void **state)
{
	struct bs_frame f = { .module = "/lib/x.so", .offset = 16 };

	(void)state;
	assert_false(bs_is_alloc_wrapper(&f));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrapper_by_word_of_its_name_is_one),
		cmocka_unit_test(wrapper_of_a_standard_library_is_one),
		cmocka_unit_test(wrapper_is_not_who_asks_for_memory),
		cmocka_unit_test(wrapper_without_a_name_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
