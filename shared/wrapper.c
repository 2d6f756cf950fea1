/* SPDX-License-Identifier: MIT */
/*
 * wrapper.c - see wrapper.h.
 *
 * Owns:   the list of words, and what a function's own name is.
 * Layer:  shared.
 * Locks:  none.
 * Source: Itanium C++ ABI, "Name mangling", for rule 3.
 */
#include "shared/wrapper.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

static const char *const words[] = {
	"malloc",    "calloc",	   "realloc",	  "reallocarray",
	"zalloc",    "valloc",	   "talloc",	  "xalloc",
	"mallocz",   "callocz",	   "memalign",	  "aligned_alloc",
	"mem_alloc", "alloc_size", "slice_alloc", "rust_alloc",
	"rdl_alloc", "strdup",	   "strndup",	  "wcsdup",
	"memdup",    "asprintf",
};

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

/* Is one of n beginnings there? */
static bool starts_with_one(const char *text, const char *const *starts,
			    size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (starts_with(text, starts[i]))
			return true;
	return false;
}

#define STARTS_WITH_ONE(text, starts)                                          \
	starts_with_one(text, starts, sizeof(starts) / sizeof((starts)[0]))

/* ---- rules 1 and 2: the own name ------------------------------------------- */

/* From a demangled name: behind the scopes, in front of parameters. */
static const char *own_name(const char *text, size_t *len)
{
	static const char anonymous[] = "(anonymous namespace)";
	const char *name = text, *p;
	int depth = 0;

	for (p = text; *p; p++) {
		if (starts_with(p, anonymous))
			p += strlen(anonymous) - 1;
		else if (*p == '<')
			depth++;
		else if (*p == '>')
			depth--;
		else if (depth <= 0 && *p == '(' && p > name)
			break;
		else if (depth <= 0 && (*p == ':' || *p == ' ') && p[1] != '<')
			name = p + 1;
	}
	*len = (size_t)(p - name);
	p = memchr(name, '<', *len);
	if (p)
		*len = (size_t)(p - name);
	return name;
}

static bool has_word(const char *name, size_t len, const char *word)
{
	size_t n = strlen(word);

	for (size_t at = 0; at + n <= len; at++)
		if (!strncasecmp(name + at, word, n) &&
		    (at + n == len || !islower((unsigned char)name[at + n])))
			return true;
	return false;
}

static bool names_allocator(const char *text)
{
	size_t len;
	const char *name = own_name(text, &len);

	if (len == strlen("allocate") && starts_with(name, "allocate"))
		return true;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (has_word(name, len, words[i]))
			return true;
	return false;
}

/* ---- rules 3 and 4: the library ---------------------------------------------- */

/* ...17h and 16 digits E: the hash at the end of Rust's old names. */
static bool is_rust(const char *symbol)
{
	const char *hash = strstr(symbol, "17h");

	return starts_with(symbol, "_R") ||
	       (starts_with(symbol, "_ZN") && hash &&
		strspn(hash + 3, "0123456789abcdef") == 16 && hash[19] == 'E');
}

/*
 * The mangled name says it without a doubt; the written one begins with the
 * return type if the function is a template.
 */
static bool is_cxx_library(const char *symbol)
{
	static const char *const scopes[] = { "St", "Sa", "Ss", "Sb",
					      "Si", "So", "Sd", "9__gnu_cxx" };

	if (starts_with(symbol, "_ZSt") || starts_with(symbol, "_Znw") ||
	    starts_with(symbol, "_Zna"))
		return true;
	if (!starts_with(symbol, "_ZN"))
		return false;
	symbol += 3;
	return STARTS_WITH_ONE(symbol + strspn(symbol, "rVKRO"), scopes);
}

static bool is_library(const char *symbol, const char *written)
{
	static const char *const cxx[] = { "std::", "__gnu_cxx::",
					   "operator new" };
	static const char *const rust[] = { "alloc::", "core::", "std::" };

	if (is_rust(symbol))
		return STARTS_WITH_ONE(written + (*written == '<'), rust);
	if (starts_with(symbol, "_Z"))
		return is_cxx_library(symbol);
	return STARTS_WITH_ONE(written, cxx);
}

bool bs_is_alloc_wrapper(const struct bs_frame *frame)
{
	const char *symbol = frame->symbol ? frame->symbol : frame->function;

	return frame->function && (is_library(symbol, frame->function) ||
				   names_allocator(frame->function));
}
