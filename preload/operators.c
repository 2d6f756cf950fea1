/* SPDX-License-Identifier: MIT */
/*
 * operators.c - C++ operator new and delete, all twenty of them, in C.
 *
 * Owns:   the replaceable allocation functions of C++17 under the names of the
 *         Itanium C++ ABI for LP64 (size_t is m).
 * Layer:  preload.
 * Locks:  none.
 * Source: ISO C++17 [new.delete]; Itanium C++ ABI, 5.1 mangling.
 *
 * libstdc++ must not be linked: we are preloaded into C programs.  It is looked
 * up when an allocation has failed, which is when its handler and its exception
 * are needed.  The exception passes through our frames: nothing is held here.
 */
#include <dlfcn.h>
#include <stdlib.h>

#include "preload/entry.h"

typedef void (*new_handler)(void);
typedef new_handler (*get_handler_fn)(void);
typedef void (*throw_fn)(void);

/* std::nothrow_t is passed by reference; never read. */
struct nothrow;

/* libstdc++ or libc++ may be out of our sight (RTLD_LOCAL): ask by name. */
static void *find_cxx(const char *symbol)
{
	static const char *const runtime[] = { "libstdc++.so.6",
					       "libc++.so.1" };
	void *sym = dlsym(RTLD_DEFAULT, symbol);

	for (size_t i = 0; !sym && i < ARRAY_SIZE(runtime); i++) {
		void *lib = dlopen(runtime[i], RTLD_LAZY | RTLD_NOLOAD);

		if (lib)
			sym = dlsym(lib, symbol);
	}
	return sym;
}

/* std::__throw_bad_alloc is libstdc++'s and libc++'s name for it. */
static BS_COLD __attribute__((noreturn)) void throw_bad_alloc(size_t size)
{
	throw_fn throw_it = (throw_fn)find_cxx("_ZSt17__throw_bad_allocv");

	if (!throw_it)
		throw_it = (throw_fn)find_cxx("_ZNSt3__117__throw_bad_allocEv");
	if (throw_it)
		throw_it();
	sys_say("operator new(%lu): no memory, and no C++ runtime to throw "
		"std::bad_alloc",
		(unsigned long)size);
	abort();
}

static new_handler current_handler(void)
{
	get_handler_fn get = (get_handler_fn)find_cxx("_ZSt15get_new_handlerv");

	return get ? get() : NULL;
}

/* The loop that the standard asks for; the handler frees memory or throws. */
static BS_COLD void *new_failed(size_t size, size_t align)
{
	for (;;) {
		new_handler handler = current_handler();
		void *p;

		if (!handler)
			throw_bad_alloc(size);
		handler();
		p = bs_alloc(size, align, GFP_KERNEL);
		if (p)
			return p;
	}
}

/*
 * A nothrow form must turn a handler's exception into NULL, which takes C++:
 * the runtime's own form does it around a call of our throwing one.
 */
static BS_COLD void *new_failed_nothrow(const char *symbol, size_t size,
					size_t align, const struct nothrow *tag)
{
	void *real;

	if (!current_handler())
		return NULL;
	real = dlsym(RTLD_NEXT, symbol);
	if (!real)
		return NULL;
	if (align)
		return ((void *(*)(size_t, size_t,
				   const struct nothrow *))real)(size, align,
								 tag);
	return ((void *(*)(size_t, const struct nothrow *))real)(size, tag);
}

#define NEW(name, symbol)                                                      \
	BS_EXPORT void *name(size_t size) __asm__(symbol);                     \
	BS_EXPORT void *name(size_t size)                                      \
	{                                                                      \
		void *p = bs_alloc_here(size, 1, GFP_KERNEL);                  \
                                                                               \
		return likely(p) ? p : new_failed(size, 1);                    \
	}

#define NEW_NOTHROW(name, symbol)                                              \
	BS_EXPORT void *name(size_t size,                                      \
			     const struct nothrow *tag) __asm__(symbol);       \
	BS_EXPORT void *name(size_t size, const struct nothrow *tag)           \
	{                                                                      \
		void *p = bs_alloc_here(size, 1, GFP_KERNEL);                  \
                                                                               \
		return likely(p) ? p                                           \
				 : new_failed_nothrow(symbol, size, 0, tag);   \
	}

#define NEW_ALIGNED(name, symbol)                                              \
	BS_EXPORT void *name(size_t size, size_t align) __asm__(symbol);       \
	BS_EXPORT void *name(size_t size, size_t align)                        \
	{                                                                      \
		void *p = bs_alloc_here(size, align, GFP_KERNEL);              \
                                                                               \
		return likely(p) ? p : new_failed(size, align);                \
	}

#define NEW_ALIGNED_NOTHROW(name, symbol)                                      \
	BS_EXPORT void *name(size_t size, size_t align,                        \
			     const struct nothrow *tag) __asm__(symbol);       \
	BS_EXPORT void *name(size_t size, size_t align,                        \
			     const struct nothrow *tag)                        \
	{                                                                      \
		void *p = bs_alloc_here(size, align, GFP_KERNEL);              \
                                                                               \
		return likely(p)                                               \
			       ? p                                             \
			       : new_failed_nothrow(symbol, size, align, tag); \
	}

NEW(op_new, "_Znwm")
NEW(op_new_array, "_Znam")
NEW_NOTHROW(op_new_nothrow, "_ZnwmRKSt9nothrow_t")
NEW_NOTHROW(op_new_array_nothrow, "_ZnamRKSt9nothrow_t")
NEW_ALIGNED(op_new_aligned, "_ZnwmSt11align_val_t")
NEW_ALIGNED(op_new_array_aligned, "_ZnamSt11align_val_t")
NEW_ALIGNED_NOTHROW(op_new_aligned_nothrow,
		    "_ZnwmSt11align_val_tRKSt9nothrow_t")
NEW_ALIGNED_NOTHROW(op_new_array_aligned_nothrow,
		    "_ZnamSt11align_val_tRKSt9nothrow_t")

/* Size, alignment and nothrow are the caller's belief: the page knows. */
#define DELETE(name, symbol, what, ...)                                        \
	BS_EXPORT void name(void *p, ##__VA_ARGS__) __asm__(symbol);           \
	BS_EXPORT void name(void *p, ##__VA_ARGS__)                            \
	{                                                                      \
		bs_free(p, what);                                              \
	}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
DELETE(op_delete, "_ZdlPv", "operator delete")
DELETE(op_delete_array, "_ZdaPv", "operator delete[]")
DELETE(op_delete_nothrow, "_ZdlPvRKSt9nothrow_t", "operator delete",
       const struct nothrow *tag)
DELETE(op_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", "operator delete[]",
       const struct nothrow *tag)
DELETE(op_delete_sized, "_ZdlPvm", "operator delete", size_t size)
DELETE(op_delete_array_sized, "_ZdaPvm", "operator delete[]", size_t size)
DELETE(op_delete_aligned, "_ZdlPvSt11align_val_t", "operator delete",
       size_t align)
DELETE(op_delete_array_aligned, "_ZdaPvSt11align_val_t", "operator delete[]",
       size_t align)
DELETE(op_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t",
       "operator delete", size_t align, const struct nothrow *tag)
DELETE(op_delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t",
       "operator delete[]", size_t align, const struct nothrow *tag)
DELETE(op_delete_sized_aligned, "_ZdlPvmSt11align_val_t", "operator delete",
       size_t size, size_t align)
DELETE(op_delete_array_sized_aligned, "_ZdaPvmSt11align_val_t",
       "operator delete[]", size_t size, size_t align)
#pragma GCC diagnostic pop
