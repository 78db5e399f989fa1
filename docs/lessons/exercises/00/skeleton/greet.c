/* A module that writes a greeting to the log. Complete both functions. */
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
	return 0;	/* Your part. */
}

/* Write the line "greet: goodbye" to the log. */
static void __exit greet_exit(void)
{
	/* Your part. */
}

module_init(greet_init);
module_exit(greet_exit);
MODULE_LICENSE("GPL");
