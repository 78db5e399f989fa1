// SPDX-License-Identifier: GPL-2.0
/*
 * Stable nodes: a kernel page each, and the items that map it. All under ksm_lock, but
 * for the content of a page that is new.
 */
#include <linux/highmem.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "ksm.h"
#include "trace.h"

static struct kmem_cache *node_cache;
static struct shrinker *shrinker;

/* The node that the shrinker looks at next; NULL for the first. */
static struct ksm_node *shrink_next;

/* The node that ksm_nodes_prune() looks at next; NULL at the end. */
static struct ksm_node *prune_next;

/* Nodes between two offers to let others have ksm_lock. */
#define NODES_PER_HOLD	256

/* What each merge under way adds to the count of items, in the private field of the kernel page. */
#define HOLD		(1UL << 48)

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

/* How many items were last seen mapping the page of a node. */
static unsigned long nr_items(const struct ksm_node *node)
{
	return node->kpage ? page_private(node->kpage) % HOLD : node->left;
}

/* From here on pages are compared with the kernel page, and give way to it. */
static void fill(struct ksm_node *node, struct page *content)
{
	copy_highpage(node->kpage, content);
	SetPageUptodate(node->kpage);
}

static struct ksm_key key_of(struct page *page, u64 *sample)
{
	struct ksm_key key = { .content = page };

	if (ksm_index_ops->hashes)
		key.hash = ksm_page_hash(page, sample);
	return key;
}

/**
 * ksm_node_create - a stable node for the content of a page
 * @content: the page; it may be written meanwhile, so whoever merges a page with the
 *	kernel page compares again
 * @hash: what it is known by, and no node yet
 * @why: set to the reason when there is no node
 *
 * An index that finds by hash can wait for the content until the first page gives way
 * (ksm_node_fill()); one that compares cannot.
 *
 * Return: the node, in the stable index and mapped by nobody yet; or NULL.
 */
struct ksm_node *ksm_node_create(struct page *content, u64 hash, enum ksm_skip *why)
{
	unsigned long limit = READ_ONCE(ksm_settings.max_kernel_pages);
	struct ksm_key key = { .hash = hash };
	struct ksm_node *node;

	*why = KSM_SKIP_LIMIT;
	if (limit && ksm_counters.kernel_pages >= limit)
		return NULL;

	*why = KSM_SKIP_NO_MEMORY;
	node = kmem_cache_zalloc(node_cache, GFP_KERNEL);
	if (!node)
		return NULL;
	node->kpage = alloc_pages_node(page_to_nid(content), GFP_HIGHUSER | __GFP_NOWARN, 0);
	if (!node->kpage)
		goto free_node;
	if (!ksm_index_ops->hashes)
		fill(node, content);
	/* What was copied may not be what was searched for, and be there already. */
	*why = KSM_SKIP_CHANGED;
	key.content = node->kpage;
	if (ksm_index_ops->insert_stable(ksm_index, &key, &node->entry))
		goto free_page;
	set_page_private(node->kpage, 0);
	node->kpage->index = (unsigned long)node;
	ksm_counters.kernel_pages++;
	atomic_long_add(node_size(), &ksm_counters.metadata);
	return node;

free_page:
	put_page(node->kpage);
free_node:
	kmem_cache_free(node_cache, node);
	return NULL;
}

/**
 * ksm_node_fill - copy the content of the first page that gives way
 * @node: the node, held, with a kernel page that is not up to date
 * @content: the page; nobody can write it. It is not slept on: a page-table lock may
 *	be held.
 *
 * Return: whether it is what the node is known by; if not, there is still no content.
 */
bool ksm_node_fill(struct ksm_node *node, struct page *content)
{
	u64 sample;

	if (ksm_page_hash(content, &sample) != node->entry.hash && sample != node->entry.hash)
		return false;
	fill(node, content);
	return true;
}

static void node_free(struct ksm_node *node)
{
	atomic_long_sub(node_size(), &ksm_counters.metadata);
	kmem_cache_free(node_cache, node);
}

/* Items that have not noticed keep the node, without its page; the last of them frees it. */
static void node_drop(struct ksm_node *node)
{
	trace_devksm_node_dropped(page_to_pfn(node->kpage), ksm_mapcount(node->kpage));
	if (node == shrink_next)
		shrink_next = node_next(node);
	if (node == prune_next)
		prune_next = node_next(node);
	ksm_index_ops->forget(ksm_index, &node->entry, KSM_STABLE);
	ksm_counters.kernel_pages--;
	node->left = nr_items(node);
	/* Whoever maps it still, a forked child say, keeps it as an ordinary page. */
	set_page_private(node->kpage, 0);
	WRITE_ONCE(node->kpage->index, 0);
	put_page(node->kpage);
	node->kpage = NULL;
	if (node->left)
		ksm_counters.shared -= node->left - 1;
	else
		node_free(node);
}

/*
 * Free a node whose kernel page nobody maps. A map count of zero stays zero: only
 * ksm_merge() maps the page anew, and the node is held meanwhile; fork only copies a
 * mapping that is there.
 */
static bool drop_if_unused(struct ksm_node *node)
{
	if (page_private(node->kpage) >= HOLD || ksm_mapcount(node->kpage))
		return false;
	node_drop(node);
	return true;
}

/**
 * ksm_node_hold - a page is about to give way to the one of a node
 * @node: the node; it is not dropped before ksm_node_put()
 */
void ksm_node_hold(struct ksm_node *node)
{
	set_page_private(node->kpage, page_private(node->kpage) + HOLD);
}

/**
 * ksm_node_put - it has, or it has not
 * @node: the node; if nobody maps its page, nor holds it any more, it goes
 */
void ksm_node_put(struct ksm_node *node)
{
	set_page_private(node->kpage, page_private(node->kpage) - HOLD);
	drop_if_unused(node);
}

/**
 * ksm_node_is_single - does only one item map the page of a node?
 * @node: the node, held once by the caller
 *
 * Return: whether it is so, as far as the driver knows, and no other is about to.
 */
bool ksm_node_is_single(const struct ksm_node *node)
{
	return page_private(node->kpage) == HOLD + 1;
}

/**
 * ksm_node_find - the node whose kernel page has the content of a page
 * @page: the page
 * @hash: what it is known by
 * @sample: the hash of a sample of it
 *
 * Return: the node, or NULL. Where the index finds by hash it is a node of the
 * same hash, and whoever merges compares.
 */
struct ksm_node *ksm_node_find(struct page *page, u64 hash, u64 sample)
{
	struct ksm_key key = { .content = page, .hash = hash };
	struct ksm_entry *entry = ksm_index_ops->find_stable(ksm_index, &key);

	if (!entry && ksm_index_ops->hashes && sample != hash) {
		/* A node from before its sample was crowded is still known by that. */
		key.hash = sample;
		entry = ksm_index_ops->find_stable(ksm_index, &key);
	}
	return entry ? container_of(entry, struct ksm_node, entry) : NULL;
}

/**
 * ksm_node_crowded - there is a page that differs from the one of a node, and has its sample
 * @node: the node; it is known by a hash of all of its page from now on
 */
void ksm_node_crowded(struct ksm_node *node)
{
	u64 sample = node->entry.hash, ignored;
	struct ksm_key key;

	if (sample != ksm_page_sample(node->kpage))
		return;
	/* What waits under this sample in chunks at rest is to be known by all of it, too. */
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
 * ksm_node_link - note that an item maps the page of a node
 * @node: the node
 * @item: the item; in no index
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
	set_page_private(node->kpage, page_private(node->kpage) + 1);
}

/**
 * ksm_node_adopt - have an item follow its page-table entry
 * @item: the item, in any state
 * @page: the page that its address maps now
 *
 * Fork and mremap bring kernel pages to places where kksmd put none, or another.
 *
 * Return: true when @page is the kernel page of a node, and @item is linked to it;
 * false when it is not, and @item is KSM_ITEM_PLAIN.
 */
bool ksm_node_adopt(struct ksm_item *item, struct page *page)
{
	struct ksm_node *node;
	struct ksm_key key;
	u64 sample = 0;

	if (item->state == KSM_ITEM_MERGED && item->node->kpage == page)
		return true;
	ksm_item_forget(item, KSM_BREAK_WRITTEN);
	if (PageAnon(page))
		return false;
	key = key_of(page, &sample);
	node = ksm_node_find(page, key.hash, sample);
	if (!node || node->kpage != page)
		return false;
	ksm_node_link(node, item);
	return true;
}

/**
 * ksm_node_unlink - note that an item does not map the page of its node any more
 * @item: the item; if nobody else maps the page, the node goes
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
	set_page_private(node->kpage, page_private(node->kpage) - 1);
	if (nr_items(node))
		ksm_counters.shared--;
	drop_if_unused(node);
}

/**
 * ksm_nodes_prune - free all nodes whose kernel page nobody maps
 *
 * Lets go of ksm_lock now and then. What the index moves meanwhile may be missed.
 */
void ksm_nodes_prune(void)
{
	unsigned int looked = 0;
	struct ksm_node *node;

	prune_next = node_next(NULL);
	while (prune_next) {
		node = prune_next;
		prune_next = node_next(node);
		drop_if_unused(node);
		if (++looked % NODES_PER_HOLD)
			continue;
		mutex_unlock(&ksm_lock);
		cond_resched();
		mutex_lock(&ksm_lock);
	}
}

/* How many nobody maps is not known without a look, so all are offered. */
static unsigned long shrink_count(struct shrinker *s, struct shrink_control *sc)
{
	return READ_ONCE(ksm_counters.kernel_pages);
}

/* Memory is short: the allocation may be our own, so the lock is only tried. */
static unsigned long shrink_scan(struct shrinker *s, struct shrink_control *sc)
{
	unsigned long freed = 0, left;
	struct ksm_node *node;

	if (!mutex_trylock(&ksm_lock))
		return SHRINK_STOP;
	/* Where the last call ended, so that each looks at others. */
	for (left = min(sc->nr_to_scan, ksm_counters.kernel_pages); left; left--) {
		node = shrink_next ?: node_next(NULL);
		shrink_next = node_next(node);
		freed += drop_if_unused(node);
	}
	mutex_unlock(&ksm_lock);
	return freed;
}

int ksm_node_init(void)
{
	node_cache = kmem_cache_create("devksm_node", node_size(), 0, 0, NULL);
	if (!node_cache)
		return -ENOMEM;
	shrinker = ksm_shrinker_register("devksm", shrink_count, shrink_scan);
	if (!shrinker) {
		kmem_cache_destroy(node_cache);
		return -ENOMEM;
	}
	return 0;
}

/* No area is open any more, so nothing links here; forked children may map still. */
void ksm_node_exit(void)
{
	struct ksm_node *node, *next;

	ksm_shrinker_free(shrinker);
	mutex_lock(&ksm_lock);
	for (node = node_next(NULL); node; node = next) {
		next = node_next(node);
		node_drop(node);
	}
	mutex_unlock(&ksm_lock);
	kmem_cache_destroy(node_cache);
}
