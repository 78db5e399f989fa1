"""A process of the demonstration, which owns memory and executes requests of its parent.

Requests and answers are lines of JSON on two pipes. Between requests, the process changes the content of some pages.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from ksmlab.device import Area, KsmDevice
from ksmlab.memory import Arena
from ksmlab.patience import patient

if TYPE_CHECKING:
    from ksmlab.demo.plan import Plan

#: The seconds between two changes of the changing pages.
CHANGE_EVERY = 0.1
#: The most seconds to wait for an answer, on an ordinary machine.
DEADLINE = 60.0
#: The most pages with wrong content that an answer lists.
NAMED = 5


class WorkerError(RuntimeError):
    """A process of the demonstration has failed, or does not answer."""


class _Channel:
    """Sends and receives lines of JSON over two file descriptors."""

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._pending = b""

    def send(self, message: dict[str, Any]) -> None:
        os.write(self._sink, json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float) -> dict[str, Any] | None:
        """Return the next message, or None if there is none within `timeout` seconds.

        Raises:
            EOFError: The other side has closed.
        """
        end = time.monotonic() + timeout
        while b"\n" not in self._pending:
            left = max(0.0, end - time.monotonic())
            if not select.select([self._source], [], [], left)[0]:
                return None
            data = os.read(self._source, 65536)
            if not data:
                raise EOFError
            self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        os.close(self._source)
        os.close(self._sink)


class _Owner:
    """The memory of the process, and a method do_NAME for each request NAME."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.plan, self.number = plan, number
        self.arena = Arena(plan.npages, seed=1)
        self.area: Area | None = None
        self.generation = 0

    def do_fill(self) -> dict[str, Any]:
        self.arena.fill(self.plan.keys(self.number))
        return {"addr": self.arena.address}

    def do_register(self) -> dict[str, Any]:
        with KsmDevice() as device:
            self.area = device.create_area()
        self.area.register(self.arena)
        return {}

    def do_verify(self) -> dict[str, Any]:
        wrong = self.arena.verify()
        return {"wrong": len(wrong), "pages": wrong[:NAMED]}

    def do_write(self) -> dict[str, Any]:
        for part in self.plan.written_parts:
            self.arena.rekey(self.plan.written_keys(self.number, part), part.first)
        return {}

    def do_restore(self) -> dict[str, Any]:
        keys = self.plan.keys(self.number)
        for part in self.plan.written_parts:
            self.arena.rekey(keys[part.pages], part.first)
        return {}

    def do_close(self) -> dict[str, Any]:
        if self.area is not None:
            self.area.close()
        return {}

    def change(self) -> None:
        """Give each changing page a new content that it has not had before."""
        self.generation += 1
        keys = self.plan.changing_keys(self.number, self.generation)
        self.arena.rekey(keys, self.plan.changing_part.first)

    def serve(self, channel: _Channel) -> None:
        """Execute requests until the other side closes."""
        while True:
            try:
                request = channel.receive(CHANGE_EVERY)
            except EOFError:
                return
            if request is not None:
                channel.send(getattr(self, f"do_{request['ask']}")())
            elif self.area is not None and not self.area.closed:
                self.change()


def _main(plan: Plan, number: int, channel: _Channel) -> None:
    try:
        _Owner(plan, number).serve(channel)
    except BaseException:  # noqa: BLE001 - the parent shows it, whatever it is
        channel.send({"error": traceback.format_exc()})


def _keep_only(*keep: int) -> None:
    """Close all file descriptors except the standard ones and `keep`.

    A worker ends when its parent closes the pipe to it, so no other worker may hold that pipe open.
    """
    edges = [2, *sorted(keep), os.sysconf("SC_OPEN_MAX")]
    for low, high in itertools.pairwise(edges):
        os.closerange(low + 1, high)


class Worker:
    """A process of the demonstration, as seen by its parent.

    Attributes:
        number: The number of the process, from 0.
        pid: Its PID.
        addr: The address of its memory; 0 until the caller sets it.
    """

    def __init__(self, plan: Plan, number: int) -> None:
        """Fork the process.

        Args:
            plan: The contents of its memory.
            number: The number of the process, from 0.
        """
        self.number = number
        self.addr = 0
        self._npages = plan.npages
        requests, self_requests = os.pipe()
        self_answers, answers = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _keep_only(requests, answers)
            _main(plan, number, _Channel(requests, answers))
            os._exit(0)
        os.close(requests)
        os.close(answers)
        self._channel = _Channel(self_answers, self_requests)

    def ask(self, what: str) -> None:
        """Send a request; answer() waits for its answer. The requests are the methods ``do_...`` of _Owner."""
        self._channel.send({"ask": what})

    def answer(self) -> dict[str, Any]:
        """Return the answer to the last request.

        Raises:
            WorkerError: The process has failed or ended, or does not answer in time.
        """
        deadline = patient(DEADLINE)
        try:
            answer = self._channel.receive(deadline)
        except EOFError:
            raise WorkerError(f"process {self.pid} has ended without an answer") from None
        if answer is None:
            raise WorkerError(f"process {self.pid} does not answer within {deadline:.0f} s")
        if "error" in answer:
            raise WorkerError(f"process {self.pid} failed:\n{answer['error']}")
        return answer

    def close(self) -> None:
        """End the process by closing its pipes, and wait for it."""
        self._channel.close()
        os.waitpid(self.pid, 0)
