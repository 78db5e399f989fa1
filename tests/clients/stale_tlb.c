// SPDX-License-Identifier: GPL-2.0
/*
 * A CPU that writes to a page all the time, while the page is merged.
 *
 * The CPU has the page's address in its TLB, so it goes on writing to the frame
 * from before the merge, unless it is told. The program writes the same word
 * again and again, so that the page stays equal to its twin and merges; when it
 * finds that it has got another frame it writes something else, has the TLB
 * forget everything, and reads it back. What was lost went to the old frame.
 *
 * Usage: stale_tlb SWITCHES. It goes on until its page has been merged so often.
 * Output: "registered", and at the end "switched N lost M". Exit status 0: nothing
 * lost; 1: something was; 2: it could not run.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/ksm.h>

#define PAGE		4096ul
#define USUAL		0x1111111111111111ull
#define MANY		64	/* pages whose flush is a flush of everything */
#define WRITES		2000	/* between two reads of the pagemap entry */
#define FRAME		((1ull << 55) - 1)	/* in a pagemap entry */
#define MERGED		(1ull << 61)		/* in a pagemap entry: not anonymous */

static void __attribute__((noreturn)) fail(const char *what)
{
	fprintf(stderr, "stale_tlb: %s: %s\n", what, strerror(errno));
	exit(2);
}

static unsigned char *map(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	return (unsigned char *)memory;
}

/* The writer and kksmd on CPUs of their own, as far as this process has a say. */
static void stay_on_the_last_cpu(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((int)sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail("sched_setaffinity");
}

static void offer(unsigned char *memory, unsigned int npages)
{
	struct ksm_memory_region region;
	int device, area;

	device = open("/dev/ksm", O_RDWR | O_CLOEXEC);
	if (device < 0)
		fail("open /dev/ksm");
	area = ioctl(device, KSM_CREATE_SHARED_MEMORY_AREA);
	if (area < 0)
		fail("KSM_CREATE_SHARED_MEMORY_AREA");
	memset(&region, 0, sizeof(region));
	region.npages = npages;
	region.addr = (uintptr_t)memory;
	if (ioctl(area, KSM_REGISTER_MEMORY_REGION, &region))
		fail("KSM_REGISTER_MEMORY_REGION");
}

/* The frame number of a page, and the bit MERGED. */
static uint64_t frame(int pagemap, const volatile void *address)
{
	uint64_t entry;
	off_t at = (off_t)((uintptr_t)address / PAGE * sizeof(entry));

	if (pread(pagemap, &entry, sizeof(entry), at) != (ssize_t)sizeof(entry))
		fail("pagemap");
	return entry & (FRAME | MERGED);
}

static void forget_tlb(void)
{
	unsigned char *memory = map(MANY * PAGE);

	memset(memory, 1, MANY * PAGE);
	munmap(memory, MANY * PAGE);
}

int main(int argc, char **argv)
{
	unsigned long switched = 0, lost = 0, i;
	volatile uint64_t *word;
	unsigned char *memory;
	uint64_t last, now;
	unsigned long wanted;
	int pagemap;

	if (argc != 2)
		return 2;
	wanted = strtoul(argv[1], NULL, 10);
	stay_on_the_last_cpu();
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		fail("open /proc/self/pagemap");
	memory = map(2 * PAGE);
	madvise(memory, 2 * PAGE, MADV_NOHUGEPAGE);
	memset(memory, 0x11, 2 * PAGE);
	word = (volatile uint64_t *)memory;
	offer(memory, 2);
	puts("registered");
	fflush(stdout);

	last = frame(pagemap, word);
	while (switched < wanted) {
		for (i = 0; i < WRITES; i++)
			*word = USUAL;
		now = frame(pagemap, word);
		/*
		 * The page may have merged before the last statement of this
		 * loop. Then the frame does not change any more if the CPU
		 * writes to the old one.
		 */
		if (now == last && !(now & MERGED))
			continue;
		switched++;
		*word = ~USUAL;
		forget_tlb();
		if (*word != ~USUAL)
			lost++;
		*word = USUAL;
		last = frame(pagemap, word);
	}
	printf("switched %lu lost %lu\n", switched, lost);
	return lost ? 1 : 0;
}
