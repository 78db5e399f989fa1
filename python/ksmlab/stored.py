"""Check the format version of a stored file, to tell an outdated file from a damaged one."""

from __future__ import annotations

from typing import Any


class FormatError(ValueError):
    """Stored data has another format version."""


def check_format(data: dict[str, Any], known: int, what: str, *, untouched: str, hint: str) -> None:
    """Check the format version of data that was read from a file.

    Args:
        data: The content of the file, with its format version in "format".
        known: The format version that the caller can read.
        what: The name of the file or its content, for the message.
        untouched: A sentence that says what was not changed.
        hint: What to do next.

    Raises:
        FormatError: The data has another format version.
    """
    if data.get("format") != known:
        raise FormatError(
            f"{what} has format {data.get('format')}, not {known}. {untouched} Next: {hint}"
        )
