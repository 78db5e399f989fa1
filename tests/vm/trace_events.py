"""Record the tracepoints of the driver."""

from __future__ import annotations

import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACING = Path("/sys/kernel/tracing")
_FIELD = re.compile(r"(\w+)=(\d+)")


@contextmanager
def traced(event: str = "") -> Iterator[list[str]]:
    """Record events of the driver.

    Args:
        event: one event, without the prefix of the driver; all of them if it is empty.

    Yields:
        A list that is filled when the with statement ends: the text of each event, without the prefix.
    """
    group = TRACING / "events/devksm"
    switch = (group / f"devksm_{event}" if event else group) / "enable"
    lines: list[str] = []
    (TRACING / "trace").write_text("")
    switch.write_text("1")
    try:
        yield lines
    finally:
        switch.write_text("0")
        lines += [
            line.split(" devksm_", 1)[1]
            for line in (TRACING / "trace").read_text().splitlines()
            if " devksm_" in line
        ]


def numbers(line: str) -> dict[str, int]:
    """Return the decimal fields of an event by name."""
    return {name: int(value) for name, value in _FIELD.findall(line)}
