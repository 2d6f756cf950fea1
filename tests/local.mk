# SPDX-License-Identifier: MIT
#
# UNIT_TESTS link libmm or libshared and run under every configuration;
# RUN_TESTS need the preloaded library and are left out under sanitizers.
# A test program is named in check_PROGRAMS too, a script in EXTRA_DIST.

UNIT_TESTS =
RUN_TESTS =

# The engine, without any exported malloc.
MM_TESTS = \
	tests/unit/test_areas \
	tests/unit/test_dma \
	tests/unit/test_mm \
	tests/unit/test_mm_all \
	tests/unit/test_mm_corrupt \
	tests/unit/test_mm_random \
	tests/unit/test_pins \
	tests/unit/test_slab
UNIT_TESTS += $(MM_TESTS) tests/unit/locked-arrays
MM_TEST_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
MM_TEST_LIBS = libmm.la $(CMOCKA_LIBS) -lpthread
tests_unit_test_areas_SOURCES = tests/unit/test_areas.c tests/unit/mm_pub.h \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_areas_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_areas_LDADD = $(MM_TEST_LIBS)
tests_unit_test_dma_SOURCES = tests/unit/test_dma.c tests/unit/mm_pub.h \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_dma_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_dma_LDADD = $(MM_TEST_LIBS)
tests_unit_test_mm_SOURCES = tests/unit/test_mm.c \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_mm_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_mm_LDADD = $(MM_TEST_LIBS)
tests_unit_test_mm_all_SOURCES = tests/unit/test_mm_all.c \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_mm_all_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_mm_all_LDADD = $(MM_TEST_LIBS)
tests_unit_test_mm_corrupt_SOURCES = tests/unit/test_mm_corrupt.c \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_mm_corrupt_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_mm_corrupt_LDADD = $(MM_TEST_LIBS)
tests_unit_test_mm_random_SOURCES = tests/unit/test_mm_random.c \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_mm_random_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_mm_random_LDADD = $(MM_TEST_LIBS)

tests_unit_test_pins_SOURCES = tests/unit/test_pins.c tests/unit/mm_pub.h \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_pins_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_pins_LDADD = $(MM_TEST_LIBS)
tests_unit_test_slab_SOURCES = tests/unit/test_slab.c \
	tests/unit/mm_model.c tests/unit/mm_model.h
tests_unit_test_slab_CFLAGS = $(MM_TEST_CFLAGS)
tests_unit_test_slab_LDADD = $(MM_TEST_LIBS)

EXTRA_DIST += \
	tests/bare-system \
	tests/clip \
	tests/plugin/leak.c \
	tests/unit/locked-arrays

if TESTS_ENABLED
check_PROGRAMS += $(MM_TESTS)
if SANITIZERS
TESTS += $(UNIT_TESTS)
else
TESTS += $(UNIT_TESTS) $(RUN_TESTS)

# The player's plugin: .libs/leak.so.  -O1 keeps each site a call of its own;
# -rpath makes libtool build a shared object that is never installed.
if HAVE_MPV
check_LTLIBRARIES += tests/plugin/leak.la
tests_plugin_leak_la_SOURCES = tests/plugin/leak.c
tests_plugin_leak_la_CPPFLAGS = $(MPV_CFLAGS)
tests_plugin_leak_la_CFLAGS = $(AM_CFLAGS) -g -O1
tests_plugin_leak_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-rpath /nowhere
endif
endif
endif

include $(top_srcdir)/tests/real/local.mk
include $(top_srcdir)/tests/behaviour/local.mk
include $(top_srcdir)/tests/unit/daemon.mk
include $(top_srcdir)/tests/unit/shared.mk
include $(top_srcdir)/tests/unit/trace.mk
include $(top_srcdir)/tests/story/local.mk
include $(top_srcdir)/tests/trace/local.mk
