"""Read pages of real programs and files: the anonymous memory of two Python processes, and files of /usr.

The pages are read once in each boot, so that all engines get the same pages. The processes run without address space
randomisation, so that their pages differ little from boot to boot.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from ksmlab import pagemap
from ksmlab.libc import PAGE_SIZE
from ksmlab.pagemap import Entry

_IMPORTS = "import argparse, asyncio, decimal, email, http.client, json, logging, unittest, xml.dom"
_PROGRAM = f"{_IMPORTS}; print('ready', flush=True); input()"
_ROOTS = (Path("/usr/bin"), Path("/usr/lib"))
#: The size of the largest file to read, in bytes. A larger file would make up most of the pages.
_LARGEST = 8 << 20


def _anonymous(pid: int) -> list[range]:
    """Return the address ranges of a process's private, writable mappings without a file."""
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, mode, _offset, _device, inode, *name = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in span.split("-"))
        if mode == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            found.append(range(start, end))
    return found


def _pages_of(pid: int, npages: int) -> bytes:
    """Read at most `npages` of the anonymous pages of a process that are present."""
    pages: list[bytes] = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for span in _anonymous(pid):
            there = pagemap.read(pid, span.start, len(span) // PAGE_SIZE)
            for number, raw in enumerate(there):
                if Entry(raw).present and len(pages) < npages:
                    pages.append(
                        os.pread(memory.fileno(), PAGE_SIZE, span.start + number * PAGE_SIZE)
                    )
    return b"".join(pages)


@functools.cache
def two_pythons(npages: int) -> bytes:
    """Return anonymous pages of two Python processes that have imported the same modules, half from each.

    Args:
        npages: The most pages to return.
    """
    data = b""
    for _ in range(2):
        with subprocess.Popen(
            ["setarch", "--addr-no-randomize", sys.executable, "-I", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            data += _pages_of(process.pid, npages // 2)
            process.communicate(b"\n")
    return data


@functools.cache
def files_twice(npages: int) -> bytes:
    """Return two copies of the contents of files of /usr, each file padded to full pages.

    Args:
        npages: The number of pages of both copies together.
    """
    wanted = npages // 2 * PAGE_SIZE
    data = bytearray()
    for root in _ROOTS:
        for path in sorted(root.iterdir()):
            if len(data) >= wanted:
                break
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= _LARGEST:
                data += path.read_bytes()
                data += bytes(-len(data) % PAGE_SIZE)
    half = bytes(data[:wanted])
    return half + half
