"""A test that wants what the kernel was built with fails when that is not there; on another kernel it is skipped."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import kernel_config
import pytest
from kernel_config import built_with, need

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that was built with CONFIG_A."""
    path = tmp_path / "config.gz"
    path.write_bytes(gzip.compress(b"#\nCONFIG_A=y\n# CONFIG_B is not set\n"))
    monkeypatch.setattr(kernel_config, "CONFIG", path)
    return path


def test_what_is_there_is_no_question(config: Path) -> None:
    need("it", True, "CONFIG_A", "CONFIG_B")


def test_what_should_be_there_and_is_not_is_a_failure(config: Path) -> None:
    assert built_with("CONFIG_A")
    with pytest.raises(pytest.fail.Exception, match="it is missing, although"):
        need("it", False, "CONFIG_A")


def test_what_the_kernel_lacks_is_skipped(config: Path) -> None:
    assert not built_with("CONFIG_B")
    with pytest.raises(pytest.skip.Exception, match="CONFIG_A, CONFIG_B"):
        need("it", False, "CONFIG_A", "CONFIG_B")
    config.unlink()
    with pytest.raises(pytest.skip.Exception):
        need("it", False, "CONFIG_A")
