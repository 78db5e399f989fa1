"""Plot the driver's counters over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ksmlab.pictures.shapes import Plot, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ksmlab.demo.record import Line, Sample

_WIDTH, _HEIGHT = 340, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 20, 24
#: Labels that are closer to each other than this would overlap.
_CLOSE = 16

#: The counters to draw, and their meanings.
COUNTERS = {
    "pages_shared": "frames saved (mainline: pages_sharing)",
    "kernel_pages_allocated": "kernel pages in use",
    "full_scans": "passes completed",
    "pages_volatile": "pages that had changed, in the last pass",
}


def plots(samples: Sequence[Sample], lines: Sequence[Line]) -> list[Plot]:
    """Draw each counter that has been above zero.

    Args:
        samples: The values of the counters.
        lines: The lines that the run has shown. The plot has a vertical line at each step.
    """
    if not samples:
        return []
    steps = [line.seconds for line in lines if line.kind == "step"]
    end = max([samples[-1].seconds, *steps]) or 1.0
    found = []
    for name, meaning in COUNTERS.items():
        points = [(sample.seconds, getattr(sample, name)) for sample in samples]
        if any(value for _, value in points):
            found.append(_plot(name, meaning, points, steps, end))
    return found


def _plot(
    name: str,
    meaning: str,
    points: Sequence[tuple[float, int]],
    steps: Sequence[float],
    end: float,
) -> Plot:
    most = max(value for _, value in points)
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = _TOP + high

    def across(seconds: float) -> float:
        return _LEFT + seconds / end * wide

    def up(value: float) -> float:
        return bottom - value / most * high

    shapes = []
    for value in (0, most):
        shapes.append(Shape("line", "grid", (_LEFT, up(value), _LEFT + wide, up(value))))
        shapes.append(Shape("text", "tick end", (_LEFT - 6, up(value) + 4), f"{value:,}"))
    places = [across(seconds) for seconds in steps]
    shapes += [Shape("line", "step", (x, _TOP, x, bottom)) for x in places]
    shapes += [Shape("text", "tick middle", (x, _TOP - 6), text) for x, text in _numbers(places)]
    shapes.append(Shape("text", "tick", (_LEFT, bottom + 16), "0 s"))
    shapes.append(Shape("text", "tick end", (_LEFT + wide, bottom + 16), f"{end:.1f} s"))
    told = f"{name}: 0 to {most:,}, {points[-1][1]:,} at the end"
    line = tuple((across(seconds), up(value)) for seconds, value in points)
    shapes.append(Shape("polyline", "curve", text=told, points=line))
    return Plot(f"{name}: {meaning}", _WIDTH, _HEIGHT, tuple(shapes))


def _numbers(places: Sequence[float]) -> list[tuple[float, str]]:
    """Return the labels of the steps, with their positions. Steps that are close together share a label: "5, 6"."""
    labels: list[tuple[float, str]] = []
    for number, x in enumerate(places, start=1):
        if labels and x - labels[-1][0] < _CLOSE:
            before, text = labels[-1]
            labels[-1] = ((before + x) / 2, f"{text}, {number}")
        else:
            labels.append((x, str(number)))
    return labels
