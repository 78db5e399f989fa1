// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/mm/ksm: the six files of 2009, and a few that say more.
 *
 * The kernel's own KSM has a directory of this name. With sysfs=auto ours is then
 * called ksm_dev; with sysfs=takeover the kernel's is taken down while its KSM is
 * idle, and put back when the module goes. What the name has come to be, userspace
 * reads in /sys/module/ksm/parameters/sysfs_dir.
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

/* For how long an unload waits for the memory of one directory. */
#define GIVE_BACK_TRIES		100
#define GIVE_BACK_WAIT_MS	10

static DEFINE_MUTEX(ksm_run_lock);
static struct kobject *dir;
/* Of a literal: whoever reads the parameter may do so while the directory goes. */
static const char *dir_name = "";
static bool taken_over;

static char *sysfs = "auto";
module_param(sysfs, charp, 0444);
MODULE_PARM_DESC(sysfs, "auto: /sys/kernel/mm/ksm if free, else ksm_dev; takeover: swap the kernel's own KSM directory for ours while it is idle");

static int sysfs_dir_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", READ_ONCE(dir_name));
}

/* The kernel calls it for whoever gives the parameter at load; without it, it would call NULL. */
static int sysfs_dir_set(const char *val, const struct kernel_param *kp)
{
	pr_err("sysfs_dir is for reading; nothing was loaded: leave it out\n");
	return -EINVAL;
}

static const struct kernel_param_ops sysfs_dir_ops = {
	.set = sysfs_dir_set,
	.get = sysfs_dir_get,
};
module_param_cb(sysfs_dir, &sysfs_dir_ops, NULL, 0444);
MODULE_PARM_DESC(sysfs_dir, "the name of our directory in /sys/kernel/mm (read only)");

/* The prefix avoids the names of the functions in mm/ksm.c. */
#define ATTR_RO(_name)									\
static struct kobj_attribute devksm_##_name##_attr =					\
	__ATTR(_name, 0444, devksm_##_name##_show, NULL)

#define ATTR_RW(_name)									\
static struct kobj_attribute devksm_##_name##_attr =					\
	__ATTR(_name, 0644, devksm_##_name##_show, devksm_##_name##_store)

/* What does not parse is -EINVAL, whatever the parser calls it: writers of 2009 loop on 0. */
static int parse(const char *buf, unsigned long max, unsigned long *value)
{
	return kstrtoul(buf, 10, value) || *value > max ? -EINVAL : 0;
}

static ssize_t devksm_run_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", READ_ONCE(ksm_settings.run));
}

/*
 * 2 gives every page its own copy, and returns when that is done.
 *
 *	-EINVAL: no number from 0 to 2; nothing has changed
 *	-EINTR: a signal came: while another write was waited for, and nothing has
 *	changed; or while pages were given their copies, and run is 0 and the rest
 *	is still merged
 *	-ENOMEM: there is no memory for a copy, nor anything to kill for it; run is
 *	0, and the rest is still merged
 *	-EFAULT: a page cannot be copied, since its memory is broken or userfaultfd
 *	is in the way; run is 0, and the rest is still merged
 */
static ssize_t devksm_run_store(struct kobject *kobj, struct kobj_attribute *attr,
				const char *buf, size_t count)
{
	unsigned long run;
	int err;

	if (parse(buf, KSM_RUN_UNMERGE, &run))
		return -EINVAL;
	err = mutex_lock_interruptible(&ksm_run_lock);
	if (err)
		return -EINTR;
	/* A scanner looks at it before each step: who has written 0 sees no further one. */
	mutex_lock(&ksm_lock);
	WRITE_ONCE(ksm_settings.run, run);
	mutex_unlock(&ksm_lock);
	if (run != KSM_RUN_SCAN)
		err = ksm_pass_wait();
	ksm_pass_wake_all();
	if (run == KSM_RUN_UNMERGE && !err) {
		/*
		 * If the copies exhaust memory, the OOM killer is to kill this
		 * writer first.
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

/* A number that is only stored. */
#define SETTING(_name, _max)								\
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
	if (parse(buf, _max, &value))							\
		return -EINVAL;								\
	WRITE_ONCE(ksm_settings._name, value);						\
	ksm_scan_wake();								\
	return count;									\
}											\
ATTR_RW(_name)

SETTING(pages_to_scan, UINT_MAX);
SETTING(sleep, UINT_MAX);
SETTING(max_kernel_pages, ULONG_MAX);

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

	if (parse(buf, KSM_MAX_THREADS, &threads) || !threads)
		return -EINVAL;
	if (mutex_lock_interruptible(&ksm_run_lock))
		return -EINTR;
	err = ksm_scan_set_threads(threads);
	mutex_unlock(&ksm_run_lock);
	return err ?: count;
}

ATTR_RW(threads);

/* A number that is only shown. */
#define COUNTER(_name, _field)								\
static ssize_t devksm_##_name##_show(struct kobject *kobj, struct kobj_attribute *attr,	\
				     char *buf)						\
{											\
	return sysfs_emit(buf, "%lu\n", READ_ONCE(ksm_counters._field));		\
}											\
ATTR_RO(_name)

COUNTER(pages_shared, shared);
COUNTER(kernel_pages_allocated, kernel_pages);
COUNTER(full_scans, full_scans);
COUNTER(pages_volatile, volatile_last);

/* What the driver remembers costs so much memory; the kernel pages are not in it. */
static ssize_t devksm_metadata_bytes_show(struct kobject *kobj, struct kobj_attribute *attr,
					  char *buf)
{
	unsigned long bytes;

	mutex_lock(&ksm_lock);
	bytes = atomic_long_read(&ksm_counters.metadata) + ksm_index_ops->bytes(ksm_index);
	mutex_unlock(&ksm_lock);
	return sysfs_emit(buf, "%lu\n", bytes);
}
ATTR_RO(metadata_bytes);

static struct attribute *devksm_attrs[] = {
	&devksm_run_attr.attr,
	&devksm_pages_to_scan_attr.attr,
	&devksm_sleep_attr.attr,
	&devksm_max_kernel_pages_attr.attr,
	&devksm_threads_attr.attr,
	&devksm_pages_shared_attr.attr,
	&devksm_kernel_pages_allocated_attr.attr,
	&devksm_full_scans_attr.attr,
	&devksm_pages_volatile_attr.attr,
	&devksm_metadata_bytes_attr.attr,
	NULL
};

static const struct attribute_group ksm_group = { .attrs = devksm_attrs };

/* skipped/REASON: pages that the last complete pass left alone, and why. */
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

static bool name_taken(const char *name)
{
	struct kernfs_node *kn = kernfs_find_and_get(mm_kobj->sd, name);

	kernfs_put(kn);
	return kn;
}

static bool kernel_ksm_idle(void)
{
	return READ_ONCE(*ksm_kernel_ksm.run) == KSM_RUN_STOP;
}

/*
 * Taking the group down waits for writers that are in one of its files; one of
 * them may have started the kernel's KSM, so there is a second look.
 */
static int take_over(void)
{
	int err = -EBUSY;

	if (!ksm_kernel_ksm.group || !ksm_kernel_ksm.run) {
		pr_err("/sys/kernel/mm/ksm is not the kernel's KSM's to take over\n");
		return -EBUSY;
	}
	if (!kernel_ksm_idle())
		goto busy;
	sysfs_remove_group(mm_kobj, ksm_kernel_ksm.group);
	if (kernel_ksm_idle()) {
		taken_over = true;
		return 0;
	}
	err = sysfs_create_group(mm_kobj, ksm_kernel_ksm.group) ?: -EBUSY;
busy:
	pr_err("the kernel's own KSM is running; write 0 to /sys/kernel/mm/ksm/run, or load with sysfs=auto\n");
	return err;
}

/* Nobody else can put it back later, so when memory is short there is a wait for some. */
static void give_back(void)
{
	int tries = GIVE_BACK_TRIES;

	if (!taken_over)
		return;
	taken_over = false;
	while (sysfs_create_group(mm_kobj, ksm_kernel_ksm.group)) {
		if (!--tries) {
			pr_err("no memory to give /sys/kernel/mm/ksm back to the kernel's KSM\n");
			return;
		}
		msleep(GIVE_BACK_WAIT_MS);
	}
}

static const char *choose_name(void)
{
	if (!name_taken("ksm"))
		return "ksm";
	if (!strcmp(sysfs, "auto"))
		return "ksm_dev";
	return NULL;
}

/* The name is free at once, though somebody may hold the object a little longer. */
static void remove_dir(void)
{
	kobject_del(dir);
	kobject_put(dir);
}

int ksm_sysfs_init(void)
{
	const char *name;
	int err, i;

	if (strcmp(sysfs, "auto") && strcmp(sysfs, "takeover")) {
		pr_err("sysfs=%s: must be auto or takeover\n", sysfs);
		return -EINVAL;
	}
	for (i = 0; i < ARRAY_SIZE(skipped); i++) {
		sysfs_attr_init(&skipped[i].attr);
		skipped_attrs[i] = &skipped[i].attr;
	}
	/* Kernel pages cannot be swapped: as a default, no more than a quarter of memory. */
	ksm_settings.max_kernel_pages = totalram_pages() / 4;

	name = choose_name();
	if (!name) {
		err = take_over();
		if (err)
			return err;
		name = "ksm";
	}
	dir = kobject_create_and_add(name, mm_kobj);
	if (!dir) {
		err = -ENOMEM;
		goto undo;
	}
	err = sysfs_create_groups(dir, groups);
	if (err)
		goto remove;
	WRITE_ONCE(dir_name, name);
	return 0;
remove:
	remove_dir();
undo:
	give_back();
	return err;
}

void ksm_sysfs_exit(void)
{
	WRITE_ONCE(dir_name, "");
	sysfs_remove_groups(dir, groups);
	remove_dir();
	give_back();
}
