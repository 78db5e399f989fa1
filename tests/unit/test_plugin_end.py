"""What the host makes of the end of a guest's pytest, after the last test; guest and VM are stand-ins here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from ksmlab.pytest_plugin import leg as leg_module
from ksmlab.pytest_plugin.guest import Guest
from ksmlab.pytest_plugin.leg import Leg
from ksmlab.pytest_plugin.plan import Plan
from ksmlab.pytest_plugin.story import Ended, Event, Gone, Said
from ksmlab.vm.errors import GuestEnded, Hang, KernelPanic, LostVM

if TYPE_CHECKING:
    from pathlib import Path

TROUBLE = "the kernel reported errors: WARNING: at foo"


class Line:
    """Keeps what is sent, and answers with nothing."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, frame: dict[str, Any]) -> None:
        self.sent.append(frame)

    def receive(self) -> None:
        """The host has hung up."""


def end(status: int, trouble: str = "") -> Said:
    return Said({"is": "end", "status": status, "trouble": trouble})


@pytest.fixture
def leg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Leg:
    monkeypatch.setattr(leg_module, "FINISH_SECONDS", 0.0)
    monkeypatch.setattr(leg_module, "NMI_SECONDS", 0.0)
    kernel = cast("Any", SimpleNamespace(name="kernel"))
    leg = Leg(kernel, Plan((), tmp_path), cast("Any", None), lambda _line: None)
    leg._line = cast("Any", Line())
    leg._ports = cast("Any", SimpleNamespace(inject_nmi=lambda: None))
    return leg


def finished(leg: Leg, *events: Event) -> str:
    for event in events:
        leg._events.put(event)
    return leg.finish()


def test_a_quiet_end(leg: Leg) -> None:
    line: Any = leg._line
    assert finished(leg, end(0), Ended(0)) == ""
    # The guest waits for the second one, so nothing of what it said is on its way when it ends.
    assert [frame["do"] for frame in line.sent] == ["finish", "end"]
    assert leg.finish() == ""


def test_tests_that_failed_have_been_told_of(leg: Leg) -> None:
    assert finished(leg, end(1), Ended(1)) == ""


def test_what_the_guest_complains_of_is_passed_on(leg: Leg) -> None:
    assert finished(leg, end(0, TROUBLE), Ended(1)) == TROUBLE


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([Gone(KernelPanic("panic"))], KernelPanic),
        ([end(0), Gone(KernelPanic("panic"))], KernelPanic),
        ([Gone(LostVM("gone"))], LostVM),
        ([Ended(0)], GuestEnded),
        ([end(0), Ended(3)], GuestEnded),
        ([Said({"is": "error", "text": "INTERNALERROR"})], GuestEnded),
        ([], Hang),
        ([end(0)], Hang),
    ],
)
def test_any_other_end_is_a_loss(leg: Leg, events: list[Event], kind: type[LostVM]) -> None:
    with pytest.raises(LostVM, match="after the last test") as caught:
        finished(leg, *events)
    assert type(caught.value) is kind


@pytest.mark.parametrize("error", [None, OSError("a fixture broke"), pytest.fail.Exception("it")])
def test_the_guest_looks_once_more_when_all_is_torn_down(error: BaseException | None) -> None:
    line: Any = Line()
    guest = Guest(line, {})
    guest.watch = cast("Any", SimpleNamespace(look=lambda: TROUBLE))
    guest.finishing = True
    hook: Any = guest.pytest_sessionfinish(0)
    next(hook)
    assert line.sent == []
    if error is None:
        with pytest.raises(StopIteration):
            hook.send(None)
    else:
        with pytest.raises(type(error)):
            hook.throw(error)
    (frame,) = line.sent
    assert (frame["is"], frame["status"]) == ("end", 0)
    assert frame["trouble"].endswith(TROUBLE)
    assert (str(error) in frame["trouble"]) == (error is not None)


def test_a_guest_that_was_not_told_to_finish_says_nothing_more() -> None:
    line: Any = Line()
    hook: Any = Guest(line, {}).pytest_sessionfinish(2)
    next(hook)
    with pytest.raises(StopIteration):
        hook.send(None)
    assert line.sent == []
