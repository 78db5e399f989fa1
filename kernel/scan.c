// SPDX-License-Identifier: GPL-2.0
/*
 * The scanners: one or more kernel threads, kksmd, as set by "threads".
 *
 * A scanner claims a range of the pass (pass.c) and processes it in steps. In
 * each step it first walks the page table and hashes the pages (walk.c). It
 * does so without ksm_lock, because reading pages takes most of the time of a
 * pass. Then it takes ksm_lock and processes the batch of candidate pages
 * (visit.c).
 */
#include <linux/freezer.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>

#include "ksm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

/* Chunks skipped before ksm_lock is dropped. */
#define CHUNKS_PER_HOLD	256

/**
 * struct ksm_scanner - a scanner thread
 * @task: the thread
 * @nr: its number, from 0
 * @piece: the range that it has claimed
 * @spot: the result of its last page-table walk
 * @finds: the batch of candidate pages from that walk
 * @jobs: the merge jobs for that batch
 */
struct ksm_scanner {
	struct task_struct *task;
	unsigned int nr;
	struct ksm_piece piece;
	struct ksm_spot spot;
	struct ksm_finds finds;
	struct ksm_jobs jobs;
};

/*
 * Scanners that sleep between batches, and scanners that have nothing to do
 * because other scanners have claimed the rest of the pass.
 */
static DECLARE_WAIT_QUEUE_HEAD(asleep);
static DECLARE_WAIT_QUEUE_HEAD(idle);

/* The first ksm_settings.threads elements are in use. Under ksm_run_lock. */
static struct ksm_scanner *scanners[KSM_MAX_THREADS];

/*
 * Walk the beginning of the claimed range, at most @left pages. Returns 0;
 * -ESRCH if the mm has no users; or -EBUSY if its mmap lock is contended. The
 * scanner does not wait for that lock, because that would delay the scan of all
 * other memory.
 *
 * The caller does not hold ksm_lock. No other thread allocates or frees a chunk
 * in this range, and ksm_visit() checks again whether the items have changed.
 */
static int look(struct ksm_scanner *s, unsigned int left)
{
	struct ksm_region *region = s->piece.region;
	struct mm_struct *mm = region->mm;
	unsigned long addr = s->piece.addr;
	struct ksm_finds *finds = &s->finds;
	struct ksm_spot *spot = &s->spot;
	struct ksm_chunk *chunk;

	*spot = (struct ksm_spot){ .addr = addr, .next = addr };
	finds->looked = 0;
	finds->nr = 0;
	if (!mmget_not_zero(mm))
		return -ESRCH;
	if (!mmap_read_trylock(mm)) {
		mmput_async(mm);
		return -EBUSY;
	}
	/* If the chunk exists, this batch walk is usually enough. */
	chunk = ksm_chunk_find(region, addr);
	if (chunk)
		ksm_glance(mm, chunk, left, region->end, spot, finds);
	if (spot->next == addr)
		ksm_look(mm, addr, region->end, spot);
	if (spot->page) {
		chunk = ksm_chunk_get(region, spot->addr);
		if (chunk) {
			ksm_glance(mm, chunk, left, region->end, spot, finds);
		} else {
			put_page(spot->page);
			spot->why = KSM_SKIP_NO_MEMORY;
		}
	}
	if (spot->why == KSM_SKIP_HWPOISON)
		ksm_unmap_poisoned(mm, spot->addr);
	mmap_read_unlock(mm);
	mmput_async(mm);
	return 0;
}

/* Skip a range that has no pages, or whose pages cannot be merged. */
static void pass_by(struct ksm_region *region, unsigned long start, unsigned long end,
		    enum ksm_skip why)
{
	if (why)
		ksm_skip(region->mm, start, (end - start) / PAGE_SIZE, why);
	/* Registering userfaultfd on a mapping does not unmerge its pages. */
	if (why != KSM_SKIP_UFFD)
		ksm_items_forget(region, start, end, KSM_BREAK_UNMAPPED);
}

/* Process the result of look(). ksm_lock is dropped and retaken. */
static void act(struct ksm_scanner *s)
{
	struct ksm_piece *piece = &s->piece, more;
	struct ksm_region *region = piece->region;
	struct ksm_spot *spot = &s->spot;
	struct ksm_chunk *chunk;

	ksm_items_forget(region, piece->addr, spot->addr, KSM_BREAK_UNMAPPED);
	chunk = spot->why || s->finds.nr ? ksm_chunk_find(region, spot->addr) : NULL;
	if (chunk)
		chunk->busy = true;
	ksm_visit(&s->finds, &s->jobs);
	if (!spot->page && !s->finds.looked) {
		more = ksm_pass_stretch(piece, spot->next);
		if (more.addr < more.end)
			pass_by(region, more.addr, more.end, spot->why);
		spot->next = min(spot->next, piece->end);
		pass_by(region, spot->addr, spot->next, spot->why);
	} else if (spot->why) {
		pass_by(region, spot->addr, spot->addr + PAGE_SIZE, spot->why);
	}
	ksm_pass_move(piece, spot->next);
}

/*
 * Process one batch of pages, one hole, or one range that is skipped. A batch
 * ends before the first page that is not an ordinary one; it has at most
 * KSM_BATCH and at most @left pages. Returns the number of pages examined, but
 * at least 1. ksm_lock is dropped and retaken.
 */
static unsigned int step(struct ksm_scanner *s, unsigned int left)
{
	int err;

	mutex_unlock(&ksm_lock);
	err = look(s, left);
	cond_resched();
	try_to_freeze();
	mutex_lock(&ksm_lock);
	if (!err) {
		act(s);
	} else if (err == -EBUSY) {
		ksm_pass_postpone(&s->piece);
	} else {
		/* The mm is dead: reap.c frees the region after its release. */
		ksm_pass_leave(s->piece.region);
		s->piece.addr = s->piece.end;
	}
	return max(s->finds.looked, 1U);
}

/*
 * A thread that sets "run" does so under ksm_lock, and then waits for scanners
 * to return their ranges.
 */
static bool may_scan(void)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_SCAN && !kthread_should_stop();
}

static bool should_scan(void)
{
	return READ_ONCE(ksm_settings.run) == KSM_RUN_SCAN &&
	       READ_ONCE(ksm_settings.pages_to_scan) && !list_empty(&ksm_regions);
}

/*
 * Scan pages_to_scan pages, or fewer if the pass ends. Returns false if there
 * was nothing to do, because other scanners have claimed the rest of the pass.
 */
static bool scan_batch(struct ksm_scanner *s)
{
	unsigned int all = READ_ONCE(ksm_settings.pages_to_scan), left = all;
	unsigned int skipped, held = 0;
	bool ended;

	mutex_lock(&ksm_lock);
	if (may_scan())
		ksm_pass_begin();
	while (left && may_scan()) {
		skipped = ksm_pass_skip_resting(min(left, CHUNKS_PER_HOLD));
		if (skipped) {
			left -= skipped;
			held += skipped;
			if (held < CHUNKS_PER_HOLD)
				continue;
			held = 0;
			mutex_unlock(&ksm_lock);
			cond_resched();
			mutex_lock(&ksm_lock);
			continue;
		}
		if (!ksm_pass_claim(&s->piece))
			break;
		while (left && may_scan() && s->piece.addr < s->piece.end &&
		       !s->piece.region->leaving)
			left -= min(left, step(s, left));
		ksm_pass_release(&s->piece);
		held = 0;
	}
	ended = ksm_pass_end();
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
		if (should_scan()) {
			unsigned int sleep = READ_ONCE(ksm_settings.sleep);

			if (!scan_batch(s))
				wait_event_interruptible(idle, kthread_should_stop() ||
							 freezing(current) || !should_scan() ||
							 ksm_pass_has_work());
			cond_resched();
			if (sleep)
				wait_event_interruptible_hrtimeout(asleep,
					kthread_should_stop() || freezing(current) ||
					sleep != READ_ONCE(ksm_settings.sleep),
					ns_to_ktime((u64)sleep * NSEC_PER_USEC));
		} else {
			wait_event_interruptible(asleep, kthread_should_stop() ||
						 freezing(current) || should_scan());
		}
	}
	return 0;
}

/**
 * ksm_scan_wake - wake all scanners after a setting or the regions have changed
 *
 * Context: any.
 */
void ksm_scan_wake(void)
{
	wake_up_interruptible(&asleep);
	wake_up_interruptible(&idle);
}

/**
 * ksm_scan_join - wake the scanners that had nothing to do
 *
 * Context: any.
 */
void ksm_scan_join(void)
{
	if (wq_has_sleeper(&idle))
		wake_up_interruptible(&idle);
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

/* The thread has returned its range, so another scanner can claim it. */
static void scanner_stop(struct ksm_scanner *s)
{
	kthread_stop(s->task);
	kvfree(s);
}

/**
 * ksm_scan_set_threads - set the number of scanner threads
 * @nr: the number of threads, at most KSM_MAX_THREADS
 *
 * Context: ksm_run_lock must be held, except while the module is loaded or
 * unloaded. May sleep.
 * Return: 0 on success; on failure a negative error, and the number is
 * unchanged.
 */
int ksm_scan_set_threads(unsigned int nr)
{
	unsigned int old = ksm_settings.threads, i;
	struct ksm_scanner *s;

	for (i = old; i < nr; i++) {
		s = scanner_start(i);
		if (IS_ERR(s))
			goto stop;
		scanners[i] = s;
	}
	for (i = nr; i < old; i++)
		scanner_stop(scanners[i]);
	WRITE_ONCE(ksm_settings.threads, nr);
	return 0;
stop:
	while (i-- > old)
		scanner_stop(scanners[i]);
	return PTR_ERR(s);
}

int ksm_scan_init(void)
{
	return ksm_scan_set_threads(1);
}

void ksm_scan_exit(void)
{
	ksm_scan_set_threads(0);
}
