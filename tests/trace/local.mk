# SPDX-License-Identifier: MIT
#
# Call sites and segment in whole programs.

EXTRA_DIST += tests/trace/run

if TESTS_ENABLED
if !SANITIZERS
RUN_TESTS += tests/trace/run
check_PROGRAMS += tests/trace/odd tests/trace/stress
tests_trace_odd_SOURCES = tests/trace/odd.c
tests_trace_odd_CFLAGS = $(AM_CFLAGS) -O1 -g -fno-builtin
tests_trace_stress_SOURCES = tests/trace/stress.c
tests_trace_stress_CFLAGS = $(AM_CFLAGS) -O1 -g -fno-builtin
tests_trace_stress_LDADD = -lpthread
endif
endif
