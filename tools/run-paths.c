/* SPDX-License-Identifier: MIT */
/*
 * run-paths.c - where the library and the daemon are.
 *
 * Owns:   the order of the search.
 * Layer:  tools.
 * Locks:  none.
 *
 * Library: $BUDDYSCOPE_LIB; .libs next to the command (build tree); the place
 * that it was configured for; ../lib next to the command (moved tree).
 * Daemon: $BUDDYSCOPED; next to the command; PATH.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/run.h"
#include "tools/tool.h"

#define LIBRARY "libbuddyscope.so"
#define DAEMON	"buddyscoped"

/* Directory of this program; "" when /proc does not tell. */
static void own_directory(char *dir, size_t len)
{
	ssize_t n = readlink("/proc/self/exe", dir, len - 1);
	char *slash;

	dir[n < 0 ? 0 : n] = '\0';
	slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
}

static bool take(char *path, size_t len, int mode, const char *dir,
		 const char *rest)
{
	return (size_t)snprintf(path, len, "%s%s", dir, rest) < len &&
	       !access(path, mode);
}

int run_find_library(char *path, size_t len)
{
	const char *env = getenv("BUDDYSCOPE_LIB");
	char own[PATH_MAX], real[PATH_MAX];

	own_directory(own, sizeof(own));
	if (env && *env) {
		if (!take(path, len, R_OK, env, "")) {
			tool_warn("BUDDYSCOPE_LIB: cannot read %s: %s", env,
				  strerror(errno));
			return BS_EXIT_FAILED;
		}
	} else if (!(own[0] && take(path, len, R_OK, own, "/.libs/" LIBRARY)) &&
		   !take(path, len, R_OK, BS_LIBDIR, "/" LIBRARY) &&
		   !(own[0] &&
		     take(path, len, R_OK, own, "/../lib/" LIBRARY))) {
		tool_warn(
			"cannot find " LIBRARY " in " BS_LIBDIR
			" nor next to this program; say where in BUDDYSCOPE_LIB");
		return BS_EXIT_FAILED;
	}
	/* The program may change its directory before it starts others. */
	if (realpath(path, real) && strlen(real) < len)
		strcpy(path, real);
	if (strpbrk(path, " :\t\n")) {
		tool_warn(
			"the path %s has a blank or colon, which LD_PRELOAD cannot hold",
			path);
		return BS_EXIT_FAILED;
	}
	return 0;
}

int run_find_daemon(char *path, size_t len)
{
	const char *env = getenv("BUDDYSCOPED"), *dirs = getenv("PATH");
	char own[PATH_MAX], dir[PATH_MAX];

	if (env && *env)
		return take(path, len, X_OK, env, "") ? 0 : -ENOENT;
	own_directory(own, sizeof(own));
	if (own[0] && take(path, len, X_OK, own, "/" DAEMON))
		return 0;
	while (dirs && *dirs) {
		size_t n = strcspn(dirs, ":");

		if (n && n < sizeof(dir)) {
			memcpy(dir, dirs, n);
			dir[n] = '\0';
			if (take(path, len, X_OK, dir, "/" DAEMON))
				return 0;
		}
		dirs += n + (dirs[n] == ':');
	}
	return -ENOENT;
}
