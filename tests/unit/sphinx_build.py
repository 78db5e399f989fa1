"""Build small sites with Sphinx, as strictly as the site of this project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The most seconds for a build. The largest of these sites takes a few.
BUILD_SECONDS = 600


def try_build(directory: Path) -> subprocess.CompletedProcess[str]:
    """Build the site in `directory` to `out` below it, and return the result of the command."""
    argv = [sys.executable, "-m", "sphinx", "-q", "--fail-on-warning", "-b", "html", ".", "out"]
    return subprocess.run(
        argv, cwd=directory, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS
    )


def build(directory: Path) -> Path:
    """Build a site without any warning, and return the directory of its pages."""
    done = try_build(directory)
    assert done.returncode == 0, done.stderr
    return directory / "out"
