# SPDX-License-Identifier: MIT
#
# make bench: figures, never verdicts.  Not part of make check.

EXTRA_DIST += \
	bench/colouring \
	bench/dedicated

.PHONY: bench

if !SANITIZERS
EXTRA_PROGRAMS = \
	bench/colour \
	bench/peak
CLEANFILES += $(EXTRA_PROGRAMS)
bench_colour_SOURCES = bench/colour.c
bench_colour_LDADD = libmm.la -lpthread
bench_peak_SOURCES = bench/peak.c

bench: all $(EXTRA_PROGRAMS)
	@$(AM_TESTS_ENVIRONMENT) \
	for b in dedicated colouring; do \
		echo "== $$b"; $(top_srcdir)/bench/$$b || exit 1; \
	done
endif
