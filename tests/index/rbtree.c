// SPDX-License-Identifier: GPL-2.0
/* See linux/rbtree.h beside this file: a restless tree under the kernel's names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/rbtree.h>

/* What points to @node: its parent, or the root of the tree. */
static struct rb_node **place(struct rb_node *node, struct rb_root *root)
{
	struct rb_node *parent = node->rb_parent;

	if (!parent)
		return &root->rb_node;
	return parent->rb_left == node ? &parent->rb_left : &parent->rb_right;
}

/* Give @child the place of its parent, which becomes its child. */
static void rotate_up(struct rb_node *child, struct rb_root *root)
{
	struct rb_node *parent = child->rb_parent, *inner;

	*place(parent, root) = child;
	child->rb_parent = parent->rb_parent;
	if (parent->rb_left == child) {
		inner = child->rb_right;
		child->rb_right = parent;
		parent->rb_left = inner;
	} else {
		inner = child->rb_left;
		child->rb_left = parent;
		parent->rb_right = inner;
	}
	if (inner)
		inner->rb_parent = parent;
	parent->rb_parent = child;
}

static void to_top(struct rb_node *node, struct rb_root *root)
{
	while (node->rb_parent)
		rotate_up(node, root);
}

static void must_be_in(const struct rb_node *node, const struct rb_root *root)
{
	const struct rb_node *top = node;

	while (top && top->rb_parent)
		top = top->rb_parent;
	if (!top || top != root->rb_node) {
		fprintf(stderr, "rbtree: a node is not in the tree that it is said to be in\n");
		abort();
	}
}

void rb_link_node(struct rb_node *node, struct rb_node *parent, struct rb_node **link)
{
	*node = (struct rb_node){ .rb_parent = parent };
	*link = node;
}

void rb_insert_color(struct rb_node *node, struct rb_root *root)
{
	must_be_in(node, root);
	to_top(node, root);
}

void rb_erase(struct rb_node *node, struct rb_root *root)
{
	struct rb_node *parent;

	must_be_in(node, root);
	while (node->rb_left || node->rb_right)
		rotate_up(node->rb_left ? node->rb_left : node->rb_right, root);
	parent = node->rb_parent;
	*place(node, root) = NULL;
	memset(node, 0, sizeof(*node));
	if (parent)
		to_top(parent, root);
}

struct rb_node *rb_first(const struct rb_root *root)
{
	struct rb_node *node = root->rb_node;

	while (node && node->rb_left)
		node = node->rb_left;
	return node;
}

struct rb_node *rb_next(const struct rb_node *node)
{
	struct rb_root right = { node->rb_right };

	if (node->rb_right)
		return rb_first(&right);
	while (node->rb_parent && node->rb_parent->rb_right == node)
		node = node->rb_parent;
	return node->rb_parent;
}

static struct rb_node *deepest(struct rb_node *node)
{
	while (node && (node->rb_left || node->rb_right))
		node = node->rb_left ? node->rb_left : node->rb_right;
	return node;
}

struct rb_node *rb_first_postorder(const struct rb_root *root)
{
	return deepest(root->rb_node);
}

struct rb_node *rb_next_postorder(const struct rb_node *node)
{
	struct rb_node *parent = node->rb_parent;

	if (parent && parent->rb_left == node && parent->rb_right)
		return deepest(parent->rb_right);
	return parent;
}
