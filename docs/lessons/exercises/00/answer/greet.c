/* A module that writes a greeting to the log. */
#include "kernel.h"

static int times = 1;
module_param(times, int, 0444);

/*
 * Write the line "greet: hello" to the log `times` times. If `times` is below
 * 1, write nothing and return -EINVAL, so that the kernel does not load the
 * module.
 */
static int __init greet_init(void)
{
	int i;

	if (times < 1)
		return -EINVAL;
	for (i = 0; i < times; i++)
		pr_info("greet: hello\n");
	return 0;
}

/* Write the line "greet: goodbye" to the log. */
static void __exit greet_exit(void)
{
	pr_info("greet: goodbye\n");
}

module_init(greet_init);
module_exit(greet_exit);
MODULE_LICENSE("GPL");
