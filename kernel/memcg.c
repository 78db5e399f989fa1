// SPDX-License-Identifier: GPL-2.0
/*
 * Charge allocations to the memory cgroup of the process they are made for.
 *
 * A scanner is a kernel thread, so by default its allocations would be charged
 * to the root cgroup, and a process could use more memory than its cgroup
 * allows. So a scanner makes the cgroup of the process the active one around
 * each allocation with __GFP_ACCOUNT. The memory is uncharged when it is freed;
 * the charge does not follow a process to another cgroup.
 *
 * The buckets of the hash index (index_hash.c) and of the set of collisions
 * (collision.c) are not charged to a cgroup, because entries of all processes
 * share them. So the memory of a process can exceed the limit of its cgroup by
 * a few bytes for each entry.
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
 * ksm_charge_end - restore the active memory cgroup
 * @memcg: the return value of ksm_charge_begin()
 * @old: the cgroup that was active before
 *
 * Context: the task that called ksm_charge_begin().
 */
void ksm_charge_end(struct mem_cgroup *memcg, struct mem_cgroup *old)
{
	set_active_memcg(old);
	mem_cgroup_put(memcg);
}
