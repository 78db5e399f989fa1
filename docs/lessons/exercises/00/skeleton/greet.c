/* A module that greets. Fill in both functions. */
#include "kernel.h"

static int times = 1;
module_param(times, int, 0444);

/*
 * Write "greet: hello" to the log, as often as the parameter says.
 * If the parameter is below 1, write nothing, and return -EINVAL: then the
 * module is not loaded.
 */
static int __init greet_init(void)
{
	return 0;	/* Your part. */
}

/* Write "greet: goodbye" to the log. */
static void __exit greet_exit(void)
{
	/* Your part. */
}

module_init(greet_init);
module_exit(greet_exit);
MODULE_LICENSE("GPL");
