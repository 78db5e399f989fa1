"""Make an entry of the kernel cache out of packages of the archive."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from ksmlab.vm.apt import UNTOUCHED, Package, PrivateApt
from ksmlab.vm.errors import FetchError
from ksmlab.vm.shelf import put, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ksmlab.vm.specs import Kernel, KernelSpec

    Report = Callable[[str], None]

ENTRY = "kernel.json"
IMAGE = "linux-image-"
TOOL_SECONDS = 300
# Its arguments: a package, a packed tree in it, where to, and which files of the tree.
UNPACK_INNER = """
set -o pipefail
dpkg --fsys-tarfile "$1" | tar -xO "$2" | tar -xJ -C "$3" --strip-components=2 "${@:4}"
"""


def resolve(apt: PrivateApt, spec: KernelSpec) -> Package:
    """Find the image package that a table of kernels.toml stands for, today.

    Raises:
        FetchError: The archive has none of that series.
    """
    seen = []
    for name in spec.packages:
        package = apt.show(name, spec.pin)
        if package is None:
            continue
        seen.append(f"{name} {package.version}")
        for image in (package.name, *package.depends):
            if not image.startswith(IMAGE) or not spec.matches(image.removeprefix(IMAGE)):
                continue
            real = package if image == package.name else apt.show(image, package.version)
            if real is not None and not any(each.startswith(IMAGE) for each in real.depends):
                return real
    there = f"there is: {', '.join(seen)}" if seen else "nor any of its other packages"
    raise FetchError(
        f"The archive has no {spec.series} kernel ({there}).",
        untouched=UNTOUCHED,
        hint=f"{spec.name} comes with another release of Debian, or its pin is gone from the archive: "
        "see vm/kernels.toml.",
    )


def make_kernel(apt: PrivateApt, kernel: Kernel, image: Package, report: Report) -> None:
    """Fetch the image and what is needed to build modules for it, and make the entry `kernel.root`.

    Raises:
        FetchError: Something of it cannot be had.
    """
    headers = apt.show(f"linux-headers-{kernel.release}", image.version)
    if headers is None:
        raise FetchError(f"The archive has no headers for {kernel.release}.", untouched=UNTOUCHED)
    others = [
        name for name in headers.depends if re.match(r"linux-(headers-.*-common|kbuild-)", name)
    ]
    packages = [image, headers, *filter(None, map(apt.show, others))]
    with scratch(kernel.root.parent) as place:
        root = place / "root"
        for package in packages:
            size = package.size / 1e6
            report(f"{kernel.name}: fetching {package.name} {package.version} ({size:.0f} MB)")
            apt.unpack(package, root)
        report(f"{kernel.name}: preparing")
        prepare(dataclasses.replace(kernel, root=root))
        facts = {"release": kernel.release, "version": kernel.version}
        (root / ENTRY).write_text(json.dumps(facts, indent=1) + "\n")
        put(root, kernel.root)


def relocate_headers(makefile: Path) -> None:
    """Make the top Makefile of unpacked headers find the common ones beside it, instead of under /usr/src.

    Raises:
        FetchError: It does not have the one line that is known.
    """
    text, count = re.subn(
        r"^include /usr/src/(\S+)/Makefile$",
        r"include $(dir $(lastword $(MAKEFILE_LIST)))../\1/Makefile",
        makefile.read_text(),
        flags=re.MULTILINE,
    )
    if count != 1:
        raise FetchError(
            f"The headers in {makefile.parent.name} have an unknown form, and cannot be relocated.",
            untouched=UNTOUCHED,
            hint="The distribution changed its packages: see python/ksmlab/vm/fetch.py.",
        )
    makefile.write_text(text)


def prepare(kernel: Kernel) -> None:
    """Make unpacked packages usable where they are: relocate the headers, index the modules.

    Raises:
        FetchError: They do not make a whole kernel.
    """
    relocate_headers(kernel.build_dir / "Makefile")
    index_modules(kernel)


def index_modules(kernel: Kernel) -> None:
    """Make a kernel's modules usable where they are: their link to the headers, and modprobe's index.

    Raises:
        FetchError: This is not a whole kernel, or depmod is not here.
    """
    # The links that came with the modules point out of the entry.
    for link in ("build", "source"):
        (kernel.modules_dir / link).unlink(missing_ok=True)
    (kernel.modules_dir / "build").symlink_to(os.path.relpath(kernel.build_dir, kernel.modules_dir))
    depmod = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if depmod is None:
        raise FetchError("depmod is not here.", untouched=UNTOUCHED, hint="apt-get install kmod")
    done = subprocess.run(
        [depmod, "-b", str(kernel.root), kernel.release],
        capture_output=True,
        text=True,
        check=False,
        timeout=TOOL_SECONDS,
    )
    if done.returncode or not kernel.image.is_file():
        raise FetchError(
            f"{kernel.release} is not a whole kernel.",
            untouched=UNTOUCHED,
            log=done.stderr,
        )


def fetch_scripts(
    apt: PrivateApt, meta: str, members: Sequence[str], place: Path, report: Report
) -> None:
    """Fetch files of the kernel sources' scripts/ directory into `place`.

    Args:
        apt: Where from.
        meta: The package that depends on the newest source package.
        members: The files' names.
        place: The directory to make; it appears when it is whole.
        report: Called with a line for each step.

    Raises:
        FetchError: They cannot be had.
    """
    apt.update()
    package = apt.show(meta)
    names = [name for name in package.depends if name.startswith(meta)] if package else []
    source = apt.show(names[0]) if names else None
    if source is None:
        raise FetchError(f"The archive has no {meta}.", untouched=UNTOUCHED)
    report(f"fetching {source.name} {source.version} ({source.size / 1e6:.0f} MB)")
    with scratch(place.parent) as made:
        deb = apt.download(source, made)
        root = made / "root"
        root.mkdir()
        report(f"unpacking {', '.join(members)}")
        inner = f"./usr/src/{source.name}.tar.xz"
        wanted = [f"{source.name}/scripts/{member}" for member in members]
        done = subprocess.run(
            ["bash", "-c", UNPACK_INNER, "unpack", str(deb), inner, str(root), *wanted],
            capture_output=True,
            text=True,
            check=False,
            timeout=TOOL_SECONDS,
        )
        if done.returncode:
            raise FetchError(
                f"{source.name} could not be unpacked.", untouched=UNTOUCHED, log=done.stderr
            )
        put(root, place)
