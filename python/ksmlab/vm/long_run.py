"""Run commands that may take many minutes, with a log, a deadline, and reports of progress."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

NOTE_SECONDS = 60.0
READ_BYTES = 1 << 16
END_SECONDS = 20.0
TAIL_BYTES = 6000


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    text = log.read_text(errors="replace")[-TAIL_BYTES:]
    return text.partition("\n")[2] if len(text) == TAIL_BYTES else text


@contextlib.contextmanager
def started(
    argv: Sequence[str], *, env: Mapping[str, str], untouched: str, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its output in a pipe. If it still runs at the end of the block, kill its process group.

    Args:
        argv: The command and its arguments.
        env: Its complete environment.
        untouched: The part of an error message that says what was not changed.
        pass_fds: File descriptors that the command inherits.

    Raises:
        BuildError: The command is not installed.
    """
    try:
        process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, pass_fds=pass_fds,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BuildError(
            f"{argv[0]} is not installed.",
            untouched=untouched,
            hint="`make doctor` shows how to install it.",
        ) from error
    assert process.stdout is not None
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def run_logged(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str],
    timeout: float,
    untouched: str,
    on_tick: Callable[[float], None] | None = None,
) -> None:
    """Run a command, and append its output to a log.

    The output passes through a pipe that this process reads. If this process is killed, the pipe breaks, and the
    command ends when it prints its next line.

    Args:
        argv: The command and its arguments.
        log: The log file.
        env: The complete environment of the command.
        timeout: The most seconds that the command may take.
        untouched: The part of an error message that says what was not changed.
        on_tick: Called once a minute with the seconds since the start.

    Raises:
        BuildError: The command failed, exceeded its deadline, or is not installed.
    """
    start = last = time.monotonic()
    hint = f"The end of its output is above; all of it is in {log}."
    with started(argv, env=env, untouched=untouched) as process:
        assert process.stdout is not None
        with log.open("ab") as file:
            while True:
                now = time.monotonic()
                if now - start > timeout:
                    raise BuildError(
                        f"`{argv[0]}` did not end within {timeout:.0f} s.",
                        untouched=untouched,
                        hint=hint,
                        log=tail(log),
                    )
                if on_tick is not None and now - last > NOTE_SECONDS:
                    last = now
                    on_tick(now - start)
                if not select.select([process.stdout], [], [], 1.0)[0]:
                    continue
                piece = os.read(process.stdout.fileno(), READ_BYTES)
                if not piece:
                    break
                file.write(piece)
                file.flush()
        status = process.wait(END_SECONDS)
    if status:
        raise BuildError(
            f"`{' '.join(argv[:1])}` failed with status {status}.",
            untouched=untouched,
            hint=hint,
            log=tail(log),
        )
