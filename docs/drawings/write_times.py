"""How long a write takes to private and to merged pages: two histograms, from docs/data/write-times.json."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from drawings.canvas import WIDTH, Canvas
from ksmlab.vm.failures import cause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAME = "write-times"
DATA = Path(__file__).resolve().parents[1] / "data/write-times.json"
#: Bars for each factor of ten.
BARS = 6
#: What is private, and what is merged, in the data and in the colours.
KINDS = (("private", "one"), ("merged", "two"))
_LEFT, _RIGHT, _TOP, _HEIGHT, _PITCH = 16.0, 16.0, 164.0, 110.0, 220.0


@dataclass(frozen=True)
class Times:
    """What was measured, in ns.

    Attributes:
        kernel: the release of the kernel.
        rounds: for each round and kind, the time of one write to each page.
    """

    kernel: str
    rounds: Sequence[Mapping[str, Sequence[int]]]

    @classmethod
    def read(cls, path: Path = DATA) -> Times:
        """Read what measure.py of the lesson printed.

        Raises:
            ValueError: it is no such file.
        """
        try:
            data = json.loads(path.read_text())
            return cls(data["kernel"], tuple(data["rounds"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"Write times cannot be read from {path}: {cause(error)}. Nothing was drawn"
            ) from None

    def all(self, kind: str) -> list[int]:
        """Return the times of all writes to pages of a kind."""
        return [time for one in self.rounds for time in one[kind]]

    def fastest(self, kind: str) -> list[int]:
        """Return the time of the fastest write to each page of a kind."""
        return [min(times) for times in zip(*(one[kind] for one in self.rounds), strict=True)]


def bar(time: float) -> int:
    """Return the number of the bar that a time in ns belongs to; the first bar begins at 1 ns."""
    return math.floor(math.log10(time) * BARS + 1e-9)


def near(times: Iterable[int]) -> str:
    """Write the median of times in ns for a reader."""
    ordered = sorted(times)
    return f"{ordered[len(ordered) // 2] / 1000:.1f} µs"


def draw() -> str:
    """Return the SVG.

    Raises:
        ValueError: there are no data.
    """
    times = Times.read()
    pages, rounds = len(times.fastest("merged")), len(times.rounds)
    everything = [time for kind, _ in KINDS for time in times.all(kind)]
    low = BARS * math.floor(math.log10(min(everything)))
    high = BARS * math.ceil(math.log10(max(everything)))
    apart = min(times.fastest("merged")) > max(times.fastest("private"))
    verdict = (
        "no private page is as slow as a merged one"
        if apart
        else "some private pages are as slow as merged ones"
    )
    sheet = Canvas(
        _TOP + _PITCH + _HEIGHT + 112,
        "Times of a write",
        f"Two histograms on a logarithmic axis of time, from {pages} private and {pages} merged pages in {rounds} "
        f"rounds. The first has every write: the median is {near(times.all('private'))} for private and "
        f"{near(times.all('merged'))} for merged pages, but some writes to private pages are as slow as those to "
        f"merged ones. The second has the fastest write to each page: {verdict}.",
    )
    sheet.text(_LEFT, 32, "Times of a write", "head")
    sheet.text(_LEFT, 52, f"{rounds} writes to each page; Linux {times.kernel}", "dim small")
    sheet.box(_LEFT, 66, 14, 14, "one", 0).text(_LEFT + 22, 78, f"{pages} private pages", "small")
    sheet.box(_LEFT + 150, 66, 14, 14, "two", 0)
    sheet.text(_LEFT + 172, 78, f"{pages} merged pages", "small")
    for number, (title, words, get) in enumerate(
        (
            ("Every write", "some writes to private pages are slow, too", times.all),
            ("The fastest write to each page", verdict, times.fastest),
        )
    ):
        top = _TOP + number * _PITCH
        sheet.text(_LEFT, top - 46, title, "strong")
        sheet.text(_LEFT, top - 27, words, "small dim")
        _histogram(sheet, top, (low, high), {kind: get(kind) for kind, _ in KINDS})
    sheet.lines(
        _LEFT,
        _TOP + _PITCH + _HEIGHT + 50,
        "The axis is logarithmic. A number counts the writes or the\n"
        "pages of a bar. A merged page is slow each time, so its\n"
        "fastest write tells it from a private page.",
        "dim small",
        18,
    )
    return sheet.svg()


def _histogram(
    sheet: Canvas, top: float, limits: tuple[int, int], times: dict[str, list[int]]
) -> None:
    """Draw the bars of both kinds, those of one bin beside each other, and the axis."""
    low, high = limits
    wide = (WIDTH - _LEFT - _RIGHT) / (high - low)
    bottom = top + _HEIGHT
    counts = {kind: Counter(map(bar, found)) for kind, found in times.items()}
    most = max(max(one.values()) for one in counts.values())
    for kind, css in KINDS:
        shift = wide / 2 if kind == "merged" else 0.0
        for place, count in sorted(counts[kind].items()):
            tall = max(2.0, _HEIGHT * count / most)
            left = _LEFT + (place - low) * wide + shift
            sheet.box(left, bottom - tall, wide / 2, tall, css, 0)
            if count == max(counts[kind].values()):
                sheet.text(left + wide / 4, bottom - tall - 5, f"{count}", "small middle")
    sheet.line((_LEFT, bottom), (WIDTH - _RIGHT, bottom))
    for power in range(low // BARS, high // BARS + 1):
        x = _LEFT + (power * BARS - low) * wide
        sheet.line((x, bottom), (x, bottom + 5))
        micro = power - 3
        words = f"{10**micro:,} µs" if micro < 3 else f"{10 ** (micro - 3):,} ms"
        side = {low: "", high: "end"}.get(power * BARS, "middle")
        sheet.text(x, bottom + 20, words, f"small dim {side}".rstrip())
