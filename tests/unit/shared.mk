# SPDX-License-Identifier: MIT
#
# Tests of shared/ and of the command, on segments that tests/mkseg makes: no
# preloaded library, no daemon.

if TESTS_ENABLED

SHARED_TESTS = \
	tests/unit/test_demangle \
	tests/unit/test_export \
	tests/unit/test_shared \
	tests/unit/test_shared_random \
	tests/unit/test_shared_render \
	tests/unit/test_shared_snapshot \
	tests/unit/test_sitelife \
	tests/unit/test_wrapper
check_PROGRAMS += $(SHARED_TESTS) tests/abi-table tests/mkseg
UNIT_TESTS += $(SHARED_TESTS) tests/unit/command tests/unit/docs-segment
RUN_TESTS += tests/integration/run

SHARED_TEST_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
SHARED_TEST_LIBS = libshared.la $(CMOCKA_LIBS) -lm -lpthread
SHARED_TEST_UTIL = \
	tests/mkseg.c \
	tests/mkseg.h \
	tests/unit/shared_util.c \
	tests/unit/shared_util.h

tests_unit_test_demangle_SOURCES = tests/unit/test_demangle.c
tests_unit_test_demangle_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_demangle_LDADD = $(SHARED_TEST_LIBS)
tests_unit_test_wrapper_SOURCES = tests/unit/test_wrapper.c
tests_unit_test_wrapper_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_wrapper_LDADD = $(SHARED_TEST_LIBS)
if HAVE_LIBIBERTY
tests_unit_test_wrapper_CFLAGS += -DBS_TEST_RUST=1
tests_unit_test_demangle_CFLAGS += -DBS_TEST_RUST=1
endif
tests_unit_test_export_SOURCES = tests/unit/test_export.c \
	tests/mkseg.c tests/mkseg.h
tests_unit_test_export_CFLAGS = $(SHARED_TEST_CFLAGS) $(ZLIB_CFLAGS)
tests_unit_test_export_LDADD = $(SHARED_TEST_LIBS) $(ZLIB_LIBS)
tests_unit_test_shared_SOURCES = tests/unit/test_shared.c $(SHARED_TEST_UTIL)
tests_unit_test_shared_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_shared_LDADD = $(SHARED_TEST_LIBS)
tests_unit_test_shared_random_SOURCES = tests/unit/test_shared_random.c \
	$(SHARED_TEST_UTIL)
tests_unit_test_shared_random_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_shared_random_LDADD = $(SHARED_TEST_LIBS)
tests_unit_test_shared_render_SOURCES = tests/unit/test_shared_render.c \
	$(SHARED_TEST_UTIL)
tests_unit_test_shared_render_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_shared_render_LDADD = $(SHARED_TEST_LIBS)
tests_unit_test_shared_snapshot_SOURCES = tests/unit/test_shared_snapshot.c \
	$(SHARED_TEST_UTIL)
tests_unit_test_shared_snapshot_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_shared_snapshot_LDADD = $(SHARED_TEST_LIBS)

tests_unit_test_sitelife_SOURCES = tests/unit/test_sitelife.c \
	$(SHARED_TEST_UTIL)
tests_unit_test_sitelife_CFLAGS = $(SHARED_TEST_CFLAGS)
tests_unit_test_sitelife_LDADD = $(SHARED_TEST_LIBS)

tests_mkseg_SOURCES = tests/mkseg-main.c tests/mkseg.c tests/mkseg.h
tests_mkseg_LDADD = libshared.la

# docs/segment.md: names and comments by awk, offsets by the compiler.
tests_abi_table_SOURCES = tests/abi-table.c
nodist_tests_abi_table_SOURCES = tests/abi-fields.h
tests_abi_table_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_builddir)
tests/abi-fields.h: $(top_srcdir)/shared/abi.h \
		$(top_srcdir)/tests/abi-fields.awk
	$(AM_V_GEN)$(MKDIR_P) tests && \
	awk -f $(top_srcdir)/tests/abi-fields.awk \
		$(top_srcdir)/shared/abi.h >$@.tmp && mv $@.tmp $@
tests/abi_table-abi-table.$(OBJEXT): tests/abi-fields.h
CLEANFILES += tests/abi-fields.h

endif

EXTRA_DIST += \
	docs/segment.md \
	tests/abi-fields.awk \
	tests/integration/run \
	tests/unit/command \
	tests/unit/docs-segment

# Write docs/segment.md anew after a change of shared/abi.h.
.PHONY: update-docs-segment
update-docs-segment: tests/abi-table
	tests/abi-table >$(srcdir)/docs/segment.md
