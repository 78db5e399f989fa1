"""Find what went wrong in a kernel log.

A "splat" is the kernel's own report that something is wrong with it: from a warning to a panic. The forms are those
that the kernel's sources print (kernel/panic.c, lib/bug.c, mm/kasan/report.c, kernel/locking/lockdep.c, and so on).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A report that has no end of its own is cut after so many lines.
MAX_LINES = 120
BEFORE_HEADLINE = 8

# The first match of a line names it, so the narrow ones come first.
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("panic", r"Kernel panic - not syncing"),
        ("KASAN", r"BUG: KASAN: |KASAN: (?:null-ptr-deref|maybe wild-memory-access|probably)"),
        ("KFENCE", r"BUG: KFENCE: "),
        ("UBSAN", r"UBSAN: "),
        ("KCSAN", r"BUG: KCSAN: "),
        ("soft lockup", r"BUG: soft lockup"),
        ("hard lockup", r"[Hh]ard LOCKUP|BUG: workqueue lockup"),
        (
            "RCU stall",
            r"rcu: .*(?:detected (?:expedited )?stalls?|kthread (?:starved|timer wakeup)|stall ended)",
        ),
        ("RCU stall", r"rcu_\w+ (?:self-)?detected (?:expedited )?stalls?"),
        (
            "hung task",
            r"INFO: task \S+ blocked (?:in I/O wait )?for more than \d+ seconds|INFO: task .* blocked for more",
        ),
        (
            "atomic sleep",
            r"BUG: scheduling while atomic|BUG: sleeping function called from invalid context",
        ),
        ("atomic sleep", r"BUG: using (?:__this_cpu_\w+|smp_processor_id)\(\) in preemptible"),
        (
            "lockdep",
            r"WARNING: (?:possible (?:circular|recursive|irq lock inversion)|.*-safe -> .*-unsafe lock order)",
        ),
        (
            "lockdep",
            r"WARNING: (?:inconsistent lock state|suspicious RCU usage|bad unlock balance|bad contention)",
        ),
        (
            "lockdep",
            r"WARNING: (?:lock held when returning|held lock freed|[Nn]ested lock was not taken)",
        ),
        ("lockdep", r"BUG: MAX_LOCK|DEBUG_LOCKS_WARN_ON|INFO: trying to register non-static key"),
        ("lockdep", r"BUG: .* still has locks held|\[ BUG: Invalid wait context \]|\[ BUG: .*lock"),
        (
            "bad page",
            r"BUG: Bad page (?:state|map|cache)|BUG: Bad rss-counter|BUG: non-zero pgtables_bytes",
        ),
        (
            "bad page",
            r"Bad swap (?:file|offset) entry|Unused swap (?:file|offset) entry|page dumped because: ",
        ),
        # Not that of a control group, which is a limit that somebody has set. The dump before it is theirs, too.
        ("out of memory", r"\bOut of memory(?: \(\w+\))?: Killed process"),
        # Not for want of memory, which is nobody's fault.
        (
            "sysfs",
            r"sysfs: cannot create duplicate filename|kobject_add_internal failed for (?!.*error: -12\b)",
        ),
        ("kmemleak", r"kmemleak: \d+ new suspected memory leaks"),
        ("list corruption", r"list_(?:add|del) corruption"),
        (
            "slab",
            r"BUG \S+ \(.*\): |[Ss]lab (?:corruption|cache still has objects)|Objects remaining in \S+ on __kmem_cache",
        ),
        (
            "oops",
            r"BUG: unable to handle|BUG: kernel NULL pointer|kernel BUG at |general protection fault",
        ),
        (
            "oops",
            r"^(?:Oops|int3|divide error|invalid opcode|stack segment|traps: PANIC: double fault)\b.*[:#]",
        ),
        ("oops", r"Missing ENDBR|stack guard page was hit"),
        ("WARNING", r"WARNING: .*\bat\b"),
        ("BUG", r"\bBUG: "),
    )
)

NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
PREFIX = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
END = re.compile(r"^---\[ end ")
CUT_HERE = re.compile(r"^-+\[ cut here \]-+")


@dataclass(frozen=True)
class Splat:
    """One report of the kernel's.

    Attributes:
        kind: One of the names in KINDS.
        headline: The line that says what it is.
        lines: The whole report, cleaned, the headline among them.
    """

    kind: str
    headline: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Give kind and headline."""
        return f"{self.kind}: {self.headline}"


@dataclass(frozen=True)
class KmsgRecord:
    """One record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

    Attributes:
        level: The log level, 0 to 7.
        sequence: Its number; it has no gap unless the kernel overwrote records.
        microseconds: When, since boot.
        text: The message, without the device properties after it.
    """

    level: int
    sequence: int
    microseconds: int
    text: str


def parse_kmsg(record: str) -> KmsgRecord:
    """Take one read of /dev/kmsg apart.

    Raises:
        ValueError: It does not have the form of a record.
    """
    prefix, found, message = record.partition(";")
    if not found:
        raise ValueError(f"not a record of /dev/kmsg: {record!r}")
    priority, sequence, microseconds = prefix.split(",")[:3]
    lines = message.rstrip("\n").split("\n")
    text = "\n".join(
        line for index, line in enumerate(lines) if index == 0 or not line.startswith(" ")
    )
    return KmsgRecord(int(priority) & 7, int(sequence), int(microseconds), text)


def clean(line: str) -> str:
    """Strip from a line of a kernel's console its time stamp, its level, and what a terminal would not show."""
    return PREFIX.sub("", NOISE.sub("", line)).rstrip()


def classify(line: str) -> str | None:
    """Name the kind of report that a cleaned line begins, None if it begins none."""
    return next((kind for kind, pattern in KINDS if pattern.search(line)), None)


def scan(lines: Iterable[str]) -> list[Splat]:
    """Find every splat in a log.

    An oops says several times over what it is ("BUG: unable to handle", "Oops: 0002"): those lines make one splat.

    Args:
        lines: The log, one line each, with or without time stamps.
    """
    cleaned = [clean(line) for line in lines]
    starts: list[tuple[int, str]] = []
    for index, line in enumerate(cleaned):
        kind = classify(line)
        if kind is None:
            continue
        if starts and _same_report(starts[-1], index, kind, cleaned):
            continue
        starts.append((index, kind))
    splats = []
    for number, (index, kind) in enumerate(starts):
        stop = starts[number + 1][0] if number + 1 < len(starts) else len(cleaned)
        splats.append(Splat(kind, cleaned[index], tuple(_report(cleaned, index, stop))))
    return splats


def _same_report(last: tuple[int, str], index: int, kind: str, lines: list[str]) -> bool:
    """Say whether the line at `index` only goes on with the report that began last."""
    start, began = last
    if kind == "panic" or any(END.match(line) for line in lines[start:index]):
        return False
    inside = index - start < MAX_LINES
    if began == "sysfs":
        return inside and kind == began
    if began in {"KASAN", "oops", "bad page", "slab", "RCU stall", "list corruption"}:
        return inside and kind in {began, "oops", "bad page", "BUG"}
    return False


def _report(lines: list[str], start: int, stop: int) -> list[str]:
    # The words of WARN() come between the cut and the headline.
    before = range(start - 1, max(-1, start - 1 - BEFORE_HEADLINE), -1)
    first = next((index for index in before if CUT_HERE.match(lines[index])), start)
    body: list[str] = []
    for line in lines[first : min(stop, first + MAX_LINES)]:
        if CUT_HERE.match(line) and body:
            break
        body.append(line)
        if END.match(line):
            break
    return body


def panic_section(lines: Iterable[str], *, before: int = 5) -> str:
    """Cut from a log what explains a panic: from its first splat on, cleaned.

    Args:
        lines: The log of a kernel that panicked.
        before: How many lines before the first splat to keep with it.

    Returns:
        The section, or the whole log's end if there is no splat in it.
    """
    cleaned = [clean(line) for line in lines]
    # A warning long before has nothing to do with it: go back from the panic only as far as reports follow one another.
    starts = [index for index, line in enumerate(cleaned) if classify(line)]
    if not starts:
        return "\n".join(cleaned[-MAX_LINES:])
    panic = next((index for index in starts if classify(cleaned[index]) == "panic"), starts[-1])
    first = panic
    for index in reversed([index for index in starts if index <= panic]):
        if first - index <= MAX_LINES:
            first = index
    return "\n".join(cleaned[max(0, first - before) :])
