"""What is stored says of which format it is: an old file is told apart from a broken one."""

from __future__ import annotations

from typing import Any


class FormatError(ValueError):
    """Stored data is of another format."""


def check_format(data: dict[str, Any], known: int, what: str, *, untouched: str, hint: str) -> None:
    """See whether data that was read is of the format that is known.

    Args:
        data: What the file has; its "format" says which.
        known: The format that can be read.
        what: What it is, to a person.
        untouched: What is as it was, as a sentence.
        hint: What to do next.

    Raises:
        FormatError: It is of another one.
    """
    if data.get("format") != known:
        raise FormatError(
            f"{what} has format {data.get('format')}, not {known}. {untouched} Next: {hint}"
        )
