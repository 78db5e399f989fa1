"""Read the options and configuration keys of the pytest plugin, for the reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ksmlab import pytest_plugin
from ksmlab.site.command import Option

if TYPE_CHECKING:
    import pytest


@dataclass
class _Asked:
    """Replaces pytest's parser and its groups, and records the options and keys that are added."""

    options: list[Option] = field(default_factory=list)
    keys: list[Option] = field(default_factory=list)

    def getgroup(self, *_: str) -> _Asked:
        return self

    def addoption(self, *names: str, **about: Any) -> None:  # noqa: ANN401
        value = f" {about['metavar']}" if "metavar" in about else ""
        again = ", may be repeated" if about.get("action") == "append" else ""
        meaning = about["help"] if "repeated" in about["help"] else about["help"] + again
        self.options.append(Option(", ".join(names) + value, meaning, _text(about.get("default"))))

    def addini(self, name: str, help: str, type: str = "", default: object = "") -> None:  # noqa: A002
        kind = {"paths": " (paths)", "args": " (words)"}.get(type, "")
        self.keys.append(Option(name, help + kind, _text(default)))


def _text(value: object) -> str:
    return "" if value in (None, []) else str(value)


def asked() -> dict[str, list[Option]]:
    """Return the options and the keys of the plugin, in its order."""
    parser = _Asked()
    pytest_plugin.pytest_addoption(cast("pytest.Parser", parser))
    return {"options": parser.options, "keys": parser.keys}
