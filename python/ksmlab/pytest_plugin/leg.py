"""Run the tests of one kernel in its VM, which is booted for the first test, and again after it was lost."""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.pytest_plugin.kernel_log import slice_of
from ksmlab.pytest_plugin.plan import TEST_SECONDS
from ksmlab.pytest_plugin.story import Ended, Event, Gone, Late, Said, loss
from ksmlab.pytest_plugin.wire import REPORTS, SHELL, Frame, Line
from ksmlab.vm.config import Deadlines, MachineConfig
from ksmlab.vm.errors import KernelPanic, LostVM, VmError
from ksmlab.vm.keep import Kept, keep
from ksmlab.vm.machine import Machine
from ksmlab.vm.path_checks import storage_errors
from ksmlab.vm.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ksmlab.pytest_plugin.plan import Plan
    from ksmlab.pytest_plugin.story import Story
    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

#: The most seconds to wait for the panic of a hanging kernel after an NMI; multiplied by the slowness of the VM.
NMI_SECONDS = 20.0
#: The most seconds from "finish" to the end of the guest's pytest; multiplied by the slowness of the VM.
FINISH_SECONDS = 60.0
CONSOLE_LINES = 200
#: The variable in the guest's environment with the slowness of the VM, by which tests multiply their time limits.
SLOW_VARIABLE = "KSMLAB_SLOW"
# The first two arguments give the log more space, and turn off the rate limit for lines that tests write to it. With
# the others, a kernel that hangs with interrupts disabled panics on an NMI, and prints what each CPU was doing.
BOOT_ARGS = ("log_buf_len=8M", "printk.devkmsg=on", "unknown_nmi_panic", "panic_print=0x40")
GUEST_OPTIONS = ("-p", "ksmlab.pytest_plugin.guest")


class Leg:
    """A kernel, and the VM that runs it, if there is one.

    Args:
        kernel: The kernel to boot.
        plan: The configuration of the VM and of its tests.
        accel: The way to run the VM's CPUs.
        say: Called with lines for the user.

    Attributes:
        console: The last lines that the guest's pytest has printed.
    """

    def __init__(
        self, kernel: Kernel, plan: Plan, accel: Accel, say: Callable[[str], None]
    ) -> None:
        """Do not boot the VM yet."""
        self.kernel = kernel
        self.plan = plan
        self.console: deque[str] = deque(maxlen=CONSOLE_LINES)
        self._accel = accel
        self._say = say
        self._events: queue.Queue[Event] = queue.Queue()
        self._machine: Machine | None = None
        self._ports: Ports | None = None
        self._socket: socket.socket | None = None
        self._line: Line | None = None
        self._tests: set[str] = set()
        self._last = ""
        self._scale = 1.0
        self._stack = contextlib.ExitStack()

    @property
    def machine(self) -> Machine | None:
        """The VM, if there is one."""
        return self._machine

    @property
    def log(self) -> list[str]:
        """The log of the VM's kernel, as read from its console."""
        return self._machine.log if self._machine else []

    def start(self, files: list[str]) -> None:
        """Boot the VM, and wait until the guest's pytest has collected `files`. Do nothing if the VM runs.

        Raises:
            LostVM: The VM did not boot, or its pytest did not collect the files. There is no VM afterwards.
        """
        if self._machine is not None:
            return
        self._say(f"{self.kernel.name}: booting")
        began = time.monotonic()
        try:
            self._boot()
            self._begin(files)
        except VmError as error:
            self.close()
            raise error if isinstance(error, LostVM) else LostVM(
                f"The tests could not be started on {self.kernel.name}: {error.what}",
                untouched=error.untouched, hint=error.hint, log=error.log,
            ) from error  # fmt: skip
        except BaseException:
            self.close()
            raise
        self._say(f"{self.kernel.name}: ready after {time.monotonic() - began:.1f} s")

    def run(self, story: Story, following: str | None, seconds: float | None) -> Iterator[Frame]:
        """Run one test.

        Args:
            story: The test and its state.
            following: The next test in this VM, which may use the same fixtures; None tears all fixtures down.
            seconds: The time limit of the test, which is multiplied by the slowness of the VM; None for the plan's.

        Yields:
            The serialised reports, as they arrive.

        Raises:
            LostVM: The VM was lost, and cannot be used any more.
            LookupError: The guest did not collect this test.
        """
        if self._line is None:
            raise LostVM(f"{story.nodeid} cannot be run, because its VM does not run.")
        nodeid = self._last = story.nodeid
        if nodeid not in self._tests:
            raise LookupError(
                f"the pytest in the VM did not collect {nodeid}, although the pytest on the host did. "
                "Perhaps the parameters of the test depend on the machine"
            )
        seconds = (seconds or self.plan.deadline) * self._scale
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            # If this fails, the next event has the reason.
            self._line.send({"do": "run", "id": nodeid, "next": following})
        while not story.over:
            event = self._next(deadline, seconds)
            if (report := story.take(event)) is not None:
                yield report
        if isinstance(story.lost_by, Late):
            self._interrupt()
        if self.plan.record is not None:
            with storage_errors(self.plan.record):
                story.record(self.plan.record, slice_of(self.log, nodeid))
        if story.lost_by is not None:
            raise story.loss(self.log)

    def finish(self) -> str:
        """Wait until the guest's pytest has ended, and then end the VM.

        Returns:
            The errors that occurred after the last test; an empty string if there are none.

        Raises:
            LostVM: The VM was lost before its pytest ended.
        """
        try:
            return self._finished() if self._line is not None else ""
        finally:
            self.close()

    def _finished(self) -> str:
        assert self._line is not None
        seconds = FINISH_SECONDS * self._scale
        deadline = time.monotonic() + seconds
        end: Frame = {}
        for order in ("finish", "end"):
            with contextlib.suppress(OSError):
                self._line.send({"do": order})
            event = self._next(deadline, seconds)
            match event:
                case Said({"is": "end"}) if order == "finish":
                    end = event.frame
                case Ended(status) if order == "end" and (
                    end["trouble"] or status == end["status"]
                ):
                    return str(end["trouble"])
                case _:
                    if isinstance(event, Late):
                        self._interrupt()
                    log = slice_of(self.log, self._last)
                    raise loss(event, f"after the last test ({self._last})", log)
        raise AssertionError

    def _next(self, deadline: float, seconds: float) -> Event:
        """Return the next event, or Late(seconds) if there is none before the deadline."""
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return Late(seconds)

    def close(self) -> None:
        """End the VM immediately. May be called again."""
        self._stack.close()
        self._machine = self._line = self._socket = self._ports = None

    def keep(self, why: str, sections: dict[str, dict[str, str]]) -> Kept | None:
        """Keep the VM running for the user. It cannot be used for tests any more.

        Args:
            why: The reason, for the user.
            sections: The addresses of the modules' sections, by module and section name.

        Returns:
            The kept VM, or None if the VM has ended.
        """
        machine, ports = self._machine, self._ports
        if machine is None or ports is None or not machine.alive:
            return None
        objects = {name: str(path) for name, path in self.plan.objects.items()}
        made = keep(machine, ports, why, objects, sections)
        # Do not close anything of the VM except the connection for reports.
        self._stack.pop_all()
        if self._socket is not None and self._line is not None:
            _hang_up(self._socket)
            self._line.close()
            self._socket.close()
        self._machine = self._line = self._socket = self._ports = None
        return made

    def _boot(self) -> None:
        plan = self.plan
        self._events = queue.Queue()
        self.console.clear()
        names = (REPORTS, SHELL) if plan.keep else (REPORTS,)
        self._ports = ports = Ports(names, gdb=plan.keep)
        self._stack.callback(ports.close)
        config = MachineConfig(
            cpus=plan.cpus,
            memory=plan.memory,
            cwd=plan.cwd,
            boot_args=(*BOOT_ARGS, *plan.boot_args),
            qemu_options=ports.qemu_options,
            remember=True,
            hold=plan.keep,
            # The session has no limit, since each test has its own, and the number of tests is unknown here.
            deadlines=Deadlines(session=float("inf")),
        )
        self._machine = machine = Machine(self.kernel, config, accel=self._accel)
        self._scale = machine.slowness
        self._stack.enter_context(machine)
        self._socket = self._stack.enter_context(ports.connect(REPORTS))
        stream = self._stack.enter_context(self._socket.makefile("rwb"))
        # The reading thread holds the stream's lock, so it must end before the stream can be closed.
        self._stack.callback(_hang_up, self._socket)
        self._line = Line(stream)

    def _begin(self, files: list[str]) -> None:
        """Start the guest's pytest, and wait until it has collected."""
        assert self._line is not None
        machine, line, events = self._machine, self._line, self._events
        for target in (lambda: self._read(line, events), lambda: self._watch(machine, events)):
            threading.Thread(target=target, name=f"vm-{self.kernel.name}", daemon=True).start()
        allow = str(self.plan.allow) if self.plan.allow else None
        line.send(
            {
                "kernel": self.kernel.name,
                "files": files,
                "allow": allow,
                "keep": self.plan.keep,
                "objects": {name: str(path) for name, path in self.plan.objects.items()},
            }
        )
        # A --vm-deadline that is shorter than the default applies only to tests.
        seconds = max(TEST_SECONDS, self.plan.deadline) * self._scale
        errors: list[str] = []
        while True:
            event = self._next(time.monotonic() + seconds, seconds)
            match event:
                case Said({"is": "ready", "tests": tests}):
                    self._tests = set(tests)
                    return
                case Said({"is": "error", "text": text}):
                    errors.append(text)
                case _:
                    raise LostVM(
                        f"{self.kernel.name}: the pytest in the VM did not collect the tests ({event}).",
                        hint="Its output is above.",
                        log="\n".join([*errors, *self.console]),
                    )

    @staticmethod
    def _read(line: Line, events: queue.Queue[Event]) -> None:
        """Convert frames to events until the connection ends. This runs on its own thread."""
        with contextlib.suppress(OSError, ValueError):
            while (frame := line.receive()) is not None:
                events.put(Said(frame))

    def _watch(self, machine: Machine | None, events: queue.Queue[Event]) -> None:
        """Run the guest's pytest until it or the VM ends. This runs on its own thread."""
        assert machine is not None
        pending = ""

        def show(piece: str) -> None:
            nonlocal pending
            *whole, pending = (pending + piece).split("\n")
            self.console.extend(whole)

        package = Path(__file__).resolve().parents[2]
        environment = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(package),
            "TERM": "dumb",
            SLOW_VARIABLE: f"{self._scale:g}",
        }
        try:
            done = machine.run(
                [sys.executable, "-m", "pytest", *GUEST_OPTIONS, *self.plan.arguments],
                env=environment | dict(self.plan.environment),
                timeout=float("inf"),
                on_output=show,
            )
        except VmError as error:
            events.put(Gone(error))
        else:
            events.put(Ended(done.status))

    def _interrupt(self) -> None:
        """Send an NMI, and wait for the panic, with which a hanging kernel prints where it hangs."""
        assert self._ports is not None
        with contextlib.suppress(VmError, queue.Empty):
            self._ports.inject_nmi()
            end = time.monotonic() + NMI_SECONDS * self._scale
            while True:
                event = self._events.get(timeout=max(0.0, end - time.monotonic()))
                if isinstance(event, Gone) and isinstance(event.error, KernelPanic):
                    return


def _hang_up(line: socket.socket) -> None:
    """Shut down both directions of a connection, so that the thread that reads it sees its end."""
    with contextlib.suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
