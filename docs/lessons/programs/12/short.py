"""End all sharing in a memory cgroup that has no room for the copies, and print the result.

A child process writes 2 to run. The parent has the merged pages. Both are in the cgroup.
"""

import os
import signal
import subprocess
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


def start_writer(ksm: KsmSysfs) -> tuple[int, int]:
    """Start a process that ends all sharing when it reads a byte; return its PID, and the pipe to write to."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        ksm.run = 2
        os._exit(0)
    return pid, writer


def main() -> None:
    """Let pages merge, limit the memory, and have the child end all sharing."""
    ksm = KsmSysfs.find()
    group = memory_cgroup("short")
    pid, pipe = start_writer(ksm)
    with Arena(PAGES, huge=False) as arena, KsmDevice() as device, device.create_area() as area:
        arena.fill(content.cycle(PAGES, CONTENTS))
        area.register(arena)
        ksm.run = 1
        ksm.wait_until(lambda ksm: ksm.pages_shared == MERGED, 120)
        for process in (os.getpid(), pid):
            (group / "cgroup.procs").write_text(str(process))
        limit = group / "memory.max"
        limit.write_text(str(int((group / "memory.current").read_text()) + ROOM))
        os.write(pipe, b"x")
        _, status = os.waitpid(pid, 0)
        limit.write_text("max")
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print("the process that wrote 2 to run:", "killed" if killed else f"status {status}")
        print("run:", ksm.run)
        still = ksm.pages_shared
        print("still merged:", "some pages" if 0 < still < MERGED else f"{still} of {MERGED}")
        print("pages with a wrong content:", len(arena.verify()))


if __name__ == "__main__":
    main()
