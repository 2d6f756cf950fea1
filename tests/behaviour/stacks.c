/* SPDX-License-Identifier: MIT */
/*
 * Rule 18: odd stacks.  longjmp over our callers, coroutines, a stack that ends
 * at an unmapped page, code without unwind tables, a smashed frame pointer.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "check.h"

#define STACK_BYTES 65536

static void alloc_some(void)
{
	for (size_t n = 8; n < 100000; n *= 3)
		free(launder(malloc(n)));
}

/* ---- setjmp -------------------------------------------------------------------- */

static jmp_buf jump;

static __attribute__((noinline)) void down(int depth)
{
	void *p = malloc(32);

	if (depth > 0)
		down(depth - 1);
	else if (!depth)
		longjmp(jump, 1);
	free(p); /* never reached: a jump leaves blocks behind */
}

static void long_jumps(void)
{
	for (volatile int i = 0; i < 100; i++) {
		if (!setjmp(jump))
			down(i % 30);
		alloc_some();
	}
}

/* ---- coroutines and stacks of one's own ----------------------------------------------- */

static ucontext_t here, there;
static int nr_steps;

static void coroutine(void)
{
	for (;;) {
		alloc_some();
		nr_steps++;
		swapcontext(&there, &here);
	}
}

/* PROT_NONE on both sides: reading one word too far is fatal. */
static char *guarded_stack(void)
{
	char *p = mmap(NULL, STACK_BYTES + 8192, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	CHECK(!mprotect(p + 4096, STACK_BYTES, PROT_READ | PROT_WRITE));
	return p + 4096;
}

static void contexts(void)
{
	char *stack = guarded_stack();

	CHECK(!getcontext(&there));
	there.uc_stack.ss_sp = stack;
	there.uc_stack.ss_size = STACK_BYTES;
	there.uc_link = NULL;
	makecontext(&there, coroutine, 0);
	for (int i = 0; i < 20; i++)
		CHECK(!swapcontext(&here, &there));
	CHECK(nr_steps == 20);
	CHECK(!munmap(stack - 4096, STACK_BYTES + 8192));
	alloc_some();
}

#ifdef __x86_64__
/*
 * Calls fn on the very top of a stack: above the return address there is
 * nothing mapped, and the frame pointer is garbage.
 */
static __attribute__((noinline)) void call_on(char *top, void (*fn)(void))
{
	__asm__ volatile("movq %%rsp, %%rbx\n\t"
			 "movq %%rbp, %%r12\n\t"
			 "movq %0, %%rsp\n\t"
			 "movq $0x5a5a5a5a, %%rbp\n\t"
			 "call *%1\n\t"
			 "movq %%rbx, %%rsp\n\t"
			 "movq %%r12, %%rbp\n\t"
			 :
			 : "r"(top), "r"(fn)
			 : "rbx", "r12", "rax", "rcx", "rdx", "rsi", "rdi",
			   "r8", "r9", "r10", "r11", "memory", "cc");
}

/* sub $8,%rsp; mov $64,%edi; mov $malloc,%rax; call *%rax; mov %rax,%rdi;
 * mov $free,%rax; call *%rax; add $8,%rsp; ret */
static void (*make_jit(void))(void)
{
	unsigned char code[] = { 0x48, 0x83, 0xec, 0x08, 0xbf, 64,   0,
				 0,    0,    0x48, 0xb8, 0,    0,    0,
				 0,    0,    0,	   0,	 0,    0xff, 0xd0,
				 0x48, 0x89, 0xc7, 0x48, 0xb8, 0,    0,
				 0,    0,    0,	   0,	 0,    0,    0xff,
				 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3 };
	void *m = (void *)malloc, *f = (void *)free;
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memcpy(code + 11, &m, 8);
	memcpy(code + 26, &f, 8);
	memcpy(p, code, sizeof(code));
	return (void (*)(void))(void *)p;
}

static void hand_made(void)
{
	char *stack = guarded_stack();
	void (*jit)(void) = make_jit();

	for (int i = 0; i < 10; i++) {
		jit();
		/* 16 bytes below the end: the return address is the last word. */
		call_on(stack + STACK_BYTES, alloc_some);
		call_on(stack + STACK_BYTES, jit);
	}
	CHECK(!munmap(stack - 4096, STACK_BYTES + 8192));
}
#else
static void hand_made(void)
{
}
#endif

/* ---- a signal stack -------------------------------------------------------------------- */

static int nr_handled;

static void handler(int sig)
{
	(void)sig;
	alloc_some();
	nr_handled++;
}

static void signal_stack(void)
{
	char *stack = guarded_stack();
	stack_t ss = { .ss_sp = stack, .ss_size = STACK_BYTES };
	struct sigaction sa = { 0 };

	CHECK(!sigaltstack(&ss, NULL));
	sa.sa_handler = handler;
	sa.sa_flags = SA_ONSTACK;
	CHECK(!sigaction(SIGUSR1, &sa, NULL));
	for (int i = 0; i < 10; i++)
		raise(SIGUSR1);
	CHECK(nr_handled == 10);
	ss.ss_flags = SS_DISABLE;
	CHECK(!sigaltstack(&ss, NULL));
}

/* ---- a thread whose stack is the least there can be ------------------------------------- */

static void *thread(void *arg)
{
	alloc_some();
	return arg;
}

static void small_thread(void)
{
	pthread_attr_t attr;
	pthread_t t;

	CHECK(!pthread_attr_init(&attr));
	CHECK(!pthread_attr_setstacksize(&attr, 32768));
	CHECK(!pthread_create(&t, &attr, thread, NULL));
	CHECK(!pthread_join(t, NULL));
}

int main(void)
{
	long_jumps();
	contexts();
	hand_made();
	signal_stack();
	small_thread();
	return 0;
}
