"""How long a leg waits for its VM, without one."""

from __future__ import annotations

import itertools
import queue
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.pytest_plugin import leg as leg_module
from ksmlab.pytest_plugin.leg import Leg
from ksmlab.pytest_plugin.plan import Plan
from ksmlab.pytest_plugin.story import Said
from ksmlab.vm.accel import Accel
from ksmlab.vm.errors import LostVM, VmError
from ksmlab.vm.kernels import Kernel, KernelSpec

if TYPE_CHECKING:
    from ksmlab.vm.config import MachineConfig

KERNEL = Kernel(KernelSpec("k", "6.1", "amd64", ("p",), slow=3.0), "6.1-amd64", "1", Path("/k"))


def make_leg(deadline: float = 1.0) -> Any:
    plan = Plan(arguments=(), cwd=Path("/"), deadline=deadline)
    return Leg(KERNEL, plan, Accel(kvm=False, why=""), lambda _line: None)


def test_session_of_tests_has_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[MachineConfig] = []

    def no_machine(_kernel: Kernel, config: MachineConfig, **_: object) -> None:
        configs.append(config)
        raise VmError("no VM here")

    monkeypatch.setattr(leg_module, "Machine", no_machine)
    with pytest.raises(LostVM, match="no VM here"):
        make_leg().start([])
    assert configs[0].deadlines.session == float("inf")


def test_a_short_deadline_is_not_one_for_the_collection() -> None:
    leg = make_leg(deadline=0.001)
    over = threading.Event()
    leg._line = SimpleNamespace(send=lambda _frame: None, receive=lambda: over.wait() and None)
    leg._machine = SimpleNamespace(
        run=lambda *_, **__: over.wait() and SimpleNamespace(status=0), log=[]
    )
    ready = threading.Timer(0.3, leg._events.put, [Said({"is": "ready", "tests": ["a::b"]})])
    ready.start()
    try:
        leg._begin(["a"])
    finally:
        over.set()
        ready.join()
    assert leg._tests == {"a::b"}


def test_the_wait_for_a_panic_ends_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    leg = make_leg()
    leg._ports = SimpleNamespace(inject_nmi=lambda: sent.append("nmi"))
    # Just in time, and then too late.
    clock = itertools.chain([0.0, 0.0], itertools.repeat(leg_module.NMI_SECONDS + 1e-9))
    monkeypatch.setattr(leg_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(leg_module, "queue", SimpleNamespace(Empty=queue.Empty))
    leg._interrupt()
    assert sent == ["nmi"]
