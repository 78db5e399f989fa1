/* The accounts that change when a kernel page replaces a page. */
#include <stdbool.h>

struct page {
	int refs;		/* the page is freed when this is 0 */
	int mapcount;		/* the number of entries that map it */
	bool anonymous;
	bool dirty;		/* the content in swap is out of date */
	bool in_swap;		/* a swap slot is allocated for it */
};

struct pte {
	struct page *page;
	bool writable;
	bool dirty;
	bool soft_dirty;
};

struct process {
	long rss_anon;
	long rss_file;
};

/*
 * Map the kernel page in place of the page of an entry, and update all accounts.
 *
 * The new entry is read-only and clean, and keeps the soft-dirty bit. If the old
 * entry was dirty, mark the old page dirty. If no entry maps the old page any
 * more, free its swap slot.
 */
void replace(struct process *process, struct pte *pte, struct page *kernel_page)
{
	struct page *page = pte->page;

	kernel_page->refs++;
	kernel_page->mapcount++;
	process->rss_file++;
	process->rss_anon--;
	if (pte->dirty)
		page->dirty = true;
	*pte = (struct pte){ .page = kernel_page, .soft_dirty = pte->soft_dirty };
	page->mapcount--;
	if (!page->mapcount)
		page->in_swap = false;
	page->refs--;
}
