"""``{reference} sysfs``: a part of the reference, made of the driver's sources by a template."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sphinx.util.docutils import SphinxDirective

from ksmlab.bench import kept
from ksmlab.bench.kept import KeptError
from ksmlab.lessons.excerpt import CHECKOUT, ExcerptError
from ksmlab.site import command, definitions, kernel_doc, plugin
from ksmlab.site.definitions import KERNEL, DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

HEADING = re.compile(r"^# `(.*)`$", re.MULTILINE)
TEMPLATES = Path(__file__).parent / "templates"
PARTS: Mapping[str, Callable[[str], Mapping[str, object]]] = {
    "sysfs": lambda _: {
        "attributes": definitions.attributes(),
        "reasons": definitions.skip_reasons(),
        "run_errors": definitions.run_errors(),
    },
    "fdinfo": lambda _: {"lines": definitions.fdinfo()},
    "pytest": lambda _: plugin.asked(),
    "ioctls": lambda _: {"ioctls": definitions.ioctls()},
    "tracepoints": lambda _: {
        "tracepoints": definitions.tracepoints(),
        "words": definitions.tracepoint_words(),
    },
    "command": lambda _: {"commands": command.commands()},
    "parameters": lambda _: {"parameters": definitions.parameters()},
    "kernel-doc": lambda file: {
        "docs": kernel_doc.docs(file),
        "opening": kernel_doc.opening(file),
    },
}


def render(part: str, of: str = "") -> str:
    """Make a part of the reference, as Markdown.

    Args:
        part: One of PARTS.
        of: Which file it is of, where there is one for each.
    """
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment.get_template(f"{part}.md.j2").render(**PARTS[part](of))


class TargetsDirective(SphinxDirective):
    """Rows of the benchmark's targets; ``:workload:``, ``:metric:`` and ``:kernel:`` say which."""

    option_spec = {  # noqa: RUF012
        "workload": directives.unchanged,
        "metric": directives.unchanged,
        "kernel": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Make them."""
        self.env.note_dependency(str(kept.DATA))
        try:
            text = kept.of_options(self.options)
        except KeptError as error:
            raise self.error(str(error)) from None
        node = nodes.container(classes=["bench-targets"])
        self.state.nested_parse(StringList(text.splitlines(), ""), self.content_offset, node)
        return [node]


class ReferenceDirective(SphinxDirective):
    """A part of the reference, by its name."""

    required_arguments = 1
    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make it."""
        part, of = (*self.arguments, "")[:2]
        if part not in PARTS:
            raise self.error(f"there is no part {part!r}; there are: {', '.join(PARTS)}")
        for path in (*KERNEL.glob("*.[ch]"), CHECKOUT / definitions.HEADER):
            self.env.note_dependency(str(path))
        try:
            text = render(part, of)
        except (DefinitionError, ExcerptError) as error:
            raise self.error(str(error)) from None
        before, *entries = HEADING.split(text)
        made = self._parsed(before)
        for name, body in zip(entries[::2], entries[1::2], strict=True):
            # MyST would put a heading that it meets here at the end of the page.
            section = nodes.section(names=[nodes.fully_normalize_name(name)])
            section += nodes.title("", "", nodes.literal(name, name))
            section += self._parsed(body)
            self.state.document.note_implicit_target(section, section)
            made.append(section)
        return made

    def _parsed(self, text: str) -> list[nodes.Node]:
        node = nodes.Element()
        node.document = self.state.document
        self.state.nested_parse(StringList(text.splitlines(), ""), self.content_offset, node)
        for table in node.findall(nodes.table):
            # pages.css shows it otherwise on a phone.
            table["classes"].append("meanings")
        return list(node.children)
