"""Read the help texts, options and arguments of all commands, for the reference."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer.main

from ksmlab.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Option:
    """The form of an option or an argument on the command line, its help text, and its default."""

    form: str
    meaning: str
    default: str


@dataclass(frozen=True)
class Command:
    """A command: its full name, its help text, and its options and arguments."""

    name: str
    meaning: str
    options: tuple[Option, ...]


def commands() -> list[Command]:
    """Return all commands, except groups of commands, in the order of `--help`."""
    return list(_walk("ksmlab", typer.main.get_command(app)))


# typer contains its own copy of click, whose types are not public.
def _walk(name: str, command: Any) -> Iterator[Command]:  # noqa: ANN401
    below = getattr(command, "commands", None)
    if below is not None:
        for key, each in below.items():
            yield from _walk(f"{name} {key}", each)
        return
    options = tuple(
        Option(_form(each), _marked((getattr(each, "help", None) or "").strip()), _default(each))
        for each in command.params
        if not getattr(each, "hidden", False)
    )
    yield Command(name, _marked(" ".join((command.help or "").split())), options)


def _marked(text: str) -> str:
    """Mark the options in a text as code, since Sphinx would show two hyphens as a dash."""
    # Every second piece is already marked as code.
    pieces = re.split(r"(`[^`]*`)", text)
    pieces[::2] = [re.sub(r"(?<![\w-])--[\w-]*", r"`\g<0>`", piece) for piece in pieces[::2]]
    return "".join(pieces)


def _default(parameter: Any) -> str:  # noqa: ANN401
    # Do not show defaults that are None, empty, or false.
    value = parameter.default
    if callable(value) or value in (None, False, "", (), []) or "UNSET" in repr(value):
        return ""
    if getattr(parameter, "is_flag", False):
        return str(parameter.opts[0])
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _form(parameter: Any) -> str:  # noqa: ANN401
    names = [*parameter.opts, *parameter.secondary_opts]
    if not names[0].startswith("-"):
        name = names[0].upper()
        return name if parameter.required else f"[{name}]"
    value = "" if getattr(parameter, "is_flag", False) else f" {parameter.name.upper()}"
    return ", ".join(names) + value
