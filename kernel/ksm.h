/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's types, the layers of its files, and its lock order.
 *
 * Layers, topmost first. A file calls only files that are listed after it;
 * `make lint` checks that:
 *
 *	main			load and unload the module
 *	dev, sysfs		interfaces to userspace
 *	reap			free the metadata of dead processes
 *	area, scan		registration of memory; the scanner threads
 *	pass			which scanner scans which range
 *	match			find the matches of a batch of pages
 *	merge, unmerge		replace pages
 *	index			the index in use, and its callbacks
 *	item, node, region	metadata of pages, kernel pages and ranges
 *	walk			find the pages of an address range
 *	content			hash and compare pages
 *	memcg, pte		memory cgroups; page-table entries
 *	index_tree, index_hash	the two indexes
 *	core			state that all files share
 *	mm_symbols		mm functions that the kernel does not export
 *
 * Locking order, outermost first:
 *
 *	ksm_run_lock			(sysfs.c: one writer of "run" or "threads" at a time)
 *	  area->lock			(register and remove on one area)
 *	    ksm_lock			(everything this driver remembers)
 *	      mm->mmap_lock		(of one mm at a time; only tried under ksm_lock)
 *	        MMU notifier start	(secondary page tables are emptied)
 *	          page-table lock
 *
 * Page locks are only ever tried, never waited for, so they have no place in it.
 *
 * ksm_lock guards the list of regions, the regions and their chunks, the items,
 * the index, the stable nodes, the pass and the counters. All clients of the
 * driver share ksm_lock, so a thread that holds it never waits for a single
 * client: it waits for no mmap lock, takes no page fault, and makes no
 * allocation that can sleep. Scanners examine and replace pages without
 * ksm_lock, and the unmerge loop drops it for each page. After retaking
 * ksm_lock, a thread checks again what it read before, with these exceptions:
 *
 *	a region with users is not freed, and one that is marked "leaving" is freed
 *	only by the thread that marked it;
 *	only the scanner that has claimed a range of the pass allocates and frees the
 *	chunk in it, and no chunk is freed while an item of it is being merged;
 *	only the scanner that made an item KSM_ITEM_MERGING changes that item;
 *	a kernel page is not freed while a job holds a reference to it, and only the
 *	scanner that allocated it fills it.
 */
#ifndef KSM_DRIVER_H
#define KSM_DRIVER_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "index.h"

/**
 * enum ksm_skip - why a page of a region is left as it is
 * @KSM_SKIP_NONE: it is not left alone
 * @KSM_SKIP_SWAPPED: it is in swap; bringing it back would cost what merging saves
 * @KSM_SKIP_SHARED_VMA: the mapping is shared, so each user must see a write
 * @KSM_SKIP_IO: the mapping is of device memory (VM_IO)
 * @KSM_SKIP_PFNMAP: the mapping has no struct pages behind it (VM_PFNMAP)
 * @KSM_SKIP_MIXEDMAP: the mapping may have no struct pages behind it (VM_MIXEDMAP)
 * @KSM_SKIP_HUGETLB: the mapping is of hugetlbfs, which has no 4 KiB page tables
 * @KSM_SKIP_DAX: the mapping is of a file that is its own memory
 * @KSM_SKIP_UFFD: userspace handles the faults of this range (userfaultfd)
 * @KSM_SKIP_SPECIAL: a shadow stack or droppable memory, whose PTEs mean something else
 * @KSM_SKIP_FILE: the mapping is of a file; see ksm_vma_refuses()
 * @KSM_SKIP_KERNEL_KSM: the kernel's own KSM has merged it
 * @KSM_SKIP_ZERO_PAGE: it is the zero page, which costs nothing already
 * @KSM_SKIP_NOT_ANON: another driver put a page of its own here
 * @KSM_SKIP_PINNED: it has another reference (O_DIRECT, vmsplice, VFIO, ...)
 * @KSM_SKIP_BUSY: the page lock was taken, the page is on its way elsewhere, or another
 *	scanner is about to fill the kernel page
 * @KSM_SKIP_CHANGED: it was written, moved or unmapped before it was replaced
 * @KSM_SKIP_THP_SPLIT: it is part of a huge page that would not split
 * @KSM_SKIP_LIMIT: it has a match, but max_kernel_pages is reached
 * @KSM_SKIP_NO_MEMORY: there was no memory for what merging it needs
 * @KSM_SKIP_HWPOISON: the hardware reported an uncorrectable error in the page
 * @KSM_NR_SKIP: how many there are
 */
enum ksm_skip {
	KSM_SKIP_NONE,
	KSM_SKIP_SWAPPED,
	KSM_SKIP_SHARED_VMA,
	KSM_SKIP_IO,
	KSM_SKIP_PFNMAP,
	KSM_SKIP_MIXEDMAP,
	KSM_SKIP_HUGETLB,
	KSM_SKIP_DAX,
	KSM_SKIP_UFFD,
	KSM_SKIP_SPECIAL,
	KSM_SKIP_FILE,
	KSM_SKIP_KERNEL_KSM,
	KSM_SKIP_ZERO_PAGE,
	KSM_SKIP_NOT_ANON,
	KSM_SKIP_PINNED,
	KSM_SKIP_BUSY,
	KSM_SKIP_CHANGED,
	KSM_SKIP_THP_SPLIT,
	KSM_SKIP_LIMIT,
	KSM_SKIP_NO_MEMORY,
	KSM_SKIP_HWPOISON,
	KSM_NR_SKIP,
};

/**
 * enum ksm_state - the last known state of a page of a region
 * @KSM_ITEM_PLAIN: it is in no index and not merged
 * @KSM_ITEM_UNSTABLE: it is in the unstable index and has no match yet
 * @KSM_ITEM_MERGED: it was last seen mapping the kernel page of a stable node
 * @KSM_ITEM_MERGING: a scanner is about to put a kernel page in its place
 *
 * The page may have changed since. Only its PTE, read under the page-table
 * lock, is authoritative.
 */
enum ksm_state {
	KSM_ITEM_PLAIN,
	KSM_ITEM_UNSTABLE,
	KSM_ITEM_MERGED,
	KSM_ITEM_MERGING,
};

/**
 * enum ksm_break - how a merged page came to be private again
 * @KSM_BREAK_WRITTEN: its owner wrote to it, or put something else there
 * @KSM_BREAK_UNMAPPED: its mapping, or the whole mm, is gone
 * @KSM_BREAK_UNMERGED: the driver gave it its own copy back
 */
enum ksm_break {
	KSM_BREAK_WRITTEN,
	KSM_BREAK_UNMAPPED,
	KSM_BREAK_UNMERGED,
};

struct ksm_batch;
struct ksm_jobs;
struct ksm_node;
struct ksm_region;

/**
 * struct ksm_item - metadata of one page of a region
 * @hash: the return value of ksm_page_hash() when the page was last scanned. If
 *	the hash of the page differs, the page is volatile
 * @state: an enum ksm_state
 * @seen: whether @hash is valid
 * @word: the three members above, for readers that do not hold ksm_lock
 * @node: while KSM_ITEM_MERGED: the node whose kernel page the address maps
 * @entry: while KSM_ITEM_UNSTABLE: the entry in the unstable index
 *
 * An item is ksm_item_size() bytes long, because the index uses only a part of
 * @entry: 24 bytes with index=hash, 32 with index=tree. Neither the region nor
 * the address is stored: see ksm_item_chunk() and ksm_item_addr().
 */
struct ksm_item {
	union {
		struct {
			u64 hash : KSM_HASH_BITS;
			u64 state : 3;
			u64 seen : 1;
		};
		u64 word;
	};
	union {
		struct ksm_node *node;
		struct ksm_entry entry;
	};
};

#define KSM_CHUNK_PAGES		(PMD_SIZE / PAGE_SIZE)

/**
 * struct ksm_chunk - the items of the pages that one page table maps
 * @region: the region it belongs to
 * @start: the address of the first item, aligned to what a page table maps
 * @merged: how many of its items are KSM_ITEM_MERGED
 * @tracked: a bit for each item that holds information
 * @rest: how many passes are yet to leave it out
 * @quiet: how many passes have found nothing to do here, one after the other
 * @busy: whether this pass has found something to do here
 * @epoch: the ksm_scan_epoch in which @rest was set; in another one it is void
 * @items: KSM_CHUNK_PAGES of them, in pages whose private field points back here
 *
 * Allocated when the scan first batch a page there, so that a hole costs nothing.
 */
struct ksm_chunk {
	struct ksm_region *region;
	unsigned long start;
	unsigned int merged;
	DECLARE_BITMAP(tracked, KSM_CHUNK_PAGES);
	u8 rest;
	u8 quiet;
	bool busy;
	unsigned int epoch;
	void *items;
};

/**
 * struct ksm_area - what a descriptor of CREATE_SHARED_MEMORY_AREA stands for
 * @lock: one REGISTER or REMOVE at a time
 * @regions: its regions, of whichever mm (under ksm_lock)
 * @nr_regions: how many there are, at most KSM_MAX_REGIONS (under ksm_lock)
 */
struct ksm_area {
	struct mutex lock;
	struct list_head regions;
	unsigned int nr_regions;
};

#define KSM_MAX_REGIONS		1024

/**
 * struct ksm_region - a range of one mm in which pages may merge
 * @area: the area that owns it
 * @in_area: its place in @area->regions
 * @in_scan: its place in ksm_regions, the list that scanners walk
 * @by_address: its place in the tree of all regions
 * @mm: the mm that registered it; mm_count is held, never mm_users
 * @start: its first byte
 * @end: the byte after its last
 * @resume: the address at which the next pass enters the region, because this
 *	pass found the mmap lock contended; otherwise 0
 * @merged: how many of its items are KSM_ITEM_MERGED
 * @users: the number of threads that keep it from being freed: scanners with a
 *	range of it or with a merge job for one of its pages, and threads that
 *	unmerge or reap regions
 * @leaving: it is being removed; scanners and the reaper do not enter it
 * @freeing: all of its pages are unmerged, and its items are being reset
 * @chunks: struct ksm_chunk by address divided by PMD_SIZE
 */
struct ksm_region {
	struct ksm_area *area;
	struct list_head in_area;
	struct list_head in_scan;
	struct rb_node by_address;
	struct mm_struct *mm;
	unsigned long start;
	unsigned long end;
	unsigned long resume;
	unsigned long merged;
	unsigned int users;
	bool leaving;
	bool freeing;
	struct xarray chunks;
};

/**
 * struct ksm_node - a stable node: one kernel page, and the items that map it
 * @kpage: the kernel page; NULL once the node has been dropped. No reference is
 *	held: the page lives as long as page tables map it or a merge uses it.
 *	Its private field points back here, until the node is dropped.
 * @nr_items: the number of items that were last seen mapping @kpage
 * @entry: the entry in the stable index, until the node is dropped
 *
 * A node corresponds to a stable_node in mm/ksm.c. When the last mapping of a
 * kernel page is removed, the page is freed at once; the node is stale until it
 * is dropped. See ksm_node_tryget().
 *
 * A dropped node is freed when its last item leaves it. The size of a node
 * depends on the index: 32 bytes with index=hash, 40 with index=tree.
 */
struct ksm_node {
	struct page *kpage;
	unsigned long nr_items;
	struct ksm_entry entry;
};

/**
 * struct ksm_counters - what /sys/kernel/mm/ksm shows (under ksm_lock)
 * @shared: items beyond the first of each node: the frames saved. Mainline KSM calls
 *	this pages_sharing
 * @kernel_pages: stable nodes, each with one kernel page. Mainline KSM calls their
 *	number pages_shared
 * @metadata: bytes that chunks, items and nodes take (needs no lock)
 * @full_scans: passes completed since the module was loaded
 * @volatile_now: pages of this pass whose content had changed since the last one
 * @volatile_last: the same, of the last complete pass
 * @skipped_now: pages that this pass has left alone so far, by reason
 * @skipped_last: the same, of the last complete pass
 */
struct ksm_counters {
	unsigned long shared;
	unsigned long kernel_pages;
	atomic_long_t metadata;
	unsigned long full_scans;
	unsigned long volatile_now;
	unsigned long volatile_last;
	unsigned long skipped_now[KSM_NR_SKIP];
	unsigned long skipped_last[KSM_NR_SKIP];
};

/**
 * struct ksm_settings - what /sys/kernel/mm/ksm takes (read without a lock)
 * @run: 0 stop, 1 scan, 2 everything unmerged and stopped
 * @pages_to_scan: pages that each thread looks at between two sleeps; a hole, a stretch
 *	that is left alone, or a chunk that is left out of the pass counts as one
 * @sleep: microseconds between two batches
 * @max_kernel_pages: no new node at or above this many; 0 for no limit
 * @threads: threads that scan, from 1 to 16; each at the pace of pages_to_scan and sleep
 */
struct ksm_settings {
	unsigned int run;
	unsigned int pages_to_scan;
	unsigned int sleep;
	unsigned long max_kernel_pages;
	unsigned int threads;
};

#define KSM_MAX_THREADS		16

enum { KSM_RUN_STOP, KSM_RUN_SCAN, KSM_RUN_UNMERGE };

/* core.c */
extern struct mutex ksm_lock;
extern struct list_head ksm_regions;	/* in the order of registration; under ksm_lock */
extern struct ksm_counters ksm_counters;
extern struct ksm_settings ksm_settings;
extern const struct ksm_index_ops *ksm_index_ops;
extern struct ksm_index *ksm_index;
/* The idle count of a chunk is ignored if it dates from an earlier epoch. */
extern unsigned int ksm_scan_epoch;
/*
 * Has the current pass found a new or volatile page, or has a region been
 * registered since it began? Under ksm_lock.
 */
extern bool ksm_seen_fresh;
/* Scanners that sleep between two batches, or until there is work. */
extern wait_queue_head_t ksm_scan_asleep;
/* Scanners with nothing to do, because others have claimed the rest of the pass. */
extern wait_queue_head_t ksm_scan_idle;
extern struct delayed_work ksm_reap_work;

void ksm_scan_wake(void);
void ksm_scan_wake_idle(void);
void ksm_reap_start(void);
void ksm_reap_now(void);
void ksm_skip(struct mm_struct *mm, unsigned long addr, unsigned long pages, enum ksm_skip why);

/* dev.c */
int ksm_dev_init(void);
void ksm_dev_exit(void);

/* sysfs.c */
int ksm_sysfs_init(void);
void ksm_sysfs_exit(void);

/* area.c */
int ksm_area_register(struct ksm_area *area, unsigned long addr, unsigned long npages);
int ksm_area_remove(struct ksm_area *area);
void ksm_area_release(struct ksm_area *area);
void ksm_regions_reap(void);

/* region.c */
bool ksm_region_overlaps(struct mm_struct *mm, unsigned long start, unsigned long end);
void ksm_region_insert(struct ksm_region *region);
void ksm_region_erase(struct ksm_region *region);
void ksm_region_put(struct ksm_region *region);
int ksm_region_wait(struct ksm_region *region, bool force);

/* item.c */
struct ksm_chunk *ksm_chunk_find(struct ksm_region *region, unsigned long addr);
struct ksm_chunk *ksm_chunk_get(struct ksm_region *region, unsigned long addr);
struct ksm_item *ksm_item_get(struct ksm_region *region, unsigned long addr);
void ksm_chunk_wake(struct ksm_chunk *chunk);
void ksm_item_link(struct ksm_node *node, struct ksm_item *item);
bool ksm_item_sync(struct ksm_item *item, struct page *page);
void ksm_item_track(struct ksm_item *item);
void ksm_item_forget(struct ksm_item *item, enum ksm_break how);
void ksm_items_forget(struct ksm_region *region, unsigned long start, unsigned long end,
		      enum ksm_break how);

static inline struct ksm_chunk *ksm_item_chunk(const struct ksm_item *item)
{
	return (struct ksm_chunk *)page_private(virt_to_page(item));
}

static inline unsigned long ksm_item_size(void)
{
	return offsetof(struct ksm_item, entry) + ksm_index_ops->entry_size;
}

static inline struct ksm_item *ksm_chunk_item(const struct ksm_chunk *chunk, unsigned long i)
{
	return chunk->items + i * ksm_item_size();
}

static inline unsigned long ksm_item_index(const struct ksm_item *item)
{
	return ((void *)item - ksm_item_chunk(item)->items) / ksm_item_size();
}

static inline unsigned long ksm_item_addr(const struct ksm_item *item)
{
	return ksm_item_chunk(item)->start + ksm_item_index(item) * PAGE_SIZE;
}

static inline struct mm_struct *ksm_item_mm(const struct ksm_item *item)
{
	return ksm_item_chunk(item)->region->mm;
}

/* node.c */
int ksm_node_init(void);
void ksm_node_exit(void);
struct ksm_node *ksm_node_create(struct page *content, u64 hash, struct mm_struct *owner,
				 enum ksm_skip *why);
bool ksm_node_tryget(struct ksm_node *node);
bool ksm_kpage_fill(struct page *kpage, u64 hash, struct page *content);
void ksm_kpage_put(struct page *kpage);
void ksm_node_add_item(struct ksm_node *node);
void ksm_node_remove_item(struct ksm_node *node);
bool ksm_node_is_single(const struct ksm_node *node);
struct ksm_node *ksm_node_of(struct page *page);
struct ksm_node *ksm_node_find(struct page *page, u64 hash, u64 sample);
void ksm_node_collided(struct ksm_node *node);
void ksm_node_dropped(struct ksm_node *node);
void ksm_nodes_prune(void);

/*
 * The node of a kernel page. For any other page, the value is not a node's
 * address.
 */
static inline struct ksm_node *ksm_page_node(const struct page *page)
{
	return (struct ksm_node *)READ_ONCE(page->private);
}

/* memcg.c */
struct mem_cgroup *ksm_charge_begin(struct mm_struct *mm, struct mem_cgroup **old);
void ksm_charge_end(struct mem_cgroup *memcg, struct mem_cgroup *old);

/* reap.c */
void ksm_reap_init(void);
void ksm_reap_exit(void);

/* content.c */
void ksm_hash_init(void);
u64 ksm_page_sample(struct page *page);
u64 ksm_page_hash(struct page *page, u64 *sample);
bool ksm_hash_collided(u64 hash);
int ksm_page_order(struct page *a, struct page *b);
bool ksm_pages_equal(struct page *a, struct page *b);

/* index.c */
int ksm_index_init(void);
void ksm_index_exit(void);

/* match.c */
void ksm_match_batch(const struct ksm_batch *batch, struct ksm_jobs *jobs);

/* scan.c */
int ksm_scan_init(void);
void ksm_scan_exit(void);
int ksm_scan_set_threads(unsigned int nr);

/**
 * struct ksm_range - a part of a pass, claimed by one scanner
 * @region: the region
 * @addr: where the scanner continues
 * @end: the end of the range, which is in the same page table as its beginning,
 *	unless ksm_pass_extend() has extended the range over memory without pages
 */
struct ksm_range {
	struct ksm_region *region;
	unsigned long addr;
	unsigned long end;
};

/* pass.c */
void ksm_pass_begin(void);
bool ksm_pass_end(void);
bool ksm_pass_has_work(void);
unsigned int ksm_pass_skip_resting(unsigned int most);
bool ksm_pass_claim(struct ksm_range *range);
struct ksm_range ksm_pass_extend(struct ksm_range *range, unsigned long next);
void ksm_pass_advance(struct ksm_range *range, unsigned long next);
void ksm_pass_postpone(struct ksm_range *range);
void ksm_pass_release(struct ksm_range *range);
void ksm_pass_drop_region(struct ksm_region *region);
int ksm_pass_wait(void);
void ksm_pass_wake_all(void);

/**
 * struct ksm_job - a page to be replaced by a kernel page
 * @item: its item, KSM_ITEM_MERGING
 * @addr: its address
 * @kpage: the kernel page that replaces it; the job holds a reference
 * @hash: the hash that the node of @kpage had in the index
 * @kind: the index in which the match was found
 * @why: why the page was not replaced; KSM_SKIP_NONE when it was
 * @page: the page that was replaced; it may have been freed since
 * @orig: what its page-table entry was; for merge.c
 * @collided: hash collision: the page has the same sample as @kpage, but differs
 * @undo: no other item maps @kpage, so the page is to be unmerged again
 */
struct ksm_job {
	struct ksm_item *item;
	unsigned long addr;
	struct page *kpage;
	u64 hash;
	enum ksm_kind kind;
	enum ksm_skip why;
	struct page *page;
	pte_t orig;
	bool collided;
	bool undo;
};

/* merge.c */
void ksm_merge(struct ksm_job *jobs, unsigned int nr);

/* unmerge.c */
int ksm_unmerge_region(struct ksm_region *region, bool force);
int ksm_unmerge_all(void);
bool ksm_undo_merge(struct mm_struct *mm, unsigned long addr, struct page *kpage);
void ksm_unmap_poisoned(struct mm_struct *mm, unsigned long addr);

/**
 * struct ksm_walk - the result of a page-table walk
 * @page: the page, with a reference for the caller; NULL if there is none
 * @addr: where @page is mapped: the address asked for, or a later one
 * @next: where to continue: all memory before it has been handled
 * @why: why the pages from @addr to @next are skipped; KSM_SKIP_NONE for a
 *	hole, where there is nothing to skip
 */
struct ksm_walk {
	struct page *page;
	unsigned long addr;
	unsigned long next;
	enum ksm_skip why;
};

/* The maximum number of pages hashed under one hold of a page-table lock. */
#define KSM_BATCH		64

/**
 * struct ksm_candidate - a page that may have to be merged
 * @item: its item
 * @page: the page; the candidate holds a reference
 * @hash: the return value of ksm_page_hash(); 0 if the page is not anonymous
 * @sample: the hash of a sample of the page
 * @word: item->word when the page was hashed
 */
struct ksm_candidate {
	struct ksm_item *item;
	struct page *page;
	u64 hash;
	u64 sample;
	u64 word;
};

/**
 * struct ksm_batch - the candidates from one hold of a page-table lock
 * @scanned: the number of pages scanned
 * @nr: the number of elements of @candidates in use
 * @candidates: the candidates, sorted by address
 */
struct ksm_batch {
	unsigned int scanned;
	unsigned int nr;
	struct ksm_candidate candidates[KSM_BATCH];
};

/**
 * struct ksm_jobs - the merge jobs for one batch
 * @own: jobs for pages of the batch, sorted by address
 * @nr_own: the number of elements of @own in use
 * @partners: jobs for pages that were in the unstable index; each page of
 *	@own that matched one of them is merged with it
 * @nr_partners: the number of elements of @partners in use
 */
struct ksm_jobs {
	struct ksm_job own[KSM_BATCH];
	unsigned int nr_own;
	struct ksm_job partners[KSM_BATCH];
	unsigned int nr_partners;
};

/* walk.c */
enum ksm_skip ksm_vma_refuses(struct vm_area_struct *vma);
void ksm_walk_next(struct mm_struct *mm, unsigned long addr, unsigned long end,
	      struct ksm_walk *walk);
void ksm_walk_batch(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned int most,
		unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch);
unsigned long ksm_walk_linked(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned long addr,
			      unsigned long end);
struct page *ksm_item_page(struct ksm_item *item);

#endif /* KSM_DRIVER_H */
