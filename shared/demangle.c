/* SPDX-License-Identifier: MIT */
/*
 * demangle.c - see demangle.h.
 *
 * Owns:   the function found in the C++ runtime.
 * Layer:  shared.
 * Locks:  a pthread_once_t.
 * Source: Itanium C++ ABI, __cxa_demangle.
 */
#include "shared/demangle.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef char *demangle_fn(const char *name, char *buf, size_t *len,
			  int *status);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static demangle_fn *demangle;

/* Stays loaded: there is no end to forget it at. */
static void load_runtime(void)
{
	static const char *const names[] = { "libstdc++.so.6",
					     "libc++abi.so.1" };

	for (size_t i = 0; i < 2 && !demangle; i++) {
		void *runtime = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
		void *symbol =
			runtime ? dlsym(runtime, "__cxa_demangle") : NULL;

		memcpy(&demangle, &symbol, sizeof(demangle));
	}
}

static char *demangle_cxx(const char *name)
{
	int status;

	pthread_once(&once, load_runtime);
	return demangle ? demangle(name, NULL, NULL, &status) : NULL;
}

char *bs_demangle(const char *name)
{
	bool cxx = !strncmp(name, "_Z", 2);
	char *text;

	if ((!cxx && strncmp(name, "_R", 2)) ||
	    strnlen(name, BS_MANGLED_MAX + 1) > BS_MANGLED_MAX)
		return NULL;
	/* Rust's old names are C++ names, too; a hash at their end tells. */
	text = bs_demangle_rust(name);
	if (!text && cxx)
		text = demangle_cxx(name);
	if (text && strnlen(text, BS_DEMANGLED_MAX + 1) > BS_DEMANGLED_MAX) {
		free(text);
		text = NULL;
	}
	return text;
}
