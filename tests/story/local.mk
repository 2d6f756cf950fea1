# SPDX-License-Identifier: MIT
#
# The story: a driver next to an application that leaks.

EXTRA_DIST += tests/story/run
if TESTS_ENABLED
if !SANITIZERS
check_PROGRAMS += tests/story/story
RUN_TESTS += tests/story/run
# -O1 -g: each call site stays one and has a line.
tests_story_story_SOURCES = tests/story/story.c tests/behaviour/check.h
tests_story_story_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_srcdir)/include
tests_story_story_CFLAGS = $(AM_CFLAGS) -O1 -g -fno-builtin
endif
endif
