// SPDX-License-Identifier: GPL-2.0
/*
 * The tree index of 2009: two red-black trees, sorted by the content of pages.
 *
 * The stable tree contains kernel pages. They never change, so the tree is
 * always sorted, and every search is exact.
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
#include <linux/slab.h>

#include "index.h"

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
 * an entry.
 */
static struct ksm_entry *tree_descend(struct ksm_index *index, const struct ksm_key *key,
				      enum ksm_kind kind, struct rb_node **parent,
				      struct rb_node ***link)
{
	struct rb_root *root = &index->roots[kind];

again:
	*parent = NULL;
	*link = &root->rb_node;
	while (**link) {
		struct ksm_entry *entry = to_entry(**link);
		int order;

		if (!index->cb->order(key->content, entry, kind, &order)) {
			/* rb_erase() may have rebalanced the tree. */
			rb_erase(&entry->rb, root);
			index->cb->dropped(entry, kind);
			goto again;
		}
		if (!order)
			return entry;
		*parent = **link;
		*link = order < 0 ? &(*parent)->rb_left : &(*parent)->rb_right;
	}
	return NULL;
}

static struct ksm_entry *tree_find_or_insert(struct ksm_index *index, const struct ksm_key *key,
					     struct ksm_entry *entry, enum ksm_kind kind)
{
	struct rb_node *parent, **link;
	struct ksm_entry *equal = tree_descend(index, key, kind, &parent, &link);

	if (!equal && entry) {
		rb_link_node(&entry->rb, parent, link);
		rb_insert_color(&entry->rb, &index->roots[kind]);
	}
	return equal;
}

static struct ksm_entry *tree_find_stable(struct ksm_index *index, const struct ksm_key *key)
{
	return tree_find_or_insert(index, key, NULL, KSM_STABLE);
}

static struct ksm_entry *tree_insert_stable(struct ksm_index *index, const struct ksm_key *key,
					    struct ksm_entry *entry)
{
	return tree_find_or_insert(index, key, entry, KSM_STABLE);
}

static struct ksm_entry *tree_find_or_insert_unstable(struct ksm_index *index,
						      const struct ksm_key *key,
						      struct ksm_entry *entry)
{
	return tree_find_or_insert(index, key, entry, KSM_UNSTABLE);
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
