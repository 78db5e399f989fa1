"""README.md's session by hand: what it types is typed, and gives what stands there."""

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

SECTION = "## By hand, as in 2009"
FENCE = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPT = re.compile(r"^vm:\S*# (.*)$", re.MULTILINE)
#: Seconds that a reader gives the scan before they type on.
PATIENCE = 60.0


@pytest.fixture
def stopped() -> Iterator[KsmSysfs]:
    """The scan stands still; what the session sets, and what it merges, does not stay."""
    ksm = KsmSysfs.find()
    old = {name: ksm.read(name) for name in ("pages_to_scan", "sleep")}
    with ksm.settings(run=0, **old):
        yield ksm
        ksm.run = 2


def blocks(text: str) -> list[str]:
    """Give what stands between fences in the section."""
    found = text.partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    assert found, f"README.md has no section {SECTION!r}"
    return FENCE.findall(found)


# A person at a prompt does not close what they have read.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_the_session_by_hand(stopped: KsmSysfs, pytestconfig: pytest.Config) -> None:
    readme: Path = pytestconfig.rootpath / "README.md"
    names: dict[str, Any] = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    typed = 0
    try:
        for number, block in enumerate(blocks(readme.read_text())):
            commands = [each for each in PROMPT.findall(block) if each != "python"]
            subprocess.run(["bash", "-e", "-c", "\n".join(commands)], check=True)
            if names:
                # The reader has read a sentence, and the scan has gone round.
                stopped.wait_full_scans(2, PATIENCE)
            test = parser.get_doctest(block, names, f"block {number}", str(readme), 0)
            runner.run(test, out=said.append, clear_globs=False)
            names = test.globs
            typed += len(test.examples)
    finally:
        # The reader's Python ends, and everything that it had open with it.
        for each in names.values():
            if isinstance(each, Closing):
                each.close()
    assert not runner.failures, "".join(said)
    assert typed >= 10, "README.md's session is not found any more"
