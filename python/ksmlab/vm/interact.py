"""Connect the user's terminal to an interactive shell in a VM."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import sys
import termios
import tty
from typing import TYPE_CHECKING

from ksmlab.vm.channel import before_partial_mark

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterator

    from ksmlab.vm.machine import Machine

# Ctrl-], as in telnet. It works even if the guest hangs.
ESCAPE = b"\x1d"
END_OF_INPUT = b"\x04"
READ_BYTES = 4096
# The status that is returned for a shell that the user left; the same as after Ctrl-C.
LEFT = 130


@contextlib.contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Set a terminal to raw mode during the block. Do nothing if `descriptor` is not a terminal."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def connect(
    far: int,
    take: Callable[[], bool],
    send: Callable[[bytes], None],
    *,
    at_end: bytes | None = END_OF_INPUT,
) -> bool:
    """Connect standard input to another end, until that ends or the user types Ctrl-].

    Args:
        far: A file descriptor that is ready for reading when the other end has output.
        take: Called when it is ready, to read and show the output; returns whether the other end has ended.
        send: Called with the user's input.
        at_end: The bytes to send when standard input ends; None to return then.

    Returns:
        Whether the user left with Ctrl-], or standard input ended while `at_end` was None.
    """
    keyboard = sys.stdin.fileno()
    # Standard input may be a file, which epoll does not support.
    with raw_terminal(keyboard), selectors.SelectSelector() as selector:
        selector.register(far, selectors.EVENT_READ)
        selector.register(keyboard, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == far:
                    if take():
                        return False
                    continue
                typed = os.read(keyboard, READ_BYTES)
                if ESCAPE in typed and os.isatty(keyboard):
                    return True
                if not typed:
                    selector.unregister(keyboard)
                    if at_end is None:
                        return True
                send(typed or at_end or b"")


def interact(machine: Machine, script: str) -> int:
    """Connect the terminal to a new shell in the guest, until the shell ends or the user types Ctrl-].

    Args:
        machine: A booted VM.
        script: A bash script to run before the shell.

    Returns:
        The exit status of the shell, or LEFT if the user left it with Ctrl-].

    Raises:
        KernelPanic: The kernel panicked.
        LostVM: QEMU ended.
    """
    size = shutil.get_terminal_size()
    request = machine.start_shell(script, size=(size.columns, size.lines))
    screen = sys.stdout.fileno()
    pending = machine.channel.take_pending()
    end: re.Match[bytes] | None = None

    def take(data: bytes) -> bool:
        nonlocal pending, end
        pending += data
        end = request.end.search(pending)
        sure = end.start() if end else before_partial_mark(pending)
        show(screen, pending[:sure])
        pending = pending[sure:]
        return end is not None

    if not take(b""):
        connect(
            machine.channel.console.terminal,
            lambda: take(read_from(machine)),
            lambda data: type_into(machine, data),
        )
    return int(end[1]) if end else LEFT


def read_from(machine: Machine) -> bytes:
    """Return the output of a VM's console that can be read without waiting.

    Raises:
        LostVM: The VM has ended.
    """
    data = machine.channel.console.read(0)
    if data is None:
        raise machine.lost()
    return data


def type_into(machine: Machine, data: bytes) -> None:
    """Write input to a VM's console.

    Raises:
        LostVM: The VM has ended.
    """
    try:
        machine.channel.console.write(data)
    except OSError:
        raise machine.lost() from None


def show(descriptor: int, data: bytes) -> None:
    """Write all of `data` to a file descriptor."""
    while data:
        data = data[os.write(descriptor, data) :]
