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
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The names come from files that we do not trust, and demanglers recurse. */
#define MANGLED_MAX   2048U
#define DEMANGLED_MAX 4096U

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

char *bs_demangle(const char *name)
{
	char *text;
	int status;

	if (strncmp(name, "_Z", 2) ||
	    strnlen(name, MANGLED_MAX + 1) > MANGLED_MAX)
		return NULL;
	pthread_once(&once, load_runtime);
	text = demangle ? demangle(name, NULL, NULL, &status) : NULL;
	if (text && strnlen(text, DEMANGLED_MAX + 1) > DEMANGLED_MAX) {
		free(text);
		text = NULL;
	}
	return text;
}
