/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions. No other file has an #if on a version,
 * but for the table of names in mm_symbols.c.
 *
 * Tested: 6.1 and 6.12. Each block names the commit that made the difference and
 * the version it came with.
 */
#ifndef KSM_COMPAT_H
#define KSM_COMPAT_H

#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/rmap.h>
#include <linux/slab.h>
#include <linux/version.h>

#define KSM_KERNEL_6_1	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 1, 0) && \
			 LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0))
#define KSM_KERNEL_6_12	(LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0) && \
			 LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0))

#if !KSM_KERNEL_6_1 && !KSM_KERNEL_6_12
#error "This driver is tested on Linux 6.1 and 6.12 only: see kernel/compat.h"
#endif

/*
 * 8d6a0ac09a16 ("mm: extend FAULT_FLAG_UNSHARE support to anything in a COW
 * mapping", 6.2): before it, unsharing did nothing for a page that is not
 * anonymous. A write fault copies it as well, whether or not the VMA may be
 * written, but trips over userfaultfd write protection.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define KSM_BREAK_FAULT		(FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE)
#else
#define KSM_BREAK_FAULT		(FAULT_FLAG_WRITE | FAULT_FLAG_REMOTE)
#endif

/* 1c71222e5f23 ("mm: replace vma->vm_flags direct modifications", 6.3). */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/*
 * 7d4a8be0c4b2 ("mm/mmu_notifier: remove unused mmu_notifier_range_update_to_read_only
 * export", 6.3): a notifier range has no VMA any more.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define ksm_notifier_range_init(range, vma, start, end) \
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, vma, (vma)->vm_mm, start, end)
#else
#define ksm_notifier_range_init(range, vma, start, end) \
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, (vma)->vm_mm, start, end)
#endif

/*
 * 6bbd42e2df8f ("mmu_notifiers: call invalidate_range() when invalidating TLBs",
 * 6.6): since then the flush itself tells secondary TLBs that share the page table.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define ptep_clear_flush_notify	ptep_clear_flush
#define ksm_invalidate_range(mm, start, end)	do { } while (0)
#else
#define ksm_invalidate_range	mmu_notifier_invalidate_range
#endif

/*
 * f7842747d13d ("mm: replace set_pte_at_notify() with just set_pte_at()", 6.10):
 * secondary MMUs no longer take a new PTE, they fault it in; as KVM had done since
 * 6bdb913f0a70 (3.7), whatever it was handed.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
static inline void mmu_notifier_change_pte(struct mm_struct *mm, unsigned long addr, pte_t pte)
{
}
#endif

/* What the header of 6.1 has under this name is a macro; pte.c has the function. */
#undef set_pte_at_notify

/*
 * 68f0320824fa ("mm/rmap: convert folio_add_file_rmap_range() into
 * folio_add_file_rmap_[pte|ptes|pmd]()", 6.8) and its siblings in that series:
 * rmap and page_try_share_anon_rmap() take folios.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
static inline void ksm_add_file_rmap(struct page *page, struct vm_area_struct *vma)
{
	page_add_file_rmap(page, vma, false);
}

static inline void ksm_remove_rmap(struct page *page, struct vm_area_struct *vma)
{
	page_remove_rmap(page, vma, false);
}

static inline int ksm_try_share_anon_rmap(struct page *page)
{
	return page_try_share_anon_rmap(page);
}
#else
static inline void ksm_add_file_rmap(struct page *page, struct vm_area_struct *vma)
{
	folio_add_file_rmap_pte(page_folio(page), page, vma);
}

static inline void ksm_remove_rmap(struct page *page, struct vm_area_struct *vma)
{
	folio_remove_rmap_pte(page_folio(page), page, vma);
}

static inline int ksm_try_share_anon_rmap(struct page *page)
{
	return folio_try_share_anon_rmap_pte(page_folio(page), page);
}
#endif

/*
 * 0d940a9b270b ("mm/pgtable: allow pte_offset_map[_lock]() to fail", 6.5): since
 * then it can return NULL, and holds RCU too when it does not. sparse cannot follow
 * a lock that is taken on a condition, so it is told of none until put_pte().
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
static inline pte_t *ksm_pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmd,
					     unsigned long addr, spinlock_t **ptl)
{
	pte_t *ptep = pte_offset_map_lock(mm, pmd, addr, ptl);

	__release(*ptl);
	return ptep;
}

static inline void ksm_pte_unmap_unlock(pte_t *ptep, spinlock_t *ptl)
{
	__acquire(ptl);
	pte_unmap_unlock(ptep, ptl);
}
#else
#define ksm_pte_offset_map_lock	__pte_offset_map_lock

static inline void ksm_pte_unmap_unlock(pte_t *ptep, spinlock_t *ptl)
{
	__acquire(RCU);
	__acquire(ptl);
	pte_unmap_unlock(ptep, ptl);
}
#endif

/* page_mapcount() went in 6.12; for a page of order 0 it was this. */
static inline int ksm_mapcount(struct page *page)
{
	return atomic_read(&page->_mapcount) + 1;
}

/*
 * 54007f818206 ("mm: Introduce VM_SHADOW_STACK for shadow stack memory", 6.6) and
 * 9651fcedf7b9 ("mm: add MAP_DROPPABLE for designating always lazily freeable
 * mappings", 6.11).
 */
#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK	VM_NONE
#endif
#ifndef VM_DROPPABLE
#define VM_DROPPABLE	VM_NONE
#endif

#endif /* KSM_COMPAT_H */
