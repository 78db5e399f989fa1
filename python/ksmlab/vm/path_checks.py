"""Check the directories of a build or a VM before either starts: names, visibility, write access, free space.

kbuild passes paths to a shell without quoting them, and virtme-ng puts some on the kernel's command line. Quoting them
here would not help, so a path with a character that one of them cannot handle is rejected.

The Makefile runs this module before it creates the virtual environment, so the module needs only the standard library:

    PYTHONPATH=python python3 -m ksmlab.vm.path_checks
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import string
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ksmlab.vm.errors import VmError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The characters in the path of a directory that virtme-ng 1.42 can mount in a guest. kbuild of Linux 6.1 accepts them.
MOUNTABLE = frozenset(string.ascii_letters + string.digits + "/_+.-")
#: The characters that kbuild accepts. Versions of packages, which are part of the paths in the cache, may contain "~".
BUILDABLE = MOUNTABLE | {"~"}
#: x86 truncates the kernel's command line after 2047 bytes. It contains two or three paths below the checkout, one
#: below the cache, and the options of virtme-ng and of this package.
LONGEST_PATH = 200
#: The mount points at which a guest of virtme-ng 1.42 has its own file systems, according to its /proc/mounts.
HIDDEN = tuple(
    map(Path, ("/dev", "/proc", "/run", "/sys", "/var/cache", "/var/lib/private", "/var/log", "/var/tmp"))
)  # fmt: skip
UNTOUCHED = "Nothing was built, and no VM was started."
MEBIBYTE = 1 << 20
#: The space for both modules for one kernel, which take 18 MiB with debug information.
MODULES_BYTES = 40 * MEBIBYTE
#: The space that a checkout needs before it has a virtual environment, which takes 430 MiB.
VENV_BYTES = 500 * MEBIBYTE
CHECKOUT = Path(__file__).resolve().parents[3]
STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM))
FULL = (errno.ENOSPC, errno.EDQUOT)
#: A file system with less free space than this is considered full, when an error does not say which one is.
LITTLE_BYTES = 16 * MEBIBYTE
#: The name of the directory for temporary files in messages. It is TMPDIR, or another one if that cannot be used.
TEMPORARY = "directory for temporary files"


def check_characters(what: str, path: Path, allowed: frozenset[str] = BUILDABLE) -> None:
    """Reject a path with a character that kbuild or virtme-ng cannot handle.

    Args:
        what: The name of the directory in messages, such as "checkout" or "kernel cache".
        path: The directory; it need not exist.
        allowed: The characters that may be in the path.

    Raises:
        VmError: A character is not allowed.
    """
    text = str(path.absolute())
    odd = next((character for character in text if character not in allowed), None)
    if odd is not None:
        named = {" ": "a space", "\n": "a newline", "\t": "a tab"}.get(
            odd, f"the character {odd!r}"
        )
        raise VmError(
            f"The path of the {what} contains {named}: {text!r}. kbuild or virtme-ng cannot handle it.",
            untouched=UNTOUCHED,
            hint="Use a directory whose path contains only _ + . - and ASCII letters and digits."
            + _advice(what),
        )


def _advice(what: str) -> str:
    """Return a sentence that says how to use another directory, to be appended to a hint."""
    return {
        "checkout": " Clone the repository there, or move the checkout and remove its .venv and build/.",
        "kernel cache": " Choose another cache with:  export KSMLAB_CACHE=DIRECTORY",
        TEMPORARY: " Choose another one with:  export TMPDIR=DIRECTORY",
    }.get(what, "")


def check_visible(what: str, path: Path) -> None:
    """Reject a path below a mount point where the guest has its own file system, and so cannot see the host's files.

    Args:
        what: The name of the directory in messages.
        path: The directory; it need not exist.

    Raises:
        VmError: The guest mounts its own file system over the path.
    """
    for hidden in HIDDEN:
        if path.resolve().is_relative_to(hidden):
            raise VmError(
                f"A VM cannot see the {what}, {path}, because it has its own {hidden}.",
                untouched=UNTOUCHED,
                hint=f"Use a directory outside of {hidden}.{_advice(what)}",
            )


def check_directory(what: str, path: Path) -> None:
    """Reject a checkout, a project or a cache whose path a build or a VM cannot use.

    Raises:
        VmError: See `check_characters` and `check_visible`; or the path is too long.
    """
    check_characters(what, path, MOUNTABLE)
    length = len(str(path.absolute()))
    if length > LONGEST_PATH:
        raise VmError(
            f"The path of the {what} has {length} characters, but the kernel's command line has space for "
            f"{LONGEST_PATH}: {path}",
            untouched=UNTOUCHED,
            hint="Use a directory with a shorter path." + _advice(what),
        )
    check_visible(what, path)


def check_writable(what: str, directory: Path, needed: int = 0) -> None:
    """Check that a directory, which need not exist yet, can be written to and has enough free space.

    Args:
        what: The name of the directory in messages.
        directory: The directory.
        needed: The number of bytes that are about to be written.

    Raises:
        VmError: It cannot be written to, or its file system has too little space.
    """
    there = directory.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        # access() does not detect a full file system or an exceeded quota.
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise unusable(what, directory, error) from error
    free = shutil.disk_usage(there).free
    if free < needed:
        raise VmError(
            f"The file system of the {what}, {directory}, has too little space: {needed // MEBIBYTE} MiB are needed, "
            f"{free // MEBIBYTE} MiB are free on {mount_point(there)}.",
            untouched="Nothing was changed.",
            hint=_more_space(what),
        )


def unusable(what: str, directory: Path, error: OSError) -> VmError:
    """Return the error for a directory that cannot be written to, with the reason and a hint."""
    if error.errno in FULL:
        reason = f"the file system mounted at {mount_point(directory)} is full ({error.strerror})"
        hint = _more_space(what)
    elif error.errno == errno.EROFS:
        reason = f"the file system mounted at {mount_point(directory)} is read-only"
        hint = f"Remount it writable, or use another directory.{_advice(what)}"
    else:
        reason = (error.strerror or str(error)).lower()
        hint = f"Change its owner or its permissions, or use another directory.{_advice(what)}"
    return VmError(
        f"The {what}, {directory}, cannot be written to: {reason}.",
        untouched="Nothing was changed.",
        hint=hint,
    )


def _more_space(what: str) -> str:
    """Return a hint that says how to get more free space."""
    return f"Free some space (see df -h), or use a directory on another file system.{_advice(what)}"


def mount_point(path: Path) -> Path:
    """Return the mount point of the file system that contains a path, or its nearest existing parent."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    # is_mount() does not detect a bind mount of a directory on its own file system.
    text = Path("/proc/self/mounts").read_text(errors="surrogateescape")
    mounted = {
        re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), line.split()[1])
        for line in text.splitlines()
    }
    there = there.resolve()
    while str(there) not in mounted and there != there.parent:
        there = there.parent
    return there


def explain(error: OSError, directories: Sequence[Path] = ()) -> VmError | None:
    """Turn an error of a file system into a message that names the path.

    Args:
        error: The error that was raised.
        directories: The directories that were being written to, if known; the error itself often does not name a file.

    Returns:
        The message, or None if the error is not about a full or read-only file system or a missing permission.
    """
    number = error.errno
    path = error.filename2 or error.filename
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # shutil.copytree collects (source, target, text of the error).
        _, path, text = error.args[0][0]
        number = next((each for each in STORAGE_ERRORS if f"[Errno {each}]" in str(text)), None)
    if number not in STORAGE_ERRORS:
        return None
    reason = os.strerror(number).lower()
    where = [Path(path)] if isinstance(path, (str, bytes, os.PathLike)) else []  # type: ignore[arg-type]
    where = where or list(directories) or [CHECKOUT / "build", Path(tempfile.gettempdir())]
    if number in FULL:
        where = [each for each in where if _free(each) * MEBIBYTE < LITTLE_BYTES] or where
        places = " or ".join(
            f"{each} (on {mount_point(each)}, {_free(each)} MiB free)" for each in where
        )
        return VmError(
            f"A file system is full: writing failed in {places}: {reason}.",
            untouched="The files that were being written are incomplete; nothing else was changed.",
            hint="Free some space (df -h shows the free space), then try again.",
        )
    return VmError(
        f"{' or '.join(map(str, where))} cannot be used: {reason}.",
        untouched="Nothing else was changed.",
        hint="Change its owner or its permissions, remount it writable, or use another directory.",
    )


def _free(path: Path) -> int:
    """Return the free space of a path's file system, in MiB."""
    return shutil.disk_usage(mount_point(path)).free // MEBIBYTE


@contextlib.contextmanager
def storage_errors(*directories: Path) -> Iterator[None]:
    """Turn errors of the block about a full or read-only file system or a missing permission into VmError.

    Args:
        directories: The directories that the block writes to; the message names them if the error names no file.

    Raises:
        VmError: See `explain`.
    """
    try:
        yield
    except OSError as error:
        explained = explain(error, directories)
        if explained is None:
            raise
        raise explained from error


@contextlib.contextmanager
def tool_errors(*directories: Path) -> Iterator[None]:
    """Do the same as `storage_errors`, also for errors that a tool reports in the log of a VmError.

    Args:
        directories: The directories that the block and its tools write to.

    Raises:
        VmError: See `explain`.
    """
    try:
        with storage_errors(*directories):
            yield
    except VmError as error:
        check_log(error.log, directories)
        raise


def check_log(log: str, directories: Sequence[Path]) -> None:
    """Search the output of a failed program for messages about a full or read-only file system.

    Args:
        log: The program's output.
        directories: The directories that the program was writing to.

    Raises:
        VmError: The output has such a message.
    """
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        for line in log.splitlines():
            if os.strerror(number).lower() in line.lower():
                explained = explain(OSError(number, os.strerror(number)), directories)
                assert explained is not None
                raise explained.with_log(line)


def check_checkout(checkout: Path, needed: int = MODULES_BYTES) -> None:
    """Check that modules can be built in a checkout, and that a VM can see it.

    Args:
        checkout: The top directory of the checkout.
        needed: The number of bytes that are about to be written below it.

    Raises:
        VmError: The path, the file system or the permissions of the checkout do not allow it.
    """
    check_directory("checkout", checkout)
    check_writable("checkout", checkout / "build", needed)


def main() -> int:
    """Check the checkout that contains this file, and print the first problem.

    Returns:
        0 if there is no problem, 1 otherwise.
    """
    venv = CHECKOUT / ".venv"
    try:
        check_checkout(CHECKOUT)
        check_writable("checkout", venv, 0 if (venv / ".ready").exists() else VENV_BYTES)
    except VmError as error:
        print(f"ksmlab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
