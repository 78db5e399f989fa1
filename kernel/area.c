// SPDX-License-Identifier: GPL-2.0
/*
 * Areas and regions: registration, removal, and lifetime.
 *
 * An area belongs to a file descriptor, a region to the mm that registered it.
 * The region pins the mm_struct (mm_count), not the memory (mm_users). So a
 * descriptor that stays open after exec, or in another process, does not keep
 * the memory allocated: when the mm dies, all its memory is freed at once,
 * kernel pages included. reap.c frees the region later.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "ksm.h"

DEFINE_MUTEX(ksm_lock);
LIST_HEAD(ksm_regions);
struct ksm_counters ksm_counters;

/* Threads that wait until a region has no users. */
static DECLARE_WAIT_QUEUE_HEAD(unused);

/* Regions examined before ksm_lock is dropped. */
#define REGIONS_PER_HOLD	256

/* All regions, by mm and then by address. Those of one mm do not overlap. */
static struct rb_root by_address = RB_ROOT;

static bool region_before(struct rb_node *a, const struct rb_node *b)
{
	struct ksm_region *one = rb_entry(a, struct ksm_region, by_address);
	struct ksm_region *other = rb_entry(b, struct ksm_region, by_address);

	return one->mm < other->mm || (one->mm == other->mm && one->start < other->start);
}

static bool overlaps(struct mm_struct *mm, unsigned long start, unsigned long end)
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

/*
 * Free a region that has no users and is marked "leaving". Pages that are still
 * merged stay merged: they are read-only mappings of a page that no process can
 * write. The caller holds area->lock and ksm_lock. Drops and retakes ksm_lock.
 */
static void region_free(struct ksm_region *region)
{
	region->freeing = true;
	ksm_pass_leave(region);
	ksm_items_forget(region, region->start, region->end, KSM_BREAK_UNMAPPED);
	xa_destroy(&region->chunks);
	list_del(&region->in_area);
	list_del(&region->in_scan);
	rb_erase(&region->by_address, &by_address);
	region->area->nr_regions--;
	mmdrop(region->mm);
	kfree(region);
}

/* Is the mm of a region dead, and does no thread use the region? */
static bool is_dead(const struct ksm_region *region)
{
	return !region->users && !region->leaving && !atomic_read(&region->mm->mm_users);
}

/**
 * ksm_region_put - drop one count of the users of a region
 * @region: the region; if this was its last user and its mm is dead, reap.c
 *	frees it
 *
 * Context: ksm_lock must be held.
 */
void ksm_region_put(struct ksm_region *region)
{
	WRITE_ONCE(region->users, region->users - 1);
	if (region->users)
		return;
	if (region->leaving)
		wake_up_all(&unused);
	else if (!atomic_read(&region->mm->mm_users))
		ksm_reap_now();
}

/*
 * Wait until a region has no users. The caller has marked it "leaving", so no
 * other thread frees it. Drops and retakes ksm_lock. Returns 0, or -EINTR if
 * the caller was killed and @force is not set.
 */
static int wait_for_users(struct ksm_region *region, bool force)
{
	int err = 0;

	while (region->users && !err) {
		mutex_unlock(&ksm_lock);
		if (force)
			wait_event(unused, !READ_ONCE(region->users));
		else if (wait_event_killable(unused, !READ_ONCE(region->users)))
			err = -EINTR;
		mutex_lock(&ksm_lock);
	}
	return err;
}

/*
 * Free the regions of dead processes, which must not count against the limit of
 * an area. Drops and retakes ksm_lock.
 */
static void area_reap(struct ksm_area *area)
{
	struct ksm_region *region, *tmp;

	list_for_each_entry_safe(region, tmp, &area->regions, in_area) {
		if (!is_dead(region))
			continue;
		region->leaving = true;
		region_free(region);
	}
}

/*
 * Free a region of a dead process, and return the list position of the next
 * one. ksm_lock is dropped and retaken. Meanwhile the next region cannot be
 * freed, because this function counts as a user of it.
 */
static struct list_head *region_reap(struct ksm_region *region)
{
	struct ksm_area *area = region->area;
	struct list_head *next = region->in_scan.next;
	struct ksm_region *kept = next == &ksm_regions ? NULL :
				  list_entry(next, struct ksm_region, in_scan);

	/* Another thread registers or removes regions: reap in a later call. */
	if (!mutex_trylock(&area->lock))
		return next;
	if (kept)
		kept->users++;
	region->leaving = true;
	region_free(region);
	/* Unlock first: once ksm_lock is dropped, the area may be freed. */
	mutex_unlock(&area->lock);
	if (kept)
		ksm_region_put(kept);
	return next;
}

/**
 * ksm_regions_reap - free the regions of processes that have ended
 *
 * Context: takes ksm_lock, and drops it every REGIONS_PER_HOLD regions. May
 * sleep.
 */
void ksm_regions_reap(void)
{
	struct list_head *pos, *next;
	struct ksm_region *region;
	unsigned int nr = 0;

	mutex_lock(&ksm_lock);
	for (pos = ksm_regions.next; pos != &ksm_regions; pos = next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		if (is_dead(region)) {
			next = region_reap(region);
			continue;
		}
		if (++nr % REGIONS_PER_HOLD == 0) {
			/* While the region has a user, it stays in the list. */
			region->users++;
			mutex_unlock(&ksm_lock);
			cond_resched();
			mutex_lock(&ksm_lock);
			ksm_region_put(region);
		}
		next = pos->next;
	}
	mutex_unlock(&ksm_lock);
}

/**
 * ksm_area_register - register a range of the caller's memory
 * @area: the area
 * @addr: the address of the first byte, aligned to a page
 * @npages: the number of pages
 *
 * On failure nothing has changed.
 *
 * Context: takes area->lock and ksm_lock. May sleep.
 * Return: 0 on success; -EINVAL if @npages is 0 or @addr is not aligned;
 * -ERANGE if the range wraps around or is not in the address space; -EEXIST if
 * it overlaps a region of the same mm, in any area; -ENOSPC if the area is
 * full; -ENOMEM if an allocation failed; -EINTR if the caller was killed.
 */
int ksm_area_register(struct ksm_area *area, unsigned long addr, unsigned long npages)
{
	unsigned long len = npages * PAGE_SIZE;
	struct ksm_region *region;
	int err;

	if (!npages || !PAGE_ALIGNED(addr))
		return -EINVAL;
	if (addr + len < addr || addr + len > TASK_SIZE)
		return -ERANGE;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->area = area;
	region->mm = current->mm;
	region->start = addr;
	region->end = addr + len;
	xa_init_flags(&region->chunks, XA_FLAGS_ACCOUNT);

	if (mutex_lock_killable(&area->lock)) {
		kfree(region);
		return -EINTR;
	}
	mutex_lock(&ksm_lock);
	if (area->nr_regions == KSM_MAX_REGIONS)
		area_reap(area);
	err = -EEXIST;
	if (overlaps(current->mm, region->start, region->end))
		goto unlock;
	err = -ENOSPC;
	if (area->nr_regions == KSM_MAX_REGIONS)
		goto unlock;
	err = 0;
	mmgrab(region->mm);
	list_add_tail(&region->in_area, &area->regions);
	list_add_tail(&region->in_scan, &ksm_regions);
	rb_add(&region->by_address, &by_address, region_before);
	area->nr_regions++;
	ksm_seen_fresh = true;
unlock:
	mutex_unlock(&ksm_lock);
	mutex_unlock(&area->lock);
	if (err) {
		kfree(region);
		return err;
	}
	ksm_scan_wake();
	ksm_reap_start();
	return 0;
}

/*
 * Find the first page of a region at or after @addr. If it may be a kernel
 * page, set @item to its item. The caller does not hold ksm_lock. Returns 0, or
 * a negative error.
 */
static int next_page(struct ksm_region *region, unsigned long addr, bool force,
		     struct ksm_spot *spot, struct ksm_item **item)
{
	struct mm_struct *mm = region->mm;
	int err;

	*item = NULL;
	*spot = (struct ksm_spot){ .addr = addr, .next = region->end };
	if (!mmget_not_zero(mm))
		return 0;
	err = ksm_mmap_read_lock(mm, force);
	if (err)
		goto put;
	ksm_look(mm, addr, region->end, spot);
	if (spot->why == KSM_SKIP_HWPOISON)
		ksm_unmap_poisoned(mm, spot->addr);
	mmap_read_unlock(mm);
	if (spot->page && !PageAnon(spot->page)) {
		*item = ksm_item_get(region, spot->addr);
		err = *item ? 0 : -ENOMEM;
	}
put:
	mmput_async(mm);
	return err;
}

/*
 * Resync all items of a region with its page tables, because fork and mremap
 * may have mapped kernel pages to which no item is linked. Drops and retakes
 * ksm_lock. Returns 0, or a negative error.
 */
static int adopt_all(struct ksm_region *region, bool force)
{
	unsigned long addr = region->start;
	struct ksm_spot spot;
	struct ksm_item *item;
	int err = 0;

	while (addr < region->end && !err) {
		mutex_unlock(&ksm_lock);
		cond_resched();
		err = next_page(region, addr, force, &spot, &item);
		if (!err && !force && signal_pending(current))
			err = -EINTR;
		mutex_lock(&ksm_lock);
		if (item)
			ksm_node_adopt(item, spot.page);
		if (spot.page)
			put_page(spot.page);
		/*
		 * Without memory for this item, go on: the items of other
		 * merged pages may exist already.
		 */
		if (force && err == -ENOMEM)
			err = 0;
		addr = spot.next;
	}
	return err;
}

/*
 * Unmerge the pages of a chunk. Drops and retakes ksm_lock. Returns the first
 * error.
 */
static int unmerge_chunk(struct ksm_chunk *chunk, bool force)
{
	int first = 0, i, err;

	for (i = 0; i < KSM_CHUNK_PAGES && chunk->merged; i++) {
		struct ksm_item *item = ksm_chunk_item(chunk, i);

		if (item->state != KSM_ITEM_MERGED)
			continue;
		if (!force && signal_pending(current))
			return -EINTR;
		err = ksm_unmerge(item, force);
		first = first ?: err;
		if (err && err != -EFAULT && !force)
			break;
	}
	return first;
}

/*
 * Does an error end the unmerging? -EFAULT does not: one page that cannot be
 * copied says nothing about the others.
 */
static bool ends(int err, bool force)
{
	return err && err != -EFAULT && !force;
}

/*
 * Unmerge all pages of a region. A signal or a failed allocation ends the loop,
 * unless @force is set. On return the items of unmerged pages are
 * KSM_ITEM_PLAIN, and all others are still linked to their nodes. The caller
 * makes sure that no scanner is in the region or enters it. ksm_lock is dropped
 * and retaken. Returns 0, or the first error.
 */
static int unmerge_region(struct ksm_region *region, bool force)
{
	int first = adopt_all(region, force), err;
	struct ksm_chunk *chunk;
	unsigned long index;

	if (ends(first, force))
		return first;
	xa_for_each(&region->chunks, index, chunk) {
		err = unmerge_chunk(chunk, force);
		first = first ?: err;
		if (ends(err, force))
			break;
		mutex_unlock(&ksm_lock);
		cond_resched();
		mutex_lock(&ksm_lock);
	}
	return first;
}

/*
 * Remove all regions of an area. With @force, neither an error nor a signal
 * ends the loop: pages that cannot be unmerged stay merged, and the driver no
 * longer tracks them.
 */
static int remove_all(struct ksm_area *area, bool force)
{
	struct ksm_region *region;
	int err = 0;

	if (force)
		mutex_lock(&area->lock);
	else if (mutex_lock_killable(&area->lock))
		return -EINTR;
	mutex_lock(&ksm_lock);
	while (!list_empty(&area->regions)) {
		region = list_first_entry(&area->regions, struct ksm_region, in_area);
		region->leaving = true;
		ksm_pass_leave(region);
		err = wait_for_users(region, force) ?: unmerge_region(region, force);
		/*
		 * A writer of run=2, or reap.c, may have become a user
		 * meanwhile.
		 */
		err = err ?: wait_for_users(region, force);
		if (err && !force) {
			region->leaving = false;
			break;
		}
		wait_for_users(region, true);
		region_free(region);
	}
	mutex_unlock(&ksm_lock);
	mutex_unlock(&area->lock);
	ksm_scan_wake();
	return err;
}

/**
 * ksm_area_remove - remove all regions of an area
 * @area: the area
 *
 * On failure the remaining regions stay registered.
 *
 * Context: takes area->lock and ksm_lock. May sleep.
 * Return: 0 on success; -EINTR if a signal is pending; -ENOMEM if an allocation
 * failed; -EFAULT if a page cannot be copied, because it has a memory error or
 * because userfaultfd handles its faults.
 */
int ksm_area_remove(struct ksm_area *area)
{
	return remove_all(area, false);
}

/**
 * ksm_area_release - free an area whose last descriptor has been closed
 * @area: the area
 *
 * Context: takes area->lock and ksm_lock. May sleep.
 */
void ksm_area_release(struct ksm_area *area)
{
	remove_all(area, true);
	kfree(area);
}

/**
 * ksm_unmerge_all - unmerge all pages of all regions
 *
 * Context: takes ksm_lock. May sleep. All scanners have stopped, and the caller
 * holds ksm_run_lock so that they stay stopped.
 * Return: 0 on success; -EINTR or -ENOMEM if some pages are still merged;
 * -EFAULT if all pages are unmerged except those that cannot be copied (see
 * ksm_area_remove()).
 */
int ksm_unmerge_all(void)
{
	struct list_head *pos, *next;
	struct ksm_region *region;
	int first = 0, err = 0;

	mutex_lock(&ksm_lock);
	for (pos = ksm_regions.next; pos != &ksm_regions && !ends(err, false); pos = next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		next = pos->next;
		/* Its pages have been unmerged already. */
		if (region->freeing)
			continue;
		/* As a user, this loop keeps the region from being freed. */
		region->users++;
		err = unmerge_region(region, false);
		first = first ?: err;
		next = pos->next;
		ksm_region_put(region);
	}
	mutex_unlock(&ksm_lock);
	return first;
}
