/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ksm_lab, which calls the PTE helpers of the driver one
 * at a time, and hashes pages in a plain loop. Every ioctl may sleep.
 */
#ifndef KSM_LAB_H
#define KSM_LAB_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * enum ksm_lab_op - the helper to call
 * @KSM_LAB_GET_PTE: get_pte(): read the entry only
 * @KSM_LAB_WRPROTECT: page_wrprotect() for one page; then the entry is set
 *	again, read-only
 * @KSM_LAB_REPLACE: page_wrprotect() for one page, then replace_page() with a
 *	copy of the page
 * @KSM_LAB_SET_PTE: set_pte_at_notify() with the same entry, but with the
 *	accessed bit cleared
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
 * @result: out: the result of the helper: 0 or a negative errno
 * @addr: in: an address of the caller
 * @before: out: the page-table entry before the call
 * @after: out: the page-table entry after the call
 * @refs: out: the reference count of the page before the call, without the
 *	reference of ksm_lab
 * @mapcount: out: the map count of the page before the call
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
 * Return: 0 if the helper was called, with its result in @result; -EINVAL if
 * @op is unknown; -ENXIO if @addr does not map a small anonymous page, because
 * it is in a hole, a huge page or a file mapping, or maps a kernel page; -EBUSY
 * if the page is locked; -ENOMEM; -EFAULT.
 */
#define KSM_LAB_CALL	_IOWR(0xAB, 0x80, struct ksm_lab_call)

/**
 * struct ksm_lab_hash - argument of KSM_LAB_HASH
 * @addr: in: the address of the first page
 * @npages: in: the number of pages
 * @pad: ignored
 * @ns: out: the time that hashing took, in nanoseconds, without the time to
 *	find the pages
 * @sum: out: xxh64 of the content; the hash of each page is the seed for the
 *	next
 */
struct ksm_lab_hash {
	__u64 addr;
	__u32 npages;
	__u32 pad;
	__u64 ns;
	__u64 sum;
};

/**
 * KSM_LAB_HASH - hash pages with xxh64 in a plain loop, and measure the time
 *
 * Missing pages are faulted in, as by a read.
 *
 * Return: 0 on success; -EINVAL if @addr is not page-aligned; -EFAULT if a page
 * cannot be read; -EINTR if the caller was killed.
 */
#define KSM_LAB_HASH	_IOWR(0xAB, 0x81, struct ksm_lab_hash)

/**
 * KSM_LAB_HOLD_MMAP_LOCK - hold the mmap lock of the caller for writing
 *
 * The argument is the time in milliseconds, less than 2^32. With 0, only a
 * signal ends the wait.
 *
 * Return: 0 on success, or -EINTR if a signal arrived before the time was over.
 */
#define KSM_LAB_HOLD_MMAP_LOCK	_IO(0xAB, 0x82)

#endif /* KSM_LAB_H */
