# SPDX-License-Identifier: MIT
#
# make bench (bench-allocator, then bench-caches) and make bench-trace: figures,
# never verdicts.  Of make check only the harness's own test is a part.
#
#	BENCH_FLAGS      options of bench/run, as --rounds 5 --workloads mpv,jq

EXTRA_DIST += \
	docs/performance.md \
	bench/run \
	tests/bench/harness \
	bench/harness/__init__.py \
	bench/harness/caches.py \
	bench/harness/configs.py \
	bench/harness/measure.py \
	bench/harness/once.py \
	bench/harness/report.py \
	bench/harness/sections.py \
	bench/harness/stats.py \
	bench/harness/workloads.py

.PHONY: bench bench-allocator bench-caches bench-trace

if !SANITIZERS
# The first two are what the harness's own test needs.
check_PROGRAMS += bench/measure bench/micro
RUN_TESTS += tests/bench/harness
EXTRA_PROGRAMS = \
	bench/colour \
	bench/lifetime \
	bench/peak
CLEANFILES += $(EXTRA_PROGRAMS) bench/*.json bench/*.md
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

# One after the other, whatever -j says.
bench:
	$(MAKE) $(AM_MAKEFLAGS) bench-allocator
	$(MAKE) $(AM_MAKEFLAGS) bench-caches BENCH_FLAGS=

bench-allocator bench-caches bench-trace: all $(bench_programs)
	@$(AM_TESTS_ENVIRONMENT) suite=$(subst bench-,,$@); \
	$(top_srcdir)/bench/run $$suite --markdown bench/$$suite.md \
		--json bench/$$suite.json $(BENCH_FLAGS)
endif
