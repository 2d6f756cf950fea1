# SPDX-License-Identifier: MIT
#
# buddyscope, the command: one file a subcommand.

bin_PROGRAMS += buddyscope

buddyscope_SOURCES = \
	tools/ask.c \
	tools/ask.h \
	tools/buddyscope.c \
	tools/cmd-log.c \
	tools/cmd-pins.c \
	tools/cmd-ps.c \
	tools/cmd-report.c \
	tools/cmd-run.c \
	tools/cmd-sites.c \
	tools/cmd-trace.c \
	tools/cmd-view.c \
	tools/cmd-watch.c \
	tools/run-check.c \
	tools/run-child.c \
	tools/run-daemon.c \
	tools/run-paths.c \
	tools/run-summary.c \
	tools/run.h \
	tools/sites.c \
	tools/sites.h \
	tools/tool.c \
	tools/tool.h
buddyscope_LDADD = libshared.la

dist_man_MANS += man/buddyscope.1
