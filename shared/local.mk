# SPDX-License-Identifier: MIT
#
# libshared: reading segments and rendering them, for the daemon and the command.

noinst_LTLIBRARIES += libshared.la

libshared_la_SOURCES = \
	shared/abi.h \
	shared/control.c \
	shared/control.h \
	shared/demangle.c \
	shared/demangle.h \
	shared/event.c \
	shared/event.h \
	shared/failure.c \
	shared/folded.c \
	shared/fragindex.c \
	shared/fragindex.h \
	shared/gzip.c \
	shared/gzip.h \
	shared/idmap.c \
	shared/idmap.h \
	shared/json.c \
	shared/json.h \
	shared/pins.c \
	shared/pins.h \
	shared/pprof.c \
	shared/render-area.c \
	shared/render-priv.h \
	shared/render-ps.c \
	shared/render-slab.c \
	shared/render-zone.c \
	shared/render-zoneinfo.c \
	shared/render.c \
	shared/render.h \
	shared/sitegroup.c \
	shared/sitelife.c \
	shared/sitelife.h \
	shared/sitelist.c \
	shared/sitelist.h \
	shared/siteoptions.c \
	shared/sitereport.c \
	shared/sitereport.h \
	shared/sitestack.c \
	shared/sitestack.h \
	shared/sitethread.c \
	shared/sitethread.h \
	shared/snapshot.c \
	shared/snapshot.h \
	shared/symbols.c \
	shared/symbols.h \
	shared/target.c \
	shared/target.h \
	shared/tracing.c \
	shared/tracing.h \
	shared/wire.c \
	shared/wire.h \
	shared/wrapper.c \
	shared/wrapper.h
libshared_la_CPPFLAGS = $(AM_CPPFLAGS) -I$(top_builddir)
libshared_la_CFLAGS = $(AM_CFLAGS) $(LIBDW_CFLAGS) $(PROTOBUF_C_CFLAGS) \
	$(ZLIB_CFLAGS)
libshared_la_LIBADD = $(LIBDW_LIBS) $(LIBIBERTY_LIBS) $(PROTOBUF_C_LIBS) \
	$(ZLIB_LIBS) -lm

# The messages of profile.proto, and the code that packs them.
nodist_libshared_la_SOURCES = shared/profile.pb-c.c shared/profile.pb-c.h
EXTRA_DIST += shared/profile.proto
CLEANFILES += shared/profile.pb-c.c shared/profile.pb-c.h
shared/profile.pb-c.c: $(top_srcdir)/shared/profile.proto
	$(AM_V_GEN)$(MKDIR_P) shared && \
	$(PROTOC_C) --c_out=. -I$(top_srcdir) \
		$(top_srcdir)/shared/profile.proto
shared/profile.pb-c.h: shared/profile.pb-c.c
$(libshared_la_OBJECTS): shared/profile.pb-c.h

if HAVE_LIBIBERTY
libshared_la_SOURCES += shared/demangle-rust.c
else
libshared_la_SOURCES += shared/demangle-raw.c
endif
