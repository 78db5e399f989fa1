// SPDX-License-Identifier: GPL-2.0
/*
 * mm functions that the kernel does not export.
 *
 * A kprobe yields the address of kallsyms_lookup_name(), which then yields the
 * addresses of all other functions. For each of them, this file defines a
 * wrapper with the same name and prototype (mm_names.h renames its symbol). The
 * wrapper forwards to the kernel's function through a static call: a direct
 * call whose target is patched into the code. This design has three advantages:
 *
 *  - The kernel's headers declare each function, so the compiler checks the
 *    prototypes.
 *  - Inline functions in the kernel's headers can call the wrappers.
 *  - No function is called through a pointer. On a CPU with indirect branch
 *    tracking, such a call would raise an exception: no kernel code calls these
 *    functions through pointers, so the kernel has removed the ENDBR
 *    instruction at their entry. check-direct.sh verifies at build time that
 *    this file has no indirect call.
 *
 * ksm_symbols_init() patches the static calls once, at the beginning of the
 * module's init function.
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

/*
 * The list of all functions. An entry is X(return type, name, prototype,
 * arguments), or V(name, prototype, arguments) if the function returns void.
 * Further down, DEFINE_X() and DEFINE_V() turn each entry into a wrapper, and
 * ROW_X() and ROW_V() into an element of symbols[].
 */
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
 * The commits that introduced these functions or prototypes:
 *
 *	mm_trace_rss_stat() without a count: f1a7941243c1 (6.2)
 *	__pte_offset_map_lock(): 0d940a9b270b (6.5)
 *	__mmu_notifier_invalidate_range_end() without only_end:
 *	ec8832d007cb (6.6)
 *	folio_*_rmap_ptes(): 68f0320824fa and others of its series (6.8)
 *	split_huge_page_to_list_to_order(): c010d47f107f (6.9)
 *
 * compat.h lists the other changes to MMU notifiers.
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
 * struct ksm_symbol - a kernel function and the static call to it
 * @name: the name of the function
 * @key: the key of the static call
 * @tramp: the trampoline of the static call
 * @addr: the address of the function
 */
struct ksm_symbol {
	const char *name;
	struct static_call_key *key;
	void *tramp;
	unsigned long addr;
};

/*
 * ROW_X() must not call ROW_V(). The preprocessor would first expand fn to its
 * name in mm_names.h, and #fn would then yield "ksm_sym_...".
 */
#define ROW_V(fn, proto, args)								\
	{ #fn, &STATIC_CALL_KEY(ksm_sc_##fn), STATIC_CALL_TRAMP_ADDR(ksm_sc_##fn) },
#define ROW_X(ret, fn, proto, args)							\
	{ #fn, &STATIC_CALL_KEY(ksm_sc_##fn), STATIC_CALL_TRAMP_ADDR(ksm_sc_##fn) },

static struct ksm_symbol symbols[] = { KSM_SYMBOLS(ROW_X, ROW_V) };

/* The kobject of /sys/kernel/mm. Its export was removed after Linux 6.1. */
struct kobject *mm_kobj;

struct ksm_kernel_ksm ksm_kernel_ksm;

#ifdef CONFIG_LOCKDEP
/* Used by inline functions of mmu_notifier.h, but not exported. */
struct lockdep_map __mmu_notifier_invalidate_range_start_map = {
	.name = "ksm_mmu_notifier_invalidate_range_start"
};
#endif

/*
 * Returns the address of a kernel symbol, or 0 if there is no such symbol. The
 * address of a variable is found only if the kernel has CONFIG_KALLSYMS_ALL. If
 * the kernel itself has no such symbol, kallsyms_lookup_name() searches the
 * loaded modules as well, and returns the symbol of a module.
 */
static unsigned long kernel_symbol(const char *name)
{
	return static_call(ksm_sc_lookup)(name);
}

/*
 * Find kallsyms_lookup_name(). The kprobe is registered in the disabled state,
 * because only its address is needed. An enabled kprobe would patch the
 * function, and disabling it can fail for lack of memory. The kernel would then
 * still refer to the kprobe, which is on this stack.
 */
static int find_kallsyms_lookup_name(void)
{
	struct kprobe probe = {
		.symbol_name = "kallsyms_lookup_name",
		.flags = KPROBE_FLAG_DISABLED,
	};
	int err = register_kprobe(&probe);

	if (err) {
		pr_err("cannot find kallsyms_lookup_name(): register_kprobe() failed (error %d); the module was not loaded. The kernel needs CONFIG_KPROBES and CONFIG_KALLSYMS.\n",
		       err);
		return err;
	}
	static_call_update(ksm_sc_lookup, (typeof(&kallsyms_lookup_name))probe.addr);
	unregister_kprobe(&probe);
	return 0;
}

/*
 * Check that the running kernel is the build whose headers this module was
 * compiled with. The module loader compares only the checksum of each exported
 * function, or the release if the kernel has no such checksums. Functions that
 * this file looks up by name have no checksum, but their prototypes and
 * structures may differ between two builds of one release.
 */
static int check_kernel(void)
{
	const char *running = init_utsname()->version;

	if (!strcmp(running, UTS_VERSION))
		return 0;
	pr_err("built for \"%s\", but \"%s\" is running; the module was not loaded. Build it for the running kernel.\n",
	       UTS_VERSION, running);
	return -ENOEXEC;
}

/**
 * ksm_symbols_init - find all functions and patch the static calls
 *
 * Logs the name of each missing symbol. If any is missing, the wrappers stay
 * unpatched.
 *
 * Context: module load, before any other function of the driver. May sleep.
 * Return: 0 on success; -ENOEXEC if the module was built for another kernel;
 * -ENOENT if the kernel lacks a symbol; or a negative error of
 * register_kprobe().
 */
int ksm_symbols_init(void)
{
	struct kobject **kobj;
	int missing = 0, err, i;

	err = check_kernel();
	if (err)
		return err;
	err = find_kallsyms_lookup_name();
	if (err)
		return err;

	for (i = 0; i < ARRAY_SIZE(symbols); i++) {
		symbols[i].addr = kernel_symbol(symbols[i].name);
		if (!symbols[i].addr) {
			pr_err("the running kernel has no function %s()\n", symbols[i].name);
			missing++;
		}
	}
	kobj = (struct kobject **)kernel_symbol("mm_kobj");
	if (!kobj) {
		pr_err("the running kernel has no symbol mm_kobj (CONFIG_KALLSYMS_ALL)\n");
		missing++;
	}
	if (missing) {
		pr_err("%d kernel symbols are missing; the module was not loaded. Use a kernel that is built with them.\n",
		       missing);
		return -ENOENT;
	}

	for (i = 0; i < ARRAY_SIZE(symbols); i++)
		__static_call_update(symbols[i].key, symbols[i].tramp, (void *)symbols[i].addr);
	mm_kobj = *kobj;
	ksm_kernel_ksm.group = (const struct attribute_group *)kernel_symbol("ksm_attr_group");
	ksm_kernel_ksm.run = (const unsigned long *)kernel_symbol("ksm_run");
	return 0;
}
