// SPDX-License-Identifier: GPL-2.0
/*
 * An index by hash: two tables of chains, for stable and for unstable entries.
 *
 * Each entry is in the chain of the hash that its content had when it was
 * added. A search walks one chain and returns the first entry with the same
 * whole hash. It compares no pages: the merge does that, while no process can
 * write them.
 *
 * Unstable entries stay from pass to pass. If the page of an entry is written,
 * the entry remains under its old hash until a scan reaches the page. A search
 * for the old content still returns it; the merge then fails, because the page
 * has another hash by now, and the entry is removed. A search for the new
 * content misses the page until a scan adds it under its new hash. In both
 * cases a merge is delayed; there is no other effect.
 *
 * The hash has a random seed, chosen when the driver is loaded, so no process
 * can choose pages that all hash to one chain. If a chain grows long
 * nevertheless, a search gives up after CHAIN_LIMIT entries, and may miss a
 * match.
 */
#include <linux/bitops.h>
#include <linux/math.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "index.h"

/*
 * Entries per bucket, on average, above which a table grows, and below which it
 * shrinks.
 */
#define MOST_PER_BUCKET		4
#define LEAST_PER_BUCKET	1

/* With a good hash, not one chain in ten million is longer than this at four entries a bucket. */
#define CHAIN_LIMIT	20

/*
 * Buckets are allocated in segments. A table has at least one segment. Its
 * array of segments has FIRST_ROOM elements at first.
 */
#define SEGMENT		256UL
#define FIRST_ROOM	2UL

/*
 * Allocations under ksm_lock must not sleep: other processes wait for that
 * lock.
 */
#define GFP_BUCKETS	(GFP_NOWAIT | __GFP_NOWARN)

/**
 * struct ksm_table - a table of chains that grows and shrinks by one bucket at
 * a time
 * @segments: the segments of buckets
 * @room: the number of elements of @segments
 * @size: the number of buckets
 * @entries: the number of entries
 *
 * This is linear hashing. With 2^n + k buckets, the first k of the 2^n buckets
 * have been split in two, and one more bit of the hash selects one of the two.
 * An insertion splits, or joins, at most one bucket. A table that doubles in
 * one step would block all other users of the index while it moves every entry:
 * 1 s for 16 GiB of pages. The kernel's rhashtable also moves entries in small
 * steps, but has at least four buckets for three entries: 11 to 27 bytes per
 * entry, compared with 2 to 8 bytes here.
 */
struct ksm_table {
	struct ksm_entry ***segments;
	unsigned long room;
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

static struct ksm_entry **bucket(struct ksm_table *table, unsigned long i)
{
	return &table->segments[i / SEGMENT][i % SEGMENT];
}

/* The number of the bucket for a hash. */
static unsigned long bucket_nr(const struct ksm_table *table, u64 hash)
{
	unsigned long top = 1UL << (fls64(table->size) - 1);
	unsigned long i = hash & (2 * top - 1);

	/*
	 * Until a bucket exists, its entries are in the bucket from which it
	 * will be split.
	 */
	return i < table->size ? i : i - top;
}

static struct ksm_entry **bucket_of(struct ksm_table *table, u64 hash)
{
	return bucket(table, bucket_nr(table, hash));
}

static void table_add(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry **link = bucket_of(table, entry->hash);

	entry->next = *link;
	*link = entry;
}

static struct ksm_entry *take_chain(struct ksm_table *table, unsigned long i)
{
	struct ksm_entry **link = bucket(table, i), *chain = *link;

	*link = NULL;
	return chain;
}

static void add_chain(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry *next;

	for (; entry; entry = next) {
		next = entry->next;
		table_add(table, entry);
	}
}

/*
 * Make room for one more bucket, and allocate a segment for it if necessary.
 * Returns false if there is no memory.
 */
static bool table_extend(struct ksm_table *table)
{
	unsigned long nr = table->size / SEGMENT;
	struct ksm_entry ***segments;

	if (table->size % SEGMENT)
		return true;
	if (nr == table->room) {
		segments = kcalloc(2 * table->room, sizeof(*segments), GFP_BUCKETS);
		if (!segments)
			return false;
		memcpy(segments, table->segments, nr * sizeof(*segments));
		kfree(table->segments);
		table->segments = segments;
		table->room *= 2;
	}
	table->segments[nr] = kcalloc(SEGMENT, sizeof(**table->segments), GFP_BUCKETS);
	return table->segments[nr];
}

/*
 * Split one bucket. Without memory the table keeps its size, and chains grow.
 */
static void table_grow(struct ksm_table *table)
{
	unsigned long i = table->size;

	if (!table_extend(table))
		return;
	table->size++;
	add_chain(table, take_chain(table, i - (1UL << (fls64(i) - 1))));
}

/* Join the last bucket with the bucket from which it was split. */
static void table_shrink(struct ksm_table *table)
{
	struct ksm_entry *chain = take_chain(table, table->size - 1);

	table->size--;
	add_chain(table, chain);
	if (table->size % SEGMENT == 0)
		kfree(table->segments[table->size / SEGMENT]);
}

static void table_fit(struct ksm_table *table)
{
	if (table->entries >= MOST_PER_BUCKET * table->size)
		table_grow(table);
	else if (table->size > SEGMENT && table->entries < LEAST_PER_BUCKET * table->size)
		table_shrink(table);
}

/*
 * Tables are resized when an entry is added, not when one is removed, because a
 * walk with hash_next() that removes entries must not miss any. Both tables are
 * resized, because an entry added to the stable table often comes from the
 * unstable one.
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

static void table_free(struct ksm_table *table)
{
	unsigned long i;

	for (i = 0; i < table->size; i += SEGMENT)
		kfree(table->segments[i / SEGMENT]);
	kfree(table->segments);
}

static bool table_init(struct ksm_table *table)
{
	table->room = FIRST_ROOM;
	table->segments = kcalloc(FIRST_ROOM, sizeof(*table->segments), GFP_KERNEL);
	if (!table->segments || !table_extend(table))
		return false;
	table->size = SEGMENT;
	return true;
}

static void hash_destroy(struct ksm_index *index)
{
	table_free(&index->tables[KSM_STABLE]);
	table_free(&index->tables[KSM_UNSTABLE]);
	kfree(index);
}

static struct ksm_index *hash_create(const struct ksm_index_callbacks *cb)
{
	struct ksm_index *index = kzalloc(sizeof(*index), GFP_KERNEL);

	if (!index)
		return NULL;
	index->cb = cb;
	if (table_init(&index->tables[KSM_STABLE]) && table_init(&index->tables[KSM_UNSTABLE]))
		return index;
	hash_destroy(index);
	return NULL;
}

/*
 * Find the first entry with the hash of @key. Entries before it whose page is
 * gone are dropped.
 */
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
			index->cb->dropped(entry, kind);
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

static size_t table_bytes(const struct ksm_table *table)
{
	unsigned long segments = DIV_ROUND_UP(table->size, SEGMENT);

	return table->room * sizeof(*table->segments) +
	       segments * SEGMENT * sizeof(**table->segments);
}

static size_t hash_bytes(struct ksm_index *index)
{
	return sizeof(*index) + table_bytes(&index->tables[KSM_STABLE]) +
	       table_bytes(&index->tables[KSM_UNSTABLE]);
}

static struct ksm_entry *hash_next(struct ksm_index *index, struct ksm_entry *entry,
				   enum ksm_kind kind)
{
	struct ksm_table *table = &index->tables[kind];
	unsigned long i = entry ? bucket_nr(table, entry->hash) + 1 : 0;

	if (entry && entry->next)
		return entry->next;
	for (; i < table->size; i++)
		if (*bucket(table, i))
			return *bucket(table, i);
	return NULL;
}

const struct ksm_index_ops ksm_index_hash = {
	.name = "hash",
	.entry_size = offsetofend(struct ksm_entry, hash),
	.hashes = true,
	.create = hash_create,
	.destroy = hash_destroy,
	.find_stable = hash_find_stable,
	.insert_stable = hash_insert_stable,
	.find_or_insert_unstable = hash_find_or_insert_unstable,
	.forget = hash_forget,
	.bytes = hash_bytes,
	.next = hash_next,
};
