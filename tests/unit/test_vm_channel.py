"""The console and the guest's end of it, without a VM: the guest's script runs here, on a terminal of its own."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.channel import (
    READY,
    Channel,
    ChannelClosed,
    Limit,
    Output,
    Overdue,
    before_partial_mark,
)
from ksmlab.vm.config import SESSION_SCRIPT, guest_script
from ksmlab.vm.console import Console
from ksmlab.vm.errors import CommandTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

LATE = CommandTimeout("late")
SIZE = (100, 30)


def within(seconds: float, *, idle: bool = False) -> list[Limit]:
    return [Limit(seconds, LATE, idle=idle)]


@contextmanager
def session(panicked: threading.Event | None = None) -> Iterator[Channel]:
    console = Console([str(SESSION_SCRIPT)], os.environ, lambda _line: None)
    try:
        channel = Channel(console, panicked or threading.Event())
        channel.read_to(READY, within(10))
        yield channel
    finally:
        console.close()


@pytest.fixture(scope="module")
def channel() -> Iterator[Channel]:
    with session() as open_channel:
        yield open_channel


def run(channel: Channel, argv: Sequence[str], cwd: Path, **env: str) -> tuple[int, str]:
    request = channel.request("run", guest_script(argv, env=env, cwd=cwd, size=SIZE))
    output = Output(None)
    channel.read_to(request.begin, within(10))
    end = channel.read_to(request.end, within(10), output.feed)
    return int(end[1]), output.text


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["true"], 0, ""),
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["printf", "no newline"], 0, "no newline"),
        (["printf", r"a\nb\n"], 0, "a\nb\n"),
        (["sh", "-c", "echo one; echo two >&2"], 0, "one\ntwo\n"),
        (["echo", 'it\'s $HOME; `x` \\ "q"  *'], 0, 'it\'s $HOME; `x` \\ "q"  *\n'),
        (["printf", r"\303\251\t\007"], 0, "é\t\x07"),
        (["cat"], 0, ""),
        (["sh", "-c", "stty size </dev/tty"], 0, "30 100\n"),
        (["sh", "-c", "test -t 1"], 0, ""),
    ],
)
def test_commands(
    channel: Channel, tmp_path: Path, argv: list[str], status: int, text: str
) -> None:
    assert run(channel, argv, tmp_path) == (status, text)


def test_a_command_that_is_not_there(channel: Channel, tmp_path: Path) -> None:
    status, text = run(channel, ["no-such-command"], tmp_path)
    assert status == 127
    assert "no-such-command" in text


def test_directory_and_environment(channel: Channel, tmp_path: Path) -> None:
    directory = tmp_path / "with space"
    directory.mkdir()
    status, text = run(channel, ["sh", "-c", 'pwd; echo "$WORD"'], directory, WORD="a 'b' $c")
    assert (status, text) == (0, f"{directory}\na 'b' $c\n")


def test_a_long_command_and_much_output(channel: Channel, tmp_path: Path) -> None:
    word = "x" * 100_000
    assert run(channel, ["printf", "%s", word], tmp_path) == (0, word)


def test_output_cannot_pretend_to_be_the_end(channel: Channel, tmp_path: Path) -> None:
    fake = r"\036" + "0" * 32 + r" end 0\036"
    status, text = run(channel, ["sh", "-c", f"printf '{fake}'; exit 3"], tmp_path)
    assert status == 3
    assert text == "\x1e" + "0" * 32 + " end 0\x1e"


def test_the_command_does_not_know_its_token(
    channel: Channel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = secrets.token_hex(16)
    monkeypatch.setattr(secrets, "token_hex", lambda _size: token)
    status, text = run(channel, ["sh", "-c", "env; tr '\\0' ' ' </proc/$PPID/cmdline"], tmp_path)
    assert (status, token in text) == (0, False)
    status, text = run(channel, ["echo", token], tmp_path)
    assert (status, text) == (0, f"{token}\n")


def test_output_comes_as_it_is_printed(channel: Channel, tmp_path: Path) -> None:
    script = "echo first; until [ -e go ]; do sleep 0.05; done; echo second"
    request = channel.request(
        "run", guest_script(["sh", "-c", script], env=None, cwd=tmp_path, size=SIZE)
    )
    pieces: list[str] = []

    def on_output(piece: str) -> None:
        pieces.append(piece)
        (tmp_path / "go").touch()

    channel.read_to(request.end, within(10), Output(on_output).feed)
    assert "".join(pieces).endswith("first\nsecond\n")


def test_a_limit_passes(tmp_path: Path) -> None:
    with session() as channel:
        request = channel.request(
            "run", guest_script(["sleep", "60"], env=None, cwd=tmp_path, size=SIZE)
        )
        start = time.monotonic()
        with pytest.raises(Overdue) as caught:
            channel.read_to(request.end, within(0.5))
        assert caught.value.limit.error is LATE
        assert time.monotonic() - start < 5


def test_idle_limit_starts_again_with_each_output(tmp_path: Path) -> None:
    with session() as channel:
        script = "for i in 1 2 3 4 5 6; do sleep 0.3; echo $i; done; sleep 60"
        request = channel.request(
            "run", guest_script(["sh", "-c", script], env=None, cwd=tmp_path, size=SIZE)
        )
        output = Output(None)
        with pytest.raises(Overdue):
            channel.read_to(request.end, within(1.2, idle=True), output.feed)
        assert output.text.endswith("6\n")


def test_the_other_side_goes_away(tmp_path: Path) -> None:
    with session() as channel:
        request = channel.request(
            "run", guest_script(["sleep", "60"], env=None, cwd=tmp_path, size=SIZE)
        )
        channel.read_to(request.begin, within(10))
        os.killpg(channel.console.process.pid, signal.SIGKILL)
        with pytest.raises(ChannelClosed):
            channel.read_to(request.end, within(10))
        assert channel.console.wait_gone(10)


def test_a_panic_ends_the_wait_even_if_the_console_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ksmlab.vm.channel.PANIC_SECONDS", 0.2)
    panicked = threading.Event()
    with session(panicked) as channel:
        request = channel.request(
            "run", guest_script(["sleep", "60"], env=None, cwd=tmp_path, size=SIZE)
        )
        panicked.set()
        with pytest.raises(ChannelClosed):
            channel.read_to(request.end, within(30))


@pytest.mark.parametrize(
    ("slowness", "reports", "least", "most"),
    [(1, 8, 1.0, 10), (4, 0, 2.0, 10), (1, 1000, 1.5, 10)],
)
def test_a_panic_is_heard_to_its_end_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch, slowness: float, reports: int, least: float, most: float
) -> None:
    monkeypatch.setattr("ksmlab.vm.channel.PANIC_SECONDS", 0.5)
    monkeypatch.setattr("ksmlab.vm.channel.PANIC_PATIENCE", 3)
    monkeypatch.setattr("ksmlab.vm.channel.TICK_SECONDS", 0.05)
    panicked = threading.Event()
    script = f"sleep 0.3; for n in $(seq {reports}); do echo more >&2; sleep 0.1; done; sleep 60"
    console = Console(["bash", "-c", script], os.environ, lambda _line: None)
    try:
        channel = Channel(console, panicked, slowness)
        time.sleep(0.3)
        panicked.set()
        start = time.monotonic()
        with pytest.raises(ChannelClosed):
            channel.read_to(READY, within(0))
        assert least < time.monotonic() - start < most
    finally:
        console.close()


def test_of_endless_output_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmlab.vm.channel.KEPT_CHARACTERS", 10)
    pieces: list[str] = []
    output = Output(pieces.append)
    for number in range(100):
        output.feed(f"{number:4}".encode())
    assert output.text == "  98  99"
    assert len(pieces) == 100


def test_close_ends_what_was_started() -> None:
    console = Console(["sh", "-c", "sleep 300 & sleep 300; true"], os.environ, lambda _line: None)
    start = time.monotonic()
    console.close()
    console.close()
    assert console.wait_gone(0)
    assert time.monotonic() - start < 5


def test_close_ends_what_will_not_go_kindly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ksmlab.vm.console.END_SECONDS", 0.3)
    heard = threading.Event()
    script = "trap '' TERM HUP; echo ready >&2; while :; do sleep 0.05; done"
    console = Console(["sh", "-c", script], os.environ, lambda _line: heard.set())
    assert heard.wait(10)
    console.close()
    assert console.wait_gone(0)


def test_error_output_is_the_log() -> None:
    lines: list[str] = []
    console = Console(["sh", "-c", "echo out; echo log >&2"], os.environ, lines.append)
    assert console.wait_gone(10)
    assert lines == ["log"]
    assert list(console.log.lines) == ["log"]
    console.close()


@pytest.mark.parametrize(
    "mark",
    [
        b"\x1evm-session ready\x1e",
        b"\x1e" + b"0f" * 16 + b" begin\x1e",
        b"\x1e" + b"0f" * 16 + b" end 255\x1e",
    ],
)
def test_a_mark_may_come_in_pieces_of_any_size(mark: bytes) -> None:
    for size in range(1, len(mark)):
        assert before_partial_mark(b"text\n" + mark[:size]) == len(b"text\n")
    assert before_partial_mark(b"\x1e stray\n") == len(b"\x1e stray\n")
    assert before_partial_mark(b"plain") == len(b"plain")


def test_output_decodes_across_pieces() -> None:
    output = Output(None)
    for byte in "é€".encode():
        output.feed(bytes([byte]))
    output.feed(b"\xff!")
    assert output.text == "é€\ufffd!"
