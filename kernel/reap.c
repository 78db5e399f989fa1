// SPDX-License-Identifier: GPL-2.0
/*
 * Free the regions of dead processes, the nodes of freed pages and expired hash
 * collisions, twice a second.
 *
 * Regions and nodes hold no references to user memory, so the kernel has
 * already freed that memory. The work in this file frees the driver's metadata
 * and corrects its counters, even if no scanner runs. core.c schedules the
 * work.
 */
#include <linux/workqueue.h>

#include "ksm.h"

static void reap(struct work_struct *work)
{
	ksm_regions_reap();
	ksm_nodes_prune();
	ksm_collisions_expire();
	/*
	 * This is read without ksm_lock. A thread that adds a region or a node
	 * calls ksm_reap_start() afterwards. A collision is added only while
	 * there is a node.
	 */
	if (!list_empty(&ksm_regions) || READ_ONCE(ksm_counters.kernel_pages) ||
	    READ_ONCE(ksm_counters.collisions))
		ksm_reap_start();
}

/**
 * ksm_reap_init - initialize the work
 *
 * Context: module load.
 */
void ksm_reap_init(void)
{
	INIT_DELAYED_WORK(&ksm_reap_work, reap);
}

/**
 * ksm_reap_exit - cancel the work, and free the regions that are left
 *
 * Context: module unload, when no area is open, so that no other thread
 * schedules the work again. May sleep.
 */
void ksm_reap_exit(void)
{
	cancel_delayed_work_sync(&ksm_reap_work);
	/* A writer of run=2 may have been the last user of a region. */
	ksm_regions_reap();
}
