"""Turn what the system raises while the kernel cache is used into errors that a person can act on."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNTOUCHED = "What was fetched before is as it was."


@contextlib.contextmanager
def fetch_errors(action: str) -> Iterator[None]:
    """Have the block, or the function that this decorates, raise FetchError instead of an error of the system's.

    Args:
        action: What the block does, such as "Fetching a kernel": the beginning of the message.

    Raises:
        FetchError: The block raised an OSError, an error of a subprocess, or text that is not UTF-8.
    """
    try:
        yield
    except (OSError, subprocess.SubprocessError, UnicodeError) as error:
        raise FetchError(
            f"{action} failed: {reason(error)}.", untouched=UNTOUCHED, hint=_hint(error)
        ) from error


def reason(error: OSError | subprocess.SubprocessError | UnicodeError) -> str:
    """Say what an error is about and why, on one line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"`{_name(error.cmd)}` did not end within {error.timeout:.0f} s"
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{_name(error.cmd)}` ended with status {error.returncode}"
    if isinstance(error, OSError):
        why = error.strerror or str(error) or type(error).__name__
        return f"{error.filename}: {why}" if error.filename is not None else why
    return str(error)


def _name(command: object) -> str:
    return str(command[0] if isinstance(command, (list, tuple)) and command else command)


def _hint(error: Exception) -> str:
    if isinstance(error, subprocess.SubprocessError):
        return "Try again; if it fails again, run that command by hand to see why."
    return (
        "Look at that file, at its mode and at the free space (df -h), then try again. "
        "Kernels may be kept elsewhere:  export KSMLAB_CACHE=DIRECTORY"
    )
