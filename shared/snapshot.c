/* SPDX-License-Identifier: MIT */
/*
 * snapshot.c - read a segment that we do not trust.
 *
 * Owns:   the only code that looks at segment files outside preload/.
 * Layer:  shared.
 * Locks:  none.
 *
 * How a record is known to be consistent.  A section is read twice with pread.
 * A record whose two copies are equal, byte for byte, and whose sequence word
 * is even, was not being written between the end of the first read and the
 * start of the second: the word would have moved.  Records that differ are read
 * again one by one until two copies in a row agree.  A word that stays odd is
 * waited for (the writer may just have lost its CPU) as long as `patience`
 * lasts, which is one budget for the whole read; then the record is torn, and
 * says so by an odd seq in the copy.
 *
 * Sites have their writers' lock word instead: 0 means that nobody is inside.  A
 * site too busy to be caught at rest gets its frees from the older copy and its
 * allocs from the newer one, so that live is never negative; estimates, which have
 * no lock, the same.  For the rest equality alone counts.
 */
#include "shared/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES	(256U * 1024)
#define ELEM_BYTES_MAX	4096U
#define COPY_BYTES_MAX	(UINT64_C(2) << 30) /* refuse to allocate more */
#define RECORD_TRIES	200U
#define PATIENCE_ROUNDS 250U /* of 1 ms, for the whole read */
#define NO_SEQ		UINT32_MAX

/*
 * What a section's records are.  min_bytes: size in the oldest
 * version that we read; a writer may have longer records, never shorter ones.
 */
struct section_type {
	const char *name;
	uint32_t bytes; /* ours */
	uint32_t min_bytes;
	uint32_t seq_offset; /* NO_SEQ: no sequence word */
	uint64_t max_records;
};

static const struct section_type section_types[BS_ABI_NR_SECTIONS] = {
	[BS_SEC_CONTROL] = { "control", sizeof(struct bs_abi_control), 64,
			     NO_SEQ, 1 },
	[BS_SEC_ZONES] = { "zones", sizeof(struct bs_abi_zone), 1080,
			   offsetof(struct bs_abi_zone, seq), 64 },
	[BS_SEC_CACHES] = { "caches", sizeof(struct bs_abi_cache), 248,
			    offsetof(struct bs_abi_cache, seq), 1 << 16 },
	[BS_SEC_AREAS] = { "areas", sizeof(struct bs_abi_area), 256,
			   offsetof(struct bs_abi_area, seq), 1 << 22 },
	[BS_SEC_NODES] = { "nodes", sizeof(struct bs_abi_node), 16, NO_SEQ,
			   1 << 26 },
	[BS_SEC_SITES] = { "sites", sizeof(struct bs_abi_site), 96, NO_SEQ,
			   1 << 22 },
	[BS_SEC_MODULES] = { "modules", sizeof(struct bs_abi_module), 256,
			     offsetof(struct bs_abi_module, seq), 1 << 16 },
	[BS_SEC_EVENTS] = { "events", sizeof(struct bs_abi_event),
			    BS_EVENT_BYTES(1), NO_SEQ, 1 << 20 },
	[BS_SEC_PINS] = { "pins", sizeof(struct bs_abi_pins), 256, NO_SEQ,
			  1 << 16 },
	[BS_SEC_DEVICES] = { "devices", sizeof(struct bs_abi_device), 128,
			     offsetof(struct bs_abi_device, seq), 1 << 12 },
	[BS_SEC_OWNERS] = { "owners", sizeof(struct bs_abi_owner), 16, NO_SEQ,
			    1 << 20 },
	[BS_SEC_VMSTAT] = { "vmstat", sizeof(uint64_t), 8, NO_SEQ, 4096 },
	[BS_SEC_ESTIMATES] = { "estimates", sizeof(struct bs_abi_estimate), 80,
			       NO_SEQ, 1 << 22 },
	[BS_SEC_AGES] = { "ages", sizeof(struct bs_abi_ages), 224, NO_SEQ,
			  1 << 22 },
	[BS_SEC_THREADS] = { "threads", sizeof(struct bs_abi_thread), 64,
			     offsetof(struct bs_abi_thread, seq), 1 << 16 },
};
static_assert(sizeof(struct bs_abi_zone) >= 1080, "a record never shrinks");
static_assert(sizeof(struct bs_abi_cache) >= 248, "a record never shrinks");
static_assert(sizeof(struct bs_abi_area) >= 256, "a record never shrinks");
static_assert(sizeof(struct bs_abi_node) >= 16, "a record never shrinks");
static_assert(sizeof(struct bs_abi_site) >= 96, "a record never shrinks");
static_assert(sizeof(struct bs_abi_module) >= 256, "a record never shrinks");
static_assert(BS_EVENT_BYTES(1) >= 200, "a record never shrinks");
static_assert(sizeof(struct bs_abi_pins) >= 256, "a record never shrinks");
static_assert(sizeof(struct bs_abi_device) >= 128, "a record never shrinks");
static_assert(sizeof(struct bs_abi_owner) >= 16, "a record never shrinks");
static_assert(sizeof(struct bs_abi_estimate) >= 80, "a record never shrinks");
static_assert(sizeof(struct bs_abi_ages) >= 224, "a record never shrinks");
static_assert(sizeof(struct bs_abi_thread) >= 64, "a record never shrinks");

/*
 * Who names a site before sites, sites before nodes: a site's stack must be in the
 * nodes that we read.  Sites before estimates, of which there are as many, and before
 * the ages they name.  Events before the pins that were found after them.
 */
static const unsigned int read_order[] = {
	BS_SEC_ZONES,	BS_SEC_CACHES,	  BS_SEC_AREAS,	  BS_SEC_EVENTS,
	BS_SEC_PINS,	BS_SEC_OWNERS,	  BS_SEC_SITES,	  BS_SEC_AGES,
	BS_SEC_NODES,	BS_SEC_ESTIMATES, BS_SEC_MODULES, BS_SEC_DEVICES,
	BS_SEC_THREADS,
};

/* nr records of section_types[].bytes each; room for cap of them. */
struct section_copy {
	void *records;
	uint64_t nr;
	uint64_t cap;
};

struct bs_snapshot {
	struct bs_abi_header header;
	unsigned int sections;
	uint64_t vmstat[BS_NR_VMSTAT];
	struct section_copy copy[BS_ABI_NR_SECTIONS];
	struct bs_site *sites; /* made of records of sites and of ages */
	uint64_t nr_sites, cap_sites;
	char *path;
};

struct bs_sampler {
	int fd;
	struct bs_snapshot *snapshot;
};

/* One read of a file. */
struct reader {
	int fd;
	const char *path;
	uint64_t file_bytes; /* real size */
	unsigned int patience;
	unsigned int ages_tries; /* so far */
	char *err;
	size_t errlen;
};

__attribute__((format(printf, 3, 4))) static int fail(struct reader *r, int ret,
						      const char *fmt, ...)
{
	va_list ap;
	int len;

	len = snprintf(r->err, r->errlen, "%s: ", r->path);
	if (len < 0 || (size_t)len >= r->errlen)
		return ret;
	va_start(ap, fmt);
	vsnprintf(r->err + len, r->errlen - (size_t)len, fmt, ap);
	va_end(ap);
	return ret;
}

/* All of len or an error. */
static int read_at(struct reader *r, void *buf, size_t len, uint64_t offset)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = pread(r->fd, (char *)buf + done, len - done,
			  (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(r, -errno, "cannot read: %s",
				    strerror(errno));
		if (n == 0)
			return fail(r, -EIO,
				    "the file was cut short while it was read");
		done += (size_t)n;
	}
	return 0;
}

/* ---- header ------------------------------------------------------------ */

static void terminate(char *text, size_t len)
{
	text[len - 1] = '\0';
}

/* A name that goes into columns: printable, no blanks, not empty. */
static void clean_name(char *name, size_t len)
{
	terminate(name, len);
	for (char *c = name; *c; c++)
		if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f)
			*c = '_';
	if (!name[0])
		strcpy(name, "?");
}

static int check_file(struct reader *r)
{
	struct stat st;

	if (fstat(r->fd, &st))
		return fail(r, -errno, "cannot stat: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(r, -EINVAL, "not a regular file");
	if (st.st_uid != geteuid() && st.st_uid != 0 && geteuid() != 0)
		return fail(r, -EPERM, "belongs to user %u, not to you",
			    (unsigned int)st.st_uid);
	if (st.st_size < (off_t)sizeof(struct bs_abi_header))
		return fail(r, -EINVAL,
			    "no segment: %lld bytes are less than a header",
			    (long long)st.st_size);
	r->file_bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_header(struct reader *r, struct bs_abi_header *h)
{
	if (h->magic == 0)
		return fail(r, -EAGAIN, "the segment is not complete yet");
	if (h->magic != BS_ABI_MAGIC)
		return fail(r, -EINVAL, "no segment: wrong magic");
	if (h->compat > BS_ABI_VERSION)
		return fail(
			r, -EPROTO,
			"segment version %u needs a reader of version %u; this is %u",
			h->version, h->compat, BS_ABI_VERSION);
	if (h->version < BS_ABI_COMPAT)
		return fail(r, -EPROTO, "segment version %u is too old",
			    h->version);
	if (h->header_bytes < sizeof(*h) ||
	    h->nr_sections < BS_ABI_NR_SECTIONS ||
	    h->page_bytes != BS_ABI_PAGE_BYTES)
		return fail(
			r, -EINVAL,
			"damaged header: %u header bytes, %u sections, page of %u bytes",
			h->header_bytes, h->nr_sections, h->page_bytes);
	if (h->file_bytes > r->file_bytes)
		return fail(r, -EINVAL,
			    "the file was cut short: %" PRIu64
			    " bytes, the header says %" PRIu64,
			    r->file_bytes, h->file_bytes);
	if (h->pid <= 0)
		return fail(r, -EINVAL, "damaged header: pid %d", h->pid);
	terminate(h->comm, sizeof(h->comm));
	terminate(h->exe, sizeof(h->exe));
	terminate(h->cmdline, sizeof(h->cmdline));
	terminate(h->options, sizeof(h->options));
	return 0;
}

static bool is_ring(unsigned int id)
{
	return id == BS_SEC_EVENTS || id == BS_SEC_PINS;
}

/*
 * Everything that the section's descriptor says, against the file.  Returns 0
 * with the number of records that may be in use in *nr.
 */
static int check_section(struct reader *r, const struct bs_abi_header *h,
			 unsigned int id, uint64_t *nr)
{
	const struct bs_abi_section *sec = &h->section[id];
	const struct section_type *type = &section_types[id];
	uint64_t bytes, end;

	*nr = 0;
	if (sec->capacity == 0)
		return 0; /* this writer does not have it */
	if (sec->elem_bytes < type->min_bytes ||
	    sec->elem_bytes > ELEM_BYTES_MAX || sec->elem_bytes % 8)
		return fail(
			r, -EINVAL,
			"damaged section %s: records of %u bytes, expected %u",
			type->name, sec->elem_bytes, type->min_bytes);
	if (__builtin_mul_overflow(sec->capacity, sec->elem_bytes, &bytes) ||
	    __builtin_add_overflow(sec->offset, bytes, &end) ||
	    sec->offset < h->header_bytes || sec->offset % 8 ||
	    end > h->file_bytes)
		return fail(r, -EINVAL,
			    "damaged section %s: %" PRIu64
			    " records of %u bytes at %" PRIu64
			    " do not fit a file of %" PRIu64 " bytes",
			    type->name, sec->capacity, sec->elem_bytes,
			    sec->offset, h->file_bytes);
	*nr = sec->count < sec->capacity ? sec->count : sec->capacity;
	/* Numbers in a ring start with 1, and n is in slot n % capacity. */
	if (is_ring(id) && sec->count && *nr < sec->capacity)
		*nr += 1;
	if (*nr > type->max_records || *nr * type->bytes > COPY_BYTES_MAX)
		return fail(r, -E2BIG,
			    "damaged section %s: %" PRIu64
			    " records are more than any program makes",
			    type->name, *nr);
	return 0;
}

/* ---- records ----------------------------------------------------------- */

/* Nobody was writing the record when the copy was made. */
static bool at_rest(unsigned int id, const void *record)
{
	const struct section_type *type = &section_types[id];
	uint32_t word;

	if (id == BS_SEC_SITES) {
		struct bs_abi_site site;

		memcpy(&site, record, sizeof(site));
		return site.lock == 0 && !(site.seq & 1);
	}
	if (type->seq_offset == NO_SEQ)
		return true;
	memcpy(&word, (const char *)record + type->seq_offset, sizeof(word));
	return !(word & 1);
}

static void mark_torn(const struct section_type *type, void *record)
{
	uint32_t seq;

	if (type->seq_offset == NO_SEQ)
		return;
	memcpy(&seq, (char *)record + type->seq_offset, sizeof(seq));
	seq |= 1;
	memcpy((char *)record + type->seq_offset, &seq, sizeof(seq));
}

/*
 * Reads record at `offset` until two copies in a row agree.  `newer` holds the
 * last copy; `older` the one before.  Returns 0, 1 when it never came to
 * rest, or -errno.
 */
static int read_restless(struct reader *r, unsigned int id, size_t len,
			 uint64_t offset, char *older, char *newer)
{
	const struct section_type *type = &section_types[id];
	static const struct timespec one_ms = { 0, 1000000 };
	unsigned int tries = 0;
	bool stuck;
	int ret;

	for (;;) {
		memcpy(older, newer, len);
		ret = read_at(r, newer, len, offset);
		if (ret)
			return ret;
		if (at_rest(id, newer) && !memcmp(older, newer, len))
			return 0;
		if (++tries < RECORD_TRIES)
			continue;
		/* A busy site is not waited for, only a writer stuck in one. */
		stuck = !memcmp(older, newer, len);
		if ((type->seq_offset == NO_SEQ && !stuck) || r->patience == 0)
			return 1;
		r->patience--;
		nanosleep(&one_ms, NULL);
		tries = RECORD_TRIES / 2;
	}
}

static void merge_site(struct bs_abi_site *newer,
		       const struct bs_abi_site *older)
{
	newer->frees = older->frees;
	newer->bytes_freed = older->bytes_freed;
}

static void merge_estimate(struct bs_abi_estimate *newer,
			   const struct bs_abi_estimate *older)
{
	newer->sampled_frees = older->sampled_frees;
	newer->frees_256 = older->frees_256;
	newer->bytes_freed = older->bytes_freed;
	newer->var_objects_freed = older->var_objects_freed;
	newer->var_bytes_freed = older->var_bytes_freed;
}

/* Copies one record of the chunk; a and b are two reads of it. */
static int take_record(struct reader *r, unsigned int id, size_t len,
		       uint64_t offset, char *a, char *b, void *out)
{
	const struct section_type *type = &section_types[id];
	int ret = 0;

	if (memcmp(a, b, len) || !at_rest(id, b))
		ret = read_restless(r, id, len, offset, a, b);
	if (ret < 0)
		return ret;
	memcpy(out, b, len);
	if (ret == 0)
		return 0;
	mark_torn(type, out);
	if (id == BS_SEC_SITES) {
		struct bs_abi_site older = { 0 };

		memcpy(&older, a, len);
		merge_site(out, &older);
	}
	if (id == BS_SEC_ESTIMATES) {
		struct bs_abi_estimate older = { 0 };

		memcpy(&older, a, len);
		merge_estimate(out, &older);
	}
	if (is_ring(id)) /* being overwritten: not there */
		memset(out, 0, type->bytes);
	return 0;
}

static int reserve_records(struct reader *r, struct section_copy *copy,
			   uint64_t nr, size_t bytes)
{
	void *records;

	if (nr <= copy->cap)
		return 0;
	nr += nr / 8 + 16; /* a growing section is not moved each time */
	records = realloc(copy->records, nr * bytes);
	if (!records)
		return fail(r, -ENOMEM, "out of memory");
	copy->records = records;
	copy->cap = nr;
	return 0;
}

/* Reads records first..nr-1 of a section into the copy. */
static int read_records(struct reader *r, const struct bs_abi_section *sec,
			unsigned int id, uint64_t first, uint64_t nr,
			struct section_copy *copy)
{
	const struct section_type *type = &section_types[id];
	size_t step = sec->elem_bytes;
	size_t len = step < type->bytes ? step : type->bytes;
	uint64_t per_chunk, i, n, offset;
	char *a, *b;
	int ret;

	ret = reserve_records(r, copy, nr, type->bytes);
	if (ret || first >= nr)
		return ret;
	per_chunk = CHUNK_BYTES / step; /* not 0: there are records */
	a = malloc(CHUNK_BYTES);
	b = malloc(CHUNK_BYTES);
	if (!a || !b) {
		ret = fail(r, -ENOMEM, "out of memory");
		goto out_free;
	}
	memset((char *)copy->records + first * type->bytes, 0,
	       (nr - first) * type->bytes);
	for (; first < nr && !ret; first += n) {
		n = nr - first < per_chunk ? nr - first : per_chunk;
		offset = sec->offset + first * step;
		ret = read_at(r, a, n * step, offset);
		if (!ret)
			ret = read_at(r, b, n * step, offset);
		for (i = 0; i < n && !ret; i++)
			ret = take_record(r, id, len, offset + i * step,
					  a + i * step, b + i * step,
					  (char *)copy->records +
						  (first + i) * type->bytes);
	}
out_free:
	free(a);
	free(b);
	return ret;
}

/* ---- what each section needs after the copy ----------------------------- */

static void fix_zones(struct section_copy *copy)
{
	struct bs_abi_zone *zones = copy->records;

	for (uint64_t i = 0; i < copy->nr; i++)
		clean_name(zones[i].name, sizeof(zones[i].name));
}

static void fix_caches(struct section_copy *copy)
{
	struct bs_abi_cache *caches = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++) {
		if (!caches[i].live)
			continue;
		caches[nr] = caches[i];
		caches[nr].slot = (uint32_t)i;
		clean_name(caches[nr].name, sizeof(caches[nr].name));
		nr++;
	}
	copy->nr = nr;
}

static int compare_areas(const void *va, const void *vb)
{
	const struct bs_abi_area *a = va, *b = vb;

	return a->addr < b->addr ? -1 : a->addr > b->addr;
}

static void fix_areas(struct section_copy *copy)
{
	struct bs_abi_area *areas = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++) {
		if (!areas[i].live)
			continue;
		areas[nr] = areas[i];
		terminate(areas[nr].path, sizeof(areas[nr].path));
		nr++;
	}
	copy->nr = nr;
	if (nr)
		qsort(areas, nr, sizeof(*areas), compare_areas);
}

static void fix_nodes(struct section_copy *copy, uint64_t first)
{
	struct bs_abi_node *nodes = copy->records;

	for (uint64_t i = first; i < copy->nr; i++)
		if (nodes[i].parent >= i)
			nodes[i].parent = 0;
}

static void add64(uint64_t *to, uint64_t more)
{
	if (__builtin_add_overflow(*to, more, to))
		*to = UINT64_MAX;
}

static void add32(uint32_t *to, uint32_t more)
{
	if (__builtin_add_overflow(*to, more, to))
		*to = UINT32_MAX;
}

static void clamp(uint64_t *freed, uint64_t allocated)
{
	if (*freed > allocated)
		*freed = allocated;
}

static void fix_estimates(struct section_copy *copy)
{
	struct bs_abi_estimate *e = copy->records;

	for (uint64_t i = 0; i < copy->nr; i++, e++) {
		clamp(&e->sampled_frees, e->sampled_allocs);
		clamp(&e->frees_256, e->allocs_256);
		clamp(&e->bytes_freed, e->bytes_allocated);
		clamp(&e->var_objects_freed, e->var_objects_allocated);
		clamp(&e->var_bytes_freed, e->var_bytes_allocated);
	}
}

static void fix_modules(struct section_copy *copy)
{
	struct bs_abi_module *modules = copy->records;

	for (uint64_t i = 0; i < copy->nr; i++) {
		terminate(modules[i].path, sizeof(modules[i].path));
		if (modules[i].build_id_bytes > sizeof(modules[i].build_id))
			modules[i].build_id_bytes = 0;
	}
}

static void fix_threads(struct section_copy *copy)
{
	struct bs_abi_thread *threads = copy->records;

	for (uint64_t i = 0; i < copy->nr; i++)
		terminate(threads[i].name, sizeof(threads[i].name));
}

/* The records of rings begin with their number. */
static int compare_numbers(const void *va, const void *vb)
{
	const uint64_t *a = va, *b = vb;

	return *a < *b ? -1 : *a > *b;
}

static void fix_events(struct section_copy *copy, uint64_t capacity)
{
	struct bs_abi_event *events = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++)
		if (events[i].number && events[i].number % capacity == i)
			events[nr++] = events[i];
	copy->nr = nr;
	for (uint64_t i = 0; i < nr; i++) {
		terminate(events[i].name, sizeof(events[i].name));
		if (events[i].nr_zones > BS_MAX_ZONES)
			events[i].nr_zones = BS_MAX_ZONES;
	}
	if (nr)
		qsort(events, nr, sizeof(*events), compare_numbers);
}

static void fix_pins(struct section_copy *copy, uint64_t capacity)
{
	struct bs_abi_pins *pins = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++)
		if (pins[i].number && pins[i].number % capacity == i &&
		    pins[i].order < BS_NR_ORDERS)
			pins[nr++] = pins[i];
	copy->nr = nr;
	if (nr)
		qsort(pins, nr, sizeof(*pins), compare_numbers);
}

static void fix_devices(struct section_copy *copy)
{
	struct bs_abi_device *devices = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++) {
		if (!devices[i].live)
			continue;
		devices[nr] = devices[i];
		clean_name(devices[nr].name, sizeof(devices[nr].name));
		nr++;
	}
	copy->nr = nr;
}

static void fix_owners(struct section_copy *copy)
{
	struct bs_abi_owner *owners = copy->records;
	uint64_t nr = 0;

	for (uint64_t i = 0; i < copy->nr; i++)
		if (owners[i].live_objs)
			owners[nr++] = owners[i];
	copy->nr = nr;
}

/* ---- sites with their ages ------------------------------------------------ */

#define AGES_TRIES     10
#define AGES_TRIES_ALL 1000 /* in one read */

/* Reads the record again as take_record() does for a whole chunk. */
static int read_again(struct reader *r, const struct bs_snapshot *s,
		      unsigned int id, uint64_t i)
{
	const struct bs_abi_section *sec = &s->header.section[id];
	const struct section_type *type = &section_types[id];
	size_t len =
		sec->elem_bytes < type->bytes ? sec->elem_bytes : type->bytes;
	uint64_t offset = sec->offset + i * sec->elem_bytes;
	char a[ELEM_BYTES_MAX], b[ELEM_BYTES_MAX];
	int ret = read_at(r, a, len, offset);

	if (!ret)
		ret = read_at(r, b, len, offset);
	if (ret)
		return ret;
	return take_record(r, id, len, offset, a, b,
			   (char *)s->copy[id].records + i * type->bytes);
}

/*
 * The ages of site i in *ages, NULL: none.  Objects may have moved from the site to
 * its ages between our reading of the one and of the other; then both are read again.
 */
static int find_ages(struct reader *r, const struct bs_snapshot *s, uint64_t i,
		     const struct bs_abi_ages **ages)
{
	const struct bs_abi_site *site =
		(const struct bs_abi_site *)s->copy[BS_SEC_SITES].records + i;
	const struct section_copy *copy = &s->copy[BS_SEC_AGES];
	int tries, ret;

	*ages = NULL;
	for (tries = 0; site->ages && site->ages < copy->nr; tries++) {
		const struct bs_abi_ages *a =
			(const struct bs_abi_ages *)copy->records + site->ages;

		if (a->site != i)
			return 0;
		*ages = a;
		if ((a->seq == site->seq && !(a->seq & 1)) ||
		    tries == AGES_TRIES || r->ages_tries >= AGES_TRIES_ALL)
			return 0;
		r->ages_tries++;
		*ages = NULL;
		ret = read_again(r, s, BS_SEC_SITES, i);
		if (!ret && site->ages < copy->nr)
			ret = read_again(r, s, BS_SEC_AGES, site->ages);
		if (ret)
			return ret;
	}
	return 0;
}

static void put_site(struct bs_site *out, const struct bs_abi_site *site,
		     const struct bs_abi_ages *ages)
{
	*out = (struct bs_site){
		.node = site->node,
		.kinds = site->kinds,
		.shard_of = site->shard_of,
		.cohort_shift = site->cohort_shift,
		.cohort_born = site->cohort_born,
		.allocs = site->allocs,
		.frees = site->frees,
		.bytes_allocated = site->bytes_allocated,
		.bytes_freed = site->bytes_freed,
		.first_ns = site->first_ns,
		.last_ns = site->last_ns,
		.peak_live_bytes = site->peak_live_bytes,
	};
	if (ages) {
		memcpy(out->cohort_live, ages->cohort_live,
		       sizeof(out->cohort_live));
		memcpy(out->lifetime, ages->lifetime, sizeof(out->lifetime));
	}
	if (site->cohort < BS_NR_COHORTS)
		out->cohort_live[site->cohort] += site->cohort_live;
	if (site->lifetime < BS_NR_LIFETIMES)
		add32(&out->lifetime[site->lifetime], site->lifetime_frees);
}

static int put_sites(struct reader *r, struct bs_snapshot *s)
{
	const struct section_copy *copy = &s->copy[BS_SEC_SITES];
	const struct bs_abi_site *site = copy->records;
	struct bs_site *sites;

	if (copy->cap > s->cap_sites) {
		sites = realloc(s->sites, copy->cap * sizeof(*sites));
		if (!sites)
			return fail(r, -ENOMEM, "out of memory");
		s->sites = sites;
		s->cap_sites = copy->cap;
	}
	for (uint64_t i = 0; i < copy->nr; i++) {
		const struct bs_abi_ages *ages;
		int ret = find_ages(r, s, i, &ages);

		if (ret)
			return ret;
		put_site(&s->sites[i], &site[i], ages);
	}
	s->nr_sites = copy->nr;
	return 0;
}

/* ---- shards -------------------------------------------------------------- */

/* Makes the cohorts of a site 2^n times as wide: 2^n neighbours become one. */
static void widen_cohorts(struct bs_site *s, uint32_t n)
{
	uint32_t live[BS_NR_COHORTS] = { 0 }, born = 0;

	for (uint32_t c = 0; c < BS_NR_COHORTS; c++) {
		uint32_t to = n < 32 ? c >> n : 0;

		live[to] += s->cohort_live[c];
		born |= (s->cohort_born >> c & 1) << to;
	}
	memcpy(s->cohort_live, live, sizeof(live));
	s->cohort_born = born;
	s->cohort_shift += n;
}

static void add_cohorts(struct bs_site *to, struct bs_site *shard)
{
	if (to->cohort_shift < shard->cohort_shift)
		widen_cohorts(to, shard->cohort_shift - to->cohort_shift);
	else
		widen_cohorts(shard, to->cohort_shift - shard->cohort_shift);
	for (uint32_t c = 0; c < BS_NR_COHORTS; c++)
		to->cohort_live[c] += shard->cohort_live[c];
	to->cohort_born |= shard->cohort_born;
}

static void add_shard(struct bs_site *to, struct bs_site *shard)
{
	add64(&to->allocs, shard->allocs);
	add64(&to->frees, shard->frees);
	add64(&to->bytes_allocated, shard->bytes_allocated);
	add64(&to->bytes_freed, shard->bytes_freed);
	/* Peaks of different times: the sum is an upper bound. */
	add64(&to->peak_live_bytes, shard->peak_live_bytes);
	to->kinds |= shard->kinds;
	if (shard->first_ns &&
	    (!to->first_ns || shard->first_ns < to->first_ns))
		to->first_ns = shard->first_ns;
	if (shard->last_ns > to->last_ns)
		to->last_ns = shard->last_ns;
	add_cohorts(to, shard);
	for (unsigned int i = 0; i < BS_NR_LIFETIMES; i++)
		add32(&to->lifetime[i], shard->lifetime[i]);
}

static void add_estimate(struct bs_abi_estimate *to,
			 const struct bs_abi_estimate *shard)
{
	add64(&to->sampled_allocs, shard->sampled_allocs);
	add64(&to->sampled_frees, shard->sampled_frees);
	add64(&to->allocs_256, shard->allocs_256);
	add64(&to->frees_256, shard->frees_256);
	add64(&to->bytes_allocated, shard->bytes_allocated);
	add64(&to->bytes_freed, shard->bytes_freed);
	add64(&to->var_objects_allocated, shard->var_objects_allocated);
	add64(&to->var_objects_freed, shard->var_objects_freed);
	add64(&to->var_bytes_allocated, shard->var_bytes_allocated);
	add64(&to->var_bytes_freed, shard->var_bytes_freed);
}

/* The site that site i counts for: itself if it is no shard, or says nonsense. */
static uint64_t shard_target(const struct bs_snapshot *s, uint64_t i)
{
	uint32_t to = s->sites[i].shard_of;

	return to && to < bs_snapshot_nr_sites(s) && !s->sites[to].shard_of ? to
									    : i;
}

/*
 * Adds the counters of shards to the sites that they count for.  A shard is empty
 * afterwards, but keeps shard_of until forget_shards(): a reference to it can
 * still be followed, and whether another record's shard_of makes sense does
 * not depend on the order.
 */
static void merge_shards(struct bs_snapshot *s)
{
	struct bs_site *sites = s->sites;
	struct bs_abi_estimate *estimates = s->copy[BS_SEC_ESTIMATES].records;

	for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++) {
		uint64_t to = shard_target(s, i);

		if (to == i)
			continue;
		add_shard(&sites[to], &sites[i]);
		sites[i] = (struct bs_site){ .shard_of = (uint32_t)to };
		if (!s->copy[BS_SEC_ESTIMATES].nr)
			continue;
		add_estimate(&estimates[to], &estimates[i]);
		estimates[i] = (struct bs_abi_estimate){ 0 };
	}
}

/* A cohort that more ended in than began: objects of others, the oldest first. */
static void settle_cohorts(struct bs_site *site)
{
	uint64_t missing = 0;
	uint32_t c;

	for (c = 0; c < BS_NR_COHORTS; c++) {
		if (site->cohort_live[c] <= INT32_MAX)
			continue;
		missing += -site->cohort_live[c];
		site->cohort_live[c] = 0;
	}
	for (c = 0; c < BS_NR_COHORTS && missing; c++) {
		uint32_t take = site->cohort_live[c] < missing
					? site->cohort_live[c]
					: (uint32_t)missing;

		site->cohort_live[c] -= take;
		missing -= take;
	}
}

/* After shards were added, which may have ended what began elsewhere. */
static void fix_sites(struct bs_snapshot *s)
{
	for (uint64_t i = 0; i < s->nr_sites; i++) {
		struct bs_site *site = &s->sites[i];

		clamp(&site->frees, site->allocs);
		clamp(&site->bytes_freed, site->bytes_allocated);
		settle_cohorts(site);
	}
	fix_estimates(&s->copy[BS_SEC_ESTIMATES]);
}

static void forget_shards(struct bs_snapshot *s)
{
	for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++)
		s->sites[i].shard_of = 0;
}

/* ---- references ------------------------------------------------------------ */

/* A reference to a record that is not there becomes 0, "unknown". */
static void fix_site_reference(const struct bs_snapshot *s, uint32_t *site)
{
	*site = *site < bs_snapshot_nr_sites(s)
			? (uint32_t)shard_target(s, *site)
			: 0;
}

static void fix_references(struct bs_snapshot *s, unsigned int sections)
{
	struct bs_abi_area *areas = s->copy[BS_SEC_AREAS].records;
	struct bs_abi_owner *owners = s->copy[BS_SEC_OWNERS].records;
	struct bs_abi_event *events = s->copy[BS_SEC_EVENTS].records;
	struct bs_abi_pins *pins = s->copy[BS_SEC_PINS].records;
	uint64_t nr_nodes = s->copy[BS_SEC_NODES].nr;
	uint64_t i;

	if (!(sections & BS_SNAP_SITES))
		return;
	merge_shards(s);
	fix_sites(s);
	if (sections & BS_SNAP_AREAS)
		for (i = 0; i < s->copy[BS_SEC_AREAS].nr; i++)
			fix_site_reference(s, &areas[i].site);
	if (sections & BS_SNAP_OWNERS)
		for (i = 0; i < s->copy[BS_SEC_OWNERS].nr; i++)
			fix_site_reference(s, &owners[i].site);
	if (sections & BS_SNAP_EVENTS)
		for (i = 0; i < s->copy[BS_SEC_EVENTS].nr; i++)
			fix_site_reference(s, &events[i].site);
	if (sections & BS_SNAP_PINS)
		for (i = 0; i < s->copy[BS_SEC_PINS].nr * BS_NR_PINS; i++)
			fix_site_reference(s, &pins[i / BS_NR_PINS]
						       .holder[i % BS_NR_PINS]
						       .site);
	if (sections & BS_SNAP_NODES)
		for (i = 0; i < bs_snapshot_nr_sites(s); i++)
			if (s->sites[i].node >= nr_nodes)
				s->sites[i].node = 0;
	forget_shards(s);
}

/*
 * The first node that has to be read again: those before it were complete the
 * last time, and nodes never change.
 */
static uint64_t nodes_known(const struct section_copy *copy)
{
	const struct bs_abi_node *nodes = copy->records;
	uint64_t i;

	for (i = 1; i < copy->nr && nodes[i].pc; i++)
		;
	return i < copy->nr ? i : copy->nr;
}

/* Is there anything but a hole?  A file that cannot tell has something. */
static bool has_data(const struct reader *r, uint64_t offset, uint64_t bytes)
{
	off_t data = lseek(r->fd, (off_t)offset, SEEK_DATA);

	if (data < 0)
		return errno != ENXIO;
	return (uint64_t)data < offset + bytes;
}

/*
 * As many as sites, whatever the count says; none if nothing was ever sampled.
 * Sites without one here have one of zeros.
 */
static int read_estimates(struct reader *r, struct bs_snapshot *s,
			  const struct bs_abi_section *sec)
{
	struct section_copy *copy = &s->copy[BS_SEC_ESTIMATES];
	uint64_t nr_sites = s->copy[BS_SEC_SITES].nr, nr = sec->capacity;
	const struct section_type *type = &section_types[BS_SEC_ESTIMATES];
	int ret;

	copy->nr = 0;
	if (nr > nr_sites)
		nr = nr_sites;
	if (!nr || !has_data(r, sec->offset, nr * sec->elem_bytes))
		return 0;
	ret = reserve_records(r, copy, nr_sites, type->bytes);
	if (!ret)
		ret = read_records(r, sec, BS_SEC_ESTIMATES, 0, nr, copy);
	if (ret)
		return ret;
	memset((char *)copy->records + nr * type->bytes, 0,
	       (nr_sites - nr) * type->bytes);
	copy->nr = nr_sites;
	return 0;
}

static int read_section(struct reader *r, struct bs_snapshot *s,
			unsigned int id)
{
	struct section_copy *copy = &s->copy[id];
	struct bs_abi_section *sec = &s->header.section[id];
	uint64_t nr, first = 0;
	int ret;

	/* The count may have grown since the header was read. */
	ret = read_at(r, sec, sizeof(*sec),
		      offsetof(struct bs_abi_header, section[id]));
	if (!ret)
		ret = check_section(r, &s->header, id, &nr);
	if (ret)
		return ret;
	if (id == BS_SEC_ESTIMATES)
		return read_estimates(r, s, sec);
	if (id == BS_SEC_NODES) {
		first = nodes_known(copy);
		if (first > nr)
			first = 0;
	}
	copy->nr = first;
	ret = read_records(r, sec, id, first, nr, copy);
	if (ret)
		return ret;
	copy->nr = nr;

	switch (id) {
	case BS_SEC_ZONES:
		fix_zones(copy);
		break;
	case BS_SEC_CACHES:
		fix_caches(copy);
		break;
	case BS_SEC_AREAS:
		fix_areas(copy);
		break;
	case BS_SEC_NODES:
		fix_nodes(copy, first);
		break;
	case BS_SEC_MODULES:
		fix_modules(copy);
		break;
	case BS_SEC_EVENTS:
		fix_events(copy, sec->capacity);
		break;
	case BS_SEC_PINS:
		fix_pins(copy, sec->capacity);
		break;
	case BS_SEC_DEVICES:
		fix_devices(copy);
		break;
	case BS_SEC_OWNERS:
		fix_owners(copy);
		break;
	case BS_SEC_THREADS:
		fix_threads(copy);
		break;
	}
	return 0;
}

/* vmstat is a plain array: one read, each counter whole by itself. */
static int read_vmstat(struct reader *r, struct bs_snapshot *s)
{
	const struct bs_abi_section *sec = &s->header.section[BS_SEC_VMSTAT];
	uint64_t nr;
	int ret;

	memset(s->vmstat, 0, sizeof(s->vmstat));
	ret = check_section(r, &s->header, BS_SEC_VMSTAT, &nr);
	for (uint64_t i = 0; i < nr && i < BS_NR_VMSTAT && !ret; i++)
		ret = read_at(r, &s->vmstat[i], sizeof(s->vmstat[i]),
			      sec->offset + i * sec->elem_bytes);
	return ret;
}

static int read_sections(struct reader *r, struct bs_snapshot *s,
			 unsigned int sections)
{
	struct bs_abi_header header;
	int ret;

	/* A site's numbers are in both. */
	if (sections & BS_SNAP_SITES)
		sections |= BS_SNAP_ESTIMATES | BS_SNAP_AGES;
	if (sections & BS_SNAP_EVENTS)
		sections |= BS_SNAP_PINS;
	ret = check_file(r);
	if (!ret)
		ret = read_at(r, &header, sizeof(header), 0);
	if (!ret)
		ret = check_header(r, &header);
	if (ret)
		return ret;
	s->header = header;
	if (sections & BS_SNAP_SITES)
		s->nr_sites = 0; /* until they are complete */
	ret = read_vmstat(r, s);
	for (size_t i = 0; i < sizeof(read_order) / sizeof(read_order[0]); i++)
		if (!ret && (sections & (1U << read_order[i])))
			ret = read_section(r, s, read_order[i]);
	if (!ret && (sections & BS_SNAP_SITES))
		ret = put_sites(r, s);
	if (ret)
		return ret;
	s->sections |= sections;
	fix_references(s, sections);
	return 0;
}

/* ---- public ------------------------------------------------------------ */

static int open_segment(struct reader *r, int access)
{
	/* NONBLOCK: a FIFO of that name must not hang us. */
	r->fd = open(r->path, access | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0)
		return fail(r, -errno, "cannot open: %s",
			    errno == ELOOP ? "it is a symbolic link"
					   : strerror(errno));
	return 0;
}

static struct bs_snapshot *snapshot_new(struct reader *r)
{
	struct bs_snapshot *s = calloc(1, sizeof(*s));

	if (s)
		s->path = strdup(r->path);
	if (!s || !s->path) {
		fail(r, -ENOMEM, "out of memory");
		free(s);
		return NULL;
	}
	return s;
}

struct bs_snapshot *bs_snapshot_read_sections(const char *path,
					      unsigned int sections, char *err,
					      size_t errlen)
{
	struct reader r = { .path = path,
			    .patience = PATIENCE_ROUNDS,
			    .err = err,
			    .errlen = errlen };
	struct bs_snapshot *s;

	if (open_segment(&r, O_RDONLY))
		return NULL;
	s = snapshot_new(&r);
	if (s && read_sections(&r, s, sections)) {
		bs_snapshot_free(s);
		s = NULL;
	}
	close(r.fd);
	return s;
}

struct bs_snapshot *bs_snapshot_read(const char *path, char *err, size_t errlen)
{
	return bs_snapshot_read_sections(path, BS_SNAP_ALL, err, errlen);
}

void bs_snapshot_free(struct bs_snapshot *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < BS_ABI_NR_SECTIONS; i++)
		free(s->copy[i].records);
	free(s->sites);
	free(s->path);
	free(s);
}

const struct bs_abi_header *bs_snapshot_header(const struct bs_snapshot *s)
{
	return &s->header;
}

const char *bs_snapshot_path(const struct bs_snapshot *s)
{
	return s->path;
}

unsigned int bs_snapshot_sections(const struct bs_snapshot *s)
{
	return s->sections;
}

const char *bs_section_name(unsigned int section)
{
	return section < BS_ABI_NR_SECTIONS ? section_types[section].name
					    : NULL;
}

/* The number of records of a section, and one of them. */
#define SECTION_ACCESSORS(kind, plural, id)                                    \
	uint64_t bs_snapshot_nr_##plural(const struct bs_snapshot *s)          \
	{                                                                      \
		return s->copy[id].nr;                                         \
	}                                                                      \
	const struct bs_abi_##kind *bs_snapshot_##kind(                        \
		const struct bs_snapshot *s, uint64_t i)                       \
	{                                                                      \
		assert(i < s->copy[id].nr);                                    \
		return (const struct bs_abi_##kind *)s->copy[id].records + i;  \
	}

SECTION_ACCESSORS(zone, zones, BS_SEC_ZONES)
SECTION_ACCESSORS(cache, caches, BS_SEC_CACHES)
SECTION_ACCESSORS(area, areas, BS_SEC_AREAS)
SECTION_ACCESSORS(node, nodes, BS_SEC_NODES)
SECTION_ACCESSORS(module, modules, BS_SEC_MODULES)
SECTION_ACCESSORS(event, events, BS_SEC_EVENTS)
SECTION_ACCESSORS(pins, pins, BS_SEC_PINS)
SECTION_ACCESSORS(device, devices, BS_SEC_DEVICES)
SECTION_ACCESSORS(owner, owners, BS_SEC_OWNERS)
SECTION_ACCESSORS(thread, threads, BS_SEC_THREADS)

uint64_t bs_snapshot_nr_sites(const struct bs_snapshot *s)
{
	return s->nr_sites;
}

const struct bs_site *bs_snapshot_site(const struct bs_snapshot *s, uint64_t i)
{
	assert(i < s->nr_sites);
	return &s->sites[i];
}

const struct bs_abi_estimate *bs_snapshot_estimate(const struct bs_snapshot *s,
						   uint64_t site)
{
	static const struct bs_abi_estimate none;
	const struct section_copy *copy = &s->copy[BS_SEC_ESTIMATES];

	assert(site < s->nr_sites);
	return site < copy->nr
		       ? (const struct bs_abi_estimate *)copy->records + site
		       : &none;
}

const struct bs_abi_event_zone *bs_event_zone(const struct bs_abi_event *event)
{
	return event->zone < event->nr_zones ? &event->zones[event->zone]
					     : NULL;
}

bool bs_snapshot_cache_in_slot(const struct bs_snapshot *s, uint32_t slot,
			       uint64_t *i)
{
	uint64_t low = 0, high = bs_snapshot_nr_caches(s);

	while (low < high) { /* ascending: fix_caches */
		uint64_t middle = low + (high - low) / 2;

		if (bs_snapshot_cache(s, middle)->slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	*i = low;
	return low < bs_snapshot_nr_caches(s) &&
	       bs_snapshot_cache(s, low)->slot == slot;
}

bool bs_snapshot_zone_torn(const struct bs_snapshot *s, uint64_t i)
{
	return bs_snapshot_zone(s, i)->seq & 1;
}

bool bs_snapshot_cache_torn(const struct bs_snapshot *s, uint64_t i)
{
	return bs_snapshot_cache(s, i)->seq & 1;
}

bool bs_snapshot_area_torn(const struct bs_snapshot *s, uint64_t i)
{
	return bs_snapshot_area(s, i)->seq & 1;
}

uint64_t bs_snapshot_vmstat(const struct bs_snapshot *s,
			    enum bs_vmstat_item item)
{
	return item < BS_NR_VMSTAT ? s->vmstat[item] : 0;
}

/* More nodes than any stack has: the way to a root in a file that lies. */
#define CHAIN_MAX 256U

static bool is_thread(const struct bs_abi_node *node)
{
	return (node->pc & ~BS_THREAD_MASK) == BS_THREAD_PC;
}

const struct bs_abi_thread *bs_snapshot_site_thread(const struct bs_snapshot *s,
						    uint64_t site)
{
	uint32_t node = bs_snapshot_site(s, site)->node;
	uint64_t i;

	for (unsigned int steps = 0; steps < CHAIN_MAX; steps++) {
		const struct bs_abi_node *n;

		if (!node || node >= bs_snapshot_nr_nodes(s))
			return NULL;
		n = bs_snapshot_node(s, node);
		if (is_thread(n)) {
			i = n->pc & BS_THREAD_MASK;
			return i && i < bs_snapshot_nr_threads(s)
				       ? bs_snapshot_thread(s, i)
				       : NULL;
		}
		node = n->parent;
	}
	return NULL;
}

bool bs_snapshot_has_threads(const struct bs_snapshot *s)
{
	return s->header.section[BS_SEC_THREADS].capacity != 0;
}

void bs_snapshot_stack(const struct bs_snapshot *s, uint32_t node,
		       uint64_t *pcs, size_t max, size_t *nr)
{
	*nr = 0;
	/* Ends: a parent is smaller than its node (fix_nodes). */
	while (node && node < bs_snapshot_nr_nodes(s) && *nr < max) {
		const struct bs_abi_node *n = bs_snapshot_node(s, node);

		if (is_thread(n))
			break;
		pcs[(*nr)++] = n->pc;
		node = n->parent;
	}
}

const struct bs_abi_module *bs_snapshot_find_module(const struct bs_snapshot *s,
						    uint64_t pc,
						    uint64_t time_ns)
{
	const struct bs_abi_module *newest = NULL, *then = NULL;

	for (uint64_t i = 0; i < bs_snapshot_nr_modules(s); i++) {
		const struct bs_abi_module *m = bs_snapshot_module(s, i);

		if (pc < m->start || pc >= m->end)
			continue;
		if (!newest || m->generation >= newest->generation)
			newest = m;
		if (m->loaded_ns > time_ns ||
		    (m->unloaded_ns && m->unloaded_ns < time_ns))
			continue;
		if (!then || m->generation >= then->generation)
			then = m;
	}
	return time_ns && then ? then : newest;
}

uint64_t bs_snapshot_live_bytes(const struct bs_snapshot *s)
{
	uint64_t bytes = 0;

	if (s->header.trace_mode != BS_TRACE_OFF) {
		for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++) {
			const struct bs_site *site = bs_snapshot_site(s, i);
			const struct bs_abi_estimate *e =
				bs_snapshot_estimate(s, i);

			bytes += site->bytes_allocated - site->bytes_freed;
			bytes += e->bytes_allocated - e->bytes_freed;
		}
		return bytes;
	}
	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++) {
		const struct bs_abi_zone *zone = bs_snapshot_zone(s, i);

		bytes += BS_ABI_PAGE_BYTES * (zone->used_pages[BS_USE_SLAB] +
					      zone->used_pages[BS_USE_LARGE] +
					      zone->used_pages[BS_USE_VMALLOC]);
	}
	return bytes;
}

uint64_t bs_snapshot_peak_pages(const struct bs_snapshot *s)
{
	uint64_t pages = 0;

	for (uint64_t i = 0; i < bs_snapshot_nr_zones(s); i++)
		pages += bs_snapshot_zone(s, i)->peak_used_pages;
	return pages;
}

uint64_t bs_snapshot_last_ns(const struct bs_snapshot *s)
{
	uint64_t last = s->header.created_ns;

	if (s->header.exited_ns > last)
		return s->header.exited_ns;
	for (uint64_t i = 0; i < bs_snapshot_nr_sites(s); i++)
		if (bs_snapshot_site(s, i)->last_ns > last)
			last = bs_snapshot_site(s, i)->last_ns;
	return last;
}

int bs_zone_check(const struct bs_abi_zone *zone, char *err, size_t errlen)
{
	uint64_t used = 0, free_pages = 0;

	for (unsigned int u = 0; u < BS_NR_USES; u++)
		used += zone->used_pages[u];
	for (unsigned int t = 0; t < BS_MIGRATE_TYPES; t++)
		for (unsigned int o = 0; o < BS_NR_ORDERS; o++)
			free_pages += zone->nr_free[t][o] << o;
	if (free_pages != zone->free_pages) {
		snprintf(err, errlen,
			 "zone %s: free lists hold %" PRIu64
			 " pages, free_pages is %" PRIu64,
			 zone->name, free_pages, zone->free_pages);
		return -EUCLEAN;
	}
	if (zone->managed_pages != free_pages + used) {
		snprintf(err, errlen,
			 "zone %s: %" PRIu64 " free + %" PRIu64
			 " used pages, managed_pages is %" PRIu64,
			 zone->name, free_pages, used, zone->managed_pages);
		return -EUCLEAN;
	}
	return 0;
}

int bs_segment_open_control(const char *path, uint64_t *offset, char *err,
			    size_t errlen)
{
	struct reader r = { .path = path, .err = err, .errlen = errlen };
	struct bs_abi_header h;
	uint64_t nr = 0;
	int ret = open_segment(&r, O_RDWR);

	if (ret)
		return ret;
	ret = check_file(&r);
	if (!ret)
		ret = read_at(&r, &h, sizeof(h), 0);
	if (!ret)
		ret = check_header(&r, &h);
	if (!ret)
		ret = check_section(&r, &h, BS_SEC_CONTROL, &nr);
	if (!ret && !nr)
		ret = fail(&r, -EINVAL, "the segment has no control page");
	if (ret) {
		close(r.fd);
		return ret;
	}
	*offset = h.section[BS_SEC_CONTROL].offset;
	return r.fd;
}

/* ---- sampler ----------------------------------------------------------- */

struct bs_sampler *bs_sampler_open(const char *path, char *err, size_t errlen)
{
	struct bs_sampler *sampler = calloc(1, sizeof(*sampler));
	struct reader r = { .path = path, .err = err, .errlen = errlen };

	if (!sampler) {
		fail(&r, -ENOMEM, "out of memory");
		return NULL;
	}
	if (open_segment(&r, O_RDONLY))
		goto out_sampler;
	sampler->fd = r.fd;
	sampler->snapshot = snapshot_new(&r);
	if (!sampler->snapshot)
		goto out_close;
	if (read_sections(&r, sampler->snapshot, BS_SNAP_HEADER))
		goto out_snapshot;
	return sampler;

out_snapshot:
	bs_snapshot_free(sampler->snapshot);
out_close:
	close(r.fd);
out_sampler:
	free(sampler);
	return NULL;
}

int bs_sampler_read(struct bs_sampler *sampler, unsigned int sections,
		    char *err, size_t errlen)
{
	struct reader r = { .fd = sampler->fd,
			    .path = sampler->snapshot->path,
			    .patience = PATIENCE_ROUNDS,
			    .err = err,
			    .errlen = errlen };

	return read_sections(&r, sampler->snapshot, sections);
}

const struct bs_snapshot *bs_sampler_snapshot(const struct bs_sampler *sampler)
{
	return sampler->snapshot;
}

void bs_sampler_close(struct bs_sampler *sampler)
{
	if (!sampler)
		return;
	close(sampler->fd);
	bs_snapshot_free(sampler->snapshot);
	free(sampler);
}
