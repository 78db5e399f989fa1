"""A model of how the driver finds equal pages. Fill in visit()."""

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
        """Look at a page, as kksmd does once in each pass.

        A page that is new, or has changed since the last visit, waits. Else it is merged if its
        content is stable; or if an unstable page has it still, and then both are; or it becomes
        unstable. An unstable entry whose page holds something else by now is replaced.
        """
        raise NotImplementedError
