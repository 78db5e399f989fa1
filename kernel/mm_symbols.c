// SPDX-License-Identifier: GPL-2.0
/*
 * The mm functions that the kernel does not export, by their own names.
 *
 * A probe on kallsyms_lookup_name() gives that function's address, and the
 * function gives the addresses of all others. Each address is put into a static
 * call, which is a direct call whose target is written into the code; and for
 * each there is a function of the same name and prototype here that forwards to
 * it. So:
 *
 *  - the kernel's own header checks each prototype when this file is compiled;
 *  - header inlines that use such a function just work;
 *  - there is no indirect call, which on CPUs with indirect branch tracking would
 *    die: the functions are not meant to be called that way and the kernel seals
 *    their landing pads. The build proves it, see check-direct.sh.
 *
 * The code is patched once, at load, before anything else happens.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kallsyms.h>
#include <linux/kobject.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/pgtable.h>
#include <linux/rmap.h>
#include <linux/static_call.h>
#include <linux/swap.h>
#include <linux/utsname.h>

#include <generated/utsversion.h>

#include "compat.h"
#include "mm_symbols.h"

/* X(return type, name, prototype, arguments); V the same for functions that return nothing. */
#define KSM_SYMBOLS_ALL(X, V)								\
	X(pte_t, ptep_clear_flush,							\
	  (struct vm_area_struct *vma, unsigned long address, pte_t *ptep),		\
	  (vma, address, ptep))								\
	V(flush_tlb_mm_range,								\
	  (struct mm_struct *mm, unsigned long start, unsigned long end,		\
	   unsigned int stride_shift, bool freed_tables),				\
	  (mm, start, end, stride_shift, freed_tables))					\
	X(struct page *, vm_normal_page,						\
	  (struct vm_area_struct *vma, unsigned long addr, pte_t pte),			\
	  (vma, addr, pte))								\
	X(bool, folio_free_swap, (struct folio *folio), (folio))			\
	X(int, __mmu_notifier_invalidate_range_start,					\
	  (struct mmu_notifier_range *range), (range))					\
	V(lru_add_drain_all, (void), ())

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
#define KSM_SYMBOLS_VERSION(X, V)							\
	V(page_add_file_rmap,								\
	  (struct page *page, struct vm_area_struct *vma, bool compound),		\
	  (page, vma, compound))							\
	V(page_remove_rmap,								\
	  (struct page *page, struct vm_area_struct *vma, bool compound),		\
	  (page, vma, compound))							\
	V(mm_trace_rss_stat, (struct mm_struct *mm, int member, long count),		\
	  (mm, member, count))								\
	X(int, split_huge_page_to_list, (struct page *page, struct list_head *list),	\
	  (page, list))									\
	V(__mmu_notifier_invalidate_range_end,						\
	  (struct mmu_notifier_range *range, bool only_end), (range, only_end))		\
	V(__mmu_notifier_invalidate_range,						\
	  (struct mm_struct *mm, unsigned long start, unsigned long end),		\
	  (mm, start, end))								\
	V(__mmu_notifier_change_pte,							\
	  (struct mm_struct *mm, unsigned long address, pte_t pte), (mm, address, pte))
#else
/*
 * folio_*_rmap_ptes: 68f0320824fa and siblings (6.8). split_..._to_order:
 * c010d47f107f (6.9). __pte_offset_map_lock: 0d940a9b270b (6.5). What notifiers
 * lost: see compat.h. mm_trace_rss_stat without a count: f1a7941243c1 (6.2).
 */
#define KSM_SYMBOLS_VERSION(X, V)							\
	V(folio_add_file_rmap_ptes,							\
	  (struct folio *folio, struct page *page, int nr, struct vm_area_struct *vma),	\
	  (folio, page, nr, vma))							\
	V(folio_remove_rmap_ptes,							\
	  (struct folio *folio, struct page *page, int nr, struct vm_area_struct *vma),	\
	  (folio, page, nr, vma))							\
	V(mm_trace_rss_stat, (struct mm_struct *mm, int member), (mm, member))		\
	X(int, split_huge_page_to_list_to_order,					\
	  (struct page *page, struct list_head *list, unsigned int new_order),		\
	  (page, list, new_order))							\
	X(pte_t *, __pte_offset_map_lock,						\
	  (struct mm_struct *mm, pmd_t *pmd, unsigned long addr, spinlock_t **ptlp),	\
	  (mm, pmd, addr, ptlp))							\
	V(__mmu_notifier_invalidate_range_end, (struct mmu_notifier_range *range),	\
	  (range))
#endif

#define KSM_SYMBOLS(X, V) KSM_SYMBOLS_ALL(X, V) KSM_SYMBOLS_VERSION(X, V)

#define DEFINE_X(ret, name, proto, args)						\
	DECLARE_STATIC_CALL(ksm_sc_##name, name);					\
	DEFINE_STATIC_CALL_NULL(ksm_sc_##name, name);					\
	ret name proto									\
	{										\
		return static_call(ksm_sc_##name)args;					\
	}
#define DEFINE_V(name, proto, args)							\
	DECLARE_STATIC_CALL(ksm_sc_##name, name);					\
	DEFINE_STATIC_CALL_NULL(ksm_sc_##name, name);					\
	void name proto									\
	{										\
		static_call(ksm_sc_##name)args;						\
	}

KSM_SYMBOLS(DEFINE_X, DEFINE_V)

DECLARE_STATIC_CALL(ksm_sc_lookup, kallsyms_lookup_name);
DEFINE_STATIC_CALL_NULL(ksm_sc_lookup, kallsyms_lookup_name);

/**
 * struct ksm_symbol - one function to be bound
 * @name: its name
 * @key: the static call of that name
 * @tramp: the trampoline of the static call
 * @addr: where the function is
 */
struct ksm_symbol {
	const char *name;
	struct static_call_key *key;
	void *tramp;
	unsigned long addr;
};

/*
 * Neither macro may use the other: the preprocessor would then replace fn by
 * its name from mm_names.h.
 */
#define ROW_V(fn, proto, args)								\
	{ #fn, &STATIC_CALL_KEY(ksm_sc_##fn), STATIC_CALL_TRAMP_ADDR(ksm_sc_##fn) },
#define ROW_X(ret, fn, proto, args)							\
	{ #fn, &STATIC_CALL_KEY(ksm_sc_##fn), STATIC_CALL_TRAMP_ADDR(ksm_sc_##fn) },

static struct ksm_symbol symbols[] = { KSM_SYMBOLS(ROW_X, ROW_V) };

/* The root of /sys/kernel/mm: no longer exported in 6.12. */
struct kobject *mm_kobj;

struct ksm_kernel_ksm ksm_kernel_ksm;

#ifdef CONFIG_LOCKDEP
/* The inlines of mmu_notifier.h refer to it; a map of our own serves as well. */
struct lockdep_map __mmu_notifier_invalidate_range_start_map = {
	.name = "ksm_mmu_notifier_invalidate_range_start"
};
#endif

/* The address of a kernel symbol, or 0 if the kernel has none of that name. */
static unsigned long kernel_symbol(const char *name)
{
	return static_call(ksm_sc_lookup)(name);
}

/*
 * The probe is never armed: its address is all that is wanted. Arming patches the
 * function, and disarming can fail for want of memory, which would leave a probe
 * behind that is on this stack.
 */
static int find_lookup(void)
{
	struct kprobe probe = {
		.symbol_name = "kallsyms_lookup_name",
		.flags = KPROBE_FLAG_DISABLED,
	};
	int err = register_kprobe(&probe);

	if (err) {
		pr_err("cannot find kallsyms_lookup_name (register_kprobe: %d)\n", err);
		return err;
	}
	static_call_update(ksm_sc_lookup, (typeof(&kallsyms_lookup_name))probe.addr);
	unregister_kprobe(&probe);
	return 0;
}

/*
 * Is the running kernel the very build whose headers this module was compiled
 * with? The module loader compares the release and a checksum of each exported
 * function. Functions that are looked up by name have no checksum, and their
 * prototypes and structures may differ between two builds of one release.
 */
static int check_kernel(void)
{
	const char *running = init_utsname()->version;

	if (!strcmp(running, UTS_VERSION))
		return 0;
	pr_err("built for \"%s\", but \"%s\" is running; nothing was changed: build the module for the running kernel\n",
	       UTS_VERSION, running);
	return -ENOEXEC;
}

/**
 * ksm_symbols_init - find every function and bind it
 *
 * To be called first in the life of the module. Names every function that this
 * kernel does not have.
 *
 * Return: 0; -ENOEXEC if the module was built for another kernel; -ENOENT when
 * any function is missing, and then none is bound.
 */
int ksm_symbols_init(void)
{
	struct kobject **kobj;
	int missing = 0, err, i;

	err = check_kernel();
	if (err)
		return err;
	err = find_lookup();
	if (err)
		return err;

	for (i = 0; i < ARRAY_SIZE(symbols); i++) {
		symbols[i].addr = kernel_symbol(symbols[i].name);
		if (!symbols[i].addr) {
			pr_err("this kernel has no %s()\n", symbols[i].name);
			missing++;
		}
	}
	kobj = (struct kobject **)kernel_symbol("mm_kobj");
	if (!kobj) {
		pr_err("this kernel has no mm_kobj\n");
		missing++;
	}
	if (missing) {
		pr_err("not loaded, nothing changed; tested kernels: 6.1, 6.12\n");
		return -ENOENT;
	}

	for (i = 0; i < ARRAY_SIZE(symbols); i++)
		__static_call_update(symbols[i].key, symbols[i].tramp, (void *)symbols[i].addr);
	mm_kobj = *kobj;
	ksm_kernel_ksm.group = (const struct attribute_group *)kernel_symbol("ksm_attr_group");
	ksm_kernel_ksm.run = (const unsigned long *)kernel_symbol("ksm_run");
	return 0;
}
