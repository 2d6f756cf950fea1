/* SPDX-License-Identifier: MIT */
/*
 * say.c - words to the user without stdio.
 *
 * Owns:   formatting into a buffer and one write() to descriptor 2.
 * Layer:  sys.  Async-signal-safe, allocates nothing.
 */
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "preload/sys/arch.h"
#include "preload/sys/sys.h"

#define LINE_BYTES 512

struct out {
	char *p, *end; /* end: room for the NUL is kept */
};

static void put(struct out *o, char c)
{
	if (o->p < o->end)
		*o->p++ = c;
}

static void put_str(struct out *o, const char *s)
{
	for (s = s ? s : "(null)"; *s; s++)
		put(o, *s);
}

static void put_num(struct out *o, uint64_t v, unsigned int base)
{
	char digits[24];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	while (n)
		put(o, digits[--n]);
}

static void put_signed(struct out *o, int64_t v)
{
	if (v < 0)
		put(o, '-');
	put_num(o, v < 0 ? -(uint64_t)v : (uint64_t)v, 10);
}

static void format(struct out *o, const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		bool wide = false;

		if (*fmt != '%') {
			put(o, *fmt);
			continue;
		}
		fmt++;
		while (*fmt == 'l' || *fmt == 'z') {
			wide = true;
			fmt++;
		}
		switch (*fmt) {
		case 's':
			put_str(o, va_arg(ap, const char *));
			break;
		case 'd':
			put_signed(o,
				   wide ? va_arg(ap, long) : va_arg(ap, int));
			break;
		case 'u':
		case 'x':
			put_num(o,
				wide ? va_arg(ap, unsigned long)
				     : va_arg(ap, unsigned int),
				*fmt == 'x' ? 16 : 10);
			break;
		case 'p':
			put_str(o, "0x");
			put_num(o, (uintptr_t)va_arg(ap, void *), 16);
			break;
		case '\0':
			return;
		default:
			put(o, *fmt);
		}
	}
}

static size_t finish(struct out *o, char *buf)
{
	*o->p = '\0';
	return (size_t)(o->p - buf);
}

size_t sys_format(char *buf, size_t len, const char *fmt, ...)
{
	struct out o = { buf, buf + len - 1 };
	va_list ap;

	va_start(ap, fmt);
	format(&o, fmt, ap);
	va_end(ap);
	return finish(&o, buf);
}

static void say(const char *fmt, va_list ap)
{
	char line[LINE_BYTES];
	struct out o = { line, line + sizeof(line) - 2 };

	put_str(&o, "buddyscope: ");
	format(&o, fmt, ap);
	*o.p++ = '\n';
	sys_write(2, line, (size_t)(o.p - line));
}

void sys_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void sys_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
	/* abort() may call back into the program: raise and make sure. */
	arch_syscall(SYS_tgkill, sys_getpid(), sys_gettid(), SIGABRT, 0, 0, 0);
	arch_syscall(SYS_exit_group, 134, 0, 0, 0, 0, 0);
	__builtin_unreachable();
}
