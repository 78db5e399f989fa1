"""When the guest looks for leaks, and what it says of them; kmemleak is a stand-in here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.pytest_plugin import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = "unreferenced object 0xffff888000000000 (size 8):\n"


class Kmemleak:
    """Has something to report once it has scanned twice, like an object that is new."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def write_text(self, command: str) -> None:
        self.commands.append(command)

    def read_text(self) -> str:
        return REPORT if self.commands.count("scan") >= 2 else ""


class Quiet:
    """A kernel log in which nothing is ever said."""

    def take(self) -> list[str]:
        return []


@pytest.fixture
def kmemleak(monkeypatch: pytest.MonkeyPatch) -> Kmemleak:
    fake = Kmemleak()
    monkeypatch.setattr(watch, "KMEMLEAK", fake)
    monkeypatch.setattr(watch, "KernelLog", Quiet)
    monkeypatch.setattr(watch, "LEAK_AGE", 0.0)
    return fake


def tear_down(files: Sequence[str]) -> None:
    """Tear down one test of each of these files, in turn."""
    guard = watch.Watch({"allow": "", "objects": {}})
    items: list[Any] = [SimpleNamespace(path=Path(file)) for file in files]
    for item, following in zip(items, [*items[1:], None], strict=True):
        hook = guard.pytest_runtest_teardown(item, following)
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(None)


def test_a_leak_is_looked_for_at_the_end(kmemleak: Kmemleak) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"what a\.py, b\.py left behind") as caught:
        tear_down(["a.py", "a.py", "b.py"])
    assert "unreferenced object" in str(caught.value)
    assert kmemleak.commands == ["scan=off", "scan", "scan", "clear"]


def test_and_after_a_file_when_the_last_look_was_long_ago(
    kmemleak: Kmemleak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LEAK_INTERVAL", -1.0)
    with pytest.raises(pytest.fail.Exception, match=r"what a\.py left behind"):
        tear_down(["a.py", "a.py", "b.py"])
    assert kmemleak.commands.count("clear") == 1


def test_where_there_is_no_kmemleak_nobody_looks(
    kmemleak: Kmemleak, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "kmemleak_on", lambda: False)
    tear_down(["a.py", "b.py"])
    assert kmemleak.commands == []
