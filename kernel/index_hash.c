// SPDX-License-Identifier: GPL-2.0
/*
 * An index by hash: two tables of chains, for stable and for unstable entries.
 *
 * Each entry is in the chain of the hash that its content had when it was added.
 * A search walks one chain and returns the first entry with the same whole hash.
 * It compares no pages: the merge does that, while nobody can write them.
 *
 * Unstable entries stay from pass to pass. If the page of an entry is written,
 * the entry remains under its old hash until a scan reaches the page. A search for
 * the old content still returns it; the merge then fails, because the page has
 * another hash by now, and the entry is removed. A search for the new content
 * misses the page until a scan adds it under its new hash. Either way a merge comes
 * later, and nothing else happens.
 *
 * The seed of the hash is drawn when the driver is loaded, so no process can
 * choose pages that fall into one chain. If chains grow long nevertheless, a search
 * gives up after CHAIN_LIMIT entries: that costs merges, not time.
 */
#include <linux/sched.h>
#include <linux/slab.h>

#include "index.h"

#define MIN_BUCKETS	256UL

/* Entries a bucket, on average, above which a table grows, and below one in so many it shrinks. */
#define FULL		4
#define EMPTY		2

/* With a good hash, not one chain in ten million is longer than this at four entries a bucket. */
#define CHAIN_LIMIT	20

/**
 * struct ksm_table - a table of chains
 * @buckets: the chains; the lowest bits of a hash say which
 * @size: how many there are, a power of two
 * @entries: how many entries all of them have
 */
struct ksm_table {
	struct ksm_entry **buckets;
	unsigned long size;
	unsigned long entries;
};

/**
 * struct ksm_index - the two tables
 * @cb: how to ask about content
 * @tables: by enum ksm_kind
 */
struct ksm_index {
	const struct ksm_index_callbacks *cb;
	struct ksm_table tables[2];
};

static struct ksm_entry **bucket_of(struct ksm_table *table, u64 hash)
{
	return &table->buckets[hash & (table->size - 1)];
}

static void table_add(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry **bucket = bucket_of(table, entry->hash);

	entry->next = *bucket;
	*bucket = entry;
}

/* Without memory for another size, the table stays as it is: slower, or larger than need be. */
static void table_resize(struct ksm_table *table, unsigned long size)
{
	struct ksm_table old = *table;
	struct ksm_entry **buckets = kvcalloc(size, sizeof(*buckets), GFP_KERNEL | __GFP_NOWARN);
	struct ksm_entry *entry, *next;
	unsigned long i;

	if (!buckets)
		return;
	table->buckets = buckets;
	table->size = size;
	for (i = 0; i < old.size; i++) {
		for (entry = old.buckets[i]; entry; entry = next) {
			next = entry->next;
			table_add(table, entry);
		}
		cond_resched();
	}
	kvfree(old.buckets);
}

static void table_fit(struct ksm_table *table)
{
	if (table->entries >= FULL * table->size)
		table_resize(table, 2 * table->size);
	else if (table->size > MIN_BUCKETS && table->entries < table->size / EMPTY)
		table_resize(table, table->size / 2);
}

/*
 * Sizes change when entries come, not when they go: that may be when memory is short. Of both
 * tables, since what comes into the stable one has often just left the other.
 */
static void hash_insert(struct ksm_index *index, struct ksm_entry *entry, u64 hash,
			enum ksm_kind kind)
{
	table_fit(&index->tables[KSM_STABLE]);
	table_fit(&index->tables[KSM_UNSTABLE]);
	entry->hash = hash;
	table_add(&index->tables[kind], entry);
	index->tables[kind].entries++;
}

static void table_erase(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry **link = bucket_of(table, entry->hash);

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	table->entries--;
}

static void hash_destroy(struct ksm_index *index)
{
	kvfree(index->tables[KSM_STABLE].buckets);
	kvfree(index->tables[KSM_UNSTABLE].buckets);
	kfree(index);
}

static struct ksm_index *hash_create(const struct ksm_index_callbacks *cb)
{
	struct ksm_index *index = kzalloc(sizeof(*index), GFP_KERNEL);
	enum ksm_kind kind;

	if (!index)
		return NULL;
	index->cb = cb;
	for (kind = KSM_STABLE; kind <= KSM_UNSTABLE; kind++) {
		table_resize(&index->tables[kind], MIN_BUCKETS);
		if (!index->tables[kind].buckets) {
			hash_destroy(index);
			return NULL;
		}
	}
	return index;
}

/* The first entry with the hash of @key. Entries with this hash but without a page are dropped on the way. */
static struct ksm_entry *hash_find(struct ksm_index *index, const struct ksm_key *key,
				   enum ksm_kind kind)
{
	struct ksm_table *table = &index->tables[kind];
	struct ksm_entry *entry, *next;
	unsigned int seen = 0;
	int order;

	for (entry = *bucket_of(table, key->hash); entry && seen < CHAIN_LIMIT; entry = next) {
		next = entry->next;
		seen++;
		if (entry->hash != key->hash)
			continue;
		if (!index->cb->order(key->content, entry, kind, &order)) {
			table_erase(table, entry);
			index->cb->dropped(entry);
		} else if (!order) {
			return entry;
		}
	}
	return NULL;
}

static struct ksm_entry *hash_find_or_insert(struct ksm_index *index, const struct ksm_key *key,
					     struct ksm_entry *entry, enum ksm_kind kind)
{
	struct ksm_entry *equal = hash_find(index, key, kind);

	if (!equal)
		hash_insert(index, entry, key->hash, kind);
	return equal;
}

static struct ksm_entry *hash_find_stable(struct ksm_index *index, const struct ksm_key *key)
{
	return hash_find(index, key, KSM_STABLE);
}

static struct ksm_entry *hash_insert_stable(struct ksm_index *index, const struct ksm_key *key,
					    struct ksm_entry *entry)
{
	return hash_find_or_insert(index, key, entry, KSM_STABLE);
}

static struct ksm_entry *hash_find_or_insert_unstable(struct ksm_index *index,
						      const struct ksm_key *key,
						      struct ksm_entry *entry)
{
	return hash_find_or_insert(index, key, entry, KSM_UNSTABLE);
}

static void hash_forget(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind)
{
	table_erase(&index->tables[kind], entry);
}

static void hash_flush(struct ksm_index *index)
{
	struct ksm_table *table = &index->tables[KSM_UNSTABLE];
	struct ksm_entry *entry, *next;
	unsigned long i;

	for (i = 0; i < table->size; i++) {
		entry = table->buckets[i];
		table->buckets[i] = NULL;
		for (; entry; entry = next) {
			next = entry->next;
			index->cb->dropped(entry);
		}
	}
	table->entries = 0;
	if (table->size > MIN_BUCKETS)
		table_resize(table, MIN_BUCKETS);
}

static size_t hash_bytes(struct ksm_index *index)
{
	unsigned long buckets = index->tables[KSM_STABLE].size + index->tables[KSM_UNSTABLE].size;

	return sizeof(*index) + buckets * sizeof(struct ksm_entry *);
}

static struct ksm_entry *hash_next(struct ksm_index *index, struct ksm_entry *entry,
				   enum ksm_kind kind)
{
	struct ksm_table *table = &index->tables[kind];
	unsigned long i = 0;

	if (entry && entry->next)
		return entry->next;
	if (entry)
		i = (entry->hash & (table->size - 1)) + 1;
	for (; i < table->size; i++)
		if (table->buckets[i])
			return table->buckets[i];
	return NULL;
}

const struct ksm_index_ops ksm_index_hash = {
	.name = "hash",
	.entry_size = offsetofend(struct ksm_entry, next),
	.hashes = true,
	.keeps = true,
	.create = hash_create,
	.destroy = hash_destroy,
	.find_stable = hash_find_stable,
	.insert_stable = hash_insert_stable,
	.find_or_insert_unstable = hash_find_or_insert_unstable,
	.forget = hash_forget,
	.flush = hash_flush,
	.bytes = hash_bytes,
	.next = hash_next,
};
