/* A walk through four levels of page tables, as the CPU does it. */
#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT	12
#define PGD_SHIFT	39
#define TABLE_BITS	9
#define PRESENT		(1ULL << 0)
#define HUGE		(1ULL << 7)		/* in a PUD or PMD entry: it maps a huge page */
#define ADDRESS		0x000ffffffffff000ULL	/* the physical address in an entry */

struct found {
	bool page;		/* whether the address is mapped */
	uint64_t frame;		/* the frame number of its 4 KiB page */
	uint64_t next;		/* where the walk continues */
};

/*
 * Find the page of an address. @memory is the physical memory, and @pgd the
 * physical address of the table of the first level.
 *
 * If the address is mapped, @next is the address of the next 4 KiB page. If an
 * entry is not present, @next is the first address after the range that this
 * entry covers.
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
		/* In the last level, bit 7 does not mean a huge page. */
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
