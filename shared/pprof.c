/* SPDX-License-Identifier: MIT */
/*
 * pprof.c - call sites as a profile for pprof and what reads its format.
 *
 * Owns:   what of a report becomes which message of profile.proto.
 * Layer:  shared.
 * Locks:  none.
 * Source: the public description of profile.proto; Go's heap profiles for the
 *         names and the order of the sample types.
 *
 * A sample is a site: the four numbers are those of the other forms and add up to
 * the same; where objects were sampled they stand for all, so that nothing has to be
 * scaled by the period.  An address is that of the call, one byte in front of the return
 * address: it lies in its mapping and on its line.  Every message lives in a list
 * of allocations that goes as a whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shared/gzip.h"
#include "shared/idmap.h"
#include "shared/profile.pb-c.h"
#include "shared/render.h"
#include "shared/sitelist.h"
#include "shared/sitethread.h"

#define NR_VALUES 4U /* of a sample */

struct piece {
	struct piece *next;
	max_align_t data[];
};

struct writer {
	const struct bs_sitereport *report;
	Pprof__Profile profile;
	struct piece *pieces;
	struct bs_idmap *strings;
	struct bs_idmap *functions; /* by name, symbol and file */
	struct bs_idmap *mappings;  /* by module record */
	struct bs_idmap *locations; /* by module record and return address */
	bool failed;		    /* out of memory */
};

/* ---- memory ------------------------------------------------------------------ */

/* Zeroed, until the end of the writer.  NULL: w has failed. */
static void *take(struct writer *w, size_t bytes)
{
	struct piece *p = calloc(1, sizeof(*p) + bytes);

	if (!p) {
		w->failed = true;
		return NULL;
	}
	p->next = w->pieces;
	w->pieces = p;
	return p->data;
}

/*
 * Room for one more behind the nr elements of an array, which doubles; NULL: w
 * has failed, the array is as it was.
 */
static void *room(struct writer *w, void *array, size_t nr, size_t elem_bytes)
{
	void *larger;

	if (nr & (nr - 1))
		return array;
	larger = take(w, (nr ? nr * 2 : 1) * elem_bytes);
	if (larger && nr)
		memcpy(larger, array, nr * elem_bytes);
	return larger;
}

/* list is a repeated field of a message; counted in n_list. */
#define APPEND(w, message, list, item)                                         \
	do {                                                                   \
		void *array_ = room(w, (message)->list, (message)->n_##list,   \
				    sizeof(*(message)->list));                 \
                                                                               \
		if (array_) {                                                  \
			(message)->list = array_;                              \
			(message)->list[(message)->n_##list++] = (item);       \
		}                                                              \
	} while (0)

/* The number of a key; *added: the caller has to make what it stands for. */
static size_t number(struct writer *w, struct bs_idmap *map, const void *key,
		     size_t len, bool *added)
{
	size_t id = bs_idmap_get(map, key, len, added);

	if (id != BS_IDMAP_NONE)
		return id;
	w->failed = true;
	return 0;
}

/* ---- strings, functions --------------------------------------------------------- */

static int64_t string(struct writer *w, const char *text)
{
	size_t len = text ? strlen(text) : 0, id;
	struct bs_buf utf8 = BS_BUF_INIT;
	bool added;
	char *copy;

	id = number(w, w->strings, text ? text : "", len, &added);
	if (!added)
		return (int64_t)id;
	/* The format wants UTF-8, and names come from files. */
	bs_buf_put_utf8(&utf8, text ? text : "");
	copy = take(w, utf8.len + 1);
	w->failed |= utf8.failed;
	if (copy)
		memcpy(copy, bs_buf_str(&utf8), utf8.len);
	APPEND(w, &w->profile, string_table, copy);
	bs_buf_free(&utf8);
	return (int64_t)id;
}

static uint64_t function(struct writer *w, const char *name, const char *symbol,
			 const char *file)
{
	int64_t key[3] = { string(w, name), string(w, symbol),
			   string(w, file) };
	Pprof__Function *f;
	bool added;
	size_t id;

	id = number(w, w->functions, key, sizeof(key), &added) + 1;
	f = added ? take(w, sizeof(*f)) : NULL;
	if (!f)
		return id;
	pprof__function__init(f);
	f->id = id;
	f->name = key[0];
	f->system_name = key[1];
	f->filename = key[2];
	APPEND(w, &w->profile, function, f);
	return id;
}

/* ---- mappings --------------------------------------------------------------------- */

static int64_t build_id(struct writer *w, const struct bs_abi_module *m)
{
	char text[2 * sizeof(m->build_id) + 1] = "";

	for (size_t i = 0; i < m->build_id_bytes && i < sizeof(m->build_id);
	     i++)
		snprintf(text + 2 * i, 3, "%02x", m->build_id[i]);
	return string(w, text);
}

/* NULL: in no module, or out of memory. */
static Pprof__Mapping *mapping(struct writer *w, const struct bs_abi_module *m)
{
	Pprof__Mapping *map;
	bool added;
	size_t id;

	if (!m)
		return NULL;
	id = number(w, w->mappings, &m, sizeof(m), &added);
	if (!added)
		return w->failed ? NULL : w->profile.mapping[id];
	map = take(w, sizeof(*map));
	if (!map)
		return NULL;
	pprof__mapping__init(map);
	map->id = id + 1;
	map->memory_start = m->start;
	map->memory_limit = m->end;
	map->filename = string(w, m->path);
	map->build_id = build_id(w, m);
	APPEND(w, &w->profile, mapping, map);
	return w->failed ? NULL : map;
}

/* The first mapping is taken for the program; the first record is its own. */
static void add_program(struct writer *w)
{
	if (bs_snapshot_nr_modules(w->report->snapshot))
		mapping(w, bs_snapshot_module(w->report->snapshot, 0));
}

/* ---- locations ---------------------------------------------------------------------- */

static void add_line(struct writer *w, Pprof__Location *l,
		     const struct bs_frame *f)
{
	const char *name = f->function ? f->function : "??";
	Pprof__Line *line = take(w, sizeof(*line));

	if (!line)
		return;
	pprof__line__init(line);
	line->function_id =
		function(w, name, f->symbol ? f->symbol : name, f->file);
	line->line = f->line;
	APPEND(w, l, line, line);
}

static void note_found(Pprof__Mapping *map, const struct bs_frame *f)
{
	map->has_functions |= f->function != NULL;
	map->has_filenames |= f->file != NULL;
	map->has_line_numbers |= f->line != 0;
	map->has_inline_frames |= f->file != NULL;
}

static void fill_location(struct writer *w, Pprof__Location *l,
			  const struct bs_abi_module *m,
			  const struct bs_frame *frames, size_t nr)
{
	Pprof__Mapping *map = mapping(w, m);

	l->mapping_id = map ? map->id : 0;
	l->address = frames[0].addr - 1;
	for (size_t i = 0; i < nr; i++) {
		/* A lonely frame of which nothing is known is its address. */
		if (nr > 1 || frames[i].function || frames[i].file)
			add_line(w, l, &frames[i]);
		if (map)
			note_found(map, &frames[i]);
	}
}

struct sample {
	struct writer *w;
	Pprof__Sample *s;
};

/* nr 0: what stands for a stack without frames. */
static bool take_pc(void *arg, const struct bs_abi_module *m,
		    const struct bs_frame *frames, size_t nr)
{
	static const struct bs_frame none = { .function = BS_NO_BACKTRACE };
	struct sample *sample = arg;
	struct writer *w = sample->w;
	/* A module that took another's place makes another location. */
	uint64_t key[2] = { (uintptr_t)m, nr ? frames[0].addr : 0 };
	Pprof__Location *l;
	bool added;
	size_t id;

	id = number(w, w->locations, key, sizeof(key), &added) + 1;
	APPEND(w, sample->s, location_id, id);
	l = added ? take(w, sizeof(*l)) : NULL;
	if (!l)
		return !w->failed;
	pprof__location__init(l);
	l->id = id;
	if (nr)
		fill_location(w, l, m, frames, nr);
	else
		add_line(w, l, &none);
	APPEND(w, &w->profile, location, l);
	return true;
}

/* ---- samples ------------------------------------------------------------------------ */

static Pprof__Label *label(struct writer *w, const char *key)
{
	Pprof__Label *l = take(w, sizeof(*l));

	if (!l)
		return NULL;
	pprof__label__init(l);
	l->key = string(w, key);
	return l;
}

/* Labels "thread" and "tid". */
static void add_thread(struct writer *w, Pprof__Sample *s, uint64_t site)
{
	const struct bs_snapshot *snapshot = w->report->snapshot;
	const struct bs_abi_thread *t = bs_snapshot_site_thread(snapshot, site);
	struct bs_buf name = BS_BUF_INIT;
	Pprof__Label *l;

	if (!bs_snapshot_has_threads(snapshot))
		return;
	bs_thread_put_name(&name, t);
	w->failed |= name.failed;
	l = label(w, "thread");
	if (l) {
		l->str = string(w, bs_buf_str(&name));
		APPEND(w, s, label, l);
	}
	bs_buf_free(&name);
	l = t && t->tid ? label(w, "tid") : NULL;
	if (l) {
		l->num = t->tid;
		APPEND(w, s, label, l);
	}
}

static void add_sample(struct writer *w, uint64_t site)
{
	const struct bs_snapshot *snapshot = w->report->snapshot;
	struct bs_site_counts c = bs_site_counts(snapshot, site);
	struct sample sample = { w, take(w, sizeof(*sample.s)) };

	if (!sample.s)
		return;
	pprof__sample__init(sample.s);
	bs_site_each_pc(snapshot, w->report->symbolizer, site, take_pc,
			&sample);
	if (!sample.s->n_location_id)
		take_pc(&sample, NULL, NULL, 0);
	add_thread(w, sample.s, site);
	/* In the order of add_types(). */
	APPEND(w, sample.s, value, (int64_t)c.allocs);
	APPEND(w, sample.s, value, (int64_t)c.bytes_allocated);
	APPEND(w, sample.s, value, (int64_t)c.live_objects);
	APPEND(w, sample.s, value, (int64_t)c.live_bytes);
	APPEND(w, &w->profile, sample, sample.s);
}

static Pprof__ValueType *value_type(struct writer *w, const char *type,
				    const char *unit)
{
	Pprof__ValueType *t = take(w, sizeof(*t));

	if (!t)
		return NULL;
	pprof__value_type__init(t);
	t->type = string(w, type);
	t->unit = string(w, unit);
	return t;
}

/* Bytes from sample to sample; 1 where every byte is counted. */
static int64_t period(const struct bs_snapshot *s)
{
	const struct bs_abi_header *h = bs_snapshot_header(s);
	bool sampled = h->trace_mode == BS_TRACE_SAMPLE ||
		       bs_site_counts_all(s).sampled_allocs;

	if (!sampled || !h->trace_sample_bytes ||
	    h->trace_sample_bytes > INT64_MAX)
		return 1;
	return (int64_t)h->trace_sample_bytes;
}

static void add_types(struct writer *w)
{
	static const char *const types[NR_VALUES][2] = {
		{ "alloc_objects", "count" },
		{ "alloc_space", "bytes" },
		{ "inuse_objects", "count" },
		{ "inuse_space", "bytes" },
	};

	for (size_t i = 0; i < NR_VALUES; i++)
		APPEND(w, &w->profile, sample_type,
		       value_type(w, types[i][0], types[i][1]));
	w->profile.period_type = value_type(w, "space", "bytes");
	w->profile.period = period(w->report->snapshot);
	w->profile.default_sample_type = string(w, "inuse_space");
}

static void add_head(struct writer *w)
{
	const struct bs_snapshot *s = w->report->snapshot;
	const struct bs_abi_header *h = bs_snapshot_header(s);
	struct bs_site_counts all = bs_site_counts_all(s);
	struct bs_buf text = BS_BUF_INIT;

	w->profile.duration_nanos =
		(int64_t)(bs_snapshot_last_ns(s) - h->created_ns);
	w->profile.time_nanos =
		(int64_t)h->created_realtime_ns + w->profile.duration_nanos;
	bs_buf_printf(&text, "buddyscope %s, trace ", BS_VERSION);
	bs_trace_put(&text, h);
	bs_buf_printf(&text, ", pid %d: ", h->pid);
	bs_buf_puts_clean(&text, h->cmdline);
	APPEND(w, &w->profile, comment, string(w, bs_buf_str(&text)));
	if (all.sampled_allocs) {
		bs_buf_reset(&text);
		bs_site_counts_put_share(&text, &all);
		APPEND(w, &w->profile, comment, string(w, bs_buf_str(&text)));
	}
	bs_buf_free(&text);
}

/* ---- all of it ------------------------------------------------------------------------ */

static void add_samples(struct writer *w)
{
	struct bs_site_choice *sites;
	size_t nr, total;

	sites = bs_sites_choose(w->report, &nr, &total);
	w->failed |= !sites;
	for (size_t i = 0; i < nr && !w->failed; i++)
		add_sample(w, sites[i].site);
	free(sites);
}

static void pack(struct writer *w, struct bs_buf *out)
{
	size_t len = pprof__profile__get_packed_size(&w->profile);
	uint8_t *data = malloc(len);

	if (data) {
		pprof__profile__pack(&w->profile, data);
		bs_gzip_add(out, data, len);
	}
	out->failed |= !data;
	free(data);
}

static void writer_end(struct writer *w)
{
	while (w->pieces) {
		struct piece *p = w->pieces;

		w->pieces = p->next;
		free(p);
	}
	bs_idmap_free(w->strings);
	bs_idmap_free(w->functions);
	bs_idmap_free(w->mappings);
	bs_idmap_free(w->locations);
}

void bs_pprof_write(struct bs_buf *out, const struct bs_sitereport *r)
{
	struct writer w = { .report = r };

	pprof__profile__init(&w.profile);
	w.strings = bs_idmap_new();
	w.functions = bs_idmap_new();
	w.mappings = bs_idmap_new();
	w.locations = bs_idmap_new();
	w.failed = !w.strings || !w.functions || !w.mappings || !w.locations;
	if (!w.failed) {
		string(&w, ""); /* is number 0 */
		add_types(&w);
		add_head(&w);
		add_program(&w);
		add_samples(&w);
	}
	if (w.failed)
		out->failed = true;
	else
		pack(&w, out);
	writer_end(&w);
}
