"""A model of copy-on-write. Complete write()."""

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
        """Map equal pages to one frame, read-only."""
        frame = Frame(self.entries[pages[0]].frame.content, len(pages))
        for page in pages:
            assert self.entries[page].frame.content == frame.content
            self.entries[page] = Entry(frame, writable=False)

    def write(self, page: int, content: str) -> None:
        """Write to a page as its owner does.

        If the entry is read-only, the write causes a fault. If other entries map the frame, the page
        gets a new one. If not, it keeps its frame. In both cases the entry becomes writable.
        """
        raise NotImplementedError
