// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include <linux/sched.h>

static int __init hello_init(void)
{
	pr_info("hello: loaded by %s\n", current->comm);
	return 0;
}

static void __exit hello_exit(void)
{
	pr_info("hello: unloaded by %s\n", current->comm);
}

module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
