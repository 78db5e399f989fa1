"""A lesson as a page: its head, and each step with the output that was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ksmlab.lessons import recorded, source, varying
from ksmlab.lessons.source import Lesson, LessonError, Step

if TYPE_CHECKING:
    from ksmlab.lessons.recorded import Exchange, Recorded


class _OfLesson(SphinxDirective):
    """A directive on a lesson's page. What it holds is read by `source`, and not by Sphinx: so it has no options."""

    has_content = True

    def lesson(self) -> tuple[Lesson, Recorded]:
        """Read the lesson and its record, once for each page."""
        data = self.env.current_document if hasattr(self.env, "current_document") else None
        key = f"ksmlab-lesson-{self.env.docname}"
        store = self.env.temp_data if data is None else data
        if key not in store:
            lesson = source.read(Path(self.env.doc2path(self.env.docname)))
            self.env.note_dependency(str(lesson.record))
            store[key] = (lesson, recorded.load(lesson))
        found: tuple[Lesson, Recorded] = store[key]
        return found


class LessonHead(_OfLesson):
    """``{lesson}``: how long it takes, how to play it, and on which kernel its output was recorded."""

    def run(self) -> list[nodes.Node]:
        """Make one paragraph."""
        try:
            lesson, record = self.lesson()
        except LessonError as error:
            raise self.error(str(error)) from None
        paragraph = nodes.paragraph(classes=["lesson-head"])
        paragraph += nodes.Text(f"About {lesson.minutes} minutes. Play it yourself: ")
        command = f"make lesson N={lesson.number}"
        paragraph += nodes.literal(command, command)
        if lesson.draft:
            paragraph += nodes.Text(
                ". It has not been recorded yet, so what comes back is not shown."
            )
            return [paragraph]
        paragraph += nodes.Text(
            f". What you see below came back on {lesson.kernel} ({record.release}), run by {record.how}; "
        )
        paragraph += nodes.inline("", "parts that look like this", classes=["varies"])
        paragraph += nodes.Text(" differ from run to run.")
        return [paragraph]


class Run(_OfLesson):
    """``{run}``: what is typed, and what came back."""

    def run(self) -> list[nodes.Node]:
        """Make one block, its parts marked by classes."""
        try:
            lesson, record = self.lesson()
        except LessonError as error:
            raise self.error(str(error)) from None
        # MyST counts the fence as line 0 of the directive, docutils its first line.
        step = next((each for each in lesson.steps if each.line == self.lineno), None)
        if step is None:
            raise self.error(f"line {self.lineno} of {lesson.path.name} begins no step")
        # A source that is not what it shows: Sphinx leaves the parts as they are, and highlights nothing.
        block = nodes.literal_block("{run}", "", classes=["run"])
        for exchange in record.steps[step.number - 1]:
            block += _shown(step, exchange)
        self.set_source_info(block)
        return [block]


def _shown(step: Step, exchange: Exchange) -> list[nodes.Node]:
    """Mark what the machine prompted, what was typed, and what of the output varies."""
    parts: list[nodes.Node] = [nodes.inline("", exchange.prompt, classes=["prompt"])]
    parts += [nodes.inline("", exchange.typed, classes=["typed"]), nodes.Text("\n")]
    done = 0
    for span in varying.spans(step.varies, exchange.output):
        parts.append(nodes.Text(exchange.output[done : span.start]))
        part = exchange.output[span.start : span.end]
        parts.append(nodes.inline("", part, classes=["varies"]))
        done = span.end
    parts.append(nodes.Text(exchange.output[done:]))
    return [part for part in parts if part.astext()]
