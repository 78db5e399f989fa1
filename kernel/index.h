/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The interface of the index of page contents.
 *
 * Given the content of a page, an index finds an entry whose page probably has
 * the same content. It has two kinds of entries. Stable entries are kernel
 * pages, which no process can write. They stay in the index until the driver
 * removes them. Unstable entries are ordinary pages, which may change at any
 * time, so a search may miss one of them. No operation may take long, so the
 * length of a search is limited: if it meets many entries that the callback
 * @order rejects, or a long chain of the hash table, it may miss an entry of
 * either kind. A later search can find it.
 *
 * The tree compares page contents; the hash table compares only their hashes.
 * With both, the merge compares the pages again, while no process can write
 * them.
 *
 * An index accesses pages only through callbacks, so that the tests can compile
 * it as a userspace program.
 *
 * An index takes no lock. The caller serializes all calls for one index; the
 * driver does so with ksm_lock, except when it creates and destroys the index.
 * @create may sleep. The other operations do not sleep, and no callback of the
 * driver does.
 */
#ifndef KSM_INDEX_H
#define KSM_INDEX_H

#include <linux/rbtree.h>
#include <linux/types.h>

/*
 * The number of bits of a hash. With four million entries (16 GiB of different
 * pages), one search in 2^34 finds an entry whose hash is the same by chance.
 */
#define KSM_HASH_BITS		56
#define KSM_HASH_MASK		((1ULL << KSM_HASH_BITS) - 1)

/**
 * struct ksm_key - the content to search for
 * @content: passed to the callback &ksm_index_callbacks->order
 * @hash: the hash of the content, KSM_HASH_BITS wide, by a function with a
 *	random seed; ignored if the index does not use hashes
 *	(&ksm_index_ops->hashes)
 */
struct ksm_key {
	const void *content;
	u64 hash;
};

/**
 * struct ksm_entry - an entry of an index, the last member of a larger struct
 * @rb: with index=tree: the node in one of the two trees
 * @next: with index=hash: the next entry of the chain
 *
 * Only the first &ksm_index_ops->entry_size bytes are allocated.
 */
struct ksm_entry {
	union {
		struct rb_node rb;
		struct ksm_entry *next;
	};
};

/**
 * enum ksm_kind - the kinds of entries
 * @KSM_STABLE: kernel pages, which no process can write
 * @KSM_UNSTABLE: ordinary pages that have no match yet
 */
enum ksm_kind { KSM_STABLE, KSM_UNSTABLE };

/**
 * struct ksm_index_callbacks - how an index uses pages and the structs that
 * contain its entries
 * @order: compare the content that was searched for with the content of the
 *	page of an entry, as memcmp() does. Store the result in the number to
 *	which the last argument points, and return true. With index=hash, the
 *	hashes are equal already, and the number can always be zero. Return
 *	false if the entry must leave the index. The index then drops it at
 *	once, or in a later operation
 * @dropped: called after the index has removed @entry: because @order returned
 *	false, or in @flush or @retry
 * @hash_at: with index=hash: for each enum ksm_kind, the offset from an entry
 *	to the u64 that contains its hash in the lowest KSM_HASH_BITS bits. The
 *	caller stores the hash of the key there before it inserts the entry, and
 *	does not change it until the entry has left the index. The driver stores
 *	it as a bit-field: ksm.h checks that bit-fields have this layout
 */
struct ksm_index_callbacks {
	bool (*order)(const void *content, struct ksm_entry *entry, enum ksm_kind kind, int *order);
	void (*dropped)(struct ksm_entry *entry, enum ksm_kind kind);
	int hash_at[2];
};

struct ksm_index;

/**
 * struct ksm_index_ops - an implementation of the index
 * @name: the value of the module parameter "index" that selects it
 * @entry_size: the number of bytes of struct ksm_entry that it uses
 * @hashes: whether it finds entries by hash only, so that keys need a hash
 * @create: allocate an empty index. Returns NULL if an allocation failed
 * @destroy: free an index that has no entries
 * @find_stable: return the stable entry that matches @key, or NULL
 * @insert_stable: insert @entry, whose content is that of @key, and return 0.
 *	Do not insert it, and return -EEXIST, if a stable entry matches @key
 *	already; or return -EAGAIN if the search for such an entry has given up,
 *	because it met too many entries that must leave the index
 * @find_or_insert_unstable: return the unstable entry that matches @key; or, if
 *	there is none, insert @entry and return NULL
 * @forget: remove @entry
 * @flush: remove up to @max unstable entries, call @dropped for each of them,
 *	and return true if any remain. This member is NULL if unstable entries
 *	stay in the index from pass to pass
 * @retry: remove the unstable entry that matches @key, and call @dropped for
 *	it, so that the next pass searches for a match of its page again. This
 *	member is NULL if unstable entries leave the index at the end of each
 *	pass
 * @bytes: return the size of the index in bytes, without its entries
 * @next: return the entry after @entry, or the first one if @entry is NULL;
 *	NULL at the end
 * @walk: if the last argument is true, prepare for a walk, in which the caller
 *	visits the entries with @next. During the walk, entries can be inserted
 *	and removed; @next misses none of the others. If the last argument is
 *	false, end the walk. To end it, call @walk until it returns false; the
 *	caller may drop its lock between these calls. This member is NULL if
 *	@next never misses an entry, even without it
 */
struct ksm_index_ops {
	const char *name;
	size_t entry_size;
	bool hashes;
	struct ksm_index *(*create)(const struct ksm_index_callbacks *cb);
	void (*destroy)(struct ksm_index *index);
	struct ksm_entry *(*find_stable)(struct ksm_index *index, const struct ksm_key *key);
	int (*insert_stable)(struct ksm_index *index, const struct ksm_key *key,
			     struct ksm_entry *entry);
	struct ksm_entry *(*find_or_insert_unstable)(struct ksm_index *index,
						     const struct ksm_key *key,
						     struct ksm_entry *entry);
	void (*forget)(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind);
	bool (*flush)(struct ksm_index *index, unsigned int max);
	void (*retry)(struct ksm_index *index, const struct ksm_key *key);
	size_t (*bytes)(struct ksm_index *index);
	struct ksm_entry *(*next)(struct ksm_index *index, struct ksm_entry *entry,
				  enum ksm_kind kind);
	bool (*walk)(struct ksm_index *index, bool on);
};

extern const struct ksm_index_ops ksm_index_tree;
extern const struct ksm_index_ops ksm_index_hash;

#endif /* KSM_INDEX_H */
