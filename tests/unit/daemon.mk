# SPDX-License-Identifier: MIT
#
# Unit tests of libdaemon and of the symbolizer; the daemon's integration tests.

DAEMON_TESTS = \
	tests/unit/test_history \
	tests/unit/test_leak \
	tests/unit/test_symbols
UNIT_TESTS += $(DAEMON_TESTS)
DAEMON_RUN_TESTS = \
	tests/integration/daemon-leaks \
	tests/integration/daemon-life \
	tests/integration/site-forms \
	tests/integration/trace-switch
RUN_TESTS += $(DAEMON_RUN_TESTS)
EXTRA_DIST += $(DAEMON_RUN_TESTS) tests/integration/daemon_lib.py \
	tests/profile.py
if TESTS_ENABLED
check_PROGRAMS += $(DAEMON_TESTS) tests/integration/daemon-leaky
endif

tests_unit_test_history_SOURCES = tests/unit/test_history.c \
	tests/mkseg.c tests/mkseg.h
tests_unit_test_history_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_history_LDADD = libdaemon.la $(CMOCKA_LIBS)
tests_unit_test_leak_SOURCES = tests/unit/test_leak.c
tests_unit_test_leak_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_leak_LDADD = libdaemon.la $(CMOCKA_LIBS) -lm
tests_unit_test_symbols_SOURCES = tests/unit/test_symbols.c \
	tests/mkseg.c tests/mkseg.h
tests_unit_test_symbols_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS) -g -O1
tests_unit_test_symbols_LDADD = libshared.la $(CMOCKA_LIBS)

# -g -O1: each site stays a call of its own and has a line.
tests_integration_daemon_leaky_SOURCES = tests/integration/daemon-leaky.c
tests_integration_daemon_leaky_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/include
tests_integration_daemon_leaky_CFLAGS = $(AM_CFLAGS) -g -O1
tests_integration_daemon_leaky_LDFLAGS =
