"""Messages about operating-system errors: they name the object once, and no error number."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ksmlab import cli
from ksmlab.vm.errors import VmError
from ksmlab.vm.failures import cause, reason

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("python/ksmlab/**/*.py"), *ROOT.glob("docs/[dr]*ing*/*.py")])
#: OSError, and its subclasses in the project whose text has a number.
OS_ERRORS = {"OSError", "KsmError", "SysfsError"}


def raw_texts(tree: ast.AST) -> list[int]:
    """Return the lines that put an OSError as a whole into a text."""
    found = []
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.type is None:
            continue
        caught = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        if not caught & OS_ERRORS:
            continue
        for node in ast.walk(handler):
            shown = (
                node.value
                if isinstance(node, ast.FormattedValue)
                else node.args[0]
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"str", "repr"}
                else None
            )
            if isinstance(shown, ast.Name) and shown.id == handler.name:
                found.append(handler.lineno)
    return found


def test_no_message_contains_the_text_of_an_oserror() -> None:
    """If one does: use cause() or reason() of ksmlab.vm.failures."""
    own = ROOT / "python/ksmlab/vm/failures.py"
    assert len(SOURCES) > 150
    assert not [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if path != own
        for line in raw_texts(ast.parse(path.read_text()))
    ]


@pytest.mark.parametrize("text", ["f'not read: {e}'", "f'not read: {e!r}'", "str(e)"])
def test_the_text_of_an_oserror_is_recognized(text: str) -> None:
    tree = ast.parse(f"try:\n    f()\nexcept (OSError, ValueError) as e:\n    print({text})\n")
    assert raw_texts(tree) == [3]


def test_cause_leaves_out_number_and_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none") as caught:
        (tmp_path / "none").read_text()
    assert cause(caught.value) == "No such file or directory"
    assert reason(caught.value) == f"{tmp_path / 'none'}: No such file or directory"
    assert cause(OSError("a text")) == reason(OSError("a text")) == "a text"
    assert cause(KeyError("when")) == "it lacks 'when'"
    assert cause(ValueError("a text")) == "a text"


@pytest.mark.parametrize("command", ["picture", "bench"])
def test_missing_file_of_a_command_is_named_once(tmp_path: Path, command: str) -> None:
    missing = tmp_path / "none.json"
    done = CliRunner().invoke(cli.app, [command, "--render", str(missing)])
    assert isinstance(done.exception, VmError), done.exception
    assert done.exception.what.endswith(
        f" cannot be read from {missing}: No such file or directory."
    )
    assert "Errno" not in str(done.exception)
