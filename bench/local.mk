# SPDX-License-Identifier: MIT
#
# make bench, make bench-trace: figures, never verdicts.  Not part of make check,
# except for a test of the harness itself.
#
#	BENCH_FLAGS      options of bench/run, as --rounds 5 --workloads mpv,jq

EXTRA_DIST += \
	bench/run \
	bench/harness/__init__.py \
	bench/harness/configs.py \
	bench/harness/measure.py \
	bench/harness/report.py \
	bench/harness/stats.py \
	bench/harness/workloads.py

.PHONY: bench bench-trace

if !SANITIZERS
# The first two are what the harness's own test needs.
check_PROGRAMS += bench/measure bench/micro
EXTRA_PROGRAMS = \
	bench/colour \
	bench/lifetime \
	bench/peak
CLEANFILES += $(EXTRA_PROGRAMS)
bench_programs = $(EXTRA_PROGRAMS) bench/measure bench/micro
bench_colour_SOURCES = bench/colour.c
bench_colour_LDADD = libmm.la -lpthread
bench_lifetime_SOURCES = bench/lifetime.c bench/micro.h
bench_lifetime_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_measure_SOURCES = bench/measure.c
bench_micro_SOURCES = bench/micro.c bench/micro-threads.c bench/micro.h
bench_micro_CFLAGS = $(AM_CFLAGS) -fno-builtin
bench_micro_LDADD = -lpthread -ldl
bench_peak_SOURCES = bench/peak.c

bench: all $(bench_programs)
	@$(AM_TESTS_ENVIRONMENT) \
	$(top_srcdir)/bench/run allocator --markdown bench/allocator.md \
		--json bench/allocator.json $(BENCH_FLAGS)

bench-trace: all $(bench_programs)
	@$(AM_TESTS_ENVIRONMENT) \
	$(top_srcdir)/bench/run trace --markdown bench/trace.md \
		--json bench/trace.json $(BENCH_FLAGS)
endif
