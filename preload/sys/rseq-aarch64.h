/* SPDX-License-Identifier: MIT */
/*
 * rseq-aarch64.h - the three sections; see rseq.h.
 * Source: Linux tools/testing/selftests/rseq for the signature, which is a brk
 *         instruction; Arm ARM, B2.3 (address dependencies, store-release).
 *
 * The stack is found through a pointer, and loads through it are ordered by that
 * dependency.  The last store is a release: the entry is there before the count,
 * also for whoever comes to have the slot next.
 *
 * No asm has both results and jumps; see rseq-x86_64.h.
 */
#ifndef BS_SYS_RSEQ_AARCH64_H
#define BS_SYS_RSEQ_AARCH64_H

/* See rseq-x86_64.h. */
/* clang-format off */
#define RSEQ_SECTION(on_abort)                                                 \
	".pushsection __rseq_cs, \"aw\"\n\t"                                   \
	".balign 32\n"                                                         \
	"3:\n\t"                                                               \
	".long 0, 0\n\t"                                                       \
	".quad 1f, 2f - 1f, 4f\n\t"                                            \
	".popsection\n\t"                                                      \
	".pushsection __rseq_abort, \"ax\"\n\t"                                \
	".inst 0xd428bc00\n"                                                   \
	"4:\n\t" on_abort "\n\t"                                              \
	".popsection\n\t"                                                      \
	"adrp x9, 3b\n\t"                                                      \
	"add x9, x9, :lo12:3b\n\t"                                             \
	"str x9, [%[area], %[cs]]\n"                                           \
	"1:\n\t"

/* The slot's stack in x10, its state in x11, the number of entries in x9. */
#define RSEQ_FIND_STACK(fail)                                                  \
	"ldr w9, [%[slot]]\n\t"                                                \
	"ldr w11, [%[slots]]\n\t"                                              \
	"cmp w9, w11\n\t"                                                      \
	"b.hs " fail "\n\t"                                                    \
	"ldr x10, [%[table], x9, lsl #3]\n\t"                                  \
	"ldr x11, [x10, %[at_state]]\n\t"                                      \
	"and x9, x11, #0xffff\n\t"

#define RSEQ_OPERANDS                                                          \
	[area] "r"(rseq_word(sys_rseq.area)),                                  \
		[slot] "r"(rseq_word(sys_rseq.slot)), [cs] "i"(RSEQ_CS)
#define RSEQ_STACK_OPERANDS                                                    \
	[table] "r"(table), [slots] "r"(slots), [at_state] "i"(RSEQ_STATE),    \
		[at_limit] "i"(RSEQ_LIMIT), [at_entry] "i"(RSEQ_ENTRY),        \
		[at_last] "i"(RSEQ_ENTRY - 8)

static inline char *rseq_word(ptrdiff_t offset)
{
	return (char *)__builtin_thread_pointer() + offset;
}

static inline __attribute__((always_inline)) void *
rseq_pop(void *const *table, const uint32_t *slots)
{
	void *p;

	__asm__ __volatile__(
		"mov %[p], #0\n\t"
		RSEQ_SECTION("mov %[p], #0\n\tb 5f")
		RSEQ_FIND_STACK("5f")
		"cbz x9, 5f\n\t"
		"add x9, x10, x9, lsl #3\n\t"
		"ldr %[p], [x9, %[at_last]]\n\t"
		"mov x9, %[pop]\n\t"
		"add x11, x11, x9\n\t"
		"add x10, x10, %[at_state]\n\t"
		"stlr x11, [x10]\n"
		"2:\n"
		"5:"
		: [p] "=&r"(p)
		: RSEQ_OPERANDS, RSEQ_STACK_OPERANDS, [pop] "i"(RSEQ_POP)
		: "x9", "x10", "x11", "cc", "memory");
	return p;
}

static inline __attribute__((always_inline)) bool
rseq_push(void *const *table, const uint32_t *slots, void *p)
{
	__asm__ goto(
		RSEQ_SECTION("b %l[fail]")
		RSEQ_FIND_STACK("%l[fail]")
		"ldr w12, [x10, %[at_limit]]\n\t"
		"cmp w9, w12\n\t"
		"b.hs %l[fail]\n\t"
		"add x9, x10, x9, lsl #3\n\t"
		"ldr x12, [x9, %[at_last]]\n\t"
		"cmp x12, %[p]\n\t"
		"b.eq %l[fail]\n\t"
		"str %[p], [x9, %[at_entry]]\n\t"
		"add x11, x11, %[push]\n\t"
		"add x10, x10, %[at_state]\n\t"
		"stlr x11, [x10]\n"
		"2:"
		:
		: RSEQ_OPERANDS, RSEQ_STACK_OPERANDS, [push] "i"(RSEQ_PUSH),
		  [p] "r"(p)
		: "x9", "x10", "x11", "x12", "cc", "memory"
		: fail);
	return true;
fail:
	return false;
}

static inline bool rseq_store(void **to, void *value, uint32_t slot)
{
	__asm__ goto(
		RSEQ_SECTION("b %l[fail]")
		"ldr w9, [%[slot]]\n\t"
		"cmp w9, %w[want]\n\t"
		"b.ne %l[fail]\n\t"
		"stlr %[value], [%[to]]\n"
		"2:"
		:
		: RSEQ_OPERANDS, [want] "r"(slot), [value] "r"(value),
		  [to] "r"(to)
		: "x9", "cc", "memory"
		: fail);
	return true;
fail:
	return false;
}

/* clang-format on */

#endif
