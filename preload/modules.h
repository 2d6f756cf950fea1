/* SPDX-License-Identifier: MIT */
/*
 * modules.h - what segment.c needs of modules.c; the rest is in segment.h.
 *
 * Layer:  preload, beside segment.c.
 */
#ifndef BS_PRELOAD_MODULES_H
#define BS_PRELOAD_MODULES_H

#include <stdbool.h>

/* Before the first scan; exe: path of the main program. */
void modules_init(const char *exe);

void modules_destroy(void);

/* Writes all records into a new segment. */
void modules_republish(void);

/*
 * Around fork(): nobody scans meanwhile.  False: somebody did for a second; go on
 * as with a raw fork, and do not call modules_fork_parent().
 */
bool modules_fork_prepare(void);
void modules_fork_parent(void);
void modules_fork_child(bool raw);

#endif
