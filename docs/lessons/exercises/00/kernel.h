/*
 * The parts of the kernel that greet.c uses. A module gets the real ones, from
 * the headers of the kernel. The tests compile greet.c to a shared library:
 * there, the log is an array, and init_module() and cleanup_module() call the
 * functions of the module, as the kernel does.
 */
#ifdef MODULE
#include <linux/module.h>
#else
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define __init
#define __exit

char kernel_log[4096];

#define pr_info(...) snprintf(kernel_log + strlen(kernel_log), \
			      sizeof(kernel_log) - strlen(kernel_log), __VA_ARGS__)
#define module_param(name, type, mode) type *param_##name = &name
#define module_init(function) int init_module(void) { return function(); }
#define module_exit(function) void cleanup_module(void) { function(); }
#define MODULE_LICENSE(words) const char license[] = words
#endif
