// SPDX-License-Identifier: GPL-2.0
/*
 * Change page-table entries: the helpers of the series of 2009.
 *
 * A merge calls get_pte(), page_wrprotect() and replace_page(), which calls
 * set_pte_at_notify(). In 2009 each of them handled one entry. Here
 * page_wrprotect() clears several entries of one page table, so that one TLB
 * flush is enough for all of them.
 *
 * The caller holds the mmap lock and has looked up the VMA. It calls
 * pte_change_begin() before it takes the page-table lock, and pte_change_end()
 * after it has dropped the lock. In between, no secondary MMU maps the pages.
 *
 * Kernel pages count as file pages: in the rss of a process (RssFile), and in
 * "Mapped" of /proc/meminfo. They must, because they are not anonymous: when
 * the kernel unmaps a page, mm_counter() and the rmap functions decide by
 * PageAnon() which counters they decrement.
 *
 * A kernel page cannot be anonymous. The mapping field of an anonymous page
 * points to one anon_vma, and the page has one offset in it. A kernel page is
 * mapped at unrelated addresses of unrelated processes, so the rmap would not
 * find all of its mappings. Also, once only one process maps an anonymous page,
 * a write fault makes the page writable in place (do_wp_page()), but a kernel
 * page must be copied. mm/ksm.c solves both with a mark in the mapping field,
 * PAGE_MAPPING_KSM: do_wp_page() copies marked pages, and rmap_walk() passes
 * them to rmap_walk_ksm(). A module cannot use the mark, because
 * rmap_walk_ksm() takes the field for a pointer to a stable node of mm/ksm.c.
 *
 * As a file page that is on no LRU list, a kernel page makes one estimate
 * wrong: node_unmapped_file_pages() finds fewer reclaimable file pages than
 * there are.
 *
 * The helpers are exported to ksm_lab.ko, which changes one entry at a time.
 */
#include <linux/export.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/swap.h>

#include "compat.h"
#include "mm_symbols.h"
#include "pte.h"

/**
 * ksm_find_pmd - find the page-middle-directory entry of an address
 * @mm: the mm
 * @addr: an address in a VMA
 * @next: set to the first address after the range that the entry maps, or, if a
 *	table of an upper level is missing, after the range that the table would
 *	map
 *
 * Context: the mmap lock of @mm must be held.
 * Return: the entry, which can be empty or map a huge page; NULL if there is no
 * table of this level.
 */
pmd_t *ksm_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;

	*next = (addr & PGDIR_MASK) + PGDIR_SIZE;
	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	*next = (addr & P4D_MASK) + P4D_SIZE;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	*next = (addr & PUD_MASK) + PUD_SIZE;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud) || pud_bad(*pud))
		return NULL;
	*next = (addr & PMD_MASK) + PMD_SIZE;
	return pmd_offset(pud, addr);
}

/**
 * pte_change_begin - make secondary MMUs drop a range that is about to change
 * @vma: the VMA
 * @start: the first address of the range
 * @end: the address after the range
 * @range: initialized for pte_change_end()
 *
 * Secondary MMUs unmap the range, and map no page of it before
 * pte_change_end().
 *
 * Context: the mmap lock must be held, and no page-table lock. May sleep.
 */
void pte_change_begin(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct mmu_notifier_range *range)
{
	ksm_notifier_range_init(range, vma, start, end);
	mmu_notifier_invalidate_range_start(range);
}
EXPORT_SYMBOL_NS_GPL(pte_change_begin, KSM_LAB);

/**
 * pte_change_end - let secondary MMUs map a range again
 * @range: the range, from pte_change_begin()
 *
 * Context: the mmap lock must be held, and no page-table lock. May sleep.
 */
void pte_change_end(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_end(range);
}
EXPORT_SYMBOL_NS_GPL(pte_change_end, KSM_LAB);

/**
 * get_pte - find and lock the page-table entry of an address
 * @mm: the mm
 * @addr: an address in a VMA. It must be in one, because munmap() can free page
 *	tables outside of VMAs while the mmap lock is held for reading.
 * @ptl: set to the page-table lock
 *
 * The race: without the page-table lock, another thread can change the entry
 * between a read of it and the next step. Page faults, reclaim and migration do
 * so. A caller therefore relies on nothing that it read before this function
 * took the lock.
 *
 * Context: the mmap lock of @mm must be held. On success, returns with the
 * entry mapped and the page-table lock held; undo both with put_pte().
 * Return: the entry; NULL, with no lock taken, if no page table maps @addr: it
 * is in a hole, in a huge page, or in a huge page that is being migrated.
 */
pte_t *get_pte(struct mm_struct *mm, unsigned long addr, spinlock_t **ptl)
{
	unsigned long next;
	pmd_t *pmd = ksm_find_pmd(mm, addr, &next);
	pmd_t entry;

	if (!pmd)
		return NULL;
	entry = READ_ONCE(*pmd);
	if (!pmd_present(entry) || pmd_trans_huge(entry) || pmd_bad(entry))
		return NULL;
	return ksm_pte_offset_map_lock(mm, pmd, addr, ptl);
}
EXPORT_SYMBOL_NS_GPL(get_pte, KSM_LAB);

/**
 * page_is_held - test whether a page has references other than its mappings
 * @page: the page, not compound. The caller holds one reference.
 *
 * Each mapping of a page holds a reference, and so does the swap cache. Any
 * further reference may belong to a user that can read or write the page
 * without a page-table entry.
 *
 * The race: if fork() has shared the page, another process can unmap it between
 * the read of the map count and the read of the reference count. Then the map
 * count is too high by one, and hides one further reference. So the function
 * reads the map count again. An unmap decrements the map count before the
 * reference count, so the second read finds the change. mm/ksm.c reads each
 * count only once.
 *
 * Context: the page must be locked.
 * Return: true if there are further references.
 */
bool page_is_held(struct page *page)
{
	int mapped = ksm_mapcount(page);
	int expected = mapped + 1 + folio_test_swapcache(page_folio(page));

	if (page_ref_count(page) != expected)
		return true;
	/*
	 * Has another process unmapped the page between the two reads? Then the
	 * map count was too high, and may have hidden a reference.
	 */
	smp_rmb();
	return ksm_mapcount(page) != mapped;
}

/**
 * page_wrprotect - prevent all writes to pages
 * @vma: the VMA
 * @changes: the pages, sorted by address, all mapped by one page table. In each
 *	change, @orig and @err are set.
 * @nr: the number of pages, at least 1. The range from the first page to the
 *	last is at most WRPROTECT_MAX_PAGES long.
 *
 * The race: O_DIRECT, vmsplice, io_uring and VFIO use a page by a reference,
 * not by an address, and may write to it. get_user_pages_fast() takes a
 * reference without a lock: it reads the entry, takes the reference, and checks
 * that the entry has not changed. So this function first clears the entries and
 * flushes the TLBs, and only then counts the references. If the check of
 * get_user_pages_fast() comes before the clearing, its reference is in the
 * count. If the check comes later, it finds that the entry has changed. Then
 * the thread drops the reference, takes a page fault, and waits there for the
 * page-table lock. If the references were counted first, one that is taken and
 * checked between the count and the clearing would be missed.
 *
 * In 2009 this function set the entry read-only. A CPU can load a read-only
 * entry into its TLB again, so replace_page() had to flush a second time. An
 * empty entry needs no second flush, but it also stops readers. The caller
 * compares the page while its entry is empty, and then calls replace_page() or
 * restore_pte().
 *
 * All entries are cleared before one flush of the whole range. A thread that
 * touches a page while its entry is empty takes a page fault. If the access is
 * a write, the fault handler allocates a page. It then waits for the page-table
 * lock, finds that the entry is set again, and frees the page. Such a fault is
 * wasted work, so WRPROTECT_MAX_PAGES limits the number of entries that are
 * empty at once, and with it the range of the flush.
 *
 * The result of each page is in @err: 0 if its entry is empty now; -EBUSY if
 * the page is held (page_is_held()), and then its entry is as before.
 *
 * Context: the mmap lock and the page-table lock must be held, and the pages
 * must be locked. Call it between pte_change_begin() and pte_change_end(), and
 * do not drop the page-table lock while an entry is empty.
 */
void page_wrprotect(struct vm_area_struct *vma, struct pte_change *changes, unsigned int nr)
{
	unsigned long start = changes[0].addr, end = changes[nr - 1].addr + PAGE_SIZE;
	struct pte_change *change;

	for (change = changes; change < changes + nr; change++) {
		flush_cache_page(vma, change->addr, page_to_pfn(change->page));
		change->orig = ptep_get_and_clear(vma->vm_mm, change->addr, change->ptep);
	}
	flush_tlb_mm_range(vma->vm_mm, start, end, PAGE_SHIFT, false);
	ksm_invalidate_range(vma->vm_mm, start, end);

	for (change = changes; change < changes + nr; change++) {
		change->err = page_is_held(change->page) ? -EBUSY : 0;
		if (change->err)
			restore_pte(vma, change);
	}
}
EXPORT_SYMBOL_NS_GPL(page_wrprotect, KSM_LAB);

/**
 * replace_page - map a kernel page in place of an anonymous page
 * @vma: the VMA, private and anonymous
 * @change: the anonymous page, after page_wrprotect()
 * @kpage: the kernel page, with the same content
 *
 * No race is left: no process can write to either page between page_wrprotect()
 * and this function, so pages that were found equal are still equal. The entry
 * and the rss change under the page-table lock, so no other thread that takes
 * this lock sees a page that is replaced in part.
 *
 * The new entry is read-only and clean. It keeps the soft-dirty bit, because
 * the content has not changed. The old page loses its mapping and the reference
 * of the mapping. If this was its last mapping, its swap slot is freed, unless
 * the slot is in use: by another process, by writeback or by hibernation.
 *
 * The kernel page counts as a file page; the opening comment of this file says
 * why.
 *
 * Context: as for page_wrprotect().
 * Return: 0 on success, or -EBUSY if the kernel's rule for exclusive pages says
 * that the page may be pinned. Then the entry is as before page_wrprotect().
 */
int replace_page(struct vm_area_struct *vma, const struct pte_change *change,
		 struct page *kpage)
{
	struct mm_struct *mm = vma->vm_mm;
	struct page *page = change->page;
	struct folio *folio = page_folio(page);
	pte_t pte;

	if (PageAnonExclusive(page) && ksm_try_share_anon_rmap(page)) {
		restore_pte(vma, change);
		return -EBUSY;
	}

	pte = pte_mkclean(pte_wrprotect(mk_pte(kpage, vma->vm_page_prot)));
	if (pte_soft_dirty(change->orig))
		pte = pte_mksoft_dirty(pte);

	get_page(kpage);
	ksm_add_file_rmap(kpage, vma);
	inc_mm_counter(mm, MM_FILEPAGES);
	dec_mm_counter(mm, MM_ANONPAGES);
	set_pte_at_notify(mm, change->addr, change->ptep, pte);

	ksm_remove_rmap(page, vma);
	if (ksm_mapcount(page) || folio_test_swapcache(folio)) {
		/*
		 * After fork, other processes may still use the page or its
		 * swap slot. The dirty bit of the old entry is gone now: if the
		 * page were not marked dirty, reclaim could drop its content.
		 */
		if (pte_dirty(change->orig))
			folio_mark_dirty(folio);
		if (!ksm_mapcount(page))
			folio_free_swap(folio);
	}
	put_page(page);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(replace_page, KSM_LAB);

/**
 * set_pte_at_notify - set an entry, and pass it to the secondary MMUs
 * @mm: the mm
 * @addr: the address
 * @ptep: its entry, which is empty
 * @pte: the new entry
 *
 * A KVM guest accesses memory through a page table of KVM. If this page table
 * still mapped the old page after the entry is set, a vCPU would use the old
 * page while the process already uses the new one. In 2009 this call alone
 * prevented that: it gave KVM the new entry. Since 6bdb913f0a70 (3.7), KVM is
 * notified before the change: pte_change_begin() makes KVM unmap the page, so
 * this call finds nothing to change. Since 6.10, this function does not even
 * notify KVM.
 *
 * Context: the page-table lock must be held. Call it between pte_change_begin()
 * and pte_change_end().
 */
void set_pte_at_notify(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte)
{
	mmu_notifier_change_pte(mm, addr, pte);
	set_pte_at(mm, addr, ptep, pte);
}
EXPORT_SYMBOL_NS_GPL(set_pte_at_notify, KSM_LAB);
