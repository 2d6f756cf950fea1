/* SPDX-License-Identifier: MIT */
/* Rule 4: every name is ours, and keeps glibc's promises. */
#include <malloc.h>

#include "check.h"

static const char *const names[] = {
	"malloc",
	"calloc",
	"realloc",
	"reallocarray",
	"free",
	"cfree",
	"free_sized",
	"free_aligned_sized",
	"memalign",
	"aligned_alloc",
	"posix_memalign",
	"valloc",
	"pvalloc",
	"malloc_usable_size",
	"__libc_malloc",
	"__libc_calloc",
	"__libc_realloc",
	"__libc_free",
	"__libc_memalign",
	"__libc_valloc",
	"__libc_pvalloc",
	"malloc_trim",
	"mallopt",
	"mallinfo",
	"mallinfo2",
	"malloc_info",
	"malloc_stats",
	"_Znwm",
	"_Znam",
	"_ZnwmRKSt9nothrow_t",
	"_ZnamRKSt9nothrow_t",
	"_ZnwmSt11align_val_t",
	"_ZnamSt11align_val_t",
	"_ZnwmSt11align_val_tRKSt9nothrow_t",
	"_ZnamSt11align_val_tRKSt9nothrow_t",
	"_ZdlPv",
	"_ZdaPv",
	"_ZdlPvRKSt9nothrow_t",
	"_ZdaPvRKSt9nothrow_t",
	"_ZdlPvm",
	"_ZdaPvm",
	"_ZdlPvSt11align_val_t",
	"_ZdaPvSt11align_val_t",
	"_ZdlPvSt11align_val_tRKSt9nothrow_t",
	"_ZdaPvSt11align_val_tRKSt9nothrow_t",
	"_ZdlPvmSt11align_val_t",
	"_ZdaPvmSt11align_val_t",
	"mmap",
	"mmap64",
	"munmap",
	"mremap",
	"mprotect",
	"shmat",
	"shmdt",
};

static size_t unknown(size_t n)
{
	return (size_t)launder((void *)n);
}

static void check_overflow(void)
{
	void *p = malloc(10);

	memcpy(p, "unchanged", 10);
	errno = 0;
	CHECK(!calloc(unknown(SIZE_MAX / 2), 3) && errno == ENOMEM);
	errno = 0;
	CHECK(!reallocarray(p, unknown(SIZE_MAX / 2), 3) && errno == ENOMEM);
	errno = 0;
	CHECK(!realloc(p, unknown((size_t)PTRDIFF_MAX + 1)) && errno == ENOMEM);
	errno = 0;
	CHECK(!realloc(p, unknown((size_t)1 << 60)) && errno == ENOMEM);
	CHECK(!memcmp(p, "unchanged", 10));
	errno = 0;
	CHECK(!pvalloc(unknown(SIZE_MAX)) && errno == ENOMEM);
	errno = 0;
	CHECK(!aligned_alloc(64, unknown(SIZE_MAX)) && errno == ENOMEM);
	free(p);
}

static void check_alignment(void)
{
	void *p = (void *)1;

	errno = 0;
	CHECK(!aligned_alloc(unknown(48), 100) && errno == EINVAL);
	errno = 4711;
	CHECK(posix_memalign(&p, unknown(2), 100) == EINVAL);
	CHECK(posix_memalign(&p, unknown(24), 100) == EINVAL);
	CHECK(posix_memalign(&p, unknown(0), 100) == EINVAL);
	CHECK(posix_memalign(&p, 64, unknown(SIZE_MAX)) == ENOMEM);
	CHECK(errno == 4711 && p == (void *)1);
	for (size_t align = 8; align <= (size_t)16 << 20; align *= 2) {
		CHECK(!posix_memalign(&p, align, 33));
		CHECK((uintptr_t)p % align == 0);
		memset(p, 1, 33);
		free(p);
		p = aligned_alloc(align, 3 * align);
		CHECK(p && (uintptr_t)p % align == 0);
		free(p);
	}
	p = memalign(unknown(48), 100); /* glibc rounds up to 64 */
	CHECK(p && (uintptr_t)p % 64 == 0);
	free(p);
	errno = 0;
	CHECK(!memalign(unknown(SIZE_MAX / 2 + 2), 1) && errno == EINVAL);
	p = valloc(1);
	CHECK(p && (uintptr_t)p % 4096 == 0);
	free(p);
	p = pvalloc(1);
	CHECK(p && (uintptr_t)p % 4096 == 0 && malloc_usable_size(p) >= 4096);
	free(p);
	for (size_t n = 1; n < 300; n++) {
		p = malloc(n);
		CHECK((uintptr_t)p % 16 == 0);
		free(p);
	}
}

static void check_zero(void)
{
	void *p = malloc(0), *q = malloc(0);

	CHECK(p && q && p != q);
	CHECK(!realloc(p, 0)); /* frees */
	free(q);
	q = calloc(0, 5);
	CHECK(q);
	free(q);
	q = realloc(NULL, 0);
	CHECK(q);
	free(q);
	/* zero memory, also where it was used before */
	for (size_t n = 16; n <= (size_t)8 << 20; n = n * 3 + 1) {
		unsigned char *m = malloc(n);

		memset(m, 0xa5, n);
		free(m);
		m = calloc(1, n);
		for (size_t i = 0; i < n; i++)
			CHECK(!m[i]);
		free(m);
	}
}

static void check_realloc(void)
{
	unsigned char *p = NULL;
	size_t old = 0;

	for (size_t n = 1; n < (size_t)40 << 20; n = n * 2 + 7) {
		p = realloc(p, n);
		CHECK(p);
		for (size_t i = 0; i < old; i++)
			CHECK(p[i] == (unsigned char)(i * 7));
		for (size_t i = old; i < n; i++)
			p[i] = (unsigned char)(i * 7);
		old = n;
	}
	for (; old > 1; old /= 3) {
		p = realloc(p, old);
		for (size_t i = 0; i < old; i++)
			CHECK(p[i] == (unsigned char)(i * 7));
	}
	free(p);
}

static void check_info(void)
{
	void *p = malloc((size_t)10 << 20);
	struct mallinfo2 m = mallinfo2();
	FILE *f = tmpfile();
	char line[64] = "";

	CHECK(m.uordblks >= (size_t)10 << 20);
	CHECK(m.arena == m.uordblks + m.fordblks);
	CHECK(mallinfo().arena >= 10 << 20);
	CHECK(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
	errno = 0;
	CHECK(malloc_info(1, f) == -1 && errno == EINVAL);
	CHECK(!malloc_info(0, f));
	rewind(f);
	CHECK(fgets(line, sizeof(line), f) && !strncmp(line, "<malloc", 7));
	fclose(f);
	free(p);
	malloc_trim(0);
}

int main(void)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		void *p = dlsym(RTLD_DEFAULT, names[i]);

		if (!p || !is_ours(p))
			dprintf(2, "%s is not ours\n", names[i]);
		CHECK(p && is_ours(p));
	}
	check_overflow();
	check_alignment();
	check_zero();
	check_realloc();
	check_info();
	return 0;
}
