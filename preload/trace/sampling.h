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

/* Distances are in 2^-SAMPLING_DISTANCE_BITS of the mean; the largest drawn is 22.9 means. */
#define SAMPLING_DISTANCE_BITS 26U

/* n bytes are n << so many of the distance: 13 to 1. */
static inline unsigned int sampling_step_shift(uint32_t rate)
{
	return SAMPLING_DISTANCE_BITS - sampling_shift(rate);
}
#define SAMPLING_MAX_STEP_SHIFT (SAMPLING_DISTANCE_BITS - SAMPLING_MIN_SHIFT)

extern __attribute__((visibility("hidden"))) struct sampling {
	uint32_t mode;	 /* BS_TRACE_* */
	uint32_t sparse; /* 1: not always BS_TRACE_EXACT, or one was missed */
	uint32_t rate; /* of BS_TRACE_SAMPLE, and of callers in BS_TRACE_AUTO */
	uint32_t step_shift; /* sampling_step_shift(rate) in BS_TRACE_SAMPLE */
	uint32_t budget;     /* 1/1000 of the CPU */
	uint32_t seen;	     /* control.trace_request */
	uint32_t seen_trim;
	uint32_t seen_pins;
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
static inline bool sampling_is_exact(void)
{
	return __atomic_load_n(&sampling.mode, __ATOMIC_RELAXED) ==
	       BS_TRACE_EXACT;
}
static inline uint32_t sampling_choose(uintptr_t pc, size_t bytes)
{
	if (likely(sampling_is_exact()))
		return 0;
	return sampling_choose_slow(pc, bytes);
}

/*
 * The same for one that is to be recorded and whose stack the memo does not know: 0,
 * unless trace=auto is in debt and that was so of eight others of pc.
 */
uint32_t sampling_choose_new(uintptr_t pc, size_t bytes);

/*
 * Of a caller that trace=auto knows, by hash; one that takes another's place is exact
 * again.  word: pc, below it the step shift of its rate, 0: exact.  In this window:
 * allocs, from those that were looked at, and what recording these took.
 */
#define SAMPLING_CALLER_BITS 10
#define SAMPLING_NR_CALLERS  (1U << SAMPLING_CALLER_BITS)
#define SAMPLING_PC_SHIFT    16
struct sampling_caller {
	uint64_t word;
	uint32_t allocs;
	uint32_t cycles_16; /* in 16 cycles */
};
extern __attribute__((visibility("hidden"))) struct sampling_caller
	sampling_callers[SAMPLING_NR_CALLERS];

static inline struct sampling_caller *sampling_caller(uintptr_t pc)
{
	return &sampling_callers[pc * 0x9e3779b97f4a7c15ULL >>
				 (64 - SAMPLING_CALLER_BITS)];
}

/* The step shift of a caller of trace=auto; 0: all that it allocates is recorded. */
static inline uint64_t sampling_caller_step(uintptr_t pc)
{
	uint64_t step =
		__atomic_load_n(&sampling_caller(pc)->word, __ATOMIC_RELAXED) ^
		(uint64_t)pc << SAMPLING_PC_SHIFT;

	return step <= SAMPLING_MAX_STEP_SHIFT ? step : 0;
}

/*
 * The frequent answer of trace=auto and trace=sample, for any context: true, this
 * one is not recorded; false: nothing is said, ask sampling_choose().
 * bytes: 1 to SAMPLING_SMALL.
 */
#define SAMPLING_SMALL (1U << 17)
static inline __attribute__((always_inline)) bool sampling_skips(uintptr_t pc,
								 size_t bytes)
{
	uint32_t mode = __atomic_load_n(&sampling.mode, __ATOMIC_RELAXED);
	uint64_t step;
	int32_t left;

	if (likely(mode == BS_TRACE_AUTO)) {
		step = sampling_caller_step(pc);
		if (!step || unlikely(!bs_tls.look_left))
			return false;
	} else if (mode == BS_TRACE_SAMPLE) {
		step = __atomic_load_n(&sampling.step_shift, __ATOMIC_RELAXED);
	} else {
		return mode == BS_TRACE_OFF;
	}
	left = bs_tls.sample_left - (int32_t)(bytes << step);
	if (unlikely(left <= 0))
		return false;
	bs_tls.sample_left = left;
	if (mode == BS_TRACE_AUTO)
		bs_tls.look_left--;
	return true;
}

/*
 * Around the recording of an allocation, to learn what it costs.  begin: 0 when this
 * one is not measured.
 */
uint64_t sampling_cost_begin_slow(void);
void sampling_cost_end_slow(uint64_t begin, uintptr_t pc, bool recorded);
static inline uint64_t sampling_cost_begin(void)
{
	return unlikely(bs_tls.measure) ? sampling_cost_begin_slow() : 0;
}
static inline void sampling_cost_end(uint64_t begin, uintptr_t pc,
				     bool recorded)
{
	if (unlikely(begin))
		sampling_cost_end_slow(begin, pc, recorded);
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
/*
 * Judge the time since the last call as one window; what it cost, 1/1000.  recorded_ns:
 * of one recorded allocation; measured_ns: of all, by cycle of those that were measured.
 */
uint32_t sampling_end_window(uint64_t cost_ns, uint64_t cpu_ns,
			     double recorded_ns, double measured_ns);
void sampling_note_caller(uintptr_t pc, uint32_t allocs);
void sampling_note_cost(uintptr_t pc, uint64_t cycles);
uint32_t sampling_caller_rate(uintptr_t pc);

#endif
