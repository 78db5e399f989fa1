"""Build a kernel out of a source package and Kconfig fragments, and make an entry of the kernel cache of it.

The sources are unpacked, built and thrown away beside the entry's place. What is kept has the layout of the
distribution's packages: boot/ (image, configuration, System.map, vmlinux with its symbols), lib/modules/, and under
usr/src/ the few thousand files that modules are built against: a whole tree would be many times as large. The entry is
renamed into its place when all of that is there and every wish of the fragments came true.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from ksmlab.vm.errors import BuildError
from ksmlab.vm.fetch import ENTRY, index_modules
from ksmlab.vm.kconfig import Fragment, lost, merged, read_fragment
from ksmlab.vm.long_run import run_logged
from ksmlab.vm.shelf import put, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ksmlab.vm.source import Source
    from ksmlab.vm.specs import Kernel, KernelSpec

    Report = Callable[[str], None]

# To be raised when something below changes what comes out.
RECIPE = "1"
CONFIGURE_SECONDS = 600
# The estimate is for an idle machine; a build that takes this many times as long hangs.
PATIENCE = 10
LEAST_SECONDS = 3600
# Durations from here on are said in minutes.
MINUTES_FROM = 90
UNTOUCHED = "No kernel was added to the cache; those that were there are as they were."
TOOLS = ("gcc", "make", "flex", "bison", "bc", "tar", "xz")
# What a module's build reads, beside the files at the top of the tree.
KEPT_DIRECTORIES = ("include", "arch/x86/include", "scripts")
KEPT_FILES = ("tools/objtool/objtool",)
KEPT_AT_TOP = ("Makefile", "Kbuild", ".config", "Module.symvers")
KEPT_NAMES = ("Makefile", "Kbuild")


def compiler() -> str:
    """Give the first line of what the compiler says of itself; "none" if there is none."""
    try:
        done = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return next(iter(done.stdout.splitlines()), "none")


def fragments_of(spec: KernelSpec) -> list[Fragment]:
    """Read all that the table wants of a configuration: its fragments, and the name that its release ends with."""
    release = Fragment("kernels.toml", "the flavour", {"LOCALVERSION": f'"-{spec.flavour}"'})
    return [release, *map(read_fragment, spec.fragments)]


def recipe(spec: KernelSpec) -> str:
    """Hash what a build depends on, apart from the version of the sources."""
    inputs = {
        "recipe": RECIPE,
        "source": spec.source,
        "compiler": compiler(),
        "options": merged(fragments_of(spec)),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:12]


def estimate(spec: KernelSpec, cpus: int) -> float:
    """Give the seconds that a build takes on an idle machine of so many CPUs."""
    return 60 * spec.cpu_minutes / max(cpus, 1)


def say_seconds(seconds: float) -> str:
    """Write a duration for a person."""
    return f"{seconds / 60:.0f} min" if seconds >= MINUTES_FROM else f"{seconds:.0f} s"


def children_cpu() -> float:
    """Give the CPU seconds that the children of this process have used which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_environment() -> dict[str, str]:
    """Give the environment for make: without a make above this one, the user's language, and this host's name.

    TMPDIR is a directory that Python found to be writable: gcc would use one that is full.
    """
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE"}
    }
    return env | {
        "LC_ALL": "C",
        "TMPDIR": tempfile.gettempdir(),
        "LOCALVERSION": "",
        "KBUILD_BUILD_USER": "ksmlab",
        "KBUILD_BUILD_HOST": "ksmlab",
        "KBUILD_BUILD_VERSION": "1",
    }


def build_kernel(kernel: Kernel, source: Source, made_by: str, report: Report) -> Kernel:
    """Build a kernel and make the entry `kernel.root`.

    Args:
        kernel: What to build; its release is not known yet.
        source: What to build it from.
        made_by: What `recipe` gave when its place was chosen.
        report: Called with a line for each step, and now and then in between.

    Returns:
        The kernel, with its release.

    Raises:
        BuildError: It does not build, or an option that is wanted did not survive.
    """
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        raise BuildError(
            f"{kernel.name} cannot be built here: {', '.join(lacking)} is missing.",
            untouched=UNTOUCHED,
            hint="make doctor says what this host lacks, and how to install it.",
        )
    spec = kernel.spec
    fragments = fragments_of(spec)
    shelf = kernel.root.parent
    shelf.mkdir(parents=True, exist_ok=True)
    log = shelf / "build.log"
    log.unlink(missing_ok=True)
    cpus = os.cpu_count() or 1
    expected = estimate(spec, cpus)
    env = make_environment()

    def tick(seconds: float) -> None:
        report(f"{kernel.name}: compiling, {say_seconds(seconds)} of about {say_seconds(expected)}")

    with scratch(shelf) as place:
        tree, root = place / "tree", place / "root"
        tree.mkdir()

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
        # Line numbers for oopses and for gdb: types as well would cost a fifth of the time more.
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
    """Compare a finished configuration with the wishes.

    Raises:
        BuildError: A wish did not survive; each is named, with its fragment.
    """
    missing = lost(fragments, config.read_text())
    if missing:
        raise BuildError(
            f"{name}: {len(missing)} of the wanted options did not survive Kconfig.",
            untouched=UNTOUCHED,
            hint="Each lacks something that it depends on, in this version of the kernel: see vm/kconfig.",
            log="\n".join(map(str, missing)),
        )


def install(kernel: Kernel, tree: Path, make: Callable[[Sequence[str], float], None]) -> None:
    """Copy out of a built tree what an entry keeps, in the layout of the distribution's packages.

    Args:
        kernel: What was built; its root is where the copies go.
        tree: The built tree.
        make: Runs make in it.
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
