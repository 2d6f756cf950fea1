/* SPDX-License-Identifier: MIT */
/*
 * segment.c - makes the process's segment file and ends it.
 *
 * Owns:   the mapping, which pages of it may be written, the header.
 * Layer:  preload.
 * Locks:  create_lock (SYS_RANK_SEGMENT) while a forked child makes its own.
 *
 * A sparse file on a tmpfs.  A page is claimed (MADV_POPULATE_WRITE) before the
 * first store to it, because a store to a hole of a full tmpfs is a SIGBUS.  Before
 * Linux 5.14 that call is unknown; then a smaller file is allocated at the start.
 *
 * Everything below the header of the process's life uses system calls alone: no
 * allocation, no errno, no descriptor left open.  A missing /proc costs what is
 * read from there, nothing else.
 */
#include "preload/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "preload/modules.h"
#include "preload/prune.h"
#include "preload/sys/sys.h"
#include "preload/trace/trace.h"
#include "preload/trace/unwind.h"

/* Capacities when every page has to be paid for at the start. */
#define SMALL_NR_AREAS 4096U
#define SMALL_NR_NODES (1U << 15)
#define SMALL_NR_SITES (1U << 12)
#define SMALL_MAX_PFNS (1U << 18)

/* After a page could not be claimed the next attempt waits this long. */
#define RETRY_NS 1000000000ULL

#define DEFAULT_LEAK_WINDOW_NS 10000000000ULL

#define CHILD_PRUNE_EVERY 8

/*
 * A forked child makes its segment after so many calls, or so long after the first of
 * them: one that execs or ends at once never does, and has nothing but these calls to
 * show.  Before exec bash makes up to 140 calls, dash 50.
 */
#define YOUNG_CALLS 150U
#define YOUNG_NS    20000000ULL
/*
 * With tracing and a large heap it waits for more, however long they take, because
 * the segment means to visit every live object.
 */
#define SMALL_HEAP_PAGES  1024U /* 4 MiB */
#define HEAP_PAGES_A_CALL 64U

enum page_state {
	PAGE_UNKNOWN,
	PAGE_OK
};

/* Private and copied by fork; says nothing about a child's own segment. */
static struct {
	char *base;
	uint64_t bytes;
	uint8_t *page_state; /* one byte a page, enum page_state */
	uint64_t page_state_bytes;
	bool all_claimed; /* fallocated, or private memory */
	uint64_t retry_ns;
	uint64_t nonce;
	uint64_t parent_nonce;
	uint64_t created_ns; /* of the first ancestor: windows count from it */
	char exe[256];
	bool dir_reported;
	bool fork_gated; /* modules_fork_prepare() succeeded */
	struct sys_lock create_lock;
	/* Of a forked child without segment. */
	uint64_t nr_young_calls;
	uint64_t young_since_ns; /* coarse */
} self;

/* ---- layout -------------------------------------------------------------------- */

struct room {
	uint64_t areas, nodes, sites, pfns;
};

static struct room room_for(bool small)
{
	return (struct room){
		.areas = small ? SMALL_NR_AREAS : SEGMENT_NR_AREAS,
		.nodes = small ? MIN(SMALL_NR_NODES, bs_options.nr_nodes)
			       : bs_options.nr_nodes,
		.sites = small ? MIN(SMALL_NR_SITES, bs_options.nr_sites)
			       : bs_options.nr_sites,
		.pfns = MIN(mm.nr_pfns, (uint64_t)(small ? SMALL_MAX_PFNS
							 : SEGMENT_MAX_PFNS)),
	};
}

/* Fills header->section[] and file_bytes. */
static void lay_out(struct bs_abi_header *h, const struct room *room)
{
	const struct {
		uint32_t nr;
		uint32_t elem_bytes;
		uint64_t capacity;
	} parts[] = {
		{ BS_SEC_CONTROL, sizeof(struct bs_abi_control), 1 },
		{ BS_SEC_ZONES, sizeof(struct bs_abi_zone), mm.nr_zones },
		{ BS_SEC_VMSTAT, sizeof(uint64_t), BS_NR_VMSTAT },
		{ BS_SEC_CACHES, sizeof(struct bs_abi_cache),
		  SEGMENT_NR_CACHES },
		{ BS_SEC_EVENTS, BS_EVENT_BYTES(mm.nr_zones),
		  SEGMENT_NR_EVENTS },
		{ BS_SEC_MODULES, sizeof(struct bs_abi_module),
		  SEGMENT_NR_MODULES },
		{ BS_SEC_NODES, sizeof(struct bs_abi_node), room->nodes },
		{ BS_SEC_SITES, sizeof(struct bs_abi_site), room->sites },
		{ BS_SEC_AREAS, sizeof(struct bs_abi_area), room->areas },
		{ BS_SEC_PAGEMAP, 1, room->pfns },
		{ BS_SEC_DEVICES, sizeof(struct bs_abi_device),
		  SEGMENT_NR_DEVICES },
		{ BS_SEC_OWNERS, sizeof(struct bs_abi_owner),
		  SEGMENT_NR_OWNERS },
		{ BS_SEC_ESTIMATES, sizeof(struct bs_abi_estimate),
		  room->sites },
		{ BS_SEC_THREADS, sizeof(struct bs_abi_thread),
		  bs_options.trace_threads ? SEGMENT_NR_THREADS : 0 },
		{ BS_SEC_AGES, sizeof(struct bs_abi_ages), room->sites },
		{ BS_SEC_PINS, sizeof(struct bs_abi_pins), SEGMENT_NR_PINS },
	};
	uint64_t at = BS_ABI_PAGE_BYTES;
	unsigned int i;

	static_assert(ARRAY_SIZE(parts) == BS_ABI_NR_SECTIONS, "all of them");
	static_assert(SEGMENT_NR_CACHES >= MM_MAX_CACHES, "a slot for each");
	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		struct bs_abi_section *s = &h->section[parts[i].nr];

		s->offset = at;
		s->capacity = parts[i].capacity;
		s->elem_bytes = parts[i].elem_bytes;
		at += ALIGN_UP(parts[i].capacity * parts[i].elem_bytes,
			       (uint64_t)BS_ABI_PAGE_BYTES);
	}
	h->file_bytes = at;
	h->section[BS_SEC_CONTROL].count = 1;
	h->section[BS_SEC_VMSTAT].count = BS_NR_VMSTAT;
	h->section[BS_SEC_AGES].count = 1; /* record 0 */
}

/* ---- who we are ------------------------------------------------------------------ */

/* Reads a small file whole; the length, 0 when there is none. */
static size_t read_file(const char *path, char *buf, size_t len)
{
	long fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	long n;
	size_t got = 0;

	if (sys_is_err(fd))
		return 0;
	while (got < len - 1) {
		n = sys_read((int)fd, buf + got, len - 1 - got);
		if (n == -EINTR)
			continue;
		if (sys_is_err(n) || n == 0)
			break;
		got += (size_t)n;
	}
	sys_close((int)fd);
	buf[got] = '\0';
	return got;
}

/* Field 22 of /proc/PID/stat; comm (field 2) may hold blanks and brackets. */
uint64_t segment_start_ticks(const char *stat_path)
{
	char buf[1024], *p;
	unsigned int field;
	uint64_t ticks = 0;

	if (!read_file(stat_path, buf, sizeof(buf)))
		return 0;
	p = strrchr(buf, ')');
	for (field = 2; p && field < 22; field++) {
		p = strchr(p, ' ');
		if (p)
			p++;
	}
	while (p && *p >= '0' && *p <= '9')
		ticks = ticks * 10 + (uint64_t)(*p++ - '0');
	return ticks;
}

static size_t read_link(const char *path, char *buf, size_t len)
{
	long n = sys_readlinkat(AT_FDCWD, path, buf, len - 1);

	if (sys_is_err(n))
		n = 0;
	buf[n] = '\0';
	return (size_t)n;
}

/* "pid:[4026531836]" */
static uint64_t pidns_inode(void)
{
	char buf[64], *p;
	uint64_t inode = 0;

	read_link("/proc/self/ns/pid", buf, sizeof(buf));
	p = strchr(buf, '[');
	while (p && *++p >= '0' && *p <= '9')
		inode = inode * 10 + (uint64_t)(*p - '0');
	return inode;
}

static void read_cmdline(char *to, size_t len)
{
	size_t n = read_file("/proc/self/cmdline", to, len), i;

	while (n && !to[n - 1])
		n--;
	for (i = 0; i < n; i++)
		if (!to[i])
			to[i] = ' ';
	to[n] = '\0';
}

static void find_exe(void)
{
	const char *execfn;

	if (read_link("/proc/self/exe", self.exe, sizeof(self.exe)))
		return;
	execfn = (const char *)getauxval(AT_EXECFN);
	sys_format(self.exe, sizeof(self.exe), "%s", execfn ? execfn : "");
}

static uint64_t first_nonce(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint64_t nonce = sys_now_ns();

	if (random)
		memcpy(&nonce, random, sizeof(nonce));
	return nonce;
}

/* A child has its parent's AT_RANDOM. */
static uint64_t child_nonce(uint64_t parent)
{
	uint64_t h = parent ^ (uint64_t)bs_pid << 32 ^ sys_now_ns();

	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ULL;
	h = (h ^ h >> 27) * 0x94d049bb133111ebULL;
	return h ^ h >> 31;
}

/* What the kernel says about us; a sandboxed child does not ask. */
static void fill_identity(struct bs_abi_header *h)
{
	struct timespec real = { 0 };

	h->start_ticks = segment_start_ticks("/proc/self/stat");
	h->pidns_inode = pidns_inode();
	h->ppid = (int32_t)sys_call(SYS_getppid, 0, 0, 0, 0, 0, 0);
	h->uid = (uint32_t)sys_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);
	clock_gettime(CLOCK_REALTIME, &real); /* vdso */
	h->created_realtime_ns =
		(uint64_t)real.tv_sec * 1000000000ULL + (uint64_t)real.tv_nsec;
	sys_call(SYS_prctl, PR_GET_NAME, (long)h->comm, 0, 0, 0, 0);
	read_cmdline(h->cmdline, sizeof(h->cmdline));
}

static void fill_header(struct bs_abi_header *h)
{
	h->version = BS_ABI_VERSION;
	h->compat = BS_ABI_COMPAT;
	h->header_bytes = sizeof(*h);
	h->nr_sections = BS_ABI_NR_SECTIONS;
	h->page_bytes = BS_ABI_PAGE_BYTES;
	h->state = BS_STATE_RUNNING;
	h->pid = bs_pid;
	h->nonce = self.nonce;
	h->parent_nonce = self.parent_nonce;
	h->nr_cpus = mm.nr_slots;
	h->created_ns = self.created_ns;
	h->trace_mode = bs_options.trace_mode;
	h->trace_limit_bytes = bs_options.trace_memory_bytes;
	h->nr_zones = mm.nr_zones;
	h->leak_window_ns = bs_options.leak_window_ns
				    ? bs_options.leak_window_ns
				    : DEFAULT_LEAK_WINDOW_NS;
	h->cohort_ns = h->leak_window_ns;
	h->arena_base = (uint64_t)mm.base;
	sys_format(h->exe, sizeof(h->exe), "%s", self.exe);
	sys_format(h->options, sizeof(h->options), "%s", bs_options.text);
}

/* ---- claiming ------------------------------------------------------------------------ */

static bool in_mapping(const void *p, size_t len)
{
	uint64_t at = (uint64_t)((const char *)p - self.base);

	return at < self.bytes && len <= self.bytes - at;
}

static bool is_claimed(uint64_t page)
{
	return __atomic_load_n(&self.page_state[page], __ATOMIC_ACQUIRE) ==
	       PAGE_OK;
}

static void account(uint64_t bytes, uint64_t failed)
{
	struct bs_abi_header *h = (struct bs_abi_header *)(void *)self.base;

	__atomic_fetch_add(&h->bytes_published, bytes, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->publish_failed, failed, __ATOMIC_RELAXED);
}

/*
 * Pages [first, end), none of them claimed when it was looked.  The header's own page
 * is claimed, and accounted for, before all others.
 */
static bool claim_pages(uint64_t first, uint64_t end)
{
	char *p = self.base + first * PAGE_SIZE;
	uint64_t page, nr = 0;
	long ret =
		sys_madvise(p, (end - first) * PAGE_SIZE, MADV_POPULATE_WRITE);

	if (ret) {
		__atomic_store_n(&self.retry_ns, sys_now_coarse_ns() + RETRY_NS,
				 __ATOMIC_RELAXED);
		if (first)
			account(0, end - first);
		return false;
	}
	for (page = first; page < end; page++)
		nr += __atomic_exchange_n(&self.page_state[page], PAGE_OK,
					  __ATOMIC_RELEASE) != PAGE_OK;
	if (first)
		account(nr * PAGE_SIZE, 0);
	return true;
}

bool segment_claim(const void *p, size_t len)
{
	uint64_t page, run, end;

	if (unlikely(!in_mapping(p, len)))
		return false;
	if (self.all_claimed)
		return true;
	page = (uint64_t)((const char *)p - self.base) >> PAGE_SHIFT;
	end = ((uint64_t)((const char *)p + (len ? len - 1 : 0) - self.base) >>
	       PAGE_SHIFT) +
	      1;
	while (page < end) {
		if (likely(is_claimed(page))) {
			page++;
			continue;
		}
		for (run = page + 1; run < end && !is_claimed(run); run++)
			;
		if (sys_now_coarse_ns() <
		    __atomic_load_n(&self.retry_ns, __ATOMIC_RELAXED))
			return false;
		if (!claim_pages(page, run))
			return false;
		page = run;
	}
	return true;
}

/* From now on the page is ours alone; readers of the file see a hole. */
static bool make_private(uint64_t page)
{
	char *p = self.base + page * PAGE_SIZE;
	long ret = sys_mmap(
		p, PAGE_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);

	if (sys_is_err(ret))
		return false;
	sys_madvise(p, PAGE_SIZE, MADV_DONTFORK);
	__atomic_store_n(&self.page_state[page], PAGE_OK, __ATOMIC_RELEASE);
	return true;
}

/*
 * Called under the lock of the table that p is in, so nobody stores to a page that
 * is being replaced: a page is replaced before the first store to it.
 */
bool segment_claim_or_private(const void *p, size_t len)
{
	uint64_t page, end;

	if (likely(segment_claim(p, len)))
		return true;
	if (!in_mapping(p, len))
		return false;
	page = (uint64_t)((const char *)p - self.base) >> PAGE_SHIFT;
	end = ((uint64_t)((const char *)p + (len ? len - 1 : 0) - self.base) >>
	       PAGE_SHIFT) +
	      1;
	for (; page < end; page++)
		if (!is_claimed(page) && !make_private(page))
			return false;
	return true;
}

/* ---- the directory and the file ------------------------------------------------------- */

static bool is_ours(long fd, mode_t type, mode_t refused)
{
	struct stat st;
	uint32_t uid = (uint32_t)sys_call(SYS_geteuid, 0, 0, 0, 0, 0, 0);

	return sys_call(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) == 0 &&
	       (st.st_mode & S_IFMT) == type && st.st_uid == uid &&
	       !(st.st_mode & refused);
}

/* A descriptor, or -errno. */
static long open_dir(void)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	long fd = sys_openat(AT_FDCWD, bs_options.dir, flags, 0);

	if (fd == -ENOENT) {
		sys_mkdirat(AT_FDCWD, bs_options.dir, 0700);
		fd = sys_openat(AT_FDCWD, bs_options.dir, flags, 0);
	}
	if (sys_is_err(fd))
		return fd;
	if (is_ours(fd, S_IFDIR, S_IWGRP | S_IWOTH))
		return fd;
	sys_close((int)fd);
	if (!self.dir_reported)
		sys_say("%s is not ours alone: nothing is published",
			bs_options.dir);
	self.dir_reported = true;
	return -EACCES;
}

/* Maps the open file; all of it is paid for when `small`. */
static long map_file(long fd, uint64_t bytes, bool small)
{
	long ret = sys_ftruncate((int)fd, bytes);

	if (!ret && small)
		ret = sys_fallocate((int)fd, 0, 0, bytes);
	if (ret)
		return ret;
	return sys_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
			(int)fd, 0);
}

static bool populate_is_known(void)
{
	/* an empty range: 0, or EINVAL for advice that the kernel lacks */
	return sys_madvise(self.page_state, 0, MADV_POPULATE_WRITE) == 0;
}

static int reset_claims(uint64_t bytes)
{
	uint64_t want = ALIGN_UP(bytes >> PAGE_SHIFT, PAGE_SIZE);

	if (self.page_state)
		sys_munmap(self.page_state, self.page_state_bytes);
	self.page_state = sys_reserve(want);
	self.page_state_bytes = want;
	self.retry_ns = 0;
	self.all_claimed = false;
	return self.page_state ? 0 : -ENOMEM;
}

static void adopt_mapping(long base, uint64_t bytes)
{
	self.base = (char *)base;
	self.bytes = bytes;
	sys_madvise(self.base, bytes, MADV_DONTFORK);
	sys_madvise(self.base, bytes, MADV_DONTDUMP);
}

/*
 * What is written, or read, without asking: header, control page, zones, counters.
 * lay_out() puts them in front.
 */
static bool claim_fixed(const struct bs_abi_header *h)
{
	uint64_t end = h->section[BS_SEC_CACHES].offset >> PAGE_SHIFT;

	return self.all_claimed || (claim_pages(0, 1) && claim_pages(1, end));
}

/* 0 with the mapping in place and the file named; -errno. */
static int make_file(long dir, const char *name, struct bs_abi_header *h,
		     bool small)
{
	struct room room = room_for(small);
	long fd, base;

	lay_out(h, &room);
	if (h->file_bytes > sys_rlimit_fsize())
		return -EFBIG;
	if (reset_claims(h->file_bytes))
		return -ENOMEM;
	fd = sys_openat((int)dir, name,
			O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			0600);
	if (sys_is_err(fd))
		return (int)fd;
	base = map_file(fd, h->file_bytes, small);
	sys_close((int)fd);
	if (sys_is_err(base))
		goto out_unlink;
	adopt_mapping(base, h->file_bytes);
	self.all_claimed = small;
	if (claim_fixed(h))
		return 0;
	sys_munmap(self.base, self.bytes);
	base = -ENOSPC;
out_unlink:
	sys_unlinkat((int)dir, name, 0);
	self.base = NULL;
	self.bytes = 0;
	return (int)base;
}

/* "<pid>-<start>-<nonce, 16 hex digits>.seg" */
void segment_file_name(char *name, size_t len, const struct bs_abi_header *h)
{
	char nonce[17];
	unsigned int i;

	for (i = 0; i < 16; i++)
		nonce[i] = "0123456789abcdef"[h->nonce >> (60 - 4 * i) & 15];
	nonce[16] = '\0';
	sys_format(name, len, "%d-%lu-%s.seg", h->pid, h->start_ticks, nonce);
}

static int make_named_file(long dir, struct bs_abi_header *h)
{
	char name[64];

	segment_file_name(name, sizeof(name), h);
	if (reset_claims(BS_ABI_PAGE_BYTES))
		return -ENOMEM;
	return make_file(dir, name, h, !populate_is_known());
}

static int make_private_tables(struct bs_abi_header *h)
{
	struct room room = room_for(false);
	void *base;

	lay_out(h, &room);
	base = sys_reserve(h->file_bytes);
	if (!base)
		return -ENOMEM;
	adopt_mapping((long)base, h->file_bytes);
	self.all_claimed = true;
	return 0;
}

/* ---- life --------------------------------------------------------------------------------- */

static void *section(uint32_t nr)
{
	const struct bs_abi_header *h = (const void *)self.base;

	return self.base + h->section[nr].offset;
}

/* Rounded up, so that a window begins with the first tick that is not before it. */
static uint64_t windows_per_tick(uint64_t cohort_ns)
{
	unsigned int shift = SEGMENT_WINDOW_SHIFT + BS_TICK_SHIFT;

	if (!cohort_ns)
		return 0;
	return (uint64_t)(((segment_u128)1 << shift) / cohort_ns) + 1;
}

/* Hands the engine and the tracer what they write to. */
static void set_pointers(bool published)
{
	struct bs_abi_header *h = (struct bs_abi_header *)(void *)self.base;
	struct mm_pub *pub = &mm_wipe->pub;
	struct segment *seg = segment_self();

	seg->control = section(BS_SEC_CONTROL);
	seg->nodes = section(BS_SEC_NODES);
	seg->sites = section(BS_SEC_SITES);
	seg->estimates = section(BS_SEC_ESTIMATES);
	seg->ages = section(BS_SEC_AGES);
	seg->modules = section(BS_SEC_MODULES);
	seg->threads = section(BS_SEC_THREADS);
	seg->nr_nodes = h->section[BS_SEC_NODES].capacity;
	seg->nr_sites = h->section[BS_SEC_SITES].capacity;
	seg->nr_modules = h->section[BS_SEC_MODULES].capacity;
	seg->published = published;
	seg->created_ns = h->created_ns;
	seg->windows_per_tick = windows_per_tick(h->cohort_ns);
	seg->header = h;
	if (!published)
		return;
	pub->zones = section(BS_SEC_ZONES);
	pub->caches = section(BS_SEC_CACHES);
	pub->areas = section(BS_SEC_AREAS);
	pub->pagemap = section(BS_SEC_PAGEMAP);
	pub->events = section(BS_SEC_EVENTS);
	pub->pins = section(BS_SEC_PINS);
	pub->vmstat = section(BS_SEC_VMSTAT);
	pub->devices = section(BS_SEC_DEVICES);
	pub->owners = section(BS_SEC_OWNERS);
	pub->claim = segment_claim;
	pub->header = h;
}

/* The directory, the file, and room for others; -errno. */
static int make_published(struct bs_abi_header *h)
{
	long dir;
	int ret;

	if (!bs_options.publish)
		return -EPERM;
	dir = open_dir();
	if (sys_is_err(dir))
		return (int)dir;
	ret = make_named_file(dir, h);
	/* a shell's children follow each other closely: one in a few looks */
	if (!ret && (!self.parent_nonce || h->pid % CHILD_PRUNE_EVERY == 0))
		prune_dead((int)dir, h);
	sys_close((int)dir);
	return ret;
}

/* Everything but the tracer's part.  0, or -errno: private tables. */
static int make_segment(bool may_open)
{
	struct bs_abi_header h;
	int ret = -EPERM;

	memset(&h, 0, sizeof(h));
	fill_header(&h);
	if (may_open) {
		fill_identity(&h);
		ret = make_published(&h);
	}
	if (ret && make_private_tables(&h))
		return -ENOMEM; /* not even that: nothing is counted */
	h.bytes_published = self.all_claimed ? h.file_bytes
					     : h.section[BS_SEC_CACHES].offset;
	memcpy(self.base, &h, sizeof(h)); /* magic is still 0 */
	set_pointers(ret == 0);
	if (!ret)
		mm_publish_all();
	modules_republish();
	return ret;
}

/* Readers may look from now on. */
static void make_ready(void)
{
	struct segment *seg = segment_self();

	if (seg->header)
		__atomic_store_n(&seg->header->magic, BS_ABI_MAGIC,
				 __ATOMIC_RELEASE);
	__atomic_store_n(&seg->ready, 1, __ATOMIC_RELEASE);
}

extern const char __ehdr_start[] __attribute__((visibility("hidden")));
extern const char _end[] __attribute__((visibility("hidden")));

/* Our own frames are left out, unless we are linked into the program itself. */
static void find_self(void)
{
	uintptr_t start = (uintptr_t)__ehdr_start, end = (uintptr_t)_end;
	uintptr_t program = getauxval(AT_PHDR);

	if (program - start >= end - start)
		unwind_set_self(start, end);
}

int segment_create(void)
{
	int ret;

	self.nonce = first_nonce();
	self.created_ns = sys_now_ns();
	find_exe();
	find_self();
	modules_init(self.exe);
	ret = make_segment(true);
	segment_modules();
	make_ready();
	return ret;
}

void segment_fork_prepare(void)
{
	self.fork_gated = modules_fork_prepare();
}

void segment_fork_parent(void)
{
	if (self.fork_gated)
		modules_fork_parent();
}

void segment_child(bool raw)
{
	self.create_lock.word = 0;
	self.nr_young_calls = 0;
	self.base = NULL; /* the mapping stayed with the parent */
	self.bytes = 0;
	modules_fork_child(raw || !self.fork_gated);
}

static void publish_child(void)
{
	int ret;

	self.parent_nonce = self.nonce;
	self.nonce = child_nonce(self.nonce);
	ret = make_segment(!bs_sandboxed);
	if (ret)
		mm_count(BS_VMSTAT_CHILD_UNPUBLISHED, 1);
	trace_republish();
	make_ready();
}

static uint64_t heap_pages(void)
{
	uint64_t pages = 0;
	unsigned int i;

	for (i = 0; i < mm.nr_zones; i++)
		pages += mm.zone[i].stat.managed_pages -
			 mm.zone[i].stat.free_pages;
	return pages;
}

bool segment_child_lock(void)
{
	sys_lock(&self.create_lock, SYS_RANK_SEGMENT);
	if (!segment_self()->ready)
		return true;
	segment_child_unlock();
	return false;
}

void segment_child_unlock(void)
{
	sys_unlock(&self.create_lock, SYS_RANK_SEGMENT);
}

/* One more call.  Create lock held. */
static bool is_young(void)
{
	uint64_t now_ns = sys_now_coarse_ns(), pages = heap_pages();

	if (!self.nr_young_calls++)
		self.young_since_ns = now_ns;
	if (bs_tracing && pages > SMALL_HEAP_PAGES)
		return self.nr_young_calls <
		       MAX((uint64_t)YOUNG_CALLS, pages / HEAP_PAGES_A_CALL);
	return self.nr_young_calls < YOUNG_CALLS &&
	       now_ns - self.young_since_ns < YOUNG_NS;
}

void segment_child_grew(void)
{
	if (is_young())
		return;
	if (bs_is_owner()) /* else: a vfork child of a forked child */
		publish_child();
}

void segment_child_called(void)
{
	if (!segment_child_lock())
		return;
	segment_child_grew();
	segment_child_unlock();
}

void segment_destroy(void)
{
	if (self.base)
		sys_munmap(self.base, self.bytes);
	if (self.page_state)
		sys_munmap(self.page_state, self.page_state_bytes);
	modules_destroy();
	memset(&self, 0, sizeof(self));
}

void segment_exit(void)
{
	struct bs_abi_header *h = segment_self()->header;

	if (!h || !segment_self()->published)
		return;
	segment_modules();
	__atomic_store_n(&h->exited_ns, sys_now_ns(), __ATOMIC_RELAXED);
	__atomic_store_n(&h->state, BS_STATE_EXITED, __ATOMIC_RELEASE);
}
