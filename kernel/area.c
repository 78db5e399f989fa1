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

#include "ksm.h"

/* Regions examined before ksm_lock is dropped. */
#define REGIONS_PER_HOLD	256

/* Take a region out of its area. The caller holds area->lock and ksm_lock. */
static void leave_area(struct ksm_region *region)
{
	list_del(&region->in_area);
	region->area->nr_regions--;
	region->area = NULL;
}

/*
 * Free a region that has no users. It is marked "leaving", so no scanner
 * becomes a user again; "freeing" keeps out writers of run=2. Pages that are
 * still merged stay merged: they are read-only mappings of a page that no
 * process can write. The caller holds ksm_lock and, if the region is still in
 * an area, area->lock. Drops and retakes ksm_lock.
 */
static void region_free(struct ksm_region *region)
{
	region->freeing = true;
	ksm_pass_drop_region(region);
	ksm_items_forget(region, region->start, region->end, KSM_BREAK_UNMAPPED);
	if (region->area)
		leave_area(region);
	ksm_region_erase(region);
	/* Memory is freed without ksm_lock: see chunk_free(). */
	mutex_unlock(&ksm_lock);
	xa_destroy(&region->chunks);
	mmdrop(region->mm);
	kfree(region);
	cond_resched();
	mutex_lock(&ksm_lock);
}

/*
 * May the reaper free a region? It may if no other thread uses the region or
 * removes it, and the mm is dead or the area has been closed.
 */
static bool is_dead(const struct ksm_region *region)
{
	if (region->users || region->freeing)
		return false;
	return !region->area || (!region->leaving && !atomic_read(&region->mm->mm_users));
}

/*
 * Free the regions of dead processes, which must not count against the limit of
 * an area. Drops and retakes ksm_lock.
 */
static void area_reap(struct ksm_area *area)
{
	struct ksm_region *region, *tmp;

	/* The caller holds area->lock, so no other thread changes this list. */
	list_for_each_entry_safe(region, tmp, &area->regions, in_area) {
		if (!is_dead(region))
			continue;
		region->leaving = true;
		region_free(region);
	}
}

/*
 * Free a region for which is_dead() is true. If the region is in an area, the
 * caller holds area->lock, which is dropped first: a process that shares the
 * area can wait for that lock in close(). ksm_lock is dropped and retaken.
 */
static void region_reap(struct ksm_region *region)
{
	struct ksm_area *area = region->area;

	region->leaving = true;
	if (area) {
		leave_area(region);
		mutex_unlock(&area->lock);
	}
	region_free(region);
}

/**
 * ksm_regions_reap - free the regions of processes that have ended, and those
 * that remove_all() has left to the reaper
 *
 * Context: takes ksm_lock, and drops it every REGIONS_PER_HOLD regions. One
 * thread at a time: the work of reap.c, or ksm_reap_exit() after it. May sleep.
 */
void ksm_regions_reap(void)
{
	struct ksm_region *region;
	unsigned int nr = 0;

	mutex_lock(&ksm_lock);
	for (region = ksm_region_reap_first(); region; region = ksm_region_reap_next()) {
		/*
		 * If another thread registers or removes regions of this area,
		 * a later call frees the region.
		 */
		if (is_dead(region) &&
		    (!region->area || mutex_trylock(&region->area->lock)))
			region_reap(region);
		else if (++nr % REGIONS_PER_HOLD == 0)
			ksm_lock_relax();
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
	if (ksm_region_overlaps(current->mm, region->start, region->end))
		goto unlock;
	err = -ENOSPC;
	if (area->nr_regions == KSM_MAX_REGIONS)
		goto unlock;
	err = 0;
	mmgrab(region->mm);
	list_add_tail(&region->in_area, &area->regions);
	ksm_region_insert(region);
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
 * Remove all regions of an area. With @force, neither an error nor a signal
 * ends the loop: pages that cannot be unmerged stay merged, and the driver no
 * longer tracks them. With @force, the loop also does not wait for a writer of
 * run=2 that uses a region of another process, because the writer may wait for
 * the mmap lock of that process. It leaves such a region to the reaper.
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
		ksm_pass_drop_region(region);
		err = ksm_region_wait(region, force) ?: ksm_unmerge_region(region, force);
		/* A writer of run=2 may have become a user meanwhile. */
		if (!err || force)
			err = ksm_region_wait(region, force);
		if (!err) {
			region_free(region);
		} else if (force) {
			leave_area(region);
		} else {
			region->leaving = false;
			break;
		}
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

