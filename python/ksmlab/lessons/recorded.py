"""Write the output of a lesson to its page, and detect whether the page was edited since."""

from __future__ import annotations

import hashlib
import textwrap
from dataclasses import replace
from typing import TYPE_CHECKING

from ksmlab.lessons import blocks, session, source
from ksmlab.lessons.source import LessonError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ksmlab.lessons.blocks import Block
    from ksmlab.lessons.session import Exchange
    from ksmlab.lessons.source import Lesson

WIDTH = 120
VARIES = "Frame numbers, addresses, times and some counts differ from run to run."


def save(
    lesson: Lesson,
    steps: Sequence[tuple[Exchange, ...]],
    releases: Mapping[str, str],
    *,
    kvm: bool,
) -> None:
    """Write what a lesson printed into its page.

    Args:
        lesson: The lesson.
        steps: The exchanges of each step.
        releases: The output of `uname -r` on each kernel, by the kernel's name.
        kvm: Whether the CPU was virtualised, not emulated.

    Raises:
        LessonError: An output cannot be shown on a page; nothing is written.
    """
    left = iter(steps)
    try:
        booted = " ".join(releases[name] for name in _kernels(lesson))
        about = f"{booted}, {'KVM' if kvm else 'emulation'}, {digest(steps)}"

        def write(block: Block) -> Block:
            if block.name == "run":
                return _run(block, next(left))
            return head(lesson, block, about) if block.name == "lesson" else block

        lesson.path.write_text(blocks.rewrite(lesson.path.read_text(), write))
    except session.SessionError as error:
        raise LessonError(f"lesson {lesson.number} cannot be recorded: {error}") from None


def _kernels(lesson: Lesson) -> list[str]:
    """List the kernels of a lesson, each once, in the order in which they are booted."""
    return list(dict.fromkeys(stage.kernel for stage in lesson.stages))


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
        releases, how, _ = about.split(", ")
        cpu = "with KVM" if how == "KVM" else "on an emulated CPU"
        kernels = " and ".join(
            f"{name} ({release})"
            for name, release in zip(_kernels(lesson), releases.split(), strict=False)
        )
        said = f"The output on this page is from {kernels}, {cpu}. {VARIES}"
        options.append(("recorded", about))
    body = (
        f"About {lesson.minutes} minutes. `make lesson N={lesson.number}` boots a VM, shows this lesson, and types its "
        f"commands when you press Enter. {said}"
    )
    links = "[All lessons](index.md)"
    later = [page.name for page in source.pages(lesson.path.parent) if page.name > lesson.path.name]
    if later:
        links += f", [next lesson]({later[0]})"
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
