/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ksm, as defined by the KSM driver of April 2009 (v4 of
 * the series).
 *
 * A program opens /dev/ksm, creates an area, and registers regions of its own
 * memory with the descriptor of the area. The driver then merges pages with
 * equal content in all registered regions: it keeps one read-only copy.
 *
 * Every ioctl may sleep.
 *
 * C and C++ programs include this file as <linux/ksm.h>.
 */
#ifndef _UAPI_LINUX_KSM_H
#define _UAPI_LINUX_KSM_H

#include <linux/types.h>
#include <linux/ioctl.h>

/** KSM_API_VERSION - the return value of KSM_GET_API_VERSION. */
#define KSM_API_VERSION	1

/** KSMIO - the ioctl type of /dev/ksm and of areas. */
#define KSMIO		0xAB

/**
 * struct ksm_memory_region - argument of KSM_REGISTER_MEMORY_REGION
 * @npages: length of the region in pages; not 0
 * @pad: ignored; programs of 2009 leave it uninitialized
 * @addr: address of the first byte in the caller's address space; page-aligned
 * @reserved_bits: ignored; programs of 2009 leave it uninitialized
 */
struct ksm_memory_region {
	__u32 npages;
	__u32 pad;
	__u64 addr;
	__u64 reserved_bits;
};

/**
 * struct ksm_memory_region_v16 - 16-byte form of struct ksm_memory_region
 * @npages: length of the region in pages; not 0
 * @pad: ignored
 * @addr: address of the first byte in the caller's address space; page-aligned
 *
 * The first version of the driver, of November 2008, had this form. The driver
 * accepts it for programs that were compiled with it. New programs use
 * struct ksm_memory_region.
 */
struct ksm_memory_region_v16 {
	__u32 npages;
	__u32 pad;
	__u64 addr;
};

/*
 * ioctls of /dev/ksm. All other numbers fail with -ENOTTY.
 */

/**
 * KSM_GET_API_VERSION - return the version of this interface
 *
 * Takes no argument. Return: KSM_API_VERSION.
 */
#define KSM_GET_API_VERSION		_IO(KSMIO, 0x00)

/**
 * KSM_CREATE_SHARED_MEMORY_AREA - create an area without regions
 *
 * Takes no argument. The new descriptor is close-on-exec. Closing its last copy
 * removes all regions of the area.
 *
 * Return: the descriptor of the area, or -ENOMEM, -EMFILE or -ENFILE.
 */
#define KSM_CREATE_SHARED_MEMORY_AREA	_IO(KSMIO, 0x01)

/*
 * ioctls of the descriptor of an area. All other numbers fail with -ENOTTY.
 */

/**
 * KSM_REGISTER_MEMORY_REGION - register a range of the caller's memory
 *
 * Takes a pointer to struct ksm_memory_region. The range may contain holes and
 * pages that the driver cannot merge. The driver skips them, and merges
 * anonymous memory that is mapped there later.
 *
 * Return: 0 on success; on error, nothing has changed:
 *
 *  -EFAULT: the pointer is invalid
 *  -EINVAL: @npages is 0, or @addr is not page-aligned
 *  -ERANGE: the range wraps around, or is not in the task's address space
 *  -EEXIST: the range overlaps a region of the same address space
 *  -ENOSPC: the area already has 1024 regions
 *  -ENOMEM: there is no memory for the region
 *  -EINTR: the caller was killed
 */
#define KSM_REGISTER_MEMORY_REGION	_IOW(KSMIO, 0x20, \
					     struct ksm_memory_region)

/**
 * KSM_REGISTER_MEMORY_REGION_V16 - register a range, 16-byte form
 *
 * Takes a pointer to struct ksm_memory_region_v16, and is otherwise identical
 * to KSM_REGISTER_MEMORY_REGION.
 */
#define KSM_REGISTER_MEMORY_REGION_V16	_IOW(KSMIO, 0x20, \
					     struct ksm_memory_region_v16)

/**
 * KSM_REMOVE_MEMORY_REGION - remove all regions of the area
 *
 * The argument is ignored. The driver unmerges all pages of the regions: each
 * address in them that maps a merged page gets its own copy.
 *
 * Return: 0 on success; on error, the remaining regions stay registered, so
 * that the caller can try again:
 *
 *  -ENOMEM: there is no memory to copy a page
 *  -EINTR: a signal arrived
 *  -EFAULT: a page cannot be copied, because it has a memory error or because
 *	userfaultfd handles its faults
 */
#define KSM_REMOVE_MEMORY_REGION	_IO(KSMIO, 0x21)

#endif /* _UAPI_LINUX_KSM_H */
