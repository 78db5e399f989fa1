// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's instance of the index: its selection at load time, and the
 * callbacks through which it compares pages.
 *
 * The index itself stores entries and does not access pages (index.h).
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>

#include "ksm.h"

static const struct ksm_index_ops *const indexes[] = { &ksm_index_hash, &ksm_index_tree };

static char *index = "hash";
module_param(index, charp, 0444);
MODULE_PARM_DESC(index, "index of page contents: hash (default) or tree (as in 2009)");

/*
 * Compare a page with the kernel page of a node. Returns false if the kernel
 * page has been freed or has a memory error.
 */
static bool stable_order(struct page *page, struct ksm_node *node, int *order)
{
	struct page *kpage = ksm_node_page(node);

	if (PageHWPoison(kpage) || !ksm_node_tryget(node))
		return false;
	*order = ksm_page_order(page, kpage);
	put_page(kpage);
	return true;
}

/*
 * Compare a page with the page of an item. Returns false if the item's page is
 * gone, or if its mmap lock is contended.
 */
static bool unstable_order(struct page *page, struct ksm_item *item, int *order)
{
	struct page *other = ksm_item_page(item);

	if (!other)
		return false;
	*order = ksm_page_order(page, other);
	put_page(other);
	return true;
}

/*
 * Compare a page with the page of an entry. Returns false if the entry must
 * leave the index: its page is gone or unusable, or its region is being
 * removed. Otherwise sets @order. With index=hash, the index has compared the
 * hashes, and that is enough: the merge compares the pages, and fails if the
 * other page has changed or is gone.
 */
static bool index_order(const void *content, struct ksm_entry *entry, enum ksm_kind kind,
			int *order)
{
	struct page *page = (struct page *)content;
	struct ksm_item *item;

	*order = 0;
	if (kind == KSM_STABLE)
		return ksm_index_ops->hashes ||
		       stable_order(page, container_of(entry, struct ksm_node, entry), order);
	item = container_of(entry, struct ksm_item, entry);
	/* If the region is being removed, its pages must not merge again. */
	if (ksm_item_chunk(item)->region->leaving)
		return false;
	return ksm_index_ops->hashes || unstable_order(page, item, order);
}

/* Update the item or node whose entry the index has removed. */
static void index_dropped(struct ksm_entry *entry, enum ksm_kind kind)
{
	struct ksm_item *item = container_of(entry, struct ksm_item, entry);

	if (kind == KSM_STABLE) {
		ksm_node_dropped(container_of(entry, struct ksm_node, entry));
		return;
	}
	item->state = KSM_ITEM_PLAIN;
	/* Make the next pass scan the chunk, and so insert the page again. */
	ksm_chunk_wake(ksm_item_chunk(item));
}

static const struct ksm_index_callbacks index_callbacks = {
	.order = index_order,
	.dropped = index_dropped,
	.hash_at = {
		[KSM_STABLE] = (int)offsetof(struct ksm_node, word) -
			       (int)offsetof(struct ksm_node, entry),
		[KSM_UNSTABLE] = (int)offsetof(struct ksm_item, word) -
				 (int)offsetof(struct ksm_item, entry),
	},
};

/**
 * ksm_index_init - create the index that the parameter "index" selects
 *
 * Context: module load. May sleep.
 * Return: 0 on success; -EINVAL if the parameter is invalid; -ENOMEM if an
 * allocation failed.
 */
int ksm_index_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(indexes) && !ksm_index_ops; i++)
		if (sysfs_streq(index, indexes[i]->name))
			ksm_index_ops = indexes[i];
	if (!ksm_index_ops) {
		pr_err("index=%s: must be hash or tree; the module was not loaded\n", index);
		return -EINVAL;
	}
	ksm_hash_init();
	ksm_index = ksm_index_ops->create(&index_callbacks);
	return ksm_index ? 0 : -ENOMEM;
}

/**
 * ksm_index_exit - free the index
 *
 * Context: module unload, when the index has no entries.
 */
void ksm_index_exit(void)
{
	ksm_index_ops->destroy(ksm_index);
}
