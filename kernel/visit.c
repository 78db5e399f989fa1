// SPDX-License-Identifier: GPL-2.0
/*
 * What is done about the pages of one glance: are they volatile, are there equal
 * ones, merge.
 *
 * Also the index's view of content: the index itself knows no pages.
 */
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sched.h>
#include <linux/sort.h>

#include "ksm.h"
#include "trace.h"

const struct ksm_index_ops *ksm_index_ops;
struct ksm_index *ksm_index;
bool ksm_seen_fresh;

static const struct ksm_index_ops *const indexes[] = { &ksm_index_hash, &ksm_index_tree };
/* Whether the last entry that was compared with is of the very page that was looked for. */
static bool same_page;

/* What is to be merged: pages of the glance itself; and pages, wherever they are, that waited for them. */
static struct {
	struct ksm_job here[KSM_BATCH];
	unsigned int nr_here;
	struct ksm_job there[KSM_BATCH];
	unsigned int nr_there;
} jobs;

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

/* Where the index finds by hash, one that is the same is enough: the merge compares. */
static bool index_order(const void *content, struct ksm_entry *entry, enum ksm_kind kind,
			int *order)
{
	struct page *key = (struct page *)content, *page;
	struct ksm_item *item;

	*order = 0;
	if (kind == KSM_STABLE) {
		page = container_of(entry, struct ksm_node, entry)->kpage;
		if (!ksm_index_ops->hashes)
			*order = ksm_page_order(key, page);
		return true;
	}
	item = container_of(entry, struct ksm_item, entry);
	/* What is being removed has perhaps been unmerged already, and must not merge again. */
	if (ksm_item_chunk(item)->region->leaving)
		return false;
	page = ksm_item_page(item);
	if (!page)
		return false;
	same_page = page == key;
	if (!same_page && !ksm_index_ops->hashes)
		*order = ksm_page_order(key, page);
	put_page(page);
	return true;
}

static void index_dropped(struct ksm_entry *entry)
{
	struct ksm_item *item = container_of(entry, struct ksm_item, entry);

	item->state = KSM_ITEM_PLAIN;
	/* It is to come back at the next look. */
	ksm_chunk_wake(ksm_item_chunk(item));
	cond_resched();
}

static const struct ksm_index_callbacks index_callbacks = {
	.order = index_order,
	.dropped = index_dropped,
};

static void job_add(struct ksm_job *list, unsigned int *nr, struct ksm_item *item,
		    struct ksm_node *node, enum ksm_kind kind)
{
	list[(*nr)++] = (struct ksm_job){
		.item = item,
		.addr = ksm_item_addr(item),
		.node = node,
		.kind = kind,
	};
}

/* Two items of equal content, neither in the stable index. */
static void pair(const struct ksm_find *find, struct ksm_item *other)
{
	enum ksm_skip why;
	struct ksm_node *node;

	/* One page that two processes share since fork: nothing to save. */
	if (same_page)
		return;
	node = ksm_node_create(find->page, &why);
	if (!node) {
		skip_item(find->item, why);
		return;
	}
	/* Out of the index, whether it comes to merge or not: so it must be looked at again. */
	ksm_item_forget(other, KSM_BREAK_UNMAPPED);
	ksm_chunk_wake(ksm_item_chunk(other));
	job_add(jobs.here, &jobs.nr_here, find->item, node, KSM_UNSTABLE);
	job_add(jobs.there, &jobs.nr_there, other, node, KSM_UNSTABLE);
}

/* Return: whether there may be an equal page for this one, which is as it was at the last visit. */
static bool unchanged(const struct ksm_find *find)
{
	struct ksm_item *item = find->item;

	if (ksm_node_adopt(item, find->page))
		return false;
	if (!PageAnon(find->page)) {
		skip_item(item, KSM_SKIP_NOT_ANON);
		return false;
	}
	if (item->seen && item->hash == find->hash)
		return true;
	ksm_seen_fresh = true;
	ksm_counters.volatile_now += item->seen;
	item->hash = find->hash;
	item->seen = 1;
	ksm_item_note(item);
	return false;
}

static void look_up(const struct ksm_find *find)
{
	struct ksm_key key = { .content = find->page, .hash = find->hash };
	struct ksm_node *node = ksm_node_find(find->page, find->hash, find->sample);
	struct ksm_item *item = find->item;
	struct ksm_entry *entry;

	if (node) {
		job_add(jobs.here, &jobs.nr_here, item, node, KSM_STABLE);
		return;
	}
	entry = ksm_index_ops->find_or_insert_unstable(ksm_index, &key, &item->entry);
	if (entry)
		pair(find, container_of(entry, struct ksm_item, entry));
	else
		item->state = KSM_ITEM_UNSTABLE;
}

static void merge(struct ksm_job *job, unsigned int nr)
{
	ksm_merge(job, nr);
	for (; nr; nr--, job++) {
		if (job->lied)
			ksm_node_crowded(job->node);
		if (job->why)
			skip_item(job->item, job->why);
		else
			trace_devksm_merge(job->kind, ksm_item_mm(job->item), job->addr,
					   page_to_pfn(job->page), page_to_pfn(job->node->kpage));
	}
}

static int by_place(const void *a, const void *b)
{
	const struct ksm_job *one = a, *other = b;

	return one->item < other->item ? -1 : one->item > other->item;
}

/* Those that waited: sorted by their place, so that those of one chunk give way together. */
static void merge_there(void)
{
	struct ksm_job *job = jobs.there, *end = job + jobs.nr_there, *next;

	/* More often than not they come as they lie. */
	for (next = job + 1; next < end && by_place(next - 1, next) < 0; next++)
		;
	if (next < end)
		sort(job, jobs.nr_there, sizeof(*job), by_place, NULL);
	for (; job < end; job = next) {
		for (next = job + 1; next < end; next++)
			if (ksm_item_chunk(next->item) != ksm_item_chunk(job->item))
				break;
		merge(job, next - job);
	}
}

/* A node whose first page has stayed as it was: nobody else is to merge with it. */
static void give_up(const struct ksm_job *there)
{
	unsigned int i;

	for (i = 0; i < jobs.nr_here; i++)
		if (jobs.here[i].node == there->node)
			jobs.here[i].why = there->why;
	ksm_node_drop_if_unused(there->node);
}

/* Those of the glance that still have somebody to merge with. */
static void merge_here(void)
{
	unsigned int i, nr = 0;

	for (i = 0; i < jobs.nr_here; i++) {
		if (jobs.here[i].why)
			skip_item(jobs.here[i].item, jobs.here[i].why);
		else
			jobs.here[nr++] = jobs.here[i];
	}
	if (nr)
		merge(jobs.here, nr);
}

/**
 * ksm_visit - do what there is to do about the pages that ksm_glance() has found
 * @finds: they; the references to them are given back here
 */
void ksm_visit(const struct ksm_finds *finds)
{
	bool same[KSM_BATCH];
	unsigned int i;

	jobs.nr_here = jobs.nr_there = 0;
	/* All that may drop a node comes before the first is looked up. */
	for (i = 0; i < finds->nr; i++)
		same[i] = unchanged(&finds->found[i]);
	for (i = 0; i < finds->nr; i++)
		if (same[i])
			look_up(&finds->found[i]);
	for (i = 0; i < finds->nr; i++)
		put_page(finds->found[i].page);
	merge_there();
	for (i = 0; i < jobs.nr_there; i++)
		if (jobs.there[i].why)
			give_up(&jobs.there[i]);
	merge_here();
	/* A kernel page for one mapping saves nothing; if memory is short it stays. */
	for (i = 0; i < jobs.nr_there; i++)
		if (!jobs.there[i].why && ksm_node_is_single(jobs.there[i].node))
			ksm_unmerge(jobs.there[i].item);
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
	ksm_hash_init();
	ksm_index = ksm_index_ops->create(&index_callbacks);
	return ksm_index ? 0 : -ENOMEM;
}

void ksm_index_exit(void)
{
	ksm_index_ops->destroy(ksm_index);
}
