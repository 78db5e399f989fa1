// SPDX-License-Identifier: GPL-2.0
/*
 * Root opens /dev/ksm; an unprivileged user offers memory.
 *
 * Usage: offer npages
 *
 * It creates an area as root, switches to an unprivileged user, and registers
 * npages equal pages. It prints the driver's figures for the area, and prints
 * them again at the end of input.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ksm.h>

#define NOBODY	65534

/* The device is needed for as long as it takes to make an area. */
static int make_area(void)
{
	int device, area;

	device = open("/dev/ksm", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -1;
	if (ioctl(device, KSM_GET_API_VERSION) != KSM_API_VERSION) {
		close(device);
		errno = EPROTO;
		return -1;
	}
	area = ioctl(device, KSM_CREATE_SHARED_MEMORY_AREA);
	close(device);
	return area;
}

static int offer(int area, void *memory, size_t npages)
{
	struct ksm_memory_region region;

	memset(&region, 0, sizeof(region));
	region.npages = (__u32)npages;
	region.addr = (unsigned long)memory;
	return ioctl(area, KSM_REGISTER_MEMORY_REGION, &region);
}

/* An area is made close-on-exec. Who execs a program that is to have it says so. */
static int keep_over_exec(int area)
{
	return fcntl(area, F_SETFD, 0);
}

static void show(int area)
{
	char path[64], line[128];
	FILE *info;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", area);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof(line), info))
		if (!strncmp(line, "ksm-", 4))
			fputs(line, stdout);
	if (info)
		fclose(info);
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	size_t npages = argc > 1 ? strtoul(argv[1], NULL, 0) : 0;
	size_t bytes = npages * sysconf(_SC_PAGESIZE);
	int area = make_area();
	void *memory;

	if (area < 0)
		fail("offer: make an area");
	if (setgid(NOBODY) || setuid(NOBODY))
		fail("offer: drop root");

	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("offer: mmap");
	memset(memory, 'k', bytes);
	if (offer(area, memory, npages))
		fail("offer: register");

	show(area);
	while (getchar() != EOF)
		;
	show(area);
	/* Each page gets its own copy back, and an error can still be seen. */
	if (ioctl(area, KSM_REMOVE_MEMORY_REGION))
		fail("offer: remove");
	if (argc > 2) {
		keep_over_exec(area);
		execvp(argv[2], argv + 2);
		fail("offer: exec");
	}
	return 0;
}
