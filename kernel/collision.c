// SPDX-License-Identifier: GPL-2.0
/*
 * The set of samples that have collided: two pages have had the same sample and
 * different contents.
 *
 * content.c hashes pages with such a sample completely, and all others by their
 * sample. A failed merge adds a sample to the set. The sample is removed again
 * when no scanner has found a page with it for EXPIRE_PASSES passes, so that
 * the set does not grow without bound. A sample also stays in the set while a
 * node with this sample is indexed by a hash of the complete page: otherwise an
 * equal page that appears later would be looked up by its sample, and the
 * search would not find that node.
 *
 * A sample is a hash of KSM_HASH_BITS bits; the set contains the highest
 * KEY_BITS of them. A page whose sample differs from a collided one, but not in
 * these bits, is hashed completely without need. Even with a million
 * collisions, that happens to one page in 256. The hash of a complete page
 * begins with the same bits as its sample (ksm_collision_hash()), so that the
 * hash alone tells which sample has collided.
 *
 * Scanners search the set without a lock, under RCU. ksm_lock is held to change
 * it.
 */
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "ksm.h"

/*
 * A page is hashed at least once in this number of passes, unless the mmap lock
 * is contended. An idle page of an active chunk is hashed in one of 32 passes,
 * and a page of an idle chunk in one of 33, because the chunk is skipped for 32
 * passes (see KSM_IDLE_MAX). A chunk can change from one state to the other, so
 * a page may wait for 32 + 33 passes. This number is a little larger: 66.
 */
#define EXPIRE_PASSES	(2 * ((1U << (KSM_IDLE_MAX - KSM_IDLE_MIN)) + 1))

/* Samples examined before ksm_lock is dropped. */
#define SAMPLES_PER_HOLD	256

#define KEY_BITS	28
#define KEY_SHIFT	(KSM_HASH_BITS - KEY_BITS)

/**
 * struct ksm_collision - a sample that has collided
 * @head: its place in the set
 * @key: the highest KEY_BITS of the sample
 * @met: the number of complete passes, modulo 65,536, when a scanner last found
 *	a page with this sample
 * @nodes: the number of nodes with this sample that are indexed by a hash of
 *	the complete page. Once it is U16_MAX, it does not change any more, and
 *	the sample stays in the set
 *
 * With many similar pages, the set can have an entry for every ten pages, so an
 * entry must be small.
 */
struct ksm_collision {
	struct rhash_head head;
	u32 key;
	u16 met;
	u16 nodes;
};
static_assert(sizeof(struct ksm_collision) == 16);

/* A sample is a hash already. */
static u32 key_hash(const void *key, u32 length, u32 seed)
{
	return *(const u32 *)key ^ seed;
}

/* The default, memcmp(), takes longer. */
static int compare_key(struct rhashtable_compare_arg *arg, const void *collision)
{
	return ((const struct ksm_collision *)collision)->key != *(const u32 *)arg->key;
}

static const struct rhashtable_params collision_params = {
	.head_offset = offsetof(struct ksm_collision, head),
	.key_offset = offsetof(struct ksm_collision, key),
	.key_len = sizeof(u32),
	.hashfn = key_hash,
	.obj_cmpfn = compare_key,
	.automatic_shrinking = true,
};

static struct rhashtable set;

/*
 * For ksm_collisions_expire(): the number of passes when it last examined the
 * set.
 */
static u16 last_expiry;

/*
 * For ksm_collisions_expire(): samples that have just left the set. An array on
 * the stack would be too large.
 */
static struct ksm_collision *removed[SAMPLES_PER_HOLD];

static u32 key_of(u64 hash)
{
	return hash >> KEY_SHIFT;
}

static u16 this_pass(void)
{
	return READ_ONCE(ksm_counters.full_scans);
}

/* The caller holds ksm_lock or is in an RCU read-side critical section. */
static struct ksm_collision *find(u32 key)
{
	return rhashtable_lookup_fast(&set, &key, collision_params);
}

/**
 * ksm_collision_met - test whether a sample has collided
 * @sample: the sample of a page; if it is in the set, its expiry is postponed.
 *	The caller can leave out the call if ksm_counters.collisions is 0
 *
 * Context: any. Does not sleep.
 * Return: true if the page must be hashed completely.
 */
bool ksm_collision_met(u64 sample)
{
	struct ksm_collision *collision;
	u16 pass = this_pass();

	rcu_read_lock();
	collision = find(key_of(sample));
	/* Scanners write the same value, or values that differ by one pass. */
	if (collision && READ_ONCE(collision->met) != pass)
		WRITE_ONCE(collision->met, pass);
	rcu_read_unlock();
	return collision;
}

/**
 * ksm_collision_add - add a sample to the set
 * @sample: the sample
 * @mm: the mm of one of the pages that collided; its memory cgroup is charged
 *
 * Context: ksm_lock must be held. Does not sleep.
 * Return: true if the sample is in the set now; false if there is no memory.
 */
bool ksm_collision_add(u64 sample, struct mm_struct *mm)
{
	u32 key = key_of(sample);
	struct ksm_collision *collision;
	struct mem_cgroup *memcg, *old;

	if (find(key))
		return true;
	memcg = ksm_charge_begin(mm, &old);
	collision = kzalloc(sizeof(*collision), KSM_GFP_NOWAIT);
	ksm_charge_end(memcg, old);
	if (!collision)
		return false;
	collision->key = key;
	collision->met = this_pass();
	if (rhashtable_insert_fast(&set, &collision->head, collision_params)) {
		kfree(collision);
		return false;
	}
	WRITE_ONCE(ksm_counters.collisions, ksm_counters.collisions + 1);
	return true;
}

/**
 * ksm_collision_hash - return the hash of a page whose sample has collided
 * @sample: the sample
 * @complete: a hash of the complete page
 *
 * Two different pages with the same sample have the same hash with a
 * probability of one in 2^KEY_SHIFT.
 *
 * Context: any. Does not sleep.
 * Return: the hash, of KSM_HASH_BITS bits. It begins like @sample.
 */
u64 ksm_collision_hash(u64 sample, u64 complete)
{
	const u64 low = (1ULL << KEY_SHIFT) - 1;

	return (sample & ~low) | (complete & low);
}

/**
 * ksm_collision_get - keep a sample in the set while a node needs it
 * @sample: the sample of the node's kernel page
 *
 * Context: ksm_lock must be held. If it returns true, balance with
 * ksm_collision_put().
 * Return: whether the sample is in the set.
 */
bool ksm_collision_get(u64 sample)
{
	struct ksm_collision *collision = find(key_of(sample));

	if (collision && collision->nodes < U16_MAX)
		collision->nodes++;
	return collision;
}

/**
 * ksm_collision_put - drop the hold of a node on a sample
 * @sample: the sample; or the hash of the complete page, which begins like it
 *
 * The sample is in the set: is_expired() does not let a sample leave it while a
 * node holds the sample.
 *
 * Context: ksm_lock must be held.
 */
void ksm_collision_put(u64 sample)
{
	struct ksm_collision *collision = find(key_of(sample));

	if (collision->nodes < U16_MAX)
		collision->nodes--;
}

/*
 * Can a sample leave the set? It can if no node holds it, and if no page has
 * had it for EXPIRE_PASSES passes. If no memory is registered, there are no
 * passes, so the function does not wait for them.
 */
static bool is_expired(const struct ksm_collision *collision)
{
	u16 passes = this_pass() - READ_ONCE(collision->met);

	return !collision->nodes && (list_empty(&ksm_regions) || passes > EXPIRE_PASSES);
}

/*
 * Examine the next part of the set, and remove expired samples. Returns false
 * at the end of the set.
 */
static bool expire_some(struct rhashtable_iter *iter)
{
	struct ksm_collision *collision = NULL;
	unsigned int nr, nr_removed = 0;

	mutex_lock(&ksm_lock);
	rhashtable_walk_start(iter);
	for (nr = 0; nr < SAMPLES_PER_HOLD; nr++) {
		collision = rhashtable_walk_next(iter);
		if (!collision)
			break;
		/* An error means that the set is being resized. */
		if (!IS_ERR(collision) && is_expired(collision) &&
		    !rhashtable_remove_fast(&set, &collision->head, collision_params))
			removed[nr_removed++] = collision;
	}
	rhashtable_walk_stop(iter);
	WRITE_ONCE(ksm_counters.collisions, ksm_counters.collisions - nr_removed);
	mutex_unlock(&ksm_lock);
	/* Scanners may still read these, under RCU. */
	while (nr_removed)
		kvfree_rcu_mightsleep(removed[--nr_removed]);
	return collision;
}

/**
 * ksm_collisions_expire - remove samples that no page has had for long
 *
 * Examines the set once in EXPIRE_PASSES / 2 passes, or in every call if no
 * memory is registered. The function tests that without ksm_lock. If the result
 * is out of date, this call examines the set without need, or leaves the work
 * to the next call.
 *
 * Context: process context, one thread at a time. Takes ksm_lock, and drops it
 * every SAMPLES_PER_HOLD samples. May sleep.
 */
void ksm_collisions_expire(void)
{
	u16 pass = this_pass(), passes = pass - last_expiry;
	struct rhashtable_iter iter;

	if (!READ_ONCE(ksm_counters.collisions))
		return;
	if (!list_empty(&ksm_regions) && passes < EXPIRE_PASSES / 2)
		return;
	last_expiry = pass;
	rhashtable_walk_enter(&set, &iter);
	while (expire_some(&iter))
		cond_resched();
	rhashtable_walk_exit(&iter);
}

/**
 * ksm_collision_bytes - report the memory that the set takes
 *
 * Context: any. Does not sleep.
 * Return: the number of bytes.
 */
size_t ksm_collision_bytes(void)
{
	size_t buckets;

	rcu_read_lock();
	buckets = rcu_dereference(set.tbl)->size;
	rcu_read_unlock();
	return buckets * sizeof(struct rhash_lock_head *) +
	       READ_ONCE(ksm_counters.collisions) * sizeof(struct ksm_collision);
}

static void free_collision(void *collision, void *unused)
{
	kfree(collision);
}

/**
 * ksm_collision_init - create the set
 *
 * Context: called once, before any page is hashed. May sleep.
 * Return: 0 on success, or -ENOMEM.
 */
int ksm_collision_init(void)
{
	return rhashtable_init(&set, &collision_params);
}

/**
 * ksm_collision_exit - free the set
 *
 * Context: called when there are no scanners and no nodes any more. May sleep.
 */
void ksm_collision_exit(void)
{
	rhashtable_free_and_destroy(&set, free_collision, NULL);
}
