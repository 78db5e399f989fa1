/* SPDX-License-Identifier: GPL-2.0 */
/* Host stand-in: nobody else wants to run. */
#ifndef HOST_SCHED_H
#define HOST_SCHED_H

static inline void cond_resched(void)
{
}

#endif
