// SPDX-License-Identifier: GPL-2.0
/*
 * The state that all files of the driver share.
 *
 * This file uses no other file of the driver. Every file above it in the layers
 * (ksm.h) may use it.
 */
#include <linux/sched.h>
#include <linux/workqueue.h>

#include "ksm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_MUTEX(ksm_lock);
LIST_HEAD(ksm_regions);
struct ksm_counters ksm_counters;
const struct ksm_index_ops *ksm_index_ops;
struct ksm_index *ksm_index;
unsigned int ksm_scan_epoch;
bool ksm_seen_fresh;

struct ksm_settings ksm_settings = {
	.run = KSM_RUN_STOP,
	.pages_to_scan = 512,
	.sleep = 20000,
	.max_page_sharing = 256,
};

DECLARE_WAIT_QUEUE_HEAD(ksm_scan_asleep);
DECLARE_WAIT_QUEUE_HEAD(ksm_scan_idle);

struct delayed_work ksm_reap_work;

/**
 * ksm_lock_relax - drop ksm_lock for a moment, so that no loop holds it for
 * long
 *
 * Context: ksm_lock must be held. Drops and retakes it. May sleep.
 */
void ksm_lock_relax(void)
{
	mutex_unlock(&ksm_lock);
	cond_resched();
	mutex_lock(&ksm_lock);
}

/**
 * ksm_scan_wake - wake all scanners
 *
 * The caller has changed a setting or the set of regions.
 *
 * Context: any. Does not sleep.
 */
void ksm_scan_wake(void)
{
	wake_up_interruptible(&ksm_scan_asleep);
	wake_up_interruptible(&ksm_scan_idle);
}

/**
 * ksm_scan_wake_idle - wake the scanners that wait for a range of the pass
 *
 * Context: any. Does not sleep.
 */
void ksm_scan_wake_idle(void)
{
	if (wq_has_sleeper(&ksm_scan_idle))
		wake_up_interruptible(&ksm_scan_idle);
}

/**
 * ksm_reap_start - make sure that reap.c runs within half a second
 *
 * The caller has created a region or a node. reap.c then reschedules itself
 * until all of them have been freed.
 *
 * Context: any. Does not sleep.
 */
void ksm_reap_start(void)
{
	queue_delayed_work(system_freezable_wq, &ksm_reap_work, HZ / 2);
}

/**
 * ksm_reap_now - make reap.c run at once
 *
 * The user count of a region has become 0, and reap.c can free the region: its
 * mm is dead, or its area has been closed.
 *
 * Context: any. Does not sleep.
 */
void ksm_reap_now(void)
{
	mod_delayed_work(system_freezable_wq, &ksm_reap_work, 0);
}

/**
 * ksm_skip - count and trace skipped pages
 * @mm: the mm that maps the pages
 * @addr: the address of the first page
 * @pages: the number of pages
 * @why: the reason
 *
 * Context: ksm_lock must be held.
 */
void ksm_skip(struct mm_struct *mm, unsigned long addr, unsigned long pages, enum ksm_skip why)
{
	ksm_counters.skipped_now[why] += pages;
	trace_devksm_skip(mm, addr, pages, why);
}
