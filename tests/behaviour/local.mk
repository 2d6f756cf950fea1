# SPDX-License-Identifier: MIT
#
# Behaviour tests: tiny programs under the preloaded library.

EXTRA_DIST += \
	docs/options.md \
	tests/behaviour/exports \
	tests/behaviour/options \
	tests/behaviour/run

if TESTS_ENABLED
if !SANITIZERS
RUN_TESTS += \
	tests/behaviour/exports \
	tests/behaviour/options \
	tests/behaviour/run

behaviour_programs = \
	tests/behaviour/api \
	tests/behaviour/api-linked \
	tests/behaviour/decay \
	tests/behaviour/deepbind \
	tests/behaviour/descriptors \
	tests/behaviour/dlclose \
	tests/behaviour/dlsym-first \
	tests/behaviour/errno \
	tests/behaviour/foreign \
	tests/behaviour/fork \
	tests/behaviour/life \
	tests/behaviour/limits \
	tests/behaviour/misuse \
	tests/behaviour/mmap \
	tests/behaviour/route \
	tests/behaviour/sandbox \
	tests/behaviour/signal-storm \
	tests/behaviour/signals \
	tests/behaviour/small-world \
	tests/behaviour/stacks \
	tests/behaviour/symbols \
	tests/behaviour/threads \
	tests/behaviour/tls \
	tests/behaviour/usable \
	tests/behaviour/vfork
check_PROGRAMS += $(behaviour_programs) \
	tests/behaviour/exceptions \
	tests/behaviour/operators
check_LTLIBRARIES += \
	tests/behaviour/module-a.la \
	tests/behaviour/module-b.la

# No builtins: a compiler that knows malloc removes what nobody reads.
BEHAVIOUR_CFLAGS = $(AM_CFLAGS) -O1 -g -fno-builtin -Wno-deprecated-declarations
BEHAVIOUR_CXXFLAGS = $(AM_CXXFLAGS) -std=c++17 -O1 -g -fno-builtin

# The same program with weak symbols and with the library as one of its own.
tests_behaviour_api_SOURCES = tests/behaviour/api.c tests/behaviour/check.h
tests_behaviour_api_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/include
tests_behaviour_api_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_api_linked_SOURCES = $(tests_behaviour_api_SOURCES)
tests_behaviour_api_linked_CPPFLAGS = $(tests_behaviour_api_CPPFLAGS) -DBS_LINKED
tests_behaviour_api_linked_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_api_linked_LDFLAGS = $(AM_LDFLAGS) -no-install
tests_behaviour_api_linked_LDADD = libbuddyscope.la
tests_behaviour_deepbind_SOURCES = tests/behaviour/deepbind.c tests/behaviour/check.h
tests_behaviour_deepbind_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_descriptors_SOURCES = tests/behaviour/descriptors.c tests/behaviour/check.h
tests_behaviour_descriptors_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_dlclose_SOURCES = tests/behaviour/dlclose.c tests/behaviour/check.h
tests_behaviour_dlclose_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_dlsym_first_SOURCES = tests/behaviour/dlsym-first.c tests/behaviour/check.h
tests_behaviour_dlsym_first_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_errno_SOURCES = tests/behaviour/errno.c tests/behaviour/check.h
tests_behaviour_errno_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_foreign_SOURCES = tests/behaviour/foreign.c tests/behaviour/check.h
tests_behaviour_foreign_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_fork_SOURCES = tests/behaviour/fork.c tests/behaviour/check.h
tests_behaviour_fork_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_life_SOURCES = tests/behaviour/life.c tests/behaviour/check.h
tests_behaviour_life_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_limits_SOURCES = tests/behaviour/limits.c tests/behaviour/check.h
tests_behaviour_limits_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_misuse_SOURCES = tests/behaviour/misuse.c tests/behaviour/check.h
tests_behaviour_misuse_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_mmap_SOURCES = tests/behaviour/mmap.c tests/behaviour/check.h
tests_behaviour_mmap_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_route_SOURCES = tests/behaviour/route.c tests/behaviour/check.h
tests_behaviour_route_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_sandbox_SOURCES = tests/behaviour/sandbox.c tests/behaviour/check.h
tests_behaviour_sandbox_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_signal_storm_SOURCES = tests/behaviour/signal-storm.c tests/behaviour/check.h
tests_behaviour_signal_storm_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_signal_storm_LDFLAGS = $(AM_LDFLAGS) -pthread
tests_behaviour_signals_SOURCES = tests/behaviour/signals.c tests/behaviour/check.h
tests_behaviour_signals_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_small_world_SOURCES = tests/behaviour/small-world.c tests/behaviour/check.h
tests_behaviour_small_world_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_stacks_SOURCES = tests/behaviour/stacks.c tests/behaviour/check.h
tests_behaviour_stacks_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_symbols_SOURCES = tests/behaviour/symbols.c tests/behaviour/check.h
tests_behaviour_symbols_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_threads_SOURCES = tests/behaviour/threads.c tests/behaviour/check.h
tests_behaviour_threads_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_tls_SOURCES = tests/behaviour/tls.c tests/behaviour/check.h
tests_behaviour_tls_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_decay_SOURCES = tests/behaviour/decay.c tests/behaviour/check.h
tests_behaviour_decay_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_usable_SOURCES = tests/behaviour/usable.c tests/behaviour/check.h
tests_behaviour_usable_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_vfork_SOURCES = tests/behaviour/vfork.c tests/behaviour/check.h
tests_behaviour_vfork_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_exceptions_SOURCES = tests/behaviour/exceptions.cc
tests_behaviour_exceptions_CXXFLAGS = $(BEHAVIOUR_CXXFLAGS)
tests_behaviour_operators_SOURCES = tests/behaviour/operators.cc
tests_behaviour_operators_CXXFLAGS = $(BEHAVIOUR_CXXFLAGS)

# module-b is opened by name from module-a's RUNPATH.
tests_behaviour_module_a_la_SOURCES = tests/behaviour/lib-module.c
tests_behaviour_module_a_la_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_module_a_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version \
	-shared -rpath /nowhere -Wl,--enable-new-dtags,-rpath,'$$ORIGIN/sub'
tests_behaviour_module_b_la_SOURCES = tests/behaviour/lib-module.c
tests_behaviour_module_b_la_CFLAGS = $(BEHAVIOUR_CFLAGS)
tests_behaviour_module_b_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version \
	-shared -rpath /nowhere
endif
endif
