"""Create the project that docs/how-to/testing-your-module.md describes, and run its tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from outside import CHECKOUT, Project

if TYPE_CHECKING:
    from pathlib import Path

PAGE = CHECKOUT / "docs/how-to/testing-your-module.md"
COMMAND = re.compile(r"^\$ \.venv/bin/pytest --kernel (\S+)$", re.MULTILINE)
FILE = re.compile(r"^`(?P<path>[\w./]+)`:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_is_a_project_that_works(tmp_path: Path) -> None:
    page = PAGE.read_text()
    files = {found["path"]: found["text"] for found in FILE.finditer(page)}
    assert set(files) == {
        "module/hello.c",
        "module/Kbuild",
        "tests/test_hello.py",
        "pytest.ini",
        "kernels.toml",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (kernel,) = COMMAND.findall(page)
    run = Project(tmp_path, kernels_toml="kernels.toml").run(kernels=(kernel,))
    assert run.status == 0, run.output
    assert "4 passed" in run.output.splitlines()[-1]
