/* SPDX-License-Identifier: MIT */
/*
 * rseq-x86_64.h - the three sections; see rseq.h.
 * Source: Linux include/uapi/linux/rseq.h: the signature in front of each abort
 *         handler, here within an undefined instruction (ud1).
 *
 * x86-64 keeps stores in order, so the last one of a section publishes all.
 *
 * No asm here has both results and jumps: gcc 12 forgets at -O1 what such a jump's
 * target assigns.  So pop leaves through its end, and the others use registers
 * that they name.
 */
#ifndef BS_SYS_RSEQ_X86_64_H
#define BS_SYS_RSEQ_X86_64_H

/* What the kernel reads about the section from 1: to 2:, and where it aborts to. */
/* clang-format off */
#define RSEQ_SECTION(on_abort)                                                 \
	".pushsection __rseq_cs, \"aw\"\n\t"                                   \
	".balign 32\n"                                                         \
	"3:\n\t"                                                               \
	".long 0, 0\n\t"                                                       \
	".quad 1f, 2f - 1f, 4f\n\t"                                            \
	".popsection\n\t"                                                      \
	".pushsection __rseq_abort, \"ax\"\n\t"                                \
	".byte 0x0f, 0xb9, 0x3d\n\t"                                           \
	".long 0x53053053\n"                                                   \
	"4:\n\t" on_abort "\n\t"                                              \
	".popsection\n\t"                                                      \
	/*                                                                     \
	 * Armed from the store on: the first instruction behind it is inside. \
	 * There is no need to disarm: the kernel ignores a section that the   \
	 * thread has left.                                                    \
	 */                                                                    \
	"leaq 3b(%%rip), %%rax\n\t"                                            \
	"movq %%rax, %%fs:%c[cs](%[area])\n"                                   \
	"1:\n\t"

/* The slot's stack in rcx, its state in rdx, the number of entries in rax. */
#define RSEQ_FIND_STACK(fail)                                                  \
	"movl %%fs:(%[slot]), %%eax\n\t"                                       \
	"cmpl %[slots], %%eax\n\t"                                             \
	"jae " fail "\n\t"                                                     \
	"movq (%[table], %%rax, 8), %%rcx\n\t"                                 \
	"movq %c[at_state](%%rcx), %%rdx\n\t"                                  \
	"movzwl %%dx, %%eax\n\t"

#define RSEQ_OPERANDS                                                          \
	[area] "r"(sys_rseq.area), [slot] "r"(sys_rseq.slot), [cs] "i"(RSEQ_CS)
#define RSEQ_STACK_OPERANDS                                                    \
	[table] "r"(table), [slots] "m"(*slots), [at_state] "i"(RSEQ_STATE),   \
		[at_limit] "i"(RSEQ_LIMIT), [at_entry] "i"(RSEQ_ENTRY)

/*
 * The newest entry of the slot's stack; NULL: none.  The one below is fetched ahead, to
 * be written; below the last one lies no address, which does no harm.
 */
static inline __attribute__((always_inline)) void *
rseq_pop(void *const *table, const uint32_t *slots)
{
	void *p;

	__asm__ __volatile__(
		"xorl %k[p], %k[p]\n\t"
		RSEQ_SECTION("xorl %k[p], %k[p]\n\tjmp 5f")
		RSEQ_FIND_STACK("5f")
		"testl %%eax, %%eax\n\t"
		"jz 5f\n\t"
		"movq %c[at_entry] - 8(%%rcx, %%rax, 8), %[p]\n\t"
		"movq %c[at_entry] - 16(%%rcx, %%rax, 8), %%rax\n\t"
		"addq %[pop], %%rdx\n\t"
		"prefetchw (%%rax)\n\t"
		"movq %%rdx, %c[at_state](%%rcx)\n"
		"2:\n"
		"5:"
		: [p] "=&r"(p)
		: RSEQ_OPERANDS, RSEQ_STACK_OPERANDS, [pop] "i"(RSEQ_POP)
		: "rax", "rcx", "rdx", "cc", "memory");
	return p;
}

/* False also when p is the newest entry already. */
static inline __attribute__((always_inline)) bool
rseq_push(void *const *table, const uint32_t *slots, void *p)
{
	__asm__ goto(
		RSEQ_SECTION("jmp %l[fail]")
		RSEQ_FIND_STACK("%l[fail]")
		"cmpl %c[at_limit](%%rcx), %%eax\n\t"
		"jae %l[fail]\n\t"
		/* With no entry this reads LIMIT and what follows: no address. */
		"cmpq %c[at_entry] - 8(%%rcx, %%rax, 8), %[p]\n\t"
		"je %l[fail]\n\t"
		"movq %[p], %c[at_entry](%%rcx, %%rax, 8)\n\t"
		"addq %[push], %%rdx\n\t"
		"movq %%rdx, %c[at_state](%%rcx)\n"
		"2:"
		:
		: RSEQ_OPERANDS, RSEQ_STACK_OPERANDS, [push] "i"(RSEQ_PUSH),
		  [p] "r"(p)
		: "rax", "rcx", "rdx", "cc", "memory"
		: fail);
	return true;
fail:
	return false;
}

/* *to = value, provided that this thread has the slot at that moment. */
static inline bool rseq_store(void **to, void *value, uint32_t slot)
{
	__asm__ goto(
		RSEQ_SECTION("jmp %l[fail]")
		"cmpl %%fs:(%[slot]), %[want]\n\t"
		"jne %l[fail]\n\t"
		"movq %[value], (%[to])\n"
		"2:"
		:
		: RSEQ_OPERANDS, [want] "r"(slot), [value] "r"(value),
		  [to] "r"(to)
		: "rax", "cc", "memory"
		: fail);
	return true;
fail:
	return false;
}

/* clang-format on */

#endif
