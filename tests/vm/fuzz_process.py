"""Processes for the fuzzer: each has a window of memory, does what it is told, and can fork.

The test's process tells them over a socket, one call at a time, and is the reaper of those whose
parent has gone. Pages are numbered from the start of the window, which is at the same address in
all of them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import mmap
import os
import pickle
import signal
import socket
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from memory_errors import break_page

from ksmlab import abi, libc, pagemap
from ksmlab.device import DEVICE
from ksmlab.libc import PAGE_SIZE
from ksmlab.patience import patient

if TYPE_CHECKING:
    from collections.abc import Callable

#: Far from everything else, and at the start of a huge page, of which the window is one.
WINDOW = 1 << 45
WINDOW_PAGES = 512
DEADLINE = patient(60.0)
LARGEST_MESSAGE = 1 << 16
#: Where in a page the tag is.
TAG_AT = 2048

_libc = ctypes.CDLL(None, use_errno=True)
_MAP_FIXED = 0x10
_PR_SET_CHILD_SUBREAPER = 36


@functools.cache
def image(byte: int, tag: int) -> bytes:
    """Return a page: one byte repeated, and a tag of eight bytes in the middle."""
    return b"".join(
        (bytes([byte]) * TAG_AT, tag.to_bytes(8, "little"), bytes([byte]) * (TAG_AT - 8))
    )


class Driver(Protocol):
    """The calls of the driver, as a process makes them. Each raises OSError."""

    def create(self) -> int:
        """Make an area; return its descriptor."""

    def register(self, fd: int, addr: int, npages: int) -> None:
        """Register a region on an area."""

    def remove(self, fd: int) -> None:
        """Remove all regions of an area."""

    def regions(self, fd: int) -> int:
        """Return how many regions an area has."""


class RealDriver:
    """/dev/ksm."""

    def create(self) -> int:
        """See Driver."""
        device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        try:
            return fcntl.ioctl(device, abi.KSM_CREATE_SHARED_MEMORY_AREA)
        finally:
            os.close(device)

    def register(self, fd: int, addr: int, npages: int) -> None:
        """See Driver."""
        region = abi.MemoryRegion(npages=npages, addr=addr)
        fcntl.ioctl(fd, abi.KSM_REGISTER_MEMORY_REGION, bytes(region))

    def remove(self, fd: int) -> None:
        """See Driver."""
        fcntl.ioctl(fd, abi.KSM_REMOVE_MEMORY_REGION)

    def regions(self, fd: int) -> int:
        """See Driver."""
        for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
            if line.startswith("ksm-regions:"):
                return int(line.split()[1])
        raise AssertionError(f"descriptor {fd} is no area")


class _Server:
    """What runs in the process: a call for each method that has no underscore."""

    def __init__(self, there: socket.socket, driver: Driver) -> None:
        self._socket = there
        self._driver = driver

    def _serve(self) -> NoReturn:
        while True:
            message, fds, _, _ = socket.recv_fds(self._socket, LARGEST_MESSAGE, 1)
            if not message:
                os._exit(0)
            name, arguments = pickle.loads(message)
            try:
                value = getattr(self, name)(*fds, *arguments)
                answer = ("value", value)
            except OSError as error:
                answer = ("errno", error.errno)
            except Exception:  # noqa: BLE001 - it is the other side's to judge
                answer = ("error", traceback.format_exc())
            self._socket.send(pickle.dumps(answer))

    def create(self) -> int:
        return self._driver.create()

    def register(self, fd: int, addr: int, npages: int) -> None:
        self._driver.register(fd, addr, npages)

    def remove(self, fd: int) -> None:
        self._driver.remove(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def dup(self, fd: int) -> int:
        return os.dup(fd)

    def give(self, fd: int) -> None:
        """Send a descriptor before the answer."""
        socket.send_fds(self._socket, [b"fd"], [fd])

    def take(self, fd: int) -> int:
        """Keep the descriptor that has come with the call."""
        return fd

    def map(self, first: int, count: int, prot: int) -> None:
        at, length = WINDOW + first * PAGE_SIZE, count * PAGE_SIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_FIXED
        _libc.mmap.restype = ctypes.c_void_p
        found = _libc.mmap(
            ctypes.c_void_p(at), ctypes.c_size_t(length), prot, flags, -1, ctypes.c_long(0)
        )
        if found != at:
            raise OSError(ctypes.get_errno(), "mmap")

    def unmap(self, first: int, count: int) -> None:
        libc.unmap(WINDOW + first * PAGE_SIZE, count * PAGE_SIZE)

    def move(self, first: int, count: int, to: int) -> None:
        """Move pages, all of which are mapped: at once if they are of one mapping, else one by one."""
        start, target = WINDOW + first * PAGE_SIZE, WINDOW + to * PAGE_SIZE
        length = count * PAGE_SIZE
        if self._in_one_mapping(start, start + length):
            libc.move(start, length, target)
            return
        for at in range(0, length, PAGE_SIZE):
            libc.move(start + at, PAGE_SIZE, target + at)

    @staticmethod
    def _in_one_mapping(start: int, end: int) -> bool:
        for line in Path("/proc/self/maps").read_text().splitlines():
            low, high = (int(bound, 16) for bound in line.split()[0].split("-"))
            if low <= start < high:
                return end <= high
        return False

    def protect(self, first: int, count: int, prot: int) -> None:
        libc.protect(WINDOW + first * PAGE_SIZE, count * PAGE_SIZE, prot)

    def advise(self, first: int, count: int, advice: int) -> None:
        libc.advise(WINDOW + first * PAGE_SIZE, count * PAGE_SIZE, advice)

    def write(self, first: int, count: int, byte: int, tag: int) -> None:
        ctypes.memmove(WINDOW + first * PAGE_SIZE, image(byte, tag) * count, count * PAGE_SIZE)

    def look(
        self, pages: list[tuple[int, int, int]], fds: list[int]
    ) -> tuple[list[tuple[int, bytes]], list[int], int]:
        """Compare pages (number, byte, tag), and count the regions of areas.

        Returns:
            The pages that differ, with their first bytes; the counts; and how many of the pages map
            the kernel page that most of them map.
        """
        wrong = []
        for page, byte, tag in pages:
            at = WINDOW + page * PAGE_SIZE
            if not libc.same(at, _address(image(byte, tag)), PAGE_SIZE):
                there = ctypes.string_at(at, PAGE_SIZE)
                wrong.append((page, there[:4] + there[TAG_AT : TAG_AT + 8]))
        return wrong, [self._driver.regions(fd) for fd in fds], self._most_mappings(pages)

    def _most_mappings(self, pages: list[tuple[int, int, int]]) -> int:
        numbers = [page for page, _, _ in pages]
        if not numbers:
            return 0
        first = min(numbers)
        entries = pagemap.entries(None, WINDOW + first * PAGE_SIZE, max(numbers) - first + 1)
        counts = Counter(entry.pfn for entry in entries if entry.present and entry.file)
        return max(counts.values(), default=0)

    def kernel_pages(self, first: int, count: int) -> dict[int, int]:
        """Return the frame of each page that maps a page that is not anonymous, by page number."""
        entries = pagemap.entries(None, WINDOW + first * PAGE_SIZE, count)
        return {
            first + at: entry.pfn
            for at, entry in enumerate(entries)
            if entry.present and entry.file
        }

    def frames(self) -> list[int]:
        """Return the frame of each page of the window, 0 for a page that is not present."""
        return pagemap.frames(None, WINDOW, WINDOW_PAGES)

    def poison(self, page: int) -> None:
        """Simulate a memory error in a page."""
        break_page(WINDOW + page * PAGE_SIZE)

    def fork(self) -> int:
        """Fork; the socket to the child is sent before the answer."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            here.close()
            self._socket.close()
            self._socket = there
            self._serve()
        socket.send_fds(self._socket, [b"fd"], [here.fileno()])
        here.close()
        there.close()
        return pid

    def reap(self, pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def exit(self) -> NoReturn:
        self._socket.send(pickle.dumps(("value", None)))
        os._exit(0)

    def exec(self) -> NoReturn:
        """Replace the program, and with it all memory, by one that exits."""
        self._socket.send(pickle.dumps(("value", None)))
        os.execv("/bin/true", ["true"])


def _address(data: bytes) -> int:
    found = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert found is not None
    return found


class Process:
    """The test's end of one process."""

    def __init__(self, pid: int, here: socket.socket) -> None:
        self.pid = pid
        self._socket = here
        here.settimeout(DEADLINE)

    @classmethod
    def start(cls, driver: Callable[[], Driver]) -> Process:
        """Fork the first of a family off the test's own process."""
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            try:
                here.close()
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                _Server(there, driver())._serve()
            finally:
                os._exit(1)
        there.close()
        return cls(pid, here)

    def ask(self, name: str, *arguments: object, fd: int | None = None) -> Any:
        """Have it do something, and return what that returned.

        Args:
            name: of a method of the server.
            arguments: for it.
            fd: a descriptor to send along.

        Raises:
            OSError: the call failed there, with this errno.
            AssertionError: the process has died, or does not answer.
        """
        socket.send_fds(self._socket, [pickle.dumps((name, arguments))], [] if fd is None else [fd])
        return self._answer(name)

    def _answer(self, name: str) -> Any:
        try:
            message = self._socket.recv(LARGEST_MESSAGE)
        except TimeoutError:
            raise AssertionError(f"{name}() did not end within {DEADLINE} s") from None
        assert message, f"process {self.pid} died in {name}()"
        kind, value = pickle.loads(message)
        if kind == "errno":
            raise OSError(value, f"{name}(): {os.strerror(value)}")
        assert kind == "value", f"{name}() in process {self.pid}:\n{value}"
        return value

    def _ask_for_fd(self, name: str, *arguments: object) -> tuple[int, Any]:
        self._socket.send(pickle.dumps((name, arguments)))
        _, fds, _, _ = socket.recv_fds(self._socket, 16, 1)
        assert fds, f"{name}() sent no descriptor"
        return fds[0], self._answer(name)

    def give(self, fd: int, other: Process) -> int:
        """Pass a descriptor to another process; return what it is called there."""
        passed, _ = self._ask_for_fd("give", fd)
        try:
            return int(other.ask("take", fd=passed))
        finally:
            os.close(passed)

    def fork(self) -> Process:
        """Have it fork; return the child."""
        passed, pid = self._ask_for_fd("fork")
        return Process(pid, socket.socket(fileno=passed))

    def end(self, how: str) -> None:
        """Have it end by exit() or by exec(); reap() waits for that."""
        self.ask(how)
        self._socket.close()

    def kill(self) -> None:
        """End it by SIGKILL; reap() waits for that."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._socket.close()

    def reap(self) -> int:
        """Wait for its end; its parent is this process, or has gone."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def adopt_orphans() -> None:
    """Make this process the parent of those whose parent dies."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
