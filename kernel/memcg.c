// SPDX-License-Identifier: GPL-2.0
/*
 * Charge what the driver allocates to the memory cgroup that it is allocated for.
 *
 * A scanner is a kernel thread: left alone, it would charge the root cgroup, and a
 * process could hold more memory than its cgroup allows. So around each allocation
 * with __GFP_ACCOUNT the cgroup of the owner is made the active one. The charge goes
 * away when the memory is freed; it does not follow a process to another cgroup.
 */
#include <linux/memcontrol.h>
#include <linux/sched/mm.h>

#include "ksm.h"

/**
 * ksm_charge_begin - charge allocations to the memory cgroup of a process
 * @mm: the mm of the process
 * @old: set to the cgroup that was active before
 *
 * Context: any task context. Does not sleep. Balance with ksm_charge_end().
 * Return: the cgroup, with a reference, for ksm_charge_end().
 */
struct mem_cgroup *ksm_charge_begin(struct mm_struct *mm, struct mem_cgroup **old)
{
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(mm);

	*old = set_active_memcg(memcg);
	return memcg;
}

/**
 * ksm_charge_end - end what ksm_charge_begin() began
 * @memcg: its return value
 * @old: the cgroup that was active before
 *
 * Context: the task that called ksm_charge_begin().
 */
void ksm_charge_end(struct mem_cgroup *memcg, struct mem_cgroup *old)
{
	set_active_memcg(old);
	mem_cgroup_put(memcg);
}
