/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What an index of pages must answer.
 *
 * An index finds, for the content of one page, an entry whose page probably has
 * the same content. It holds two kinds of entries. Stable entries are kernel
 * pages, which no process can write: they stay until the driver removes them.
 * Unstable entries are ordinary pages, which may change at any time, so a
 * search among them may miss. The tree compares contents; the hash table
 * compares hashes only. In both cases the merge compares the pages again, while
 * no process can write them.
 *
 * An implementation knows no mm: it compares by calling back, so the same file
 * is compiled for the kernel and, by the tests, for the host. It takes no lock;
 * the caller keeps all calls on one index apart.
 */
#ifndef KSM_INDEX_H
#define KSM_INDEX_H

#include <linux/rbtree.h>
#include <linux/types.h>

/*
 * Bits of a hash. With four million entries (16 GiB of different pages), one
 * search in 17 thousand million finds an entry whose hash is the same by
 * chance.
 */
#define KSM_HASH_BITS		56

/**
 * struct ksm_key - the content that is looked for
 * @content: what the callbacks take it by
 * @hash: of the content, KSM_HASH_BITS of it, by a function whose results nobody
 *	outside can foresee; 0 where the implementation does not ask for it
 *	(&ksm_index_ops->hashes)
 */
struct ksm_key {
	const void *content;
	u64 hash;
};

/**
 * struct ksm_entry - an entry of an index, embedded in an object as its last member
 * @rb: tree: the node in one of the two trees
 * @next: hash: the next entry of the chain
 * @hash: hash: the hash of the content that the entry was added with
 *
 * Only the first &ksm_index_ops->entry_size bytes are allocated.
 */
struct ksm_entry {
	union {
		struct rb_node rb;
		struct {
			struct ksm_entry *next;
			u64 hash;
		};
	};
};

/**
 * enum ksm_kind - which of the two indexes
 * @KSM_STABLE: that of kernel pages, which no process can write
 * @KSM_UNSTABLE: that of pages that wait for their equal
 */
enum ksm_kind { KSM_STABLE, KSM_UNSTABLE };

/**
 * struct ksm_index_callbacks - how an index asks about content
 * @order: put into @order how @content compares with that of the page
 *	behind @entry (below, equal to, or above zero), and return true; return
 *	false when there is no such page any more
 * @dropped: an entry has left the index on the index's own decision: its page
 *	is gone, or it is unstable and the pass has ended
 */
struct ksm_index_callbacks {
	bool (*order)(const void *content, struct ksm_entry *entry, enum ksm_kind kind, int *order);
	void (*dropped)(struct ksm_entry *entry, enum ksm_kind kind);
};

struct ksm_index;

/**
 * struct ksm_index_ops - an implementation
 * @name: as the module parameter "index" has it
 * @entry_size: how much of struct ksm_entry it uses, in bytes
 * @hashes: whether it wants keys with a hash, and finds by that
 * @create: an empty index that asks through @cb; NULL when there is no memory
 * @destroy: free an index that holds no entry
 * @find_stable: the stable entry that matches @key (by content, or by hash if
 *	@hashes), or NULL
 * @insert_stable: add @entry, whose content is that of @key; NULL, or the stable
 *	entry that matches @key already, and then @entry has not been added
 * @find_or_insert_unstable: the unstable entry that matches @key, or NULL, and
 *	then @entry has been added
 * @forget: take @entry out
 * @flush: take up to @max unstable entries out, with a call of @dropped for
 *	each, and return true if any are left; NULL if unstable entries stay in the
 *	index from pass to pass
 * @bytes: how much memory the index takes, without its entries
 * @next: the entry after @entry (the first one for NULL), or NULL at the end
 */
struct ksm_index_ops {
	const char *name;
	size_t entry_size;
	bool hashes;
	struct ksm_index *(*create)(const struct ksm_index_callbacks *cb);
	void (*destroy)(struct ksm_index *index);
	struct ksm_entry *(*find_stable)(struct ksm_index *index, const struct ksm_key *key);
	struct ksm_entry *(*insert_stable)(struct ksm_index *index, const struct ksm_key *key,
					   struct ksm_entry *entry);
	struct ksm_entry *(*find_or_insert_unstable)(struct ksm_index *index,
						     const struct ksm_key *key,
						     struct ksm_entry *entry);
	void (*forget)(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind);
	bool (*flush)(struct ksm_index *index, unsigned int max);
	size_t (*bytes)(struct ksm_index *index);
	struct ksm_entry *(*next)(struct ksm_index *index, struct ksm_entry *entry,
				  enum ksm_kind kind);
};

extern const struct ksm_index_ops ksm_index_tree;
extern const struct ksm_index_ops ksm_index_hash;

#endif /* KSM_INDEX_H */
