"""How memory gets to the kernel's own KSM, what controls ksmd, and where its results are shown."""

from __future__ import annotations

from drawings.canvas import WIDTH, Canvas

NAME = "ksm-today"
_LEFT, _HALF, _GAP = 16.0, 172.0, 14.0
_RIGHT = _LEFT + _HALF + _GAP


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        524,
        "KSM today",
        "A mapping gets the flag mg in two ways. A program or QEMU calls madvise() for one mapping, or a program or "
        "systemd calls prctl() for all mappings of a process. ksmd scans mappings with this flag. root or ksmtuned "
        "writes the settings run and pages_to_scan. The advisor writes only pages_to_scan. Smart scan skips pages that "
        "found no match. ksmd merges equal pages into KSM pages. /sys/kernel/mm/ksm has the counters of the system, "
        "and /proc/PID/ksm_stat those of a process.",
    )
    middle = WIDTH / 2
    sheet.text(_LEFT, 32, "KSM today", "head")
    sheet.labelled(_LEFT, 52, _HALF, 58, "a program, or QEMU\nmadvise()", "one")
    sheet.labelled(_RIGHT, 52, _HALF, 58, "systemd, or a program\nprctl(), since 6.4", "one")
    wide = WIDTH - 2 * _LEFT
    sheet.labelled(_LEFT, 152, wide, 42, "mappings with the flag mg in smaps", "box")
    sheet.arrow((_LEFT + _HALF / 2, 110), (_LEFT + _HALF / 2, 152))
    sheet.arrow((_RIGHT + _HALF / 2, 110), (_RIGHT + _HALF / 2, 152))
    sheet.text(_LEFT + _HALF / 2 + 10, 136, "one mapping", "small")
    sheet.text(_RIGHT + _HALF / 2 - 10, 136, "all mappings", "small end")
    sheet.arrow((_LEFT + _HALF / 2, 194), (_LEFT + _HALF / 2, 236))
    sheet.labelled(
        _LEFT,
        236,
        _HALF,
        96,
        "ksmd\nscans and merges;\nsmart scan skips some\n(since 6.7)",
        "two",
    )
    sheet.labelled(
        _RIGHT,
        236,
        _HALF,
        96,
        "run: root, ksmtuned\npages_to_scan: root,\nksmtuned, advisor\n(since 6.8)",
        "box",
    )
    sheet.arrow((_RIGHT, 284), (_LEFT + _HALF, 284))
    sheet.arrow((_LEFT + _HALF / 2, 332), (_LEFT + _HALF / 2, 374))
    sheet.labelled(_LEFT, 374, wide, 42, "KSM pages: one frame for equal pages", "three")
    for x in (_LEFT, _RIGHT):
        sheet.arrow((x + _HALF / 2, 416), (x + _HALF / 2, 450), css="dashed")
    sheet.labelled(_LEFT, 450, _HALF, 58, "/sys/kernel/mm/ksm\ncounters of the system")
    sheet.labelled(_RIGHT, 450, _HALF, 58, "/proc/PID/ksm_stat\ncounters of a process")
    sheet.text(middle + 10, 437, "counted in", "small middle")
    return sheet.svg()
