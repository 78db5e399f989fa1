// SPDX-License-Identifier: GPL-2.0
/*
 * What the hash index finds pages by.
 *
 * Reading a page is what a scan spends its time on, and nearly all of what it
 * reads it has read before. So a page is known by a hash of a sample of it, four
 * cache lines at places that are drawn when the driver is loaded. That is enough
 * to find out which pages differ; which are equal is proved by the merge anyway,
 * which compares them whole while no process can write them.
 *
 * A sample can be the same where pages differ. The first merge that fails for
 * this tells, and from then on pages with this sample are known by a hash of all
 * of them: the sample is "collided". A bit for each of 65536 groups of samples
 * remembers that. It is never taken back: a group that is collided without need
 * costs the time to read its pages whole, and no merge.
 *
 * A page that is written where no sample is taken counts as unchanged. It may be
 * merged, if there is one equal to it, and be given back by the next write.
 *
 * No lock is needed: a hash that was taken while a group became collided passes for a
 * page that has changed.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/xxhash.h>

#include "ksm.h"

/* A sample is so many cache lines, of so many words: what a read has to wait for. */
#define LINES		4
#define LINE_WORDS	(L1_CACHE_BYTES / sizeof(u64))

#define GROUP_BITS	16

/*
 * For measuring only: how much of memory is read depends on whether a sample lies
 * where pages differ, and a figure that is to be the same twice needs the same
 * places twice. Who knows them can choose contents that meet.
 */
static unsigned long hash_seed;
module_param(hash_seed, ulong, 0400);
MODULE_PARM_DESC(hash_seed, "for measuring only, since who knows it can choose contents that meet: a number that hashes and samples follow from; 0 (the default) draws one");

static u64 seed;

/* The first word of each line: one in each quarter of a page, so that no large part goes unseen. */
static unsigned int places[LINES];

static DECLARE_BITMAP(collided, 1 << GROUP_BITS);

static unsigned int group_of(u64 hash)
{
	return hash >> (KSM_HASH_BITS - GROUP_BITS);
}

static u64 hash_of(const void *bytes, size_t length)
{
	return xxh64(bytes, length, seed) >> (64 - KSM_HASH_BITS);
}

static u64 hash_sample(const u64 *content)
{
	u64 sample[LINES][LINE_WORDS];
	unsigned int i;

	for (i = 0; i < LINES; i++)
		memcpy(sample[i], content + places[i], sizeof(sample[i]));
	return hash_of(sample, sizeof(sample));
}

/**
 * ksm_page_sample - a hash of a sample of the content of a page
 * @page: the page; it is not slept on, so a page-table lock may be held
 *
 * Return: it; with other places and another seed each time the driver is loaded,
 * so that nobody can choose contents that meet.
 */
u64 ksm_page_sample(struct page *page)
{
	void *content = kmap_local_page(page);
	u64 hash = hash_sample(content);

	kunmap_local(content);
	return hash;
}

/**
 * ksm_page_hash - what a page is known by
 * @page: the page; it is not slept on, so a page-table lock may be held
 * @sample: set to the hash of a sample
 *
 * Return: the same; the hash of all of it where its sample is collided, or where
 * the index does not find by hash, and the hash only tells volatile pages.
 */
u64 ksm_page_hash(struct page *page, u64 *sample)
{
	void *content = kmap_local_page(page);
	u64 hash;

	*sample = hash_sample(content);
	hash = *sample;
	if (!ksm_index_ops->hashes || test_bit(group_of(hash), collided))
		hash = hash_of(content, PAGE_SIZE);
	kunmap_local(content);
	return hash;
}

/**
 * ksm_page_order - compare the contents of two pages
 * @a: the first page
 * @b: the second page
 *
 * Context: any. Does not sleep.
 * Return: less than, equal to, or greater than 0, like memcmp().
 */
int ksm_page_order(struct page *a, struct page *b)
{
	void *pa = kmap_local_page(a);
	void *pb = kmap_local_page(b);
	int order = memcmp(pa, pb, PAGE_SIZE);

	kunmap_local(pb);
	kunmap_local(pa);
	return order;
}

/**
 * ksm_pages_equal - test whether two pages have the same content
 * @a: the first page
 * @b: the second page
 *
 * This is faster than memcmp(), which must find the first difference. Nearly
 * all pages that are compared here are equal and so are read to the end.
 * Testing the result only once every 32 words makes that cheaper.
 *
 * Context: any. Does not sleep.
 * Return: true if the contents are equal.
 */
bool ksm_pages_equal(struct page *a, struct page *b)
{
	const unsigned long *pa = kmap_local_page(a);
	const unsigned long *pb = kmap_local_page(b);
	unsigned long differ = 0;
	unsigned int i, j;

	for (i = 0; i < PAGE_SIZE / sizeof(*pa) && !differ; i += 32) {
#pragma GCC unroll 32
		for (j = i; j < i + 32; j++)
			differ |= pa[j] ^ pb[j];
	}
	kunmap_local(pb);
	kunmap_local(pa);
	return !differ;
}

/**
 * ksm_hash_collided - pages that are known by this hash differ
 * @hash: the hash of a sample
 *
 * Return: whether that is news.
 */
bool ksm_hash_collided(u64 hash)
{
	return !__test_and_set_bit(group_of(hash), collided);
}

/* One of the numbers that all of this follows from. */
static u64 draw(u64 number)
{
	return hash_seed ? xxh64(&number, sizeof(number), hash_seed) : get_random_u64();
}

void ksm_hash_init(void)
{
	const unsigned int part = PAGE_SIZE / sizeof(u64) / LINES;
	unsigned int i;

	seed = draw(LINES);
	for (i = 0; i < LINES; i++)
		places[i] = i * part + draw(i) % (part / LINE_WORDS) * LINE_WORDS;
}
