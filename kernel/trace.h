/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints. The trace system is called "devksm", because the kernel's own
 * KSM uses the name "ksm". To enable all of them, use one of:
 *
 *	trace-cmd record -e devksm
 *	echo 1 > /sys/kernel/tracing/events/devksm/enable
 *
 * The values that the events print are listed below. Filters and bpf programs
 * use the names of the fields, which the "format" file of each event lists. Two
 * names differ: the field of pages_shared is called shared, and the field of
 * kernel_pfn is called kpfn.
 *
 * @pass: the number of the pass, from 1
 * @pages_shared: page frames saved. Mainline KSM calls this pages_sharing
 * @kernel_pages: kernel pages in use
 * @hashed: pages that the pass has hashed. Merged pages and most idle pages are
 *	not hashed
 * @complete: pages of @hashed that were hashed completely, not by a sample
 * @kind: the index in which the match was found
 * @how: why the address no longer maps its kernel page
 * @why: why the pages were skipped
 * @mm: the address space. The kernel prints a hash of the pointer to its struct
 *	mm_struct, which is always the same for one mm. The field, and a file
 *	that trace-cmd records, contain the pointer itself
 * @addr: the address of the page, or of the first of the pages
 * @pages: the number of pages
 * @pfn: the page frame number of the page that was replaced
 * @kernel_pfn: the page frame number of the kernel page
 * @mappings: the number of page-table entries that still map the kernel page
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM devksm

#if !defined(KSM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KSM_TRACE_H

#include <linux/tracepoint.h>

#include "ksm.h"

#define show_kind(kind)							\
	__print_symbolic(kind,						\
		{ KSM_STABLE,	"stable" },				\
		{ KSM_UNSTABLE,	"unstable" })

#define show_break(how)							\
	__print_symbolic(how,						\
		{ KSM_BREAK_WRITTEN,	"written" },			\
		{ KSM_BREAK_UNMAPPED,	"unmapped" },			\
		{ KSM_BREAK_UNMERGED,	"unmerged" },			\
		{ KSM_BREAK_ZEROED,	"zeroed" })

#define show_skip(why)							\
	__print_symbolic(why,						\
		{ KSM_SKIP_SWAPPED,	"swapped" },			\
		{ KSM_SKIP_SHARED_VMA,	"shared_vma" },			\
		{ KSM_SKIP_IO,		"io" },				\
		{ KSM_SKIP_PFNMAP,	"pfnmap" },			\
		{ KSM_SKIP_MIXEDMAP,	"mixedmap" },			\
		{ KSM_SKIP_HUGETLB,	"hugetlb" },			\
		{ KSM_SKIP_DAX,		"dax" },			\
		{ KSM_SKIP_UFFD,	"uffd" },			\
		{ KSM_SKIP_SPECIAL,	"special" },			\
		{ KSM_SKIP_FILE,	"file" },			\
		{ KSM_SKIP_KERNEL_KSM,	"kernel_ksm" },			\
		{ KSM_SKIP_ZERO_PAGE,	"zero_page" },			\
		{ KSM_SKIP_NOT_ANON,	"not_anon" },			\
		{ KSM_SKIP_PINNED,	"pinned" },			\
		{ KSM_SKIP_BUSY,	"busy" },			\
		{ KSM_SKIP_CHANGED,	"changed" },			\
		{ KSM_SKIP_THP_SPLIT,	"thp_split" },			\
		{ KSM_SKIP_LIMIT,	"limit" },			\
		{ KSM_SKIP_NO_MEMORY,	"no_memory" },			\
		{ KSM_SKIP_HWPOISON,	"hwpoison" })

/* A pass over all regions begins. */
TRACE_EVENT(devksm_pass_start,
	TP_PROTO(unsigned long pass),
	TP_ARGS(pass),
	TP_STRUCT__entry(__field(unsigned long, pass)),
	TP_fast_assign(__entry->pass = pass;),
	TP_printk("pass=%lu", __entry->pass)
);

/* A pass has ended. The fields show the counters at this time. */
TRACE_EVENT(devksm_pass_end,
	TP_PROTO(unsigned long pass, unsigned long shared, unsigned long kernel_pages,
		 unsigned long hashed, unsigned long complete),
	TP_ARGS(pass, shared, kernel_pages, hashed, complete),
	TP_STRUCT__entry(
		__field(unsigned long, pass)
		__field(unsigned long, shared)
		__field(unsigned long, kernel_pages)
		__field(unsigned long, hashed)
		__field(unsigned long, complete)
	),
	TP_fast_assign(
		__entry->pass = pass;
		__entry->shared = shared;
		__entry->kernel_pages = kernel_pages;
		__entry->hashed = hashed;
		__entry->complete = complete;
	),
	TP_printk("pass=%lu pages_shared=%lu kernel_pages=%lu hashed=%lu complete=%lu",
		  __entry->pass, __entry->shared, __entry->kernel_pages, __entry->hashed,
		  __entry->complete)
);

/* A page was replaced by a kernel page. */
TRACE_EVENT(devksm_merge,
	TP_PROTO(enum ksm_kind kind, struct mm_struct *mm, unsigned long addr,
		 unsigned long pfn, unsigned long kpfn),
	TP_ARGS(kind, mm, addr, pfn, kpfn),
	TP_STRUCT__entry(
		__field(int, kind)
		__field(void *, mm)
		__field(unsigned long, addr)
		__field(unsigned long, pfn)
		__field(unsigned long, kpfn)
	),
	TP_fast_assign(
		__entry->kind = kind;
		__entry->mm = mm;
		__entry->addr = addr;
		__entry->pfn = pfn;
		__entry->kpfn = kpfn;
	),
	TP_printk("%s mm=%p addr=0x%lx pfn=0x%lx kernel_pfn=0x%lx", show_kind(__entry->kind),
		  __entry->mm, __entry->addr, __entry->pfn, __entry->kpfn)
);

/* An address no longer maps the kernel page with which it was merged. */
TRACE_EVENT(devksm_break,
	TP_PROTO(struct mm_struct *mm, unsigned long addr, unsigned long kpfn,
		 enum ksm_break how),
	TP_ARGS(mm, addr, kpfn, how),
	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, addr)
		__field(unsigned long, kpfn)
		__field(int, how)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->addr = addr;
		__entry->kpfn = kpfn;
		__entry->how = how;
	),
	TP_printk("%s mm=%p addr=0x%lx kernel_pfn=0x%lx", show_break(__entry->how),
		  __entry->mm, __entry->addr, __entry->kpfn)
);

/* Pages were skipped. */
TRACE_EVENT(devksm_skip,
	TP_PROTO(struct mm_struct *mm, unsigned long addr, unsigned long pages,
		 enum ksm_skip why),
	TP_ARGS(mm, addr, pages, why),
	TP_STRUCT__entry(
		__field(void *, mm)
		__field(unsigned long, addr)
		__field(unsigned long, pages)
		__field(int, why)
	),
	TP_fast_assign(
		__entry->mm = mm;
		__entry->addr = addr;
		__entry->pages = pages;
		__entry->why = why;
	),
	TP_printk("%s mm=%p addr=0x%lx pages=%lu", show_skip(__entry->why),
		  __entry->mm, __entry->addr, __entry->pages)
);

/*
 * A stable node was dropped. The kernel page is not freed while page tables,
 * for example of forked children, still map it.
 */
TRACE_EVENT(devksm_node_dropped,
	TP_PROTO(unsigned long kpfn, int mappings),
	TP_ARGS(kpfn, mappings),
	TP_STRUCT__entry(
		__field(unsigned long, kpfn)
		__field(int, mappings)
	),
	TP_fast_assign(
		__entry->kpfn = kpfn;
		__entry->mappings = mappings;
	),
	TP_printk("kernel_pfn=0x%lx mappings=%d", __entry->kpfn, __entry->mappings)
);

#endif /* KSM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
