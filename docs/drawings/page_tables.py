"""Two page tables and the frames behind them: before a merge, after it, after a write."""

from __future__ import annotations

from dataclasses import dataclass

from drawings.canvas import Canvas

NAME = "page-tables"
_PANEL = 242
_PTE_WIDTH = 86
_FRAME_WIDTH = 100
_GAP = 28
_ROW = 30


@dataclass(frozen=True)
class _Frame:
    """A frame: its place in the column of frames, what is in it, and who maps it."""

    y: float
    css: str
    words: str
    mapped_by: tuple[int, ...] = ()


_ANON = "anonymous"
_KERNEL = "kernel page"


def _panel(
    sheet: Canvas, x: float, title: str, rights: tuple[str, str], frames: tuple[_Frame, ...]
) -> None:
    sheet.text(x, 40, title, "head")
    tops = (76.0, 236.0)
    for number, top in enumerate(tops):
        sheet.text(x, top - 8, f"page table of {'AB'[number]}", "dim small")
        for row in range(3):
            mine = row == 1
            sheet.box(x, top + row * _ROW, _PTE_WIDTH, _ROW, "one" if mine else "box", 0)
            if mine:
                sheet.text(x + 8, top + row * _ROW + 20, rights[number], "code")
            else:
                sheet.text(x + _PTE_WIDTH / 2, top + row * _ROW + 18, "…", "dim middle")
    for frame in frames:
        left = x + _PTE_WIDTH + _GAP
        sheet.box(left, frame.y, _FRAME_WIDTH, 62, frame.css)
        sheet.lines(left + 8, frame.y + 18, frame.words, "small", 16)
        for nth, who in enumerate(frame.mapped_by):
            target = frame.y + 31 + (nth - (len(frame.mapped_by) - 1) / 2) * 16
            sheet.arrow((x + _PTE_WIDTH, tops[who] + 1.5 * _ROW), (left, target))


def draw() -> str:
    """Return the SVG."""
    sheet = Canvas(
        NAME,
        3 * _PANEL + 18,
        404,
        "Page tables before and after a merge",
        "Before: the entries of two processes each map an anonymous frame of their own, writable. After the merge: "
        "both map one kernel page, read-only, and the two frames are free. After a write of process A: A has a new "
        "anonymous frame, B still maps the kernel page.",
    )
    _panel(
        sheet,
        20,
        "before: two frames",
        ("writable", "writable"),
        (
            _Frame(90, "three", f"content X\nmap count 1\n{_ANON}", (0,)),
            _Frame(250, "three", f"content X\nmap count 1\n{_ANON}", (1,)),
        ),
    )
    _panel(
        sheet,
        20 + _PANEL,
        "after the merge: one",
        ("read-only", "read-only"),
        (
            _Frame(76, "none", "free"),
            _Frame(170, "two", f"content X\nmap count 2\n{_KERNEL}", (0, 1)),
            _Frame(264, "none", "free"),
        ),
    )
    _panel(
        sheet,
        20 + 2 * _PANEL,
        "A writes: copy-on-write",
        ("writable", "read-only"),
        (
            _Frame(90, "three", f"content Y\nmap count 1\n{_ANON}", (0,)),
            _Frame(170, "two", f"content X\nmap count 1\n{_KERNEL}", (1,)),
        ),
    )
    for x in (_PANEL + 6, 2 * _PANEL + 6):
        sheet.line((x, 24), (x, 344), css="dashed")
    sheet.lines(
        20,
        368,
        "The driver copies the content into a page of its own. Only the mappings keep that page allocated.\n"
        "No process can write it: a write faults, and the kernel gives the writer a copy.",
        "dim small",
    )
    return sheet.svg()
