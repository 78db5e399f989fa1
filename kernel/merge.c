// SPDX-License-Identifier: GPL-2.0
/*
 * From two equal pages to one, and back.
 *
 * Neither page that is found equal becomes the shared one. The driver copies the
 * content into a page of its own, which nobody can write, and then puts that page
 * in place of each of the others, one at a time. Each switch stands by itself: it
 * compares the page with the copy once more, while nobody can write it.
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

/* The switch. The mmap lock and the page lock are held, @page is not compound. */
static enum ksm_skip switch_pte(struct vm_area_struct *vma, unsigned long addr,
				struct page *page, struct page *kpage)
{
	struct mmu_notifier_range range;
	enum ksm_skip why;
	spinlock_t *ptl;
	pte_t *ptep, orig;

	pte_change_begin(vma, addr, &range);
	why = KSM_SKIP_CHANGED;
	ptep = get_pte(vma->vm_mm, addr, &ptl);
	if (!ptep)
		goto end;
	orig = ptep_get(ptep);
	if (!pte_present(orig) || pte_page(orig) != page)
		goto unlock;

	why = KSM_SKIP_PINNED;
	if (page_wrprotect(vma, addr, ptep, page, &orig))
		goto unlock;
	why = KSM_SKIP_NONE;
	if (ksm_page_order(page, kpage))
		why = KSM_SKIP_CHANGED;
	else if (replace_page(vma, addr, ptep, orig, page, kpage))
		why = KSM_SKIP_PINNED;
	if (why)
		set_pte_at(vma->vm_mm, addr, ptep, orig);
unlock:
	put_pte(ptep, ptl);
end:
	pte_change_end(&range);
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

/**
 * ksm_merge - put the kernel page of a node in place of the page of an item
 * @item: the item, in no index
 * @page: its page; the caller holds the only reference that kksmd has to it, or
 *	to any other part of the huge page it may belong to
 * @node: the node
 *
 * Return: KSM_SKIP_NONE, and @item is linked to @node; or why @page stays, and
 * then nothing has changed but that a huge page may have been split.
 */
enum ksm_skip ksm_merge(struct ksm_item *item, struct page *page, struct ksm_node *node)
{
	struct mm_struct *mm = ksm_item_mm(item);
	unsigned long addr = ksm_item_addr(item);
	enum ksm_skip why = KSM_SKIP_CHANGED;
	struct vm_area_struct *vma;

	if (!mmget_not_zero(mm))
		return why;
	vma = lock_vma(ksm_item_chunk(item)->region, addr);
	if (!vma || !PageAnon(page))
		goto unlock_mm;

	why = KSM_SKIP_BUSY;
	if (!trylock_page(page))
		goto unlock_mm;
	why = KSM_SKIP_KERNEL_KSM;
	if (PageKsm(page))
		goto unlock_page;
	why = KSM_SKIP_THP_SPLIT;
	if (PageTransCompound(page) && split_huge_page(page))
		goto unlock_page;
	why = switch_pte(vma, addr, page, node->kpage);
	if (!why)
		ksm_node_link(node, item);
unlock_page:
	unlock_page(page);
unlock_mm:
	mmap_read_unlock(mm);
	mmput_async(mm);
	return why;
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

/* Fault until @addr maps something else. The mmap lock is held. */
static int fault_away(struct mm_struct *mm, unsigned long addr, struct page *kpage)
{
	struct vm_area_struct *vma;
	vm_fault_t fault;

	/* The mapping first: without one there is no page table that would stay. */
	while ((vma = vma_lookup(mm, addr)) && maps(mm, addr, kpage)) {
		fault = handle_mm_fault(vma, addr, KSM_BREAK_FAULT, NULL);
		if (fault & VM_FAULT_OOM)
			return -ENOMEM;
		if (fault & VM_FAULT_ERROR)
			return -EFAULT;
		cond_resched();
	}
	return 0;
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
	int err = 0;

	/* An mm without users has no pages left to unmerge. */
	if (!mmget_not_zero(mm)) {
		ksm_item_forget(item, KSM_BREAK_UNMAPPED);
		return 0;
	}
	mmap_read_lock(mm);
	err = fault_away(mm, ksm_item_addr(item), item->node->kpage);
	mmap_read_unlock(mm);
	mmput_async(mm);
	if (!err)
		ksm_item_forget(item, KSM_BREAK_UNMERGED);
	return err;
}
