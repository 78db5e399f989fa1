"""Build a kernel from a source package and Kconfig fragments, and add it to the kernel cache.

The sources are unpacked and built in a temporary directory next to the new cache entry. The entry has the layout of
the distribution's packages: boot/ (image, configuration, System.map, and vmlinux with its symbols), lib/modules/, and
in usr/src/ the few thousand files that a module build needs. (A complete source tree would be many times larger.) The
entry is renamed to its final path only when it is complete and has all options of the fragments.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError
from ksmlab.vm.fetch import ENTRY, index_modules
from ksmlab.vm.kbuild import kbuild_environment
from ksmlab.vm.kconfig import Fragment, lost, merged, read_fragment
from ksmlab.vm.long_run import run_logged
from ksmlab.vm.path_checks import check_characters
from ksmlab.vm.shelf import put, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ksmlab.vm.source import Source
    from ksmlab.vm.specs import Kernel, KernelSpec

    Report = Callable[[str], None]

# Increase this number when a change of this module changes the result of a build.
RECIPE = "1"
CONFIGURE_SECONDS = 600
# A build is ended after this multiple of the estimate, which is for an idle machine.
PATIENCE = 10
LEAST_SECONDS = 3600
# Durations of at least this many seconds are shown in minutes.
MINUTES_FROM = 90
# Make variables that keep the user and the host out of the kernel's version.
BUILDER = {
    "LOCALVERSION": "",
    "KBUILD_BUILD_USER": "ksmlab",
    "KBUILD_BUILD_HOST": "ksmlab",
    "KBUILD_BUILD_VERSION": "1",
}
UNTOUCHED = "The kernel cache is unchanged."
TOOLS = ("gcc", "make", "flex", "bison", "bc", "tar", "xz")
# The parts of the source tree that a module build needs, in addition to the files at its top.
KEPT_DIRECTORIES = ("include", "arch/x86/include", "scripts")
KEPT_FILES = ("tools/objtool/objtool",)
KEPT_AT_TOP = ("Makefile", "Kbuild", ".config", "Module.symvers")
KEPT_NAMES = ("Makefile", "Kbuild")


def compiler() -> str:
    """Return the first line of `gcc --version`, or "none" if there is no compiler."""
    try:
        done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return next(iter(done.stdout.splitlines()), "none")


def fragments_of(spec: KernelSpec) -> list[Fragment]:
    """Read the fragments of a kernel, and add one that sets the end of its release (CONFIG_LOCALVERSION)."""
    release = Fragment("kernels.toml", "the flavour", {"LOCALVERSION": f'"-{spec.flavour}"'})
    return [release, *map(read_fragment, spec.fragments)]


def recipe(spec: KernelSpec) -> str:
    """Return a hash of everything that a build depends on, except the version of the sources."""
    inputs = {
        "recipe": RECIPE,
        "source": spec.source,
        "compiler": compiler(),
        "options": merged(fragments_of(spec)),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]


def estimate(spec: KernelSpec, cpus: int) -> float:
    """Return the estimated seconds of a build on an idle machine with `cpus` CPUs."""
    return 60 * spec.cpu_minutes / max(cpus, 1)


def say_seconds(seconds: float) -> str:
    """Format a duration in minutes or seconds."""
    return f"{seconds / 60:.0f} min" if seconds >= MINUTES_FROM else f"{seconds:.0f} s"


def children_cpu() -> float:
    """Return the CPU seconds used by the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def build_kernel(kernel: Kernel, source: Source, made_by: str, report: Report) -> Kernel:
    """Build a kernel, and create its cache entry `kernel.root`.

    Args:
        kernel: The kernel to build; its release is not known yet.
        source: The sources to build it from.
        made_by: The result of `recipe` that is part of the name of the entry.
        report: Called with a line for each step, and about once a minute while the kernel compiles.

    Returns:
        The kernel, with its release.

    Raises:
        BuildError: A tool is missing, the build failed, or an option of a fragment is not set in the result.
        VmError: kbuild cannot handle the path of the cache.
    """
    check_characters("kernel cache", kernel.root)
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        raise BuildError(
            f"{kernel.name} cannot be built, because this host lacks {', '.join(lacking)}.",
            untouched=UNTOUCHED,
            hint="`make doctor` lists what this host lacks, and how to install it.",
        )
    spec = kernel.spec
    fragments = fragments_of(spec)
    shelf = kernel.root.parent
    shelf.mkdir(parents=True, exist_ok=True)
    log = shelf / "build.log"
    log.unlink(missing_ok=True)
    cpus = os.cpu_count() or 1
    expected = estimate(spec, cpus)

    def tick(seconds: float) -> None:
        report(f"{kernel.name}: compiling, {say_seconds(seconds)} of about {say_seconds(expected)}")

    with scratch(shelf) as place:
        tree, root, temporary = place / "tree", place / "root", place / "tmp"
        tree.mkdir()
        temporary.mkdir()
        env = kbuild_environment(temporary) | BUILDER

        def make(
            arguments: Sequence[str], timeout: float, on_tick: Callable[[float], None] | None = None
        ) -> None:
            argv = ["make", "-C", str(tree), *arguments]
            run_logged(argv, log, env=env, timeout=timeout, untouched=UNTOUCHED, on_tick=on_tick)

        report(f"{kernel.name}: unpacking {source.name} {source.version}")
        run_logged(
            ["tar", "-xJf", str(source.tar), "-C", str(tree), "--strip-components=1"],
            log,
            env=env,
            timeout=CONFIGURE_SECONDS,
            untouched=UNTOUCHED,
        )
        # -g1 adds line numbers, for decoded oopses and gdb. Full debug information would take 20% more time.
        flags = f"-g1 -fdebug-prefix-map={tree}=/usr/src/{source.name}"
        report(f"{kernel.name}: configuring")
        wishes = tree / ".wishes"
        wishes.write_text(merged(fragments))
        make([f"KCONFIG_ALLCONFIG={wishes}", "allnoconfig"], CONFIGURE_SECONDS)
        check_config(kernel.name, fragments, tree / ".config")
        start, busy = time.monotonic(), children_cpu()
        make(
            [f"-j{cpus}", f"KCFLAGS={flags}", "bzImage", "modules"],
            max(LEAST_SECONDS, PATIENCE * expected),
            tick,
        )
        took = time.monotonic() - start
        release = (tree / "include/config/kernel.release").read_text().strip()
        built = dataclasses.replace(kernel, release=release, root=root)
        report(f"{kernel.name}: installing")
        install(built, tree, make)
        check_config(kernel.name, fragments, built.config)
        index_modules(built)
        facts = {
            "release": release,
            "version": source.version,
            "recipe": made_by,
            "compiler": compiler(),
            "seconds": round(took),
            "cpu_minutes": round((children_cpu() - busy) / 60, 1),
            "cpus": cpus,
        }
        (root / ENTRY).write_text(json.dumps(facts, indent=1) + "\n")
        put(root, kernel.root)
    report(f"{kernel.name}: {release} is ready, built in {say_seconds(took)}")
    return dataclasses.replace(kernel, release=release)


def check_config(name: str, fragments: Sequence[Fragment], config: Path) -> None:
    """Check that a finished configuration has the options of the fragments.

    Raises:
        BuildError: An option has another value; the log lists all such options, with their fragments.
    """
    missing = lost(fragments, config.read_text())
    if missing:
        raise BuildError(
            f"{name} cannot be built: Kconfig did not accept the options of its fragments that are listed above.",
            untouched=UNTOUCHED,
            hint="This kernel version lacks these options, or they depend on options that are off. "
            "Change the fragments in vm/kconfig.",
            log="\n".join(map(str, missing)),
        )


def install(kernel: Kernel, tree: Path, make: Callable[[Sequence[str], float], None]) -> None:
    """Copy the files of a cache entry from a built tree, in the layout of the distribution's packages.

    Args:
        kernel: The built kernel; the files are copied to its root.
        tree: The built tree.
        make: Runs make in the tree, with arguments and a timeout in seconds.
    """
    kernel.image.parent.mkdir(parents=True)
    shutil.copy(tree / "arch/x86/boot/bzImage", kernel.image)
    shutil.copy(tree / ".config", kernel.config)
    shutil.copy(tree / "System.map", kernel.system_map)
    shutil.copy(tree / "vmlinux", kernel.vmlinux)
    make([f"INSTALL_MOD_PATH={kernel.root}", "DEPMOD=true", "modules_install"], CONFIGURE_SECONDS)
    headers = kernel.build_dir
    headers.mkdir(parents=True)
    for name in KEPT_AT_TOP:
        shutil.copy2(tree / name, headers / name)
    for name in KEPT_DIRECTORIES:
        shutil.copytree(tree / name, headers / name, symlinks=True)
    arch = [path for path in (tree / "arch/x86").rglob("*") if path.name.startswith(KEPT_NAMES)]
    for path in [*arch, *(tree / name for name in KEPT_FILES)]:
        copy = headers / path.relative_to(tree)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
