/*
 * Answer for /dev/ksm on a machine without the driver. The tests load this
 * library with LD_PRELOAD. Each ioctl becomes a line of the file FAKE_LOG.
 * FAKE_VERSION is the version to return, and FAKE_ERRNO the error of REGISTER.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int device = -1, area = -1;

static int from_environment(const char *name, int otherwise)
{
	return getenv(name) ? atoi(getenv(name)) : otherwise;
}

int open(const char *path, int flags, ...)
{
	int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");

	if (strcmp(path, "/dev/ksm"))
		return real(path, flags, 0600);
	device = memfd_create("ksm", 0);
	return device;
}

int ioctl(int fd, unsigned long request, ...)
{
	FILE *log = fopen(getenv("FAKE_LOG"), "a");
	const unsigned char *argument;
	unsigned int i;
	va_list rest;

	va_start(rest, request);
	argument = va_arg(rest, void *);
	va_end(rest);
	fprintf(log, "%s %#lx ", fd == device ? "device" : fd == area ? "area" : "other", request);
	/* Record as many bytes as the ioctl number contains. The driver itself reads only 16 bytes. */
	for (i = 0; request >> 30 & 1 && i < (request >> 16 & 0x3fff); i++)
		fprintf(log, "%02x", argument[i]);
	if (request == 0x4018ab20)
		fprintf(log, " %c", **(char **)(argument + 8));
	fprintf(log, "\n");
	fclose(log);
	switch (request) {
	case 0xab00:
		return from_environment("FAKE_VERSION", 1);
	case 0xab01:
		area = memfd_create("ksm-area", 0);
		return area;
	case 0x4018ab20:
		errno = from_environment("FAKE_ERRNO", 0);
		return errno ? -1 : 0;
	}
	errno = ENOTTY;
	return -1;
}
