// SPDX-License-Identifier: GPL-2.0
/*
 * Walk page tables: find the pages of an address range.
 *
 * ksm_walk_next() finds the next page, or the reason to skip a range.
 * ksm_walk_batch() is the fast path: it hashes many pages under one hold of the
 * page-table lock, but stops at anything that is not an ordinary page.
 */
#include <linux/dax.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include "ksm.h"
#include "pte.h"

/**
 * ksm_vma_refuses - test whether pages of a VMA must not be merged
 * @vma: the VMA
 *
 * File mappings are skipped, even private ones, whose written pages are
 * anonymous. A kernel page is not anonymous. So truncating the file would treat
 * it as a page of the file and unmap it, and the process would lose its data.
 *
 * Context: the mmap lock must be held.
 * Return: KSM_SKIP_NONE if the pages may be merged; otherwise the reason.
 */
enum ksm_skip ksm_vma_refuses(struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_HUGETLB)
		return KSM_SKIP_HUGETLB;
	if (vma->vm_flags & VM_IO)
		return KSM_SKIP_IO;
	if (vma->vm_flags & VM_PFNMAP)
		return KSM_SKIP_PFNMAP;
	if (vma->vm_flags & VM_MIXEDMAP)
		return KSM_SKIP_MIXEDMAP;
	if (vma_is_dax(vma))
		return KSM_SKIP_DAX;
	if (vma->vm_flags & (VM_SHARED | VM_MAYSHARE))
		return KSM_SKIP_SHARED_VMA;
	if (userfaultfd_armed(vma))
		return KSM_SKIP_UFFD;
	if (vma->vm_flags & (VM_SHADOW_STACK | VM_DROPPABLE))
		return KSM_SKIP_SPECIAL;
	if (!vma_is_anonymous(vma))
		return KSM_SKIP_FILE;
	return KSM_SKIP_NONE;
}

/*
 * Store the page found, with a reference, or the reason to skip it. The caller
 * holds the page-table lock.
 */
static void set_page_found(struct ksm_walk *walk, struct page *page)
{
	walk->next = walk->addr + PAGE_SIZE;
	if (PageKsm(page)) {
		walk->why = KSM_SKIP_KERNEL_KSM;
		return;
	}
	if (PageHWPoison(page)) {
		walk->why = KSM_SKIP_HWPOISON;
		return;
	}
	if (is_zone_device_page(page)) {
		walk->why = KSM_SKIP_NOT_ANON;
		return;
	}
	get_page(page);
	walk->page = page;
}

/* Find the subpage of a huge page. The huge page is not split. */
static void walk_huge(struct mm_struct *mm, pmd_t *pmd, struct ksm_walk *walk)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	pmd_t entry = *pmd;

	if (!pmd_present(entry) || !pmd_trans_huge(entry)) {
		/* It was split or unmapped before the lock was taken. */
		walk->next = walk->addr + PAGE_SIZE;
		walk->why = KSM_SKIP_CHANGED;
	} else if (!PageAnon(pmd_page(entry))) {
		/* Only the huge zero page is not anonymous in such a VMA. */
		walk->why = KSM_SKIP_ZERO_PAGE;
	} else {
		set_page_found(walk, pmd_page(entry) + ((walk->addr & ~PMD_MASK) >> PAGE_SHIFT));
	}
	spin_unlock(ptl);
}

/* Returns the reason to skip a page-table entry that is not present. */
static enum ksm_skip swap_reason(swp_entry_t entry)
{
	if (!non_swap_entry(entry))
		return KSM_SKIP_SWAPPED;
	return is_hwpoison_entry(entry) ? KSM_SKIP_HWPOISON : KSM_SKIP_BUSY;
}

/* Find the first page that a page table maps at or after walk->addr. */
static void walk_small(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long end,
		       struct ksm_walk *walk)
{
	unsigned long addr = walk->addr;
	struct page *page;
	pte_t *first, *ptep, pte = __pte(0);
	spinlock_t *ptl;

	first = get_pte(mm, addr, &ptl);
	if (!first)
		return;

	/* Skip empty entries under one hold of the lock. */
	for (ptep = first; addr < end; ptep++, addr += PAGE_SIZE) {
		pte = ptep_get(ptep);
		if (!pte_none(pte))
			break;
	}
	if (addr == end)
		goto unlock;

	walk->addr = addr;
	if (!pte_present(pte)) {
		walk->next = addr + PAGE_SIZE;
		walk->why = swap_reason(pte_to_swp_entry(pte));
		goto unlock;
	}
	page = vm_normal_page(vma, addr, pte);
	if (!page) {
		walk->next = addr + PAGE_SIZE;
		walk->why = KSM_SKIP_ZERO_PAGE;
		goto unlock;
	}
	set_page_found(walk, page);
unlock:
	put_pte(first, ptl);
}

/**
 * ksm_walk_next - find the next page of an address range
 * @mm: the mm
 * @addr: the address at which the walk begins
 * @end: the end of the range
 * @walk: set to the result. If no page was found, @walk->next may be less than
 *	@end, because one call examines at most one page table, one hole, or one
 *	VMA whose pages must not be merged
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep.
 */
void ksm_walk_next(struct mm_struct *mm, unsigned long addr, unsigned long end,
	      struct ksm_walk *walk)
{
	struct vm_area_struct *vma = find_vma(mm, addr);
	unsigned long next;
	pmd_t *pmd, entry;

	*walk = (struct ksm_walk){ .addr = addr, .next = end };
	if (!vma || vma->vm_start >= end)
		return;
	if (vma->vm_start > addr) {
		walk->next = vma->vm_start;
		return;
	}
	end = min(end, vma->vm_end);
	walk->next = end;
	walk->why = ksm_vma_refuses(vma);
	if (walk->why)
		return;

	pmd = ksm_find_pmd(mm, addr, &next);
	end = min(end, next);
	walk->next = end;
	if (!pmd)
		return;
	entry = READ_ONCE(*pmd);
	if (pmd_present(entry) && pmd_trans_huge(entry))
		walk_huge(mm, pmd, walk);
	else
		walk_small(mm, vma, end, walk);
}

/*
 * Hash one page under the page-table lock. Returns true if the page is a
 * candidate. The item's node may be freed at any moment, so it is not
 * dereferenced, only compared with the private field of the page.
 */
static bool is_candidate(struct ksm_item *item, struct page *page, struct ksm_candidate *candidate)
{
	const struct ksm_item now = { .word = READ_ONCE(item->word) };
	u64 hash = 0, sample = 0;

	if (now.state == KSM_ITEM_MERGED && READ_ONCE(item->node) == ksm_page_node(page))
		return false;
	/*
	 * Another scanner merges it, and a reference would make that merge
	 * fail.
	 */
	if (now.state == KSM_ITEM_MERGING)
		return false;
	if (PageAnon(page)) {
		hash = ksm_page_hash(page, &sample);
		/* It is unchanged and still in the unstable index. */
		if (now.state == KSM_ITEM_UNSTABLE && now.hash == hash)
			return false;
	}
	get_page(page);
	*candidate = (struct ksm_candidate){
		.item = item,
		.page = page,
		.hash = hash,
		.sample = sample,
		.word = now.word,
	};
	return true;
}

/* Returns the page that a PTE maps, or NULL if it is not an ordinary page. */
static struct page *ordinary_page(struct vm_area_struct *vma, unsigned long addr, pte_t pte)
{
	struct page *page;

	if (!pte_present(pte))
		return NULL;
	page = vm_normal_page(vma, addr, pte);
	if (!page || PageKsm(page) || is_zone_device_page(page) || PageHWPoison(page))
		return NULL;
	return page;
}

/*
 * Returns the index of the first entry from @i to @end that is not empty, or
 * @end. Tests eight entries at a time.
 */
static unsigned long skip_empty(pte_t *table, unsigned long i, unsigned long end)
{
	bool empty = true;
	unsigned int j;

	for (; i + 8 <= end; i += 8) {
#pragma GCC unroll 8
		for (j = 0; j < 8; j++)
			empty &= pte_none(ptep_get(table + i + j));
		if (!empty)
			break;
	}
	while (i < end && pte_none(ptep_get(table + i)))
		i++;
	return i;
}

/* Hash the pages that a page table maps, until one of them is not ordinary. */
static void batch_small(struct vm_area_struct *vma, struct ksm_chunk *chunk, unsigned int most,
			 unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch)
{
	unsigned long start = pte_index(walk->addr), i = start, known;
	unsigned long last = start + (end - walk->addr) / PAGE_SIZE;
	struct page *page;
	pte_t *table, pte;
	spinlock_t *ptl;

	table = get_pte(vma->vm_mm, walk->addr, &ptl);
	if (!table)
		return;
	table -= start;
	while (i < last && batch->scanned < most) {
		pte = ptep_get(table + i);
		if (pte_none(pte)) {
			/* Stop at a tracked item: it must be reset. */
			known = find_next_bit(chunk->tracked, last, i);
			i = skip_empty(table, i, known);
			if (i == known)
				break;
			continue;
		}
		page = ordinary_page(vma, walk->addr + (i - start) * PAGE_SIZE, pte);
		if (!page)
			break;
		batch->scanned++;
		batch->nr += is_candidate(ksm_chunk_item(chunk, i), page, &batch->candidates[batch->nr]);
		i++;
	}
	put_pte(table + start, ptl);
	walk->next = walk->addr + (i - start) * PAGE_SIZE;
}

/*
 * Hash the subpages of a huge page, until one of them is a candidate. A second
 * candidate would hold a reference that prevents the split of the huge page.
 */
static void batch_huge(struct vm_area_struct *vma, pmd_t *pmd, struct ksm_chunk *chunk,
			unsigned int most, unsigned long end, struct ksm_walk *walk,
			struct ksm_batch *batch)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	unsigned long addr = walk->addr;
	pmd_t entry = *pmd;

	if (pmd_present(entry) && pmd_trans_huge(entry) && PageAnon(pmd_page(entry)))
		for (; addr < end && batch->scanned < most && !batch->nr &&
		     !PageHWPoison(pmd_page(entry) + pte_index(addr));
		     addr += PAGE_SIZE, batch->scanned++)
			batch->nr += is_candidate(ksm_chunk_item(chunk, pte_index(addr)),
					       pmd_page(entry) + pte_index(addr),
					       &batch->candidates[0]);
	spin_unlock(ptl);
	walk->next = addr;
}

/**
 * ksm_walk_batch - collect candidates from the next ordinary pages
 * @mm: the mm
 * @chunk: the chunk of @walk->addr
 * @most: the maximum number of pages to scan
 * @end: the end of the address range
 * @walk: the walk begins at @walk->addr. @walk->page may be the page there,
 *	found by ksm_walk_next(); its reference is dropped. @walk->next is set
 *	to the address at which the next walk begins. If it is equal to
 *	@walk->addr, the batch is empty, and the caller must call
 *	ksm_walk_next()
 * @batch: set to the candidates
 *
 * A page that has not changed since its last scan is not a candidate. It is
 * hashed under the page-table lock, which keeps the page mapped, so no
 * reference to it is taken. One hold of the lock covers at most KSM_BATCH
 * pages. Empty page-table entries are skipped.
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep. No other thread may free @chunk.
 */
void ksm_walk_batch(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned int most,
		unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch)
{
	struct vm_area_struct *vma = vma_lookup(mm, walk->addr);
	unsigned long least = walk->addr, next;
	bool huge = false;
	pmd_t *pmd;

	if (walk->page) {
		huge = PageTransCompound(walk->page);
		least += PAGE_SIZE;
		put_page(walk->page);
	}
	batch->nr = 0;
	batch->scanned = 0;
	walk->next = least;
	if (!vma || ksm_vma_refuses(vma))
		return;
	pmd = ksm_find_pmd(mm, walk->addr, &next);
	if (!pmd)
		return;
	end = min3(end, next, vma->vm_end);
	most = min_t(unsigned int, most, KSM_BATCH);
	if (!pmd_trans_huge(READ_ONCE(*pmd)))
		batch_small(vma, chunk, most, end, walk, batch);
	else if (huge)
		batch_huge(vma, pmd, chunk, most, end, walk, batch);
	walk->next = max(walk->next, least);
}

/*
 * May the unmerge loop skip a page-table entry? It may if the entry is empty,
 * maps an anonymous page, or maps a kernel page to whose node the item is
 * linked already.
 */
static bool is_linked(struct ksm_item *item, struct vm_area_struct *vma, unsigned long addr,
		      pte_t pte)
{
	const struct ksm_item now = { .word = READ_ONCE(item->word) };
	struct page *page;

	if (pte_none(pte))
		return true;
	page = ordinary_page(vma, addr, pte);
	if (!page)
		return false;
	return PageAnon(page) ||
	       (now.state == KSM_ITEM_MERGED && READ_ONCE(item->node) == ksm_page_node(page));
}

/**
 * ksm_walk_linked - skip page-table entries whose items are up to date
 * @mm: the mm
 * @chunk: the chunk of @addr
 * @addr: the address at which the walk begins
 * @end: the end of the address range
 *
 * The unmerge loop must find each kernel page to which no item is linked yet.
 * This function skips all entries that cannot map such a page.
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep. No other thread may free @chunk.
 * Return: the address of the first entry that ksm_walk_next() must examine. If
 * there is none, the end of the page table, of the VMA, or @end, whichever is
 * first.
 */
unsigned long ksm_walk_linked(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned long addr,
			      unsigned long end)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	spinlock_t *ptl;
	pte_t *first, *ptep;

	if (!vma || ksm_vma_refuses(vma))
		return addr;
	first = get_pte(mm, addr, &ptl);
	if (!first)
		return addr;
	end = min3(end, vma->vm_end, chunk->start + PMD_SIZE);
	for (ptep = first; addr < end; ptep++, addr += PAGE_SIZE)
		if (!is_linked(ksm_chunk_item(chunk, pte_index(addr)), vma, addr, ptep_get(ptep)))
			break;
	put_pte(first, ptl);
	return addr;
}

/**
 * ksm_item_page - find the page of an item
 * @item: the item
 *
 * Context: ksm_lock must be held. Does not wait for the mmap lock.
 * Return: the page, with a reference for the caller; NULL if the address maps
 * no page, or if the mmap lock is contended.
 */
struct page *ksm_item_page(struct ksm_item *item)
{
	struct mm_struct *mm = ksm_item_mm(item);
	unsigned long addr = ksm_item_addr(item);
	struct ksm_walk walk;

	if (!mmget_not_zero(mm))
		return NULL;
	walk.page = NULL;
	if (mmap_read_trylock(mm)) {
		ksm_walk_next(mm, addr, addr + PAGE_SIZE, &walk);
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
	return walk.page;
}
