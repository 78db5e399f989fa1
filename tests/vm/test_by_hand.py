"""Type the session of docs/how-to/by-hand.md, and compare its output with the page."""

from __future__ import annotations

import doctest
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ksmlab.closing import Closing
from ksmlab.sysfs import KsmSysfs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/how-to/by-hand.md"
FENCE = re.compile(r"^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^vm:\S*# (.*)$", re.MULTILINE)
#: Seconds that two passes of the scanner may take.
DEADLINE = 60.0


@pytest.fixture
def stopped() -> Iterator[KsmSysfs]:
    """Stop the scanner, and afterwards restore its settings and unmerge everything."""
    ksm = KsmSysfs.find()
    old = {name: ksm.read(name) for name in ("pages_to_scan", "sleep")}
    with ksm.settings(run=0, **old):
        yield ksm
        ksm.run = 2


# The page opens a file without closing it, as one does at a prompt.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_session_by_hand_gives_the_output_on_its_page(
    stopped: KsmSysfs, pytestconfig: pytest.Config
) -> None:
    page: Path = pytestconfig.rootpath / PAGE
    names: dict[str, Any] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    failures: list[str] = []
    typed = 0
    try:
        for number, block in enumerate(FENCE.findall(page.read_text())):
            commands = [each for each in PROMPT.findall(block) if each != "python"]
            subprocess.run(["bash", "-e", "-c", "\n".join(commands)], check=True)
            if names:
                # The page says "after two passes" before each block but the first of Python.
                stopped.wait_full_scans(2, DEADLINE)
            test = parser.get_doctest(block, names, f"block {number}", str(page), 0)
            runner.run(test, out=failures.append, clear_globs=False)
            names = test.globs
            typed += len(test.examples)
    finally:
        for each in names.values():
            if isinstance(each, Closing):
                each.close()
    assert not runner.failures, "".join(failures)
    assert typed >= 10, f"{PAGE} has only {typed} lines to type at Python's prompt"
