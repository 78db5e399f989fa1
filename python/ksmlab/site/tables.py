"""Generate parts of the reference from sources and templates: tables of sysfs files, ioctls, commands and so on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ksmlab.site import command, definitions, kernel_doc, plugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEMPLATES = Path(__file__).parent / "templates"
PARTS: Mapping[str, Callable[[str], Mapping[str, object]]] = {
    "sysfs": lambda _: {
        "attributes": definitions.attributes(),
        "reasons": definitions.skip_reasons(),
        "run_errors": definitions.run_errors(),
    },
    "fdinfo": lambda _: {"lines": definitions.fdinfo()},
    "pytest": lambda _: plugin.asked(),
    "ioctls": lambda _: {"ioctls": definitions.ioctls(), "header": definitions.HEADER},
    "tracepoints": lambda _: {
        "tracepoints": definitions.tracepoints(),
        "words": definitions.tracepoint_words(),
    },
    "command": lambda _: {"commands": command.commands()},
    "parameters": lambda _: {"parameters": definitions.parameters()},
    "kernel-doc": lambda file: {
        "file": file,
        "docs": kernel_doc.docs(file),
        "opening": kernel_doc.opening(file),
    },
}


def render(part: str, of: str = "") -> str:
    """Return a part of the reference as Markdown.

    Args:
        part: One of PARTS.
        of: The name of the file that the part describes, if the part describes one.

    Raises:
        DefinitionError: A definition is missing in a source, or there is no such part.
    """
    if part not in PARTS:
        raise definitions.DefinitionError(
            f"the reference has no part {part!r}: use one of {', '.join(PARTS)}"
        )
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    text = environment.get_template(f"{part}.md.j2").render(**PARTS[part](of))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"
