/*
 * Register memory with /dev/ksm, without the header of the driver.
 *
 *	./register PAGES
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 4096UL
#define KSMIO 0xABU

/* From the view of the program: with WRITE, the kernel reads the structure. */
enum direction { NONE, WRITE, READ };

/* The structure that REGISTER takes. */
struct region {
	uint32_t npages;
	uint32_t pad;
	uint64_t addr;
	uint64_t reserved_bits;
};

/* Compute the number of an ioctl. */
unsigned int number(enum direction direction, unsigned int nr, unsigned int size)
{
	return direction << 30 | size << 16 | KSMIO << 8 | nr;
}

/*
 * Check that the version is 1, create an area, and register the memory in it.
 * Returns the descriptor of the area, or -1. If a call failed, errno tells why.
 */
int register_memory(int device, void *memory, unsigned int npages)
{
	struct region region = { .npages = npages, .addr = (uintptr_t)memory };
	int area;

	if (ioctl(device, number(NONE, 0x00, 0)) != 1)
		return -1;
	area = ioctl(device, number(NONE, 0x01, 0));
	if (area < 0)
		return -1;
	if (ioctl(area, number(WRITE, 0x20, sizeof(region)), &region))
		return -1;
	return area;
}

int main(int argc, char **argv)
{
	unsigned int npages = argc > 1 ? atoi(argv[1]) : 16;
	int device = open("/dev/ksm", O_RDWR | O_CLOEXEC);
	void *memory = mmap(NULL, npages * PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int area;

	if (device < 0 || memory == MAP_FAILED) {
		perror("register");
		return 1;
	}
	memset(memory, 'k', npages * PAGE);
	area = register_memory(device, memory, npages);
	if (area < 0) {
		perror("register: the memory is not registered");
		return 1;
	}
	printf("area %d has %u pages from %p; press Enter to end\n", area, npages, memory);
	getchar();
	return 0;
}
