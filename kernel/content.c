// SPDX-License-Identifier: GPL-2.0
/*
 * Hash pages and compare them.
 *
 * A scan spends most of its time on reading pages, and nearly all of them have
 * not changed since the last pass. So with index=hash, the hash of a page is
 * its sample: a hash of four cache lines, at offsets that are chosen at random
 * when the module is loaded. Most pages that differ have different samples. The
 * merge decides whether two pages are equal: it compares them completely, while
 * no process can write them.
 *
 * Two pages that differ may have the same sample. The first merge that fails
 * for this reason adds the sample to a set (collision.c). Pages with a sample
 * in the set are hashed completely.
 *
 * A page that is written only outside of the four cache lines of its sample
 * counts as unchanged. If it has a match, it may be merged, and the next write
 * makes it private again.
 *
 * ksm_page_hash() takes no lock. If a sample enters or leaves the set between
 * two scans of a page, the hash of the page changes, and the page counts as
 * volatile once.
 *
 * All functions here read pages with ordinary loads, as mm/ksm.c does. If a
 * page has a memory error that the hardware has not reported yet, such a load
 * raises a machine check in the kernel. On x86, the kernel then panics.
 */
#include <linux/highmem.h>
#include <linux/moduleparam.h>
#include <linux/random.h>
#include <linux/xxhash.h>
#ifdef CONFIG_X86_64
#include <asm/fpu/api.h>
#endif

#include "ksm.h"

/* The number of cache lines that a sample is a hash of. */
#define LINES		4
#define LINE_WORDS	(L1_CACHE_BYTES / sizeof(u64))

/*
 * Benchmarks need the same offsets in each run, because the cost of a scan
 * depends on whether pages differ in their samples. But a process that knows
 * the seed can choose pages whose samples collide. xxh64 is not a cryptographic
 * hash function: even without the seed, a process can choose pages that collide
 * more often than others. Collisions only waste time and prevent merges,
 * because the merge compares the pages.
 */
static unsigned long hash_seed;
module_param(hash_seed, ulong, 0400);
MODULE_PARM_DESC(hash_seed, "seed of all hashes and sample offsets, for benchmarks only: a process that knows it can cause collisions; 0 (the default) chooses a random seed");

static u64 seed;

/*
 * The offset of each cache line in a page, in words. Each is in a different
 * quarter of the page.
 */
static unsigned int sample_offsets[LINES];

static u64 hash_of(const void *bytes, size_t length)
{
	return xxh64(bytes, length, seed) >> (64 - KSM_HASH_BITS);
}

static u64 hash_sample(const u64 *content)
{
	u64 sample[LINES][LINE_WORDS];
	unsigned int i;

	for (i = 0; i < LINES; i++)
		memcpy(sample[i], content + sample_offsets[i], sizeof(sample[i]));
	return hash_of(sample, sizeof(sample));
}

/**
 * ksm_page_sample - compute the sample of a page
 * @page: the page
 *
 * Context: a page-table lock may be held. Does not sleep.
 * Return: the sample. Without hash_seed, the seed and the offsets of the cache
 * lines are random, so no process knows which bytes of a page the sample
 * covers.
 */
u64 ksm_page_sample(struct page *page)
{
	void *content = kmap_local_page(page);
	u64 hash = hash_sample(content);

	kunmap_local(content);
	return hash;
}

/**
 * ksm_page_hash - compute the hash by which a page is indexed
 * @page: the page
 * @sample: set to the sample of the page
 *
 * Context: a page-table lock may be held. Does not sleep.
 * Return: the value of @sample; or a hash of the complete page if the sample
 * has collided, or if the index does not use hashes and the hash only detects
 * volatile pages.
 */
u64 ksm_page_hash(struct page *page, u64 *sample)
{
	void *content = kmap_local_page(page);
	u64 hash;

	*sample = hash_sample(content);
	hash = *sample;
	if (!ksm_index_ops->hashes)
		hash = hash_of(content, PAGE_SIZE);
	else if (READ_ONCE(ksm_counters.collisions) && ksm_collision_met(*sample))
		hash = ksm_collision_hash(*sample, hash_of(content, PAGE_SIZE));
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

#ifdef CONFIG_X86_64
/* The bytes that bytes_equal() compares before it tests the result. */
#define EQUAL_STEP	512

/*
 * Compare the bytes with SSE2 registers, 16 at a time: xmm0 collects all bits
 * that differ. @a and @b are aligned to 16 bytes, and @length is a multiple of
 * EQUAL_STEP.
 *
 * Scanners are kernel threads, so these registers contain no state that must be
 * saved. Preemption is disabled for less than a microsecond, and the caller
 * holds a spinlock anyway.
 */
static bool bytes_equal(const u8 *a, const u8 *b, size_t length)
{
	unsigned int equal = 0xffff;
	size_t i;

	kernel_fpu_begin_mask(0);
	for (i = 0; i < length && equal == 0xffff; i += EQUAL_STEP)
		asm volatile("pxor	%%xmm0, %%xmm0\n\t"
			     ".set	.Loffset, 0\n\t"
			     ".rept	%c[step] / 16\n\t"
			     "movdqa	.Loffset(%[a]), %%xmm1\n\t"
			     "pxor	.Loffset(%[b]), %%xmm1\n\t"
			     "por	%%xmm1, %%xmm0\n\t"
			     ".set	.Loffset, .Loffset + 16\n\t"
			     ".endr\n\t"
			     "pxor	%%xmm1, %%xmm1\n\t"
			     "pcmpeqb	%%xmm1, %%xmm0\n\t"
			     "pmovmskb	%%xmm0, %[equal]"
			     : [equal] "=r" (equal)
			     : [a] "r" (a + i), [b] "r" (b + i), [step] "i" (EQUAL_STEP),
			       "m" (*(const u8 (*)[EQUAL_STEP])(a + i)),
			       "m" (*(const u8 (*)[EQUAL_STEP])(b + i)));
	kernel_fpu_end();
	return equal == 0xffff;
}
#else
static bool bytes_equal(const u8 *a, const u8 *b, size_t length)
{
	return !memcmp(a, b, length);
}
#endif

/**
 * ksm_pages_equal - test whether two pages have the same content
 * @a: the first page
 * @b: the second page
 *
 * This is faster than memcmp(), which must find the first difference. Nearly
 * all pages that this function compares are equal, so it usually reads them to
 * the end.
 *
 * Context: task context. Does not sleep.
 * Return: true if the contents are equal.
 */
bool ksm_pages_equal(struct page *a, struct page *b)
{
	void *pa = kmap_local_page(a);
	void *pb = kmap_local_page(b);
	bool equal = bytes_equal(pa, pb, PAGE_SIZE);

	kunmap_local(pb);
	kunmap_local(pa);
	return equal;
}

/* Returns a random number; with hash_seed, one that depends on @nr only. */
static u64 random_number(u64 nr)
{
	return hash_seed ? xxh64(&nr, sizeof(nr), hash_seed) : get_random_u64();
}

/**
 * ksm_hash_init - choose the seed and the offsets of the samples
 *
 * Context: called once, before any page is hashed.
 */
void ksm_hash_init(void)
{
	const unsigned int part = PAGE_SIZE / sizeof(u64) / LINES;
	unsigned int i;

	seed = random_number(LINES);
	for (i = 0; i < LINES; i++)
		sample_offsets[i] = i * part + random_number(i) % (part / LINE_WORDS) * LINE_WORDS;
}
