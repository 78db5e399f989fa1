"""Provide the VMs of lessons. Lessons that need the same VM share it, and the driver is reloaded for each lesson."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ksmlab import lab as lab_module
from ksmlab.closing import Closing
from ksmlab.lessons.patch import patch
from ksmlab.lessons.source import LessonError
from ksmlab.lessons.terminal import Terminal
from ksmlab.vm import accel
from ksmlab.vm.build import build_modules, mirror
from ksmlab.vm.config import Deadlines, MachineConfig
from ksmlab.vm.errors import VmError
from ksmlab.vm.machine import Machine
from ksmlab.vm.splat import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from ksmlab.lessons.source import Lesson
    from ksmlab.vm.build import BuiltModules
    from ksmlab.vm.kernels import Kernel

# Remove the traces of a lesson after the driver has been unloaded, and stop in-kernel KSM.
TIDY = """
rm -rf /tmp/lesson
echo 0 > /sys/kernel/tracing/events/enable
echo > /sys/kernel/tracing/trace
if test -e /sys/kernel/mm/ksm/run; then echo 0 > /sys/kernel/mm/ksm/run; fi
"""
# The session has no limit, since a reader may take any time. The boot may be slow on a busy host.
DEADLINES = Deadlines(boot=240, session=float("inf"))


class Room(Closing):
    """Provides VMs to play lessons in, one after the other. Use it as a context manager.

    Args:
        lab: The checkout.
    """

    def __init__(self, lab: lab_module.Lab) -> None:
        """Do not boot a VM yet."""
        self._lab = lab
        self._machine: Machine | None = None
        self._wants: tuple[object, ...] = ()
        self._built: BuiltModules | None = None

    def close(self) -> None:
        """End the VM, if there is one."""
        machine, self._machine = self._machine, None
        if machine is not None:
            machine.close()

    @contextlib.contextmanager
    def lesson(
        self,
        lesson: Lesson,
        kernel: str | None = None,
        on_output: Callable[[str], None] = lambda _: None,
    ) -> Iterator[tuple[Terminal, Machine]]:
        """Provide a terminal for a lesson, and the VM in which it runs, during the block.

        Args:
            lesson: The lesson.
            kernel: The name of the kernel to use instead of the lesson's own.
            on_output: Called with everything that the terminal shows.

        Raises:
            LessonError: The kernel reported an error of a kind that the lesson does not expect.
        """
        name = kernel or lesson.kernel
        wants = (name, lesson.boot)
        if self._machine is None or not self._machine.alive or self._wants != wants:
            self.close()
            self._machine = self._boot(name, lesson)
            self._wants = wants
        else:
            self._reload(self._machine)
        machine = self._machine
        try:
            modules = self._modules(lesson, machine.kernel)
            before = kernel_log(machine)
            with Terminal(machine, lesson, modules, on_output) as terminal:
                yield terminal, machine
            # The caller may have ended the VM.
            if machine.alive:
                check_log(lesson, before, kernel_log(machine))
        except BaseException:
            # The state of the VM is unknown, so the next lesson boots another one.
            self.close()
            raise

    def _boot(self, name: str, lesson: Lesson) -> Machine:
        lab = self._lab
        kernel = lab.kernel(name)
        self._built = lab.build(kernel)
        with lab.progress.step(f"{name}: booting"):
            machine = Machine(
                kernel,
                MachineConfig(
                    cwd=lab.checkout,
                    boot_args=lesson.boot,
                    remember=True,
                    deadlines=DEADLINES,
                ),
                accel=accel.probe(),
            )
            machine.__enter__()
        try:
            lab_module.load(machine, self._built)
        except BaseException:
            machine.close()
            raise
        return machine

    def _modules(self, lesson: Lesson, kernel: Kernel) -> dict[str, Path]:
        """Return the modules that a lesson may load, by their names in the lesson."""
        assert self._built is not None
        modules = {path.name: path for path in self._built.modules}
        for name in lesson.modules:
            with self._lab.progress.step(f"{kernel.name}: building the module {name}"):
                built = build_lesson_module(self._lab.checkout, kernel, lesson, name)
            modules[f"{name}/{name}.ko"] = built.module(name)
        if lesson.patched:
            edits = lesson.programs / f"{lesson.patched}.toml"
            with self._lab.progress.step(f"{kernel.name}: building the driver {lesson.patched}"):
                built = build_patched(self._lab.checkout, kernel, edits)
            modules[f"{lesson.patched}/ksm.ko"] = built.module("ksm")
        return modules

    def _reload(self, machine: Machine) -> None:
        """Reload the driver, so that it is in the same state as after a boot."""
        assert self._built is not None
        with self._lab.progress.step("reloading the driver"):
            names = [module.name for module in reversed(lab_module.MODULES)]
            # A lesson may have unloaded some of the modules.
            loaded = [
                name
                for name in names
                if not machine.run(["test", "-d", f"/sys/module/{name}"]).status
            ]
            if loaded and (done := machine.run(["rmmod", *loaded])).status:
                raise VmError(
                    "The driver could not be unloaded after a lesson.",
                    hint="The message of rmmod is above. A program of the lesson may still use /dev/ksm.",
                    log=done.output,
                )
            machine.run(["sh", "-c", TIDY])
            lab_module.load(machine, self._built)


def kernel_log(machine: Machine) -> list[str]:
    """Return the lines of the kernel log of a VM, with their time stamps."""
    return machine.run(["dmesg"]).output.splitlines()


def check_log(lesson: Lesson, before: Sequence[str], after: Sequence[str]) -> None:
    """Check that the kernel has reported no error during a lesson, except the kinds that the lesson expects.

    Args:
        lesson: The lesson.
        before: The kernel log before the lesson, with time stamps.
        after: The kernel log after it. The lesson may have cleared the log.

    Raises:
        LessonError: There is another report; the text has all of its lines.
    """
    old = set(before)
    new = scan(line for line in after if line not in old)
    unexpected = [each for each in new if each.kind not in lesson.reports]
    if unexpected:
        raise LessonError(
            f"{lesson.path.name}: the kernel reported an error during the lesson ({unexpected[0].kind}):\n"
            + "\n".join(unexpected[0].lines)
            + "\nIf the lesson causes this report on purpose, add its kind to the option `reports` of the lesson block."
        )


def build_lesson_module(checkout: Path, kernel: Kernel, lesson: Lesson, name: str) -> BuiltModules:
    """Build a module of a lesson from its sources in programs/NN/NAME.

    An emulated CPU needs minutes to compile a module, so the host does it before the reader starts.

    Args:
        checkout: The build goes into its build directory.
        kernel: What to build for.
        lesson: The lesson.
        name: One of its modules.

    Raises:
        VmError: The sources are missing, or they do not compile.
    """
    sources = lesson.programs / name
    if not (sources / "Kbuild").is_file():
        raise VmError(
            f"{lesson.path.name}: the module {name} cannot be built, because {sources} has no Kbuild.",
            untouched="Nothing was built.",
            hint="Add it, or correct the option `modules` of the lesson block.",
        )
    directory = checkout / "build" / f"{kernel.name}-lesson-{lesson.number:02}-{name}"
    return build_modules(sources, kernel.build_dir, directory)


def build_patched(checkout: Path, kernel: Kernel, edits: Path) -> BuiltModules:
    """Build the driver from an edited copy of its sources.

    Args:
        checkout: The checkout with the sources.
        kernel: The kernel to build for.
        edits: The file with the edits; see patch().

    Raises:
        VmError: An edit does not match the sources any more, or the driver does not build.
    """
    directory = checkout / "build" / f"{kernel.name}-{edits.stem}"
    sources = directory / "sources"
    mirror(checkout / "kernel", sources)
    patch(sources, edits)
    return build_modules(sources, kernel.build_dir, directory / "built")
