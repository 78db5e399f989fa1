"""A model of how the driver finds equal pages with the hash index."""

from enum import Enum


class Result(Enum):
    """The result of a visit."""

    WAITS = "changed since the last visit: not looked up in this pass"
    UNSTABLE = "no match: in the unstable index"
    MERGED = "maps a kernel page"
    FAILED = "the matching page had changed: neither page was merged"


class Finder:
    """A scanner and its two indexes. Each page has a name.

    Where the driver uses a hash, the model uses the content. `stable` is the set of the contents of
    all kernel pages. `unstable` is a dict: the key is the content that a page had when
    it was inserted, and the value is the name of the page. The driver frees a kernel page that no
    process maps any more, but the model never removes a content from `stable`.
    """

    def __init__(self, read):
        """Start without pages. read(name) returns the content of a page."""
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
