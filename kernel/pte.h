/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The helpers that change page-table entries; see pte.c.
 */
#ifndef KSM_PTE_H
#define KSM_PTE_H

#include <linux/mm.h>

#include "compat.h"

/*
 * Rename the helpers in the object file, because the kernel has functions with
 * some of these names.
 */
#define get_pte			ksm_get_pte
#define page_is_held		ksm_page_is_held
#define page_wrprotect		ksm_page_wrprotect
#define pte_change_begin	ksm_pte_change_begin
#define pte_change_end		ksm_pte_change_end
#define replace_page		ksm_replace_page
#define set_pte_at_notify	ksm_set_pte_at_notify

/*
 * The maximum length, in pages, of the range that one page_wrprotect() changes,
 * and so the maximum number of entries that are empty at once. For a range of
 * more than 33 pages, x86 would flush all TLB entries of the process.
 */
#define WRPROTECT_MAX_PAGES	32

/**
 * struct pte_change - an anonymous page that a kernel page will replace
 * @addr: the address of the page
 * @ptep: the page-table entry that maps it
 * @page: an anonymous page, not compound, and locked. The caller holds one
 *	reference.
 * @orig: the entry before page_wrprotect()
 * @err: the result of page_wrprotect(): 0, or -EBUSY if the page is held
 */
struct pte_change {
	unsigned long addr;
	pte_t *ptep;
	struct page *page;
	pte_t orig;
	int err;
};

pmd_t *ksm_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long *next);
void pte_change_begin(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct mmu_notifier_range *range);
void pte_change_end(struct mmu_notifier_range *range);
pte_t *get_pte(struct mm_struct *mm, unsigned long addr, spinlock_t **ptl);
bool page_is_held(struct page *page);
void page_wrprotect(struct vm_area_struct *vma, struct pte_change *changes, unsigned int nr);
int replace_page(struct vm_area_struct *vma, const struct pte_change *change,
		 struct page *kpage);
void set_pte_at_notify(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte);

/**
 * put_pte - unmap and unlock a page-table entry
 * @ptep: the entry, from get_pte()
 * @ptl: the page-table lock, from get_pte()
 *
 * Context: the page-table lock must be held; it is dropped.
 */
static inline void put_pte(pte_t *ptep, spinlock_t *ptl)
{
	ksm_pte_unmap_unlock(ptep, ptl);
}

/**
 * restore_pte - restore an entry that page_wrprotect() has cleared
 * @vma: the VMA
 * @change: the page
 *
 * Context: as for page_wrprotect().
 */
static inline void restore_pte(struct vm_area_struct *vma, const struct pte_change *change)
{
	set_pte_at(vma->vm_mm, change->addr, change->ptep, change->orig);
}

#endif /* KSM_PTE_H */
