// SPDX-License-Identifier: GPL-2.0
/*
 * The hash index: two hash tables, for stable and for unstable entries.
 *
 * Each entry is in the bucket of the hash that its content had when it was
 * inserted. A search walks the chain of one bucket and returns the first entry
 * with the same hash. It compares no pages: the merge does that, while no
 * process can write them.
 *
 * Unstable entries stay in the index from pass to pass. If the page of an entry
 * is written, the entry keeps its old hash until a scanner reaches the page.
 * Until then, a search for the old content returns the entry, but the merge
 * finds that the content has changed, and fails. A search for the new content
 * misses the page. Both only delay a merge.
 *
 * The hash has a random seed, chosen when the module is loaded, so a process
 * does not know which pages hash to one bucket. But the hash function, xxh64,
 * is not a cryptographic one: for some pairs of pages, the hashes are equal
 * with many seeds. If a chain grows long, a search gives up after CHAIN_LIMIT
 * entries and may miss a match. So if pages collide, some of them are not
 * merged, but a search never takes long.
 */
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/math.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "index.h"

/*
 * A table grows above MOST_PER_BUCKET entries per bucket, on average, and
 * shrinks below LEAST_PER_BUCKET.
 */
#define MOST_PER_BUCKET		4
#define LEAST_PER_BUCKET	1

/* The maximum number of buckets that one table_settle() splits or joins. */
#define BUCKETS_PER_CALL	256

/*
 * The maximum number of entries that a search visits. With four entries per
 * bucket on average, fewer than three chains in a million are longer, even
 * while the table grows and some buckets have not been split.
 */
#define CHAIN_LIMIT	20

/*
 * Buckets are allocated in segments. A table has at least one segment. Its
 * array of segments has FIRST_ROOM elements at first.
 */
#define SEGMENT		256UL
#define FIRST_ROOM	2UL

/*
 * Buckets are allocated under ksm_lock. The allocation must not sleep, because
 * other processes wait for that lock. If it fails, the table stays small, and
 * the next insertion tries again. Only the first segment is allocated without
 * ksm_lock, when the module is loaded; the load fails if there is no memory.
 */
#define GFP_BUCKETS	(GFP_NOWAIT | __GFP_NOWARN)

/**
 * struct ksm_table - a hash table that is resized by one bucket at a time
 * @segments: the array of segments, each with SEGMENT buckets
 * @room: the number of elements of @segments
 * @size: the number of buckets
 * @entries: the number of entries
 * @hash_at: where an entry has its hash; see struct ksm_index_callbacks
 *
 * This is linear hashing. With 2^n + k buckets, k of the first 2^n buckets have
 * been split in two, and one more bit of the hash selects one of the two. An
 * insertion or removal splits or joins at most one bucket. If a table doubled
 * its size in one step, it would move every entry while all other users of the
 * index wait: four million entries for 16 GiB of pages. The kernel's rhashtable
 * also moves entries in small steps, but it uses 11 to 27 bytes per entry for
 * buckets: it has 1.3 to 3.3 buckets of 8 bytes for each entry. Here, a bucket
 * has 1 to 4 entries on average, so an entry uses 2 to 8 bytes.
 *
 * The array of segments is one allocation: 512 KiB for 64 million entries. If
 * no block of this size is free, the table does not grow, chains become longer
 * than CHAIN_LIMIT, and matches are missed until the allocation succeeds.
 */
struct ksm_table {
	struct ksm_entry ***segments;
	unsigned long room;
	unsigned long size;
	unsigned long entries;
	int hash_at;
};

/**
 * struct ksm_index - the two hash tables
 * @cb: the callbacks
 * @tables: the tables, indexed by enum ksm_kind
 * @walked: a walk is in progress (hash_walk()), so the tables keep their size.
 *	If the bucket of the entry that the walk has reached were split or
 *	joined, the walk would continue in another bucket, and miss entries
 */
struct ksm_index {
	const struct ksm_index_callbacks *cb;
	struct ksm_table tables[2];
	bool walked;
};

static u64 hash_of(const struct ksm_table *table, const struct ksm_entry *entry)
{
	return *(const u64 *)((const char *)entry + table->hash_at) & KSM_HASH_MASK;
}

static struct ksm_entry **bucket(struct ksm_table *table, unsigned long i)
{
	return &table->segments[i / SEGMENT][i % SEGMENT];
}

/* Returns the number of the bucket for a hash. */
static unsigned long bucket_nr(const struct ksm_table *table, u64 hash)
{
	unsigned long top = 1UL << (fls64(table->size) - 1);
	unsigned long i = hash & (2 * top - 1);

	/*
	 * If bucket i does not exist yet, its entries are in bucket i - top,
	 * from which it will be split.
	 */
	return i < table->size ? i : i - top;
}

static struct ksm_entry **bucket_of(struct ksm_table *table, u64 hash)
{
	return bucket(table, bucket_nr(table, hash));
}

static void table_add(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry **link = bucket_of(table, hash_of(table, entry));

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
 * Allocate a segment for the next bucket, if necessary. Returns false if an
 * allocation failed.
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
 * Split one bucket. If an allocation fails, the table keeps its size, and its
 * chains grow longer.
 */
static void table_grow(struct ksm_table *table)
{
	unsigned long i = table->size;

	if (!table_extend(table))
		return;
	table->size++;
	add_chain(table, take_chain(table, i - (1UL << (fls64(i) - 1))));
}

/* Join the last bucket with the one from which it was split. */
static void table_shrink(struct ksm_table *table)
{
	struct ksm_entry *chain = take_chain(table, table->size - 1);

	table->size--;
	add_chain(table, chain);
	if (table->size % SEGMENT == 0)
		kfree(table->segments[table->size / SEGMENT]);
}

/*
 * Split or join one bucket, if necessary. Called for each insertion and each
 * hash_forget(), except during a walk, so that the size follows the number of
 * entries, and hash_next() does not loop over many empty buckets.
 */
static void table_fit(struct ksm_table *table)
{
	if (table->entries >= MOST_PER_BUCKET * table->size)
		table_grow(table);
	else if (table->size > SEGMENT && table->entries < LEAST_PER_BUCKET * table->size)
		table_shrink(table);
}

/*
 * Split or join up to BUCKETS_PER_CALL buckets. Returns true if the table may
 * still have too many or too few buckets.
 */
static bool table_settle(struct ksm_table *table)
{
	unsigned long size;
	unsigned int i;

	for (i = 0; i < BUCKETS_PER_CALL; i++) {
		size = table->size;
		table_fit(table);
		if (table->size == size)
			return false;
	}
	return true;
}

static void hash_insert(struct ksm_index *index, struct ksm_entry *entry, enum ksm_kind kind)
{
	struct ksm_table *table = &index->tables[kind];

	if (!index->walked)
		table_fit(table);
	table_add(table, entry);
	table->entries++;
}

static void table_erase(struct ksm_table *table, struct ksm_entry *entry)
{
	struct ksm_entry **link = bucket_of(table, hash_of(table, entry));

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

static bool table_init(struct ksm_table *table, int hash_at)
{
	table->hash_at = hash_at;
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
	if (table_init(&index->tables[KSM_STABLE], cb->hash_at[KSM_STABLE]) &&
	    table_init(&index->tables[KSM_UNSTABLE], cb->hash_at[KSM_UNSTABLE]))
		return index;
	hash_destroy(index);
	return NULL;
}

/*
 * Find the first entry with the hash of @key. Drop entries with the same hash
 * that the callback @order rejects.
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
		if (hash_of(table, entry) != key->hash)
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
		hash_insert(index, entry, kind);
	return equal;
}

static struct ksm_entry *hash_find_stable(struct ksm_index *index, const struct ksm_key *key)
{
	return hash_find(index, key, KSM_STABLE);
}

static int hash_insert_stable(struct ksm_index *index, const struct ksm_key *key,
			      struct ksm_entry *entry)
{
	return hash_find_or_insert(index, key, entry, KSM_STABLE) ? -EEXIST : 0;
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
	if (!index->walked)
		table_fit(&index->tables[kind]);
}

static void hash_retry(struct ksm_index *index, const struct ksm_key *key)
{
	struct ksm_entry *entry = hash_find(index, key, KSM_UNSTABLE);

	if (!entry)
		return;
	hash_forget(index, entry, KSM_UNSTABLE);
	index->cb->dropped(entry, KSM_UNSTABLE);
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
	unsigned long i = entry ? bucket_nr(table, hash_of(table, entry)) + 1 : 0;

	if (entry && entry->next)
		return entry->next;
	for (; i < table->size; i++)
		if (*bucket(table, i))
			return *bucket(table, i);
	return NULL;
}

static bool hash_walk(struct ksm_index *index, bool on)
{
	bool more;

	index->walked = on;
	if (on)
		return false;
	more = table_settle(&index->tables[KSM_STABLE]);
	return table_settle(&index->tables[KSM_UNSTABLE]) || more;
}

const struct ksm_index_ops ksm_index_hash = {
	.name = "hash",
	.entry_size = offsetofend(struct ksm_entry, next),
	.hashes = true,
	.create = hash_create,
	.destroy = hash_destroy,
	.find_stable = hash_find_stable,
	.insert_stable = hash_insert_stable,
	.find_or_insert_unstable = hash_find_or_insert_unstable,
	.forget = hash_forget,
	.retry = hash_retry,
	.bytes = hash_bytes,
	.next = hash_next,
	.walk = hash_walk,
};
