"""A failing sequence of the fuzzer, as a program that replays it.

The fuzzer prints such a program for each failure that it finds. After a kernel panic the fuzzer is gone.
The steps are then in the output of the VM's console, or in the report of the lost test, and this script
makes the program from them:

    .venv/bin/python tests/vm/fuzz_script.py LOG --kernel NAME > build/fuzz-failure.py
"""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fuzz_machine import FuzzMachine, History

STEP = re.compile(r"fuzz: (\d+): (\w+\(.*\))\s*$")
TEMPLATE = '''\
#!/usr/bin/env python3
"""A sequence that failed: {why}

As build/fuzz-failure.py it is run in a VM, from the top of the checkout:

    .venv/bin/ksmlab vm run {options}-- $PWD/.venv/bin/python $PWD/build/fuzz-failure.py
"""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = ["python", "tests/vm"]

from {module} import {name}

with tempfile.TemporaryDirectory() as place, {name}.surroundings(Path(place)):
    state = {name}()
    try:
{steps}
    finally:
        state.teardown()
print("all steps passed: it did not fail this time")
'''


def script(
    history: History,
    why: str,
    options: str = "",
    *,
    module: str = "fuzz_machine",
    name: str = "FuzzMachine",
) -> str:
    """Give a sequence as a program.

    Args:
        history: the steps.
        why: what failed, a line of it.
        options: for ``ksmlab vm run``.
        module: where the class of the machine is.
        name: that class.
    """
    steps = [
        f"        state.{step}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        for step, arguments in history
    ]
    line = " ".join(why.split())[:200].replace("\\", "/").replace('"', "'")
    return TEMPLATE.format(
        why=line,
        options=options,
        module=module,
        name=name,
        steps="\n".join(steps or ["        pass"]),
    )


def script_of(machine: type[FuzzMachine], why: str, options: str = "") -> str:
    """Give the sequence of a machine that failed last as a program; see script()."""
    where = {"module": machine.__module__, "name": machine.__name__}
    return script(machine.failed or machine.history, why, options, **where)


def from_log(lines: Iterable[str]) -> History:
    """Read the steps of the last sequence in a log.

    Raises:
        ValueError: There is none, or not all of it.
    """
    history: History = []
    for line in lines:
        if not (found := STEP.search(line)):
            continue
        number = int(found[1])
        if number == 1:
            history = []
        # The console and the report of a lost test may both be in there.
        if number <= len(history):
            continue
        if number != len(history) + 1:
            raise ValueError(f"step {number} comes after step {len(history)}: give all of the log")
        call = ast.parse(found[2], mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.func, ast.Name)
        arguments = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        history.append((call.func.id, arguments))
    if not history:
        raise ValueError("no line of the fuzzer's is in it (fuzz: 1: ...)")
    return history


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="what the console has shown")
    parser.add_argument("--kernel", default="", help="the kernel that it was")
    given = parser.parse_args(argv)
    history = from_log(given.log.read_text(errors="replace").splitlines())
    options = f"--kernel {given.kernel} " if given.kernel else ""
    print(script(history, f"the kernel was lost in step {len(history)}", options), end="")


if __name__ == "__main__":
    main()
