// SPDX-License-Identifier: GPL-2.0
/*
 * Walk page tables: find the pages of an address range.
 *
 * ksm_walk_next() finds the next page, or the reason to skip a range. The
 * unmerge loop calls ksm_walk_for_unmerge() instead, which skips less.
 * ksm_walk_batch() is the fast path: it hashes many pages under one hold of the
 * page-table lock, but stops at anything that is not an ordinary page. Here a
 * page is ordinary if it is present, is neither the zero page nor a device
 * page, has no memory error, and has not been merged by the kernel's own KSM.
 */
#include <linux/dax.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/sched/mm.h>
#include <linux/swapops.h>
#include <linux/userfaultfd_k.h>

#include "ksm.h"
#include "pte.h"

/**
 * ksm_vma_refuses - test whether pages of a VMA must not be merged
 * @vma: the VMA
 *
 * File mappings are skipped, even private ones, whose written pages are
 * anonymous. A kernel page is not anonymous. So punching a hole in the file
 * would unmap it like a page of the file, and the process would lose its data.
 *
 * Context: the mmap lock must be held.
 * Return: KSM_SKIP_NONE if the pages may be merged; otherwise the reason.
 */
enum ksm_skip ksm_vma_refuses(struct vm_area_struct *vma)
{
	if (vma->vm_flags & VM_HUGETLB)
		return KSM_SKIP_HUGETLB;
	if (vma->vm_flags & VM_IO)
		return KSM_SKIP_IO;
	if (vma->vm_flags & VM_PFNMAP)
		return KSM_SKIP_PFNMAP;
	if (vma->vm_flags & VM_MIXEDMAP)
		return KSM_SKIP_MIXEDMAP;
	if (vma_is_dax(vma))
		return KSM_SKIP_DAX;
	if (vma->vm_flags & (VM_SHARED | VM_MAYSHARE))
		return KSM_SKIP_SHARED_VMA;
	if (userfaultfd_armed(vma))
		return KSM_SKIP_UFFD;
	if (vma->vm_flags & (VM_SHADOW_STACK | VM_DROPPABLE))
		return KSM_SKIP_SPECIAL;
	if (!vma_is_anonymous(vma))
		return KSM_SKIP_FILE;
	return KSM_SKIP_NONE;
}

/**
 * ksm_vma_may_map_kpages - test whether a VMA may map kernel pages
 * @vma: the VMA
 *
 * Pages of a VMA whose faults userfaultfd handles are not merged. But such a
 * VMA can map kernel pages: userfaultfd may have been registered after a merge,
 * or after mremap() or fork() brought kernel pages there.
 *
 * Context: the mmap lock must be held.
 * Return: true if the pages of the VMA may be merged, or if userfaultfd is the
 * only reason not to merge them.
 */
bool ksm_vma_may_map_kpages(struct vm_area_struct *vma)
{
	enum ksm_skip why = ksm_vma_refuses(vma);

	return !why || (why == KSM_SKIP_UFFD && vma_is_anonymous(vma));
}

/*
 * Store the page found, with a reference, or the reason to skip it. The caller
 * holds the page-table lock.
 */
static void set_page_found(struct ksm_walk *walk, struct page *page)
{
	walk->next = walk->addr + PAGE_SIZE;
	if (PageKsm(page)) {
		walk->why = KSM_SKIP_KERNEL_KSM;
		return;
	}
	if (PageHWPoison(page)) {
		walk->why = KSM_SKIP_HWPOISON;
		return;
	}
	if (is_zone_device_page(page)) {
		walk->why = KSM_SKIP_NOT_ANON;
		return;
	}
	get_page(page);
	walk->page = page;
}

/* Find the subpage of a huge page. The huge page is not split. */
static void walk_huge(struct mm_struct *mm, pmd_t *pmd, struct ksm_walk *walk)
{
	spinlock_t *ptl = pmd_lock(mm, pmd);
	pmd_t entry = *pmd;

	if (!pmd_present(entry) || !pmd_trans_huge(entry)) {
		/* It was split or unmapped before the lock was taken. */
		walk->next = walk->addr + PAGE_SIZE;
		walk->why = KSM_SKIP_CHANGED;
	} else if (!PageAnon(pmd_page(entry))) {
		/* Only the huge zero page is not anonymous in such a VMA. */
		walk->why = KSM_SKIP_ZERO_PAGE;
	} else {
		set_page_found(walk, pmd_page(entry) + ((walk->addr & ~PMD_MASK) >> PAGE_SHIFT));
	}
	spin_unlock(ptl);
}

/* Returns the reason to skip a page-table entry that is not present. */
static enum ksm_skip swap_reason(swp_entry_t entry)
{
	if (!non_swap_entry(entry))
		return KSM_SKIP_SWAPPED;
	return is_hwpoison_entry(entry) ? KSM_SKIP_HWPOISON : KSM_SKIP_BUSY;
}

/* Find the first page that a page table maps at or after walk->addr. */
static void walk_small(struct mm_struct *mm, struct vm_area_struct *vma, unsigned long end,
		       struct ksm_walk *walk)
{
	unsigned long addr = walk->addr;
	struct page *page;
	pte_t *first, *ptep, pte = __pte(0);
	spinlock_t *ptl;

	first = get_pte(mm, addr, &ptl);
	if (!first) {
		/* The PMD entry has changed since the caller read it. */
		walk->why = KSM_SKIP_BUSY;
		return;
	}

	/* Skip empty entries under one hold of the lock. */
	for (ptep = first; addr < end; ptep++, addr += PAGE_SIZE) {
		pte = ptep_get(ptep);
		if (!pte_none(pte))
			break;
	}
	if (addr == end)
		goto unlock;

	walk->addr = addr;
	if (!pte_present(pte)) {
		walk->next = addr + PAGE_SIZE;
		walk->why = swap_reason(pte_to_swp_entry(pte));
		goto unlock;
	}
	page = vm_normal_page(vma, addr, pte);
	if (!page) {
		walk->next = addr + PAGE_SIZE;
		walk->why = KSM_SKIP_ZERO_PAGE;
		goto unlock;
	}
	set_page_found(walk, page);
unlock:
	put_pte(first, ptl);
}

/*
 * See ksm_walk_next(). If @uffd is set, do not skip anonymous VMAs whose faults
 * userfaultfd handles.
 */
static void walk_next(struct mm_struct *mm, unsigned long addr, unsigned long end, bool uffd,
		      struct ksm_walk *walk)
{
	struct vm_area_struct *vma = find_vma(mm, addr);
	unsigned long next;
	pmd_t *pmd, entry;

	*walk = (struct ksm_walk){ .addr = addr, .next = end };
	if (!vma || vma->vm_start >= end)
		return;
	if (vma->vm_start > addr) {
		walk->next = vma->vm_start;
		return;
	}
	end = min(end, vma->vm_end);
	walk->next = end;
	walk->why = ksm_vma_refuses(vma);
	if (uffd && ksm_vma_may_map_kpages(vma))
		walk->why = KSM_SKIP_NONE;
	if (walk->why)
		return;

	pmd = ksm_find_pmd(mm, addr, &next);
	end = min(end, next);
	walk->next = end;
	if (!pmd)
		return;
	entry = READ_ONCE(*pmd);
	if (pmd_none(entry))
		return;
	if (!pmd_present(entry))
		/* A huge page is being migrated. */
		walk->why = KSM_SKIP_BUSY;
	else if (pmd_trans_huge(entry))
		walk_huge(mm, pmd, walk);
	else
		walk_small(mm, vma, end, walk);
}

/**
 * ksm_walk_next - find the next page of an address range
 * @mm: the mm
 * @addr: the address at which the walk begins
 * @end: the end of the range
 * @walk: set to the result. If no page was found, @walk->next may be less than
 *	@end, because one call examines at most one page table, one hole, or one
 *	VMA whose pages must not be merged
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep.
 */
void ksm_walk_next(struct mm_struct *mm, unsigned long addr, unsigned long end,
		   struct ksm_walk *walk)
{
	walk_next(mm, addr, end, false, walk);
}

/**
 * ksm_walk_for_unmerge - find the next page, for the unmerge loop
 * @mm: the mm
 * @addr: the address at which the walk begins
 * @end: the end of the range
 * @walk: set to the result, as by ksm_walk_next()
 *
 * This function finds all kernel pages that are mapped, so it does not skip
 * anonymous VMAs whose faults userfaultfd handles (ksm_vma_may_map_kpages()).
 *
 * Context: as for ksm_walk_next().
 */
void ksm_walk_for_unmerge(struct mm_struct *mm, unsigned long addr, unsigned long end,
			  struct ksm_walk *walk)
{
	walk_next(mm, addr, end, true, walk);
}

/*
 * Returns the number of this pass, for is_idle(). Returns 0 if this pass must
 * hash all pages of the chunk: their idle counts are out of date (struct
 * ksm_chunk, @epoch), or the chunk is idle itself, so that few passes scan it
 * (KSM_IDLE_MIN).
 *
 * The caller does not hold ksm_lock. If another thread ends the idle state of a
 * page or of the chunk now, the next pass hashes the page.
 */
static unsigned long idle_pass(const struct ksm_chunk *chunk)
{
	if (READ_ONCE(chunk->epoch) != READ_ONCE(ksm_scan_epoch) ||
	    READ_ONCE(chunk->idle_passes) >= KSM_IDLE_MIN)
		return 0;
	return READ_ONCE(ksm_counters.full_scans) + 1;
}

/*
 * Does this pass leave out a page, because it has been unchanged for a long
 * time? @now is a copy of its item, @pass the return value of idle_pass(). @i,
 * the index of the item, is added to @pass, so that all passes hash about the
 * same number of idle pages. An idle page is in the unstable index: a search
 * for an equal page finds it there, so little is lost.
 */
static bool is_idle(struct ksm_item now, unsigned long pass, unsigned long i)
{
	unsigned int idle = now.idle;

	if (now.state != KSM_ITEM_UNSTABLE || idle <= KSM_IDLE_MIN || !pass)
		return false;
	return (pass + i) & ((1UL << (idle - KSM_IDLE_MIN)) - 1);
}

/*
 * Scan one page under the page-table lock. An anonymous page becomes a
 * candidate of the batch if it has changed, or if it is in no index. A kernel
 * page becomes a candidate if the item is not linked to the node of the page,
 * and any other page always does.
 *
 * The caller does not hold ksm_lock, so the node of the item may be freed at
 * any moment. It is not dereferenced, only compared with the private field of
 * the page.
 *
 * Returns false, and does nothing, if the page is not an ordinary one, or if
 * the batch already has KSM_BATCH hashed pages or candidates.
 */
static __always_inline bool scan_page(struct ksm_item *item, struct page *page,
				      unsigned long pass, unsigned long i, struct ksm_batch *batch)
{
	const struct ksm_item now = { .word = READ_ONCE(item->word) };
	u64 hash = 0, sample = 0;
	bool anon;

	if (PageHWPoison(page))
		return false;
	if (now.state == KSM_ITEM_MERGED && READ_ONCE(item->node) == ksm_page_node(page))
		return true;
	if (PageKsm(page) || is_zone_device_page(page))
		return false;
	anon = PageAnon(page);
	if (anon && is_idle(now, pass, i))
		return true;
	/*
	 * Another scanner merges the page. A reference to it would make that
	 * merge fail.
	 */
	if (now.state == KSM_ITEM_MERGING)
		return true;
	if (batch->hashed == KSM_BATCH || batch->nr == KSM_BATCH)
		return false;
	if (anon) {
		hash = ksm_page_hash(page, &sample);
		batch->hashed++;
		batch->complete += hash != sample;
		/* It is unchanged and still in the unstable index. */
		if (now.state == KSM_ITEM_UNSTABLE && now.hash == hash) {
			if (now.idle < KSM_IDLE_MAX)
				batch->idle[batch->nr_idle++] = item;
			return true;
		}
	}
	get_page(page);
	batch->candidates[batch->nr++] = (struct ksm_candidate){
		.item = item,
		.page = page,
		.hash = hash,
		.sample = sample,
		.word = now.word,
	};
	return true;
}

/*
 * Returns the index of the first entry from @i to @end that is not empty, or
 * @end. Tests eight entries at a time.
 */
static unsigned long skip_empty(pte_t *table, unsigned long i, unsigned long end)
{
	bool empty = true;
	unsigned int j;

	for (; i + 8 <= end; i += 8) {
#pragma GCC unroll 8
		for (j = 0; j < 8; j++)
			empty &= pte_none(ptep_get(table + i + j));
		if (!empty)
			break;
	}
	while (i < end && pte_none(ptep_get(table + i)))
		i++;
	return i;
}

/* Hash the pages that a page table maps, until one of them is not ordinary. */
static void batch_small(struct vm_area_struct *vma, struct ksm_chunk *chunk, unsigned int most,
			unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch)
{
	unsigned long start = pte_index(walk->addr), i = start, known;
	unsigned long last = start + (end - walk->addr) / PAGE_SIZE;
	unsigned long pass = idle_pass(chunk);
	pte_t *table, pte;
	spinlock_t *ptl;

	table = get_pte(vma->vm_mm, walk->addr, &ptl);
	if (!table)
		return;
	table -= start;
	while (i < last && batch->scanned < most) {
		pte = ptep_get(table + i);
		if (pte_none(pte)) {
			/* Stop at a tracked item: it must be reset. */
			known = find_next_bit(chunk->tracked, last, i);
			i = skip_empty(table, i, known);
			if (i == known)
				break;
			continue;
		}
		if (!pte_present(pte) || pte_special(pte) ||
		    !scan_page(ksm_chunk_item(chunk, i), pte_page(pte), pass, i, batch))
			break;
		batch->scanned++;
		i++;
	}
	put_pte(table + start, ptl);
	walk->next = walk->addr + (i - start) * PAGE_SIZE;
}

/*
 * Hash the subpages of a huge page, until one of them is a candidate. If the
 * candidate is merged, the huge page is split, and the remaining pages are then
 * scanned as small pages.
 */
static void batch_huge(struct vm_area_struct *vma, pmd_t *pmd, struct ksm_chunk *chunk,
		       unsigned int most, unsigned long end, struct ksm_walk *walk,
		       struct ksm_batch *batch)
{
	spinlock_t *ptl = pmd_lock(vma->vm_mm, pmd);
	unsigned long addr = walk->addr, i;
	unsigned long pass = idle_pass(chunk);
	pmd_t entry = *pmd;

	if (pmd_present(entry) && pmd_trans_huge(entry) && PageAnon(pmd_page(entry))) {
		for (; addr < end && batch->scanned < most && !batch->nr; addr += PAGE_SIZE) {
			i = pte_index(addr);
			if (!scan_page(ksm_chunk_item(chunk, i), pmd_page(entry) + i, pass, i,
				       batch))
				break;
			batch->scanned++;
		}
	}
	spin_unlock(ptl);
	walk->next = addr;
}

/**
 * ksm_walk_batch - collect candidates from the next ordinary pages
 * @mm: the mm
 * @chunk: the chunk of @walk->addr
 * @most: the maximum number of pages to scan
 * @end: the end of the address range
 * @walk: the walk begins at @walk->addr; @walk->next is set to its end.
 *	@walk->page is NULL, or the page at @walk->addr, which ksm_walk_next()
 *	has found: see below
 * @batch: set to the candidates
 *
 * If @walk->page is not NULL, the function drops the reference to this page,
 * but leaves the pointer (see struct ksm_walk). It always advances past this
 * page, even if the page is not an ordinary one and the batch is empty. If
 * @walk->next equals @walk->addr, the function has found nothing to scan there,
 * and the caller must call ksm_walk_next().
 *
 * A page that is unchanged and still in the unstable index is not a candidate.
 * It is hashed under the page-table lock, which keeps the page mapped, so no
 * reference to it is taken. Under one hold of the lock, at most KSM_BATCH pages
 * are hashed. Merged pages and most idle pages are not hashed, and empty
 * page-table entries are skipped.
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep. No other thread may free @chunk.
 */
void ksm_walk_batch(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned int most,
		    unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch)
{
	struct vm_area_struct *vma = vma_lookup(mm, walk->addr);
	unsigned long least = walk->addr, next;
	bool huge = false;
	pmd_t *pmd;

	if (walk->page) {
		huge = PageTransCompound(walk->page);
		least += PAGE_SIZE;
		put_page(walk->page);
	}
	ksm_batch_clear(batch);
	walk->next = least;
	if (!vma || ksm_vma_refuses(vma))
		return;
	pmd = ksm_find_pmd(mm, walk->addr, &next);
	if (!pmd)
		return;
	end = min3(end, next, vma->vm_end);
	if (!pmd_trans_huge(READ_ONCE(*pmd)))
		batch_small(vma, chunk, most, end, walk, batch);
	else if (huge)
		batch_huge(vma, pmd, chunk, most, end, walk, batch);
	walk->next = max(walk->next, least);
}

/*
 * May the unmerge loop skip a page-table entry? It may if the entry is empty,
 * maps an anonymous page, or maps a kernel page to whose node the item is
 * linked already. All other entries are for ksm_walk_for_unmerge().
 */
static bool is_linked(struct ksm_item *item, pte_t pte)
{
	const struct ksm_item now = { .word = READ_ONCE(item->word) };
	struct page *page;

	if (pte_none(pte))
		return true;
	if (!pte_present(pte) || pte_special(pte))
		return false;
	page = pte_page(pte);
	if (PageKsm(page) || is_zone_device_page(page) || PageHWPoison(page))
		return false;
	return PageAnon(page) ||
	       (now.state == KSM_ITEM_MERGED && READ_ONCE(item->node) == ksm_page_node(page));
}

/**
 * ksm_walk_linked - skip page-table entries whose items need not be linked
 * @mm: the mm
 * @chunk: the chunk of @addr
 * @addr: the address at which the walk begins
 * @end: the end of the address range
 *
 * The unmerge loop must find each address that maps a kernel page and whose
 * item is not linked to the node of that page yet. This function skips an
 * address only if it is certainly not one of these (is_linked()).
 *
 * Context: the mmap lock of @mm must be held. Takes a page-table lock. Does not
 * sleep. No other thread may free @chunk.
 * Return: the address of the first entry that ksm_walk_for_unmerge() must
 * examine. If there is none, the end of the page table, of the VMA, or @end,
 * whichever is first.
 */
unsigned long ksm_walk_linked(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned long addr,
			      unsigned long end)
{
	struct vm_area_struct *vma = vma_lookup(mm, addr);
	spinlock_t *ptl;
	pte_t *first, *ptep;

	if (!vma || !ksm_vma_may_map_kpages(vma))
		return addr;
	first = get_pte(mm, addr, &ptl);
	if (!first)
		return addr;
	end = min3(end, vma->vm_end, chunk->start + PMD_SIZE);
	for (ptep = first; addr < end; ptep++, addr += PAGE_SIZE)
		if (!is_linked(ksm_chunk_item(chunk, pte_index(addr)), ptep_get(ptep)))
			break;
	put_pte(first, ptl);
	return addr;
}

/*
 * Returns the page that an entry maps at @addr, without a reference, or NULL.
 * The caller does not hold the page-table lock. It holds the mmap lock, and has
 * entered an RCU read-side critical section, so the page table is not freed.
 */
static struct page *entry_page(pmd_t *pmd, unsigned long addr)
{
	pmd_t entry = READ_ONCE(*pmd);
	pte_t pte;

	if (!pmd_present(entry))
		return NULL;
	if (pmd_trans_huge(entry))
		return pmd_page(entry) + pte_index(addr);
	if (pmd_bad(entry))
		return NULL;
	pte = ptep_get_lockless(pte_offset_kernel(&entry, addr));
	return pte_present(pte) && !pte_special(pte) ? pte_page(pte) : NULL;
}

/*
 * Find the anonymous page that an address maps, as get_user_pages_fast() does:
 * without the page-table lock, take a reference to the page, and then check
 * that the address still maps it. Returns the page, or NULL if there is none or
 * if the entry has just changed. The caller is as for entry_page().
 */
static struct page *page_of(struct mm_struct *mm, unsigned long addr)
{
	unsigned long next;
	pmd_t *pmd = ksm_find_pmd(mm, addr, &next);
	struct page *page = pmd ? entry_page(pmd, addr) : NULL;
	struct folio *folio;

	if (!page || is_zone_device_page(page))
		return NULL;
	folio = page_folio(page);
	if (!folio_try_get(folio))
		return NULL;
	/* A huge page may have been split meanwhile. */
	if (page_folio(page) == folio && entry_page(pmd, addr) == page && PageAnon(page) &&
	    !PageKsm(page) && !PageHWPoison(page))
		return page;
	folio_put(folio);
	return NULL;
}

/**
 * ksm_item_page - find the page of an item
 * @item: the item
 *
 * Context: ksm_lock must be held. Waits neither for the mmap lock nor for a
 * page-table lock, which another process may hold. Does not sleep.
 * Return: the page, with a reference for the caller; NULL if the mm has no
 * users, if the mmap lock is contended, or if the address maps no page that may
 * be merged.
 */
struct page *ksm_item_page(struct ksm_item *item)
{
	struct mm_struct *mm = ksm_item_mm(item);
	unsigned long addr = ksm_item_addr(item);
	struct vm_area_struct *vma;
	struct page *page = NULL;

	if (!mmget_not_zero(mm))
		return NULL;
	if (mmap_read_trylock(mm)) {
		vma = vma_lookup(mm, addr);
		rcu_read_lock();
		if (vma && !ksm_vma_refuses(vma))
			page = page_of(mm, addr);
		rcu_read_unlock();
		mmap_read_unlock(mm);
	}
	mmput_async(mm);
	return page;
}
