/* SPDX-License-Identifier: MIT */
/*
 * prune.h - removes dead segments when nobody collects them.
 *
 * Layer:  preload, beside segment.c.
 */
#ifndef BS_PRELOAD_PRUNE_H
#define BS_PRELOAD_PRUNE_H

#include <stdint.h>

#include "shared/abi.h"

/*
 * Removes dead segments of this user, oldest first: when there are more than
 * SEGMENT_MAX_DEAD, down to SEGMENT_KEEP_DEAD, and beyond a quarter of the file
 * system.  own: our own header.  Bounded work; says nothing.
 */
void prune_dead(int dir, const struct bs_abi_header *own);

/* segment.c: "<pid>-<start>-<nonce, 16 hex digits>.seg" */
void segment_file_name(char *name, size_t len, const struct bs_abi_header *h);

/* segment.c: field 22 of a stat file, 0: no such process. */
uint64_t segment_start_ticks(const char *stat_path);

#endif
