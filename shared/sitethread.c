/* SPDX-License-Identifier: MIT */
/*
 * sitethread.c - see sitethread.h.
 *
 * Owns:   names of threads in reports.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitethread.h"

#include <inttypes.h>
#include <string.h>

void bs_thread_put_name(struct bs_buf *out, const struct bs_abi_thread *t)
{
	if (!t) {
		bs_buf_puts(out, "(unknown thread)");
		return;
	}
	if (t->flags & BS_THREAD_OTHERS) {
		bs_buf_puts(out, "(other threads)");
		return;
	}
	if (t->name[0])
		bs_buf_puts_clean(out, t->name);
	else
		bs_buf_puts(out, "(without a name)");
	if (t->flags & BS_THREAD_MAIN)
		bs_buf_puts(out, " (main thread)");
}

int bs_thread_order(const struct bs_abi_thread *a,
		    const struct bs_abi_thread *b)
{
	int order;

	if (!a || !b)
		return !a - !b;
	order = (int)(a->flags & BS_THREAD_OTHERS) -
		(int)(b->flags & BS_THREAD_OTHERS);
	if (order || a->flags & BS_THREAD_OTHERS)
		return order;
	order = strcmp(a->name, b->name);
	return order ? order
		     : (int)(b->flags & BS_THREAD_MAIN) -
			       (int)(a->flags & BS_THREAD_MAIN);
}

/* Record i, if it is t or a thread that is one with it. */
static const struct bs_abi_thread *like(const struct bs_snapshot *s, uint64_t i,
					const struct bs_abi_thread *t)
{
	const struct bs_abi_thread *x = bs_snapshot_thread(s, i);

	return t && x->nr_threads && !bs_thread_order(x, t) ? x : NULL;
}

uint64_t bs_threads_like(const struct bs_snapshot *s,
			 const struct bs_abi_thread *t, uint32_t *tid)
{
	uint64_t nr = 0;

	*tid = 0;
	for (uint64_t i = 0; i < bs_snapshot_nr_threads(s); i++) {
		const struct bs_abi_thread *x = like(s, i, t);

		if (!x)
			continue;
		*tid = nr ? 0 : x->tid;
		nr += x->nr_threads;
	}
	return nr;
}

void bs_thread_put_number(struct bs_buf *out, const struct bs_snapshot *s,
			  const struct bs_abi_thread *t)
{
	uint32_t tid;
	uint64_t nr = bs_threads_like(s, t, &tid);

	if (tid)
		bs_buf_printf(out, " (tid %" PRIu32 ")", tid);
	else if (nr > 1)
		bs_buf_printf(out, " (%" PRIu64 " threads)", nr);
}

/* The name as it is, NULL where there is none. */
static const char *plain_name(const struct bs_abi_thread *t)
{
	return t && t->name[0] ? t->name : NULL;
}

void bs_threads_json(struct bs_json *j, const struct bs_snapshot *s,
		     const struct bs_abi_thread *t)
{
	uint32_t tid;

	bs_json_str(j, "thread", plain_name(t));
	bs_json_bool(j, "main_thread", t && t->flags & BS_THREAD_MAIN);
	bs_json_u64(j, "threads", bs_threads_like(s, t, &tid));
	bs_json_array(j, "tids");
	for (uint64_t i = 0; i < bs_snapshot_nr_threads(s); i++) {
		const struct bs_abi_thread *x = like(s, i, t);

		if (x && x->tid)
			bs_json_u64(j, NULL, x->tid);
	}
	bs_json_array_end(j);
}

void bs_site_thread_text(struct bs_buf *out, const struct bs_snapshot *s,
			 uint64_t site)
{
	const struct bs_abi_thread *t = bs_snapshot_site_thread(s, site);

	if (!bs_snapshot_has_threads(s))
		return;
	bs_buf_puts(out, "  in ");
	bs_thread_put_name(out, t);
	if (t && t->tid)
		bs_buf_printf(out, ", tid %" PRIu32, t->tid);
	bs_buf_putc(out, '\n');
}

void bs_site_thread_json(struct bs_json *j, const struct bs_snapshot *s,
			 uint64_t site)
{
	const struct bs_abi_thread *t = bs_snapshot_site_thread(s, site);

	if (!bs_snapshot_has_threads(s))
		return;
	bs_json_str(j, "thread", plain_name(t));
	bs_json_bool(j, "main_thread", t && t->flags & BS_THREAD_MAIN);
	if (t && t->tid)
		bs_json_u64(j, "tid", t->tid);
	else
		bs_json_null(j, "tid");
}
