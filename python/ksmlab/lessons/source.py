"""The source of a lesson: Markdown, in which fenced blocks named ``{run}`` are typed in a VM.

    ```{lesson}
    :kernel: debian-6.1
    :minutes: 10
    ```

    ```{run}
    :varies: pfn=<frame>

    cat /sys/kernel/mm/ksm/run
    ```

``{lesson}`` comes once, before the first step. A line of a ``{run}`` block is typed as it is, an empty one is the Enter
key alone. What comes back is not in the source but in recorded/; ``:varies:`` (see `varying`) says which parts of it
differ from run to run, and may be given more than once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from ksmlab.lessons.varying import COMMON, Template, VaryingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

LESSONS = Path(__file__).resolve().parents[3] / "docs/lessons"
FILE_NAME = re.compile(r"(?P<number>\d\d)-[a-z0-9-]+\.md")
TITLE = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
OPTION = re.compile(r":(?P<name>[a-z]+):\s*(?P<value>.*)")
DIRECTIVE = re.compile(r"\{(?P<name>[\w-]+)\}\s*(?P<argument>.*)")
# Longer lines would be wrapped by a reader's terminal, and by ours.
LONGEST_LINE = 110
STEP_SECONDS = 150.0


class LessonError(Exception):
    """A lesson cannot be read, or its step went otherwise than recorded; the text names lesson and step."""


@dataclass(frozen=True)
class Step:
    """A block that is typed.

    Attributes:
        number: From 1, within the lesson.
        line: Where it begins in the source, from 1.
        typed: Its lines.
        varies: Which parts of what comes back differ from run to run.
        seconds: How long one line of it may take on a host with KVM.
    """

    number: int
    line: int
    typed: tuple[str, ...]
    varies: tuple[Template, ...] = ()
    seconds: float = STEP_SECONDS


@dataclass(frozen=True)
class Prose:
    """Text between two blocks, as Markdown."""

    text: str


@dataclass(frozen=True)
class Inclusion:
    """A block that includes code.

    Attributes:
        path: The file, from the top of the checkout.
        names: Which functions or types of it.
        comment: Whether the comment above each is shown, too.
        lines: Which lines of each, from 1; all, if empty.
    """

    path: str
    names: tuple[str, ...]
    comment: bool = False
    lines: str = ""


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        path: Its source.
        title: Its heading.
        kernel: The kernel that it is recorded on and tested on.
        minutes: How long a reader takes, about.
        parts: Prose, steps and included code, in order.
        boot: More arguments for the kernel's command line.
        draft: It has not been recorded since it was written: its page shows what is typed, and says so.
        patched: The name of a second build of the driver that it wants, with edits that programs/NN/NAME.toml lists.
    """

    path: Path
    title: str
    kernel: str
    minutes: int
    parts: tuple[Prose | Step | Inclusion, ...]
    boot: tuple[str, ...] = ()
    patched: str = ""
    draft: bool = False

    @property
    def number(self) -> int:
        """Its place among the lessons, from 1."""
        return int(self.path.name[:2])

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is typed."""
        return tuple(part for part in self.parts if isinstance(part, Step))

    @property
    def record(self) -> Path:
        """Where what comes back is kept."""
        return self.path.parent / "recorded" / f"{self.path.stem}.json"

    @property
    def programs(self) -> Path:
        """Where the programs are that it uses in the VM; need not be there."""
        return self.path.parent / "programs" / f"{self.number:02}"

    def where(self, step: Step) -> str:
        """Name a step for an error."""
        return f"lesson {self.number}, step {step.number} ({self.path.name}:{step.line})"


def split_options(lines: Sequence[str]) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """Take the options off the head of a block.

    Returns:
        Name and value of each, and the rest without the empty line between.
    """
    options: list[tuple[str, str]] = []
    rest = list(lines)
    while rest and (found := OPTION.fullmatch(rest[0])):
        options.append((found["name"], found["value"].strip()))
        del rest[0]
    if options and rest and not rest[0]:
        del rest[0]
    return options, tuple(rest)


class _Reader:
    """Reads one lesson."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.head: dict[str, str] | None = None
        self.steps = 0

    def error(self, line: int, what: str) -> LessonError:
        return LessonError(f"{self.path.name}:{line}: {what}")

    def parts(self) -> Iterator[Prose | Step | Inclusion]:
        lines = self.text.splitlines()
        done = 0
        for token in MarkdownIt("commonmark").parse(self.text):
            if token.type != "fence" or token.map is None:
                continue
            found = DIRECTIVE.fullmatch(token.info.strip())
            if found is None or not token.markup.startswith("`"):
                continue
            start, end = token.map
            part = self.part(found["name"], found["argument"], start + 1, token)
            if part is None and found["name"] != "lesson":
                continue
            yield from self.prose(lines[done:start])
            done = end
            if part is not None:
                yield part
        yield from self.prose(lines[done:])

    def prose(self, lines: Sequence[str]) -> Iterator[Prose]:
        text = "\n".join(lines).strip("\n")
        if text:
            yield Prose(text)

    def part(self, name: str, argument: str, line: int, token: Token) -> Step | Inclusion | None:
        lines = token.content.splitlines()
        if name == "run":
            return self.step(line, lines)
        if name == "lesson":
            if self.head is not None or self.steps:
                raise self.error(line, "{lesson} comes once, before the first step")
            self.head = dict(split_options(lines)[0])
        if name == "excerpt":
            path, *names = argument.split()
            options = dict(split_options(lines)[0])
            return Inclusion(
                path,
                tuple(name.replace(":", " ") for name in names),
                "comment" in options,
                options.get("lines", ""),
            )
        return None

    def step(self, line: int, lines: Sequence[str]) -> Step:
        if self.head is None:
            raise self.error(line, "a step before {lesson}")
        options, typed = split_options(lines)
        varies: list[Template] = []
        seconds = STEP_SECONDS
        for name, value in options:
            try:
                match name:
                    case "varies":
                        varies.append(Template(value))
                    case "seconds":
                        seconds = float(value)
                    case _:
                        raise self.error(line, f"a step has no option {name!r}: varies, seconds")
            except (VaryingError, ValueError) as error:
                raise self.error(line, str(error)) from None
        if not typed:
            raise self.error(line, "a step without a line to type")
        if long := [text for text in typed if len(text) > LONGEST_LINE]:
            raise self.error(line, f"longer than {LONGEST_LINE} characters: {long[0]!r}")
        self.steps += 1
        return Step(self.steps, line, typed, (*varies, *COMMON), seconds)


def read(path: Path) -> Lesson:
    """Read a lesson.

    Args:
        path: Its source, named NN-name.md.

    Raises:
        LessonError: It is none; the text has the line.
    """
    if not FILE_NAME.fullmatch(path.name):
        raise LessonError(f"{path.name} is no lesson: its name has to be like 03-seeing-memory.md")
    text = path.read_text()
    reader = _Reader(path, text)
    parts = tuple(reader.parts())
    title = TITLE.search(text)
    head = reader.head
    if head is None or title is None:
        raise reader.error(1, "a lesson has a heading and a {lesson} block")
    if unknown := head.keys() - {"kernel", "minutes", "boot", "patched", "draft"}:
        raise reader.error(1, f"{{lesson}} has no option {', '.join(sorted(unknown))}")
    if not head.get("kernel") or not head.get("minutes", "").isdigit():
        raise reader.error(1, "{lesson} has to say :kernel: and :minutes:")
    return Lesson(
        path=path,
        title=title["title"],
        kernel=head["kernel"],
        minutes=int(head["minutes"]),
        parts=parts,
        boot=tuple(head.get("boot", "").split()),
        patched=head.get("patched", ""),
        draft=head.get("draft") == "yes",
    )


def read_all(directory: Path = LESSONS) -> dict[int, Lesson]:
    """Read every lesson, by number.

    Raises:
        LessonError: One cannot be read, or two have one number.
    """
    lessons: dict[int, Lesson] = {}
    for path in sorted(directory.glob("[0-9]*.md")):
        lesson = read(path)
        if other := lessons.get(lesson.number):
            raise LessonError(f"{path.name} and {other.path.name} have one number")
        lessons[lesson.number] = lesson
    return lessons


def find(number: int, directory: Path = LESSONS) -> Lesson:
    """Give the lesson of a number.

    Raises:
        LessonError: There is none.
    """
    lessons = read_all(directory)
    if number not in lessons:
        known = ", ".join(map(str, lessons))
        raise LessonError(f"There is no lesson {number}. There are: {known}.")
    return lessons[number]
