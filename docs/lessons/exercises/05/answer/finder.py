"""A model of how the driver finds equal pages with the hash index."""

from enum import Enum


class Result(Enum):
    """What a visit did with a page."""

    WAITS = "changed since the last visit: not looked up in this pass"
    UNSTABLE = "no match: in the unstable index"
    MERGED = "maps a kernel page"
    FAILED = "the matching page had changed: neither page was merged"


class Finder:
    """Pages have names; read() gives the content of a page.

    The content stands for the hash that the driver computes. stable holds the contents of the
    kernel pages. unstable maps the content that a page had when it was inserted to its name.
    """

    def __init__(self, read):
        """Take the function that gives the content of a page by its name."""
        self.read = read
        self.last = {}  # name -> content at the last visit
        self.stable = set()
        self.unstable = {}
        self.merged = set()  # names

    def visit(self, name) -> Result:
        """Visit a page, as kksmd does once in each pass."""
        content = self.read(name)
        last = self.last.get(name)
        self.last[name] = content
        if last not in (None, content):
            self.merged.discard(name)
            if self.unstable.get(last) == name:
                del self.unstable[last]
            return Result.WAITS
        if content in self.stable:
            self.merged.add(name)
            return Result.MERGED
        other = self.unstable.get(content)
        if other in (None, name):
            self.unstable[content] = name
            return Result.UNSTABLE
        # The search only suggests a match. The entry leaves the index whatever the merge finds.
        del self.unstable[content]
        if self.read(other) != content:
            return Result.FAILED
        self.stable.add(content)
        self.merged |= {name, other}
        return Result.MERGED
