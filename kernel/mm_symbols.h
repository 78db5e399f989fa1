/* SPDX-License-Identifier: GPL-2.0 */
/*
 * mm functions that the kernel does not export.
 *
 * Once ksm_symbols_init() has returned 0, the driver calls ptep_clear_flush()
 * and similar functions by the kernel's names. See mm_symbols.c.
 */
#ifndef KSM_MM_SYMBOLS_H
#define KSM_MM_SYMBOLS_H

#include <linux/sysfs.h>

/**
 * struct ksm_kernel_ksm - private variables of the kernel's own KSM
 * @group: the sysfs group /sys/kernel/mm/ksm; NULL if the kernel has no KSM
 * @run: the value of /sys/kernel/mm/ksm/run; NULL if the kernel has no KSM
 */
struct ksm_kernel_ksm {
	const struct attribute_group *group;
	const unsigned long *run;
};

extern struct ksm_kernel_ksm ksm_kernel_ksm;

int ksm_symbols_init(void);

/* <asm/tlbflush.h> does not declare this function for modules. */
struct mm_struct;
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start, unsigned long end,
			unsigned int stride_shift, bool freed_tables);

#endif /* KSM_MM_SYMBOLS_H */
