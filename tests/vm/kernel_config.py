"""How the kernel was built, and what becomes of a test where it lacks something."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

CONFIG = Path("/proc/config.gz")


def built_with(option: str) -> bool:
    """Say whether the kernel was built with an option; one that does not show how it was built was not."""
    return CONFIG.exists() and f"\n{option}=y\n".encode() in gzip.decompress(CONFIG.read_bytes())


def release() -> tuple[int, ...]:
    """Return the version of the running kernel: major and minor number."""
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def need(what: str, there: bool, *options: str) -> None:
    """Skip the test on a kernel that was built without something.

    On one that was built with it the test fails if it is not there: skipped on every kernel, it
    would be no test.

    Args:
        what: It, for people.
        there: Whether the test has found it.
        options: What the kernel has to be built with.
    """
    if there:
        return
    if all(map(built_with, options)):
        pytest.fail(f"{what} is not there, though the kernel was built with {', '.join(options)}")
    pytest.skip(f"this kernel has no {what} ({', '.join(options)})")
