"""apt itself, on a small archive on this disk: what is not signed, or is not what the lists say, is refused."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.apt import PrivateApt, host_codename
from ksmlab.vm.errors import FetchError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None, reason="not a Debian host"
)
CONTROL = """\
Package: thing
Version: 1.0-1
Architecture: all
Maintainer: A Maintainer <maintainer@example.org>
Description: a thing
"""


class Archive:
    """An archive with one package.

    Args:
        place: Where to make it.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        tree = place / "tree"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(CONTROL)
        (tree / "thing").write_text("the thing\n")
        self.deb = place / "pool/thing_1.0-1_all.deb"
        self.deb.parent.mkdir()
        argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(self.deb)]
        subprocess.run(argv, check=True, capture_output=True)
        data = self.deb.read_bytes()
        suite = place / "dists" / host_codename()
        lists = suite / "main/binary-amd64/Packages"
        lists.parent.mkdir(parents=True)
        lists.write_text(
            f"{CONTROL}Filename: pool/{self.deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n"
        )
        text = lists.read_bytes()
        (suite / "Release").write_text(
            f"Suite: {host_codename()}\nCodename: {host_codename()}\n"
            "Architectures: amd64\nComponents: main\nDate: Sat, 01 Aug 2026 00:00:00 UTC\n"
            f"SHA256:\n {hashlib.sha256(text).hexdigest()} {len(text)} main/binary-amd64/Packages\n"
        )

    def apt(self, options: str) -> PrivateApt:
        """Give an apt whose host has this archive as its only one."""
        etc = self.place / "etc"
        (etc / "sources.list.d").mkdir(parents=True)
        line = f"deb {options} file:{self.place} {host_codename()} main\n"
        (etc / "sources.list").write_text(line)
        return PrivateApt(self.place / "home", etc=etc)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


UNREACHABLE = "http://127.0.0.1:9/debian"


def test_server_that_cannot_be_reached_is_named(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-get update itself ends with status 0."""
    monkeypatch.delenv("http_proxy", raising=False)
    apt = archive.apt("[trusted=yes]")
    run = apt._run
    once = ["-o", "Acquire::Retries=0", "-o", "Acquire::http::Proxy=DIRECT"]
    monkeypatch.setattr(
        apt, "_run", lambda argv, *arguments, **options: run(
            [*argv, *(once if "update" in argv else ())], *arguments, **options
        ),
    )  # fmt: skip
    sources = archive.place / "etc/sources.list"
    good, bad = sources.read_text(), f"deb {UNREACHABLE} {host_codename()} main\n"
    what = f"The package lists of {UNREACHABLE} could not be downloaded."
    lines: list[str] = []
    sources.write_text(bad)
    with pytest.raises(FetchError) as caught:
        apt.update(lines.append)
    assert caught.value.what == what
    assert "network" in caught.value.hint
    sources.write_text(good + bad)
    apt.update(lines.append)
    assert lines == [f"{what} The other lists and older ones are used."]
    assert apt.show("thing") is not None
    error = apt.not_found("other")
    assert error is not None
    assert error.what == f"other not found. {what}"
    sources.write_text(good)
    apt.update(lines.append)
    assert apt.not_found("other") is None


def test_an_archive_that_is_trusted_gives_its_package(archive: Archive, tmp_path: Path) -> None:
    apt = archive.apt("[trusted=yes]")
    apt.update(print)
    package = apt.show("thing")
    assert package is not None
    apt.unpack(package, tmp_path / "out/root")
    assert (tmp_path / "out/root/thing").read_text() == "the thing\n"


def test_an_archive_without_a_signature_is_refused(archive: Archive) -> None:
    with pytest.raises(FetchError) as caught:
        archive.apt("").update(print)
    assert "is not signed" in caught.value.log


def test_a_package_that_is_not_what_the_lists_say_is_refused(
    archive: Archive, tmp_path: Path
) -> None:
    apt = archive.apt("[trusted=yes]")
    apt.update(print)
    package = apt.show("thing")
    assert package is not None
    data = bytearray(archive.deb.read_bytes())
    data[-1] ^= 1
    archive.deb.write_bytes(data)
    with pytest.raises(FetchError, match="apt could not verify it") as caught:
        apt.unpack(package, tmp_path / "out/root")
    assert "Hash Sum mismatch" in caught.value.log or "Hashes of expected file" in caught.value.log
    assert not (tmp_path / "out/root/thing").exists()
