"""Who is where after a write."""

from cow import Memory


def frames(memory: Memory) -> int:
    return len({id(entry.frame) for entry in memory.entries})


def test_a_write_to_a_private_page_is_no_fault() -> None:
    memory = Memory(["a", "a"])
    memory.write(0, "b")
    assert [entry.frame.content for entry in memory.entries] == ["b", "a"]
    assert memory.faults == 0


def test_a_write_to_a_merged_page_leaves_the_others() -> None:
    memory = Memory(["a"] * 4)
    memory.merge([0, 1, 2, 3])
    assert frames(memory) == 1
    memory.write(2, "mine")
    assert [entry.frame.content for entry in memory.entries] == ["a", "a", "mine", "a"]
    assert frames(memory) == 2
    assert memory.entries[0].frame.mapped == 3
    assert memory.faults == 1
    memory.write(2, "again")
    assert memory.faults == 1


def test_the_same_byte_is_a_write_too() -> None:
    memory = Memory(["a", "a"])
    memory.merge([0, 1])
    memory.write(0, "a")
    assert frames(memory) == 2


def test_the_last_one_keeps_the_frame() -> None:
    memory = Memory(["a", "a"])
    memory.merge([0, 1])
    last = memory.entries[1].frame
    memory.write(0, "b")
    memory.write(1, "c")
    assert memory.entries[1].frame is last
    assert memory.faults == 2
    assert last.mapped == 1
