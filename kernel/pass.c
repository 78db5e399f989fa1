// SPDX-License-Identifier: GPL-2.0
/*
 * The pass: where it stands, and who has which piece of it.
 *
 * The cursor goes through the regions in the order of their registration, and
 * through each region by address. A scanner takes a piece at the cursor, at most
 * what one page table maps, and the cursor moves on behind it; so no two scanners
 * are in one page table, and a large region keeps all of them busy. What a scanner
 * has left of its piece when it goes to sleep, the next one to come takes up.
 *
 * When the cursor has been everywhere and no piece is left, nor out with a scanner,
 * the pass is over: an unstable index that does not keep its entries is emptied, and
 * the figures of the pass become the figures that userspace reads.
 *
 * All under ksm_lock.
 */
#include <linux/mm.h>
#include <linux/swap.h>
#include <linux/wait.h>

#include "ksm.h"
#include "trace.h"

/* After so many quiet passes a chunk is left out of one; after so many, of 2^(MAX - MIN). */
#define QUIET_MIN	4
#define QUIET_MAX	9

/* Who waits for all scanners to have come back. */
static DECLARE_WAIT_QUEUE_HEAD(back);

/* What was found out about a chunk in an earlier one does not count. */
unsigned int ksm_scan_epoch;

/*
 * The cursor is in @region at @addr; without a region it has been everywhere. @left
 * are pieces that somebody began. @out says how many are with a scanner; who begins
 * or ends the pass counts as well.
 */
static struct {
	bool running;
	struct ksm_region *region;
	unsigned long addr;
	struct ksm_piece left[KSM_MAX_THREADS];
	unsigned int nr_left;
	unsigned int out;
} pass;

/* To the first region after @region (NULL: of all) that is not being removed. */
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

static void cursor_move(unsigned long next)
{
	pass.addr = next;
	if (next >= pass.region->end)
		cursor_enter_next(pass.region);
}

static void go_out(void)
{
	WRITE_ONCE(pass.out, pass.out + 1);
}

static void come_back(void)
{
	WRITE_ONCE(pass.out, pass.out - 1);
	if (!pass.out && wq_has_sleeper(&back))
		wake_up_all(&back);
	if (ksm_pass_has_work())
		ksm_scan_join();
}

/**
 * ksm_pass_has_work - is it worth looking for a piece of the pass, or for its end?
 *
 * Return: whether it is so; ksm_lock need not be held, and then it is a guess.
 */
bool ksm_pass_has_work(void)
{
	return READ_ONCE(pass.nr_left) || READ_ONCE(pass.region) || !READ_ONCE(pass.out);
}

/**
 * ksm_pass_begin - begin the next pass, if none is under way
 *
 * Lets go of ksm_lock in between.
 */
void ksm_pass_begin(void)
{
	if (pass.running)
		return;
	pass.running = true;
	go_out();
	/* Fresh pages wait in per-CPU batches that hold a reference to each. */
	if (ksm_seen_fresh || ksm_counters.skipped_last[KSM_SKIP_PINNED]) {
		mutex_unlock(&ksm_lock);
		lru_add_drain_all();
		mutex_lock(&ksm_lock);
	}
	ksm_seen_fresh = false;
	trace_devksm_pass_start(ksm_counters.full_scans + 1);
	cursor_enter_next(NULL);
	come_back();
}

/**
 * ksm_pass_end - end the pass, if there is nothing left of it
 *
 * Lets go of ksm_lock in between.
 *
 * Return: whether it was ended.
 */
bool ksm_pass_end(void)
{
	struct ksm_counters *c = &ksm_counters;

	if (!pass.running || pass.region || pass.nr_left || pass.out)
		return false;
	go_out();
	if (!ksm_index_ops->keeps)
		ksm_index_ops->flush(ksm_index);
	c->volatile_last = c->volatile_now;
	c->volatile_now = 0;
	memcpy(c->skipped_last, c->skipped_now, sizeof(c->skipped_last));
	memset(c->skipped_now, 0, sizeof(c->skipped_now));
	/* Last: who sees it counted reads the figures of this pass. */
	smp_store_release(&c->full_scans, c->full_scans + 1);
	trace_devksm_pass_end(c->full_scans, c->shared, c->kernel_pages);
	pass.running = false;
	come_back();
	return true;
}

/* Has the cursor come to a chunk that this pass leaves out? */
static bool chunk_rests(struct ksm_chunk *chunk)
{
	if (!chunk || !chunk->rest || chunk->epoch != ksm_scan_epoch ||
	    pass.addr != max(chunk->start, chunk->region->start))
		return false;
	chunk->rest--;
	return true;
}

static unsigned int skip_resting(struct ksm_region *region, unsigned int most)
{
	XA_STATE(xas, &region->chunks, pass.addr / PMD_SIZE);
	struct ksm_chunk *chunk;
	unsigned int skipped = 0;

	/* A scanner that is out may add a chunk. */
	xas_lock(&xas);
	for (chunk = xas_load(&xas); skipped < most && chunk_rests(chunk);
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
 * ksm_pass_skip_resting - move the cursor past chunks that this pass leaves out
 * @most: how many, at most
 *
 * Return: how many they were; 0 when the cursor is at something else.
 */
unsigned int ksm_pass_skip_resting(unsigned int most)
{
	return pass.region ? skip_resting(pass.region, most) : 0;
}

/*
 * The scan goes on from a chunk. One in which nothing is merged, and pass after
 * pass finds every page as it was, is left out of one pass, then of two, four, and
 * so on. In an index that keeps its entries little is lost by that: who comes to
 * be equal to one of its pages finds it there, which ends its rest.
 */
static void chunk_leave(struct ksm_chunk *chunk)
{
	if (chunk->busy || chunk->merged || chunk->epoch != ksm_scan_epoch)
		chunk->quiet = 0;
	else if (chunk->quiet < QUIET_MAX)
		chunk->quiet++;
	chunk->rest = chunk->quiet < QUIET_MIN ? 0 : 1 << (chunk->quiet - QUIET_MIN);
	chunk->epoch = ksm_scan_epoch;
	chunk->busy = false;
}

/**
 * ksm_pass_claim - take a piece of the pass
 * @piece: set to the piece. Until ksm_pass_release() its region is not freed, and
 *	none of its chunks by anybody else.
 *
 * Return: whether there was one.
 */
bool ksm_pass_claim(struct ksm_piece *piece)
{
	if (pass.nr_left) {
		WRITE_ONCE(pass.nr_left, pass.nr_left - 1);
		*piece = pass.left[pass.nr_left];
	} else if (pass.region) {
		piece->region = pass.region;
		piece->addr = pass.addr;
		piece->end = min((pass.addr & PMD_MASK) + PMD_SIZE, pass.region->end);
		cursor_move(piece->end);
	} else {
		return false;
	}
	piece->region->users++;
	go_out();
	return true;
}

/**
 * ksm_pass_stretch - a look has told of more than the piece it was made in
 * @piece: the piece; made longer, if what comes after it is nobody's yet
 * @next: up to where the look has told
 *
 * Return: what else nobody has to look at any more, where others have pieces in
 * between; more often than not it is empty.
 */
struct ksm_piece ksm_pass_stretch(struct ksm_piece *piece, unsigned long next)
{
	struct ksm_piece more = { .region = piece->region };

	if (pass.region != piece->region || next <= pass.addr)
		return more;
	if (pass.addr == piece->end) {
		piece->end = next;
	} else {
		more.addr = pass.addr;
		more.end = next;
	}
	cursor_move(next);
	return more;
}

/**
 * ksm_pass_postpone - leave out memory whose mmap lock is not free
 * @piece: the piece; nothing is left of it
 *
 * If the cursor is right behind the piece, the rest of the region is left out as
 * well, and the next pass enters the region here. So a process that holds its lock
 * for long does not keep others waiting, and every part of its memory has its turn.
 *
 * Context: ksm_lock must be held.
 */
void ksm_pass_postpone(struct ksm_piece *piece)
{
	struct ksm_region *region = piece->region;
	unsigned long end = piece->end;

	region->resume = min_not_zero(region->resume, piece->addr);
	if (pass.region == region && pass.addr == end) {
		end = region->end;
		cursor_enter_next(region);
	}
	ksm_skip(region->mm, piece->addr, (end - piece->addr) / PAGE_SIZE, KSM_SKIP_BUSY);
	piece->addr = piece->end;
}

/**
 * ksm_pass_move - a scanner is done with a part of its piece
 * @piece: the piece
 * @next: where it goes on
 */
void ksm_pass_move(struct ksm_piece *piece, unsigned long next)
{
	struct ksm_chunk *chunk;

	if (next >= piece->end) {
		chunk = ksm_chunk_find(piece->region, piece->addr);
		if (chunk)
			chunk_leave(chunk);
	}
	piece->addr = next;
}

/**
 * ksm_pass_release - give back a piece
 * @piece: the piece; what is left of it goes to the next scanner that comes, but
 *	for that of a region that is being removed. The region may be freed here.
 */
void ksm_pass_release(struct ksm_piece *piece)
{
	if (piece->addr < piece->end && !piece->region->leaving) {
		pass.left[pass.nr_left] = *piece;
		WRITE_ONCE(pass.nr_left, pass.nr_left + 1);
	}
	ksm_region_put(piece->region);
	come_back();
}

/**
 * ksm_pass_leave - this pass has nothing more to do with a region
 * @region: the region, still in ksm_regions. Scanners may be out in it.
 */
void ksm_pass_leave(struct ksm_region *region)
{
	unsigned int i, kept = 0;

	if (pass.region == region)
		cursor_enter_next(region);
	for (i = 0; i < pass.nr_left; i++)
		if (pass.left[i].region != region)
			pass.left[kept++] = pass.left[i];
	WRITE_ONCE(pass.nr_left, kept);
}

/**
 * ksm_pass_wait - wait until all scanners have come back
 *
 * They have been told not to go out again.
 *
 * Context: ksm_lock must not be held. Sleeps, until the caller is killed.
 * Return: 0 or -EINTR.
 */
int ksm_pass_wait(void)
{
	int err = 0;

	mutex_lock(&ksm_lock);
	/* The scanner that returns the last piece may end the pass, and is out again then. */
	while (pass.out && !err) {
		mutex_unlock(&ksm_lock);
		if (wait_event_killable(back, !READ_ONCE(pass.out)))
			err = -EINTR;
		mutex_lock(&ksm_lock);
	}
	mutex_unlock(&ksm_lock);
	return err;
}

/**
 * ksm_pass_afresh - forget which chunks are left out of how many passes
 */
void ksm_pass_afresh(void)
{
	mutex_lock(&ksm_lock);
	ksm_scan_epoch++;
	mutex_unlock(&ksm_lock);
}
