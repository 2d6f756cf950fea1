/* SPDX-License-Identifier: MIT */
/*
 * sampling.h - which allocations are recorded: all, some, or none.
 *
 * Owns:   the mode (trace=), the callers that trace=auto samples, the estimate of
 *         what tracing costs.
 * Layer:  trace; below trace.c.  Locks: none.
 *
 * Sampling is by bytes: along the bytes that a thread allocates, samples lie at random
 * with a mean distance of `interval` (a Poisson process), and an object is recorded when
 * one falls into it: with probability p = 1 - exp(-n / interval) for n bytes.  It then
 * stands for 1/p objects.  The sum of these weights is right on average, for each site
 * and whatever the sizes; abi.h (struct bs_abi_estimate) has its variance.
 *
 * trace=auto records everything while that costs less than trace_budget of the CPU time
 * of the process, or of one CPU if it uses less.  Beyond, it samples what the busiest immediate callers of malloc
 * allocate, as few callers as will do; the rest stays exact.
 */
#ifndef BS_TRACE_SAMPLING_H
#define BS_TRACE_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "preload/internal.h"

/*
 * A rate, 1 to 7, has the interval 8 KiB << 2 * (rate - 1): up to 32 MiB.  0: all are
 * recorded.
 */
#define SAMPLING_NR_RATES  8U
#define SAMPLING_SKIP	   8U /* not recorded */
#define SAMPLING_MIN_SHIFT 13U

static inline unsigned int sampling_shift(uint32_t rate)
{
	return SAMPLING_MIN_SHIFT + 2 * (rate - 1);
}

extern __attribute__((visibility("hidden"))) struct sampling {
	uint32_t mode;	 /* BS_TRACE_* */
	uint32_t sparse; /* 1: not always BS_TRACE_EXACT, or one was missed */
	uint32_t rate; /* of BS_TRACE_SAMPLE, and of callers in BS_TRACE_AUTO */
	uint32_t budget; /* 1/1000 of the CPU */
	uint32_t seen;	 /* control.trace_request */
	uint32_t seen_trim;
} sampling;

/* May a living object have no tag? */
static inline bool sampling_is_sparse(void)
{
	return __atomic_load_n(&sampling.sparse, __ATOMIC_RELAXED) != 0;
}

/* One that was to be recorded was not: for good, as after another mode. */
static inline void sampling_missed(void)
{
	__atomic_store_n(&sampling.sparse, 1, __ATOMIC_RELAXED);
}

/* The rate whose interval is nearest to that many bytes. */
uint32_t sampling_rate_of(uint64_t bytes);

/* After the segment was made; what the options say. */
void sampling_init(uint32_t mode, uint64_t sample_bytes, uint32_t budget);

/* What to do with an allocation of so many bytes by pc: a rate, or SAMPLING_SKIP. */
uint32_t sampling_choose_slow(uintptr_t pc, size_t bytes);
static inline uint32_t sampling_choose(uintptr_t pc, size_t bytes)
{
	if (likely(__atomic_load_n(&sampling.mode, __ATOMIC_RELAXED) ==
		   BS_TRACE_EXACT))
		return 0;
	return sampling_choose_slow(pc, bytes);
}

/*
 * The frequent answer of trace=auto and trace=sample, for any context: true, this
 * one is not recorded; false: nothing is said, ask sampling_choose().
 */
bool sampling_skips_slow(uintptr_t pc, size_t bytes);
static inline bool sampling_skips(uintptr_t pc, size_t bytes)
{
	return __atomic_load_n(&sampling.mode, __ATOMIC_RELAXED) !=
		       BS_TRACE_EXACT &&
	       sampling_skips_slow(pc, bytes);
}

/*
 * Around the recording of an allocation, to learn what it costs.  begin: 0 when this
 * one is not measured.
 */
uint64_t sampling_cost_begin_slow(void);
void sampling_cost_end_slow(uint64_t begin, bool recorded);
static inline uint64_t sampling_cost_begin(void)
{
	return unlikely(bs_tls.measure) ? sampling_cost_begin_slow() : 0;
}
static inline void sampling_cost_end(uint64_t begin, bool recorded)
{
	if (unlikely(begin))
		sampling_cost_end_slow(begin, recorded);
}

/* The segment is a new one: nobody has asked for anything in it. */
void sampling_new_segment(void);

/* What the daemon or the command asked for in the control page.  Inside, no lock. */
void sampling_poll(void);

/* 1 - exp(-n / interval). */
double sampling_probability(size_t bytes, uint32_t rate);

/* ---- for tests ------------------------------------------------------------------- */

/* True: a sample falls into the next `bytes` bytes of this thread. */
bool sampling_toss(size_t bytes, uint32_t rate);
/* Judge the time since the last call as one window; what it cost, 1/1000. */
uint32_t sampling_end_window(uint64_t cost_ns, uint64_t cpu_ns,
			     double recorded_ns);
void sampling_note_caller(uintptr_t pc, uint32_t allocs);
uint32_t sampling_caller_rate(uintptr_t pc);

#endif
