# SPDX-License-Identifier: MIT
#
# libdaemon: all of buddyscoped but its main(), so that tests can link it.

noinst_LTLIBRARIES += libdaemon.la
bin_PROGRAMS += buddyscoped
dist_man_MANS += man/buddyscoped.8
EXTRA_DIST += docs/log.md

libdaemon_la_SOURCES = \
	daemon/archive.c \
	daemon/daemon.c \
	daemon/daemon.h \
	daemon/events.c \
	daemon/final.c \
	daemon/history.c \
	daemon/history.h \
	daemon/journal.c \
	daemon/journal.h \
	daemon/leak.c \
	daemon/leak.h \
	daemon/log.c \
	daemon/log.h \
	daemon/options.c \
	daemon/options.h \
	daemon/query.c \
	daemon/query.h \
	daemon/sample.c \
	daemon/server.c \
	daemon/watch.c \
	daemon/worker.c \
	daemon/worker.h
libdaemon_la_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS)
libdaemon_la_LIBADD = libshared.la $(LIBEVENT_LIBS) -lpthread

buddyscoped_SOURCES = daemon/main.c
buddyscoped_LDADD = libdaemon.la
