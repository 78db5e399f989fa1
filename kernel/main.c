// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/ksm: merge identical pages of memory that applications have registered.
 *
 * A program opens /dev/ksm, creates an area, and registers ranges of its memory
 * in it (dev.c, area.c). One or more kernel threads, kksmd, scan all registered
 * pages, pass after pass (scan.c, pass.c, walk.c). A page that has changed
 * since the last pass is called volatile, and is skipped until the next pass.
 * With index=tree, a new page is skipped as well.
 *
 * For every other page, the scanner first searches the kernel pages (the stable
 * index), and then the ordinary pages that have no match yet (the unstable
 * index): see match.c and index.h. If the scanner finds a kernel page, it maps
 * the kernel page in place of the page. If it finds an ordinary page, it
 * replaces both with a new kernel page (merge.c, pte.c). Kernel pages are
 * mapped read-only. A process that writes to one takes an ordinary
 * copy-on-write fault, and gets a page of its own again.
 *
 * The design and the interface are those of the KSM series that Izik Eidus
 * posted in 2009 (version 4, April), with Andrea Arcangeli, Chris Wright and
 * others. Programs written for it run on this driver. Version 4 was not merged
 * into Linux: the same authors and Hugh Dickins reworked it, and the result is
 * mm/ksm.c of Linux 2.6.32 and later.
 *
 * This file contains only the module's init and exit functions. The opening
 * comment of ksm.h lists all files.
 */
#include <linux/init.h>
#include <linux/module.h>

#include "ksm.h"
#include "mm_symbols.h"

static int __init ksm_init(void)
{
	int err;

	err = ksm_symbols_init();
	if (err)
		return err;
	ksm_reap_init();
	err = ksm_collision_init();
	if (err)
		return err;
	err = ksm_index_init();
	if (err)
		goto exit_collision;
	err = ksm_node_init();
	if (err)
		goto exit_index;
	err = ksm_scan_init();
	if (err)
		goto exit_node;
	err = ksm_sysfs_init();
	if (err)
		goto exit_scan;
	err = ksm_dev_init();
	if (err)
		goto exit_sysfs;
	return 0;

exit_sysfs:
	ksm_sysfs_exit();
exit_scan:
	ksm_scan_exit();
exit_node:
	ksm_node_exit();
exit_index:
	ksm_index_exit();
exit_collision:
	ksm_collision_exit();
	return err;
}

/* Each open area holds a reference to the module, so none is open now. */
static void __exit ksm_exit(void)
{
	ksm_dev_exit();
	ksm_sysfs_exit();
	ksm_scan_exit();
	ksm_reap_exit();
	ksm_node_exit();
	ksm_index_exit();
	ksm_collision_exit();
}

module_init(ksm_init);
module_exit(ksm_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("The /dev/ksm lab contributors");
MODULE_DESCRIPTION("/dev/ksm: merges identical pages of registered memory");
