// SPDX-License-Identifier: GPL-2.0
/*
 * Unmerge: give processes their own copies of merged pages.
 *
 * At each address that maps a kernel page, the driver causes a fault that
 * copies the page (KSM_BREAK_FAULT in compat.h). A kernel page with a memory
 * error cannot be copied: its mapping is replaced by an entry that makes the
 * next access fail with SIGBUS.
 */
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/swapops.h>

#include "ksm.h"
#include "pte.h"

/**
 * ksm_unmap_poisoned - make access to a broken kernel page fail with SIGBUS
 * @mm: the mm
 * @addr: an address that may map a kernel page with an uncorrectable memory
 *	error
 *
 * memory_failure() cannot find the mappings of a kernel page. This function
 * does what memory_failure() does for other pages: it replaces the page-table
 * entry by a hwpoison entry, so that the next access raises SIGBUS and does not
 * read the page.
 *
 * Context: the mmap lock of @mm must be held, but no page-table lock. Must not
 * be called between pte_change_begin() and pte_change_end() of another range.
 * May sleep.
 * Return: false if the page stays mapped, because another thread has locked it:
 * try again later. Otherwise true.
 */
bool ksm_unmap_poisoned(struct mm_struct *mm, unsigned long addr)
{
	bool gone = true;
#ifdef CONFIG_MEMORY_FAILURE
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	struct mmu_notifier_range range;
	struct page *page = NULL;
	spinlock_t *ptl;
	pte_t *ptep;

	if (!vma || !ksm_vma_may_map_kpages(vma))
		return true;
	pte_change_begin(vma, addr, addr + PAGE_SIZE, &range);
	ptep = get_pte(mm, addr, &ptl);
	if (!ptep)
		goto end;
	if (pte_present(ptep_get(ptep)))
		page = vm_normal_page(vma, addr, ptep_get(ptep));
	/*
	 * The node may have been dropped already, so identify the page without
	 * it: in such a mapping, only a kernel page is neither anonymous nor in
	 * a file.
	 */
	if (!page || !PageHWPoison(page) || PageAnon(page) || page->mapping) {
		put_pte(ptep, ptl);
		goto end;
	}
	gone = trylock_page(page);
	if (!gone) {
		put_pte(ptep, ptl);
		goto end;
	}
	ptep_clear_flush_notify(vma, addr, ptep);
	set_pte_at(mm, addr, ptep, swp_entry_to_pte(make_hwpoison_entry(page)));
	dec_mm_counter(mm, MM_FILEPAGES);
	ksm_remove_rmap(page, vma);
	put_pte(ptep, ptl);
	unlock_page(page);
	put_page(page);
end:
	pte_change_end(&range);
#endif
	return gone;
}

/*
 * Take the mmap lock of a registered mm for reading. @force is set when a
 * descriptor is closed. No signal may end a wait then, so the function waits
 * only for the lock of the caller's own mm.
 *
 * Returns 0 on success; -EINTR if the caller was killed; -EBUSY if @force is
 * set and the lock of another process's mm is contended.
 */
static int read_lock_mm(struct mm_struct *mm, bool force)
{
	if (!force)
		return mmap_read_lock_killable(mm);
	if (mm != current->mm)
		return mmap_read_trylock(mm) ? 0 : -EBUSY;
	mmap_read_lock(mm);
	return 0;
}

/* The maximum number of pages unmerged before ksm_lock is retaken. */
#define UNMERGE_BATCH	32

/**
 * struct unmerge_job - a merged page that is to be unmerged
 * @item: the item of the page
 * @node: the node of @item, which may be freed: only compare it
 * @addr: the address of the page
 * @kpage: the kernel page of @node; the job holds a reference. NULL if @node
 *	had been dropped already: the page was freed or has a memory error
 * @mapped: whether @addr maps @kpage. If @kpage is NULL: whether @addr maps a
 *	page with a memory error, which may be that of @node
 * @err: the error if @addr still maps @kpage; otherwise 0
 */
struct unmerge_job {
	struct ksm_item *item;
	struct ksm_node *node;
	unsigned long addr;
	struct page *kpage;
	bool mapped;
	int err;
};

/*
 * Does an error end the unmerge loop? -EFAULT does not: if one page cannot be
 * copied, others still can. With @force, no error does.
 */
static bool ends(int err, bool force)
{
	return err && err != -EFAULT && !force;
}

/* Of two errors, returns the one that ends the loop, or else the first one. */
static int worse(int err, int other)
{
	return other && (!err || err == -EFAULT) ? other : err;
}

/* Does a page-table entry map the page of a job? See @mapped. */
static bool maps_page_of(const struct unmerge_job *job, pte_t pte)
{
	if (!pte_present(pte) || pte_special(pte))
		return false;
	return job->kpage ? pte_page(pte) == job->kpage : PageHWPoison(pte_page(pte));
}

/*
 * Set @mapped of jobs whose addresses are in one page table. @addr is the
 * address of one of the jobs. The caller holds the mmap lock and has found the
 * VMA of @addr, so the page table is not freed.
 */
static void check_mapped(struct mm_struct *mm, unsigned long addr, struct unmerge_job *jobs,
			 unsigned int nr)
{
	spinlock_t *ptl;
	pte_t *table = get_pte(mm, addr, &ptl), pte;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		jobs[i].mapped = false;
		if (!table)
			continue;
		pte = ptep_get(table - pte_index(addr) + pte_index(jobs[i].addr));
		jobs[i].mapped = maps_page_of(&jobs[i], pte);
	}
	if (table)
		put_pte(table, ptl);
}

/*
 * Cause a fault that gives the process its own copy of the page of a job. Unmap
 * the page instead if it has a memory error. Returns 0, or a negative error:
 * -EAGAIN if another thread has locked the page.
 */
static int break_cow(struct vm_area_struct *vma, struct unmerge_job *job)
{
	vm_fault_t fault;

	if (!job->kpage || PageHWPoison(job->kpage))
		return ksm_unmap_poisoned(vma->vm_mm, job->addr) ? 0 : -EAGAIN;
	fault = handle_mm_fault(vma, job->addr, KSM_BREAK_FAULT, NULL);
	if (fault & VM_FAULT_OOM)
		return -ENOMEM;
	return fault & VM_FAULT_ERROR ? -EFAULT : 0;
}

/*
 * Call break_cow() for jobs whose addresses are in one VMA. Stop early if a
 * fault fails, or if another thread waits for the mmap lock or the CPU. The
 * caller holds the mmap lock.
 *
 * A job is finished if it has failed, or if its address does not map the kernel
 * page any more. A fault can succeed without a copy, so this is checked again
 * after the faults. A job without a kernel page is finished after one attempt:
 * its address may map another page with a memory error, which
 * ksm_unmap_poisoned() leaves mapped. Returns the number of jobs before the
 * first one that is not finished.
 */
static unsigned int break_cow_batch(struct vm_area_struct *vma, struct unmerge_job *jobs,
				    unsigned int nr)
{
	unsigned int tried, i;
	int err;

	check_mapped(vma->vm_mm, jobs[0].addr, jobs, nr);
	for (tried = 0; tried < nr; tried++) {
		if (!jobs[tried].mapped)
			continue;
		err = break_cow(vma, &jobs[tried]);
		if (err == -EAGAIN)
			break;
		jobs[tried].err = err;
		if (err || need_resched() || mmap_lock_is_contended(vma->vm_mm)) {
			tried++;
			break;
		}
	}
	check_mapped(vma->vm_mm, jobs[0].addr, jobs, tried);
	for (i = 0; i < tried; i++)
		if (jobs[i].kpage && jobs[i].mapped && !jobs[i].err)
			break;
	return i;
}

/* Returns the number of jobs whose addresses are in @vma. */
static unsigned int jobs_in_vma(const struct vm_area_struct *vma, const struct unmerge_job *jobs,
				unsigned int nr)
{
	unsigned int i = 0;

	while (i < nr && jobs[i].addr < vma->vm_end)
		i++;
	return i;
}

/*
 * Let another thread make progress, also one of lower priority: it has locked a
 * page, or waits for the mmap lock.
 */
static void wait_for_other_thread(void)
{
	schedule_timeout_uninterruptible(1);
}

/*
 * Run all jobs of one page table. If a fault succeeds but the address still
 * maps the kernel page, drop the mmap lock and try again. While a userfaultfd
 * is being closed, faults make no progress until the closing thread has taken
 * that lock for writing. If an error ends the loop, set it as the result of all
 * remaining jobs.
 */
static void run_jobs(struct mm_struct *mm, struct unmerge_job *jobs, unsigned int nr, bool force)
{
	struct vm_area_struct *vma;
	unsigned int done = 0, run;
	int err = 0;

	/* An mm without users has no pages left to unmerge. */
	if (!mmget_not_zero(mm))
		return;
	while (done < nr && !ends(err, force)) {
		err = !force && signal_pending(current) ? -EINTR : read_lock_mm(mm, force);
		if (err)
			break;
		vma = vma_lookup(mm, jobs[done].addr);
		run = 1;
		if (vma)
			run = break_cow_batch(vma, jobs + done,
					      jobs_in_vma(vma, jobs + done, nr - done));
		mmap_read_unlock(mm);
		cond_resched();
		done += run;
		if (run)
			err = jobs[done - 1].err;
		else
			wait_for_other_thread();
	}
	for (; done < nr; done++)
		jobs[done].err = err;
	mmput_async(mm);
}

/*
 * Create jobs for merged pages of a chunk, beginning with item *@i. Advances
 * *@i, and returns the number of jobs.
 *
 * If the node of an item has been dropped, its page has usually been freed. But
 * a page with a memory error can still be mapped, so the item gets a job, too.
 */
static unsigned int collect_jobs(struct ksm_chunk *chunk, unsigned int *i,
				 struct unmerge_job *jobs)
{
	unsigned int nr = 0;

	for (; *i < KSM_CHUNK_PAGES && nr < UNMERGE_BATCH && chunk->merged; (*i)++) {
		struct ksm_item *item = ksm_chunk_item(chunk, *i);
		struct ksm_node *node;

		if (item->state != KSM_ITEM_MERGED)
			continue;
		node = item->node;
		if (node->pfn && !ksm_node_tryget(node)) {
			ksm_item_forget(item, KSM_BREAK_UNMAPPED);
			continue;
		}
		jobs[nr++] = (struct unmerge_job){
			.item = item,
			.node = node,
			.addr = ksm_item_addr(item),
			.kpage = node->pfn ? ksm_node_page(node) : NULL,
		};
	}
	return nr;
}

/* Record the result of a job. */
static void finish_job(struct unmerge_job *job)
{
	struct ksm_item *item = job->item;

	if (!job->err && item->state == KSM_ITEM_MERGED && item->node == job->node)
		ksm_item_forget(item, job->kpage ? KSM_BREAK_UNMERGED : KSM_BREAK_UNMAPPED);
	if (job->kpage)
		ksm_kpage_put(job->kpage);
}

/*
 * Unmerge the pages of a chunk. The caller makes sure that the chunk is not
 * freed. Drops and retakes ksm_lock. Returns 0, or an error: see worse().
 */
static int unmerge_chunk(struct ksm_chunk *chunk, bool force)
{
	struct unmerge_job jobs[UNMERGE_BATCH];
	unsigned int i = 0, job, nr;
	int err = 0;

	while (i < KSM_CHUNK_PAGES && chunk->merged && !ends(err, force)) {
		nr = collect_jobs(chunk, &i, jobs);
		mutex_unlock(&ksm_lock);
		run_jobs(chunk->region->mm, jobs, nr, force);
		mutex_lock(&ksm_lock);
		for (job = 0; job < nr; job++) {
			err = worse(err, jobs[job].err);
			finish_job(&jobs[job]);
		}
	}
	return err;
}

/**
 * ksm_undo_merge - unmerge a page whose merge saved no memory, if that is cheap
 * @mm: the mm
 * @addr: the address
 * @kpage: the kernel page; the caller holds a reference
 *
 * A scanner must neither wait for the mmap lock nor invoke the OOM killer. So
 * the function makes sure that a page is free. If another thread takes that
 * page first, PF_MEMALLOC (memalloc_noreclaim_save()) lets the fault use the
 * reserves of the page allocator and exceed the limit of the memory cgroup, by
 * one page. If that fails, the fault fails without the OOM killer.
 *
 * Context: a scanner, without ksm_lock. May sleep.
 * Return: true if @addr does not map @kpage any more.
 */
bool ksm_undo_merge(struct mm_struct *mm, unsigned long addr, struct page *kpage)
{
	struct unmerge_job job = { .addr = addr, .kpage = kpage };
	struct vm_area_struct *vma;
	unsigned int noreclaim;
	bool gone = false;
	int tries;

	if (!ksm_charge_reclaim(mm, PAGE_SIZE))
		return false;
	if (!mmget_not_zero(mm))
		return true;
	noreclaim = memalloc_noreclaim_save();
	for (tries = 0; tries < 2 && !gone && mmap_read_trylock(mm); tries++) {
		vma = vma_lookup(mm, addr);
		gone = !vma || (break_cow_batch(vma, &job, 1) && !job.err);
		mmap_read_unlock(mm);
	}
	memalloc_noreclaim_restore(noreclaim);
	mmput_async(mm);
	return gone;
}

/*
 * Find the next page of a region, at or after @addr, whose item may have to be
 * linked to a node. If there is one before the end of the page table, set @item
 * to its item, and walk->page to the page, with a reference.
 *
 * The caller does not hold ksm_lock, and continues at walk->next. Returns 0, or
 * a negative error.
 */
static int next_unlinked(struct ksm_region *region, unsigned long addr, bool force,
			 struct ksm_walk *walk, struct ksm_item **item)
{
	struct mm_struct *mm = region->mm;
	struct ksm_chunk *chunk = ksm_chunk_find(region, addr);
	bool locked;
	int err;

	*item = NULL;
	*walk = (struct ksm_walk){ .addr = addr, .next = region->end };
	if (!mmget_not_zero(mm))
		return 0;
	err = read_lock_mm(mm, force);
	if (err)
		goto put;
	if (chunk)
		addr = ksm_walk_linked(mm, chunk, addr, region->end);
	if (addr < region->end)
		ksm_walk_for_unmerge(mm, addr, region->end, walk);
	locked = walk->why == KSM_SKIP_HWPOISON && !ksm_unmap_poisoned(mm, walk->addr);
	mmap_read_unlock(mm);
	if (locked) {
		wait_for_other_thread();
		walk->next = walk->addr;
	}
	if (walk->page && !PageAnon(walk->page)) {
		*item = ksm_item_get(region, walk->addr);
		err = *item ? 0 : -ENOMEM;
	}
put:
	mmput_async(mm);
	return err;
}

/*
 * Link the items of a region to all kernel pages that the region maps. After
 * fork and mremap, some items are not linked yet. Drops and retakes ksm_lock.
 * Returns 0, or a negative error.
 */
static int sync_region(struct ksm_region *region, bool force)
{
	unsigned long addr = region->start;
	struct ksm_walk walk;
	struct ksm_item *item;
	int err = 0;

	while (addr < region->end && !err) {
		mutex_unlock(&ksm_lock);
		cond_resched();
		err = next_unlinked(region, addr, force, &walk, &item);
		if (!err && !force && signal_pending(current))
			err = -EINTR;
		mutex_lock(&ksm_lock);
		if (item)
			ksm_item_sync(item, walk.page);
		if (walk.page)
			put_page(walk.page);
		/*
		 * Continue if there is no memory for the item: the items of
		 * other merged pages may exist already.
		 */
		if (force && err == -ENOMEM)
			err = 0;
		addr = walk.next;
	}
	return err;
}

/**
 * ksm_unmerge_region - unmerge all pages of a region
 * @region: the region; the caller makes sure that no scanner is in it or enters
 *	it
 * @force: set if neither a signal nor a failed allocation may end the loop
 *
 * On return, the items of unmerged pages are KSM_ITEM_PLAIN. The items of pages
 * that are still merged stay linked to their nodes.
 *
 * Context: ksm_lock must be held. Drops and retakes it. May sleep.
 * Return: 0 on success; -EINTR, -ENOMEM or -EBUSY; or -EFAULT if a page cannot
 * be copied and there was no other error.
 */
int ksm_unmerge_region(struct ksm_region *region, bool force)
{
	int err = sync_region(region, force);
	struct ksm_chunk *chunk;
	unsigned long index;

	if (ends(err, force))
		return err;
	xa_for_each(&region->chunks, index, chunk) {
		err = worse(err, unmerge_chunk(chunk, force));
		if (ends(err, force))
			break;
		ksm_lock_relax();
	}
	return err;
}

/**
 * ksm_unmerge_all - unmerge all pages of all regions
 *
 * Context: takes ksm_lock. May sleep. All scanners have stopped, and the caller
 * holds ksm_run_lock so that they stay stopped.
 * Return: 0 on success. On failure, some pages are still merged: -EINTR;
 * -ENOMEM; or -EFAULT if a page cannot be copied (see ksm_area_remove()).
 */
int ksm_unmerge_all(void)
{
	struct list_head *pos, *next;
	struct ksm_region *region;
	int err = 0;

	mutex_lock(&ksm_lock);
	for (pos = ksm_regions.next; pos != &ksm_regions && !ends(err, false); pos = next) {
		region = list_entry(pos, struct ksm_region, in_scan);
		next = pos->next;
		/* The thread that removes the region resets its items. */
		if (region->freeing)
			continue;
		/* Keep the region from being freed. */
		region->users++;
		ksm_region_set_unmerging(region, true);
		err = worse(err, ksm_unmerge_region(region, false));
		ksm_region_set_unmerging(region, false);
		next = pos->next;
		ksm_region_put(region);
	}
	mutex_unlock(&ksm_lock);
	return err;
}
