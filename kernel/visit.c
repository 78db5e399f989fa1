// SPDX-License-Identifier: GPL-2.0
/*
 * What is done about the pages of one glance: are they volatile, are there equal
 * ones, merge. The merge itself is done without ksm_lock, and what becomes of it is
 * put down afterwards.
 *
 * Also the index's view of content: the index itself knows no pages.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

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
/* Whether the last entry that was compared with is of the very page that was looked for. Under ksm_lock. */
static bool same_page;

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

/* Only a page that has several mappings can wait in an index for itself: fork has shared it. */
static bool may_wait_for_itself(struct page *page)
{
	return PageCompound(page) || ksm_mapcount(page) > 1;
}

/*
 * With the hash index, an equal hash is a match: the merge compares the pages, and
 * notices if the other page has changed or is gone. The other page is looked up only
 * if it may be the very page that is looked for.
 */
static bool index_order(const void *content, struct ksm_entry *entry, enum ksm_kind kind,
			int *order)
{
	struct page *key = (struct page *)content, *page;
	struct ksm_item *item;
	struct ksm_node *node;

	*order = 0;
	if (kind == KSM_STABLE) {
		if (ksm_index_ops->hashes)
			return true;
		node = container_of(entry, struct ksm_node, entry);
		if (PageHWPoison(node->kpage) || !ksm_node_tryget(node))
			return false;
		*order = ksm_page_order(key, node->kpage);
		put_page(node->kpage);
		return true;
	}
	item = container_of(entry, struct ksm_item, entry);
	/* What is being removed has perhaps been unmerged already, and must not merge again. */
	if (ksm_item_chunk(item)->region->leaving)
		return false;
	same_page = false;
	if (ksm_index_ops->hashes && !may_wait_for_itself(key))
		return true;
	page = ksm_item_page(item);
	if (!page)
		return false;
	same_page = page == key;
	if (!same_page && !ksm_index_ops->hashes)
		*order = ksm_page_order(key, page);
	put_page(page);
	return true;
}

static void index_dropped(struct ksm_entry *entry, enum ksm_kind kind)
{
	struct ksm_item *item = container_of(entry, struct ksm_item, entry);

	if (kind == KSM_STABLE) {
		ksm_node_dropped(container_of(entry, struct ksm_node, entry));
		return;
	}
	item->state = KSM_ITEM_PLAIN;
	/* It is to come back at the next look. */
	ksm_chunk_wake(ksm_item_chunk(item));
	cond_resched();
}

static const struct ksm_index_callbacks index_callbacks = {
	.order = index_order,
	.dropped = index_dropped,
};

/* The job takes over a reference to the kernel page of @node. */
static void job_add(struct ksm_job *list, unsigned int *nr, struct ksm_item *item,
		    const struct ksm_node *node, enum ksm_kind kind)
{
	list[(*nr)++] = (struct ksm_job){
		.item = item,
		.addr = ksm_item_addr(item),
		.kpage = node->kpage,
		.hash = node->entry.hash,
		.kind = kind,
	};
	item->state = KSM_ITEM_MERGING;
}

/* Two items of equal content, neither in the stable index. */
static void pair(struct ksm_jobs *jobs, const struct ksm_find *find, struct ksm_item *other)
{
	enum ksm_skip why;
	struct ksm_node *node;

	/* One page that two processes share since fork: nothing to save. */
	if (same_page)
		return;
	/* The page of the other item came first: its owner pays for the kernel page. */
	node = ksm_node_create(find->page, find->hash, ksm_item_mm(other), &why);
	if (!node) {
		skip_item(find->item, why);
		return;
	}
	/* Out of the index, whether it comes to merge or not: so it must be looked at again. */
	ksm_item_forget(other, KSM_BREAK_UNMAPPED);
	ksm_chunk_wake(ksm_item_chunk(other));
	get_page(node->kpage);
	job_add(jobs->here, &jobs->nr_here, find->item, node, KSM_UNSTABLE);
	job_add(jobs->there, &jobs->nr_there, other, node, KSM_UNSTABLE);
	/* Of the other one nobody here has a piece. */
	ksm_item_chunk(other)->region->users++;
}

/* Whether an item is as it was when its page was looked at: another scanner may have merged it meanwhile. */
static bool untouched(const struct ksm_find *find)
{
	return find->item->word == find->word;
}

/*
 * Decide whether to look for a match of a page now. A page that has changed since the
 * last visit is volatile: it waits for the next pass. A new page is looked up at once,
 * except with index=tree: a misplaced page misleads other searches in the tree, but in
 * the hash table only a search for its own hash can meet it.
 */
static bool holds_still(const struct ksm_find *find)
{
	struct ksm_item *item = find->item;
	bool new = !item->seen;

	if (ksm_node_adopt(item, find->page))
		return false;
	if (!PageAnon(find->page)) {
		skip_item(item, KSM_SKIP_NOT_ANON);
		return false;
	}
	if (!new && item->hash == find->hash)
		return true;
	ksm_seen_fresh = true;
	ksm_counters.volatile_now += !new;
	item->hash = find->hash;
	item->seen = 1;
	ksm_item_note(item);
	return new && ksm_index_ops->hashes;
}

static void look_up(struct ksm_jobs *jobs, const struct ksm_find *find)
{
	struct ksm_key key = { .content = find->page, .hash = find->hash };
	struct ksm_node *node = ksm_node_find(find->page, find->hash, find->sample);
	struct ksm_item *item = find->item;
	struct ksm_entry *entry;

	if (node) {
		job_add(jobs->here, &jobs->nr_here, item, node, KSM_STABLE);
		return;
	}
	entry = ksm_index_ops->find_or_insert_unstable(ksm_index, &key, &item->entry);
	if (entry)
		pair(jobs, find, container_of(entry, struct ksm_item, entry));
	else
		item->state = KSM_ITEM_UNSTABLE;
}

static int by_place(const void *a, const void *b)
{
	const struct ksm_job *one = a, *other = b;

	return one->item < other->item ? -1 : one->item > other->item;
}

/* Those that waited: sorted by their place, so that those of one chunk give way together. */
static void merge_there(struct ksm_jobs *jobs)
{
	struct ksm_job *job = jobs->there, *end = job + jobs->nr_there, *next;

	/* More often than not they come as they lie. */
	for (next = job + 1; next < end && by_place(next - 1, next) < 0; next++)
		;
	if (next < end)
		sort(job, jobs->nr_there, sizeof(*job), by_place, NULL);
	for (; job < end; job = next) {
		for (next = job + 1; next < end; next++)
			if (ksm_item_chunk(next->item) != ksm_item_chunk(job->item))
				break;
		ksm_merge(job, next - job);
	}
}

/* The first page of a new kernel page was not replaced, so it has no content: drop the other jobs. */
static void give_up(struct ksm_jobs *jobs, const struct ksm_job *there)
{
	unsigned int i;

	for (i = 0; i < jobs->nr_here; i++)
		if (jobs->here[i].kpage == there->kpage)
			jobs->here[i].why = there->why;
}

/* Those of the glance that still have somebody to merge with. */
static void merge_here(struct ksm_jobs *jobs)
{
	struct ksm_job *job = jobs->here, *end = job + jobs->nr_here, *next;

	for (; job < end; job = next + 1) {
		for (next = job; next < end && !next->why; next++)
			;
		if (next > job)
			ksm_merge(job, next - job);
	}
}

/* ksm_lock is not held: the state of the items, and references to the kernel pages, protect the jobs. */
static void merge(struct ksm_jobs *jobs)
{
	unsigned int i;

	merge_there(jobs);
	for (i = 0; i < jobs->nr_there; i++)
		if (jobs->there[i].why)
			give_up(jobs, &jobs->there[i]);
	merge_here(jobs);
}

/* Record the result of a job. */
static void finish(struct ksm_job *job)
{
	struct ksm_node *node = ksm_page_node(job->kpage);

	job->item->state = KSM_ITEM_PLAIN;
	/* A node whose page broke meanwhile has been dropped. */
	if (job->lied && node)
		ksm_node_crowded(node);
	if (job->why) {
		skip_item(job->item, job->why);
	} else if (node) {
		ksm_node_link(node, job->item);
		trace_devksm_merge(job->kind, ksm_item_mm(job->item), job->addr,
				   page_to_pfn(job->page), page_to_pfn(job->kpage));
	}
}

/* A kernel page with one mapping saves nothing: mark the job whose page gets its own copy again. */
static bool mark_undo(struct ksm_job *job)
{
	struct ksm_node *node = ksm_page_node(job->kpage);

	job->undo = !job->why && node && ksm_node_is_single(node);
	return job->undo;
}

/* Give marked pages their own copies. If memory is short, they stay as they are. Drops ksm_lock. */
static void undo(struct ksm_jobs *jobs)
{
	struct ksm_job *job, *end = jobs->there + jobs->nr_there;

	mutex_unlock(&ksm_lock);
	for (job = jobs->there; job < end; job++)
		if (job->undo)
			job->undo = ksm_undo_merge(ksm_item_mm(job->item), job->addr, job->kpage);
	mutex_lock(&ksm_lock);
	for (job = jobs->there; job < end; job++)
		if (job->undo && job->item->state == KSM_ITEM_MERGED &&
		    job->item->node == ksm_page_node(job->kpage))
			ksm_item_forget(job->item, KSM_BREAK_UNMERGED);
}

static void finish_all(struct ksm_jobs *jobs)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < jobs->nr_there; i++)
		finish(&jobs->there[i]);
	for (i = 0; i < jobs->nr_here; i++)
		finish(&jobs->here[i]);
	for (i = 0; i < jobs->nr_here; i++)
		ksm_kpage_put(jobs->here[i].kpage);
	for (i = 0; i < jobs->nr_there; i++)
		any |= mark_undo(&jobs->there[i]);
	if (any)
		undo(jobs);
	for (i = 0; i < jobs->nr_there; i++) {
		ksm_kpage_put(jobs->there[i].kpage);
		ksm_region_put(ksm_item_chunk(jobs->there[i].item)->region);
	}
}

/**
 * ksm_visit - do what there is to do about the pages that ksm_glance() has found
 * @finds: they; the references to them are given back here
 * @jobs: the scanner's room for what has to be merged
 *
 * Lets go of ksm_lock while it merges.
 */
void ksm_visit(const struct ksm_finds *finds, struct ksm_jobs *jobs)
{
	bool still[KSM_BATCH];
	unsigned int i;

	jobs->nr_here = jobs->nr_there = 0;
	/* All that may drop a node comes before the first is looked up. */
	for (i = 0; i < finds->nr; i++)
		still[i] = untouched(&finds->found[i]) && holds_still(&finds->found[i]);
	for (i = 0; i < finds->nr; i++)
		if (still[i])
			look_up(jobs, &finds->found[i]);
	for (i = 0; i < finds->nr; i++)
		put_page(finds->found[i].page);
	if (!jobs->nr_here)
		return;
	mutex_unlock(&ksm_lock);
	merge(jobs);
	mutex_lock(&ksm_lock);
	finish_all(jobs);
}

int ksm_index_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(indexes) && !ksm_index_ops; i++)
		if (sysfs_streq(index, indexes[i]->name))
			ksm_index_ops = indexes[i];
	if (!ksm_index_ops) {
		pr_err("there is no index \"%s\"; nothing was loaded: take hash or tree\n",
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
