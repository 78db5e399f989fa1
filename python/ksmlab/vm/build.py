"""Build modules for a kernel, in a copy of their source directory.

Each kernel has its own copy, so builds for two kernels never share an object file, and the sources are only read. Only
changed files are copied, so make rebuilds only what it must.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError
from ksmlab.vm.kbuild import kbuild_environment
from ksmlab.vm.lock import file_lock
from ksmlab.vm.long_run import started
from ksmlab.vm.path_checks import (
    MODULES_BYTES,
    check_characters,
    check_log,
    check_writable,
    storage_errors,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BUILD_SECONDS = 900
# The holder of the lock may build for BUILD_SECONDS, and then needs some time to end.
LOCK_SECONDS = BUILD_SECONDS + 60
DEFAULTS = {
    # Do not create type information for BPF. It needs pahole, and some packages of headers cannot create it.
    "CONFIG_DEBUG_INFO_BTF_MODULES": "",
    # Add line numbers to decode an oops in a module, even if the kernel has no debug information.
    "KCFLAGS": "-g",
}
# Files that kbuild writes. They are never copied or deleted.
MADE_BY_KBUILD = (".o", ".ko", ".mod", ".mod.c", ".cmd", ".symvers", ".order", ".tmp", ".d")


@dataclass(frozen=True)
class BuiltModules:
    """The result of a build.

    Attributes:
        directory: The build directory.
        modules: The .ko files, sorted by path.
        log: The output of make and the compiler.
    """

    directory: Path
    modules: tuple[Path, ...]
    log: str

    def module(self, name: str) -> Path:
        """Return the .ko file of a module.

        Raises:
            BuildError: The build has no module of this name.
        """
        for path in self.modules:
            if path.stem == name:
                return path
        raise BuildError(
            f"The build in {self.directory} did not create a module called {name}.", log=self.log
        )


def _made_by_kbuild(name: str) -> bool:
    return name.startswith(".") or name.endswith(MADE_BY_KBUILD)


def _same_file(one: Path, other: Path) -> bool:
    """Return whether two files have the same content and the same permissions."""
    return (
        other.is_file()
        and one.stat().st_mode == other.stat().st_mode
        and one.read_bytes() == other.read_bytes()
    )


def mirror(source: Path, target: Path) -> list[Path]:
    """Update `target` to contain the same files as `source`, except for the files that kbuild writes.

    An unchanged file keeps its time stamp, so that make does not rebuild it.

    Returns:
        The paths, relative to `target`, that were written or removed.
    """
    changed = []
    wanted = set()
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if any(_made_by_kbuild(part) for part in relative.parts) or not path.is_file():
            continue
        wanted.add(relative)
        copy = target / relative
        if not _same_file(path, copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            changed.append(relative)
    for copy in sorted(target.rglob("*")):
        relative = copy.relative_to(target)
        if (
            copy.is_file()
            and relative not in wanted
            and not any(_made_by_kbuild(part) for part in relative.parts)
        ):
            copy.unlink()
            changed.append(relative)
    return changed


def find_modules(build_dir: Path, log: str = "") -> BuiltModules:
    """Return the modules in a build directory.

    Args:
        build_dir: The build directory that was passed to `build_modules`.
        log: The output of the build, if known.
    """
    return BuiltModules(build_dir, tuple(sorted(build_dir.rglob("*.ko"))), log)


def build_modules(
    source: Path,
    kernel_build_dir: Path,
    build_dir: Path,
    *,
    variables: Mapping[str, str] | None = None,
    jobs: int | None = None,
    fresh: bool = False,
) -> BuiltModules:
    """Build the modules in `source` against a kernel.

    Args:
        source: A directory with a Kbuild or Makefile; it is only read.
        kernel_build_dir: The kernel's build directory or headers, for `make -C`.
        build_dir: The directory to build in, used for this kernel only; created if it does not exist.
        variables: More make variables, such as {"W": "1"}. If they differ from those of the last build, everything is
            rebuilt.
        jobs: The number of parallel compilers; by default the number of CPUs.
        fresh: Rebuild everything.

    Raises:
        BuildError: make failed or took too long; the error's `log` is its output.
        VmError: kbuild cannot handle one of the paths, or the build directory cannot be written to.
    """
    check_characters("build directory", build_dir)
    check_characters("kernel build directory", kernel_build_dir)
    check_writable("build directory", build_dir, MODULES_BYTES)
    variables = {**DEFAULTS, **(variables or {})}
    if not (kernel_build_dir / "Makefile").is_file():
        raise BuildError(
            f"{kernel_build_dir} is not a kernel's build directory: it has no Makefile.",
            untouched="Nothing was built.",
            hint="Use the directory that `make -C` takes, for example /lib/modules/$(uname -r)/build.",
        )
    with file_lock(build_dir.with_name(build_dir.name + ".lock"), timeout=LOCK_SECONDS) as lock:
        stamp = build_dir / ".built-with"
        told = f"{kernel_build_dir.resolve()} {sorted(variables.items())}\n"
        same = stamp.is_file() and stamp.read_text() == told
        with storage_errors(build_dir):
            if build_dir.is_dir() and (fresh or not same):
                shutil.rmtree(build_dir)
            # A compiler that was killed leaves its temporary files.
            temporary = build_dir / ".tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            stamp.write_text(told)
            mirror(source, build_dir)
        argv = [
            "make",
            "-C",
            str(kernel_build_dir),
            f"M={build_dir}",
            f"-j{jobs or os.cpu_count() or 1}",
        ]
        argv += [f"{key}={value}" for key, value in variables.items()]
        # If this process is killed, compilers run on for a while. They inherit the lock, so that no other process
        # builds in this directory until they have ended.
        with started(
            [*argv, "modules"], env=kbuild_environment(temporary), untouched="Nothing was built.", pass_fds=(lock,),
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=BUILD_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise BuildError(
                    f"The build in {build_dir} did not end within {BUILD_SECONDS} s.",
                    untouched="The sources were only read.",
                    hint="The host is overloaded, or a command of the modules' makefile hangs.",
                    log=(error.output or b"").decode(errors="replace"),
                ) from error
        log = output.decode(errors="replace")
        if process.returncode:
            check_log(log, (build_dir,))
            raise BuildError(
                f"The modules in {source} do not build for {kernel_build_dir.name}.",
                untouched="The sources were only read.",
                hint=f"Begin with the first error above. The build directory is {build_dir}.",
                log=log,
            )
        return find_modules(build_dir, log)
