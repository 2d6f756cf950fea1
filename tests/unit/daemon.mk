# SPDX-License-Identifier: MIT
#
# Unit tests of libdaemon and of the symbolizer.

DAEMON_TESTS = \
	tests/unit/test_leak
UNIT_TESTS += $(DAEMON_TESTS)
if TESTS_ENABLED
check_PROGRAMS += $(DAEMON_TESTS)
endif

tests_unit_test_leak_SOURCES = tests/unit/test_leak.c
tests_unit_test_leak_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_leak_LDADD = libdaemon.la $(CMOCKA_LIBS) -lm
