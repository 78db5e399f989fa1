/*
 * Offer memory to /dev/ksm, with no header of the driver's. Fill in what is marked:
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
	char your_part;
};

/* Put the number of an ioctl together. */
unsigned int number(enum direction direction, unsigned int nr, unsigned int size)
{
	(void)direction, (void)nr, (void)size;
	return KSMIO;	/* Your part. */
}

/*
 * Ask for the version, which must be 1, make an area, and register the memory in it.
 * Returns the descriptor of the area; or -1, with errno set by the call that failed.
 */
int offer(int device, void *memory, unsigned int npages)
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
	area = offer(device, memory, npages);
	if (area < 0) {
		perror("register: not offered");
		return 1;
	}
	printf("area %d has %u pages from %p; Enter ends it\n", area, npages, memory);
	getchar();
	return 0;
}
