"""The kernel's log, a slice for each test: read in the guest, from /dev/kmsg."""

from __future__ import annotations

import errno
import os
import re
import tomllib
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from ksmlab.vm.splat import Splat, parse_kmsg, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

RECORD_BYTES = 8192
KMSG = "/dev/kmsg"
#: What a test's slice begins with, in the guest's log and in the one that the host reads from its console.
MARK = "pytest: begins: "
#: The kernel takes no record of more than 1 KB or so; the end of a name tells more than its begin.
MARKED_BYTES = 400
#: At this level a line reaches the console that the host reads.
MARK_LEVEL = 4


class KernelLog:
    """Everything that the kernel has logged since the last look.

    Args:
        path: A device that gives one record a read.
    """

    def __init__(self, path: str = KMSG) -> None:
        """Begin with the oldest record that there is."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def mark(self, nodeid: str) -> None:
        """Begin the slice of a test."""
        os.write(self._descriptor, f"<{MARK_LEVEL}>{mark_of(nodeid)}\n".encode())

    def take(self) -> list[str]:
        """Give the new lines, without the marks.

        Raises:
            RuntimeError: The kernel overwrote records before they were read.
        """
        lines: list[str] = []
        lost = False
        while True:
            try:
                record = os.read(self._descriptor, RECORD_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                lost = True
                continue
            if not record:
                break
            text = parse_kmsg(record.decode(errors="replace")).text
            lines += [line for line in text.split("\n") if not line.startswith(MARK)]
        if lost:
            raise RuntimeError("the kernel overwrote records of its log before they were read")
        return lines

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


@dataclass(frozen=True)
class Excuse:
    """An entry of the allow-list.

    Attributes:
        pattern: A regular expression, searched in each line of a splat, and in a leak that kmemleak reports as a whole.
        reason: Why it is no failure.
        since: The day on which somebody looked at it.
    """

    pattern: re.Pattern[str]
    reason: str
    since: date


def load_excuses(path: Path) -> tuple[Excuse, ...]:
    """Read an allow-list: tables [[allow]] with `pattern`, `reason` and `since`.

    Raises:
        ValueError: An entry lacks one of them, or has something else.
    """
    excuses = []
    for number, table in enumerate(tomllib.loads(path.read_text()).get("allow", []), 1):
        where = f"{path}: entry {number}"
        if set(table) != {"pattern", "reason", "since"}:
            raise ValueError(f"{where}: it wants pattern, reason and since, and has {[*table]}")
        if not isinstance(table["since"], date) or not str(table["reason"]).strip():
            raise ValueError(f"{where}: since is a date (2026-01-31), and reason is not empty")
        try:
            pattern = re.compile(table["pattern"])
        except re.error as error:
            raise ValueError(f"{where}: pattern: {error}") from error
        excuses.append(Excuse(pattern, table["reason"], table["since"]))
    return tuple(excuses)


def complaints(
    lines: Iterable[str], excuses: Sequence[Excuse] = ()
) -> tuple[list[Splat], list[tuple[Splat, Excuse]]]:
    """Find what the kernel complained about.

    Args:
        lines: A slice of its log.
        excuses: The allow-list.

    Returns:
        The splats that count, and those that are excused, each with its excuse.
    """
    counted: list[Splat] = []
    excused: list[tuple[Splat, Excuse]] = []
    for splat in scan(lines):
        excuse = next(
            (each for each in excuses if any(map(each.pattern.search, splat.lines))), None
        )
        if excuse is None:
            counted.append(splat)
        else:
            excused.append((splat, excuse))
    return counted, excused


def mark_of(nodeid: str) -> str:
    """Give what a test's slice begins with: a line of the log, which says what of the name there is room for."""
    name = nodeid.encode()[-MARKED_BYTES:].decode(errors="ignore")
    return f"{MARK}{name}".rstrip()


def slice_of(lines: Sequence[str], nodeid: str) -> list[str]:
    """Cut a test's slice from the log that the host read from the console.

    The whole log is given if the mark did not get there: better too much than nothing.
    """
    mark = mark_of(nodeid)
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].rstrip().endswith(mark):
            return list(lines[index + 1 :])
    return list(lines)
