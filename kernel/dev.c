// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of /dev/ksm and of the descriptors of areas.
 */
#include <linux/anon_inodes.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "include/uapi/linux/ksm.h"
#include "ksm.h"

static_assert(KSM_REGISTER_MEMORY_REGION == 0x4018ab20);
static_assert(KSM_REGISTER_MEMORY_REGION_V16 == 0x4010ab20);

/*
 * Both forms of the structure begin with the same members. Do not read the rest
 * of the longer form, because programs of 2009 leave it uninitialized.
 */
static int register_region(struct ksm_area *area, const void __user *arg)
{
	struct ksm_memory_region_v16 region;

	static_assert(offsetof(struct ksm_memory_region, addr) ==
		      offsetof(struct ksm_memory_region_v16, addr));
	if (copy_from_user(&region, arg, sizeof(region)))
		return -EFAULT;
	if (region.addr != (unsigned long)region.addr)
		return -ERANGE;
	return ksm_area_register(area, region.addr, region.npages);
}

static long area_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct ksm_area *area = file->private_data;

	switch (cmd) {
	case KSM_REGISTER_MEMORY_REGION:
	case KSM_REGISTER_MEMORY_REGION_V16:
		return register_region(area, (const void __user *)arg);
	case KSM_REMOVE_MEMORY_REGION:
		return ksm_area_remove(area);
	default:
		return -ENOTTY;
	}
}

static int area_release(struct inode *inode, struct file *file)
{
	ksm_area_release(file->private_data);
	return 0;
}

/*
 * Show /proc/PID/fdinfo/FD of an area.
 *
 * ksm-regions: the number of regions, of all processes. Regions of a process
 *	that has exited are freed, and no longer counted, within a second
 * ksm-pages: the size of all regions in pages, holes included
 * ksm-merged: the number of addresses last seen mapping a kernel page
 */
static void area_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct ksm_area *area = file->private_data;
	unsigned long pages = 0, merged = 0;
	struct ksm_region *region;

	mutex_lock(&ksm_lock);
	list_for_each_entry(region, &area->regions, in_area) {
		pages += (region->end - region->start) / PAGE_SIZE;
		merged += region->merged;
	}
	seq_printf(m, "ksm-regions:\t%u\nksm-pages:\t%lu\nksm-merged:\t%lu\n",
		   area->nr_regions, pages, merged);
	mutex_unlock(&ksm_lock);
}

static const struct file_operations area_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = area_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = area_release,
	.show_fdinfo = area_show_fdinfo,
};

static int create_area(void)
{
	struct ksm_area *area = kzalloc(sizeof(*area), GFP_KERNEL_ACCOUNT);
	int fd;

	if (!area)
		return -ENOMEM;
	mutex_init(&area->lock);
	INIT_LIST_HEAD(&area->regions);
	fd = anon_inode_getfd("ksm-area", &area_fops, area, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		kfree(area);
	return fd;
}

static long ksm_dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case KSM_GET_API_VERSION:
		return KSM_API_VERSION;
	case KSM_CREATE_SHARED_MEMORY_AREA:
		return create_area();
	default:
		return -ENOTTY;
	}
}

static const struct file_operations dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = ksm_dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ksm",
	.fops = &dev_fops,
	.mode = 0600,
};

/**
 * ksm_dev_init - create /dev/ksm
 *
 * Context: module load. May sleep.
 * Return: 0 on success, or a negative error of misc_register().
 */
int ksm_dev_init(void)
{
	return misc_register(&dev);
}

/**
 * ksm_dev_exit - remove /dev/ksm
 *
 * Context: module unload. May sleep.
 */
void ksm_dev_exit(void)
{
	misc_deregister(&dev);
}
