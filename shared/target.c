/* SPDX-License-Identifier: MIT */
/*
 * target.c - the directory of segments.
 *
 * Owns:   where it is, what the names mean, which processes live.
 * Layer:  shared.
 * Locks:  none.
 * Source: proc(5) for the stat line, pid_namespaces(7).
 *
 * Alive means: /proc/PID/stat exists, its start time is the segment's, and it
 * is no zombie.  The pid alone proves nothing, pids come round again.
 */
#include "shared/target.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/snapshot.h"
#include "shared/wire.h"

#define CANDIDATES_MAX 5U   /* named in a "which one?" message */
#define STATE_NAME_MAX 160U /* of a directory's name in the state path */

static const char *const state_names[] = {
	[BS_TARGET_RUNNING] = "running", [BS_TARGET_EXITED] = "exited",
	[BS_TARGET_KILLED] = "killed",	 [BS_TARGET_EXEC] = "exec",
	[BS_TARGET_UNKNOWN] = "unknown",
};

const char *bs_target_state_name(enum bs_target_state state)
{
	return state_names[state];
}

int bs_target_dir(char *dir, size_t len)
{
	const char *env = getenv("BUDDYSCOPE_DIR");
	int n;

	if (env && *env)
		n = snprintf(dir, len, "%s", env);
	else
		n = snprintf(dir, len, "/dev/shm/buddyscope-%u",
			     (unsigned int)geteuid());
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

int bs_state_dir(char *path, size_t len)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	const struct passwd *pw;
	int n;

	if (xdg && xdg[0] == '/') {
		n = snprintf(path, len, "%s/buddyscope", xdg);
		return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
	}
	if (!home || home[0] != '/') {
		pw = getpwuid(geteuid());
		home = pw ? pw->pw_dir : "/tmp";
	}
	n = snprintf(path, len, "%s/.local/state/buddyscope", home);
	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

/* /dev/shm/buddyscope-0 -> STATE/dev-shm-buddyscope-0 */
int bs_state_dir_in(const char *state, const char *dir, char *path, size_t len)
{
	size_t name, at = strlen(state);

	if (at >= len)
		return -ENAMETOOLONG;
	memmove(path, state, at + 1);
	dir += *dir == '/';
	name = strlen(dir);
	if (name > STATE_NAME_MAX)
		dir += name - STATE_NAME_MAX;
	if (at + 1 + strlen(dir) >= len)
		return -ENAMETOOLONG;
	path[at++] = '/';
	for (; *dir; dir++)
		path[at++] = *dir == '/' ? '-' : *dir;
	path[at] = '\0';
	return 0;
}

int bs_state_dir_of(const char *dir, char *path, size_t len)
{
	int ret = bs_state_dir(path, len);

	return ret ? ret : bs_state_dir_in(path, dir, path, len);
}

int bs_target_dir_make(const char *dir, char *err, size_t errlen)
{
	struct stat st;

	if (mkdir(dir, 0700) && errno != EEXIST) {
		int ret = -errno;

		snprintf(err, errlen, "cannot make %s: %s", dir,
			 strerror(errno));
		return ret;
	}
	if (lstat(dir, &st)) {
		int ret = -errno;

		snprintf(err, errlen, "cannot stat %s: %s", dir,
			 strerror(errno));
		return ret;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 022)) {
		snprintf(
			err, errlen,
			"%s must be a directory of yours that nobody else can write",
			dir);
		return -EPERM;
	}
	return 0;
}

/* ---- names ------------------------------------------------------------- */

/* A number in the base at *p, nothing but digits, up to `end`. */
static bool parse_number(const char **p, int base, char end, uint64_t max,
			 uint64_t *value)
{
	const char *digits = base == 16 ? "0123456789abcdef" : "0123456789";
	size_t len = strspn(*p, digits);
	char *stop;

	if (len == 0 || len > 20)
		return false;
	errno = 0;
	*value = strtoull(*p, &stop, base);
	if (errno || stop != *p + len || *stop != end || *value > max)
		return false;
	*p = stop + 1;
	return true;
}

bool bs_target_parse_name(const char *name, int *pid, uint64_t *start_ticks,
			  uint64_t *nonce)
{
	const char *p = name;
	uint64_t value;

	if (!parse_number(&p, 10, '-', INT_MAX, &value) || value == 0)
		return false;
	*pid = (int)value;
	if (!parse_number(&p, 10, '-', UINT64_MAX, start_ticks))
		return false;
	if (strspn(p, "0123456789abcdef") != 16 ||
	    !parse_number(&p, 16, '.', UINT64_MAX, nonce))
		return false;
	return !strcmp(p, "seg");
}

/* ---- processes --------------------------------------------------------- */

/* Field number `nr` (from 3 on) of a stat line; NULL: not that many. */
static const char *stat_field(const char *line, unsigned int nr)
{
	const char *p = strrchr(line, ')'); /* comm may hold anything */

	if (!p)
		return NULL;
	for (unsigned int field = 2; field < nr; field++) {
		p = strchr(p, ' ');
		if (!p)
			return NULL;
		p++;
	}
	return p;
}

int bs_proc_stat(int pid, uint64_t *start_ticks, char *letter)
{
	char path[64], line[1024];
	const char *field;
	ssize_t n;
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT && !access("/proc/self/stat", F_OK)
			       ? -ESRCH
			       : -errno;
	n = read(fd, line, sizeof(line) - 1);
	ret = n < 0 ? -errno : 0;
	close(fd);
	if (ret)
		return ret;
	line[n] = '\0';
	field = stat_field(line, 3);
	if (!field)
		return -EIO;
	*letter = *field;
	field = stat_field(line, 22);
	if (!field)
		return -EIO;
	*start_ticks = strtoull(field, NULL, 10);
	return 0;
}

uint64_t bs_proc_pidns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : (uint64_t)st.st_ino;
}

static enum bs_target_state find_state(const struct bs_abi_header *h,
				       uint64_t pidns)
{
	uint64_t start;
	char letter;
	int ret;

	if (h->state == BS_STATE_EXITED)
		return BS_TARGET_EXITED;
	if (h->pidns_inode && pidns && h->pidns_inode != pidns)
		return BS_TARGET_UNKNOWN;
	ret = bs_proc_stat(h->pid, &start, &letter);
	if (ret && ret != -ESRCH)
		return BS_TARGET_UNKNOWN;
	if (ret || start != h->start_ticks || letter == 'Z' || letter == 'X')
		return BS_TARGET_KILLED;
	return BS_TARGET_RUNNING;
}

/* ---- the list ---------------------------------------------------------- */

static void fill_target(struct bs_target *t, const struct bs_abi_header *h,
			uint64_t pidns)
{
	t->pid = h->pid;
	t->state = find_state(h, pidns);
	t->start_ticks = h->start_ticks;
	t->nonce = h->nonce;
	t->pidns_inode = h->pidns_inode;
	t->created_ns = h->created_ns;
	t->created_realtime_ns = h->created_realtime_ns;
	t->exited_ns = h->exited_ns;
	t->trace_mode = h->trace_mode;
	memcpy(t->comm, h->comm, sizeof(t->comm));
	memcpy(t->exe, h->exe, sizeof(t->exe));
	for (char *c = t->comm; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

/*
 * A program that is starting, or was killed while it did, has a file whose magic is
 * not there yet: no target, and nothing to warn of.
 */
static bool is_incomplete(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct bs_abi_header h;
	bool incomplete;

	if (fd < 0)
		return false;
	incomplete = pread(fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) &&
		     h.magic == 0;
	close(fd);
	return incomplete;
}

/* 0; a file that is no readable segment is counted, not an error. */
static int add_target(struct bs_target_list *list, const char *dir,
		      const char *name, uint64_t pidns)
{
	char path[PATH_MAX], err[256];
	struct bs_target *targets;
	struct bs_snapshot *s;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >=
	    sizeof(path))
		return -ENAMETOOLONG;
	s = bs_snapshot_read_sections(path, BS_SNAP_HEADER, err, sizeof(err));
	if (!s) {
		if (access(path, F_OK) || is_incomplete(path))
			return 0; /* gone meanwhile, or to come */
		if (!list->nr_bad++)
			memcpy(list->bad_err, err, sizeof(err));
		return 0;
	}
	targets = reallocarray(list->targets, list->nr + 1, sizeof(*targets));
	if (!targets) {
		bs_snapshot_free(s);
		return -ENOMEM;
	}
	list->targets = targets;
	memset(&targets[list->nr], 0, sizeof(*targets));
	memcpy(targets[list->nr].path, path, sizeof(path));
	fill_target(&targets[list->nr], bs_snapshot_header(s), pidns);
	list->nr++;
	bs_snapshot_free(s);
	return 0;
}

static int compare_targets(const void *va, const void *vb)
{
	const struct bs_target *a = va, *b = vb;

	if (a->created_realtime_ns != b->created_realtime_ns)
		return a->created_realtime_ns < b->created_realtime_ns ? -1 : 1;
	return strcmp(a->path, b->path);
}

static bool same_process(const struct bs_target *a, const struct bs_target *b)
{
	return a->pid == b->pid && a->start_ticks == b->start_ticks &&
	       a->pidns_inode == b->pidns_inode;
}

/* Of several segments of one process only the newest is still its own. */
static void mark_exec(struct bs_target_list *list)
{
	for (size_t i = 0; i < list->nr; i++)
		for (size_t j = i + 1; j < list->nr; j++)
			if (list->targets[i].state != BS_TARGET_EXITED &&
			    same_process(&list->targets[i], &list->targets[j]))
				list->targets[i].state = BS_TARGET_EXEC;
}

/* Adds what is in the directory; a missing one holds nothing. */
static int add_directory(struct bs_target_list *list, const char *dir,
			 char *err, size_t errlen)
{
	uint64_t pidns = bs_proc_pidns(), start, nonce;
	struct dirent *entry;
	int ret = 0, pid;
	DIR *d;

	d = opendir(dir);
	if (!d) {
		if (errno == ENOENT)
			return 0;
		ret = -errno;
		snprintf(err, errlen, "cannot read %s: %s", dir,
			 strerror(errno));
		return ret;
	}
	while (!ret && (entry = readdir(d)))
		if (bs_target_parse_name(entry->d_name, &pid, &start, &nonce))
			ret = add_target(list, dir, entry->d_name, pidns);
	closedir(d);
	if (ret)
		snprintf(err, errlen, "cannot list %s: %s", dir,
			 strerror(-ret));
	return ret;
}

static void finish_list(struct bs_target_list *list)
{
	if (list->nr)
		qsort(list->targets, list->nr, sizeof(*list->targets),
		      compare_targets);
	mark_exec(list);
}

int bs_target_list(const char *dir, struct bs_target_list *list, char *err,
		   size_t errlen)
{
	int ret;

	memset(list, 0, sizeof(*list));
	ret = add_directory(list, dir, err, errlen);
	if (ret)
		bs_target_list_free(list);
	else
		finish_list(list);
	return ret;
}

/* A segment just being archived is in both places: the live one counts. */
static void drop_copies(struct bs_target_list *list, size_t nr_live)
{
	size_t kept = nr_live;

	for (size_t i = nr_live; i < list->nr; i++) {
		const char *name = strrchr(list->targets[i].path, '/');
		bool copy = false;

		for (size_t j = 0; j < nr_live && !copy; j++)
			copy = !strcmp(name,
				       strrchr(list->targets[j].path, '/'));
		if (!copy)
			list->targets[kept++] = list->targets[i];
	}
	list->nr = kept;
}

int bs_target_list_all(const char *dir, struct bs_target_list *list, char *err,
		       size_t errlen)
{
	char absolute[PATH_MAX], archive[PATH_MAX];
	size_t nr_live;
	int ret;

	memset(list, 0, sizeof(*list));
	ret = add_directory(list, dir, err, errlen);
	nr_live = list->nr;
	if (!ret && realpath(dir, absolute) &&
	    !bs_state_dir_of(absolute, archive, sizeof(archive) - 8)) {
		strcat(archive, "/archive");
		ret = add_directory(list, archive, err, errlen);
	}
	if (ret) {
		bs_target_list_free(list);
		return ret;
	}
	drop_copies(list, nr_live);
	finish_list(list);
	return 0;
}

void bs_target_list_free(struct bs_target_list *list)
{
	free(list->targets);
	memset(list, 0, sizeof(*list));
}

/* ---- PID|NAME ---------------------------------------------------------- */

static bool is_number(const char *arg)
{
	return *arg && strspn(arg, "0123456789") == strlen(arg);
}

static bool name_matches(const struct bs_target *t, const char *name)
{
	const char *base = strrchr(t->exe, '/');

	return !strcmp(t->comm, name) ||
	       !strcmp(base ? base + 1 : t->exe, name);
}

static bool matches(const struct bs_target *t, const char *arg, bool by_pid)
{
	if (!arg)
		return true;
	if (!by_pid)
		return name_matches(t, arg);
	return strlen(arg) < 11 && t->pid == strtoll(arg, NULL, 10);
}

size_t bs_target_list_filter(struct bs_target_list *list, const char *arg)
{
	size_t nr = 0;

	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		/* A program may be called "7". */
		if (!name_matches(t, arg) &&
		    !(is_number(arg) && matches(t, arg, true)))
			continue;
		if (nr != i)
			list->targets[nr] = *t;
		nr++;
	}
	list->nr = nr;
	return nr;
}

/* " 12 mpv, 7 sh (exited) and 3 more", those that run first, of these the newest. */
static void put_candidates(struct bs_buf *err,
			   const struct bs_target_list *list, const char *arg,
			   bool by_pid, bool running_only)
{
	size_t nr = 0;

	for (int pass = 0; pass < (running_only ? 1 : 2); pass++) {
		for (size_t i = list->nr; i-- > 0;) {
			const struct bs_target *t = &list->targets[i];

			if (!matches(t, arg, by_pid) ||
			    (t->state == BS_TARGET_RUNNING) == pass ||
			    t->state == BS_TARGET_EXEC ||
			    nr++ >= CANDIDATES_MAX)
				continue;
			bs_buf_printf(err, "%s%d ", nr > 1 ? ", " : " ",
				      t->pid);
			bs_buf_puts_clean(err, t->comm);
			if (pass)
				bs_buf_printf(err, " (%s)",
					      bs_target_state_name(t->state));
		}
	}
	if (nr > CANDIDATES_MAX)
		bs_buf_printf(err, " and %zu more ('buddyscope ps')",
			      nr - CANDIDATES_MAX);
}

static const struct bs_target *no_target(const struct bs_target_list *list,
					 const char *arg, struct bs_buf *err)
{
	if (arg) {
		bs_buf_puts(err, "no program '");
		bs_buf_puts_clean(err, arg);
		bs_buf_puts(err, "' under buddyscope");
	} else {
		bs_buf_puts(err, "no program runs under buddyscope");
	}
	if (list->nr) {
		bs_buf_puts(err, "; there are:");
		put_candidates(err, list, NULL, false, false);
	} else {
		bs_buf_puts(err,
			    "; start one with: buddyscope run PROGRAM ARG...");
	}
	return NULL;
}

/* The newest of what matches; *nr counts them. */
static const struct bs_target *pick(const struct bs_target_list *list,
				    const char *arg, bool by_pid, bool running,
				    size_t *nr)
{
	const struct bs_target *found = NULL;

	*nr = 0;
	for (size_t i = 0; i < list->nr; i++) {
		const struct bs_target *t = &list->targets[i];

		if (!matches(t, arg, by_pid) || t->state == BS_TARGET_EXEC ||
		    (t->state == BS_TARGET_RUNNING) != running)
			continue;
		found = t;
		++*nr;
	}
	return found;
}

const struct bs_target *bs_target_resolve(const struct bs_target_list *list,
					  const char *arg, int *code,
					  struct bs_buf *err)
{
	const struct bs_target *t;
	bool by_pid = false;
	size_t nr;

	*code = BS_EXIT_OK;
	if (arg && is_number(arg)) {
		by_pid = true;
		if (!pick(list, arg, true, true, &nr) &&
		    !pick(list, arg, true, false, &nr))
			by_pid = false; /* a program may be called "7" */
	}
	t = pick(list, arg, by_pid, true, &nr);
	if (nr > 1) {
		bs_buf_puts(err, "more than one program runs under "
				 "buddyscope, say which (PID or NAME):");
		put_candidates(err, list, arg, by_pid, true);
		*code = BS_EXIT_USAGE;
		return NULL;
	}
	if (!t && arg)
		t = pick(list, arg, by_pid, false, &nr);
	if (t)
		return t;
	*code = BS_EXIT_NO_TARGET;
	return no_target(list, arg, err);
}
