"""The command line: errors said in full, exit statuses passed on, progress on error output."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ksmlab import cli, lint
from ksmlab import lab as lab_module
from ksmlab.demo import page as demo_page
from ksmlab.lab import Lab, LabModule, load, load_commands, shell_script
from ksmlab.progress import Progress
from ksmlab.vm.build import BuiltModules
from ksmlab.vm.errors import BuildError, KernelPanic, VmError
from ksmlab.vm.machine import Completed

if TYPE_CHECKING:
    from collections.abc import Sequence

BUILT = BuiltModules(Path("/b"), (Path("/b/ksm.ko"), Path("/b/lab/ksm_lab.ko")), "")


class FakeMachine:
    """Answers each command from a table of exit statuses."""

    def __init__(self, statuses: dict[str, int]) -> None:
        self.statuses = statuses
        self.ran: list[str] = []

    def run(self, argv: Sequence[str], **_kwargs: object) -> Completed:
        self.ran.append(" ".join(argv))
        return Completed(self.statuses.get(argv[0], 0), f"output of {argv[0]}\n", 0.0)


def test_every_command_has_help() -> None:
    runner = CliRunner()
    for words in (
        [],
        ["demo"],
        ["picture"],
        ["shell"],
        ["build"],
        ["doctor"],
        ["vm", "run"],
        ["vm", "attach"],
        ["vm", "kept"],
        ["vm", "end"],
        ["kernels"],
        ["kernels", "list"],
        ["kernels", "fetch"],
        ["kernels", "build"],
        ["kernels", "rm"],
    ):
        result = runner.invoke(cli.app, [*words, "--help"])
        assert result.exit_code == 0, words
        assert "Usage" in result.output


def test_an_unknown_kernel_is_an_error_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ksmlab", "vm", "run", "--kernel", "none", "--", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == cli.HARNESS_FAILED
    assert "ksmlab: There is no kernel called none." in done.stderr
    assert "Use one of these: classic-6.1, debian-6.1," in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_an_error_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    cli.show_error(
        KernelPanic(
            "It [panicked].", untouched="Nothing changed.", hint="See above.", log="the log"
        )
    )
    assert capsys.readouterr().err == (
        "the log\nksmlab: It [panicked].\nNothing changed.\nSee above.\n"
    )


def test_the_modules_and_their_order() -> None:
    assert load_commands(BUILT) == [
        ["insmod", "/b/ksm.ko", "sysfs=takeover"],
        ["insmod", "/b/lab/ksm_lab.ko"],
    ]


def test_a_module_that_does_not_load() -> None:
    machine = FakeMachine({"insmod": 1})
    with pytest.raises(VmError, match=r"`insmod /b/ksm\.ko sysfs=takeover` failed") as caught:
        load(machine, BUILT)  # type: ignore[arg-type]
    assert "output of insmod" in caught.value.log
    assert machine.ran[-1].startswith("sh -c dmesg")


def test_a_module_that_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_module, "MODULES", (LabModule("other"),))
    with pytest.raises(BuildError, match="did not create a module called other"):
        load_commands(BUILT)


def test_the_shell_starts_in_the_checkout(tmp_path: Path) -> None:
    checkout = tmp_path / "a b"
    checkout.mkdir()
    script = shell_script(["it's a hint"], checkout) + "\npwd"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"it's a hint\n{checkout}\n"


def test_progress_in_plain_lines() -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=False))
    with progress.step("thing"):
        progress.note("half of it [1/2]")
    assert text.getvalue() == "thing ...\nhalf of it [1/2]\n"


def test_progress_on_a_terminal() -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=True, width=80))
    with progress.step("thing"):
        progress.note("half of it")
    assert re.search(r"thing: done in \d+\.\d s", text.getvalue())


def test_a_step_that_fails_is_not_done() -> None:
    text = io.StringIO()
    progress = Progress(Console(file=text, force_terminal=False))
    with pytest.raises(VmError), progress.step("thing"):
        raise VmError("no")
    assert "done" not in text.getvalue()


@pytest.mark.parametrize(
    ("line", "complains"),
    [
        ("  CC [M]  /b/ksm.o", False),
        ("/b/ksm.c:1:2: warning: unused variable 'x' [-Wunused-variable]", True),
        ("/b/ksm.c:1:2: error: incompatible types", True),
        ("  CHECK   /b/warning.c", False),
    ],
)
def test_complaints_of_a_build(line: str, complains: bool) -> None:
    assert bool(lint.complaints(line)) is complains


def test_lint_fails_on_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    log = "  CHECK   /b/a.c\n/b/a.c:1:1: warning: symbol 'x' was not declared\n"
    lab = Lab(Progress(Console(file=io.StringIO())))
    monkeypatch.setattr(lab, "kernel", lambda _name: None)
    monkeypatch.setattr(lab, "build", lambda *_a, **_k: BuiltModules(Path("/b"), (), log))
    with pytest.raises(BuildError, match="in the build for k: 1"):
        lint.check_build(lab, "k")
    monkeypatch.setattr(lab, "build", lambda *_a, **_k: BuiltModules(Path("/b"), (), "CC a.o"))
    with pytest.raises(BuildError, match="sparse did not run"):
        lint.check_build(lab, "k")


def test_a_checkpatch_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(argv, lint.CHECKPATCH_SECONDS)

    monkeypatch.setattr(lint, "fetch_checkpatch", lambda _lab: Path("checkpatch.pl"))
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(BuildError, match="checkpatch did not end within 300 s"):
        lint.check_style(Lab(Progress(Console(file=io.StringIO()))))


def test_a_demo_that_does_not_boot_leaves_the_record_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_vm(*_: object, **__: object) -> None:
        raise VmError("no VM today")

    record = tmp_path / "build/demo" / demo_page.RECORD_NAME
    record.parent.mkdir(parents=True)
    record.write_text("the last one")
    monkeypatch.setattr(lab_module, "Lab", lambda _progress: SimpleNamespace(checkout=tmp_path))
    monkeypatch.setattr(cli, "booted", no_vm)
    with pytest.raises(VmError, match="no VM today"):
        cli.demo("debian-6.1")
    assert record.read_text() == "the last one"


@pytest.mark.parametrize(
    ("words", "what", "untouched"),
    [
        ("lesson 99", "There is no lesson 99. Use one of these: 0, 1, 2,", "No VM was booted."),
        ("exercise 99", "Lesson 99 has no exercise to copy", "Nothing was copied."),
        ("lessons record 99", "There is no lesson 99.", "Nothing was recorded."),
        ("vm attach nope", "There is no kept VM called nope.", "No VM was changed."),
        ("vm end nope", "There is no kept VM called nope.", "No VM was changed."),
        ("demo --kernel nope", "There is no kernel called nope.", "Nothing was fetched"),
        ("kernels rm nope", "There is no kernel called nope.", "Nothing was fetched"),
    ],
)
def test_a_slip_of_the_keyboard(words: str, what: str, untouched: str) -> None:
    done = CliRunner().invoke(cli.app, words.split())
    assert isinstance(done.exception, VmError), done.exception
    assert done.exception.what.startswith(what)
    assert done.exception.untouched.startswith(untouched)
