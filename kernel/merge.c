// SPDX-License-Identifier: GPL-2.0
/*
 * From two equal pages to one.
 *
 * Neither page that is found equal becomes the shared one. The driver has a page of
 * its own, which nobody can write, and puts it in place of each of the others. Each
 * switch stands by itself: while nobody can write the page that gives way, the first
 * is copied, and every other is compared with the copy. What is dear about it, the
 * locks and the flush of the TLBs, is done once for all pages of one page table that
 * give way together.
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

/**
 * ksm_page_order - how the content of one page compares with that of another
 * @a: a page
 * @b: a page
 *
 * Return: as memcmp() does.
 */
int ksm_page_order(struct page *a, struct page *b)
{
	void *pa = kmap_local_page(a);
	void *pb = kmap_local_page(b);
	int order = memcmp(pa, pb, PAGE_SIZE);

	kunmap_local(pb);
	kunmap_local(pa);
	return order;
}

/**
 * ksm_pages_equal - do two pages have the same content?
 * @a: a page
 * @b: a page
 *
 * What memcmp() does, but that it need not say where they differ, and so looks at
 * what it has read only now and then: nearly all pages that come here are equal,
 * and are read to the end.
 *
 * Return: whether they have.
 */
bool ksm_pages_equal(struct page *a, struct page *b)
{
	const unsigned long *pa = kmap_local_page(a);
	const unsigned long *pb = kmap_local_page(b);
	unsigned long differ = 0;
	unsigned int i, j;

	for (i = 0; i < PAGE_SIZE / sizeof(*pa) && !differ; i += 32) {
#pragma GCC unroll 32
		for (j = i; j < i + 32; j++)
			differ |= pa[j] ^ pb[j];
	}
	kunmap_local(pb);
	kunmap_local(pa);
	return !differ;
}

/* Take the page of a job out of its page table. The page-table lock is held; no TLB is flushed yet. */
static bool take(struct vm_area_struct *vma, pte_t *ptep, struct ksm_job *job)
{
	pte_t pte = ptep_get(ptep);
	struct page *page = NULL;

	job->page = NULL;
	job->why = KSM_SKIP_CHANGED;
	if (pte_present(pte))
		page = vm_normal_page(vma, job->addr, pte);
	if (!page || !PageAnon(page))
		return false;
	job->why = KSM_SKIP_KERNEL_KSM;
	if (PageKsm(page))
		return false;
	job->why = KSM_SKIP_THP_SPLIT;
	if (PageCompound(page))
		return false;
	job->why = KSM_SKIP_HWPOISON;
	if (PageHWPoison(page))
		return false;
	job->why = KSM_SKIP_BUSY;
	if (!trylock_page(page))
		return false;
	job->why = KSM_SKIP_NONE;
	get_page(page);
	job->page = page;
	flush_cache_page(vma, job->addr, page_to_pfn(page));
	job->orig = ptep_get_and_clear(vma->vm_mm, job->addr, ptep);
	return true;
}

/* The page is as it will stay: is it as the kernel page is, or made to be now? */
static enum ksm_skip match(struct ksm_job *job)
{
	struct page *kpage = job->kpage;

	if (PageHWPoison(kpage))
		return KSM_SKIP_HWPOISON;
	if (!PageUptodate(kpage)) {
		/* The scanner that allocated it is about to replace the first page. */
		if (job->kind == KSM_STABLE)
			return KSM_SKIP_BUSY;
		return ksm_kpage_fill(kpage, job->hash, job->page) ? KSM_SKIP_NONE
								   : KSM_SKIP_CHANGED;
	}
	if (ksm_pages_equal(job->page, kpage))
		return KSM_SKIP_NONE;
	/* The hash of the node may have changed since: ksm_node_crowded() checks again. */
	job->lied = ksm_index_ops->hashes && ksm_page_sample(job->page) == job->hash;
	return KSM_SKIP_CHANGED;
}

/* Nobody can write the page any more: put the kernel page in its place, or put it back. */
static void replace(struct vm_area_struct *vma, pte_t *ptep, struct ksm_job *job)
{
	job->why = page_is_held(job->page) ? KSM_SKIP_PINNED : match(job);
	if (!job->why &&
	    replace_page(vma, job->addr, ptep, job->orig, job->page, job->kpage))
		job->why = KSM_SKIP_PINNED;
	if (job->why)
		set_pte_at(vma->vm_mm, job->addr, ptep, job->orig);
}

/* The switch of pages that one page table maps. The mmap lock is held. */
static void switch_ptes(struct vm_area_struct *vma, struct ksm_job *jobs, unsigned int nr)
{
	unsigned long start = jobs[0].addr, end = jobs[nr - 1].addr + PAGE_SIZE;
	struct mmu_notifier_range range;
	unsigned int i, taken = 0, freed = 0;
	struct page *pages[KSM_BATCH];
	pte_t *first, *ptep;
	spinlock_t *ptl;

	pte_change_begin(vma, start, end, &range);
	first = get_pte(vma->vm_mm, start, &ptl);
	for (i = 0; i < nr; i++) {
		/* No page table: a huge page, or nothing; split() finds out. */
		jobs[i].why = KSM_SKIP_THP_SPLIT;
		jobs[i].page = NULL;
		if (first)
			taken += take(vma, first + (jobs[i].addr - start) / PAGE_SIZE, &jobs[i]);
	}
	if (taken) {
		ptes_flush(vma, start, end);
		for (i = 0; i < nr; i++) {
			ptep = first + (jobs[i].addr - start) / PAGE_SIZE;
			if (jobs[i].page)
				replace(vma, ptep, &jobs[i]);
		}
	}
	if (first)
		put_pte(first, ptl);
	pte_change_end(&range);
	for (i = 0; taken && i < nr; i++) {
		if (jobs[i].page) {
			unlock_page(jobs[i].page);
			pages[freed++] = jobs[i].page;
		}
	}
	/* One hold of the lock of the LRU, not one for each page. */
	release_pages(pages, freed);
}

/* Split the huge page that an address maps. The mmap lock is held; kksmd holds no reference to any part of it. */
static enum ksm_skip split(struct mm_struct *mm, unsigned long addr)
{
	enum ksm_skip why = KSM_SKIP_NONE;
	struct ksm_spot spot;

	ksm_look(mm, addr, addr + PAGE_SIZE, &spot);
	if (!spot.page)
		return KSM_SKIP_CHANGED;
	if (!trylock_page(spot.page)) {
		why = KSM_SKIP_BUSY;
	} else {
		if (PageTransCompound(spot.page) && split_huge_page(spot.page))
			why = KSM_SKIP_THP_SPLIT;
		unlock_page(spot.page);
	}
	put_page(spot.page);
	return why;
}

/* Set VM_NOHUGEPAGE on all mappings of a region. Returns false if the mmap lock is not free. */
static bool refuse_huge_pages(struct ksm_region *region)
{
	struct mm_struct *mm = region->mm;
	struct vm_area_struct *vma;

	/* There was an mmap_write_trylock() once, and mmap_write_unlock() fits this as well. */
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
 * Find the mapping of @addr, if a kernel page may be put there. Returns KSM_SKIP_NONE
 * with the mmap lock held for reading, or a reason with no lock held: the scanner
 * never waits for the mmap lock of a process.
 *
 * khugepaged examines a range, drops the mmap lock, takes it for writing and isolates
 * the pages it saw, one by one. A merge in between does no harm: a kernel page is not
 * on the LRU, so it cannot be isolated. But where CONFIG_DEBUG_VM is on, an assertion
 * that all pages are still anonymous comes before this check. On such kernels the
 * mappings of the region are marked VM_NOHUGEPAGE before the first merge: khugepaged
 * checks this flag again once it has the lock for writing. Everywhere else the flag
 * is not touched, since mappings whose flags differ can neither join nor be moved as
 * one.
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
		/* A process that asks for huge pages again and again has them. */
		if (tries == 2)
			break;
		mmap_read_unlock(mm);
		if (!refuse_huge_pages(region))
			return KSM_SKIP_BUSY;
	}
	mmap_read_unlock(mm);
	return why;
}

/* Merge what lies in the mapping of the first job. Returns how many jobs that was. */
static unsigned int merge_run(struct ksm_region *region, struct ksm_job *jobs, unsigned int nr)
{
	struct vm_area_struct *vma;
	unsigned int i, run = 1;

	jobs[0].page = NULL;
	jobs[0].why = lock_vma(region, jobs[0].addr, &vma);
	if (jobs[0].why)
		return 1;
	while (run < nr && jobs[run].addr < vma->vm_end)
		run++;
	switch_ptes(vma, jobs, run);
	for (i = 0; i < run; i++) {
		if (jobs[i].why != KSM_SKIP_THP_SPLIT)
			continue;
		jobs[i].why = split(region->mm, jobs[i].addr);
		if (!jobs[i].why)
			switch_ptes(vma, &jobs[i], 1);
	}
	mmap_read_unlock(region->mm);
	return run;
}

/**
 * ksm_merge - put kernel pages in place of pages that are equal to them
 * @jobs: what is to be merged, by address, all of one chunk; set to what became of
 *	each. The caller holds no reference to any of the pages, nor to any part of
 *	a huge page that one belongs to.
 * @nr: how many, at most KSM_BATCH: they are switched under one hold of the
 *	page-table lock
 *
 * Of what stays nothing has changed, but that a huge page may have been split.
 * ksm_lock is not held: what the jobs are of stays where it is, since the items are
 * KSM_ITEM_MERGING, the nodes held, and the regions used.
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
