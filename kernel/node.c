// SPDX-License-Identifier: GPL-2.0
/*
 * Stable nodes: one per kernel page, with a count of the items that map it.
 *
 * A node holds no reference to its kernel page, just as a stable_node in
 * mm/ksm.c holds none to its KSM page. The page tables that map the page hold
 * references, and so do jobs that merge or unmerge a page. When the last one is
 * dropped (a write, munmap, exec, exit), the page is freed at once, whether or
 * not a scanner runs. The node is then stale, and the page allocator may give
 * the page to another owner. So no function uses the content of the page before
 * ksm_node_tryget() has confirmed that it is still the node's own. The comment
 * of struct ksm_node describes the states of a node.
 *
 * ksm_lock protects everything here, except the content of a new page.
 */
#include <linux/highmem.h>
#include <linux/llist.h>
#include <linux/memory.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/workqueue.h>

#include "ksm.h"
#include "trace.h"

static struct kmem_cache *node_cache;

/* Nodes with max_page_sharing mappings. They are not in the index. */
static LIST_HEAD(full_nodes);
static_assert(offsetofend(struct ksm_node, entry.next) >= offsetofend(struct ksm_node, in_full));

/*
 * Unused nodes. A work item frees them, without ksm_lock: kmem_cache_free() may
 * free a slab page, and the page allocator may then return thousands of pages
 * to their zone.
 */
static LLIST_HEAD(unused_nodes);

/* Serializes walks over all nodes. */
static DEFINE_MUTEX(prune_lock);

/*
 * The node that prune_nodes() examines next; NULL means the first node. If
 * another thread drops this node, prune_nodes() begins with the first one
 * again.
 */
static struct ksm_node *prune_next;

/*
 * prune_nodes() drops ksm_lock after NODES_PER_HOLD nodes. A full node that has
 * room again counts as SEARCH_COST nodes, because prune() searches the index
 * for its content; with index=tree it counts as NODES_PER_HOLD nodes. One
 * ksm_nodes_prune() examines at most NODES_PER_CALL nodes.
 */
#define NODES_PER_HOLD	256
#define NODES_PER_CALL	(1 << 16)
#define SEARCH_COST	16

static size_t node_size(void)
{
	return offsetof(struct ksm_node, entry) + ksm_index_ops->entry_size;
}

/*
 * Returns the node after @node, or the first one if @node is NULL; NULL at the
 * end. The nodes in the index come first, and then the full ones.
 */
static struct ksm_node *node_next(struct ksm_node *node)
{
	struct ksm_entry *entry;

	if (node && node->full)
		return list_is_last(&node->in_full, &full_nodes) ? NULL
								 : list_next_entry(node, in_full);
	entry = ksm_index_ops->next(ksm_index, node ? &node->entry : NULL, KSM_STABLE);
	return entry ? container_of(entry, struct ksm_node, entry)
		     : list_first_entry_or_null(&full_nodes, struct ksm_node, in_full);
}

/*
 * Begin a walk over all nodes with node_next(). Until walk_end(), nodes can be
 * created and dropped. The walk misses none of the others, unless a node gets
 * another hash.
 */
static void walk_begin(void)
{
	if (ksm_index_ops->walk)
		ksm_index_ops->walk(ksm_index, true);
}

static void walk_end(void)
{
	while (ksm_index_ops->walk && ksm_index_ops->walk(ksm_index, false))
		ksm_lock_relax();
}

/* Give a kernel page its content. From now on it can replace equal pages. */
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
 * Is a page the kernel page of a node, and not a page that has been freed and
 * reused? The page allocator clears the flag PG_checked of each page that is
 * freed, and only ksm_node_create() sets it together with a private field that
 * points to @node.
 *
 * A page can also get a new owner without being freed: FUSE takes over a page
 * that a process has passed to it by vmsplice() and splice(), and makes it a
 * page of a file that processes can write. It refuses pages with a flag such as
 * PG_checked (fuse_check_folio()).
 */
static bool is_page_of(const struct ksm_node *node, struct page *page)
{
	return ksm_page_node(page) == node && PageChecked(page);
}

/* Has the kernel page of a node been freed? */
static bool is_stale(const struct ksm_node *node)
{
	struct page *kpage = ksm_node_page(node);

	return !page_ref_count(kpage) || !is_page_of(node, kpage);
}

/**
 * ksm_node_tryget - take a reference to the kernel page of a node
 * @node: the node; it must not have been dropped
 *
 * Context: ksm_lock must be held. Balance with ksm_kpage_put() or put_page().
 * Return: true, or false if the page has been freed.
 */
bool ksm_node_tryget(struct ksm_node *node)
{
	struct page *kpage = ksm_node_page(node);

	if (!get_page_unless_zero(kpage))
		return false;
	if (is_page_of(node, kpage))
		return true;
	put_page(kpage);
	return false;
}

/*
 * Insert a node into the index. Returns 0 on success; -EEXIST if a node with
 * the same hash (index=hash) or content (index=tree) is there already; -EAGAIN
 * if the index has given up its search for such a node, because it met too many
 * stale nodes.
 */
static int node_insert(struct ksm_node *node, const struct ksm_key *key, u64 sample)
{
	int err;

	node->hash = key->hash;
	node->complete = false;
	err = ksm_index_ops->insert_stable(ksm_index, key, &node->entry);
	if (!err && ksm_index_ops->hashes && key->hash != sample)
		node->complete = ksm_collision_get(sample);
	return err;
}

/*
 * Called after a node has left the index: drop its hold on its sample, which
 * may then leave the set of collisions.
 */
static void put_collision(const struct ksm_node *node)
{
	if (!node->full && node->complete)
		ksm_collision_put(node->hash);
}

static void free_unused(struct work_struct *work)
{
	struct ksm_node *node, *next;

	llist_for_each_entry_safe(node, next, llist_del_all(&unused_nodes), freed) {
		kmem_cache_free(node_cache, node);
		cond_resched();
	}
}

static DECLARE_WORK(free_unused_work, free_unused);

static void node_free(struct ksm_node *node)
{
	atomic_long_sub(node_size(), &ksm_counters.metadata);
	if (llist_add(&node->freed, &unused_nodes))
		queue_work(system_unbound_wq, &free_unused_work);
}

/**
 * ksm_node_dropped - detach a node from its kernel page, and free it if unused
 * @node: the node, which has just left the index or the list of full nodes,
 *	because its page has been freed or has a memory error, or because the
 *	module is being unloaded
 *
 * If items still point to the node, ksm_node_remove_item() frees the node when
 * the last of them is unlinked. If the page is still mapped (by a forked child,
 * for example), it becomes an ordinary page: no further page is merged with it.
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_dropped(struct ksm_node *node)
{
	struct page *kpage = ksm_node_page(node);
	/* Page tables map the page, or jobs hold references to it. */
	bool mapped = ksm_node_tryget(node);

	trace_devksm_node_dropped(node->pfn, mapped ? ksm_mapcount(kpage) : 0);
	if (node == prune_next)
		prune_next = NULL;
	put_collision(node);
	WRITE_ONCE(ksm_counters.kernel_pages, ksm_counters.kernel_pages - 1);
	if (mapped) {
		WRITE_ONCE(kpage->private, 0);
		put_page(kpage);
	}
	node->pfn = 0;
	if (node->nr_items)
		ksm_counters.shared -= node->nr_items - 1;
	else
		node_free(node);
}

static void node_drop(struct ksm_node *node)
{
	if (node->full)
		list_del(&node->in_full);
	else
		ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	ksm_node_dropped(node);
}

/* Move a node from the index to the list of full nodes. */
static void node_set_full(struct ksm_node *node)
{
	if (node == prune_next)
		prune_next = node_next(node);
	ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	put_collision(node);
	list_add_tail(&node->in_full, &full_nodes);
	node->full = true;
}

/*
 * Insert a node that has left the index or the list of full nodes. The caller
 * has found no match in the index, so usually this succeeds. But a search gives
 * up in a very long chain of the hash index. If the order of the chain has
 * changed, the insertion can find a match that the search has missed. And the
 * tree refuses a node if it contains too many stale ones. Then the node is
 * treated as full, so that ksm_nodes_prune() tries again. The node is added at
 * the beginning of the list, which a walk over the full nodes has already
 * passed. So a walk that has just failed to insert the node does not meet it
 * again.
 */
static void node_return(struct ksm_node *node, const struct ksm_key *key, u64 sample)
{
	if (!node_insert(node, key, sample))
		return;
	list_add(&node->in_full, &full_nodes);
	node->full = true;
}

/*
 * Must a node be dropped? It must if its kernel page has been freed or has a
 * memory error.
 */
static bool is_useless(const struct ksm_node *node)
{
	return is_stale(node) || PageHWPoison(ksm_node_page(node));
}

/*
 * Allocate a kernel page near the page that it is to replace. Returns NULL if
 * there is no memory, or if the frame number of the new page does not fit in a
 * node.
 */
static struct page *kpage_alloc(struct page *content)
{
	struct page *kpage = alloc_pages_node(page_to_nid(content), KSM_GFP_NOWAIT, 0);

	if (!kpage || page_to_pfn(kpage) <= U32_MAX)
		return kpage;
	put_page(kpage);
	return NULL;
}

/**
 * ksm_node_create - allocate a kernel page and its node
 * @content: the page to replace. With index=tree it is copied; its owner can
 *	still write it, so each merge compares again
 * @hash: the hash of @content; with index=hash, the index has no node with this
 *	hash yet
 * @sample: the sample of @content
 * @owner: the mm whose memory cgroup is charged
 * @why: set to the reason if no node is created
 *
 * With index=hash, the node enters the index before its page has content: the
 * first merge copies the content (ksm_kpage_fill()). With index=tree, the index
 * compares contents, so the content is copied here.
 *
 * Context: ksm_lock must be held. Does not sleep.
 * Return: the node, or NULL. The caller gets a reference to its kernel page.
 */
struct ksm_node *ksm_node_create(struct page *content, u64 hash, u64 sample,
				 struct mm_struct *owner, enum ksm_skip *why)
{
	unsigned long limit = READ_ONCE(ksm_settings.max_kernel_pages);
	struct mem_cgroup *memcg, *old;
	struct ksm_key key = { .hash = hash };
	struct ksm_node *node = NULL;
	struct page *kpage;
	int err;

	*why = KSM_SKIP_LIMIT;
	if (limit && ksm_counters.kernel_pages >= limit)
		return NULL;
	/* A memory error may have occurred in the page since the walk. */
	*why = KSM_SKIP_HWPOISON;
	if (PageHWPoison(content))
		return NULL;

	*why = KSM_SKIP_NO_MEMORY;
	memcg = ksm_charge_begin(owner, &old);
	node = kmem_cache_zalloc(node_cache, KSM_GFP_NOWAIT);
	if (!node)
		goto uncharge;
	kpage = kpage_alloc(content);
	if (!kpage)
		goto free_node;
	node->pfn = page_to_pfn(kpage);
	if (!ksm_index_ops->hashes)
		fill(kpage, content);
	/*
	 * @content may have been written since the search, so the index may
	 * already have a node with the copied content.
	 */
	key.content = kpage;
	err = node_insert(node, &key, sample);
	*why = err == -EAGAIN ? KSM_SKIP_BUSY : KSM_SKIP_CHANGED;
	if (err)
		goto free_page;
	set_page_private(kpage, (unsigned long)node);
	SetPageChecked(kpage);
	WRITE_ONCE(ksm_counters.kernel_pages, ksm_counters.kernel_pages + 1);
	atomic_long_add(node_size(), &ksm_counters.metadata);
	ksm_charge_end(memcg, old);
	ksm_reap_start();
	return node;

free_page:
	put_page(kpage);
free_node:
	kmem_cache_free(node_cache, node);
uncharge:
	ksm_charge_end(memcg, old);
	return NULL;
}

/**
 * ksm_kpage_fill - copy the first page that a kernel page replaces
 * @kpage: the kernel page, not yet up to date
 * @hash: the hash under which its node is in the index
 * @content: the page to copy, which no process can write
 *
 * Context: a page-table lock may be held. Does not sleep.
 * Return: true if the content was copied; false, with nothing copied, if
 * neither the hash nor the sample of @content is @hash.
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
 * ksm_kpage_put - drop a reference to a kernel page
 * @kpage: the kernel page; if this was the last reference and the node has no
 *	items, the node is dropped too
 *
 * Context: ksm_lock must be held.
 */
void ksm_kpage_put(struct page *kpage)
{
	struct ksm_node *node = ksm_page_node(kpage);

	put_page(kpage);
	/* If the node has items, ksm_node_remove_item() drops it later. */
	if (node && !node->nr_items && is_stale(node))
		node_drop(node);
}

/**
 * ksm_node_is_single - test whether exactly one item maps a kernel page
 * @node: the node of the page; the caller holds one reference to the page
 *
 * Context: ksm_lock must be held.
 * Return: true if one item maps the page and no other merge uses it.
 */
bool ksm_node_is_single(const struct ksm_node *node)
{
	struct page *kpage = ksm_node_page(node);

	return node->nr_items == 1 && page_ref_count(kpage) == ksm_mapcount(kpage) + 1;
}

/**
 * ksm_node_of - find the node of a page that a page table maps
 * @page: the page; the caller holds a reference, or the page-table lock
 *
 * Another driver may have mapped the page, and then its private field can have
 * any value. So the field is dereferenced with copy_from_kernel_nofault(). If
 * the caller does not hold ksm_lock, the node may be freed at any moment.
 *
 * Context: any. Does not sleep.
 * Return: the node; NULL if @page is not a kernel page, or if its node has been
 * dropped.
 */
struct ksm_node *ksm_node_of(struct page *page)
{
	struct ksm_node *node = ksm_page_node(page);
	u32 pfn;

	if (!node || PageAnon(page) || page->mapping)
		return NULL;
	if (copy_from_kernel_nofault(&pfn, &node->pfn, sizeof(pfn)) || pfn != page_to_pfn(page))
		return NULL;
	return node;
}

/*
 * Does a kernel page have max_page_sharing mappings, so that no more pages can
 * be merged with it? The page has one reference for each mapping, one for each
 * queued merge job, and @held references of the caller. Any other reference
 * makes the node full too early; ksm_nodes_prune() later puts it back into the
 * index.
 */
static bool is_full(const struct ksm_node *node, int held)
{
	int refs = page_ref_count(ksm_node_page(node));

	return refs - held >= (int)READ_ONCE(ksm_settings.max_page_sharing);
}

/*
 * Find a node that matches a key and is not full. The caller gets a reference
 * to its page.
 */
static struct ksm_node *find(const struct ksm_key *key)
{
	struct ksm_entry *entry;
	struct ksm_node *node;

	while ((entry = ksm_index_ops->find_stable(ksm_index, key))) {
		node = container_of(entry, struct ksm_node, entry);
		if (PageHWPoison(ksm_node_page(node)) || !ksm_node_tryget(node)) {
			node_drop(node);
			continue;
		}
		if (!is_full(node, 1))
			return node;
		node_set_full(node);
		ksm_kpage_put(ksm_node_page(node));
	}
	return NULL;
}

/**
 * ksm_node_find - find the node that matches a page
 * @page: the page
 * @hash: its hash
 * @sample: its sample
 *
 * With index=hash, a node with the same hash matches, and the merge compares
 * the contents.
 *
 * Context: ksm_lock must be held.
 * Return: the node, or NULL if there is none with fewer than max_page_sharing
 * mappings. The caller gets a reference to its kernel page.
 */
struct ksm_node *ksm_node_find(struct page *page, u64 hash, u64 sample)
{
	struct ksm_key key = { .content = page, .hash = hash };
	struct ksm_node *node = find(&key);

	if (!node && ksm_index_ops->hashes && sample != hash) {
		/* A node older than the collision is indexed by its sample. */
		key.hash = sample;
		node = find(&key);
	}
	return node;
}

/**
 * ksm_node_collided - handle a hash collision between a page and a kernel page
 * @node: the node of the kernel page; on success it is indexed by a hash of the
 *	complete page, unless another node has that hash
 * @mm: the mm of the page; its memory cgroup is charged for the record of the
 *	collision
 *
 * The two pages have the same sample but differ elsewhere.
 *
 * Context: ksm_lock must be held. The caller holds a reference to the kernel
 * page.
 * Return: true if the sample is in the set of collided samples now; false if
 * @node is full or is already indexed by a hash of the complete page, if the
 * kernel page has a memory error, or if there is no memory.
 */
bool ksm_node_collided(struct ksm_node *node, struct mm_struct *mm)
{
	struct page *kpage = ksm_node_page(node);
	u64 sample = node->hash;
	struct ksm_key key;

	/* node_reindex() computes the hash when the node has room again. */
	if (node->full || PageHWPoison(kpage))
		return false;
	if (sample != ksm_page_sample(kpage) || !ksm_collision_add(sample, mm))
		return false;
	key = key_of(kpage, &sample);
	/* Another node has this hash: leave both nodes where they are. */
	if (ksm_index_ops->find_stable(ksm_index, &key))
		return true;
	/* The node gets another place in the order of node_next(). */
	if (node == prune_next)
		prune_next = node_next(node);
	ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	node_return(node, &key, sample);
	return true;
}

/**
 * ksm_node_add_item - increment the number of items of a node
 * @node: the node
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_add_item(struct ksm_node *node)
{
	if (node->nr_items++)
		ksm_counters.shared++;
}

/**
 * ksm_node_remove_item - decrement the number of items of a node
 * @node: the node; if it has no other item and its kernel page has been freed,
 *	the node is freed
 *
 * Context: ksm_lock must be held.
 */
void ksm_node_remove_item(struct ksm_node *node)
{
	node->nr_items--;
	if (!node->pfn) {
		if (!node->nr_items)
			node_free(node);
		return;
	}
	if (node->nr_items)
		ksm_counters.shared--;
	else if (is_stale(node))
		node_drop(node);
}

/*
 * Put a full node back into the index, unless the index has another node that
 * is not full and has the same hash (index=hash) or content (index=tree). The
 * caller holds a reference to the kernel page.
 */
static void node_reindex(struct ksm_node *node)
{
	struct ksm_node *other;
	struct ksm_key key;
	u64 sample = 0;

	key = key_of(ksm_node_page(node), &sample);
	other = find(&key);
	if (other) {
		ksm_kpage_put(ksm_node_page(other));
		return;
	}
	list_del(&node->in_full);
	node->full = false;
	node_return(node, &key, sample);
	/*
	 * While this node was full, one equal page may have entered the
	 * unstable index. Remove it, so that the next pass merges it.
	 */
	if (ksm_index_ops->retry)
		ksm_index_ops->retry(ksm_index, &key);
}

/*
 * Drop a node, or put it back into the index, if necessary. Returns the cost of
 * the call, in nodes (see NODES_PER_HOLD).
 */
static unsigned int prune(struct ksm_node *node)
{
	struct page *kpage = ksm_node_page(node);

	if (is_useless(node)) {
		node_drop(node);
		return 1;
	}
	if (!node->full || is_full(node, 0) || !ksm_node_tryget(node))
		return 1;
	/* Until the first merge has filled the page, it has no content. */
	if (PageUptodate(kpage))
		node_reindex(node);
	ksm_kpage_put(kpage);
	/* With index=tree, the search compares many pages. */
	return ksm_index_ops->hashes ? SEARCH_COST : NODES_PER_HOLD;
}

/* Prune up to @max nodes. The caller holds prune_lock and ksm_lock. */
static void prune_nodes(unsigned long max)
{
	struct ksm_node *node, *next;
	unsigned int cost = 0;

	while (max--) {
		node = prune_next ?: node_next(NULL);
		next = node ? node_next(node) : NULL;
		prune_next = next;
		if (node)
			cost += prune(node);
		if (!next)
			break;
		if (cost < NODES_PER_HOLD)
			continue;
		cost = 0;
		ksm_lock_relax();
	}
}

/**
 * ksm_nodes_prune - drop useless nodes, and put nodes with room into the index
 *
 * A node is useless if its kernel page has been freed or has a memory error. A
 * scan would find these as well, but a pass can take long, and with run=0 there
 * is none. Until the nodes are dropped, the counters are wrong. A full node has
 * room again when processes have written to or unmapped some of the addresses
 * that mapped its kernel page. Each call examines at most NODES_PER_CALL nodes,
 * and continues where the last call ended. The reaper calls this function twice
 * a second while any kernel page exists. No setting controls the cost: one
 * cache miss for each node examined.
 *
 * Context: takes ksm_lock, and drops it every NODES_PER_HOLD nodes. May sleep.
 */
void ksm_nodes_prune(void)
{
	mutex_lock(&prune_lock);
	mutex_lock(&ksm_lock);
	prune_nodes(NODES_PER_CALL);
	mutex_unlock(&ksm_lock);
	mutex_unlock(&prune_lock);
}

/*
 * Memory has been taken offline. The kernel is about to free its struct pages,
 * which is_stale() reads. No page of that memory is in use any more, so the
 * nodes of its pages are stale. This function drops all stale nodes. The walk
 * misses none of them: only a node whose kernel page is in use gets another
 * hash.
 */
static int devksm_memory_callback(struct notifier_block *block, unsigned long action, void *arg)
{
	if (action != MEM_OFFLINE)
		return NOTIFY_OK;
	mutex_lock(&prune_lock);
	mutex_lock(&ksm_lock);
	walk_begin();
	prune_next = NULL;
	prune_nodes(ULONG_MAX);
	walk_end();
	mutex_unlock(&ksm_lock);
	mutex_unlock(&prune_lock);
	return NOTIFY_OK;
}

static struct notifier_block memory_block = { .notifier_call = devksm_memory_callback };

/**
 * ksm_node_init - create the slab cache of the nodes, and register the notifier
 * for memory that is unplugged
 *
 * Context: called once, before the first node is created. May sleep.
 * Return: 0 on success, or a negative error.
 */
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

/**
 * ksm_node_exit - free all nodes
 *
 * No area is open, so no item points to a node. Forked children may still map
 * kernel pages, which become ordinary pages here.
 *
 * Context: called when there are no scanners any more. May sleep.
 */
void ksm_node_exit(void)
{
	struct ksm_node *node, *next;
	unsigned int nr = 0;

	unregister_memory_notifier(&memory_block);
	mutex_lock(&ksm_lock);
	walk_begin();
	for (node = node_next(NULL); node; node = next) {
		next = node_next(node);
		node_drop(node);
		if (++nr % NODES_PER_HOLD == 0)
			ksm_lock_relax();
	}
	walk_end();
	mutex_unlock(&ksm_lock);
	flush_work(&free_unused_work);
	kmem_cache_destroy(node_cache);
}
