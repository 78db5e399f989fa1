"""Turn operating-system errors about the kernel cache into messages that say what to do."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.errors import FetchError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNTOUCHED = "The kernels in the cache are unchanged."


@contextlib.contextmanager
def fetch_errors(action: str) -> Iterator[None]:
    """Turn operating-system errors of the block, or of the decorated function, into FetchError.

    Args:
        action: The beginning of the message, which says what the block does, such as "Fetching a kernel".

    Raises:
        FetchError: The block raised an OSError, an error of a subprocess, or text that is not UTF-8.
    """
    try:
        yield
    except (OSError, subprocess.SubprocessError, UnicodeError) as error:
        raise FetchError(
            f"{action} failed: {reason(error)}.", untouched=UNTOUCHED, hint=_hint(error)
        ) from error


def reason(error: Exception) -> str:
    """Return the object and the reason of an error, on one line."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"`{_name(error.cmd)}` did not end within {error.timeout:.0f} s"
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{_name(error.cmd)}` ended with status {error.returncode}"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {cause(error)}"
    return cause(error)


def cause(error: Exception) -> str:
    """Return the reason of an error, without its number and its object, for a message that names the object."""
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _name(command: object) -> str:
    return str(command[0] if isinstance(command, (list, tuple)) and command else command)


def _hint(error: Exception) -> str:
    if isinstance(error, subprocess.SubprocessError):
        return "Try again. If it fails again, run the command by hand to see why."
    return (
        "Check the file, its permissions and the free space (df -h), then try again. "
        "Or choose another directory for kernels:  export KSMLAB_CACHE=DIRECTORY"
    )
