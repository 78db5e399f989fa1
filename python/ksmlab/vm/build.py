"""Build a directory of module sources for a kernel, outside of the sources.

The sources are copied into a directory of the kernel's own first, so builds for two kernels never share an object, and
nothing is ever written among the sources. Only files that changed are copied, so make rebuilds only what it must.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError
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

BUILD_SECONDS = 900
# The process that holds the lock may build for BUILD_SECONDS, and then needs some time to end.
LOCK_SECONDS = BUILD_SECONDS + 60
DEFAULTS = {
    # Type information for BPF tools wants pahole, and some headers' packages cannot make it: nowhere, then.
    "CONFIG_DEBUG_INFO_BTF_MODULES": "",
    # An oops in a module is told by its lines, also where the kernel has no debug information.
    "KCFLAGS": "-g",
}
# What a kernel build leaves among its sources: never copied, never deleted.
MADE_BY_KBUILD = (".o", ".ko", ".mod", ".mod.c", ".cmd", ".symvers", ".order", ".tmp", ".d")


@dataclass(frozen=True)
class BuiltModules:
    """What a build gave.

    Attributes:
        directory: The build directory.
        modules: Each .ko file, by path.
        log: All that make and the compiler said.
    """

    directory: Path
    modules: tuple[Path, ...]
    log: str

    def module(self, name: str) -> Path:
        """Give the .ko file of a module by its name.

        Raises:
            BuildError: There is none of that name.
        """
        for path in self.modules:
            if path.stem == name:
                return path
        raise BuildError(
            f"The build in {self.directory} made no module called {name}.", log=self.log
        )


def _made_by_kbuild(name: str) -> bool:
    return name.startswith(".") or name.endswith(MADE_BY_KBUILD)


def _same_file(one: Path, other: Path) -> bool:
    """Say whether two files have the same content and the same permissions."""
    return (
        other.is_file()
        and one.stat().st_mode == other.stat().st_mode
        and one.read_bytes() == other.read_bytes()
    )


def mirror(source: Path, target: Path) -> list[Path]:
    """Make `target` hold the same files as `source`, leaving alone what kbuild put there.

    A file that is the same already keeps its time stamp, so that make does not rebuild it.

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
    """Say what has been built in a directory.

    Args:
        build_dir: What `build_modules` was given.
        log: What make said, if that is known.
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
        kernel_build_dir: The kernel's build directory or headers, what `make -C` takes.
        build_dir: Where to build, a directory for this kernel alone; created if need be.
        variables: More make variables, such as {"W": "1"}. Another set of them rebuilds everything.
        jobs: How many compilers at once; as many as there are CPUs if not given.
        fresh: Rebuild everything.

    Raises:
        BuildError: make failed; its `log` is what the compiler said.
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
            hint="Give the directory that `make -C` takes, for example /lib/modules/$(uname -r)/build.",
        )
    with file_lock(build_dir.with_name(build_dir.name + ".lock"), timeout=LOCK_SECONDS) as lock:
        stamp = build_dir / ".built-with"
        told = f"{kernel_build_dir.resolve()} {sorted(variables.items())}\n"
        same = stamp.is_file() and stamp.read_text() == told
        with storage_errors(build_dir):
            if build_dir.is_dir() and (fresh or not same):
                shutil.rmtree(build_dir)
            build_dir.mkdir(parents=True, exist_ok=True)
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
        # gcc writes where TMPDIR says, also if that is full; Python looks for one that is not.
        temporary = tempfile.gettempdir()
        # A make above this one, or a language of the user's own, must not change what is built or said.
        env = {
            key: value
            for key, value in os.environ.items()
            if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
        }
        # When this process is killed, compilers go on for a while: until then the directory is theirs.
        with started(
            [*argv, "modules"], env={**env, "LC_ALL": "C", "TMPDIR": temporary}, untouched="Nothing was built.",
            pass_fds=(lock,),
        ) as process:  # fmt: skip
            try:
                output, _ = process.communicate(timeout=BUILD_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise BuildError(
                    f"The build in {build_dir} did not end within {BUILD_SECONDS} s.",
                    untouched="The sources were only read.",
                    hint="This host is busy, or a rule of the modules' makefile hangs.",
                    log=(error.output or b"").decode(errors="replace"),
                ) from error
        log = output.decode(errors="replace")
        if process.returncode:
            check_log(log, (build_dir, Path(temporary)))
            raise BuildError(
                f"The modules in {source} do not build for {kernel_build_dir.name}.",
                untouched="The sources were only read.",
                hint=f"The first error above is the one to look at; the build is in {build_dir}.",
                log=log,
            )
        return find_modules(build_dir, log)
