/* SPDX-License-Identifier: MIT */
/*
 * test_trace_unwind.c - our walk against libunwind's, frame by frame; and where
 * there is no way on, it ends.
 */
#include <alloca.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cmocka.h>

#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include "preload/trace/cfi.h"
#include "preload/trace/frame.h"
#include "preload/trace/libunwind.h"
#include "tests/unit/trace_harness.h"

#define MAX_FRAMES 100

static volatile unsigned int nr_compared;
static size_t last_nr;

/*
 * Both stacks of this call, callers of this function only.  By cursor, because
 * unw_backtrace() keeps a cache per thread, whose destructor ThreadSanitizer does
 * not survive.
 */
static __attribute__((noinline)) void compare_here(void)
{
	uintptr_t ours[MAX_FRAMES + 1];
	unw_context_t context;
	unw_cursor_t cursor;
	unw_word_t ip;
	enum unwind_end end;
	size_t i;

	last_nr = unwind_stack_quick(ours, MAX_FRAMES + 1, &end);
	assert_int_not_equal(end, UNWIND_ODD);
	assert_int_equal(unw_getcontext(&context), 0);
	assert_int_equal(unw_init_local(&cursor, &context), 0);
	for (i = 1; i < last_nr; i++) {
		assert_true(unw_step(&cursor) > 0);
		assert_int_equal(unw_get_reg(&cursor, UNW_REG_IP, &ip), 0);
		/* an interrupted frame is given as its address + 1 */
		assert_int_equal(ours[i],
				 ip + (unw_is_signal_frame(&cursor) > 0));
	}
	if (last_nr <= MAX_FRAMES)
		assert_true(unw_step(&cursor) <= 0);
	nr_compared++;
}

static void plain_call_is_as_libunwind(void **state)
{
	(void)state;
	compare_here();
	assert_true(last_nr > 3);
}

static __attribute__((noinline)) int recurse(int depth)
{
	volatile char frame[64];
	int r = 0;

	frame[0] = (char)depth;
	if (depth)
		r = recurse(depth - 1);
	else
		compare_here();
	return r + frame[0];
}

static void recursion_is_as_libunwind(void **state)
{
	(void)state;
	recurse(40);
	assert_true(last_nr > 40);
	recurse(300);
	assert_int_equal(last_nr, MAX_FRAMES + 1);
}

static __attribute__((noinline)) void with_alloca(size_t n)
{
	volatile char *p = alloca(n);

	p[0] = 1;
	compare_here();
	__asm__ volatile("" : : "r"(p[0]));
}

static void alloca_frame_is_as_libunwind(void **state)
{
	size_t n;

	(void)state;
	for (n = 16; n < 200000; n *= 3)
		with_alloca(n);
}

/* gcc realigns through a saved stack pointer: CFA is *(FP + k). */
static __attribute__((noinline)) void realigned(size_t n)
{
	volatile char wide[64] __attribute__((aligned(64)));
	volatile char *p = alloca(n);

	wide[0] = p[0] = 1;
	compare_here();
	__asm__ volatile("" : : "r"(wide[0] + p[0]));
}

static void realigned_frame_is_as_libunwind(void **state)
{
	(void)state;
	realigned(100);
	realigned(10000);
}

static int by_value(const void *a, const void *b)
{
	compare_here();
	return *(const int *)a - *(const int *)b;
}

static void callback_from_libc_is_as_libunwind(void **state)
{
	int v[] = { 5, 3, 1, 4 };

	(void)state;
	qsort(v, 4, sizeof(v[0]), by_value);
	assert_int_equal(v[0], 1);
}

static void in_handler(int nr)
{
	(void)nr;
	compare_here();
}

static void signal_frame_is_as_libunwind(void **state)
{
	unsigned int before = nr_compared;

	(void)state;
	signal(SIGUSR1, in_handler);
	raise(SIGUSR1);
	signal(SIGUSR1, SIG_DFL);
	assert_int_equal(nr_compared, before + 1);
}

static void *thread(void *arg)
{
	compare_here();
	return arg;
}

static void thread_stack_is_as_libunwind(void **state)
{
	pthread_t t;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, thread, NULL), 0);
	pthread_join(t, NULL);
}

/* ---- where there is no way on -------------------------------------------------------- */

#define STACK_BYTES 65536

static ucontext_t here, there;
static size_t coroutine_nr;

static void coroutine(void)
{
	uintptr_t pcs[MAX_FRAMES];
	enum unwind_end end;

	coroutine_nr = unwind_stack_quick(pcs, MAX_FRAMES, &end);
	swapcontext(&there, &here);
}

static char *guarded_stack(void)
{
	char *p = mmap(NULL, STACK_BYTES + 2 * PAGE_SIZE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mprotect(p + PAGE_SIZE, STACK_BYTES,
				  PROT_READ | PROT_WRITE),
			 0);
	return p + PAGE_SIZE;
}

static void coroutine_stack_ends_the_walk(void **state)
{
	char *stack = guarded_stack();

	(void)state;
	assert_int_equal(getcontext(&there), 0);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = NULL;
	makecontext(&there, coroutine, 0);
	assert_int_equal(swapcontext(&here, &there), 0);
	assert_in_range(coroutine_nr, 1, 4);
	munmap(stack - PAGE_SIZE, STACK_BYTES + 2 * PAGE_SIZE);
	unwind_memory_gone();
}

static void unreadable_memory_is_noticed(void **state)
{
	char *p = guarded_stack();

	(void)state;
	assert_true(unwind_may_read((uintptr_t)p));
	assert_true(unwind_may_read((uintptr_t)p + STACK_BYTES - 8));
	assert_false(unwind_may_read((uintptr_t)p + STACK_BYTES));
	assert_false(unwind_may_read((uintptr_t)p - 8));
	assert_false(unwind_may_read((uintptr_t)p + 4)); /* not aligned */
	assert_false(unwind_may_read(0));
	assert_false(unwind_may_read(UINTPTR_MAX & ~7UL));
	munmap(p - PAGE_SIZE, STACK_BYTES + 2 * PAGE_SIZE);
	unwind_memory_gone();
	compare_here(); /* a walk forgets what it knew */
	assert_false(unwind_may_read((uintptr_t)p));
}

/* ---- odd frames, for libunwind ----------------------------------------------------------- */

#ifdef __x86_64__
/* CFA = RBX + 16: information that is right, and not of an ordinary frame's shape. */
void odd_frame(void (*fn)(void));
__asm__(".text\n\t"
	".type odd_frame, @function\n"
	"odd_frame:\n\t"
	".cfi_startproc\n\t"
	"pushq %rbx\n\t"
	".cfi_adjust_cfa_offset 8\n\t"
	".cfi_rel_offset %rbx, 0\n\t"
	"movq %rsp, %rbx\n\t"
	".cfi_def_cfa_register %rbx\n\t"
	"andq $-64, %rsp\n\t"
	"call *%rdi\n\t"
	"movq %rbx, %rsp\n\t"
	".cfi_def_cfa_register %rsp\n\t"
	"popq %rbx\n\t"
	".cfi_adjust_cfa_offset -8\n\t"
	".cfi_restore %rbx\n\t"
	"ret\n\t"
	".cfi_endproc\n\t"
	".size odd_frame, . - odd_frame\n");

static size_t odd_nr;
static enum unwind_end odd_end;

static void below_odd_frame(void)
{
	uintptr_t pcs[MAX_FRAMES];

	odd_nr = unwind_stack(pcs, MAX_FRAMES, &odd_end);
}

static int nr_descriptors(void)
{
	int fd, nr = 0;

	for (fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

static void coroutine_below_odd_frame(void)
{
	odd_frame(below_odd_frame);
	swapcontext(&there, &here);
}

/* One test, because the library is loaded once in a process. */
static void odd_frame_is_left_to_libunwind(void **state)
{
	int before = nr_descriptors();
	size_t nr_cut;
	char *stack;

	(void)state;
	assert_int_equal(cfi_learn((uintptr_t)odd_frame + 12).type, CFI_ODD);
	odd_frame(below_odd_frame);
	assert_int_equal(odd_end, UNWIND_ODD);
	assert_true(bs_unwinder_wanted);
	nr_cut = odd_nr;

	bs_tls.depth = 0;
	unwind_load();
	bs_tls.depth = 1;
	assert_true(libunwind_loaded());
	odd_frame(below_odd_frame);
	bs_tls.depth = 0;
	assert_int_not_equal(odd_end, UNWIND_ODD);
	assert_true(odd_nr > nr_cut + 3);
	assert_int_equal(nr_descriptors(), before);

	/* above the coroutine nothing can be read */
	stack = guarded_stack();
	assert_int_equal(getcontext(&there), 0);
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = NULL;
	makecontext(&there, coroutine_below_odd_frame, 0);
	assert_int_equal(swapcontext(&here, &there), 0);
	assert_in_range(odd_nr, 2, 6);
	munmap(stack - PAGE_SIZE, STACK_BYTES + 2 * PAGE_SIZE);
	unwind_memory_gone();
}
#endif

static void rule_of_no_code_is_none(void **state)
{
	static char data[64];

	(void)state;
	assert_int_equal(cfi_learn(0).type, CFI_NONE);
	assert_int_equal(cfi_learn(0x1000).type, CFI_NONE);
	assert_int_equal(cfi_learn((uintptr_t)data).type, CFI_NONE);
	assert_int_equal(cfi_learn((uintptr_t)&here).type, CFI_NONE);
	assert_int_equal(cfi_learn(UINTPTR_MAX).type, CFI_NONE);
}

static void rule_of_a_function_is_a_frame(void **state)
{
	(void)state;
	assert_int_equal(cfi_learn((uintptr_t)recurse).type, CFI_FRAME);
	assert_int_equal(cfi_learn((uintptr_t)qsort).type, CFI_FRAME);
}

#define NR_PCS 3000U /* the table begins with room for 512 */

/* Each rule is what it is without a table, when it was just learnt and later. */
static void rules_hold_while_the_table_grows(void **state)
{
	uintptr_t pc = (uintptr_t)qsort;
	unsigned int round, i;

	(void)state;
	for (round = 0; round < 2; round++) {
		for (i = 0; i < NR_PCS; i++) {
			struct cfi_rule kept = frame_rule_of(pc + i);
			struct cfi_rule rule = cfi_learn(pc + i);

			assert_int_equal(kept.type, rule.type);
			assert_int_equal(kept.base, rule.base);
			assert_int_equal(kept.cfa_off, rule.cfa_off);
		}
	}
	assert_true((frame_rule_mask + 1) * FRAME_RULE_WAYS > NR_PCS);
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, harness_start, harness_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(plain_call_is_as_libunwind),
		T(recursion_is_as_libunwind),
		T(alloca_frame_is_as_libunwind),
		T(realigned_frame_is_as_libunwind),
		T(callback_from_libc_is_as_libunwind),
		T(signal_frame_is_as_libunwind),
		T(thread_stack_is_as_libunwind),
		T(coroutine_stack_ends_the_walk),
		T(unreadable_memory_is_noticed),
		T(rule_of_no_code_is_none),
		T(rule_of_a_function_is_a_frame),
		T(rules_hold_while_the_table_grows),
#ifdef __x86_64__
		T(odd_frame_is_left_to_libunwind),
#endif
	};

	return cmocka_run_group_tests_name("unwind", tests, NULL, NULL);
}
