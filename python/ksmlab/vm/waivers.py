"""Waivers: reports of the kernel that are known and fail no test, each with a reason and a date."""

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
        pattern: A regular expression; ^ and $ match at each line. The list's reader says what it is searched in.
        reason: Why the report is no failure.
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
            raise ValueError(f"{where}: needs pattern, reason and since, but has {[*table]}")
        if not isinstance(table["since"], date) or not str(table["reason"]).strip():
            raise ValueError(f"{where}: since is a date (2026-01-31), and reason is not empty")
        try:
            pattern = re.compile(table["pattern"], re.MULTILINE)
        except re.error as error:
            raise ValueError(f"{where}: pattern: {error}") from error
        waivers.append(Waiver(pattern, table["reason"], table["since"]))
    return tuple(waivers)
