/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ksm_lab: one PTE helper of the driver at a time, and the
 * time that a plain loop takes to hash pages.
 */
#ifndef KSM_LAB_H
#define KSM_LAB_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * enum ksm_lab_op - what to call
 * @KSM_LAB_GET_PTE: get_pte() alone: look, change nothing
 * @KSM_LAB_WRPROTECT: page_wrprotect(), and then the entry is put back read-only
 * @KSM_LAB_REPLACE: page_wrprotect(), then replace_page() with a kernel page that
 *	is a copy of the page
 * @KSM_LAB_SET_PTE: set_pte_at_notify() with the same entry, marked as not accessed
 */
enum ksm_lab_op {
	KSM_LAB_GET_PTE = 1,
	KSM_LAB_WRPROTECT = 2,
	KSM_LAB_REPLACE = 3,
	KSM_LAB_SET_PTE = 4,
};

/**
 * struct ksm_lab_call - argument of KSM_LAB_CALL
 * @op: in: an enum ksm_lab_op
 * @result: out: what the helper returned, 0 or a negative errno
 * @addr: in: an address of the caller
 * @before: out: the page-table entry before the call
 * @after: out: the page-table entry after it
 * @refs: out: the reference count of the page before the call, without the lab's own
 * @mapcount: out: how many entries mapped the page before the call
 */
struct ksm_lab_call {
	__u32 op;
	__s32 result;
	__u64 addr;
	__u64 before;
	__u64 after;
	__s32 refs;
	__s32 mapcount;
};

/**
 * KSM_LAB_CALL - call one helper
 *
 * Return: 0, and the helper's own result is in @result; -EINVAL for an unknown
 * @op; -ENXIO when there is no ordinary small anonymous page at @addr (a hole, a
 * huge page, a file, or a page that is replaced already); -EBUSY when the page is
 * locked; -ENOMEM; -EFAULT.
 */
#define KSM_LAB_CALL	_IOWR(0xAB, 0x80, struct ksm_lab_call)

/**
 * struct ksm_lab_hash - argument of KSM_LAB_HASH
 * @addr: in: the address of the first page, of the caller
 * @npages: in: how many pages
 * @pad: ignored
 * @ns: out: nanoseconds that hashing took, without the time to find the pages
 * @sum: out: xxh64 of the content; each page has the sum of those before as its seed
 */
struct ksm_lab_hash {
	__u64 addr;
	__u32 npages;
	__u32 pad;
	__u64 ns;
	__u64 sum;
};

/**
 * KSM_LAB_HASH - hash pages with xxh64 in a plain loop, and say how long it took
 *
 * Pages that are not there yet are faulted in, as if they had been read.
 *
 * Return: 0; -EINVAL when @addr is not page-aligned; -EFAULT when a page cannot be
 * read; -EINTR when the caller is killed.
 */
#define KSM_LAB_HASH	_IOWR(0xAB, 0x81, struct ksm_lab_hash)

/**
 * KSM_LAB_HOLD_MMAP_LOCK - hold the mmap lock of the caller for writing
 *
 * The argument is the time in milliseconds; 0 means until a signal arrives.
 *
 * Return: 0 on success, or -EINTR if a signal arrived before the time was over.
 */
#define KSM_LAB_HOLD_MMAP_LOCK	_IO(0xAB, 0x82)

#endif /* KSM_LAB_H */
