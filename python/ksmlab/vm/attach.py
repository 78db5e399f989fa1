"""Connect a person's terminal to a VM that is kept."""

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
    """Let a person use a shell in the VM, until they leave with Ctrl-], end their input, or the VM goes.

    Args:
        kept: Which VM.

    Raises:
        VmError: It does not answer.
    """
    path = Path(kept.directory, f"{SHELL}.sock")
    with socket.socket(socket.AF_UNIX) as line:
        try:
            line.connect(str(path))
        except OSError as error:
            raise VmError(
                f"The VM {kept.name} has no shell to attach to: {error.strerror}.",
                untouched="It is as it was.",
                hint=f"A debugger may still get in: {kept.gdb_command}",
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
            # If the VM has gone, the end of the line says so.
            with contextlib.suppress(BrokenPipeError):
                line.sendall(data)

        connect(line.fileno(), take, send, at_end=None)
