"""End all sharing in a memory cgroup that has no room for the copies, and print the result.

One process owns the merged pages, and another writes 2 to run. Both are in the cgroup. The main process is not, so that
the OOM killer does not end it before it has raised the limit again.
"""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from ksmlab import content
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs

PAGES, CONTENTS = 4096, 32
MERGED = PAGES - CONTENTS
#: The copies need 16 MiB.
ROOM = 4 << 20


def memory_cgroup(name: str) -> Path:
    """Create a memory cgroup, and return its directory; mount the hierarchy if necessary."""
    root = Path("/sys/fs/cgroup")
    if not (root / "cgroup.procs").exists():
        root = Path("/tmp/cgroup2")
        root.mkdir(exist_ok=True)
        if not (root / "cgroup.procs").exists():
            subprocess.run(["mount", "-t", "cgroup2", "none", str(root)], check=True)
    (root / "cgroup.subtree_control").write_text("+memory")
    (root / name).mkdir(exist_ok=True)
    return root / name


def start(work: Callable[[int], None]) -> tuple[int, int]:
    """Start a process that calls `work` with the end of a pipe; return its PID, and the other end of the pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        work(reader)
        os._exit(0)
    return pid, writer


def own_pages(pipe: int) -> None:
    """Let pages merge, and check their content after a byte has arrived."""
    with Arena(PAGES, huge=False) as arena, KsmDevice() as device, device.create_area() as area:
        arena.fill(content.cycle(PAGES, CONTENTS))
        area.register(arena)
        os.read(pipe, 1)
        print("pages with a wrong content:", len(arena.verify()), flush=True)


def end_sharing(pipe: int) -> None:
    """Write 2 to run after a byte has arrived."""
    os.read(pipe, 1)
    KsmSysfs.find().run = 2


def main() -> None:
    """Let pages merge, limit the memory, and have another process end all sharing."""
    ksm = KsmSysfs.find()
    group = memory_cgroup("short")
    limit = group / "memory.max"
    owner, owner_pipe = start(own_pages)
    writer, writer_pipe = start(end_sharing)
    ksm.run = 1
    ksm.wait_until(lambda ksm: ksm.pages_shared == MERGED, 120)
    for process in (owner, writer):
        (group / "cgroup.procs").write_text(str(process))
    limit.write_text(str(int((group / "memory.current").read_text()) + ROOM))
    os.write(writer_pipe, b"x")
    _, status = os.waitpid(writer, 0)
    limit.write_text("max")
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    print("the process that wrote 2 to run:", "killed" if killed else f"status {status}")
    print("run:", ksm.run)
    still = ksm.pages_shared
    print(
        "still merged:", "some pages" if 0 < still < MERGED else f"{still} of {MERGED}", flush=True
    )
    os.write(owner_pipe, b"x")
    os.waitpid(owner, 0)


if __name__ == "__main__":
    main()
