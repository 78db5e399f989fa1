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

from ksmlab.vm.channel import TICK_SECONDS, before_partial_mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.vm.machine import Machine

# Ends the VM when the guest does not listen any more, as in telnet: Ctrl-].
ESCAPE = b"\x1d"
END_OF_INPUT = b"\x04"
READ_BYTES = 4096


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


def interact(machine: Machine, script: str) -> int:
    """Let a person use a shell in the guest, until it ends.

    Args:
        machine: A booted one.
        script: bash, run before the shell starts.

    Returns:
        The shell's exit status; 130 if the person ended the VM with Ctrl-].

    Raises:
        KernelPanic: The kernel panicked meanwhile.
        LostVM: QEMU ended meanwhile.
    """
    size = shutil.get_terminal_size()
    request = machine.start_shell(script, size=(size.columns, size.lines))
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    console = machine.channel.console
    pending = machine.channel.take_pending()
    with raw_terminal(keyboard), selectors.DefaultSelector() as selector:
        selector.register(console.terminal, selectors.EVENT_READ)
        with contextlib.suppress(
            PermissionError
        ):  # a plain file is always ready, and not for a selector
            selector.register(keyboard, selectors.EVENT_READ)
        while True:
            if found := request.end.search(pending):
                show(screen, pending[: found.start()])
                return int(found[1])
            sure = before_partial_mark(pending)
            show(screen, pending[:sure])
            pending = pending[sure:]
            for key, _ in selector.select(TICK_SECONDS):
                if key.fd == keyboard:
                    typed = os.read(keyboard, READ_BYTES)
                    if ESCAPE in typed and os.isatty(keyboard):
                        return 130
                    if not typed:
                        selector.unregister(keyboard)
                    console.write(typed or END_OF_INPUT)
                else:
                    data = console.read(0)
                    if data is None:
                        raise machine.lost()
                    pending += data


def show(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    while data:
        data = data[os.write(descriptor, data) :]
