"""Type lines at the console of a VM, as a reader would, and return the output of each line."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pexpect

from ksmlab.lessons.session import Exchange
from ksmlab.lessons.source import LessonError
from ksmlab.vm.interact import END_OF_INPUT, type_into

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from ksmlab.lessons.source import Lesson, Step
    from ksmlab.vm.machine import Machine

CHECKOUT = Path(__file__).resolve().parents[3]
# The prompts of the shell and of Python, for the first and for further lines of a command. They begin with a mark that
# output does not contain.
PROMPT = re.compile(rb"\x1e(vm:[^\n\x1e]*# |>>> |\.\.\. |> )")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00\x07\x1e]")
# The directory in the VM in which a lesson starts. It contains only the lesson's programs.
HOME = "/tmp/lesson"
COLUMNS, ROWS = 200, 50
START_SECONDS = 150.0
SHOWN_OF_OUTPUT = 2000


def script(lesson: Lesson, modules: Mapping[str, Path], checkout: Path = CHECKOUT) -> str:
    """Return the script that prepares the shell of a lesson: its directory, environment and prompts.

    Args:
        lesson: The lesson.
        modules: Files to link into the directory, by their names there.
        checkout: The top directory of the checkout.
    """
    python = Path(sys.executable).parent
    prompts = checkout / "python/ksmlab/lessons/prompts.py"
    lines = [
        f"mkdir -p {HOME}; cd {HOME}; export HOME={HOME}",
        f"export PATH={shlex.quote(str(python))}:$PATH PYTHONPATH={shlex.quote(str(checkout / 'python'))}",
        "export PYTHONDONTWRITEBYTECODE=1 PYTHON_BASIC_REPL=1 NO_COLOR=1 TERM=xterm LC_ALL=C.UTF-8",
        f"export PYTHONSTARTUP={shlex.quote(str(prompts))}",
        r"export PROMPT_COMMAND= PS1='\[\036\]vm:\w# ' PS2='\[\036\]> '",
    ]
    lines += [
        f"mkdir -p {shlex.quote(str(Path(name).parent))}; "
        f"ln -sf {shlex.quote(str(path))} {shlex.quote(name)}"
        for name, path in modules.items()
    ]
    if lesson.programs.is_dir():
        lines.append(f"cp -rL {shlex.quote(str(lesson.programs))}/. .")
    return "\n".join(lines)


class Terminal:
    """A shell in a VM, for one lesson. Use it as a context manager.

    Args:
        machine: A booted VM.
        lesson: The lesson.
        modules: The driver's modules, by their names in the lesson.
        on_output: Called with everything that the terminal shows, as it arrives.
    """

    def __init__(
        self,
        machine: Machine,
        lesson: Lesson,
        modules: Mapping[str, Path] | None = None,
        on_output: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start the shell; see the class."""
        self._machine = machine
        self._lesson = lesson
        self._on_output = on_output
        self._factor = machine.slowness
        self._request = machine.start_shell(script(lesson, modules or {}), size=(COLUMNS, ROWS))
        self._spawn: Any = machine.channel.console.expect
        self._spawn.buffer = machine.channel.take_pending()
        self.prompt = ""

    def __enter__(self) -> Self:
        """Wait for the first prompt."""
        self._read("The shell did not start", START_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the shell and the programs that run in it. After an exception, do nothing: the caller ends the VM."""
        if kind is not None or not self._machine.alive:
            return
        while True:
            type_into(self._machine, END_OF_INPUT)
            try:
                if self._expect([self._request.end, PROMPT], START_SECONDS) == 0:
                    return
            except pexpect.TIMEOUT:
                raise LessonError(
                    f"{self._lesson.path.name}: after its last step the shell did not end "
                    f"within {START_SECONDS * self._factor:.0f} s"
                ) from None

    def play(self, step: Step) -> tuple[Exchange, ...]:
        """Type the lines of a step, each after the next prompt has appeared.

        Raises:
            LessonError: A prompt did not appear in time.
            LostVM: The VM has ended.
        """
        return tuple(self.type(line, step) for line in step.typed)

    def type(self, line: str, step: Step) -> Exchange:
        """Type one line of a step; see play()."""
        prompt = self.prompt
        type_into(self._machine, f"{line}\n".encode())
        what = f"{self._lesson.where(step)}, typed {line!r}: no prompt appeared"
        echo, _, output = self._read(what, step.seconds).partition("\n")
        # After a prompt that contains a mark, readline may move the cursor back.
        echo = echo.lstrip("\b")
        if echo != line:
            raise LessonError(
                f"{self._lesson.where(step)}: typed {line!r}, but the terminal showed {echo!r}"
            )
        return Exchange(prompt, line, output)

    def _expect(self, patterns: list[re.Pattern[bytes]], seconds: float) -> int:
        try:
            found: int = self._spawn.expect(patterns, timeout=seconds * self._factor)
        except pexpect.EOF:
            raise self._machine.lost() from None
        return found

    def _read(self, what: str, seconds: float) -> str:
        """Read up to the next prompt, and return the output before it."""
        try:
            self._expect([PROMPT], seconds)
        except pexpect.TIMEOUT:
            got = clean(self._spawn.before)[-SHOWN_OF_OUTPUT:]
            raise LessonError(
                f"{what} within {seconds * self._factor:.0f} s. The output was: {got!r}"
            ) from None
        output = clean(self._spawn.before)
        self.prompt = self._spawn.match[1].decode()
        self._on_output(output + self.prompt)
        return output


def clean(data: bytes) -> str:
    """Return the visible text of a terminal's output."""
    return CONTROL.sub("", data.decode(errors="replace")).replace("\r", "")
