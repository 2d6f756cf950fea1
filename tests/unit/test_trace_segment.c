/* SPDX-License-Identifier: MIT */
/*
 * test_trace_segment.c - the segment file: where it is, what it says, who may not
 * have one; forked children; dead segments; the module table.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "preload/sys/arch.h"
#include "tests/unit/trace_harness.h"

static struct bs_abi_header file_header(const char *path)
{
	struct bs_abi_header h;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	close(fd);
	return h;
}

static void again(void)
{
	trace_destroy();
	segment_destroy();
	memset(mm_wipe->client, 0, sizeof(mm_wipe->client));
	memset(&mm_wipe->pub, 0, sizeof(mm_wipe->pub));
	segment_create();
	trace_init();
}

static int child_status(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

#define CHILD_CHECK(cond)                                                      \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "child: not true: %s\n", #cond);       \
			_exit(1);                                              \
		}                                                              \
	} while (0)

/* ---- the file ---------------------------------------------------------------------- */

static void create_makes_a_private_file_with_a_whole_header(void **state)
{
	const char *path = harness_segment_path(getpid());
	struct bs_abi_header h = file_header(path);
	char name[PATH_MAX], exe[PATH_MAX];
	struct stat st;
	unsigned int i;
	ssize_t n;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, h.file_bytes);
	assert_true((uint64_t)st.st_blocks * 512 < h.file_bytes / 8);
	assert_true(h.magic == BS_ABI_MAGIC);
	assert_int_equal(h.version, BS_ABI_VERSION);
	assert_int_equal(h.pid, getpid());
	assert_int_equal(h.ppid, getppid());
	assert_int_equal(h.uid, geteuid());
	assert_int_equal(h.state, BS_STATE_RUNNING);
	assert_int_not_equal(h.start_ticks, 0);
	assert_int_not_equal(h.pidns_inode, 0);
	assert_int_equal(h.leak_window_ns, bs_options.leak_window_ns);
	snprintf(name, sizeof(name), "%s/%d-%llu-%016llx.seg", bs_options.dir,
		 h.pid, (unsigned long long)h.start_ticks,
		 (unsigned long long)h.nonce);
	assert_string_equal(path, name);
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	assert_true(n > 0);
	exe[n] = '\0';
	assert_string_equal(h.exe, exe);
	for (i = 0; i < BS_ABI_NR_SECTIONS; i++) {
		const struct bs_abi_section *s = &h.section[i];

		assert_int_equal(s->offset % BS_ABI_PAGE_BYTES, 0);
		assert_true(s->offset + s->capacity * s->elem_bytes <=
			    h.file_bytes);
		assert_true(s->count <= s->capacity || i == BS_SEC_EVENTS);
	}
}

static int nr_descriptors(void)
{
	int fd, nr = 0;

	for (fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

static void create_leaves_no_descriptor(void **state)
{
	int before = nr_descriptors();

	(void)state;
	again();
	assert_int_equal(nr_descriptors(), before);
}

static void create_in_missing_directory_makes_it_private(void **state)
{
	char dir[BS_DIR_MAX];
	struct stat st;
	const char *path;

	(void)state;
	strcpy(dir, bs_options.dir);
	strcat(bs_options.dir, "/sub");
	again();
	path = harness_segment_path(getpid());
	assert_int_equal(stat(bs_options.dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	unlink(path);
	rmdir(bs_options.dir);
	strcpy(bs_options.dir, dir);
}

static void assert_counts_go_on_unpublished(void)
{
	char why[256];
	void *p = traced_alloc(100);

	assert_non_null(segment_self()->header);
	assert_int_equal(segment_self()->published, 0);
	assert_null(mm_wipe->pub.header);
	if (trace_verify(why, sizeof(why)))
		fail_msg("%s", why);
	traced_free(p);
}

static void create_in_open_directory_is_refused(void **state)
{
	(void)state;
	unlink(harness_segment_path(getpid()));
	assert_int_equal(chmod(bs_options.dir, 0777), 0);
	again();
	assert_int_equal(harness_nr_segments(), 0);
	assert_counts_go_on_unpublished();
}

static void create_through_symlink_is_refused(void **state)
{
	char dir[BS_DIR_MAX];

	(void)state;
	unlink(harness_segment_path(getpid()));
	strcpy(dir, bs_options.dir);
	strcat(bs_options.dir, "-link");
	assert_int_equal(symlink(dir, bs_options.dir), 0);
	again();
	assert_int_equal(unlink(bs_options.dir), 0);
	strcpy(bs_options.dir, dir);
	assert_int_equal(harness_nr_segments(), 0);
	assert_counts_go_on_unpublished();
}

static void create_with_publish_off_makes_no_file(void **state)
{
	(void)state;
	unlink(harness_segment_path(getpid()));
	bs_options.publish = false;
	again();
	assert_int_equal(harness_nr_segments(), 0);
	assert_counts_go_on_unpublished();
}

/* SIGXFSZ would kill us. */
static void create_beyond_file_size_limit_is_refused(void **state)
{
	struct rlimit before, limit;

	(void)state;
	unlink(harness_segment_path(getpid()));
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	limit.rlim_cur = 100000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	again();
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(harness_nr_segments(), 0);
	assert_counts_go_on_unpublished();
}

#ifndef BS_TSAN /* whose own thread does not survive the filter */
/* madvise() as before Linux 5.14: the advice to populate is unknown. */
static void forget_populate(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 22, 0, 1),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 23, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
	};
	struct sock_fprog prog = { .len = ARRAY_SIZE(filter),
				   .filter = filter };

	CHILD_CHECK(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	CHILD_CHECK(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
	CHILD_CHECK(madvise(NULL, 0, 23) && errno == EINVAL);
	CHILD_CHECK(!madvise(NULL, 0, 4));
}

static void create_on_old_kernel_pays_for_a_small_file(void **state)
{
	pid_t pid;

	(void)state;
	unlink(harness_segment_path(getpid()));
	pid = fork();
	if (!pid) {
		const struct bs_abi_header *h;
		struct stat st;
		char why[256];
		void *p;

		mm_fork_prepare(); /* the engine as after a fork */
		mm_fork_child();
		sys_rank_reset();
		bs_pid = getpid();
		forget_populate();
		again();
		CHILD_CHECK(segment_self()->published);
		h = segment_self()->header;
		CHILD_CHECK(!stat(harness_segment_path(getpid()), &st));
		CHILD_CHECK((uint64_t)st.st_blocks * 512 >= h->file_bytes);
		CHILD_CHECK(h->bytes_published == h->file_bytes);
		CHILD_CHECK(h->section[BS_SEC_SITES].capacity <
			    bs_options.nr_sites);
		p = traced_alloc(100);
		CHILD_CHECK(h->section[BS_SEC_SITES].count > 1);
		CHILD_CHECK(h->section[BS_SEC_NODES].count > 3);
		CHILD_CHECK(!trace_verify(why, sizeof(why)));
		traced_free(p);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
}

#endif

static void claim_outside_of_the_mapping_is_refused(void **state)
{
	const struct segment *seg = segment_self();
	static char elsewhere[16];

	(void)state;
	assert_true(segment_claim(seg->header, 1));
	assert_true(segment_claim(&seg->sites[1000], sizeof(seg->sites[0])));
	assert_false(segment_claim(elsewhere, 1));
	assert_false(segment_claim((char *)seg->header - 1, 1));
	assert_false(segment_claim(
		(char *)seg->header + seg->header->file_bytes - 1, 2));
}

static void claim_accounts_each_page_once(void **state)
{
	struct segment *seg = segment_self();
	uint64_t before = seg->header->bytes_published;
	const char *p = (const char *)&seg->sites[20000];

	(void)state;
	p -= (uintptr_t)p % PAGE_SIZE;
	assert_true(segment_claim(p, 2 * PAGE_SIZE));
	assert_true(segment_claim(p + 100, PAGE_SIZE));
	assert_int_equal(seg->header->bytes_published - before, 2 * PAGE_SIZE);
}

static void exit_is_told(void **state)
{
	struct bs_abi_header h;

	(void)state;
	segment_exit();
	h = file_header(harness_segment_path(getpid()));
	assert_int_equal(h.state, BS_STATE_EXITED);
	assert_true(h.exited_ns >= h.created_ns);
}

/* ---- forked children ------------------------------------------------------------------- */

static void child_gets_its_own_segment_when_it_made_calls(void **state)
{
	uint64_t nonce = segment_self()->header->nonce;
	struct bs_abi_header h;
	pid_t pid = traced_fork();

	(void)state;
	if (!pid) {
		CHILD_CHECK(!segment_self()->header);
		CHILD_CHECK(traced_alloc(10));
		CHILD_CHECK(!segment_self()->header);
		CHILD_CHECK(traced_grow_up());
		CHILD_CHECK(segment_self()->published);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
	h = file_header(harness_segment_path(pid));
	assert_true(h.magic == BS_ABI_MAGIC);
	assert_int_equal(h.pid, pid);
	assert_true(h.parent_nonce == nonce);
	assert_true(h.nonce != nonce);
}

static void child_that_makes_few_calls_makes_no_file(void **state)
{
	void *p = traced_alloc(500);
	pid_t pid = traced_fork();

	(void)state;
	if (!pid) {
		traced_free(p);
		CHILD_CHECK(traced_alloc(10));
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(harness_nr_segments(), 1);
	traced_free(p);
}

/* Before it has a segment it knows the time since its first ancestor's start. */
static void child_without_segment_notes_when_objects_are_born(void **state)
{
	uint64_t created_ns = segment_self()->created_ns;
	pid_t pid = traced_fork();

	(void)state;
	if (!pid) {
		void *p = traced_alloc(10);
		uint64_t ns = sys_now_ns() - created_ns;
		struct mm_block b;

		CHILD_CHECK(!segment_self()->header);
		CHILD_CHECK(!mm_lookup(p, &b));
		CHILD_CHECK(tag_birth(*b.tag) <= ns >> BS_TICK_SHIFT);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
}

/* Inherited objects are live in the child's books, those it freed first are not. */
static void child_counters_are_rebuilt_from_live_tags(void **state)
{
	void *p[20];
	uint32_t site = 0;
	struct mm_block b;
	volatile unsigned int i; /* one place: not unrolled */
	pid_t pid;

	(void)state;
	for (i = 0; i < 20; i++)
		p[i] = traced_alloc(1000);
	assert_int_equal(mm_lookup(p[0], &b), 0);
	site = tag_site(*b.tag);
	pid = traced_fork();
	if (!pid) {
		const struct bs_abi_site *s;
		char why[256];

		for (i = 0; i < 5; i++)
			traced_free(p[i]);
		CHILD_CHECK(traced_grow_up());
		s = &segment_self()->sites[site];
		CHILD_CHECK(s->allocs - s->frees == 15);
		CHILD_CHECK(s->bytes_allocated - s->bytes_freed == 15000);
		CHILD_CHECK(!trace_verify(why, sizeof(why)));
		for (; i < 20; i++)
			traced_free(p[i]);
		CHILD_CHECK(s->allocs == s->frees);
		CHILD_CHECK(!trace_verify(why, sizeof(why)));
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(segment_self()->sites[site].allocs, 20);
	assert_int_equal(segment_self()->sites[site].frees, 0);
}

static size_t published_stack(uint32_t site, uint64_t *pcs)
{
	const struct segment *seg = segment_self();
	uint32_t node = seg->sites[site].node;
	size_t nr = 0;

	for (; node && nr < TRACE_MAX_FRAMES; node = seg->nodes[node].parent)
		pcs[nr++] = seg->nodes[node].pc;
	return nr;
}

/* Of a live object's site, and of one that counts again in the child alone. */
static void child_keeps_stacks_and_their_numbers(void **state)
{
	uint64_t before[TRACE_MAX_FRAMES], after[TRACE_MAX_FRAMES];
	struct mm_block b;
	uint32_t site[2];
	volatile unsigned int i; /* or the loop is peeled into two places */
	size_t nr;
	void *p;
	pid_t pid = -1;

	(void)state;
	for (i = 0; i < 4; i++) {
		if (i == 2) {
			pid = traced_fork();
			if (pid)
				break;
			CHILD_CHECK(traced_grow_up());
		}
		p = traced_alloc(10); /* one place in both processes */
		CHILD_CHECK(!mm_lookup(p, &b));
		if (i < 2)
			site[i % 2] = tag_site(*b.tag);
		CHILD_CHECK(tag_site(*b.tag) == site[0]);
		if (i == 0)
			traced_free(p);
		nr = published_stack(site[0], i < 2 ? before : after);
		CHILD_CHECK(nr > 3);
		if (i >= 2)
			CHILD_CHECK(
				!memcmp(before, after, nr * sizeof(*after)));
	}
	if (!pid) {
		CHILD_CHECK(
			segment_self()->header->section[BS_SEC_MODULES].count >
			2);
		CHILD_CHECK(segment_self()->sites[site[0]].allocs == 3);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
}

static void child_under_a_filter_publishes_nothing(void **state)
{
	pid_t pid = traced_fork();

	(void)state;
	if (!pid) {
		bs_sandboxed = true;
		CHILD_CHECK(traced_grow_up());
		CHILD_CHECK(!segment_self()->published);
		CHILD_CHECK(mm.vmstat[BS_VMSTAT_CHILD_UNPUBLISHED] == 1);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(harness_nr_segments(), 1);
}

static void child_of_a_child_is_a_third_segment(void **state)
{
	pid_t pid = traced_fork();

	(void)state;
	if (!pid) {
		CHILD_CHECK(traced_grow_up());
		pid = traced_fork();
		if (!pid) {
			CHILD_CHECK(traced_grow_up());
			_exit(0);
		}
		CHILD_CHECK(waitpid(pid, NULL, 0) == pid);
		_exit(0);
	}
	assert_int_equal(child_status(pid), 0);
	assert_int_equal(harness_nr_segments(), 3);
}

/* ---- dead segments --------------------------------------------------------------------------- */

/* A pid that is certainly gone. */
static pid_t gone_pid(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void make_file(const char *name, time_t age_s)
{
	struct timespec t[2];
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", bs_options.dir, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	clock_gettime(CLOCK_REALTIME, &t[0]);
	t[0].tv_sec -= age_s;
	t[1] = t[0];
	assert_int_equal(futimens(fd, t), 0);
	close(fd);
}

static bool has_file(const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", bs_options.dir, name);
	return access(path, F_OK) == 0;
}

static void dead_segments_beyond_the_limit_go_oldest_first(void **state)
{
	char name[64], alive[64];
	pid_t pid = gone_pid();
	unsigned int i;

	(void)state;
	snprintf(alive, sizeof(alive), "%d-0-%016x.seg", (int)getppid(), 1);
	make_file(alive, 100000);
	make_file("1-2-xyz.seg", 100000); /* not a segment's name */
	for (i = 0; i < SEGMENT_MAX_DEAD + 10; i++) {
		snprintf(name, sizeof(name), "%d-7-%016x.seg", (int)pid, i);
		make_file(name, 1000 - i);
	}
	unlink(harness_segment_path(getpid()));
	again();
	for (i = 0; i < SEGMENT_MAX_DEAD + 10; i++) {
		snprintf(name, sizeof(name), "%d-7-%016x.seg", (int)pid, i);
		assert_int_equal(has_file(name),
				 i >= SEGMENT_MAX_DEAD + 10 -
						 SEGMENT_KEEP_DEAD);
	}
	assert_true(has_file(alive));
	assert_true(has_file("1-2-xyz.seg"));
}

/* ---- modules ------------------------------------------------------------------------------------ */

static const struct bs_abi_module *module_at(uintptr_t pc)
{
	const struct segment *seg = segment_self();
	uint64_t i = seg->header->section[BS_SEC_MODULES].count;

	while (i--)
		if (pc >= seg->modules[i].start && pc < seg->modules[i].end)
			return &seg->modules[i];
	return NULL;
}

static bool path_has(const struct bs_abi_module *m, const char *part)
{
	char path[sizeof(m->path)];

	if (!m)
		return false;
	memcpy(path, m->path, sizeof(path));
	return strstr(path, part) != NULL;
}

static void modules_know_program_and_libraries(void **state)
{
	const uintptr_t library = (uintptr_t)_cmocka_run_group_tests;
	const struct bs_abi_module *m = module_at((uintptr_t)module_at);
	char exe[PATH_MAX] = "";

	(void)state;
	assert_true(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	assert_non_null(m);
	assert_string_equal(m->path, exe);
	m = module_at(library);
	assert_true(path_has(m, "/libcmocka.so"));
	assert_in_range(m->build_id_bytes, 8, 32);
	assert_int_equal(m->unloaded_ns, 0);
	assert_int_equal(segment_generation(library), m->generation);
	assert_int_equal(segment_generation(16), 0);
}

typedef void call_fn(void (*fn)(void *), void *arg);

struct loaded {
	void *handle;
	call_fn *call;
};

static struct loaded load(const char *name)
{
	const char *dir = getenv("top_builddir");
	char path[PATH_MAX];
	struct loaded l;

	snprintf(path, sizeof(path), "%s/tests/unit/.libs/%s", dir ? dir : ".",
		 name);
	l.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!l.handle)
		fail_msg("%s", dlerror());
	l.call = (call_fn *)dlsym(l.handle, "call_back");
	assert_non_null(l.call);
	return l;
}

static void alloc_for(void *arg)
{
	*(void **)arg = traced_alloc(321);
}

static uint32_t site_through(const struct loaded *l)
{
	struct mm_block b;
	uint32_t site;
	void *p = NULL;

	l->call(alloc_for, &p);
	assert_int_equal(mm_lookup(p, &b), 0);
	site = tag_site(*b.tag);
	traced_free(p);
	return site;
}

/*
 * a, a again, b, a: the first two are one library, the others took the address of
 * another one.  One call for all, because it is part of the stack.  The libraries
 * differ in nothing but their build-id and path.
 */
static void module_reuse_of_an_address_is_told_apart(void **state)
{
	static const char *const name[] = { "module-a.so", "module-a.so",
					    "module-b.so", "module-a.so" };
	uint32_t site[4], generation[4];
	const struct bs_abi_module *m;
	uintptr_t at = 0;
	unsigned int i;

	(void)state;
	for (i = 0; i < 8; i++) { /* each twice: the memo answers too */
		struct loaded l = load(name[i / 2]);
		uint64_t epoch = segment_epoch();
		uint32_t s = site_through(&l);

		if (i)
			assert_ptr_equal((void *)l.call, (void *)at);
		at = (uintptr_t)l.call;
		assert_true(segment_epoch() > epoch);
		m = module_at(at);
		assert_true(path_has(m, name[i / 2]));
		assert_int_equal(m->unloaded_ns, 0);
		if (i % 2)
			assert_int_equal(s, site[i / 2]);
		site[i / 2] = s;
		generation[i / 2] = segment_generation(at);
		dlclose(l.handle);
		segment_modules();
		assert_int_not_equal(m->unloaded_ns, 0);
		assert_int_equal(segment_generation(at), 0);
	}
	assert_int_equal(site[0], site[1]);
	assert_int_equal(generation[0], generation[1]);
	assert_int_not_equal(site[2], site[0]);
	assert_int_not_equal(site[3], site[2]);
	assert_int_not_equal(site[3], site[0]);
	assert_true(generation[2] > generation[1]);
	assert_true(generation[3] > generation[2]);
}

#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(name, harness_start, harness_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(create_makes_a_private_file_with_a_whole_header),
		T(create_leaves_no_descriptor),
		T(create_in_missing_directory_makes_it_private),
		T(create_in_open_directory_is_refused),
		T(create_through_symlink_is_refused),
		T(create_with_publish_off_makes_no_file),
		T(create_beyond_file_size_limit_is_refused),
#ifndef BS_TSAN
		T(create_on_old_kernel_pays_for_a_small_file),
#endif
		T(claim_outside_of_the_mapping_is_refused),
		T(claim_accounts_each_page_once),
		T(exit_is_told),
		T(child_gets_its_own_segment_when_it_made_calls),
		T(child_without_segment_notes_when_objects_are_born),
		T(child_that_makes_few_calls_makes_no_file),
		T(child_counters_are_rebuilt_from_live_tags),
		T(child_keeps_stacks_and_their_numbers),
		T(child_under_a_filter_publishes_nothing),
		T(child_of_a_child_is_a_third_segment),
		T(dead_segments_beyond_the_limit_go_oldest_first),
		T(modules_know_program_and_libraries),
		T(module_reuse_of_an_address_is_told_apart),
	};

	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
