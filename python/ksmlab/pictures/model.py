"""The data of a picture: the pages of arenas at a few moments. Stored as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from ksmlab import pagemap
from ksmlab.stored import check_format

if TYPE_CHECKING:
    from pathlib import Path

#: The format version of the JSON. Increase it when the meaning of the data changes.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Square:
    """One page at one moment.

    Attributes:
        page: The number of the page in the arena, from 0.
        pfn: Its page-frame number; 0 if it is not present.
        mapped: The number of page-table entries that map the frame, in all processes (/proc/kpagecount).
        kernel: Whether the frame is a kernel page of the driver. (Its entry in pagemap has the file bit.)
        label: A letter for its content; "" if no other page has the same content.
        written: Whether its process has written to it since the merge.
    """

    page: int
    pfn: int
    mapped: int
    kernel: bool
    label: str = ""
    written: bool = False

    def __str__(self) -> str:
        """Describe the page, for a tooltip and for screen readers."""
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
    """Pages of one arena at one moment. ``title`` is "" if the picture has only one arena."""

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
        """The number of different frames of the pages."""
        return pagemap.distinct(square.pfn for square in self.squares)

    @property
    def shared(self) -> frozenset[int]:
        """The frames that two or more of the pages share, and all kernel pages."""
        uses = Counter(square.pfn for square in self.squares if square.pfn)
        kernel = {square.pfn for square in self.squares if square.kernel}
        return frozenset(kernel | {pfn for pfn, count in uses.items() if count > 1})

    @property
    def summary(self) -> str:
        """The numbers of pages and frames, as a caption."""
        pages = sum(square.pfn != 0 for square in self.squares)
        return f"{pages:,} pages in {self.frames:,} frame{'' if self.frames == 1 else 's'}"


@dataclass(frozen=True, slots=True)
class Picture:
    """One or several arenas at a few moments.

    Attributes:
        command: The command that made the picture.
        kernel: The release of the kernel.
        moments: The moments, in the order of time.
    """

    command: str
    kernel: str
    moments: tuple[Moment, ...]

    def colours(self) -> dict[int, int]:
        """Return a number for each frame that is shared at any moment, in the order of appearance.

        A frame has the same number, and therefore the same colour, at all moments.
        """
        numbers: dict[int, int] = {}
        for moment in self.moments:
            shared = moment.shared
            for square in moment.squares:
                if square.pfn in shared:
                    numbers.setdefault(square.pfn, len(numbers))
        return numbers

    def named(self, *, command: str, kernel: str) -> Self:
        """Return the same picture with another command and kernel."""
        return replace(self, command=command, kernel=kernel)

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Convert the result of to_data().

        Raises:
            FormatError: The data has another format version.
        """
        again = "make it again with `ksmlab picture`"
        check_format(data, FORMAT, "the picture", untouched="Nothing was drawn.", hint=again)
        return cls(data["command"], data["kernel"], tuple(map(_moment, data["moments"])))

    def write(self, path: Path) -> None:
        """Write the picture as JSON."""
        path.write_text(json.dumps(self.to_data()) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a picture that write() has stored.

        Raises:
            FormatError: The file has another format version.
        """
        return cls.from_data(json.loads(path.read_text()))


def _moment(data: dict[str, Any]) -> Moment:
    strips = (
        Strip(strip["title"], tuple(Square(**square) for square in strip["squares"]))
        for strip in data["strips"]
    )
    return Moment(data["title"], tuple(strips))
