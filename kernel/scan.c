// SPDX-License-Identifier: GPL-2.0
/*
 * The scanners: kernel threads named kksmd. The setting "threads" is their
 * number.
 *
 * A scanner claims a range of the pass (pass.c) and processes it in steps. In
 * each step, it first walks the page table and hashes the pages (walk.c),
 * without ksm_lock, because reading pages takes most of the time of a pass.
 * Then it takes ksm_lock and processes the batch of candidate pages (match.c).
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>

#include "ksm.h"

/* ksm_lock is dropped once at least this many chunks have been skipped. */
#define CHUNKS_PER_HOLD	256

/**
 * struct ksm_scanner - a scanner thread
 * @task: the thread
 * @nr: its number, from 0. If the setting "threads" is not greater, the scanner
 *	does not scan
 * @scanning: whether it scans (changed under ksm_lock)
 * @range: the range that it has claimed
 * @walk: the result of its last page-table walk
 * @batch: the batch of candidate pages from that walk
 * @jobs: the merge jobs for that batch
 */
struct ksm_scanner {
	struct task_struct *task;
	unsigned int nr;
	bool scanning;
	struct ksm_range range;
	struct ksm_walk walk;
	struct ksm_batch batch;
	struct ksm_jobs jobs;
};

/*
 * The first ksm_settings.threads elements are in use; while scanners are being
 * removed, also those after them. Under ksm_run_lock.
 */
static struct ksm_scanner *scanners[KSM_MAX_THREADS];

/* A thread that is about to stop scanners waits here until they do not scan. */
static DECLARE_WAIT_QUEUE_HEAD(scanner_wait);

/*
 * Walk from the beginning of the claimed range, at most @left pages. One hole,
 * or one VMA that is skipped, can extend beyond the end of the range. The
 * scanner does not wait for the mmap lock, because that would delay the scan of
 * all other memory. Returns 0 on success, -ESRCH if the mm has no users, or
 * -EBUSY if its mmap lock is contended.
 *
 * The caller does not hold ksm_lock. It has claimed the range, so no other
 * thread frees the chunk. ksm_match_batch() checks later whether the items have
 * changed.
 *
 * If a page is found, walk->page tells process_batch() so. When this function
 * returns, it holds no reference to that page any more.
 */
static int walk_range(struct ksm_scanner *s, unsigned int left)
{
	struct ksm_region *region = s->range.region;
	struct mm_struct *mm = region->mm;
	unsigned long addr = s->range.addr;
	struct ksm_batch *batch = &s->batch;
	struct ksm_walk *walk = &s->walk;
	struct ksm_chunk *chunk;

	*walk = (struct ksm_walk){ .addr = addr, .next = addr };
	ksm_batch_clear(batch);
	if (!mmget_not_zero(mm))
		return -ESRCH;
	if (!mmap_read_trylock(mm)) {
		mmput_async(mm);
		return -EBUSY;
	}
	/* If the chunk exists, usually this call collects the whole batch. */
	chunk = ksm_chunk_find(region, addr);
	if (chunk)
		ksm_walk_batch(mm, chunk, left, region->end, walk, batch);
	if (walk->next == addr)
		ksm_walk_next(mm, addr, region->end, walk);
	/*
	 * ksm_chunk_get() may reclaim memory. Until then, this scanner holds
	 * the mmap lock of the process for reading, and delays its mmap() and
	 * munmap().
	 */
	if (walk->page) {
		chunk = ksm_chunk_get(region, walk->addr);
		if (chunk) {
			ksm_walk_batch(mm, chunk, left, region->end, walk, batch);
		} else {
			/* Skip all pages of the chunk. */
			put_page(walk->page);
			walk->page = NULL;
			walk->next = min((walk->addr & PMD_MASK) + PMD_SIZE, region->end);
			walk->why = KSM_SKIP_NO_MEMORY;
		}
	}
	if (walk->why == KSM_SKIP_HWPOISON)
		ksm_unmap_poisoned(mm, walk->addr);
	mmap_read_unlock(mm);
	mmput_async(mm);
	return 0;
}

/*
 * Skip a range that maps no pages, or whose pages cannot be merged. Usually the
 * items of the range are reset.
 */
static void skip_range(struct ksm_region *region, unsigned long start, unsigned long end,
		       enum ksm_skip why)
{
	if (why)
		ksm_skip(region->mm, start, (end - start) / PAGE_SIZE, why);
	/*
	 * If userfaultfd was registered after the merge, the pages are still
	 * merged: keep their items. A busy page is usually still mapped in the
	 * next pass: keep its item, too.
	 */
	if (why != KSM_SKIP_UFFD && why != KSM_SKIP_BUSY)
		ksm_items_forget(region, start, end, why == KSM_SKIP_ZERO_PAGE ?
				 KSM_BREAK_ZEROED : KSM_BREAK_UNMAPPED);
}

/* Process the result of walk_range(). ksm_lock is dropped and retaken. */
static void process_batch(struct ksm_scanner *s)
{
	struct ksm_range *range = &s->range, more;
	struct ksm_region *region = range->region;
	struct ksm_walk *walk = &s->walk;
	struct ksm_chunk *chunk;

	/* The walk has passed over empty entries up to walk->addr. */
	ksm_items_forget(region, range->addr, walk->addr, KSM_BREAK_UNMAPPED);
	chunk = walk->why || s->batch.nr ? ksm_chunk_find(region, walk->addr) : NULL;
	if (chunk)
		chunk->active = true;
	ksm_match_batch(&s->batch, &s->jobs);
	if (!walk->page && !s->batch.scanned) {
		more = ksm_pass_extend(range, walk->next);
		if (more.addr < more.end)
			skip_range(region, more.addr, more.end, walk->why);
		walk->next = min(walk->next, range->end);
		skip_range(region, walk->addr, walk->next, walk->why);
	} else if (walk->why) {
		skip_range(region, walk->addr, walk->addr + PAGE_SIZE, walk->why);
	}
	ksm_pass_advance(range, walk->next);
}

/*
 * Scan one batch of pages, one hole, or one range that is skipped. A batch ends
 * before the first page that is not an ordinary one (see the opening comment of
 * walk.c). It has at most @left pages, of which at most KSM_BATCH are hashed.
 * Returns the number of pages scanned, but at least 1. ksm_lock is dropped and
 * retaken.
 */
static unsigned int scan_step(struct ksm_scanner *s, unsigned int left)
{
	int err;

	mutex_unlock(&ksm_lock);
	err = walk_range(s, left);
	cond_resched();
	try_to_freeze();
	mutex_lock(&ksm_lock);
	if (!err) {
		process_batch(s);
	} else if (err == -EBUSY) {
		ksm_pass_postpone(&s->range);
	} else {
		/* The mm is dead. reap.c frees the region. */
		ksm_pass_drop_region(s->range.region);
		s->range.addr = s->range.end;
	}
	return max(s->batch.scanned, 1U);
}

/*
 * May the scanner begin another step? Between two steps, it calls this function
 * under ksm_lock. So once a thread has changed "run" or "threads" under
 * ksm_lock, no scanner begins another step that the new value forbids.
 * should_scan() calls this function without ksm_lock.
 */
static bool may_scan(const struct ksm_scanner *s)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_SCAN &&
	       s->nr < READ_ONCE(ksm_settings.threads) && !kthread_should_stop();
}

/*
 * Is there anything to scan? Like ksmd_should_run() in mm/ksm.c. The caller
 * does not hold ksm_lock, so the result may be out of date. This does no harm:
 * the thread that registers a region wakes the scanners afterwards.
 */
static bool should_scan(const struct ksm_scanner *s)
{
	return may_scan(s) && READ_ONCE(ksm_settings.pages_to_scan) && !list_empty(&ksm_regions);
}

/*
 * Scan pages_to_scan pages, or fewer if the pass ends or "run" changes. Returns
 * false if nothing was scanned and the pass has not ended: usually because
 * other scanners have claimed all that is left of the pass.
 */
static bool scan_batch(struct ksm_scanner *s)
{
	unsigned int all = READ_ONCE(ksm_settings.pages_to_scan), left = all;
	unsigned int skipped, held = 0;
	bool ended;

	mutex_lock(&ksm_lock);
	WRITE_ONCE(s->scanning, may_scan(s));
	if (s->scanning)
		ksm_pass_begin();
	while (left && may_scan(s)) {
		skipped = ksm_pass_skip_idle(min(left, CHUNKS_PER_HOLD));
		if (skipped) {
			left -= skipped;
			held += skipped;
			if (held < CHUNKS_PER_HOLD)
				continue;
			held = 0;
			ksm_lock_relax();
			continue;
		}
		if (!ksm_pass_claim(&s->range))
			break;
		while (left && may_scan(s) && s->range.addr < s->range.end &&
		       !s->range.region->leaving)
			left -= min(left, scan_step(s, left));
		ksm_pass_release(&s->range);
		held = 0;
	}
	ended = s->scanning && ksm_pass_end();
	WRITE_ONCE(s->scanning, false);
	if (wq_has_sleeper(&scanner_wait))
		wake_up_all(&scanner_wait);
	mutex_unlock(&ksm_lock);
	return ended || left < all;
}

static int kksmd_thread(void *scanner)
{
	struct ksm_scanner *s = scanner;

	set_freezable();
	set_user_nice(current, 5);

	while (!kthread_should_stop()) {
		try_to_freeze();
		if (should_scan(s)) {
			unsigned int sleep = READ_ONCE(ksm_settings.sleep);

			if (!scan_batch(s))
				wait_event_interruptible(ksm_scan_idle, kthread_should_stop() ||
							 freezing(current) || !should_scan(s) ||
							 ksm_pass_has_work());
			cond_resched();
			if (sleep)
				wait_event_interruptible_hrtimeout(ksm_scan_asleep,
					kthread_should_stop() || freezing(current) ||
					sleep != READ_ONCE(ksm_settings.sleep),
					ns_to_ktime((u64)sleep * NSEC_PER_USEC));
		} else {
			wait_event_interruptible(ksm_scan_asleep, kthread_should_stop() ||
						 freezing(current) || should_scan(s));
		}
	}
	return 0;
}

static struct ksm_scanner *scanner_start(unsigned int nr)
{
	struct ksm_scanner *s = kvzalloc(sizeof(*s), GFP_KERNEL);
	int err;

	if (!s)
		return ERR_PTR(-ENOMEM);
	s->nr = nr;
	s->task = nr ? kthread_run(kksmd_thread, s, "kksmd/%u", nr)
		     : kthread_run(kksmd_thread, s, "kksmd");
	if (!IS_ERR(s->task))
		return s;
	err = PTR_ERR(s->task);
	kvfree(s);
	return ERR_PTR(err);
}

/* Stop the scanner threads from number @nr up to @end. */
static void scanners_stop(unsigned int nr, unsigned int end)
{
	for (; nr < end; nr++) {
		kthread_stop(scanners[nr]->task);
		kvfree(scanners[nr]);
	}
}

static void set_threads(unsigned int nr)
{
	mutex_lock(&ksm_lock);
	WRITE_ONCE(ksm_settings.threads, nr);
	mutex_unlock(&ksm_lock);
}

/*
 * Increase the number of scanner threads. New threads do not scan before
 * "threads" has changed.
 */
static int scanners_add(unsigned int nr)
{
	unsigned int old = ksm_settings.threads, i;
	struct ksm_scanner *s;

	for (i = old; i < nr; i++) {
		s = scanner_start(i);
		if (IS_ERR(s)) {
			scanners_stop(old, i);
			return PTR_ERR(s);
		}
		scanners[i] = s;
	}
	set_threads(nr);
	return 0;
}

/*
 * Decrease the number of scanner threads. kthread_stop() cannot be interrupted,
 * and the last step of a scanner can take long. So first wait until the
 * scanners have returned their ranges to the pass, where other scanners can
 * claim them.
 */
static int scanners_remove(unsigned int nr)
{
	unsigned int old = ksm_settings.threads, i;

	set_threads(nr);
	for (i = nr; i < old; i++) {
		if (wait_event_killable(scanner_wait, !READ_ONCE(scanners[i]->scanning))) {
			set_threads(old);
			return -EINTR;
		}
	}
	scanners_stop(nr, old);
	return 0;
}

/**
 * ksm_scan_set_threads - set the number of scanner threads
 * @nr: the number of threads, from 1 to KSM_MAX_THREADS
 *
 * Context: ksm_run_lock must be held, except while the module is loaded. Takes
 * ksm_lock. May sleep.
 * Return: 0 on success; on failure a negative error, and the number is
 * unchanged: -EINTR if the caller was killed; -ENOMEM if there is no memory for
 * a thread; or another error of kthread_run().
 */
int ksm_scan_set_threads(unsigned int nr)
{
	int err = nr > ksm_settings.threads ? scanners_add(nr) : scanners_remove(nr);

	ksm_scan_wake();
	return err;
}

/**
 * ksm_scan_init - start one scanner thread
 *
 * Context: module load. May sleep.
 * Return: 0 on success, or a negative error of kthread_run().
 */
int ksm_scan_init(void)
{
	return ksm_scan_set_threads(1);
}

/**
 * ksm_scan_exit - stop all scanner threads
 *
 * Context: module unload. May sleep.
 */
void ksm_scan_exit(void)
{
	scanners_stop(0, ksm_settings.threads);
}
