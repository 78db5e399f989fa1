// SPDX-License-Identifier: GPL-2.0
/*
 * Stable nodes: the kernel pages that have been made, and how many items map each.
 *
 * A node holds no reference to its kernel page, as a stable_node of mm/ksm.c holds
 * none to its KSM page. The page tables that map the page hold references, and so do
 * merges under way. When the last of them goes (a write, munmap, exec, exit), the
 * page is freed at once, whether or not anything scans. The node then points to a
 * page that belongs to somebody else, so nothing dereferences node->kpage before
 * ksm_node_tryget() has confirmed that the page is still the node's own.
 *
 * All under ksm_lock, except for the content of a page that is new.
 */
#include <linux/highmem.h>
#include <linux/memory.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ksm.h"
#include "trace.h"

static struct kmem_cache *node_cache;

/* The node that ksm_nodes_prune() examines next; NULL for the first one. */
static struct ksm_node *prune_next;

/* Nodes that are examined under one hold of ksm_lock, and in one call. */
#define NODES_PER_HOLD	256
#define NODES_PER_CALL	(1 << 16)

/* The driver stops merging with a kernel page long before the count of its items overflows. */
#define MAX_ITEMS	((1UL << KSM_DATA_BITS) - 1)
#define MAX_MERGED	(MAX_ITEMS / 2)

/*
 * Nothing here may sleep: ksm_lock is held, which other processes wait for. A failed
 * allocation is not worth a warning, since the page is found again in the next pass.
 */
#define KSM_GFP_LOCKED	(GFP_NOWAIT | __GFP_NOWARN | __GFP_ACCOUNT)

static size_t node_size(void)
{
	return offsetof(struct ksm_node, entry) + ksm_index_ops->entry_size;
}

/* The node after @node (the first one for NULL), or NULL at the end. */
static struct ksm_node *node_next(struct ksm_node *node)
{
	struct ksm_entry *entry = ksm_index_ops->next(ksm_index, node ? &node->entry : NULL,
						      KSM_STABLE);

	return entry ? container_of(entry, struct ksm_node, entry) : NULL;
}

static unsigned long nr_items(const struct ksm_node *node)
{
	return node->kpage ? node->entry.data : node->left;
}

/* From here on pages are compared with the kernel page, and replaced by it. */
static void fill(struct page *kpage, struct page *content)
{
	copy_highpage(kpage, content);
	SetPageUptodate(kpage);
}

static struct ksm_key key_of(struct page *page, u64 *sample)
{
	struct ksm_key key = { .content = page };

	if (ksm_index_ops->hashes)
		key.hash = ksm_page_hash(page, sample);
	return key;
}

/*
 * Has the kernel page of a node been freed? The page allocator clears the private
 * field before it hands a page out again, and only ksm_node_create() sets it to
 * @node. So a page that once was freed is never taken for the node's again.
 */
static bool is_stale(const struct ksm_node *node)
{
	return !page_ref_count(node->kpage) || ksm_page_node(node->kpage) != node;
}

/**
 * ksm_node_tryget - take a reference to the kernel page of a node
 * @node: the node, not dropped
 *
 * Context: ksm_lock must be held. Balance with ksm_kpage_put() or put_page().
 * Return: true, or false if the page has been freed.
 */
bool ksm_node_tryget(struct ksm_node *node)
{
	struct page *kpage = node->kpage;

	if (!get_page_unless_zero(kpage))
		return false;
	if (ksm_page_node(kpage) == node)
		return true;
	put_page(kpage);
	return false;
}

static void node_free(struct ksm_node *node)
{
	atomic_long_sub(node_size(), &ksm_counters.metadata);
	kmem_cache_free(node_cache, node);
}

/**
 * ksm_node_dropped - a node has left the index: its page has been freed or is broken
 * @node: the node; freed here, or by the last of the items that point to it
 *
 * If its page is still mapped (by a forked child, say), it becomes an ordinary page.
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_dropped(struct ksm_node *node)
{
	struct page *kpage = node->kpage;
	unsigned long left = nr_items(node);
	bool mapped = ksm_node_tryget(node);

	trace_devksm_node_dropped(page_to_pfn(kpage), mapped ? ksm_mapcount(kpage) : 0);
	if (node == prune_next)
		prune_next = NULL;
	WRITE_ONCE(ksm_counters.kernel_pages, ksm_counters.kernel_pages - 1);
	if (mapped) {
		WRITE_ONCE(kpage->private, 0);
		put_page(kpage);
	}
	node->kpage = NULL;
	node->left = left;
	if (left)
		ksm_counters.shared -= left - 1;
	else
		node_free(node);
}

static void node_drop(struct ksm_node *node)
{
	ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	ksm_node_dropped(node);
}

/* Is there no point in finding a node any more? */
static bool is_useless(const struct ksm_node *node)
{
	return is_stale(node) || PageHWPoison(node->kpage);
}

/**
 * ksm_node_create - allocate a kernel page for a content, and its node
 * @content: a page with the content; it can be written meanwhile, so each merge
 *	compares again
 * @hash: the hash of @content, under which the index has no node yet
 * @owner: the mm whose memory cgroup is charged
 * @why: set to the reason when there is no node
 *
 * An index that finds by hash takes the node before the page has its content, which
 * the first merge copies (ksm_kpage_fill()). One that compares content cannot wait.
 *
 * Context: ksm_lock must be held. Does not sleep.
 * Return: the node, with a reference to its kernel page for the caller; or NULL.
 */
struct ksm_node *ksm_node_create(struct page *content, u64 hash, struct mm_struct *owner,
				 enum ksm_skip *why)
{
	unsigned long limit = READ_ONCE(ksm_settings.max_kernel_pages);
	struct mem_cgroup *memcg, *old;
	struct ksm_key key = { .hash = hash };
	struct ksm_node *node = NULL;

	*why = KSM_SKIP_LIMIT;
	if (limit && ksm_counters.kernel_pages >= limit)
		return NULL;

	*why = KSM_SKIP_NO_MEMORY;
	memcg = ksm_charge_begin(owner, &old);
	node = kmem_cache_zalloc(node_cache, KSM_GFP_LOCKED);
	if (!node)
		goto uncharge;
	node->kpage = alloc_pages_node(page_to_nid(content), KSM_GFP_LOCKED, 0);
	if (!node->kpage)
		goto free_node;
	if (!ksm_index_ops->hashes)
		fill(node->kpage, content);
	/* The copied content may differ from the one searched for, and be in the index already. */
	*why = KSM_SKIP_CHANGED;
	key.content = node->kpage;
	if (ksm_index_ops->insert_stable(ksm_index, &key, &node->entry))
		goto free_page;
	set_page_private(node->kpage, (unsigned long)node);
	WRITE_ONCE(ksm_counters.kernel_pages, ksm_counters.kernel_pages + 1);
	atomic_long_add(node_size(), &ksm_counters.metadata);
	ksm_charge_end(memcg, old);
	ksm_reap_start();
	return node;

free_page:
	put_page(node->kpage);
free_node:
	kmem_cache_free(node_cache, node);
uncharge:
	ksm_charge_end(memcg, old);
	return NULL;
}

/**
 * ksm_kpage_fill - copy the content of the first page that a kernel page replaces
 * @kpage: the kernel page, not up to date
 * @hash: the hash that its node has in the index
 * @content: the page, which no process can write
 *
 * Context: a page-table lock may be held. Does not sleep.
 * Return: true; or false, with nothing copied, if @content has another hash.
 */
bool ksm_kpage_fill(struct page *kpage, u64 hash, struct page *content)
{
	u64 sample;

	if (ksm_page_hash(content, &sample) != hash && sample != hash)
		return false;
	fill(kpage, content);
	return true;
}

/**
 * ksm_kpage_put - drop the reference of a job to a kernel page
 * @kpage: the kernel page; if nothing maps it, it is freed, and its node with it
 *
 * Context: ksm_lock must be held.
 */
void ksm_kpage_put(struct page *kpage)
{
	struct ksm_node *node = ksm_page_node(kpage);

	put_page(kpage);
	/* A node with items is found out by them. */
	if (node && !nr_items(node) && is_stale(node))
		node_drop(node);
}

/**
 * ksm_node_is_single - does only one item map the kernel page of a node?
 * @node: the node; the caller holds one reference to its page
 *
 * Context: ksm_lock must be held.
 * Return: true if one item does, and no merge under way uses the page.
 */
bool ksm_node_is_single(const struct ksm_node *node)
{
	return nr_items(node) == 1 &&
	       page_ref_count(node->kpage) == ksm_mapcount(node->kpage) + 1;
}

/**
 * ksm_node_of - find the node of a page that a page table maps
 * @page: the page; the caller holds a reference, or the page-table lock
 *
 * The private field of a page that another driver has mapped can have any value, so
 * it is read with care. With ksm_lock not held, the node may be freed at any moment.
 *
 * Context: any. Does not sleep.
 * Return: the node, or NULL if @page is not a kernel page.
 */
struct ksm_node *ksm_node_of(struct page *page)
{
	struct ksm_node *node = ksm_page_node(page);
	struct page *kpage;

	if (!node || PageAnon(page) || page->mapping)
		return NULL;
	if (copy_from_kernel_nofault(&kpage, &node->kpage, sizeof(kpage)) || kpage != page)
		return NULL;
	return node;
}

/* The node that an index has for a key, with a reference to its page; or NULL. */
static struct ksm_node *find(const struct ksm_key *key)
{
	struct ksm_entry *entry;
	struct ksm_node *node;

	while ((entry = ksm_index_ops->find_stable(ksm_index, key))) {
		node = container_of(entry, struct ksm_node, entry);
		if (!PageHWPoison(node->kpage) && ksm_node_tryget(node))
			return node;
		node_drop(node);
	}
	return NULL;
}

/**
 * ksm_node_find - find the node whose kernel page has the content of a page
 * @page: the page
 * @hash: its hash
 * @sample: the hash of a sample of it
 *
 * Context: ksm_lock must be held.
 * Return: the node, with a reference to its kernel page for the caller, or NULL. An
 * index that finds by hash returns a node with the same hash; the merge compares.
 */
struct ksm_node *ksm_node_find(struct page *page, u64 hash, u64 sample)
{
	struct ksm_key key = { .content = page, .hash = hash };
	struct ksm_node *node = find(&key);

	if (!node && ksm_index_ops->hashes && sample != hash) {
		/* A node from before its sample collided is still found by the sample. */
		key.hash = sample;
		node = find(&key);
	}
	if (node && nr_items(node) >= MAX_MERGED) {
		put_page(node->kpage);
		return NULL;
	}
	return node;
}

/**
 * ksm_node_crowded - a page has the same sample as a kernel page, and differs from it
 * @node: the node of the kernel page; from here on found by a hash of the whole page
 *
 * Context: ksm_lock must be held, and a reference to the kernel page.
 */
void ksm_node_crowded(struct ksm_node *node)
{
	u64 sample = node->entry.hash, ignored;
	struct ksm_key key;

	if (sample != ksm_page_sample(node->kpage))
		return;
	/* Idle chunks have items under this sample: they must be hashed completely, too. */
	if (ksm_hash_crowded(sample))
		ksm_scan_epoch++;
	key = key_of(node->kpage, &ignored);
	/* Another node has this content: both stay where they are. */
	if (ksm_index_ops->find_stable(ksm_index, &key))
		return;
	ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	ksm_index_ops->insert_stable(ksm_index, &key, &node->entry);
}

/**
 * ksm_node_link - record that an item maps the kernel page of a node
 * @node: the node
 * @item: the item; in no index
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_link(struct ksm_node *node, struct ksm_item *item)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);

	item->state = KSM_ITEM_MERGED;
	WRITE_ONCE(item->node, node);
	ksm_item_note(item);
	ksm_chunk_wake(chunk);
	chunk->merged++;
	chunk->region->merged++;
	if (nr_items(node))
		ksm_counters.shared++;
	node->entry.data++;
}

/**
 * ksm_node_adopt - have an item follow its page-table entry
 * @item: the item, in any state
 * @page: the page that its address maps now
 *
 * Fork and mremap bring kernel pages to addresses where the scanner merged nothing,
 * or merged with another kernel page.
 *
 * Context: ksm_lock must be held, and a reference to @page.
 * Return: true if @page is a kernel page, and @item is linked to its node; false if
 * not, and @item is KSM_ITEM_PLAIN.
 */
bool ksm_node_adopt(struct ksm_item *item, struct page *page)
{
	struct ksm_node *node = ksm_node_of(page);

	if (node && item->state == KSM_ITEM_MERGED && item->node == node)
		return true;
	ksm_item_forget(item, KSM_BREAK_WRITTEN);
	if (!node || nr_items(node) == MAX_ITEMS)
		return false;
	ksm_node_link(node, item);
	return true;
}

/**
 * ksm_node_unlink - record that an item no longer maps the kernel page of its node
 * @item: the item; if it was the last one and the page has been freed, the node goes
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_unlink(struct ksm_item *item)
{
	struct ksm_chunk *chunk = ksm_item_chunk(item);
	struct ksm_node *node = item->node;

	item->state = KSM_ITEM_PLAIN;
	chunk->merged--;
	chunk->region->merged--;
	if (!node->kpage) {
		if (!--node->left)
			node_free(node);
		return;
	}
	node->entry.data--;
	if (nr_items(node))
		ksm_counters.shared--;
	else if (is_stale(node))
		node_drop(node);
}

/**
 * ksm_nodes_prune - drop nodes whose kernel page has been freed or is broken
 *
 * Items notice that when the scan comes to them, which may take long, or never happen
 * if "run" is 0. Until then the counters would be wrong. Each call goes on where the
 * last one ended, so that its cost has a bound.
 *
 * Context: takes ksm_lock, and drops it now and then. May sleep.
 */
void ksm_nodes_prune(void)
{
	struct ksm_node *node;
	unsigned int nr;

	mutex_lock(&ksm_lock);
	for (nr = 1; nr <= NODES_PER_CALL; nr++) {
		node = prune_next ?: node_next(NULL);
		if (!node)
			break;
		prune_next = node_next(node);
		if (is_useless(node))
			node_drop(node);
		if (!prune_next)
			break;
		if (nr % NODES_PER_HOLD)
			continue;
		mutex_unlock(&ksm_lock);
		cond_resched();
		mutex_lock(&ksm_lock);
	}
	mutex_unlock(&ksm_lock);
}

/*
 * Memory is about to be unplugged, and its struct pages with it. None of its pages is
 * in use any more, so all nodes that point there are stale.
 */
static int devksm_memory_callback(struct notifier_block *block, unsigned long action, void *arg)
{
	const struct memory_notify *range = arg;
	struct ksm_node *node, *next;
	unsigned long pfn;

	if (action != MEM_OFFLINE)
		return NOTIFY_OK;
	mutex_lock(&ksm_lock);
	for (node = node_next(NULL); node; node = next) {
		next = node_next(node);
		pfn = page_to_pfn(node->kpage);
		if (pfn >= range->start_pfn && pfn < range->start_pfn + range->nr_pages)
			node_drop(node);
	}
	mutex_unlock(&ksm_lock);
	return NOTIFY_OK;
}

static struct notifier_block memory_block = { .notifier_call = devksm_memory_callback };

int ksm_node_init(void)
{
	int err;

	node_cache = kmem_cache_create("devksm_node", node_size(), 0, 0, NULL);
	if (!node_cache)
		return -ENOMEM;
	err = register_memory_notifier(&memory_block);
	if (err)
		kmem_cache_destroy(node_cache);
	return err;
}

/* No area is open, so no item is linked; forked children may still map kernel pages. */
void ksm_node_exit(void)
{
	struct ksm_node *node, *next;

	unregister_memory_notifier(&memory_block);
	mutex_lock(&ksm_lock);
	for (node = node_next(NULL); node; node = next) {
		next = node_next(node);
		node_drop(node);
	}
	mutex_unlock(&ksm_lock);
	kmem_cache_destroy(node_cache);
}
