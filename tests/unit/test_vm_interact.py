"""A person's terminal, connected to something that is not a VM here: it ends as it should, and is as it was then."""

from __future__ import annotations

import os
import pty
import select
import signal
import socket
import subprocess
import sys
import termios
import tty
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.interact import connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# The command line, while a person has the keyboard.
HELD = """
import time
from ksmlab import cli
from ksmlab.vm.interact import raw_terminal
def app(**_):
    with raw_terminal(0):
        print("ready", flush=True)
        time.sleep(300)
cli.app = app
cli.main()
"""


def as_keyboard(monkeypatch: pytest.MonkeyPatch, descriptor: int) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: descriptor))


def taker(line: socket.socket, got: list[bytes]) -> Callable[[], bool]:
    def take() -> bool:
        got.append(line.recv(100))
        return not got[-1]

    return take


@pytest.mark.parametrize(("at_end", "left"), [(b"\x04", False), (None, True)])
def test_a_file_is_typed_to_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, at_end: bytes | None, left: bool
) -> None:
    (tmp_path / "typed").write_bytes(b"ls\n\x1d\n")
    here, there = socket.socketpair()
    sent: list[bytes] = []
    got: list[bytes] = []

    def send(data: bytes) -> None:
        sent.append(data)
        if data == at_end:
            there.sendall(b"bye")
            there.close()

    with (tmp_path / "typed").open("rb") as keyboard, here, there:
        as_keyboard(monkeypatch, keyboard.fileno())
        assert connect(here.fileno(), taker(here, got), send, at_end=at_end) is left
    # A file may have the key that leaves in it.
    assert sent == [b"ls\n\x1d\n", *([at_end] if at_end else [])]
    assert b"".join(got) == (b"bye" if at_end else b"")


def test_a_key_leaves_and_the_terminal_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    here, there = socket.socketpair()
    with here, there:
        as_keyboard(monkeypatch, slave)
        # In its raw state the terminal passes the key on without a newline.
        monkeypatch.setattr(tty, "setraw", raw_and_type(master, tty.setraw))
        assert connect(here.fileno(), taker(here, []), lambda _data: None)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def raw_and_type(master: int, setraw: Callable[[int], None]) -> Callable[[int], None]:
    def made_raw(descriptor: int) -> None:
        setraw(descriptor)
        os.write(master, b"\x1d")

    return made_raw


def test_a_command_that_is_ended_leaves_no_raw_terminal() -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with subprocess.Popen(
        [sys.executable, "-c", HELD], stdin=slave, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0]
            assert termios.tcgetattr(slave) != before
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 128 + signal.SIGTERM
        finally:
            process.kill()
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)
