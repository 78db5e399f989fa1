"""Connect the user's terminal to a kept VM."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError
from ksmlab.vm.interact import READ_BYTES, connect, show

if TYPE_CHECKING:
    from ksmlab.vm.keep import Kept

SHELL = "shell"


def attach(kept: Kept) -> None:
    """Connect the terminal to a shell in a VM, until the user types Ctrl-], standard input ends, or the VM ends.

    Args:
        kept: The VM.

    Raises:
        VmError: The VM does not answer.
    """
    path = Path(kept.directory, f"{SHELL}.sock")
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(path))
        except OSError as error:
            raise VmError(
                f"Cannot attach to the VM {kept.name}: its shell does not answer ({error.strerror}).",
                untouched="The VM was not changed.",
                hint=f"A debugger may still be able to attach:  {kept.gdb_command}",
            ) from error
        size = shutil.get_terminal_size()
        term = os.environ.get("TERM", "dumb")
        said = {"term": term, "columns": size.columns, "rows": size.lines}
        line.sendall(json.dumps(said).encode() + b"\n")

        def take() -> bool:
            data = line.recv(READ_BYTES)
            show(sys.stdout.fileno(), data)
            return not data

        def send(data: bytes) -> None:
            # Ignore that the VM has ended; the next read detects it.
            with contextlib.suppress(BrokenPipeError):
                line.sendall(data)

        connect(line.fileno(), take, send, at_end=None)
