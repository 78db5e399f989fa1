"""Compare two outputs, except for the parts that differ from run to run.

A template describes such a part: it is the text around the part, with the part itself as ``<kind>``. For example,
``pfn=<frame>`` means that the frame number after ``pfn=`` differs from run to run. A blank in a template matches one or
more blanks.

Numbers that identify something (a frame, an address, a process) must be used consistently: where the recorded output
has the same number twice, the other output must have the same number twice, too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The kinds that identify something, with patterns of their values.
NAMES = {"frame": r"(?:0x[0-9a-f]+|\d+)", "address": r"(?:0x)?[0-9a-f]+", "pid": r"\d+"}
#: All kinds. The values of the others may be arbitrary.
KINDS = NAMES | {
    "count": r"\d[\d,]*",
    "number": r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?",
    "word": r"\S+",
    "rest": r"[^\n]*",
}
PLACE = re.compile(r"<(?P<kind>[a-z]+)>")


class VaryingError(ValueError):
    """A template is not valid."""


@dataclass(frozen=True)
class Span:
    """The position and the kind of a varying part of a text."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Template:
    """A template; the comment of this module describes the text."""

    text: str

    def __post_init__(self) -> None:
        """Check that there is a varying part, and that all kinds are known.

        Raises:
            VaryingError: The template is not valid.
        """
        kinds = [found["kind"] for found in PLACE.finditer(self.text)]
        if not kinds:
            raise VaryingError(
                f"the template {self.text!r} has no varying part: write the part as <count>, for example"
            )
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise VaryingError(
                f"the template {self.text!r} has the unknown kind <{unknown[0]}>: use one of {', '.join(KINDS)}"
            )

    @cached_property
    def _pattern(self) -> tuple[re.Pattern[str], tuple[str, ...]]:
        pattern, done, kinds = "", 0, []
        for found in PLACE.finditer(self.text):
            pattern += _literal(self.text[done : found.start()]) + f"({KINDS[found['kind']]})"
            kinds.append(found["kind"])
            done = found.end()
        return re.compile(pattern + _literal(self.text[done:])), tuple(kinds)

    def spans(self, output: str) -> list[Span]:
        """Return the varying parts of an output."""
        pattern, kinds = self._pattern
        return [
            Span(*found.span(group), kind)
            for found in pattern.finditer(output)
            for group, kind in enumerate(kinds, start=1)
        ]


#: The templates of all lessons: Python's version when it starts.
COMMON = (Template("Python <rest> on linux"),)


def _literal(text: str) -> str:
    return " +".join(re.escape(word) for word in text.split(" "))


def _fixed(text: str, *, after_one: bool, before_one: bool) -> str:
    """Return the pattern of the text between varying parts. Blanks next to a varying part may have any number."""
    inner = text[len(text) - len(text.lstrip(" ")) :] if after_one else text
    before = " +" if inner != text else ""
    text = inner.rstrip(" ") if before_one else inner
    after = " +" if inner != text else ""
    return before + re.escape(text) + after


def spans(templates: Sequence[Template], output: str) -> list[Span]:
    """Return the varying parts of an output, in order.

    If the parts of two templates overlap, the part of the first template counts.
    """
    found: list[Span] = []
    for template in templates:
        for span in template.spans(output):
            if all(span.end <= other.start or other.end <= span.start for other in found):
                found.append(span)
    return sorted(found, key=lambda span: span.start)


class Same:
    """Compares outputs with recorded ones.

    Use one object for all outputs of a step, since identifying numbers have to be consistent in the whole step.

    Args:
        templates: The templates of the step.
    """

    def __init__(self, templates: Sequence[Template]) -> None:
        self._templates = templates
        self._names: dict[tuple[str, str], str] = {}

    def __call__(self, recorded: str, got: str) -> bool:
        """Return whether an output equals the recorded one, except for the varying parts."""
        pattern, named, done = "", [], 0
        for span in spans(self._templates, recorded):
            fixed = recorded[done : span.start]
            pattern += _fixed(fixed, after_one=done > 0, before_one=True)
            pattern += f"({KINDS[span.kind]})"
            named.append((span.kind, recorded[span.start : span.end]))
            done = span.end
        found = re.fullmatch(
            pattern + _fixed(recorded[done:], after_one=done > 0, before_one=False), got
        )
        if found is None:
            return False
        for name, value in zip(named, found.groups(), strict=True):
            if name[0] in NAMES and self._names.setdefault(name, value) != value:
                return False
        return True
