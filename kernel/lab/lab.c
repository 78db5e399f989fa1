// SPDX-License-Identifier: GPL-2.0
/*
 * ksm_lab: call the PTE helpers of the driver one at a time.
 *
 * This module is for lessons and tests. Each call takes the locks that the
 * helpers need (see pte.c), calls one helper for an address of the caller, and
 * returns the page-table entry before and after. The address space is left
 * consistent, whatever the helper returns.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "../compat.h"
#include "../pte.h"
#include "hash.h"
#include "lab.h"

/*
 * Return the page that @ptep maps, or NULL if the helpers cannot handle it. The
 * caller holds the page-table lock.
 */
static struct page *small_anon_page(pte_t *ptep)
{
	pte_t pte = ptep_get(ptep);
	struct page *page;

	if (!pte_present(pte) || pte_special(pte))
		return NULL;
	page = pte_page(pte);
	return PageAnon(page) && !PageCompound(page) && !PageKsm(page) ? page : NULL;
}

/*
 * Call the helper that @call asks for, and return its result. The caller holds
 * all locks that the helpers need, and a reference to @page.
 */
static int call_helper(struct ksm_lab_call *call, struct vm_area_struct *vma, pte_t *ptep,
		       struct page *page, struct page *kpage)
{
	struct pte_change change = {
		.addr = call->addr,
		.ptep = ptep,
		.page = page,
	};
	struct mm_struct *mm = vma->vm_mm;
	pte_t pte;

	switch (call->op) {
	case KSM_LAB_GET_PTE:
		return 0;
	case KSM_LAB_SET_PTE:
		/* The new entry permits the same accesses: no TLB flush. */
		pte = ptep_get_and_clear(mm, call->addr, ptep);
		set_pte_at_notify(mm, call->addr, ptep, pte_mkold(pte));
		return 0;
	}

	page_wrprotect(vma, &change, 1);
	if (change.err)
		return change.err;
	if (call->op == KSM_LAB_WRPROTECT) {
		set_pte_at_notify(mm, call->addr, ptep, pte_wrprotect(change.orig));
		return 0;
	}
	copy_highpage(kpage, page);
	return replace_page(vma, &change, kpage);
}

/*
 * Lock the page at the address of @call, and call the helper. The caller holds
 * the mmap lock for reading. Returns 0 if the helper was called, or a negative
 * error of KSM_LAB_CALL.
 *
 * Unlike the driver, ksm_lab also accepts mappings that userfaultfd handles. A
 * thread that touches the page while its entry is empty then causes an event in
 * userspace, although the page is not missing.
 */
static int call_at(struct ksm_lab_call *call, struct page *kpage)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma = vma_lookup(mm, call->addr);
	struct mmu_notifier_range range;
	struct page *page = NULL;
	spinlock_t *ptl;
	pte_t *ptep;
	int err = -ENXIO;

	if (!vma || !vma_is_anonymous(vma) || (vma->vm_flags & VM_SHARED))
		return -ENXIO;
	ptep = get_pte(mm, call->addr, &ptl);
	if (ptep) {
		page = small_anon_page(ptep);
		if (page)
			get_page(page);
		put_pte(ptep, ptl);
	}
	if (!page)
		return -ENXIO;
	if (!trylock_page(page)) {
		put_page(page);
		return -EBUSY;
	}

	pte_change_begin(vma, call->addr, call->addr + PAGE_SIZE, &range);
	ptep = get_pte(mm, call->addr, &ptl);
	if (!ptep)
		goto end;
	if (small_anon_page(ptep) == page) {
		call->before = pte_val(ptep_get(ptep));
		call->refs = page_ref_count(page) - 1;
		call->mapcount = ksm_mapcount(page);
		call->result = call_helper(call, vma, ptep, page, kpage);
		call->after = pte_val(ptep_get(ptep));
		err = 0;
	}
	put_pte(ptep, ptl);
end:
	pte_change_end(&range);
	unlock_page(page);
	put_page(page);
	return err;
}

static long ioctl_call(void __user *arg)
{
	struct ksm_lab_call call;
	struct page *kpage;
	int err;

	if (copy_from_user(&call, arg, sizeof(call)))
		return -EFAULT;
	if (call.op < KSM_LAB_GET_PTE || call.op > KSM_LAB_SET_PTE)
		return -EINVAL;
	call.addr &= PAGE_MASK;

	kpage = alloc_page(GFP_HIGHUSER);
	if (!kpage)
		return -ENOMEM;
	mmap_read_lock(current->mm);
	err = call_at(&call, kpage);
	mmap_read_unlock(current->mm);
	put_page(kpage);

	if (!err && copy_to_user(arg, &call, sizeof(call)))
		err = -EFAULT;
	return err;
}

static long ioctl_hash(void __user *arg)
{
	struct ksm_lab_hash hash;
	int err;

	if (copy_from_user(&hash, arg, sizeof(hash)))
		return -EFAULT;
	if (!PAGE_ALIGNED(hash.addr))
		return -EINVAL;
	err = ksm_lab_hash(&hash);
	if (!err && copy_to_user(arg, &hash, sizeof(hash)))
		err = -EFAULT;
	return err;
}

static long hold_mmap_lock(unsigned long milliseconds)
{
	long left;

	if (mmap_write_lock_killable(current->mm))
		return -EINTR;
	left = schedule_timeout_interruptible(milliseconds ? msecs_to_jiffies(milliseconds)
							   : MAX_SCHEDULE_TIMEOUT);
	mmap_write_unlock(current->mm);
	return left ? -EINTR : 0;
}

static long lab_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case KSM_LAB_CALL:
		return ioctl_call((void __user *)arg);
	case KSM_LAB_HASH:
		return ioctl_hash((void __user *)arg);
	case KSM_LAB_HOLD_MMAP_LOCK:
		return hold_mmap_lock(arg);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations lab_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = lab_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice lab_dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "ksm_lab",
	.fops = &lab_fops,
	.mode = 0600,
};

module_misc_device(lab_dev);
MODULE_IMPORT_NS(KSM_LAB);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("The /dev/ksm lab contributors");
MODULE_DESCRIPTION("Call the PTE helpers of /dev/ksm one at a time, for lessons and tests");
