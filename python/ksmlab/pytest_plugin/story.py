"""The state of a test in a VM, which the host derives from events.

    setup -> call -> teardown -> done
      any of them ------------> lost

This module does no I/O: its input is events, and its output is reports. So unit tests can run it with stored events.
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.pytest_plugin.kernel_log import slice_of
from ksmlab.vm.errors import GuestEnded, GuestMemory, Hang, KernelPanic, LostVM, VmError
from ksmlab.vm.splat import clean, panic_section

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ksmlab.pytest_plugin.wire import Frame

OUT_OF_MEMORY = re.compile(r"Out of memory: Killed process \d+ \((?P<name>[^)]*)\)")
KILLED = 128 + 9
AGAIN = "The VM is booted again for the next test."


class State(enum.Enum):
    """The state of a test. The phases have the same names as in pytest."""

    SETUP = "setup"
    CALL = "call"
    TEARDOWN = "teardown"
    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True)
class Said:
    """The guest's pytest has sent a frame."""

    frame: Frame


@dataclass(frozen=True)
class Ended:
    """The guest's pytest has ended with an exit status, while the VM still runs."""

    status: int


@dataclass(frozen=True)
class Gone:
    """The VM has ended."""

    error: VmError


@dataclass(frozen=True)
class Late:
    """There was no other event before the deadline, which was `seconds` after the start of the test."""

    seconds: float


Event = Said | Ended | Gone | Late


def to_json(event: Event) -> Frame:
    """Convert an event to plain data, for JSON."""
    match event:
        case Said(frame):
            return {"said": frame}
        case Ended(status):
            return {"ended": status}
        case Gone(error):
            return {"gone": type(error).__name__, "what": error.what, "hint": error.hint}
        case Late(seconds):
            return {"late": seconds}


def from_json(data: Frame) -> Event:
    """Convert the result of `to_json` to an event.

    Raises:
        KeyError: The data is not an event.
    """
    if "said" in data:
        return Said(data["said"])
    if "ended" in data:
        return Ended(data["ended"])
    if "late" in data:
        return Late(data["late"])
    kind = KernelPanic if data["gone"] == KernelPanic.__name__ else LostVM
    return Gone(kind(data["what"], hint=data["hint"]))


class Story:
    """The state of one test.

    Args:
        nodeid: The test.

    Attributes:
        nodeid: The test.
        state: The current state.
        phase: The current or last phase.
        lost_by: The event by which the VM was lost; None if it was not.
        sections: The addresses of the modules' sections, by module and section name, if the VM may be kept.
        warnings: The frames with the warnings of the test.
        events: All events.
    """

    def __init__(self, nodeid: str) -> None:
        """Begin with the setup of the test."""
        self.nodeid = nodeid
        self.state = State.SETUP
        self.phase = State.SETUP
        self.lost_by: Event | None = None
        self.sections: dict[str, dict[str, str]] = {}
        self.warnings: list[Frame] = []
        self.events: list[Event] = []

    @property
    def over(self) -> bool:
        """Whether the test has ended, so that no more events belong to it."""
        return self.state in {State.DONE, State.LOST}

    def take(self, event: Event) -> Frame | None:
        """Process an event, and change the state accordingly.

        Returns:
            The serialised report to publish, if the event has one.

        Raises:
            ValueError: The event belongs to another test, or the test has already ended.
        """
        if self.over:
            raise ValueError(f"{event} after the end of {self.nodeid}")
        self.events.append(event)
        if not isinstance(event, Said) or event.frame["is"] == "error":
            self.lost_by = event
            self.state = State.LOST
            return None
        frame = event.frame
        if frame.get("id") != self.nodeid:
            raise ValueError(f"a frame of {frame.get('id')!r} came while {self.nodeid} ran")
        if frame["is"] == "done":
            self.state = State.DONE
            return None
        if frame["is"] == "warning":
            self.warnings.append(frame)
            return None
        self.sections = frame.get("sections", {})
        report: Frame = frame["report"]
        self._passed(report)
        return report

    def _passed(self, report: Frame) -> None:
        """Enter the phase that follows the phase of a report."""
        if report["when"] == "setup" and report["outcome"] == "passed":
            self._enter(State.CALL)
        elif report["when"] != "teardown":
            self._enter(State.TEARDOWN)

    def _enter(self, phase: State) -> None:
        self.state = self.phase = phase

    def record(self, directory: Path, log: Sequence[str]) -> None:
        """Store the events of the test as JSON, for unit tests that need no VM.

        Args:
            directory: The directory to write to. The name of the file is that of the test.
            log: The kernel's log, as read from the console by the host.
        """
        directory.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "_", self.nodeid.rsplit("/", 1)[-1]).strip("_")
        stored = {
            "nodeid": self.nodeid,
            "events": [to_json(event) for event in self.events],
            "log": list(log),
        }
        (directory / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n")

    def loss(self, log: Sequence[str]) -> LostVM:
        """Return the error that describes how the VM was lost.

        Args:
            log: The kernel's log, as read from the console by the host.

        Raises:
            ValueError: The VM was not lost.
        """
        if self.lost_by is None:
            raise ValueError(f"{self.nodeid} is not lost")
        during = f"in the {self.phase.value} of {self.nodeid}"
        return loss(self.lost_by, during, slice_of(log, self.nodeid), AGAIN)


def loss(lost_by: Event, during: str, log: Sequence[str], untouched: str = "") -> LostVM:
    """Return the error that describes how a VM was lost.

    Args:
        lost_by: The last event of the VM.
        during: The time of the event, as the end of a sentence.
        log: The kernel's log of that time.
        untouched: The part of the message that says what is not affected.
    """
    lines = [clean(line) for line in log]
    shown = "\n".join(lines)
    match lost_by:
        case Ended(status):
            if status == KILLED and any(map(OUT_OF_MEMORY.search, lines)):
                return GuestMemory(
                    f"The guest ran out of memory {during}, and its kernel killed the tests.",
                    untouched=untouched,
                    hint="Give the VM more memory (--vm-memory), or let the test use less.",
                    log=shown,
                )
            return GuestEnded(
                f"pytest in the VM ended with status {status} {during}.",
                untouched=untouched,
                hint="Its last output is in the section Console.",
                log=shown,
            )
        case Late(seconds):
            return Hang(
                f"Nothing came from the VM for {seconds:.0f} s {during}.",
                untouched=untouched,
                hint="Either the VM hangs, or the test needs a longer time limit: "
                "@pytest.mark.vm_deadline(seconds), or --vm-deadline.",
                log=shown,
            )
        case Gone(KernelPanic()):
            return KernelPanic(
                f"The kernel panicked {during}.",
                untouched=untouched,
                hint="The log of the panic is in the section Kernel log.",
                log=panic_section(lines),
            )
        case Gone(error):
            return LostVM(
                f"{error.what.rstrip('.')}, {during}.",
                untouched=untouched,
                hint=error.hint,
                log=shown,
            )
        case Said(frame):
            return GuestEnded(
                f"pytest in the VM failed {during}, because of an error outside of the test.",
                untouched=untouched,
                hint=frame.get("text", str(frame)),
                log=shown,
            )
