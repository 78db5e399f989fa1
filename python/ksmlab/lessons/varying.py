"""The parts of an output that may vary between runs, and the comparison of two outputs except for those parts.

A template is the text around a varying part, with the part itself as ``<kind>``: ``pfn=<frame>`` says that the frame
number after ``pfn=`` differs from run to run. A blank in a template matches any number of blanks.

Numbers that name a thing (a frame, an address, a process) are compared among themselves: where the recorded output has
the same number twice, so must the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Kinds that name something: the same name means the same thing.
NAMES = {"frame": r"(?:0x[0-9a-f]+|\d+)", "address": r"(?:0x)?[0-9a-f]+", "pid": r"\d+"}
#: Kinds that are as they happen to be.
KINDS = NAMES | {
    "count": r"\d[\d,]*",
    "number": r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?",
    "word": r"\S+",
    "rest": r"[^\n]*",
}
PLACE = re.compile(r"<(?P<kind>[a-z]+)>")


class VaryingError(ValueError):
    """A template cannot be used."""


@dataclass(frozen=True)
class Span:
    """A varying part of a text: where it is, and of which kind."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Template:
    """One rule; see above."""

    text: str

    def __post_init__(self) -> None:
        """Refuse what has no varying part, or one of an unknown kind."""
        kinds = [found["kind"] for found in PLACE.finditer(self.text)]
        if not kinds:
            raise VaryingError(f"nothing varies in {self.text!r}: write the part as <count>")
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise VaryingError(f"<{unknown[0]}> is no kind; there are: {', '.join(KINDS)}")

    @cached_property
    def _pattern(self) -> tuple[re.Pattern[str], tuple[str, ...]]:
        pattern, done, kinds = "", 0, []
        for found in PLACE.finditer(self.text):
            pattern += _literal(self.text[done : found.start()]) + f"({KINDS[found['kind']]})"
            kinds.append(found["kind"])
            done = found.end()
        return re.compile(pattern + _literal(self.text[done:])), tuple(kinds)

    def spans(self, output: str) -> list[Span]:
        """Find the varying parts of an output."""
        pattern, kinds = self._pattern
        return [
            Span(*found.span(group), kind)
            for found in pattern.finditer(output)
            for group, kind in enumerate(kinds, start=1)
        ]


#: What varies in every lesson: how Python presents itself.
COMMON = (Template("Python <rest> on linux"),)


def _literal(text: str) -> str:
    return " +".join(re.escape(word) for word in text.split(" "))


def _fixed(text: str, *, after_one: bool, before_one: bool) -> str:
    """Make the pattern of what stands beside a varying part: columns are set to the right by blanks."""
    inner = text[len(text) - len(text.lstrip(" ")) :] if after_one else text
    before = " +" if inner != text else ""
    text = inner.rstrip(" ") if before_one else inner
    after = " +" if inner != text else ""
    return before + re.escape(text) + after


def spans(templates: Sequence[Template], output: str) -> list[Span]:
    """Find the varying parts of an output by all rules, in order.

    Where two rules find parts that overlap, the rule that comes first counts.
    """
    found: list[Span] = []
    for template in templates:
        for span in template.spans(output):
            if all(span.end <= other.start or other.end <= span.start for other in found):
                found.append(span)
    return sorted(found, key=lambda span: span.start)


class Same:
    """Whether outputs are as recorded; one for a whole step, since what names a thing does so in all of it."""

    def __init__(self, templates: Sequence[Template]) -> None:
        """Take the rules of the step."""
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
