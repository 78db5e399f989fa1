// SPDX-License-Identifier: GPL-2.0
/*
 * A client of /dev/ksm that behaves as the programs of 2009 did.
 *
 * They opened the device with O_RDWR | O_TRUNC and mode 0600, made an area,
 * filled two fields of a structure on the stack and left the others as they
 * were, took 0 from REGISTER as success, and kept both descriptors open for
 * as long as they lived.
 *
 * Usage: ksm2009 [npages]
 *
 * It prints one line, "addr=0x... npages=N", when its pages are registered,
 * and lives until it reads a line, or the end, of standard input.  Exit
 * status 0: all pages still hold what was written.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ksm.h>

#define CONTENT	0x5a

static int ksm_fd;
static int ksm_area_fd;

/* Leave something on the stack for the next function to find. */
static void __attribute__((noinline)) dirty_stack(void)
{
	volatile unsigned char litter[4096];
	size_t i;

	for (i = 0; i < sizeof(litter); i++)
		litter[i] = 0xa5;
}

static int __attribute__((noinline)) offer_memory(void *memory, size_t npages)
{
	struct ksm_memory_region region;

	ksm_fd = open("/dev/ksm", O_RDWR | O_TRUNC, (mode_t)0600);
	if (ksm_fd < 0) {
		perror("ksm2009: open /dev/ksm");
		return -1;
	}
	if (ioctl(ksm_fd, KSM_GET_API_VERSION) != KSM_API_VERSION) {
		fprintf(stderr, "ksm2009: not the interface of 2009\n");
		return -1;
	}
	ksm_area_fd = ioctl(ksm_fd, KSM_CREATE_SHARED_MEMORY_AREA);
	if (ksm_area_fd < 0) {
		perror("ksm2009: create an area");
		return -1;
	}
	/* The other fields keep whatever the stack held. */
	region.npages = (__u32)npages;
	region.addr = (unsigned long)memory;
	if (ioctl(ksm_area_fd, KSM_REGISTER_MEMORY_REGION, &region)) {
		perror("ksm2009: register a region");
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t npages = argc > 1 ? strtoul(argv[1], NULL, 0) : 1024;
	unsigned char *memory;
	size_t i;

	memory = (unsigned char *)mmap(NULL, npages * page, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == (unsigned char *)MAP_FAILED) {
		perror("ksm2009: mmap");
		return 1;
	}
	memset(memory, CONTENT, npages * page);

	dirty_stack();
	if (offer_memory(memory, npages))
		return 1;

	printf("addr=%#lx npages=%zu\n", (unsigned long)memory, npages);
	fflush(stdout);
	while (getchar() != '\n' && !feof(stdin))
		;

	for (i = 0; i < npages * page; i++) {
		if (memory[i] != CONTENT) {
			fprintf(stderr, "ksm2009: byte %zu is %#x, not %#x\n",
				i, memory[i], CONTENT);
			return 1;
		}
	}
	return 0;
}
