"""Write the output of a lesson to its page, and detect whether the page was edited since."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from ksmlab.lessons import blocks, session
from ksmlab.lessons.source import LessonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ksmlab.lessons.blocks import Block
    from ksmlab.lessons.session import Exchange
    from ksmlab.lessons.source import Lesson

WIDTH = 120
VARIES = "Frame numbers, addresses, times and some counts differ from run to run."


def save(lesson: Lesson, steps: Sequence[tuple[Exchange, ...]], release: str, *, kvm: bool) -> None:
    """Write the output of a lesson to its page.

    Args:
        lesson: The lesson.
        steps: The exchanges of each step.
        release: The kernel's release, as printed by `uname -r`.
        kvm: Whether the VM used KVM rather than emulation.

    Raises:
        LessonError: An output cannot be shown on a page; nothing is written.
    """
    left = iter(steps)
    try:
        about = f"{release}, {'KVM' if kvm else 'emulation'}, {digest(steps)}"

        def write(block: Block) -> Block:
            if block.name == "run":
                return _run(block, next(left))
            return head(lesson, block, about) if block.name == "lesson" else block

        lesson.path.write_text(blocks.rewrite(lesson.path.read_text(), write))
    except session.SessionError as error:
        raise LessonError(f"lesson {lesson.number} cannot be recorded: {error}") from None


def _run(block: Block, exchanges: tuple[Exchange, ...]) -> Block:
    return block.written(blocks.fence(session.render(exchanges), session.language(exchanges)))


def head(lesson: Lesson, block: Block, about: str) -> Block:
    """Return the lesson block with its text: the duration, the command to play it, the kernel, and links.

    Args:
        lesson: The lesson.
        block: The lesson block.
        about: The value of the option ``recorded``; empty before the first recording.
    """
    options = [(name, value) for name, value in block.options if name != "recorded"]
    said = "It has not been recorded yet, so its output is missing."
    if about:
        release, how, _ = about.split(", ")
        cpu = "with KVM" if how == "KVM" else "on an emulated CPU"
        said = f"The output on this page is from {lesson.kernel} ({release}), {cpu}. {VARIES}"
        options.append(("recorded", about))
    body = f"About {lesson.minutes} minutes. To play it in a VM: `make lesson N={lesson.number}`. {said}"
    links = "[All lessons](index.md)"
    for page in sorted(lesson.path.parent.glob(f"{lesson.number + 1:02}-*.md")):
        links += f", [next lesson]({page.name})"
    text = f"{textwrap.fill(body, WIDTH, break_on_hyphens=False)}\n\n{links}\n"
    return replace(block, options=tuple(options)).written(text)


def digest(steps: Iterable[tuple[Exchange, ...]]) -> str:
    """Return a checksum of the sessions of a lesson."""
    text = "\n".join(session.render(exchanges) for exchanges in steps)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check(lesson: Lesson) -> None:
    """Check that no step was edited since the lesson was recorded.

    Raises:
        LessonError: A step was edited, or the lesson has not been recorded.
    """
    found = digest(step.exchanges for step in lesson.steps)
    if lesson.recorded.rpartition(", ")[2] != found:
        raise LessonError(
            f"{lesson.path.name}: steps were edited since the lesson was recorded. "
            f"Record it again:  make lessons-record N={lesson.number}"
        )
