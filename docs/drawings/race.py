"""O_DIRECT against a merge: why the entry is cleared before the references are counted."""

from __future__ import annotations

from drawings.canvas import Canvas

NAME = "race-o-direct"
_LANE = 119
_BOX = 116
_CASE = 2 * _LANE + 16
_STEP = 54
_TOP = 118

#: Each case: a title, then steps of (lane, words, class), and how it ends. Lane 0 is kksmd, 1 the other task.
_CASES = (
    (
        "O_DIRECT comes first",
        (
            (1, "takes a reference,\nDMA begins", "three"),
            (0, "clears the PTE,\nflushes the TLB", "one"),
            (0, "counts references:\none too many", "one"),
            (0, "puts the PTE back\nas it was", "one"),
            (1, "DMA writes\nthe page", "three"),
        ),
        ("three", "Left alone: “pinned”.\nThe write is there."),
    ),
    (
        "the merge comes first",
        (
            (0, "clears the PTE,\nflushes the TLB", "one"),
            (1, "finds no PTE,\nfaults, waits", "three"),
            (0, "counts: none too\nmany; compares", "one"),
            (0, "maps the\nkernel page", "one"),
            (1, "the fault copies;\nDMA to the copy", "three"),
        ),
        ("three", "Merged, then private again.\nThe write is there."),
    ),
    (
        "counting first: wrong",
        (
            (0, "counts references:\nnone too many", "bad"),
            (1, "takes a reference,\nDMA begins", "three"),
            (0, "clears the PTE,\ncompares", "one"),
            (0, "maps the\nkernel page", "one"),
            (1, "DMA writes the\nold page", "bad"),
        ),
        ("bad", "The write goes to a page that\nnobody maps: it is lost."),
    ),
)


def draw() -> str:
    """Return the SVG."""
    height = _TOP + 5 * _STEP + 92
    sheet = Canvas(
        NAME,
        3 * _CASE + 18,
        height,
        "A race between O_DIRECT and a merge",
        "Three timelines. O_DIRECT first: the references are one too many, the page is left alone. The merge first: "
        "O_DIRECT finds no entry, faults and gets a copy. Counting before clearing: the reference is taken in between "
        "and the write is lost.",
    )
    for number, (title, steps, (css, end)) in enumerate(_CASES):
        x = 16 + number * _CASE
        sheet.text(x, 40, title, "head")
        for lane, who in enumerate(("kksmd", "O_DIRECT")):
            middle = x + lane * _LANE + _BOX / 2
            sheet.text(middle, 74, who, "strong middle small")
            sheet.arrow((middle, 84), (middle, _TOP + 5 * _STEP - 4))
        for row, (lane, words, kind) in enumerate(steps):
            sheet.labelled(x + lane * _LANE, _TOP - 18 + row * _STEP, _BOX, 44, "", kind)
            lines = words.count("\n")
            sheet.lines(
                x + lane * _LANE + _BOX / 2,
                _TOP + 8 - lines * 8 + row * _STEP,
                words,
                "small middle",
                16,
            )
        sheet.box(x, height - 84, _LANE + _BOX, 56, css)
        sheet.lines(x + 12, height - 62, end, "small strong", 18)
        if number:
            sheet.line((x - 10, 24), (x - 10, height - 28), css="dashed")
    return sheet.svg()
