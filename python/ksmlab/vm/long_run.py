"""Run a command that may take many minutes: its output in a log, a deadline, and a sign of life now and then."""

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
    """Give the last lines of a log."""
    text = log.read_text(errors="replace")[-TAIL_BYTES:]
    return text.partition("\n")[2] if len(text) == TAIL_BYTES else text


@contextlib.contextmanager
def started(
    argv: Sequence[str], *, env: Mapping[str, str], untouched: str, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command with its output in a pipe; if it still runs at the end of the block, kill all that it started.

    Args:
        argv: The command.
        env: Its whole environment.
        untouched: What an error says of what was left as it was.
        pass_fds: Descriptors that it inherits.

    Raises:
        BuildError: It is not here.
    """
    try:
        process = subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, pass_fds=pass_fds,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BuildError(
            f"{argv[0]} is not here.",
            untouched=untouched,
            hint="make doctor says how to install it.",
        ) from error
    assert process.stdout is not None
    try:
        yield process
    finally:
        if process.poll() is None:
            # Whatever it started goes with it.
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
    """Run a command to its end.

    Its output comes through a pipe of ours. So when this process dies without a word the pipe breaks, and the command
    ends at the next line that it prints.

    Args:
        argv: The command.
        log: Where its output is added.
        env: Its whole environment.
        timeout: Seconds that it may take.
        untouched: What an error says of what was left as it was.
        on_tick: Called once a minute with the seconds since the start.

    Raises:
        BuildError: It failed, ran past its deadline, or is not here.
    """
    start = last = time.monotonic()
    hint = f"All that was said is in {log}."
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
