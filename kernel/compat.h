/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between kernel versions.
 *
 * Only this file and the table of functions in mm_symbols.c test the version.
 * The driver is tested on Linux 6.1 and 6.12. Most blocks begin with the commit
 * that changed the kernel and the first version that has the commit.
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
 * mapping", 6.2): unshare faults copy kernel pages, which are not anonymous. On
 * older kernels the driver uses a write fault. It copies the page even if the
 * VMA is not writable, but fails if userfaultfd has write-protected the page.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define KSM_BREAK_FAULT		(FAULT_FLAG_UNSHARE | FAULT_FLAG_REMOTE)
#else
#define KSM_BREAK_FAULT		(FAULT_FLAG_WRITE | FAULT_FLAG_REMOTE)
#endif

/* 1c71222e5f23 (6.3): vm_flags is read-only; vm_flags_mod() changes it. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/**
 * vm_flags_mod - set and clear flags of a VMA
 * @vma: the VMA
 * @set: the flags to set
 * @clear: the flags to clear
 *
 * Context: the mmap lock must be held for writing. Does not sleep on Linux 6.1.
 * On 6.12 the kernel's own vm_flags_mod() also locks the VMA, and may sleep.
 */
static inline void vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#endif

/*
 * 7d4a8be0c4b2 ("mm/mmu_notifier: remove unused
 * mmu_notifier_range_update_to_read_only export", 6.3):
 * mmu_notifier_range_init() has no VMA argument.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/**
 * ksm_notifier_range_init - initialize a range for MMU notifiers
 * @range: the struct mmu_notifier_range to initialize
 * @vma: the VMA
 * @start: the first address of the range
 * @end: the address after the range
 *
 * Context: any. Does not sleep.
 */
#define ksm_notifier_range_init(range, vma, start, end) \
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, vma, (vma)->vm_mm, start, end)
#else
#define ksm_notifier_range_init(range, vma, start, end) \
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, (vma)->vm_mm, start, end)
#endif

/*
 * 6bbd42e2df8f ("mmu_notifiers: call invalidate_range() when invalidating
 * TLBs", 6.6): a TLB flush also notifies secondary TLBs, for example of an
 * IOMMU that uses the CPU's page tables. On older kernels the caller notifies
 * them.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define ptep_clear_flush_notify	ptep_clear_flush
/**
 * ksm_invalidate_range - make secondary TLBs drop a range after a TLB flush
 * @mm: the mm
 * @start: the first address of the range
 * @end: the address after the range
 *
 * Context: a page-table lock may be held. Does not sleep.
 */
#define ksm_invalidate_range(mm, start, end)	do { } while (0)
#else
#define ksm_invalidate_range	mmu_notifier_invalidate_range
#endif

/*
 * f7842747d13d ("mm: replace set_pte_at_notify() with just set_pte_at()",
 * 6.10): the change_pte() notifier is gone. Secondary MMUs always fault in the
 * new PTE.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
/**
 * mmu_notifier_change_pte - pass a new entry to the secondary MMUs
 * @mm: the mm
 * @addr: the address
 * @pte: the new page-table entry
 *
 * Context: the page-table lock must be held, between the start and the end of
 * an MMU notifier range. Does not sleep.
 */
static inline void mmu_notifier_change_pte(struct mm_struct *mm, unsigned long addr, pte_t pte)
{
}
#endif

/* The header of 6.1 has a macro of this name; pte.c defines a function. */
#undef set_pte_at_notify

/*
 * 68f0320824fa ("mm/rmap: convert folio_add_file_rmap_range() into
 * folio_add_file_rmap_[pte|ptes|pmd]()", 6.8) and other commits of the series:
 * the rmap functions take a folio.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
/**
 * ksm_add_file_rmap - add one mapping to the map count of a page that is not
 * anonymous
 * @page: the page, not compound; the caller gives a reference to the mapping
 * @vma: the VMA that maps it
 *
 * Context: the page-table lock of the mapping must be held. Does not sleep.
 */
static inline void ksm_add_file_rmap(struct page *page, struct vm_area_struct *vma)
{
	page_add_file_rmap(page, vma, false);
}

/**
 * ksm_remove_rmap - remove one mapping from the map count of a page
 * @page: the page, not compound; the caller must put the reference of the
 *	mapping
 * @vma: the VMA that has mapped it
 *
 * Context: the page-table lock of the mapping must be held. Does not sleep.
 */
static inline void ksm_remove_rmap(struct page *page, struct vm_area_struct *vma)
{
	page_remove_rmap(page, vma, false);
}

/**
 * ksm_try_share_anon_rmap - clear PageAnonExclusive() of a page, so that
 * processes can share it
 * @page: an anonymous page with PageAnonExclusive() set, not compound
 *
 * Context: the page-table lock must be held. The page-table entry must have
 * been cleared, and the TLBs flushed. Does not sleep.
 * Return: 0 on success, or -EBUSY if the page may be pinned.
 */
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
 * 0d940a9b270b ("mm/pgtable: allow pte_offset_map[_lock]() to fail", 6.5):
 * pte_offset_map_lock() returns NULL if the page table is gone, and otherwise
 * also enters an RCU read-side critical section.
 *
 * sparse cannot follow a lock that is taken only on success. So __release() and
 * __acquire(), which generate no code, hide the lock from sparse: to sparse,
 * ksm_pte_offset_map_lock() takes no lock, and ksm_pte_unmap_unlock() takes the
 * lock and drops it.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
/**
 * ksm_pte_offset_map_lock - map and lock the page-table entry of an address
 * @mm: the mm
 * @pmd: the entry of the page middle directory that points to the page table
 * @addr: the address
 * @ptl: set to the page-table lock
 *
 * Context: the mmap lock of @mm must be held. On success, returns with the
 * entry mapped and the page-table lock held; undo both with
 * ksm_pte_unmap_unlock(). Does not sleep.
 * Return: the entry; since 6.5, NULL with no lock taken if the page table is
 * gone.
 */
static inline pte_t *ksm_pte_offset_map_lock(struct mm_struct *mm, pmd_t *pmd,
					     unsigned long addr, spinlock_t **ptl)
{
	pte_t *ptep = pte_offset_map_lock(mm, pmd, addr, ptl);

	__release(*ptl);
	return ptep;
}

/**
 * ksm_pte_unmap_unlock - unmap and unlock a page-table entry
 * @ptep: the entry, from ksm_pte_offset_map_lock()
 * @ptl: the page-table lock, from ksm_pte_offset_map_lock()
 *
 * Context: the page-table lock must be held; it is dropped. Does not sleep.
 */
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

/**
 * ksm_mapcount - return the number of page-table entries that map a page
 * @page: the page, not compound
 *
 * page_mapcount() was removed between 6.1 and 6.12. It also handled compound
 * pages, which this function does not.
 *
 * Context: any. Does not sleep. The count can change at any time, unless the
 * caller holds the locks that keep page tables from mapping and unmapping it.
 * Return: the map count.
 */
static inline int ksm_mapcount(struct page *page)
{
	return atomic_read(&page->_mapcount) + 1;
}

/*
 * 54007f818206 ("mm: Introduce VM_SHADOW_STACK for shadow stack memory", 6.6)
 * and 9651fcedf7b9 ("mm: add MAP_DROPPABLE for designating always lazily
 * freeable mappings", 6.11): older kernels have no such mappings.
 */
#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK	VM_NONE
#endif
#ifndef VM_DROPPABLE
#define VM_DROPPABLE	VM_NONE
#endif

#endif /* KSM_COMPAT_H */
