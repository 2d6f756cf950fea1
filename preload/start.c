/* SPDX-License-Identifier: MIT */
/*
 * start.c - how the library comes to life, in a new process image and in every
 * kind of child, and how it ends.
 *
 * Owns:   bs_tls, bs_pid; the order of start-up.
 * Layer:  preload.
 * Locks:  one of its own, around the start; outermost of all.
 *
 * The start happens at the first call of any exported function, which may be
 * ld.so's own, long before any constructor.  It asks nothing of libc that could
 * allocate.  The linker flag -z initfirst has our constructor run before all
 * others, so that the start comes before anybody's pthread_atfork().
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "preload/entry.h"
#include "preload/mm/slab_debug.h"
#include "preload/route.h"
#include "preload/segment.h"
#include "preload/trace/sampling.h"
#include "preload/trace/trace.h"

__thread __attribute__((tls_model("initial-exec"))) struct bs_tls bs_tls;

pid_t bs_pid;
bool bs_unwinder_wanted;
bool bs_tracing;
bool bs_stacks;
char **bs_environ;

static enum {
	ST_DOWN,
	ST_UP,
	ST_FAILED
} state;

/* A constructor is the program's code: it may call anything of ours. */
static void run_ctor(void (*ctor)(void *objp), void *objp)
{
	uint16_t depth = bs_tls.depth;

	bs_tls.depth = 0;
	ctor(objp);
	bs_tls.depth = depth;
}

static const struct mm_client client = {
	.area_gone = trace_area_gone,
	.current_site = trace_current_site,
	.slab_error = bs_report_slab,
	.slow_path = sampling_poll,
	.run_ctor = run_ctor,
};

static void start(void)
{
	int ret;

	bs_pid = sys_getpid();
	bs_options_read();
	bs_tracing = bs_options.trace_mode != BS_TRACE_OFF;
	bs_stacks = bs_tracing || bs_options.mm.slab_debug & BS_DEBUG_USER;
	ret = mm_init(&bs_options.mm, &client);
	if (ret) {
		sys_say("no memory to start with (error %d)", -ret);
		state = ST_FAILED;
		return;
	}
	mm_wipe->alive = 1;
	segment_create();
	if (bs_stacks && !trace_init()) {
		bs_tracing = bs_stacks = false;
		if (segment_self()->header)
			segment_self()->header->trace_mode = BS_TRACE_OFF;
	}
	route_init();
	bs_fork_register();
	state = ST_UP;
}

void bs_child(bool raw)
{
	if (raw)
		mm_raw_child();
	else
		mm_fork_child();
	sys_rank_reset();
	segment_child(raw);
	if (bs_stacks)
		trace_fork_child(raw);
	bs_pid = bs_sandboxed ? 0 : sys_getpid();
	mm_wipe->alive = 1;
}

/*
 * Two threads may find us down, or be the first two of a raw child.  The word is
 * in the page that fork wipes: a child never waits for a thread it has not got.
 */
static void start_lock(void)
{
	while (__atomic_exchange_n(&mm_wipe->client[BS_CLIENT_STARTING], 1,
				   __ATOMIC_ACQUIRE))
		sys_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void start_unlock(void)
{
	__atomic_store_n(&mm_wipe->client[BS_CLIENT_STARTING], 0,
			 __ATOMIC_RELEASE);
}

/*
 * Start, or take over as a child; false: the engine is not there.  A child makes
 * its segment when it has made some calls, so that fork and exec stay cheap: when
 * tracing, trace_alloc() does it.
 */
static bool come_to_life(void)
{
	start_lock();
	if (state == ST_DOWN)
		start();
	else if (state == ST_UP && !mm_wipe->alive)
		bs_child(true);
	if (state == ST_UP && !bs_tracing && !segment_self()->ready)
		segment_child_called();
	if (state == ST_UP && (bs_tracing || segment_self()->ready)) {
		mm_wipe->client[BS_CLIENT_READY] = BS_READY;
		if (mm.rseq)
			mm_wipe->section_bytes = (uint32_t)MIN(
				KMALLOC_FINE, route_from_bytes - 1);
		mm_wipe->fast_bytes = bs_tracing ? 0 : mm_wipe->section_bytes;
	}
	start_unlock();
	return state == ST_UP;
}

bool bs_enter_slow(void *caller)
{
	int saved_errno = errno;
	bool ok = come_to_life();

	if (ok && bs_unwinder_wanted && !bs_tls.no_trace && caller) {
		if (bs_sandboxed) {
			bs_unwinder_wanted = false;
		} else {
			bs_tls.depth = 0;
			trace_load_unwinder(caller);
			bs_tls.depth = 1;
		}
	}
	if (ok && bs_unwinder_wanted) {
		mm_wipe->client[BS_CLIENT_READY] = 0; /* ask again */
		mm_exact_end();
	}
	if (!ok)
		bs_tls.depth = 0;
	errno = saved_errno;
	return ok;
}

/* A free that a handler put off.  Nobody knows its caller any more. */
static void free_deferred(void *p)
{
	struct mm_block b;
	int ret = mm_lookup(p, &b);

	if (!ret)
		ret = bs_free_block(p, &b);
	if (ret)
		mm_count(BS_VMSTAT_LOST_FREES, 1);
}

__attribute__((noinline, cold)) void bs_leave_slow(void)
{
	int saved_errno = errno;

	mm_atomic_work(free_deferred);
	errno = saved_errno;
}

/*
 * Nothing but two stores: a handler may call _exit() from anywhere.  A vfork child
 * does too, and must not end its parent's segment.
 */
static void mark_exited(void)
{
	struct bs_abi_header *header;

	if (state != ST_UP || !mm_wipe->alive || !bs_is_owner())
		return;
	header = segment_self()->header;
	if (!header)
		return;
	header->exited_ns = sys_now_ns();
	__atomic_store_n(&header->state, BS_STATE_EXITED, __ATOMIC_RELEASE);
}

static void __attribute__((constructor))
constructor(int argc, char **argv, char **envp)
{
	(void)argc;
	(void)argv;
	bs_environ = envp;
	if (!bs_tls.depth) {
		bs_tls.depth = 1;
		come_to_life();
		bs_tls.depth = 0;
	}
	bs_environ = NULL;
	/* Refused only where memory is: then the daemon sees the end by itself. */
	(void)at_quick_exit(mark_exited);
}

/* ---- the end --------------------------------------------------------------------- */

static void say_verified(void)
{
	char why[256];
	unsigned int damaged = slab_debug_check_all();

	if (damaged)
		sys_say("verify: FAILED: slab_debug: %u objects damaged",
			damaged);
	else if (mm_verify(why, sizeof(why), NULL, NULL))
		sys_say("verify: FAILED: engine: %s", why);
	else if (bs_tracing && trace_verify(why, sizeof(why)))
		sys_say("verify: FAILED: trace: %s", why);
	else
		sys_say("verify: ok");
}

/* Handlers and destructors of others may run after this one and allocate. */
static void __attribute__((destructor)) finish(void)
{
	if (state != ST_UP || !bs_is_owner())
		return;
	if (bs_options.verify == BS_VERIFY_EXIT && bs_enter()) {
		say_verified();
		bs_leave();
	}
	if (bs_enter()) {
		mm_decay_exit();
		segment_exit();
		bs_leave();
	}
}

/* A forked child usually ends this way, without any handler. */
BS_EXPORT void _exit(int status)
{
	mark_exited();
	for (;;)
		sys_call(SYS_exit_group, status, 0, 0, 0, 0, 0);
}

BS_EXPORT void _Exit(int status) __attribute__((alias("_exit"), noreturn));
