/* SPDX-License-Identifier: MIT */
/*
 * internal.h - what the files of preload/ share: the way in and out of every
 * exported function, the options, and who we are.
 *
 * Owns:   bs_tls, bs_options, the words of mm_wipe.client[].
 * Layer:  preload; above the engine (mm/) and beside trace/.
 * Locks:  bs_enter() takes none once the process has started.
 *
 * The way in.  Every exported function that may touch the engine does
 *
 *	if (bs_enter()) {
 *		... engine, trace ...
 *		bs_leave();
 *	} else {
 *		... mm_atomic_alloc(), mm_atomic_free(), raw system call ...
 *	}
 *
 * bs_enter() returns false, and nothing has to be left, when this thread is
 * already inside (a handler interrupted us; libunwind, under our guard, called
 * malloc) or when the engine could not start.  The start of the library happens
 * at the first bs_enter() of the process; a process made by _Fork() or a raw
 * clone notices itself there too, because the kernel wiped the wipe page.
 */
#ifndef BS_INTERNAL_H
#define BS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "preload/mm/mm.h"
#include "preload/sys/sys.h"
#include "shared/abi.h"

/* An exported name; everything else in the library is hidden. */
#define BS_EXPORT __attribute__((visibility("default"), used))
#define BS_HIDDEN __attribute__((visibility("hidden")))

/* ---- options --------------------------------------------------------------- */

#define BS_DIR_MAX     192 /* bytes of a segment directory's name, with NUL */
#define BS_OPTIONS_MAX 512 /* as bs_abi_header.options */

enum bs_on_error {
	BS_ON_ERROR_ABORT,
	BS_ON_ERROR_CONTINUE
};
enum bs_verify {
	BS_VERIFY_OFF,
	BS_VERIFY_EXIT
};

/* Filled once, before mm_init(); constant from then on. */
struct bs_options {
	struct mm_config mm;
	uint32_t trace_mode;	     /* BS_TRACE_* */
	uint32_t on_error;	     /* enum bs_on_error */
	uint64_t trace_sample_bytes; /* trace=sample:BYTES */
	uint32_t trace_budget;	     /* 1/1000 of the CPU */
	uint64_t trace_memory_bytes; /* of all tables */
	uint32_t nr_nodes, nr_sites; /* that have room in it */
	uint32_t trace_check;	     /* one in so many; 0: none */
	bool trace_threads;	     /* each thread has stacks of its own */
	uint32_t verify;	     /* enum bs_verify */
	bool publish;		     /* false: no segment file */
	uint64_t leak_window_ns;
	/*
	 * Directory of segments without a trailing '/': dir=, else
	 * $BUDDYSCOPE_DIR, else /dev/shm/buddyscope-<euid>.  Not made yet.
	 */
	char dir[BS_DIR_MAX];
	bool dir_is_default;	   /* the last of the three: we may mkdir it */
	char text[BS_OPTIONS_MAX]; /* BUDDYSCOPE as given, may be cut */
};
extern BS_HIDDEN struct bs_options bs_options;

/* Reads the environment; reports unknown keys and bad values on stderr. */
void bs_options_read(void);
/* The environment for bs_options_read(), when the constructor knows it. */
extern BS_HIDDEN char **bs_environ;

/* ---- the thread ------------------------------------------------------------- */

/*
 * Initial-exec and two words only: it works before libc is set up and until the
 * thread's very last instruction.
 */
struct bs_tls {
	uint16_t depth;	     /* 1: inside an exported function (or a fork) */
	uint16_t thread;     /* thread.c: its record, 0: none (yet) */
	uint8_t fork_nested; /* fork.c: a handler that interrupted us forks */
	uint8_t no_trace; /* > 0: charge allocations to site 0, do not unwind */
	uint8_t measure;  /* sampling.c: the next allocation's cost */
	uint8_t look_left;   /* ... allocations until one is looked at */
	int32_t sample_left; /* ... distance to the next sample */
	uint32_t random;     /* ... 0: not begun */
};
extern BS_HIDDEN __thread
	__attribute__((tls_model("initial-exec"))) struct bs_tls bs_tls;

/* ---- the process ------------------------------------------------------------ */

/*
 * Words of mm_wipe.client[].  The kernel zeroes them in a forked process,
 * however it was made, and leaves them alone in a vfork child.
 */
enum bs_client_word {
	BS_CLIENT_READY = 0, /* start.c: BS_READY, else take the slow way in */
	BS_CLIENT_STARTING,  /* start.c: 1 while a thread is in start */
	BS_CLIENT_SEGMENT,   /* segment.c: all others */
	BS_CLIENT_NR = 32
};
#define BS_READY 1U

/* A seccomp filter is (being) installed: nothing but memory calls and futex. */
extern BS_HIDDEN bool bs_sandboxed;

/*
 * The process that owns this memory; 0: a child that must not ask.  In a vfork
 * child sys_getpid() differs from it: such a child must not speak for us (exit,
 * modules, new segment).  Sandboxed processes publish nothing more anyway.
 */
extern BS_HIDDEN pid_t bs_pid;

static inline bool bs_is_owner(void)
{
	return bs_sandboxed || sys_getpid() == bs_pid;
}

/*
 * Raised by trace/ when it meets a frame that takes libunwind; cleared by
 * trace_load_unwinder() once that is loaded or given up for good.  While true,
 * bs_enter() takes the slow way and calls it (outside: depth 0, so that dlopen's
 * own calls are served normally; bs_tls.no_trace is raised meanwhile).
 */
extern BS_HIDDEN bool bs_unwinder_wanted;

/* Constant after the start: bs_options.trace_mode != BS_TRACE_OFF. */
extern BS_HIDDEN bool bs_tracing;

/*
 * Stacks are recorded: tracing, or slab_debug=U.  Constant after the start.
 */
extern BS_HIDDEN bool bs_stacks;

/* Slow ways; depth is 1 when they are called. */
bool bs_enter_slow(void *caller);
void bs_leave_slow(void);

static inline __attribute__((always_inline)) bool bs_enter(void)
{
	if (unlikely(bs_tls.depth))
		return false;
	bs_tls.depth = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (likely(mm_wipe->client[BS_CLIENT_READY] == BS_READY))
		return true;
	return bs_enter_slow(__builtin_return_address(0));
}

static inline __attribute__((always_inline)) void bs_leave(void)
{
	if (unlikely(mm_atomic_pending()))
		bs_leave_slow();
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	bs_tls.depth = 0;
}

/*
 * start.c: a forked child takes over.  raw: made without our atfork handlers.
 * Called inside, in the child's only thread.
 */
void bs_child(bool raw);

/* ---- fork.c ------------------------------------------------------------------ */

void bs_fork_register(void);
/* A thread may come that rseq does not know, or membarrier be forbidden. */
void bs_sections_end(void);

/* ---- report.c ---------------------------------------------------------------- */

/*
 * Who had allocated the large blocks and areas that were freed lately (an object's
 * tag outlives it): a word per hash of the address, the
 * address in units of 16 bytes above BS_FREED_SITE_BITS, the site below.  Plain
 * stores of whole words: a race loses one of two notes.
 */
#define BS_FREED_BITS	   12
#define BS_FREED_SITE_BITS 20
extern BS_HIDDEN uint64_t bs_freed[1 << BS_FREED_BITS];

static inline uint64_t *bs_freed_slot(const void *p)
{
	uint64_t key = (uint64_t)(uintptr_t)p >> 4;

	return &bs_freed[key * 0x9e3779b97f4a7c15ULL >> (64 - BS_FREED_BITS)];
}

static inline void bs_note_freed(const void *p, uint64_t tag)
{
	uint64_t site = tag_site(tag) & ((1U << BS_FREED_SITE_BITS) - 1);
	uint64_t key = (uint64_t)(uintptr_t)p >> 4;

	__atomic_store_n(bs_freed_slot(p), key << BS_FREED_SITE_BITS | site,
			 __ATOMIC_RELAXED);
}

enum bs_misuse {
	BS_DOUBLE_FREE,
	BS_FREE_INTERIOR, /* our memory, not the start of a block */
	BS_FREE_WILD,	  /* stack, text, data, unmapped */
	BS_FREE_MAPPED,	  /* a living block of which vmap() shows a page */
};

/* Reports on stderr and in the event ring; aborts unless on_error=continue. */
void bs_report_free(enum bs_misuse what, const char *call, const void *p,
		    void *caller);

/* mm_client.slab_error: the same for what slab_debug finds.  Called inside. */
void bs_report_slab(const struct slab_error *e);

/* ---- foreign.c ---------------------------------------------------------------- */

/* A pointer that the engine does not know; called outside (depth 0). */
void bs_foreign_free(void *p, const char *call, void *caller);
size_t bs_foreign_usable(void *p);
/* Allocates ours, copies, frees theirs; NULL with errno set. */
void *bs_foreign_realloc(void *p, size_t size, void *caller);

#endif
