"""A model of a merge."""


class Memory:
    """One address, the page that it maps, and an equal kernel page."""

    def __init__(self):
        """Map the page, also in the TLB of another CPU."""
        self.entry = "page"
        self.tlb = "page"
        self.refs = 0  # references besides that of the mapping
        self.content = {"page": "old", "kernel page": "old"}


def merge(memory):
    """Replace the page by the kernel page, or leave everything as it was."""
    # From now on, no CPU can take a new reference through this entry.
    memory.entry = None
    yield
    # From now on, no CPU can write through a copy of the entry.
    memory.tlb = None
    yield
    # This count has each reference that was taken before.
    if memory.refs:
        memory.entry = "page"
        return
    yield
    # No write is possible any more, so pages that are equal now stay equal.
    if memory.content["page"] != memory.content["kernel page"]:
        memory.entry = "page"
        return
    yield
    memory.entry = "kernel page"
