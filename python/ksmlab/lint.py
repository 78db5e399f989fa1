"""Check the driver's sources: gcc with W=1, sparse, the layers, and the kernel's own checkpatch."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from ksmlab.layers import check_layers
from ksmlab.vm.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from ksmlab.lab import Lab

# C=2: sparse looks at every file, not only at those that are compiled.
LINT_VARIABLES = {"W": "1", "C": "2"}
COMPLAINT = re.compile(r"\b(?:warning|error): ")
SPARSE_RAN = re.compile(r"^\s+CHECK\s", re.MULTILINE)
SOURCE_PACKAGE = "linux-source"
CHECKPATCH_SECONDS = 300
# checkpatch wants these two files beside it.
CHECKPATCH_FILES = ("checkpatch.pl", "spelling.txt", "const_structs.checkpatch")


def complaints(log: str) -> list[str]:
    """Give the lines of a build's output that complain about something."""
    return [line for line in log.splitlines() if COMPLAINT.search(line)]


def check_build(lab: Lab, name: str) -> None:
    """Build for one kernel with W=1 and sparse, and check the layers.

    Raises:
        BuildError: There is a warning, sparse did not run, or a file calls a file of a higher layer.
    """
    kernel = lab.kernel(name)
    built = lab.build(kernel, LINT_VARIABLES, suffix="-lint", fresh=True)
    if found := complaints(built.log):
        raise BuildError(
            f"{len(found)} complaints in the build for {name} (W=1, sparse).",
            untouched="The sources were only read.",
            log=built.log,
        )
    if not SPARSE_RAN.search(built.log):
        raise BuildError(f"sparse did not run in the build for {name}.", log=built.log)
    check_layers(lab.checkout / "kernel/ksm.h", built.directory)


def fetch_checkpatch(lab: Lab) -> Path:
    """Return the path of the kernel's checkpatch.pl, fetched with the sources of the host's own release.

    Raises:
        FetchError: The archive does not have the sources, or they cannot be fetched.
    """
    with lab.progress.step("finding checkpatch"):
        place = lab.store.tool("checkpatch", SOURCE_PACKAGE, CHECKPATCH_FILES, lab.progress.note)
    return place / CHECKPATCH_FILES[0]


def check_style(lab: Lab) -> None:
    """Run checkpatch over every C file of the driver; .checkpatch.conf says what it lets pass, and why.

    Raises:
        BuildError: It complains.
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
                hint="This host is busy, or a file sends it round in circles: try again, or file by file.",
            ) from error
    if done.returncode or done.stdout.strip():
        raise BuildError(
            "checkpatch complains.",
            untouched="The sources were only read.",
            hint="Mend it, or let it pass, with the reason, in .checkpatch.conf.",
            log=(done.stdout + done.stderr).replace(f"{lab.checkout}/", ""),
        )


def lint_kernel(lab: Lab) -> None:
    """Check the style once, and the build for each tested kernel that the host's archive has.

    Raises:
        BuildError: Something is complained about.
        FetchError: checkpatch or a kernel cannot be fetched.
    """
    check_style(lab)
    for name in lab.tested_names():
        check_build(lab, name)
