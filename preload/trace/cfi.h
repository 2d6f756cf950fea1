/* SPDX-License-Identifier: MIT */
/*
 * cfi.h - how to get from one frame to its caller: rules from .eh_frame.
 *
 * Layer:  trace; below unwind.c.  Locks: none.  Any context.
 *
 * A rule is a pure function of the instruction address.  Only the shapes that
 * compilers make for ordinary code are represented; everything else is "odd" and
 * left to libunwind.
 */
#ifndef BS_TRACE_CFI_H
#define BS_TRACE_CFI_H

#include <stdbool.h>
#include <stdint.h>

enum cfi_type {
	CFI_NONE = 0, /* no unwind information for this address */
	CFI_FRAME,    /* an ordinary frame */
	CFI_END,      /* outermost: the return address is undefined */
	CFI_SIGNAL,   /* the kernel's signal frame */
	CFI_ODD,      /* information there, but of another shape */
};

/* CFA is SP + k, FP + k, or the word at FP + k (a realigned stack). */
enum cfi_base {
	CFI_BASE_SP,
	CFI_BASE_FP,
	CFI_BASE_AT_FP
};

/* Where the caller's FP is: still in the register, or saved. */
enum cfi_fp {
	CFI_FP_SAME,
	CFI_FP_AT_CFA,
	CFI_FP_AT_FP
};

/* Where the return address is: in memory, or (aarch64 leaf) in the link register. */
enum cfi_ra {
	CFI_RA_AT_CFA,
	CFI_RA_LINK
};

/* One word, so that a table entry can be read without a lock. */
struct cfi_rule {
	uint32_t type : 3;
	uint32_t base : 2;
	uint32_t fp : 2;
	uint32_t ra : 1;
	int32_t fp_words : 12; /* offset of the saved FP, in 8 bytes */
	int32_t ra_words : 12; /* offset of the return address, in 8 bytes */
	int32_t cfa_off;       /* k, bytes */
};
_Static_assert(sizeof(struct cfi_rule) == 8, "a rule is one word");

/*
 * Reads the rule for the instruction at pc.  pc has to be in code that stays
 * loaded meanwhile, or in none at all.
 */
struct cfi_rule cfi_learn(uintptr_t pc);

#endif
