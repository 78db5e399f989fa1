// SPDX-License-Identifier: GPL-2.0
/*
 * Process a batch of candidate pages: find their matches, and merge them.
 *
 * The scanner collects up to KSM_BATCH candidates in one page-table walk
 * (walk.c). For each of them this file decides, under ksm_lock, whether the
 * page is volatile (skip it), matches another page (queue a merge job), or has
 * no match (insert it into the unstable index). The jobs run without ksm_lock.
 * Their results are recorded after it has been retaken.
 */
#include <linux/mm.h>
#include <linux/sort.h>

#include "ksm.h"
#include "trace.h"

static void skip_item(struct ksm_item *item, enum ksm_skip why)
{
	ksm_skip(ksm_item_mm(item), ksm_item_addr(item), 1, why);
}

/* Queue a merge job, which takes over a reference to the kernel page. */
static void job_add(struct ksm_job *list, unsigned int *nr, struct ksm_item *item,
		    const struct ksm_node *node, enum ksm_kind kind)
{
	list[(*nr)++] = (struct ksm_job){
		.item = item,
		.region = ksm_item_chunk(item)->region,
		.addr = ksm_item_addr(item),
		.kpage = ksm_node_page(node),
		.hash = node->hash,
		.kind = kind,
	};
	item->state = KSM_ITEM_MERGING;
}

/*
 * Is a page the one that an item of the unstable index maps? After fork, two
 * processes share one page, and merging it with itself would save nothing.
 */
static bool is_same_page(struct page *page, struct ksm_item *item)
{
	struct page *other;

	if (!PageCompound(page) && ksm_mapcount(page) == 1)
		return false;
	other = ksm_item_page(item);
	if (other)
		put_page(other);
	return other == page;
}

/*
 * Queue merge jobs for a page and a match in the unstable index: both pages are
 * replaced by a new kernel page.
 */
static void pair(struct ksm_jobs *jobs, const struct ksm_candidate *candidate,
		 struct ksm_item *other)
{
	enum ksm_skip why;
	struct ksm_node *node;

	if (is_same_page(candidate->page, other))
		return;
	/* The other page was found first: charge the cgroup of its mm. */
	node = ksm_node_create(candidate->page, candidate->hash, candidate->sample,
			       ksm_item_mm(other), &why);
	if (!node) {
		skip_item(candidate->item, why);
		return;
	}
	/*
	 * The other item leaves the index. If the merge fails, a scan must
	 * insert it again.
	 */
	ksm_item_forget(other, KSM_BREAK_UNMAPPED);
	ksm_chunk_wake(ksm_item_chunk(other));
	get_page(ksm_node_page(node));
	job_add(jobs->own, &jobs->nr_own, candidate->item, node, KSM_UNSTABLE);
	job_add(jobs->partners, &jobs->nr_partners, other, node, KSM_UNSTABLE);
	/*
	 * This scanner may not have claimed the range of the other item, so
	 * keep its region. The chunk of the other item is kept while the item
	 * is KSM_ITEM_MERGING.
	 */
	ksm_item_chunk(other)->region->users++;
}

/*
 * Is an item unchanged since its page was hashed? Another scanner may have
 * merged it meanwhile.
 */
static bool is_current(const struct ksm_candidate *candidate)
{
	return candidate->item->word == candidate->word;
}

/*
 * Decide whether to search for a match of a page now. A page that has changed
 * since the last pass is volatile, and waits for the next pass. With
 * index=hash, a new page is looked up at once. With index=tree it waits as
 * well, because a page that changes in the tree misleads searches for other
 * contents; in the hash table it can only be returned by a search for its own
 * hash.
 */
static bool should_search(const struct ksm_candidate *candidate)
{
	struct ksm_item *item = candidate->item;
	bool new = !item->seen;

	if (ksm_item_sync(item, candidate->page))
		return false;
	if (!PageAnon(candidate->page)) {
		skip_item(item, KSM_SKIP_NOT_ANON);
		return false;
	}
	if (!new && item->hash == candidate->hash)
		return true;
	ksm_seen_fresh = true;
	ksm_counters.volatile_now += !new;
	item->hash = candidate->hash;
	item->seen = 1;
	ksm_item_track(item);
	return new && ksm_index_ops->hashes;
}

/*
 * Increment the idle counts of unchanged pages. The higher the count, the more
 * rarely a page is hashed.
 */
static void count_idle(const struct ksm_batch *batch)
{
	unsigned int i;

	for (i = 0; i < batch->nr_idle; i++)
		if (batch->idle[i]->state == KSM_ITEM_UNSTABLE &&
		    batch->idle[i]->idle < KSM_IDLE_MAX)
			batch->idle[i]->idle++;
}

static void search(struct ksm_jobs *jobs, const struct ksm_candidate *candidate)
{
	struct ksm_key key = { .content = candidate->page, .hash = candidate->hash };
	struct ksm_node *node = ksm_node_find(candidate->page, candidate->hash, candidate->sample);
	struct ksm_item *item = candidate->item;
	struct ksm_entry *entry;

	if (node) {
		job_add(jobs->own, &jobs->nr_own, item, node, KSM_STABLE);
		return;
	}
	entry = ksm_index_ops->find_or_insert_unstable(ksm_index, &key, &item->entry);
	if (entry) {
		pair(jobs, candidate, container_of(entry, struct ksm_item, entry));
	} else {
		item->state = KSM_ITEM_UNSTABLE;
		item->idle = 0;
	}
}

static int by_item(const void *a, const void *b)
{
	const struct ksm_job *one = a, *other = b;

	return one->item < other->item ? -1 : one->item > other->item;
}

/*
 * Run the jobs for pages that were in the unstable index. They are sorted by
 * item, so that all jobs of one chunk run together.
 */
static void merge_partners(struct ksm_jobs *jobs)
{
	struct ksm_job *job = jobs->partners, *end = job + jobs->nr_partners, *next;

	/* Usually they are sorted already. */
	for (next = job + 1; next < end && by_item(next - 1, next) < 0; next++)
		;
	if (next < end)
		sort(job, jobs->nr_partners, sizeof(*job), by_item, NULL);
	for (; job < end; job = next) {
		for (next = job + 1; next < end; next++)
			if (ksm_item_chunk(next->item) != ksm_item_chunk(job->item))
				break;
		ksm_merge(job, next - job);
	}
}

/*
 * The first page that a new kernel page was to replace has not been replaced.
 * Cancel the other jobs for the kernel page. With index=hash, it has no
 * content.
 */
static void cancel_own(struct ksm_jobs *jobs, const struct ksm_job *there)
{
	unsigned int i;

	for (i = 0; i < jobs->nr_own; i++)
		if (jobs->own[i].kpage == there->kpage)
			jobs->own[i].why = there->why;
}

/* Run the jobs for pages of the batch, except cancelled ones. */
static void merge_own(struct ksm_jobs *jobs)
{
	struct ksm_job *job = jobs->own, *end = job + jobs->nr_own, *next;

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

	merge_partners(jobs);
	for (i = 0; i < jobs->nr_partners; i++)
		if (jobs->partners[i].why)
			cancel_own(jobs, &jobs->partners[i]);
	merge_own(jobs);
}

/*
 * The page of a job has the same sample as its kernel page, but differs. Pages
 * with this sample are hashed completely from now on. At most one page is in
 * the unstable index under this sample. Remove it, so that the next pass hashes
 * it completely.
 */
static void record_collision(const struct ksm_job *job, struct ksm_node *node)
{
	struct ksm_key key = { .hash = job->hash };

	if (ksm_node_collided(node, ksm_item_mm(job->item)))
		ksm_index_ops->retry(ksm_index, &key);
}

/*
 * Record the result of a job. If the split of a huge page has mapped the zero
 * page at the address of the job, the bit of the item is still set in
 * chunk->zeroed: see ksm_chunk_count_zeroed(). If the merge has succeeded
 * nevertheless, the address does not map the zero page any more.
 */
static void finish(struct ksm_job *job)
{
	struct ksm_chunk *chunk = ksm_item_chunk(job->item);
	struct ksm_node *node = ksm_page_node(job->kpage);
	bool zeroed = test_and_clear_bit((job->addr - chunk->start) / PAGE_SIZE, chunk->zeroed);

	job->item->state = KSM_ITEM_PLAIN;
	/* If the kernel page has a memory error, its node may be dropped. */
	if (job->collided && node)
		record_collision(job, node);
	if (job->why) {
		skip_item(job->item, job->why);
		if (zeroed)
			ksm_item_set_zero(job->item);
	} else if (node) {
		ksm_item_link(node, job->item);
		trace_devksm_merge(job->kind, ksm_item_mm(job->item), job->addr,
				   page_to_pfn(job->page), page_to_pfn(job->kpage));
	}
	if (job->split)
		ksm_chunk_count_zeroed(chunk);
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

/* Record that the page of a job was unmerged. */
static void finish_undo(const struct ksm_job *job)
{
	struct ksm_item *item = ksm_item_find(job->region, job->addr);

	if (item && item->state == KSM_ITEM_MERGED && item->node == ksm_page_node(job->kpage))
		ksm_item_forget(item, KSM_BREAK_UNMERGED);
}

/*
 * Unmerge the pages of marked jobs; without memory they stay merged. ksm_lock
 * is dropped and retaken. Meanwhile the chunks of the partners may be freed,
 * because their items are not KSM_ITEM_MERGING any more. So job->item is not
 * used here.
 */
static void undo(struct ksm_jobs *jobs)
{
	struct ksm_job *job, *end = jobs->partners + jobs->nr_partners;

	mutex_unlock(&ksm_lock);
	for (job = jobs->partners; job < end; job++)
		if (job->undo)
			job->undo = ksm_undo_merge(job->region->mm, job->addr, job->kpage);
	mutex_lock(&ksm_lock);
	for (job = jobs->partners; job < end; job++)
		if (job->undo)
			finish_undo(job);
}

static void finish_all(struct ksm_jobs *jobs)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < jobs->nr_partners; i++)
		finish(&jobs->partners[i]);
	for (i = 0; i < jobs->nr_own; i++)
		finish(&jobs->own[i]);
	for (i = 0; i < jobs->nr_own; i++)
		ksm_kpage_put(jobs->own[i].kpage);
	for (i = 0; i < jobs->nr_partners; i++)
		any |= mark_undo(&jobs->partners[i]);
	if (any)
		undo(jobs);
	for (i = 0; i < jobs->nr_partners; i++) {
		ksm_kpage_put(jobs->partners[i].kpage);
		ksm_region_put(jobs->partners[i].region);
	}
}

/**
 * ksm_match_batch - process a batch of pages from ksm_walk_batch()
 * @batch: the batch; the references to candidate pages are dropped here
 * @jobs: the scanner's buffer for merge jobs
 *
 * Context: ksm_lock must be held. Drops and retakes it. The caller has claimed
 * the range of the batch, and holds no reference to pages of it except
 * those in @batch: a further reference would make a merge fail. May sleep.
 */
void ksm_match_batch(const struct ksm_batch *batch, struct ksm_jobs *jobs)
{
	const struct ksm_candidate *candidate = batch->candidates;
	unsigned int i;

	jobs->nr_own = jobs->nr_partners = 0;
	ksm_counters.hashed_now += batch->hashed;
	ksm_counters.complete_now += batch->complete;
	count_idle(batch);
	for (; candidate < batch->candidates + batch->nr; candidate++) {
		if (!is_current(candidate) || !should_search(candidate))
			continue;
		search(jobs, candidate);
		/* With index=tree, each search compares many pages. */
		if (!ksm_index_ops->hashes)
			ksm_lock_relax();
	}
	if (!batch->nr)
		return;
	mutex_unlock(&ksm_lock);
	/* Freeing a page can take long, as in chunk_free(). */
	for (i = 0; i < batch->nr; i++)
		put_page(batch->candidates[i].page);
	if (jobs->nr_own)
		merge(jobs);
	mutex_lock(&ksm_lock);
	if (jobs->nr_own)
		finish_all(jobs);
}

