/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The driver's types, the layers of its files, and its lock order.
 *
 * Terms, with the corresponding terms of mm/ksm.c in parentheses:
 *
 *	kernel page		a page that replaces equal pages (KSM page)
 *	node			the metadata of a kernel page (stable_node)
 *	item			the metadata of a registered page (rmap_item)
 *	region			a registered range of one mm (mm_slot)
 *	chunk			the items of all pages that one page table maps
 *	pass			one scan of all regions (full scan)
 *	volatile page		a page that has changed since the last pass
 *	idle page or chunk	unchanged for so long that some passes skip it
 *	sample			a hash of four cache lines of a page
 *	collided sample		a sample that two different pages have had
 *	candidate		a page that may have to be merged in this pass
 *	stable index		the index of kernel pages (stable tree)
 *	unstable index		the index of pages with no match (unstable tree)
 *	merge job		the task to replace one page by a kernel page
 *	full node		the kernel page has max_page_sharing mappings
 *	stale node		the kernel page has been freed
 *
 * Layers, topmost first. Except for the callbacks of the index, a function
 * calls only functions of its own file and of files that are listed after it;
 * `make lint` checks that.
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
 *	collision		the set of collided samples
 *	memcg, pte		memory cgroups; page-table entries
 *	index_tree, index_hash	the two indexes
 *	core			state that all files share
 *	mm_symbols		mm functions that the kernel does not export
 *
 * Locking order, outermost first:
 *
 *	ksm_run_lock, area->lock or prune_lock
 *	  ksm_lock			(all metadata of the driver)
 *	    mm->mmap_lock		(of one mm; only tried under ksm_lock)
 *	      MMU notifier start	(secondary MMUs drop the range)
 *	        page-table lock
 *
 * ksm_run_lock serializes writes to the sysfs files "run" and "threads".
 * area->lock serializes REGISTER and REMOVE on one area. prune_lock serializes
 * walks over all nodes. No thread holds two of these.
 *
 * The kernel calls devksm_memory_callback() (node.c) under mem_hotplug_lock, so
 * that lock is taken before prune_lock and ksm_lock: a thread that holds one of
 * them must not wait for memory hotplug.
 *
 * Page locks are not in this order, because the driver only tries them. The
 * order also leaves out locks under which no lock of the list is taken: the
 * xa_lock of region->chunks, and the locks of allocators and wait queues.
 *
 * ksm_lock guards the list of regions, the regions and their chunks, the items,
 * the index, the stable nodes, the pass and the counters. All clients of the
 * driver share ksm_lock, so a thread that holds it never waits for another
 * process: it waits for no mmap lock, takes no page fault, and makes no
 * allocation that can sleep. Scanners collect candidates and replace pages
 * without ksm_lock, and the unmerge loop drops it for each batch of pages. With
 * the module parameter index=tree, each search compares pages under ksm_lock.
 *
 * After retaking ksm_lock, a thread checks again what it read before. The
 * following rules hold even while ksm_lock is dropped, and need no check:
 *
 *  - A region with users (@users of struct ksm_region) is not freed. Only the
 *    thread that marked a region "leaving" frees it. If the area of the region
 *    has been closed, the reaper (reap.c) may free it instead.
 *  - A scanner claims a range of a region before it scans the range (pass.c).
 *    Until it returns the range, no other thread walks the range, and no other
 *    thread frees a chunk that is completely in it.
 *  - An item is KSM_ITEM_MERGING while a merge job for its page is queued or
 *    runs. Only the scanner that queued the job changes the state of the item,
 *    and no thread frees the chunk of the item.
 *  - A kernel page is not freed while a merge job holds a reference to it. With
 *    index=hash, a new kernel page has no content. Only the scanner that
 *    allocated the kernel page fills it, with a copy of the first page that is
 *    replaced. With index=tree, a kernel page is filled when it is allocated.
 */
#ifndef KSM_DRIVER_H
#define KSM_DRIVER_H

#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/llist.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/threads.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"
#include "index.h"

/**
 * enum ksm_skip - why a page is skipped
 * @KSM_SKIP_NONE: the page is not skipped
 * @KSM_SKIP_SWAPPED: the page is in swap; reading it back would use memory
 * @KSM_SKIP_SHARED_VMA: the mapping is shared, so all processes that map the
 *	page must see each write
 * @KSM_SKIP_IO: the mapping is of device memory (VM_IO)
 * @KSM_SKIP_PFNMAP: the mapping has no struct pages (VM_PFNMAP)
 * @KSM_SKIP_MIXEDMAP: the mapping may contain frames without a struct page
 *	(VM_MIXEDMAP)
 * @KSM_SKIP_HUGETLB: the mapping is of hugetlbfs
 * @KSM_SKIP_DAX: the mapping is of a file on DAX storage, which has no page
 *	cache
 * @KSM_SKIP_UFFD: userspace handles the page faults of the mapping
 *	(userfaultfd)
 * @KSM_SKIP_SPECIAL: the mapping is a shadow stack or droppable memory
 * @KSM_SKIP_FILE: the mapping is of a file
 * @KSM_SKIP_KERNEL_KSM: the kernel's own KSM has merged the page
 * @KSM_SKIP_ZERO_PAGE: the address maps the zero page, so a merge would save
 *	nothing
 * @KSM_SKIP_NOT_ANON: the address maps device memory, or a page that is neither
 *	anonymous nor a kernel page with a node: for example a page of another
 *	driver
 * @KSM_SKIP_PINNED: the page has another reference (O_DIRECT, vmsplice, VFIO,
 *	...)
 * @KSM_SKIP_BUSY: the page is locked or is being migrated, or its page-table
 *	entry is of another kind that is neither present nor a swap entry; or
 *	the mmap lock is contended; or the kernel page has no content yet; or
 *	the index contains too many freed kernel pages
 * @KSM_SKIP_CHANGED: the page was written, moved or unmapped before the merge,
 *	or it differs from the kernel page although their hashes are equal
 * @KSM_SKIP_THP_SPLIT: the page is part of a huge page that cannot be split now
 * @KSM_SKIP_LIMIT: the page has a match, but max_kernel_pages is reached
 * @KSM_SKIP_NO_MEMORY: an allocation failed
 * @KSM_SKIP_HWPOISON: the page, or the kernel page that it matches, has an
 *	uncorrectable memory error
 * @KSM_NR_SKIP: the number of values
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
 * @KSM_ITEM_PLAIN: the page is in no index and not merged
 * @KSM_ITEM_UNSTABLE: the page is in the unstable index and has no match yet
 * @KSM_ITEM_MERGED: the address was last seen mapping a kernel page
 * @KSM_ITEM_MERGING: a merge job for the page is queued or runs
 * @KSM_ITEM_ZERO: the address was last seen mapping the zero page. The kernel
 *	mapped it in place of a page of zeros when a scanner split a huge page
 *
 * The page may have changed since. Only its PTE, read under the page-table
 * lock, is authoritative.
 */
enum ksm_state {
	KSM_ITEM_PLAIN,
	KSM_ITEM_UNSTABLE,
	KSM_ITEM_MERGED,
	KSM_ITEM_MERGING,
	KSM_ITEM_ZERO,
};

/**
 * enum ksm_break - why an address no longer maps its kernel page
 * @KSM_BREAK_WRITTEN: the process wrote to the address, or mapped another page
 *	there
 * @KSM_BREAK_UNMAPPED: the process unmapped the address or has exited, the page
 *	has a memory error, or the region was removed
 * @KSM_BREAK_UNMERGED: the driver gave the process its own copy
 * @KSM_BREAK_ZEROED: the zero page was mapped in its place
 */
enum ksm_break {
	KSM_BREAK_WRITTEN,
	KSM_BREAK_UNMAPPED,
	KSM_BREAK_UNMERGED,
	KSM_BREAK_ZEROED,
};

struct ksm_batch;
struct ksm_jobs;
struct ksm_node;
struct ksm_region;

/*
 * The index reads the hash of an item or a node in the lowest KSM_HASH_BITS
 * bits of @word (hash_at in struct ksm_index_callbacks). Big-endian compilers
 * put the first bit-field into the highest bits.
 */
#if BITS_PER_LONG != 64 || !defined(__LITTLE_ENDIAN_BITFIELD)
#error "struct ksm_item needs a 64-bit kernel with little-endian bitfields"
#endif

/**
 * struct ksm_item - metadata of one page of a region
 * @hash: the return value of ksm_page_hash() when the page was last scanned. If
 *	it differs in the next scan, the page is volatile. While
 *	KSM_ITEM_UNSTABLE, the index uses it, too
 * @state: an enum ksm_state
 * @seen: whether @hash is valid
 * @idle: while KSM_ITEM_UNSTABLE: the number of times, up to KSM_IDLE_MAX, that
 *	the page has been found unchanged. An idle page is not hashed in every
 *	pass
 * @word: the four members above, for readers that do not hold ksm_lock
 * @node: while KSM_ITEM_MERGED: the node whose kernel page the address maps
 * @entry: while KSM_ITEM_UNSTABLE: the entry in the unstable index
 *
 * An item corresponds to an rmap_item in mm/ksm.c. An item is 32 bytes long
 * with index=tree, but 16 with index=hash, which uses only the first 8 bytes of
 * @entry: see ksm_item_size(). An item stores neither its region nor its
 * address: ksm_item_chunk() and ksm_item_addr() compute them.
 *
 * ksm_lock is held to change an item. The functions of walk.c read @word
 * without it. The compiler may write two bit-fields separately, so @word can
 * have one of them changed and the other not, and KCSAN reports these reads.
 * This does no harm: a candidate is dropped if @word has changed since its page
 * was hashed (is_current() in match.c), and any other wrong value only makes
 * this pass hash a page without need, or leaves the page to the next pass.
 */
struct ksm_item {
	union {
		struct {
			u64 hash : KSM_HASH_BITS;
			u64 state : 3;
			u64 seen : 1;
			u64 idle : 4;
		};
		u64 word;
	};
	union {
		struct ksm_node *node;
		struct ksm_entry entry;
	};
};

/* The number of pages that one page table maps. */
#define KSM_CHUNK_PAGES		(PMD_SIZE / PAGE_SIZE)

/*
 * How often memory that does not change is scanned.
 *
 * A chunk that has been idle in KSM_IDLE_MIN consecutive scans (chunk_finish()
 * in pass.c) is skipped for one pass, and then scanned again. If it is still
 * idle, it is skipped for two passes, then for 4, and so on. After KSM_IDLE_MAX
 * idle scans, it is skipped for 2^(KSM_IDLE_MAX - KSM_IDLE_MIN) = 32 passes
 * after each scan.
 *
 * A chunk is not skipped if its last scan found a merged, new, changed or
 * skipped page. An unchanged page of such a chunk is hashed in every pass at
 * first. After it has been found unchanged more than KSM_IDLE_MIN times, it is
 * hashed in every second pass, then in every fourth, and so on. After
 * KSM_IDLE_MAX times, it is hashed in one of 32 passes (is_idle() in walk.c).
 */
#define KSM_IDLE_MIN		4
#define KSM_IDLE_MAX		9

/**
 * struct ksm_chunk - the items of all pages that one page table maps
 * @region: the region that the chunk belongs to
 * @start: the address of the first item, aligned to PMD_SIZE
 * @merged: the number of items that are KSM_ITEM_MERGED
 * @tracked: a bit for each item that must be reset when its page is unmapped
 * @zeroed: a bit for each item that is to become KSM_ITEM_ZERO; see
 *	ksm_chunk_count_zeroed(). merge.c sets the bits without ksm_lock
 * @remaining_skips: the number of passes for which the chunk is still skipped
 * @idle_passes: the number of consecutive scans, up to KSM_IDLE_MAX, in which
 *	the chunk was idle; see chunk_finish() in pass.c
 * @active: whether the current pass has found a candidate in the chunk (see
 *	scan_page() in walk.c), or has skipped a page of it
 * @epoch: the ksm_scan_epoch in which @remaining_skips was set; in a later
 *	epoch @remaining_skips and the idle counts of the items are ignored
 * @items: an array of KSM_CHUNK_PAGES items. The private field of each page of
 *	the array points to the chunk
 *
 * A chunk is allocated when a thread first finds a page in its range, so a hole
 * in the address space uses no memory.
 *
 * ksm_lock protects the members, except where the list says otherwise. @region,
 * @start and @items do not change.
 */
struct ksm_chunk {
	struct ksm_region *region;
	unsigned long start;
	unsigned int merged;
	DECLARE_BITMAP(tracked, KSM_CHUNK_PAGES);
	DECLARE_BITMAP(zeroed, KSM_CHUNK_PAGES);
	u8 remaining_skips;
	u8 idle_passes;
	bool active;
	unsigned int epoch;
	void *items;
};

/**
 * struct ksm_area - the regions of one area descriptor
 * @lock: serializes REGISTER and REMOVE
 * @regions: the regions, of any mm (under ksm_lock)
 * @nr_regions: the number of regions, at most KSM_MAX_REGIONS (under ksm_lock)
 *
 * Userspace calls an area a shared memory area (KSM_CREATE_SHARED_MEMORY_AREA).
 */
struct ksm_area {
	struct mutex lock;
	struct list_head regions;
	unsigned int nr_regions;
};

#define KSM_MAX_REGIONS		1024

/**
 * struct ksm_region - a registered range of one mm
 * @area: the area that owns the region; NULL if the area has been closed and
 *	the reaper has to free the region
 * @in_area: entry in the list @area->regions
 * @in_scan: entry in the list ksm_regions, which the pass walks
 * @by_address: node in the tree of all regions (region.c)
 * @mm: the mm of the process that registered the region. The region holds
 *	mm_count, never mm_users
 * @start: the address of the first byte
 * @end: the address of the first byte after the region
 * @resume: the address at which the next pass enters the region, if the mmap
 *	lock was contended in this pass; otherwise 0
 * @no_memory_in: the number of the last pass in which no memory could be
 *	reclaimed for a chunk (set without a lock)
 * @merged: the number of items that are KSM_ITEM_MERGED
 * @users: the number of users. While it is not 0, the region is not freed. Each
 *	claimed range is a user, and each partner job (@partners of struct
 *	ksm_jobs). A writer of run=2, which is a thread that writes 2 to the
 *	sysfs file "run", is a user of the region that it unmerges
 * @leaving: the region is being removed. Scanners do not enter it. The reaper
 *	does not free it, unless @area is NULL
 * @freeing: the items are being reset; no thread may unmerge the region any
 *	more
 * @unmerging: a writer of run=2 is a user of the region, and may wait for the
 *	mmap lock
 * @chunks: the chunks, by address divided by PMD_SIZE
 *
 * A region corresponds to an mm_slot in mm/ksm.c, but that is a whole mm.
 *
 * ksm_lock protects the members. @mm, @start and @end do not change. Threads
 * add chunks to @chunks without ksm_lock, because ksm_chunk_get() can sleep.
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
	unsigned long no_memory_in;
	unsigned long merged;
	unsigned int users;
	bool leaving;
	bool freeing;
	bool unmerging;
	struct xarray chunks;
};

/**
 * struct ksm_node - a stable node: the metadata of one kernel page
 * @nr_items: the number of items that were last seen mapping the kernel page
 * @full: no more pages are merged with the kernel page, because
 *	max_page_sharing is reached. The node is not in the index then, so that
 *	a search finds another node with the same content
 * @pfn: the number of the page frame of the kernel page; 0 once the node has
 *	been dropped. The node holds no reference: the page lives as long as
 *	page tables map it or a job uses it. Until the page is freed or the node
 *	is dropped, the private field of the page points to the node
 * @hash: the hash under which the node is in the index
 * @complete: @hash is a hash of the complete page. The sample of the page has
 *	collided, and the node keeps it in the set (collision.c)
 * @word: the two members above
 * @entry: the entry in the stable index
 * @in_full: its place in the list of full nodes
 * @freed: its place in the list of nodes to free
 *
 * A node corresponds to a stable_node in mm/ksm.c. The state of the node
 * decides which members of the union are valid:
 *
 *	in the index	@hash, @complete and @entry
 *	full		@in_full
 *	dropped		none, and @pfn is 0
 *	unused		@freed; a work item is about to free the node
 *
 * A new node is in the index. It becomes full when the kernel page has
 * max_page_sharing mappings, and returns to the index when some of these are
 * gone. When the last mapping of a kernel page is removed, the page is freed at
 * once, but its node does not change. Such a node is called stale; see
 * ksm_node_tryget(). A thread that finds a stale node, or a node whose kernel
 * page has a memory error, drops the node (ksm_node_dropped()). A dropped node
 * is unused, and freed, when no item points to it any more.
 *
 * The size of a node depends on the index: 24 bytes with index=hash, 40 with
 * index=tree. @pfn has 32 bits, so only pages in the first 16 TiB of physical
 * memory become kernel pages (kpage_alloc() in node.c).
 */
struct ksm_node {
	u32 nr_items : 31;
	u32 full : 1;
	u32 pfn;
	union {
		struct {
			union {
				struct {
					u64 hash : KSM_HASH_BITS;
					u64 complete : 1;
				};
				u64 word;
			};
			struct ksm_entry entry;
		};
		struct list_head in_full;
		struct llist_node freed;
	};
};

/**
 * struct ksm_counters - the counters in /sys/kernel/mm/ksm (under ksm_lock)
 * @shared: page frames saved: addresses in regions that map kernel pages,
 *	except one for each kernel page. Mainline KSM calls this pages_sharing
 * @kernel_pages: kernel pages in use. Mainline KSM calls this pages_shared
 * @zero_pages: page frames saved because the kernel mapped the zero page in
 *	place of pages of zeros when a scanner split a huge page. They are not
 *	part of @shared. Each is counted until a scanner finds its address
 *	written or unmapped, or its region is removed. Linux 6.1 does not map
 *	the zero page there. The ksm_zero_pages of mainline KSM counts other
 *	pages: those that KSM itself has replaced by the zero page
 * @metadata: size of all chunks, items and nodes in bytes (needs no lock)
 * @collisions: samples that have collided, and have not expired
 * @full_scans: passes completed since the module was loaded
 * @volatile_now: pages found so far in this pass whose content has changed
 *	since the last pass
 * @volatile_last: the same, of the last complete pass
 * @hashed_now: pages that this pass has hashed so far
 * @complete_now: pages of @hashed_now that were hashed completely
 * @skipped_now: pages that this pass has skipped so far, by reason
 * @skipped_last: the same, of the last complete pass
 */
struct ksm_counters {
	unsigned long shared;
	unsigned long kernel_pages;
	unsigned long zero_pages;
	atomic_long_t metadata;
	unsigned long collisions;
	unsigned long full_scans;
	unsigned long volatile_now;
	unsigned long volatile_last;
	unsigned long hashed_now;
	unsigned long complete_now;
	unsigned long skipped_now[KSM_NR_SKIP];
	unsigned long skipped_last[KSM_NR_SKIP];
};

/**
 * struct ksm_settings - the settings in /sys/kernel/mm/ksm (no lock to read)
 * @run: 0 to stop, 1 to scan, 2 to stop and unmerge all pages
 * @pages_to_scan: pages that each thread scans before it sleeps. A hole, a
 *	range that cannot be merged, and a skipped chunk each count as one page
 * @sleep: time that each thread sleeps after pages_to_scan pages, in
 *	microseconds
 * @max_kernel_pages: the maximum number of kernel pages; 0 for no limit
 * @max_page_sharing: the maximum number of mappings of one kernel page. If more
 *	pages than this are equal, they use several kernel pages. A new value
 *	applies to later merges only. fork() copies mappings without this limit
 * @threads: the number of scanner threads, from 1 to 16. Each of them scans
 *	pages_to_scan pages and then sleeps
 */
struct ksm_settings {
	unsigned int run;
	unsigned int pages_to_scan;
	unsigned int sleep;
	unsigned long max_kernel_pages;
	unsigned int max_page_sharing;
	unsigned int threads;
};

/*
 * The range of max_page_sharing. With one mapping, a kernel page would save no
 * memory.
 *
 * The upper limit keeps the reference count of a kernel page, an int, from
 * overflowing. A merge adds a mapping only while all processes together have
 * fewer than KSM_MAX_SHARING, and fork() gives the child no more mappings than
 * the parent has. So no process ever has more than KSM_MAX_SHARING mappings of
 * the page, and there are at most PID_MAX_LIMIT processes.
 */
#define KSM_MIN_SHARING		2
#define KSM_MAX_SHARING		(INT_MAX / PID_MAX_LIMIT)

#define KSM_MAX_THREADS		16

/*
 * For allocations that do not sleep: those under ksm_lock, because all clients
 * wait for that lock, and those of scanners (ksm_charge_reclaim() says why). A
 * failed allocation needs no warning: the next pass tries again.
 */
#define KSM_GFP_NOWAIT		(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT)

/* The values of ksm_settings.run. */
enum { KSM_RUN_STOP, KSM_RUN_SCAN, KSM_RUN_UNMERGE };

/* core.c */
extern struct mutex ksm_lock;
/* All regions, in the order of registration. Under ksm_lock. */
extern struct list_head ksm_regions;
extern struct ksm_counters ksm_counters;
extern struct ksm_settings ksm_settings;
extern const struct ksm_index_ops *ksm_index_ops;
extern struct ksm_index *ksm_index;
/*
 * Incremented to end the idle state of all chunks and pages. Changed under
 * ksm_lock; walk.c reads it without.
 */
extern unsigned int ksm_scan_epoch;
/*
 * Whether a scanner has found a new or volatile page, or a region has been
 * registered, since the most recent pass began. Under ksm_lock.
 */
extern bool ksm_seen_fresh;
/*
 * Scanners sleep here after pages_to_scan pages, while "run" is not 1, and
 * while there is nothing to scan.
 */
extern wait_queue_head_t ksm_scan_asleep;
/* Scanners wait here while other scanners have claimed all of the pass. */
extern wait_queue_head_t ksm_scan_idle;
extern struct delayed_work ksm_reap_work;

void ksm_lock_relax(void);
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
struct ksm_region *ksm_region_reap_first(void);
struct ksm_region *ksm_region_reap_next(void);
void ksm_region_put(struct ksm_region *region);
void ksm_region_set_unmerging(struct ksm_region *region, bool unmerging);
int ksm_region_wait(struct ksm_region *region, bool force);

/* item.c */
struct ksm_chunk *ksm_chunk_find(struct ksm_region *region, unsigned long addr);
struct ksm_chunk *ksm_chunk_get(struct ksm_region *region, unsigned long addr);
struct ksm_item *ksm_item_find(struct ksm_region *region, unsigned long addr);
struct ksm_item *ksm_item_get(struct ksm_region *region, unsigned long addr);
void ksm_chunk_wake(struct ksm_chunk *chunk);
void ksm_chunk_reset_idle(struct ksm_chunk *chunk);
void ksm_item_link(struct ksm_node *node, struct ksm_item *item);
bool ksm_item_sync(struct ksm_item *item, struct page *page);
void ksm_item_track(struct ksm_item *item);
void ksm_item_set_zero(struct ksm_item *item);
void ksm_chunk_count_zeroed(struct ksm_chunk *chunk);
void ksm_item_forget(struct ksm_item *item, enum ksm_break how);
void ksm_items_forget(struct ksm_region *region, unsigned long start, unsigned long end,
		      enum ksm_break how);

/**
 * ksm_item_chunk - return the chunk of an item
 * @item: the item
 *
 * Context: any, while the chunk cannot be freed.
 * Return: the chunk.
 */
static inline struct ksm_chunk *ksm_item_chunk(const struct ksm_item *item)
{
	return (struct ksm_chunk *)page_private(virt_to_page(item));
}

/**
 * ksm_item_size - return the size of an item with the index in use
 *
 * Context: any.
 * Return: the size in bytes.
 */
static inline unsigned long ksm_item_size(void)
{
	return offsetof(struct ksm_item, entry) + ksm_index_ops->entry_size;
}

/**
 * ksm_chunk_item - return an item of a chunk
 * @chunk: the chunk
 * @i: the index of the item, less than KSM_CHUNK_PAGES
 *
 * Context: any, while the chunk cannot be freed.
 * Return: the item.
 */
static inline struct ksm_item *ksm_chunk_item(const struct ksm_chunk *chunk, unsigned long i)
{
	return chunk->items + i * ksm_item_size();
}

/**
 * ksm_item_index - return the index of an item in its chunk
 * @item: the item
 *
 * Context: any, while the chunk cannot be freed.
 * Return: the index, less than KSM_CHUNK_PAGES.
 */
static inline unsigned long ksm_item_index(const struct ksm_item *item)
{
	return ((void *)item - ksm_item_chunk(item)->items) / ksm_item_size();
}

/**
 * ksm_item_addr - return the address of the page of an item
 * @item: the item
 *
 * Context: any, while the chunk cannot be freed.
 * Return: the address.
 */
static inline unsigned long ksm_item_addr(const struct ksm_item *item)
{
	return ksm_item_chunk(item)->start + ksm_item_index(item) * PAGE_SIZE;
}

/**
 * ksm_item_mm - return the mm of an item
 * @item: the item
 *
 * Context: any, while the region cannot be freed.
 * Return: the mm; its mm_users may be 0.
 */
static inline struct mm_struct *ksm_item_mm(const struct ksm_item *item)
{
	return ksm_item_chunk(item)->region->mm;
}

/* node.c */
int ksm_node_init(void);
void ksm_node_exit(void);
struct ksm_node *ksm_node_create(struct page *content, u64 hash, u64 sample,
				 struct mm_struct *owner, enum ksm_skip *why);
bool ksm_node_tryget(struct ksm_node *node);
bool ksm_kpage_fill(struct page *kpage, u64 hash, struct page *content);
void ksm_kpage_put(struct page *kpage);
void ksm_node_add_item(struct ksm_node *node);
void ksm_node_remove_item(struct ksm_node *node);
bool ksm_node_is_single(const struct ksm_node *node);
struct ksm_node *ksm_node_of(struct page *page);
struct ksm_node *ksm_node_find(struct page *page, u64 hash, u64 sample);
bool ksm_node_collided(struct ksm_node *node, struct mm_struct *mm);
void ksm_node_dropped(struct ksm_node *node);
void ksm_nodes_prune(void);

/**
 * ksm_node_page - return the kernel page of a node
 * @node: the node; it must not have been dropped
 *
 * Context: any. Without a reference, the page may be freed at any time; see
 * ksm_node_tryget().
 * Return: the page.
 */
static inline struct page *ksm_node_page(const struct ksm_node *node)
{
	return pfn_to_page(node->pfn);
}

/**
 * ksm_page_node - return the node that the private field of a page points to
 * @page: the page. If it is not a kernel page, the return value is not the
 *	address of a node: only compare it, or use ksm_node_of()
 *
 * Context: any. Without ksm_lock, the node may be freed at any time.
 * Return: the node; NULL if @page is a kernel page whose node was dropped.
 */
static inline struct ksm_node *ksm_page_node(const struct page *page)
{
	return (struct ksm_node *)READ_ONCE(page->private);
}

/* memcg.c */
struct mem_cgroup *ksm_charge_begin(struct mm_struct *mm, struct mem_cgroup **old);
void ksm_charge_end(struct mem_cgroup *memcg, struct mem_cgroup *old);
bool ksm_charge_reclaim(struct mm_struct *mm, unsigned long size);

/* reap.c */
void ksm_reap_init(void);
void ksm_reap_exit(void);

/* content.c */
void ksm_hash_init(void);
u64 ksm_page_sample(struct page *page);
u64 ksm_page_hash(struct page *page, u64 *sample);
int ksm_page_order(struct page *a, struct page *b);
bool ksm_pages_equal(struct page *a, struct page *b);

/* collision.c */
int ksm_collision_init(void);
void ksm_collision_exit(void);
bool ksm_collision_met(u64 sample);
bool ksm_collision_add(u64 sample, struct mm_struct *mm);
u64 ksm_collision_hash(u64 sample, u64 complete);
bool ksm_collision_get(u64 sample);
void ksm_collision_put(u64 sample);
void ksm_collisions_expire(void);
size_t ksm_collision_bytes(void);

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
 * struct ksm_range - a part of a region, claimed by one scanner
 * @region: the region
 * @addr: the address at which the scanner continues
 * @end: the end of the range. One page table maps the whole range, unless
 *	ksm_pass_extend() has extended it over a hole, or over a VMA whose pages
 *	cannot be merged. An extended range covers many chunks, and can end in
 *	the middle of one
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
unsigned int ksm_pass_skip_idle(unsigned int most);
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
 * @item: the item of the page; valid while it is KSM_ITEM_MERGING
 * @region: the region of the page
 * @addr: the address of the page
 * @kpage: the kernel page; the job holds a reference
 * @hash: the hash of the node of @kpage when the job was queued
 * @kind: the index in which the match was found
 * @why: why the page was not replaced; KSM_SKIP_NONE if it was
 * @page: the page that was replaced; may have been freed
 * @collided: hash collision: the page has the same sample as @kpage, but
 *	differs
 * @split: a huge page was split for this job
 * @undo: the merge has saved no memory, because no other item maps @kpage.
 *	match.c unmerges the page again
 */
struct ksm_job {
	struct ksm_item *item;
	struct ksm_region *region;
	unsigned long addr;
	struct page *kpage;
	u64 hash;
	enum ksm_kind kind;
	enum ksm_skip why;
	struct page *page;
	bool collided;
	bool split;
	bool undo;
};

/* merge.c */
void ksm_merge(struct ksm_job *jobs, unsigned int nr);

/* unmerge.c */
int ksm_unmerge_region(struct ksm_region *region, bool force);
int ksm_unmerge_all(void);
bool ksm_undo_merge(struct mm_struct *mm, unsigned long addr, struct page *kpage);
bool ksm_unmap_poisoned(struct mm_struct *mm, unsigned long addr);

/**
 * struct ksm_walk - the result of a page-table walk
 * @page: the page found, or NULL. ksm_walk_next() takes a reference to it for
 *	the caller. ksm_walk_batch() drops this reference but keeps the pointer,
 *	which then only tells that a page was found: do not dereference it
 * @addr: the address of @page, or of the first page that is skipped. The walk
 *	passes over empty page-table entries, so this can be after the address
 *	at which the walk began. If the walk finds neither, @addr is the address
 *	at which it began
 * @next: the address at which the next walk begins
 * @why: why the pages from @addr to @next are skipped; KSM_SKIP_NONE if that
 *	range maps no pages, or if @page was found
 */
struct ksm_walk {
	struct page *page;
	unsigned long addr;
	unsigned long next;
	enum ksm_skip why;
};

/*
 * The maximum number of pages hashed under one hold of a page-table lock. Pages
 * that need not be hashed do not count.
 */
#define KSM_BATCH		64

/**
 * struct ksm_candidate - a page that may have to be merged
 * @item: its item
 * @page: the page; the candidate holds a reference
 * @hash: the return value of ksm_page_hash(); 0 if the page is not anonymous
 * @sample: the sample of the page; 0 if the page is not anonymous
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
 * struct ksm_batch - the result of scanning pages under one hold of a
 * page-table lock
 * @scanned: the number of pages scanned
 * @hashed: the number of pages hashed
 * @complete: the number of those that were hashed completely, not by a sample
 * @nr: the number of elements of @candidates in use
 * @nr_idle: the number of elements of @idle in use
 * @candidates: the candidates, sorted by address
 * @idle: the items of pages that are unchanged and whose idle count can rise
 */
struct ksm_batch {
	unsigned int scanned;
	unsigned int hashed;
	unsigned int complete;
	unsigned int nr;
	unsigned int nr_idle;
	struct ksm_candidate candidates[KSM_BATCH];
	struct ksm_item *idle[KSM_BATCH];
};

/**
 * ksm_batch_clear - empty a batch
 * @batch: the batch
 *
 * Context: any.
 */
static inline void ksm_batch_clear(struct ksm_batch *batch)
{
	batch->scanned = 0;
	batch->hashed = 0;
	batch->complete = 0;
	batch->nr = 0;
	batch->nr_idle = 0;
}

/**
 * struct ksm_jobs - the merge jobs for one batch
 * @own: jobs for pages of the batch, sorted by address
 * @nr_own: the number of elements of @own in use
 * @partners: jobs for pages that were in the unstable index. Each of them
 *	matches a page of @own, and one new kernel page replaces both
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
bool ksm_vma_may_map_kpages(struct vm_area_struct *vma);
void ksm_walk_next(struct mm_struct *mm, unsigned long addr, unsigned long end,
		   struct ksm_walk *walk);
void ksm_walk_for_unmerge(struct mm_struct *mm, unsigned long addr, unsigned long end,
			  struct ksm_walk *walk);
void ksm_walk_batch(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned int most,
		    unsigned long end, struct ksm_walk *walk, struct ksm_batch *batch);
unsigned long ksm_walk_linked(struct mm_struct *mm, struct ksm_chunk *chunk, unsigned long addr,
			      unsigned long end);
struct page *ksm_item_page(struct ksm_item *item);

#endif /* KSM_DRIVER_H */
