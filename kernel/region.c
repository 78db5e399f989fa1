// SPDX-License-Identifier: GPL-2.0
/*
 * The set of all regions, and the user counts of regions.
 *
 * A region is not freed while its user count is not 0: remove_all() in area.c
 * waits (ksm_region_wait()), and the reaper leaves out such regions
 * (is_dead()). area.c allocates and frees regions.
 */
#include <linux/rbtree.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>

#include "ksm.h"

/* Threads wait here until a region has no users. */
static DECLARE_WAIT_QUEUE_HEAD(region_wait);

/*
 * All regions, sorted by mm and then by address. Regions of one mm do not
 * overlap.
 */
static struct rb_root by_address = RB_ROOT;

/*
 * The place in ksm_regions at which the reaper continues. ksm_region_erase()
 * advances it, so the reaper need not keep that region from being freed.
 */
static struct list_head *reap_next = &ksm_regions;

/* Compare two regions for rb_add(). */
static bool region_before(struct rb_node *a, const struct rb_node *b)
{
	struct ksm_region *one = rb_entry(a, struct ksm_region, by_address);
	struct ksm_region *other = rb_entry(b, struct ksm_region, by_address);

	return one->mm < other->mm || (one->mm == other->mm && one->start < other->start);
}

/**
 * ksm_region_overlaps - test whether a range overlaps a region
 * @mm: the mm of the range
 * @start: the first byte of the range
 * @end: the first byte after the range
 *
 * Context: ksm_lock must be held.
 * Return: true if a byte of the range belongs to a region of @mm, in any area.
 */
bool ksm_region_overlaps(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct rb_node *node = by_address.rb_node;
	struct ksm_region *region, *last = NULL;

	/* Find the last region that begins before the range ends. */
	while (node) {
		region = rb_entry(node, struct ksm_region, by_address);
		if (region->mm < mm || (region->mm == mm && region->start < end)) {
			last = region;
			node = node->rb_right;
		} else {
			node = node->rb_left;
		}
	}
	return last && last->mm == mm && last->end > start;
}

/**
 * ksm_region_insert - add a region to the set of all regions
 * @region: the region; it overlaps no other region of its mm
 *
 * Context: ksm_lock must be held.
 */
void ksm_region_insert(struct ksm_region *region)
{
	list_add_tail(&region->in_scan, &ksm_regions);
	rb_add(&region->by_address, &by_address, region_before);
}

/**
 * ksm_region_erase - remove a region from the set of all regions
 * @region: the region
 *
 * Context: ksm_lock must be held.
 */
void ksm_region_erase(struct ksm_region *region)
{
	if (reap_next == &region->in_scan)
		reap_next = region->in_scan.next;
	list_del(&region->in_scan);
	rb_erase(&region->by_address, &by_address);
}

/**
 * ksm_region_reap_first - begin the reaper's walk over all regions
 *
 * Context: the reaper. ksm_lock must be held.
 * Return: the first region, or NULL if there is none.
 */
struct ksm_region *ksm_region_reap_first(void)
{
	reap_next = ksm_regions.next;
	return ksm_region_reap_next();
}

/**
 * ksm_region_reap_next - continue the reaper's walk over all regions
 *
 * Between two calls, ksm_lock may be dropped, and any region may be freed. The
 * walk then misses none of the other regions.
 *
 * Context: the reaper. ksm_lock must be held.
 * Return: the next region, or NULL at the end.
 */
struct ksm_region *ksm_region_reap_next(void)
{
	struct list_head *pos = reap_next;

	if (pos == &ksm_regions)
		return NULL;
	reap_next = pos->next;
	return list_entry(pos, struct ksm_region, in_scan);
}

/**
 * ksm_region_put - decrement the user count of a region
 * @region: the region
 *
 * If the count becomes 0, a thread that waits in ksm_region_wait() is woken. If
 * the mm is dead or the area has been closed, reap.c frees the region.
 *
 * Context: ksm_lock must be held.
 */
void ksm_region_put(struct ksm_region *region)
{
	WRITE_ONCE(region->users, region->users - 1);
	if (region->users)
		return;
	if (region->leaving)
		wake_up_all(&region_wait);
	if (!region->area || !atomic_read(&region->mm->mm_users))
		ksm_reap_now();
}

/**
 * ksm_region_set_unmerging - mark a region that a writer of run=2 unmerges
 * @region: the region, of which the caller is a user
 * @unmerging: false to remove the mark
 *
 * Context: ksm_lock must be held.
 */
void ksm_region_set_unmerging(struct ksm_region *region, bool unmerging)
{
	WRITE_ONCE(region->unmerging, unmerging);
	if (region->leaving)
		wake_up_all(&region_wait);
}

/**
 * ksm_region_wait - wait until a region has no users
 * @region: the region; the caller has marked it "leaving", so no other thread
 *	frees it
 * @force: set if no signal may end the wait. With @force, the function does not
 *	wait for a writer of run=2 that uses a region of another process,
 *	because the writer may wait for the mmap lock of that process
 *
 * Context: ksm_lock must be held. Drops and retakes it. May sleep.
 * Return: 0 on success; -EINTR if the caller was killed and @force is not set;
 * -EBUSY if @force is set, the region belongs to another process, and a writer
 * of run=2 unmerges it.
 */
int ksm_region_wait(struct ksm_region *region, bool force)
{
	bool foreign = force && region->mm != current->mm;
	int err = 0;

	while (region->users && !err) {
		if (foreign && region->unmerging)
			return -EBUSY;
		mutex_unlock(&ksm_lock);
		if (force)
			wait_event(region_wait, !READ_ONCE(region->users) ||
						(foreign && READ_ONCE(region->unmerging)));
		else if (wait_event_killable(region_wait, !READ_ONCE(region->users)))
			err = -EINTR;
		mutex_lock(&ksm_lock);
	}
	return err;
}
