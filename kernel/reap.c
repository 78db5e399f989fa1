// SPDX-License-Identifier: GPL-2.0
/*
 * Twice a second: forget regions of dead processes, and nodes whose page is gone.
 *
 * Their memory is free by then, since neither holds any. What remains is the
 * driver's metadata and its counters, which must not depend on whether, and how
 * fast, a scanner comes by.
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
 * ksm_reap_start - there is something that can go stale: a region or a node
 *
 * Context: any.
 */
void ksm_reap_start(void)
{
	queue_delayed_work(system_freezable_wq, &reap_work, REAP_INTERVAL);
}

/**
 * ksm_reap_now - a region of a dead process has no user any more
 *
 * Context: any.
 */
void ksm_reap_now(void)
{
	mod_delayed_work(system_freezable_wq, &reap_work, 0);
}

/* No area is open any more, so nothing starts it again. */
void ksm_reap_exit(void)
{
	cancel_delayed_work_sync(&reap_work);
}
