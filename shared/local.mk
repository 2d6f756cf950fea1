# SPDX-License-Identifier: MIT
#
# libshared: reading segments and rendering them, for the daemon and the command.

noinst_LTLIBRARIES += libshared.la

libshared_la_SOURCES = \
	shared/abi.h \
	shared/demangle.c \
	shared/demangle.h \
	shared/event.c \
	shared/event.h \
	shared/failure.c \
	shared/fragindex.c \
	shared/fragindex.h \
	shared/json.c \
	shared/json.h \
	shared/render-area.c \
	shared/render-priv.h \
	shared/render-ps.c \
	shared/render-slab.c \
	shared/render-zone.c \
	shared/render-zoneinfo.c \
	shared/render.c \
	shared/render.h \
	shared/sitelist.c \
	shared/sitelist.h \
	shared/sitereport.c \
	shared/sitereport.h \
	shared/sitestack.c \
	shared/sitestack.h \
	shared/snapshot.c \
	shared/snapshot.h \
	shared/symbols.c \
	shared/symbols.h \
	shared/target.c \
	shared/target.h \
	shared/wire.c \
	shared/wire.h \
	shared/wrapper.c \
	shared/wrapper.h
libshared_la_CFLAGS = $(AM_CFLAGS) $(LIBDW_CFLAGS)
libshared_la_LIBADD = $(LIBDW_LIBS) $(LIBIBERTY_LIBS)

if HAVE_LIBIBERTY
libshared_la_SOURCES += shared/demangle-rust.c
else
libshared_la_SOURCES += shared/demangle-raw.c
endif
