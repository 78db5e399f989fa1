/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The four helpers of the series: one page-table entry, from found to replaced.
 */
#ifndef KSM_PTE_H
#define KSM_PTE_H

#include <linux/mm.h>

#include "compat.h"

/*
 * Names in the object file: the kernel has functions with some of these names.
 */
#define get_pte			ksm_get_pte
#define page_is_held		ksm_page_is_held
#define page_wrprotect		ksm_page_wrprotect
#define pte_change_begin	ksm_pte_change_begin
#define pte_change_end		ksm_pte_change_end
#define ptes_flush		ksm_ptes_flush
#define replace_page		ksm_replace_page
#define set_pte_at_notify	ksm_set_pte_at_notify

pmd_t *ksm_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long *next);
void pte_change_begin(struct vm_area_struct *vma, unsigned long start, unsigned long end,
		      struct mmu_notifier_range *range);
void pte_change_end(struct mmu_notifier_range *range);
pte_t *get_pte(struct mm_struct *mm, unsigned long addr, spinlock_t **ptl);
bool page_is_held(struct page *page);
void ptes_flush(struct vm_area_struct *vma, unsigned long start, unsigned long end);
int page_wrprotect(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep,
		   struct page *page, pte_t *orig);
int replace_page(struct vm_area_struct *vma, unsigned long addr, pte_t *ptep, pte_t orig,
		 struct page *page, struct page *kpage);
void set_pte_at_notify(struct mm_struct *mm, unsigned long addr, pte_t *ptep, pte_t pte);

/* Give back what get_pte() gave. */
static inline void put_pte(pte_t *ptep, spinlock_t *ptl)
{
	ksm_pte_unmap_unlock(ptep, ptl);
}

#endif /* KSM_PTE_H */
