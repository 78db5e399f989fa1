"""Check the driver's sources with gcc (W=1), sparse, the check of layers, and the kernel's checkpatch."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from ksmlab.layers import check_layers
from ksmlab.vm.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.lab import Lab

# With C=2, sparse checks all files, rather than only those that are compiled.
LINT_VARIABLES = {"W": "1", "C": "2"}
COMPLAINT = re.compile(r"\b(?:warning|error): ")
SPARSE_RAN = re.compile(r"^\s+CHECK\s", re.MULTILINE)
SOURCE_PACKAGE = "linux-source"
CHECKPATCH_SECONDS = 300
# checkpatch reads the two other files from its own directory.
CHECKPATCH_FILES = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")


def complaints(log: str) -> list[str]:
    """Return the warnings and errors in the output of a build."""
    return [line for line in log.splitlines() if COMPLAINT.search(line)]


def check_build(lab: Lab, name: str) -> None:
    """Build the driver for one kernel with W=1 and sparse, and check its layers.

    Args:
        lab: The checkout.
        name: The name of the kernel.

    Raises:
        BuildError: There is a warning, sparse did not run, or a file uses a symbol of a higher layer.
    """
    kernel = lab.kernel(name)
    built = lab.build(kernel, LINT_VARIABLES, suffix="-lint", fresh=True)
    if found := complaints(built.log):
        raise BuildError(
            f"Warnings of gcc (W=1) or sparse in the build for {name}: {len(found)}.",
            untouched="The sources were only read.",
            hint="The output of the build is above. Correct the code.",
            log=built.log,
        )
    if not SPARSE_RAN.search(built.log):
        raise BuildError(
            f"sparse did not run in the build for {name}.",
            hint="The output of the build is above. `make doctor` shows whether sparse is installed.",
            log=built.log,
        )
    check_layers(lab.checkout / "kernel/ksm.h", built.directory)


def fetch_checkpatch(lab: Lab) -> Path:
    """Fetch the kernel's checkpatch.pl from the source package of the host's release, and return its path.

    Raises:
        FetchError: The archive does not have the source package, or it cannot be fetched.
    """
    with lab.progress.step("finding checkpatch"):
        place = lab.store.tool("checkpatch", SOURCE_PACKAGE, CHECKPATCH_FILES, lab.progress.note)
    return place / CHECKPATCH_FILES[0]


def check_style(lab: Lab) -> None:
    """Run checkpatch on all C files of the driver. The file .checkpatch.conf has the exceptions.

    Raises:
        BuildError: checkpatch reports something, or did not end in time.
    """
    script = fetch_checkpatch(lab)
    sources = sorted((lab.checkout / "kernel").rglob("*.[ch]"))
    with lab.progress.step(f"checkpatch on {len(sources)} files"):
        argv = ["perl", str(script), "--no-tree", "--terse", "--no-summary", "-f"]
        try:
            done = subprocess.run(
                [*argv, *map(str, sources)],
                cwd=lab.checkout,
                capture_output=True,
                text=True,
                check=False,
                timeout=CHECKPATCH_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"checkpatch did not end within {CHECKPATCH_SECONDS} s.",
                untouched="The sources were only read.",
                hint="The host is overloaded, or checkpatch hangs on a file. Try again, or check single files.",
            ) from error
    if done.returncode or done.stdout.strip():
        raise BuildError(
            "checkpatch reports problems in the driver's sources.",
            untouched="The sources were only read.",
            hint="Correct them, or add an exception with its reason to .checkpatch.conf.",
            log=(done.stdout + done.stderr).replace(f"{lab.checkout}/", ""),
        )


def lint_kernel(lab: Lab) -> None:
    """Check the style of the sources, and a build for each tested kernel that the host's archive has.

    Raises:
        BuildError: A check failed.
        FetchError: checkpatch or a kernel cannot be fetched.
    """
    check_style(lab)
    for name in lab.tested_names():
        check_build(lab, name)
