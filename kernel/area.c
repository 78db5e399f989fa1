// SPDX-License-Identifier: GPL-2.0
/*
 * Areas, their regions, and how long an mm is held.
 *
 * An area belongs to a descriptor, a region to the mm that registered it. The
 * region holds the mm_struct (mm_count), not the memory (mm_users). So a descriptor
 * that is open after exec or in another process does not keep the mm mapped. When
 * the mm dies, the next scanner to step into the region notices, and the last one
 * to leave it frees it. Until then the region's metadata and the kernel pages of
 * its merged pages stay allocated, though no process maps them.
 */
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "ksm.h"

DEFINE_MUTEX(ksm_lock);
LIST_HEAD(ksm_regions);
struct ksm_counters ksm_counters;

/* Who waits for a region to have no users. */
static DECLARE_WAIT_QUEUE_HEAD(unused);

/* Looks between two offers to let others run. */
#define LOOKS_PER_HOLD	256

static bool overlaps(struct mm_struct *mm, unsigned long start, unsigned long end)
{
	struct ksm_region *region;

	list_for_each_entry(region, &ksm_regions, in_scan)
		if (region->mm == mm && region->start < end && start < region->end)
			return true;
	return false;
}

/*
 * Forget a region that has no users. Pages of it that are merged stay so, as
 * ordinary read-only mappings of a page that nobody will ever write.
 */
static void region_free(struct ksm_region *region)
{
	ksm_pass_leave(region);
	ksm_items_forget(region, region->start, region->end, KSM_BREAK_UNMAPPED);
	xa_destroy(&region->chunks);
	list_del(&region->in_area);
	list_del(&region->in_scan);
	region->area->nr_regions--;
	mmdrop(region->mm);
	kfree(region);
}

/**
 * ksm_region_put - a user of a region is done with it
 * @region: the region; ksm_lock is held. The last user of one whose mm is gone frees
 *	it, unless it is being removed, and then whoever does that goes on.
 */
void ksm_region_put(struct ksm_region *region)
{
	WRITE_ONCE(region->users, region->users - 1);
	if (region->users)
		return;
	if (region->leaving)
		wake_up_all(&unused);
	else if (!atomic_read(&region->mm->mm_users))
		region_free(region);
}

/* Nobody but the caller frees it, since it is leaving. Lets go of ksm_lock. */
static void wait_for_users(struct ksm_region *region)
{
	while (region->users) {
		mutex_unlock(&ksm_lock);
		wait_event(unused, !READ_ONCE(region->users));
		mutex_lock(&ksm_lock);
	}
}

/* Regions of mms that are gone must not count against a full area. */
static void reap(struct ksm_area *area)
{
	struct ksm_region *region, *tmp;

	list_for_each_entry_safe(region, tmp, &area->regions, in_area)
		if (!region->users && !atomic_read(&region->mm->mm_users))
			region_free(region);
}

/**
 * ksm_area_register - take up a range of the caller's memory
 * @area: the area
 * @addr: the first byte, aligned to a page
 * @npages: how many pages
 *
 * Return: 0; or, with nothing changed, -EINVAL (no pages, or not aligned),
 * -ERANGE (the range wraps around, or leaves the address space), -EEXIST (it
 * overlaps a region of the same mm, in whichever area), -ENOSPC (the area is
 * full), -ENOMEM.
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
	xa_init(&region->chunks);

	mutex_lock(&area->lock);
	mutex_lock(&ksm_lock);
	err = -EEXIST;
	if (overlaps(current->mm, region->start, region->end))
		goto unlock;
	if (area->nr_regions == KSM_MAX_REGIONS)
		reap(area);
	err = -ENOSPC;
	if (area->nr_regions == KSM_MAX_REGIONS)
		goto unlock;
	err = 0;
	mmgrab(region->mm);
	list_add_tail(&region->in_area, &area->regions);
	list_add_tail(&region->in_scan, &ksm_regions);
	area->nr_regions++;
	ksm_seen_fresh = true;
unlock:
	mutex_unlock(&ksm_lock);
	mutex_unlock(&area->lock);
	if (err)
		kfree(region);
	else
		ksm_scan_wake();
	return err;
}

/* Fork and mremap may have brought merged pages here that no item knows of. */
static int adopt_all(struct ksm_region *region, bool force)
{
	unsigned long addr = region->start;
	struct ksm_spot spot;
	int looks = 0, err = 0;

	while (addr < region->end) {
		struct ksm_item *item;

		if (!force && signal_pending(current))
			return -EINTR;
		if (!mmget_not_zero(region->mm))
			break;
		mmap_read_lock(region->mm);
		ksm_look(region->mm, addr, region->end, &spot);
		mmap_read_unlock(region->mm);
		mmput_async(region->mm);
		addr = spot.next;
		if (spot.page) {
			if (!PageAnon(spot.page)) {
				item = ksm_item_get(region, spot.addr);
				if (item)
					ksm_node_adopt(item, spot.page);
				else
					err = -ENOMEM;
			}
			put_page(spot.page);
		}
		if (err && !force)
			break;
		if (++looks % LOOKS_PER_HOLD)
			continue;
		mutex_unlock(&ksm_lock);
		cond_resched();
		mutex_lock(&ksm_lock);
	}
	return err;
}

static int unmerge_chunk(struct ksm_chunk *chunk, bool force)
{
	int first = 0, i, err;

	for (i = 0; i < KSM_CHUNK_PAGES && chunk->merged; i++) {
		struct ksm_item *item = ksm_chunk_item(chunk, i);

		if (item->state != KSM_ITEM_MERGED)
			continue;
		if (!force && signal_pending(current))
			return -EINTR;
		err = ksm_unmerge(item);
		first = first ?: err;
		if (err == -ENOMEM && !force)
			break;
		cond_resched();
	}
	return first;
}

/* Is there no use in going on? One page that cannot be copied says nothing about the others. */
static bool ends(int err, bool force)
{
	return err && err != -EFAULT && !force;
}

/*
 * Give every page of a region its own copy. A signal ends it, and so does a want of
 * memory, but with @force nothing does: what could be unmerged is counted as
 * unmerged, all else as merged. Returns the first error. No scanner is in the
 * region, nor comes into it. Lets go of ksm_lock in between.
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
 * Remove all regions of an area. With @force an error ends nothing, not even a
 * signal: what cannot be unmerged stays merged, and is forgotten.
 */
static int remove_all(struct ksm_area *area, bool force)
{
	struct ksm_region *region;
	int err = 0;

	mutex_lock(&area->lock);
	mutex_lock(&ksm_lock);
	while (!list_empty(&area->regions)) {
		region = list_first_entry(&area->regions, struct ksm_region, in_area);
		region->leaving = true;
		ksm_pass_leave(region);
		wait_for_users(region);
		err = unmerge_region(region, force);
		if (err && !force) {
			region->leaving = false;
			break;
		}
		/* Whoever unmerges everything may have come by. */
		wait_for_users(region);
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
 * Return: 0; -EINTR, -ENOMEM, or -EFAULT (a page cannot be copied, since its memory
 * is broken or userfaultfd is in the way), and the regions that are left are
 * registered as before.
 */
int ksm_area_remove(struct ksm_area *area)
{
	return remove_all(area, false);
}

/**
 * ksm_area_release - the last descriptor of an area is closed
 * @area: the area, freed here
 */
void ksm_area_release(struct ksm_area *area)
{
	remove_all(area, true);
	kfree(area);
}

/**
 * ksm_unmerge_all - give every page of every region its own copy
 *
 * The scanners have been told to stop, have come back, and stay so meanwhile.
 *
 * Return: 0; -EINTR or -ENOMEM, with the rest still merged; -EFAULT when all is
 * unmerged but pages that cannot be copied (see ksm_area_remove()).
 */
int ksm_unmerge_all(void)
{
	struct list_head *pos, *next;
	struct ksm_region *region;
	int first = 0, err = 0;

	mutex_lock(&ksm_lock);
	for (pos = ksm_regions.next; pos != &ksm_regions && !ends(err, false); pos = next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		/* Nobody frees it before ksm_region_put(). */
		region->users++;
		err = unmerge_region(region, false);
		first = first ?: err;
		next = pos->next;
		ksm_region_put(region);
	}
	mutex_unlock(&ksm_lock);
	return first;
}
