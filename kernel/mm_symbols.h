/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The mm functions that the kernel does not export, by their own names.
 *
 * Once ksm_symbols_init() has returned 0 the rest of the driver calls
 * ptep_clear_flush() and its like as mm code does. mm_symbols.c says how.
 */
#ifndef KSM_MM_SYMBOLS_H
#define KSM_MM_SYMBOLS_H

#include <linux/sysfs.h>

/**
 * struct ksm_kernel_ksm - what the kernel's own KSM keeps to itself
 * @group: its sysfs group, /sys/kernel/mm/ksm; NULL when the kernel has no KSM
 * @run: its "run"; NULL when the kernel has no KSM
 */
struct ksm_kernel_ksm {
	const struct attribute_group *group;
	const unsigned long *run;
};

extern struct ksm_kernel_ksm ksm_kernel_ksm;

int ksm_symbols_init(void);

/* <asm/tlbflush.h> hides it from modules. */
struct mm_struct;
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start, unsigned long end,
			unsigned int stride_shift, bool freed_tables);

#endif /* KSM_MM_SYMBOLS_H */
