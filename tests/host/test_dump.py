"""A dump of a VM whose kernel has panicked shows what the driver knew."""

from __future__ import annotations

import code
import io
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import pytest
from harness import CHECKOUT

from ksmlab import debugger, lab
from ksmlab.lessons.session import Exchange, parse
from ksmlab.progress import Progress
from ksmlab.vm.config import MachineConfig
from ksmlab.vm.dump import dump
from ksmlab.vm.errors import KernelPanic
from ksmlab.vm.keep import Kept
from ksmlab.vm.machine import Machine
from ksmlab.vm.ports import Ports

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.vm.accel import Accel
    from ksmlab.vm.kernels import Kernel

#: The lesson that reads the dump of a client with the same pages, and the name of its dump.
LESSON = CHECKOUT / "docs/lessons/14-debugging.md"
LESSON_DUMP = "build/memory"
PAGES = 8
#: A client that has two pages of its own among equal ones when the kernel panics.
CLIENT = f"""
import pathlib
from ksmlab import content, pagemap
from ksmlab.device import KsmDevice
from ksmlab.memory import Arena
from ksmlab.sysfs import KsmSysfs
ksm = KsmSysfs.find()
arena = Arena({PAGES}, huge=False)
arena.fill(content.equal({PAGES}))
arena.write(2, b"own")
arena.write(5, b"mine")
area = KsmDevice().create_area()
area.register(arena)
ksm.pages_to_scan = 321
ksm.run = 1
ksm.wait_until(lambda ksm: ksm.pages_shared == {PAGES - 3}, 60)
ksm.wait_full_scans(3)
ksm.run = 0
print("pfn", pagemap.entry(arena.address).pfn, "address", arena.address, flush=True)
pathlib.Path("/proc/sysrq-trigger").write_text("c")
"""
#: The wrong file for a running driver.
OTHER_BUILD = "import sys; from ksmlab import debugger; debugger.live(sys.argv[1])"
SECTIONS = "cd /sys/module/ksm/sections && grep -H . .[a-z]*"


def session_of_the_lesson() -> list[Exchange]:
    """Return the lines of Python that read the dump, with their output on the page."""
    section = LESSON.read_text().partition("## A dump of a crashed kernel\n")[2]
    block = section.partition("```text\n")[2].partition("```\n")[0]
    python = block.partition("$ .venv/bin/python\n")[2].partition("$ ")[0]
    return [each for each in parse(python) if each.typed != "exit()"]


def outputs(session: list[Exchange], path: Path) -> list[Exchange]:
    """Type the lines of a session into Python, with another dump, and return them with their output."""
    console = code.InteractiveConsole()
    found = []
    for each in session:
        with redirect_stdout(io.StringIO()) as output:
            console.push(each.typed.replace(LESSON_DUMP, str(path)))
        found.append(Exchange(each.prompt, each.typed, output.getvalue()))
    return found


def test_dump_of_a_panicked_kernel_shows_regions_items_and_nodes(
    kernel: Kernel, how: Accel, tmp_path: Path
) -> None:
    checkout = lab.Lab(Progress())
    built = checkout.build(kernel)
    ports = Ports(())
    said: list[str] = []
    config = MachineConfig(
        cwd=CHECKOUT, qemu_options=ports.qemu_options, memory="1G", remember=True, hold=True
    )
    path = tmp_path / "memory"
    try:
        with Machine(kernel, config, accel=how) as vm:
            lab.load(vm, built)
            lines = vm.run(["bash", "-c", SECTIONS]).output.split()
            sections = dict(line.split(":") for line in lines)
            other = vm.run(
                [sys.executable, "-c", OTHER_BUILD, str(built.module("ksm_lab"))],
                env=lab.guest_environment(),
            )
            assert "ksm_lab.ko has no debug information, or is not what was loaded" in other.output
            with pytest.raises(KernelPanic):
                vm.run(
                    [sys.executable, "-c", CLIENT],
                    env=lab.guest_environment(),
                    on_output=said.append,
                )
            kept = Kept(
                name="x", kernel=kernel.name, pid=vm.pid, started=0, directory=str(ports.directory),
                why="a panic", objects={"ksm": str(built.module("ksm"))}, sections={"ksm": sections},
            )  # fmt: skip
            dump(kept, path)
        driver = debugger.dumped(path)
        words = "".join(said).split()
        assert driver["ksm_settings"].pages_to_scan.value_() == 321
        assert driver["ksm_counters"].shared.value_() == PAGES - 3
        (region,) = debugger.regions(driver)
        assert region.start.value_() == int(words[words.index("address") + 1])
        items = list(debugger.items(region))
        merged = [item.state == driver["KSM_ITEM_MERGED"] for item in items]
        assert merged == [number not in (2, 5) for number in range(PAGES)]
        node = items[0].node
        assert node.pfn.value_() == int(words[words.index("pfn") + 1])
        assert node.nr_items.value_() == PAGES - 2
        session = session_of_the_lesson()
        assert any(LESSON_DUMP in each.typed for each in session)
        assert outputs(session, path) == session
    finally:
        ports.close()
        path.unlink(missing_ok=True)
