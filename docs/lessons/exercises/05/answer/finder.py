"""A model of how the driver finds equal pages."""

from enum import Enum


class Result(Enum):
    """What became of a page that was visited."""

    WAITS = "new, or changed since the last visit: not looked up at all"
    UNSTABLE = "put among the unstable pages"
    MERGED = "merged"


class Finder:
    """Pages have names; what they hold is asked for with read().

    stable holds contents of which there is a kernel page; unstable has, by its content when it
    was put there, the name of a page.
    """

    def __init__(self, read):
        """Take the function that gives the content of a page by its name."""
        self.read = read
        self.last = {}  # content at the last visit, by name
        self.stable = set()
        self.unstable = {}
        self.merged = set()  # names

    def visit(self, name) -> Result:
        """Look at a page, as kksmd does once in each pass."""
        content = self.read(name)
        if self.last.get(name) != content:
            self.last[name] = content
            return Result.WAITS
        if content in self.stable:
            self.merged.add(name)
            return Result.MERGED
        other = self.unstable.get(content)
        if other in (None, name) or self.read(other) != content:
            self.unstable[content] = name
            return Result.UNSTABLE
        # What the index says is a suggestion; read() was the proof.
        del self.unstable[content]
        self.stable.add(content)
        self.merged |= {name, other}
        return Result.MERGED
