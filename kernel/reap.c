// SPDX-License-Identifier: GPL-2.0
/*
 * Free regions of dead processes and nodes of freed pages, twice a second.
 *
 * Regions and nodes hold no references to user memory, so that memory has been
 * freed already. This frees the driver's metadata and corrects its counters,
 * even if no scanner runs. core.c schedules the work.
 */
#include <linux/workqueue.h>

#include "ksm.h"

static void reap(struct work_struct *work)
{
	ksm_regions_reap();
	ksm_nodes_prune();
	if (!list_empty(&ksm_regions) || READ_ONCE(ksm_counters.kernel_pages))
		ksm_reap_start();
}

void ksm_reap_init(void)
{
	INIT_DELAYED_WORK(&ksm_reap_work, reap);
}

/* No area is open any more, so no thread schedules the work again. */
void ksm_reap_exit(void)
{
	cancel_delayed_work_sync(&ksm_reap_work);
}
