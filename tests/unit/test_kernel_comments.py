"""The comments of the driver fit in 80 columns, and every function that files share has complete kernel-doc."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ksmlab.lessons import excerpt

KERNEL = Path(__file__).resolve().parents[2] / "kernel"
SOURCES = sorted(KERNEL.rglob("*.[ch]"))
HEADERS = ("ksm.h", "pte.h", "mm_symbols.h")
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DECLARATION = re.compile(r"^(?!typedef|extern|static|#)[a-z][\w \t*]*?\b\*?(\w+)\(", re.MULTILINE)
INLINE = re.compile(r"^static inline [\w \t*]*?\b\*?(\w+)\(", re.MULTILINE)


def too_wide(text: str) -> list[str]:
    """Return the lines of comments that are wider than 80 columns."""
    lines = text.splitlines()
    found = []
    for comment in COMMENT.finditer(text):
        first = text.count("\n", 0, comment.start())
        last = text.count("\n", 0, comment.end())
        found += [
            f"{number}: {lines[number - 1]}"
            for number in range(first + 1, last + 2)
            if len(lines[number - 1].expandtabs(8)) > 80
        ]
    return found


def shared_functions() -> list[str]:
    """Return the functions that a header of the driver declares or defines, except those of the kernel."""
    text = "\n".join((KERNEL / name).read_text() for name in HEADERS)
    names = set(DECLARATION.findall(text)) | set(INLINE.findall(text))
    return sorted(names - {"flush_tlb_mm_range"})


def kernel_doc(name: str) -> str:
    """Return the comment above the definition of a function."""
    for path in SOURCES:
        if path.suffix == ".c" or path.name in HEADERS:
            piece = excerpt.pieces(path).get(name)
            if piece and "{" in piece.text:
                return piece.comment
    raise LookupError(f"No file of kernel/ defines {name}(), which a header declares.")


def test_too_wide_finds_comments_but_not_code() -> None:
    code = "x" * 90 + ";\n"
    assert too_wide(code) == []
    assert too_wide(f"/*\n *\t{'x' * 70}\n */\n{code}") == []
    assert len(too_wide(f"/*\n *\t{'x' * 73}\n */\n{code}")) == 1
    assert len(too_wide(f"int i; /* {'x' * 80} */\n")) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(KERNEL)))
def test_comments_fit_in_80_columns(path: Path) -> None:
    assert too_wide(path.read_text()) == []


def test_headers_declare_the_functions_of_every_layer() -> None:
    assert {"ksm_node_init", "ksm_item_addr", "get_pte", "put_pte", "ksm_symbols_init"} <= set(
        shared_functions()
    )


@pytest.mark.parametrize("name", shared_functions())
def test_shared_functions_state_their_context(name: str) -> None:
    comment = kernel_doc(name)
    assert re.match(rf"/\*\*\n \* {name} - \S", comment)
    assert re.search(r"^ \* Context: \S", comment, re.MULTILINE)
