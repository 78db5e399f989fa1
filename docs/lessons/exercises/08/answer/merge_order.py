"""A model of page_wrprotect() and what follows."""


class Memory:
    """One address, the page behind it, and an equal kernel page that is to take its place."""

    def __init__(self):
        """Begin with the page mapped, and in the TLB of another CPU."""
        self.entry = "page"
        self.tlb = "page"
        self.refs = 0  # beyond that of the mapping
        self.content = {"page": "old", "kernel page": "old"}


def merge(memory):
    """Put the kernel page in place of the page, or leave everything as it was."""
    # From here on no CPU takes a new reference through this entry ...
    memory.entry = None
    yield
    # ... and from here on no CPU writes through a copy of it.
    memory.tlb = None
    yield
    # A reference that was taken before shows here.
    if memory.refs:
        memory.entry = "page"
        return
    yield
    # No write is possible any more: pages that are equal now stay equal.
    if memory.content["page"] != memory.content["kernel page"]:
        memory.entry = "page"
        return
    yield
    memory.entry = "kernel page"
