// SPDX-License-Identifier: GPL-2.0
/*
 * Items: the driver's metadata for each page of a region (16 or 32 bytes).
 *
 * An item corresponds to an rmap_item in mm/ksm.c. Items are allocated in
 * chunks, one for the range of each page table, when a thread first finds a
 * page there.
 *
 * ksm_lock protects the items. A scanner may look up and allocate the chunks of
 * its own range without it.
 */
#include <linux/gfp.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "ksm.h"
#include "trace.h"

static_assert(sizeof(struct ksm_item) <= 32);

static unsigned long items_size(void)
{
	return PAGE_ALIGN(KSM_CHUNK_PAGES * ksm_item_size());
}

/*
 * Point the private field of each page of an item array to its chunk, or to
 * NULL.
 */
static void set_chunk(void *items, struct ksm_chunk *chunk)
{
	unsigned long at;

	for (at = 0; at < items_size(); at += PAGE_SIZE)
		set_page_private(virt_to_page(items + at), (unsigned long)chunk);
}

/* The caller has made the memory cgroup of the region's mm the active one. */
static struct ksm_chunk *chunk_create(struct ksm_region *region, unsigned long start, gfp_t gfp)
{
	struct ksm_chunk *chunk = kzalloc(sizeof(*chunk), gfp), *old;

	if (!chunk)
		return NULL;
	chunk->items = alloc_pages_exact(items_size(), gfp | __GFP_ZERO);
	if (!chunk->items)
		goto free_chunk;
	chunk->region = region;
	chunk->start = start;
	set_chunk(chunk->items, chunk);
	/*
	 * Another thread may have allocated the same chunk: two threads may
	 * unmerge one region at once, or the ranges of two scanners may share
	 * the chunk.
	 */
	old = xa_cmpxchg(&region->chunks, start / PMD_SIZE, NULL, chunk, gfp);
	if (old)
		goto free_items;
	atomic_long_add(ksize(chunk) + items_size(), &ksm_counters.metadata);
	return chunk;

free_items:
	set_chunk(chunk->items, NULL);
	free_pages_exact(chunk->items, items_size());
	kfree(chunk);
	return xa_is_err(old) ? NULL : old;

free_chunk:
	kfree(chunk);
	return NULL;
}

/*
 * Free a chunk. ksm_lock is dropped and retaken, because the page allocator
 * sometimes returns thousands of pages to their zone when one page is freed.
 */
static void chunk_free(struct ksm_chunk *chunk)
{
	atomic_long_sub(ksize(chunk) + items_size(), &ksm_counters.metadata);
	xa_erase(&chunk->region->chunks, chunk->start / PMD_SIZE);
	mutex_unlock(&ksm_lock);
	set_chunk(chunk->items, NULL);
	free_pages_exact(chunk->items, items_size());
	kfree(chunk);
	mutex_lock(&ksm_lock);
}

/**
 * ksm_chunk_find - find the chunk of an address
 * @region: the region
 * @addr: an address in @region
 *
 * Context: any. The caller makes sure that no other thread frees the chunk.
 * Return: the chunk, or NULL if it has not been allocated.
 */
struct ksm_chunk *ksm_chunk_find(struct ksm_region *region, unsigned long addr)
{
	return xa_load(&region->chunks, addr / PMD_SIZE);
}

/* Find the chunk of an address, or allocate it. */
static struct ksm_chunk *chunk_get(struct ksm_region *region, unsigned long addr, gfp_t gfp)
{
	struct ksm_chunk *chunk = ksm_chunk_find(region, addr);
	struct mem_cgroup *memcg, *old;

	if (chunk)
		return chunk;
	memcg = ksm_charge_begin(region->mm, &old);
	chunk = chunk_create(region, addr & PMD_MASK, gfp);
	ksm_charge_end(memcg, old);
	return chunk;
}

/**
 * ksm_chunk_get - find the chunk of an address, or allocate it
 * @region: the region
 * @addr: an address in it
 *
 * Context: a scanner that has claimed the range of the chunk, without ksm_lock.
 * May sleep; the mmap lock may be held.
 * Return: the chunk, or NULL if there is no memory: the next pass tries again.
 */
struct ksm_chunk *ksm_chunk_get(struct ksm_region *region, unsigned long addr)
{
	struct ksm_chunk *chunk = chunk_get(region, addr, KSM_GFP_NOWAIT);
	unsigned long pass = READ_ONCE(ksm_counters.full_scans) + 1;

	/* Reclaim that fails takes long: try it once in each pass. */
	if (chunk || READ_ONCE(region->no_memory_in) == pass)
		return chunk;
	if (ksm_charge_reclaim(region->mm, items_size()))
		chunk = chunk_get(region, addr, KSM_GFP_NOWAIT);
	if (!chunk)
		WRITE_ONCE(region->no_memory_in, pass);
	return chunk;
}

/**
 * ksm_item_find - find the item of an address
 * @region: the region
 * @addr: an address in it
 *
 * Context: ksm_lock must be held, or the caller keeps the chunk from being
 * freed.
 * Return: the item, or NULL if there is no chunk.
 */
struct ksm_item *ksm_item_find(struct ksm_region *region, unsigned long addr)
{
	struct ksm_chunk *chunk = ksm_chunk_find(region, addr);

	return chunk ? ksm_chunk_item(chunk, (addr - chunk->start) / PAGE_SIZE) : NULL;
}

/**
 * ksm_item_get - find the item of an address, or allocate its chunk
 * @region: the region
 * @addr: an address in it
 *
 * Does not invoke the OOM killer: without memory, REMOVE and a write of run=2
 * fail, and close() leaves the page merged.
 *
 * Context: the unmerge loop, without ksm_lock. The caller is a user of the
 * region, or is removing it. May sleep.
 * Return: the item, or NULL if there is no memory.
 */
struct ksm_item *ksm_item_get(struct ksm_region *region, unsigned long addr)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN;

	return chunk_get(region, addr, gfp) ? ksm_item_find(region, addr) : NULL;
}

/**
 * ksm_chunk_wake - end the idle state of a chunk: the next pass scans it
 * @chunk: the chunk, a page of which has changed its state
 *
 * Context: ksm_lock must be held.
 */
void ksm_chunk_wake(struct ksm_chunk *chunk)
{
	chunk->remaining_skips = 0;
	chunk->idle_passes = 0;
}

/**
 * ksm_chunk_reset_idle - reset the idle counts of all pages of a chunk
 * @chunk: the chunk
 *
 * Context: ksm_lock must be held.
 */
void ksm_chunk_reset_idle(struct ksm_chunk *chunk)
{
	unsigned long i;

	for_each_set_bit(i, chunk->tracked, KSM_CHUNK_PAGES)
		ksm_chunk_item(chunk, i)->idle = 0;
}

/**
 * ksm_item_track - mark an item as tracked: ksm_items_forget() must reset it
 * @item: the item
 *
 * Context: ksm_lock must be held.
 */
void ksm_item_track(struct ksm_item *item)
{
	__set_bit(ksm_item_index(item), ksm_item_chunk(item)->tracked);
}

/**
 * ksm_item_link - record that an item maps the kernel page of a node
 * @node: the node
 * @item: the item, which must not be in an index
 *
 * Context: ksm_lock must be held.
 */
void ksm_item_link(struct ksm_node *node, struct ksm_item *item)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);

	item->state = KSM_ITEM_MERGED;
	WRITE_ONCE(item->node, node);
	ksm_item_track(item);
	ksm_chunk_wake(chunk);
	chunk->merged++;
	chunk->region->merged++;
	ksm_node_add_item(node);
}

/* Record that an item no longer maps its kernel page. */
static void item_unlink(struct ksm_item *item)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	struct ksm_node *node = item->node;

	item->state = KSM_ITEM_PLAIN;
	chunk->merged--;
	chunk->region->merged--;
	ksm_node_remove_item(node);
}

/**
 * ksm_item_forget - remove an item from the unstable index, its node, or the
 * count of zero pages
 * @item: the item; it becomes KSM_ITEM_PLAIN, unless it is KSM_ITEM_MERGING
 * @how: how its merge ended, if it was merged
 *
 * If the item was the last one of its node and the kernel page has been freed,
 * the node is freed, too. An item that is KSM_ITEM_MERGING is left alone: the
 * scanner that merges it sets its state.
 *
 * Context: ksm_lock must be held.
 */
void ksm_item_forget(struct ksm_item *item, enum ksm_break how)
{
	switch (item->state) {
	case KSM_ITEM_UNSTABLE:
		ksm_index_ops->forget(ksm_index, &item->entry, KSM_UNSTABLE);
		item->state = KSM_ITEM_PLAIN;
		break;
	case KSM_ITEM_MERGED:
		if (item->node->pfn)
			trace_devksm_break(ksm_item_mm(item), ksm_item_addr(item), item->node->pfn,
					   how);
		item_unlink(item);
		break;
	case KSM_ITEM_ZERO:
		WRITE_ONCE(ksm_counters.zero_pages, ksm_counters.zero_pages - 1);
		item->state = KSM_ITEM_PLAIN;
		break;
	}
}

/**
 * ksm_item_set_zero - record that the zero page has replaced a page
 * @item: the item of the page; KSM_ITEM_PLAIN
 *
 * Context: ksm_lock must be held.
 */
void ksm_item_set_zero(struct ksm_item *item)
{
	item->state = KSM_ITEM_ZERO;
	item->seen = 0;
	ksm_item_track(item);
	WRITE_ONCE(ksm_counters.zero_pages, ksm_counters.zero_pages + 1);
}

/**
 * ksm_chunk_count_zeroed - record which pages the zero page has replaced
 * @chunk: a chunk; the caller has split a huge page in it
 *
 * The split sets bits in @chunk->zeroed. An item that is KSM_ITEM_MERGING keeps
 * its bit: the scanner that merges it clears the bit afterwards, and counts the
 * page if the merge failed.
 *
 * Context: ksm_lock must be held.
 */
void ksm_chunk_count_zeroed(struct ksm_chunk *chunk)
{
	struct ksm_item *item;
	unsigned long i;

	for_each_set_bit(i, chunk->zeroed, KSM_CHUNK_PAGES) {
		item = ksm_chunk_item(chunk, i);
		if (item->state == KSM_ITEM_MERGING)
			continue;
		clear_bit(i, chunk->zeroed);
		ksm_item_forget(item, KSM_BREAK_ZEROED);
		ksm_item_set_zero(item);
	}
}

/**
 * ksm_item_sync - make the state of an item agree with its page-table entry
 * @item: the item; not KSM_ITEM_MERGING
 * @page: the page that its address maps now
 *
 * Fork and mremap can map a kernel page at an address where no page was merged,
 * or where the page was merged with another kernel page.
 *
 * Context: ksm_lock must be held. The caller holds a reference to @page.
 * Return: true if @page is a kernel page and @item is now linked to its node;
 * false if @item is not linked to a node.
 */
bool ksm_item_sync(struct ksm_item *item, struct page *page)
{
	struct ksm_node *node = ksm_node_of(page);

	if (node && item->state == KSM_ITEM_MERGED && item->node == node)
		return true;
	ksm_item_forget(item, KSM_BREAK_WRITTEN);
	if (!node)
		return false;
	ksm_item_link(node, item);
	return true;
}

/* The maximum number of items forgotten under one hold of ksm_lock. */
#define ITEMS_PER_HOLD	128

/*
 * Forget the items of a range of a chunk. Drops and retakes ksm_lock. Returns
 * true if no item of the range is tracked any more.
 */
static bool chunk_forget(struct ksm_chunk *chunk, unsigned long start, unsigned long end,
			 enum ksm_break how)
{
	unsigned long i = (max(start, chunk->start) - chunk->start) / PAGE_SIZE;
	unsigned long last = min((end - chunk->start) / PAGE_SIZE, KSM_CHUNK_PAGES);
	unsigned long first = i;
	unsigned int nr = 0;

	for_each_set_bit_from(i, chunk->tracked, last) {
		struct ksm_item *item = ksm_chunk_item(chunk, i);

		if (item->state == KSM_ITEM_MERGING ||
		    (item->state == KSM_ITEM_ZERO && how == KSM_BREAK_ZEROED))
			continue;
		ksm_item_forget(item, how);
		item->seen = 0;
		__clear_bit(i, chunk->tracked);
		if (++nr % ITEMS_PER_HOLD == 0)
			ksm_lock_relax();
	}
	/* While ksm_lock was dropped, an item may have become tracked. */
	return find_next_bit(chunk->tracked, last, first) >= last;
}

/**
 * ksm_items_forget - reset the items of a range
 * @region: the region; either the caller is freeing it, or no other thread
 *	walks the range in this pass
 * @start: the first byte of the range
 * @end: the first byte after the range
 * @how: how the merges of merged items ended. With KSM_BREAK_ZEROED, the range
 *	maps the zero page, and items that are KSM_ITEM_ZERO remain so
 *
 * The range maps no page that may be merged, or its region is being removed.
 * Chunks without a tracked item are freed, if the range covers them completely.
 *
 * Context: ksm_lock must be held. May drop and retake it.
 */
void ksm_items_forget(struct ksm_region *region, unsigned long start, unsigned long end,
		      enum ksm_break how)
{
	unsigned long index, last = (end - 1) / PMD_SIZE;
	struct ksm_chunk *chunk;

	if (start >= end)
		return;
	xa_for_each_range(&region->chunks, index, chunk, start / PMD_SIZE, last) {
		if (chunk_forget(chunk, start, end, how) &&
		    start <= max(chunk->start, region->start) &&
		    end >= min(chunk->start + PMD_SIZE, region->end))
			chunk_free(chunk);
		if (index == last)
			break;
		ksm_lock_relax();
	}
}
