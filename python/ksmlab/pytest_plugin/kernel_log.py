"""Read the kernel's log in the guest, from /dev/kmsg, and split it by tests."""

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
#: The beginning of the line that marks the start of a test, in the guest's log and in the host's copy of it.
MARK = "pytest: begins: "
#: Only the end of a test's name is logged, since the kernel limits a record to about 1 KB.
MARKED_BYTES = 400
#: A log level at which a line reaches the console, and so the host.
MARK_LEVEL = 4


class KernelLog:
    """Reads the kernel's log in parts, beginning with the oldest record.

    Args:
        path: A device that returns one record per read.
    """

    def __init__(self, path: str = KMSG) -> None:
        """Open the device."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def mark(self, nodeid: str) -> None:
        """Write the line that marks the start of a test to the log."""
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
    """Find the kernel's reports of errors in a part of its log.

    Args:
        lines: The part of the log.
        waivers: The allow-list. Each pattern is searched in the whole text of a report.

    Returns:
        The reports that fail a test, and the waived reports, each with its waiver.
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
    """Return the line that marks the start of a test, with the end of its name."""
    name = nodeid.encode()[-MARKED_BYTES:].decode(errors="ignore")
    return f"{MARK}{name}".rstrip()


def slice_of(lines: Sequence[str], nodeid: str) -> list[str]:
    """Return the part of the log that belongs to a test, from the log that the host has read from the console.

    If the log does not have the test's mark, the whole log is returned.

    Args:
        lines: The log.
        nodeid: The test.
    """
    mark = mark_of(nodeid)
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].rstrip().endswith(mark):
            return list(lines[index + 1 :])
    return list(lines)
