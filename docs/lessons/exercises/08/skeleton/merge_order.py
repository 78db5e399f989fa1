"""A model of a merge. The steps of merge() are in the wrong order, and no step restores the entry. Correct both."""


class Memory:
    """One address, the page that it maps, and an equal kernel page."""

    def __init__(self):
        """Map the page, also in the TLB of another CPU."""
        self.entry = "page"
        self.tlb = "page"
        self.refs = 0  # references besides that of the mapping
        self.content = {"page": "old", "kernel page": "old"}


def merge(memory):
    """Replace the page by the kernel page, or leave everything as it was.

    At each yield, one of two others may run: a device that writes to the page by a reference, or
    another CPU that writes to it through its TLB.
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
