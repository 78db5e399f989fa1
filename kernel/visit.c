// SPDX-License-Identifier: GPL-2.0
/*
 * Process a batch of candidate pages: look for matches, and merge them.
 *
 * The scanner collects up to KSM_BATCH candidates in one page-table walk
 * (walk.c). For each of them this file decides, under ksm_lock, whether the
 * page is volatile (skip it), matches another page (queue a merge job), or has
 * no match (insert it into the unstable index). The jobs run without ksm_lock.
 * Their results are recorded after it has been retaken.
 *
 * This file also has the callbacks through which the index compares pages: the
 * index itself stores entries and does not access pages.
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
/*
 * Set by index_order(): does the entry that was compared last belong to the
 * very page that is searched for? Under ksm_lock.
 */
static bool same_page;

static char *index = "hash";
module_param(index, charp, 0444);
MODULE_PARM_DESC(index, "how equal pages are found: hash, or tree (as in 2009)");

/**
 * ksm_skip - count and trace pages that are skipped
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

static void skip_item(struct ksm_item *item, enum ksm_skip why)
{
	ksm_skip(ksm_item_mm(item), ksm_item_addr(item), 1, why);
}

/*
 * Can the page already be in the unstable index, inserted through another
 * mapping? Only if fork has shared it, so that it has several mappings.
 */
static bool may_wait_for_itself(struct page *page)
{
	return PageCompound(page) || ksm_mapcount(page) > 1;
}

/*
 * Compare the content of a page with that of an entry. With index=hash, an
 * equal hash is a match, and no content is compared: the merge compares the
 * pages, and fails if the other page has changed or is gone. So the page of the
 * entry is looked up only if it may be the very page that is searched for.
 *
 * Returns false if the page of the entry is gone; otherwise sets @order.
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
	/* The region is being removed: its pages must not merge again. */
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
	/* Make the next pass insert the page again. */
	ksm_chunk_wake(ksm_item_chunk(item));
	cond_resched();
}

static const struct ksm_index_callbacks index_callbacks = {
	.order = index_order,
	.dropped = index_dropped,
};

/* Queue a merge job, which takes over a reference to the kernel page. */
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

/*
 * Queue merge jobs for a page and a match in the unstable index: both pages are
 * replaced by a new kernel page.
 */
static void pair(struct ksm_jobs *jobs, const struct ksm_find *find, struct ksm_item *other)
{
	enum ksm_skip why;
	struct ksm_node *node;

	/* One page that two processes share after fork: nothing to save. */
	if (same_page)
		return;
	/* The other page was found first: charge the cgroup of its mm. */
	node = ksm_node_create(find->page, find->hash, ksm_item_mm(other), &why);
	if (!node) {
		skip_item(find->item, why);
		return;
	}
	/*
	 * The other item leaves the index. If the merge fails, a scan must
	 * insert it again.
	 */
	ksm_item_forget(other, KSM_BREAK_UNMAPPED);
	ksm_chunk_wake(ksm_item_chunk(other));
	get_page(node->kpage);
	job_add(jobs->here, &jobs->nr_here, find->item, node, KSM_UNSTABLE);
	job_add(jobs->there, &jobs->nr_there, other, node, KSM_UNSTABLE);
	/*
	 * This scanner has not claimed the range of the other item: keep its
	 * region.
	 */
	ksm_item_chunk(other)->region->users++;
}

/*
 * Is an item unchanged since its page was hashed? Another scanner may have
 * merged it meanwhile.
 */
static bool untouched(const struct ksm_find *find)
{
	return find->item->word == find->word;
}

/*
 * Decide whether to search for a match of a page now. A page that has changed
 * since the last pass is volatile, and waits for the next pass. With
 * index=hash, a new page is looked up at once. With index=tree it waits as
 * well, because a page that changes in the tree misleads searches for other
 * contents; in the hash table it can only be returned by a search for its own
 * hash.
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

/*
 * Run the jobs for pages that were in the unstable index. They are sorted by
 * item, so that all jobs of one chunk run together.
 */
static void merge_there(struct ksm_jobs *jobs)
{
	struct ksm_job *job = jobs->there, *end = job + jobs->nr_there, *next;

	/* Usually they are sorted already. */
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

/*
 * A new kernel page has no content, because its first page was not replaced:
 * cancel the other jobs for it.
 */
static void give_up(struct ksm_jobs *jobs, const struct ksm_job *there)
{
	unsigned int i;

	for (i = 0; i < jobs->nr_here; i++)
		if (jobs->here[i].kpage == there->kpage)
			jobs->here[i].why = there->why;
}

/* Run the jobs for pages of the batch, except cancelled ones. */
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

/*
 * Run all jobs. The caller does not hold ksm_lock: the jobs are protected by
 * the state of their items and by references to the kernel pages.
 */
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
	/* If the kernel page has a memory error, its node has been dropped. */
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

/*
 * A kernel page that only one item maps saves no memory: mark the job, so that
 * undo() unmerges the page.
 */
static bool mark_undo(struct ksm_job *job)
{
	struct ksm_node *node = ksm_page_node(job->kpage);

	job->undo = !job->why && node && ksm_node_is_single(node);
	return job->undo;
}

/*
 * Unmerge the pages of marked jobs; without memory they stay merged. ksm_lock
 * is dropped and retaken.
 */
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
 * ksm_visit - process a batch of candidate pages from ksm_glance()
 * @finds: the candidate pages; their references are dropped here
 * @jobs: the scanner's buffer for merge jobs
 *
 * Context: ksm_lock must be held. Drops and retakes it to merge. May sleep.
 */
void ksm_visit(const struct ksm_finds *finds, struct ksm_jobs *jobs)
{
	bool still[KSM_BATCH];
	unsigned int i;

	jobs->nr_here = jobs->nr_there = 0;
	/* Look up nodes only after everything that can drop a node. */
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
