/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Host stand-in for the kernel's red-black trees: the same order, no balance, and as
 * restless as can be. What is put in goes to the top, and so does what stood above
 * what is taken out, so that a place in the tree that was found before is no place
 * any more; the kernel's trees turn as well, but more rarely.
 *
 * It is not as trusting as the kernel's either: a node that is taken out of a tree in
 * which it does not stand ends the program, and one that is out leads nowhere.
 */
#ifndef HOST_RBTREE_H
#define HOST_RBTREE_H

#include <linux/types.h>

struct rb_node {
	struct rb_node *rb_parent, *rb_left, *rb_right;
};

struct rb_root {
	struct rb_node *rb_node;
};

#define RB_ROOT	((struct rb_root){ NULL })

#define rb_entry(ptr, type, member) container_of(ptr, type, member)

void rb_link_node(struct rb_node *node, struct rb_node *parent, struct rb_node **link);
void rb_insert_color(struct rb_node *node, struct rb_root *root);
void rb_erase(struct rb_node *node, struct rb_root *root);
struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *node);
struct rb_node *rb_first_postorder(const struct rb_root *root);
struct rb_node *rb_next_postorder(const struct rb_node *node);

#define rb_entry_or_null(ptr, type, member) \
	({ struct rb_node *_node = (ptr); _node ? rb_entry(_node, type, member) : NULL; })

/* The loop's body may free @pos: where to go next is found out before it runs. */
#define rbtree_postorder_for_each_entry_safe(pos, n, root, member)				\
	for (pos = rb_entry_or_null(rb_first_postorder(root), typeof(*pos), member);		\
	     pos && ({ n = rb_entry_or_null(rb_next_postorder(&pos->member), typeof(*pos),	\
					    member); true; });					\
	     pos = n)

#endif
