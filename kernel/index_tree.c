// SPDX-License-Identifier: GPL-2.0
/*
 * The tree index of 2009: two red-black trees, sorted by the content of pages.
 *
 * The stable tree contains kernel pages. They never change, so the tree is
 * always sorted. A search misses a match only if it meets too many kernel pages
 * that have been freed (DROP_WITHIN).
 *
 * The unstable tree contains ordinary pages, which can be written at any time.
 * A written page is no longer at its sorted position, and may misdirect
 * searches for other pages, which then miss a match. The tree stays balanced,
 * because balance does not depend on content. At the end of each pass the
 * driver empties the unstable tree, so a misplaced page has no effect on the
 * next pass.
 *
 * A search compares two pages at each level of the tree. The hash index
 * (index_hash.c) compares no pages and is therefore faster.
 */
#include <linux/errno.h>
#include <linux/slab.h>

#include "index.h"

/*
 * When a search has dropped an entry that the callback @order rejects, it
 * starts again at the root. So it drops such entries only during its first
 * DROP_WITHIN comparisons. After an exit, the callback rejects all entries of
 * the process, perhaps millions. With this limit, a search compares at most
 * DROP_WITHIN entries more than the tree has levels: about 22 levels, and at
 * most 44, for the four million pages of 16 GiB. ksm_match_batch() can make
 * three searches in one hold of ksm_lock, and one comparison takes up to 8 us.
 * So together they take less than 1 ms in a tree of 22 levels, and less than
 * 1.5 ms in one of 44. The other entries stay until a later search, the end of
 * the pass (unstable), or ksm_nodes_prune() (stable) removes them.
 */
#define DROP_WITHIN	16

/**
 * struct ksm_index - the two trees
 * @cb: the callbacks
 * @roots: the roots of the trees, indexed by enum ksm_kind
 */
struct ksm_index {
	const struct ksm_index_callbacks *cb;
	struct rb_root roots[2];
};

static struct ksm_entry *to_entry(struct rb_node *rb)
{
	return rb ? rb_entry(rb, struct ksm_entry, rb) : NULL;
}

static struct ksm_index *tree_create(const struct ksm_index_callbacks *cb)
{
	struct ksm_index *index = kzalloc(sizeof(*index), GFP_KERNEL);

	if (index)
		index->cb = cb;
	return index;
}

static void tree_destroy(struct ksm_index *index)
{
	kfree(index);
}

/*
 * Search a tree. Returns the entry that matches @key. If there is none, returns
 * NULL and sets @parent and @link to the place where rb_link_node() can insert
 * an entry. If the search had to end before it reached that place, @link is
 * NULL; this happens only in the stable tree.
 */
static struct ksm_entry *tree_descend(struct ksm_index *index, const struct ksm_key *key,
				      enum ksm_kind kind, struct rb_node **parent,
				      struct rb_node ***link)
{
	struct rb_root *root = &index->roots[kind];
	unsigned int nr = 0;

again:
	*parent = NULL;
	*link = &root->rb_node;
	while (**link) {
		struct ksm_entry *entry = to_entry(**link);
		int order;

		nr++;
		if (!index->cb->order(key->content, entry, kind, &order)) {
			if (nr <= DROP_WITHIN) {
				rb_erase(&entry->rb, root);
				index->cb->dropped(entry, kind);
				/* rb_erase() may have rebalanced the tree. */
				goto again;
			}
			if (kind == KSM_STABLE) {
				*link = NULL;
				return NULL;
			}
			/* The unstable tree need not be sorted: go left. */
			order = -1;
		}
		if (!order)
			return entry;
		*parent = **link;
		*link = order < 0 ? &(*parent)->rb_left : &(*parent)->rb_right;
	}
	return NULL;
}

static void tree_insert(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind,
			struct rb_node *parent, struct rb_node **link)
{
	rb_link_node(&entry->rb, parent, link);
	rb_insert_color(&entry->rb, &index->roots[kind]);
}

static struct ksm_entry *tree_find_stable(struct ksm_index *index, const struct ksm_key *key)
{
	struct rb_node *parent, **link;

	return tree_descend(index, key, KSM_STABLE, &parent, &link);
}

static int tree_insert_stable(struct ksm_index *index, const struct ksm_key *key,
			      struct ksm_entry *entry)
{
	struct rb_node *parent, **link;

	if (tree_descend(index, key, KSM_STABLE, &parent, &link))
		return -EEXIST;
	if (!link)
		return -EAGAIN;
	tree_insert(index, entry, KSM_STABLE, parent, link);
	return 0;
}

static struct ksm_entry *tree_find_or_insert_unstable(struct ksm_index *index,
						      const struct ksm_key *key,
						      struct ksm_entry *entry)
{
	struct rb_node *parent, **link;
	struct ksm_entry *equal = tree_descend(index, key, KSM_UNSTABLE, &parent, &link);

	if (!equal)
		tree_insert(index, entry, KSM_UNSTABLE, parent, link);
	return equal;
}

static void tree_forget(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind)
{
	rb_erase(&entry->rb, &index->roots[kind]);
}

static bool tree_flush(struct ksm_index *index, unsigned int max)
{
	struct rb_root *root = &index->roots[KSM_UNSTABLE];
	struct rb_node *rb;

	while ((rb = rb_first(root)) && max--) {
		rb_erase(rb, root);
		index->cb->dropped(to_entry(rb), KSM_UNSTABLE);
	}
	return rb;
}

static size_t tree_bytes(struct ksm_index *index)
{
	return sizeof(*index);
}

static struct ksm_entry *tree_next(struct ksm_index *index, struct ksm_entry *entry,
				   enum ksm_kind kind)
{
	return to_entry(entry ? rb_next(&entry->rb) : rb_first(&index->roots[kind]));
}

const struct ksm_index_ops ksm_index_tree = {
	.name = "tree",
	.entry_size = offsetofend(struct ksm_entry, rb),
	.create = tree_create,
	.destroy = tree_destroy,
	.find_stable = tree_find_stable,
	.insert_stable = tree_insert_stable,
	.find_or_insert_unstable = tree_find_or_insert_unstable,
	.forget = tree_forget,
	.flush = tree_flush,
	.bytes = tree_bytes,
	.next = tree_next,
};
