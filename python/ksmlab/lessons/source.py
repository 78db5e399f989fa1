"""Read lessons.

A lesson is a Markdown file. Its blocks named ``run`` are typed in a VM:

    <!-- lesson
    kernel: debian-6.1
    minutes: 10
    -->
    <!-- end -->

    <!-- run
    varies: pfn=<frame>
    -->
    ```console
    vm:~# cat /sys/kernel/mm/ksm/run
    0
    ```
    <!-- end -->

``lesson`` comes once, before the first step. A ``run`` block is a session at the terminal (see `session`): the player
types its typed lines, and `recorded` writes their output. ``varies`` (see `varying`) names parts of the output that
differ from run to run, and may be given more than once. Of a new step, only the typed lines have to be there. A step
with the option ``kernel`` begins a new stage of the lesson: the player ends the VM, and boots another kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.lessons import blocks, session
from ksmlab.lessons.varying import COMMON, Template, VaryingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ksmlab.lessons.blocks import Block
    from ksmlab.lessons.session import Exchange

LESSONS = Path(__file__).resolve().parents[3] / "docs/lessons"
FILE_NAME = re.compile(r"(?P<number>\d\d)-[a-z0-9-]+\.md")
TITLE = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
FENCED = re.compile(r"(?P<mark>`{3,})(?:console|pycon)\n(?P<session>.*)(?P=mark)\n", re.DOTALL)
#: Options of the ``lesson`` block. The recorder writes the last one.
OPTIONS = ("kernel", "minutes", "boot", "modules", "patched", "reports", "recorded")
# Longer lines would be wrapped by a reader's terminal, and by ours.
LONGEST_LINE = 110
STEP_SECONDS = 150.0


class LessonError(Exception):
    """A lesson cannot be read or played, or its output differs from the page; the text names lesson and step."""


@dataclass(frozen=True)
class Step:
    """A block that is typed in the VM.

    Attributes:
        number: Its number in the lesson, from 1.
        line: The line number of its marker in the page, from 1.
        exchanges: The typed lines, with the recorded output.
        varies: Which parts of the output differ from run to run.
        seconds: How long one line of it may take on a host with KVM.
        kernel: The kernel that the player boots before this step; empty if the step runs in the VM of the last one.
    """

    number: int
    line: int
    exchanges: tuple[Exchange, ...]
    varies: tuple[Template, ...] = ()
    seconds: float = STEP_SECONDS
    kernel: str = ""

    @property
    def typed(self) -> tuple[str, ...]:
        """The typed lines."""
        return tuple(each.typed for each in self.exchanges)


@dataclass(frozen=True)
class Prose:
    """The Markdown between two steps: text, quoted code and images."""

    text: str


@dataclass(frozen=True)
class Stage:
    """The part of a lesson that is played in one VM.

    Attributes:
        kernel: The name of its kernel.
        parts: Prose and steps, in order.
    """

    kernel: str
    parts: tuple[Prose | Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of this stage."""
        return tuple(part for part in self.parts if isinstance(part, Step))


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        path: The path of its page.
        title: Its heading.
        kernel: The kernel that its first stage is recorded on and tested on.
        minutes: How long a reader takes, about.
        parts: Prose and steps, in order.
        boot: More arguments for the kernel's command line.
        modules: The names of its own modules. The sources of each are in programs/NN/NAME, and the host builds them.
        patched: The name of a second build of the driver that it wants, with edits that programs/NN/NAME.toml lists.
        reports: The kinds of errors that the kernel reports on purpose during the lesson (`vm.splat` names the kinds).
        recorded: What `recorded` notes about the last recording; empty before the first.
    """

    path: Path
    title: str
    kernel: str
    minutes: int
    parts: tuple[Prose | Step, ...]
    boot: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    patched: str = ""
    reports: tuple[str, ...] = ()
    recorded: str = ""

    @property
    def number(self) -> int:
        """The number in the name of its page, from 0."""
        return int(self.path.name[:2])

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps."""
        return tuple(part for part in self.parts if isinstance(part, Step))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The lesson, split before each step that needs another kernel."""
        stages = [Stage(self.kernel, ())]
        for part in self.parts:
            if isinstance(part, Step) and part.kernel:
                stages.append(Stage(part.kernel, ()))
            stages[-1] = replace(stages[-1], parts=(*stages[-1].parts, part))
        return tuple(stages)

    @property
    def programs(self) -> Path:
        """The directory of the programs that it uses in the VM. It need not exist."""
        return self.path.parent / "programs" / f"{self.number:02}"

    def where(self, step: Step) -> str:
        """Return the lesson, step, file and line of a step, for an error message."""
        return f"lesson {self.number}, step {step.number} ({self.path.name}:{step.line})"


class _Reader:
    """Reads one lesson."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.head: dict[str, str] | None = None
        self.steps = 0

    def error(self, line: int, what: str) -> LessonError:
        return LessonError(f"{self.path.name}:{line}: {what}")

    def parts(self) -> Iterator[Prose | Step]:
        done = 0
        try:
            found = blocks.find(self.text)
        except blocks.BlockError as error:
            raise LessonError(f"{self.path.name}, {error}") from None
        for block in found:
            if block.name not in ("lesson", "run"):
                continue
            yield from self.prose(self.text[done : block.start])
            done = block.end
            if block.name == "run":
                yield self.step(block)
            elif self.head is not None or self.steps:
                raise self.error(
                    block.line, "there must be only one lesson block, before the first step"
                )
            else:
                self.head = block.option
        yield from self.prose(self.text[done:])

    def prose(self, text: str) -> Iterator[Prose]:
        if text.strip():
            yield Prose(text.strip("\n"))

    def step(self, block: Block) -> Step:
        if self.head is None:
            raise self.error(block.line, "the lesson block must precede the first step")
        varies: list[Template] = []
        seconds = STEP_SECONDS
        kernel = ""
        fenced = FENCED.fullmatch(block.body)
        try:
            for name, value in block.options:
                match name:
                    case "varies":
                        varies.append(Template(value))
                    case "seconds":
                        seconds = float(value)
                    case "kernel":
                        kernel = value
                    case _:
                        raise self.error(
                            block.line, f"a step has no option {name!r}: varies, seconds, kernel"
                        )
            exchanges = session.parse(fenced["session"]) if fenced else ()
        except (VaryingError, ValueError) as error:
            raise self.error(block.line, str(error)) from None
        if not exchanges:
            raise self.error(
                block.line, "a step must be one ```console block with at least one typed line"
            )
        step = Step(self.steps + 1, block.line, exchanges, (*varies, *COMMON), seconds, kernel)
        if long := [text for text in step.typed if len(text) > LONGEST_LINE]:
            raise self.error(
                block.line,
                f"a typed line may have at most {LONGEST_LINE} characters, but this one is longer: {long[0]!r}",
            )
        self.steps += 1
        return step


def read(path: Path) -> Lesson:
    """Read a lesson.

    Args:
        path: The path of its page, whose name has the form NN-name.md.

    Raises:
        LessonError: The page is not a valid lesson; the text has the line number.
    """
    if not FILE_NAME.fullmatch(path.name):
        raise LessonError(
            f"{path.name} is not a lesson: its name must have the form 03-seeing-memory.md"
        )
    text = path.read_text()
    reader = _Reader(path, text)
    parts = tuple(reader.parts())
    title = TITLE.search(text)
    head = reader.head
    if head is None or title is None:
        raise reader.error(1, "a lesson must have a heading and a lesson block")
    if unknown := head.keys() - set(OPTIONS):
        raise reader.error(1, f"the lesson block has no option {', '.join(sorted(unknown))}")
    if not head.get("kernel") or not head.get("minutes", "").isdigit():
        raise reader.error(1, "the lesson block must have the options kernel and minutes")
    return Lesson(
        path=path,
        title=title["title"],
        kernel=head["kernel"],
        minutes=int(head["minutes"]),
        parts=parts,
        boot=tuple(head.get("boot", "").split()),
        modules=tuple(head.get("modules", "").split()),
        patched=head.get("patched", ""),
        reports=tuple(filter(None, head.get("reports", "").split(", "))),
        recorded=head.get("recorded", ""),
    )


def pages(directory: Path = LESSONS) -> list[Path]:
    """Return the pages of the lessons, in the order of their numbers."""
    return sorted(directory.glob("[0-9]*.md"))


def read_all(directory: Path = LESSONS) -> dict[int, Lesson]:
    """Read all lessons.

    Returns:
        The lessons by number.

    Raises:
        LessonError: A lesson is not valid, or two lessons have the same number.
    """
    lessons: dict[int, Lesson] = {}
    for path in pages(directory):
        lesson = read(path)
        if other := lessons.get(lesson.number):
            raise LessonError(f"{path.name} and {other.path.name} have the same number")
        lessons[lesson.number] = lesson
    return lessons


def find(number: int, directory: Path = LESSONS) -> Lesson:
    """Return the lesson with a number.

    Raises:
        LessonError: There is no lesson with this number.
    """
    lessons = read_all(directory)
    if number not in lessons:
        known = ", ".join(map(str, lessons))
        raise LessonError(f"There is no lesson {number}. Use one of these: {known}.")
    return lessons[number]
