"""The kernel's log, a slice for each test: read in the guest, from /dev/kmsg."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from ksmlab.vm.splat import Splat, parse_kmsg, scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ksmlab.vm.waivers import Waiver

RECORD_BYTES = 8192
KMSG = "/dev/kmsg"
#: What a test's slice begins with, in the guest's log and in the one that the host reads from its console.
MARK = "pytest: begins: "
#: The kernel takes no record of more than 1 KB or so; the end of a name tells more than its begin.
MARKED_BYTES = 400
#: At this level a line reaches the console that the host reads.
MARK_LEVEL = 4


class KernelLog:
    """Read the kernel's log piece by piece.

    Args:
        path: A device that returns one record per read.
    """

    def __init__(self, path: str = KMSG) -> None:
        """Begin with the oldest record that there is."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def mark(self, nodeid: str) -> None:
        """Begin the slice of a test."""
        os.write(self._descriptor, f"<{MARK_LEVEL}>{mark_of(nodeid)}\n".encode())

    def take(self) -> list[str]:
        """Return the lines logged since the last call, without the marks.

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
            if not text.startswith(MARK):
                lines += text.split("\n")
        if lost:
            raise RuntimeError("the kernel overwrote records of its log before they were read")
        return lines

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)


def complaints(
    lines: Iterable[str], waivers: Sequence[Waiver] = ()
) -> tuple[list[Splat], list[tuple[Splat, Waiver]]]:
    """Find the kernel's reports in a slice of its log.

    Args:
        lines: The slice.
        waivers: The allow-list. A pattern is searched in the whole text of a report.

    Returns:
        The splats that fail a test, and those that are waived, each with its waiver.
    """
    counted: list[Splat] = []
    waived: list[tuple[Splat, Waiver]] = []
    for splat in scan(lines):
        text = "\n".join(splat.lines)
        waiver = next((each for each in waivers if each.pattern.search(text)), None)
        if waiver is None:
            counted.append(splat)
        else:
            waived.append((splat, waiver))
    return counted, waived


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
