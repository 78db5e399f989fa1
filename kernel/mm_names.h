/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Rename the wrappers that mm_symbols.c defines for mm functions.
 *
 * The source calls the wrappers by the kernel's names, but their symbols need
 * other names: if /proc/kallsyms lists two symbols of the same name, kprobes,
 * perf and bpf refuse to attach to either. Kbuild makes the compiler include
 * this file before any header. So the declarations in the kernel's headers, and
 * the calls in their inline functions, are renamed as well, and the compiler
 * still checks the prototypes.
 */
#ifndef KSM_MM_NAMES_H
#define KSM_MM_NAMES_H

#define ptep_clear_flush			ksm_sym_ptep_clear_flush
#define flush_tlb_mm_range			ksm_sym_flush_tlb_mm_range
#define vm_normal_page				ksm_sym_vm_normal_page
#define folio_free_swap				ksm_sym_folio_free_swap
#define lru_add_drain_all			ksm_sym_lru_add_drain_all
#define page_add_file_rmap			ksm_sym_page_add_file_rmap
#define page_remove_rmap			ksm_sym_page_remove_rmap
#define folio_add_file_rmap_ptes		ksm_sym_folio_add_file_rmap_ptes
#define folio_remove_rmap_ptes			ksm_sym_folio_remove_rmap_ptes
#define mm_trace_rss_stat			ksm_sym_mm_trace_rss_stat
#define split_huge_page_to_list			ksm_sym_split_huge_page_to_list
#define split_huge_page_to_list_to_order	ksm_sym_split_huge_page_to_list_to_order
#define __pte_offset_map_lock			ksm_sym___pte_offset_map_lock
#define __mmu_notifier_invalidate_range_start	ksm_sym___mmu_notifier_invalidate_range_start
#define __mmu_notifier_invalidate_range_end	ksm_sym___mmu_notifier_invalidate_range_end
#define __mmu_notifier_invalidate_range		ksm_sym___mmu_notifier_invalidate_range
#define __mmu_notifier_change_pte		ksm_sym___mmu_notifier_change_pte
#define __mmu_notifier_invalidate_range_start_map	ksm_sym___mmu_notifier_invalidate_range_start_map
#define mm_kobj					ksm_sym_mm_kobj

/* Not wrappers: inline functions that gcc sometimes emits as symbols. */
#define pmd_pfn					ksm_sym_pmd_pfn
#define jhash					ksm_sym_jhash
#define rht_key_get_hash			ksm_sym_rht_key_get_hash

#endif /* KSM_MM_NAMES_H */
