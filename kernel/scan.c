// SPDX-License-Identifier: GPL-2.0
/*
 * kksmd: the cursor, the pass, the pace.
 *
 * The cursor goes through the regions in the order of their registration, and
 * through each region by address. When it has been everywhere a pass is over: an
 * unstable index that does not keep is thrown away, nodes that nobody maps are
 * dropped, and the figures of the pass become the figures that userspace reads.
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/swap.h>
#include <linux/wait.h>

#include "ksm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Pages between two offers to let others have ksm_lock. */
#define PAGES_PER_HOLD	KSM_BATCH

/* After so many quiet passes a chunk is left out of one; after so many, of 2^(MAX - MIN). */
#define QUIET_MIN	4
#define QUIET_MAX	9

/* Jiffies between two looks at nodes that no region leads to. */
#define PRUNE_INTERVAL	(HZ / 2)

static DECLARE_WAIT_QUEUE_HEAD(wait);
static struct task_struct *kksmd;

/* What was found out about a chunk in an earlier one does not count. */
static unsigned int scan_epoch;

/* Where the pass stands: in @region at @addr. No region: the pass is over. */
static struct {
	struct ksm_region *region;
	unsigned long addr;
} cursor;

static void pass_end(void)
{
	struct ksm_counters *c = &ksm_counters;

	if (!ksm_index_ops->keeps)
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

/* Has the cursor come to a chunk that this pass leaves out? */
static bool chunk_rests(struct ksm_chunk *chunk)
{
	if (!chunk || !chunk->rest || chunk->epoch != scan_epoch ||
	    cursor.addr != max(chunk->start, chunk->region->start))
		return false;
	chunk->rest--;
	return true;
}

/* Go past chunks that this pass leaves out, at most @left of them. Returns how many. */
static unsigned int skip_resting(unsigned int left)
{
	struct ksm_region *region = cursor.region;
	XA_STATE(xas, &region->chunks, cursor.addr / PMD_SIZE);
	struct ksm_chunk *chunk;
	unsigned int skipped = 0;

	rcu_read_lock();
	for (chunk = xas_load(&xas); skipped < left && chunk_rests(chunk);
	     chunk = xas_next(&xas)) {
		cursor.addr = chunk->start + PMD_SIZE;
		skipped++;
	}
	rcu_read_unlock();
	if (cursor.addr >= region->end)
		cursor_enter_next(region);
	return skipped;
}

/*
 * The cursor goes on from a chunk. One in which nothing is merged, and pass after
 * pass finds every page as it was, is left out of one pass, then of two, four, and
 * so on. In an index that keeps its entries little is lost by that: who comes to
 * be equal to one of its pages finds it there.
 */
static void chunk_leave(struct ksm_chunk *chunk)
{
	if (chunk->busy || chunk->merged || chunk->epoch != scan_epoch)
		chunk->quiet = 0;
	else if (chunk->quiet < QUIET_MAX)
		chunk->quiet++;
	chunk->rest = chunk->quiet < QUIET_MIN ? 0 : 1 << (chunk->quiet - QUIET_MIN);
	chunk->epoch = scan_epoch;
	chunk->busy = false;
}

static void cursor_move(unsigned long next)
{
	struct ksm_region *region = cursor.region;
	struct ksm_chunk *chunk = ksm_chunk_find(region, cursor.addr);

	if (chunk && (next >= region->end || next >= chunk->start + PMD_SIZE))
		chunk_leave(chunk);
	cursor.addr = next;
	if (next >= region->end)
		cursor_enter_next(region);
}

/*
 * Find out what is at the cursor, at most @left pages of it. Returns false when the
 * mm is gone, and its region with it.
 */
static bool look(struct ksm_spot *spot, struct ksm_finds *finds, unsigned int left)
{
	struct ksm_region *region = cursor.region;
	struct mm_struct *mm = region->mm;
	struct ksm_chunk *chunk;

	*spot = (struct ksm_spot){ .addr = cursor.addr, .next = cursor.addr };
	finds->looked = 0;
	finds->nr = 0;
	if (!mmget_not_zero(mm)) {
		ksm_region_free(region);
		return false;
	}
	mmap_read_lock(mm);
	/* Where it has been before, there is more often than not nothing else to tell. */
	chunk = ksm_chunk_find(region, cursor.addr);
	if (chunk)
		ksm_glance(mm, chunk, left, region->end, spot, finds);
	if (spot->next == cursor.addr)
		ksm_look(mm, cursor.addr, region->end, spot);
	if (spot->page) {
		chunk = ksm_chunk_get(region, spot->addr);
		if (chunk) {
			ksm_glance(mm, chunk, left, region->end, spot, finds);
		} else {
			put_page(spot->page);
			spot->why = KSM_SKIP_NO_MEMORY;
		}
	}
	mmap_read_unlock(mm);
	mmput_async(mm);
	return true;
}

/*
 * One step of the cursor: the pages up to the first that is not ordinary, at most
 * KSM_BATCH and at most @left; or one hole; or one stretch that is left alone.
 * Returns how many pages were looked at, and at least 1.
 */
static unsigned int step(unsigned int left)
{
	static struct ksm_finds finds;
	struct ksm_region *region = cursor.region;
	unsigned long addr = cursor.addr;
	unsigned int skipped = skip_resting(left);
	struct ksm_chunk *chunk;
	struct ksm_spot spot;

	if (skipped)
		return skipped;
	if (!look(&spot, &finds, left))
		return 1;

	ksm_items_forget(region, addr, spot.addr, KSM_BREAK_UNMAPPED);
	chunk = spot.why || finds.nr ? ksm_chunk_find(region, spot.addr) : NULL;
	if (chunk)
		chunk->busy = true;
	ksm_visit(&finds);
	if (spot.why)
		ksm_skip(region->mm, spot.addr, (spot.next - spot.addr) / PAGE_SIZE, spot.why);
	/* Merged pages stay merged when userfaultfd comes to their mapping. */
	if (!spot.page && !finds.looked && spot.why != KSM_SKIP_UFFD)
		ksm_items_forget(region, spot.addr, spot.next, KSM_BREAK_UNMAPPED);
	cursor_move(spot.next);
	return max(finds.looked, 1U);
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

/* A batch: pages_to_scan pages, or less to the end of the pass. */
static void scan_batch(void)
{
	unsigned int left = READ_ONCE(ksm_settings.pages_to_scan), pages, held = 0;

	if (!cursor.region) {
		/* Fresh pages wait in per-CPU batches that hold a reference to each. */
		if (ksm_seen_fresh || ksm_counters.skipped_last[KSM_SKIP_PINNED])
			lru_add_drain_all();
		ksm_seen_fresh = false;
		mutex_lock(&ksm_lock);
		trace_devksm_pass_start(ksm_counters.full_scans + 1);
		cursor_enter_next(NULL);
	} else {
		mutex_lock(&ksm_lock);
	}
	while (left && cursor.region) {
		if (kthread_should_stop() || READ_ONCE(ksm_settings.run) != KSM_RUN_SCAN)
			break;
		pages = step(left);
		left -= min(left, pages);
		held += pages;
		if (held < PAGES_PER_HOLD)
			continue;
		held = 0;
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
			bool prune = should_prune();

			wait_event_interruptible_timeout(wait, kthread_should_stop() ||
							 freezing(current) || should_scan() ||
							 prune != should_prune(),
							 prune ? PRUNE_INTERVAL :
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

/**
 * ksm_scan_afresh - forget which chunks are left out of how many passes
 */
void ksm_scan_afresh(void)
{
	mutex_lock(&ksm_lock);
	scan_epoch++;
	mutex_unlock(&ksm_lock);
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
