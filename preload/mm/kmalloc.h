/* SPDX-License-Identifier: MIT */
/* kmalloc.h - start-up of the general caches and the handlers' reserve. */
#ifndef BS_MM_KMALLOC_H
#define BS_MM_KMALLOC_H

#include "preload/mm/mm.h"

int kmalloc_init(void);

/* atomic.c: mappings made for handlers. */
int atomic_lookup(const void *p, struct mm_block *b);
int atomic_unmap(void *p);

/* dma.c: a large block with use DMA is about to be given back. */
void dma_freed(const struct page *page);
void devices_publish(void);

#endif
