/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * The interface of /dev/ksm, as the KSM driver of April 2009 (v4 of the
 * series) defined it.
 *
 * A program opens /dev/ksm, asks it for an area, and registers regions of its
 * own memory on the area's descriptor.  The driver then finds pages of equal
 * content in all registered regions and keeps one read-only copy of them.
 *
 * This file stands alone: C and C++ programs include it as <linux/ksm.h>.
 */
#ifndef _UAPI_LINUX_KSM_H
#define _UAPI_LINUX_KSM_H

#include <linux/types.h>
#include <linux/ioctl.h>

/** KSM_API_VERSION - what KSM_GET_API_VERSION returns. */
#define KSM_API_VERSION	1

/** KSMIO - the ioctl magic of /dev/ksm and of its areas. */
#define KSMIO		0xAB

/**
 * struct ksm_memory_region - argument of KSM_REGISTER_MEMORY_REGION
 * @npages: length of the region, in pages; not 0
 * @pad: ignored; programs of the time leave it uninitialised
 * @addr: first byte of the region, in the caller's address space; page-aligned
 * @reserved_bits: ignored; programs of the time leave it uninitialised
 */
struct ksm_memory_region {
	__u32 npages;
	__u32 pad;
	__u64 addr;
	__u64 reserved_bits;
};

/**
 * struct ksm_memory_region_v16 - the same without @reserved_bits, 16 bytes
 * @npages: length of the region, in pages; not 0
 * @pad: ignored
 * @addr: first byte of the region, in the caller's address space; page-aligned
 *
 * One distribution shipped this form.  It is accepted for the sake of programs
 * built there; new programs use struct ksm_memory_region.
 */
struct ksm_memory_region_v16 {
	__u32 npages;
	__u32 pad;
	__u64 addr;
};

/*
 * On /dev/ksm.  Every other number is -ENOTTY.
 */

/**
 * KSM_GET_API_VERSION - the version of this interface
 *
 * Takes no argument.  Return: KSM_API_VERSION.
 */
#define KSM_GET_API_VERSION		_IO(KSMIO, 0x00)

/**
 * KSM_CREATE_SHARED_MEMORY_AREA - make an area with no regions in it
 *
 * Takes no argument.  The new descriptor is close-on-exec.  Closing the last
 * copy of it removes the regions of the area.
 *
 * Return: the descriptor of the area, or -ENOMEM, -EMFILE, -ENFILE.
 */
#define KSM_CREATE_SHARED_MEMORY_AREA	_IO(KSMIO, 0x01)

/*
 * On the descriptor of an area.  Every other number is -ENOTTY.
 */

/**
 * KSM_REGISTER_MEMORY_REGION - offer a range of the caller's memory
 *
 * Takes a pointer to struct ksm_memory_region.  Pages of the range that the
 * driver cannot merge, and holes in it, are no error: they are passed by, and
 * taken up when anonymous memory appears there.
 *
 * Return: 0, or with no state changed:
 *
 *  -EFAULT: the pointer is bad
 *  -EINVAL: @npages is 0, or @addr is not page-aligned
 *  -ERANGE: the range wraps around, or leaves the task's address space
 *  -EEXIST: the range overlaps a region of the same address space
 *  -ENOSPC: the area has 1024 regions already
 *  -ENOMEM: no memory for the region
 */
#define KSM_REGISTER_MEMORY_REGION	_IOW(KSMIO, 0x20, \
					     struct ksm_memory_region)

/**
 * KSM_REGISTER_MEMORY_REGION_V16 - the same with the 16-byte structure
 *
 * Takes a pointer to struct ksm_memory_region_v16; everything else is as with
 * KSM_REGISTER_MEMORY_REGION.
 */
#define KSM_REGISTER_MEMORY_REGION_V16	_IOW(KSMIO, 0x20, \
					     struct ksm_memory_region_v16)

/**
 * KSM_REMOVE_MEMORY_REGION - take every region of the area back
 *
 * An argument is ignored.  Every merged page of the regions gets its own copy
 * again.
 *
 * Return: 0, or with the region that could not be finished still registered,
 * so that the call can be made again:
 *
 *  -ENOMEM: no memory for the copies
 *  -EINTR: a signal came in between
 *  -EFAULT: a page cannot be copied: its memory is broken, or userfaultfd
 *	protects it
 */
#define KSM_REMOVE_MEMORY_REGION	_IO(KSMIO, 0x21)

#endif /* _UAPI_LINUX_KSM_H */
