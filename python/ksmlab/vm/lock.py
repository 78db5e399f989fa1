"""Use a file as a lock between processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from ksmlab.vm.errors import LockTimeout, VmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

POLL_SECONDS = 0.1


@contextlib.contextmanager
def file_lock(
    path: Path, *, timeout: float = 1800, on_wait: Callable[[], None] | None = None
) -> Iterator[int]:
    """Hold an exclusive lock on a file during the block.

    The kernel releases the lock when its holder dies, so there are no stale locks. The value of the context manager is
    the file descriptor; a process that inherits it holds the lock as well.

    Args:
        path: The lock file. It is created if it does not exist, and is not removed afterwards.
        timeout: The most seconds to wait for another holder.
        on_wait: Called once if there is another holder.

    Raises:
        LockTimeout: Another process still holds the lock after `timeout`.
        VmError: The file cannot be written to or locked.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise VmError(
            f"{path} cannot be written to: {error.strerror}.",
            untouched="Nothing was changed.",
            hint="Make it writable, or choose another directory for kernels:  export KSMLAB_CACHE=DIRECTORY",
        ) from error
    try:
        deadline = time.monotonic() + timeout
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if on_wait is not None and not told:
                    on_wait()
                told = True
            except OSError as error:
                raise VmError(
                    f"{path} cannot be locked: {error.strerror}.",
                    untouched="Nothing was changed.",
                    hint="Its file system may not support locks. "
                    "Choose another directory for kernels:  export KSMLAB_CACHE=DIRECTORY",
                ) from error
            if time.monotonic() > deadline:
                raise LockTimeout(
                    f"Another process has held {path} for {timeout:.0f} s.",
                    untouched="Nothing was changed.",
                    hint=f"See which process holds it with:  fuser -v {path}",
                )
            time.sleep(POLL_SECONDS)
        yield descriptor
    finally:
        os.close(descriptor)
