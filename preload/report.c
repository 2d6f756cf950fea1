/* SPDX-License-Identifier: MIT */
/*
 * report.c - a double free or a bad free, told so that it can be mended.
 *
 * Owns:   the words on stderr, the event, and the decision to abort.
 * Layer:  preload.
 * Locks:  the vm lock for a moment; called outside (depth 0), takes the way in
 *         for what it asks of the engine.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "preload/internal.h"
#include "preload/mm/slab_debug.h"
#include "preload/mm/vmalloc.h"
#include "preload/segment.h"
#include "preload/trace/trace.h"
#include "preload/trace/unwind.h"

SYS_LARGE uint64_t bs_freed[1 << BS_FREED_BITS];

/* What is known of the block that p points into. */
struct victim {
	const char *start;
	size_t bytes;
	const char *kind;
	uint64_t tag;
};

static bool in_slab(const char *p, struct page *page, struct victim *v)
{
	const struct slab *slab = page->slab;
	const struct kmem_cache *cache = page->cache;
	const uint64_t *tags;
	size_t nr;

	if (!slab || !cache || p < slab->s_mem)
		return false;
	nr = (size_t)(p - slab->s_mem) / cache->buffer_size;
	if (nr >= cache->num)
		return false;
	v->start = slab->s_mem + nr * cache->buffer_size;
	v->bytes = cache_has_debug(cache) ? cache->object_size
					  : cache->buffer_size;
	v->kind = cache->name;
	tags = slab_tags(cache, slab);
	v->tag = tags ? tags[nr] : 0;
	return true;
}

static bool in_vmalloc(const char *p, struct victim *v)
{
	struct vm_struct *area;
	bool found = false;

	if (!bs_enter())
		return false;
	sys_lock(&mm.vm_lock, SYS_RANK_VM);
	area = vm_find((uint64_t)(uintptr_t)p);
	if (area && area->addr <= (uintptr_t)p &&
	    (area->flags & BS_AREA_ALLOC)) {
		v->start = (const char *)(uintptr_t)area->addr;
		v->bytes = area->requested_bytes;
		v->kind = "vmalloc";
		v->tag = area->flags & BS_AREA_LAZY ? 0 : area->tag;
		found = true;
	}
	sys_unlock(&mm.vm_lock, SYS_RANK_VM);
	bs_leave();
	return found;
}

/*
 * Reads pages and slabs without a lock: a report beats certainty in a program
 * that is broken anyway.
 */
static bool find_victim(const char *p, struct victim *v)
{
	uint64_t pfn;

	if (!mm_in_arena(p))
		return in_vmalloc(p, v);
	pfn = virt_to_pfn(p);
	for (uint64_t back = 0; back <= pfn && back < SECTION_PAGES; back++) {
		struct page *page = pfn_to_page(pfn - back);

		switch (page->kind) {
		case PK_SLAB:
			return !back && in_slab(p, page, v);
		case PK_LARGE:
			if (back >= page->nr_pages)
				return false;
			v->start = pfn_to_virt(pfn - back);
			v->bytes = (size_t)page->nr_pages << PAGE_SHIFT;
			v->kind = "large";
			v->tag = page->tag;
			return true;
		case PK_TAIL:
			break;
		default:
			return false;
		}
	}
	return false;
}

static void say_stack(const uintptr_t *pcs, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		const char *pc = (const char *)(pcs[i] - 1);
		Dl_info info;

		if (!dladdr(pc, &info) || !info.dli_fname)
			sys_say("    #%d %p", (int)i, (void *)pc);
		else if (info.dli_sname)
			sys_say("    #%d %p %s+0x%lx (%s+0x%lx)", (int)i,
				(void *)pc, info.dli_sname,
				(unsigned long)(pc - (char *)info.dli_saddr),
				info.dli_fname,
				(unsigned long)(pc - (char *)info.dli_fbase));
		else
			sys_say("    #%d %p (%s+0x%lx)", (int)i, (void *)pc,
				info.dli_fname,
				(unsigned long)(pc - (char *)info.dli_fbase));
	}
}

/* The stack of a site, out of the tables that the segment publishes. */
static size_t site_stack(uint32_t site, uintptr_t *pcs, size_t max)
{
	const struct segment *seg = segment_self();
	size_t nr = 0;
	uint32_t node;

	if (!seg->header || !site || site >= seg->nr_sites ||
	    site >= seg->header->section[BS_SEC_SITES].count)
		return 0;
	for (node = seg->sites[site].node; node && nr < max;
	     node = seg->nodes[node].parent) {
		if (node >= seg->nr_nodes)
			return nr;
		pcs[nr++] = seg->nodes[node].pc;
	}
	return nr;
}

static void say_caller(const char *what, void *caller)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	enum unwind_end end;
	size_t nr = 0;

	if (bs_enter()) {
		if (bs_stacks)
			nr = unwind_stack(pcs, ARRAY_SIZE(pcs), &end);
		bs_leave();
	}
	if (!nr && caller) {
		pcs[0] = (uintptr_t)caller;
		nr = 1;
	}
	sys_say("  %s by:", what);
	say_stack(pcs, nr);
}

/* The site that had allocated p, when p was freed lately; 0: not known. */
static uint32_t freed_site(const void *p)
{
	uint64_t note = __atomic_load_n(bs_freed_slot(p), __ATOMIC_RELAXED);

	return note >> BS_FREED_SITE_BITS == (uint64_t)(uintptr_t)p >> 4
		       ? (uint32_t)(note & ((1U << BS_FREED_SITE_BITS) - 1))
		       : 0;
}

static void say_site(uint32_t site)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	size_t nr = 0;

	if (site && bs_enter()) {
		nr = site_stack(site, pcs, ARRAY_SIZE(pcs));
		bs_leave();
	}
	if (nr) {
		sys_say("  allocated by (site %u):", site);
		say_stack(pcs, nr);
	}
}

/* What slab_debug=U noted. */
static void say_track(const char *what, const struct slab_track *t)
{
	uintptr_t pcs[TRACE_MAX_FRAMES];
	size_t nr = 0;

	if (!t->when_ns)
		return;
	sys_say("  %s %lu ms ago by thread %u:", what,
		(unsigned long)((sys_now_coarse_ns() - t->when_ns) / 1000000),
		t->tid);
	if (bs_enter()) {
		nr = site_stack(t->site, pcs, ARRAY_SIZE(pcs));
		bs_leave();
	}
	say_stack(pcs, nr);
}

/* True: slab_debug knows more of the block than a tag does. */
static bool say_tracks(const struct victim *v)
{
	struct slab_track alloc, free;

	if (!v->start || !slab_debug_tracks(v->start, &alloc, &free))
		return false;
	mm_count(BS_VMSTAT_DEBUG_ERRORS, 1);
	say_track("allocated", &alloc);
	say_track("freed before", &free);
	return true;
}

static void say_victim(const char *p, const struct victim *v)
{
	if (p == v->start)
		sys_say("  it is a block of %lu bytes (%s)",
			(unsigned long)v->bytes, v->kind);
	else
		sys_say("  it is %lu bytes inside a block of %lu bytes at %p "
			"(%s)",
			(unsigned long)(p - v->start), (unsigned long)v->bytes,
			(const void *)v->start, v->kind);
}

static void stop_unless_continue(void)
{
	if (bs_options.on_error == BS_ON_ERROR_ABORT) {
		sys_say("  stopping (on_error=continue goes on)");
		abort();
	}
}

static const struct {
	const char *what;
	const char *hint;
} words[] = {
	[BS_DOUBLE_FREE] = { "double free",
			     "the block was free already: who else owns it?" },
	[BS_FREE_INTERIOR] = { "free of a pointer that malloc did not return",
			       "free the start of the block, once" },
	[BS_FREE_WILD] = { "free of a pointer that is not from the heap",
			   "memory on the stack, in a program's text or data, "
			   "or unmapped cannot be freed" },
	[BS_FREE_MAPPED] = { "free of a block that vmap() shows",
			     "it lives on: bs_vunmap() its pages first" },
};

void bs_report_free(enum bs_misuse what, const char *call, const void *p,
		    void *caller)
{
	int saved_errno = errno;
	struct victim v = { 0 };
	bool known = find_victim(p, &v);
	bool twice = what == BS_DOUBLE_FREE;

	sys_say("%s: %s(%p) in process %d, thread %d", words[what].what, call,
		p, (int)bs_pid, (int)sys_gettid());
	if (bs_enter()) {
		mm_count(twice ? BS_VMSTAT_DOUBLE_FREES : BS_VMSTAT_BAD_FREES,
			 1);
		mm_event(twice ? BS_EVENT_DOUBLE_FREE : BS_EVENT_BAD_FREE, 0, 0,
			 0, (uint64_t)(uintptr_t)p, v.bytes);
		bs_leave();
	}
	say_caller("freed", caller);
	if (known)
		say_victim(p, &v);
	if (!say_tracks(&v))
		say_site(twice && !v.tag ? freed_site(p) : tag_site(v.tag));
	sys_say("  hint: %s", words[what].hint);
	stop_unless_continue();
	errno = saved_errno;
}

/* ---- slab_debug --------------------------------------------------------------- */

#define DUMP_BYTES 16U /* in a line */

/* What a byte of the buffer is for. */
static const char *dump_part(const struct slab_error *e, const char *at)
{
	if (at < e->objp)
		return "Redzone";
	return at < e->objp + (e->live ? e->requested_bytes : e->object_bytes)
		       ? "Object "
		       : "Redzone";
}

static void say_dump(const struct slab_error *e)
{
	static const char hex[] = "0123456789abcdef";
	uint32_t i, j, nr;

	for (i = 0; i < e->nr_dump; i += nr) {
		const char *part = dump_part(e, e->dump_at + i);
		char line[DUMP_BYTES * 3 + 1], text[DUMP_BYTES + 1];

		nr = MIN(DUMP_BYTES, e->nr_dump - i);
		for (j = 0; j < nr; j++) {
			uint8_t c = e->dump[i + j];

			if (dump_part(e, e->dump_at + i + j) != part)
				nr = j; /* one part in a line */
			line[3 * j] = hex[c >> 4];
			line[3 * j + 1] = hex[c & 15];
			line[3 * j + 2] = ' ';
			text[j] = c >= ' ' && c < 127 ? (char)c : '.';
		}
		line[3 * nr] = text[nr] = '\0';
		sys_say("  %s %p: %s %s", part, (const void *)(e->dump_at + i),
			line, text);
	}
}

static void say_bad_bytes(const struct slab_error *e)
{
	long offset = e->bad - e->objp;
	bool before = offset < 0;

	sys_say("  bytes %p to %p, %ld %s the object's start: %x instead of %x",
		(const void *)e->bad, (const void *)(e->bad + e->nr_bad - 1),
		before ? -offset : offset, before ? "before" : "behind",
		e->found, e->expected);
}

void bs_report_slab(const struct slab_error *e)
{
	const struct slab_track alloc = { e->alloc_ns, e->alloc_site,
					  e->alloc_tid };
	const struct slab_track free = { e->free_ns, e->free_site,
					 e->free_tid };
	int saved_errno = errno;
	uint16_t depth = bs_tls.depth;

	bs_tls.depth = 0; /* what names a stack comes in by the door */
	sys_say("BUG %s: %s, in process %d, thread %d", e->cache, e->what,
		(int)bs_pid, (int)sys_gettid());
	if (e->requested_bytes)
		sys_say("  object %p of %u bytes, asked for: %u, %s",
			(const void *)e->objp, e->object_bytes,
			e->requested_bytes, e->live ? "live" : "free");
	else
		sys_say("  object %p of %u bytes, %s", (const void *)e->objp,
			e->object_bytes, e->live ? "live" : "free");
	if (e->bad)
		say_bad_bytes(e);
	if (e->wrong_cache)
		sys_say("  freed to cache %s", e->wrong_cache);
	if (alloc.when_ns)
		say_track("allocated", &alloc);
	else
		say_site(e->alloc_site); /* not slab_debug=U, but traced */
	say_track("freed", &free);
	say_caller(e->wrong_cache ? "freed now" : "noticed", NULL);
	say_dump(e);
	stop_unless_continue();
	bs_tls.depth = depth;
	errno = saved_errno;
}
