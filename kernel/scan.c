// SPDX-License-Identifier: GPL-2.0
/*
 * kksmd: the cursor, the pass, the pace.
 *
 * The cursor goes through the regions in the order of their registration, and
 * through each region by address. When it has been everywhere a pass is over: the
 * unstable index is thrown away, nodes that nobody maps are dropped, and the
 * figures of the pass become the figures that userspace reads.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/wait.h>

#include "ksm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Steps between two offers to let others have ksm_lock. */
#define STEPS_PER_HOLD	16

/* Jiffies between two looks at nodes that no region leads to. */
#define PRUNE_INTERVAL	(HZ / 2)

static DECLARE_WAIT_QUEUE_HEAD(wait);
static struct task_struct *kksmd;

/* Where the pass stands: in @region at @addr. No region: the pass is over. */
static struct {
	struct ksm_region *region;
	unsigned long addr;
} cursor;

static void pass_end(void)
{
	struct ksm_counters *c = &ksm_counters;

	ksm_index_ops->flush(ksm_index);
	ksm_nodes_prune();
	c->volatile_last = c->volatile_now;
	c->volatile_now = 0;
	memcpy(c->skipped_last, c->skipped_now, sizeof(c->skipped_last));
	memset(c->skipped_now, 0, sizeof(c->skipped_now));
	/* Last: who sees it counted reads the figures of this pass. */
	smp_store_release(&c->full_scans, c->full_scans + 1);
	trace_devksm_pass_end(c->full_scans, c->shared, c->kernel_pages);
}

/* To the first region after @region (NULL: of all) that is not being removed. */
static void cursor_enter_next(struct ksm_region *region)
{
	struct list_head *pos = region ? &region->in_scan : &ksm_regions;

	cursor.region = NULL;
	for (pos = pos->next; pos != &ksm_regions; pos = pos->next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		if (!region->leaving) {
			cursor.region = region;
			cursor.addr = region->start;
			return;
		}
	}
}

/**
 * ksm_scan_leave - the cursor must not stand in a region any more
 * @region: the region, still in ksm_regions; ksm_lock is held
 */
void ksm_scan_leave(struct ksm_region *region)
{
	if (cursor.region == region)
		cursor_enter_next(region);
}

/* One step of the cursor: one page, one hole, or one stretch that is left alone. */
static void step(void)
{
	struct ksm_region *region = cursor.region;
	struct mm_struct *mm = region->mm;
	unsigned long addr = cursor.addr;
	struct ksm_spot spot;

	if (!mmget_not_zero(mm)) {
		ksm_region_free(region);
		return;
	}
	mmap_read_lock(mm);
	ksm_look(mm, addr, region->end, &spot);
	mmap_read_unlock(mm);
	mmput_async(mm);

	cursor.addr = spot.next;
	ksm_items_forget(region, addr, spot.addr, KSM_BREAK_UNMAPPED);
	if (spot.page) {
		ksm_visit(region, spot.addr, spot.page);
	} else {
		if (spot.why)
			ksm_skip(mm, spot.addr, (spot.next - spot.addr) / PAGE_SIZE, spot.why);
		/* Merged pages stay merged when userfaultfd comes to their mapping. */
		if (spot.why != KSM_SKIP_UFFD)
			ksm_items_forget(region, spot.addr, spot.next, KSM_BREAK_UNMAPPED);
	}
	if (cursor.addr >= region->end)
		cursor_enter_next(region);
}

static bool should_scan(void)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_SCAN &&
	       READ_ONCE(ksm_settings.pages_to_scan) && !list_empty(&ksm_regions);
}

/*
 * Nodes without regions: what mapped their pages is going, or was forked off. No
 * pass will come to drop them, so there is a look now and then.
 */
static bool should_prune(void)
{
	return list_empty(&ksm_regions) && READ_ONCE(ksm_counters.kernel_pages);
}

/* A batch: pages_to_scan steps, or less to the end of the pass. */
static void scan_batch(void)
{
	unsigned int left = READ_ONCE(ksm_settings.pages_to_scan);

	if (!cursor.region) {
		/* Fresh pages wait in per-CPU batches that hold a reference to each. */
		lru_add_drain_all();
		mutex_lock(&ksm_lock);
		trace_devksm_pass_start(ksm_counters.full_scans + 1);
		cursor_enter_next(NULL);
	} else {
		mutex_lock(&ksm_lock);
	}
	while (left && cursor.region) {
		if (kthread_should_stop() || READ_ONCE(ksm_settings.run) != KSM_RUN_SCAN)
			break;
		step();
		if (--left % STEPS_PER_HOLD)
			continue;
		mutex_unlock(&ksm_lock);
		cond_resched();
		try_to_freeze();
		mutex_lock(&ksm_lock);
	}
	if (!cursor.region)
		pass_end();
	mutex_unlock(&ksm_lock);
}

static int kksmd_thread(void *unused)
{
	set_freezable();
	set_user_nice(current, 5);

	while (!kthread_should_stop()) {
		try_to_freeze();
		if (should_scan()) {
			unsigned int sleep = READ_ONCE(ksm_settings.sleep);

			scan_batch();
			cond_resched();
			if (sleep)
				wait_event_interruptible_hrtimeout(wait,
					kthread_should_stop() || freezing(current) ||
					sleep != READ_ONCE(ksm_settings.sleep),
					ns_to_ktime((u64)sleep * NSEC_PER_USEC));
		} else {
			bool prune = should_prune();

			wait_event_interruptible_timeout(wait, kthread_should_stop() ||
							 freezing(current) || should_scan() ||
							 prune != should_prune(),
							 prune ? PRUNE_INTERVAL :
							 MAX_SCHEDULE_TIMEOUT);
			mutex_lock(&ksm_lock);
			if (should_prune())
				ksm_nodes_prune();
			mutex_unlock(&ksm_lock);
		}
	}
	return 0;
}

/**
 * ksm_scan_wake - a setting or the list of regions has changed: look again
 */
void ksm_scan_wake(void)
{
	wake_up_interruptible(&wait);
}

int ksm_scan_init(void)
{
	struct task_struct *task = kthread_run(kksmd_thread, NULL, "kksmd");

	if (IS_ERR(task))
		return PTR_ERR(task);
	kksmd = task;
	return 0;
}

void ksm_scan_exit(void)
{
	kthread_stop(kksmd);
}
