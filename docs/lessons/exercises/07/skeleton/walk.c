/* A walk through four levels of page tables, as the processor goes it. Fill in walk(). */
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
	(void)memory, (void)pgd;
	return (struct found){ .next = address + 1 };	/* Your part. */
}
