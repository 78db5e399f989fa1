"""Typing at a console: the output is separated from the typed text and from the prompts."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from pexpect import fdpexpect

from ksmlab.lessons import terminal as terminal_module
from ksmlab.lessons.session import Exchange
from ksmlab.lessons.source import Lesson, LessonError, Step
from ksmlab.lessons.terminal import Terminal, clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from ksmlab.vm.machine import Machine as VirtualMachine


class Machine:
    """A shell of the host's on a terminal, as a VM's console is one."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        os.set_blocking(self.master, False)
        subprocess.run(["stty", "sane", "cols", "200"], stdin=self._slave, check=True)
        expect = fdpexpect.fdspawn(self.master, timeout=None)
        console = SimpleNamespace(expect=expect, write=lambda data: os.write(self.master, data))
        self.channel = SimpleNamespace(console=console, take_pending=lambda: b"")
        self.slowness = 1
        self.shell: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self.shell is not None and self.shell.poll() is None

    def start_shell(self, script: str, *, size: tuple[int, int]) -> SimpleNamespace:
        assert size[0] > 110
        self.shell = subprocess.Popen(
            ["setsid", "--ctty", "bash", "-c", f"{script}\nbash --norc\nprintf '<END>'"],
            stdin=self._slave, stdout=self._slave, stderr=self._slave,
        )  # fmt: skip
        os.close(self._slave)
        return SimpleNamespace(end=re.compile(b"<END>"))

    def close(self) -> None:
        if self.shell is not None:
            self.shell.kill()
            self.shell.wait()
        os.close(self.master)


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lesson:
    monkeypatch.setattr(terminal_module, "HOME", str(tmp_path / "home"))
    programs = tmp_path / "programs/07"
    programs.mkdir(parents=True)
    (programs / "a.txt").write_text("of the lesson\n")
    (tmp_path / "b.txt").write_text("linked\n")
    return Lesson(path=tmp_path / "07-x.md", title="", kernel="", minutes=1, parts=())


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.close()


def console(
    machine: Machine,
    lesson: Lesson,
    modules: Mapping[str, Path] | None = None,
    on_output: Callable[[str], None] = lambda _: None,
) -> Terminal:
    return Terminal(cast("VirtualMachine", machine), lesson, modules, on_output)


def step(*typed: str, seconds: float = 30) -> Step:
    return Step(1, 1, tuple(Exchange("", line, "") for line in typed), seconds=seconds)


def test_a_dialogue(machine: Machine, lesson: Lesson, tmp_path: Path) -> None:
    shown: list[str] = []
    modules = {"sub/b.txt": tmp_path / "b.txt"}
    with console(machine, lesson, modules, shown.append) as terminal:
        shell = terminal.play(
            step("cat a.txt sub/b.txt", "cd /", "true", "for i in 1 2", "do echo $i; done")
        )
        assert [(each.prompt, each.output) for each in shell] == [
            ("vm:~# ", "of the lesson\nlinked\n"),
            ("vm:~# ", ""),
            ("vm:/# ", ""),
            ("vm:/# ", ""),
            ("> ", "1\n2\n"),
        ]
        python = terminal.play(
            step("python", "def f():", "    return '>>> '", "", "print(f())", "1/0", "exit()")
        )
        assert [each.prompt for each in python] == [
            "vm:/# ",
            ">>> ",
            "... ",
            "... ",
            ">>> ",
            ">>> ",
            ">>> ",
        ]
        # What looks like a prompt is none without its mark.
        assert python[4].output == ">>> \n"
        assert python[5].output.endswith("ZeroDivisionError: division by zero\n")
        assert terminal.prompt == "vm:/# "
        terminal.play(step("python -q", "x = 1"))
    assert "of the lesson\n" in "".join(shown)
    assert machine.shell is not None
    assert machine.shell.wait(30) == 0


def test_no_prompt_in_time(machine: Machine, lesson: Lesson) -> None:
    with (
        pytest.raises(
            LessonError,
            match=r"lesson 7, step 1 .*typed 'echo a; cat'.*within 1 s. The output was: .*a",
        ),
        console(machine, lesson) as terminal,
    ):
        terminal.play(step("echo a; cat", seconds=1))


def test_a_shell_that_does_not_end(
    machine: Machine, lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = console(machine, lesson).__enter__()
    monkeypatch.setattr(terminal_module, "START_SECONDS", 0.3)
    monkeypatch.setattr(machine.channel.console, "write", lambda _data: None)
    with pytest.raises(LessonError, match="did not end within 0 s"):
        terminal.__exit__(None, None, None)


def test_what_a_person_sees() -> None:
    assert clean(b"\x1b[?2004l\r\x1b[1;31mred\x1b[0m\x07\r\n\x1eend") == "red\nend"
