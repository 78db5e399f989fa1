/*
 * Offer memory to /dev/ksm, with no header of the driver's:
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

enum direction { NONE, WRITE, READ };

/* What REGISTER takes. */
struct region {
	uint32_t npages;
	uint32_t pad;
	uint64_t addr;
	uint64_t reserved_bits;
};

/* Put the number of an ioctl together. */
unsigned int number(enum direction direction, unsigned int nr, unsigned int size)
{
	return direction << 30 | size << 16 | KSMIO << 8 | nr;
}

/*
 * Ask for the version, which must be 1, make an area, and register the memory in it.
 * Returns the descriptor of the area; or -1, with errno set by the call that failed.
 */
int offer(int device, void *memory, unsigned int npages)
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
	area = offer(device, memory, npages);
	if (area < 0) {
		perror("register: not offered");
		return 1;
	}
	printf("area %d has %u pages from %p; Enter ends it\n", area, npages, memory);
	getchar();
	return 0;
}
