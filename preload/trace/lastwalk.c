/* SPDX-License-Identifier: MIT */
/*
 * lastwalk.c - the frames of each thread's last walk.
 *
 * Owns:   a table of them, by thread pointer.
 * Layer:  trace.
 * Locks:  a flag for each, never waited for.  A process with one thread has none.
 *
 * Why a walk may end at a frame of the last one.  A step (frame.h) computes the caller's
 * pc, SP and FP from those of the frame, from the rule of pc, and from words of the stack
 * whose addresses follow from these.  Each frame is kept with its registers and with
 * where these words were; what they have to say is what the next outer frame has.  By
 * induction from frame i outwards: while its words are equal, its step leads to the
 * registers that frame i - 1 has, and so on to the end.  FP counts where a step needs
 * it, directly or as what an outer frame finds in the register; elsewhere it may be
 * anything.  So when all words outside frame i are as they were and a walk comes to
 * frame i's pc, SP and, if needed, FP, in the same epoch of rules, it would go on as the
 * last one did.  Whether the words of a frame that was left lie there by chance does not
 * matter: the argument asks only what the words say now.
 *
 * Why it reads no unmapped memory: only words inside the range that the thread knows to
 * be readable, from its live stack pointer upwards (frame_range_begin()).
 *
 * Threads find theirs by their thread pointer, next to where others have theirs when that
 * place is taken; a thread that ended leaves its own to the next one with its stack.  When
 * all places are taken, one changes hands, and is empty then: what a walk reads is the
 * stack of the thread that walked.
 */
#include "preload/trace/lastwalk.h"

#include <errno.h>
#include <stddef.h>

#include "preload/sys/sys.h"
#include "preload/trace/frame.h"

#define SLOT_BITS 8
#define NR_SLOTS  (1U << SLOT_BITS)
#define NR_PROBES 4U

static struct lastwalk *walks;
static uintptr_t owners[NR_SLOTS] SYS_LARGE; /* thread pointers; 0: nobody's */
static uint32_t forgotten, nr_pages;

#define LOAD(x)	    __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)

int lastwalk_init(void)
{
	if (!walks)
		walks = sys_reserve(NR_SLOTS * sizeof(*walks));
	return walks ? 0 : -ENOMEM;
}

void lastwalk_destroy(void)
{
	uint32_t i;

	if (walks)
		sys_munmap(walks, NR_SLOTS * sizeof(*walks));
	walks = NULL;
	for (i = 0; i < NR_SLOTS; i++)
		owners[i] = 0;
	nr_pages = 0;
}

void lastwalk_forget(void)
{
	__atomic_fetch_add(&forgotten, 1, __ATOMIC_RELAXED);
}

/* Another thread of the parent may have been at one. */
void lastwalk_fork_child(void)
{
	uint32_t i;

	lastwalk_forget();
	for (i = 0; i < NR_SLOTS; i++)
		if (owners[i])
			walks[i].busy = 0;
}

uint64_t lastwalk_bytes(void)
{
	return LOAD(nr_pages) * PAGE_SIZE;
}

/* Most stacks fit into the first one. */
static inline void count_pages(struct lastwalk *w)
{
	size_t end = offsetof(struct lastwalk, frame) +
		     (w->known + w->nr_new) * sizeof(w->frame[0]);
	uint32_t nr = (uint32_t)((end + PAGE_SIZE - 1) / PAGE_SIZE);

	if (likely(nr <= w->nr_pages))
		return;
	__atomic_fetch_add(&nr_pages, nr - w->nr_pages, __ATOMIC_RELAXED);
	w->nr_pages = nr;
}

/* ---- whose ----------------------------------------------------------------------------- */

/* A place that is nobody's, else one of the others, by turns. */
static __attribute__((noinline)) uint32_t take_slot(uintptr_t thread,
						    uint32_t first)
{
	static uint32_t turn;
	uint32_t i, slot;

	for (i = 0; i < NR_PROBES; i++) {
		uintptr_t none = 0;

		slot = (first + i) % NR_SLOTS;
		if (__atomic_compare_exchange_n(&owners[slot], &none, thread,
						false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return slot;
	}
	i = LOAD(turn);
	STORE(turn, i + 1);
	slot = (first + i % NR_PROBES) % NR_SLOTS;
	STORE(owners[slot], thread);
	return slot;
}

static inline uint32_t slot_of(uintptr_t thread)
{
	uint32_t first =
		(uint32_t)(thread * 0x9e3779b97f4a7c15ULL >> (64 - SLOT_BITS));
	uint32_t i, slot;

	for (i = 0; i < NR_PROBES; i++) {
		slot = (first + i) % NR_SLOTS;
		if (likely(LOAD(owners[slot]) == thread))
			return slot;
	}
	return take_slot(thread, first);
}

struct lastwalk *lastwalk_open(void)
{
	uintptr_t thread = (uintptr_t)__builtin_thread_pointer();
	struct lastwalk *w;

	if (unlikely(!walks))
		return NULL;
	w = &walks[slot_of(thread)];
	if (!sys_alone() &&
	    unlikely(__atomic_exchange_n(&w->busy, 1, __ATOMIC_ACQUIRE)))
		return NULL;
	if (unlikely(w->thread != thread)) {
		w->thread = thread; /* the other one's stack may be gone */
		w->nr = 0;
	}
	return w;
}

void lastwalk_close(struct lastwalk *w)
{
	__atomic_store_n(&w->busy, 0, __ATOMIC_RELEASE);
}

/* ---- what is as it was ---------------------------------------------------------------- */

FRAME_INLINE FRAME_UNCHECKED uintptr_t word_at(const struct lastwalk_frame *f,
					       uint16_t off)
{
	return frame_word(f->sp, off);
}

static FRAME_UNCHECKED __attribute__((noinline)) bool
words_hold(const struct lastwalk_frame *f, const struct lastwalk_frame *outer)
{
	return (f->ra_off == LASTWALK_NONE ||
		word_at(f, f->ra_off) == outer->pc) &&
	       (f->fp_off == LASTWALK_NONE ||
		word_at(f, f->fp_off) == outer->fp) &&
	       (f->cfa_off == LASTWALK_NONE ||
		word_at(f, f->cfa_off) == outer->sp);
}

/*
 * The frames below `nr` whose words say what they said, from frame[0] on: how many.  sp:
 * the live stack pointer, of a thread that has begun to walk there.
 */
static FRAME_UNCHECKED uint32_t hold_until(const struct lastwalk *w,
					   uintptr_t sp, uint32_t nr)
{
	const uintptr_t hi = frame_stack.here.hi;
	uint32_t i;

	for (i = 1; i < nr; i++) {
		const struct lastwalk_frame *f = &w->frame[i];

		if (f->sp < sp || f->sp + f->span * sizeof(sp) > hi)
			break;
		if (likely(f->plain) ? word_at(f, f->ra_off) != f[-1].pc
				     : !words_hold(f, f - 1))
			break;
	}
	return i;
}

static inline bool is_of_now(const struct lastwalk *w)
{
	return w->epoch == frame_epoch() && w->forgotten == LOAD(forgotten);
}

bool lastwalk_is_at(uint32_t i, uint32_t node, uintptr_t sp, uintptr_t fp,
		    uintptr_t live_sp)
{
	struct lastwalk *w = lastwalk_open();
	const struct lastwalk_frame *f;
	bool is;

	if (unlikely(!w))
		return false;
	f = &w->frame[i];
	is = i < w->nr && f->sp == sp && f->node == node && is_of_now(w) &&
	     (!f->uses_fp || f->fp == fp) &&
	     hold_until(w, live_sp, i + 1) == i + 1;
	lastwalk_close(w);
	return is;
}

/* ---- walking ------------------------------------------------------------------------- */

/* Of a word from sp; false: it cannot be said. */
static bool offset_of(uintptr_t sp, uintptr_t at, uint16_t *off, uint16_t *span)
{
	uintptr_t words = (at - sp) / sizeof(uintptr_t);

	*off = LASTWALK_NONE;
	if (!at)
		return true;
	if (at < sp || at % sizeof(uintptr_t) || sp % sizeof(uintptr_t) ||
	    words >= LASTWALK_NONE)
		return false;
	*off = (uint16_t)words;
	*span = (uint16_t)MAX(*span, words + 1);
	return true;
}

/*
 * What a step out of a frame depended on.  Until settle(), uses_fp is of this step alone,
 * and a saved FP counts that was only loaded.
 */
static bool note_step(struct lastwalk_frame *f, const struct frame_reads *reads)
{
	f->uses_fp = reads->uses_fp;
	f->decides_by_fp = reads->decides_by_fp;
	return offset_of(f->sp, reads->ra_at, &f->ra_off, &f->span) &&
	       offset_of(f->sp, reads->fp_at, &f->fp_off, &f->span) &&
	       offset_of(f->sp, reads->cfa_at, &f->cfa_off, &f->span);
}

static inline bool is_frame(const struct lastwalk_frame *f,
			    const struct unwind_regs *r)
{
	return f->sp == r->sp && f->pc == r->pc &&
	       (!f->uses_fp || f->fp == r->fp);
}

/* Frames from r on until one of the last walk, behind the frames that are known. */
static enum frame_next walk(struct lastwalk *w, struct unwind_regs r,
			    uintptr_t *pcs)
{
	enum frame_next next = FRAME_STEPPED;
	uint32_t at = w->known - 1;

	w->keeps = !r.exact;
	while (w->nr_new < TRACE_MAX_FRAMES) {
		struct lastwalk_frame *f = &w->frame[w->known + w->nr_new];
		struct frame_reads reads = { 0 };
		bool counts = w->nr_new || !unwind_is_self(r.pc);

		while (at && w->frame[at].sp < r.sp)
			at--;
		if (counts && at && !r.exact && is_frame(&w->frame[at], &r)) {
			w->merged = at;
			next = FRAME_STEPPED;
			break;
		}
		*f = (struct lastwalk_frame){ .pc = r.pc,
					      .sp = r.sp,
					      .fp = r.fp };
		if (counts)
			pcs[w->nr_new++] = r.pc + r.exact;
		next = frame_next(&r, &reads);
		if (counts)
			w->keeps &= note_step(f, &reads);
		w->keeps &= !r.exact; /* a signal's frame led there */
		if (w->keeps &&
		    (next == FRAME_OUTERMOST || next == FRAME_LOST)) {
			w->frame[0] = (struct lastwalk_frame){ .pc = reads.ra,
							       .sp = reads.cfa,
							       .fp = reads.fp };
			w->ends = true;
			w->nr = 0; /* until it is kept */
		}
		if (next > FRAME_SIGNAL)
			break;
#ifdef __aarch64__
		w->keeps &= reads.ra_at != 0;
#endif
	}
	if (next >= FRAME_UNREADABLE)
		w->keeps = false;
	count_pages(w);
	return next;
}

/*
 * Adds return addresses of kept frames, from i outwards, until there are enough.  frame[0]
 * is one of them where it is not the end.
 */
static void add_all(struct lastwalk *w, uint32_t i, uintptr_t *pcs, size_t *nr)
{
	while (*nr < TRACE_MAX_FRAMES) {
		pcs[(*nr)++] = w->frame[i--].pc;
		w->nr_more++;
	}
}

/* The same, up to a frame whose node is known, which is returned. */
static uint32_t add_unknown(struct lastwalk *w, uint32_t i, uintptr_t *pcs,
			    size_t *nr)
{
	for (; i && !w->frame[i].node; i--) {
		pcs[(*nr)++] = w->frame[i].pc;
		w->nr_more++;
	}
	return i ? w->frame[i].node : w->root;
}

static void begin(struct lastwalk *w, uintptr_t sp, uint32_t root)
{
	uint64_t epoch = frame_epoch();
	uint32_t nr_forgotten = LOAD(forgotten);

	frame_range_begin(sp);
	w->known = 1;
	if (w->nr && w->root == root && w->epoch == epoch &&
	    w->forgotten == nr_forgotten)
		w->known = hold_until(w, sp, w->nr);
	w->nr = w->known; /* new frames come where the others were */
	w->epoch = epoch;
	w->forgotten = nr_forgotten;
	w->root = root;
	w->merged = w->nr_new = w->nr_more = 0;
	w->ends = false;
}

size_t lastwalk_walk(struct lastwalk *w, const struct unwind_regs *regs,
		     uint32_t root, uintptr_t *pcs, uint32_t *node,
		     enum unwind_end *end)
{
	enum frame_next next;
	size_t nr;

	/* comes while the kept ones are looked at */
	frame_rule_prefetch(regs->pc);
	begin(w, regs->sp, root);
	next = walk(w, *regs, pcs);
	if (w->merged && !w->whole &&
	    w->nr_new + w->merged + 1 < TRACE_MAX_FRAMES) {
		/* the stack goes on further out than what was kept */
		w->nr = 0;
		begin(w, regs->sp, root);
		next = walk(w, *regs, pcs);
	}
	nr = w->nr_new;
	*node = root;
	*end = w->merged ? UNWIND_WHOLE : frame_end(next);
	if (w->merged && w->whole && nr + w->merged <= TRACE_MAX_FRAMES)
		*node = add_unknown(w, w->merged, pcs, &nr);
	else if (w->merged)
		add_all(w, w->merged, pcs, &nr);
	return nr;
}

/* ---- keeping ----------------------------------------------------------------------------- */

static void swap(struct lastwalk_frame *a, struct lastwalk_frame *b)
{
	struct lastwalk_frame t = *a;

	*a = *b;
	*b = t;
}

/* New frames come behind the one they lead to, outermost first. */
static void put_in_place(struct lastwalk *w)
{
	struct lastwalk_frame *from = &w->frame[w->known];
	struct lastwalk_frame *to = &w->frame[w->merged + 1];
	uint32_t i, nr = w->nr_new;

	for (i = 0; i < nr / 2; i++)
		swap(&from[i], &from[nr - 1 - i]);
	for (i = 0; to != from && i < nr; i++)
		to[i] = from[i];
	w->nr = w->merged + 1 + nr;
}

/* From the outermost new one inwards: whether FP matters further out is known there. */
static void settle(struct lastwalk *w)
{
	uint32_t i;

	for (i = w->merged + 1; i < w->nr; i++) {
		struct lastwalk_frame *f = &w->frame[i];
		const struct lastwalk_frame *outer = f - 1;

		if (f->fp_off == LASTWALK_NONE)
			f->uses_fp |= outer->uses_fp;
		else if (!outer->uses_fp && !f->decides_by_fp)
			f->fp_off = LASTWALK_NONE;
		f->plain = f->ra_off != LASTWALK_NONE &&
			   f->fp_off == LASTWALK_NONE &&
			   f->cfa_off == LASTWALK_NONE;
	}
}

/* Without the outermost ones. */
static void shorten(struct lastwalk *w, uint32_t left)
{
	uint32_t i, gone = w->nr - left;

	for (i = 0; i < left; i++) {
		w->frame[i] = w->frame[i + gone];
		w->frame[i].node = 0;
	}
	w->nr = left;
	w->whole = false;
}

bool lastwalk_keep(struct lastwalk *w, const uint32_t *chain, size_t from)
{
	size_t i, nr = w->nr_new + w->nr_more;
	bool cut;

	if (!w->keeps || !is_of_now(w))
		return false;
	put_in_place(w);
	if (!w->merged) {
		w->whole = w->ends;
		w->frame[0].uses_fp = false;
	}
	settle(w);
	if (!w->merged && !w->whole)
		shorten(w, w->nr - 1);
	cut = !w->whole || w->nr - 1 > TRACE_MAX_FRAMES;
	for (i = chain && !cut ? from : nr; i < nr; i++)
		w->frame[w->nr - 1 - i].node = chain[i];
	if (w->nr > LASTWALK_KEPT)
		shorten(w, TRACE_MAX_FRAMES + 1);
	return true;
}
