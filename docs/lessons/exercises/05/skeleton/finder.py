"""A model of how the driver finds equal pages with the hash index. Fill in visit()."""

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
        """Visit a page, as kksmd does once in each pass.

        A page that has changed since the last visit is not merged any more, leaves the unstable
        index, and waits. Any other page, also a new one, is looked up: first in the stable index,
        then in the unstable one. If neither has a match, the page is inserted into the unstable
        index. If the match is another unstable page, that page leaves the index in any case. Read
        it again: if it still has this content, both pages are merged; if not, neither is, and the
        page of this visit is not inserted either.
        """
        raise NotImplementedError
