/* SPDX-License-Identifier: MIT */
/*
 * sys.h - everything that the preloaded library asks of the kernel, and the
 * lock made from it.
 *
 * Owns:   system calls, the futex lock, time, the thread's own state word.
 * Layer:  the lowest; includes nothing of buddyscope.
 * Locks:  provides them.
 *
 * Contract of every call here: no libc call that could allocate, errno is never
 * touched, errors come back as -errno (pointers: SYS_MAP_FAILED).  Async-signal
 * safe.  Nothing here is exported from the library.
 */
#ifndef BS_SYS_H
#define BS_SYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>
#include <sys/types.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  (1UL << PAGE_SHIFT)
#define PAGE_MASK  (~(PAGE_SIZE - 1))

/*
 * A large variable of which little is touched, or late: apart from the small ones,
 * which then share pages.
 */
#define SYS_LARGE __attribute__((section(".bss.large")))
/* One that each traced call reads: these lie side by side, in two lines of the cache. */
#define SYS_HOT	    __attribute__((section(".data.hot")))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ALIGN_UP(x, a)	 (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define ARRAY_SIZE(a)	 (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)	 ((a) < (b) ? (a) : (b))
#define MAX(a, b)	 ((a) > (b) ? (a) : (b))

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#define SYS_TLS static __thread __attribute__((tls_model("initial-exec")))

/* ---- memory ------------------------------------------------------------ */

/* mmap; the kernel's return: an address, or -errno in [-4095, -1]. */
static inline bool sys_is_err(long ret)
{
	return (unsigned long)ret > -4096UL;
}

long sys_mmap(void *addr, size_t len, int prot, int flags, int fd,
	      uint64_t offset);
long sys_munmap(void *addr, size_t len);
long sys_mremap(void *old, size_t old_len, size_t new_len, int flags,
		void *new_addr);
long sys_mprotect(void *addr, size_t len, int prot);
long sys_madvise(void *addr, size_t len, int advice);

/*
 * Anonymous private read-write memory, MAP_NORESERVE, without huge pages; NULL when
 * refused.
 */
void *sys_reserve(size_t len);

/*
 * Map [addr, addr+len) read-write, never over something that is mapped.
 * Returns 0, -EEXIST when somebody is there, or -errno.
 */
int sys_map_at(void *addr, size_t len);

/* ---- files (segment only) ---------------------------------------------- */

long sys_openat(int dirfd, const char *path, int flags, unsigned int mode);
long sys_close(int fd);
long sys_read(int fd, void *buf, size_t len);
long sys_write(int fd, const void *buf, size_t len);
long sys_pread(int fd, void *buf, size_t len, uint64_t offset);
long sys_ftruncate(int fd, uint64_t len);
long sys_fallocate(int fd, int mode, uint64_t offset, uint64_t len);
long sys_unlinkat(int dirfd, const char *path, int flags);
long sys_mkdirat(int dirfd, const char *path, unsigned int mode);
long sys_readlinkat(int dirfd, const char *path, char *buf, size_t len);

/* Any other call; a[] as the kernel's arguments. */
long sys_call(long nr, long a0, long a1, long a2, long a3, long a4, long a5);

/* ---- identity and time -------------------------------------------------- */

pid_t sys_getpid(void);
pid_t sys_gettid(void);		/* always asks the kernel */
unsigned int sys_nr_cpus(void); /* highest usable CPU number + 1 */
uint64_t sys_ram_bytes(void);	/* RAM + swap */
uint64_t sys_rlimit_as(void);	/* soft limit, UINT64_MAX when none */
uint64_t sys_rlimit_fsize(void);
uint64_t sys_now_ns(void);	  /* CLOCK_MONOTONIC */
uint64_t sys_now_coarse_ns(void); /* CLOCK_MONOTONIC_COARSE: 1 to 4 ms steps */

unsigned int sys_getcpu_slow(void);
/* glibc 2.35 and later; absent or zero where rseq is not registered */
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

/*
 * The process has had one thread since it started or was forked, so what the
 * library shares between threads needs no atomic instructions (an uncontended
 * one costs as much as twenty others).  libc clears the word before a second
 * thread exists; its own malloc relies on it, too.  False before libc is set up.
 * The thread that asks is inside (bs_tls.depth), so a handler cannot interfere.
 * Source: glibc manual, "Single-Threaded"; sys/single_threaded.h.
 */
static inline bool sys_alone(void)
{
	return __libc_single_threaded;
}

/*
 * The current CPU: a hint, true when it was read; 0 for an only thread, which
 * warms one cache wherever it runs.  struct rseq: cpu_id_start, then cpu_id,
 * which is negative while the kernel does not fill it in.
 */
static inline unsigned int sys_getcpu(void)
{
	if (sys_alone())
		return 0;
	if (likely(&__rseq_size && __rseq_size)) {
		const char *rseq = (const char *)__builtin_thread_pointer() +
				   __rseq_offset;
		int32_t cpu = *(const volatile int32_t *)(rseq + 4);

		if (likely(cpu >= 0))
			return (unsigned int)cpu;
	}
	return sys_getcpu_slow();
}

/* ---- words to the user --------------------------------------------------- */

/*
 * One line on descriptor 2, prefixed "buddyscope: ", written with one write().
 * Supports %s %d %u %x %lu %lx %ld %p %% only; cut at 512 bytes.
 */
void sys_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same formatting into a buffer; returns the length, always terminated. */
size_t sys_format(char *buf, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* sys_say(), then abort.  For corruption only, never for exhaustion. */
void sys_die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

#ifdef BS_DEBUG
#define VM_BUG_ON(cond)                                                        \
	do {                                                                   \
		if (unlikely(cond))                                            \
			sys_die("VM_BUG_ON(%s) at %s:%d", #cond, __FILE__,     \
				__LINE__);                                     \
	} while (0)
#else
#define VM_BUG_ON(cond) ((void)sizeof(cond))
#endif

/* ---- sequence words of published records ------------------------------------- */

/*
 * A writer makes the word odd, changes the record, and makes it even again.
 * Source: Linux include/linux/seqlock.h; H.-J. Boehm, "Can Seqlocks Get Along
 * With Programming Language Memory Models?" (2012).
 */
#ifdef __SANITIZE_THREAD__
/* The fence is for readers in other processes, which TSan does not see. */
#pragma GCC diagnostic ignored "-Wtsan"
#endif
static inline void sys_seq_begin(uint32_t *seq)
{
	__atomic_store_n(seq, *seq | 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void sys_seq_end(uint32_t *seq)
{
	__atomic_store_n(seq, *seq + 1, __ATOMIC_RELEASE);
}

/* ---- locks --------------------------------------------------------------- */

/*
 * Ranks, outermost first: a thread takes locks in rising rank only.  Checked
 * with --enable-debug.  Two locks of one rank are never held together, but in
 * mm_fork_prepare(), which takes all of them in the order given in mm.h.
 */
enum sys_lock_rank {
	SYS_RANK_SEGMENT = 1, /* segment: attach, modules */
	SYS_RANK_FORK,	      /* engine: list of what fork must take */
	SYS_RANK_MODULES,     /* module table */
	SYS_RANK_CHAIN,	      /* cache_chain */
	SYS_RANK_VM,	      /* vm area tree */
	SYS_RANK_ARRAY,	      /* creation of per-CPU array_caches */
	SYS_RANK_CPU,	      /* per-CPU array_cache */
	SYS_RANK_LIST,	      /* kmem_list3 */
	SYS_RANK_DEPOT,	      /* stack depot, new sites */
	SYS_RANK_SITE,	      /* one site record */
	SYS_RANK_META,	      /* engine's descriptor memory */
	SYS_RANK_ZONE,	      /* zone */
	SYS_RANK_DEVICE,      /* devices' counters */
	SYS_RANK_EVENT,	      /* event ring */
	SYS_RANK_STOP,	      /* restartable sequences: may they run */
	SYS_NR_RANKS
};

/* 0 free, 1 held, 2 held and somebody sleeps. */
struct sys_lock {
	uint32_t word;
};

/* Spins briefly, then sleeps on the futex.  Never call with it held. */
void sys_lock_slow(struct sys_lock *l);
void sys_lock_wake(struct sys_lock *l);
#ifdef BS_DEBUG
void sys_rank_enter(unsigned int rank);
void sys_rank_leave(unsigned int rank);
void sys_rank_reset(void); /* in a fork child */
#else
#define sys_rank_enter(rank) ((void)(rank))
#define sys_rank_leave(rank) ((void)(rank))
#define sys_rank_reset()     ((void)0)
#endif

/*
 * x becomes at least to, by whoever is last of several; with release order, so
 * that a reader of a section's new count finds the records that it counts.
 */
#define sys_raise(x, to)                                                       \
	do {                                                                   \
		__typeof__(x) to_ = (to), x_;                                  \
                                                                               \
		x_ = __atomic_load_n(&(x), __ATOMIC_RELAXED);                  \
		while (x_ < to_ &&                                             \
		       !__atomic_compare_exchange_n(&(x), &x_, to_, false,     \
						    __ATOMIC_RELEASE,          \
						    __ATOMIC_RELAXED))         \
			;                                                      \
	} while (0)

/* An only thread finds what it holds itself, and in a raw fork's child what
 * another thread of the parent held. */
static inline bool sys_lock_take(struct sys_lock *l)
{
	uint32_t free = 0;

	if (sys_alone()) {
		if (unlikely(l->word))
			return false;
		l->word = 1;
		return true;
	}
	return __atomic_compare_exchange_n(&l->word, &free, 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline bool sys_trylock(struct sys_lock *l, unsigned int rank)
{
	if (!sys_lock_take(l))
		return false;
	sys_rank_enter(rank);
	return true;
}

static inline void sys_lock(struct sys_lock *l, unsigned int rank)
{
	sys_rank_enter(rank);
	if (unlikely(!sys_lock_take(l)))
		sys_lock_slow(l);
}

static inline void sys_unlock(struct sys_lock *l, unsigned int rank)
{
	if (sys_alone())
		l->word = 0;
	else if (unlikely(__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) ==
			  2))
		sys_lock_wake(l);
	sys_rank_leave(rank);
}

static inline bool sys_is_locked(const struct sys_lock *l)
{
	return __atomic_load_n(&l->word, __ATOMIC_RELAXED) != 0;
}

/*
 * A lock that is given back with a plain store: half the price of the other
 * when nobody waits.  Who waits spins, then sleeps for a moment at a time, so
 * that a holder of lower priority gets to run.  For per-CPU arrays, where a
 * second taker is rare.
 */
void sys_spin_slow(struct sys_lock *l);

static inline void sys_spin_lock(struct sys_lock *l, unsigned int rank)
{
	sys_rank_enter(rank);
	if (unlikely(!sys_lock_take(l)))
		sys_spin_slow(l);
}

static inline void sys_spin_unlock(struct sys_lock *l, unsigned int rank)
{
	__atomic_store_n(&l->word, 0, __ATOMIC_RELEASE);
	sys_rank_leave(rank);
}

#endif
