/* SPDX-License-Identifier: MIT */
/*
 * malloc.c - the malloc family as the program sees it.
 *
 * Owns:   argument rules and errno of malloc and its kin: overflow, alignment,
 *         size 0, foreign pointers, misuse.
 * Layer:  preload.
 * Locks:  none.
 * Source: POSIX.1-2024, C23 (free_sized), glibc 2.36 malloc/malloc.c for what
 *         the standards leave open (realloc to 0 frees, memalign rounds up).
 */
#include <stdlib.h>
#include <string.h>

#include "preload/entry.h"
#include "preload/trace/object.h"

/* ---- the rare ways --------------------------------------------------------- */

/* The tag of an object that nobody unwound for. */
static void *atomic_alloc(size_t size, size_t align, bool zero)
{
	struct mm_block b;
	void *p;

	if (unlikely(!mm.up))
		return NULL;
	p = mm_atomic_alloc(size, align, zero);
	if (p && bs_tracing && mm_in_arena(p) && !mm_lookup(p, &b))
		trace_atomic_alloc(&b, size);
	return p;
}

/* Addresses may be short because of free sections, which elastic zones can give back. */
BS_COLD void *bs_alloc_again(size_t size, size_t align, gfp_t gfp)
{
	void *p;

	if (size <= mm.nr_pfns << PAGE_SHIFT && mm_is_elastic())
		mm_trim();
	p = mm_alloc(size, align, gfp);
	if (!p)
		mm_count(BS_VMSTAT_REFUSED, 1);
	return p;
}

BS_COLD bool bs_alloc_rare(size_t size, size_t align, gfp_t gfp, void **p)
{
	if (size > PTRDIFF_MAX) {
		*p = NULL;
		return true;
	}
	if (!route_alloc(size, align, gfp, p))
		return false;
	if (!*p)
		mm_count(BS_VMSTAT_REFUSED, 1);
	return true;
}

BS_COLD void *bs_alloc_atomic(size_t size, size_t align, gfp_t gfp)
{
	void *p = size > PTRDIFF_MAX
			  ? NULL
			  : atomic_alloc(size, align, gfp & __GFP_ZERO);

	if (!p)
		errno = ENOMEM;
	return p;
}

BS_COLD void bs_free_atomic(void *p)
{
	if (!mm.up || !mm_atomic_free(p))
		/* Theirs, but not now: their allocator may be inside too. */
		mm_count(BS_VMSTAT_FOREIGN_FREES, 1);
}

static __attribute__((noinline)) bool
attribute_block(void *p, size_t size, const struct unwind_regs *regs,
		uint32_t rate)
{
	bool recorded = false;
	struct mm_block b;

	if (likely(!mm_lookup(p, &b))) {
		recorded = trace_alloc(&b, size, regs, rate);
		mm_tagged(&b);
	}
	return recorded;
}

/* is_object: mm_alloc_fast() has given p. */
BS_INLINE void attribute(void *p, size_t size, const struct unwind_regs *regs,
			 bool is_object)
{
	uint32_t rate = sampling_choose(regs->pc, size);
	uint64_t begin = sampling_cost_begin();
	bool recorded;

	if (is_object && likely(!rate))
		recorded = trace_alloc_fast(p, size, regs) ||
			   attribute_block(p, size, regs, 0);
	else
		recorded = rate != SAMPLING_SKIP &&
			   attribute_block(p, size, regs, rate);
	sampling_cost_end(begin, regs->pc, recorded);
}

__attribute__((noinline)) void bs_alloc_traced(void *p, size_t size)
{
	struct unwind_regs regs;

	UNWIND_CALLER(&regs);
	attribute(p, size, &regs, false);
}

/* What most requests need.  Inside; NULL: ask bs_alloc_block(). */
BS_INLINE void *alloc_object(size_t size, size_t align, gfp_t gfp,
			     const struct unwind_regs *regs)
{
	void *p = bs_is_plain(align, gfp)
			  ? mm_alloc_fast(size, align, mm_wipe->section_bytes)
			  : NULL;

	if (unlikely(!p))
		return NULL;
	attribute(p, size, regs, true);
	return gfp & __GFP_ZERO ? memset(p, 0, size) : p;
}

/* May trace_alloc_exact() be asked? */
static bool exact_holds(void)
{
	return sampling_is_exact() && !bs_options.trace_check &&
	       trace_is_ready() &&
	       mm_wipe->client[BS_CLIENT_READY] == BS_READY &&
	       mm_wipe->section_bytes;
}

/* Of a race with who ends one of these (mm_exact_end()) the end is the result. */
static __attribute__((noinline)) void exact_begin(void)
{
	if (!exact_holds())
		return;
	__atomic_store_n(&mm_wipe->exact_bytes, mm_wipe->section_bytes,
			 __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!exact_holds())
		mm_exact_end();
}

/* regs: NULL where no call site is wanted. */
static inline __attribute__((always_inline)) void *
alloc_long(size_t size, size_t align, gfp_t gfp, const struct unwind_regs *regs)
{
	const bool cold = !sys_rseq_is_warm();
	void *p;

	if (unlikely(!bs_enter()))
		return bs_alloc_atomic(size, align, gfp);
	if (unlikely(cold)) /* a program that waits has no other slow path */
		sampling_poll();
	if (regs && unlikely(!mm_wipe->exact_bytes) && sampling_is_exact())
		exact_begin();
	p = regs ? alloc_object(size, align, gfp, regs) : NULL;
	if (unlikely(!p)) {
		p = bs_alloc_block(size, align, gfp);
		if (regs && likely(p))
			attribute(p, size, regs, false);
	}
	bs_leave();
	if (unlikely(!p))
		errno = ENOMEM;
	return p;
}

__attribute__((noinline)) void *bs_alloc_slow(size_t size, size_t align,
					      gfp_t gfp)
{
	return alloc_long(size, align, gfp, NULL);
}

__attribute__((noinline)) void *
bs_alloc_and_trace(size_t size, size_t align, gfp_t gfp,
		   const struct unwind_regs *regs)
{
	return alloc_long(size, align, gfp, regs);
}

static __attribute__((noinline)) void *
alloc_and_trace_caller(size_t size, size_t align, gfp_t gfp)
{
	struct unwind_regs regs;

	UNWIND_CALLER(&regs);
	return alloc_long(size, align, gfp, &regs);
}

/* Of an object whose slab has no tags yet. */
static __attribute__((noinline)) void
attribute_first(void *p, size_t size, uintptr_t pc, uintptr_t sp, uintptr_t fp)
{
	struct unwind_regs regs = { .pc = pc, .sp = sp, .fp = fp };

	attribute_block(p, size, &regs, 0);
}

BS_INLINE void *exact_object(size_t size, size_t align, gfp_t gfp, uintptr_t pc,
			     uintptr_t sp, uintptr_t fp)
{
	const struct kmem_cache *cachep = kmalloc_aligned_cache(size, align);
	void *p;

	if (unlikely(bs_tls.depth) || unlikely(bs_tls.no_trace) ||
	    unlikely(!sys_rseq_is_warm()))
		return NULL;
	/* first: a handler that forks now would find an object that nobody has */
	bs_tls.depth = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	p = cache_pop(cachep);
	if (unlikely(!p)) {
		bs_tls.depth = 0;
		return NULL;
	}
	if (unlikely(!trace_alloc_exact(p, cachep, size, pc, sp, fp)))
		attribute_first(p, size, pc, sp, fp);
	bs_leave();
	return gfp & __GFP_ZERO ? memset(p, 0, size) : p;
}

__attribute__((noinline)) void *bs_alloc_exact(size_t size, size_t align,
					       gfp_t gfp, uintptr_t pc,
					       uintptr_t sp, uintptr_t fp)
{
	return exact_object(size, align, gfp, pc, sp, fp);
}

static __attribute__((noinline)) void *alloc_exact(size_t size, size_t align,
						   gfp_t gfp)
{
	struct unwind_regs regs;
	void *p;

	UNWIND_CALLER(&regs);
	p = exact_object(size, align, gfp, regs.pc, regs.sp, regs.fp);
	return likely(p) ? p : alloc_and_trace_caller(size, align, gfp);
}

/*
 * Exported functions end in a jump to it, and it in one to the next, so that the caller
 * of each is the program.
 */
__attribute__((noinline)) void *bs_alloc_watched(size_t size, size_t align,
						 gfp_t gfp)
{
	if (bs_is_exact(size, align, gfp))
		return alloc_exact(size, align, gfp);
	if (bs_passes(size, align, gfp, (uintptr_t)__builtin_return_address(0)))
		return bs_alloc_passed(size, align, gfp);
	return alloc_and_trace_caller(size, align, gfp);
}

/* Exported functions end in a jump to it, so that its caller is the program. */
__attribute__((noinline)) void bs_free_slow(void *p, const char *call)
{
	struct mm_block b;
	int ret;

	if (!p)
		return;
	if (unlikely(!bs_enter())) {
		bs_free_atomic(p);
		return;
	}
	ret = mm_lookup(p, &b);
	if (likely(!ret))
		ret = bs_free_block(p, &b);
	bs_leave();
	if (unlikely(ret))
		bs_free_failed(p, ret, call, __builtin_return_address(0));
}

/*
 * And so do they in a jump to this, for an object in a frame with tags.  It may have none
 * where not each object has one.
 */
__attribute__((noinline)) void bs_free_tagged(void *p, struct page *page,
					      int64_t index, const char *call)
{
	struct kmem_cache *cachep = page->cache;
	uint64_t *at = trace_tag(page, index), tag;
	int ret;

	if (unlikely(!at) || unlikely(bs_tls.depth)) {
		bs_free_slow(p, call);
		return;
	}
	tag = __atomic_load_n(at, __ATOMIC_RELAXED);
	if (unlikely(!tag_is_live(tag))) {
		if (!sampling_is_sparse() || unlikely(!cache_push(cachep, p)))
			bs_free_slow(p, call);
		return;
	}
	bs_tls.depth = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	if (unlikely(!trace_free_fast(page, at, tag))) {
		bs_tls.depth = 0;
		bs_free_slow(p, call);
		return;
	}
	ret = likely(cache_push(cachep, p)) ? 0 : kmem_cache_free(cachep, p);
	bs_leave();
	if (unlikely(ret))
		bs_free_failed(p, ret, call, __builtin_return_address(0));
}

BS_COLD void bs_free_failed(void *p, int ret, const char *call, void *caller)
{
	int saved_errno = errno;

	if (ret == -ENOENT)
		bs_foreign_free(p, call, caller);
	else
		bs_report_free(ret == -EALREADY ? BS_DOUBLE_FREE
			       : ret == -EBUSY	? BS_FREE_MAPPED
						: BS_FREE_INTERIOR,
			       call, p, caller);
	errno = saved_errno;
}

/* ---- allocation -------------------------------------------------------------- */

BS_EXPORT void *malloc(size_t size)
{
	return bs_alloc(size, 1, GFP_KERNEL);
}

BS_EXPORT void *calloc(size_t n, size_t size)
{
	size_t bytes;

	if (unlikely(__builtin_mul_overflow(n, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	return bs_alloc(bytes, 1, __GFP_ZERO);
}

static bool is_power_of_2(size_t n)
{
	return n && !(n & (n - 1));
}

/* glibc: too large is EINVAL, anything else is rounded up. */
BS_EXPORT void *memalign(size_t align, size_t size);
BS_EXPORT void *memalign(size_t align, size_t size)
{
	if (unlikely(align > SIZE_MAX / 2 + 1)) {
		errno = EINVAL;
		return NULL;
	}
	if (unlikely(!is_power_of_2(align)))
		align = align ? (size_t)1 << (64 - __builtin_clzl(align)) : 1;
	return bs_alloc(size, align, GFP_KERNEL);
}

BS_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (unlikely(!is_power_of_2(align))) {
		errno = EINVAL;
		return NULL;
	}
	return bs_alloc(size, align, GFP_KERNEL);
}

BS_EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
	int saved_errno = errno;
	void *p;

	if (!is_power_of_2(align) || align % sizeof(void *))
		return EINVAL;
	p = bs_alloc_here(size, align, GFP_KERNEL);
	if (!p) {
		errno = saved_errno;
		return ENOMEM;
	}
	*out = p;
	return 0;
}

BS_EXPORT void *valloc(size_t size)
{
	return bs_alloc(size, PAGE_SIZE, GFP_KERNEL);
}

BS_EXPORT void *pvalloc(size_t size);
BS_EXPORT void *pvalloc(size_t size)
{
	if (unlikely(size > PTRDIFF_MAX - PAGE_SIZE)) {
		errno = ENOMEM;
		return NULL;
	}
	size = size ? ALIGN_UP(size, PAGE_SIZE) : PAGE_SIZE;
	return bs_alloc(size, PAGE_SIZE, GFP_KERNEL);
}

/* ---- free ----------------------------------------------------------------------- */

BS_EXPORT void free(void *p)
{
	bs_free(p, "free");
}

BS_EXPORT void cfree(void *p);
BS_EXPORT void cfree(void *p)
{
	bs_free(p, "cfree");
}

/* The sizes are the program's belief; ours is in the page. */
BS_EXPORT void free_sized(void *p, size_t size);
BS_EXPORT void free_sized(void *p, size_t size)
{
	(void)size;
	bs_free(p, "free_sized");
}

BS_EXPORT void free_aligned_sized(void *p, size_t align, size_t size);
BS_EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
	(void)align;
	(void)size;
	bs_free(p, "free_aligned_sized");
}

/* ---- realloc ---------------------------------------------------------------------- */

/*
 * In place, or by moving pages.  The old object ends and a new one begins as
 * far as call sites are concerned: the old tag is settled through a copy of it,
 * because the resize may have changed usable, which the tag's slack refers to.
 */
static void *resize(void *p, struct mm_block *b, size_t size,
		    const struct unwind_regs *regs)
{
	struct mm_block old = *b;
	uint64_t tag = b->tag ? *b->tag : 0;
	void *q = mm_resize(p, b, size);
	uint32_t rate;

	if (!q || !bs_tracing)
		return q;
	if (tag_is_live(tag)) {
		old.tag = &tag;
		trace_free(&old);
	}
	if (b->tag)
		__atomic_store_n(b->tag, tag, __ATOMIC_RELAXED);
	rate = sampling_choose(regs->pc, size);
	if (rate != SAMPLING_SKIP) {
		trace_alloc(b, size, regs, rate);
		mm_tagged(b);
	}
	return q;
}

/*
 * -EALREADY: somebody freed p meanwhile; -EBUSY: vmap() shows p; NULL in *out: no
 * memory, p intact.
 */
static int move(void *p, struct mm_block *b, size_t size,
		const struct unwind_regs *regs, void **out)
{
	void *q;

	if (unlikely(mm_is_mapped(b)))
		return -EBUSY;
	q = bs_alloc_block(size, 1, GFP_KERNEL);
	*out = q;
	if (!q)
		return 0;
	if (bs_tracing)
		attribute(q, size, regs, false);
	memcpy(q, p, MIN(b->usable, size));
	return bs_free_block(p, b);
}

/* From a handler that interrupted us: the block stays or a spare one is used. */
static BS_COLD void *realloc_atomic(void *p, size_t size)
{
	struct mm_block b;
	void *q;

	if (!mm.up || !mm_in_arena(p) || mm_lookup(p, &b))
		goto out_nomem;
	if (size <= b.usable)
		return p;
	q = atomic_alloc(size, 1, false);
	if (!q)
		goto out_nomem;
	memcpy(q, p, b.usable);
	mm_atomic_free(p);
	return q;

out_nomem:
	errno = ENOMEM;
	return NULL;
}

/* Of an object without a tag, and the new one gets none.  False: nothing was done. */
BS_INLINE bool realloc_fast(void *p, size_t size, uintptr_t pc,
			    const char *call, void **out)
{
	size_t usable = mm_usable_untagged(p);
	void *q;

	if (unlikely(!usable) || unlikely(!bs_passes(size, 1, GFP_KERNEL, pc)))
		return false;
	*out = p;
	if (mm_object_keeps(usable, size))
		return true;
	q = bs_alloc_passed(size, 1, GFP_KERNEL);
	*out = q;
	if (unlikely(!q))
		return true;
	memcpy(q, p, MIN(usable, size));
	bs_free(p, call);
	return true;
}

/* The same of an object with a tag, for bs_is_exact(). */
static __attribute__((noinline)) bool
realloc_exact(void *p, size_t size, uintptr_t pc, uintptr_t sp, uintptr_t fp,
	      const char *call, void **out)
{
	const struct kmem_cache *cachep;
	struct page *page;
	int64_t index;
	uint64_t *at, tag;
	size_t usable;
	bool done;
	void *q;

	cachep = object_cache(p, &page, &index);
	at = cachep ? trace_tag(page, index) : NULL;
	tag = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0;
	if (!tag_is_live(tag) || tag_rate(tag))
		return false;
	usable = cachep->buffer_size;
	if (!mm_object_keeps(usable, size)) {
		q = bs_alloc_exact(size, 1, GFP_KERNEL, pc, sp, fp);
		if (!q)
			return false;
		*out = memcpy(q, p, MIN(usable, size));
		bs_free(p, call);
		return true;
	}
	if (bs_tls.depth || bs_tls.no_trace)
		return false;
	bs_tls.depth = 1;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	done = trace_renew_exact(at, tag, usable, size, pc, sp, fp);
	bs_leave();
	if (done)
		*out = p;
	return done;
}

BS_INLINE void *bs_realloc(void *p, size_t size, const char *call)
{
	struct unwind_regs regs;
	struct mm_block b;
	void *q = NULL;
	int ret;

	if (bs_tracing)
		UNWIND_CALLER(&regs);
	if (!p)
		return bs_alloc_here(size, 1, GFP_KERNEL);
	if (!size) {
		bs_free(p, call);
		return NULL;
	}
	if (likely(realloc_fast(p, size, (uintptr_t)__builtin_return_address(0),
				call, &q)))
		return q;
	if (bs_is_exact(size, 1, GFP_KERNEL) &&
	    realloc_exact(p, size, regs.pc, regs.sp, regs.fp, call, &q))
		return q;
	if (unlikely(size > PTRDIFF_MAX)) {
		errno = ENOMEM;
		return NULL;
	}
	if (unlikely(!bs_enter()))
		return realloc_atomic(p, size);
	ret = mm_lookup(p, &b);
	if (!ret && bs_tracing && trace_is_dead(&b))
		ret = -EALREADY;
	if (!ret) {
		q = resize(p, &b, size, &regs);
		if (!q)
			ret = move(p, &b, size, &regs, &q);
	}
	bs_leave();
	if (unlikely(ret == -ENOENT))
		return bs_foreign_realloc(p, size, __builtin_return_address(0));
	if (unlikely(ret))
		bs_free_failed(p, ret, call, __builtin_return_address(0));
	if (unlikely(!q))
		errno = ENOMEM;
	return q;
}

BS_EXPORT void *realloc(void *p, size_t size)
{
	return bs_realloc(p, size, "realloc");
}

BS_EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (unlikely(__builtin_mul_overflow(n, size, &bytes))) {
		errno = ENOMEM;
		return NULL;
	}
	return bs_realloc(p, bytes, "reallocarray");
}

/* ---- size ---------------------------------------------------------------------------- */

BS_EXPORT size_t malloc_usable_size(void *p);
BS_EXPORT size_t malloc_usable_size(void *p)
{
	size_t usable = mm_usable_fast(p);
	struct mm_block b;
	int ret;

	if (likely(usable) || !p)
		return usable;
	if (unlikely(!bs_enter())) {
		/* An area's size is behind a lock that we may hold. */
		if (mm.up && mm_in_arena(p) && !mm_lookup(p, &b))
			usable = b.usable;
		return usable;
	}
	ret = mm_lookup(p, &b);
	if (!ret)
		usable = b.usable;
	bs_leave();
	return ret == -ENOENT ? bs_foreign_usable(p) : usable;
}

/* ---- glibc's other names for the same ---------------------------------------------------- */

#define BS_ALIAS(name) __attribute__((alias(#name), visibility("default")))

/* Attributes that libc's headers give the originals do not matter here. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

void *__libc_malloc(size_t size) BS_ALIAS(malloc);
void *__libc_calloc(size_t n, size_t size) BS_ALIAS(calloc);
void *__libc_realloc(void *p, size_t size) BS_ALIAS(realloc);
void *__libc_reallocarray(void *p, size_t n, size_t size)
	BS_ALIAS(reallocarray);
void __libc_free(void *p) BS_ALIAS(free);
void *__libc_memalign(size_t align, size_t size) BS_ALIAS(memalign);
void *__libc_valloc(size_t size) BS_ALIAS(valloc);
void *__libc_pvalloc(size_t size) BS_ALIAS(pvalloc);
int __posix_memalign(void **out, size_t align, size_t size)
	BS_ALIAS(posix_memalign);
