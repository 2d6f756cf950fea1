/* SPDX-License-Identifier: MIT */
/*
 * sitestack.c - see sitestack.h.
 *
 * Owns:   frames of a site; backtraces as text, JSON and on one line.
 * Layer:  shared.
 * Locks:  none.
 */
#include "shared/sitestack.h"

#include <inttypes.h>
#include <string.h>

#include "shared/sitethread.h"

/* The public header's calls are functions of the program that stand for ours. */
static bool is_own_header(const struct bs_frame *f)
{
	static const char header[] = "/buddyscope/mm.h";
	size_t len = f->file ? strlen(f->file) : 0;

	return len >= sizeof(header) - 1 &&
	       !strcmp(f->file + len - (sizeof(header) - 1), header);
}

static void skip_own_header(const struct bs_frame **frames, size_t *nr,
			    bool keep_one)
{
	while (*nr > keep_one && is_own_header(*frames)) {
		++*frames;
		--*nr;
	}
}

void bs_site_each_pc(const struct bs_snapshot *s, struct bs_symbolizer *sym,
		     uint64_t site, bs_site_pc_fn *fn, void *arg)
{
	const struct bs_site *rec = bs_snapshot_site(s, site);
	uint64_t pcs[BS_STACK_MAX];
	bool innermost = true;
	size_t nr;

	bs_snapshot_stack(s, rec->node, pcs, BS_STACK_MAX, &nr);
	for (size_t i = 0; i < nr; i++) {
		const struct bs_abi_module *m =
			bs_symbols_module(s, pcs[i], rec->first_ns);
		const struct bs_frame *frames;
		struct bs_frame plain = { .addr = pcs[i] };
		size_t nr_frames = 1;

		if (bs_symbols_is_own(m))
			continue;
		if (sym) {
			nr_frames = bs_symbolizer_resolve_in(sym, m, pcs[i],
							     &frames);
		} else {
			plain.module = m ? m->path : NULL;
			plain.offset = m ? pcs[i] - m->bias : 0;
			frames = &plain;
		}
		if (innermost)
			skip_own_header(&frames, &nr_frames, i + 1 == nr);
		if (!nr_frames)
			continue;
		innermost = false;
		if (!fn(arg, m, frames, nr_frames))
			return;
	}
}

struct each_frame {
	bs_site_frame_fn *fn;
	void *arg;
};

static bool pc_frames(void *arg, const struct bs_abi_module *module,
		      const struct bs_frame *frames, size_t nr)
{
	struct each_frame *e = arg;

	(void)module;
	for (size_t i = 0; i < nr; i++)
		e->fn(e->arg, &frames[i]);
	return true;
}

void bs_site_each_frame(const struct bs_snapshot *s, struct bs_symbolizer *sym,
			uint64_t site, bs_site_frame_fn *fn, void *arg)
{
	struct each_frame e = { fn, arg };

	bs_site_each_pc(s, sym, site, pc_frames, &e);
}

const char *bs_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

struct text_stack {
	struct bs_buf *out;
	unsigned int nr;
	const char *note_module; /* said once per module */
};

static void frame_text(void *arg, const struct bs_frame *f)
{
	struct text_stack *t = arg;

	bs_buf_printf(t->out, "  #%-2u ", t->nr++);
	bs_buf_puts_clean(t->out, f->function ? f->function : "??");
	if (f->inlined)
		bs_buf_puts(t->out, " [inlined]");
	if (f->file) {
		bs_buf_putc(t->out, ' ');
		bs_buf_puts_clean(t->out, f->file);
		if (f->line)
			bs_buf_printf(t->out, ":%d", f->line);
	}
	if (f->module) {
		bs_buf_puts(t->out, " (");
		bs_buf_puts_clean(t->out, bs_base_name(f->module));
		bs_buf_printf(t->out, "+0x%" PRIx64 ")", f->offset);
	} else {
		bs_buf_printf(t->out, " (0x%" PRIx64 ")", f->addr);
	}
	if (f->note && f->module != t->note_module) {
		bs_buf_printf(t->out, " [%s]", f->note);
		t->note_module = f->module;
	}
	bs_buf_putc(t->out, '\n');
}

void bs_site_stack_text(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site)
{
	struct text_stack t = { .out = out };

	bs_site_each_frame(s, sym, site, frame_text, &t);
	if (!t.nr)
		bs_buf_puts(out, "  " BS_NO_BACKTRACE "\n");
}

static void frame_json(void *arg, const struct bs_frame *f)
{
	struct bs_json *j = arg;

	bs_json_object(j, NULL);
	bs_json_addr(j, "addr", f->addr);
	bs_json_str(j, "module", f->module);
	if (f->module)
		bs_json_u64(j, "offset", f->offset);
	else
		bs_json_null(j, "offset");
	bs_json_str(j, "function", f->function);
	bs_json_str(j, "file", f->file);
	if (f->line)
		bs_json_i64(j, "line", f->line);
	else
		bs_json_null(j, "line");
	bs_json_bool(j, "inlined", f->inlined);
	if (f->note)
		bs_json_str(j, "note", f->note);
	bs_json_object_end(j);
}

void bs_site_stack_json(struct bs_json *json, const char *key,
			const struct bs_snapshot *s, struct bs_symbolizer *sym,
			uint64_t site)
{
	bs_json_array(json, key);
	bs_site_each_frame(s, sym, site, frame_json, json);
	bs_json_array_end(json);
}

void bs_frame_put_name(struct bs_buf *out, const struct bs_frame *f)
{
	if (f->function) {
		bs_buf_puts_clean(out, f->function);
	} else if (f->module) {
		bs_buf_puts_clean(out, bs_base_name(f->module));
		bs_buf_printf(out, "+0x%" PRIx64, f->offset);
	} else {
		bs_buf_printf(out, "0x%" PRIx64, f->addr);
	}
}

struct line_stack {
	struct bs_buf *out;
	size_t nr;
	size_t max;
};

static void frame_line(void *arg, const struct bs_frame *f)
{
	struct line_stack *l = arg;

	if (l->nr++ >= l->max)
		return;
	if (l->nr > 1)
		bs_buf_puts(l->out, " < ");
	bs_frame_put_name(l->out, f);
	if (f->file) {
		bs_buf_putc(l->out, ' ');
		bs_buf_puts_clean(l->out, bs_base_name(f->file));
		if (f->line)
			bs_buf_printf(l->out, ":%d", f->line);
	} else if (f->function && f->module) {
		bs_buf_puts(l->out, " (");
		bs_buf_puts_clean(l->out, bs_base_name(f->module));
		bs_buf_putc(l->out, ')');
	}
}

void bs_site_stack_line(struct bs_buf *out, const struct bs_snapshot *s,
			struct bs_symbolizer *sym, uint64_t site,
			size_t max_frames)
{
	struct line_stack l = { .out = out, .max = max_frames };

	bs_site_each_frame(s, sym, site, frame_line, &l);
	if (l.nr > max_frames)
		bs_buf_printf(out, " < ... %zu more", l.nr - max_frames);
	if (bs_snapshot_has_threads(s)) {
		bs_buf_puts(out, " in thread ");
		bs_thread_put_name(out, bs_snapshot_site_thread(s, site));
	}
}

void bs_site_stack_lines(const char *path, struct bs_symbolizer *sym,
			 const uint64_t *sites, char **stacks, size_t nr,
			 size_t max_frames)
{
	struct bs_snapshot *s;
	char err[256];

	s = bs_snapshot_read_sections(path, BS_SNAP_STACKS, err, sizeof(err));
	for (size_t i = 0; i < nr; i++) {
		struct bs_buf line = BS_BUF_INIT;

		stacks[i] = NULL;
		if (!s || !sites[i] || sites[i] >= bs_snapshot_nr_sites(s))
			continue;
		bs_site_stack_line(&line, s, sym, sites[i], max_frames);
		stacks[i] = line.data;
	}
	bs_snapshot_free(s);
}
