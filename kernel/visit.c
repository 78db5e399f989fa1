// SPDX-License-Identifier: GPL-2.0
/*
 * What is done about one page: is it volatile, is there an equal one, merge.
 *
 * Also the index's view of content: the index itself knows no pages.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/xxhash.h>

#include "ksm.h"
#include "trace.h"

const struct ksm_index_ops *ksm_index_ops;
struct ksm_index *ksm_index;

static const struct ksm_index_ops *const indexes[] = { &ksm_index_hash, &ksm_index_tree };
static u64 seed;

static char *index = "hash";
module_param(index, charp, 0444);
MODULE_PARM_DESC(index, "how equal pages are found: hash, or tree (as in 2009)");

/**
 * ksm_skip - count pages that are left alone, and say why
 * @mm: whose pages
 * @addr: the address of the first
 * @pages: how many
 * @why: the reason
 */
void ksm_skip(struct mm_struct *mm, unsigned long addr, unsigned long pages, enum ksm_skip why)
{
	ksm_counters.skipped_now[why] += pages;
	trace_devksm_skip(mm, addr, pages, why);
}

static void skip_item(struct ksm_item *item, enum ksm_skip why)
{
	ksm_skip(ksm_item_mm(item), ksm_item_addr(item), 1, why);
}

/**
 * ksm_page_hash - a hash of the content of a page
 * @page: the page; it is not slept on, so a page-table lock may be held
 *
 * Return: it; with another seed each time the driver is loaded, so that nobody
 * can choose contents that meet.
 */
u64 ksm_page_hash(struct page *page)
{
	void *p = kmap_local_page(page);
	u64 hash = xxh64(p, PAGE_SIZE, seed);

	kunmap_local(p);
	return hash;
}

static bool index_order(const void *content, struct ksm_entry *entry, enum ksm_kind kind,
			int *order)
{
	struct page *page;

	if (kind == KSM_STABLE) {
		page = container_of(entry, struct ksm_node, entry)->kpage;
		*order = ksm_page_order((struct page *)content, page);
		return true;
	}
	page = ksm_item_page(container_of(entry, struct ksm_item, entry));
	if (!page)
		return false;
	*order = ksm_page_order((struct page *)content, page);
	put_page(page);
	return true;
}

static void index_dropped(struct ksm_entry *entry)
{
	container_of(entry, struct ksm_item, entry)->state = KSM_ITEM_PLAIN;
	cond_resched();
}

static const struct ksm_index_callbacks index_callbacks = {
	.order = index_order,
	.dropped = index_dropped,
};

static enum ksm_skip merge(struct ksm_item *item, struct page *page, struct ksm_node *node,
			   enum ksm_kind kind)
{
	enum ksm_skip why = ksm_merge(item, page, node);

	if (why)
		skip_item(item, why);
	else
		trace_devksm_merge(kind, ksm_item_mm(item), ksm_item_addr(item),
				   page_to_pfn(page), page_to_pfn(node->kpage));
	return why;
}

/*
 * Two items of equal content, neither in the stable index. The reference to @page
 * is given back here, before the page of @other is taken: both may be parts of
 * one huge page, which splits only for the holder of the only extra reference.
 */
static void merge_pair(struct ksm_item *item, struct page *page, struct ksm_item *other)
{
	struct page *other_page = ksm_item_page(other);
	enum ksm_skip why;
	struct ksm_node *node;

	if (other_page)
		put_page(other_page);
	/* One page that two processes share since fork: nothing to save. */
	if (!other_page || other_page == page)
		goto put;
	node = ksm_node_create(page, &why);
	if (!node) {
		skip_item(item, why);
		goto put;
	}
	ksm_item_forget(other, KSM_BREAK_UNMAPPED);

	why = merge(item, page, node, KSM_UNSTABLE);
	put_page(page);
	if (why) {
		ksm_node_drop_if_unused(node);
		return;
	}
	other_page = ksm_item_page(other);
	if (other_page) {
		why = merge(other, other_page, node, KSM_UNSTABLE);
		put_page(other_page);
	} else {
		why = KSM_SKIP_CHANGED;
		skip_item(other, why);
	}
	/* A kernel page for one mapping saves nothing; if memory is short it stays. */
	if (why)
		ksm_unmerge(item);
	return;
put:
	put_page(page);
}

/**
 * ksm_visit - do what there is to do about a page that ksm_glance() has found
 * @find: the page; its reference is given back here
 */
void ksm_visit(const struct ksm_find *find)
{
	struct ksm_key key = { .content = find->page, .hash = find->hash };
	struct ksm_item *item = find->item;
	struct page *page = find->page;
	struct ksm_entry *entry;
	struct ksm_node *node;

	if (ksm_node_adopt(item, page))
		goto put;
	if (!find->hash && !PageAnon(page)) {
		skip_item(item, KSM_SKIP_NOT_ANON);
		goto put;
	}

	if (!item->seen || item->checksum != (u32)find->hash) {
		ksm_counters.volatile_now += item->seen;
		item->checksum = (u32)find->hash;
		item->seen = 1;
		goto put;
	}

	entry = ksm_index_ops->find_stable(ksm_index, &key);
	if (entry) {
		node = container_of(entry, struct ksm_node, entry);
		merge(item, page, node, KSM_STABLE);
		goto put;
	}
	entry = ksm_index_ops->find_or_insert_unstable(ksm_index, &key, &item->entry);
	if (entry) {
		merge_pair(item, page, container_of(entry, struct ksm_item, entry));
		return;
	}
	item->state = KSM_ITEM_UNSTABLE;
put:
	put_page(page);
}

int ksm_index_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(indexes) && !ksm_index_ops; i++)
		if (sysfs_streq(index, indexes[i]->name))
			ksm_index_ops = indexes[i];
	if (!ksm_index_ops) {
		pr_err("ksm: there is no index \"%s\"; nothing was loaded: take hash or tree\n",
		       index);
		return -EINVAL;
	}
	get_random_bytes(&seed, sizeof(seed));
	ksm_index = ksm_index_ops->create(&index_callbacks);
	return ksm_index ? 0 : -ENOMEM;
}

void ksm_index_exit(void)
{
	ksm_index_ops->destroy(ksm_index);
}
