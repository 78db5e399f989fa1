// SPDX-License-Identifier: GPL-2.0
/*
 * How long this machine takes to hash pages, with nothing around it: the yardstick
 * for a scan, which cannot know that a page is unchanged without reading some of it.
 */
#include <linux/highmem.h>
#include <linux/ktime.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/xxhash.h>

#include "hash.h"

/* Pages that are held at a time; the clock is read twice for each batch. */
#define BATCH	32

/* Only what is between the two looks at the clock counts: finding pages does not. */
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
 * @hash: which, and where the answer goes
 *
 * Return: 0; -EFAULT when a page cannot be read; -EINTR when the caller is killed.
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
