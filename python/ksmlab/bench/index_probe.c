// SPDX-License-Identifier: GPL-2.0
/*
 * Measure the longest hold of the lock around the hash index, with as many
 * entries as the pages of 16 GiB.
 *
 *	index_probe ENTRIES
 *
 * kernel/index_hash.c is compiled for userspace. Memory for that many different
 * pages is more than a VM has, but the index does not access the pages. The
 * output has one line per operation: its name, and the nanoseconds of the
 * longest batch. A batch is what the driver does under one hold of ksm_lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <linux/slab.h>

#include "index.h"

/* KSM_BATCH pages are inserted, KSM_CHUNK_PAGES are removed under one hold. */
#define INSERTED	64
#define REMOVED		512

/* An item of the driver: index=hash uses the first bytes of the entry only. */
struct item {
	u64 hash;
	struct ksm_entry *next;
};

static struct ksm_index *hash_index;
static struct item *items;

void *kcalloc(size_t count, size_t size, unsigned int flags)
{
	(void)flags;
	return calloc(count, size);
}

void *kzalloc(size_t size, unsigned int flags)
{
	return kcalloc(1, size, flags);
}

void kfree(const void *memory)
{
	free((void *)memory);
}

/* All hashes differ, so the index never asks whether two pages are equal. */
static bool order(const void *content, struct ksm_entry *entry, enum ksm_kind kind, int *result)
{
	(void)content;
	(void)entry;
	(void)kind;
	*result = 1;
	return true;
}

static void dropped(struct ksm_entry *entry, enum ksm_kind kind)
{
	(void)entry;
	(void)kind;
}

#define HASH_AT	((int)offsetof(struct item, hash) - (int)offsetof(struct item, next))

static const struct ksm_index_callbacks callbacks = {
	.order = order,
	.dropped = dropped,
	.hash_at = { HASH_AT, HASH_AT },
};

static struct ksm_entry *entry_at(size_t i)
{
	return (struct ksm_entry *)&items[i].next;
}

/* An odd factor: no two numbers below 2^KSM_HASH_BITS have the same hash. */
static u64 hash_of(size_t i)
{
	return i * 0x9e3779b97full & KSM_HASH_MASK;
}

static void insert(size_t i)
{
	struct ksm_key key = { .hash = hash_of(i) };

	items[i].hash = key.hash;
	ksm_index_hash.find_stable(hash_index, &key);
	ksm_index_hash.find_or_insert_unstable(hash_index, &key, entry_at(i));
}

static void forget(size_t i)
{
	ksm_index_hash.forget(hash_index, entry_at(i), KSM_UNSTABLE);
}

static void walk(size_t i)
{
	(void)i;
	ksm_index_hash.next(hash_index, NULL, KSM_UNSTABLE);
}

/* CPU time of this thread: other threads do not count. */
static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

/* Nanoseconds of the longest batch. */
static u64 longest(void (*action)(size_t i), size_t first, size_t last, size_t batch)
{
	u64 most = 0, start, ns;
	size_t i = first, end;

	while (i < last) {
		end = i + batch < last ? i + batch : last;
		start = now();
		for (; i < end; i++)
			action(i);
		ns = now() - start;
		if (ns > most)
			most = ns;
	}
	return most;
}

int main(int argc, char **argv)
{
	size_t count = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

	items = calloc(count, sizeof(*items));
	hash_index = ksm_index_hash.create(&callbacks);
	if (count < REMOVED || !items || !hash_index) {
		fprintf(stderr, "index_probe ENTRIES: at least %d entries, and memory for them\n",
			REMOVED);
		return 1;
	}
	/* Page faults of the entries are no part of what is measured. */
	for (size_t i = 0; i < count; i++)
		items[i].hash = 0;
	printf("grow %lu\n", longest(insert, 0, count, INSERTED));
	/* Each removal joins at most one bucket. */
	printf("remove %lu\n", longest(forget, 0, count - 1, REMOVED));
	/* One entry is left; in a large table, many empty buckets are before it. */
	printf("walk %lu\n", longest(walk, 0, REMOVED, 1));
	return 0;
}
