"""The page of lesson 17 shows a wrapper as the preprocessor makes it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_wrapper_on_the_page_is_the_expansion_of_the_macro() -> None:
    source = (ROOT / "kernel/mm_symbols.c").read_text()
    names = (ROOT / "kernel/mm_names.h").read_text()
    macros = [
        found[0]
        for name in ("KSM_SYMBOLS_ALL", "DEFINE_X")
        if (found := re.search(rf"^#define {name}\((?:.*\\\n)*.*\n", source, re.MULTILINE))
    ]
    unit = f"""
        {names}
        #define DECLARE_STATIC_CALL(name, function)
        #define DEFINE_STATIC_CALL_NULL(name, function)
        #define IGNORE_V(name, proto, args)
        {"".join(macros)}
        KSM_SYMBOLS_ALL(DEFINE_X, IGNORE_V)
    """
    unit = re.sub(r"^\s+#", "#", unit, flags=re.MULTILINE)
    command = ["gcc", "-E", "-P", "-x", "c", "-"]
    done = subprocess.run(command, input=unit, capture_output=True, text=True, check=True)
    page = (ROOT / "docs/lessons/17-outside-the-tree.md").read_text()
    shown = page.partition("the preprocessor makes this wrapper")[2].split("```")[1]
    assert "".join(shown.removeprefix("c\n").split()) in "".join(done.stdout.split())
