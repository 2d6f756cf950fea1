# SPDX-License-Identifier: MIT
#
# libmm: the engine, which unit tests link without any exported malloc.
# libbuddyscope: the engine, the call sites and the exported names; not built
# under sanitizers, which bring an allocator of their own.

noinst_LTLIBRARIES += libmm.la

libmm_la_SOURCES = \
	preload/mm/atomic.c \
	preload/mm/bitset.h \
	preload/mm/dedicated.c \
	preload/mm/buddy.c \
	preload/mm/buddy.h \
	preload/mm/dma.c \
	preload/mm/ioremap.c \
	preload/mm/kmalloc.c \
	preload/mm/kmalloc.h \
	preload/mm/lend.c \
	preload/mm/list.h \
	preload/mm/memblock.c \
	preload/mm/memblock.h \
	preload/mm/mm.c \
	preload/mm/mm.h \
	preload/mm/mmap.c \
	preload/mm/page_alloc.c \
	preload/mm/pins.c \
	preload/mm/page_alloc.h \
	preload/mm/pcp.c \
	preload/mm/pcp.h \
	preload/mm/decay.c \
	preload/mm/reporting.c \
	preload/mm/slab.c \
	preload/mm/slab.h \
	preload/mm/slab_cache.c \
	preload/mm/slab_cache.h \
	preload/mm/slab_debug.c \
	preload/mm/slab_debug.h \
	preload/mm/tags.c \
	preload/mm/verify.c \
	preload/mm/vmalloc.c \
	preload/mm/vmalloc.h \
	preload/mm/vmap.c \
	preload/mm/vpages.c \
	preload/sys/arch-aarch64.h \
	preload/sys/arch-x86_64.h \
	preload/sys/arch.h \
	preload/sys/clock.c \
	preload/sys/clock.h \
	preload/sys/lock.c \
	preload/sys/rseq-aarch64.h \
	preload/sys/rseq-x86_64.h \
	preload/sys/rseq.c \
	preload/sys/rseq.h \
	preload/sys/say.c \
	preload/sys/sys.c \
	preload/sys/sys.h \
	shared/abi.h
# Unwind tables even where a compiler would leave them out: exceptions and
# backtraces pass through here.
BS_PRELOAD_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden -ftls-model=initial-exec \
	-fno-plt -fasynchronous-unwind-tables $(BS_LTO)
libmm_la_CFLAGS = $(BS_PRELOAD_CFLAGS)

if !SANITIZERS
lib_LTLIBRARIES += libbuddyscope.la
endif

# The call sites and the segment, for libbuddyscope and for unit tests.
# libunwind is loaded at run time; only its headers are used.
noinst_LTLIBRARIES += libtrace.la
libtrace_la_SOURCES = \
	preload/internal.h \
	preload/modules.c \
	preload/modules.h \
	preload/prune.c \
	preload/prune.h \
	preload/segment.c \
	preload/segment.h \
	preload/trace/ages.c \
	preload/trace/ages.h \
	preload/trace/cfi.c \
	preload/trace/cfi.h \
	preload/trace/count.h \
	preload/trace/depot.c \
	preload/trace/depot.h \
	preload/trace/frame.h \
	preload/trace/lastwalk.c \
	preload/trace/lastwalk.h \
	preload/trace/libunwind.c \
	preload/trace/libunwind.h \
	preload/trace/memo.c \
	preload/trace/memo.h \
	preload/trace/object.h \
	preload/trace/thread.c \
	preload/trace/thread.h \
	preload/trace/sampling.c \
	preload/trace/sampling.h \
	preload/trace/site.c \
	preload/trace/site.h \
	preload/trace/trace.c \
	preload/trace/trace.h \
	preload/trace/unwind.c \
	preload/trace/unwind.h
libtrace_la_CFLAGS = $(BS_PRELOAD_CFLAGS) $(LIBUNWIND_CFLAGS)

libbuddyscope_la_SOURCES = \
	include/buddyscope/mm.h \
	preload/api.c \
	preload/api-map.c \
	preload/api.h \
	preload/dl.c \
	preload/entry.h \
	preload/foreign.c \
	preload/fork.c \
	preload/malloc.c \
	preload/mmap.c \
	preload/operators.c \
	preload/options.c \
	preload/report.c \
	preload/route.c \
	preload/route.h \
	preload/sandbox.c \
	preload/start.c \
	preload/stats.c \
	preload/tail.S
libbuddyscope_la_CFLAGS = $(BS_PRELOAD_CFLAGS)
libbuddyscope_la_LIBADD = libtrace.la libmm.la
# initfirst: our constructor comes before all others, so that our atfork handler
# is the first.  now: no lazy binding in a vfork child or a signal handler.
# nodelete: other code holds addresses of ours for ever.
libbuddyscope_la_LDFLAGS = $(AM_LDFLAGS) $(BS_LTO) -avoid-version -shared \
	-Wl,--version-script=$(top_srcdir)/preload/libbuddyscope.map \
	-Wl,-z,initfirst -Wl,-z,now -Wl,-z,nodelete -Wl,-z,defs
EXTRA_libbuddyscope_la_DEPENDENCIES = preload/libbuddyscope.map
EXTRA_DIST += preload/libbuddyscope.map
