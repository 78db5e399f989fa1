"""Read waivers, which list kernel reports that do not fail a test, each with a reason and a date."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Waiver:
    """An entry of an allow-list.

    Attributes:
        pattern: A regular expression that is searched in a report or its headline, depending on the list; ^ and $
            match at the start and end of each line.
        reason: Why the report is not a failure.
        since: The day on which the report was examined.
    """

    pattern: re.Pattern[str]
    reason: str
    since: date


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """Read an allow-list: tables [[allow]] with `pattern`, `reason` and `since`.

    Raises:
        ValueError: An entry lacks one of the three keys, has another key, or has a value that is not valid.
    """
    waivers = []
    for number, table in enumerate(tomllib.loads(path.read_text()).get("allow", []), 1):
        where = f"{path}: entry {number}"
        if set(table) != {"pattern", "reason", "since"}:
            raise ValueError(
                f"{where} must have the keys pattern, reason and since, but has {[*table]}"
            )
        if not isinstance(table["since"], date) or not str(table["reason"]).strip():
            raise ValueError(
                f"{where}: since must be a date, such as 2026-01-31, and reason must not be empty"
            )
        try:
            pattern = re.compile(table["pattern"], re.MULTILINE)
        except re.error as error:
            raise ValueError(
                f"{where}: pattern is not a valid regular expression: {error}"
            ) from error
        waivers.append(Waiver(pattern, table["reason"], table["since"]))
    return tuple(waivers)
