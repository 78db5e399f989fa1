"""Picking the distribution's own sources out of a host's apt configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ksmlab.vm.apt import (
    clean_acquire,
    debian_deb822,
    debian_one_line,
    host_codename,
    parse_show,
    wanted_suite,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE_LINE = """
# deb http://example.invalid/debian bookworm main
deb [signed-by=/k.gpg arch=amd64] http://mirror.invalid/debian bookworm main contrib
deb-src http://mirror.invalid/debian bookworm main
deb http://mirror.invalid/debian-security bookworm-security main # the fixes
deb http://other.invalid/linux bookworm stable
deb http://third.invalid/node nodistro main
"""
DEB822 = """Types: deb deb-src
# a comment inside
URIs: http://mirror.invalid/debian
Suites: bookworm bookworm-updates bookworm-pgdg
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.invalid/off
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://third.invalid/node
Suites: nodistro
Components: main
"""
SHOW = """Package: linux-image-6.12-amd64
Source: linux
Version: 6.12.1-1
Depends: linux-image-6.12.1-amd64 (= 6.12.1-1) | other, kmod, initramfs-tools:any (>= 1)
Size: 1476

Package: older
"""


@pytest.mark.parametrize(
    ("suite", "wanted"),
    [
        ("bookworm", True),
        ("bookworm-security", True),
        ("bookworm-backports", True),
        ("stable", True),
        ("oldstable-security", True),
        ("bookworm/updates", True),
        ("trixie", False),
        ("bookworm-pgdg", False),
        ("nodistro", False),
    ],
)
def test_suites(suite: str, wanted: bool) -> None:
    assert wanted_suite(suite, "bookworm") is wanted


def test_one_line_sources() -> None:
    assert debian_one_line(ONE_LINE, "bookworm") == [
        "deb [signed-by=/k.gpg arch=amd64] http://mirror.invalid/debian bookworm main",
        "deb http://mirror.invalid/debian-security bookworm-security main",
    ]


def test_deb822_sources_keep_their_key() -> None:
    (stanza,) = debian_deb822(DEB822, "bookworm")
    assert "types: deb\n" in stanza
    assert "suites: bookworm bookworm-updates\n" in stanza
    assert "components: main\n" in stanza
    assert "BEGIN PGP" in stanza
    assert "comment" not in stanza


def test_only_network_settings_are_taken_over() -> None:
    dump = (
        'APT::Update::Post-Invoke:: "rm -f /x";\nAcquire::http::Proxy "http://p:1/";\n'
        'Acquire::IndexTargets::deb "";\nDir "/";\n'
    )
    assert clean_acquire(dump) == ['Acquire::http::Proxy "http://p:1/";']


def test_show() -> None:
    package = parse_show(SHOW)
    assert package is not None
    assert (package.name, package.version, package.size) == (
        "linux-image-6.12-amd64",
        "6.12.1-1",
        1476,
    )
    assert package.depends == ("linux-image-6.12.1-amd64", "kmod", "initramfs-tools")
    assert parse_show("") is None


def test_codename(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
    assert host_codename(path) == "trixie"
