"""What a picture shows: the pages of arenas, at a few moments. Plain data, stored as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from ksmlab import pagemap
from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: Grows when the JSON changes its meaning.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Square:
    """One page at one moment.

    Attributes:
        page: its number in the arena, from 0.
        pfn: its page-frame number, 0 if it is not present.
        mapped: page-table entries that map the frame (/proc/kpagecount), wherever they are.
        kernel: whether the frame is a kernel page of the driver (pagemap's file bit in anonymous memory).
        label: a short name of its content, "" if it is equal to no other page.
        written: whether its process has written it since the merge.
    """

    page: int
    pfn: int
    mapped: int
    kernel: bool
    label: str = ""
    written: bool = False

    def __str__(self) -> str:
        """Say it in words, for a pointer that rests on it and for a screen reader."""
        if not self.pfn:
            return f"page {self.page}: not present"
        times = "once" if self.mapped == 1 else f"{self.mapped} times"
        words = [f"page {self.page}: frame {self.pfn:#x}", f"mapped {times}"]
        if self.kernel:
            words.append("a kernel page")
        if self.label:
            words.append(f"content {self.label}")
        if self.written:
            words.append("written")
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Strip:
    """Pages of one arena at one moment; ``title`` says whose, "" if there is one arena alone."""

    title: str
    squares: tuple[Square, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """All pages at one moment, such as "before the merge"."""

    title: str
    strips: tuple[Strip, ...]

    @property
    def squares(self) -> tuple[Square, ...]:
        """The pages of all strips."""
        return tuple(square for strip in self.strips for square in strip.squares)

    @property
    def frames(self) -> int:
        """How many different frames the pages are in."""
        return pagemap.distinct(square.pfn for square in self.squares)

    @property
    def shared(self) -> frozenset[int]:
        """The frames that two or more of the pages have, and the kernel pages."""
        uses = Counter(square.pfn for square in self.squares if square.pfn)
        kernel = {square.pfn for square in self.squares if square.kernel}
        return frozenset(kernel | {pfn for pfn, count in uses.items() if count > 1})

    @property
    def summary(self) -> str:
        """The numbers, for a caption."""
        pages = sum(square.pfn != 0 for square in self.squares)
        return f"{pages:,} pages in {self.frames:,} frame{'' if self.frames == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Picture:
    """An arena, or several, at a few moments.

    Attributes:
        command: what made it.
        kernel: the release that it ran on.
        moments: in the order of time.
    """

    command: str
    kernel: str
    moments: tuple[Moment, ...]

    def colours(self) -> dict[int, int]:
        """Number the frames that are shared at some moment, in the order in which they appear.

        A frame has the same number, and so the same colour, at every moment.
        """
        numbers: dict[int, int] = {}
        for moment in self.moments:
            shared = moment.shared
            for square in moment.squares:
                if square.pfn in shared:
                    numbers.setdefault(square.pfn, len(numbers))
        return numbers

    def named(self, *, command: str, kernel: str) -> Self:
        """Give the same picture with another command and kernel."""
        return replace(self, command=command, kernel=kernel)

    def to_data(self) -> dict[str, Any]:
        """Give plain data, for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Take what to_data() gave.

        Raises:
            FormatError: it is of another format.
        """
        again = "make it again with `ksmlab picture`"
        check_format(data, FORMAT, "the picture", untouched="Nothing was drawn.", hint=again)
        return cls(data["command"], data["kernel"], tuple(map(_moment, data["moments"])))

    def write(self, path: Path) -> None:
        """Store it as JSON."""
        path.write_text(json.dumps(self.to_data()) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what write() stored; FormatError if it is of another format."""
        return cls.from_data(json.loads(path.read_text()))


def _moment(data: dict[str, Any]) -> Moment:
    strips = (
        Strip(strip["title"], tuple(Square(**square) for square in strip["squares"]))
        for strip in data["strips"]
    )
    return Moment(data["title"], tuple(strips))
