/* SPDX-License-Identifier: MIT */
/*
 * sampling.c - which allocations are recorded; see sampling.h.
 *
 * Layer:  trace.
 * Locks:  none.  The tables are single words; a race costs a count of the profile.
 *
 * Distances between samples are exponential, which have no memory: it does not matter
 * where a thread, or another interval, begins.
 */
#include "preload/trace/sampling.h"

#include <string.h>
#include <time.h>

#include "preload/segment.h"
#include "preload/sys/arch.h"
#include "preload/sys/sys.h"

#define DEFAULT_RATE 4 /* 512 KiB, as other heap profilers have */

struct sampling sampling = { .mode = BS_TRACE_OFF,
			     .sparse = 1,
			     .rate = DEFAULT_RATE };

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define ADD(x, v)   __atomic_fetch_add(&(x), (v), __ATOMIC_RELAXED)

/* ---- chance -------------------------------------------------------------------------- */

/* exp(x) - 1 for -0.5 <= x <= 0 by its series; 1e-17 of the result. */
static double small_expm1(double x)
{
	double term = x, sum = x;
	int n;

	for (n = 2; n < 16; n++) {
		term *= x / n;
		sum += term;
	}
	return sum;
}

double sampling_probability(size_t bytes, uint32_t rate)
{
	double x = -(double)bytes / (double)(1UL << sampling_shift(rate));
	int halvings = 0;
	double e;

	if (x < -40)
		return 1;
	for (; x < -0.5; halvings++)
		x /= 2;
	e = small_expm1(x);
	while (halvings--)
		e = e * (e + 2); /* expm1(2x) */
	return -e;
}

/* -log(u) for 0 < u <= 1: from the exponent, and by the series of atanh. */
static double minus_log(double u)
{
	union {
		double d;
		uint64_t word;
	} v = { .d = u };
	int exponent = (int)(v.word >> 52) - 1023, n;
	double z, power, sum;

	v.word = (v.word & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
	z = (v.d - 1) / (v.d + 1); /* below 1/3 */
	power = z;
	sum = z;
	for (n = 3; n < 34; n += 2) {
		power *= z * z;
		sum += power / n;
	}
	return -(exponent * 0.69314718055994530942 + 2 * sum);
}

/* A Weyl sequence, its bits mixed; by thread, begun anywhere. */
static uint32_t next_random(void)
{
	uint32_t x = bs_tls.random;

	if (unlikely(!x))
		x = (uint32_t)((arch_cycles() ^ (uintptr_t)&bs_tls) *
				       0x9e3779b97f4a7c15ULL >>
			       32);
	x += 0x9e3779b9U;
	bs_tls.random = x ? x : 1;
	x = (x ^ x >> 16) * 0x21f0aaadU;
	x = (x ^ x >> 15) * 0x735a2d97U;
	return x ^ x >> 15;
}

#define MAX_DISTANCE                                                           \
	22 /* an object of so many means is a sample; exp(-22) are not */

static int32_t next_distance(void)
{
	double u = ((double)next_random() + 0.5) * 0x1p-32;

	return (int32_t)(minus_log(u) * (1 << SAMPLING_DISTANCE_BITS)) + 1;
}

/* Of so many bytes, fewer than MAX_DISTANCE means; none count as one. */
static inline int32_t distance_of(size_t bytes, uint32_t rate)
{
	return (int32_t)(MAX(bytes, (size_t)1) << sampling_step_shift(rate));
}

/*
 * A sample at distance d of the mean is reached by n bytes of any interval: d is used
 * up in steps of n / interval, so callers may have different ones.
 */
bool sampling_toss(size_t bytes, uint32_t rate)
{
	unsigned int shift = sampling_shift(rate);

	if (unlikely(!bs_tls.random))
		bs_tls.sample_left = next_distance();
	if (unlikely(bytes >> shift >= MAX_DISTANCE))
		return true;
	bs_tls.sample_left -= distance_of(bytes, rate);
	if (likely(bs_tls.sample_left > 0))
		return false;
	bs_tls.sample_left = next_distance();
	return true;
}

uint32_t sampling_rate_of(uint64_t bytes)
{
	uint32_t rate = 1;

	/* to the nearest power of four: halfway is a factor of two */
	while (rate < SAMPLING_NR_RATES - 1 &&
	       bytes > UINT64_C(2) << sampling_shift(rate))
		rate++;
	return rate;
}

/* ---- callers that trace=auto samples ---------------------------------------------------- */

struct sampling_caller sampling_callers[SAMPLING_NR_CALLERS] SYS_LARGE;
static bool callers_used;

static uint32_t rate_of_step(uint64_t step)
{
	return step ? (uint32_t)(SAMPLING_MAX_STEP_SHIFT - step) / 2 + 1 : 0;
}

static uint32_t word_rate(uint64_t word)
{
	return rate_of_step(word & ((1U << SAMPLING_PC_SHIFT) - 1));
}

static uint64_t word_of(uintptr_t pc, uint32_t rate)
{
	return (uint64_t)pc << SAMPLING_PC_SHIFT |
	       (rate ? sampling_step_shift(rate) : 0);
}

uint32_t sampling_caller_rate(uintptr_t pc)
{
	return rate_of_step(sampling_caller_step(pc));
}

void sampling_note_caller(uintptr_t pc, uint32_t allocs)
{
	struct sampling_caller *c = sampling_caller(pc);
	uint64_t word = LOAD(c->word);

	if ((word ^ word_of(pc, 0)) <= SAMPLING_MAX_STEP_SHIFT) {
		ADD(c->allocs, allocs);
	} else if (LOAD(c->allocs) < allocs * 2) {
		STORE(c->word, word_of(pc, 0));
		STORE(c->allocs, allocs);
		STORE(c->cycles_16, 0);
	} else {
		ADD(c->allocs, -allocs); /* the busier one stays */
	}
}

void sampling_note_cost(uintptr_t pc, uint64_t cycles)
{
	struct sampling_caller *c = sampling_caller(pc);

	if (LOAD(c->word) == word_of(pc, 0)) /* all of it is recorded */
		ADD(c->cycles_16, (uint32_t)(cycles / 16));
}

/* Of a window: what tracing costs a caller, in ns. */
struct price {
	double recorded_ns; /* of an allocation, where that is all that is known */
	double measured_ns; /* of a cycle that was measured */
};

static double cost_of(const struct sampling_caller *c,
		      const struct price *price)
{
	uint32_t cycles_16 = LOAD(c->cycles_16);

	return cycles_16 ? cycles_16 * 16.0 * price->measured_ns
			 : LOAD(c->allocs) * price->recorded_ns;
}

/*
 * An allocation in so many is looked at: who called, and how long it took.  One look says
 * nothing about how often its caller allocates, and callers that do so rarely are the
 * ones to be exact about.
 */
#define LOOK_EVERY 64U
#define RARE	   (2 * LOOK_EVERY)

/* What a caller is judged by; those that are rare come last. */
static double rank_of(const struct sampling_caller *c,
		      const struct price *price)
{
	double cost = cost_of(c, price);

	return LOAD(c->allocs) < RARE ? cost * 1e-9 : cost;
}

/* The costliest caller that is not sampled yet, or the cheapest that is; NULL: none. */
static struct sampling_caller *find_caller(bool sampled,
					   const struct price *price)
{
	struct sampling_caller *best = NULL;
	uint32_t i;

	for (i = 0; i < SAMPLING_NR_CALLERS; i++) {
		struct sampling_caller *c = &sampling_callers[i];
		uint64_t word = LOAD(c->word);

		if (!word || (word_rate(word) != 0) != sampled)
			continue;
		if (!sampled && !LOAD(c->allocs))
			continue;
		if (!best ||
		    (rank_of(c, price) > rank_of(best, price)) != sampled)
			best = c;
	}
	return best;
}

static void set_rate(struct sampling_caller *c, uint32_t rate)
{
	STORE(c->word, word_of(LOAD(c->word) >> SAMPLING_PC_SHIFT, rate));
}

static uint32_t nr_sampled(void)
{
	uint32_t i, nr = 0;

	for (i = 0; i < SAMPLING_NR_CALLERS; i++)
		nr += word_rate(LOAD(sampling_callers[i].word)) != 0;
	return nr;
}

/* ---- what it costs ------------------------------------------------------------------------ */

#define WINDOW_NS 100000000U /* at most */
#define BURST_NS  1000000U   /* what tracing may cost at once */

/* Before that a guess at what allocations cost is too coarse. */
#define MIN_LOOKED 16U

/*
 * What a recorded allocation costs in all, by what is measured of it: its free, the
 * longer way in and out, and the misses of the program that the tables cause.  With 1.5,
 * as if there were only the free, clang++ and python3 took 18 and 20 % for 5 %.
 */
#define COST_FACTOR 3.0

/*
 * What one that is passed over costs, in ns, in a program that does something else too.
 * Sampling more does not mend it, so it leaves half of the budget for the others.
 */
#define PASSED_NS 4.0

static struct window {
	uint64_t begin_ns;
	uint64_t allocs;
	uint64_t looked; /* allocations measured */
	uint64_t recorded_cycles,
		recorded;	      /* those of them that were recorded */
	uint64_t cpu_ns, cycles_then; /* at its begin */
} window;

static uint64_t share_of(uint64_t ns, uint64_t permille)
{
	return ns / 1000 * permille;
}

static void sample_more(double cost_ns, double target_ns,
			const struct price *price)
{
	struct sampling_caller *c;

	while (cost_ns > target_ns && (c = find_caller(false, price))) {
		set_rate(c, sampling.rate);
		cost_ns -= cost_of(c, price);
	}
}

static void sample_less(double cost_ns, double target_ns,
			const struct price *price)
{
	struct sampling_caller *c;

	while ((c = find_caller(true, price))) {
		cost_ns += cost_of(c, price);
		if (cost_ns > target_ns)
			return;
		set_rate(c, 0);
	}
}

/*
 * What tracing took beyond its budget and has not saved since.  Beyond that of CREDIT_NS
 * of CPU stacks that the memo does not know are sampled, too, until half of it is paid:
 * they are what a program costs whose many callers are all rare.  The first FREE_STACKS
 * such of each caller, by hash, are recorded all the same, so that what leaks at a place
 * of its own is counted exactly.  To find that a stack is not known costs what a hundred
 * that are passed over do, so after MANY_STACKS the caller is sampled.
 */
#define CREDIT_NS	500000000U
#define FREE_STACKS	8U
#define MANY_STACKS	16U
#define STACK_SLOT_BITS 13

static double debt_ns;
static uint32_t in_debt;
static uint8_t nr_stacks[1 << STACK_SLOT_BITS] SYS_LARGE;

static void count_debt(double cost_ns, double cpu_ns)
{
	double budget = sampling.budget / 1000.0;
	double credit_ns = budget * CREDIT_NS, debt;

	debt = debt_ns + MIN(cost_ns, cpu_ns) - budget * cpu_ns;
	debt_ns = MAX(0.0, MIN(debt, credit_ns * 1.5));
	if (debt_ns > credit_ns)
		STORE(in_debt, 1);
	else if (debt_ns < credit_ns / 2)
		STORE(in_debt, 0);
}

uint32_t sampling_end_window(uint64_t cost_ns, uint64_t cpu_ns,
			     double recorded_ns, double measured_ns)
{
	const struct price price = { recorded_ns, measured_ns };
	struct bs_abi_header *h = segment_self()->header;
	double target_ns = (double)share_of(cpu_ns, sampling.budget) * 0.7;
	uint32_t cost =
		cpu_ns ? (uint32_t)MIN(cost_ns * 1000 / cpu_ns, UINT64_C(1000))
		       : 0;
	uint32_t i;

	count_debt((double)cost_ns, (double)cpu_ns);
	if (cost > sampling.budget)
		sample_more((double)cost_ns, target_ns, &price);
	else if (cost < sampling.budget / 2 && !LOAD(in_debt))
		sample_less((double)cost_ns, target_ns, &price);
	for (i = 0; i < SAMPLING_NR_CALLERS; i++) {
		STORE(sampling_callers[i].allocs, 0);
		STORE(sampling_callers[i].cycles_16, 0);
	}
	if (h) {
		STORE(h->trace_cost, cost);
		STORE(h->trace_sampled_callers, nr_sampled());
		STORE(h->trace_samples_new, LOAD(in_debt));
	}
	return cost;
}

static uint64_t cpu_now_ns(void)
{
	struct timespec ts = { 0 };

	/* a system call; one that a sandbox may not allow */
	if (!bs_sandboxed)
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static __attribute__((noinline)) void end_window(uint64_t begin_ns, uint64_t ns)
{
	struct window was = window;
	uint64_t cycles = arch_cycles(), cpu_ns = cpu_now_ns(), spent_ns;
	double ns_per_cycle, cycle_ns, share, cost_ns, recorded_ns;

	window = (struct window){ .begin_ns = ns,
				  .cpu_ns = cpu_ns,
				  .cycles_then = cycles };
	if (!begin_ns || cycles <= was.cycles_then)
		return;
	/* so few do not matter, and one that was interrupted would seem to */
	if (was.looked < MIN_LOOKED)
		was.recorded_cycles = was.recorded = 0;
	/* a process that sleeps most of the time has a CPU to itself */
	spent_ns = MAX(cpu_ns - was.cpu_ns, ns - begin_ns);
	ns_per_cycle =
		(double)(ns - begin_ns) / (double)(cycles - was.cycles_then);
	cycle_ns = ns_per_cycle * COST_FACTOR;
	share = was.looked ? (double)was.allocs / (double)was.looked : 0;
	cost_ns = share * (double)was.recorded_cycles * cycle_ns;
	cost_ns += MIN(share * (double)(was.looked - was.recorded) * PASSED_NS,
		       (double)share_of(spent_ns, sampling.budget) / 2);
	recorded_ns = was.recorded ? (double)was.recorded_cycles /
					     (double)was.recorded * cycle_ns
				   : 0;
	sampling_end_window((uint64_t)cost_ns, spent_ns, recorded_ns,
			    LOOK_EVERY * cycle_ns);
}

/*
 * After its time, or as soon as tracing has cost what it may and 1 ms: a program that
 * allocates all the time is not slow for 100 ms first.
 */
static bool is_over(uint64_t now_ns, uint64_t begin_ns)
{
	uint64_t ns = now_ns - begin_ns, looked = LOAD(window.looked);
	uint64_t cycles_then = LOAD(window.cycles_then), cycles;
	double cost;

	if (ns >= WINDOW_NS)
		return true;
	if (looked < MIN_LOOKED)
		return false;
	cycles = arch_cycles();
	if (cycles <= cycles_then)
		return false;
	cost = (double)LOAD(window.allocs) *
	       (double)LOAD(window.recorded_cycles) / (double)looked *
	       COST_FACTOR / (double)(cycles - cycles_then);
	return cost * (double)ns >
	       sampling.budget / 1000.0 * (double)ns + BURST_NS;
}

/* One allocation in LOOK_EVERY of this thread. */
static __attribute__((noinline)) void look(uintptr_t pc)
{
	uint64_t now = sys_now_ns(), begin = LOAD(window.begin_ns);

	bs_tls.look_left = LOOK_EVERY;
	bs_tls.measure = 1;
	sampling_note_caller(pc, LOOK_EVERY);
	ADD(window.allocs, LOOK_EVERY);
	if (is_over(now, begin) &&
	    __atomic_compare_exchange_n(&window.begin_ns, &begin, now, false,
					__ATOMIC_RELAXED, __ATOMIC_RELAXED))
		end_window(begin, now);
	sampling_poll();
}

uint64_t sampling_cost_begin_slow(void)
{
	bs_tls.measure = 0;
	return arch_cycles();
}

/* What took longer was interrupted. */
#define MAX_CYCLES 250000U

void sampling_cost_end_slow(uint64_t begin, uintptr_t pc, bool recorded)
{
	uint64_t cycles = arch_cycles() - begin;

	if (cycles > MAX_CYCLES)
		return;
	ADD(window.looked, 1);
	if (recorded) {
		ADD(window.recorded_cycles, cycles);
		ADD(window.recorded, 1);
		sampling_note_cost(pc, cycles);
	}
}

/* ---- the choice ------------------------------------------------------------------------------ */

static uint32_t toss(size_t bytes, uint32_t rate)
{
	return sampling_toss(bytes ? bytes : 1, rate) ? rate : SAMPLING_SKIP;
}

uint32_t sampling_choose_slow(uintptr_t pc, size_t bytes)
{
	uint32_t rate;

	switch (LOAD(sampling.mode)) {
	case BS_TRACE_AUTO:
		if (unlikely(bs_tls.look_left-- == 0))
			look(pc);
		rate = sampling_caller_rate(pc);
		return likely(!rate) ? 0 : toss(bytes, rate);
	case BS_TRACE_SAMPLE:
		return toss(bytes, sampling.rate);
	default:
		return SAMPLING_SKIP;
	}
}

/* Unless its place is another's that is sampled. */
static void sample_caller(uintptr_t pc)
{
	struct sampling_caller *c = sampling_caller(pc);
	uint64_t word = LOAD(c->word);

	if (word_rate(word))
		return;
	if (word != word_of(pc, 0)) {
		STORE(c->allocs, 0);
		STORE(c->cycles_16, 0);
	}
	STORE(c->word, word_of(pc, LOAD(sampling.rate)));
}

uint32_t sampling_choose_new(uintptr_t pc, size_t bytes)
{
	uint8_t *nr = &nr_stacks[pc * 0x9e3779b97f4a7c15ULL >>
				 (64 - STACK_SLOT_BITS)];

	if (LOAD(sampling.mode) != BS_TRACE_AUTO)
		return 0;
	if (LOAD(*nr) < FREE_STACKS) {
		STORE(*nr, LOAD(*nr) + 1);
		return 0;
	}
	if (!LOAD(in_debt))
		return 0;
	if (LOAD(*nr) < MANY_STACKS) {
		STORE(*nr, LOAD(*nr) + 1);
	} else {
		STORE(*nr, FREE_STACKS);
		sample_caller(pc);
	}
	return toss(bytes, LOAD(sampling.rate));
}

/* ---- modes ---------------------------------------------------------------------------------------- */

/* Modes from which on nothing was recorded. */
static uint32_t nr_gaps;

static void publish_mode(void)
{
	struct bs_abi_header *h = segment_self()->header;

	if (!h)
		return;
	STORE(h->trace_mode, sampling.mode);
	STORE(h->trace_sample_bytes, UINT64_C(1)
					     << sampling_shift(sampling.rate));
	STORE(h->trace_budget, sampling.budget);
	STORE(h->trace_samples_new, LOAD(in_debt));
	STORE(h->trace_gaps, nr_gaps);
	STORE(h->trace_cost, 0); /* until a window of this mode has ended */
}

static void set_mode(uint32_t mode, uint64_t sample_bytes, uint32_t budget)
{
	uint32_t i;

	if (sample_bytes)
		STORE(sampling.rate, sampling_rate_of(sample_bytes));
	STORE(sampling.step_shift, sampling_step_shift(sampling.rate));
	if (budget)
		STORE(sampling.budget, MIN(budget, 1000U));
	/* None is known before the first mode: their pages stay untouched. */
	for (i = 0; i < SAMPLING_NR_CALLERS && callers_used; i++)
		STORE(sampling_callers[i].word, 0);
	callers_used = true;
	STORE(in_debt, 0);
	debt_ns = 0;
	if (mode != BS_TRACE_EXACT)
		STORE(sampling.sparse, 1);
	nr_gaps += mode == BS_TRACE_OFF;
	__atomic_store_n(&sampling.mode, mode, __ATOMIC_RELEASE);
	mm_exact_end();
	mm_decay_by_caller(mode == BS_TRACE_EXACT);
	publish_mode();
}

void sampling_init(uint32_t mode, uint64_t sample_bytes, uint32_t budget)
{
	STORE(sampling.sparse, 0);
	nr_gaps = 0;
	set_mode(mode, sample_bytes, budget);
}

void sampling_new_segment(void)
{
	STORE(sampling.seen, 0);
	STORE(sampling.seen_trim, 0);
	STORE(sampling.seen_pins, 0);
	/* a forked child's clock of CPU time begins anew */
	window = (struct window){ 0 };
	publish_mode();
}

/* Without tags there is nothing to switch. */
void sampling_poll(void)
{
	const struct bs_abi_control *control = segment_self()->control;
	struct bs_abi_header *h = segment_self()->header;
	uint32_t request, trim, pins;

	if (!control || !h)
		return;
	request = __atomic_load_n(&control->trace_request, __ATOMIC_ACQUIRE);
	trim = LOAD(control->trim_request);
	pins = __atomic_load_n(&control->pins_request, __ATOMIC_ACQUIRE);
	if (unlikely(request != LOAD(sampling.seen))) {
		STORE(sampling.seen, request);
		if (bs_tracing && control->trace_mode <= BS_TRACE_SAMPLE)
			set_mode(control->trace_mode,
				 control->trace_sample_bytes,
				 control->trace_budget);
		__atomic_store_n(&h->trace_request_seen, request,
				 __ATOMIC_RELEASE);
	}
	if (unlikely(trim != LOAD(sampling.seen_trim))) {
		STORE(sampling.seen_trim, trim);
		mm_trim_later();
	}
	if (unlikely(pins != LOAD(sampling.seen_pins))) {
		STORE(sampling.seen_pins, pins);
		mm_pins_ask(pins, control->pins_order);
	}
}
