/* SPDX-License-Identifier: MIT */
/*
 * run-check.c - can this program be preloaded into?
 *
 * Owns:   the search along PATH, the look into ELF headers and #! lines.
 * Layer:  tools.
 * Locks:  none.
 * Source: elf(5), execve(2), ld.so(8) (secure-execution mode).
 *
 * The dynamic linker ignores LD_PRELOAD silently where it does not apply, and a
 * program without one never hears of it.  Saying so beforehand is kinder than
 * an empty report afterwards.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tools/run.h"
#include "tools/tool.h"

#define SCRIPT_DEPTH_MAX 4 /* the kernel's own limit */
#define PHDRS_MAX	 256U

#if __ELF_NATIVE_CLASS == 64
#define OUR_CLASS ELFCLASS64
#else
#define OUR_CLASS ELFCLASS32
#endif

/* ---- where it is ---------------------------------------------------------- */

static bool is_executable(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && !access(path, X_OK);
}

static int not_found(const char *name, bool exists)
{
	if (exists) {
		tool_warn("'%s' cannot be executed", name);
		return RUN_EXIT_CANNOT_EXECUTE;
	}
	tool_warn("no program '%s'%s", name,
		  strchr(name, '/') ? "" : " in PATH");
	return RUN_EXIT_NOT_FOUND;
}

/* As execvp(): a name with a slash is a path, else PATH is searched. */
static int find_program(const char *name, char *path, size_t len)
{
	const char *dirs = getenv("PATH");
	bool exists = false;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, len, "%s", name) < len &&
		    is_executable(path))
			return 0;
		return not_found(name, !access(name, F_OK));
	}
	if (!dirs)
		dirs = "/bin:/usr/bin";
	while (*name) {
		size_t n = strcspn(dirs, ":");
		int used = snprintf(path, len, "%.*s%s%s", (int)n, dirs,
				    n ? "/" : "./", name);

		if (used > 0 && (size_t)used < len) {
			if (is_executable(path))
				return 0;
			exists |= !access(path, F_OK);
		}
		if (!dirs[n])
			break;
		dirs += n + 1;
	}
	return not_found(name, exists);
}

/* ---- what it is ----------------------------------------------------------- */

static int refuse(const char *path, const char *why)
{
	tool_warn("cannot preload into %s: %s", path, why);
	return BS_EXIT_USAGE;
}

static int check_privileges(const char *path, int fd)
{
	struct stat st;
	char caps[64];

	if (fstat(fd, &st))
		return refuse(path, strerror(errno));
	if (st.st_mode & S_ISUID)
		return refuse(
			path,
			"it is setuid, and the dynamic linker ignores LD_PRELOAD for such programs; run a copy without that bit");
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP))
		return refuse(
			path,
			"it is setgid, and the dynamic linker ignores LD_PRELOAD for such programs; run a copy without that bit");
	if (fgetxattr(fd, "security.capability", caps, sizeof(caps)) > 0)
		return refuse(
			path,
			"it has file capabilities, and the dynamic linker ignores LD_PRELOAD for such programs; run a copy without them");
	return 0;
}

static const char *machine_name(unsigned int machine)
{
	switch (machine) {
	case EM_386:
		return "x86 (32 bit)";
	case EM_X86_64:
		return "x86-64";
	case EM_ARM:
		return "ARM (32 bit)";
	case EM_AARCH64:
		return "AArch64";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "PowerPC 64";
	case EM_S390:
		return "s390";
	default:
		return "another architecture";
	}
}

/* Class and machine must be those of the library: they are ours. */
static int check_machine(const char *path, const unsigned char *ident,
			 unsigned int machine)
{
	ElfW(Ehdr) own = { 0 };
	char why[160];
	ssize_t n;
	int fd;

	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, &own, sizeof(own));
	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)sizeof(own)) { /* no /proc: what we were built for */
		own.e_ident[EI_CLASS] = OUR_CLASS;
		own.e_machine = (ElfW(Half))machine;
	}
	if (ident[EI_CLASS] == own.e_ident[EI_CLASS] &&
	    machine == own.e_machine)
		return 0;
	snprintf(
		why, sizeof(why),
		"it is a program for %s (ELF class %d), the library is for %s (ELF class %d)",
		machine_name(machine), ident[EI_CLASS] == ELFCLASS64 ? 64 : 32,
		machine_name(own.e_machine),
		own.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32);
	return refuse(path, why);
}

static int check_interpreter(const char *path, int fd, const ElfW(Phdr) * ph)
{
	char interp[PATH_MAX] = "", why[PATH_MAX + 64];
	const char *base;

	if (ph->p_filesz == 0 || ph->p_filesz >= sizeof(interp) ||
	    pread(fd, interp, ph->p_filesz, (off_t)ph->p_offset) !=
		    (ssize_t)ph->p_filesz)
		return refuse(path, "its ELF header is damaged");
	base = strrchr(interp, '/');
	base = base ? base + 1 : interp;
	if (!strncmp(base, "ld-musl", 7))
		return refuse(
			path,
			"it uses the musl C library, the library is for glibc");
	if (access(interp, X_OK)) {
		snprintf(why, sizeof(why), "its dynamic linker %s is missing",
			 interp);
		return refuse(path, why);
	}
	return 0;
}

static int check_elf(const char *path, int fd, const ElfW(Ehdr) * eh)
{
	ElfW(Phdr) ph;
	int ret;

	/* e_machine is at the same place in both classes. */
	ret = check_machine(path, eh->e_ident, eh->e_machine);
	if (ret)
		return ret;
	if (eh->e_phentsize != sizeof(ph) || eh->e_phnum > PHDRS_MAX)
		return refuse(path, "its ELF header is damaged");
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		if (pread(fd, &ph, sizeof(ph),
			  (off_t)(eh->e_phoff + i * sizeof(ph))) !=
		    (ssize_t)sizeof(ph))
			return refuse(path, "its ELF header is damaged");
		if (ph.p_type == PT_INTERP)
			return check_interpreter(path, fd, &ph);
	}
	return refuse(
		path,
		"it is statically linked, there is no dynamic linker that could load the library");
}

static int check_file(const char *path, unsigned int depth);

/* "#!interpreter argument": the kernel runs the interpreter. */
static int check_script(const char *path, char *line, unsigned int depth)
{
	char *interp = line + 2 + strspn(line + 2, " \t");

	interp[strcspn(interp, " \t\r\n")] = '\0';
	if (!*interp)
		return refuse(path, "its #! line names no interpreter");
	if (depth == SCRIPT_DEPTH_MAX)
		return refuse(path, "its #! lines lead nowhere");
	if (access(interp, X_OK)) {
		tool_warn("the interpreter %s of %s: %s", interp, path,
			  strerror(errno));
		return errno == ENOENT ? RUN_EXIT_NOT_FOUND
				       : RUN_EXIT_CANNOT_EXECUTE;
	}
	return check_file(interp, depth + 1);
}

static int check_file(const char *path, unsigned int depth)
{
	union {
		ElfW(Ehdr) eh;
		char line[512];
	} head = { .line = "" };
	ssize_t n;
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0; /* executable but not readable: let it run */
	n = pread(fd, head.line, sizeof(head.line) - 1, 0);
	if (n > 2 && head.line[0] == '#' && head.line[1] == '!') {
		close(fd);
		return check_script(path, head.line, depth);
	}
	ret = check_privileges(path, fd);
	if (!ret && n >= (ssize_t)sizeof(head.eh) &&
	    !memcmp(head.line, ELFMAG, SELFMAG))
		ret = check_elf(path, fd, &head.eh);
	/* Anything else is for /bin/sh, as execvp() does it. */
	close(fd);
	return ret;
}

int run_check_program(const char *name, char *path, size_t len)
{
	int ret = find_program(name, path, len);

	return ret ? ret : check_file(path, 0);
}
