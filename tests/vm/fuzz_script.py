"""A failing sequence of the fuzzer, as a program that replays it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fuzz_machine import FuzzMachine

TEMPLATE = '''\
#!/usr/bin/env python3
"""A sequence that failed: {why}

Run it in a VM, from the top of the checkout:

    .venv/bin/ksmlab vm run {options}-- $PWD/.venv/bin/python {path}
"""

import sys

sys.path[:0] = ["python", "tests/vm"]

from {module} import {name}

state = {name}()
try:
{steps}
finally:
    state.teardown()
print("all steps passed: it did not fail this time")
'''


def script(machine: type[FuzzMachine], why: str, path: Path, options: str = "") -> str:
    """Write the sequence that a machine began last as a program.

    Args:
        machine: the class.
        why: what failed, a line of it.
        path: where the program is going to be.
        options: for ``ksmlab vm run``.
    """
    steps = [
        f"    state.{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        for name, arguments in machine.history
    ]
    line = " ".join(why.split())[:200].replace("\\", "/").replace('"', "'")
    return TEMPLATE.format(
        why=line,
        options=options,
        path=path,
        module=machine.__module__,
        name=machine.__name__,
        steps="\n".join(steps or ["    pass"]),
    )


def save(text: str, path: Path) -> Path:
    """Write the program to a file; to one in a temporary directory where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError:
        path = Path(tempfile.mkdtemp(prefix="ksmlab-"), path.name)
        path.write_text(text)
    return path
