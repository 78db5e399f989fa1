// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/ksm: settings and counters.
 *
 * The directory has the six files of the 2009 driver (run, pages_to_scan,
 * sleep, max_kernel_pages, pages_shared and kernel_pages_allocated) and several
 * more. Three of the six have other names in mainline KSM: sleep is
 * sleep_millisecs there (in milliseconds, not microseconds), pages_shared is
 * pages_sharing, and kernel_pages_allocated is pages_shared. The file
 * zero_pages is not mainline's ksm_zero_pages: see struct ksm_counters.
 *
 * If the kernel has its own KSM (mm/ksm.c), /sys/kernel/mm/ksm exists already.
 * With sysfs=auto, the driver's directory is then called ksm_dev. With
 * sysfs=takeover, the driver removes the kernel's directory, if the kernel's
 * KSM is stopped, and restores it when the module is unloaded. Userspace reads
 * the name of the driver's directory in /sys/module/ksm/parameters/sysfs_dir.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/kernfs.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/oom.h>
#include <linux/sysfs.h>

#include "ksm.h"
#include "mm_symbols.h"

/* An unload retries for one second to restore the kernel's directory. */
#define RESTORE_TRIES		100
#define RESTORE_WAIT_MS	10

static DEFINE_MUTEX(ksm_run_lock);
static struct kobject *dir;
/*
 * Points to a string constant, because sysfs_dir can be read while the
 * directory is removed.
 */
static const char *dir_name = "";
static bool kernel_ksm_hidden;

static char *sysfs = "auto";
module_param(sysfs, charp, 0444);
MODULE_PARM_DESC(sysfs, "directory in /sys/kernel/mm: auto (ksm, or ksm_dev if ksm exists already) or takeover (replace the directory of the kernel's own KSM, which must be stopped)");

static int sysfs_dir_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", READ_ONCE(dir_name));
}

/*
 * Without this function, the kernel would call a NULL pointer if the module
 * were loaded with sysfs_dir=...
 */
static int sysfs_dir_set(const char *val, const struct kernel_param *kp)
{
	pr_err("sysfs_dir=%s: this parameter is read-only; the module was not loaded. Load it without sysfs_dir.\n",
	       val);
	return -EINVAL;
}

static const struct kernel_param_ops sysfs_dir_ops = {
	.set = sysfs_dir_set,
	.get = sysfs_dir_get,
};
module_param_cb(sysfs_dir, &sysfs_dir_ops, NULL, 0444);
MODULE_PARM_DESC(sysfs_dir, "name of the driver's directory in /sys/kernel/mm (read-only)");

/* The prefix devksm_ avoids the names of the functions in mm/ksm.c. */
#define ATTR_RO(_name)									\
static struct kobj_attribute devksm_##_name##_attr =					\
	__ATTR(_name, 0444, devksm_##_name##_show, NULL)

#define ATTR_RW(_name)									\
static struct kobj_attribute devksm_##_name##_attr =					\
	__ATTR(_name, 0644, devksm_##_name##_show, devksm_##_name##_store)

/*
 * Parse a decimal number. Any failure is -EINVAL, also where kstrtoul() returns
 * -ERANGE.
 */
static int parse(const char *buf, unsigned long min, unsigned long max, unsigned long *value)
{
	return kstrtoul(buf, 10, value) || *value < min || *value > max ? -EINVAL : 0;
}

static ssize_t devksm_run_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.run));
}

/*
 * A write of 2 unmerges all pages before it returns.
 *
 *	-EINVAL: the value is not a number from 0 to 2; nothing has changed
 *	-EINTR: a signal arrived. If the write was waiting for another write,
 *	nothing has changed; otherwise run is 0, and some pages may still be
 *	merged
 *	-ENOMEM: there is no memory to copy a page; run is 0, and some pages are
 *	still merged
 *	-EFAULT: a page cannot be copied, because it has a memory error or
 *	because userfaultfd handles its faults; run is 0, and the page is still
 *	merged
 */
static ssize_t devksm_run_store(struct kobject *kobj, struct kobj_attribute *attr,
				const char *buf, size_t count)
{
	unsigned long run;
	int err;

	if (parse(buf, KSM_RUN_STOP, KSM_RUN_UNMERGE, &run))
		return -EINVAL;
	err = mutex_lock_interruptible(&ksm_run_lock);
	if (err)
		return -EINTR;
	/*
	 * Scanners read "run" under ksm_lock before each step, so none begins
	 * another step after a write of 0.
	 */
	mutex_lock(&ksm_lock);
	WRITE_ONCE(ksm_settings.run, run);
	mutex_unlock(&ksm_lock);
	if (run != KSM_RUN_SCAN)
		err = ksm_pass_wait();
	ksm_pass_wake_all();
	if (run == KSM_RUN_UNMERGE && !err) {
		/*
		 * If the copies exhaust memory, make the OOM killer choose this
		 * process.
		 */
		set_current_oom_origin();
		err = ksm_unmerge_all();
		clear_current_oom_origin();
	}
	if (run == KSM_RUN_UNMERGE && err)
		WRITE_ONCE(ksm_settings.run, KSM_RUN_STOP);
	mutex_unlock(&ksm_run_lock);
	ksm_scan_wake();
	return err ?: count;
}

ATTR_RW(run);

/* A setting that needs no action except a wake-up of the scanners. */
#define SETTING(_name, _min, _max)							\
static ssize_t devksm_##_name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
				     char *buf)						\
{											\
	return sysfs_emit(buf, "%lu\n", (unsigned long)READ_ONCE(ksm_settings._name));	\
}											\
static ssize_t devksm_##_name##_store(struct kobject *kobj, struct kobj_attribute *attr,	\
				      const char *buf, size_t count)			\
{											\
	unsigned long value;								\
											\
	if (parse(buf, _min, _max, &value))						\
		return -EINVAL;								\
	WRITE_ONCE(ksm_settings._name, value);						\
	ksm_scan_wake();								\
	return count;									\
}											\
ATTR_RW(_name)

SETTING(pages_to_scan, 0, UINT_MAX);
SETTING(sleep, 0, UINT_MAX);
SETTING(max_kernel_pages, 0, ULONG_MAX);
SETTING(max_page_sharing, KSM_MIN_SHARING, KSM_MAX_SHARING);

static ssize_t devksm_threads_show(struct kobject *kobj, struct kobj_attribute *attr,
				   char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.threads));
}

static ssize_t devksm_threads_store(struct kobject *kobj, struct kobj_attribute *attr,
				    const char *buf, size_t count)
{
	unsigned long threads;
	int err;

	if (parse(buf, 1, KSM_MAX_THREADS, &threads))
		return -EINVAL;
	if (mutex_lock_interruptible(&ksm_run_lock))
		return -EINTR;
	err = ksm_scan_set_threads(threads);
	mutex_unlock(&ksm_run_lock);
	return err ?: count;
}

ATTR_RW(threads);

/* A read-only counter. */
#define COUNTER(_name, _field)								\
static ssize_t devksm_##_name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
				     char *buf)						\
{											\
	return sysfs_emit(buf, "%lu\n", READ_ONCE(ksm_counters._field));		\
}											\
ATTR_RO(_name)

COUNTER(pages_shared, shared);
COUNTER(kernel_pages_allocated, kernel_pages);
COUNTER(zero_pages, zero_pages);
COUNTER(full_scans, full_scans);
COUNTER(pages_volatile, volatile_last);

/* Size of the driver's metadata in bytes, without the kernel pages. */
static ssize_t devksm_metadata_bytes_show(struct kobject *kobj, struct kobj_attribute *attr,
					  char *buf)
{
	unsigned long bytes;

	mutex_lock(&ksm_lock);
	bytes = atomic_long_read(&ksm_counters.metadata) + ksm_index_ops->bytes(ksm_index) +
		ksm_collision_bytes();
	mutex_unlock(&ksm_lock);
	return sysfs_emit(buf, "%lu\n", bytes);
}
ATTR_RO(metadata_bytes);

static struct attribute *devksm_attrs[] = {
	&devksm_run_attr.attr,
	&devksm_pages_to_scan_attr.attr,
	&devksm_sleep_attr.attr,
	&devksm_max_kernel_pages_attr.attr,
	&devksm_max_page_sharing_attr.attr,
	&devksm_threads_attr.attr,
	&devksm_pages_shared_attr.attr,
	&devksm_kernel_pages_allocated_attr.attr,
	&devksm_zero_pages_attr.attr,
	&devksm_full_scans_attr.attr,
	&devksm_pages_volatile_attr.attr,
	&devksm_metadata_bytes_attr.attr,
	NULL
};

static const struct attribute_group ksm_group = { .attrs = devksm_attrs };

/* skipped/REASON: the number of pages that the last complete pass skipped. */
static ssize_t skipped_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf);

#define SKIPPED(_why, _name) [_why - 1] = { { .name = _name, .mode = 0444 }, skipped_show, NULL }

static struct kobj_attribute skipped[] = {
	SKIPPED(KSM_SKIP_SWAPPED, "swapped"),
	SKIPPED(KSM_SKIP_SHARED_VMA, "shared_vma"),
	SKIPPED(KSM_SKIP_IO, "io"),
	SKIPPED(KSM_SKIP_PFNMAP, "pfnmap"),
	SKIPPED(KSM_SKIP_MIXEDMAP, "mixedmap"),
	SKIPPED(KSM_SKIP_HUGETLB, "hugetlb"),
	SKIPPED(KSM_SKIP_DAX, "dax"),
	SKIPPED(KSM_SKIP_UFFD, "uffd"),
	SKIPPED(KSM_SKIP_SPECIAL, "special"),
	SKIPPED(KSM_SKIP_FILE, "file"),
	SKIPPED(KSM_SKIP_KERNEL_KSM, "kernel_ksm"),
	SKIPPED(KSM_SKIP_ZERO_PAGE, "zero_page"),
	SKIPPED(KSM_SKIP_NOT_ANON, "not_anon"),
	SKIPPED(KSM_SKIP_PINNED, "pinned"),
	SKIPPED(KSM_SKIP_BUSY, "busy"),
	SKIPPED(KSM_SKIP_CHANGED, "changed"),
	SKIPPED(KSM_SKIP_THP_SPLIT, "thp_split"),
	SKIPPED(KSM_SKIP_LIMIT, "limit"),
	SKIPPED(KSM_SKIP_NO_MEMORY, "no_memory"),
	SKIPPED(KSM_SKIP_HWPOISON, "hwpoison"),
};
static_assert(ARRAY_SIZE(skipped) == KSM_NR_SKIP - 1);

static ssize_t skipped_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%lu\n",
			  READ_ONCE(ksm_counters.skipped_last[attr - skipped + 1]));
}

static struct attribute *skipped_attrs[ARRAY_SIZE(skipped) + 1];
static const struct attribute_group skipped_group = {
	.name = "skipped",
	.attrs = skipped_attrs,
};

static const struct attribute_group *groups[] = { &ksm_group, &skipped_group, NULL };

static bool name_exists(const char *name)
{
	struct kernfs_node *kn = kernfs_find_and_get(mm_kobj->sd, name);

	kernfs_put(kn);
	return kn;
}

/* Is the kernel's own KSM stopped? */
static bool kernel_ksm_stopped(void)
{
	return READ_ONCE(*ksm_kernel_ksm.run) == KSM_RUN_STOP;
}

/*
 * Remove the directory of the kernel's own KSM, if that is stopped. The removal
 * waits for writes to files of the directory. One of them may have started the
 * kernel's KSM, so "run" is checked again afterwards.
 */
static int hide_kernel_ksm(void)
{
	int err = -EBUSY;

	if (!ksm_kernel_ksm.group || !ksm_kernel_ksm.run) {
		pr_err("sysfs=takeover: /sys/kernel/mm/ksm does not belong to the kernel's own KSM; the module was not loaded. Load it with sysfs=auto.\n");
		return -EBUSY;
	}
	if (!kernel_ksm_stopped())
		goto busy;
	sysfs_remove_group(mm_kobj, ksm_kernel_ksm.group);
	if (kernel_ksm_stopped()) {
		kernel_ksm_hidden = true;
		return 0;
	}
	err = sysfs_create_group(mm_kobj, ksm_kernel_ksm.group) ?: -EBUSY;
busy:
	pr_err("sysfs=takeover: the kernel's own KSM is running; the module was not loaded. Write 0 to /sys/kernel/mm/ksm/run, or load it with sysfs=auto.\n");
	return err;
}

/*
 * Restore the directory of the kernel's own KSM. If this function fails, the
 * directory is missing until the next reboot, so it retries if an allocation
 * fails.
 */
static void restore_kernel_ksm(void)
{
	int tries = RESTORE_TRIES, err;

	if (!kernel_ksm_hidden)
		return;
	kernel_ksm_hidden = false;
	while ((err = sysfs_create_group(mm_kobj, ksm_kernel_ksm.group))) {
		if (!--tries) {
			pr_err("cannot restore the directory /sys/kernel/mm/ksm of the kernel's own KSM (error %d); it is missing until the next reboot\n",
			       err);
			return;
		}
		msleep(RESTORE_WAIT_MS);
	}
}

static const char *choose_name(void)
{
	if (!name_exists("ksm"))
		return "ksm";
	if (!strcmp(sysfs, "auto"))
		return "ksm_dev";
	return NULL;
}

/*
 * kobject_del() frees the name at once. The object lives until its last
 * reference is dropped.
 */
static void remove_dir(void)
{
	kobject_del(dir);
	kobject_put(dir);
}

/**
 * ksm_sysfs_init - create the driver's directory in /sys/kernel/mm
 *
 * Context: module load. May sleep.
 * Return: 0 on success; -EINVAL if the parameter "sysfs" is invalid; -EBUSY if
 * the kernel's own KSM keeps its directory; -ENOMEM if an allocation failed.
 */
int ksm_sysfs_init(void)
{
	const char *name;
	int err, i;

	if (strcmp(sysfs, "auto") && strcmp(sysfs, "takeover")) {
		pr_err("sysfs=%s: must be auto or takeover; the module was not loaded\n", sysfs);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(skipped); i++) {
		sysfs_attr_init(&skipped[i].attr);
		skipped_attrs[i] = &skipped[i].attr;
	}
	/*
	 * Kernel pages cannot be swapped: limit them to a quarter of memory.
	 * The scanner thread exists already, but it reads this setting only
	 * when it merges pages, and no memory is registered yet.
	 */
	ksm_settings.max_kernel_pages = totalram_pages() / 4;

	name = choose_name();
	if (!name) {
		err = hide_kernel_ksm();
		if (err)
			return err;
		name = "ksm";
	}
	dir = kobject_create_and_add(name, mm_kobj);
	if (!dir) {
		err = -ENOMEM;
		goto restore;
	}
	err = sysfs_create_groups(dir, groups);
	if (err)
		goto remove;
	WRITE_ONCE(dir_name, name);
	return 0;
remove:
	remove_dir();
restore:
	restore_kernel_ksm();
	return err;
}

/**
 * ksm_sysfs_exit - remove the directory, and restore the kernel's own one
 *
 * Context: module unload. May sleep.
 */
void ksm_sysfs_exit(void)
{
	WRITE_ONCE(dir_name, "");
	sysfs_remove_groups(dir, groups);
	remove_dir();
	restore_kernel_ksm();
}
