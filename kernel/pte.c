// SPDX-License-Identifier: GPL-2.0
/*
 * The four helpers of the series: one page-table entry, from found to replaced.
 *
 * The caller holds the mmap lock throughout, has found the mapping of the address
 * under it, and puts what changes an entry between pte_change_begin() and
 * pte_change_end(). So every secondary MMU has let go of the page before get_pte()
 * and takes nothing new until the end.
 *
 * They are exported for ksm_lab.ko alone, which calls them one at a time.
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
 * ksm_find_pmd - the entry that points to the page table of an address
 * @mm: whose page tables; the caller holds its mmap lock
 * @addr: the address, in a mapping
 * @next: set to where the next such entry begins, when there is none for @addr;
 *	a hole in an upper level is stepped over whole
 *
 * Return: the entry, which may be empty or of a huge page; NULL when a level
 * above it is missing.
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
 * pte_change_begin - tell the secondary MMUs that entries are about to change
 * @vma: the mapping; the mmap lock is held, no page-table lock is: this may sleep
 * @start: the address of the first
 * @end: the byte after what the last one maps
 * @range: what pte_change_end() takes
 */
void pte_change_begin(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct mmu_notifier_range *range)
{
	ksm_notifier_range_init(range, vma, start, end);
	mmu_notifier_invalidate_range_start(range);
}
EXPORT_SYMBOL_NS_GPL(pte_change_begin, KSM_LAB);

/**
 * pte_change_end - tell the secondary MMUs that they have changed
 * @range: from pte_change_begin()
 */
void pte_change_end(struct mmu_notifier_range *range)
{
	mmu_notifier_invalidate_range_end(range);
}
EXPORT_SYMBOL_NS_GPL(pte_change_end, KSM_LAB);

/**
 * get_pte - find and lock the page-table entry of an address
 * @mm: whose page tables; the caller holds its mmap lock
 * @addr: the address, in a mapping, which keeps its page tables where they are;
 *	those of no mapping munmap() may free at any moment, with the mmap lock
 *	held for reading, as the caller's is
 * @ptl: set to the page-table lock that is now held
 *
 * The race it is there for: without the lock, a page fault, reclaim, migration
 * or the exit of another thread changes the entry between the look at it and
 * what is done about it. Nothing that was seen before the lock was taken counts.
 *
 * Return: the entry, mapped, with *@ptl held: give both back with put_pte(). NULL,
 * with nothing held, when there is no page table: a hole or a huge page.
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
 * page_is_held - does somebody hold a page by a reference, not by an address?
 * @page: the page: not compound, locked; the caller holds one reference
 *
 * Return: whether there are more references than one for each mapping, one of the
 * caller, and one of the swap cache.
 */
bool page_is_held(struct page *page)
{
	int expected = ksm_mapcount(page) + 1 + folio_test_swapcache(page_folio(page));

	return page_ref_count(page) != expected;
}

/**
 * page_wrprotect - make sure that nobody can write a page, nor begin to
 * @vma: the mapping
 * @addr: the address in it
 * @ptep: its entry, from get_pte(); the page-table lock is held
 * @page: the page that the entry maps: anonymous, not compound, locked; the
 *	caller holds one reference
 * @orig: set to what the entry was
 *
 * The race it is there for: O_DIRECT, vmsplice, io_uring and VFIO write to a page
 * by a reference, not by an address. get_user_pages_fast() takes such a reference
 * with no lock at all: it reads the entry, takes the reference, and looks whether
 * the entry is still the same. So the entry is cleared and flushed from the TLBs
 * first and the references are counted after that: whoever came before is seen in
 * the count, and whoever comes later sees that the entry has changed, and waits
 * in the page fault for the page-table lock. Counting first would miss a
 * reference taken between the count and the clearing.
 *
 * In 2009 the entry was put back read-only here. Now it stays empty, which is
 * stronger and one TLB flush cheaper: the caller still holds the lock, compares,
 * and either calls replace_page() or puts @orig back as it was.
 *
 * Return: 0 with the entry empty; -EBUSY when somebody holds a reference that the
 * mappings do not account for, and then the entry is exactly as it was.
 */
int page_wrprotect(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
		   struct page *page, pte_t *orig)
{
	flush_cache_page(vma, addr, page_to_pfn(page));
	*orig = ptep_clear_flush_notify(vma, addr, ptep);
	if (page_is_held(page)) {
		set_pte_at(vma->vm_mm, addr, ptep, *orig);
		return -EBUSY;
	}
	return 0;
}
EXPORT_SYMBOL_NS_GPL(page_wrprotect, KSM_LAB);

/**
 * ptes_flush - make CPUs and secondary MMUs forget entries that were cleared
 * @vma: the mapping; the page-table lock has been held since the first was cleared
 * @start: the address of the first
 * @end: the byte after what the last one maps
 *
 * For many entries this takes the place of the flush in page_wrprotect(): they are
 * cleared first, all of them, then flushed at once, and only then does
 * page_is_held() count the references of each.
 */
void ptes_flush(struct vm_area_struct *vma, unsigned long start, unsigned long end)
{
	flush_tlb_mm_range(vma->vm_mm, start, end, PAGE_SHIFT, false);
	ksm_invalidate_range(vma->vm_mm, start, end);
}

/**
 * replace_page - map the kernel page in place of an anonymous one
 * @vma: the mapping: private and anonymous
 * @addr: the address in it
 * @ptep: its entry, empty since page_wrprotect(); the page-table lock has been
 *	held ever since
 * @orig: what the entry was
 * @page: the page that was mapped, locked; its content is that of @kpage
 * @kpage: the kernel page
 *
 * The race it is there for: between page_wrprotect() and here nobody could write,
 * so what was found equal is equal still. All accounts move while the lock is
 * held (map counts, references, rss), so nobody sees the page half replaced.
 *
 * The new entry is read-only, clean, and keeps the soft-dirty bit, since the
 * content is what it was. @page loses the mapping and its reference; a swap slot
 * that only it was kept for is freed.
 *
 * Return: 0; -EBUSY when the kernel's rule for exclusive pages says that @page
 * may be pinned, and then nothing has changed: the caller puts @orig back.
 */
int replace_page(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, pte_t orig,
		 struct page *page, struct page *kpage)
{
	struct mm_struct *mm = vma->vm_mm;
	struct folio *folio = page_folio(page);
	pte_t pte;

	if (PageAnonExclusive(page) && ksm_try_share_anon_rmap(page))
		return -EBUSY;

	pte = pte_mkclean(pte_wrprotect(mk_pte(kpage, vma->vm_page_prot)));
	if (pte_soft_dirty(orig))
		pte = pte_mksoft_dirty(pte);

	get_page(kpage);
	ksm_add_file_rmap(kpage, vma);
	inc_mm_counter(mm, MM_FILEPAGES);
	dec_mm_counter(mm, MM_ANONPAGES);
	set_pte_at_notify(mm, addr, ptep, pte);

	ksm_remove_rmap(page, vma);
	if (ksm_mapcount(page) || folio_test_swapcache(folio)) {
		/* Others may have it still (fork), mapped or swapped: their slot gets the content. */
		if (pte_dirty(orig))
			folio_mark_dirty(folio);
		if (!ksm_mapcount(page))
			folio_free_swap(folio);
	}
	put_page(page);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(replace_page, KSM_LAB);

/**
 * set_pte_at_notify - set an entry, and tell the secondary MMUs what it is
 * @mm: whose page table; the page-table lock is held
 * @addr: the address
 * @ptep: its entry
 * @pte: what it shall be
 *
 * The race it is there for: a KVM guest reads and writes through page tables of
 * its own. Were the entry set first, a vCPU could go on with the old page while
 * the process already sees the new one. In 2009 this call alone was in between:
 * KVM was handed the new entry. Since 6bdb913f0a70 (3.7) each call stands between
 * pte_change_begin() and pte_change_end(), and KVM lets go of the page at the
 * begin: nothing is left for it to change here. From 6.10 on it is not even told.
 */
void set_pte_at_notify(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte)
{
	mmu_notifier_change_pte(mm, addr, pte);
	set_pte_at(mm, addr, ptep, pte);
}
EXPORT_SYMBOL_NS_GPL(set_pte_at_notify, KSM_LAB);
