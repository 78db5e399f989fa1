"""One kernel's VM as the tests see it: booted when the first test comes, booted again after it was lost."""

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

#: From an interrupt that a hanging kernel must answer with a panic, to the end of its VM; stretched under emulation.
NMI_SECONDS = 20.0
#: From "finish" to the end of the guest's pytest.
FINISH_SECONDS = 60.0
CONSOLE_LINES = 200
#: In the guest's environment: how many times as long as on hardware things may take there, for deadlines of the tests'.
SLOW_VARIABLE = "KSMLAB_SLOW"
# The log of a test may be long, and the kernel must not hold back what tests write to it. A kernel that hangs with
# interrupts off panics when it is sent an NMI, and says what each CPU was at.
BOOT_ARGS = ("log_buf_len=8M", "printk.devkmsg=on", "unknown_nmi_panic", "panic_print=0x40")
GUEST_OPTIONS = ("-p", "ksmlab.pytest_plugin.guest")


class Leg:
    """A kernel, and the VM that runs it if one does.

    Args:
        kernel: What to boot.
        plan: What the VM is made of.
        accel: How it is run.
        say: Called with a line for a person.
    """

    def __init__(
        self, kernel: Kernel, plan: Plan, accel: Accel, say: Callable[[str], None]
    ) -> None:
        """Keep the arguments; nothing boots yet."""
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
        """The kernel's log of the VM, as it came over the console."""
        return self._machine.log if self._machine else []

    def start(self, files: list[str]) -> None:
        """Boot, and have the guest's pytest collect `files`; nothing if that has been done.

        Raises:
            LostVM: It did not come so far; there is no VM now.
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
                f"{self.kernel.name} did not get as far as the tests: {error.what}",
                untouched=error.untouched, hint=error.hint, log=error.log,
            ) from error  # fmt: skip
        except BaseException:
            self.close()
            raise
        self._say(f"{self.kernel.name}: ready after {time.monotonic() - began:.1f} s")

    def run(self, story: Story, following: str | None, seconds: float | None) -> Iterator[Frame]:
        """Run one test.

        Args:
            story: Which, and what becomes of it.
            following: The next one in this VM, which may want the same fixtures; None tears all of them down.
            seconds: Its deadline, stretched under emulation; the plan's if None.

        Yields:
            Its serialised reports, as they come.

        Raises:
            LostVM: The VM was lost; it is of no more use.
            LookupError: The guest did not collect this test.
        """
        if self._line is None:
            raise LostVM("There is no VM.")
        nodeid = self._last = story.nodeid
        if nodeid not in self._tests:
            raise LookupError(
                f"the pytest in the VM did not find {nodeid}: it depends on where it is collected"
            )
        seconds = (seconds or self.plan.deadline) * self._scale
        deadline = time.monotonic() + seconds
        with contextlib.suppress(OSError):
            # If this fails, an event says why.
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
        """Let the guest's pytest come to its end, then end the VM.

        Returns:
            What went wrong there after the last test; nothing if all went well.

        Raises:
            LostVM: The VM was lost before that end.
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
        """Wait for the next event; Late if there is none at the deadline, `seconds` after its begin."""
        try:
            return self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return Late(seconds)

    def close(self) -> None:
        """End the VM at once. May be called again."""
        self._stack.close()
        self._machine = self._line = self._socket = self._ports = None

    def keep(self, why: str, sections: dict[str, dict[str, str]]) -> Kept | None:
        """Leave the VM up for a person; there is none here afterwards.

        Args:
            why: What they are told about it.
            sections: Addresses of the modules' sections.

        Returns:
            What they find it by; None if there is nothing left of it.
        """
        machine, ports = self._machine, self._ports
        if machine is None or ports is None or not machine.alive:
            return None
        objects = {name: str(path) for name, path in self.plan.objects.items()}
        made = keep(machine, ports, why, objects, sections)
        # Nothing of it is to be closed any more, but the line for reports.
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
            # Each test has a deadline of its own, and the number of tests is not known here.
            deadlines=Deadlines(session=float("inf")),
        )
        self._machine = machine = Machine(self.kernel, config, accel=self._accel)
        self._scale = machine.slowness
        self._stack.enter_context(machine)
        self._socket = self._stack.enter_context(ports.connect(REPORTS))
        stream = self._stack.enter_context(self._socket.makefile("rwb"))
        # A thread that reads holds the stream's lock: it must be sent home before the stream can be closed.
        self._stack.callback(_hang_up, self._socket)
        self._line = Line(stream)  # type: ignore[arg-type]

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
        # A short deadline is meant for the tests.
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
                        f"{self.kernel.name}: the pytest in the VM did not get as far as the tests ({event}).",
                        hint="What it said is above.",
                        log="\n".join([*errors, *self.console]),
                    )

    @staticmethod
    def _read(line: Line, events: queue.Queue[Event]) -> None:
        """Turn frames into events, on a thread of its own, until the line breaks."""
        with contextlib.suppress(OSError, ValueError):
            while (frame := line.receive()) is not None:
                events.put(Said(frame))

    def _watch(self, machine: Machine | None, events: queue.Queue[Event]) -> None:
        """Run the guest's pytest, on a thread of its own, until it or the VM ends."""
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
        """Make a kernel that hangs say where, if it can."""
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
