"""The story of one test in a VM, as the host hears it: what state it is in, and how it ended.

    ordered -> setup -> call -> teardown -> done
        any of them ----------------------> lost

Nothing here waits, reads or prints: events go in, reports come out. So the same code runs on stored events.
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
    """Where a test is; the names of the phases are pytest's."""

    SETUP = "setup"
    CALL = "call"
    TEARDOWN = "teardown"
    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True)
class Said:
    """The guest's pytest sent a frame."""

    frame: Frame


@dataclass(frozen=True)
class Ended:
    """The guest's pytest ended by itself, with that status; the VM is still there."""

    status: int


@dataclass(frozen=True)
class Gone:
    """The VM went away."""

    error: VmError


@dataclass(frozen=True)
class Late:
    """Nothing of all that came before the deadline of `seconds`."""

    seconds: float


Event = Said | Ended | Gone | Late


def to_json(event: Event) -> Frame:
    """Put an event down, for a stored story."""
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
    """Take up an event that `to_json` put down.

    Raises:
        KeyError: It is none.
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
    """Follow one test.

    Args:
        nodeid: Which.
    """

    def __init__(self, nodeid: str) -> None:
        """Begin in the setup, which is what a guest does first."""
        self.nodeid = nodeid
        self.state = State.SETUP
        self.phase = State.SETUP
        self.lost_by: Event | None = None
        self.sections: dict[str, dict[str, str]] = {}
        self.warnings: list[Frame] = []
        self.events: list[Event] = []

    @property
    def over(self) -> bool:
        """Whether nothing more belongs to this test."""
        return self.state in {State.DONE, State.LOST}

    def take(self, event: Event) -> Frame | None:
        """Take one event.

        Returns:
            A serialised report to be passed on, if the event was one.

        Raises:
            ValueError: It makes no sense here: a report of another test, or anything after the end.
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
        """Go to the phase after the one that a report is of."""
        if report["when"] == "setup" and report["outcome"] == "passed":
            self._enter(State.CALL)
        elif report["when"] != "teardown":
            self._enter(State.TEARDOWN)

    def _enter(self, phase: State) -> None:
        self.state = self.phase = phase

    def record(self, directory: Path, log: Sequence[str]) -> None:
        """Store the story, so that it can be told again without a VM.

        Args:
            directory: Where to; the file is called as the test is.
            log: The kernel's log, as the host read it from the console.
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
        """Say how the VM was lost.

        Args:
            log: The kernel's log, as the host read it from the console.
        """
        if self.lost_by is None:
            raise ValueError(f"{self.nodeid} is not lost")
        during = f"in the {self.phase.value} of {self.nodeid}"
        return loss(self.lost_by, during, slice_of(log, self.nodeid), AGAIN)


def loss(lost_by: Event, during: str, log: Sequence[str], untouched: str = "") -> LostVM:
    """Say how a VM was lost.

    Args:
        lost_by: What came from it last.
        during: When that was, as the end of a sentence.
        log: The kernel's log of that time.
        untouched: What goes on as it was.
    """
    lines = [clean(line) for line in log]
    shown = "\n".join(lines)
    match lost_by:
        case Ended(status):
            if status == KILLED and any(map(OUT_OF_MEMORY.search, lines)):
                return GuestMemory(
                    f"The guest ran out of memory {during}, and its kernel killed the tests.",
                    untouched=untouched,
                    hint="Give the VM more memory (--vm-memory), or the test less to do.",
                    log=shown,
                )
            return GuestEnded(
                f"pytest in the VM ended with status {status} {during}.",
                untouched=untouched,
                hint="What it printed last is in the section of the console.",
                log=shown,
            )
        case Late(seconds):
            return Hang(
                f"Nothing came from the VM for {seconds:.0f} s {during}.",
                untouched=untouched,
                hint="It hangs, or it needs a longer deadline: "
                "@pytest.mark.vm_deadline(seconds), or --vm-deadline.",
                log=shown,
            )
        case Gone(KernelPanic()):
            return KernelPanic(
                f"The kernel panicked {during}.",
                untouched=untouched,
                hint="The log of that time is in the section of the kernel's log.",
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
                f"pytest in the VM failed {during}, by itself and not by a test.",
                untouched=untouched,
                hint=frame.get("text", str(frame)),
                log=shown,
            )
