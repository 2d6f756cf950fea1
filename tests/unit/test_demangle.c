/* SPDX-License-Identifier: MIT */
/*
 * test_demangle.c - C++ and Rust names as they were written.
 *
 * Owns:   bs_demangle(): both of Rust's forms, names that are none, names that
 *         would grow without bound.  BS_TEST_RUST: configure found libiberty.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shared/demangle.h"

static void check(const char *symbol, const char *written)
{
	char *text = bs_demangle(symbol);

	if (written)
		assert_non_null(text);
	if (written)
		assert_string_equal(text, written);
	else
		assert_null(text);
	free(text);
}

static void demangle_cxx_gives_scopes_and_parameters(void **state)
{
	(void)state;
	check("_ZN3app4grow3addEi", "app::grow::add(int)");
	check("_Znwm", "operator new(unsigned long)");
	check("_ZN3app12_GLOBAL__N_16hiddenEi.constprop.0",
	      "app::(anonymous namespace)::hidden(int) [clone .constprop.0]");
}

static void demangle_other_names_gives_none(void **state)
{
	(void)state;
	check("", NULL);
	check("malloc", NULL);
	check("_", NULL);
	check("_Z", NULL);
	check("_R", NULL);
	check("_ZNnonsense", NULL);
	check("_RNvNonsense", NULL);
}

static void demangle_rust_legacy_loses_hash_and_decodes(void **state)
{
	(void)state;
#ifdef BS_TEST_RUST
	check("_ZN4leak4deep4fill17h0123456789abcdefE", "leak::deep::fill");
	check("_ZN4leak4deep4fill17h0123456789abcdefE.llvm.123",
	      "leak::deep::fill");
	check("_ZN60_$LT$leak..Holder$LT$T$GT$$u20$as$u20$core..clone.."
	      "Clone$GT$5clone17hfedcba9876543210E",
	      "<leak::Holder<T> as core::clone::Clone>::clone");
	check("_ZN4leak4main28_$u7b$$u7b$closure$u7d$$u7d$"
	      "17h0123456789abcdefE",
	      "leak::main::{{closure}}");
#else
	check("_ZN4leak4deep4fill17h0123456789abcdefE",
	      "leak::deep::fill::h0123456789abcdef");
#endif
	/* A C++ function whose name only looks a little like it. */
	check("_ZN4leak4deep4fillE", "leak::deep::fill");
}

static void demangle_rust_v0_is_read_where_there_is_libiberty(void **state)
{
	(void)state;
#ifdef BS_TEST_RUST
	check("_RNvNtCs1234_4leak4deep4fill", "leak::deep::fill");
	check("_RNvMsr_NtCs3ssYzQotkvD_3std4pathNtB5_7PathBuf3new",
	      "<std::path::PathBuf>::new");
#else
	check("_RNvNtCs1234_4leak4deep4fill", NULL);
#endif
}

/* Each pair names the one before twice: 2^60 words from less than 500 bytes. */
static void demangle_exponential_name_is_refused(void **state)
{
	static const char digits[] =
		"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	char name[2048], back[8];
	size_t len, before;

	(void)state;
	len = (size_t)sprintf(name, "_RIC0TuuE");
	before = len - 4 - 2;
	for (unsigned int i = 0; i < 60; i++) {
		size_t at = len - 2, n = before - 1;

		if (n < 62)
			sprintf(back, "B%c_", digits[n]);
		else
			sprintf(back, "B%c%c_", digits[n / 62 - 1],
				digits[n % 62]);
		len += (size_t)sprintf(name + len, "T%s%sE", back, back);
		before = at;
	}
	strcpy(name + len, "E");
	check(name, NULL);
}

static void demangle_long_name_is_refused(void **state)
{
	char name[4096] = "_ZN";
	size_t len = 3;

	(void)state;
	while (len < 3000)
		len += (size_t)sprintf(name + len, "4long");
	strcpy(name + len, "Ev");
	check(name, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demangle_cxx_gives_scopes_and_parameters),
		cmocka_unit_test(demangle_other_names_gives_none),
		cmocka_unit_test(demangle_rust_legacy_loses_hash_and_decodes),
		cmocka_unit_test(
			demangle_rust_v0_is_read_where_there_is_libiberty),
		cmocka_unit_test(demangle_exponential_name_is_refused),
		cmocka_unit_test(demangle_long_name_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
