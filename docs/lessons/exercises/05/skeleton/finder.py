"""A model of how the driver finds equal pages with the hash index. Complete visit()."""

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
        """Visit a page, as kksmd does once in each pass.

        If the page has changed since the last visit, remove it from the unstable index and from
        `merged` (a write to a merged page gives this page its own frame), and return WAITS.

        Look up any other page, also a new one: first in the stable index, then in the unstable
        index. If there is no match, insert the page into the unstable index. If the match is
        another unstable page, remove that page from the index, and read it again. If it still has
        the same content, merge both pages. If not, merge neither of them, and do not insert the
        visited page.
        """
        raise NotImplementedError
