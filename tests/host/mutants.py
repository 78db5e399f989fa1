"""Deliberate bugs: edits of the driver's sources, each with the VM test that must detect it.

A driver with such a bug, called a mutant, is built from a copy of kernel/. mutant_run.py runs the mutants.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The default kernels of a mutant.
STOCK = ("debian-6.1", "debian-6.12")
#: Code that fills replaced pages with zeros, and never frees them.
KEEP_FRAMES = """
	for (i = 0; i < nr; i++) {
		if (ksm_mapcount(pages[i]))
			put_page(pages[i]);
		else
			clear_highpage(pages[i]);
	}"""


@dataclass(frozen=True)
class Edit:
    """A replacement of text in a file.

    Attributes:
        file: The name of the file in kernel/.
        old: The text to replace, which occurs exactly once.
        new: The text of the mutant.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A deliberate bug.

    Attributes:
        name: The name of the bug.
        edits: The edits of the driver's sources.
        test: The test that must fail, as a node ID of pytest without parameters.
        sign: A regular expression for the expected failure. The output of the test must match it; the source of the
            test must not.
        boot_args: More arguments for the kernel's command line, which make the effect of the bug certain.
        kernels: The kernels on which the bug must be detected.
    """

    name: str
    edits: tuple[Edit, ...]
    test: str
    sign: str
    boot_args: tuple[str, ...] = ()
    kernels: tuple[str, ...] = STOCK


MUTANTS = (
    # The guest goes on using the old frame. KEEP_FRAMES keeps that frame allocated and zeroes it: the guest reads zeros
    # at once, and its writes damage no other memory.
    Mutant(
        name="secondary MMUs are not told",
        edits=(
            Edit("pte.c", "mmu_notifier_invalidate_range_start(range);", ""),
            Edit("pte.c", "mmu_notifier_invalidate_range_end(range);", ""),
            Edit("pte.c", "mmu_notifier_change_pte(mm, addr, pte);", ""),
            Edit("pte.c", "ksm_invalidate_range(vma->vm_mm, start, end);", ""),
            Edit("merge.c", "release_pages(pages, nr);", KEEP_FRAMES),
        ),
        test="tests/vm/test_kvm_guests.py::test_guests_read_what_they_wrote",
        sign=r"guest \d WRONG",
    ),
    # What a device pins, the rule for exclusive pages catches on 6.12: a pipe is what finds out.
    Mutant(
        name="references are not counted",
        edits=(Edit("pte.c", "page_ref_count(page) != expected", "false"),),
        test="tests/vm/test_rule_references.py::test_vmsplice_keeps_what_was_spliced",
        sign=r"AssertionError: the page that is held is merged",
    ),
    # A process passes the kernel page to its own FUSE file system, and then writes to the file.
    Mutant(
        name="FUSE may take over a kernel page",
        edits=(
            Edit("node.c", "\tSetPageChecked(kpage);\n", ""),
            Edit("node.c", " && PageChecked(page)", ""),
        ),
        test="tests/vm/test_rule_references.py::test_fuse_does_not_take_over_a_kernel_page",
        sign=r"assert \[0, 1, 2, 3, 4, 5, \.\.\.\] == \[\]",
    ),
    # Another CPU goes on writing to the frame from before the merge. It is kept, or its next owner would break.
    Mutant(
        name="no TLB flush before the compare",
        edits=(
            Edit("pte.c", "flush_tlb_mm_range(vma->vm_mm, start, end, PAGE_SHIFT, false);", ""),
            Edit("merge.c", "release_pages(pages, nr);", KEEP_FRAMES),
        ),
        test="tests/vm/test_tlb.py::test_no_write_goes_to_the_frame_from_before_the_merge",
        sign=r"\d+ of \d+ writes after a merge are lost",
    ),
    # One flush then covers all addresses from the first job to the last.
    Mutant(
        name="the span of a TLB flush is not limited",
        edits=(
            Edit(
                "merge.c",
                "n < nr && jobs[n].addr - jobs[0].addr < WRPROTECT_MAX_PAGES * PAGE_SIZE",
                "n < nr && n < WRPROTECT_MAX_PAGES",
            ),
        ),
        test="tests/vm/test_batch_limits.py::test_a_flush_spans_at_most_32_pages",
        sign=r"assert \d+ <= 32",
    ),
    Mutant(
        name="the rss is not moved",
        edits=(
            Edit("pte.c", "inc_mm_counter(mm, MM_FILEPAGES);", ""),
            Edit("pte.c", "dec_mm_counter(mm, MM_ANONPAGES);", ""),
        ),
        test="tests/vm/test_merge.py::test_rss_moves_from_anonymous_to_file",
        sign=r"assert 4\d\d\d < 256",
    ),
    Mutant(
        name="one put_page() too few",
        edits=(Edit("pte.c", "\tput_page(page);\n\treturn 0;", "\treturn 0;"),),
        test="tests/vm/test_merge.py::test_the_frames_that_a_merge_saves_are_free",
        sign=r"\d+ of 1024 frames are lost",
    ),
    # The kernel page goes back to the allocator while it is mapped, and is the next copy.
    Mutant(
        name="one put_page() too many",
        edits=(
            Edit(
                "pte.c",
                "\tput_page(page);\n\treturn 0;",
                "\tput_page(page);\n\tput_page(kpage);\n\treturn 0;",
            ),
        ),
        test="tests/vm/test_merge.py::test_a_write_makes_the_page_private_and_equal_again_it_merges",
        sign=r"free_unref_page|Bad page|page_ref_count|list_add corruption",
    ),
    # KVM takes no page of a range that is being invalidated: its guests fault for ever.
    Mutant(
        name="invalidate_range_end() is missing",
        edits=(Edit("pte.c", "mmu_notifier_invalidate_range_end(range);", ""),),
        test="tests/vm/test_kvm_guests.py::test_guests_go_on_after_a_merge",
        sign=r"guest \d stands still",
    ),
    Mutant(
        name="mm_users held instead of mm_count",
        edits=(
            Edit("area.c", "mmgrab(region->mm);", "mmget(region->mm);"),
            Edit("area.c", "mmdrop(region->mm);", "mmput_async(region->mm);"),
        ),
        test="tests/vm/test_lifetimes.py::test_private_pages_of_a_dead_process_are_free_at_once",
        sign=r"assert \d+ > \(\(512 \* 9\)",
    ),
    # The kernel page of a node has been freed: it is free, or has another owner.
    Mutant(
        name="a freed kernel page is taken for the node's own",
        edits=(
            Edit(
                "node.c",
                "\t\tif (PageHWPoison(ksm_node_page(node)) || !ksm_node_tryget(node)) {",
                "\t\tget_page(ksm_node_page(node));\n\t\tif (PageHWPoison(ksm_node_page(node))) {",
            ),
        ),
        test="tests/vm/test_lifetimes.py::test_content_of_kernel_pages_that_were_freed_merges_again",
        sign=r"Bad page|page_ref_count|refcount|list_(add|del) corruption|BUG: ",
    ),
    Mutant(
        name="kernel pages are charged to no cgroup",
        edits=(Edit("ksm.h", " | __GFP_NOWARN | __GFP_ACCOUNT)", " | __GFP_NOWARN)"),),
        test="tests/vm/test_memcg.py::test_kernel_pages_are_charged_to_the_cgroup_of_their_owner",
        sign=r"assert 0\.95 < 0\.\d+",
    ),
    Mutant(
        name="the writer of run=2 is not marked for the OOM killer",
        edits=(Edit("sysfs.c", "\t\tset_current_oom_origin();\n", ""),),
        test="tests/vm/test_memcg.py::test_run_2_without_memory_kills_its_writer_first",
        sign=r"assert (0|None) == -9",
    ),
    Mutant(
        name="a broken kernel page stays in the index",
        edits=(
            Edit(
                "node.c",
                "if (PageHWPoison(ksm_node_page(node)) || !ksm_node_tryget",
                "if (!ksm_node_tryget",
            ),
            Edit("node.c", "is_stale(node) || PageHWPoison(ksm_node_page(node))", "is_stale(node)"),
            Edit("merge.c", "\tif (PageHWPoison(kpage))\n\t\treturn KSM_SKIP_HWPOISON;\n", ""),
        ),
        test="tests/vm/test_memory_errors.py::test_a_broken_kernel_page_gets_no_new_mapping",
        sign=r"ended with status 135|assert \d+ not in \[",
    ),
    # Either of the two edits alone leaves one function that unmaps such a page.
    Mutant(
        name="broken pages in userfaultfd mappings stay mapped after their node has gone",
        edits=(
            Edit(
                "unmerge.c",
                "if (node->pfn && !ksm_node_tryget(node)) {",
                "if (!node->pfn || !ksm_node_tryget(node)) {",
            ),
            Edit(
                "walk.c",
                "\tif (uffd && ksm_vma_may_map_kpages(vma))\n\t\twalk->why = KSM_SKIP_NONE;\n",
                "",
            ),
        ),
        test="tests/vm/test_memory_errors.py::"
        "test_unmerge_unmaps_a_broken_kernel_page_in_userfaultfd_mappings",
        sign=r"assert \[\d+, \d+",
    ),
    Mutant(
        name="the unmerge loop skips mappings whose faults userfaultfd handles",
        edits=(
            Edit(
                "walk.c",
                "\tif (uffd && ksm_vma_may_map_kpages(vma))\n\t\twalk->why = KSM_SKIP_NONE;\n",
                "",
            ),
        ),
        test="tests/vm/test_rule_changes.py::"
        "test_remove_unmerges_pages_that_mremap_moved_to_a_userfaultfd_mapping",
        sign=r"assert 1 == 64",
    ),
    Mutant(
        name="a scanner waits for an mmap lock",
        edits=(
            Edit(
                "scan.c",
                "\tif (!mmap_read_trylock(mm)) {\n\t\tmmput_async(mm);\n\t\treturn -EBUSY;\n\t}\n",
                "\tmmap_read_lock(mm);\n",
            ),
        ),
        test="tests/vm/test_isolation.py::test_pages_of_others_merge_while_an_mmap_lock_is_held",
        sign=r"WaitTimeoutError",
    ),
    Mutant(
        name="a thread that holds the shared lock waits for an mmap lock",
        edits=(
            Edit(
                "walk.c",
                "\tif (mmap_read_trylock(mm)) {\n\t\tvma",
                "\t{\n\t\tmmap_read_lock(mm);\n\t\tvma",
            ),
        ),
        test="tests/vm/test_isolation.py::test_pages_that_a_held_process_shares_do_not_stop_the_scanner",
        sign=r"WaitTimeoutError",
    ),
    Mutant(
        name="the reaper uses the next region while it frees one",
        edits=(
            Edit(
                "area.c",
                "\t\tmutex_unlock(&area->lock);\n\t}\n\tregion_free(region);\n}\n",
                "\t\tmutex_unlock(&area->lock);\n\t}\n"
                "\tarea = list_is_last(&region->in_scan, &ksm_regions) ?\n"
                "\t\tNULL : (void *)list_next_entry(region, in_scan);\n"
                "\tif (area)\n\t\t((struct ksm_region *)area)->users++;\n"
                "\tregion_free(region);\n"
                "\tif (area)\n\t\tksm_region_put((void *)area);\n}\n",
            ),
        ),
        test="tests/vm/test_lifetimes.py::test_close_does_not_wait_until_the_reaper_has_freed_a_region",
        sign=r"assert \d+ > \(\d+ \+",
    ),
    Mutant(
        name="a cgroup above memory.high slows down the scanner",
        edits=(
            Edit(
                "item.c",
                "struct ksm_chunk *chunk = chunk_get(region, addr, KSM_GFP_NOWAIT);",
                "struct ksm_chunk *chunk = chunk_get(region, addr, GFP_KERNEL_ACCOUNT);",
            ),
        ),
        test="tests/vm/test_memcg.py::test_a_cgroup_above_memory_high_does_not_slow_down_the_scanner",
        sign=r"assert not \[.*mem_cgroup_handle_over_high",
    ),
    Mutant(
        name="the writer of run=2 cannot be killed while it waits",
        edits=(
            Edit(
                "unmerge.c",
                "\t\treturn mmap_read_lock_killable(mm);\n",
                "\t{\n\t\tmmap_read_lock(mm);\n\t\treturn 0;\n\t}\n",
            ),
        ),
        test="tests/vm/test_isolation.py::"
        "test_a_writer_of_run_2_that_waits_for_an_mmap_lock_can_be_killed",
        sign=r"assert None == ",
    ),
    Mutant(
        name="regions of dead processes stay until a scan",
        edits=(Edit("reap.c", "\tksm_regions_reap();\n\tksm_nodes", "\tksm_nodes"),),
        test="tests/vm/test_lifetimes.py::"
        "test_kernel_pages_and_metadata_of_a_dead_process_are_freed_when_run_is_0",
        sign=r"WaitTimeoutError",
    ),
    Mutant(
        name="a function has the name of one of the kernel's",
        edits=(Edit("mm_names.h", "#define vm_normal_page\t\t\t\tksm_sym_vm_normal_page\n", ""),),
        test="tests/vm/test_symbols.py::test_no_symbol_has_the_name_of_a_kernel_symbol",
        sign=r"Extra items in the left set",
    ),
    Mutant(
        name="no bound of the mappings of a kernel page",
        edits=(
            Edit(
                "node.c",
                "refs - held >= (int)READ_ONCE(ksm_settings.max_page_sharing)",
                "false",
            ),
        ),
        test="tests/vm/test_max_page_sharing.py::test_1000_equal_pages_use_4_kernel_pages",
        sign=r"assert \(999, 1\) == \(996, 4\)",
    ),
    Mutant(
        name="idle pages are hashed in each pass",
        edits=(
            Edit(
                "walk.c",
                "if (now.state != KSM_ITEM_UNSTABLE || idle <= KSM_IDLE_MIN || !pass)",
                "if (now.state <= KSM_ITEM_ZERO)",
            ),
        ),
        test="tests/vm/test_idle_pages.py::test_idle_pages_beside_merged_ones_are_hashed_rarely",
        sign=r"passes still hash \d+ pages",
    ),
    Mutant(
        name="hash collisions are never forgotten",
        edits=(Edit("collision.c", "passes > EXPIRE_PASSES);", "passes > U16_MAX);"),),
        test="tests/vm/test_idle_pages.py::test_collisions_are_forgotten_when_their_pages_are_gone",
        sign=r"WaitTimeoutError: waited \d",
    ),
    # The scanner finds pages that the removal has already unmerged in the index, and merges them again.
    Mutant(
        name="what is being removed still merges",
        edits=(
            Edit(
                "index.c",
                "\tif (ksm_item_chunk(item)->region->leaving)\n\t\treturn false;\n",
                "",
            ),
        ),
        test="tests/vm/test_ioctls.py::test_pages_of_a_region_being_removed_do_not_merge",
        sign=r"\d+ pages of what was removed are merged",
    ),
    # Two locks, each taken while the other is held: lockdep needs no deadlock to see it, and the
    # test that is named has none.
    Mutant(
        name="the order of two locks is reversed",
        edits=(
            Edit(
                "area.c",
                "\tif (mutex_lock_killable(&area->lock)) {\n\t\tkfree(region);\n"
                "\t\treturn -EINTR;\n\t}\n\tmutex_lock(&ksm_lock);\n",
                "\tmutex_lock(&ksm_lock);\n\tmutex_lock(&area->lock);\n",
            ),
        ),
        test="tests/vm/test_ioctls.py::test_remove_ignores_its_argument_and_takes_all_regions",
        sign=r"possible circular locking dependency",
        kernels=("debug-6.1",),
    ),
)


def make(mutant: Mutant, source: Path, target: Path) -> None:
    """Copy the driver's sources, and put the bug into the copy.

    Args:
        mutant: The bug.
        source: The directory kernel/ of the checkout.
        target: The directory to create.

    Raises:
        ValueError: An edit does not match the sources any more.
    """
    shutil.copytree(source, target)
    for edit in mutant.edits:
        path = target / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(
                f"the mutant {mutant.name!r} cannot be made: {edit.file} contains {edit.old!r} "
                f"{text.count(edit.old)} times instead of once. Next: adapt tests/host/mutants.py"
            )
        path.write_text(text.replace(edit.old, edit.new))
