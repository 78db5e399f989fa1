"""The frames of pages after writes."""

from cow import Memory


def frames(memory: Memory) -> int:
    return len({id(entry.frame) for entry in memory.entries})


def contents(memory: Memory) -> list[str]:
    return [entry.frame.content for entry in memory.entries]


def test_a_write_to_a_private_page_causes_no_fault() -> None:
    memory = Memory(["a", "a"])
    memory.write(0, "b")
    assert contents(memory) == ["b", "a"], (
        f"A write to page 0 must change page 0 and no other page: expected b, a; the pages have {contents(memory)}."
    )
    assert memory.faults == 0, (
        f"The entry is writable, so a write causes no fault; `faults` is {memory.faults}. See 'What a merge and a "
        "write "
        "change'."
    )


def test_a_write_to_a_merged_page_changes_no_other_page() -> None:
    memory = Memory(["a"] * 4)
    memory.merge([0, 1, 2, 3])
    memory.write(2, "mine")
    assert contents(memory) == ["a", "a", "mine", "a"], (
        "Four merged pages, and a write to page 2: the other three must keep their content, a. The pages have "
        f"{contents(memory)}. The written page needs a new frame."
    )
    assert frames(memory) == 2, (
        f"Three pages share the old frame and page 2 has a new one: 2 frames. There are {frames(memory)}."
    )
    mapped = memory.entries[0].frame.mapped
    assert mapped == 3, (
        f"Three entries still map the old frame, so its `mapped` must be 3; it is {mapped}. See 'What a merge and "
        "a write "
        "change'."
    )
    assert memory.faults == 1, (
        f"One write to a read-only entry is one fault; `faults` is {memory.faults}."
    )
    memory.write(2, "again")
    assert memory.faults == 1, (
        "The second write to page 2 must cause no fault, because the entry of its new frame is writable; `faults` is "
        f"{memory.faults}."
    )


def test_a_write_of_the_same_byte_copies_the_page() -> None:
    memory = Memory(["a", "a"])
    memory.merge([0, 1])
    memory.write(0, "a")
    assert frames(memory) == 2, (
        "The CPU does not compare bytes, so a write of the old content must copy the page, too: expected 2 "
        "frames, there "
        f"are {frames(memory)}."
    )


def test_the_last_page_keeps_the_frame() -> None:
    memory = Memory(["a", "a"])
    memory.merge([0, 1])
    last = memory.entries[1].frame
    memory.write(0, "b")
    memory.write(1, "c")
    assert memory.entries[1].frame is last, (
        "After the write to page 0, only page 1 maps the old frame. So a write to page 1 must not copy: the page keeps "
        "its frame. Your code gave it another one."
    )
    assert memory.faults == 2, (
        "Both entries were read-only, so both writes are faults, also the one without a copy; `faults` is "
        f"{memory.faults}."
    )
    assert last.mapped == 1, (
        f"One entry maps the old frame, so its `mapped` must be 1; it is {last.mapped}."
    )
