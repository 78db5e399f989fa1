"""Copy-on-write in a model. Fill in write()."""

from dataclasses import dataclass


@dataclass
class Frame:
    """A frame, and how many entries map it."""

    content: str
    mapped: int = 1


@dataclass
class Entry:
    """A page-table entry of a mapping that may be written."""

    frame: Frame
    writable: bool = True


class Memory:
    """Pages by number."""

    def __init__(self, contents: list[str]):
        """Give each page a frame of its own."""
        self.entries = [Entry(Frame(content)) for content in contents]
        self.faults = 0

    def merge(self, pages: list[int]) -> None:
        """Put one frame behind pages that are equal, read-only."""
        frame = Frame(self.entries[pages[0]].frame.content, len(pages))
        for page in pages:
            assert self.entries[page].frame.content == frame.content
            self.entries[page] = Entry(frame, writable=False)

    def write(self, page: int, content: str) -> None:
        """Write to a page as its owner does.

        If the entry does not allow it, that is a fault. The page gets a frame of its own, unless it
        is the only one that maps its frame: then it may have that one, without a copy.
        """
        raise NotImplementedError
