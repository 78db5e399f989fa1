"""The order of version numbers: as dpkg has it."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations

import pytest

from ksmlab.vm.versions import version_key

#: The oldest first.
ORDERED = [
    "0~", "0", "0a", "0+", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0a-1", "1.0.1-1",
    "6.1.9-1", "6.1.192-2", "6.1.193-1", "6.12.9-1~bpo12+1", "6.12.9-1",
    "6.12.117-1~deb12u1", "6.12.117-1~deb12u2", "6.12.117-1", "1:0.1",
]  # fmt: skip


def test_versions_are_ordered() -> None:
    by_letters = sorted(ORDERED)
    assert by_letters != ORDERED
    assert sorted(by_letters, key=version_key) == ORDERED
    assert version_key("1.0-0") == version_key("1.0") == version_key("0:1.00")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="there is no dpkg to compare with")
def test_dpkg_agrees() -> None:
    for older, newer in combinations(ORDERED, 2):
        argv = ["dpkg", "--compare-versions", older, "lt", newer]
        assert subprocess.run(argv, check=False).returncode == 0, (older, newer)
