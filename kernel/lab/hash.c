// SPDX-License-Identifier: GPL-2.0
/*
 * Measure how long this machine takes to hash pages in a plain loop.
 *
 * The benchmark compares scans with this time, because a scan must read at
 * least a part of each page to know that it is unchanged.
 */
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/xxhash.h>

#include "hash.h"

/* The number of pages that are referenced and timed together. */
#define BATCH	32

/*
 * Hash pages, and add the time that this takes to hash->ns. The caller has
 * already found the pages.
 */
static void hash_batch(struct ksm_lab_hash *hash, struct page **pages, int count)
{
	u64 start = ktime_get_ns();
	int i;

	for (i = 0; i < count; i++) {
		void *p = kmap_local_page(pages[i]);

		hash->sum = xxh64(p, PAGE_SIZE, hash->sum);
		kunmap_local(p);
	}
	hash->ns += ktime_get_ns() - start;
}

/**
 * ksm_lab_hash - hash pages of the caller in a plain loop
 * @hash: the range of pages; its @ns and @sum are set
 *
 * Context: process context. May sleep.
 * Return: 0 on success; -EFAULT if a page cannot be read; -EINTR if the caller
 * was killed.
 */
int ksm_lab_hash(struct ksm_lab_hash *hash)
{
	struct page *pages[BATCH];
	u32 done = 0;

	hash->ns = 0;
	hash->sum = 0;
	while (done < hash->npages) {
		int i, got;

		got = get_user_pages_fast(hash->addr + (u64)done * PAGE_SIZE,
					  min_t(u32, hash->npages - done, BATCH), 0, pages);
		if (got <= 0)
			return got ?: -EFAULT;
		hash_batch(hash, pages, got);
		for (i = 0; i < got; i++)
			put_page(pages[i]);
		done += got;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}
