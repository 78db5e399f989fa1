/* SPDX-License-Identifier: GPL-2.0 */
/* Host stand-in: memory that the program can refuse, one allocation at a time. */
#ifndef HOST_SLAB_H
#define HOST_SLAB_H

#include <linux/types.h>

#define GFP_KERNEL	0u
#define GFP_NOWAIT	0u
#define __GFP_NOWARN	0u

void *kcalloc(size_t count, size_t size, unsigned int flags);
void *kzalloc(size_t size, unsigned int flags);
void kfree(const void *memory);

#endif
