# SPDX-License-Identifier: MIT
#
# Unit tests of the call sites and the segment, without any exported malloc.

TRACE_TESTS = \
	tests/unit/test_sampling \
	tests/unit/test_trace \
	tests/unit/test_trace_segment \
	tests/unit/test_trace_thread \
	tests/unit/test_trace_unwind
TRACE_HARNESS = tests/unit/trace_harness.c tests/unit/trace_harness.h
TRACE_TEST_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) $(LIBUNWIND_CFLAGS)
TRACE_TEST_LIBS = libtrace.la libmm.la $(CMOCKA_LIBS) -lpthread

tests_unit_test_trace_SOURCES = tests/unit/test_trace.c $(TRACE_HARNESS)
tests_unit_test_trace_CFLAGS = $(TRACE_TEST_CFLAGS)
tests_unit_test_trace_LDADD = $(TRACE_TEST_LIBS)
tests_unit_test_trace_segment_SOURCES = tests/unit/test_trace_segment.c \
	$(TRACE_HARNESS)
tests_unit_test_trace_segment_CFLAGS = $(TRACE_TEST_CFLAGS)
tests_unit_test_trace_segment_LDADD = $(TRACE_TEST_LIBS)
tests_unit_test_trace_thread_SOURCES = tests/unit/test_trace_thread.c \
	$(TRACE_HARNESS)
tests_unit_test_trace_thread_CFLAGS = $(TRACE_TEST_CFLAGS)
tests_unit_test_trace_thread_LDADD = $(TRACE_TEST_LIBS)
tests_unit_test_sampling_SOURCES = tests/unit/test_sampling.c $(TRACE_HARNESS)
tests_unit_test_sampling_CFLAGS = $(TRACE_TEST_CFLAGS)
tests_unit_test_sampling_LDADD = $(TRACE_TEST_LIBS) -lm
# What our walk is compared with.
tests_unit_test_trace_unwind_SOURCES = tests/unit/test_trace_unwind.c \
	$(TRACE_HARNESS)
tests_unit_test_trace_unwind_CFLAGS = $(TRACE_TEST_CFLAGS)
tests_unit_test_trace_unwind_LDADD = $(TRACE_TEST_LIBS) $(LIBUNWIND_LIBS)

if TESTS_ENABLED
UNIT_TESTS += $(TRACE_TESTS)
check_PROGRAMS += $(TRACE_TESTS)

# Two libraries with one code, loaded in turn at one address.
check_LTLIBRARIES += tests/unit/module-a.la tests/unit/module-b.la
TRACE_MODULE_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared \
	-rpath /nowhere
tests_unit_module_a_la_SOURCES = tests/unit/module.c
tests_unit_module_a_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"module-a"'
tests_unit_module_a_la_LDFLAGS = $(TRACE_MODULE_LDFLAGS)
tests_unit_module_b_la_SOURCES = tests/unit/module.c
tests_unit_module_b_la_CPPFLAGS = $(AM_CPPFLAGS) -DMODULE_NAME='"module-b"'
tests_unit_module_b_la_LDFLAGS = $(TRACE_MODULE_LDFLAGS)
endif
