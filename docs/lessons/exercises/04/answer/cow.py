"""A model of copy-on-write."""

from dataclasses import dataclass


@dataclass
class Frame:
    """A frame, and the number of entries that map it."""

    content: str
    mapped: int = 1


@dataclass
class Entry:
    """A page-table entry. The process may write to the page, even if the entry is read-only."""

    frame: Frame
    writable: bool = True


class Memory:
    """The pages of a process, numbered from 0."""

    def __init__(self, contents: list[str]):
        """Give each page its own frame."""
        self.entries = [Entry(Frame(content)) for content in contents]
        self.faults = 0

    def merge(self, pages: list[int]) -> None:
        """Map all these equal pages to one frame, read-only."""
        frame = Frame(self.entries[pages[0]].frame.content, len(pages))
        for page in pages:
            assert self.entries[page].frame.content == frame.content
            self.entries[page] = Entry(frame, writable=False)

    def write(self, page: int, content: str) -> None:
        """Write to a page, as its process does."""
        entry = self.entries[page]
        if not entry.writable:
            self.faults += 1
            if entry.frame.mapped > 1:
                entry.frame.mapped -= 1
                entry.frame = Frame(entry.frame.content)
            entry.writable = True
        entry.frame.content = content
