"""A model of page_wrprotect() and what follows. The steps of merge() are in the wrong order: mend it."""


class Memory:
    """One address, the page behind it, and an equal kernel page that is to take its place."""

    def __init__(self):
        """Begin with the page mapped, and in the TLB of another CPU."""
        self.entry = "page"
        self.tlb = "page"
        self.refs = 0  # beyond that of the mapping
        self.content = {"page": "old", "kernel page": "old"}


def merge(memory):
    """Put the kernel page in place of the page, or leave everything as it was.

    Each yield is a moment at which others may run: a device that reads into the page by a
    reference, and another CPU that writes through its TLB.
    """
    if memory.content["page"] != memory.content["kernel page"]:
        return
    yield
    if memory.refs:
        return
    yield
    memory.entry = None
    yield
    memory.tlb = None
    yield
    memory.entry = "kernel page"
