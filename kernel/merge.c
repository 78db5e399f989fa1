// SPDX-License-Identifier: GPL-2.0
/*
 * From two equal pages to one, and back.
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
#include <linux/sched/signal.h>

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
	struct page *kpage = job->node->kpage;

	if (!PageUptodate(kpage)) {
		/* Who made the node is at it: what waited for its first page gives way first. */
		if (job->kind == KSM_STABLE)
			return KSM_SKIP_BUSY;
		return ksm_node_fill(job->node, job->page) ? KSM_SKIP_NONE : KSM_SKIP_CHANGED;
	}
	if (ksm_pages_equal(job->page, kpage))
		return KSM_SKIP_NONE;
	/* A guess: what a node is known by may change. ksm_node_crowded() looks again. */
	job->lied = ksm_index_ops->hashes &&
		    ksm_page_sample(job->page) == job->node->entry.hash;
	return KSM_SKIP_CHANGED;
}

/* Nobody can write the page any more: put the kernel page in its place, or put it back. */
static void replace(struct vm_area_struct *vma, pte_t *ptep, struct ksm_job *job)
{
	job->why = page_is_held(job->page) ? KSM_SKIP_PINNED : match(job);
	if (!job->why &&
	    replace_page(vma, job->addr, ptep, job->orig, job->page, job->node->kpage))
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

/* Tell all mappings of a region to do without huge pages. Takes the mmap lock for writing. */
static void refuse_huge_pages(struct ksm_region *region)
{
	struct mm_struct *mm = region->mm;
	struct vm_area_struct *vma;

	mmap_write_lock(mm);
	for (vma = find_vma(mm, region->start); vma && vma->vm_start < region->end;
	     vma = find_vma(mm, vma->vm_end))
		if (!ksm_vma_refuses(vma))
			vm_flags_mod(vma, VM_NOHUGEPAGE, VM_HUGEPAGE);
	mmap_write_unlock(mm);
}

/*
 * The mapping of @addr, if a kernel page may be put there, or NULL. The mmap lock
 * is held for reading afterwards in either case.
 *
 * khugepaged looks at a range, lets go of the mmap lock, takes it for writing and
 * isolates what it saw, page by page. A merge in between does no harm: a kernel
 * page has a reference more than it has mappings, and is not on the LRU, so it is
 * turned down. But where CONFIG_DEBUG_VM is on, an assertion that all pages are
 * still anonymous comes before these checks. On such kernels the mappings of the
 * region are told to do without huge pages before the first merge: khugepaged
 * looks at this flag again once it has the lock for writing. Everywhere else the
 * flag is not touched, since mappings whose flags differ can neither join nor be
 * moved as one.
 */
static struct vm_area_struct *lock_vma(struct ksm_region *region, unsigned long addr)
{
	struct mm_struct *mm = region->mm;
	struct vm_area_struct *vma;
	int tries;

	for (tries = 0; ; tries++) {
		mmap_read_lock(mm);
		vma = vma_lookup(mm, addr);
		if (!vma || ksm_vma_refuses(vma))
			return NULL;
		if (!IS_ENABLED(CONFIG_DEBUG_VM) || (vma->vm_flags & VM_NOHUGEPAGE))
			return vma;
		/* Whoever asks for huge pages again and again has them. */
		if (tries == 2)
			return NULL;
		mmap_read_unlock(mm);
		refuse_huge_pages(region);
	}
}

/* Merge what lies in the mapping of the first job. Returns how many jobs that was. */
static unsigned int merge_run(struct ksm_region *region, struct ksm_job *jobs, unsigned int nr)
{
	struct vm_area_struct *vma = lock_vma(region, jobs[0].addr);
	unsigned int i, run = 1;

	if (!vma) {
		jobs[0].why = KSM_SKIP_CHANGED;
		jobs[0].page = NULL;
		goto unlock;
	}
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
unlock:
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

/* Does @addr, which lies in a mapping, map @kpage? The mmap lock is held. */
static bool maps(struct mm_struct *mm, unsigned long addr, struct page *kpage)
{
	spinlock_t *ptl;
	pte_t *ptep = get_pte(mm, addr, &ptl);
	bool mapped;

	if (!ptep)
		return false;
	mapped = pte_present(ptep_get(ptep)) && pte_page(ptep_get(ptep)) == kpage;
	put_pte(ptep, ptl);
	return mapped;
}

/*
 * Fault once, if @addr still maps @kpage. Returns whether it does not, or a negative
 * error. The mmap lock is held for one fault only: a fault can end with nothing
 * done until somebody who waits to write has had the lock (userfaultfd, closing).
 */
static int fault_away(struct mm_struct *mm, unsigned long addr, struct page *kpage)
{
	struct vm_area_struct *vma;
	vm_fault_t fault = 0;
	bool gone;

	mmap_read_lock(mm);
	/* The mapping first: without one there is no page table that would stay. */
	vma = vma_lookup(mm, addr);
	gone = !vma || !maps(mm, addr, kpage);
	if (!gone)
		fault = handle_mm_fault(vma, addr, KSM_BREAK_FAULT, NULL);
	mmap_read_unlock(mm);
	if (fault & VM_FAULT_OOM)
		return -ENOMEM;
	if (fault & VM_FAULT_ERROR)
		return -EFAULT;
	return gone;
}

/**
 * ksm_unmerge - give the owner of a merged page its own copy back
 * @item: the item, KSM_ITEM_MERGED
 *
 * Return: 0, and the item is KSM_ITEM_PLAIN, its node gone if it was the last;
 * -ENOMEM or -EFAULT, and the item is merged as before.
 */
int ksm_unmerge(struct ksm_item *item)
{
	struct mm_struct *mm = ksm_item_mm(item);
	int gone;

	/* An mm without users has no pages left to unmerge. */
	if (!mmget_not_zero(mm)) {
		ksm_item_forget(item, KSM_BREAK_UNMAPPED);
		return 0;
	}
	do {
		gone = fault_away(mm, ksm_item_addr(item), item->node->kpage);
		cond_resched();
	} while (!gone);
	mmput_async(mm);
	if (gone < 0)
		return gone;
	ksm_item_forget(item, KSM_BREAK_UNMERGED);
	return 0;
}
