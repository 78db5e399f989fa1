// SPDX-License-Identifier: GPL-2.0
/*
 * Merge: replace equal anonymous pages by one kernel page.
 *
 * mm/ksm.c turns one of the equal pages into the KSM page. This driver instead
 * allocates a kernel page, which no process can write, and replaces every equal
 * page by it. Each replacement is independent of the others: the driver first
 * makes sure that no process can write the old page, and then compares it with
 * the kernel page. With index=hash, the first page that a new kernel page
 * replaces is copied instead. The expensive steps, locking and the TLB flush,
 * are done once for several pages that are close to each other
 * (WRPROTECT_MAX_PAGES).
 */
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "ksm.h"
#include "pte.h"
#include "trace.h"

/*
 * Isolate the page of a job: check that it may be merged, lock it, and take a
 * reference. The caller holds the page-table lock. Returns KSM_SKIP_NONE on
 * success.
 *
 * The kernel's own KSM turns a page into a KSM page under the page lock, but
 * not under the page-table lock. So it can do so between PageKsm() and
 * trylock_page(). That does no harm: the page is still anonymous, and its
 * mappings and references are counted as before.
 */
static enum ksm_skip isolate(struct vm_area_struct *vma, pte_t *ptep, struct ksm_job *job)
{
	pte_t pte = ptep_get(ptep);
	struct page *page = NULL;

	if (pte_present(pte))
		page = vm_normal_page(vma, job->addr, pte);
	if (!page || !PageAnon(page))
		return KSM_SKIP_CHANGED;
	if (PageKsm(page))
		return KSM_SKIP_KERNEL_KSM;
	if (PageCompound(page))
		return KSM_SKIP_THP_SPLIT;
	if (PageHWPoison(page))
		return KSM_SKIP_HWPOISON;
	if (!trylock_page(page))
		return KSM_SKIP_BUSY;
	get_page(page);
	job->page = page;
	return KSM_SKIP_NONE;
}

/*
 * Compare the page of a job with its kernel page, or copy it if the kernel page
 * has no content yet. No process can write the page. Returns KSM_SKIP_NONE if
 * the kernel page can replace it.
 */
static enum ksm_skip match(struct ksm_job *job)
{
	struct page *kpage = job->kpage;

	if (PageHWPoison(kpage))
		return KSM_SKIP_HWPOISON;
	if (!PageUptodate(kpage)) {
		/* The scanner that allocated it has not filled it yet. */
		if (job->kind == KSM_STABLE)
			return KSM_SKIP_BUSY;
		return ksm_kpage_fill(kpage, job->hash, job->page) ? KSM_SKIP_NONE
								   : KSM_SKIP_CHANGED;
	}
	if (ksm_pages_equal(job->page, kpage))
		return KSM_SKIP_NONE;
	/*
	 * The node's hash may have changed: ksm_node_collided() checks again.
	 */
	job->collided = ksm_index_ops->hashes && ksm_page_sample(job->page) == job->hash;
	return KSM_SKIP_CHANGED;
}

/*
 * Replace the page of a job after page_wrprotect(), or leave it mapped as
 * before. Returns KSM_SKIP_NONE if the page was replaced.
 */
static enum ksm_skip replace(struct vm_area_struct *vma, const struct pte_change *change,
			     struct ksm_job *job)
{
	enum ksm_skip why;

	if (change->err)
		return KSM_SKIP_PINNED;
	why = match(job);
	if (why)
		restore_pte(vma, change);
	else if (replace_page(vma, change, job->kpage))
		why = KSM_SKIP_PINNED;
	return why;
}

/*
 * Undo isolate(). release_pages() takes the LRU lock once; put_page() would
 * take it for each page that is freed.
 */
static noinline_for_stack void release(const struct pte_change *changes, unsigned int nr)
{
	struct page *pages[WRPROTECT_MAX_PAGES];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		pages[i] = changes[i].page;
		unlock_page(pages[i]);
	}
	release_pages(pages, nr);
}

/*
 * Replace the pages of jobs that one page_wrprotect() can include. The caller
 * holds the mmap lock.
 */
static void replace_pages(struct vm_area_struct *vma, struct ksm_job *jobs, unsigned int nr)
{
	unsigned long start = jobs[0].addr, end = jobs[nr - 1].addr + PAGE_SIZE;
	struct ksm_job *job, *isolated[WRPROTECT_MAX_PAGES];
	struct pte_change changes[WRPROTECT_MAX_PAGES];
	struct mmu_notifier_range range;
	unsigned int i, n = 0;
	pte_t *first, *ptep;
	spinlock_t *ptl;

	pte_change_begin(vma, start, end, &range);
	first = get_pte(vma->vm_mm, start, &ptl);
	for (job = jobs; job < jobs + nr; job++) {
		ptep = first + (job->addr - start) / PAGE_SIZE;
		/*
		 * No page table: the address is in a huge page or in a hole.
		 * For THP_SPLIT, merge_run() calls split(), which finds out.
		 */
		job->why = first ? isolate(vma, ptep, job) : KSM_SKIP_THP_SPLIT;
		if (job->why)
			continue;
		changes[n] = (struct pte_change){
			.addr = job->addr,
			.ptep = ptep,
			.page = job->page,
		};
		isolated[n++] = job;
	}
	if (n)
		page_wrprotect(vma, changes, n);
	for (i = 0; i < n; i++)
		isolated[i]->why = replace(vma, &changes[i], isolated[i]);
	if (first)
		put_pte(first, ptl);
	pte_change_end(&range);
	release(changes, n);
}

/* Does an entry map a part of @huge, or the zero page if @huge is NULL? */
static bool entry_maps(struct vm_area_struct *vma, unsigned long addr, pte_t pte, struct page *huge)
{
	struct page *page;

	if (!pte_present(pte))
		return false;
	if (!huge)
		return is_zero_pfn(pte_pfn(pte));
	page = vm_normal_page(vma, addr, pte);
	return page && compound_head(page) == huge;
}

/*
 * Set a bit in @found for each item of a chunk whose address maps a part of
 * @huge; if @huge is NULL, for each item whose address maps the zero page. The
 * caller holds the mmap lock.
 */
static void find_items(const struct ksm_chunk *chunk, struct page *huge, unsigned long *found)
{
	unsigned long addr = max(chunk->start, chunk->region->start), end, i;
	unsigned long last = min(chunk->start + PMD_SIZE, chunk->region->end);
	struct mm_struct *mm = chunk->region->mm;
	struct vm_area_struct *vma;
	pte_t *first, *ptep;
	spinlock_t *ptl;

	bitmap_zero(found, KSM_CHUNK_PAGES);
	for (vma = find_vma(mm, addr); vma && vma->vm_start < last;
	     vma = find_vma(mm, vma->vm_end)) {
		addr = max(addr, vma->vm_start);
		end = min(last, vma->vm_end);
		if (ksm_vma_refuses(vma))
			continue;
		i = (addr - chunk->start) / PAGE_SIZE;
		first = get_pte(mm, addr, &ptl);
		if (!first) {
			/*
			 * There is no page table: one entry maps the huge page.
			 */
			if (huge)
				bitmap_set(found, i, (end - addr) / PAGE_SIZE);
			continue;
		}
		for (ptep = first; addr < end; ptep++, addr += PAGE_SIZE, i++)
			if (entry_maps(vma, addr, ptep_get(ptep), huge))
				__set_bit(i, found);
		put_pte(first, ptl);
	}
}

/*
 * Split a huge page, which is locked. Since 6.12 the split maps the zero page
 * in place of parts that contain only zeros, and frees these parts. Their items
 * are marked, so that ksm_chunk_count_zeroed() counts them. Returns true on
 * success.
 */
static bool split_and_mark(struct ksm_chunk *chunk, struct page *page)
{
	DECLARE_BITMAP(zeroed, KSM_CHUNK_PAGES);
	DECLARE_BITMAP(parts, KSM_CHUNK_PAGES);
	unsigned long i;

	find_items(chunk, compound_head(page), parts);
	if (split_huge_page(page))
		return false;
	find_items(chunk, NULL, zeroed);
	for_each_set_bit(i, zeroed, KSM_CHUNK_PAGES)
		if (test_bit(i, parts))
			set_bit(i, chunk->zeroed);
	return true;
}

/*
 * Split the huge page that an address maps. The caller holds the mmap lock, and
 * no reference to any part of the huge page, or the split would fail. Returns
 * KSM_SKIP_NONE if the page was split, or was not part of a huge page any more.
 */
static enum ksm_skip split(struct ksm_job *job)
{
	enum ksm_skip why = KSM_SKIP_NONE;
	struct ksm_walk walk;

	ksm_walk_next(ksm_item_mm(job->item), job->addr, job->addr + PAGE_SIZE, &walk);
	if (!walk.page)
		return KSM_SKIP_CHANGED;
	if (!trylock_page(walk.page)) {
		why = KSM_SKIP_BUSY;
	} else {
		if (PageTransCompound(walk.page)) {
			job->split = split_and_mark(ksm_item_chunk(job->item), walk.page);
			why = job->split ? KSM_SKIP_NONE : KSM_SKIP_THP_SPLIT;
		}
		unlock_page(walk.page);
	}
	put_page(walk.page);
	return why;
}

/*
 * Set VM_NOHUGEPAGE on the mappings of a region whose pages may be merged.
 * Returns false if the mmap lock is contended.
 */
static bool refuse_huge_pages(struct ksm_region *region)
{
	struct mm_struct *mm = region->mm;
	struct vm_area_struct *vma;

	/* Newer kernels have no mmap_write_trylock(), which did just this. */
	if (!down_write_trylock(&mm->mmap_lock))
		return false;
	for (vma = find_vma(mm, region->start); vma && vma->vm_start < region->end;
	     vma = find_vma(mm, vma->vm_end))
		if (!ksm_vma_refuses(vma))
			vm_flags_mod(vma, VM_NOHUGEPAGE, VM_HUGEPAGE);
	mmap_write_unlock(mm);
	return true;
}

/*
 * Find the mapping of @addr, if the driver may merge its pages. Returns
 * KSM_SKIP_NONE with the mmap lock held for reading, or a reason with no lock
 * held. The scanner never waits for the mmap lock of a process.
 *
 * On kernels with CONFIG_DEBUG_VM, the mappings of a region are marked
 * VM_NOHUGEPAGE before the first merge, because an assertion of khugepaged
 * could fail otherwise. khugepaged examines a range, drops the mmap lock, takes
 * it for writing, and isolates the pages that it saw, one by one. A merge in
 * between does no harm: a kernel page is not on the LRU, so khugepaged cannot
 * isolate it. But with CONFIG_DEBUG_VM, khugepaged first asserts that each page
 * is still anonymous. It also checks the flag again after it has taken the lock
 * for writing, so a marked mapping never reaches the assertion.
 *
 * The flag is set on whole mappings, even outside of the region, and is never
 * cleared again. On kernels without CONFIG_DEBUG_VM the driver leaves it alone,
 * because two mappings with different flags can neither be merged nor be moved
 * by one mremap(). So a bug that depends on this flag may not reproduce on a
 * kernel with CONFIG_DEBUG_VM.
 */
static enum ksm_skip lock_vma(struct ksm_region *region, unsigned long addr,
			      struct vm_area_struct **vma)
{
	struct mm_struct *mm = region->mm;
	enum ksm_skip why = KSM_SKIP_CHANGED;
	int tries;

	for (tries = 0; ; tries++) {
		if (!mmap_read_trylock(mm))
			return KSM_SKIP_BUSY;
		*vma = vma_lookup(mm, addr);
		if (!*vma || ksm_vma_refuses(*vma))
			break;
		if (!IS_ENABLED(CONFIG_DEBUG_VM) || ((*vma)->vm_flags & VM_NOHUGEPAGE))
			return KSM_SKIP_NONE;
		/* The process keeps calling madvise(MADV_HUGEPAGE): give up. */
		if (tries == 2)
			break;
		mmap_read_unlock(mm);
		if (!refuse_huge_pages(region))
			return KSM_SKIP_BUSY;
	}
	mmap_read_unlock(mm);
	return why;
}

/*
 * Count the jobs, beginning with the first, that one page_wrprotect() can
 * include.
 */
static unsigned int count_close(const struct ksm_job *jobs, unsigned int nr)
{
	unsigned int n = 1;

	while (n < nr && jobs[n].addr - jobs[0].addr < WRPROTECT_MAX_PAGES * PAGE_SIZE)
		n++;
	return n;
}

/* Run the jobs in the VMA of the first job. Returns the number of jobs run. */
static unsigned int merge_run(struct ksm_region *region, struct ksm_job *jobs, unsigned int nr)
{
	struct vm_area_struct *vma;
	unsigned int i, n, run = 1;

	jobs[0].why = lock_vma(region, jobs[0].addr, &vma);
	if (jobs[0].why)
		return 1;
	while (run < nr && jobs[run].addr < vma->vm_end)
		run++;
	for (i = 0; i < run; i += n) {
		n = count_close(jobs + i, run - i);
		replace_pages(vma, jobs + i, n);
	}
	for (i = 0; i < run; i++) {
		if (jobs[i].why != KSM_SKIP_THP_SPLIT)
			continue;
		jobs[i].why = split(&jobs[i]);
		if (!jobs[i].why)
			replace_pages(vma, &jobs[i], 1);
	}
	mmap_read_unlock(region->mm);
	return run;
}

/**
 * ksm_merge - replace pages by kernel pages of the same content
 * @jobs: the merge jobs, sorted by address, all of one chunk; the result of
 *	each is stored in its @why. The caller holds no reference to any of the
 *	pages, nor to any part of a huge page that contains one of them.
 * @nr: the number of jobs, at most KSM_BATCH
 *
 * A page that is not replaced stays mapped as before, except that a huge page
 * may have been split. The items, kernel pages and regions of the jobs are not
 * freed: the items are KSM_ITEM_MERGING, each job holds a reference to its
 * kernel page, and each region has a user.
 *
 * Context: ksm_lock must not be held. Only tries to take the mmap lock. May
 * sleep.
 */
void ksm_merge(struct ksm_job *jobs, unsigned int nr)
{
	struct ksm_region *region = ksm_item_chunk(jobs[0].item)->region;
	unsigned int done, i;

	if (!mmget_not_zero(region->mm)) {
		for (i = 0; i < nr; i++)
			jobs[i].why = KSM_SKIP_CHANGED;
		return;
	}
	for (done = 0; done < nr; )
		done += merge_run(region, jobs + done, nr - done);
	mmput_async(region->mm);
}
