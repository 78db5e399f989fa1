"""A recording as an animated SVG: the states of the screen one below the other, moved past a window."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyte

from recording.cast import RecordingError

if TYPE_CHECKING:
    from recording.cast import Cast

#: The longest time that a state is shown, in seconds: the film cuts the machine's waiting times.
LONGEST = 1.0
#: The shortest time that a state is shown, except the last one, which stays long enough to be read.
SHORTEST = 0.2
LAST = 6.0
STYLE = Path(__file__).with_name("terminal.css")
_SIZE, _ADVANCE, _ROW, _BAR = 14, 8.4, 18, 30
#: The margins beside the terminal, and above and below it.
_SIDE, _PAD = 8, 14
_SPINNER = re.compile("[\u2800-\u28ff]")
# The emulator knows no dim text; to it, it is grey.
_DIM = re.compile(r"\x1b\[2m")

_CUT = re.compile(r"(.*?)((?:\x1b\[?[\d;?]*)?)", re.DOTALL)

#: A row: runs of text, each with its first column and its classes.
Row = tuple[tuple[int, str, str], ...]


@dataclass(frozen=True)
class State:
    """What the screen shows for some seconds."""

    rows: tuple[Row, ...]
    seconds: float


def _css(char: pyte.screens.Char) -> str:
    names = [f"fg-{char.fg}"] if char.fg != "default" else []
    return " ".join([*names, "bold"] if char.bold else names)


def _rows(screen: pyte.Screen) -> tuple[Row, ...]:
    found = []
    for number in range(screen.lines):
        line = screen.buffer[number]
        cells = [line[column] for column in range(screen.columns)]
        runs, column = [], 0
        for css, group in groupby(cells, _css):
            text = "".join(char.data for char in group)
            if text.strip():
                runs.append((column, text.rstrip(), css))
            column += len(text)
        found.append(tuple(runs))
    return tuple(found)


def _still(rows: tuple[Row, ...]) -> str:
    """Return what is on the screen, with the spinner where it always is."""
    return _SPINNER.sub("\u280b", repr(rows))


def states(cast: Cast) -> list[State]:
    """Play a recording on an emulated terminal, and return what is worth showing of it.

    Raises:
        RecordingError: nothing was printed.
    """
    screen = pyte.Screen(cast.width, cast.height)
    stream = pyte.Stream(screen)
    shown: list[tuple[float, tuple[Row, ...]]] = []
    rest = ""
    for seconds, piece in cast.pieces:
        # A sequence may come in two pieces.
        text, rest = _CUT.fullmatch(rest + piece).groups()  # type: ignore[union-attr]
        stream.feed(_DIM.sub("\x1b[90m", text))
        rows = _rows(screen)
        if shown and seconds - shown[-1][0] < SHORTEST:
            shown[-1] = (shown[-1][0], rows)
        elif not shown or _still(shown[-1][1]) != _still(rows):
            shown.append((seconds, rows))
    if not shown:
        raise RecordingError(f"`{cast.title}` printed nothing. Nothing was drawn")
    ends = [seconds for seconds, _ in shown[1:]]
    found = [
        State(rows, min(LONGEST, end - seconds))
        for (seconds, rows), end in zip(shown[:-1], ends, strict=True)
    ]
    return [*found, State(shown[-1][1], LAST)]


def _draw_row(row: Row) -> str:
    parts = []
    for column, text, css in row:
        name = f' class="{css}"' if css else ""
        parts.append(
            f'<text{name} x="{column * _ADVANCE:.1f}" textLength="{len(text) * _ADVANCE:.1f}">{escape(text)}</text>'
        )
    return "".join(parts)


def svg(cast: Cast) -> str:
    """Return a recording as an SVG that plays by itself; who wants no motion sees the last state.

    Raises:
        RecordingError: nothing was printed.
    """
    film = states(cast)
    width, height = cast.width * _ADVANCE + 2 * _SIDE, cast.height * _ROW + 2 * _PAD + _BAR
    window = cast.height * _ROW
    known: dict[Row, str] = {}
    body, marks, begin = [], [], 0.0
    whole = sum(state.seconds for state in film)
    for number, state in enumerate(film):
        uses = []
        for row, runs in enumerate(state.rows):
            if runs:
                name = known.setdefault(runs, f"r{len(known)}")
                uses.append(f'<use href="#{name}" y="{row * _ROW + _SIZE}"/>')
        body.append(f'<g transform="translate(0 {number * window})">{"".join(uses)}</g>')
        marks.append(
            f"{100 * begin / whole:.3f}% {{ transform: translateY({-number * window}px); }}"
        )
        begin += state.seconds
    last = -(len(film) - 1) * window
    rows = "\n".join(f'<g id="{name}">{_draw_row(row)}</g>' for row, name in known.items())
    title = escape(cast.title)
    size = f'viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" class="terminal" {size} role="img" aria-labelledby="t">
<title id="t">A recording of {title} on a terminal</title>
<style>
{escape(STYLE.read_text(), quote=False)}.film {{ animation: film {whole:.2f}s steps(1, end) infinite; }}
@keyframes film {{
{chr(10).join(marks)}
100% {{ transform: translateY({last}px); }} }}
@media (prefers-reduced-motion: reduce) {{ .film {{ animation: none; transform: translateY({last}px); }} }}
</style>
<defs>
{rows}
</defs>
<rect class="card" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>
<text class="prompt" x="{_SIDE}" y="{_PAD + 8}">$ {title}</text>
<svg x="{_SIDE}" y="{_PAD + _BAR - 6}" width="{cast.width * _ADVANCE:.1f}" height="{window}"><g class="film">
{chr(10).join(body)}
</g></svg>
</svg>
"""
