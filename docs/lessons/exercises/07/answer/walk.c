/* A walk through four levels of page tables, as the processor goes it. */
#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT	12
#define PGD_SHIFT	39
#define TABLE_BITS	9
#define PRESENT		(1ULL << 0)
#define HUGE		(1ULL << 7)		/* in the two levels of the middle: no table, a page */
#define ADDRESS		0x000ffffffffff000ULL	/* the bits of an entry that say where */

struct found {
	bool page;		/* is there one? */
	uint64_t frame;		/* its number */
	uint64_t next;		/* the address of the next page; if there is none, where the hole ends */
};

/*
 * Find the page of an address. Physical memory begins at @memory, and the uppermost
 * table at the physical address @pgd. A hole in an upper level is stepped over whole.
 */
struct found walk(const uint64_t *memory, uint64_t pgd, uint64_t address)
{
	uint64_t table = pgd, entry, size;
	unsigned int shift;

	for (shift = PGD_SHIFT; ; shift -= TABLE_BITS) {
		size = 1ULL << shift;
		entry = memory[table / sizeof(*memory) + (address >> shift) % (1 << TABLE_BITS)];
		if (!(entry & PRESENT))
			return (struct found){ .next = (address & ~(size - 1)) + size };
		/* In the last level the bit of huge pages means something else. */
		if (shift == PAGE_SHIFT || entry & HUGE)
			break;
		table = entry & ADDRESS;
	}
	return (struct found){
		.page = true,
		.frame = ((entry & ADDRESS & ~(size - 1)) | (address & (size - 1))) >> PAGE_SHIFT,
		.next = ((address >> PAGE_SHIFT) + 1) << PAGE_SHIFT,
	};
}
