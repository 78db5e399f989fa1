/* SPDX-License-Identifier: GPL-2.0 */
/* Host stand-in. */
#ifndef HOST_MATH_H
#define HOST_MATH_H

#define DIV_ROUND_UP(n, d) (((n) + (d) - 1) / (d))

#endif
