// SPDX-License-Identifier: GPL-2.0
/* A module that does what a kernel must not do: for the tests of the harness that has to notice. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/slab.h>

static char *how = "";
module_param(how, charp, 0444);
MODULE_PARM_DESC(how, "warn, oops, loop or leak");

static noinline void crash_warn(void)
{
	WARN(1, "crash: as asked for\n");
}

static noinline void crash_oops(void)
{
	WRITE_ONCE(*(int *)NULL, 1);
}

static noinline void crash_loop(void)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static noinline int crash_leak(void)
{
	void *lost = NULL;
	int i;

	/* The pointer to the last one may stay on a stack. */
	for (i = 0; i < 10; i++)
		lost = kmalloc(64, GFP_KERNEL);

	return lost ? 0 : -ENOMEM;
}

static int __init crash_init(void)
{
	if (sysfs_streq(how, "warn"))
		crash_warn();
	if (sysfs_streq(how, "oops"))
		crash_oops();
	if (sysfs_streq(how, "loop"))
		crash_loop();
	if (sysfs_streq(how, "leak"))
		return crash_leak();
	return 0;
}
module_init(crash_init);

static void __exit crash_exit(void)
{
}
module_exit(crash_exit);

MODULE_DESCRIPTION("What a kernel must not do");
MODULE_LICENSE("GPL");
