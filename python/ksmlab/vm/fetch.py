"""Create entries of the kernel cache from packages of the archive."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from ksmlab.doctor import ELSEWHERE
from ksmlab.vm.errors import FetchError
from ksmlab.vm.failures import UNTOUCHED
from ksmlab.vm.shelf import put, scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ksmlab.vm.apt import Package, PrivateApt
    from ksmlab.vm.specs import Kernel, KernelSpec

    Report = Callable[[str], None]

ENTRY = "kernel.json"
IMAGE = "linux-image-"
TOOL_SECONDS = 300
# The arguments: a package, a compressed tar file in it, the target directory, and the files to unpack.
UNPACK_INNER = """
set -o pipefail
dpkg --fsys-tarfile "$1" | tar -xO "$2" | tar -xJ -C "$3" --strip-components=2 "${@:4}"
"""


def find_image(apt: PrivateApt, spec: KernelSpec) -> Package | None:
    """Return the image package of a kernel, or None if the archive has none of its series and flavour.

    Args:
        apt: The archive.
        spec: The description of the kernel. The first of its packages that leads to an image is used.
    """
    for name in spec.packages:
        package = apt.show(name, spec.pin)
        if package is None:
            continue
        for image in (package.name, *package.depends):
            if not image.startswith(IMAGE) or not spec.matches(image.removeprefix(IMAGE)):
                continue
            real = package if image == package.name else apt.show(image, package.version)
            if real is not None and not any(each.startswith(IMAGE) for each in real.depends):
                return real
    return None


def make_kernel(apt: PrivateApt, kernel: Kernel, image: Package, report: Report) -> None:
    """Fetch a kernel image and the packages to build modules for it, and create the cache entry `kernel.root`.

    Args:
        apt: The archive.
        kernel: The kernel, with its release and its root.
        image: The image package.
        report: Called with a line for each step.

    Raises:
        FetchError: The archive lacks one of the packages, or a package cannot be fetched.
    """
    headers = apt.show(f"linux-headers-{kernel.release}", image.version)
    if headers is None:
        raise FetchError(
            f"The archive has no headers for {kernel.release}, so no module can be built for it.",
            untouched=UNTOUCHED,
            hint="The archive may be in the middle of an update. Try again in an hour.",
        )
    # Since Linux 7, an image package is empty and depends on the packages of the binary and of the modules.
    others = dict.fromkeys(
        name
        for name in (*image.depends, *headers.depends)
        if re.match(r"linux-(base-\d|binary-|modules-|kbuild-|headers-.*-common)", name)
    )
    packages = [image, headers, *filter(None, map(apt.show, others))]
    with scratch(kernel.root.parent) as place:
        root = place / "root"
        merge_usr(root)
        for package in packages:
            size = package.size / 1e6
            report(f"{kernel.name}: fetching {package.name} {package.version} ({size:.0f} MB)")
            apt.unpack(package, root)
        report(f"{kernel.name}: preparing")
        prepare(dataclasses.replace(kernel, root=root))
        facts = {"release": kernel.release, "version": kernel.version}
        (root / ENTRY).write_text(json.dumps(facts, indent=1) + "\n")
        put(root, kernel.root)


def merge_usr(root: Path) -> None:
    """Create usr/lib/ in a new root, with lib/ as a symbolic link to it, as on a host with a merged /usr.

    Debian 12 packages a kernel's modules in lib/modules, Debian 13 in usr/lib/modules. With the link, both paths work
    for the packages of both releases.
    """
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")


def relocate_headers(makefile: Path) -> None:
    """Rewrite the absolute paths in the top Makefile of unpacked headers to be relative to that Makefile.

    The paths are below /usr/src: the include of the common headers and, since Linux 7, KBUILD_OUTPUT.

    Raises:
        FetchError: The Makefile does not include the common headers, or has another absolute path.
    """
    here = "$(dir $(lastword $(MAKEFILE_LIST)))"
    text, outputs = re.subn(
        r"^KBUILD_OUTPUT\s*:?=\s*/usr/src/(\S+)$",
        # Use := to expand the path immediately. Later, the last entry of MAKEFILE_LIST is another makefile.
        rf"KBUILD_OUTPUT := $(abspath {here}../\1)",
        makefile.read_text(),
        flags=re.MULTILINE,
    )
    text, includes = re.subn(
        r"^include /usr/src/(\S+)/Makefile$",
        rf"include {here}../\1/Makefile",
        text,
        flags=re.MULTILINE,
    )
    if includes != 1 or outputs > 1 or "/usr/src" in text:
        raise FetchError(
            f"{makefile.parent.name} cannot be used outside of /usr/src: its Makefile has unexpected paths.",
            untouched=UNTOUCHED,
            hint="The distribution has changed its packages: adapt python/ksmlab/vm/fetch.py.",
        )
    makefile.write_text(text)


def prepare(kernel: Kernel) -> None:
    """Make unpacked packages usable in their directory: link boot files, relocate headers, and index modules.

    Raises:
        FetchError: The packages do not contain a complete kernel.
    """
    link_boot_files(kernel)
    relocate_headers(kernel.build_dir / "Makefile")
    index_modules(kernel)


def link_boot_files(kernel: Kernel) -> None:
    """Link the image, the configuration and System.map into boot/ if the packages have them next to the modules.

    Up to Linux 6, the packages contain boot/vmlinuz-RELEASE, boot/config-RELEASE and so on. Since Linux 7, the files
    are called vmlinuz, config and so on, and are in the directory of the modules.
    """
    for link in (kernel.image, kernel.config, kernel.system_map):
        file = kernel.modules_dir / link.name.removesuffix(f"-{kernel.release}")
        if file.is_file() and not link.exists():
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(relative(file, link.parent))


def relative(path: Path, directory: Path) -> str:
    """Return the target of a symbolic link in `directory` to `path`. Both paths may contain symbolic links."""
    return os.path.relpath(path.resolve(), directory.resolve())


def index_modules(kernel: Kernel) -> None:
    """Link a kernel's modules to its headers, and create the index of the modules for modprobe.

    Raises:
        FetchError: The image or the modules are missing, or depmod is not installed or failed.
    """
    # The links in the package lead out of the cache entry.
    for link in ("build", "source"):
        (kernel.modules_dir / link).unlink(missing_ok=True)
    if not kernel.modules_dir.is_dir() or not kernel.image.is_file():
        raise FetchError(
            f"The packages of {kernel.release} do not have an image and modules at the expected paths.",
            untouched=UNTOUCHED,
            hint="The distribution has changed its packages: adapt python/ksmlab/vm/fetch.py.",
        )
    (kernel.modules_dir / "build").symlink_to(relative(kernel.build_dir, kernel.modules_dir))
    depmod = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if depmod is None:
        raise FetchError(
            "The kernel's modules cannot be indexed, because depmod is not installed.",
            untouched=UNTOUCHED,
            hint="Install it as root:  apt-get install kmod",
        )
    done = subprocess.run(
        [depmod, "-b", str(kernel.root), kernel.release],
        capture_output=True,
        text=True,
        check=False,
        timeout=TOOL_SECONDS,
    )
    if done.returncode:
        raise FetchError(
            f"depmod failed on the modules of {kernel.release} (status {done.returncode}).",
            untouched=UNTOUCHED,
            hint="The output of depmod is above. Remove its cause, then try again.",
            log=done.stderr,
        )


def fetch_scripts(
    apt: PrivateApt, meta: str, members: Sequence[str], place: Path, report: Report
) -> None:
    """Fetch files of the kernel sources' scripts/ directory into `place`.

    Args:
        apt: The archive.
        meta: The package that depends on the newest source package.
        members: The names of the files.
        place: The directory to create. It is created only when it is complete.
        report: Called with a line for each step.

    Raises:
        FetchError: The archive lacks the source package, or the files cannot be fetched.
    """
    apt.update(report)
    package = apt.show(meta)
    names = [name for name in package.depends if name.startswith(meta)] if package else []
    source = apt.show(names[0]) if names else None
    if source is None:
        raise apt.not_found(meta) or FetchError(
            f"The archive has no {meta}.", untouched=UNTOUCHED, hint=ELSEWHERE
        )
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
                f"{source.name} could not be unpacked (status {done.returncode}).",
                untouched=UNTOUCHED,
                hint="The message of tar is above. Check the free space (df -h), then try again.",
                log=done.stderr,
            )
        put(root, place)
