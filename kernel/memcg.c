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
#include <linux/gfp.h>
#include <linux/memcontrol.h>
#include <linux/sched.h>
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

/*
 * A thread that charges pages to a cgroup above memory.high is slowed down, by
 * up to two seconds at a time, once it has charged more than MEMCG_CHARGE_BATCH
 * pages. Forget the pages that a scanner has charged: it works for all clients.
 */
static void forget_over_high(void)
{
#ifdef CONFIG_MEMCG
	current->memcg_nr_pages_over_high = 0;
#endif
}

/**
 * ksm_charge_reclaim - let a scanner reclaim memory for a process
 * @mm: the mm of the process
 * @size: the size of the allocation that needs the memory, in bytes
 *
 * An allocation with KSM_GFP_NOWAIT fails if the cgroup of the process has
 * reached memory.max, even if most of that memory is page cache. So this
 * function allocates memory in a way that reclaims, and frees it again. It does
 * not invoke the OOM killer, and waits neither for a file system, which may be
 * frozen, nor because of memory.high.
 *
 * Context: a scanner, without ksm_lock. May sleep; the mmap lock may be held.
 * Return: true if the next allocation of @size bytes will probably succeed.
 */
bool ksm_charge_reclaim(struct mm_struct *mm, unsigned long size)
{
	struct mem_cgroup *memcg, *old;
	void *memory;

	memcg = ksm_charge_begin(mm, &old);
	forget_over_high();
	memory = alloc_pages_exact(size, GFP_NOFS | __GFP_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN);
	ksm_charge_end(memcg, old);
	if (!memory)
		return false;
	free_pages_exact(memory, size);
	return true;
}
