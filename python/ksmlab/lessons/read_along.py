"""Play a lesson to a reader at a terminal: show the text, wait for a key, and type the next step."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markdown import Markdown

from ksmlab.lessons.source import Prose, Step
from ksmlab.vm.interact import ESCAPE, connect, raw_terminal, read_from, show, type_into

if TYPE_CHECKING:
    from ksmlab.lessons.source import Lesson, Stage
    from ksmlab.lessons.terminal import Terminal
    from ksmlab.vm.machine import Machine

# The parts that are not shown on a terminal: comments, and the answers of exercises.
HIDDEN = re.compile(r"^(?:<!--.*?-->|<details>.*?^</details>)\n?", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(^(?P<mark>`{3,}).*?^(?P=mark)$)", re.MULTILINE | re.DOTALL)
IMAGE = re.compile(r"!\[(?P<words>[^\]]*)\]\([^)]*\)")
# Links to other pages. Links to web sites are kept.
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!https?:)[^)\s]*\)")
ENTER = (b"\r", b"\n", b" ")
# The longest line of prose, since longer ones are hard to read.
WIDEST = 100
# The width of a tab in the kernel's coding style.
TAB = 8
# Erases the current prompt, which is written again when the next line is typed.
ERASE_LINE = "\r\x1b[2K"


class Stopped(Exception):
    """The reader has ended the lesson."""


def as_text(markdown: str) -> str:
    """Return Markdown without comments, answers of exercises, and links to other pages, for a terminal."""
    parts = []
    done = 0
    plain = HIDDEN.sub("", markdown)
    for code in CODE.finditer(plain):
        parts += [_prose(plain[done : code.start()]), code[0].expandtabs(TAB)]
        done = code.end()
    return "".join((*parts, _prose(plain[done:])))


def _prose(markdown: str) -> str:
    told = IMAGE.sub(lambda found: f"> **Picture.** {found['words']}", markdown)
    return LINK.sub(lambda found: found["text"], told)


def play_to_reader(lesson: Lesson, stage: Stage, terminal: Terminal, machine: Machine) -> bool:
    """Play a stage of a lesson step by step to the reader at this terminal; without a terminal, play it at once.

    After the last stage, the reader may use the VM.

    Args:
        lesson: The lesson.
        stage: The stage.
        terminal: The lesson's shell; the caller has arranged for its output to be printed.
        machine: The VM that the shell is in.

    Returns:
        True if another stage follows and the reader has not quit.
    """
    console = Console(highlight=False)
    console.width = min(console.width, WIDEST)
    end_of_step = ERASE_LINE if sys.stdout.isatty() else "\n"
    print(end_of_step)
    try:
        for part in stage.parts:
            match part:
                case Prose(text):
                    console.print(Markdown(as_text(text)))
                case Step():
                    _wait_for_key(f"step {part.number} of {len(lesson.steps)}", part)
                    sys.stdout.write(f"\n{terminal.prompt}")
                    terminal.play(part)
                    print(end_of_step)
        if stage != lesson.stages[-1]:
            return True
        _wait_for_key("the end; the VM is yours until you press Ctrl-]", None)
    except Stopped:
        return False
    if sys.stdin.isatty():
        sys.stdout.write(terminal.prompt)
        sys.stdout.flush()
        hand_over(machine)
    return False


def _wait_for_key(where: str, step: Step | None) -> None:
    if not sys.stdin.isatty():
        return
    keys = "Enter types it" if step else "Enter continues"
    Console(stderr=True).print(f"\n[{where}: {keys}, q ends the lesson]", style="dim", markup=False)
    with raw_terminal(sys.stdin.fileno()):
        while (key := os.read(sys.stdin.fileno(), 1)) not in ENTER:
            if key in (b"q", b"\x03", b"\x04", ESCAPE, b""):
                raise Stopped


def hand_over(machine: Machine) -> None:
    """Connect the keyboard to the lesson's shell, until the user types Ctrl-] or the VM ends."""

    def take() -> bool:
        show(sys.stdout.fileno(), read_from(machine))
        return False

    connect(machine.channel.console.terminal, take, lambda data: type_into(machine, data))
