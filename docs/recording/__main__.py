"""Record a command, or draw a recording; see the package."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from recording.cast import Cast, RecordingError, record

#: Seconds that a recorded command may take.
DEADLINE = 900.0
WIDTH, HEIGHT = 52, 20


def main() -> int:
    """Run as a program; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m recording", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    taking = actions.add_parser("record", help="run a command, and store what it prints")
    taking.add_argument("cast", type=Path, help="where the recording goes")
    taking.add_argument("--width", type=int, default=WIDTH, help="columns")
    taking.add_argument("--height", type=int, default=HEIGHT, help="rows")
    taking.add_argument("--title", help="what the drawing calls it, if not the command")
    taking.add_argument("command", nargs="+", help="after --")
    drawing = actions.add_parser("draw", help="draw a stored recording")
    drawing.add_argument("cast", type=Path, help="what record has stored")
    drawing.add_argument("svg", type=Path, help="where the drawing goes")
    drawing.add_argument(
        "--since", default="", help="drop the output before this regular expression"
    )
    arguments = parser.parse_args()
    try:
        if arguments.action == "record":
            made = record(arguments.command, arguments.width, arguments.height, DEADLINE)
            replace(made, title=arguments.title or made.title).write(arguments.cast)
        else:
            # Here alone: recording wants no terminal emulator.
            from recording.film import svg  # noqa: PLC0415

            arguments.svg.write_text(svg(Cast.read(arguments.cast).since(arguments.since)))
    except RecordingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


sys.exit(main())
