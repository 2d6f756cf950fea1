/* SPDX-License-Identifier: MIT */
/*
 * peak.c - runs a command and says what each of its processes held at most.
 *
 * usage: peak DIR COMMAND [ARG]...
 *
 * DIR is where the command's processes make their segments (BUDDYSCOPE_DIR or
 * dir=).  Looks at all of them every millisecond.  For each segment one line:
 *
 *	comm requested_bytes taken_bytes dedicated_caches allocations segment
 *
 * requested: most bytes alive at call sites of malloc and its kin, as sampled;
 * 0 with trace=off.  taken: most frames used in all zones, tables included, as
 * the zones themselves noted.  allocations: of all call sites of malloc and its
 * kin, exact at the end; 0 with trace=off.  segment: name of the file.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shared/abi.h"

#define MAX_SEGMENTS 4096

static struct seen {
	char name[128];
	const struct bs_abi_header *header; /* NULL: not complete yet */
	uint64_t requested_bytes;
} seen[MAX_SEGMENTS];
static unsigned int nr_seen;

static const void *section(const struct bs_abi_header *h, unsigned int nr)
{
	return (const char *)h + h->section[nr].offset;
}

static const struct bs_abi_header *map(const char *dir, const char *name)
{
	const struct bs_abi_header *h = NULL;
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	if (!fstat(fd, &st) && st.st_size >= (off_t)sizeof(*h)) {
		void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED,
			       fd, 0);

		h = p == MAP_FAILED ? NULL : p;
	}
	close(fd);
	if (h && h->magic != BS_ABI_MAGIC) {
		munmap((void *)(uintptr_t)h, (size_t)st.st_size);
		return NULL;
	}
	return h;
}

static struct seen *find(const char *name)
{
	for (unsigned int i = 0; i < nr_seen; i++)
		if (!strcmp(seen[i].name, name))
			return &seen[i];
	if (nr_seen == MAX_SEGMENTS || strlen(name) >= sizeof(seen->name))
		return NULL;
	strcpy(seen[nr_seen].name, name);
	return &seen[nr_seen++];
}

static void look(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		struct seen *s;

		if (len < 4 || strcmp(e->d_name + len - 4, ".seg"))
			continue;
		s = find(e->d_name);
		if (s && !s->header)
			s->header = map(dir, e->d_name);
	}
	if (d)
		closedir(d);
}

static void sample(struct seen *s)
{
	const struct bs_abi_site *site = section(s->header, BS_SEC_SITES);
	uint64_t nr = s->header->section[BS_SEC_SITES].count, bytes = 0, i;

	for (i = 0; i < nr; i++) {
		uint64_t freed = site[i].bytes_freed;

		if (!(site[i].kinds & BS_SITE_MMAP))
			bytes += site[i].bytes_allocated - freed;
	}
	if (bytes > s->requested_bytes)
		s->requested_bytes = bytes;
}

static void report(const struct seen *s)
{
	const struct bs_abi_cache *c = section(s->header, BS_SEC_CACHES);
	const struct bs_abi_zone *z = section(s->header, BS_SEC_ZONES);
	const struct bs_abi_site *site = section(s->header, BS_SEC_SITES);
	uint64_t pages = 0, dedicated = 0, allocs = 0, i;

	for (i = 0; i < s->header->section[BS_SEC_ZONES].count; i++)
		pages += z[i].peak_used_pages;
	for (i = 0; i < s->header->section[BS_SEC_CACHES].count; i++)
		dedicated += c[i].live && (c[i].flags & BS_CACHE_DEDICATED);
	for (i = 0; i < s->header->section[BS_SEC_SITES].count; i++)
		if (!(site[i].kinds & BS_SITE_MMAP))
			allocs += site[i].allocs;
	printf("%.15s %llu %llu %llu %llu %s\n", s->header->comm,
	       (unsigned long long)s->requested_bytes,
	       (unsigned long long)pages * BS_ABI_PAGE_BYTES,
	       (unsigned long long)dedicated, (unsigned long long)allocs,
	       s->name);
}

int main(int argc, char **argv)
{
	const struct timespec moment = { 0, 1000000 };
	unsigned int i, round = 0;
	int status;
	pid_t pid;

	if (argc < 3) {
		fprintf(stderr, "usage: peak DIR COMMAND [ARG]...\n");
		return 2;
	}
	pid = fork();
	if (!pid) {
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
		if (round++ % 4 == 0)
			look(argv[1]);
		for (i = 0; i < nr_seen; i++)
			if (seen[i].header &&
			    seen[i].header->state == BS_STATE_RUNNING)
				sample(&seen[i]);
		nanosleep(&moment, NULL);
	}
	look(argv[1]);
	for (i = 0; i < nr_seen; i++)
		if (seen[i].header)
			report(&seen[i]);
	return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
