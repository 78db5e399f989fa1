/* SPDX-License-Identifier: GPL-2.0 */
/* Host stand-in: the position of the highest set bit, from 1; 0 if none is set. */
#ifndef HOST_BITOPS_H
#define HOST_BITOPS_H

#include <linux/types.h>

static inline unsigned int fls64(u64 x)
{
	return x ? 64 - (unsigned int)__builtin_clzll(x) : 0;
}

#endif
