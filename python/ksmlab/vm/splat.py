"""Find the kernel's reports of errors in its log.

A "splat" is a report by the kernel that something is wrong with it, from a warning to a panic. A line that contains
the word `WARNING:`, `BUG:` or `INFO:` begins a splat, unless harmless.toml covers the line.
KINDS gives most splats a better name and adds the reports that have none of the three words. Its patterns follow the
sources of Linux 5.10 to 7.x (kernel/panic.c, lib/bug.c, mm/kasan/report.c, kernel/locking/lockdep.c and others).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.waivers import load_waivers

if TYPE_CHECKING:
    from collections.abc import Iterable

# A report without an end marker is cut after this many lines.
MAX_LINES = 120
BEFORE_HEADLINE = 8

# Kind: patterns of its headlines. The first match names a line, so narrow patterns come first.
KINDS: dict[str, tuple[str, ...]] = {
    "panic": (r"Kernel panic - not syncing",),
    "KASAN": (
        r"BUG: KASAN: ",
        r"KASAN: (?:null-ptr-deref|maybe wild-memory-access|probably)",
    ),
    "KFENCE": (r"BUG: KFENCE: ",),
    "KCSAN": (r"BUG: KCSAN: ",),
    "KMSAN": (r"BUG: KMSAN: ",),
    "UBSAN": (r"UBSAN: ",),
    "soft lockup": (r"BUG: soft lockup",),
    "hard lockup": (r"[Hh]ard LOCKUP", r"BUG: workqueue lockup"),
    "RCU stall": (
        r"rcu\w*: .*detected (?:expedited )?stalls?",
        r"rcu: .*(?:kthread (?:starved|timer wakeup)|stall ended)",
        r"rcu_\w+ (?:self-)?detected (?:expedited )?stalls?",
    ),
    "hung task": (r"INFO: task.*(?:blocked .*for more than|can't die for more than)",),
    "atomic sleep": (
        r"BUG: scheduling (?:while atomic|in a non-blocking section)",
        r"BUG: sleeping function called from invalid context",
        r"BUG: assuming (?:atomic|non migratable) context",
        r"BUG: using \w+\(\) in preemptible",
    ),
    "lockdep": (
        r"WARNING: possible (?:circular|recursive|irq lock inversion)",
        r"WARNING: .*-safe -> .*-unsafe lock order",
        r"WARNING: (?:inconsistent lock state|suspicious RCU usage|chain_key collision)",
        r"WARNING: (?:bad unlock balance|bad contention|held lock freed|[Nn]ested lock was not taken)",
        r"WARNING: lock held when returning",
        r"(?:WARNING|BUG):.* still has locks held",
        r"INFO: trying to register non-static key",
        r"BUG: (?:MAX_LOCK|MAX_STACK_TRACE|looking up invalid subclass|key \S+ has not been registered)",
        r"\[ BUG: (?:Invalid wait context|.*lock)",
        r"DEBUG_LOCKS_WARN_ON",
    ),
    "bad page": (
        r"BUG: (?:Bad page (?:state|map|cache)|Bad rss-counter|non-zero pgtables_bytes)",
        r"(?:Bad|Unused) swap (?:file|offset) entry",
        # KASAN's own dump is part of its report, which may have been cut before this line.
        r"page dumped because: (?!kasan: )",
    ),
    # A control group's limit is set on purpose, and the kernel's report about it says "Memory cgroup out of memory".
    "out of memory": (r"\bOut of memory(?: \(\w+\))?: Killed process",),
    # Error -12 is ENOMEM: a lack of memory is no error in the kernel.
    "sysfs": (
        r"sysfs: cannot create duplicate filename",
        r"kobject_add_internal failed for (?!.*error: -12\b)",
    ),
    "kmemleak": (r"kmemleak: \d+ new suspected memory leaks",),
    "list corruption": (r"list_(?:add|del) corruption",),
    "slab": (
        r"BUG \S+ \(.*\): ",
        r"[Ss]lab (?:corruption|cache still has objects)",
        r"Objects remaining in \S+ on __kmem_cache",
    ),
    "VFS": (r"VFS: (?:Busy inodes after unmount|Close: file count is )",),
    "netdevice": (r"unregister_netdevice: waiting for ",),
    "oops": (
        r"BUG: (?:unable to handle|kernel NULL pointer)",
        r"\b[Kk]ernel BUG (?:at |\[)",
        # In a user process: "traps: NAME[PID] general protection fault ip:ADDRESS".
        r"\bgeneral protection fault(?! ip:)",
        r"^(?:Oops|int3|divide[_ ]error|invalid opcode|stack segment|(?:traps: )?PANIC: double fault)\b.*[:#]",
        r"^(?:Internal error: |Unable to handle kernel |rust_kernel: panicked at )",
        r"Missing ENDBR",
        r"stack guard page was hit",
    ),
    # The rule for all other reports. Drivers put the word anywhere ("watchdog: BUG: ", "zonefs (sda) WARNING: ",
    # "MCG WARNING: "), and some put no blank after it ("BUG:sequencer:").
    "WARNING": (r"\bWARNING:",),
    "INFO": (r"\bINFO:",),
    "BUG": (r"\bBUG:",),
}
HEADLINES = tuple((kind, re.compile("|".join(patterns))) for kind, patterns in KINDS.items())
HARMLESS = load_waivers(Path(__file__).with_name("harmless.toml"))

# The second name that an oops gives itself, and the lines with INFO that slub prints up to 5.10.
OOPS = r"^(?:Oops|Internal error):? (?:Oops: )?(?:stack guard page: |double fault: )?[0-9a-f]* ?\[#"
SLUB_DETAIL = r"^INFO: (?:Freed|Allocated|Slab|Object|0x[0-9a-f]+)\b"
# A headline that matches the second pattern of a pair continues the report whose latest headline matches the first.
# Every other headline begins a report of its own, so that a waiver for one report never covers another.
CONTINUATIONS = tuple(
    (re.compile(headline), re.compile(continuation))
    for headline, continuation in (
        # An oops names itself several times.
        (r"BUG: (?:unable to handle|kernel NULL pointer)", OOPS),
        (
            r"guard page was hit|PANIC: double fault|^Unable to handle kernel |^KASAN: .* in range ",
            OOPS,
        ),
        (r"kernel BUG at ", r"^(?:Oops: )?invalid opcode: |^Internal error: |Kernel BUG \["),
        (r"general protection fault|^Unable to handle kernel ", r"^KASAN: .* in range "),
        # The check of a list, of a jump's target, of a page or of Rust code, and the BUG() after it.
        (
            r"list_(?:add|del) corruption|Missing ENDBR|page dumped because: VM_BUG_ON|^rust_kernel: ",
            r"kernel BUG at ",
        ),
        # The reasons of the page allocator have no prefix.
        (r"BUG: Bad page (?:state|cache)", r"page dumped because: (?!VM_|\w+: )"),
        (r"BUG: Bad page map", r"page dumped because: bad pte"),
        (r"sysfs: cannot create duplicate filename", r"kobject_add_internal failed"),
        (r"rcu: .*(?:stalls?\b|kthread )", r"rcu: .*kthread (?:starved|timer wakeup)"),
        (rf"^BUG \S+ \(.*\): |{SLUB_DETAIL}", SLUB_DETAIL),
        # Since 6.16, the kernel names the owner of the lock that a hung task waits for.
        (r"INFO: task.*(?:blocked|can't die) ", r"INFO: task.* is blocked on an? "),
    )
)
# Headlines with a task's name in the middle. Each of the name's bytes may be a newline, which splits the headline.
NAME_BYTES = 15
NAMED_TASK = re.compile(
    rf"^(?:INFO: task ?.{{0,{NAME_BYTES}}}:\d+ (?:blocked|can't die|is blocked) "
    rf"|WARNING: ?.{{0,{NAME_BYTES}}}/\d+ still has locks held)",
    re.DOTALL,
)
# Replaces such newlines, as in /dev/kmsg.
JOINT = r"\x0a"

NOISE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
PREFIX = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?")
END = re.compile(r"^---\[ end ")
# KASAN, KCSAN, KFENCE and UBSAN end their reports with such a line.
RULER = re.compile(r"^={60,}$")
ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
CUT_HERE = re.compile(r"^-+\[ cut here \]-+")


@dataclass(frozen=True)
class Splat:
    """One report by the kernel.

    Attributes:
        kind: A key of KINDS.
        headline: The line that names the error. Where a task's name split it over several lines, JOINT joins them.
        lines: The whole report, cleaned, the headline included.
    """

    kind: str
    headline: str
    lines: tuple[str, ...]

    def __str__(self) -> str:
        """Return the kind and the headline."""
        return f"{self.kind}: {self.headline}"


@dataclass(frozen=True)
class KmsgRecord:
    """One record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).

    Attributes:
        level: The log level, 0 to 7.
        sequence: Its number; it has no gap unless the kernel overwrote records.
        microseconds: The time of the record, in microseconds since boot.
        text: The message, without the device properties after it.
    """

    level: int
    sequence: int
    microseconds: int
    text: str


def parse_kmsg(record: str) -> KmsgRecord:
    r"""Parse one read of /dev/kmsg, and undo the kernel's escapes in its text.

    The kernel writes each byte that is a control character, a backslash or not ASCII as \xNN.

    Raises:
        ValueError: `record` does not have the form of a record.
    """
    prefix, found, message = record.partition(";")
    if not found:
        raise ValueError(f"not a record of /dev/kmsg: {record!r}")
    priority, sequence, microseconds = prefix.split(",")[:3]
    # Only the first line is the message; the device's properties follow.
    escaped = message.partition("\n")[0].encode()
    text = ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), escaped)
    return KmsgRecord(
        int(priority) & 7, int(sequence), int(microseconds), text.decode(errors="replace")
    )


def clean(line: str) -> str:
    """Strip the time stamp, the level and terminal escapes from a line of the console."""
    return PREFIX.sub("", NOISE.sub("", line)).rstrip()


def classify(headline: str) -> str | None:
    """Return the kind of report that a cleaned line begins, or None if it begins none or is harmless."""
    kind = next((kind for kind, pattern in HEADLINES if pattern.search(headline)), None)
    if kind is None or any(waiver.pattern.search(headline) for waiver in HARMLESS):
        return None
    return kind


def scan(lines: Iterable[str]) -> list[Splat]:
    """Find every splat in a log.

    An oops names itself several times ("BUG: unable to handle", "Oops: 0002"); these lines make one splat.

    Args:
        lines: The log, one line each, with or without time stamps.
    """
    cleaned = [clean(line) for line in lines]
    starts: list[_Start] = []
    # The index after the last headline before each report, which the report's text cannot include.
    floors: list[int] = []
    last: _Start | None = None
    index = 0
    while index < len(cleaned):
        start = _start(cleaned, index)
        index += start.length if start else 1
        if start is None:
            continue
        if last is None or not _continues(last, start, cleaned):
            starts.append(start)
            floors.append(last.index + last.length if last else 0)
        last = start
    stops = [*(start.index for start in starts), len(cleaned)][1:]
    return [
        Splat(start.kind, start.headline, tuple(_report(cleaned, floor, start.index, stop)))
        for start, floor, stop in zip(starts, floors, stops, strict=True)
    ]


@dataclass(frozen=True)
class _Start:
    index: int
    length: int
    kind: str
    headline: str


def _start(lines: list[str], index: int) -> _Start | None:
    """Return the report that begins at `index`, if one does, under its whole headline of `length` lines."""
    kind = classify(lines[index])
    if kind is None:
        return None
    for length in range(1, NAME_BYTES + 2):
        pieces = lines[index : index + length]
        if NAMED_TASK.search("\n".join(pieces)):
            headline = JOINT.join(pieces)
            return _Start(index, length, classify(headline) or kind, headline)
    return _Start(index, 1, kind, lines[index])


def _continues(last: _Start, start: _Start, lines: list[str]) -> bool:
    """Return whether `start` continues the report that has the headline `last`."""
    between = lines[last.index : start.index]
    if len(between) >= MAX_LINES or any(END.match(line) for line in between):
        return False
    return any(
        headline.search(last.headline) and continuation.search(start.headline)
        for headline, continuation in CONTINUATIONS
    )


def _report(lines: list[str], floor: int, start: int, stop: int) -> list[str]:
    # WARN() prints its message between the cut and the headline.
    before = range(start - 1, max(floor, start - BEFORE_HEADLINE) - 1, -1)
    first = next((index for index in before if CUT_HERE.match(lines[index])), start)
    body: list[str] = []
    for line in lines[first : min(stop, first + MAX_LINES)]:
        if body and (CUT_HERE.match(line) or RULER.match(line)):
            break
        body.append(line)
        if END.match(line):
            break
    return body


def panic_section(lines: Iterable[str], *, before: int = 5) -> str:
    """Return the section of a log that explains a panic, from the first related splat on, cleaned.

    Args:
        lines: The log of a kernel that panicked.
        before: The number of lines before the first splat to include.

    Returns:
        The section, or the end of the log if there is no splat in it.
    """
    cleaned = [clean(line) for line in lines]
    # Reports long before the panic are unrelated. Go back from the panic while the distance of reports is small.
    starts = [index for index, line in enumerate(cleaned) if classify(line)]
    if not starts:
        return "\n".join(cleaned[-MAX_LINES:])
    panic = next((index for index in starts if classify(cleaned[index]) == "panic"), starts[-1])
    first = panic
    for index in reversed([index for index in starts if index <= panic]):
        if first - index <= MAX_LINES:
            first = index
    return "\n".join(cleaned[max(0, first - before) :])
