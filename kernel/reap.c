// SPDX-License-Identifier: GPL-2.0
/*
 * Free regions of dead processes and nodes of freed pages, twice a second.
 *
 * Regions and nodes hold no references to user memory, so that memory has been
 * freed already. This frees the driver's metadata and corrects its counters,
 * even if no scanner runs.
 */
#include <linux/workqueue.h>

#include "ksm.h"

#define REAP_INTERVAL	(HZ / 2)

static void reap(struct work_struct *work);
static DECLARE_DELAYED_WORK(reap_work, reap);

static void reap(struct work_struct *work)
{
	ksm_regions_reap();
	ksm_nodes_prune();
	if (!list_empty(&ksm_regions) || READ_ONCE(ksm_counters.kernel_pages))
		ksm_reap_start();
}

/**
 * ksm_reap_start - schedule reaping after a region or a node has been created
 *
 * Context: any.
 */
void ksm_reap_start(void)
{
	queue_delayed_work(system_freezable_wq, &reap_work, REAP_INTERVAL);
}

/**
 * ksm_reap_now - reap at once, because a dead region has lost its last user
 *
 * Context: any.
 */
void ksm_reap_now(void)
{
	mod_delayed_work(system_freezable_wq, &reap_work, 0);
}

/* No area is open any more, so no thread schedules the work again. */
void ksm_reap_exit(void)
{
	cancel_delayed_work_sync(&reap_work);
}
