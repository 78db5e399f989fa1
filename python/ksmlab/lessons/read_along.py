"""A lesson for a person at a terminal: prose, a key, a step, and at the end the VM is theirs."""

from __future__ import annotations

import importlib
import os
import posixpath
import re
import sys
from html import unescape
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markdown import Markdown
from rich.syntax import Syntax

from ksmlab.bench import kept
from ksmlab.lessons import excerpt
from ksmlab.lessons.source import Inclusion, Prose, Step, split_options
from ksmlab.vm.interact import ESCAPE, connect, raw_terminal, read_from, show, type_into

if TYPE_CHECKING:
    from ksmlab.lessons.source import Lesson
    from ksmlab.lessons.terminal import Terminal
    from ksmlab.vm.machine import Machine

# What only a page can show: blocks of Sphinx, with the answers of exercises among them; labels and comments; roles.
FENCE = re.compile(r"^(?P<mark>:{3,}|`{3,})\{.*?^(?P=mark)$\n?", re.MULTILINE | re.DOTALL)
LABEL = re.compile(r"^(?:\([\w-]+\)=|%.*)\n", re.MULTILINE)
ROLE = re.compile(r"\{[\w:]+\}`(?P<text>[^`]*?)(?: *<[^`]*>)?`")
LESSON = re.compile(r"\{ref\}`lesson-(?P<number>\d+)`")
FILE = re.compile(
    r"^(?P<mark>`{3,})\{literalinclude\} *(?P<path>\S+)\n.*?^(?P=mark)$", re.MULTILINE | re.DOTALL
)
DRAWING = re.compile(r"^`{3}\{drawing\} *(?P<name>\S+)\n`{3}$", re.MULTILINE)
IMAGE = re.compile(r"^`{3}\{image\} *\S+\n:alt: *(?P<words>.*)\n`{3}$", re.MULTILINE)
TARGETS = re.compile(r"^`{3}\{targets\}\n(?P<options>(?::.*\n)*)`{3}$", re.MULTILINE)
SAID = re.compile(r"<(?:title|desc)[^>]*>([^<]*)<")
PLACE = "docs/lessons"
ENTER = (b"\r", b"\n", b" ")
# Longer lines of prose are hard to read, however wide the terminal is.
WIDEST = 100
# As the kernel's coding style has it.
TAB = 8
# The prompt that stands there already is written again when the next line is typed.
ERASE_LINE = "\r\x1b[2K"


class Stopped(Exception):
    """The reader has had enough."""


def as_text(markdown: str) -> str:
    """Take out of Markdown what only a page can show."""
    plain = FILE.sub(
        lambda found: f"`{posixpath.normpath(posixpath.join(PLACE, found['path']))}`", markdown
    )
    plain = DRAWING.sub(lambda found: _drawing(found["name"]), plain)
    plain = IMAGE.sub(lambda found: f"> **Picture.** {found['words']}", plain)
    plain = TARGETS.sub(lambda found: _targets(found["options"]), plain)
    plain = LABEL.sub("", FENCE.sub("", plain))
    plain = LESSON.sub(lambda found: f"lesson {found['number']}", plain)
    return ROLE.sub(lambda found: f"`{found['text']}`", plain)


def _drawing(name: str) -> str:
    """Say what a drawing shows, in the words that it has for those who do not see it."""
    # What is drawn is a part of the pages, and no part of this package.
    docs = str(excerpt.CHECKOUT / "docs")
    if docs not in sys.path:
        sys.path.append(docs)
    svg = importlib.import_module("drawings").DRAWINGS[name]()
    title, words = (unescape(found[1]) for found in SAID.finditer(svg))
    return f"> **Drawing: {title}.** {words}"


def _targets(options: str) -> str:
    """Give rows of the benchmark's targets as the page has them."""
    return kept.of_options(dict(split_options(options.splitlines())[0]))


def play_to_reader(lesson: Lesson, terminal: Terminal, machine: Machine) -> None:
    """Play a lesson to whoever sits at this terminal; without one, to its end at once.

    Args:
        lesson: Which.
        terminal: Its shell; what it shows is written out by whoever made it.
        machine: The VM that the shell is in.
    """
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    end_of_step = ERASE_LINE if sys.stdout.isatty() else "\n"
    print(end_of_step)
    try:
        for part in lesson.parts:
            match part:
                case Prose(text):
                    console.print(Markdown(as_text(text)))
                case Inclusion(path, names):
                    for name in names:
                        code = excerpt.find(path, name).cut(comment=part.comment, lines=part.lines)
                        language = "c" if path[-1] in "ch" else "python"
                        console.print(f"\n{path}, {name}:", style="dim", markup=False)
                        console.print(Syntax(code.text, language, tab_size=TAB))
                    print()
                case Step():
                    _wait_for_key(f"step {part.number} of {len(lesson.steps)}", part)
                    sys.stdout.write(f"\n{terminal.prompt}")
                    terminal.play(part)
                    print(end_of_step)
        _wait_for_key("the end; the VM is yours until you press Ctrl-]", None)
    except Stopped:
        return
    if sys.stdin.isatty():
        sys.stdout.write(terminal.prompt)
        sys.stdout.flush()
        hand_over(machine)


def _wait_for_key(where: str, step: Step | None) -> None:
    if not sys.stdin.isatty():
        return
    keys = "Enter types it" if step else "Enter goes on"
    Console(stderr=True).print(f"\n[{where}: {keys}, q ends the lesson]", style="dim", markup=False)
    with raw_terminal(sys.stdin.fileno()):
        while (key := os.read(sys.stdin.fileno(), 1)) not in ENTER:
            if key in (b"q", b"\x03", b"\x04", ESCAPE, b""):
                raise Stopped


def hand_over(machine: Machine) -> None:
    """Connect the keyboard to the lesson's shell, until Ctrl-] or the end of the VM."""

    def take() -> bool:
        show(sys.stdout.fileno(), read_from(machine))
        return False

    connect(machine.channel.console.terminal, take, lambda data: type_into(machine, data))
