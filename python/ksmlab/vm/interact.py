"""Connect a person's terminal to a machine's interactive shell."""

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

# Ends the VM when the guest does not listen any more, as in telnet: Ctrl-].
ESCAPE = b"\x1d"
END_OF_INPUT = b"\x04"
READ_BYTES = 4096
# What a shell's status is if it was left, as if by Ctrl-C.
LEFT = 130


@contextlib.contextmanager
def raw_terminal(descriptor: int) -> Iterator[None]:
    """Have every key passed on as it is, if `descriptor` is a terminal; put it back afterwards."""
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
    """Connect this process's keyboard to something, until it ends or the person leaves it with Ctrl-].

    Args:
        far: A descriptor that can be read when something comes from there.
        take: Called then, to read it and show it; it says whether that was the end.
        send: Called with what is typed.
        at_end: What is typed when standard input, a file perhaps, has come to its end; None leaves then.

    Returns:
        Whether the person left.
    """
    keyboard = sys.stdin.fileno()
    # Not epoll, which takes no files.
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
    """Let a person use a shell in the guest, until it ends.

    Args:
        machine: A booted one.
        script: bash, run before the shell starts.

    Returns:
        The shell's exit status; LEFT if the person ended the VM with Ctrl-].

    Raises:
        KernelPanic: The kernel panicked meanwhile.
        LostVM: QEMU ended meanwhile.
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
    """Give what a machine's console has to say now.

    Raises:
        LostVM: The machine has ended.
    """
    data = machine.channel.console.read(0)
    if data is None:
        raise machine.lost()
    return data


def type_into(machine: Machine, data: bytes) -> None:
    """Type at a machine's console.

    Raises:
        LostVM: The machine has ended.
    """
    try:
        machine.channel.console.write(data)
    except OSError:
        raise machine.lost() from None


def show(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]
