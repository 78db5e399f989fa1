// SPDX-License-Identifier: GPL-2.0
/*
 * The pass: divide all registered memory into ranges for the scanners.
 *
 * A cursor moves through the regions in the order of their registration, and
 * through each region by address. A scanner claims a range at the cursor, and
 * the cursor moves to the end of the range. Usually the range is what one page
 * table maps, so that all scanners can work in one large region, but no two of
 * them in one chunk. Before a scanner sleeps, it returns the unfinished part of
 * its range, and another scanner can claim that.
 *
 * The pass ends when the cursor has reached the end of the last region and all
 * ranges are finished. With index=tree, the unstable tree is then emptied. Then
 * the counters of the pass become visible in sysfs.
 *
 * ksm_lock protects everything here.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/wait.h>

#include "ksm.h"
#include "trace.h"

/* The maximum number of index entries removed under one hold of ksm_lock. */
#define ENTRIES_PER_HOLD	256

/* Threads wait here until no scanner has a range. */
static DECLARE_WAIT_QUEUE_HEAD(pass_wait);

/*
 * The state of the pass. The cursor is at @addr in @region, or has reached the
 * end of the last region if @region is NULL. @returned contains the
 * @nr_returned unfinished ranges that scanners have returned. @nr_claimed is
 * the number of ranges that scanners have claimed and not returned, plus one
 * while a scanner begins or ends the pass.
 */
static struct {
	bool running;
	struct ksm_region *region;
	unsigned long addr;
	struct ksm_range returned[KSM_MAX_THREADS];
	unsigned int nr_returned;
	unsigned int nr_claimed;
} pass;

/*
 * Move the cursor to the region after @region, or to the first region if
 * @region is NULL. Regions that are being removed are skipped.
 */
static void cursor_enter_next(struct ksm_region *region)
{
	struct list_head *pos = region ? &region->in_scan : &ksm_regions;

	WRITE_ONCE(pass.region, NULL);
	for (pos = pos->next; pos != &ksm_regions; pos = pos->next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		if (!region->leaving) {
			WRITE_ONCE(pass.region, region);
			pass.addr = region->resume ?: region->start;
			region->resume = 0;
			return;
		}
	}
}

/* Move the cursor to an address in its region, or to the next region. */
static void cursor_move(unsigned long next)
{
	pass.addr = next;
	if (next >= pass.region->end)
		cursor_enter_next(pass.region);
}

static void pass_hold(void)
{
	WRITE_ONCE(pass.nr_claimed, pass.nr_claimed + 1);
}

static void pass_put(void)
{
	WRITE_ONCE(pass.nr_claimed, pass.nr_claimed - 1);
	if (!pass.nr_claimed && wq_has_sleeper(&pass_wait))
		wake_up_all(&pass_wait);
	if (ksm_pass_has_work())
		ksm_scan_wake_idle();
}

/**
 * ksm_pass_has_work - test whether a scanner can claim a range or end the pass
 *
 * Context: any. Without ksm_lock, the result may be out of date.
 * Return: true if there is a range to claim, or if the pass can begin or end.
 */
bool ksm_pass_has_work(void)
{
	return READ_ONCE(pass.nr_returned) || READ_ONCE(pass.region) || !READ_ONCE(pass.nr_claimed);
}

/**
 * ksm_pass_begin - begin a pass, unless one is in progress
 *
 * Context: ksm_lock must be held. May drop and retake it, and may sleep.
 */
void ksm_pass_begin(void)
{
	if (pass.running)
		return;
	pass.running = true;
	pass_hold();
	/*
	 * Per-CPU LRU batches hold references to new pages, and a page with an
	 * extra reference is not merged. The driver cannot tell such a page
	 * from a pinned one. So while a pinned page has a match, every pass
	 * drains the batches of all CPUs, even if sleep=0 makes the passes
	 * follow each other at once.
	 */
	if (ksm_seen_fresh || ksm_counters.skipped_last[KSM_SKIP_PINNED]) {
		mutex_unlock(&ksm_lock);
		lru_add_drain_all();
		mutex_lock(&ksm_lock);
	}
	ksm_seen_fresh = false;
	trace_devksm_pass_start(ksm_counters.full_scans + 1);
	cursor_enter_next(NULL);
	pass_put();
}

/**
 * ksm_pass_end - end the pass, if all of its ranges are finished
 *
 * Context: ksm_lock must be held. Drops and retakes it. May sleep.
 * Return: true if the pass was ended.
 */
bool ksm_pass_end(void)
{
	struct ksm_counters *c = &ksm_counters;

	if (!pass.running || pass.region || pass.nr_returned || pass.nr_claimed)
		return false;
	pass_hold();
	/* Until pass_put(), no scanner can claim a range or insert entries. */
	while (ksm_index_ops->flush && ksm_index_ops->flush(ksm_index, ENTRIES_PER_HOLD))
		ksm_lock_relax();
	trace_devksm_pass_end(c->full_scans + 1, c->shared, c->kernel_pages, c->hashed_now,
			      c->complete_now);
	c->hashed_now = 0;
	c->complete_now = 0;
	c->volatile_last = c->volatile_now;
	c->volatile_now = 0;
	memcpy(c->skipped_last, c->skipped_now, sizeof(c->skipped_last));
	memset(c->skipped_now, 0, sizeof(c->skipped_now));
	/*
	 * Userspace waits for full_scans to change before it reads the other
	 * counters, so change it last.
	 */
	smp_store_release(&c->full_scans, c->full_scans + 1);
	pass.running = false;
	pass_put();
	return true;
}

/*
 * Test whether this pass skips the chunk at the cursor. If so, count the skip.
 * A chunk is skipped only as a whole, so the cursor must be at its beginning.
 */
static bool should_skip_chunk(struct ksm_chunk *chunk)
{
	if (!chunk || !chunk->remaining_skips || chunk->epoch != ksm_scan_epoch ||
	    pass.addr != max(chunk->start, chunk->region->start))
		return false;
	chunk->remaining_skips--;
	return true;
}

static unsigned int skip_idle_chunks(struct ksm_region *region, unsigned int most)
{
	XA_STATE(xas, &region->chunks, pass.addr / PMD_SIZE);
	struct ksm_chunk *chunk;
	unsigned int skipped = 0;

	/* Scanners add chunks to the region without ksm_lock. */
	xas_lock(&xas);
	for (chunk = xas_load(&xas); skipped < most && should_skip_chunk(chunk);
	     chunk = xas_next(&xas)) {
		pass.addr = chunk->start + PMD_SIZE;
		skipped++;
	}
	xas_unlock(&xas);
	if (pass.addr >= region->end)
		cursor_enter_next(region);
	return skipped;
}

/**
 * ksm_pass_skip_idle - move the cursor past chunks that this pass skips
 * @most: the maximum number of chunks
 *
 * Context: ksm_lock must be held.
 * Return: the number of chunks skipped; 0 if the chunk at the cursor is to be
 * scanned.
 */
unsigned int ksm_pass_skip_idle(unsigned int most)
{
	return pass.region ? skip_idle_chunks(pass.region, most) : 0;
}

/*
 * Decide how many passes skip a chunk that a scanner has finished.
 *
 * A chunk is active in a pass if one of its pages is merged, was a candidate in
 * this pass, or was skipped (enum ksm_skip). Otherwise it is idle. With
 * index=tree, every unmerged page is a candidate in each pass, so no chunk with
 * pages is idle. With index=hash, skipping an idle chunk delays few merges: its
 * pages stay in the index, and a match of one of them ends the idle state of
 * the chunk.
 */
static void chunk_finish(struct ksm_chunk *chunk)
{
	bool restart = chunk->epoch != ksm_scan_epoch;

	if (restart)
		ksm_chunk_reset_idle(chunk);
	if (chunk->active || chunk->merged || restart)
		chunk->idle_passes = 0;
	else if (chunk->idle_passes < KSM_IDLE_MAX)
		chunk->idle_passes++;
	chunk->remaining_skips = chunk->idle_passes < KSM_IDLE_MIN ? 0 :
				 1 << (chunk->idle_passes - KSM_IDLE_MIN);
	chunk->epoch = ksm_scan_epoch;
	chunk->active = false;
}

/**
 * ksm_pass_claim - claim a range of the pass for the calling scanner
 * @range: set to the range. Until the caller calls ksm_pass_release(), the
 *	region is not freed, no other thread walks the range, and no other
 *	thread frees a chunk that is completely in it
 *
 * Context: ksm_lock must be held.
 * Return: true if a range was claimed.
 */
bool ksm_pass_claim(struct ksm_range *range)
{
	if (pass.nr_returned) {
		WRITE_ONCE(pass.nr_returned, pass.nr_returned - 1);
		*range = pass.returned[pass.nr_returned];
	} else if (pass.region) {
		range->region = pass.region;
		range->addr = pass.addr;
		range->end = min((pass.addr & PMD_MASK) + PMD_SIZE, pass.region->end);
		cursor_move(range->end);
	} else {
		return false;
	}
	range->region->users++;
	pass_hold();
	return true;
}

/**
 * ksm_pass_extend - extend a range, because one walk went beyond its end
 * @range: the range; extended to @next if the cursor is at its end
 * @next: the address at which the walk ended
 *
 * A walk can cover a large hole, or a large VMA whose pages cannot be merged.
 * The cursor is moved to @next, so that no scanner walks that memory again. If
 * other scanners have claimed ranges between @range and the cursor, @range
 * cannot be extended. Then the memory between the cursor and @next becomes a
 * second range.
 *
 * Context: ksm_lock must be held.
 * Return: the second range; usually it is empty.
 */
struct ksm_range ksm_pass_extend(struct ksm_range *range, unsigned long next)
{
	struct ksm_range more = { .region = range->region };

	if (pass.region != range->region || next <= pass.addr)
		return more;
	if (pass.addr == range->end) {
		range->end = next;
	} else {
		more.addr = pass.addr;
		more.end = next;
	}
	cursor_move(next);
	return more;
}

/**
 * ksm_pass_postpone - skip a range until the next pass
 * @range: the range, whose mmap lock is contended; marked as finished
 *
 * If the cursor is at the end of the range, the remaining part of the region is
 * skipped as well. The next pass enters the region where this one stopped. So a
 * process that holds its mmap lock does not delay the scan of other processes,
 * and all of its own memory is scanned eventually.
 *
 * Context: ksm_lock must be held.
 */
void ksm_pass_postpone(struct ksm_range *range)
{
	struct ksm_region *region = range->region;
	unsigned long end = range->end;

	region->resume = min_not_zero(region->resume, range->addr);
	if (pass.region == region && pass.addr == end) {
		end = region->end;
		cursor_enter_next(region);
	}
	ksm_skip(region->mm, range->addr, (end - range->addr) / PAGE_SIZE, KSM_SKIP_BUSY);
	range->addr = range->end;
}

/**
 * ksm_pass_advance - record that a scanner has finished a part of its range
 * @range: the range
 * @next: the address at which the scanner continues
 *
 * Context: ksm_lock must be held.
 */
void ksm_pass_advance(struct ksm_range *range, unsigned long next)
{
	struct ksm_chunk *chunk;

	if (next >= range->end) {
		chunk = ksm_chunk_find(range->region, range->addr);
		if (chunk)
			chunk_finish(chunk);
	}
	range->addr = next;
}

/**
 * ksm_pass_release - return a range to the pass
 * @range: the range. Another scanner can claim its unfinished part, unless the
 *	region is being removed. The region may be freed once ksm_lock is
 *	dropped
 *
 * Context: ksm_lock must be held.
 */
void ksm_pass_release(struct ksm_range *range)
{
	if (range->addr < range->end && !range->region->leaving) {
		pass.returned[pass.nr_returned] = *range;
		WRITE_ONCE(pass.nr_returned, pass.nr_returned + 1);
	}
	ksm_region_put(range->region);
	pass_put();
}

/**
 * ksm_pass_drop_region - remove a region from the pass
 * @region: the region, still in ksm_regions; scanners may hold ranges of it
 *
 * Context: ksm_lock must be held.
 */
void ksm_pass_drop_region(struct ksm_region *region)
{
	unsigned int i, kept = 0;

	if (pass.region == region)
		cursor_enter_next(region);
	for (i = 0; i < pass.nr_returned; i++)
		if (pass.returned[i].region != region)
			pass.returned[kept++] = pass.returned[i];
	WRITE_ONCE(pass.nr_returned, kept);
}

/**
 * ksm_pass_wait - wait until all scanners have returned their ranges
 *
 * The caller has already changed "run", so that no scanner claims another
 * range.
 *
 * Context: ksm_run_lock must be held, so that "run" does not change back.
 * ksm_lock must not be held. May sleep. A fatal signal ends the wait.
 * Return: 0 on success, or -EINTR if the caller was killed.
 */
int ksm_pass_wait(void)
{
	int err = 0;

	mutex_lock(&ksm_lock);
	/*
	 * After the last range has been returned, a scanner may end the pass,
	 * and pass.nr_claimed is 1 again: test it again under ksm_lock.
	 */
	while (pass.nr_claimed && !err) {
		mutex_unlock(&ksm_lock);
		if (wait_event_killable(pass_wait, !READ_ONCE(pass.nr_claimed)))
			err = -EINTR;
		mutex_lock(&ksm_lock);
	}
	mutex_unlock(&ksm_lock);
	return err;
}

/**
 * ksm_pass_wake_all - end the idle state of all chunks and pages
 *
 * Each write to "run" does so, also a write of the same value.
 *
 * Context: takes ksm_lock. May sleep.
 */
void ksm_pass_wake_all(void)
{
	mutex_lock(&ksm_lock);
	ksm_scan_epoch++;
	mutex_unlock(&ksm_lock);
}
