"""`ksmlab lesson` plays each stage of a lesson on its own kernel."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.lessons import cli, source
from ksmlab.lessons.source import LessonError
from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = """# 3. Title

<!-- lesson
kernel: debug-6.1
minutes: 5
-->
<!-- end -->

<!-- run -->
```console
vm:~# first
```
<!-- end -->

Now another kernel.

<!-- run
kernel: debian-6.1
-->
```console
vm:~# second
```
<!-- end -->
"""


class FakeRoom:
    """Notes which VMs are booted, and what is typed in them."""

    def __init__(self, _lab: object) -> None:
        """Boot nothing."""

    def __enter__(self) -> FakeRoom:
        return self

    def __exit__(self, *_: object) -> None:
        SEEN.append("end")

    def close(self) -> None:
        SEEN.append("closed")

    @contextmanager
    def lesson(self, _lesson: object, kernel: str, _shown: object) -> Iterator[tuple[Any, None]]:
        SEEN.append(kernel)
        yield SimpleNamespace(prompt="vm:~# ", play=self.play), None

    def play(self, step: source.Step) -> None:
        if step.typed == ("second",) and FAILS:
            raise LessonError("the second step failed")
        SEEN.append(step.typed[0])


SEEN: list[str] = []
FAILS: list[bool] = []


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "03-name.md"
    path.write_text(PAGE)
    lab = SimpleNamespace(kernel_like=lambda name: name)
    monkeypatch.setattr(cli, "Lab", lambda _progress: lab)
    monkeypatch.setattr(cli, "Room", FakeRoom)
    monkeypatch.setattr(source, "find", lambda _number: source.read(path))
    SEEN.clear()
    FAILS.clear()


def test_each_stage_is_played_on_its_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    cli.lesson(3)
    assert SEEN == ["debug-6.1", "first", "closed", "debian-6.1", "second", "closed", "end"]
    assert "Now another kernel." in capsys.readouterr().out


def test_kernel_of_the_reader_is_used_for_all_stages() -> None:
    cli.lesson(3, "debian-6.12")
    assert [each for each in SEEN if each.startswith("deb")] == ["debian-6.12", "debian-6.12"]


def test_failure_in_a_later_stage_says_how_to_play_again() -> None:
    FAILS.append(True)
    with pytest.raises(VmError, match="the second step failed") as caught:
        cli.lesson(3)
    assert caught.value.hint == "To play it again:  make lesson N=3"
