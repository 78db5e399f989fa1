/*
 * Register memory with /dev/ksm, without the header of the driver. Complete the parts
 * that are marked.
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
	char your_part;
};

/* Compute the number of an ioctl. */
unsigned int number(enum direction direction, unsigned int nr, unsigned int size)
{
	(void)direction, (void)nr, (void)size;
	return KSMIO;	/* Your part. */
}

/*
 * Check that the version is 1, create an area, and register the memory in it.
 * Returns the descriptor of the area, or -1. If a call failed, errno tells why.
 */
int register_memory(int device, void *memory, unsigned int npages)
{
	(void)device, (void)memory, (void)npages;
	return -1;	/* Your part. */
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
