// SPDX-License-Identifier: GPL-2.0
/*
 * kksmd: the cursor, the pass, the pace.
 *
 * The cursor goes through the regions in the order of their registration, and
 * through each region by address. When it has been everywhere a pass is over: the
 * unstable index is thrown away, nodes that nobody maps are dropped, and the
 * figures of the pass become the figures that userspace reads.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/wait.h>
#include <linux/xxhash.h>

#include "ksm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Steps between two offers to let others have ksm_lock. */
#define STEPS_PER_HOLD	16

/* Jiffies between two looks at nodes that no region leads to. */
#define PRUNE_INTERVAL	(HZ / 2)

const struct ksm_index_ops *ksm_index_ops = &ksm_index_tree;
struct ksm_index *ksm_index;

static DECLARE_WAIT_QUEUE_HEAD(wait);
static struct task_struct *kksmd;
static u64 seed;

/* Where the pass stands: in @region at @addr. No region: the pass is over. */
static struct {
	struct ksm_region *region;
	unsigned long addr;
} cursor;

static void skip(struct mm_struct *mm, unsigned long addr, unsigned long pages,
		 enum ksm_skip why)
{
	ksm_counters.skipped_now[why] += pages;
	trace_devksm_skip(mm, addr, pages, why);
}

static void skip_item(struct ksm_item *item, enum ksm_skip why)
{
	skip(ksm_item_mm(item), ksm_item_addr(item), 1, why);
}

static u32 checksum(struct page *page)
{
	void *p = kmap_local_page(page);
	u32 sum = (u32)xxh64(p, PAGE_SIZE, seed);

	kunmap_local(p);
	return sum;
}

static bool index_order(const void *key, struct ksm_entry *entry, enum ksm_kind kind,
			int *order)
{
	struct page *page;

	if (kind == KSM_STABLE) {
		page = container_of(entry, struct ksm_node, entry)->kpage;
		*order = ksm_page_order((struct page *)key, page);
		return true;
	}
	page = ksm_item_page(container_of(entry, struct ksm_item, entry));
	if (!page)
		return false;
	*order = ksm_page_order((struct page *)key, page);
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

/* One page, with a reference that is given back here. */
static void visit(struct ksm_region *region, unsigned long addr, struct page *page)
{
	struct ksm_item *item = ksm_item_get(region, addr);
	struct ksm_entry *entry;
	struct ksm_node *node;
	u32 sum;

	if (!item) {
		skip(region->mm, addr, 1, KSM_SKIP_NO_MEMORY);
		goto put;
	}
	if (item->state == KSM_ITEM_MERGED && item->node->kpage == page)
		goto put;
	ksm_item_forget(item, KSM_BREAK_WRITTEN);

	if (!PageAnon(page)) {
		if (!ksm_node_adopt(item, page))
			skip_item(item, KSM_SKIP_NOT_ANON);
		goto put;
	}

	sum = checksum(page);
	if (!item->seen || item->checksum != sum) {
		ksm_counters.volatile_now += item->seen;
		item->checksum = sum;
		item->seen = 1;
		goto put;
	}

	entry = ksm_index_ops->find_stable(ksm_index, page);
	if (entry) {
		node = container_of(entry, struct ksm_node, entry);
		merge(item, page, node, KSM_STABLE);
		goto put;
	}
	entry = ksm_index_ops->find_or_insert_unstable(ksm_index, page, &item->entry);
	if (entry) {
		merge_pair(item, page, container_of(entry, struct ksm_item, entry));
		return;
	}
	item->state = KSM_ITEM_UNSTABLE;
put:
	put_page(page);
}

static void pass_end(void)
{
	struct ksm_counters *c = &ksm_counters;

	ksm_index_ops->flush(ksm_index);
	ksm_nodes_prune();
	c->volatile_last = c->volatile_now;
	c->volatile_now = 0;
	memcpy(c->skipped_last, c->skipped_now, sizeof(c->skipped_last));
	memset(c->skipped_now, 0, sizeof(c->skipped_now));
	/* Last: who sees it counted reads the figures of this pass. */
	smp_store_release(&c->full_scans, c->full_scans + 1);
	trace_devksm_pass_end(c->full_scans, c->shared, c->kernel_pages);
}

/* To the first region after @region (NULL: of all) that is not being removed. */
static void cursor_enter_next(struct ksm_region *region)
{
	struct list_head *pos = region ? &region->in_scan : &ksm_regions;

	cursor.region = NULL;
	for (pos = pos->next; pos != &ksm_regions; pos = pos->next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		if (!region->leaving) {
			cursor.region = region;
			cursor.addr = region->start;
			return;
		}
	}
}

/**
 * ksm_scan_leave - the cursor must not stand in a region any more
 * @region: the region, still in ksm_regions; ksm_lock is held
 */
void ksm_scan_leave(struct ksm_region *region)
{
	if (cursor.region == region)
		cursor_enter_next(region);
}

/* One step of the cursor: one page, one hole, or one stretch that is left alone. */
static void step(void)
{
	struct ksm_region *region = cursor.region;
	struct mm_struct *mm = region->mm;
	unsigned long addr = cursor.addr;
	struct ksm_spot spot;

	if (!mmget_not_zero(mm)) {
		ksm_region_free(region);
		return;
	}
	mmap_read_lock(mm);
	ksm_look(mm, addr, region->end, &spot);
	mmap_read_unlock(mm);
	mmput_async(mm);

	cursor.addr = spot.next;
	ksm_items_forget(region, addr, spot.addr, KSM_BREAK_UNMAPPED);
	if (spot.page) {
		visit(region, spot.addr, spot.page);
	} else {
		if (spot.why)
			skip(mm, spot.addr, (spot.next - spot.addr) / PAGE_SIZE, spot.why);
		/* Merged pages stay merged when userfaultfd comes to their mapping. */
		if (spot.why != KSM_SKIP_UFFD)
			ksm_items_forget(region, spot.addr, spot.next, KSM_BREAK_UNMAPPED);
	}
	if (cursor.addr >= region->end)
		cursor_enter_next(region);
}

static bool should_scan(void)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_SCAN &&
	       READ_ONCE(ksm_settings.pages_to_scan) && !list_empty(&ksm_regions);
}

/*
 * Nodes without regions: what mapped their pages is going, or was forked off. No
 * pass will come to drop them, so there is a look now and then.
 */
static bool should_prune(void)
{
	return list_empty(&ksm_regions) && READ_ONCE(ksm_counters.kernel_pages);
}

/* A batch: pages_to_scan steps, or less to the end of the pass. */
static void scan_batch(void)
{
	unsigned int left = READ_ONCE(ksm_settings.pages_to_scan);

	if (!cursor.region) {
		/* Fresh pages wait in per-CPU batches that hold a reference to each. */
		lru_add_drain_all();
		mutex_lock(&ksm_lock);
		trace_devksm_pass_start(ksm_counters.full_scans + 1);
		cursor_enter_next(NULL);
	} else {
		mutex_lock(&ksm_lock);
	}
	while (left && cursor.region) {
		if (kthread_should_stop() || READ_ONCE(ksm_settings.run) != KSM_RUN_SCAN)
			break;
		step();
		if (--left % STEPS_PER_HOLD)
			continue;
		mutex_unlock(&ksm_lock);
		cond_resched();
		try_to_freeze();
		mutex_lock(&ksm_lock);
	}
	if (!cursor.region)
		pass_end();
	mutex_unlock(&ksm_lock);
}

static int kksmd_thread(void *unused)
{
	set_freezable();
	set_user_nice(current, 5);

	while (!kthread_should_stop()) {
		try_to_freeze();
		if (should_scan()) {
			unsigned int sleep = READ_ONCE(ksm_settings.sleep);

			scan_batch();
			cond_resched();
			if (sleep)
				wait_event_interruptible_hrtimeout(wait,
					kthread_should_stop() || freezing(current) ||
					sleep != READ_ONCE(ksm_settings.sleep),
					ns_to_ktime((u64)sleep * NSEC_PER_USEC));
		} else {
			wait_event_interruptible_timeout(wait, kthread_should_stop() ||
							 freezing(current) || should_scan(),
							 should_prune() ? PRUNE_INTERVAL :
							 MAX_SCHEDULE_TIMEOUT);
			mutex_lock(&ksm_lock);
			if (should_prune())
				ksm_nodes_prune();
			mutex_unlock(&ksm_lock);
		}
	}
	return 0;
}

/**
 * ksm_scan_wake - a setting or the list of regions has changed: look again
 */
void ksm_scan_wake(void)
{
	wake_up_interruptible(&wait);
}

int ksm_scan_init(void)
{
	struct task_struct *task = kthread_run(kksmd_thread, NULL, "kksmd");

	if (IS_ERR(task))
		return PTR_ERR(task);
	kksmd = task;
	return 0;
}

void ksm_scan_exit(void)
{
	kthread_stop(kksmd);
}

int ksm_index_init(void)
{
	get_random_bytes(&seed, sizeof(seed));
	ksm_index = ksm_index_ops->create(&index_callbacks);
	return ksm_index ? 0 : -ENOMEM;
}

void ksm_index_exit(void)
{
	ksm_index_ops->destroy(ksm_index);
}
