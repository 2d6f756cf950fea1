/* SPDX-License-Identifier: MIT */
/*
 * target.h - which processes have a segment, and are they alive.
 *
 * Owns:   the directory of segments, their file names, liveness, and how
 *         PID|NAME on a command line becomes one target.
 * Layer:  shared; uses snapshot.h and /proc.
 * Locks:  none.
 */
#ifndef BS_SHARED_TARGET_H
#define BS_SHARED_TARGET_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/json.h"

#define BS_SOCKET_NAME "buddyscoped.sock"

enum bs_target_state {
	BS_TARGET_RUNNING,
	BS_TARGET_EXITED,  /* ended by itself */
	BS_TARGET_KILLED,  /* gone without having said goodbye */
	BS_TARGET_EXEC,	   /* became another program: newer segment exists */
	BS_TARGET_UNKNOWN, /* other pid namespace, or no /proc */
};

struct bs_target {
	int pid;
	enum bs_target_state state;
	uint64_t start_ticks;
	uint64_t nonce;
	uint64_t pidns_inode;
	uint64_t created_ns;
	uint64_t created_realtime_ns;
	uint64_t exited_ns;
	uint32_t trace_mode;
	char comm[16]; /* control characters replaced */
	char exe[256];
	char path[PATH_MAX];
};

struct bs_target_list {
	struct bs_target *targets; /* oldest first */
	size_t nr;
	size_t nr_bad;	   /* files that are no readable segment */
	char bad_err[256]; /* why the first of them is not */
};

/* "running", "exited", "killed", "exec", "unknown" */
const char *bs_target_state_name(enum bs_target_state state);

/*
 * $BUDDYSCOPE_DIR, else /dev/shm/buddyscope-<euid>.  Returns 0 or
 * -ENAMETOOLONG; the directory need not exist.
 */
int bs_target_dir(char *dir, size_t len);

/*
 * Where the daemon keeps its state: $XDG_STATE_HOME/buddyscope, else
 * ~/.local/state/buddyscope.  0 or -ENAMETOOLONG.
 */
int bs_state_dir(char *path, size_t len);
/*
 * The folder of the state that belongs to the segment directory `dir`
 * (absolute): its ended targets are in .../archive.  0 or -ENAMETOOLONG.
 */
int bs_state_dir_of(const char *dir, char *path, size_t len);
/* The same below `state`, which may be `path` itself. */
int bs_state_dir_in(const char *state, const char *dir, char *path, size_t len);

/*
 * Creates the directory with mode 0700 if it is missing and checks that it is
 * a directory of ours that nobody else can write.  0 or -errno with err.
 */
int bs_target_dir_make(const char *dir, char *err, size_t errlen);

/* Splits "<pid>-<start>-<nonce>.seg"; false if the name is not of that form. */
bool bs_target_parse_name(const char *name, int *pid, uint64_t *start_ticks,
			  uint64_t *nonce);

/*
 * Field 22 of /proc/PID/stat and the state letter.  0, -ESRCH: no such process,
 * or -errno.  A zombie counts as a process here: look at the letter.
 */
int bs_proc_stat(int pid, uint64_t *start_ticks, char *letter);
/* Inode of /proc/self/ns/pid; 0 when unknown. */
uint64_t bs_proc_pidns(void);

/*
 * Lists a directory.  A missing directory is an empty list.  0 or -errno with
 * err.  Free with bs_target_list_free().
 */
int bs_target_list(const char *dir, struct bs_target_list *list, char *err,
		   size_t errlen);
/* The same, and ended targets that the daemon has archived. */
int bs_target_list_all(const char *dir, struct bs_target_list *list, char *err,
		       size_t errlen);
/*
 * Keeps the targets that `arg`, a pid or a name, may mean, whatever their state.
 * Returns how many.
 */
size_t bs_target_list_filter(struct bs_target_list *list, const char *arg);
void bs_target_list_free(struct bs_target_list *list);

/*
 * Finds the target that `arg` means: a pid, a name (comm, or the last part of
 * the executable's path), or NULL for "the only running one".  A running target
 * is preferred to ended ones; among ended ones of a pid or name the newest is
 * meant.  Returns the entry, or NULL with *code = BS_EXIT_USAGE (ambiguous) or
 * BS_EXIT_NO_TARGET, and in err one or more lines that list the candidates or
 * what exists.
 */
const struct bs_target *bs_target_resolve(const struct bs_target_list *list,
					  const char *arg, int *code,
					  struct bs_buf *err);

#endif
