"""Check how the kernel was built, and skip tests that need something that it lacks."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

CONFIG = Path("/proc/config.gz")


def built_with(option: str) -> bool:
    """Return whether the kernel was built with an option; False if the kernel does not show its configuration."""
    return CONFIG.exists() and f"\n{option}=y\n".encode() in gzip.decompress(CONFIG.read_bytes())


def release() -> tuple[int, ...]:
    """Return the version of the running kernel: major and minor number."""
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


def need(what: str, there: bool, *options: str) -> None:
    """Skip the test if the kernel was built without a feature.

    If the kernel was built with the feature, but the feature is missing, the test fails. Otherwise the test might be
    skipped on all kernels.

    Args:
        what: The name of the feature.
        there: Whether the test has found the feature.
        options: The options with which the kernel must be built to have the feature.
    """
    if there:
        return
    if all(map(built_with, options)):
        pytest.fail(f"{what} is missing, although the kernel was built with {', '.join(options)}")
    pytest.skip(f"this kernel has no {what} ({', '.join(options)})")
