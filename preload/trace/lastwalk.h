/* SPDX-License-Identifier: MIT */
/*
 * lastwalk.h - a walk ends where the thread's last one went by.
 *
 * Layer:  trace; above frame.h, below memo.c and trace.c.
 * Locks:  none that waits: a thread that does not get its last walk goes without.
 *
 * From one allocation to the next most of a thread's stack stays: a compiler with 30
 * frames has four new ones.  So the frames of the last stack that was walked are kept,
 * with the words that lead from each one to its caller and the depot's node of each.
 * A walk begins with a look at these words, from the outermost frame inwards: as far as
 * they say what they said, these frames are still there.  Then it goes from the
 * innermost frame outwards until it comes to one of them.  lastwalk.c has the argument
 * why that is the stack.
 */
#ifndef BS_TRACE_LASTWALK_H
#define BS_TRACE_LASTWALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/sys/sys.h"
#include "preload/trace/unwind.h"

/* Frames kept of a stack, innermost first; the others are cut. */
#define TRACE_MAX_FRAMES 128U

/*
 * A frame: the registers that it has when its callee returns, and where the words are
 * that lead to its caller, in words from sp: the return address; the caller's FP, where
 * a step further out needs it; the CFA, where the stack was realigned.  They are equal
 * to the pc, FP and SP of the next outer frame.  node: in the depot, of the stack from
 * here outwards; 0: not known.
 */
struct lastwalk_frame {
	uintptr_t pc, sp, fp;
	uint32_t node;
	uint16_t ra_off, fp_off, cfa_off; /* LASTWALK_NONE */
	uint16_t span;	    /* words from sp to behind the last of these */
	bool uses_fp;	    /* the way outwards depends on fp */
	bool decides_by_fp; /* the step depended on what the saved FP says */
	bool plain;	    /* there is a return address, and nothing else */
};

#define LASTWALK_NONE UINT16_MAX

/*
 * So many frames are kept, and there is room for the new ones of a walk behind them.
 * Those of a deeper stack are without its outermost frames, and without nodes.
 */
#define LASTWALK_KEPT (2 * TRACE_MAX_FRAMES)
#define LASTWALK_ROOM (LASTWALK_KEPT + TRACE_MAX_FRAMES)

/*
 * frame[1] to frame[nr - 1], outermost first; frame[0] is where the outermost one led,
 * which is no frame of its own.
 */
struct lastwalk {
	uint64_t epoch;	    /* of rules */
	uint32_t forgotten; /* see lastwalk_forget() */
	uint32_t root;	    /* the node that the stack hangs below */
	uintptr_t thread;   /* whose pointer */
	uint32_t busy;
	uint32_t nr;
	bool whole; /* frame[0] is the end of the stack */
	/* of the walk that lastwalk_walk() began */
	bool keeps;	  /* it can be kept */
	bool ends;	  /* it came to the end of the stack */
	uint32_t merged;  /* it ended at this frame; 0: at none */
	uint32_t known;	  /* so many are as they were, frame[0] included */
	uint32_t nr_new;  /* its frames are frame[known] on, innermost first */
	uint32_t nr_more; /* further return addresses it gave, of kept frames */
	uint32_t nr_pages; /* touched so far */
	struct lastwalk_frame frame[LASTWALK_ROOM];
} __attribute__((aligned(PAGE_SIZE)));

/* 0 or -ENOMEM: then each walk goes to the outermost frame. */
int lastwalk_init(void);

/* That of the running thread, until it is closed; NULL: not to be had now. */
struct lastwalk *lastwalk_open(void);
void lastwalk_close(struct lastwalk *w);

/*
 * Walks the stack that begins with regs, of a thread whose stacks hang below root.
 * Fills pcs with return addresses, innermost first, leading ones inside the library left
 * out; their number.  *node: what lies behind them, up to TRACE_MAX_FRAMES in all; root
 * when that is nothing.  w->merged: 0 when the walk went the whole way.
 */
size_t lastwalk_walk(struct lastwalk *w, const struct unwind_regs *regs,
		     uint32_t root, uintptr_t *pcs, uint32_t *node,
		     enum unwind_end *end);

/*
 * Keeps what was walked.  chain[i]: the depot's node of the stack from pcs[i] outwards,
 * for i from `from` on; NULL: not known.  False: it cannot be kept.
 */
bool lastwalk_keep(struct lastwalk *w, const uint32_t *chain, size_t from);

/*
 * Does the running stack, from the frame at sp outwards, hang together as it did when the
 * thread's last walk had frame i there, with that node?  fp matters where it is needed.
 */
bool lastwalk_is_at(uint32_t i, uint32_t node, uintptr_t sp, uintptr_t fp,
		    uintptr_t live_sp);

/* Of all threads, in a new epoch of rules that looks like an old one. */
void lastwalk_forget(void);

/* In a forked child: nobody walks. */
void lastwalk_fork_child(void);

/* Memory in use. */
uint64_t lastwalk_bytes(void);

/* Tests only. */
void lastwalk_destroy(void);

#endif
