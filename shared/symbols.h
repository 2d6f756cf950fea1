/* SPDX-License-Identifier: MIT */
/*
 * symbols.h - from a return address to function, file and line.
 *
 * Owns:   the use of elfutils (libdw, libdwfl): modules opened by the records
 *         of a segment, not by a process, so that it works after the process
 *         ended, after dlclose, and on another machine.
 * Layer:  shared; on snapshot.
 * Locks:  none; a symbolizer belongs to one thread.
 *
 * A module's file is used only if its build-id is that of the record.  If the
 * file is gone or was replaced, DEBUG_DIR/.build-id is asked for it; after that
 * a frame has module and offset only, and `note` says why.  Nothing is fetched
 * over the network.
 */
#ifndef BS_SHARED_SYMBOLS_H
#define BS_SHARED_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shared/snapshot.h"

#define BS_DEBUG_DIR_DEFAULT "/usr/lib/debug"

/* Frames that one address can stand for: inlined ones and their function. */
#define BS_FRAMES_PER_PC_MAX 24

struct bs_symbolizer;

/*
 * One frame.  Strings live as long as the symbolizer, or until
 * bs_symbolizer_trim().
 */
struct bs_frame {
	uint64_t addr;	      /* return address as recorded */
	const char *module;   /* path as recorded; NULL: in no module */
	uint64_t offset;      /* of addr in the file (what addr2line takes) */
	const char *function; /* as it was written; NULL: unknown */
	const char *symbol;   /* the same as the linker knows it */
	uint64_t
		function_offset; /* of addr in the function, if known, else 0 */
	uint64_t function_bytes; /* 0: unknown */
	const char *file;	 /* NULL: unknown */
	int line;		 /* 0: unknown */
	bool inlined;		 /* into the frame that follows */
	const char *note;	 /* why there is no symbol, or NULL */
};

/* sysroot: put in front of module paths (NULL: none).  debug_dir: NULL means
 * BS_DEBUG_DIR_DEFAULT under the sysroot.  NULL: out of memory. */
struct bs_symbolizer *bs_symbolizer_new(const char *sysroot,
					const char *debug_dir);
void bs_symbolizer_free(struct bs_symbolizer *sym);

/*
 * Between two reports: lets go of modules and strings if there are too many.
 * All frames handed out before are invalid then.
 */
void bs_symbolizer_trim(struct bs_symbolizer *sym);

/*
 * The frames of return address pc, innermost first, at most max; at least one
 * (if max > 0).  time_ns chooses among modules that shared the address: the
 * first time of the site.  *frames belongs to the symbolizer.
 */
size_t bs_symbolizer_resolve(struct bs_symbolizer *sym,
			     const struct bs_snapshot *s, uint64_t pc,
			     uint64_t time_ns, const struct bs_frame **frames);

/* The same with the module known (NULL: none). */
size_t bs_symbolizer_resolve_in(struct bs_symbolizer *sym,
				const struct bs_abi_module *module, uint64_t pc,
				const struct bs_frame **frames);

/* The module that a site of first_ns meant by pc. NULL: none. */
const struct bs_abi_module *bs_symbols_module(const struct bs_snapshot *s,
					      uint64_t pc, uint64_t time_ns);

/* Is this the preloaded library itself? */
bool bs_symbols_is_own(const struct bs_abi_module *module);

/*
 * "symbol+0x1d/0x40" for vmallocinfo: a bs_caller_fn (render.h); arg is the
 * symbolizer.
 */
bool bs_symbolizer_caller(void *arg, const struct bs_snapshot *s, uint32_t site,
			  char *text, size_t len);

#endif
